"""Take arrays apart into volumes of pixels that are neighbors along all axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_AXES = 3
"""The number of axes along which pixels can be neighbors."""


@dataclass(frozen=True)
class Volumes:
    """The volumes (Z, Y, X) of an array: one for each index along the axes without neighbors.

    Attributes
    ----------
    shape : tuple of int
        The shape of the array.
    axes : tuple of int
        The axes along which pixels are neighbors, at most three. A volume of fewer axes has
        a length of 1 along its first axes.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def _order(self) -> list[int]:
        others = [axis for axis in range(len(self.shape)) if axis not in self.axes]
        return [*others, *self.axes]

    def split(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the volumes (n, Z, Y, X, ...) of an array with these axes and perhaps more."""
        last = range(len(self.shape), array.ndim)
        moved = np.ascontiguousarray(np.transpose(array, [*self._order, *last]))
        inner = self.pad([self.shape[axis] for axis in self.axes], 1)
        return moved.reshape(-1, *inner, *array.shape[len(self.shape) :])

    def join(self, volumes: NDArray[Any]) -> NDArray[Any]:
        """Return the array of volumes (n, Z, Y, X)."""
        moved = volumes.reshape([self.shape[axis] for axis in self._order])
        return np.transpose(moved, np.argsort(self._order))

    def pad(self, values: Sequence[Any], value: Any) -> tuple[Any, ...]:
        """Return a value for each axis of a volume, from those of `axes`."""
        return (*[value] * (MAX_AXES - len(self.axes)), *values)


def neighbor_steps(has_neighbors: Sequence[bool]) -> NDArray[np.int64]:
    """Return the steps (n, axes) to the neighbors of a pixel along each axis, in C order."""
    ranges = [(-1, 0, 1) if has else (0,) for has in has_neighbors]
    steps = [step for step in product(*ranges) if any(step)]
    return np.array(steps, np.int64).reshape(-1, len(has_neighbors))
