"""Convert the samples of TIFF pages to gray values, RGB colors or channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile
    from numpy.typing import NDArray

PREMULTIPLIED = 1
"""The value of ExtraSamples for alpha by which the colors are multiplied."""

ALPHA_KINDS = (PREMULTIPLIED, 2)
"""The values of ExtraSamples for alpha."""

JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
"""The compressions of which tifffile converts YCbCr to RGB."""

JPEG_2000_YCBCR = 33003
"""The compression of Aperio that has YCbCr colors, whatever the photometric interpretation is."""

N_COLORS = {
    "MINISWHITE": 1,
    "MINISBLACK": 1,
    "MASK": 1,
    "RGB": 3,
    "PALETTE": 1,
    "SEPARATED": 4,
    "YCBCR": 3,
    "CIELAB": 3,
    "ICCLAB": 3,
}
"""The number of samples of a pixel that are its color, by photometric interpretation."""

D50 = (0.9642, 1.0, 0.8249)
"""The white of CIELAB in TIFF files, in XYZ."""

D50_TO_RGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
"""From XYZ with white D50 to linear sRGB, adapted by Bradford (Lindbloom, brucelindbloom.com)."""


class Conversion(NamedTuple):
    """A function from the samples of pixels, along the last axis, to colors or channels.

    It can be pickled, for lazy pixels that another process computes.
    """

    kind: str
    """The photometric interpretation, a key of `N_COLORS`."""

    kept: tuple[int, ...]
    """The samples that are the color, or the channels."""

    alpha: int | None = None
    """The sample that becomes the last one of RGBA, or None."""

    premultiplied: bool = False
    white: int = 0
    """The highest value that the bits of a sample hold; 0 if it is not an unsigned integer."""

    table: NDArray[Any] | None = None
    """The colors of the palette, one row for each index."""

    ratios: tuple[float, ...] = ()
    """The coefficients and the reference values of YCbCr."""

    to_rgb: bool = True
    """Whether the results are colors. Otherwise they are gray values or channels."""

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the converted pixels. The last axis is gone if the results are gray values."""
        colors = pixels[..., list(self.kept)]
        if not self.to_rgb:
            colors = self._convert_channels(colors)
            return colors if len(self.kept) > 1 else colors[..., 0]
        if self.table is not None:
            colors = self.table[colors[..., 0].astype(np.intp)]
        opacity = None
        if self.alpha is not None:
            opacity = scale_bits(pixels[..., self.alpha : self.alpha + 1], self.white)
        if self.kind == "YCBCR":
            colors = ycbcr_to_rgb(colors, self.white, self.ratios)
        elif self.kind in ("CIELAB", "ICCLAB"):
            colors = lab_to_rgb(colors, signed=self.kind == "CIELAB")
        elif self.table is None:
            colors = scale_bits(colors, self.white)
        if opacity is not None and self.premultiplied:
            colors = undo_premultiplied(colors, opacity)
        if self.kind == "SEPARATED":
            colors = cmyk_to_rgb(colors)
        elif self.kind == "MINISWHITE":
            colors = np.iinfo(colors.dtype).max - colors
        if self.kind in ("MINISWHITE", "MINISBLACK"):
            colors = np.repeat(colors, 3, axis=-1)
        return colors if opacity is None else np.concatenate([colors, opacity], axis=-1)

    def _convert_channels(self, channels: NDArray[Any]) -> NDArray[Any]:
        if self.kind == "MINISWHITE":
            first = channels[..., :1]
            first = ~first if first.dtype == bool else first.dtype.type(self.white) - first
            channels = np.concatenate([first, channels[..., 1:]], axis=-1)
        return channels


class Colors(NamedTuple):
    """What the samples of a pixel are."""

    convert: Conversion | None
    """None if the samples are the result."""

    n_samples: int
    """The number of samples after the conversion. 0 stands for gray values without this axis."""

    dtype: np.dtype[Any]
    rgb: bool
    alpha: int | None = None
    """The sample that becomes the mask, because the other samples are no RGB colors."""

    note: str = ""
    keeps_profile: bool = True
    """Whether the ICC profile of the file describes the converted colors."""


