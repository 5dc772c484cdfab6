"""TIFF files of many compressions, dtypes and layouts: values and axes are those that were written.

The files are written by tifffile, Pillow and imagecodecs. Each is read completely and lazily.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_kmeans.files import tiff
from napari_kmeans.files.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_kmeans.files.picture import Picture

DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16")
LOSSLESS = ("none", "zlib", "lzw", "packbits", "zstd", "lzma")
IMAGE_CODECS = ("png", "jpegxl", "jpeg2000", "webp")


class File(NamedTuple):
    """A file to write, and what is read from it."""

    write: Callable[[Path], None]
    pixels: np.ndarray
    axes: str
    """One letter for each axis of the pixels, c for channels and colors."""

    rgb: bool = False
    tolerance: int = 0
    scales: dict[str, tuple[float, str]] = {}  # noqa: RUF012


def make_values(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Return random values over the whole range of a dtype, negative and large ones too."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(kind)
    if kind.kind == "f":
        return (rng.normal(size=shape) * 1000).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def make_smooth(shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray:
    """Return an image without sharp edges, which lossy codecs change little."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    planes = [80 + 100 * np.sin(rows / 20 + n) * np.cos(columns / 25) for n in range(shape[2])]
    return np.stack(planes, axis=-1).clip(0, 255).astype(dtype)


def written(image: np.ndarray, **options: Any) -> Callable[[Path], None]:
    """Return a function that writes a file with tifffile."""
    return lambda path: tifffile.imwrite(path, image, **options)


def compress(codec: str) -> dict[str, Any]:
    return {} if codec == "none" else {"compression": codec}


