"""Count the pixels of each label in an image of labels, and average their channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_PIECE = 2**20
"""Pixels that one task counts."""

_LARGEST_BIN = 2**16
"""The largest label that is counted in an array with an entry for each number."""


class LabelCounts(NamedTuple):
    """The labels of an image, in ascending order, without 0."""

    labels: NDArray[np.int64]
    pixels: NDArray[np.int64]
    means: Floats | None
    """The mean channels of the pixels of each label (n, C), without NaN and infinity. NaN for a
    label that has none of these pixels; None without an image."""


def count_labels(labels: NDArray[Any], image: NDArray[Any] | None = None) -> LabelCounts:
    """Count the pixels of each label, on threads.

    Parameters
    ----------
    labels : array of integers
    image : array of the shape of `labels`, or with the channels as a further last axis, optional
    """
    flat = labels.reshape(-1)
    values = None if image is None else image.reshape(flat.size, -1)

    def count(part: slice) -> _Sums:
        return _sum_piece(flat[part], None if values is None else values[part])

    return _merge(map_slices(count, flat.size, _PIECE), has_means=values is not None)


class LabelCounter:
    """Counts the pixels of each label in the parts of an image. Several threads may add parts."""

    def __init__(self) -> None:
        self._pieces: list[_Sums] = []

    def add(self, labels: Any, values: Any = None) -> None:
        """Count the labels of a part of the image, and average values of its pixels.

        Parameters
        ----------
        labels : array of integers
            If it is a dask array, its chunks are read.
        values : array of the shape of `labels`, optional
            A number for each pixel. Give it for all parts or for none.
        """
        if is_dask(labels):
            self._pieces += _sum_lazily(labels, values)
        else:
            self._pieces += _sum_parts(labels, values)

    def add_all(self, other: LabelCounter) -> None:
        """Count what another counter has counted, too."""
        self._pieces += other._pieces

    def counts(self) -> LabelCounts:
        """Return the counts of all parts, with means if there were values."""
        return _merge(self._pieces, has_means=any(each.sums.shape[1] for each in self._pieces))


def _sum_parts(labels: NDArray[Any], values: NDArray[Any] | None) -> list[_Sums]:
    flat = np.asarray(labels).reshape(-1)
    column = None if values is None else np.asarray(values).reshape(-1, 1)
    # Counting makes a copy of 64 bits: count in pieces.
    return [
        _sum_piece(
            flat[start : start + _PIECE],
            None if column is None else column[start : start + _PIECE],
        )
        for start in range(0, flat.size, _PIECE)
    ]


def _sum_lazily(labels: Any, values: Any) -> list[_Sums]:
    """Return the sums over the chunks of dask arrays, as dask's active scheduler computes them."""
    from dask.base import compute
    from dask.delayed import delayed

    columns = [labels] if values is None else [labels, values.rechunk(labels.chunks)]
    chunks = zip(*(column.to_delayed().ravel() for column in columns), strict=True)
    parts = [delayed(_sum_parts)(*chunk, *[None] * (2 - len(columns))) for chunk in chunks]
    results: tuple[list[_Sums], ...] = compute(*parts)
    return [piece for pieces in results for piece in pieces]


class _Sums(NamedTuple):
    labels: NDArray[np.int64]
    pixels: NDArray[np.int64]
    finite: NDArray[np.int64]
    """The number of pixels whose channels are summed."""

    sums: Floats


def _merge(pieces: Sequence[_Sums], *, has_means: bool) -> LabelCounts:
    """Return the counts of all pieces, and the means of their channels if they have them."""
    found = np.unique(np.concatenate([np.empty(0, np.int64), *(each.labels for each in pieces)]))
    n_channels = pieces[0].sums.shape[1] if pieces else 0
    pixels, finite = np.zeros((2, len(found)), np.int64)
    sums = np.zeros((len(found), n_channels))
    for piece in pieces:
        rows = np.searchsorted(found, piece.labels)
        pixels[rows] += piece.pixels
        finite[rows] += piece.finite
        sums[rows] += piece.sums
    with np.errstate(invalid="ignore"):
        means = sums / finite[:, None] if has_means else None
    is_label = found != 0
    return LabelCounts(
        found[is_label], pixels[is_label], None if means is None else means[is_label]
    )


def _sum_piece(labels: NDArray[Any], values: NDArray[Any] | None) -> _Sums:
    """Return the sums over the pixels of each label in a piece, in ascending order of labels."""
    if labels.min() < 0 or labels.max() > _LARGEST_BIN:
        found, bins = np.unique(labels, return_inverse=True)
    else:
        found, bins = np.arange(int(labels.max()) + 1), labels.astype(np.intp)
    pixels = finite = np.bincount(bins, minlength=len(found))
    sums = np.zeros((len(found), 0))
    if values is not None:
        if values.dtype.kind == "f":
            is_finite = np.isfinite(values).all(axis=1)
            bins, values = bins[is_finite], values[is_finite]
            finite = np.bincount(bins, minlength=len(found))
        channels = [np.bincount(bins, channel, len(found)) for channel in values.T]
        sums = np.stack(channels, axis=1)
    is_there = pixels > 0
    found = found.astype(np.int64)
    return _Sums(found[is_there], pixels[is_there], finite[is_there], sums[is_there])
