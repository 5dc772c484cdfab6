"""The choices of the dock for pyramids, stacks and lazy layers, and their results."""

from __future__ import annotations

from threading import Event

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from superqt import QCollapsible

from napari_kmeans import segment, segment_slices
from napari_kmeans.viewer.from_layers import source as source_module
from napari_kmeans.viewer.provenance import METADATA_KEY


@pytest.fixture
def widget(viewer, open_dock):
    return open_dock()


def click(button):
    button.native.click()


def notifications():
    return [(str(each.severity), each.message) for each in notification_manager.records]


def metadata_of(layer):
    return layer.metadata[METADATA_KEY]


def is_shown(widget, field):
    """Return whether a field and its label are in the dock, even if scrolled out of view."""
    label = field.native.parentWidget().layout().labelForField(field.native)
    fields = {each.isVisibleTo(widget.native) for each in (field.native, label)}
    assert len(fields) == 1
    return fields.pop()


def shown_rows(widget):
    return [name for name in ("stack", "level") if is_shown(widget, getattr(widget, name))]


def add_pyramid(viewer, image, **options):
    levels = [image.repeat(4, axis=-3).repeat(4, axis=-2), image]
    return viewer.add_image(levels, multiscale=True, rgb=True, **options)


# ---------------------------------------------------------------------- rows


def test_rows_are_shown_for_layers_to_which_they_apply(viewer, widget, quadrants, steps):
    assert shown_rows(widget) == []
    picture = viewer.add_image(quadrants, rgb=True)
    assert shown_rows(widget) == []
    viewer.add_image(steps, rgb=False)
    assert shown_rows(widget) == ["stack"]
    add_pyramid(viewer, quadrants)
    assert shown_rows(widget) == ["level"]
    add_pyramid(viewer, np.stack([quadrants] * 2))
    assert shown_rows(widget) == ["stack", "level"]
    widget.image.value = picture
    assert shown_rows(widget) == []


def test_stack_choice_has_no_effect_on_2d_image(viewer, widget, finish, quadrants, steps):
    viewer.add_image(steps, rgb=False)
    widget.stack.value = "each"
    viewer.add_image(quadrants, rgb=True, name="picture")
    click(widget.run_button)
    finish(widget)
    assert metadata_of(viewer.layers["picture labels"])["stack"] == "whole"
    assert not notifications()


def test_dock_stays_narrow_with_long_layer_names(viewer, widget, quadrants):
    name = "a very long name for a picture of four colors, in several levels, on a stack"
    add_pyramid(viewer, np.stack([quadrants] * 1000), name=name)
    assert shown_rows(widget) == ["stack", "level"]
    widget.level.value = 0
    assert widget.native.minimumSizeHint().width() <= 350
    widget.native.findChild(QCollapsible).expand(animate=False)
    assert widget.native.minimumSizeHint().width() <= 350


# -------------------------------------------------------------------- levels


def test_level_depends_on_method_and_choice(
    viewer, widget, finish, quadrants, quadrant_labels, monkeypatch
):
    monkeypatch.setattr(source_module, "ENOUGH_PIXELS", 400)
    add_pyramid(viewer, quadrants, name="slide")
    names = [widget.level.get_choice(name) for name in ("level 0 (80 × 84)", "level 1 (20 × 21)")]  # noqa: RUF001
    assert names == [0, 1]
    assert widget.level.current_choice == "auto: level 1"
    for method, level, fitted in (("coreset", "auto", 1), ("coreset", 0, 0), ("full", "auto", 0)):
        widget.method.value, widget.level.value = method, level
        click(widget.run_button)
        finish(widget)
        labels = viewer.layers["slide labels"]
        assert metadata_of(labels)["level"] == fitted
        np.testing.assert_array_equal(labels.data[1], quadrant_labels)
        assert labels.features["pixels"].sum() == labels.data[fitted].size
    assert widget.level.current_choice == "auto: level 0"
    assert [each.name for each in viewer.layers] == ["slide", "slide recolored", "slide labels"]
    assert all(each.multiscale for each in viewer.layers)


def test_level_stays_chosen_when_other_layers_change(viewer, widget, quadrants):
    slide = add_pyramid(viewer, quadrants)
    widget.level.value = 1
    viewer.add_points()
    slide.name = "renamed"
    assert widget.level.value == 1
    viewer.add_image(quadrants, rgb=True)
    assert widget.level.value == "auto"