def list_layouts(side: int = 64) -> dict[str, dict[str, Any]]:
    return {"strips": {"rowsperstrip": 7}, "strip": {}, "tiles": {"tile": (side // 2, 16)}}


FILES: dict[str, File] = {}
"""The files by name."""

for dtype, order, codec in product(DTYPES, "<>", ("none", "zlib", "lzw")):
    image = make_values((45, 38), dtype)
    options = {"photometric": "minisblack", "byteorder": order, **compress(codec)}
    FILES[f"gray-{dtype}-{order}-{codec}"] = File(written(image, **options), image, "yx")

for codec, (layout, how), (dtype, order), big in product(
    LOSSLESS, list_layouts().items(), (("u1", "<"), ("u2", ">")), (False, True)
):
    image = make_values((50, 70, 3), dtype, 1)
    options = {"photometric": "rgb", "byteorder": order, "bigtiff": big, **compress(codec), **how}
    name = f"rgb-{codec}-{layout}-{dtype}-{'big' if big else 'classic'}"
    FILES[name] = File(written(image, **options), image, "yxc", rgb=True)

for codec, predictor, dtype in product(
    ("zlib", "lzw", "zstd"), (2, 3), ("u1", "u2", "u4", "f2", "f4", "f8")
):
    if (predictor == 3) == (dtype[0] == "f"):
        image = make_values((45, 38), dtype, 2)
        for layout, how in list_layouts().items():
            options = {
                "photometric": "minisblack",
                "predictor": predictor,
                **compress(codec),
                **how,
            }
            FILES[f"predictor-{predictor}-{codec}-{dtype}-{layout}"] = File(
                written(image, **options), image, "yx"
            )

for codec, dtype in product(LOSSLESS, ("u1", "f4")):
    image = make_values((3, 40, 50), dtype, 3)
    options = {"planarconfig": "separate", **compress(codec)}
    FILES[f"planar-rgb-{codec}-{dtype}"] = File(
        written(image, photometric="rgb", **options), np.moveaxis(image, 0, -1), "yxc", rgb=True
    )
    bands = make_values((40, 50, 5), dtype, 4)
    options = {"planarconfig": "contig", "photometric": "minisblack", **compress(codec)}
    FILES[f"bands-{codec}-{dtype}"] = File(written(bands, **options), bands, "yxc")

for codec, axes in product(("none", "zlib", "lzw"), ("TZCYX", "CYX", "ZYX", "TYX", "QYX", "ZCYX")):
    shape = (2, 3, 4, 30, 41)[5 - len(axes) :]
    image = make_values(shape, "u2", 5)
    for kind in ("ome", "shaped", "imagej"):
        if kind == "imagej" and "Q" in axes:
            continue
        options: dict[str, Any] = {"metadata": {"axes": axes}, "photometric": "minisblack"}
        if kind != "shaped":
            options[kind] = True
        FILES[f"{kind}-{axes}-{codec}"] = File(
            written(image, **options, **compress(codec)), image, axes.lower()
        )

for n_pages, codec, dtype in product((1, 2, 5, 12), ("none", "lzw"), ("u1", "i2")):
    image = make_values((n_pages, 30, 41), dtype, 6)
    stack = image if n_pages > 1 else image[0]
    FILES[f"pages-{n_pages}-{codec}-{dtype}"] = File(
        written(image, metadata=None, photometric="minisblack", **compress(codec)),
        stack,
        "iyx"[3 - stack.ndim :],
    )

for codec in IMAGE_CODECS:
    image = make_smooth((64, 96, 3))
    options = {"photometric": "rgb", "compression": codec}
    if codec == "webp":
        options["compressionargs"] = {"lossless": True}
    if codec == "jpegxl":
        options["compressionargs"] = {"lossless": True}
    for layout, how in (("strip", {}), ("tiles", {"tile": (32, 32)})):
        FILES[f"codec-{codec}-{layout}"] = File(
            written(image, **options, **how), image, "yxc", True
        )
for subsampling, layout in product(((1, 1), (2, 1), (2, 2)), (None, (32, 32))):
    image = make_smooth((64, 96, 3))
    options = {"compression": "jpeg", "subsampling": subsampling, "compressionargs": {"level": 98}}
    FILES[f"jpeg-{subsampling}-{layout}"] = File(
        written(image, photometric="rgb", tile=layout, **options), image, "yxc", True, tolerance=9
    )

for bits in (2, 4, 6, 10, 12, 14):
    dtype = "u1" if bits < 8 else "u2"
    image = (make_values((20, 24), "u2", 7) % 2**bits).astype(dtype)
    FILES[f"bits-{bits}"] = File(written(image, bitspersample=bits), image, "yx")
    inverted = (2**bits - 1 - image).astype(dtype)
    FILES[f"bits-{bits}-white"] = File(
        written(image, bitspersample=bits, photometric="miniswhite"), inverted, "yx"
    )
for dtype in ("u1", "u2", "u4"):
    image = make_values((20, 24), dtype, 8)
    FILES[f"white-{dtype}"] = File(
        written(image, photometric="miniswhite"), np.iinfo(dtype).max - image, "yx"
    )

for order, kind in product("<>", ("imagej", "shaped")):
    image = make_values((4, 30, 41), "u2", 11)
    options = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack", "byteorder": order}
    options["imagej"] = kind == "imagej"
    # One page that stands for all planes.
    FILES[f"truncated-{kind}-{order}"] = File(
        written(image, truncate=True, **options), image, "zyx"
    )
for codec, dtype in product(("none", "zlib", "lzw"), ("u1", "f4")):
    image = make_values((8, 32, 48), dtype, 12)
    options = {"tile": (4, 16, 16), "volumetric": True, "photometric": "minisblack"}
    FILES[f"volumetric-{codec}-{dtype}"] = File(
        written(image, **options, **compress(codec)), image, "zyx"
    )
for dtype in ("u1", "i2", "u4", "f4", "f8"):
    image = make_values((33, 47), dtype, 13)
    options = {"photometric": "minisblack", "compression": "lerc"}
    FILES[f"lerc-{dtype}"] = File(written(image, **options), image, "yx")
for layout in (None, (32, 32)):
    image = make_smooth((64, 96, 1))[..., 0]
    options = {"photometric": "minisblack", "compression": "jpeg", "tile": layout}
    FILES[f"jpeg-gray-{layout}"] = File(
        written(image, compressionargs={"level": 98}, **options), image, "yx", tolerance=3
    )
    deep = make_smooth((64, 96, 1), "u2")[..., 0] * 16
    FILES[f"jpeg-12-bits-{layout}"] = File(
        written(deep, bitspersample=12, compressionargs={"level": 98}, **options),
        deep,
        "yx",
        tolerance=40,
    )

PHOTO = make_smooth((40, 56, 3))


def saved(mode: str, **options: Any) -> Callable[[Path], None]:
    """Return a function that writes a file with Pillow."""
    return lambda path: Image.fromarray(PHOTO).convert(mode).save(path, "TIFF", **options)


for codec in (None, "tiff_lzw", "packbits", "tiff_adobe_deflate"):
    shown = Image.fromarray(PHOTO)
    for mode, rgb in (("RGB", True), ("L", False), ("P", True), ("CMYK", True)):
        target = np.asarray(shown.convert(mode).convert("RGB" if rgb else "L"))
        FILES[f"pillow-{mode}-{codec}"] = File(
            saved(mode, compression=codec), target, "yxc" if rgb else "yx", rgb, tolerance=1
        )
    bits = shown.convert("1")
    FILES[f"pillow-1-{codec}"] = File(
        saved("1", compression=codec), np.asarray(bits).astype(np.uint8) * 255, "yx"
    )
CCITT = {f"pillow-1-{codec}": codec for codec in ("group3", "group4", "tiff_ccitt")}
for name, codec in CCITT.items():
    bits = Image.fromarray(PHOTO).convert("1")
    FILES[name] = File(saved("1", compression=codec), np.asarray(bits).astype(np.uint8) * 255, "yx")

for codec, dtype in product(("none", "zlib", "lzw"), ("u1", "u2")):
    image = make_values((30, 20, 4), dtype, 9)
    for extra, rgb in (("unassalpha", True), ("unspecified", False)):
        FILES[f"rgb+{extra}-{codec}-{dtype}"] = File(
            written(image, photometric="rgb", extrasamples=[extra], **compress(codec)),
            image,
            "yxc",
            rgb,
        )

for order, codec in product("<>", ("none", "zlib")):
    stack = make_values((5, 40, 60), "u2", 10)
    options = {"byteorder": order, **compress(codec)}
    FILES[f"ome-size-{order}-{codec}"] = File(
        written(
            stack,
            ome=True,
            metadata={
                "axes": "ZYX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeY": 0.5,
                "PhysicalSizeZ": 2,
                "PhysicalSizeZUnit": "nm",
            },
            **options,
        ),
        stack,
        "zyx",
        scales={"x": (0.25, "micrometer"), "y": (0.5, "micrometer"), "z": (2, "nanometer")},
    )
    FILES[f"imagej-size-{codec}-{order}"] = File(
        written(
            stack,
            imagej=True,
            resolution=(4, 2),
            metadata={"axes": "TYX", "unit": "um", "finterval": 1.5},
            **compress(codec),
        ),
        stack,
        "tyx",
        scales={"x": (0.25, "micrometer"), "y": (0.5, "micrometer"), "t": (1.5, "second")},
    )
    FILES[f"resolution-{order}-{codec}"] = File(
        written(stack[0], resolution=(1000, 500), resolutionunit="centimeter", **options),
        stack[0],
        "yx",
        scales={"x": (10, "micrometer"), "y": (20, "micrometer")},
    )


def check(picture: Picture, file: File) -> None:
    pixels = np.asarray(picture.pixels)
    assert pixels.shape == file.pixels.shape
    assert pixels.dtype == file.pixels.dtype
    assert pixels.dtype.isnative
    if file.tolerance:
        difference = np.abs(pixels.astype(float) - file.pixels)
        assert difference.max() <= file.tolerance
    else:
        np.testing.assert_array_equal(pixels, file.pixels)
    assert "".join(axis.name for axis in picture.axes) == file.axes
    assert picture.rgb is file.rgb
    channel_axis = None if file.rgb or "c" not in file.axes else file.axes.index("c")
    assert picture.channel_axis == channel_axis
    assert not picture.note
    assert picture.mask is None
    for axis in picture.axes:
        assert (axis.scale, axis.unit) == file.scales.get(axis.name, (1, ""))


def test_the_table_is_large():
    assert len(FILES) >= 250


@pytest.mark.parametrize("name", FILES)
def test_values_and_axes_are_those_that_were_written(name, tmp_path, monkeypatch, writing):
    file = FILES[name]
    if name in CCITT and tifffile.COMPRESSION.CCITTRLE not in tifffile.TIFF.DECOMPRESSORS:
        pytest.skip("this tifffile does not read CCITT compression")
    path = tmp_path / "image"
    with writing():
        file.write(path)
    complete = read_image(path)
    assert isinstance(complete.pixels, np.ndarray)
    check(complete, file)
    monkeypatch.setattr(tiff, "LARGE", 100)
    lazy = read_image(path)
    assert isinstance(lazy.pixels, da.Array)
    check(lazy, file)
