"""The unit of the minimum size in the dock: pixels, or areas where the layer states a scale."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans import segment, segment_slices
from napari_kmeans.files.units import AreaUnit
from napari_kmeans.viewer.dock.last_settings import last_settings_of

NOISE = np.random.default_rng(0).integers(0, 255, (4, 30, 35)).astype(np.uint8)


def texts(dock):
    return [dock.size_unit.native.itemText(n) for n in range(dock.size_unit.native.count())]


@pytest.mark.parametrize(
    ("scale", "units", "texts_of_units", "factor"),
    [
        ((0.5, 0.25), ("um", "um"), ["px", "µm²"], 1),
        ((500, 250), ("nm", "nm"), ["px", "nm²"], 1e6),
        ((0.5, 0.25), ("pixel", "pixel"), ["px", "unit²"], 1),
    ],
)
def test_an_area_is_in_the_unit_of_the_layer(
    viewer, open_dock, finish, scale, units, texts_of_units, factor
):
    viewer.add_image(NOISE[0], scale=scale, units=units)
    dock = open_dock()
    assert dock.min_size.native.isVisibleTo(dock.native)
    assert not dock.min_area.native.isVisibleTo(dock.native)
    dock.size_unit.value = "area"
    assert texts(dock) == texts_of_units
    assert not dock.min_size.native.isVisibleTo(dock.native)
    assert dock.min_area.native.isVisibleTo(dock.native)
    dock.n_clusters.value, dock.min_size.value, dock.min_area.value = 3, 2, 1.5 * factor
    dock.run()
    finish(dock)
    expected = segment(NOISE[0], 3, min_size=12)
    np.testing.assert_array_equal(dock.result.labels.data, expected.labels)
    assert (expected.labels != segment(NOISE[0], 3, min_size=2).labels).any()
    # The pixels of the other unit are kept for later.
    dock.size_unit.value = "pixels"
    dock.run()
    finish(dock)
    expected = segment(NOISE[0], 3, min_size=2)
    np.testing.assert_array_equal(dock.result.labels.data, expected.labels)


def test_a_volume_becomes_an_area_where_slices_are_clustered(viewer, open_dock, finish):
    viewer.add_image(NOISE, scale=(2, 0.5, 0.5), units=("um",) * 3)
    dock = open_dock()
    dock.size_unit.value = "area"
    assert texts(dock) == ["px", "µm³"]
    dock.stack.value = "each"
    assert texts(dock) == ["px", "µm²"]
    dock.n_clusters.value, dock.min_area.value = 3, 2
    dock.run()
    finish(dock)
    expected = segment_slices(NOISE, 3, min_size=8)
    np.testing.assert_array_equal(dock.result.labels.data, expected.labels)


def test_only_pixels_are_offered_where_the_layer_states_no_size(viewer, dock):
    dock.min_area.value, dock.min_size.value = 3, 5
    dock.size_unit.value = "area"
    assert not dock.size_unit.native.isVisibleTo(dock.native)
    assert dock.min_size.native.isVisibleTo(dock.native)
    options = dock.task().options
    assert (options.min_size, options.min_area) == (5, 0)
    viewer.add_image(NOISE, scale=(1, 2, 2), axis_labels=("t", "y", "x"))
    assert texts(dock) == ["px", "unit²"]
    options = dock.task().options
    assert (options.min_size, options.min_area) == (0, 3)
    dock.min_area.value = "many"
    with pytest.raises(TypeError, match=r"min_area must be a number from 0.0 .* got 'many'"):
        dock.task()


def test_the_unit_follows_the_scale_of_the_layer(viewer, dock, qtbot):
    assert not dock.size_unit.native.isVisibleTo(dock.native)
    layer = viewer.layers["picture"]
    layer.scale, layer.units = (2, 2), ("mm", "mm")
    qtbot.waitUntil(lambda: texts(dock) == ["px", "mm²"])
    assert dock.size_unit.native.isVisibleTo(dock.native)
    layer.scale, layer.units = (1, 1), ("pixel", "pixel")
    qtbot.waitUntil(lambda: not dock.size_unit.native.isVisibleTo(dock.native))


def test_the_unit_makes_the_dock_no_wider(viewer, open_dock):
    viewer.add_image(NOISE, name="plain")
    dock = open_dock()
    widths = [dock.native.sizeHint().width(), dock.native.minimumSizeHint().width()]
    viewer.add_image(NOISE, name="scaled", scale=(2, 3, 3), units=("micrometer",) * 3)
    assert dock.image.value.name == "scaled"
    for unit in ("pixels", "area"):
        dock.size_unit.value = unit
        assert dock.size_unit.native.isVisibleTo(dock.native)
        dock.column.activate()
        assert dock.native.sizeHint().width() <= widths[0]
        assert dock.native.minimumSizeHint().width() <= widths[1]


def test_a_number_keeps_its_meaning_in_another_unit(viewer, open_dock):
    viewer.add_image(NOISE[0], name="fine", scale=(500, 250), units=("nm", "nm"))
    dock = open_dock()
    dock.size_unit.value, dock.min_area.value = "area", 2e6
    viewer.add_image(NOISE[0], name="coarse", scale=(0.5, 0.25), units=("um", "um"))
    assert dock.image.value.name == "coarse"
    assert dock.min_area.value == pytest.approx(2)
    assert not dock.size_note.isVisibleTo(dock.native)
    # No unit of areas: the number stays for the next image that has one.
    viewer.add_image(NOISE[0], name="plain")
    dock.image.value = viewer.layers["fine"]
    assert dock.min_area.value == pytest.approx(2e6)


def test_an_area_is_not_taken_for_a_volume(viewer, open_dock):
    viewer.add_image(NOISE[0], name="plane", scale=(0.5, 0.25), units=("um", "um"))
    dock = open_dock()
    dock.size_unit.value, dock.min_area.value = "area", 5
    viewer.add_image(NOISE, name="volume", scale=(2, 0.5, 0.5), units=("um",) * 3)
    assert texts(dock) == ["px", "µm³"]
    assert dock.min_area.value == 0
    assert dock.size_note.isVisibleTo(dock.native)
    assert dock.size_note.text() == (
        "The minimum size was 5 µm². It is 0 now, because this image is measured in µm³: enter it "
        "again."
    )
    assert dock.task().options.min_area == 0
    dock.min_area.value = 7
    assert not dock.size_note.isVisibleTo(dock.native)


def test_the_next_dock_knows_the_unit_of_the_stored_number(viewer, open_dock):
    stored = last_settings_of(viewer)
    stored.area_unit = AreaUnit("µm³", 1.0)
    stored.store("min_area", 7.0)
    stored.store("size_unit", "area")
    viewer.add_image(NOISE[0], scale=(0.5, 0.25), units=("um", "um"))
    dock = open_dock()
    assert (dock.size_unit.value, dock.min_area.value) == ("area", 0)
    assert dock.size_note.isVisibleTo(dock.native)
    assert stored.area_unit.symbol == "µm²"
