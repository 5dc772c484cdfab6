"""Read photographs, drawings and animations with Pillow and imagecodecs."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.codecs import Decoded, decode_deep, is_deep_animated_png
from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.picture import Axis, Picture, Series
from napari_kmeans.files.resolution import (
    MICROMETERS_PER_INCH,
    is_possible_size,
    is_resolution_of_print,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

FORMATS: dict[str, re.Pattern[bytes]] = {
    name: re.compile(start, re.DOTALL)
    for name, start in {
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "JPEG": rb"\xff\xd8\xff",
        "GIF": rb"GIF8[79]a",
        "WEBP": rb"RIFF.{4}WEBP",
        "AVIF": rb".{4}ftyp(.{4}){0,16}?(avif|avis)",
        "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        "JPEGXL": rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a",
        "JPEGXR": rb"II\xbc[\0\x01]",
        "PPM": rb"P[1-7fF][ \t\n\v\f\r#]",
        # The size of the second header is one of those that exist.
        "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        "PSD": rb"8BPS\0\x01",
        "QOI": rb"qoif",
        "DDS": rb"DDS \x7c\0\0\0",
        "SGI": rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]",
        "SUN": rb"\x59\xa6\x6a\x95",
        "PCX": rb"\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]",
        "DCX": rb"\xb1\x68\xde\x3a",
        "FLI": rb".{4}[\x11\x12]\xaf.{8}[\0\x03]\0",
        "XPM": rb"/\* XPM \*/",
        "XBM": rb"\s*#define[ \t]+\S+_width[ \t]+\d+",
        "TGA": rb".(\0[\x02\x03\x0a\x0b].{5}|\x01[\x01\x02\x09\x0a].{4}[\x0f\x10\x18\x20]).{8}"
        rb"[\x08\x0f\x10\x18\x20][\0-\x3f]",
    }.items()
}
"""The formats and their first bytes. The names are those of Pillow, where it has the format.

Left out are the formats of Pillow that need other programs (EPS, WMF) or that it only
recognizes (HDF5, GRIB, BUFR, MPEG), scientific formats of which it reads a part (FITS, SPIDER),
and icons, which contain images of sizes that their headers do not state.
"""

TGA_HEADER = 18
"""Bytes. The size of the header of a TGA file."""

ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF", "FLI")
"""Formats of which the frames are a time stack."""

GRAY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
"""Modes of Pillow. An image in one of the second kind has a value of alpha for each pixel."""

ORIENTATION, PHOTOGRAPH_DATA = 0x0112, 0x8769
TURNS = {
    1: (1, 1, False),
    2: (1, -1, False),
    3: (-1, -1, False),
    4: (-1, 1, False),
    5: (1, 1, True),
    6: (-1, 1, True),
    7: (-1, -1, True),
    8: (1, -1, True),
}
"""For each orientation of Exif the steps along rows and columns, and whether both are exchanged
afterwards."""

EXPOSURE = {0x829A, 0x829D, 0x920A}
"""Tags of Exif. The last ones are the exposure time, the aperture and the focal length."""


def is_photograph(path: Path, header: bytes) -> bool:
    """Return whether the first bytes of a file are those of one of the `FORMATS`."""
    kind = _find_format(header)
    return kind is not None and (kind != "TGA" or _is_tga(path, header))


def _find_format(header: bytes) -> str | None:
    return next((name for name, start in FORMATS.items() if start.match(header)), None)


def _is_tga(path: Path, header: bytes) -> bool:
    """Return whether the size of a file is possible for the size that its header states.

    A TGA file has no bytes by which it is recognized with certainty.
    """
    width, height, n_bits = struct.unpack_from("<HHB", header, 12)
    n_pixels: int = width * height
    n_bytes: int = (n_bits + 7) // 8
    n_packed = path.stat().st_size - TGA_HEADER
    # A run of up to 128 equal pixels is packed into one byte and one pixel.
    least = n_pixels * (n_bytes + 1) // 128 if header[2] & 8 else n_pixels * n_bytes
    # Besides the pixels there are a color map, a text, and areas for programs.
    return 0 < least <= n_packed <= n_pixels * (n_bytes + 1) + 2**16


def list_photograph_series(path: Path) -> tuple[Series, ...]:
    """Return the images in a file. The frames of an animation are one image."""
    data = read_bytes(path)
    sizes = _list_sizes(data)
    return tuple(
        Series(f"image {number}" if len(sizes) > 1 else "", _read(data, number).pixels.shape)
        for number in range(len(sizes))
    )


def read_photograph(path: Path, number: int | None = None) -> Picture:
    """Read an image or an animation.

    Colors become RGB, and every kind of transparency becomes alpha. The orientation of a
    photograph is applied. The frames of an animation are a stack along time.

    Parameters
    ----------
    path : Path
    number : int, optional
        The number of an image in a file with several, such as a stereo photograph. If None,
        the largest.

    Raises
    ------
    UnreadableImageError
        If the file is damaged, or if its image does not fit into memory.
    """
    data = read_bytes(path)
    sizes = _list_sizes(data)
    if number is not None and not 0 <= number < len(sizes):
        raise UnreadableImageError(
            f"series must be from 0 to {len(sizes) - 1}, the number of an image in the file, "
            f"got {number}"
        )
    chosen = sizes.index(max(sizes)) if number is None else number
    picture = _read(data, chosen)
    # The smaller images in the file of a camera are previews of the photograph.
    if number is not None or sizes.count(max(sizes)) == 1:
        return picture
    note = f"only series {chosen} of its {len(sizes)} images is read"
    return picture._replace(note="; ".join(filter(None, (note, picture.note))))


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file, or raise an error if they exceed the free memory."""
    check_memory(path.stat().st_size, "the file")
    return path.read_bytes()


