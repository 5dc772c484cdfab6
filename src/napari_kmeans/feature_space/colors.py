"""The table of color spaces, and the conversion of colors to them.

References
----------
.. [1] A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978,
   :doi:`10.1145/800248.807361` (hue, saturation and value).
.. [2] CIE 15:2004, "Colorimetry" (CIELAB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.execution.threads import map_slices
from napari_kmeans.feature_space import kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_COLORS_PER_TASK = 2**16
"""The number of colors that a task converts."""

_KERNEL_DTYPES = (np.uint8, np.float32)
"""The dtypes besides float64 that the kernels read. Converting to float64 would take longer."""


def white_of(dtype: np.dtype[Any]) -> float:
    """Return the channel value of full brightness: 255 for uint8, 1 for floats."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def has_known_white(dtype: np.dtype[Any]) -> bool:
    """Return whether the value of full brightness follows from the dtype.

    It does not for integers of more than 16 bits: nested lists and many
    computations give int64 for values from 0 to 255. Divided by the maximum of
    int64, these values are too small for the precision of CIELAB in float64.
    """
    return dtype.kind not in "ui" or dtype.itemsize <= 2


def rgb_to_lab(fractions: Floats) -> Floats:
    """Return the CIELAB coordinates (n, 3) of sRGB colors (n, 3) from 0 to 1."""
    from skimage.color import rgb2lab

    if len(fractions) == 1:
        # The product of a matrix and one row has other last digits than the product with
        # several rows: the points of a pixel would depend on the size of its block.
        return np.asarray(rgb2lab(np.repeat(fractions, 2, axis=0)))[:1]
    return np.asarray(rgb2lab(fractions))


def _convert_to_cone(colors: Floats, white: float, points: Floats) -> None:
    """Write (s v cos h, s v sin h, v) of RGB colors (n, 3) to `points`, in channel units.

    Saturation times value is max - min of the channels. So all coordinates are linear
    in the brightness, and a brighter copy of an image has the same clusters.
    """
    kernels.to_cone(colors, points)


def _convert_to_lab(colors: Floats, white: float, points: Floats) -> None:
    points[...] = rgb_to_lab(colors / white)


@dataclass(frozen=True)
class Space:
    """One color space.

    Attributes
    ----------
    convert : callable or None
        Called with RGB colors (n, 3), float64 from 0 to white, with the channel value
        of full brightness, and with an array (n, F) for the points. None keeps the
        channels, of which there may be any number.
    axes : tuple of str
        The names of the axes of the space; empty if the channels are the axes.
    vertical : int
        The axis that is vertical in a view of three axes: the axis of brightness.
    needs_white : bool
        Whether the points depend on the channel value of full brightness, so that
        the dtype must determine this value; see `has_known_white`.
    """

    convert: Callable[[Floats, float, Floats], None] | None = None
    axes: tuple[str, ...] = ()
    vertical: int = 2
    needs_white: bool = False

    @property
    def needs_rgb(self) -> bool:
        """Whether only RGB colors can be converted."""
        return self.convert is not None

    def n_features(self, n_channels: int) -> int:
        """Return the number of coordinates of a point."""
        return len(self.axes) or n_channels


SPACES = {
    "rgb": Space(),
    "hsv": Space(_convert_to_cone, ("x", "y", "value")),
    "lab": Space(_convert_to_lab, ("L", "a", "b"), vertical=0, needs_white=True),
}
"""Every color space by its name.

``rgb`` keeps the channels. ``hsv`` is the cone (s v cos h, s v sin h, v) in channel units
[1]_. On the cone, reds with a hue just below and just above 0 degrees are neighbors, and
the hue of a gray has no influence. ``lab`` is CIELAB for the illuminant D65 and the
2 degree observer [2]_.
"""


def find_space(name: str) -> Space:
    """Return the color space of a name.

    Raises
    ------
    ValueError
        If there is no color space of this name.
    """
    if name not in SPACES:
        raise ValueError(
            f"color_space must be {' or '.join(map(repr, SPACES))}, got {quote_value(name)}: "
            "choose one of these."
        )
    return SPACES[name]


def convert_colors(values: NDArray[Any], color_space: str, white: float) -> NDArray[Any]:
    """Convert colors to a color space.

    Parameters
    ----------
    values : (n, C) array
        Colors in channel units: 0…255 for uint8.
    color_space : str
        A name in `SPACES`.
    white : float
        The channel value of full brightness.

    Returns
    -------
    (n, F) array
        C-contiguous. float64, except that uint8 and float32 keep their dtype in ``rgb``.

    Raises
    ------
    ValueError
        If `color_space` is another name, or if a value is outside 0…`white` in a space
        that needs RGB.
    """
    space = find_space(color_space)
    if space.convert is None and values.dtype in _KERNEL_DTYPES:
        return np.ascontiguousarray(values)
    colors = np.ascontiguousarray(values, dtype=np.float64)
    convert = space.convert
    if convert is None or not len(colors):
        return colors
    _check_range(colors, color_space, white)
    points = np.empty((len(colors), space.n_features(colors.shape[1])))

    def convert_rows(rows: slice) -> None:
        convert(colors[rows], white, points[rows])

    map_slices(convert_rows, len(colors), _COLORS_PER_TASK)
    return points


def _check_range(colors: Floats, color_space: str, white: float) -> None:
    for value in (colors.min(), colors.max()):
        if not 0 <= value <= white:
            raise ValueError(
                f"color_space {color_space!r} needs channels from 0 to {white:g}, got "
                f"{value:g}: rescale the image, or use color_space='rgb'."
            )