def find_colors(page: tifffile.TiffPage, n_samples: int, is_lut: bool) -> Colors:
    """Return what the samples of a page are, and how they are converted.

    Parameters
    ----------
    page : TiffPage
    n_samples : int
        The number of samples of a pixel; 0 if the pixels have no axis of samples.
    is_lut : bool
        Whether the palette is a lookup table for the display, so that the indices are the values.

    Raises
    ------
    UnreadableImageError
        If the photometric interpretation is not supported.
    """
    kind, dtype, count = _name_kind(page, is_lut), np.dtype(page.dtype), max(n_samples, 1)
    n_colors = 1 if kind in ("CIELAB", "ICCLAB") and count == 1 else N_COLORS[kind]
    if count < n_colors:
        kind, n_colors = "MINISBLACK", 1
    n_extras = count - n_colors
    extras = [*page.extrasamples[:n_extras], *[0] * (n_extras - len(page.extrasamples))]
    number = next((each for each, extra in enumerate(extras) if extra in ALPHA_KINDS), None)
    alpha = None if number is None else n_colors + number
    premultiplied = number is not None and extras[number] == PREMULTIPLIED
    other_extras = n_extras - (alpha is not None)
    gray = n_colors == 1 and kind in ("MINISWHITE", "MINISBLACK", "MASK")
    gray_alpha = gray and count == 2 and alpha is not None and dtype in (np.uint8, np.uint16)
    if (gray and not gray_alpha) or (kind == "RGB" and other_extras):
        return _find_channels(page, kind, n_samples, alpha, premultiplied)
    white = _find_white(page)
    # The indices of a palette and its colors may differ in dtype: alpha becomes the mask.
    mask = alpha if kind == "PALETTE" else None
    alpha = None if kind == "PALETTE" else alpha
    conversion = Conversion(kind, tuple(range(n_colors)), alpha, premultiplied, white)
    note = f"its {other_extras} samples beside the colors are left out" if other_extras else ""
    if kind == "PALETTE":
        table = read_palette(page)
        conversion, dtype = conversion._replace(table=table), table.dtype
    elif kind not in ("RGB", "MINISWHITE", "MINISBLACK") and dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError(f"its colors are {kind} in {dtype}; convert it to RGB")
    elif kind == "YCBCR":
        conversion = conversion._replace(ratios=_read_ycbcr_ratios(page, white))
    elif kind == "SEPARATED" and page.iccprofile:
        note = "its inks are converted to RGB without their color profile"
    same = kind == "RGB" and not premultiplied and _is_full_range(dtype, white)
    return Colors(
        None if same else conversion,
        3 if alpha is None else 4,
        dtype,
        rgb=True,
        alpha=mask,
        note=note,
        keeps_profile=kind not in ("SEPARATED", "CIELAB", "ICCLAB"),
    )


def _name_kind(page: tifffile.TiffPage, is_lut: bool) -> str:
    from tifffile import PHOTOMETRIC

    try:
        kind = PHOTOMETRIC(page.photometric).name
    except ValueError:
        kind = str(page.photometric)
    if kind == "PALETTE" and is_lut:
        return "MINISBLACK"
    # InkSet 2: other inks than cyan, magenta, yellow and black.
    if kind == "SEPARATED" and (page.tags.valueof(332) == 2 or page.samplesperpixel < 4):
        return "MINISBLACK"
    if page.compression == JPEG_2000_YCBCR and kind in ("RGB", "YCBCR"):
        return "YCBCR"
    if kind == "YCBCR" and page.compression in JPEG_COMPRESSIONS and page.planarconfig == 1:
        return "RGB"
    if kind not in N_COLORS:
        raise UnreadableImageError(
            f"its colors, of photometric interpretation {kind}, are not supported; "
            f"convert it to RGB"
        )
    return kind


