"""Change the colors of some labels in a recolored layer, and revert the change without a copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.painting import label_dtype, recolor
from napari_kmeans.viewer.from_layers.source import layer_levels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

_BLOCK_PIXELS = 2**17
"""Pixels per task: few enough for the processor's cache."""


@dataclass(eq=False)
class Recoloring:
    """Other colors for the pixels of some labels in a recolored layer.

    No pixels are kept: those of the labels are painted again. Of lazy data, the graphs before
    the change are kept.

    Attributes
    ----------
    layer : napari.layers.Image
    before : mapping of int to array (C,)
        The color of each label before the change, in units of the layer.
    after : mapping of int to array (C,)
        The color of each label after the change; labels may be others than before.
    indices : sequence of tuple or ...
        The index of the slices that may change in each level; ... for all slices.
    """

    layer: Image
    before: Mapping[int, NDArray[Any]]
    after: Mapping[int, NDArray[Any]]
    indices: Sequence[Any]
    channel_axis: int = -1
    """The axis of the channels of a layer that has one more axis than the labels."""
    _lazy_before: list[Any] = field(default_factory=list, init=False, repr=False)

    def apply(self, labels: Sequence[Any]) -> list[Any]:
        """Return the data of each level after the change, for the label data after the edit."""
        levels = layer_levels(self.layer)
        self._lazy_before = [level if is_dask(level) else None for level in levels]
        return self._paint(levels, labels, self.after)

    def revert(self, labels: Sequence[Any]) -> list[Any]:
        """Return the data of each level before the change, for the label data before the edit."""
        levels, lazy = layer_levels(self.layer), self._lazy_before
        if all(earlier is not None for earlier in lazy):
            return lazy
        painted = self._paint(levels, labels, self.before)
        pairs = zip(lazy, painted, strict=True)
        return [level if earlier is None else earlier for earlier, level in pairs]

    def _paint(
        self, levels: list[Any], labels: Sequence[Any], colors: Mapping[int, NDArray[Any]]
    ) -> list[Any]:
        painted = []
        for level, level_labels, index in zip(levels, labels, self.indices, strict=True):
            has_channels = level.ndim > level_labels.ndim
            pixels = np.moveaxis(level, self.channel_axis, -1) if has_channels else level
            part = recolor_labels(pixels[index], level_labels[index], colors)
            if index is not ...:
                whole = pixels.copy()
                whole[index] = part
                part = whole
            painted.append(np.moveaxis(part, -1, self.channel_axis) if has_channels else part)
        return painted


def recolor_labels(image: Any, labels: Any, colors: Mapping[int, NDArray[Any]]) -> Any:
    """Return an image in which the pixels of some labels have other colors.

    Parameters
    ----------
    image : array
        Not changed. A dask array gives a dask array.
    labels : integer array
        The label of each pixel, in memory or lazy.
    colors : mapping of int to array (C,)
        The color of each label that changes, in the dtype of the image. If the image has a
        last axis that `labels` does not have, it is that of the channels; channels after the
        first C, such as alpha, stay.
    """
    palette = np.array(list(colors.values()))
    # The row of the palette plus 1 for each label; 0 for pixels that stay.
    codes = np.zeros(max(colors) + 2, label_dtype(len(palette)))
    codes[list(colors)] = np.arange(1, len(palette) + 1)
    if not is_dask(image):
        return _recolor_block(np.asarray(image), np.asarray(labels), codes, palette)
    import dask.array as da

    has_channels = image.ndim > labels.ndim
    if not is_dask(labels):
        # Without a name, dask would read all labels for their hash.
        labels = da.from_array(labels, name=False)
    labels = labels.rechunk(image.chunks[: labels.ndim])
    return da.map_blocks(
        _recolor_chunk,
        image,
        labels[..., None] if has_channels else labels,
        codes=codes,
        palette=palette,
        has_channels=has_channels,
        dtype=image.dtype,
        chunks=image.chunks,
        meta=np.empty((0,) * image.ndim, image.dtype),
    )


def _recolor_chunk(
    image: NDArray[Any],
    labels: NDArray[Any],
    codes: NDArray[Any],
    palette: NDArray[Any],
    has_channels: bool,
) -> NDArray[Any]:
    return _recolor_block(image, labels[..., 0] if has_channels else labels, codes, palette)


def _recolor_block(
    image: NDArray[Any], labels: NDArray[Any], codes: NDArray[Any], palette: NDArray[Any]
) -> NDArray[Any]:
    pixels = np.ascontiguousarray(image).reshape(labels.size, -1)
    numbers, painted = np.ascontiguousarray(labels).reshape(-1), np.empty_like(pixels)

    def paint_block(part: slice) -> None:
        # np.take clips the index: the last entry serves all labels above the greatest.
        block = np.take(codes, numbers[part].astype(np.intp), mode="clip")
        painted[part] = recolor(block, palette, pixels[part])

    map_slices(paint_block, labels.size, _BLOCK_PIXELS)
    return painted.reshape(image.shape)
