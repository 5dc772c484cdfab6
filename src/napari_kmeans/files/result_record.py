"""The record in the files of a result, by which they are recognized and opened as what they are.

A TIFF file has it in the tag `RECORD_TAG`, a PNG file in an ``iTXt`` chunk, and a zarr
directory in the attributes of its group. The record is JSON:

- ``kind``: "labels", "recolored", "mask" for the mask of one class, or "confidence";
- ``version``: of this package;
- ``shape``: of the stored image. Readers of TIFF files drop axes of one pixel;
- ``axes``: name, kind, unit, scale and translation of each axis, as they are stored. Shape and
  axes are not in zarr directories, which have them in the metadata of OME-Zarr;
- ``channels``: name and color of each channel, of a recolored image that has them;
- ``classes``: the label, name and color of each class, of labels;
- ``class``: that of the class of a mask, whose ``stem`` is the beginning of its file name;
- ``table`` and ``model``: the table of the clusters and the model, of labels;
- ``layer``: the name and the place of the layer and its run, of labels that were saved in napari.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from napari_kmeans.files.picture import Axis, Channel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

RECORD_TAG = 65127
"""The TIFF tag of the record, in the range that is free for private use."""

RECORD_KEY = "napari-kmeans"
"""The keyword of the record in PNG files, and its attribute in zarr groups."""

KINDS = ("labels", "recolored")
"""The kinds of files that open with their record."""

MASK, CONFIDENCE = "mask", "confidence"
"""The kinds of the mask of a class and of the confidence. They open as any other image."""

MAX_BYTES = 2**26
"""The largest size of a record that is read, 64 MiB: that of a model file."""


def encode_record(record: dict[str, Any], shape: Sequence[int], axes: Sequence[Axis] = ()) -> str:
    """Return a record as JSON, with the shape and the axes of the stored image."""
    stored = {"shape": list(shape), "axes": [list(axis) for axis in axes]}
    return json.dumps({**record, **stored}, allow_nan=False)


def labels_record(version: str, table: pd.DataFrame, **entries: Any) -> dict[str, Any]:
    """Return the record of labels with the classes and the values of their table.

    Parameters
    ----------
    version : str
        That of this package.
    table : pandas.DataFrame
    **entries
        Other entries, as plain values.
    """
    # JSON has no NaN.
    columns = {
        str(name): [None if value != value else value for value in table[name].tolist()]
        for name in table
    }
    record = {"kind": "labels", "version": version, "classes": table_classes(table)}
    return {**record, "table": columns, **entries}


def table_classes(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the label, the name and the color of each row of a table of clusters."""
    names = table["name"].fillna("") if "name" in table else [""] * len(table)
    return [
        {"label": int(label), "name": name, "color": color}
        for label, name, color in zip(table["index"], names, table["color"], strict=True)
    ]


def read_record(path: Path, kinds: Sequence[str] = KINDS) -> dict[str, Any] | None:
    """Return the record in a file or a zarr directory; None if it has none of these kinds.

    Only the metadata of the file are read. A file is recognized by its first bytes.
    """
    try:
        record = _read(path)
    except Exception:
        # Decoders raise exceptions of many types for damaged files.
        return None
    return record if isinstance(record, dict) and record.get("kind") in kinds else None


def recorded_axes(record: dict[str, Any]) -> tuple[Axis, ...]:
    """Return the axes in a record, or nothing if they are missing or damaged."""
    try:
        axes = tuple(
            Axis(str(name), str(kind), str(unit), float(scale), float(translation))
            for name, kind, unit, scale, translation in record.get("axes", ())
        )
    except (TypeError, ValueError):
        return ()
    are_valid = all(axis.scale and isfinite(axis.scale + axis.translation) for axis in axes)
    return axes if are_valid else ()


def recorded_channels(record: dict[str, Any]) -> tuple[Channel, ...]:
    """Return the channels in a record, or nothing if they are missing or damaged."""
    try:
        channels = [(str(name), color) for name, color in record.get("channels", ())]
    except (TypeError, ValueError):
        return ()
    return tuple(
        Channel(name, color if re.fullmatch(r"#[0-9a-f]{6}", str(color)) else None)
        for name, color in channels
    )


def add_record_to_zarr(path: Path, record: dict[str, Any]) -> None:
    """Write a record into the attributes of the group in a zarr directory."""
    import zarr

    zarr.open_group(path, mode="r+").attrs[RECORD_KEY] = record


def _read(path: Path) -> Any:
    if path.is_dir():
        return json.loads((path / "zarr.json").read_bytes())["attributes"][RECORD_KEY]
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = file.read(8)
    if header[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return json.loads(_read_tiff(path))
    return json.loads(_read_png(path)) if header == b"\x89PNG\r\n\x1a\n" else None


def _read_tiff(path: Path) -> str:
    """Return the text of the record, or "null"."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        tag = file.pages.first.tags.get(RECORD_TAG)
        return "null" if tag is None or tag.count > MAX_BYTES else str(tag.value)


def _read_png(path: Path) -> bytes:
    """Return the text of the record, which is in a chunk before the pixels, or "null"."""
    start = RECORD_KEY.encode() + bytes(5)
    with path.open("rb") as file:
        file.seek(8)
        while True:
            length, name = int.from_bytes(file.read(4), "big"), file.read(4)
            if name in (b"IDAT", b"IEND", b"") or length > MAX_BYTES:
                return b"null"
            data = file.read(length)
            if name == b"iTXt" and data.startswith(start):
                return data.removeprefix(start)
            file.seek(4, 1)
