"""Find the images of a recorded run again, also if they were moved with its results."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.result_files import file_key
from napari_kmeans.batch.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_kmeans.batch.image_job import ImageJob


class RecordedImages:
    """The images of a record, which a run that repeats it does, and no others.

    Parameters
    ----------
    record : dict
    place : Path
        The folder of the record.

    Attributes
    ----------
    study : Study
        The study of the record, with the paths at which its files are now.
    """

    def __init__(self, record: Mapping[str, Any], place: Path) -> None:
        folders = record.get("folder")
        # Without the folder, paths are taken as they are.
        known = folders if isinstance(folders, list) and len(folders) == 2 else (place, ".")
        self._folder, self._moved = str(known[0]), os.path.abspath(place / str(known[1]))
        # The tables have paths from the folder of the study.
        folder = self._folder if os.path.isdir(self._folder) else self._moved
        self.study = Study.from_dict(self._find_moved(record["study"]), folder)
        self._entries: dict[str, Mapping[str, Any]] = {}
        # The model of an earlier run in the folder was also fitted to images that have left it.
        for entry in [*(record.get("images_left") or []), *record["images"]]:
            # A run without tables records paths as they were given.
            source = os.path.join(self._folder, str(entry.get("source")))
            for path in (source, _replace_start(source, self._folder, self._moved)):
                self._entries[file_key(Path(path))] = entry

    def choose(self, jobs: Sequence[ImageJob]) -> list[ImageJob]:
        """Return the jobs of recorded images, without those that have come since.

        If there is none of them, all jobs are returned: one may have the reason.
        """
        return [job for job in jobs if self._find(job) is not None] or list(jobs)

    def leave_out_new(self, jobs: Sequence[ImageJob], listed: Sequence[ImageJob]) -> list[ImageJob]:
        """Return the jobs of a fit without those listed images that have come since."""
        chosen = {job.source for job in self.choose(listed)}
        new = {job.source for job in listed} - chosen
        return [job for job in jobs if job.source not in new]

    def describe(self, job: ImageJob) -> tuple[str | None, dict[str, Any]]:
        """Return the group and the metadata of an image as they were recorded."""
        entry = self._find(job) or {}
        return entry.get("group"), dict(entry.get("metadata") or {})

    def _find(self, job: ImageJob) -> Mapping[str, Any] | None:
        return self._entries.get(file_key(Path(self._folder, job.source)))

    def _find_moved(self, value: Any) -> Any:
        """Return plain values with the paths at which the files of the study are now."""
        if isinstance(value, dict):
            return {key: self._find_moved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._find_moved(each) for each in value]
        if not isinstance(value, str):
            return value
        moved = _replace_start(value, self._folder, self._moved)
        # The folder may still be there if only some of its contents were moved.
        is_moved = not _is_there(value) and _is_there(moved)
        return moved if is_moved or not os.path.exists(self._folder) else value


def _is_there(path: str) -> bool:
    """Return whether a path exists, or a name with wildcards has a match."""
    return os.path.lexists(path) or (glob.has_magic(path) and bool(glob.glob(path)))


def _replace_start(path: str, start: str, other: str) -> str:
    """Return a path in a folder as the path in another folder; any other text as it is."""
    is_inside = path.startswith((start + os.sep, start + "/"))
    return other + path[len(start) :] if is_inside else path
