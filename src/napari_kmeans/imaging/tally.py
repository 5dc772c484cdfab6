"""What each cluster holds: its pixels, the sums of their channels, their cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.lloyd import find_nearest
from napari_kmeans.imaging.colors import to_space
from napari_kmeans.parallel import map_threads
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from napari_kmeans.imaging.blocks import Block, Pixels
    from napari_kmeans.imaging.histogram import Histogram

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts (K,) of pixels, sums (K, C) in channel units, the cost of all pixels."""

    counts: NDArray[np.int64]
    sums: Floats
    cost: float

    @property
    def means(self) -> Floats:
        """The mean colour (K, C) of each cluster; NaN where it has no pixel."""
        return np.divide(
            self.sums,
            self.counts[:, None],
            out=np.full_like(self.sums, np.nan),
            where=self.counts[:, None] > 0,
        )


def tally_histogram(histogram: Histogram, centers: Floats, color_space: str, white: float) -> Tally:
    """Tally all pixels from their distinct colours."""
    return _tally(histogram.points, histogram.weights, centers, color_space, white)


def tally_pixels(
    pixels: Pixels, centers: Floats, color_space: str, white: float, step: Step = ignore
) -> Tally:
    """Tally the pixels that are not left out, block by block."""

    def tally(block: Block) -> Tally:
        values = pixels.read_kept(block)
        return _tally(values, None, centers, color_space, white)

    parts = map_threads(tally, pixels.blocks(), step)
    return Tally(
        np.sum([part.counts for part in parts], axis=0),
        np.sum([part.sums for part in parts], axis=0),
        float(np.sum([part.cost for part in parts])),
    )


def _tally(
    values: NDArray[Any],
    weights: NDArray[np.int64] | None,
    centers: Floats,
    color_space: str,
    white: float,
) -> Tally:
    labels, distances = find_nearest(to_space(values, color_space, white), centers)

    def add(numbers: NDArray[Any]) -> Floats:
        weighted = numbers if weights is None else numbers * weights
        return np.bincount(labels, weighted, minlength=len(centers)).astype(np.float64)

    counts = np.rint(add(np.ones(len(labels)))).astype(np.int64)
    sums = np.stack([add(channel.astype(np.float64)) for channel in values.T], axis=1)
    return Tally(counts, sums, float(add(distances).sum()))
