"""Labels and recolored pixels: the nearest center of every pixel, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.lloyd import find_nearest
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.blocks import extract_values
from napari_kmeans.imaging.declared import as_key
from napari_kmeans.imaging.histogram import pack_table, unpack_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.colors import ColorSpace
    from napari_kmeans.imaging.histogram import Codec, Histogram
    from napari_kmeans.types import Block


def label_dtype(n_clusters: int) -> np.dtype[Any]:
    """Return the smallest unsigned dtype that holds the labels 0…K."""
    return np.min_scalar_type(n_clusters)


def round_to(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values in a dtype, rounded and clipped to what it can hold."""
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind == "f":
        most = np.finfo(dtype).max
        return np.clip(values, -most, most).astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(values)
    # The greatest int64 has no float64: what rounds above it is put back after.
    inside = np.clip(rounded, limits.min, np.nextafter(float(limits.max) + 1, 0)).astype(dtype)
    inside[rounded >= float(limits.max)] = limits.max
    return inside


@dataclass(frozen=True, eq=False)
class Painter:
    """What turns pixels into labels: centers, and a table of codes where there is one.

    Attributes
    ----------
    centers : (K, F) float64 array
        In the clustering space; the first of those nearest to a pixel gives its label.
    space : ColorSpace
    codec, table
        The labels of all codes of the image, or None and None.
    ranks : (K,) int64 array or None
        The label of each center, less 1; None: its index. Which of equally near
        centers is the first does not depend on the order of the labels then.
    """

    centers: NDArray[np.float64]
    space: ColorSpace
    codec: Codec | None = None
    table: NDArray[Any] | None = None
    ranks: NDArray[np.int64] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the labels."""
        return label_dtype(len(self.centers))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the runs of the table alone."""
        packed = None if self.table is None else pack_table(self.table)
        return _unpacked, (self.centers, self.space, self.codec, packed, self.ranks)

    def with_table(
        self,
        histogram: Histogram,
        labels: NDArray[Any] | None = None,
        names: NDArray[Any] | None = None,
    ) -> Painter:
        """Return a painter that looks labels up instead of searching for each pixel.

        Where the distinct colors have been searched for already, `labels` (n,)
        are what was found, and `names` the label that each of these now has.
        """
        if labels is None or names is None:
            labels = self.label_colors(histogram.points)
            names = np.arange(len(self.centers) + 1)
        table = histogram.table(labels, names.astype(self.dtype))
        return replace(self, codec=histogram.codec, table=table)

    def label_colors(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the label of each color (n, C)."""
        nearest, _ = find_nearest(self.space.convert(values), self.centers)
        ranks = nearest if self.ranks is None else self.ranks[nearest]
        return (ranks + 1).astype(self.dtype)

    def label_block(self, pixels: Pixels, block: Block) -> NDArray[Any]:
        """Return the labels of the pixels of a block."""
        return self.label(*pixels.read(block))

    def label(self, values: NDArray[Any], kept: NDArray[np.bool_] | None) -> NDArray[Any]:
        """Return the labels of pixels (n, C); 0 where they are not kept."""
        if self.codec is not None and self.table is not None:
            labels = self.codec.look_up(values, self.table)
            return labels if kept is None else np.where(kept, labels, self.dtype.type(0))
        if kept is None:
            return self.label_colors(values)
        labels = np.zeros(len(values), self.dtype)
        labels[kept] = self.label_colors(values[kept])
        return labels


def _unpacked(
    centers: NDArray[np.float64], space: ColorSpace, codec: Any, packed: Any, ranks: Any
) -> Painter:
    table = None if packed is None else unpack_table(packed)
    return Painter(centers, space, codec, table, ranks)


@dataclass(frozen=True, eq=False)
class RelabelPainter(Painter):
    """A painter of an image whose nearest centers have been found already.

    Attributes
    ----------
    found : array of the spatial shape
        A number for each pixel.
    names : (n,) array
        The label of each number.
    """

    found: NDArray[Any] = field(kw_only=True)
    names: NDArray[Any] = field(kw_only=True)

    def label_block(self, pixels: Pixels, block: Block) -> NDArray[Any]:
        """Return the labels of the pixels of a block."""
        return np.asarray(self.names[self.found[block]])


def recolor(labels: NDArray[Any], palette: NDArray[Any], original: NDArray[Any]) -> NDArray[Any]:
    """Return `original` (..., C or more) with the channels of each label's color.

    Pixels of label 0 and further channels (alpha) keep what they have. The
    palette must have values that the dtype of `original` can hold.
    """
    colored = np.empty(original.shape, original.dtype)
    _recolor_into(colored, labels, palette, original)
    return colored


def _recolor_into(
    target: NDArray[Any], labels: NDArray[Any], palette: NDArray[Any], original: NDArray[Any]
) -> None:
    n_channels = palette.shape[1]
    if not target.flags.c_contiguous:
        target[...] = recolor(labels, palette, original)
        return
    target[..., n_channels:] = original[..., n_channels:]
    # Bits are copied, so that all must have the same dtype and byte order.
    values = np.ascontiguousarray(original, target.dtype).reshape(-1, original.shape[-1])
    colors = palette.astype(target.dtype, copy=False)
    kernels.recolor(
        labels.reshape(-1),
        tuple(np.append(column[:1], column) for column in _as_bits(colors).T),
        _as_bits(values),
        _as_bits(target.reshape(values.shape)),
    )


def _as_bits(array: NDArray[Any]) -> NDArray[Any]:
    """View the last axis as unsigned integers, which are all the same to copy."""
    size = array.dtype.itemsize
    return array.view(np.uint64 if size > 8 else f"u{size}")


def paint(
    pixels: Pixels, painter: Painter, palette: NDArray[np.float64] | None, step: Step = ignore
) -> tuple[Any, Any]:
    """Return the labels and, with a palette, the recolored image of all pixels.

    Parameters
    ----------
    pixels : Pixels
    painter : Painter
    palette : (K, C) float64 array or None
        In channel units; None leaves the recolored image out.
    step : callable
        Called after each block.

    Returns
    -------
    labels : array of the spatial shape
        Unsigned; 0 where a pixel is left out. Lazy where the image is a dask array.
    recolored : array of the image's shape and dtype, or None
    """
    colors = None if palette is None else round_to(palette, pixels.dtype)
    if pixels.is_lazy:
        return _paint_lazily(pixels, painter, colors)
    labels = np.empty(pixels.shape, painter.dtype)
    recolored = None if colors is None else np.empty_like(pixels.array, order="K")

    def paint_block(block: Block) -> None:
        target = labels[block]
        target[...] = painter.label_block(pixels, block).reshape(target.shape)
        if recolored is not None and colors is not None:
            _recolor_into(recolored[block], target, colors, pixels.array[block])

    map_threads(paint_block, pixels.blocks(), step)
    return labels, recolored


def _paint_lazily(pixels: Pixels, painter: Painter, colors: NDArray[Any] | None) -> tuple[Any, Any]:
    import dask.array as da

    image = pixels.array
    masks = [] if pixels.mask is None else [pixels.mask[..., None]]
    labels = da.map_blocks(
        _label_chunk,
        as_key(painter),
        pixels.n_channels,
        image,
        *masks,
        dtype=painter.dtype,
        drop_axis=image.ndim - 1,
        meta=np.empty((0,) * (image.ndim - 1), painter.dtype),
    )
    if colors is None:
        return labels, None
    return labels, recolor_lazily(labels, colors, image)


def recolor_lazily(labels: Any, palette: NDArray[Any], original: Any) -> Any:
    """Return what `recolor` makes of dask arrays of the same chunks, as a dask array."""
    import dask.array as da

    return da.map_blocks(
        _recolor_chunk,
        as_key(palette),
        original.dtype,
        original,
        labels[..., None],
        dtype=original.dtype,
        chunks=original.chunks,
        meta=np.empty((0,) * original.ndim, original.dtype),
    )


def _label_chunk(
    painter: Painter, n_channels: int, chunk: NDArray[Any], *masks: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the labels of a chunk (..., C or more), given whether its pixels count (..., 1)."""
    pixels = np.asarray(chunk)
    with in_task():
        values, kept = extract_values(pixels, np.asarray(masks[0]) if masks else None, n_channels)
        return painter.label(values, kept).reshape(pixels.shape[:-1])


def _recolor_chunk(
    palette: NDArray[Any], dtype: np.dtype[Any], chunk: NDArray[Any], labels: NDArray[Any]
) -> NDArray[Any]:
    # A cluster hands arrays over in native byte order, whatever they had.
    return recolor(labels[..., 0], palette, np.asarray(chunk, dtype))
