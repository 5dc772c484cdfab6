"""The affine maps between the pixels of layers and the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from napari.layers import Layer

    from napari_kmeans.types import Floats


@dataclass(frozen=True, eq=False)
class AffineMap:
    """An affine map of positions from d to D dimensions.

    Attributes
    ----------
    axes : (D, d) float64 array
        The images of the unit steps, in the columns.
    origin : (D,) float64 array
        The image of the position 0.
    """

    axes: Floats
    origin: Floats

    @classmethod
    def to_world(cls, layer: Layer) -> AffineMap:
        """Return the map from the pixels of a layer to the world, as napari places it now."""
        return cls._of(layer.data_to_world, layer.ndim)

    @classmethod
    def to_pixels(cls, layer: Layer, image: Layer) -> AffineMap:
        """Return the map from the pixels of a layer through the world to those of an image."""
        return cls._of(lambda position: position_in_pixels(position, layer, image), layer.ndim)

    @classmethod
    def _of(cls, function: Callable[[Any], Sequence[float]], ndim: int) -> AffineMap:
        """Measure an affine function at 0 and at every unit step."""
        origin = np.array(function(np.zeros(ndim)), np.float64)
        steps = [np.array(function(step), np.float64) - origin for step in np.eye(ndim)]
        return cls(np.stack(steps, axis=1), origin)

    def apply(self, positions: Any) -> Floats:
        """Return the images (n, D) of positions (n, d)."""
        return np.asarray(positions @ self.axes.T + self.origin)

    @property
    def volume(self) -> float:
        """The area or volume of the image of one pixel; for maps with D = d."""
        return float(abs(np.linalg.det(self.axes)))

    @property
    def is_identity(self) -> bool:
        """Whether each position is its own image, up to a thousandth of a pixel."""
        n_out, n_in = self.axes.shape
        return n_out == n_in and bool(
            np.allclose(self.axes, np.eye(n_in), rtol=0, atol=1e-6)
            and np.allclose(self.origin, 0, rtol=0, atol=1e-3)
        )

    def after(self, first: AffineMap) -> AffineMap:
        """Return the map that applies `first`, and then this map to its images."""
        return AffineMap(self.axes @ first.axes, self.axes @ first.origin + self.origin)

    def of_axes(self, axes: Sequence[int]) -> AffineMap:
        """Return the map of positions that are 0 along all but the given axes."""
        return AffineMap(self.axes[:, list(axes)], self.origin)

    def with_constant(self, axis: int, value: float) -> AffineMap:
        """Return the map whose images all have the same value along one axis."""
        axes, origin = self.axes.copy(), self.origin.copy()
        axes[axis], origin[axis] = 0, value
        return AffineMap(axes, origin)


def is_time(label: str, unit: Any) -> bool:
    """Return whether an axis is stated to be time, by its label or its unit."""
    return label.lower() in ("t", "time") or dict(unit.dimensionality) == {"[time]": 1}


def position_in_pixels(position: Any, layer: Layer, image: Layer) -> Any:
    """Return a position (d,) in the pixels of a layer as one (D,) in the pixels of an image.

    As in napari, lengths in different units are converted if all axes of both layers
    that correspond have the same kind of unit. Otherwise the units do not count.
    """
    world = np.asarray(layer.data_to_world(position), np.float64)
    return image.world_to_data(world * _unit_ratios(layer, image))


def _unit_ratios(layer: Layer, image: Layer) -> Floats:
    """Return the units of a layer in those of an image, (d,)."""
    n_common = min(layer.ndim, image.ndim)
    ratios = np.ones(layer.ndim)
    pairs = list(zip(layer.units[-n_common:], image.units[-n_common:], strict=True))
    if all(ours.dimensionality == theirs.dimensionality for ours, theirs in pairs):
        ratios[-n_common:] = [float((1 * ours).to(theirs).magnitude) for ours, theirs in pairs]
    return ratios
