"""Write a binary mask of each class as an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.checks import Flag, check_path, quote_value
from napari_kmeans.execution.progress import Progress
from napari_kmeans.exported import Exported, axes_of
from napari_kmeans.files.atomic import replacing
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.result_record import MASK
from napari_kmeans.files.tiff_writer import write_png, write_tiff
from napari_kmeans.files.units import LENGTHS
from napari_kmeans.objects import check_scale

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.exported import ExportedClass
    from napari_kmeans.files.picture import Axis
    from napari_kmeans.model import KMeansModel

_BYTES_PER_PIXEL = 12
"""The labels, one mask and their compressed copies."""


def write_masks(
    segmentation: Any,
    directory: str | os.PathLike[str],
    stem: str,
    *,
    classes: KMeansModel | pd.DataFrame | None = None,
    include_ignored: bool = False,
    scale: Sequence[float] | None = None,
    unit: str = "",
    axes: str | None = None,
    progress: Report | None = None,
) -> list[Path]:
    """Write a mask of each class: 255 where a pixel belongs to it, else 0.

    All files are written, or none. The file of class 3, *soil*, of ``stem="field"`` is
    ``field-mask-3-soil.png``; characters that file names cannot have become ``_``.

    Parameters
    ----------
    segmentation : Segmentation, StackSegmentation, or (..., Y, X) array of whole numbers
        A result of one image, or its labels, with two to four axes. dask arrays are computed
        in memory.
    directory : path
        It has to exist.
    stem : str
        The beginning of the file names.
    classes : KMeansModel or pandas.DataFrame, optional
        As in `write_geojson`.
    include_ignored : bool, default False
        Whether ignored classes get a mask.
    scale : sequence of float, optional
        The distance between neighboring pixels along each axis. TIFF files contain it.
    unit : str, default ""
        The unit of `scale` along the axes of space, such as ``"micrometer"``.
    axes : str, optional
        The letters of the axes, such as ``"tyx"`` for a time lapse. None takes the last of
        ``"tzyx"``.
    progress : callable, optional
        ``progress(done, total)`` is called after each file. If it raises an exception, no file
        is written.

    Returns
    -------
    list of Path
        The files, in the order of the classes: 8-bit PNG for two axes, else TIFF.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, if a label has no class, or if lazy labels do not
        fit into memory.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> write_masks(segment(image, 4), "masks", "image")
    """
    ignored = Flag().check("include_ignored", include_ignored)
    exported = Exported.of(segmentation, classes, ignored, axes)
    steps = check_scale(scale, exported.labels.ndim).tolist()
    if unit and unit not in LENGTHS:
        raise ValueError(
            f"unit must be a unit of length, got {quote_value(unit)}: write it in full, such as "
            "'micrometer'."
        )
    if not isinstance(stem, str) or Path(stem).name != stem:
        raise ValueError(
            f"stem must be the beginning of a file name, got {quote_value(stem)}: pass the "
            "directory as directory."
        )
    masks = Masks(exported, axes_of(exported.letters, steps, unit), stem)
    paths = masks.paths(check_path("directory", directory))
    with replacing(paths) as temporary:
        masks.write([*temporary.values()], progress)
    return paths


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of the classes of one image.

    Attributes
    ----------
    exported : Exported
    axes : tuple of Axis
        The metadata of the axes of the labels; they may be empty.
    stem : str
        The beginning of the file names.
    """

    exported: Exported
    axes: tuple[Axis, ...]
    stem: str

    def paths(self, directory: Path) -> list[Path]:
        """Return the file of each class."""
        suffix = ".png" if self.exported.labels.ndim == 2 else ".tif"
        names = (each.file_name for each in self.exported.classes)
        return [directory / f"{self.stem}-{MASK}-{name}{suffix}" for name in names]

    def write(self, paths: Sequence[Path], progress: Report | None = None) -> None:
        """Write the masks to paths in the order of the classes."""
        report = Progress(progress)
        labels = self.exported.compute(bytes_per_pixel=_BYTES_PER_PIXEL)
        step = report.stage(1, len(paths))
        for each, path in zip(self.exported.classes, paths, strict=True):
            self._write_mask(labels, each, path)
            step(1)
        report.finish()

    def _write_mask(self, labels: NDArray[Any], each: ExportedClass, path: Path) -> None:
        mask = np.where(labels == each.label, np.uint8(255), np.uint8(0))
        picture = Picture(mask, rgb=False, axes=self.axes)
        described = {"label": each.label, "name": each.name, "color": each.color}
        record = {"kind": MASK, "version": __version__, "stem": self.stem, "class": described}
        (write_png if mask.ndim == 2 else write_tiff)(path, picture, record)
