"""Decode the photographs that Pillow does not decode, or only at 8 bits per channel.

These are formats without a decoder in Pillow (JPEG XL, JPEG-LS, lossless JPEG), and
PNG, AVIF, JPEG and JPEG 2000 files with more than 8 bits. Each function first compares the
size that the file states with the free memory.
"""

from __future__ import annotations

import re
import struct
import zlib
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""The chunks of a PNG file that determine its pixels."""

PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""The number of channels of each color type without a palette."""

PNG_PASSES = (
    (slice(0, None, 8), slice(0, None, 8)),
    (slice(0, None, 8), slice(4, None, 8)),
    (slice(4, None, 8), slice(0, None, 4)),
    (slice(0, None, 4), slice(2, None, 4)),
    (slice(2, None, 4), slice(0, None, 2)),
    (slice(0, None, 2), slice(1, None, 2)),
    (slice(1, None, 2), slice(0, None, 1)),
)
"""The rows and columns of the seven images in an interlaced PNG file (Adam7)."""

LOSSLESS_JPEG, JPEG_LS = 0xC3, 0xF7
"""Kinds of a JPEG frame that Pillow does not decode: the markers at their start."""

END_OF_JPEG = b"\xff\xd9"
MAX_BYTES_AFTER_END = 1024
"""Some programs write zeros after the end of a JPEG file."""

PAM_COLORS = {
    2: (b"GRAYSCALE_ALPHA", b"BLACKANDWHITE_ALPHA"),
    3: (b"RGB",),
    4: (b"RGB_ALPHA",),
}
"""The types of PAM images with colors, by their number of channels."""

MAX_PIXELS_PER_BYTE = 2**16
"""Limit for JPEG-LS, whose decoder does not stop at the end of a truncated file. Uniform images
have 27,000 pixels per byte.
"""

CODESTREAM = b"\xff\x4f\xff\x51"
"""The start of the pixels in a JPEG 2000 file."""


class Decoded(NamedTuple):
    """The pixels of an image: (rows, columns), before them frames, after them channels."""

    pixels: NDArray[Any]
    n_spatial: int = 2
    """The number of axes before the channels: 3 for an animation, 2 otherwise."""

    has_colors: bool = True
    """Whether two channels are gray and alpha, three RGB, and four RGB and alpha."""


def decode_deep(kind: str, data: bytes) -> Decoded | None:
    """Return the pixels of an image that Pillow decodes at fewer bits, or not at all.

    Parameters
    ----------
    kind : str
        The format: a key of `FORMATS` of `photographs.py`.
    data : bytes
        The contents of the file.

    Returns
    -------
    Decoded or None
        None if Pillow decodes this image without loss.

    Raises
    ------
    UnreadableImageError
        If the image does not fit into memory, or if its header is damaged.
    """
    decode = DECODERS.get(kind)
    try:
        return None if decode is None else decode(data)
    except (struct.error, IndexError, KeyError, ValueError, OverflowError) as error:
        # The decoders of imagecodecs raise errors of other types.
        raise UnreadableImageError("its header is damaged") from error


def _check_size(height: int, width: int, n_bytes: int) -> None:
    """Check that the free memory holds the pixels, and a copy that the decoder makes."""
    check_memory(2 * height * width * n_bytes, "an image of the size that it states")


def _check_length(data: bytes, height: int, width: int) -> None:
    if height * width > MAX_PIXELS_PER_BYTE * len(data):
        raise UnreadableImageError("it ends too early for the size that it states")


