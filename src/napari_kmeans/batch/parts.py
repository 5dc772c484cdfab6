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
    from pathlib import Path

    from numpy.typing import NDArray

PARTS = ".napari-kmeans-parts"
"""The name of the folder. Hidden: it has nothing for the user."""


_PICTURES = ("-original.png", "-classes.png")
"""The endings of the names of the small pictures of an image and of its classes."""


class Stamp(NamedTuple):
    """A file at a time: if size and time of the last change stay, so do the contents."""

    path: str
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of a file; for a directory, of the latest of its files."""
        files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
        stats = [each.stat() for each in files]
        size = sum(each.st_size for each in stats)
        return cls(str(path.absolute()), size, max((each.st_mtime_ns for each in stats), default=0))


class Inputs(NamedTuple):
    """The files that an image is read from, and their contents."""

    stamps: list[Stamp]
    hashes: list[str]

    @classmethod
    def of(cls, paths: tuple[Path, ...]) -> Inputs:
        """Read all files, to hash them."""
        return cls([Stamp.of(path) for path in paths], [hash_file(path) for path in paths])

    def are_those_of(self, paths: tuple[Path, ...]) -> bool:
        """Return whether files have these contents. They are read only if they were changed."""
        try:
            stamps = [Stamp.of(path) for path in paths]
            if [tuple(each) for each in self.stamps] == [tuple(each) for each in stamps]:
                return True
            return [hash_file(path) for path in paths] == self.hashes
        except OSError:
            return False


@dataclass(frozen=True)
class Part:
    """What was done for one image.

    Attributes
    ----------
    key : str
        The model and the options, see `make_key`.
    inputs : Inputs
    outputs : dict of str to int
        The names of the files that were written, and their sizes (0 for directories).
    entry : dict
        The entry of the image in the record.
    table : dict of lists
        The rows of the image in the table of measurements, by columns.
    """

    key: str
    inputs: Inputs
    outputs: dict[str, int]
    entry: dict[str, Any]
    table: dict[str, list[Any]]

    def is_valid(self, key: str, paths: tuple[Path, ...], directory: Path) -> bool:
        """Return whether nothing has changed since: not the options, the inputs or the results."""
        if self.key != key or not self.inputs.are_those_of(paths):
            return False
        try:
            return all(_size_of(directory / name) == size for name, size in self.outputs.items())
        except OSError:
            return False


class PartStore:
    """The parts in the folder of the results."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / PARTS

    def path(self, stem: str, ending: str) -> Path:
        """Return the path of a file of an image."""
        return self.folder / f"{stem}{ending}"

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
        text = encode_run_record(
            {
                "key": part.key,
                "inputs": [list(map(list, part.inputs.stamps)), part.inputs.hashes],
                "outputs": part.outputs,
                "entry": part.entry,
                "table": part.table,
            }
        )
        writers: dict[Path, Any] = {}
        for ending, picture in zip(_PICTURES, thumbnails or (), strict=False):
            image = Image.fromarray(picture)
            # Level 6 takes three times longer, for 7 % less.
            writers[self.path(stem, ending)] = partial(image.save, format="png", compress_level=1)
        writers[self.path(stem, ".json")] = lambda path: path.write_text(text, "utf-8")
        write_whole(writers)

    def read(self, stem: str) -> Part | None:
        """Return the part of an image; None if there is none, or if it is damaged."""
        try:
            values = json.loads(self.path(stem, ".json").read_text("utf-8"))
            stamps, hashes = values["inputs"]
            return Part(
                values["key"],
                Inputs([Stamp(*each) for each in stamps], list(hashes)),
                {str(name): int(size) for name, size in values["outputs"].items()},
                dict(values["entry"]),
                dict(values["table"]),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def measure_files(directory: Path, paths: list[Path]) -> dict[str, int]:
    """Return the names of written files and their sizes; 0 for directories."""
    return {path.relative_to(directory).as_posix(): _size_of(path) for path in paths}


def _size_of(path: Path) -> int:
    status = path.stat()
    return 0 if path.is_dir() else status.st_size


def make_key(values: Any) -> str:
    """Return a text that is the same for equal options and models."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