def test_mask_of_another_shape_masks_what_it_covers(viewer, widget, finish, quadrants):
    slide = add_pyramid(viewer, quadrants)
    widget.mask.value = viewer.add_labels(np.ones((20, 21), int))
    widget.image.value = slide
    click(widget.run_button)
    finish(widget)
    assert not notifications()
    finest = np.asarray(widget.result.labels.data[0])
    expected = np.zeros((80, 84), bool)
    expected[:20, :21] = True
    np.testing.assert_array_equal(finest > 0, expected)


# -------------------------------------------------------------------- stacks


@pytest.mark.parametrize(
    ("order", "step", "index"),
    [((0, 1, 2), (2, 0, 0), np.s_[2]), ((1, 0, 2), (0, 6, 0), np.s_[:, 6])],
)
def test_this_slice_clusters_only_the_slice_in_view(
    viewer, widget, finish, steps, order, step, index
):
    viewer.add_image(steps, rgb=False, name="volume", scale=(5, 2, 2), translate=(100, 0, 0))
    viewer.dims.order = order
    viewer.dims.current_step = step
    widget.stack.value, widget.n_clusters.value = "this", 2
    click(widget.run_button)
    finish(widget)
    recolored, labels = viewer.layers[1:]
    alone = segment(steps[index], 2, rgb=False)
    expected, painted = np.zeros(steps.shape, int), steps.copy()
    expected[index], painted[index] = alone.labels, alone.recolored
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_array_equal(recolored.data, painted)


def test_runs_on_two_slices_fill_one_labels_layer(viewer, widget, finish, steps):
    viewer.add_image(steps, rgb=False, name="volume")
    widget.stack.value, widget.n_clusters.value = "this", 2
    for place in (0, 2):
        viewer.dims.set_current_step(0, place)
        click(widget.run_button)
        finish(widget)
    labels = viewer.layers["volume labels"]
    assert len(viewer.layers) == 3
    assert [bool(part.all()) for part in labels.data] == [True, False, True]
    assert not labels.data[1].any()


def test_this_slice_clusters_whole_volume_in_3d_view(viewer, widget, finish, steps):
    viewer.add_image(steps, rgb=False, name="volume")
    viewer.dims.ndisplay = 3
    widget.stack.value, widget.n_clusters.value = "this", 3
    click(widget.run_button)
    finish(widget)
    np.testing.assert_array_equal(
        viewer.layers["volume labels"].data, segment(steps, 3, rgb=False).labels
    )


def test_slice_beyond_the_image_is_an_error(viewer, widget, finish, steps):
    volume = viewer.add_image(steps, rgb=False)
    viewer.add_labels(np.zeros((9, 8, 10), int))
    viewer.dims.set_current_step(0, 7)
    widget.image.value, widget.stack.value = volume, "this"
    click(widget.run_button)
    finish(widget)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert message.startswith("the slice in view must be in the image, got index 7 of 3 slices")
    assert len(viewer.layers) == 2


