"""Label pixels by their nearest center, and recolor them, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.center_splits import label_by_centers
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.blocks import Frame, is_dask, move_block, split_shape
from napari_kmeans.imaging.chunks import Piece, make_piece, read_piece
from napari_kmeans.imaging.declared import as_key
from napari_kmeans.imaging.neighborhood import add_halo, join_chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.center_splits import CenterSplit
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.histogram import Codec, CodeTable, Histogram, WholeCells
    from napari_kmeans.types import Block, Floats


_FEW_COLORS, _SHORT_WORD = 9, 2
"""The number of colors, and of bytes of a pixel, up to which a loop over the pixels for each color
is faster than a look-up for each pixel: 8 clusters and the pixels that are left out."""


def label_dtype(n_clusters: int) -> np.dtype[Any]:
    """Return the smallest unsigned dtype that holds the labels 0…K."""
    return np.min_scalar_type(n_clusters)


def round_to(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values rounded and clipped to the range of a dtype, in this dtype."""
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind == "f":
        maximum = np.finfo(dtype).max
        return np.clip(values, -maximum, maximum).astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(values)
    # float64 cannot represent the maximum of int64 or uint64: clip just below it, then
    # restore the maximum.
    clipped = np.clip(rounded, limits.min, np.nextafter(float(limits.max) + 1, 0)).astype(dtype)
    clipped[rounded >= float(limits.max)] = limits.max
    return clipped


