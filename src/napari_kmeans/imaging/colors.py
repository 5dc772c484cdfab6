"""Sort colors by their brightness, and convert them to colors for a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.feature_space.colors import white_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""The weights of red, green and blue in the luminance of Rec. ITU-R BT.709."""

# The colors that napari gives to the channels of an image with three channels or more.
_CHANNEL_COLORS = np.array(
    [[0, 1, 1], [1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64
)
# The colors that napari gives to two channels.
_TWO_CHANNEL_COLORS = np.array([[1, 0, 1], [0, 1, 0]], dtype=np.float64)

_USUAL_WHITES = tuple(2.0**bits - 1 for bits in (8, 10, 12, 14, 16))
"""The maximum values of the usual bit depths of cameras and files."""

_MAX_WHITE_RATIO = 16
"""The largest useful ratio of white to the maximum of the palette.

With a larger ratio, all colors would be nearly black. Consecutive bit depths differ by
a factor of 4. So the ratio can only be larger between the white values 1 and 255, and
between 65535 and the maximum of a dtype of 32 or 64 bits.
"""


_ROUNDING = 1e-11
"""The largest relative difference of two means of the same colors.

The order in which pixels are added decides the last digits of a mean, and it is not the same for
numpy and dask arrays. Means of up to 2^22 pixels of one color differed from the color by up to
4.5e-13. Two different numbers of float32 differ by 6e-8 or more.
"""


def brightness(palette: Floats, rgb: bool) -> NDArray[Any]:
    """Return the brightness (K,) of colors (K, C): luminance of RGB, else the channels' mean."""
    return np.asarray(palette @ LUMINANCE if rgb else palette.mean(axis=1))


def sort_dark_to_bright(
    palette: Floats, rgb: bool, ties: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Return the indices (K,) that sort colors (K, C) in the order of their labels.

    Darker colors come first; see `brightness`. Equally bright colors are sorted by their
    first channel, then by the second, and so on. Values that differ by a rounding error at most
    are equal here.

    Parameters
    ----------
    palette : (K, C) array
        Mean colors of pixels.
    rgb : bool
    ties : (K, F) array, optional
        Values, such as centers, that sort equal colors. Equal values of a column are sorted by
        the next one. Their last digits, and after them those of the colors, decide last.
    """
    bright, sizes = brightness(palette, rgb), np.abs(palette)
    keys = [_ranks(bright, brightness(sizes, rgb)), *map(_ranks, palette.T, sizes.T)]
    if ties is not None:
        # The axes of a space have one unit: a rounding error is one of the largest coordinate.
        size = np.full(len(ties), np.abs(ties).max(initial=0.0))
        keys += [_ranks(column, size) for column in ties.T]
    # `lexsort` sorts by its last key first.
    return np.lexsort([*palette.T[::-1], bright, *keys[::-1]])


def _ranks(values: NDArray[Any], sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the ranks (K,) of values, the same for neighbors that differ by a rounding error.

    The sizes (K,) are those of the numbers that were rounded.
    """
    order = np.argsort(values, kind="stable")
    ordered, sizes = values[order], sizes[order]
    is_next = np.diff(ordered) > _ROUNDING * np.maximum(sizes[1:], sizes[:-1])
    ranks = np.zeros(len(values), np.int64)
    ranks[order[1:]] = np.cumsum(is_next)
    return ranks


def channel_ranges(palette: Floats) -> Floats:
    """Return the range (C,) of each channel of colors (K, C); 0 if it is a rounding error."""
    ranges = np.ptp(palette, axis=0)
    return np.where(ranges > _ROUNDING * np.abs(palette).max(axis=0), ranges, 0.0)


def display_range(palette: Floats, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the channel values that are shown as black and as white for an RGB palette (K, 3).

    For uint8 they are 0 and 255. Images of other dtypes often contain 8, 10, 12 or
    14 bits in a wider dtype, or 0…255 as floats. So white is the first value of this
    list that is at least the maximum of the palette: 1 (floats only), 2^8 - 1,
    2^10 - 1, 2^12 - 1, 2^14 - 1, 2^16 - 1, the maximum of an integer dtype.

    White is the maximum of the palette in two other cases: no value of the list is
    large enough, or the value is not the first of the list and more than 16 times the
    maximum. A palette with negative values is shown from its minimum to its maximum.
    """
    minimum, maximum = float(palette.min(initial=np.inf)), float(palette.max(initial=-np.inf))
    if dtype == np.uint8 or not palette.size:
        return 0.0, white_of(dtype)
    if minimum < 0:
        return minimum, maximum
    whites = [1.0, *_USUAL_WHITES]
    if dtype.kind in "ui":
        # Leave out values above the dtype's maximum, such as 255 for int8.
        whites = [*(white for white in _USUAL_WHITES if white < white_of(dtype)), white_of(dtype)]
    white = next((white for white in whites if maximum <= white), maximum)
    is_too_large = white != whites[0] and white > _MAX_WHITE_RATIO * maximum
    return 0.0, maximum if is_too_large else white


def display_colors(
    colors: Floats, rgb: bool, dtype: np.dtype[Any], palette: Floats | None = None
) -> Floats:
    """Return RGB colors (n, 3) from 0 to 1 that show channel values (n, C) on a screen.

    RGB is shown in the range of `display_range`, and 8-bit gray from 0 to 255. Any
    other channel is shown from its minimum to its maximum. Several channels are
    added in the colors that napari gives to channels. If a sum exceeds white, all colors
    are darkened by the same factor: different colors would else be shown as one white.

    Parameters
    ----------
    colors : (n, C) array
        Channel values.
    rgb : bool
        True if the channels are red, green and blue.
    dtype : numpy.dtype
        The dtype of the image.
    palette : (K, C) array, optional
        The channel values from which the range is found. None takes `colors`.
    """
    palette = colors if palette is None else palette
    if rgb:
        limits = np.array(display_range(palette, dtype))[:, None]
    elif palette.shape[1] == 1 and dtype == np.uint8:
        limits = np.array([[0.0], [255.0]])
    else:
        limits = np.stack([palette.min(axis=0), palette.max(axis=0)])
    # Halve first, so that the range cannot overflow.
    halves = limits / 2
    low, ranges = halves[0], channel_ranges(halves)

    def scale(values: Floats) -> Floats:
        return np.asarray((values / 2 - low) / np.where(ranges > 0, ranges, 1))

    levels = scale(colors)
    if not rgb:
        mixing = _mixing_matrix(colors.shape[1])
        brightest = (np.clip(scale(palette), 0, 1) @ mixing).max(initial=1)
        levels = np.clip(levels, 0, 1) @ mixing / brightest
    return np.asarray(np.clip(levels, 0, 1))


def _mixing_matrix(n_channels: int) -> Floats:
    if n_channels == 1:
        return np.ones((1, 3))
    colors = _TWO_CHANNEL_COLORS if n_channels == 2 else _CHANNEL_COLORS
    return colors[np.arange(n_channels) % len(colors)]


def to_hex(colors: Floats) -> list[str]:
    """Return the names ``#rrggbb`` of RGB colors (K, 3) from 0 to 1."""
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in np.rint(colors * 255).astype(int)]
