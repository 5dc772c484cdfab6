"""Recognize the results of earlier runs of the command line."""

from __future__ import annotations

import glob
import json
import os
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.reporting import join_names
from napari_kmeans.batch.result_files import SHARED_MODEL, SUFFIXES, file_key
from napari_kmeans.batch.run_record import RECORD_FILE, read_run_record
from napari_kmeans.files.atomic import PREFIX, clear_leftovers
from napari_kmeans.files.result_record import CONFIDENCE, KINDS, MASK, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_kmeans.model import KMeansModel


def find_results(paths: Iterable[Path], kept: Iterable[Path] = ()) -> list[Path]:
    """Return the paths whose files were written by a run of this command line.

    Files are recognized by their contents, because a file of the user may have the
    name of a result. The returned paths include no symbolic link, no `kept` file,
    and no directory that contains a `kept` file.
    """
    protected = {file_key(each) for path in kept for each in (path, *path.absolute().parents)}
    return [path for path in paths if file_key(path) not in protected and _is_result(path)]


def find_foreign(paths: Iterable[Path]) -> list[Path]:
    """Return the paths whose files are no results, and must not be replaced."""
    existing = [path for path in paths if os.path.lexists(path)]
    own = {*find_results(existing)}
    return [path for path in existing if path not in own]


def find_masks(directory: Path, stem: str) -> list[Path]:
    """Return the masks of classes in a directory that belong to a stem.

    The names of other results may begin in the same way, as ``scan-mask-2-labels.tif`` of the
    stem ``scan-mask-2``. So the files are recognized by their records.
    """
    paths = directory.glob(f"{glob.escape(stem)}-{MASK}-*")
    return sorted(path for path in paths if (_mask_record(path) or {}).get("stem") == stem)


def clear_unfinished_masks(directory: Path, stem: str) -> None:
    """Remove the masks that a killed run left half-written, whatever the names of its classes."""
    pattern = f"{PREFIX}{'[0-9a-f]' * 8}-{glob.escape(stem)}-{MASK}-*"
    skipped = len(f"{PREFIX}12345678-")
    clear_leftovers([path.with_name(path.name[skipped:]) for path in directory.glob(pattern)])


def _mask_record(path: Path) -> dict[str, Any] | None:
    return read_record(path, (MASK,))


def is_result_file(path: Path) -> bool:
    """Return whether a path has the name and the contents of a result of an earlier run.

    Other programs write TIFF and PNG files in the same format: labels and a recolored
    image count only beside the table of the same run.
    """
    if f"-{MASK}-" in path.name and _mask_record(path) is not None:
        return True
    for kind, suffixes in SUFFIXES.items():
        stem, separator, suffix = path.name.rpartition(f"-{kind}")
        if stem and separator and suffix in suffixes:
            files = {path, path if kind == "model" else path.with_name(f"{stem}-table.csv")}
            return len(find_results(files)) == len(files)
    return False


def stems_without_model(directory: Path) -> tuple[set[str], set[str]]:
    """Return the stems of the results in a directory that have no model of their own.

    Returns
    -------
    shared, others : sets of str
        `shared` are the stems whose tables have the colors of the shared model in
        the directory. `others` are the stems of another shared model.
    """
    model_colors = _read_model_colors(directory / SHARED_MODEL)
    shared: set[str] = set()
    others: set[str] = set()
    for path in directory.iterdir():
        stem, separator, suffix = path.name.rpartition("-labels")
        if not (stem and separator and suffix in SUFFIXES["labels"]) or stem.startswith(PREFIX):
            continue
        table = directory / f"{stem}-table.csv"
        if not (directory / f"{stem}-model.json").exists() and find_results([table]):
            (shared if _read_table_colors(table) == model_colors else others).add(stem)
    return shared, others


def describe_other_results(
    directory: Path, stems: Iterable[str], together: bool, model: KMeansModel | None
) -> str | None:
    """Return what keeps a run from writing to a directory, or None.

    The labels in a directory that have no model of their own are those of its shared
    model. A run that would put a model beside labels of another model must not start.

    Parameters
    ----------
    directory : Path
    stems : iterable of str
        The stems of the results that the run writes, and may replace.
    together : bool
        Whether the run writes a shared model.
    model : KMeansModel or None
        The model with which the run paints images.
    """
    shared, others = stems_without_model(directory)
    if together:
        left = (shared | others) - {*stems}
    elif model is None or _holds_no_other_model(directory / SHARED_MODEL, model):
        return None
    elif not shared:
        return SHARED_MODEL
    else:
        left = shared - {*stems}
    return f"the results of {join_names(sorted(left))}" if left else None


