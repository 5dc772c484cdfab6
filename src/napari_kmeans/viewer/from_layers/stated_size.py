"""Read the size of pixels from the file of a layer that has none.

napari's own reader of TIFF files leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari.layers import Image, Labels, Points, Shapes

from napari_kmeans.files.tiff import read_stored_axes
from napari_kmeans.files.units import LENGTHS, TIMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Axis

_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
_PIXEL = "pixel"


class StatedSize(NamedTuple):
    """The distance of neighboring pixels along each axis of a layer, and its unit."""

    scale: tuple[float, ...]
    units: tuple[str, ...]

    def __str__(self) -> str:
        """Return the lengths, such as "2 by 0.5 by 0.5 µm"."""
        known = [pair for pair in zip(self.scale, self.units, strict=True) if pair[1] in LENGTHS]
        symbols = [LENGTHS[unit].symbol for _, unit in known]
        if len({*symbols}) == 1:
            return f"{' by '.join(f'{scale:.4g}' for scale, _ in known)} {symbols[0]}"
        pairs = zip(known, symbols, strict=True)
        return " by ".join(f"{scale:.4g} {symbol}" for (scale, _), symbol in pairs)


@dataclass(frozen=True, eq=False)
class StatedSizeWork:
    """Work in the background: reading the size of the pixels of a file.

    Attributes
    ----------
    path : str
    shape : tuple of int
        The shape of the data of the layer.
    n_axes : int
        The axes of the layer, which do not include the channels of a color.
    """

    path: str
    shape: tuple[int, ...]
    n_axes: int

    @classmethod
    def of(cls, layer: Image) -> StatedSizeWork:
        """Return the work for a layer that `lacks_size`."""
        return cls(str(layer.source.path), tuple(map(int, layer.data.shape)), layer.ndim)

    def run(self, progress: Report | None = None) -> StatedSize | None:
        """Return the size that the file states; None if it states none or cannot be read."""
        try:
            axes = read_stored_axes(Path(self.path), self.shape)
        except Exception:
            # The layer is in the viewer, so that its file need not be read again. Damaged files
            # raise exceptions of many types.
            return None
        return _size_of(axes[: self.n_axes])


def _size_of(axes: Iterable[Axis]) -> StatedSize | None:
    """Return the size that axes state; None if no axis has a length."""
    known = [
        (each.scale, each.unit) if each.unit in LENGTHS or each.unit in TIMES else (1.0, _PIXEL)
        for each in axes
    ]
    scale, units = tuple(scale for scale, _ in known), tuple(unit for _, unit in known)
    return StatedSize(scale, units) if {*units} & {*LENGTHS} else None


def lacks_size(layer: Layer | None) -> bool:
    """Return whether a layer is from a TIFF file, and has no size of pixels."""
    if not isinstance(layer, Image) or layer.multiscale or not _has_no_size(layer):
        return False
    return str(layer.source.path or "").lower().endswith(_SUFFIXES)


def layers_of_same_pixels(layer: Image, layers: Iterable[Layer]) -> list[Layer]:
    """Return a layer and others without a size whose coordinates are pixels of the same image."""
    return [
        each
        for each in layers
        if each is layer or (_has_no_size(each) and _has_same_pixels(each, layer))
    ]


def _has_same_pixels(other: Layer, layer: Image) -> bool:
    if isinstance(other, Points | Shapes):
        return bool(other.ndim == layer.ndim)
    if not isinstance(other, Image | Labels) or other.multiscale:
        return False
    return bool(other.data.shape[: other.ndim] == layer.data.shape[: layer.ndim])


def _has_no_size(layer: Layer) -> bool:
    return bool((layer.scale == 1).all()) and all(str(unit) == _PIXEL for unit in layer.units)
