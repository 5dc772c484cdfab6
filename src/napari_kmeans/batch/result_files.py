"""The files of results: their names, and the directory in which they are written."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_kmeans.files.atomic import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SUFFIXES = {
    "labels": (".tif", ".zarr"),
    "recolored": (".png", ".tif", ".zarr"),
    "table": (".csv",),
    "model": (".json",),
    "classes": (".geojson",),
    "legend": (".png",),
    "confidence": (".tif", ".zarr"),
}
"""The suffixes that each kind of result may have. A stem and the kind come before the suffix.

The files of masks also have the names of classes, see `find_masks`.
"""

SHARED_MODEL, SHARED_TABLE = "napari-kmeans-model.json", "napari-kmeans-table.csv"
"""File names of the model and the table that several images share."""

LOCK_FILE = f"{PREFIX}lock"
"""The name of the file that a study locks in its folder. Only a killed run leaves this file."""


@contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """Create a directory, check that it is writable, and remove it at the end if it is empty.

    Parent directories that were created are removed too if they are empty.

    Raises
    ------
    OSError
        On entering, if the directory cannot be created or written to.
    """
    created = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        path.mkdir(parents=True, exist_ok=True)
        # All runs use the same name, so that the next run removes the probe of a killed run.
        probe = path / f"{PREFIX}probe"
        try:
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            error.filename = str(path)
            raise
        yield path
    finally:
        for directory in created:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


def free_stems(names: list[str], directory: Path, inputs: list[Path]) -> list[str]:
    """Return a stem for each name, so that no result overwrites another result or an input."""
    taken = {file_key(path) for path in inputs}
    stems = []
    for name in names:
        number = 1
        stem = name
        while taken & (targets := {file_key(path) for path in result_paths(directory, stem)}):
            number += 1
            stem = f"{name}-{number}"
        taken |= targets
        stems.append(stem)
    return stems


def find_labels_file(paths: Iterable[Path]) -> Path | None:
    """Return the file of the labels among the results of an image; None if there is none."""
    endings = tuple(f"-labels{suffix}" for suffix in SUFFIXES["labels"])
    return next((path for path in paths if path.name.endswith(endings)), None)


def result_paths(directory: Path, stem: str) -> list[Path]:
    """Return every path at which a run can write a result for a stem."""
    return [
        directory / f"{stem}-{kind}{suffix}"
        for kind, suffixes in SUFFIXES.items()
        for suffix in suffixes
    ]


def file_key(path: Path) -> str:
    """Return a string that is the same for all paths of one file."""
    # On macOS and Windows, names that differ only in case are the same file. `Path.resolve`
    # would raise an exception for a symbolic link to itself.
    return os.path.realpath(path).casefold()
