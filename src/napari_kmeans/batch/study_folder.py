"""Protect the folder of the results of a study: from other runs, studies and inputs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.earlier_results import find_foreign
from napari_kmeans.batch.parts import PARTS, make_key
from napari_kmeans.batch.reporting import count_images
from napari_kmeans.batch.result_files import SHARED_MODEL, file_key
from napari_kmeans.batch.run_record import has_tables, read_earlier_runs
from napari_kmeans.batch.study import StudyError
from napari_kmeans.batch.study_tables import study_files
from napari_kmeans.execution.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def lock_folder(directory: Path) -> Iterator[None]:
    """Refuse a second run in the same folder at the same time."""
    name = f"napari-kmeans-{make_key(file_key(directory))[:16]}.lock"
    try:
        with locked(Path(gettempdir()) / name, waits=False):
            yield
    except BlockingIOError as error:
        if error.filename is None or Path(error.filename).name != name:
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
    done = [each for each in studies[0]["images"] if each.get("status") == "done"]
    others = [each for each in done if os.path.realpath(str(each.get("source"))) not in named]
    lost = [each for each in others if os.path.exists(str(each.get("source")))]
    lost = others if len(others) == len(done) else lost
    if lost:
        raise StudyError(
            [
                f"output must be another folder, got {directory}: it has the study of "
                f"{count_images(len(lost))} that this one does not have. Name them, too, to "
                "add images to a study."
            ]
        )


def studies_in(directory: Path) -> list[dict[str, Any]]:
    """Return the records of the studies in a folder. A run without tables loses nothing."""
    return [run for run in read_earlier_runs(directory) if has_tables(run)]


def paths_inside(directory: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the paths in a directory: only these could be replaced by results."""
    place = file_key(directory)
    return [path for path in paths if file_key(path.parent).startswith(place)]
