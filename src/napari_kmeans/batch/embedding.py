"""Embed pictures in an HTML file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

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
    for size, quality in _STEPS:
        if has_few_colors:
            data = _to_png(_shrink(flat, size, smooth=False))
            if len(data) <= max_bytes:
                return "png", data
        data = _to_jpeg(_shrink(flat, size, smooth=True), quality, has_few_colors)
        if len(data) <= max_bytes:
            break
    return "jpeg", data


def _on_white(picture: Image.Image) -> Image.Image:
    """Return an RGB picture. Transparent pixels show the page, which is white."""
    from PIL import Image

    if picture.mode == "RGB":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _shrink(picture: Image.Image, size: int, smooth: bool) -> Image.Image:
    from PIL import Image

    copy = picture.copy()
    copy.thumbnail((size, size), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    return copy


def _to_png(picture: Image.Image) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    # A palette takes a third of the bytes. It has all colors if there are at most 256.
    if picture.getcolors(256):
        picture = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _to_jpeg(picture: Image.Image, quality: int, has_few_colors: bool) -> bytes:
    buffer = io.BytesIO()
    # Subsampled colors would blur the borders of classes.
    subsampling = 0 if has_few_colors else 2
    picture.save(buffer, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    return buffer.getvalue()
