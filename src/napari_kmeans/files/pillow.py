"""Read the pages of compressed TIFF files with Pillow, through imageio."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_with_pillow(data: bytes, pages: Sequence[int]) -> Picture:
    """Read the `pages` of a file."""
    import imageio.v3 as iio

    _check_size(data, len(pages))
    mode = str(iio.immeta(data, plugin="pillow", index=0).get("mode", ""))
    # Convert CMYK to RGB: black ink, the fourth channel, would be taken for alpha.
    settings: dict[str, Any] = {"plugin": "pillow", "mode": "RGB" if mode == "CMYK" else None}
    pixels = np.stack([iio.imread(data, index=page, **settings) for page in pages])
    is_gray = mode in ("1", "L", "F") or mode.startswith("I")
    if mode == "LA":
        gray, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([gray, gray, gray, alpha], axis=-1)
    # A file with one page gives an image, not a stack.
    if len(pixels) == 1 and pixels.ndim > (2 if is_gray else 3):
        pixels = pixels[0]
    return Picture(pixels, rgb=not is_gray)


def _check_size(data: bytes, n_frames: int) -> None:
    """Check that data are an image, and that its stated size fits into the free memory."""
    from PIL import Image, ImageMode, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data)) as image:
            value = np.dtype(ImageMode.getmode(image.mode).typestr)
            n_bytes = image.width * image.height * len(image.getbands()) * value.itemsize
    except UnidentifiedImageError:
        raise UnreadableImageError("it is not an image in a supported format") from None
    # Count one frame more: Pillow holds a frame while imageio makes an array of all frames.
    check_memory((n_frames + 1) * n_bytes, "an image of the size that it states")
