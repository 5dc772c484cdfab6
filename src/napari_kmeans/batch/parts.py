"""What has been done for each image of a study, so that a run can be continued.

The folder `PARTS` in the folder of the results has a file for each image, which is written after
all results of the image.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.run_record import encode_run_record, hash_file
from napari_kmeans.files.atomic import write_whole

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

PARTS = ".napari-kmeans-parts"
"""The name of the folder. Hidden: it has nothing for the user."""


_PICTURES = ("-original.png", "-classes.png")
"""The endings of the names of the small pictures of an image and of its classes."""


class Stamp(NamedTuple):
    """A file at a time: if size and times of the last change stay, so do the contents."""

    path: str
    size: int
    times: str
    """Those of the contents and of the entry in the folder: the second cannot be set back. Of a
    directory, a digest of the times of all its files."""

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of a file or a directory."""
        if not path.is_dir():
            status = path.stat()
            return cls(str(path.absolute()), status.st_size, _times_of(status))
        files = sorted(each for each in path.rglob("*") if each.is_file())
        stats = [each.stat() for each in files]
        times = make_key([[str(f), _times_of(s)] for f, s in zip(files, stats, strict=True)])
        return cls(str(path.absolute()), sum(each.st_size for each in stats), times)


def _times_of(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


class Inputs(NamedTuple):
    """The files that an image is read from, and their contents."""

    stamps: list[Stamp]
    hashes: list[str]

    @classmethod
    def of(cls, paths: tuple[Path, ...]) -> Inputs:
        """Read all files, to hash them."""
        return cls([Stamp.of(path) for path in paths], [_hash(path) for path in paths])

    def are_those_of(self, paths: tuple[Path, ...]) -> bool:
        """Return whether files have these contents. They are read only if they were changed."""
        try:
            stamps = [Stamp.of(path) for path in paths]
            if [tuple(each) for each in self.stamps] == [tuple(each) for each in stamps]:
                return True
            return [_hash(path) for path in paths] == self.hashes
        except (OSError, ValueError):
            return False


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file; of a pipe, which can be read only once, an empty text."""
    return "" if path.is_fifo() else hash_file(path)


@dataclass(frozen=True)
class Part:
    """What was done for one image.

    Attributes
    ----------
    key : str
        The model and the options, see `make_key`.
    inputs : Inputs
    outputs : dict of str to list of int
        The names of the files that were written, and their sizes and times of change.
    entry : dict
        The entry of the image in the record.
    table : dict of lists
        The rows of the image in the table of measurements, by columns.
    """

    key: str
    inputs: Inputs
    outputs: dict[str, list[int]]
    entry: dict[str, Any]
    table: dict[str, list[Any]]

    def is_valid(self, key: str, paths: tuple[Path, ...], directory: Path) -> bool:
        """Return whether nothing has changed since: not the options, the inputs or the results."""
        if self.key != key or not self.inputs.are_those_of(paths):
            return False
        try:
            return all(_state_of(directory / name) == state for name, state in self.outputs.items())
        except (OSError, ValueError):
            return False


DAMAGED = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError),
    *(OverflowError, RecursionError),
)
"""The errors of reading a file of parts that was damaged."""


class PartStore:
    """The parts in the folder of the results."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / PARTS

    def path(self, stem: str, ending: str) -> Path:
        """Return the path of a file of an image."""
        return self.folder / f"{stem}{ending}"

    def stems(self) -> list[str]:
        """Return the stems of the images that have a part."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def thumbnails(self, stem: str) -> tuple[Path | None, Path | None]:
        """Return the small pictures of an image and of its classes, None where there is none."""
        paths = [self.path(stem, ending) for ending in _PICTURES]
        original, classes = (path if path.exists() else None for path in paths)
        return original, classes

    def write(
        self, stem: str, part: Part, thumbnails: tuple[NDArray[Any], NDArray[Any]] | None
    ) -> None:
        """Write the part of an image and its small pictures, whole or not at all."""
        from PIL import Image

        self.folder.mkdir(exist_ok=True)
        values = {
            "key": part.key,
            "inputs": [list(map(list, part.inputs.stamps)), part.inputs.hashes],
            "outputs": part.outputs,
            "entry": part.entry,
            "table": part.table,
        }
        # As it will be read: JSON has no NaN and no tuples.
        plain = json.loads(encode_run_record(values))
        text = encode_run_record({**plain, "checksum": make_key(plain)})
        writers: dict[Path, Any] = {}
        for ending, picture in zip(_PICTURES, thumbnails or (), strict=False):
            image = Image.fromarray(picture)
            # Level 6 takes three times longer, for 7 % less.
            writers[self.path(stem, ending)] = partial(image.save, format="png", compress_level=1)
        writers[self.path(stem, ".json")] = partial(write_text, text)
        write_whole(writers)

    def remove(self, stem: str) -> None:
        """Remove the part of an image and its small pictures."""
        for ending in (*_PICTURES, ".json"):
            self.path(stem, ending).unlink(missing_ok=True)

    def read(self, stem: str) -> Part | None:
        """Return the part of an image; None if there is none, or if it is damaged."""
        try:
            values = json.loads(self.path(stem, ".json").read_text("utf-8"))
            checksum = values.pop("checksum")
            if make_key(values) != checksum:
                return None
            stamps, hashes = values.pop("inputs")
            return Part(inputs=Inputs([Stamp(*each) for each in stamps], hashes), **values)
        except DAMAGED:
            return None


def measure_files(directory: Path, paths: list[Path]) -> dict[str, list[int]]:
    """Return the names of written files and directories, with their sizes and times of change."""
    return {path.relative_to(directory).as_posix(): _state_of(path) for path in paths}


def _state_of(path: Path) -> list[int]:
    """Return size and time of a file; of a directory, the sum and the latest of its files."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    stats = [each.stat() for each in files]
    return [sum(each.st_size for each in stats), max((s.st_mtime_ns for s in stats), default=0)]


def write_text(text: str, path: Path) -> None:
    """Write a text in UTF-8. Characters that no text has, as in odd file names, are escaped."""
    path.write_text(text, "utf-8", errors="backslashreplace")


def make_key(values: Any) -> str:
    """Return a text that is the same for equal options and models."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