def _list_sizes(data: bytes) -> list[int]:
    """Return the number of pixels of each image in a file that is not an animation."""
    kind = _find_format(data)
    # Only these formats contain several images that are not frames of an animation.
    if kind not in ("JPEG", "DCX"):
        return [1]
    with suppress(UnreadableImageError), _open_image(kind, data) as image:
        sizes = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            sizes.append(image.width * image.height)
        return sizes
    # Pillow does not open JPEG-LS.
    return [1]


def _read(data: bytes, number: int) -> Picture:
    kind = _find_format(data) or ""
    decoded = decode_deep(kind, data) if number == 0 else None
    if decoded is not None:
        return _make_picture(decoded, _read_metadata_of_deep(kind, data))
    with _open_image(kind, data) as image:
        if number:
            image.seek(number)
        decoded, durations, profile = _read_frames(image, kind in ANIMATIONS)
        if kind == "TGA" and not data[17] & 0x0F and decoded.pixels.ndim == 3:
            # The file states the number of bits of alpha: 0. The fourth byte has no meaning.
            decoded = decoded._replace(pixels=decoded.pixels[..., :3])
        metadata = _read_metadata(image)._replace(profile=profile, durations=durations)
    picture = _make_picture(decoded, metadata)
    is_deep = (kind == "PNG" and is_deep_animated_png(data)) or (kind == "SGI" and data[3] == 2)
    note = "its 16-bit colors are read at 8 bits; a TIFF file would keep all 16"
    return picture._replace(note=note) if is_deep else picture


