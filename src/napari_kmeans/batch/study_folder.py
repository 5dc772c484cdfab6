"""Protect the folder of the results of a study: from other runs, studies and inputs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.earlier_results import find_foreign
from napari_kmeans.batch.parts import PARTS, PartStore
from napari_kmeans.batch.reporting import count_images, join_names
from napari_kmeans.batch.result_files import LOCK_FILE, SHARED_MODEL, file_key
from napari_kmeans.batch.run_record import has_tables, read_earlier_runs
from napari_kmeans.batch.study import StudyError
from napari_kmeans.batch.study_tables import study_files
from napari_kmeans.execution.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path


@contextmanager
def lock_folder(directory: Path) -> Iterator[None]:
    """Refuse a second run in the same folder at the same time.

    The lock is a file in the folder: two nodes of a cluster share the folder of the results, but
    not the folder of temporary files.
    """
    path = directory / LOCK_FILE
    try:
        with locked(path, waits=False, removes=True):
            yield
    except BlockingIOError as error:
        if error.filename != str(path):
            raise
        raise StudyError(
            [f"output must be another folder, got {directory}: another run is writing there."]
        ) from None


def refuse_to_overwrite(directory: Path, inputs: Sequence[Path], edits_model: bool) -> None:
    """Refuse inputs, and files of others, at the places of the tables, the record or the report.

    A model whose classes are not edited stays as it is, and may be there.
    """
    written = {file_key(path) for path in study_files(directory)}
    if not edits_model:
        written.discard(file_key(directory / SHARED_MODEL))
    for path in inputs:
        if file_key(path) in written:
            raise StudyError(
                [
                    f"output must be another folder than that of {path}, got {directory}: "
                    "the study would replace this file."
                ]
            )
    # A study writes its record and its parts before its tables: without both, they are of
    # someone else.
    is_study = (directory / PARTS).is_dir() or studies_in(directory)
    foreign = [] if is_study else find_foreign(study_files(directory))
    if foreign:
        raise StudyError(
            [
                f"output must be another folder, got {directory}: {foreign[0].name} in it is not "
                "of a study, and would be replaced."
            ]
        )


def refuse_other_study(directory: Path, sources: set[str]) -> None:
    """Refuse a folder with the tables of a study of other images, which would be lost.

    An image whose file was deleted may leave a study.
    """
    studies = studies_in(directory)
    if not studies:
        return
    named = {os.path.realpath(source) for source in sources}
    # The record of a run that was killed does not state which images are done.
    store = PartStore(directory)
    done = [
        each
        for each in studies[0]["images"]
        if each.get("status") == "done" or store.read(str(each.get("name"))) is not None
    ]
    others = [each for each in done if os.path.realpath(str(each.get("source"))) not in named]
    lost = [each for each in others if os.path.exists(str(each.get("source")))]
    lost = others if len(others) == len(done) else lost
    if lost:
        raise StudyError(
            [
                f"output must be another folder, got {directory}: it has the study of "
                f"{count_images(len(lost))} that this one does not have "
                f"({join_names([str(each.get('name')) for each in lost])}). Name them, too, to "
                "add images to a study."
            ]
        )


def find_other_files(
    directory: Path,
    images: Sequence[Mapping[str, Any]],
    others: Mapping[str, Collection[str]],
    done: Mapping[str, Collection[str]],
) -> dict[str, list[str]]:
    """Return files of images that have left a study, or that have failed since they were done.

    Parameters
    ----------
    directory : Path
        The folder of the results.
    images, others : sequence of dict, mapping of str to collection of str
        The images in the record of the earlier run, and the files that it has found in this way.
    done : mapping of str to collection of str
        The names of the files of each image that is done, by the name of the image.

    Returns
    -------
    dict of str to list of str
        The names of the files that are there, by the name of their image.
    """
    known: dict[str, Collection[str]] = dict(others)
    # An image that failed has no outputs of its own.
    known |= {str(each.get("name")): each["outputs"] for each in images if each.get("outputs")}
    store = PartStore(directory)
    parts = {stem: store.read(stem) for stem in store.stems() if stem not in done}
    known |= {stem: part.outputs for stem, part in parts.items() if part is not None}
    used = {name for names in done.values() for name in names}
    found = {
        stem: [name for name in names if name not in used and (directory / str(name)).exists()]
        for stem, names in known.items()
        if stem not in done
    }
    return {stem: names for stem, names in found.items() if names}


def studies_in(directory: Path) -> list[dict[str, Any]]:
    """Return the records of the studies in a folder. A run without tables loses nothing."""
    return [run for run in read_earlier_runs(directory) if has_tables(run)]


def paths_inside(directory: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the paths in a directory: only these could be replaced by results."""
    place = file_key(directory)
    return [path for path in paths if file_key(path.parent).startswith(place)]
