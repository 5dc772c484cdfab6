"""Write the results of images: labels, recolored image, table and model."""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.atomic import PREFIX, clear_leftovers, replacing
from napari_kmeans.files.ome_zarr_writer import Image, spatial_axes, write_images
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.zarr_reader import RGB_COLORS
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

SUFFIXES = {
    "labels": (".tif", ".zarr"),
    "recolored": (".png", ".tif", ".zarr"),
    "table": (".csv",),
    "model": (".json",),
}
SHARED_MODEL, SHARED_TABLE = "napari-kmeans-model.json", "napari-kmeans-table.csv"
"""File names of the model and the table that several images share."""

RGBA = ("red", "green", "blue", "alpha")


def write_results(
    seg: Segmentation,
    directory: Path,
    stem: str,
    axes: Sequence[Axis] = (),
    report: Report | None = None,
    shared: bool = False,
    kept: Sequence[Path] = (),
) -> Written:
    """Write the labels, the recolored image, the table and the model of one image.

    The files get their names only after all of them are written. Results of an
    earlier run for the same stem that are not overwritten are removed at the same
    time: a model, or labels and pixels in another format. Lazy labels and pixels
    are written as OME-Zarr, chunk by chunk.

    Parameters
    ----------
    seg : Segmentation
    directory : Path
    stem : str
        The beginning of the file names.
    axes : sequence of Axis, optional
        The axes of the image, for OME-Zarr.
    report : callable, optional
        ``report(done, total)`` is called after each chunk. If it raises an
        exception, the writing stops.
    shared : bool
        Whether other images have the same model. Then the model is not written,
        and the table counts the pixels of this image only.
    kept : sequence of Path, optional
        Files that are never removed.

    Returns
    -------
    Written

    Raises
    ------
    OSError
        If the disk is full or cannot be written to.
    """
    lazy = is_dask(seg.labels)
    if lazy:
        suffixes = ".zarr", ".zarr"
    else:
        png = png_holds(seg.recolored, _tiff_axes(seg.model, seg.recolored.ndim))
        suffixes = ".tif", ".png" if png else ".tif"
    names = [f"labels{suffixes[0]}", f"recolored{suffixes[1]}", "table.csv"]
    names += [] if shared else ["model.json"]
    paths = [directory / f"{stem}-{name}" for name in names]
    others = [path for path in _targets(directory, stem) if path not in paths]
    clear_leftovers(others)
    obsolete = find_results(others, kept)
    counts = LabelCounts(seg.model)
    with replacing(paths, obsolete) as temporary:
        labels, recolored, table, *model = temporary.values()
        if lazy:
            _write_lazily(seg, stem, labels, recolored, axes, report, counts)
        else:
            _write_at_once(seg, labels, recolored, counts)
        written = counts.table() if shared else seg.table
        written.to_csv(table, index=False)
        for path in model:
            seg.model.save(path)
    return Written(paths, written, obsolete)


class Written(NamedTuple):
    """The files and the table that `write_results` has written."""

    paths: list[Path]
    table: pd.DataFrame
    removed: list[Path]
    """Files of an earlier run that were removed."""


def find_results(paths: Iterable[Path], kept: Iterable[Path] = ()) -> list[Path]:
    """Return the paths whose files were written by a run of this command line.

    Files are recognized by their contents, because a file of the user may have the
    name of a result. The returned paths include no symbolic link, no `kept` file,
    and no directory that contains a `kept` file.
    """
    places = {_key(place) for path in kept for place in (path, *path.absolute().parents)}
    return [path for path in paths if _key(path) not in places and _is_result(path)]


def stems_without_model(directory: Path) -> tuple[set[str], set[str]]:
    """Return the stems of the results in a directory that have no model of their own.

    Returns
    -------
    shared, others : sets of str
        `shared` are the stems whose tables have the colors of the shared model in
        the directory. `others` are the stems of another shared model.
    """
    model = _shared_colors(directory / SHARED_MODEL)
    shared: set[str] = set()
    others: set[str] = set()
    for path in directory.iterdir():
        stem, found, suffix = path.name.rpartition("-labels")
        if not (stem and found and suffix in SUFFIXES["labels"]) or stem.startswith(PREFIX):
            continue
        table = directory / f"{stem}-table.csv"
        if not (directory / f"{stem}-model.json").exists() and find_results([table]):
            (shared if _table_colors(table) == model else others).add(stem)
    return shared, others


def _shared_colors(path: Path) -> list[str] | None:
    from napari_kmeans.model import KMeansModel

    return colors_of(KMeansModel.load(path))["color"].to_list() if find_results([path]) else None