def _holds_no_other_model(path: Path, model: KMeansModel) -> bool:
    if not find_results([path]):
        return True
    from napari_kmeans.model import KMeansModel

    return KMeansModel.load(path).to_dict() == model.to_dict()


def _read_model_colors(path: Path) -> list[str] | None:
    """Return the colors of a model, or None if there is no model at the path."""
    if not find_results([path]):
        return None
    from napari_kmeans.imaging.colors import to_hex
    from napari_kmeans.model import KMeansModel

    return to_hex(KMeansModel.load(path).colors)


def _read_table_colors(path: Path) -> list[str]:
    """Return the last column of a table."""
    return [line.rpartition(",")[2] for line in path.read_text("utf-8").splitlines()[1:]]


def _is_result(path: Path) -> bool:
    try:
        if path.stem.endswith(f"-{CONFIDENCE}"):
            # napari saves images of confidence in the format of files of version 0.1.1.
            return not path.is_symlink() and read_record(path, (CONFIDENCE,)) is not None
        return not path.is_symlink() and path.exists() and _CHECKS[path.suffix](path)
    except Exception:
        # Decoders raise exceptions of many types for damaged files.
        return False


def _is_tiff(path: Path) -> bool:
    """Return whether a file has a record, or the format of files of version 0.1.1."""
    from tifffile import COMPRESSION, TiffFile

    if path.is_dir():
        return False
    if read_record(path, _RECORDS) is not None:
        return True
    with TiffFile(path) as file:
        page = file.pages.first
        by_tifffile = file.is_shaped and page.software == "tifffile.py"
        return bool(by_tifffile and page.compression == COMPRESSION.ADOBE_DEFLATE)


def _is_png(path: Path) -> bool:
    """Return whether a file has a record, or the format of files of version 0.1.1.

    Other programs usually write other chunks between the header and the pixels.
    """
    if path.is_file() and read_record(path, _RECORDS) is not None:
        return True
    with path.open("rb") as file:
        start = file.read(100)
    if b"tEXtSoftware\0napari-kmeans " in start:
        return True
    # Version 0.1.1 wrote recolored images only: a legend without a mark is a file of the user.
    if not path.stem.endswith("-recolored"):
        return False
    # Signature and header have 33 bytes. The length and the name of the next chunk follow.
    return start.startswith(b"\x89PNG\r\n\x1a\n") and start[37:41] == b"IDAT"


def _is_zarr(path: Path) -> bool:
    attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
    # `_write_ome_zarr` gives the image in "scan-labels.zarr" the name "scan labels".
    stem, _, kind = attributes["ome"]["multiscales"][0]["name"].rpartition(" ")
    return path.name == f"{stem}-{kind}.zarr"


def _is_table(path: Path) -> bool:
    from napari_kmeans.measuring import COLOR_COLUMN, COUNT_COLUMNS

    with path.open(encoding="utf-8") as file:
        # A file of the user may be one long line: read no more than 64 KiB.
        header = file.readline(2**16).strip().split(",")
    first = header[: len(COUNT_COLUMNS)]
    return first == list(COUNT_COLUMNS) and header[-1] == COLOR_COLUMN


def _is_model_or_record(path: Path) -> bool:
    from napari_kmeans.model import KMeansModel

    (read_run_record if path.name == RECORD_FILE else KMeansModel.load)(path)
    return True


def _is_geojson(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(100)
    return start.startswith(b'{"type":"FeatureCollection","generator":"napari-kmeans ')


_RECORDS = (*KINDS, MASK, CONFIDENCE)

_CHECKS: dict[str, Callable[[Path], bool]] = {
    ".tif": _is_tiff,
    ".png": _is_png,
    ".zarr": _is_zarr,
    ".csv": _is_table,
    ".json": _is_model_or_record,
    ".geojson": _is_geojson,
}
"""The check that recognizes a result by its contents, for each suffix."""
