"""Zarr files of all formats, codecs, dtypes and layouts: pixels and axes are those written.

The files are made by zarr, and their metadata according to the specification of OME-Zarr.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import (
    BloscCodec,
    Crc32cCodec,
    GzipCodec,
    TransposeCodec,
    ZstdCodec,
)

from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RNG = np.random.default_rng(15)
DTYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64", ">u2", ">f4", "bool")
SHAPE, CHUNKS = (3, 21, 34), (1, 8, 16)


def noise(dtype: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    values = RNG.integers(0, 2 if dtype == "bool" else 200, shape)
    return values.astype(dtype)


class Case(NamedTuple):
    """A writer of a zarr directory, and what reading it must give."""

    name: str
    write: Callable[[Path], np.ndarray]
    axes: str = ""
    rgb: bool | None = None
    channel_axis: int | None = None


def array_case(name: str, dtype: str = "uint16", **options: Any) -> Case:
    def write(path: Path) -> np.ndarray:
        pixels = noise(dtype)
        settings = {"chunks": CHUNKS, **options}
        array = zarr.create_array(path, shape=SHAPE, dtype=pixels.dtype, **settings)
        array[:] = pixels
        return np.where(pixels, 255, 0).astype(np.uint8) if dtype == "bool" else pixels

    return Case(name, write)


def array_cases() -> list[Case]:
    cases = [
        array_case(f"zarr {version} {dtype}", dtype, zarr_format=version)
        for version in (2, 3)
        for dtype in DTYPES
    ]
    compressors_2 = {
        "none": None,
        "gzip": numcodecs.GZip(),
        "zlib": numcodecs.Zlib(),
        "bz2": numcodecs.BZ2(),
        "lzma": numcodecs.LZMA(),
        "lz4": numcodecs.LZ4(),
        "zstd": numcodecs.Zstd(),
        "blosc lz4": numcodecs.Blosc("lz4"),
        "blosc zstd": numcodecs.Blosc("zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
    }
    compressors_3 = {
        "none": None,
        "gzip": GzipCodec(),
        "zstd": ZstdCodec(),
        "zstd with a checksum": ZstdCodec(checksum=True),
        "blosc lz4": BloscCodec(cname="lz4"),
        "blosc zlib": BloscCodec(cname="zlib", shuffle="noshuffle"),
        "two": [BloscCodec(), GzipCodec()],
        "checksum": [ZstdCodec(), Crc32cCodec()],
    }
    for version, compressors in ((2, compressors_2), (3, compressors_3)):
        for name, compressor in compressors.items():
            options = {"zarr_format": version, "compressors": compressor}
            cases.append(array_case(f"zarr {version} {name}", **options))
            if version == 3:
                shards = {"shards": (3, 16, 32)}
                cases.append(array_case(f"zarr 3 {name} in shards", **options, **shards))
                cases.append(array_case(f"zarr 3 {name} floats", "float32", **options))
            else:
                cases.append(array_case(f"zarr 2 {name} Fortran", order="F", **options))
    filters = {
        "delta": [numcodecs.Delta("<u2")],
        "shuffle": [numcodecs.Shuffle(2)],
        "as float": [numcodecs.AsType("<f8", "<u2")],
        "checksum": [numcodecs.CRC32()],
    }
    cases += [
        array_case(
            f"zarr 2 filter {name}", zarr_format=2, filters=each, compressors=numcodecs.Zlib()
        )
        for name, each in filters.items()
    ]
    cases += [
        array_case("zarr 3 transposed", filters=[TransposeCodec(order=(2, 0, 1))]),
        array_case("zarr 3 one chunk", chunks=SHAPE),
        array_case("zarr 3 large chunks", chunks=(8, 64, 64)),
        array_case(
            "zarr 2 nested keys", zarr_format=2, chunk_key_encoding={"name": "v2", "separator": "/"}
        ),
        array_case("zarr 3 keys of zarr 2", chunk_key_encoding={"name": "v2", "separator": "."}),
    ]
    return [*cases, *missing_chunk_cases()]


def missing_chunk_cases() -> list[Case]:
    def write(path: Path, version: int, fill: Any) -> np.ndarray:
        dtype = "float32" if isinstance(fill, float) else "uint16"
        options = {} if fill is None else {"fill_value": fill}
        array = zarr.create_array(
            path, shape=SHAPE, chunks=CHUNKS, dtype=dtype, zarr_format=version, **options
        )
        pixels = np.full(SHAPE, fill or 0, dtype)
        pixels[1, 8:16, 16:32] = array[1, 8:16, 16:32] = 5
        return pixels

    def case(version: int, fill: Any) -> Case:
        return Case(f"zarr {version} fill {fill}", lambda path: write(path, version, fill))

    return [case(version, fill) for version in (2, 3) for fill in (None, 7, float("nan"))]


def write_ome(
    path: Path,
    pixels: np.ndarray,
    axes: Sequence[dict[str, str]],
    version: str = "0.5",
    scale: Sequence[float] = (),
    shift: Sequence[float] = (),
    omero: dict[str, Any] | None = None,
    n_levels: int = 2,
    name: str | None = None,
) -> None:
    """Write an image according to a version of the specification."""
    datasets, levels = [], []
    for number in range(n_levels):
        steps = tuple(slice(None, None, 2**number if axis["name"] in "yx" else 1) for axis in axes)
        levels.append(pixels[steps])
        factor = [each.step for each in steps]
        transformations: list[dict[str, Any]] = [
            {
                "type": "scale",
                "scale": [a * b for a, b in zip(scale or [1.0] * len(axes), factor, strict=True)],
            }
        ]
        if shift:
            transformations.append({"type": "translation", "translation": list(shift)})
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    multiscale: dict[str, Any] = {"datasets": datasets, "version": version}
    if version == "0.3":
        multiscale["axes"] = [axis["name"] for axis in axes]
    elif version not in ("0.1", "0.2"):
        multiscale["axes"] = list(axes)
    if name is not None:
        multiscale["name"] = name
    values: dict[str, Any] = {"multiscales": [multiscale]}
    if omero is not None:
        values["omero"] = omero
    is_new = version == "0.5"
    group = zarr.open_group(
        path,
        mode="w",
        zarr_format=3 if is_new else 2,
        attributes={"ome": {"version": version, **values}} if is_new else values,
    )
    for number, level in enumerate(levels):
        chunks = tuple(min(length, 16) for length in level.shape)
        group.create_array(str(number), data=level, chunks=chunks)


def axes_of(names: str, unit: str = "") -> list[dict[str, str]]:
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    for axis in axes:
        if unit and axis["type"] == "space":
            axis["unit"] = unit
    return axes


def ome_cases() -> list[Case]:
    lengths = {"t": 2, "c": 3, "z": 4, "y": 21, "x": 34}
    cases = []
    for version in ("0.4", "0.5"):
        for names in ("yx", "zyx", "cyx", "tyx", "tcyx", "czyx", "tczyx", "yxc", "zyxc"):
            shape = tuple(lengths[name] for name in names)
            last = names.endswith("c")
            cases.append(
                Case(
                    f"ome {version} {names}",
                    lambda path, s=shape, n=names, v=version: ome_of(path, s, n, v),
                    names,
                    last,
                    names.index("c") if "c" in names and not last else None,
                )
            )
    cases += [
        Case(
            f"ome {version}",
            lambda path, v=version: ome_of(path, (1, 2, 3, 21, 34), "tczyx", v),
            "tczyx",
            False,
            1,
        )
        for version in ("0.1", "0.2", "0.3")
    ]
    return cases


def ome_of(path: Path, shape: tuple[int, ...], names: str, version: str) -> np.ndarray:
    pixels = noise("uint8", shape)
    write_ome(path, pixels, axes_of(names), version)
    return pixels


CASES = [*array_cases(), *ome_cases()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pixels_and_axes_are_those_that_were_written(tmp_path, case):
    path = tmp_path / "image.zarr"
    expected = case.write(path)
    # Half of the files are read from a zip file without a suffix.
    if len(case.name) % 2:
        folder = {} if len(case.name) % 4 == 1 else {"base_dir": "image.zarr"}
        root = tmp_path if folder else path
        packed = shutil.make_archive(str(tmp_path / "packed"), "zip", root, **folder)
        path = tmp_path / "packed"
        shutil.move(packed, path)
    picture = read_image(path)
    assert isinstance(picture.pixels, da.Array)
    assert picture.pixels.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(picture.pixels.compute(scheduler="sync"), expected)
    assert (picture.rgb, picture.channel_axis) == (case.rgb, case.channel_axis)
    assert "".join(axis.name for axis in picture.axes) == case.axes
    assert bool(picture.note) == ("fill" in case.name)
    assert [series.shape for series in list_series(path)] == [expected.shape]
    if case.axes:
        assert [level.shape[-1 - bool(case.rgb)] for level in picture.levels] == [34, 17]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
class TestMetadata:
    def test_scale_translation_units_and_time_are_read(self, tmp_path, version):
        axes = axes_of("tczyx", "micrometer")
        axes[0]["unit"] = "second"
        scale, shift = (2.5, 1.0, 3.0, 0.5, 0.25), (0.0, 0.0, 1.0, 10.0, 20.0)
        pixels = noise("uint16", (2, 3, 4, 21, 34))
        write_ome(tmp_path / "a", pixels, axes, version, scale, shift)
        assert read_image(tmp_path / "a").axes == (
            Axis("t", "time", "second", 2.5, 0.0),
            Axis("c", "channel"),
            Axis("z", "space", "micrometer", 3.0, 1.0),
            Axis("y", "space", "micrometer", 0.5, 10.0),
            Axis("x", "space", "micrometer", 0.25, 20.0),
        )

    def test_names_and_colors_of_channels_are_read(self, tmp_path, version):
        channels = [
            {"label": "DAPI", "color": "0000FF"},
            {"label": "GFP", "color": "#00ff00"},
            {"color": "no color"},
        ]
        pixels = noise("uint16", (3, 21, 34))
        omero = {"channels": channels}
        write_ome(tmp_path / "a", pixels, axes_of("cyx"), version, omero=omero)
        assert read_image(tmp_path / "a").channels == (
            Channel("DAPI", "#0000ff"),
            Channel("GFP", "#00ff00"),
            Channel("", None),
        )

    def test_channels_of_another_number_are_not_used(self, tmp_path, version):
        omero = {"channels": [{"label": "DAPI"}]}
        write_ome(
            tmp_path / "a", noise("uint16", (3, 21, 34)), axes_of("cyx"), version, omero=omero
        )
        assert read_image(tmp_path / "a").channels == ()

    @pytest.mark.parametrize(
        ("labels", "colors", "expected"),
        [
            ("rgb", None, True),
            (("Red", "Green", "Blue"), None, True),
            (("DAPI", "GFP", "RFP"), None, False),
            (("a", "b", "c"), ("0000FF", "00FF00", "FF0000"), False),
            (("a", "b", "c"), ("FF0000", "00FF00", "0000FF"), True),
            (("", "", ""), None, True),
        ],
    )
    def test_names_and_colors_decide_on_the_last_axis(
        self, tmp_path, version, labels, colors, expected
    ):
        channels = [{"label": label} for label in labels]
        for channel, color in zip(channels, colors or (), strict=False):
            channel["color"] = color
        pixels = noise("uint8", (21, 34, 3))
        omero = {"channels": channels}
        write_ome(tmp_path / "a", pixels, axes_of("yxc"), version, omero=omero)
        picture = read_image(tmp_path / "a")
        assert picture.rgb is expected
        assert picture.channel_axis == (None if expected else 2)
        np.testing.assert_array_equal(picture.pixels, pixels)

    def test_scale_is_that_of_the_largest_level(self, tmp_path, version):
        write_ome(tmp_path / "a", noise("uint8", (64, 64)), axes_of("yx"), version, (2.0, 2.0))
        group = zarr.open_group(tmp_path / "a", mode="a")
        stored = dict(group.attrs)
        values = stored["ome"] if version == "0.5" else stored
        values["multiscales"][0]["datasets"].reverse()
        group.attrs.update(stored)
        assert [axis.scale for axis in read_image(tmp_path / "a").axes] == [2.0, 2.0]


def test_the_table_is_long():
    assert len(CASES) >= 90
    assert len({case.name for case in CASES}) == len(CASES)
