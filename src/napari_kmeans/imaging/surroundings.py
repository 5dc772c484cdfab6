"""Find the labels of the pixels around pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.soft import NOTHING_AROUND, Around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.smoothing import Smoother
    from napari_kmeans.types import Block


class Surroundings:
    """The labels of an image, with those of the neighbors of each pixel.

    Attributes
    ----------
    labels : array of unsigned integers
        The label of the class of each pixel, from 1 to K; 0 for a pixel without class.
    smoother : Smoother or None
        It says which pixels are neighbors, and what a neighbor of another class costs. Without
        one, or if it changes no label, nothing is around a pixel.
    """

    def __init__(self, labels: NDArray[Any], smoother: Smoother | None) -> None:
        self.labels = labels
        self.smoother = None if smoother is None or smoother.is_off else smoother
        if smoother is None or smoother.is_off:
            return
        self._margins = smoother.margins
        # Padding keeps the order of an array, and the steps are those of rows.
        padded = np.ascontiguousarray(
            np.pad(labels, [(margin, margin) for margin in self._margins])
        )
        self._padded, self._shape = padded.reshape(-1), padded.shape
        steps, self._weights = smoother.neighbors()
        strides = np.array(padded.strides) // padded.itemsize
        self._steps = steps @ strides
        self._scale = 1 / (2 * smoother.variance)

    def around(self, block: Block, chosen: NDArray[np.bool_] | slice) -> Around:
        """Return what is around the chosen pixels of a block, in C order."""
        if self.smoother is None:
            return NOTHING_AROUND
        sides = [
            np.arange(side.start + margin, side.stop + margin)
            for side, margin in zip(block, self._margins, strict=True)
        ]
        places = np.ravel_multi_index(np.ix_(*sides), self._shape).reshape(-1)
        return Around(self._padded, places[chosen], self._steps, self._weights, self._scale)
