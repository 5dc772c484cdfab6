"""The feature space: which numbers of a pixel are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST
from napari_kmeans.feature_space.colors import convert_colors, find_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


@dataclass(frozen=True)
class FeatureSpace:
    """The color space in which pixels are compared, and the scaling of their channels.

    Attributes
    ----------
    color_space : str
        A name in `SPACES`.
    white : float
        The channel value of full brightness.
    offset, scale : tuples of C floats
        The offset is subtracted from the channel values, which are then divided by the
        scale. Both are empty if channels are not scaled.
    """

    color_space: str
    white: float
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True if the coordinates of a point are equal to the channel values."""
        return not find_space(self.color_space).needs_rgb and not self.scale

    @property
    def is_pointwise(self) -> bool:
        """True if the point of a pixel depends only on the color of this pixel."""
        return True

    def n_features(self, n_channels: int) -> int:
        """Return the number of coordinates of the points of colors with `n_channels` channels."""
        return find_space(self.color_space).n_features(n_channels)

    def scaled(self, offset: Floats, scale: Floats) -> FeatureSpace:
        """Return this space with the given offset (C,) and scale (C,) of the channels."""
        return replace(self, offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))

    def points(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the points (n, F) of colors (n, C) in channel units; see `convert_colors`.

        Raises
        ------
        ValueError
            As `convert_colors` does, or if a scaled value is farther from 0 than `LARGEST`.
        """
        if not self.scale:
            return convert_colors(values, self.color_space, self.white)
        colors = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            points = np.ascontiguousarray((colors - self.offset) / self.scale)
        farthest = np.abs(points).max(initial=0)
        if farthest > LARGEST:
            raise ValueError(
                f"normalize must be 'none' or 'zscore' where a value is more than {LARGEST:g} "
                f"times the scale of its channel, got {farthest:g} times: leave such pixels out."
            )
        return points


PLAIN = FeatureSpace("rgb", 1.0)
"""The space in which points are equal to the channel values."""