def _open_image(kind: str, data: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(BytesIO(data), formats=[kind])
    except (UnidentifiedImageError, KeyError):
        raise UnreadableImageError("its header is damaged") from None


def _read_frames(image: Image, is_animation: bool) -> tuple[Decoded, frozenset[float], bytes]:
    """Return the pixels of an image or of all its frames, their durations, and their profile."""
    n_frames = getattr(image, "n_frames", 1) if is_animation else 1
    # Pillow holds an image of RGB in four bytes per pixel. Count two more for the frame that is
    # decoded, and for its copy.
    n_bytes = image.width * image.height * 4
    check_memory((n_frames + 2) * n_bytes, "an image of the size that it states")
    if n_frames == 1:
        pixels, profile = _to_array(image)
        return Decoded(pixels), frozenset(), profile
    is_gray, keeps_alpha = image.mode == "L", image.mode in ALPHA_MODES
    # The first image of an animated PNG file may be for programs that show no animation.
    first = 1 if image.info.get("default_image") else 0
    pixels = np.empty((n_frames - first, image.height, image.width, 4), np.uint8)
    durations = set()
    for number, frame in zip(range(first, n_frames), pixels, strict=True):
        _seek_frame(image, number)
        frame[:] = np.asarray(image.convert("RGBA"))
        durations.add(float(image.info.get("duration", 0)))
    if not keeps_alpha and np.all(pixels[..., 3] == 255):
        pixels = pixels[..., :3]
        # Pillow reads the first frame of a gray GIF file as gray, and the others as RGB.
        if is_gray and np.all(pixels == pixels[..., :1]):
            pixels = pixels[..., 0]
    return Decoded(pixels, 3), frozenset(durations), image.info.get("icc_profile") or b""


def _seek_frame(image: Image, number: int) -> None:
    """Go to a frame, or raise an error if it is larger than the frames before.

    A frame of a GIF file may enlarge the image, and Pillow allocates it when it goes there.
    """
    from PIL import Image

    size, limit = image.size, Image.MAX_IMAGE_PIXELS
    # Pillow refuses more than two times this number.
    Image.MAX_IMAGE_PIXELS = max(size[0] * size[1], 1)
    try:
        image.seek(number)
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"its frame {number} is larger than the image") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if image.size != size:
        raise UnreadableImageError(f"its frame {number} is larger than the image")


def _to_array(image: Image) -> tuple[NDArray[Any], bytes]:
    """Return one frame as gray, RGB or RGBA, and the color profile of these pixels."""
    profile = image.info.get("icc_profile") or b""
    if image.has_transparency_data:
        # Divide by alpha first, if the colors are multiplied by it.
        image = image.convert("LA") if image.mode == "La" else image
        is_key = image.mode not in ALPHA_MODES
        pixels = np.array(image if image.mode == "RGBA" else image.convert("RGBA"))
        # A palette or a color may be transparent without any pixel that has it.
        if not is_key or not np.all(pixels[..., 3] == 255):
            return pixels, profile
    if image.mode in GRAY_MODES:
        pixels = np.array(image)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), profile
    space = profile[16:20]
    if image.mode in ("CMYK", "LAB") or space == b"Lab ":
        return _convert_colors(image, profile), b""
    return np.array(image if image.mode == "RGB" else image.convert("RGB")), profile


def _convert_colors(image: Image, profile: bytes) -> NDArray[Any]:
    """Convert CMYK or CIELAB to sRGB, by the profile of the image if it fits the image."""
    from PIL import Image, ImageCms

    mode = "LAB" if image.mode == "LAB" or profile[16:20] == b"Lab " else "CMYK"
    if mode != image.mode and image.mode == "RGB":
        # JPEG calls the three channels of CIELAB red, green and blue.
        image = Image.merge("LAB", image.split())
    target = ImageCms.createProfile("sRGB")
    try:
        if mode == "LAB" and profile[16:20] != b"Lab ":
            source = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(BytesIO(profile)).profile
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        # No profile, or a damaged one. Convert CMYK: black ink would be taken for alpha.
        converted = image.convert("RGB")
    return np.array(converted)


class _Metadata(NamedTuple):
    """The metadata of a photograph that change its pixels or its axes."""

    orientation: int = 1
    """As in Exif: 1 is upright."""

    pixel_size: tuple[float, float] | None = None
    """The height and width of a pixel in micrometers, before the orientation is applied."""

    profile: bytes = b""
    durations: frozenset[float] = frozenset()
    """The durations of the frames, in milliseconds."""


