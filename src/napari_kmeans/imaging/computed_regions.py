"""Regions that are computed block by block, such as the cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from napari_kmeans.imaging.blocks import whole_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Block

_AXIS_WORDS = {1: ("part",), 2: ("row", "column"), 3: ("plane", "row", "column")}
"""The words in the names of cells, by the number of axes."""


@runtime_checkable
class ComputedRegions(Protocol):
    """The numbers of regions, or a mask, that are computed for each block."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape of the image."""

    def numbers(self, block: Block) -> NDArray[Any] | None:
        """Return the number of the region of each pixel, or a mask. None for an empty mask."""


@dataclass(frozen=True)
class GridRegions:
    """The cells of a grid over an image; the last cells along an axis may be smaller.

    Attributes
    ----------
    shape : tuple of int
        The spatial shape of the image.
    size : tuple of int
        The lengths of a cell along each axis, in pixels.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def n_cells(self) -> tuple[int, ...]:
        """The number of cells along each axis."""
        return tuple(-(-full // cell) for full, cell in zip(self.shape, self.size, strict=True))

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each cell by its number, such as "row 0 column 1"."""
        n_axes = len(self.shape)
        words = _AXIS_WORDS.get(n_axes) or [f"axis {axis}:" for axis in range(n_axes)]
        return {
            number: " ".join(f"{word} {cell}" for word, cell in zip(words, place, strict=True))
            for number, place in enumerate(product(*map(range, self.n_cells)), 1)
        }

    def numbers(self, block: Block) -> NDArray[np.int64]:
        """Return the number of the cell of each pixel in a block: 1 to the number of cells."""
        steps = [prod(self.n_cells[axis + 1 :]) for axis in range(len(self.shape))]
        places = [
            step * (np.arange(side.start, side.stop) // cell)
            for side, cell, step in zip(block, self.size, steps, strict=True)
        ]
        total: Any = np.ones((), np.int64)
        for axis, along in enumerate(places):
            shape = [1] * len(places)
            shape[axis] = len(along)
            total = total + along.reshape(shape)
        return np.asarray(total)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the number of the cell of each pixel of the image."""
        numbers = self.numbers(whole_block(self.shape))
        return numbers if dtype is None else numbers.astype(dtype)
