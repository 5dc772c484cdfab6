"""Color spaces in which pixels are compared, and the colors in which clusters are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST
from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging import kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_SLAB = 2**16
"""Colors per task."""

AS_THEY_ARE = (np.uint8, np.float32)
"""Dtypes that kernels read beside float64: copies would take longer than the reading."""

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the luminance of Rec. ITU-R BT.709."""

# What napari paints several channels with, one after the other.
_CHANNEL_COLORS = np.array(
    [[0, 1, 1], [1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64
)
_TWO_CHANNEL_COLORS = np.array([[1, 0, 1], [0, 1, 0]], dtype=np.float64)

_WHITES = tuple(2.0**bits - 1 for bits in (8, 10, 12, 14, 16))
"""The greatest values of the bit depths of cameras and files."""

_FAR_WHITE = 16
"""A white so many times greater than all values leaves them nearly black.

Consecutive bit depths differ by a factor of 4, so that only the steps from 1 to
255 and from 65535 to the maximum of a wide dtype can be so long.
"""


def white_of(dtype: np.dtype[Any]) -> float:
    """Return the value of a channel at full brightness: 255 for uint8, 1 for floats."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def has_known_white(dtype: np.dtype[Any]) -> bool:
    """Return whether the dtype states which value full brightness has.

    Integers of more than 16 bits do not: nested lists and many computations
    give int64 for values from 0 to 255. As fractions of its greatest value
    these are less than CIELAB in float64 resolves.
    """
    return dtype.kind not in "ui" or dtype.itemsize <= 2


@dataclass(frozen=True)
class ColorSpace:
    """Where colors are compared.

    Attributes
    ----------
    name : {"rgb", "hsv", "lab"}
        See `to_space`.
    white : float
        The channel value of full brightness.
    offset, scale : tuples of float
        For each channel what is taken from its values, and what they are then
        divided by; empty where channels are compared as they are.
    """

    name: str
    white: float
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether coordinates are the channel values."""
        return self.name == "rgb" and not self.scale

    def scaled(self, offset: Floats, scale: Floats) -> ColorSpace:
        """Return this space with its channels scaled."""
        return replace(self, offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))

    def convert(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the coordinates (n, F) of colors (n, C) in channel units; see `to_space`."""
        if not self.scale:
            return to_space(values, self.name, self.white)
        colors = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            points = np.ascontiguousarray((colors - self.offset) / self.scale)
        farthest = np.abs(points).max(initial=0)
        if farthest > LARGEST:
            raise ValueError(
                f"normalize must be 'none' or 'zscore' where a value lies more than {LARGEST:g} "
                f"times farther out than most, got {farthest:g} times: leave such pixels out."
            )
        return points


def to_space(values: NDArray[Any], color_space: str, white: float) -> NDArray[Any]:
    """Convert colors to the space they are clustered in.

    Parameters
    ----------
    values : (n, C) array
        In channel units: 0…255 for uint8.
    color_space : {"rgb", "hsv", "lab"}
        ``rgb`` leaves the channels as they are, whatever their number. ``hsv``
        is the cone (s·v·cos h, s·v·sin h, v) in channel units, on which reds
        either side of hue 0° are neighbors and the hue of a gray means
        nothing. ``lab`` is CIELAB under D65 for a 2° observer.
    white : float
        The channel value of full brightness.

    Returns
    -------
    (n, F) array
        C-contiguous; float64, but uint8 and float32 stay in rgb what they are.

    Raises
    ------
    ValueError
        If hsv or lab meet values outside 0…`white`.

    References
    ----------
    .. [1] A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978,
       :doi:`10.1145/800248.807361` (hue, saturation and value).
    .. [2] CIE 15:2004, "Colorimetry" (CIELAB).
    """
    if color_space == "rgb" and values.dtype in AS_THEY_ARE:
        return np.ascontiguousarray(values)
    colors = np.ascontiguousarray(values, dtype=np.float64)
    if color_space == "rgb" or not len(colors):
        return colors
    _check_range(colors, color_space, white)
    points = np.empty_like(colors)

    def convert(part: slice) -> None:
        if color_space == "hsv":
            # Saturation times value is max - min, linear in the channels, so the
            # cone keeps channel units: a picture and its brighter copy cluster alike.
            kernels.to_cone(colors[part], points[part])
        else:
            points[part] = rgb_to_lab(colors[part] / white)

    map_slices(convert, len(colors), _SLAB)
    return points


def rgb_to_lab(fractions: Floats) -> Floats:
    """Convert sRGB colors (n, 3) from 0 to 1 to CIELAB."""
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(fractions))


def _check_range(colors: Floats, color_space: str, white: float) -> None:
    for value in (colors.min(), colors.max()):
        if not 0 <= value <= white:
            raise ValueError(
                f"color_space {color_space!r} needs channels from 0 to {white:g}, got "
                f"{value:g}: rescale the image, or use color_space='rgb'."
            )


def brightness(palette: Floats, rgb: bool) -> NDArray[Any]:
    """Return how bright each color (K, C) is: luminance of RGB, else the channels' mean."""
    return np.asarray(palette @ LUMINANCE if rgb else palette.mean(axis=1))


def sort_dark_to_bright(palette: Floats, rgb: bool) -> NDArray[np.int64]:
    """Return the indices that sort colors (K, C) in the order of their labels, (K,).

    Darker colors come first. Equally bright colors are sorted by their channels, the
    first channel first.
    """
    return np.lexsort([*palette.T[::-1], brightness(palette, rgb)])


def display_range(palette: Floats, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the channel values that show an RGB palette (K, 3) as black and at full brightness.

    For uint8 they are 0 and 255. Images of other dtypes often hold 8, 10, 12 or
    14 bits of a wider dtype, or 0…255 as floats. White is then the least of 1
    (floats only), 2^8 - 1, 2^10 - 1, 2^12 - 1, 2^14 - 1, 2^16 - 1 and the
    maximum of an integer dtype that is not below the greatest value of the
    palette. The greatest value itself is white where that white is not the
    first of these and more than 16 times greater, and where no white is great
    enough. A palette with negative values is stretched from its least value to
    its greatest.
    """
    least, greatest = float(palette.min(initial=np.inf)), float(palette.max(initial=-np.inf))
    if dtype == np.uint8 or not palette.size:
        return 0.0, white_of(dtype)
    if least < 0:
        return least, greatest
    whites = [1.0, *_WHITES]
    if dtype.kind in "ui":
        # Not 255 for int8, which ends at 127.
        whites = [*(white for white in _WHITES if white < white_of(dtype)), white_of(dtype)]
    white = next((white for white in whites if greatest <= white), greatest)
    is_too_far = white != whites[0] and white > _FAR_WHITE * greatest
    return 0.0, greatest if is_too_far else white


def display_colors(
    colors: Floats, rgb: bool, dtype: np.dtype[Any], palette: Floats | None = None
) -> Floats:
    """Return colors (n, 3) from 0 to 1 that show channel values (n, C) on a screen.

    RGB is shown from black to white by `display_range`, and 8-bit gray as it
    is. The levels of any other channel are stretched between its least and its
    greatest, and channels are mixed in napari's colors for them.

    Parameters
    ----------
    colors : (n, C) array
    rgb : bool
    dtype : numpy.dtype
        Of the image.
    palette : (K, C) array, optional
        The values whose range decides. None takes `colors` themselves.
    """
    palette = colors if palette is None else palette
    if rgb:
        ends = np.repeat(np.array(display_range(palette, dtype))[:, None], colors.shape[1], axis=1)
    elif palette.shape[1] == 1 and dtype == np.uint8:
        ends = np.array([[0.0], [255.0]])
    else:
        ends = np.stack([palette.min(axis=0), palette.max(axis=0)])
    # Halves: the difference of the greatest numbers has no float.
    low, high = ends / 2
    levels = (colors / 2 - low) / np.where(high > low, high - low, 1)
    if not rgb:
        levels = np.clip(levels, 0, 1) @ _mixture(colors.shape[1])
    return np.asarray(np.clip(levels, 0, 1))


def _mixture(n_channels: int) -> Floats:
    if n_channels == 1:
        return np.ones((1, 3))
    colors = _TWO_CHANNEL_COLORS if n_channels == 2 else _CHANNEL_COLORS
    return colors[np.arange(n_channels) % len(colors)]


def to_hex(colors: Floats) -> list[str]:
    """Return ``#rrggbb`` for each color (K, 3) from 0 to 1."""
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in np.rint(colors * 255).astype(int)]