def _table_colors(path: Path) -> list[str]:
    return [line.rpartition(",")[2] for line in path.read_text("utf-8").splitlines()[1:]]


def _is_result(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.exists() and _CHECKS[path.suffix](path)
    except Exception:
        # Decoders raise exceptions of many types for damaged files.
        return False


def _is_tiff(path: Path) -> bool:
    """Return whether a file has the format that `_write_tiff` writes."""
    from tifffile import COMPRESSION, TiffFile

    if path.is_dir():
        return False
    with TiffFile(path) as file:
        page = file.pages.first
        by_tifffile = file.is_shaped and page.software == "tifffile.py"
        return bool(by_tifffile and page.compression == COMPRESSION.ADOBE_DEFLATE)


def _is_png(path: Path) -> bool:
    """Return whether a file has the format that `_write_png` writes.

    Other programs usually write other chunks between the header and the pixels.
    """
    with path.open("rb") as file:
        start = file.read(41)
    # Signature and header have 33 bytes. The length and the name of the next chunk follow.
    return start.startswith(b"\x89PNG\r\n\x1a\n") and start[37:] == b"IDAT"


def _is_zarr(path: Path) -> bool:
    attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
    # `_write_lazily` gives the image in "scan-labels.zarr" the name "scan labels".
    stem, _, part = attributes["ome"]["multiscales"][0]["name"].rpartition(" ")
    return path.name == f"{stem}-{part}.zarr"


def _is_table(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        # A file of the user may be one long line: read no more than 64 KiB.
        header = file.readline(2**16).strip().split(",")
    return header[:3] == ["index", "pixels", "percent"] and header[-1] == "color"


def _is_model(path: Path) -> bool:
    from napari_kmeans.model import KMeansModel

    KMeansModel.load(path)
    return True


_CHECKS: dict[str, Callable[[Path], bool]] = {
    ".tif": _is_tiff,
    ".png": _is_png,
    ".zarr": _is_zarr,
    ".csv": _is_table,
    ".json": _is_model,
}
"""The check that recognizes a result by its contents, for each suffix."""


class LabelCounts:
    """The number of pixels of each label. Several threads may add to it."""

    def __init__(self, model: KMeansModel) -> None:
        self._model = model
        self._counts = np.zeros(model.n_clusters + 1, np.int64)
        self._lock = threading.Lock()

    def add(self, labels: NDArray[Any]) -> None:
        """Count the labels of a part of the image."""
        counts = np.bincount(labels.reshape(-1), minlength=len(self._counts))
        with self._lock:
            self._counts += counts

    def table(self) -> pd.DataFrame:
        """Return a table of label, pixels, percent of the pixels that have a label, and color."""
        table = colors_of(self._model)[["index", "color"]]
        pixels = self._counts[1:]
        table.insert(1, "pixels", pixels)
        table.insert(2, "percent", 100 * pixels / max(pixels.sum(), 1))
        return table


def colors_of(model: KMeansModel) -> pd.DataFrame:
    """Return a table of the clusters of a model: label, mean of each channel, and color."""
    import pandas as pd

    from napari_kmeans.imaging.colors import to_hex
    from napari_kmeans.segmentation import channel_names

    columns: dict[str, Any] = {"index": np.arange(1, model.n_clusters + 1)}
    for name, means in zip(channel_names(model), model.palette.T, strict=True):
        columns[f"mean {name}"] = means
    return pd.DataFrame({**columns, "color": to_hex(model.colors)})


def _write_at_once(seg: Segmentation, labels: Path, recolored: Path, counts: LabelCounts) -> None:
    for row in seg.labels:
        counts.add(row)
    _write_tiff(labels, seg.labels)
    if recolored.suffix == ".png":
        _write_png(recolored, seg.recolored)
    else:
        _write_tiff(recolored, seg.recolored, _tiff_axes(seg.model, seg.recolored.ndim))


def _write_lazily(
    seg: Segmentation,
    stem: str,
    labels: Path,
    recolored: Path,
    axes: Sequence[Axis],
    report: Report | None,
    counts: LabelCounts,
) -> None:
    axis = seg.model.channel_axis
    axes = list(axes or _default_axes(seg.recolored.ndim, axis))
    spatial = [a for number, a in enumerate(axes) if axis is None or number != axis % len(axes)]
    colors = {"image-label": _label_colors(seg.model)}
    images = [
        Image(labels, f"{stem} labels", seg.labels, spatial, colors, counts.add),
        Image(recolored, f"{stem} recolored", seg.recolored, axes, _channels(seg)),
    ]
    write_images(images, report)


def _default_axes(ndim: int, channel_axis: int | None) -> list[Axis]:
    if channel_axis is None:
        return list(spatial_axes(ndim))
    axes = list(spatial_axes(ndim - 1))
    axes.insert(channel_axis % ndim, Axis("c", "channel"))
    return axes


def _label_colors(model: KMeansModel) -> dict[str, Any]:
    colors = np.rint(model.colors * 255).astype(int).tolist()
    return {
        "colors": [
            {"label-value": label, "rgba": [*color, 255]}
            for label, color in enumerate(colors, start=1)
        ]
    }


def _channels(seg: Segmentation) -> dict[str, Any]:
    """Return the OME-Zarr metadata of color channels: red, green, blue and alpha."""
    if not seg.model.rgb:
        return {}
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.colors import display_range

    ends = {"alpha": (0.0, seg.model.white)}
    colors = display_range(seg.model.palette, seg.model.dtype)
    channels = [
        {
            "label": label,
            "color": color,
            "active": label != "alpha",
            "window": _window(seg.model.white, *ends.get(label, colors)),
        }
        for label, color in zip(RGBA, (*RGB_COLORS, "FFFFFF"), strict=True)
    ]
    return {"omero": {"channels": channels[: seg.recolored.shape[-1]], "rdefs": {"model": "color"}}}


def _window(white: float, start: float, end: float) -> dict[str, float]:
    """Return the limits of a channel's values, and the values that are shown dark and bright."""
    return {"min": min(0.0, start), "max": max(white, end), "start": start, "end": end}


def png_holds(image: np.ndarray, axes: str) -> bool:
    """Return whether reading a PNG file gives back `image` exactly.

    The answer is no for 16-bit colors. PNG can store them, but Pillow, which most
    Python packages use for reading, returns 8 bits.
    """
    if axes == "YX":
        return image.dtype in (np.uint8, np.uint16)
    return axes == "YXS" and image.dtype == np.uint8


@contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """Create a directory, check that it is writable, and remove it at the end if it is empty.

    Parent directories that were created are removed too if they are empty.

    Raises
    ------
    OSError
        On entering, if the directory cannot be created or written to.
    """
    made = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.mkdir(parents=True, exist_ok=True)
        # All runs use the same name, so that the next run removes the probe of a killed run.
        probe = path / f"{PREFIX}probe"
        probe.touch()
        probe.unlink(missing_ok=True)
        yield path
    finally:
        for directory in made:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


def free_stems(names: list[str], directory: Path, inputs: list[Path]) -> list[str]:
    """Return a stem for each name, so that no result overwrites another result or an input."""
    taken = {_key(path) for path in inputs}
    stems = []
    for name in names:
        number = 1
        stem = name
        while taken & (targets := {_key(path) for path in _targets(directory, stem)}):
            number += 1
            stem = f"{name}-{number}"
        taken |= targets
        stems.append(stem)
    return stems


def _targets(directory: Path, stem: str) -> list[Path]:
    return [
        directory / f"{stem}-{part}{suffix}"
        for part, suffixes in SUFFIXES.items()
        for suffix in suffixes
    ]


def _key(path: Path) -> str:
    # On macOS and Windows, names that differ only in case are the same file. `Path.resolve`
    # would raise an exception for a symbolic link to itself.
    return os.path.realpath(path).casefold()


def _tiff_axes(model: KMeansModel, ndim: int) -> str:
    """Return a letter for each axis of an image, as in TIFF.

    The last spatial axes are Z, Y and X, other spatial axes are Q (unknown). The
    channels are S if they are colors, otherwise C.
    """
    n_spatial = ndim - (model.channel_axis is not None)
    names = ("Q" * n_spatial + "ZYX")[-n_spatial:]
    if model.channel_axis is None:
        return names
    position = model.channel_axis % ndim
    return names[:position] + ("S" if model.rgb else "C") + names[position:]


def _write_png(path: Path, image: np.ndarray) -> None:
    import imageio.v3 as iio

    iio.imwrite(path, image)


def _write_tiff(path: Path, image: np.ndarray, axes: str = "") -> None:
    import tifffile

    color = axes.endswith("S")
    tifffile.imwrite(
        path,
        image,
        photometric="rgb" if color else "minisblack",
        extrasamples=["unassalpha"] if color and image.shape[-1] == 4 else None,
        metadata={"axes": axes} if axes else {},
        compression="zlib",
    )