def test_each_slice_matches_segment_slices(viewer, widget, finish, quadrants, quadrant_labels):
    film = np.stack([quadrants // n for n in (1, 2, 3)])
    viewer.add_image(film, rgb=True, name="film")
    widget.stack.value, widget.add_points.value = "each", True
    assert not widget.add_points.enabled
    click(widget.run_button)
    finish(widget)
    _, recolored, labels = viewer.layers
    np.testing.assert_array_equal(labels.data, np.stack([quadrant_labels] * 3))
    expected = segment_slices(film, 4, rgb=True)
    np.testing.assert_array_equal(recolored.data, expected.recolored)
    assert metadata_of(labels)["model"] == expected.model.to_dict()
    widget.stack.value = "whole"
    assert widget.add_points.enabled


# ---------------------------------------------------------------------- lazy


def lazy_film(quadrants, meet):
    """Return frames, each in a chunk. Reading a frame that napari does not show calls `meet`."""

    def read(chunk, block_info=None):
        if block_info[0]["chunk-location"][0] not in (0, 4):
            meet()
        return chunk

    film = da.from_array(np.stack([quadrants] * 9), chunks=(1, 20, 21, 3))
    return film.map_blocks(read, dtype=np.uint8, meta=np.empty((0,) * 4, np.uint8))


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_unreadable_chunk_is_an_error_and_adds_no_layer(viewer, widget, finish, quadrants, stack):
    def fail():
        raise OSError("the disk is on fire")

    viewer.add_image(lazy_film(quadrants, fail), rgb=True)
    widget.stack.value = stack
    click(widget.run_button)
    finish(widget)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert "the disk is on fire" in message
    assert "\n" not in message
    assert len(viewer.layers) == 1


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_cancel_button_works_while_chunks_are_read(viewer, widget, finish, qtbot, quadrants, stack):
    asked, go_on, read = Event(), Event(), []

    def wait():
        read.append(None)
        asked.set()
        assert go_on.wait(20)

    viewer.add_image(lazy_film(quadrants, wait), rgb=True)
    widget.stack.value = stack
    click(widget.run_button)
    qtbot.waitUntil(asked.is_set, timeout=20_000)
    click(widget.cancel_button)
    qtbot.wait(300)
    n_read = len(read)
    assert n_read < 8
    go_on.set()
    finish(widget)
    # Chunks whose reading has started are read to the end. No other chunk is read.
    assert len(read) == n_read
    assert len(viewer.layers) == 1
    assert not notifications()


# ------------------------------------------------------------------ channels


def test_axis_of_channels_is_offered_and_clustered(viewer, widget, finish):
    """A layer that looks like channels is clustered as a stack until the axis is chosen."""
    stack = np.random.default_rng(0).integers(0, 5000, (3, 4, 30, 32)).astype(np.uint16)
    viewer.add_image(stack[0], name="cells", scale=(1, 2, 2))
    assert is_shown(widget, widget.channel_axis)
    assert widget.channel_axis.value is None
    assert "Axis 0 of the layer has 4 steps" in widget.channel_hint.text()
    assert not widget.channel_hint.isHidden()
    assert shown_rows(widget) == ["stack"]
    widget.run()
    finish(widget)
    assert viewer.layers["cells labels"].data.shape == (4, 30, 32)
    widget.channel_axis.value = 0
    assert widget.channel_hint.isHidden()
    assert shown_rows(widget) == []
    assert widget.normalize.value == "percentile"
    assert is_shown(widget, widget.normalize)
    widget.run()
    finish(widget)
    labels = viewer.layers["cells labels [1]"]
    expected = segment(stack[0], 4, channel_axis=0, normalize="percentile")
    np.testing.assert_array_equal(labels.data, expected.labels)
    np.testing.assert_array_equal(viewer.layers["cells recolored"].data, expected.recolored)

    # The label of an axis says that it is channels: it is chosen, also for a slice in view.
    viewer.add_image(stack, name="labeled", axis_labels=("z", "c", "y", "x"))
    assert widget.channel_axis.value == 1
    assert widget.channel_axis.current_choice == "axis 1 (c), 4 long"
    assert shown_rows(widget) == ["stack"]
    viewer.dims.set_current_step(0, 2)
    widget.stack.value = "this"
    widget.run()
    finish(widget)
    labels = viewer.layers["labeled labels"]
    expected = segment(stack[2], 4, channel_axis=0, normalize="percentile")
    np.testing.assert_array_equal(labels.data[2], expected.labels)
    assert not labels.data[:2].any()
    assert not notifications()

    # Another layer has no such axis.
    viewer.add_image(np.zeros((9, 20, 30), np.uint8), name="volume")
    assert widget.channel_axis.value is None
    assert not is_shown(widget, widget.channel_axis)
    assert widget.channel_hint.isHidden()
    assert widget.normalize.value == "none"


def test_class_of_an_image_with_an_axis_of_channels_is_clustered_anew(
    viewer, widget, finish, finish_work
):
    pixels = np.random.default_rng(0).integers(0, 5000, (3, 20, 22)).astype(np.uint16)
    viewer.add_image(pixels, name="cells", axis_labels=("c", "y", "x"))
    widget.run()
    finish(widget)
    labels, recolored = viewer.layers["cells labels"], viewer.layers["cells recolored"]
    before, colors = labels.data.copy(), recolored.data.copy()
    panel = widget.folds["clusters"].open()
    panel.split_anew(2, 2)
    finish_work(panel)
    is_part = before == 2
    np.testing.assert_array_equal(labels.data[~is_part], before[~is_part])
    np.testing.assert_array_equal(recolored.data[:, ~is_part], colors[:, ~is_part])
    parts = np.unique(labels.data[is_part])
    assert len(parts) == 2
    for part in parts:
        inside = labels.data == part
        mean = np.rint(pixels[:, inside].mean(axis=1))
        np.testing.assert_allclose(
            recolored.data[:, inside], mean[:, None].repeat(inside.sum(), 1), atol=1
        )
