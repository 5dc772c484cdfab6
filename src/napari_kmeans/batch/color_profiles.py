"""Describe the color profile of an image."""

from __future__ import annotations

from io import BytesIO

TOLERANCE = 4
"""The largest difference of 8-bit values in sRGB that counts as sRGB.

The colors of sRGB with a gamma of 2.2 differ by up to 3, those of Display P3 by up to 102.
"""


def describe_other_profile(profile: bytes) -> str | None:
    """Return the name of a color profile, or None if its colors are those of sRGB.

    The answer is also None for a damaged profile, and for a profile of gray values.
    """
    from PIL import Image, ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(opened).strip()
        if opened.profile.xcolor_space.strip() != "RGB" or name.startswith("sRGB"):
            return None
        # Colors of 0, 51, 102, …, 255: equal values in sRGB mean the same colors.
        levels = bytes(range(0, 256, 51))
        colors = bytes(value for r in levels for g in levels for b in levels for value in (r, g, b))
        image = Image.frombytes("RGB", (len(colors) // 3, 1), colors)
        to_srgb = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        converted = to_srgb.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    differences = (abs(a - b) for a, b in zip(converted.tobytes(), colors, strict=True))
    return (name or "without a name") if max(differences) > TOLERANCE else None
