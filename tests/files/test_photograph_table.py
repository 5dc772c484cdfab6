"""Photographs of all formats and modes: their pixels and axes are those that were written.

The files are made by Pillow and imagecodecs, or byte by byte according to the format. The expected
pixels are the arrays that were written, not pixels that another program reads.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from napari_kmeans.files.reading import list_series, read_image

HEIGHT, WIDTH = 13, 18
RNG = np.random.default_rng(14)
SHAPE = (HEIGHT, WIDTH)
GRAY = RNG.integers(0, 256, SHAPE, dtype=np.uint8)
GRAY_16 = RNG.integers(0, 65536, SHAPE, dtype=np.uint16)
RGB = RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
RGB_16 = RNG.integers(0, 65536, (*SHAPE, 3), dtype=np.uint16)
ALPHA = np.where(GRAY > 200, 0, GRAY).astype(np.uint8)
ALPHA_16 = np.where(GRAY_16 > 50000, 0, GRAY_16).astype(np.uint16)
RGBA = np.dstack([RGB, ALPHA])
RGBA_16 = np.dstack([RGB_16, ALPHA_16])
BITS = GRAY > 99
FRAMES = RNG.integers(0, 256, (4, *SHAPE, 3), dtype=np.uint8)

_rows, _columns = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.dstack([60 + 9 * _rows, 200 - 7 * _columns, 90 + 3 * _rows + 4 * _columns])
SMOOTH = SMOOTH.astype(np.uint8)

PALETTE = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 16, SHAPE, dtype=np.uint8)


class Case(NamedTuple):
    """A file, and what reading it must give."""

    name: str
    content: bytes
    pixels: np.ndarray
    rgb: bool
    tolerance: float = 0
    axes: str = ""
    channel_axis: int | None = None


def gray_alpha(gray: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([gray, gray, gray, alpha])


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(pixels: np.ndarray, color_type: int, depth: int, extra: bytes = b"") -> bytes:
    """Return a PNG file made byte by byte; rows of less than 8 bits are packed."""
    rows = []
    for row in pixels:
        if depth < 8:
            bits = (row[:, None] >> np.arange(depth)[::-1]) & 1
            rows.append(np.packbits(bits.reshape(-1)).tobytes())
        else:
            rows.append(row.astype(">u2" if depth == 16 else np.uint8).tobytes())
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), extra, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def interlaced_png(pixels: np.ndarray) -> bytes:
    """Return a PNG file with the seven passes of Adam7."""
    passes = [
        (0, 8, 0, 8),
        (0, 8, 4, 8),
        (4, 8, 0, 4),
        (0, 4, 2, 4),
        (2, 4, 0, 2),
        (0, 2, 1, 2),
        (1, 2, 0, 1),
    ]
    rows = b""
    for top, down, left, across in passes:
        for row in pixels[top::down, left::across]:
            rows += b"\0" + row.astype(">u2" if pixels.itemsize == 2 else np.uint8).tobytes()
    depth = 8 * pixels.itemsize
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def pam(pixels: np.ndarray, kind: str, maximum: int) -> bytes:
    n_channels = pixels.shape[2] if pixels.ndim == 3 else 1
    header = (
        f"P7\n# made by hand\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {n_channels}\n"
        f"MAXVAL {maximum}\nTUPLTYPE {kind}\nENDHDR\n"
    )
    return header.encode() + pixels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


def netpbm(magic: str, pixels: np.ndarray, maximum: int) -> bytes:
    header = f"{magic}\n# made by hand\n{WIDTH} {HEIGHT}\n{maximum}\n".encode()
    if magic in ("P2", "P3"):
        return header + " ".join(map(str, pixels.reshape(-1).tolist())).encode()
    return header + pixels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


def of_white(pixels: np.ndarray, maximum: int, dtype: Any) -> np.ndarray:
    return np.rint(pixels * (np.iinfo(dtype).max / maximum)).astype(dtype)


def animation(kind: str, frames: list[Image.Image], **options: Any) -> bytes:
    return pillow(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=40, loop=0, **options
    )


def few_colors(number: int) -> tuple[Image.Image, np.ndarray]:
    """Return a frame with 16 colors, and its pixels: GIF stores these without loss."""
    indices = np.roll(INDICES, number)
    frame = Image.frombytes("P", (WIDTH, HEIGHT), indices.tobytes())
    frame.putpalette(PALETTE.reshape(-1).tolist())
    return frame, PALETTE[indices]


def png_cases() -> list[Case]:
    key = tuple(map(int, RGB[3, 4]))
    key_16 = tuple(map(int, RGB_16[3, 4]))
    cases = [
        Case("png gray", pillow(Image.fromarray(GRAY), "PNG"), GRAY, False),
        Case("png gray 16", pillow(Image.fromarray(GRAY_16), "PNG"), GRAY_16, False),
        Case("png rgb", pillow(Image.fromarray(RGB), "PNG"), RGB, True),
        Case("png rgba", pillow(Image.fromarray(RGBA), "PNG"), RGBA, True),
        Case("png bits", pillow(Image.fromarray(BITS), "PNG"), np.where(BITS, 255, 0), False),
        Case("png rgb 16", png(RGB_16, 2, 16), RGB_16, True),
        Case("png rgba 16", png(RGBA_16, 6, 16), RGBA_16, True),
        Case("png rgb 16 by imagecodecs", imagecodecs.png_encode(RGB_16), RGB_16, True),
        Case("png rgba 16 by imagecodecs", imagecodecs.png_encode(RGBA_16), RGBA_16, True),
        Case("png gray 16 by imagecodecs", imagecodecs.png_encode(GRAY_16), GRAY_16, False),
        Case("png interlaced", interlaced_png(RGB), RGB, True),
        Case("png interlaced 16", interlaced_png(RGB_16), RGB_16, True),
    ]
    for alpha, name in ((ALPHA, "8"), (ALPHA_16, "16")):
        depth = 8 * alpha.itemsize
        gray = GRAY if depth == 8 else GRAY_16
        content = png(np.dstack([gray, alpha]), 4, depth)
        cases.append(Case(f"png la {name}", content, gray_alpha(gray, alpha), True))
    for depth in (1, 2, 4):
        small = GRAY >> (8 - depth)
        scaled = small * (255 // (2**depth - 1))
        cases.append(Case(f"png gray {depth} bits", png(small, 0, depth), scaled, False))
        colors = PALETTE[small % 16]
        palette = chunk(b"PLTE", PALETTE[: 2**depth].tobytes())
        content = png(small % 16, 3, depth, palette)
        cases.append(Case(f"png palette {depth} bits", content, colors, True))
    # The key of a gray image of few bits is one of its stored numbers.
    for depth, keyed in ((1, 1), (2, 2), (4, 0), (8, 77), (16, 0)):
        stored = GRAY_16.copy() if depth == 16 else GRAY >> (8 - depth)
        stored[::3, ::4] = keyed
        white = 65535 if depth == 16 else 255
        values = stored * stored.dtype.type(white // (2**depth - 1))
        alpha = np.where(stored == keyed, 0, white).astype(values.dtype)
        content = png(stored, 0, depth, chunk(b"tRNS", struct.pack(">H", keyed)))
        cases.append(Case(f"png gray {depth} bits key", content, gray_alpha(values, alpha), True))
    for depth, colors, keys in ((8, RGB, key), (16, RGB_16, key_16)):
        alpha = np.where((colors == np.array(keys)).all(-1), 0, 2**depth - 1).astype(colors.dtype)
        content = png(colors, 2, depth, chunk(b"tRNS", struct.pack(">HHH", *keys)))
        cases.append(Case(f"png rgb {depth} key", content, np.dstack([colors, alpha]), True))
    palette = chunk(b"PLTE", PALETTE.tobytes())
    alphas = np.array([0, 255, 99, *[255] * 13], np.uint8)
    content = png(INDICES, 3, 4, palette + chunk(b"tRNS", alphas.tobytes()))
    expected = np.dstack([PALETTE[INDICES], alphas[INDICES]])
    cases.append(Case("png palette alpha", content, expected, True))
    # No pixel has the transparent color: there is nothing to leave out.
    content = png(INDICES % 15, 3, 4, palette + chunk(b"tRNS", b"\xff" * 15 + b"\0"))
    cases.append(Case("png palette unused alpha", content, PALETTE[INDICES % 15], True))
    content = png(np.maximum(GRAY, 1), 0, 8, chunk(b"tRNS", b"\0\0"))
    cases.append(Case("png gray unused key", content, np.maximum(GRAY, 1), False))
    return cases


def frame_cases() -> list[Case]:
    frames = [Image.fromarray(frame) for frame in FRAMES]
    alphas = np.concatenate([FRAMES, np.where(FRAMES[..., :1] > 128, 255, 0)], axis=-1)
    alphas = alphas.astype(np.uint8)
    clear = [Image.fromarray(frame) for frame in alphas]
    grays = [Image.fromarray(frame[..., 0]) for frame in FRAMES]
    pairs = [few_colors(number) for number in range(3)]
    few = np.stack([pixels for _, pixels in pairs])
    cases = [
        Case("apng rgb", animation("PNG", frames), FRAMES, True, axes="tyxc"),
        Case("apng gray", animation("PNG", grays), FRAMES[..., 0], False, axes="tyx"),
        Case("apng rgba", animation("PNG", clear, blend=0), alphas, True, axes="tyxc"),
        Case("gif", animation("GIF", [f for f, _ in pairs]), few, True, axes="tyxc"),
        Case("webp", animation("WEBP", frames, lossless=True), FRAMES, True, axes="tyxc"),
    ]
    smooth = [Image.fromarray(np.roll(SMOOTH, number, axis=0)) for number in range(2)]
    expected = np.stack([np.asarray(each) for each in smooth])
    content = animation("AVIF", smooth, quality=100, subsampling="4:4:4")
    cases.append(Case("avif frames", content, expected, True, 10, "tyxc"))
    hidden = animation("PNG", frames, default_image=True)
    cases.append(Case("apng default image", hidden, FRAMES[1:], True, axes="tyxc"))
    stack = np.stack([RGB_16, RGB_16[::-1]])
    content = imagecodecs.jpegxl_encode(stack, lossless=True)
    cases.append(Case("jpeg xl frames", content, stack, True, axes="tyxc"))
    alpha = np.where((few == PALETTE[0]).all(-1), 0, 255).astype(np.uint8)
    content = animation("GIF", [frame for frame, _ in pairs], transparency=0, disposal=2)
    expected = np.concatenate([few, alpha[..., None]], axis=-1)
    cases.append(Case("gif frames with alpha", content, expected, True, axes="tyxc"))
    return cases


def other_pillow_cases() -> list[Case]:
    rgb, gray, rgba = (Image.fromarray(each) for each in (RGB, GRAY, RGBA))
    bits = Image.fromarray(BITS)
    frame, colors = few_colors(0)
    whites = np.where(BITS, 255, 0)
    smooth = Image.fromarray(SMOOTH)
    cases = [
        Case(f"{kind} rgb", pillow(rgb, kind, **options), RGB, True)
        for kind, options in {
            "BMP": {},
            "TGA": {},
            "PPM": {},
            "PCX": {},
            "QOI": {},
            "SGI": {},
            "DDS": {},
            "WEBP": {"lossless": True},
            "JPEG2000": {"irreversible": False},
        }.items()
    ]
    cases += [
        Case(f"{kind} gray", pillow(gray, kind), GRAY, False)
        for kind in ("BMP", "TGA", "PPM", "SGI", "DDS", "JPEG2000")
    ]
    cases += [
        Case(f"{kind} rgba", pillow(rgba, kind, **options), RGBA, True)
        for kind, options in {
            "TGA": {},
            "QOI": {},
            "SGI": {},
            "DDS": {},
            "WEBP": {"lossless": True, "exact": True},
            "JPEG2000": {},
        }.items()
    ]
    cases += [
        Case("PPM bits", pillow(bits, "PPM"), whites, False),
        Case("BMP bits", pillow(bits, "BMP"), whites, False),
        Case("PCX bits", pillow(bits, "PCX"), whites, False),
        Case("XBM bits", pillow(bits, "XBM"), whites, False),
        Case("TGA rle", pillow(rgb, "TGA", compression="tga_rle"), RGB, True),
        Case("TGA gray rle", pillow(gray, "TGA", compression="tga_rle"), GRAY, False),
        Case("TGA palette", pillow(frame, "TGA"), colors, True),
        Case("BMP palette", pillow(frame, "BMP"), colors, True),
        Case("PCX palette", pillow(frame, "PCX"), colors, True),
        Case("GIF palette", pillow(frame, "GIF"), colors, True),
        Case("JPEG", pillow(smooth, "JPEG", quality=95, subsampling=0), SMOOTH, True, 8),
        Case(
            "JPEG progressive",
            pillow(smooth, "JPEG", quality=95, progressive=True),
            SMOOTH,
            True,
            12,
        ),
        Case(
            "JPEG gray",
            pillow(Image.fromarray(SMOOTH[..., 0]), "JPEG", quality=95),
            SMOOTH[..., 0],
            False,
            8,
        ),
        Case("JPEG kept rgb", pillow(smooth, "JPEG", quality=95, keep_rgb=True), SMOOTH, True, 8),
        Case("AVIF", pillow(smooth, "AVIF", quality=100, subsampling="4:4:4"), SMOOTH, True, 8),
    ]
    alpha = np.where((colors == PALETTE[0]).all(-1), 0, 255).astype(np.uint8)
    clear = np.dstack([colors, alpha])
    cases += [
        Case("GIF alpha", pillow(frame, "GIF", transparency=0), clear, True),
        Case(
            "GIF interlaced alpha", pillow(frame, "GIF", transparency=0, interlace=1), clear, True
        ),
    ]
    # The four inks of a pixel without black are the complements of its colors.
    inks = np.dstack([255 - SMOOTH, np.zeros(SHAPE, np.uint8)])
    cmyk = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())
    cases.append(
        Case("JPEG cmyk", pillow(cmyk, "JPEG", quality=98, subsampling=0), SMOOTH, True, 8)
    )
    pairs = np.dstack([GRAY, ALPHA])
    la = Image.frombytes("LA", (WIDTH, HEIGHT), pairs.tobytes())
    for kind in ("PNG", "TGA", "JPEG2000"):
        cases.append(Case(f"{kind} la", pillow(la, kind), gray_alpha(GRAY, ALPHA), True))
    return cases


def netpbm_cases() -> list[Case]:
    gray_12, rgb_12 = GRAY_16 >> 4, RGB_16 >> 4
    return [
        Case("pgm 16", netpbm("P5", GRAY_16, 65535), GRAY_16, False),
        Case("ppm 16", netpbm("P6", RGB_16, 65535), RGB_16, True),
        Case("pgm 16 by Pillow", pillow(Image.fromarray(GRAY_16), "PPM"), GRAY_16, False),
        Case("pgm 12", netpbm("P5", gray_12, 4095), of_white(gray_12, 4095, "uint16"), False),
        Case("ppm 12", netpbm("P6", rgb_12, 4095), of_white(rgb_12, 4095, "uint16"), True),
        Case("plain pgm 16", netpbm("P2", GRAY_16, 65535), GRAY_16, False),
        Case("plain ppm 16", netpbm("P3", RGB_16, 65535), RGB_16, True),
        Case("plain pgm", netpbm("P2", GRAY, 255), GRAY, False),
        Case("plain ppm", netpbm("P3", RGB, 255), RGB, True),
        Case("pam gray", pam(GRAY, "GRAYSCALE", 255), GRAY, False),
        Case("pam bits", pam(BITS, "BLACKANDWHITE", 1), np.where(BITS, 255, 0), False),
        Case("pam rgb", pam(RGB, "RGB", 255), RGB, True),
        Case("pam rgb 16", pam(RGB_16, "RGB", 65535), RGB_16, True),
        Case("pam rgba", pam(RGBA, "RGB_ALPHA", 255), RGBA, True),
        Case("pam rgba 16", pam(RGBA_16, "RGB_ALPHA", 65535), RGBA_16, True),
        Case(
            "pam la",
            pam(np.dstack([GRAY, ALPHA]), "GRAYSCALE_ALPHA", 255),
            gray_alpha(GRAY, ALPHA),
            True,
        ),
        # The type names no colors: the fourth band is not alpha.
        Case("pam bands", pam(RGBA, "BANDS", 255), RGBA, False, axes="yxc", channel_axis=2),
        Case(
            "pfm rgb",
            f"PF\n{WIDTH} {HEIGHT}\n-1.0\n".encode()
            + (RGB[::-1] / np.float32(255)).astype("<f4").tobytes(),
            RGB / np.float32(255),
            True,
        ),
        Case(
            "pfm gray",
            f"Pf\n{WIDTH} {HEIGHT}\n1.0\n".encode() + GRAY[::-1].astype(">f4").tobytes(),
            GRAY.astype(np.float32),
            False,
        ),
    ]


def imagecodecs_cases() -> list[Case]:
    """Return images in formats that Pillow does not read, or only at 8 bits."""
    cases = []
    arrays = {"gray": GRAY, "gray 16": GRAY_16, "rgb": RGB, "rgb 16": RGB_16}
    arrays |= {"rgba": RGBA, "rgba 16": RGBA_16}
    for name, pixels in arrays.items():
        rgb = pixels.ndim == 3
        content = imagecodecs.jpegxl_encode(pixels, lossless=True)
        cases.append(Case(f"jpeg xl {name}", content, pixels, rgb))
        if "a" not in name.replace("gray", ""):
            content = imagecodecs.jpegls_encode(pixels)
            cases.append(Case(f"jpeg ls {name}", content, pixels, rgb))
        for codec in ("jp2", "j2k"):
            content = imagecodecs.jpeg2k_encode(pixels, codecformat=codec)
            # The file of a JP2 image with four channels would state which one is alpha.
            bands = codec == "jp2" and "rgba" in name
            axis = {"axes": "yxc", "channel_axis": 2} if bands else {}
            cases.append(Case(f"{codec} {name}", content, pixels, rgb and not bands, **axis))
    la_16 = np.dstack([GRAY_16, ALPHA_16])
    expected = gray_alpha(GRAY_16, ALPHA_16)
    content = imagecodecs.jpegxl_encode(la_16, lossless=True)
    cases.append(Case("jpeg xl la 16", content, expected, True))
    content = imagecodecs.jpeg2k_encode(la_16, codecformat="j2k")
    cases.append(Case("j2k la 16", content, expected, True))
    content = imagecodecs.jpegxl_encode(RGB / np.float32(255), lossless=True)
    cases.append(Case("jpeg xl float", content, RGB / np.float32(255), True, 1e-6))
    content = imagecodecs.ljpeg_encode(GRAY_16)
    cases.append(Case("lossless jpeg 16", content, GRAY_16, False))
    content = imagecodecs.jpeg8_encode(GRAY_16, bitspersample=16, lossless=True)
    cases.append(Case("lossless jpeg 16 by libjpeg", content, GRAY_16, False))
    signed = GRAY_16.view(np.int16)
    cases.append(Case("jp2 signed", imagecodecs.jpeg2k_encode(signed), signed, False))
    for codec in ("jp2", "j2k"):
        options = {"codecformat": codec, "level": 0, "reversible": True}
        signed = RNG.integers(-128, 128, SHAPE, dtype=np.int8)
        content = imagecodecs.jpeg2k_encode(signed, **options)
        cases.append(Case(f"{codec} signed 8", content, signed, False))
        signed = RNG.integers(-128, 128, (*SHAPE, 3), dtype=np.int8)
        content = imagecodecs.jpeg2k_encode(signed, **options)
        case = Case(f"{codec} signed 8 bands", content, signed, False, axes="yxc", channel_axis=2)
        cases.append(case)
    bands = RNG.integers(0, 65536, (*SHAPE, 6), dtype=np.uint16)
    content = imagecodecs.jpeg2k_encode(bands)
    cases.append(Case("jp2 bands", content, bands, False, axes="yxc", channel_axis=2))
    # Gray values of 12 bits stay as they are stored. Colors are scaled, so that white is white.
    gray_12, rgb_12 = GRAY_16 >> 4, RGB_16 >> 4
    content = imagecodecs.jpeg2k_encode(gray_12, bitspersample=12)
    cases.append(Case("jp2 gray 12", content, gray_12, False))
    content = imagecodecs.jpeg2k_encode(rgb_12, bitspersample=12)
    cases.append(Case("jp2 rgb 12", content, of_white(rgb_12, 4095, "uint16"), True, 1))
    smooth_12 = SMOOTH[..., 0].astype(np.uint16) * 16
    content = imagecodecs.jpeg8_encode(smooth_12, bitspersample=12, level=98)
    cases.append(Case("jpeg gray 12", content, smooth_12, False, 40))
    smooth = SMOOTH.astype(np.uint16)
    for n_bits in (10, 12):
        stored = smooth << (n_bits - 8)
        content = imagecodecs.avif_encode(stored, bitspersample=n_bits, level=100)
        white = of_white(stored, 2**n_bits - 1, "uint16")
        cases.append(Case(f"avif {n_bits}", content, white, True, 0))
    return cases


CASES = [
    *png_cases(),
    *frame_cases(),
    *other_pillow_cases(),
    *netpbm_cases(),
    *imagecodecs_cases(),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pixels_and_axes_are_those_that_were_written(tmp_path, case):
    # A name with a wrong suffix, or without one: the first bytes count.
    path = tmp_path / ("image" if len(case.name) % 2 else "image.tif")
    path.write_bytes(case.content)
    picture = read_image(path)
    pixels, expected = picture.pixels, case.pixels
    assert pixels.shape == expected.shape
    if pixels.dtype != np.uint8 or expected.dtype.kind != "i":
        assert pixels.dtype == expected.dtype
    if case.rgb and expected.shape[-1] == 4:
        # A format may drop the colors of transparent pixels.
        np.testing.assert_array_equal(pixels[..., 3], expected[..., 3])
        pixels, expected = (each * (each[..., 3:] > 0) for each in (pixels, expected))
    np.testing.assert_allclose(pixels.astype(float), expected.astype(float), atol=case.tolerance)
    assert (bool(picture.rgb), picture.channel_axis) == (case.rgb, case.channel_axis)
    assert "".join(axis.name for axis in picture.axes) == (
        case.axes or ("yxc" if case.rgb else "yx")
    )
    kinds = {"t": "time", "c": "channel"}
    assert [axis.kind for axis in picture.axes] == [
        kinds.get(axis.name, "space") for axis in picture.axes
    ]
    assert not picture.note
    assert [series.shape for series in list_series(path)] == [picture.pixels.shape]


def test_the_table_is_long():
    assert len(CASES) >= 110
    assert len({case.name for case in CASES}) == len(CASES)