def _read_metadata_of_deep(kind: str, data: bytes) -> _Metadata:
    """Return the metadata of an image that Pillow does not decode, if it reads the header."""
    # Pillow raises errors of many types for headers that it does not read.
    with suppress(Exception), _open_image(kind, data) as image:
        # Pillow decodes the whole PNG file to read Exif: do this only if there is some.
        has_exif = kind != "PNG" or re.search(b"eXIf|profile type exif|adobe.xmp", data)
        metadata = _read_metadata(image, bool(has_exif))
        return metadata._replace(profile=image.info.get("icc_profile") or b"")
    return _Metadata()


def _read_metadata(image: Image, has_exif: bool = True) -> _Metadata:
    orientation, is_photograph_of_camera = 1, False
    # The Exif data of many programs are damaged. Their image is read without them.
    with suppress(Exception):
        if has_exif:
            exif = image.getexif()
            is_photograph_of_camera = bool(EXPOSURE & exif.get_ifd(PHOTOGRAPH_DATA).keys())
            orientation = int(exif.get(ORIENTATION, 1))
    size = None if is_photograph_of_camera else _read_pixel_size(image.info.get("dpi"))
    return _Metadata(orientation if 1 <= orientation <= 8 else 1, size)


def _read_pixel_size(dpi: Any) -> tuple[float, float] | None:
    """Return the height and width of a pixel in micrometers, or None if they are unknown.

    A scanner or a microscope states the size of the object; see `is_resolution_of_print`.
    """
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if is_resolution_of_print(across) or is_resolution_of_print(down):
        return None
    size = MICROMETERS_PER_INCH / down, MICROMETERS_PER_INCH / across
    return size if all(map(is_possible_size, size)) else None


def _make_picture(decoded: Decoded, metadata: _Metadata) -> Picture:
    pixels, n_spatial, has_colors = decoded
    has_channels = pixels.ndim > n_spatial
    rgb = has_channels and has_colors and pixels.shape[-1] in (2, 3, 4)
    if rgb and pixels.shape[-1] == 2:
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=-1)
    pixels = _turn_upright(pixels, n_spatial, metadata.orientation)
    axes = [*_spatial_axes(n_spatial, metadata), *[Axis("c", "channel")] * has_channels]
    is_profile_of_pixels = metadata.profile[16:20] == (b"RGB " if rgb else b"GRAY")
    return Picture(
        pixels,
        rgb,
        n_spatial if has_channels and not rgb else None,
        axes=tuple(axes),
        profile=metadata.profile if is_profile_of_pixels else b"",
    )


def _turn_upright(pixels: NDArray[Any], n_spatial: int, orientation: int) -> NDArray[Any]:
    """Apply the orientation of Exif to the last two spatial axes."""
    y_step, x_step, is_exchanged = TURNS[orientation]
    frames = (slice(None),) * (n_spatial - 2)
    turned = pixels[(*frames, slice(None, None, y_step), slice(None, None, x_step))]
    if is_exchanged:
        turned = turned.swapaxes(n_spatial - 2, n_spatial - 1)
    return np.ascontiguousarray(turned)


def _spatial_axes(n_spatial: int, metadata: _Metadata) -> Iterator[Axis]:
    """Yield the axes of the plane, and before them the time of an animation."""
    if n_spatial == 3:
        # The frames have one distance only if all of them are shown for the same time.
        seconds = max(metadata.durations, default=0) / 1000
        is_regular = len(metadata.durations) == 1 and seconds > 0
        yield Axis("t", "time", "second", seconds) if is_regular else Axis("t", "time")
    size = metadata.pixel_size
    if size is None:
        yield from (Axis("y"), Axis("x"))
        return
    height, width = size[::-1] if TURNS[metadata.orientation][2] else size
    yield Axis("y", "space", "micrometer", height)
    yield Axis("x", "space", "micrometer", width)
