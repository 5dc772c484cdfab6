"""Tell a resolution that is the size of a pixel from that of a screen or a print."""

from __future__ import annotations

from math import isfinite

SCREEN_DPI = (72, 96, 100, 120, 144, 192)
"""Dots per inch of screens. The last ones are those of magnified screens."""

MAX_SCREEN_DPI = 100
"""Scanners have more dots per inch than screens: programs write up to 100 without a scan."""

PIXEL_SIZES = (1e-4, 1e5)
"""Micrometers. An atom has the first size, and no camera or scanner states 10 cm per pixel."""

MICROMETERS_PER_INCH = 25400.0


def is_resolution_of_screen(dpi: float) -> bool:
    """Return whether dots per inch are a known resolution of screens.

    PNG files have dots per meter, and JPEG and TIFF files may have dots per centimeter: they are
    rounded.
    """
    return any(abs(dpi - screen) < 1 for screen in SCREEN_DPI)


def is_resolution_of_print(dpi: float) -> bool:
    """Return whether dots per inch are those of a screen or a print, not of an object.

    The resolution of a screen (such as 72 or 96 dots per inch) is a default of many programs: an
    area from it would be wrong.
    """
    return not isfinite(dpi) or dpi < MAX_SCREEN_DPI + 1 or is_resolution_of_screen(dpi)


def is_possible_size(micrometers: float) -> bool:
    """Return whether a resolution can state this size of a pixel."""
    low, high = PIXEL_SIZES
    return low <= micrometers <= high