def _find_channels(
    page: tifffile.TiffPage, kind: str, n_samples: int, alpha: int | None, premultiplied: bool
) -> Colors:
    """Return how gray values and channels are converted: alpha becomes the mask."""
    dtype, note = np.dtype(page.dtype), ""
    inverted = kind == "MINISWHITE" and dtype.kind in "bu"
    if kind == "MINISWHITE" and not inverted:
        note = "its values are those of the file, in which the lowest value is white"
    if premultiplied:
        note = "its channels stay multiplied by its alpha channel"
    kept = tuple(number for number in range(max(n_samples, 1)) if number != alpha)
    conversion = Conversion(
        kind if inverted else "MINISBLACK", kept, white=_find_white(page), to_rgb=False
    )
    changes = inverted or alpha is not None or n_samples == 1
    return Colors(
        conversion if changes else None,
        len(kept) if len(kept) > 1 else 0,
        dtype,
        rgb=False,
        alpha=alpha,
        note=note,
    )


def _find_white(page: tifffile.TiffPage) -> int:
    """Return the highest value that the bits of a sample hold; 0 if it is not unsigned."""
    dtype = np.dtype(page.dtype)
    if dtype.kind != "u":
        return 0
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * dtype.itemsize
    return int(2 ** min(bits, 8 * dtype.itemsize) - 1)


def _is_full_range(dtype: np.dtype[Any], white: int) -> bool:
    return dtype.kind != "u" or dtype.itemsize > 2 or white == int(np.iinfo(dtype).max)


