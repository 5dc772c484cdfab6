"""Files that reader plugins of napari read, and the message about files that none reads."""

from __future__ import annotations

import gzip
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from napari.layers.image._image_utils import guess_rgb
from npe2 import DynamicPlugin, PluginManager

from napari_kmeans import segment
from napari_kmeans.cli.main import main
from napari_kmeans.files import read_image
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.napari_readers import FORMATS
from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.files.reading import list_series

IMAGE = np.random.default_rng(0).integers(0, 255, (3, 20, 24), dtype=np.uint8)


@pytest.fixture
def make_layers():
    """Return a list. A plugin for files named *.tiny gives its items as layers."""
    layers: list[object] = []
    PluginManager.instance().discover()
    with DynamicPlugin("tiny-reader") as plugin:

        @plugin.contribute.reader(filename_patterns=["*.tiny"])
        def get_reader(path):
            with open(path, "rb") as file:
                if file.read(4) != b"TINY":
                    return None

            def read(path):
                print("reading")
                if layers and isinstance(layers[0], Exception):
                    raise layers[0]
                return layers

            return read

        yield layers


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cells.tiny"
    path.write_bytes(b"TINY" * 50)
    return path


def test_a_layer_keeps_what_its_plugin_states(make_layers, path, capsys):
    attributes = {
        "name": "stack",
        "scale": (2.0, 0.5, 0.25),
        "translate": (0, 1, 0),
        "units": ("second", "um", "micrometers"),
        "axis_labels": ("frame", "row", "column"),
        "contrast_limits": (0, 9),
    }
    make_layers.append((IMAGE, attributes, "image"))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, IMAGE)
    assert picture.axes == (
        Axis("frame", "time", "second", 2),
        Axis("row", "space", "micrometer", 0.5, 1),
        Axis("column", "space", "micrometer", 0.25),
    )
    assert (picture.name, picture.channel_axis, picture.levels) == ("stack", None, ())
    assert [(each.name, each.shape) for each in list_series(path)] == [("stack", IMAGE.shape)]
    assert capsys.readouterr().out == ""


def test_channels_have_names_colors_and_an_axis(make_layers, path):
    attributes = {
        "channel_axis": -3,
        "name": ["DAPI", "GFP", "light"],
        "colormap": ["blue", "#00FF80", "viridis"],
        "scale": (0.5, 0.25),
        "units": "nm",
    }
    make_layers.append((IMAGE, attributes))
    picture = read_image(path)
    assert (picture.rgb, picture.channel_axis) == (False, 0)
    assert picture.channels == (
        Channel("DAPI", "#0000ff"),
        Channel("GFP", "#00ff80"),
        Channel("light"),
    )
    assert picture.axes == (
        Axis("c", "channel"),
        Axis("y", "space", "nanometer", 0.5),
        Axis("x", "space", "nanometer", 0.25),
    )


def test_colors_are_the_last_axis(make_layers, path):
    # A reader of ITK files states both.
    color = np.moveaxis(IMAGE, 0, -1)
    make_layers.append((color, {"rgb": True, "channel_axis": 2, "scale": (3, 3)}, "image"))
    picture = read_image(path)
    assert (picture.rgb, picture.channel_axis) == (True, None)
    assert [axis.kind for axis in picture.axes] == ["space", "space", "channel"]
    np.testing.assert_array_equal(picture.pixels, color)


