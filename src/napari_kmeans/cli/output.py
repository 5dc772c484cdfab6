"""Write the results of images: labels, recolored image, table and model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.cli.earlier_results import find_results
from napari_kmeans.cli.result_files import result_paths
from napari_kmeans.files.atomic import clear_leftovers, replacing
from napari_kmeans.files.ome_zarr_writer import Image, spatial_axes, write_images
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.zarr_reader import RGB_COLORS
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

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
    others = [path for path in result_paths(directory, stem) if path not in paths]
    clear_leftovers(others)
    obsolete = find_results(others, kept)
    counts = LabelCounts(seg.model)
    with replacing(paths, obsolete) as temporary:
        labels, recolored, table, *model = temporary.values()
        if lazy:
            _write_ome_zarr(seg, stem, labels, recolored, axes, report, counts)
        else:
            _write_tiff_or_png(seg, labels, recolored, counts)
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


class LabelCounts:
    """The number of pixels of each label. Several threads may add to it."""

    def __init__(self, model: KMeansModel) -> None:
        self._model = model
        self._counts = np.zeros(model.labels[-1] + 1, np.int64)
        self._lock = threading.Lock()

    def add(self, labels: NDArray[Any]) -> None:
        """Count the labels of a part of the image."""
        counts = np.bincount(labels.reshape(-1), minlength=len(self._counts))
        with self._lock:
            self._counts += counts

    def table(self) -> pd.DataFrame:
        """Return the table of the clusters, without the channel means of the model's fit."""
        # This module imports numba, which would slow down the start of the command line.
        from napari_kmeans.measuring import cluster_table, mean_columns

        table = cluster_table(self._model, self._counts[self._model.labels])
        return table.drop(columns=mean_columns(table))


def _write_tiff_or_png(
    seg: Segmentation, labels: Path, recolored: Path, counts: LabelCounts
) -> None:
    # Count row by row: `np.bincount` makes an int64 copy of its input.
    for row in seg.labels:
        counts.add(row)
    _write_tiff(labels, seg.labels)
    if recolored.suffix == ".png":
        _write_png(recolored, seg.recolored)
    else:
        _write_tiff(recolored, seg.recolored, _tiff_axes(seg.model, seg.recolored.ndim))


def _write_ome_zarr(
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
    colors = {"image-label": _describe_labels(seg.model)}
    images = [
        Image(labels, f"{stem} labels", seg.labels, spatial, colors, counts.add),
        Image(recolored, f"{stem} recolored", seg.recolored, axes, _describe_channels(seg)),
    ]
    write_images(images, report)


def _default_axes(ndim: int, channel_axis: int | None) -> list[Axis]:
    if channel_axis is None:
        return list(spatial_axes(ndim))
    axes = list(spatial_axes(ndim - 1))
    axes.insert(channel_axis % ndim, Axis("c", "channel"))
    return axes


def _describe_labels(model: KMeansModel) -> dict[str, Any]:
    """Return the OME-Zarr metadata of a label image: the color and name of each label."""
    colors = np.rint(model.colors * 255).astype(int).tolist()
    metadata = {
        "colors": [
            {"label-value": label, "rgba": [*color, 255]}
            for label, color in zip(model.labels.tolist(), colors, strict=True)
        ]
    }
    named = [each for each in model.edited_classes or () if each.name]
    if named:
        metadata["properties"] = [{"label-value": each.label, "name": each.name} for each in named]
    return metadata


def _describe_channels(seg: Segmentation) -> dict[str, Any]:
    """Return the OME-Zarr metadata of color channels: red, green, blue and alpha."""
    if not seg.model.rgb:
        return {}
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.colors import display_range

    white = seg.model.white
    color_range = display_range(seg.model.palette, seg.model.dtype)
    channels = [
        {
            "label": label,
            "color": color,
            "active": label != "alpha",
            "window": _window(white, *((0.0, white) if label == "alpha" else color_range)),
        }
        for label, color in zip(RGBA, (*RGB_COLORS, "FFFFFF"), strict=True)
    ]
    return {"omero": {"channels": channels[: seg.recolored.shape[-1]], "rdefs": {"model": "color"}}}


def _window(white: float, start: float, end: float) -> dict[str, float]:
    """Return the limits of a channel's values, and the values shown dark and bright."""
    return {"min": min(0.0, start), "max": max(white, end), "start": start, "end": end}


def png_holds(image: np.ndarray, axes: str) -> bool:
    """Return whether reading a PNG file gives back `image` exactly.

    The answer is no for 16-bit colors. PNG can store them, but Pillow, which most
    Python packages use for reading, returns 8 bits.
    """
    if axes == "YX":
        return image.dtype in (np.uint8, np.uint16)
    return axes == "YXS" and image.dtype == np.uint8


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