def _stretch(pixels: NDArray[Any], n_bits: int) -> NDArray[Any]:
    """Scale colors of 9 to 15 bits to 16 bits, so that white is the maximum of the dtype.

    Gray values stay as they are: they may be measurements. Pillow scales both.
    """
    if pixels.dtype != np.uint16 or pixels.ndim < 3 or not 8 < n_bits < 16:
        return pixels
    maximum = 2**n_bits - 1
    scaled = (pixels.astype(np.uint32) * 65535 + maximum // 2) // maximum
    stretched: NDArray[Any] = scaled.astype(np.uint16)
    return stretched


def _decode_png(data: bytes) -> Decoded | None:
    import imagecodecs

    width, height, n_bits, color_type, _, _, is_interlaced = struct.unpack_from(
        ">IIBBBBB", data, 16
    )
    chunks = list(_split_png(data))
    kinds = [kind for kind, _ in chunks]
    # Pillow scales gray values of few bits to 8 bits, but not the value that is transparent.
    is_keyed = n_bits < 8 and color_type == 0 and b"tRNS" in kinds
    if not (n_bits == 16 or is_keyed) or b"acTL" in kinds:
        return None
    _check_size(height, width, 8)
    if is_interlaced:
        return Decoded(_decode_interlaced(chunks, height, width, n_bits, color_type))
    # Drop the other chunks: libpng prints a warning to stderr for each that is damaged.
    still = b"".join(chunk for kind, chunk in chunks if kind in PIXEL_CHUNKS)
    return Decoded(imagecodecs.png_decode(PNG_SIGNATURE + still))


def _decode_interlaced(
    chunks: list[tuple[bytes, bytes]], height: int, width: int, n_bits: int, color_type: int
) -> NDArray[Any]:
    """Return the pixels of an interlaced PNG image, decoded as seven images.

    imagecodecs decodes the whole image, but libpng then prints a warning to stderr.
    """
    import imagecodecs

    packed = b"".join(_check_png_chunk(chunk) for kind, chunk in chunks if kind == b"IDAT")
    extra = b"".join(chunk for kind, chunk in chunks if kind == b"tRNS")
    bits_per_pixel = n_bits * PNG_CHANNELS[color_type]
    passes = [
        (rows, columns, len(range(height)[rows]), len(range(width)[columns]))
        for rows, columns in PNG_PASSES
    ]
    # Each row begins with the number of its filter.
    sizes = [n_rows * (1 + -(-n * bits_per_pixel // 8)) if n else 0 for _, _, n_rows, n in passes]
    unpacked = zlib.decompressobj().decompress(packed, sum(sizes))
    if len(unpacked) < sum(sizes):
        raise UnreadableImageError("it ends too early")
    pixels, start = None, 0
    for (rows, columns, n_rows, n_columns), size in zip(passes, sizes, strict=True):
        if not size:
            continue
        header = struct.pack(">IIBBBBB", n_columns, n_rows, n_bits, color_type, 0, 0, 0)
        body = zlib.compress(unpacked[start : start + size], 0)
        parts = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
        first, *others = [_make_png_chunk(*part) for part in parts]
        part = imagecodecs.png_decode(b"".join([PNG_SIGNATURE, first, extra, *others]))
        if pixels is None:
            pixels = np.empty((height, width, *part.shape[2:]), part.dtype)
        pixels[rows, columns] = part
        start += size
    if pixels is None:
        raise UnreadableImageError("its header is damaged")
    return pixels


def _check_png_chunk(chunk: bytes) -> bytes:
    """Return the contents of a chunk, or raise an error if its checksum is wrong."""
    if zlib.crc32(chunk[4:-4]).to_bytes(4, "big") != chunk[-4:]:
        raise UnreadableImageError("its pixels are damaged")
    return chunk[8:-4]


def _make_png_chunk(kind: bytes, contents: bytes) -> bytes:
    checksum = zlib.crc32(kind + contents).to_bytes(4, "big")
    return len(contents).to_bytes(4, "big") + kind + contents + checksum


def _split_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the bytes of each chunk of a PNG file."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        yield kind, data[start : start + length + 12]
        start += length + 12


def is_deep_animated_png(data: bytes) -> bool:
    """Return whether a PNG file is an animation of 16 bits, which Pillow reads at 8 bits."""
    return data[24] == 16 and any(kind == b"acTL" for kind, _ in _split_png(data))


class _JpegFrame(NamedTuple):
    """The header of the pixels of a JPEG file."""

    marker: int
    n_bits: int
    height: int
    width: int
    n_channels: int


def _read_jpeg_frame(data: bytes) -> _JpegFrame | None:
    """Return the first frame header of a JPEG file, or None if there is none."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        # A marker may begin with several bytes 0xFF.
        if marker == 0xFF:
            start += 1
            continue
        # 0xC4, 0xC8 and 0xCC are tables, not frames.
        if marker == JPEG_LS or (marker & 0xF0 == 0xC0 and marker not in (0xC4, 0xC8, 0xCC)):
            return _JpegFrame(marker, *struct.unpack_from(">BHHB", data, start + 4))
        start += 2 + struct.unpack_from(">H", data, start + 2)[0]
    return None


def _decode_jpeg(data: bytes) -> Decoded | None:
    import imagecodecs

    frame = _read_jpeg_frame(data)
    if frame is None or (frame.marker not in (LOSSLESS_JPEG, JPEG_LS) and frame.n_bits <= 8):
        return None
    _check_size(frame.height, frame.width, 2 * frame.n_channels)
    is_ls = frame.marker == JPEG_LS
    if is_ls:
        _check_length(data, frame.height, frame.width)
        # Without the marker of the end, the decoder (CharLS) may search for it for minutes.
        if END_OF_JPEG not in data[-MAX_BYTES_AFTER_END:]:
            raise UnreadableImageError("it ends too early: its last marker is missing")
    pixels = imagecodecs.jpegls_decode(data) if is_ls else imagecodecs.jpeg8_decode(data)
    # JPEG has no alpha: four channels are inks or bands.
    has_colors = frame.n_channels in (1, 3)
    return Decoded(_stretch(pixels, frame.n_bits) if has_colors else pixels, 2, has_colors)


def _decode_jpeg_2000(data: bytes) -> Decoded | None:
    import imagecodecs

    start = data.find(CODESTREAM)
    if start < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (n_channels,) = struct.unpack_from(">H", data, start + 40)
    # The lower 7 bits are the number of bits - 1, and the upper bit states signed numbers.
    depths = [data[start + 42 + 3 * number] for number in range(n_channels)]
    n_bits = max(depth & 0x7F for depth in depths) + 1
    # Signed numbers are measurements, and no colors. Pillow makes unsigned numbers of them.
    is_signed = any(depth & 0x80 for depth in depths)
    # The box "cdef" states which channel is alpha. A codestream alone (J2K) has no boxes.
    is_alpha_unknown = data[:4] != CODESTREAM and b"cdef" not in data[:start]
    has_colors = n_channels in (1, 3) or (n_channels in (2, 4) and not is_alpha_unknown)
    has_colors = has_colors and not is_signed
    is_cmyk = b"colr\1\0\0\0\0\0\x0c" in data[:start]
    # A box at the start may state another size. Check that of the pixels also for Pillow.
    _check_size(bottom - top, right - left, n_channels * (2 if n_bits <= 16 else 4))
    if n_bits <= 8 and (has_colors or is_cmyk) and not is_signed:
        return None
    pixels = imagecodecs.jpeg2k_decode(data)
    return Decoded(_stretch(pixels, n_bits) if has_colors else pixels, 2, has_colors)


def _decode_avif(data: bytes) -> Decoded | None:
    import imagecodecs

    # The box "av1C" has the flags "high bit depth" and "twelve bits" in its third byte.
    start = data.find(b"av1C")
    flags = data[start + 6] if start >= 0 else 0
    n_bits = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    # Pillow reads the times of the frames of a sequence (the brand "avis").
    if n_bits == 8 or data[8:12] == b"avis":
        return None
    # The boxes "ispe" have the sizes of the image, its tiles and its alpha, after a version.
    sizes = [struct.unpack_from(">II", data, box.end() + 4) for box in re.finditer(b"ispe", data)]
    width, height = np.max(sizes, axis=0).tolist()
    _check_size(height, width, 8)
    return Decoded(_stretch(imagecodecs.avif_decode(data), n_bits))


def _decode_jpeg_xl(data: bytes) -> Decoded:
    import imagecodecs

    height, width = _read_jpeg_xl_size(data)
    # libjxl holds an image as float32, whatever its number of bits.
    _check_size(height, width, 12)
    pixels = imagecodecs.jpegxl_decode(data)
    # The decoder applies the orientation, which may exchange height and width.
    is_still = sorted(pixels.shape[:2]) == sorted((height, width))
    return Decoded(pixels, 2 if is_still else 3)


def _read_jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return the height and width that a JPEG XL file states at the start of its pixels."""
    start = 0 if data.startswith(b"\xff\x0a") else _find_jpeg_xl_pixels(data)
    bits = int.from_bytes(data[start + 2 : start + 16], "little")

    def take(n_bits: int) -> int:
        nonlocal bits
        value = bits & ((1 << n_bits) - 1)
        bits >>= n_bits
        return value

    def take_length() -> int:
        return take((9, 13, 18, 30)[take(2)]) + 1

    # Lengths up to 256 are stored in units of 8 pixels.
    is_small = take(1)
    height = 8 * (take(5) + 1) if is_small else take_length()
    ratio = take(3)
    if not ratio:
        return height, 8 * (take(5) + 1) if is_small else take_length()
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, height * numerator // denominator


def _find_jpeg_xl_pixels(data: bytes) -> int:
    """Return the position of the pixels in the boxes of a JPEG XL file."""
    start: int = 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, start)
        # The box "jxlp" has a part of the pixels, after its number.
        if kind in (b"jxlc", b"jxlp"):
            return start + (8 if kind == b"jxlc" else 12)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
        start += max(int(length), 8)


def _refuse_jpeg_xr(data: bytes) -> Decoded:
    # jxrlib, the only decoder, ended the process after 11 to 143 files with changed data.
    raise UnreadableImageError(
        "it is a JPEG XR image, which is not supported: damaged data would end the program; "
        "save it in another format"
    )


def _decode_netpbm(data: bytes) -> Decoded | None:
    """Return the pixels of a PGM or PPM image of 16 bits, a PAM image, or a PFM image in color."""
    kind = data[:2]
    if kind == b"P7":
        return _decode_pam(data)
    if kind not in (b"P2", b"P3", b"P5", b"P6", b"PF"):
        return None
    (_, *words), start = _split_header(data, 4)
    width, height = int(words[0]), int(words[1])
    if kind == b"PF":
        dtype = np.dtype("<f4" if float(words[2]) < 0 else ">f4")
        return Decoded(_unpack(data, start, (height, width, 3), dtype)[::-1])
    shape = (height, width, 3) if kind in (b"P3", b"P6") else (height, width)
    maximum = int(words[2])
    if maximum <= 255:
        return None
    if kind in (b"P5", b"P6"):
        pixels = _unpack(data, start, shape, np.dtype(">u2"))
    else:
        # Each value becomes a Python object of about 50 bytes.
        check_memory(50 * prod(shape), "an image of the size that it states")
        values = re.sub(rb"#[^\n]*", b"", data[start:]).split()[: prod(shape)]
        pixels = np.array(values).astype(np.uint16).reshape(shape)
    return Decoded(_scale_to_white(pixels, maximum))


def _split_header(data: bytes, n_words: int) -> tuple[list[bytes], int]:
    """Return the first words of a Netpbm file, and the position after them."""
    words: list[bytes] = []
    start = 0
    while len(words) < n_words:
        end = start
        while not data[end : end + 1].isspace() and data[end : end + 1] not in (b"#", b""):
            end += 1
        if end > start:
            words.append(data[start:end])
        if data[end : end + 1] == b"#":
            end = data.index(b"\n", end)
        elif end >= len(data):
            raise UnreadableImageError("its header is damaged")
        start = end + 1
    return words, start


def _decode_pam(data: bytes) -> Decoded:
    end = data.index(b"ENDHDR\n") + len(b"ENDHDR\n")
    lines = [line.split(None, 1) for line in data[:end].splitlines()]
    fields = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    width, height, n_channels, maximum = (
        int(fields[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
    )
    dtype = np.dtype(">u2" if maximum > 255 else np.uint8)
    pixels = _unpack(data, end, (height, width, n_channels), dtype)
    has_colors = fields.get(b"TUPLTYPE", b"") in PAM_COLORS.get(n_channels, ())
    if has_colors or n_channels == 1:
        pixels = _scale_to_white(pixels, maximum)
    return Decoded(pixels[..., 0] if n_channels == 1 else pixels, 2, has_colors)


def _unpack(data: bytes, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return uncompressed pixels in the byte order of this machine."""
    n_values = prod(shape)
    missing = start + n_values * dtype.itemsize - len(data)
    if missing > 0:
        raise UnreadableImageError(f"it ends too early: {missing} bytes are missing")
    pixels = np.frombuffer(data, dtype, n_values, start).reshape(shape)
    return pixels.astype(dtype.newbyteorder("="))


def _scale_to_white(pixels: NDArray[Any], maximum: int) -> NDArray[Any]:
    """Scale values so that the stated maximum is that of the dtype, as Pillow does."""
    white = np.iinfo(pixels.dtype).max
    if maximum == white:
        return pixels
    scaled = np.rint(pixels / maximum * white)
    return np.minimum(scaled, white).astype(pixels.dtype)


DECODERS: dict[str, Callable[[bytes], Decoded | None]] = {
    "PNG": _decode_png,
    "JPEG": _decode_jpeg,
    "JPEG2000": _decode_jpeg_2000,
    "JPEGXL": _decode_jpeg_xl,
    "JPEGXR": _refuse_jpeg_xr,
    "AVIF": _decode_avif,
    "PPM": _decode_netpbm,
}
"""The decoders, by format. A decoder returns None if Pillow decodes the image without loss."""
