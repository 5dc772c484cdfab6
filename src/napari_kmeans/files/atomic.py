"""Write files and directories whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PREFIX = ".napari-kmeans-"
"""What the names of files and directories begin with that are not complete yet."""


def write_whole(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write files so that each is whole or not there, and what was there stays until then.

    Parameters
    ----------
    writers : mapping of path to callable
        Each callable writes its file at the path that it is given, in the
        directory of the path that the file has in the end.
    """
    with replacing(list(writers)) as temporary:
        for path, write in writers.items():
            write(temporary[path])


@contextmanager
def replacing(paths: Sequence[Path], obsolete: Sequence[Path] = ()) -> Iterator[dict[Path, Path]]:
    """Give a temporary path beside each path; what is written there takes its place at the end.

    Files and directories of zarr alike; those that are `obsolete` go at the
    same time. An exception leaves what was there before; what a run that was
    killed left behind, the next one for the same paths takes away.
    """
    clear_leftovers([*paths, *obsolete])
    token = secrets.token_hex(4)
    temporary, gone = (
        {path: path.with_name(f"{PREFIX}{token}-{path.name}") for path in group}
        for group in (paths, obsolete)
    )
    try:
        yield temporary
        for part in temporary.values():
            _flush_to_disk(part)
        for path, part in temporary.items():
            _take_place(part, path)
        # Renamed first: to delete a directory takes long, and a kill would leave a half of it.
        for path, part in gone.items():
            with suppress(FileNotFoundError):
                os.rename(path, part)
    finally:
        for part in (*temporary.values(), *gone.values()):
            _remove(part)


def _take_place(part: Path, path: Path) -> None:
    if not part.is_dir() or not path.exists():
        os.replace(part, path)
        return
    # No system call replaces a directory that is not empty. Killed between the
    # first two, a run leaves the old one to be put back by the next.
    previous = _previous(path)
    os.rename(path, previous)
    os.rename(part, path)
    # Half of it must not pass for what is to be put back.
    os.rename(previous, part)


def _previous(path: Path) -> Path:
    return path.with_name(f"{PREFIX}previous-{path.name}")


def clear_leftovers(paths: Sequence[Path]) -> None:
    """Put back or take away what runs that were killed left beside paths."""
    for path in paths:
        if _previous(path).exists() and not path.exists():
            os.rename(_previous(path), path)
    for directory in {path.parent for path in paths}:
        names = "|".join(re.escape(path.name) for path in paths if path.parent == directory)
        # A file may have been written by way of another temporary one.
        pattern = re.compile(f"({re.escape(PREFIX)}([0-9a-f]{{8}}|previous)-)+({names})")
        # A list, for what is listed must not change meanwhile.
        for leftover in list(directory.iterdir()):
            if pattern.fullmatch(leftover.name):
                _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    # Not the thousands of files of a zarr directory: a power cut may cost them.
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
