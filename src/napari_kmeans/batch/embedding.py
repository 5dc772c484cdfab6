"""Embed pictures in an HTML file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.execution.notices import notice

if TYPE_CHECKING:
    import os

    from PIL import Image

_STEPS = ((320, 85), (320, 75), (256, 75), (208, 70), (160, 70), (128, 65), (96, 60))
"""The longest side in pixels and the JPEG quality that are tried, from the best to the smallest."""


def embed_picture(path: str | os.PathLike[str] | None, max_bytes: int, has_few_colors: bool) -> str:
    """Return a picture as a data URI of PNG or JPEG.

    Parameters
    ----------
    path : path or None
        A file that Pillow reads.
    max_bytes : int
        The largest size of the file in the URI. The picture is made smaller if it is larger. A
        picture of 96 pixels is embedded whatever its size.
    has_few_colors : bool
        Whether the picture is one of classes. Its pixels then keep their colors wherever the size
        allows it.

    Returns
    -------
    str
        "" without a picture, or if it cannot be read: a report without a picture is better than
        no report.
    """
    from PIL import Image

    if path is None:
        return ""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = quote_value(str(path))
        notice(f"the thumbnail {name} cannot be read and is left out: {error}", stacklevel=2)
        return ""
    kind, data = _encode(picture, max_bytes, has_few_colors)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode(picture: Image.Image, max_bytes: int, has_few_colors: bool) -> tuple[str, bytes]:
    """Return the format and the bytes of the first version of a picture that is small enough."""
    flat = _on_white(picture)
    indexed = _index_colors(flat) if has_few_colors else None
    tried, data = 0, b""
    for size, quality in _STEPS:
        # The bytes fall about as the number of pixels. Sizes that would still be far too large
        # are not tried, because encoding takes most of the time.
        if data and size > _STEPS[-1][0] and len(data) * (size / tried) ** 2 > 1.2 * max_bytes:
            continue
        if indexed is not None:
            data = _to_png(_shrink(indexed, size))
        else:
            data = _to_jpeg(_shrink(flat, size), quality, has_few_colors)
        tried = size
        if len(data) <= max_bytes:
            break
    return "jpeg" if indexed is None else "png", data


def _on_white(picture: Image.Image) -> Image.Image:
    """Return an RGB picture. Transparent pixels show the page, which is white."""
    from PIL import Image

    if picture.mode == "RGB":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _index_colors(picture: Image.Image) -> Image.Image | None:
    """Return an RGB picture as indices of its colors; None if it has more than 256.

    The palettes of Pillow's own conversion are slower to find, and not always exact.
    """
    from PIL import Image

    counts = picture.getcolors(256)
    if counts is None:
        return None
    place = np.array([1 << 16, 1 << 8, 1], np.uint32)
    colors = np.sort(np.array([color for _, color in counts], np.uint32) @ place)
    indices = np.searchsorted(colors, np.asarray(picture) @ place)
    indexed = Image.fromarray(indices.astype(np.uint8))
    indexed.putpalette(
        np.stack([colors >> 16, colors >> 8 & 255, colors & 255], 1).ravel().tolist()
    )
    return indexed


def _shrink(picture: Image.Image, size: int) -> Image.Image:
    from PIL import Image

    copy = picture.copy()
    # A mean of two indices would be the index of another color.
    method = Image.Resampling.NEAREST if copy.mode == "P" else Image.Resampling.LANCZOS
    copy.thumbnail((size, size), method)
    return copy


def _to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    n_colors = len(picture.getcolors(256) or ())
    picture.save(buffer, "PNG", bits=4 if n_colors <= 16 else 8)
    return buffer.getvalue()


def _to_jpeg(picture: Image.Image, quality: int, has_few_colors: bool) -> bytes:
    buffer = io.BytesIO()
    # Subsampled colors would blur the borders of classes.
    picture.save(buffer, "JPEG", quality=quality, subsampling=0 if has_few_colors else 2)
    return buffer.getvalue()