@pytest.mark.parametrize("shape", [(40, 50, 3), (2, 40, 50, 4), (30, 50, 3), (40, 3), (9, 40, 50)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colors_are_guessed_as_napari_does(make_layers, path, shape, dtype):
    make_layers.append((np.zeros(shape, dtype),))
    picture = read_image(path)
    assert picture.rgb == guess_rgb(shape)
    assert len(picture.axes) == len(shape)
    assert [axis.kind for axis in picture.axes].count("channel") == picture.rgb


def test_layers_are_series_and_the_largest_is_the_default(make_layers, path):
    make_layers.extend(
        [
            (IMAGE[0, :5], {"name": "small"}, "image"),
            (IMAGE[0], {"name": "large"}),
            (IMAGE[0].astype(int), {"name": "mask"}, "labels"),
            (np.zeros((4, 2)), {}, "points"),
            (None,),
        ]
    )
    assert read_image(path).name == "large"
    np.testing.assert_array_equal(read_image(path, 0).pixels, IMAGE[0, :5])
    assert [each.name for each in list_series(path)] == ["small", "large"]
    with pytest.raises(UnreadableImageError, match="numbers 0 to 1, got 2"):
        read_image(path, 2)


def test_lazy_levels_stay_lazy(make_layers, path):
    levels = [da.from_array(IMAGE[0]), da.from_array(IMAGE[0, ::2, ::2])]
    make_layers.append((levels, {"multiscale": True}, "image"))
    picture = read_image(path)
    assert isinstance(picture.pixels, da.Array)
    assert [level.shape for level in picture.levels] == [(20, 24), (10, 12)]
    np.testing.assert_array_equal(picture.pixels, IMAGE[0])


def test_an_affine_gives_the_pixel_size(make_layers, path):
    straight = np.diag([2.0, 0.5, 1])
    straight[:2, 2] = 7, 8
    make_layers.append((IMAGE[0], {"affine": straight, "scale": (3, 1)}, "image"))
    assert [(a.scale, a.translation) for a in read_image(path).axes] == [(6, 7), (0.5, 8)]
    turned = np.array([[0, -0.5, 3], [2, 0, 1], [0, 0, 1]])
    make_layers[:] = [(IMAGE[0], {"affine": turned}, "image")]
    picture = read_image(path)
    assert [(a.scale, a.translation) for a in picture.axes] == [(2, 0), (0.5, 0)]
    assert "rotation" in picture.note


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([ValueError("no header\nmore")], "tiny-reader cannot read it: no header"),
        ([(np.zeros((3, 2)), {}, "points")], "tiny-reader finds no image in it"),
        ([], "tiny-reader finds no image in it"),
    ],
)
def test_a_plugin_that_gives_no_image_is_named(make_layers, path, layers, words):
    make_layers.extend(layers)
    with pytest.raises(UnreadableImageError) as error:
        read_image(path)
    assert str(error.value) == words


def test_a_file_that_the_plugin_refuses_is_no_image(make_layers, tmp_path):
    (tmp_path / "other.tiny").write_text("something else")
    with pytest.raises(UnreadableImageError, match="supported format"):
        read_image(tmp_path / "other.tiny")


def test_the_command_line_reads_it(make_layers, path, tmp_path):
    make_layers.append((IMAGE, {"scale": (2.0, 0.5, 0.25), "units": "um"}, "image"))
    assert main([str(path), "-k", "3", "-o", str(tmp_path / "out")]) == 0
    labels = read_image(tmp_path / "out" / "cells-labels.tif")
    np.testing.assert_array_equal(labels.pixels, segment(IMAGE, 3).labels)
    header, first, *_ = (tmp_path / "out" / "cells-table.csv").read_text("utf-8").splitlines()
    assert header.startswith("index,pixels,percent,volume,unit,")
    _, pixels, _, volume, unit, *_ = first.split(",")
    assert (float(volume), unit) == (int(pixels) * 0.25, "µm³")


HEADERS = {
    "ND2": b"\xda\xce\xbe\x0a" + bytes(400),
    "CZI": b"ZISRAWFILE" + bytes(400),
    "LIF": b"\x70\0\0\0\1\2\3\4\x2a" + bytes(400),
    "NIfTI": bytes(344) + b"n+1\0" + bytes(400),
    "DICOM": bytes(128) + b"DICM" + bytes(400),
    "Imaris": b"\x89HDF\r\n\x1a\n" + bytes(400),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(400),
    "NRRD": b"NRRD0005\n" + bytes(400),
    "MetaImage": b"ObjectType = Image\n" + bytes(400),
    "MRC": bytes(208) + b"MAP " + bytes(400),
}


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_the_message_names_the_format_and_its_plugins(tmp_path, kind):
    path = tmp_path / f"scan{kind.suffix}"
    path.write_bytes(HEADERS[kind.name])
    with pytest.raises(UnreadableImageError) as error:
        read_image(path)
    assert str(error.value).startswith(f"it is {kind.name}, which needs a reader plugin")
    for plugin in kind.plugins:
        assert f"pip install {plugin}" in str(error.value)


def test_compressed_nifti_and_dicom_with_the_start_of_a_tiff_file_are_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(HEADERS["NIfTI"]))
    (tmp_path / "a").write_bytes(b"II*\0" + HEADERS["DICOM"][4:])
    for name, kind in (("a.nii.gz", "NIfTI"), ("a", "DICOM")):
        with pytest.raises(UnreadableImageError, match=f"it is {kind}"):
            read_image(tmp_path / name)


def test_without_napari_the_other_files_are_read(tmp_path):
    code = (
        "import sys; sys.modules['npe2'] = None\n"
        "from napari_kmeans.files import read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    (tmp_path / "a.xyz").write_text("something else")
    command = [sys.executable, "-c", code, str(tmp_path / "a.xyz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("UnreadableImageError it is not an image")
