"""The record of a run: what was done to which files, by which versions, with which result.

The file `RECORD_FILE` is in the folder of the results. Its entries:

- ``format`` and ``format_version``: see `FORMAT`;
- ``versions`` and ``platform``: of this package, of Python and of the packages that decide results;
- ``study``: the entries of the study with absolute paths, see `Study`;
- ``folder``: the folder of the study, absolute and relative to the folder of the results;
- ``options``: all options of the fit; of a model that was given, those that it states;
- ``options_not_used``: the names of all other options;
- ``model``: the model, or None if each image has its own;
- ``n_colors``: the number of distinct colors that the model was fitted to, if they were counted;
- ``images``: an entry for each image, see `describe_picture`;
- ``started`` and ``seconds``: of a study, the start of its first call and the sum of its calls;
- ``calls``: of a study, the calls that did its images, see `napari_kmeans.batch.run_calls`;
- ``warnings``;
- ``status``: "complete", or "interrupted" if images are missing;
- ``has_tables``: whether the run was a study, with the tables of its images;
- ``files_of_other_images``: of a study, the files that earlier runs have written for images that
  have left it or have failed since, by the names of these images;
- ``earlier``: the records of earlier runs for the images whose results are still in the folder;
- ``images_left``: of an earlier run, the images without such results: its model was fitted to them,
  too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.picture_options import channel_names_of
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from napari_kmeans.files.picture import Picture

RECORD_FILE = "napari-kmeans-run.json"
FORMAT, FORMAT_VERSION = "napari-kmeans run", 1

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "numba",
    "dask",
    "pandas",
    "tifffile",
    "imagecodecs",
    "pillow",
    "imageio",
    "zarr",
    "napari",
)
"""The packages whose versions are recorded: they read images or decide results."""

MAX_BYTES = 2**30

_BLOCK = 2**20


def describe_versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the packages that are installed."""
    versions = {"napari-kmeans": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Of a zarr directory, it is that of the names and the contents of all its files.
    """
    digest = hashlib.sha256()
    if not path.is_dir():
        _add_file(digest, path)
        return digest.hexdigest()
    # This module imports zarr, which most runs do not need.
    from napari_kmeans.files.zarr_chunks import list_files

    for name in list_files(str(path)):
        digest.update(name.encode() + b"\0")
        _add_file(digest, path / name)
    return digest.hexdigest()


def _add_file(digest: Any, path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)


_PART_PIXELS = 2**26
"""The most pixels of lazy labels in memory while they are hashed, unless a row has more."""

_ROWS_PIXELS = 2**22
"""The most pixels that are converted to the numbers that are hashed at a time."""


def has_tables(run: dict[str, Any]) -> bool:
    """Whether a run was a study; records of the first studies do not state it."""
    return bool(run.get("has_tables", True))


def hash_labels(labels: Any) -> str:
    """Return the SHA-256 of the shape and the values of labels, for numpy and dask arrays alike.

    The values are hashed as 32-bit numbers: the dtype does not count.
    """
    digest = hashlib.sha256(repr(tuple(labels.shape)).encode())
    for part in _split_into_parts(labels):
        _add_labels(digest, part)
        # Free these labels before the next ones are read.
        del part
    return digest.hexdigest()


def _split_into_parts(labels: Any) -> Iterator[Any]:
    """Yield the labels in parts along the first axis that are in memory."""
    if not is_dask(labels):
        yield labels
        return
    # The chunks of a volume may have many planes. They are read again for each part.
    most = max(1, _PART_PIXELS // max(math.prod(labels.shape[1:]), 1))
    start = 0
    for length in labels.chunks[0]:
        for first in range(start, start + length, most):
            part = labels[first : min(first + most, start + length)]
            yield np.asarray(part.compute(scheduler="threads"))
        start += length


def _add_labels(digest: Any, labels: Any) -> None:
    step = max(1, _ROWS_PIXELS // max(labels[0].size, 1)) if labels.size else 1
    for start in range(0, len(labels), step):
        digest.update(np.ascontiguousarray(labels[start : start + step], "<u4").data)


def describe_picture(picture: Picture) -> dict[str, Any]:
    """Return the properties of an image that a record states."""
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import pixel_size

    rgb, _ = find_channels(picture)
    size = pixel_size(picture.axes, picture.pixels.shape)
    return {
        "shape": list(picture.pixels.shape),
        "dtype": picture.pixels.dtype.name,
        "rgb": rgb,
        "channels": list(channel_names_of(picture)),
        "axes": [list(axis) for axis in picture.axes],
        "pixel_size": None if size is None else {"value": size.value, "unit": size.unit},
    }


def is_run_record(record: Any) -> bool:
    """Return whether a value has the entries of a record that other code relies on."""
    return (
        isinstance(record, dict)
        and record.get("format") == FORMAT
        and isinstance(record.get("study"), dict)
        and isinstance(record.get("images"), list)
        and all(isinstance(each, dict) for each in record["images"])
    )


def read_run_record(path: Path) -> dict[str, Any]:
    """Return the record in a file, or in a folder of results.

    Raises
    ------
    UnreadableImageError
        If there is none, or if it is damaged.
    """
    place = path / RECORD_FILE if path.is_dir() else path
    try:
        if place.stat().st_size > MAX_BYTES:
            raise UnreadableImageError(f"{place} is larger than a record")
        record: Any = json.loads(place.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise UnreadableImageError(f"{place} is no record of a run") from None
    except FileNotFoundError:
        raise UnreadableImageError(
            f"{place} does not exist: a study writes it when it is done or stopped"
        ) from None
    except OSError as error:
        raise UnreadableImageError(f"{place}: {error.strerror}") from error
    if not is_run_record(record):
        raise UnreadableImageError(f"{place} is no record of a run")
    if record.get("format_version") != FORMAT_VERSION:
        raise UnreadableImageError(
            f"{place} has the format version {record.get('format_version')}, and this version of "
            f"napari-kmeans reads {FORMAT_VERSION}"
        )
    return dict(record)


def read_earlier_runs(directory: Path) -> list[dict[str, Any]]:
    """Return the records of the runs in a folder, the last one first; none if it has no record."""
    try:
        last = read_run_record(directory)
    except UnreadableImageError:
        return []
    earlier = last.pop("earlier", None)
    runs = [last, *(earlier if isinstance(earlier, list) else [])]
    return [run for run in runs if is_run_record(run)]


def keep_results(
    runs: Sequence[dict[str, Any]], directory: Path, replaced: Collection[str]
) -> list[dict[str, Any]]:
    """Return the records of runs for the images whose results are still in the folder.

    Parameters
    ----------
    runs : sequence of dict
    directory : Path
    replaced : collection of str
        The names of the images that another run has done again.
    """
    kept = []
    for run in runs:
        images = [
            each
            for each in run["images"]
            if each.get("status") == "done"
            and each.get("name") not in replaced
            and all((directory / str(name)).exists() for name in each.get("outputs") or ())
        ]
        if images:
            left = [
                {name: each.get(name) for name in ("source", "group", "metadata")}
                for each in run["images"]
                if each not in images
            ]
            kept.append(
                {**run, "images": images, "images_left": [*(run.get("images_left") or []), *left]}
            )
    return kept


def encode_run_record(record: dict[str, Any]) -> str:
    """Return a record as JSON."""
    return json.dumps(_without_nan(record), ensure_ascii=False, indent=1, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def relative_path(path: Path, start: Path) -> str:
    """Return a path relative to a folder, with slashes."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        # Another drive on Windows.
        return str(path)
