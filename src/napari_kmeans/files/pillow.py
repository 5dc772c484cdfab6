"""Read photographs and animations with Pillow, through imageio."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.napari_readers import describe_format, is_accepted
from napari_kmeans.files.picture import Picture, Series

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def is_photograph(path: Path, header: bytes) -> bool:
    """Return whether Pillow recognizes a file, or no reader plugin of napari is known for it."""
    from PIL import Image

    # Pillow recognizes HDF5, but does not read it.
    if describe_format(path, header):
        return False
    try:
        with Image.open(path):
            return True
    except Exception:
        # A file that nothing recognizes: reading it gives the reason.
        return not is_accepted(path, header)


def list_photograph_series(path: Path) -> tuple[Series, ...]:
    """Return the one image in a photograph or an animation."""
    return (Series("", read_photograph(path).pixels.shape),)


def read_photograph(path: Path, number: int | None = None) -> Picture:
    """Read an image or an animation with the reader that imageio prefers for its suffix."""
    import imageio.v3 as iio
    from imageio.config import known_extensions
    from imageio.plugins.pillow import PillowPlugin

    # Pass bytes to imageio: it leaves a file open that it cannot read.
    data = read_bytes(path)
    known = known_extensions.get(path.suffix.lower())
    # Try only the reader that imageio prefers. If it fails, the other readers fail too, with
    # a longer message.
    if not known or known[0].priority[0] != "pillow":
        with iio.imopen(data, "r", extension=path.suffix) as file:
            if not isinstance(file, PillowPlugin):
                return Picture(np.asarray(file.read()))
    return read_with_pillow(data)


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file, or raise an error if they exceed the free memory."""
    check_memory(path.stat().st_size, "the file")
    return path.read_bytes()


def read_with_pillow(data: bytes, pages: Sequence[int] = ()) -> Picture:
    """Read the `pages` of a file, or all of its pages if `pages` is empty."""
    import imageio.v3 as iio

    _check_size(data, len(pages))
    mode = str(iio.immeta(data, plugin="pillow", index=0).get("mode", ""))
    # Convert CMYK to RGB: black ink, the fourth channel, would be taken for alpha.
    settings: dict[str, Any] = {"plugin": "pillow", "mode": "RGB" if mode == "CMYK" else None}
    if pages:
        pixels = np.stack([iio.imread(data, index=page, **settings) for page in pages])
    else:
        pixels = np.asarray(iio.imread(data, **settings))
    is_gray = mode in ("1", "L", "F") or mode.startswith("I")
    if mode == "LA":
        gray, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([gray, gray, gray, alpha], axis=-1)
    # A file with one page gives an image, not a stack.
    if len(pixels) == 1 and pixels.ndim > (2 if is_gray else 3):
        pixels = pixels[0]
    note = "its 16-bit colors are read at 8 bits; a TIFF file would keep all 16"
    return Picture(pixels, rgb=not is_gray, note=note if _is_deep_color_png(data) else "")


def _check_size(data: bytes, n_pages: int) -> None:
    """Check that data are an image, and that its stated size fits into the free memory."""
    from PIL import Image, ImageMode, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data)) as image:
            n_frames = n_pages or getattr(image, "n_frames", 1)
            value = np.dtype(ImageMode.getmode(image.mode).typestr)
            n_bytes = image.width * image.height * len(image.getbands()) * value.itemsize
    except UnidentifiedImageError:
        raise UnreadableImageError("it is not an image in a supported format") from None
    # Count one frame more: Pillow holds a frame while imageio makes an array of all frames.
    check_memory((n_frames + 1) * n_bytes, "an image of the size that it states")


def _is_deep_color_png(data: bytes) -> bool:
    # Byte 24 is the bit depth of a PNG file. Byte 25 is its color type, which is 0 for gray.
    return data.startswith(b"\x89PNG") and data[24] == 16 and data[25] != 0
