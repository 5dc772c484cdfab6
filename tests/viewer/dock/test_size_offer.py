"""The offer to use the size of pixels of a TIFF file, which napari's own reader leaves out."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

NOISE = np.random.default_rng(0).integers(0, 255, (3, 30, 35)).astype(np.uint8)
# napari takes a smaller image for three planes.
COLORS = np.random.default_rng(1).integers(0, 255, (40, 45, 3)).astype(np.uint8)
OME = {"axes": "ZYX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 2.0}
FILES = {
    "volume.ome.tif": (NOISE, {"metadata": OME}, (2, 0.3, 0.3), "2 by 0.3 by 0.3 µm"),
    "film.ome.tif": (
        NOISE,
        {"metadata": {"axes": "TYX", "TimeIncrement": 5.0, **OME} | {"axes": "TYX"}},
        (5, 0.3, 0.3),
        "0.3 by 0.3 µm",
    ),
    "imagej.tif": (
        NOISE[0],
        {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}},
        (0.5, 0.5),
        "0.5 by 0.5 µm",
    ),
    "color.tif": (
        COLORS,
        {"photometric": "rgb", "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"},
        (0.5, 0.5),
        "0.5 by 0.5 µm",
    ),
}


@pytest.fixture
def open_file(viewer, tmp_path):
    """Return a function that writes a TIFF file and opens it with napari's own reader."""

    def open_it(name, pixels, **options):
        tifffile.imwrite(tmp_path / name, pixels, **options)
        return viewer.open(tmp_path / name, plugin="napari")[0]

    return open_it


def is_shown(dock):
    return dock.size_offer.isVisibleTo(dock.native)


@pytest.mark.parametrize("name", FILES)
def test_the_size_of_the_file_is_offered_and_used(viewer, open_file, open_dock, qtbot, name):
    pixels, options, scale, text = FILES[name]
    layer = open_file(name, pixels, **options)
    np.testing.assert_array_equal(layer.scale, 1)
    dock = open_dock()
    qtbot.waitUntil(lambda: is_shown(dock))
    assert f"pixels of {text}." in dock.size_offer.note.text()
    # Nothing happens unasked.
    np.testing.assert_array_equal(layer.scale, 1)
    dock.size_offer.button.native.click()
    np.testing.assert_allclose(layer.scale, scale)
    assert str(layer.units[-1]) == "micrometer"
    assert not is_shown(dock)
    qtbot.waitUntil(lambda: dock.shown_unit is not None)
    assert dock.shown_unit.symbol == ("µm³" if "volume" in name else "µm²")


def test_tables_then_have_areas(open_file, open_dock, finish, qtbot):
    pixels, options, *_ = FILES["color.tif"]
    layer = open_file("color.tif", pixels, **options)
    dock = open_dock()
    dock.run()
    finish(dock)
    assert set(dock.result.table["unit"]) == {"px²"}
    before = dock.result.labels
    qtbot.waitUntil(lambda: is_shown(dock))
    dock.size_offer.button.native.click()
    # The labels of before still lie over the image.
    np.testing.assert_array_equal(before.scale, layer.scale)
    assert before.units == layer.units
    assert set(before.features["unit"]) == {"µm²"}
    dock.run()
    finish(dock)
    table = dock.result.table
    np.testing.assert_allclose(table["area"], table["pixels"] * 0.25)


def test_only_layers_of_the_same_pixels_get_the_size(viewer, open_file, open_dock, qtbot):
    pixels, options, *_ = FILES["imagej.tif"]
    layer = open_file("imagej.tif", pixels, **options)
    same = viewer.add_labels((pixels > 99).astype(int))
    points = viewer.add_points([[3, 4]])
    other = viewer.add_image(NOISE[0, :20])
    scaled = viewer.add_image(pixels, scale=(3, 3))
    viewer.layers.selection.active = layer
    dock = open_dock()
    qtbot.waitUntil(lambda: is_shown(dock))
    dock.size_offer.button.native.click()
    for each in (layer, same, points):
        np.testing.assert_array_equal(each.scale, 0.5)
    np.testing.assert_array_equal(other.scale, 1)
    np.testing.assert_array_equal(scaled.scale, 3)


def test_nothing_is_offered_without_a_size(viewer, open_file, open_dock, qtbot, tmp_path):
    dock = open_dock()
    plain = open_file("plain.tif", NOISE[0])
    pixels, options, *_ = FILES["imagej.tif"]
    sized = open_file("sized.tif", pixels, **options)
    scaled = open_file("scaled.tif", pixels, **options)
    scaled.scale = (2, 2)
    broken = open_file("broken.tif", pixels, **options)
    (tmp_path / "broken.tif").write_bytes(b"II*\\0 and so on")
    other = open_file("other.tif", pixels, **options)
    other.data = NOISE[0, :10]
    added = viewer.add_image(NOISE[0])
    viewer.layers.selection.active = sized
    qtbot.waitUntil(lambda: is_shown(dock))
    for layer in (plain, scaled, broken, other, added):
        viewer.layers.selection.active = layer
        assert dock.image.value is layer
        qtbot.wait(150)
        assert not is_shown(dock)
    viewer.layers.selection.active = sized
    qtbot.waitUntil(lambda: is_shown(dock))
    # A scale that the user enters ends the offer.
    sized.scale = (4, 4)
    qtbot.waitUntil(lambda: not is_shown(dock))
