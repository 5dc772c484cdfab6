"""The feature space: which numbers of a pixel are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST
from napari_kmeans.feature_space.colors import convert_colors, find_space
from napari_kmeans.options import SPACE_OPTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.options import Options
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
    blur : float or tuple of float
        The standard deviation of a Gaussian, in pixels, or one for each spatial axis.
        The blurred channel values are compared.
    texture : float
        The weight of the local contrast of each channel, whose window is the Gaussian of the
        blur. 0 compares colors alone.
    """

    color_space: str
    white: float
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    blur: float | tuple[float, ...] = 0.0
    texture: float = 0.0

    @classmethod
    def of(cls, options: Options, white: float) -> FeatureSpace:
        """Return the space of some options, without scaling."""
        return cls(white=white, **{name: getattr(options, name) for name in SPACE_OPTIONS})

    @property
    def options(self) -> dict[str, Any]:
        """The options of the space by their names."""
        return {name: getattr(self, name) for name in SPACE_OPTIONS}

    @property
    def is_plain(self) -> bool:
        """True if the coordinates of a point are equal to the compared values."""
        return not (find_space(self.color_space).needs_rgb or self.scale or self.texture)

    @property
    def is_pointwise(self) -> bool:
        """True if the point of a pixel depends only on the color of this pixel."""
        return not np.any(self.blur)

    def sigmas(self, n_axes: int) -> tuple[float, ...]:
        """Return the standard deviation of the blur along each of `n_axes` spatial axes.

        Raises
        ------
        ValueError
            If the blur has another number of axes.
        """
        if not isinstance(self.blur, tuple):
            return (self.blur,) * n_axes
        if len(self.blur) != n_axes:
            raise ValueError(
                f"blur must have a number for each of the image's {n_axes} spatial axes, got "
                f"{len(self.blur)} numbers: give one number for all axes, or one for each."
            )
        return self.blur

    def n_features(self, n_channels: int) -> int:
        """Return the number of coordinates of the points of colors with `n_channels` channels."""
        n_colors = find_space(self.color_space).n_features(n_channels)
        return n_colors + n_channels if self.texture else n_colors

    @property
    def of_colors(self) -> FeatureSpace:
        """The space of single colors, without blur and texture."""
        return replace(self, blur=0.0, texture=0.0)

    def scaled(self, offset: Floats, scale: Floats) -> FeatureSpace:
        """Return this space with the given offset (C,) and scale (C,) of the channels."""
        return replace(self, offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))

    def points(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the points (n, F) of compared values (n, C or 2 C); see `convert_colors`.

        The values are those of the pixels if the space `is_pointwise`, and otherwise
        their blurred values, followed by the contrasts of all channels if there is a texture.

        Raises
        ------
        ValueError
            As `convert_colors` does, or if a scaled value is farther from 0 than `LARGEST`.
        """
        if self.texture:
            return self._points_with_texture(*np.split(values, 2, axis=1))
        if not self.scale:
            return convert_colors(values, self.color_space, self.white)
        return np.ascontiguousarray(self.coordinates(values))

    def coordinates(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of `points`, in any dtype and memory layout, in the least time."""
        if self.is_plain:
            return values
        if not self.scale or self.texture:
            return self.points(values)
        # The array has the memory layout of the values. Copying planes of channels to another
        # layout would take longer than a search.
        points = np.array(values, np.float64)
        with np.errstate(over="ignore"):
            points -= self.offset
            points /= self.scale
        farthest = max(points.max(initial=0), -points.min(initial=0))
        if farthest > LARGEST:
            raise ValueError(
                f"normalize must be 'none' or 'zscore' where a value is more than {LARGEST:g} "
                f"times the scale of its channel, got {farthest:g} times: leave such pixels out."
            )
        return points

    def _points_with_texture(self, colors: NDArray[Any], contrasts: NDArray[Any]) -> NDArray[Any]:
        """Return the points (n, F + C) of colors and contrasts (n, C each)."""
        points = replace(self, texture=0.0).points(colors)
        weights = self.texture / np.array(self.scale or 1.0)
        space = find_space(self.color_space)
        if space.needs_rgb:
            # The brightness of white in the space: 100 in lab.
            white = convert_colors(np.full((1, 3), self.white), self.color_space, self.white)
            weights *= white[0, space.vertical] / self.white
        joined = np.empty((len(points), points.shape[1] + contrasts.shape[1]), points.dtype)
        joined[:, : points.shape[1]] = points
        weighted = joined[:, points.shape[1] :]
        with np.errstate(over="ignore"):
            np.multiply(contrasts, weights.astype(points.dtype), out=weighted)
        # A contrast times its weight may be too large for the sums of squares.
        limit = min(LARGEST, float(np.finfo(points.dtype).max))
        np.minimum(weighted, limit, out=weighted)
        return joined


PLAIN = FeatureSpace("rgb", 1.0)
"""The space in which points are equal to the channel values."""