def scale_bits(pixels: NDArray[Any], white: int) -> NDArray[Any]:
    """Return samples of 2 to 15 bits in the full range of their dtype, so that white is white.

    Samples of other dtypes and numbers of bits are returned unchanged.
    """
    if _is_full_range(pixels.dtype, white):
        return pixels
    full = int(np.iinfo(pixels.dtype).max)
    # One entry for each value is faster than a division of each pixel.
    values = np.arange(full + 1, dtype=np.uint32).clip(max=white)
    table: NDArray[Any] = ((values * full + white // 2) // white).astype(pixels.dtype)
    scaled: NDArray[Any] = table[pixels]
    return scaled


def undo_premultiplied(colors: NDArray[Any], opacity: NDArray[Any]) -> NDArray[Any]:
    """Return colors that were multiplied by their alpha, without it."""
    if colors.dtype.kind != "u":
        # The alpha of floats is from 0 to 1.
        safe = np.where(opacity > 0, opacity, 1)
        return np.where(opacity > 0, colors / safe, 0).astype(colors.dtype)
    full = int(np.iinfo(colors.dtype).max)
    divisor = np.maximum(opacity, 1).astype(np.uint64)
    divided = (colors.astype(np.uint64) * np.uint64(full) + divisor // 2) // divisor
    return np.where(opacity > 0, np.minimum(divided, full), 0).astype(colors.dtype)


def read_palette(page: tifffile.TiffPage) -> NDArray[Any]:
    """Return the colors of a palette, one row for each index.

    They have 8 bits, unless the file really uses the 16 bits that the palettes of TIFF have.
    """
    table = page.colormap
    if (
        table is None
        or table.ndim != 2
        or len(table) != 3
        or not isinstance(page.bitspersample, int)
    ):
        raise UnreadableImageError("its palette is missing or damaged")
    table = np.ascontiguousarray(table.T)
    n_indices = 2 ** min(page.bitspersample, 8 * np.dtype(page.dtype).itemsize)
    if n_indices > 2**16:
        raise UnreadableImageError("its palette is missing or damaged")
    table = np.pad(table[:n_indices], ((0, n_indices - len(table[:n_indices])), (0, 0)))
    if table.max(initial=0) < 256:
        # Some programs write 8-bit colors. libtiff recognizes them in the same way.
        return table.astype(np.uint8)
    if not (table % 257).any():
        return (table // 257).astype(np.uint8)
    if not (table & 255).any():
        return (table >> 8).astype(np.uint8)
    return table


def is_lookup_table(table: NDArray[Any]) -> bool:
    """Return whether a palette (3, n) is a scale from dark to bright, not a set of colors."""
    luminance = np.array([0.299, 0.587, 0.114]) @ table.astype(float)
    return bool(luminance[-1] > luminance[0] and (np.diff(luminance) >= -257).all())


def cmyk_to_rgb(inks: NDArray[Any]) -> NDArray[Any]:
    """Convert cyan, magenta, yellow and black to RGB, as viewers without profiles do."""
    full = int(np.iinfo(inks.dtype).max)
    paper = (full - inks).astype(np.uint64)
    products = paper[..., :3] * paper[..., 3:]
    colors: NDArray[Any] = (products + np.uint64(full // 2)) // np.uint64(full)
    return colors.astype(inks.dtype)


def ycbcr_to_rgb(pixels: NDArray[Any], white: int, ratios: Sequence[float]) -> NDArray[Any]:
    """Convert YCbCr to RGB (TIFF 6.0, section 21).

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, (..., 3)
    white : int
        The highest value that the bits of a sample hold.
    ratios : sequence of float
        The parts of red, green and blue in Y, then the lowest and highest reference value of Y,
        Cb and Cr.
    """
    red, green, blue, low_y, high_y, low_b, high_b, low_r, high_r = ratios
    chroma = white - (white + 1) // 2
    y, cb, cr = np.moveaxis(pixels.astype(np.float64), -1, 0)
    y = (y - low_y) * (white / (high_y - low_y))
    cb = (cb - low_b) * (chroma / (high_b - low_b))
    cr = (cr - low_r) * (chroma / (high_r - low_r))
    r = cr * (2 - 2 * red) + y
    b = cb * (2 - 2 * blue) + y
    g = (y - blue * b - red * r) / green
    full = int(np.iinfo(pixels.dtype).max)
    colors = np.stack([r, g, b], axis=-1) * (full / white)
    return np.clip(np.rint(colors), 0, full).astype(pixels.dtype)


def _read_ycbcr_ratios(page: tifffile.TiffPage, white: int) -> tuple[float, ...]:
    """Return the coefficients and reference values of YCbCr, or their defaults if damaged."""
    middle = (white + 1) // 2
    parts = _read_rationals(page, 529)
    limits = _read_rationals(page, 532)
    if len(parts) != 3 or not (parts > 0).all():
        parts = np.array([0.299, 0.587, 0.114])
    if len(limits) != 6 or not (limits[1::2] > limits[::2]).all():
        limits = np.array([0, white, middle, white, middle, white])
    return (*parts.tolist(), *limits.tolist())


def _read_rationals(page: tifffile.TiffPage, code: int) -> NDArray[np.float64]:
    """Return the values of a tag of rational numbers; empty if it is missing or damaged."""
    try:
        pairs = np.array(page.tags.valueof(code), float).reshape(-1, 2)
    except (TypeError, ValueError):
        return np.zeros(0)
    return pairs[:, 0] / pairs[:, 1] if pairs[:, 1].all() else np.zeros(0)


def lab_to_rgb(pixels: NDArray[Any], signed: bool) -> NDArray[Any]:
    """Convert CIELAB to sRGB.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, (..., 3), or (..., 1) for L alone
    signed : bool
        Whether a and b are signed numbers, as in CIELAB. In ICCLAB they have an offset.
    """
    eight = pixels.dtype == np.uint8
    unit = 1.0 if eight else 256.0
    full = int(np.iinfo(pixels.dtype).max)
    # ICCLAB with 16 bits states L = 100 as 0xFF00 (ICC.1, legacy encoding).
    light = pixels[..., 0].astype(float) * (100 / (full if signed or eight else 0xFF00))
    if pixels.shape[-1] == 1:
        a = b = np.zeros_like(light)
    elif signed:
        stored = pixels[..., 1:].view(np.int8 if eight else np.int16)
        a, b = np.moveaxis(stored.astype(float) / unit, -1, 0)
    else:
        a, b = np.moveaxis(pixels[..., 1:].astype(float) / unit - 128, -1, 0)
    y = (light + 16) / 116
    cubes = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(cubes > 6 / 29, cubes**3, (cubes - 4 / 29) * (3 * (6 / 29) ** 2)) * D50
    linear = np.clip(xyz @ np.array(D50_TO_RGB).T, 0, 1)
    colors = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    rounded: NDArray[Any] = np.rint(colors * full).astype(pixels.dtype)
    return rounded
