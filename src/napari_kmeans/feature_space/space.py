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
    position : float
        The weight of the place of a pixel along each axis of space; see `write_places`. 0 compares
        colors alone.
    spacing : tuple of float
        The distance of neighboring pixels along each spatial axis, for the places; 0 for an axis
        that is not of space. Empty without a position.
    is_compared : bool
        Whether the pixels are the compared values of another image: nothing is to be blurred, and
        their places are among their channels.
    """

    color_space: str
    white: float
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    blur: float | tuple[float, ...] = 0.0
    texture: float = 0.0
    position: float = 0.0
    spacing: tuple[float, ...] = ()
    is_compared: bool = False

    @classmethod
    def of(cls, options: Options, white: float) -> FeatureSpace:
        """Return the space of some options, without scaling and spacing."""
        return cls(white=white, **{name: getattr(options, name) for name in SPACE_OPTIONS})

    @property
    def options(self) -> dict[str, Any]:
        """The options of the space by their names."""
        return {name: getattr(self, name) for name in SPACE_OPTIONS}

    @property
    def is_plain(self) -> bool:
        """True if the coordinates of a point are equal to the compared values."""
        has_features = self.texture or self.position
        return not (find_space(self.color_space).needs_rgb or self.scale or has_features)

    @property
    def is_pointwise(self) -> bool:
        """True if the point of a pixel depends only on the color of this pixel."""
        blurs = self.blur if isinstance(self.blur, tuple) else (self.blur,)
        return self.is_compared or not (any(blurs) or self.position)

    @property
    def n_places(self) -> int:
        """The number of axes of space, whose places are compared; 0 without a position."""
        return sum(distance > 0 for distance in self.spacing)

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
        return n_colors + (n_channels if self.texture else 0) + self.n_places

    @property
    def without_places(self) -> FeatureSpace:
        """The space without the places of pixels."""
        return replace(self, position=0.0, spacing=())

    @property
    def of_colors(self) -> FeatureSpace:
        """The space of single colors, without blur, texture and position."""
        return replace(self.without_places, blur=0.0, texture=0.0)

    @property
    def of_compared(self) -> FeatureSpace:
        """The space of an array whose pixels are compared values already."""
        return replace(self, blur=0.0, is_compared=True)

    def scaled(self, offset: Floats, scale: Floats) -> FeatureSpace:
        """Return this space with the given offset (C,) and scale (C,) of the channels."""
        return replace(self, offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))

    def points(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the points (n, F) of compared values; see `convert_colors`.

        The values (n, C) are those of the pixels if the space `is_pointwise`, and otherwise
        their blurred values, followed by the contrasts of all channels if there is a texture,
        and by the places along the axes of space if there is a position.

        Raises
        ------
        ValueError
            As `convert_colors` does, or if a scaled value is farther from 0 than `LARGEST`.
        """
        if self.position:
            return self._points_with_places(values)
        if self.texture:
            return self._points_with_texture(*np.split(values, 2, axis=1))
        if not self.scale:
            return convert_colors(values, self.color_space, self.white)
        return np.ascontiguousarray(self.coordinates(values))

    def coordinates(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of `points`, in any dtype and memory layout, in the least time."""
        if self.is_plain:
            return values
        if not self.scale or self.texture or self.position:
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
        weights = self.texture / np.array(self.scale or 1.0) * (self._brightest / self.white)
        joined = np.empty((len(points), points.shape[1] + contrasts.shape[1]), points.dtype)
        joined[:, : points.shape[1]] = points
        weighted = joined[:, points.shape[1] :]
        with np.errstate(over="ignore"):
            np.multiply(contrasts, weights.astype(points.dtype), out=weighted)
        # A contrast times its weight may be too large for the sums of squares.
        limit = min(LARGEST, float(np.finfo(points.dtype).max))
        np.minimum(weighted, limit, out=weighted)
        return joined

    def _points_with_places(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the points (n, F) of compared values whose last columns are places."""
        space, n_values = self.without_places, values.shape[1] - self.n_places
        if space.is_plain:
            points = np.array(values, order="C")
        else:
            others = space.points(values[:, :n_values])
            points = np.empty((len(values), others.shape[1] + self.n_places), others.dtype)
            for column in range(others.shape[1]):
                points[:, column] = others[:, column]
            points[:, others.shape[1] :] = values[:, n_values:]
        # Scaled channels have a range of their own, so a place has the unit of their scale.
        weight = self.position * (1.0 if self.scale else self._brightest)
        for column in points.T[-self.n_places :]:
            column *= points.dtype.type(weight)
        return points

    @property
    def _brightest(self) -> float:
        """The brightness of white in the space: the value of a full channel, or 100 in lab."""
        space = find_space(self.color_space)
        if not space.needs_rgb:
            return self.white
        white = convert_colors(np.full((1, 3), self.white), self.color_space, self.white)
        return float(white[0, space.vertical])


PLAIN = FeatureSpace("rgb", 1.0)
"""The space in which points are equal to the channel values."""