@dataclass(frozen=True, eq=False)
class Painter:
    """A function from pixels to labels: the centers, or a table of the labels of all colors.

    Attributes
    ----------
    centers : (K, F) float64 array
        Centers in the clustering space. A pixel gets the label of its nearest center,
        or of the first of several nearest centers.
    space : FeatureSpace
        The clustering space.
    codec : Codec or None
        The codec of the image's colors, if there is a table.
    table : CodeTable or None
        The label of each code. None searches for the nearest center of each pixel.
    ranks : (K,) int64 array or None
        The label of each center, minus 1. None takes the index of the center. With
        ranks, the order of the centers can differ from the order of the labels, so
        that a pixel between two centers gets the label under which it was counted.
    splits : tuple of CenterSplit
        The splits of earlier centers that made the centers; see `assign_to_centers`.
    """

    centers: Floats
    space: FeatureSpace
    codec: Codec | None = None
    table: CodeTable | None = None
    ranks: NDArray[np.int64] | None = None
    splits: tuple[CenterSplit, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the labels."""
        return label_dtype(len(self.centers))

    def with_table(
        self,
        histogram: Histogram,
        labels: NDArray[Any] | None = None,
        new_labels: NDArray[Any] | None = None,
        whole: WholeCells | None = None,
    ) -> Painter:
        """Return a painter that looks labels up in a table instead of searching for centers.

        Parameters
        ----------
        histogram : Histogram
            The distinct colors (n, C) of the image.
        labels : (n,) integer array, optional
            A known number of each color, such as the index of its nearest center. None
            searches for the nearest centers.
        new_labels : integer array, optional
            The label for each number from 0 on that `labels` may contain.
        whole : WholeCells, optional
            The cells whose number is known; see `Histogram.table`.
        """
        if labels is None or new_labels is None:
            labels = self.label_points(self.space.points(histogram.points))
            new_labels = np.arange(len(self.centers) + 1)
        table = histogram.table(labels, new_labels.astype(self.dtype), whole)
        return replace(self, codec=histogram.codec, table=table)

    def label_points(self, points: NDArray[Any]) -> NDArray[Any]:
        """Return the labels (n,) of points (n, F)."""
        nearest = label_by_centers(points, self.centers, self.splits)
        ranks = np.arange(len(self.centers)) if self.ranks is None else self.ranks
        return _look_up((ranks + 1).astype(self.dtype), nearest)

    def label_block(self, pixels: Pixels, block: Block, labels: NDArray[Any]) -> None:
        """Write the labels of the pixels of a block to an array of the shape of the block."""
        self.label(read_piece([pixels], (0, block), self.space), labels)

    def label(self, piece: Piece, labels: NDArray[Any]) -> None:
        """Write the labels of the pixels of a piece in the space to `labels`; 0 if left out.

        `labels` is C-contiguous, and has the shape of the pixels and the dtype of the painter.
        """
        target, kept = labels.reshape(-1), piece.kept
        if self.codec is not None and self.table is not None:
            self.codec.look_up(piece.values, self.table, target)
            if kept is not None:
                # A product is much faster than `np.where`, and than writing zeros where not kept.
                np.multiply(target, kept.view(np.uint8), target)
        elif kept is None:
            target[:] = self.label_points(piece.coordinates)
        else:
            target[:] = 0
            target[kept] = self.label_points(piece.coordinates)


@dataclass(frozen=True, eq=False)
class RelabelPainter(Painter):
    """A painter of an image whose pixels have labels already, which get new numbers.

    Attributes
    ----------
    known_labels : integer array of the spatial shape
        The known label of each pixel.
    new_labels : (n,) integer array
        The new label for each known label, from 0 on.
    """

    known_labels: NDArray[Any] = field(kw_only=True)
    new_labels: NDArray[Any] = field(kw_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the known labels, too."""
        return _unpack_relabel_painter, (
            self.centers,
            self.space,
            self.known_labels,
            self.new_labels,
        )

    def label_block(self, pixels: Pixels, block: Block, labels: NDArray[Any]) -> None:
        """Write the labels of the pixels of a block to an array of the shape of the block."""
        _look_up_into(labels.reshape(-1), self.new_labels, np.ravel(self.known_labels[block]))


def _look_up(table: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return ``table[labels]``, faster."""
    entries = np.empty(labels.shape, table.dtype)
    _look_up_into(entries.reshape(-1), table, np.ravel(labels))
    return entries


def _look_up_into(entries: NDArray[Any], table: NDArray[Any], labels: NDArray[Any]) -> None:
    """Write ``table[labels]`` for labels (n,) to `entries` (n,)."""
    if labels.dtype == np.uint8 and len(table) <= _FEW_COLORS:
        starts = np.arange(len(table), dtype=np.uint8)
        kernels.look_up_runs(labels, starts, table, entries)
    else:
        kernels.look_up_labels(labels, table, entries)


def _unpack_relabel_painter(
    centers: Floats, space: FeatureSpace, known_labels: NDArray[Any], new_labels: NDArray[Any]
) -> RelabelPainter:
    return RelabelPainter(centers, space, known_labels=known_labels, new_labels=new_labels)


def recolor(labels: NDArray[Any], palette: NDArray[Any], original: NDArray[Any]) -> NDArray[Any]:
    """Return an image in which each pixel has the color of its label.

    Parameters
    ----------
    labels : (...) integer array
        From 0 to K. Pixels of label 0 keep their color.
    palette : (K, C) array
        The colors of labels 1 to K. The dtype of `original` must be able to hold them.
    original : (..., C or more) array
        The image. Channels after the first C, such as alpha, keep their values.
    """
    colored = np.empty(original.shape, original.dtype)
    _recolor_into(colored, labels, palette, original)
    return colored


def _recolor_into(
    target: NDArray[Any], labels: NDArray[Any], palette: NDArray[Any], original: NDArray[Any]
) -> None:
    n_channels = palette.shape[1]
    if not target.flags.c_contiguous:
        are_planes = target[..., 0].flags.c_contiguous and labels.flags.c_contiguous
        if are_planes and target.itemsize <= 8:
            _recolor_planes(target, labels, palette, original)
        else:
            target[...] = recolor(labels, palette, original)
        return
    # The kernels copy bits: all arrays must have the same dtype and byte order.
    values = np.ascontiguousarray(original, target.dtype).reshape(-1, original.shape[-1])
    colors = np.zeros((len(palette) + 1, values.shape[1]), target.dtype)
    colors[1:, :n_channels] = palette
    labels, source, pixels = labels.reshape(-1), _as_bytes(values), _as_bytes(target)
    if n_channels == source.shape[1] == 3:
        _recolor_quads(pixels, labels, colors.view(np.uint8), source)
        return
    # Label 0 keeps all channels, and all labels keep alpha.
    kept = np.zeros_like(colors).view(np.uint8)
    kept[0], kept[:, n_channels * target.itemsize :] = 255, 255
    # Write the bytes of a pixel in the largest words that they can be divided into, of up to 8
    # bytes: several channels at once.
    word = np.dtype(f"u{gcd(source.shape[1], 8)}")
    columns, kept_columns = (tuple(table.view(word).T.copy()) for table in (colors, kept))
    source, pixels = source.view(word), pixels.view(word)
    # Other types of arrays would need another compiled kernel.
    source = source if source.flags.aligned else source.copy()
    if len(colors) <= _FEW_COLORS and pixels.shape[1] == 1 and word.itemsize <= _SHORT_WORD:
        words, kept_bits = columns[0], kept_columns[0]
        kernels.recolor_words(labels, words, kept_bits, source.reshape(-1), pixels.reshape(-1))
        return
    kernels.recolor(labels, columns, kept_columns, source, pixels)


def _recolor_quads(
    pixels: NDArray[Any], labels: NDArray[Any], colors: NDArray[Any], values: NDArray[Any]
) -> None:
    """Recolor pixels of three bytes, four at a time, and up to three at each end one by one."""
    # So many pixels of three bytes after an address, there is a multiple of four.
    first = min(pixels.ctypes.data % 4, len(pixels))
    last = first + (len(pixels) - first) // 4 * 4
    if ends := [*range(first), *range(last, len(pixels))]:
        own = labels[ends]
        pixels[ends] = np.where(own[:, np.newaxis] == 0, values[ends], colors[own])
    source, words = (array[first:last].reshape(-1).view(np.uint32) for array in (values, pixels))
    source = source if source.flags.aligned else source.copy()
    table = np.zeros((len(colors), 4), np.uint8)
    table[:, :3] = colors
    kernels.recolor_quads(
        labels[first:last],
        table.view(np.uint32)[:, 0],
        source.reshape(-1, 3),
        words.reshape(-1, 3),
    )


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a view of a C-contiguous array (..., C) as the bytes (n, B) of each pixel."""
    return array.reshape(-1, array.shape[-1]).view(np.uint8)


def _recolor_planes(
    target: NDArray[Any], labels: NDArray[Any], palette: NDArray[Any], original: NDArray[Any]
) -> None:
    """Do the same as `recolor` for channels that follow each other in memory."""
    left_out = np.nonzero(labels == 0)
    colors = _as_bits(palette.astype(target.dtype, copy=False))
    for channel in range(target.shape[-1]):
        plane = target[..., channel]
        if channel >= palette.shape[1]:
            plane[...] = original[..., channel]
            continue
        column = colors[:, channel]
        table = np.append(column[:1], column)
        kernels.look_up_labels(labels.reshape(-1), table, _as_bits(plane.reshape(-1)))
        plane[left_out] = original[..., channel][left_out]


def _as_bits(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array as unsigned integers of the same size, at most 8 bytes.

    Values are only copied, so that one compiled kernel serves all dtypes of a size.
    """
    size = array.dtype.itemsize
    return array.view(np.uint64 if size > 8 else f"u{size}")


def make_results(pixels: Pixels, n_clusters: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return arrays for the labels and the recolored image that `paint` makes of an image."""
    labels = np.empty(pixels.shape, label_dtype(n_clusters))
    return labels, np.empty_like(pixels.array, order="K")


def paint(
    pixels: Pixels,
    painter: Painter,
    palette: Floats | None,
    step: Step = ignore,
    results: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> tuple[Any, Any]:
    """Return the labels of an image and, if there is a palette, the recolored image.

    Parameters
    ----------
    pixels : Pixels
        The image.
    painter : Painter
    palette : (K, C) float64 array or None
        The color of each label, in channel units. None makes no recolored image.
    step : callable
        Called after each block, unless the image is a dask array.
    results : (labels, recolored), optional
        From `make_results`, to be overwritten if there is a palette. They are not used if there
        are so few clusters that the labels have another dtype.

    Returns
    -------
    labels : unsigned integer array of the spatial shape
        0 where a pixel is left out. A dask array if the image is a dask array.
    recolored : array of the shape and dtype of ``pixels.array``, or None
        A dask array if the image is a dask array.
    """
    colors = None if palette is None else round_to(palette, pixels.dtype)
    if pixels.is_lazy:
        return _paint_lazily(pixels, painter, colors)
    recolored: NDArray[Any] | None
    if results is not None and colors is not None and results[0].dtype == painter.dtype:
        labels, recolored = results
    else:
        labels = np.empty(pixels.shape, painter.dtype)
        recolored = None if colors is None else np.empty_like(pixels.array, order="K")

    def paint_block(block: Block) -> None:
        target = labels[block]
        painter.label_block(pixels, block, target)
        if recolored is not None and colors is not None:
            _recolor_into(recolored[block], target, colors, pixels.array[block])

    map_threads(paint_block, pixels.blocks(), step)
    return labels, recolored


def _paint_lazily(pixels: Pixels, painter: Painter, colors: NDArray[Any] | None) -> tuple[Any, Any]:
    import dask.array as da

    image, spatial_chunks = pixels.array, pixels.array.chunks[:-1]
    if isinstance(painter, RelabelPainter):
        labels = da.map_blocks(
            _take_known_chunk,
            as_key(painter),
            as_key(spatial_chunks),
            dtype=painter.dtype,
            chunks=spatial_chunks,
            meta=np.empty((0,) * len(spatial_chunks), painter.dtype),
        )
        if colors is None:
            return labels, None
        is_needed = image.shape[-1] > colors.shape[1] or not painter.known_labels.all()
        return labels, recolor_lazily(labels, colors, image, reads_original=is_needed)
    if not painter.space.is_pointwise:
        pixels = join_chunks(pixels, painter.space)
    array, mask, depths = add_halo(pixels, painter.space)
    labels = da.map_blocks(
        _label_chunk,
        as_key(painter),
        pixels.n_channels,
        as_key(pixels.array.chunks[:-1]),
        depths,
        array,
        *([] if mask is None else [mask[..., None]]),
        dtype=painter.dtype,
        # With `drop_axis`, dask would copy each chunk of the image.
        chunks=(*pixels.array.chunks[:-1], (1,)),
        meta=np.empty((0,) * image.ndim, painter.dtype),
    )
    labels = labels[..., 0].rechunk(spatial_chunks)
    if colors is None:
        return labels, None
    return labels, recolor_lazily(labels, colors, image)


def recolor_image(
    pixels: Pixels, labels: Any, palette: Floats, *, are_labeled: bool = False
) -> Any:
    """Return an image in the colors (K, C) of the labels of its pixels.

    A dask array if the image is one. Pixels of label 0 keep their color. If `are_labeled` states
    that there are none, a dask image without alpha is not read.
    """
    colors = round_to(palette, pixels.dtype)
    if pixels.is_lazy:
        is_needed = not are_labeled or pixels.array.shape[-1] > pixels.n_channels
        return recolor_lazily(labels, colors, pixels.array, reads_original=is_needed)
    recolored = np.empty_like(pixels.array, order="K")
    map_threads(
        lambda block: _recolor_into(recolored[block], labels[block], colors, pixels.array[block]),
        pixels.blocks(),
    )
    return recolored


def recolor_lazily(
    labels: Any, palette: NDArray[Any], original: Any, *, reads_original: bool = True
) -> Any:
    """Return a dask array of the results of `recolor` for the chunks of two dask arrays.

    The spatial chunks of labels and original must be the same. The original need not be read if
    no pixel has label 0, and if the palette has all its channels.
    """
    import dask.array as da

    return da.map_blocks(
        _recolor_chunk,
        as_key(palette),
        original.dtype,
        labels[..., None],
        *([original] if reads_original else []),
        dtype=original.dtype,
        chunks=original.chunks,
        meta=np.empty((0,) * original.ndim, original.dtype),
    )


def renumber_labels(labels: Any, new_labels: NDArray[Any]) -> Any:
    """Return ``new_labels[labels]``: the new label of each pixel.

    Parameters
    ----------
    labels : integer numpy or dask array
        Labels from 0 to n - 1.
    new_labels : (n,) array
        The new label for each label.

    Returns
    -------
    array of the shape of `labels` and the dtype of `new_labels`
        A dask array of the same chunks if `labels` is a dask array.
    """
    if not is_dask(labels):
        return new_labels[labels]
    return labels.map_blocks(
        new_labels.__getitem__,
        dtype=new_labels.dtype,
        meta=np.empty((0,) * labels.ndim, new_labels.dtype),
    )


def number_labels(labels: Any, known: NDArray[np.integer[Any]]) -> Any:
    """Return the number, from 1 on, that each label has among known labels; 0 for all others.

    Parameters
    ----------
    labels : integer numpy or dask array
    known : (n,) integer array
        Ascending, above 0.

    Returns
    -------
    array of unsigned integers, of the shape of `labels`
        A dask array of the same chunks if `labels` is a dask array.
    """
    numbers = np.zeros(known[-1] + 2, label_dtype(len(known)))
    numbers[known] = np.arange(1, len(known) + 1)

    def number(part: NDArray[Any]) -> NDArray[Any]:
        # Labels below 0 and above the last one become those of the first and last number, 0.
        return numbers.take(np.asarray(part).astype(np.int64, copy=False), mode="clip")

    if is_dask(labels):
        return labels.map_blocks(number, dtype=numbers.dtype, meta=numbers[:0])
    found = np.empty(labels.shape, numbers.dtype)
    for block in split_shape(labels.shape):
        found[block] = number(labels[block])
    return found


def _take_known_chunk(
    painter: RelabelPainter,
    chunks: tuple[tuple[int, ...], ...],
    block_id: tuple[int, ...] = (),
) -> NDArray[Any]:
    """Return the new labels of a chunk whose labels are known."""
    ends = [
        (sum(sizes[:number]), sum(sizes[: number + 1]))
        for sizes, number in zip(chunks, block_id, strict=True)
    ]
    block = tuple(slice(start, stop) for start, stop in ends)
    return _look_up(painter.new_labels, painter.known_labels[block])


def _label_chunk(
    painter: Painter,
    n_channels: int,
    chunks: tuple[tuple[int, ...], ...],
    depths: tuple[int, ...],
    chunk: NDArray[Any],
    *masks: NDArray[np.bool_],
    block_id: tuple[int, ...] = (),
) -> NDArray[Any]:
    """Return the labels (..., 1) of a chunk (..., C or more), 0 where the mask (..., 1) is False.

    `chunks` are the lengths of all chunks, and `depths` those of the halo along each axis.
    """
    pixels = np.asarray(chunk)
    mask = np.asarray(masks[0])[..., 0] if masks else None
    numbers = block_id[: len(chunks)]
    shape = tuple(sizes[number] for sizes, number in zip(chunks, numbers, strict=True))
    origin = tuple(depth * (number > 0) for depth, number in zip(depths, numbers, strict=True))
    labels = np.empty(shape, painter.dtype)
    frame = Frame.of_chunk(chunks, numbers)
    with in_task():
        for block in split_shape(shape) if labels.size else []:
            inside = move_block(block, origin)
            piece = make_piece(pixels, mask, n_channels, inside, (0, block), painter.space, frame)
            painter.label(piece, labels[block])
    return labels[..., None]


def _recolor_chunk(
    palette: NDArray[Any], dtype: np.dtype[Any], labels: NDArray[Any], *originals: NDArray[Any]
) -> NDArray[Any]:
    own = labels[..., 0]
    if not originals:
        return recolor(own, palette, np.empty((*own.shape, palette.shape[1]), dtype))
    # A distributed cluster returns arrays in native byte order: restore the declared dtype.
    return recolor(own, palette, np.asarray(originals[0], dtype))
