"""Counts, means, areas and colors after edits of labels by hand."""

from __future__ import annotations

import gc

import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels

from napari_kmeans import segment_layer
from napari_kmeans.viewer.provenance import is_edited_by_hand
from napari_kmeans.viewer.to_layers import hand_edits
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.hand_edits import count_now

SHAPE = 12, 16


@pytest.fixture(scope="module")
def noise():
    """Random colors around four colors."""
    rng = np.random.default_rng(3)
    colors = np.array([[10, 10, 10], [200, 20, 20], [20, 200, 20], [200, 200, 240]])
    image = colors[rng.integers(0, 4, SHAPE)] + rng.integers(-9, 10, (*SHAPE, 3))
    return image.clip(0, 255).astype(np.uint8)


def check_table(labels, image=None):
    """Compare the table of a layer with its pixels, as numpy counts and averages them."""
    table, data = labels.features, np.asarray(labels.data)
    assert "outdated" not in table
    found, counts = np.unique(data[data != 0], return_counts=True)
    expected = dict(zip(found.tolist(), counts.tolist(), strict=True))
    assert set(expected) <= set(table["index"])
    assert table["index"].is_unique
    assert table["pixels"].tolist() == [expected.get(label, 0) for label in table["index"]]
    ignored = table["ignored"].to_numpy(bool) if "ignored" in table else np.zeros(len(table), bool)
    total = table["pixels"][~ignored].sum()
    shares = np.where(ignored, np.nan, 100 * table["pixels"] / max(total, 1))
    np.testing.assert_allclose(table["percent"], shares)
    np.testing.assert_allclose(table["area"], table["pixels"] * 0.5)
    assert set(table["unit"]) == {"mm²"}
    colors = labels.colormap.map(table["index"].to_numpy())
    shown = colors[~ignored]
    assert (shown[:, 3] > 0).all()
    assert table["color"].str.fullmatch("#[0-9a-f]{6}").all()
    if image is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            means = [image[data == label, channel].mean() for label in found]
            rows = table.set_index("index").loc[found, f"mean {name}"]
            np.testing.assert_allclose(rows, means)


def edit(labels, clusters, number, rng):
    """Do one random edit as napari or the list of clusters does it."""
    label = int(rng.integers(0, 8))
    row, column = (int(rng.integers(size)) for size in SHAPE)
    chosen = [each for each in clusters.labels if rng.random() < 0.4]
    if number == 0:
        labels.brush_size = int(rng.integers(1, 6))
        with labels.block_history():
            for step in range(3):
                labels.paint((row, (column + step) % SHAPE[1]), label)
    elif number == 1:
        labels.fill((row, column), label)
    elif number == 2:
        labels.paint_polygon([[row, column], [row, 0], [0, column]], label)
    elif number == 3:
        labels.data_setitem((np.array([row, row]), np.array([column, column])), label)
    elif number == 4:
        labels.undo()
    elif number == 5:
        labels.redo()
    elif number == 6 and len(chosen) > 1:
        clusters.merge(chosen)
    elif number == 7 and chosen:
        clusters.ignore(chosen, bool(rng.random() < 0.6))
    elif number == 8:
        clusters.undo()
    elif number == 9:
        clusters.redo()
    elif number == 10 and chosen:
        clusters.rename(chosen[0], f"name {row}")
    elif number == 11:
        clusters.highlight(chosen)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(0, 11), max_size=24),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from([0, hand_edits.AT_ONCE]),
)
def test_counts_are_right_after_any_sequence_of_edits(
    noise, monkeypatch, numbers, seed, often, at_once
):
    """In large layers, only the pixels of strokes are counted."""
    monkeypatch.setattr(hand_edits, "AT_ONCE", at_once)
    place = {"scale": (0.5, 1), "units": ("mm", "mm")}
    image = Image(noise, rgb=True, **place)
    labels, _ = segment_layer(image, 4)
    clusters, rng = Clusters(labels), np.random.default_rng(seed)
    for number in numbers:
        was_possible = clusters.can_undo
        edit(labels, clusters, number, rng)
        if number < 4:
            assert clusters.can_undo == was_possible
        if often:
            count_now(labels)
            check_table(labels, noise)
    count_now(labels)
    clusters.highlight([])
    check_table(labels, noise)
    assert clusters.labels == labels.features["index"].tolist()


# ------------------------------------------------------------------ new labels


def test_new_labels_get_rows_and_colors_of_their_own(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    unlisted = labels.colormap.map(np.array([9]))[0]
    for number, label in enumerate([9, 6, *range(20, 60)]):
        labels.data_setitem((np.array([0]), np.array([number % 20])), label)
        labels.data_setitem((np.array([1 + number // 20]), np.array([number % 20])), label)
        if number == 0:
            count_now(labels)
    count_now(labels)
    table = labels.features
    assert table["index"].tolist() == [1, 2, 3, 4, 6, 9, *range(20, 60)]
    assert table["color"].is_unique
    np.testing.assert_array_equal(labels.colormap.map(np.array([9]))[0], unlisted)
    colors = labels.colormap.map(np.append(table["index"], 99))
    assert (colors[:, 3] == 1).all()
    assert len(np.unique(colors.round(3), axis=0)) == len(colors)


def test_label_that_disappears_keeps_its_row_and_its_color(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    before = labels.features.copy()
    labels.fill((2, 2), 2)
    count_now(labels)
    assert labels.features["pixels"].tolist() == [0, 210, 100, 110]
    assert np.isnan(labels.features["mean red"][0])
    labels.undo()
    count_now(labels)
    assert labels.features.equals(before)
    assert is_edited_by_hand(labels)


def test_colormap_of_napari_stays(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    labels.colormap = colormap = Labels(np.ones((2, 2), int)).colormap
    labels.paint((2, 2), 7)
    count_now(labels)
    assert labels.colormap is colormap
    assert labels.features["color"].is_unique


# ----------------------------------------------------------------------- means


def test_means_are_left_out_without_the_image(quadrants):
    labels, _ = segment_layer(Image(quadrants.copy(), rgb=True), 4)
    gc.collect()
    labels.paint((2, 2), 3)
    count_now(labels)
    assert not [name for name in labels.features if name.startswith("mean")]
    clusters = Clusters(labels)
    clusters.merge([1, 2])
    assert clusters.pixels([1, 3, 4]) == 420


def test_means_are_those_of_finite_pixels_of_the_counted_level():
    rng = np.random.default_rng(0)
    finest = rng.random((16, 20))
    finest[::2, ::2][:2, :3] = np.nan
    levels = [finest, finest[::2, ::2]]
    image = Image(levels, multiscale=True, rgb=False)
    labels, _ = segment_layer(image, 3, level=1)
    data = [np.array(level) for level in labels.data]
    data[1][:4] = 2
    labels.data = data
    count_now(labels)
    for label, mean in zip(
        labels.features["index"], labels.features["mean intensity"], strict=True
    ):
        assert mean == pytest.approx(np.nanmean(levels[1][data[1] == label]))
    assert labels.features["area"].sum() == pytest.approx(data[1].astype(bool).sum() * 4)


def test_only_the_clustered_slice_is_counted(noise):
    stack = np.stack([noise, noise[::-1], noise])
    image = Image(stack, rgb=True)
    labels, _ = segment_layer(image, 4, stack=1)
    labels.data[0] = 3
    labels.data_setitem((np.array([1, 2]), np.array([5, 6]), np.array([5, 6])), 9)
    count_now(labels)
    data = labels.data[1]
    assert labels.features["pixels"].tolist() == np.unique(data, return_counts=True)[1].tolist()
    for channel, name in enumerate(("red", "green", "blue")):
        means = [stack[1][data == label, channel].mean() for label in labels.features["index"]]
        np.testing.assert_allclose(labels.features[f"mean {name}"], means)


def test_channels_keep_the_names_of_their_layers(noise):
    layers = [Image(noise[..., n], name=name) for n, name in enumerate(("DAPI", "GFP"))]
    labels, _ = segment_layer(layers, 3)
    means = ["mean DAPI", "mean GFP"]
    assert [name for name in labels.features if name.startswith("mean")] == means


# ------------------------------------------------- lazy, large, and in the viewer


def test_lazy_labels_stay_outdated(quadrants):
    labels, _ = segment_layer(Image(da.from_array(quadrants, chunks=(10, 10, 3)), rgb=True), 4)
    clusters = Clusters(labels)
    labels.data = labels.data + 0
    count_now(labels)
    assert clusters.is_outdated
    assert not clusters.can_be_counted


def test_list_is_counted_again_when_the_user_pauses(viewer, dock, finish, qtbot, monkeypatch):
    """Small layers are counted in the main thread; large ones by strokes, or in the background."""
    dock.run()
    finish(dock)
    labels = dock.result.labels
    clusters = dock.folds["clusters"].open().list
    clusters.select([1])
    for at_once in (hand_edits.AT_ONCE, 0):
        monkeypatch.setattr(hand_edits, "AT_ONCE", at_once)
        for column in (3, 8):
            labels.paint((5, column), 7)
            assert "outdated" in clusters.outdated.text()
            assert not clusters.outdated.isHidden()
        qtbot.waitUntil(lambda: "outdated" not in labels.features, timeout=20_000)
        counts = np.bincount(labels.data.ravel(), minlength=8)
        assert labels.features["pixels"].tolist() == counts[[1, 2, 3, 4, 7]].tolist()
        assert clusters.outdated.isHidden()
        assert "Edited by hand." in clusters.message.text()
        assert clusters.selected == [1]
        labels.undo()
        labels.undo()
        qtbot.waitUntil(lambda: labels.features["pixels"].tolist()[-1] == 0, timeout=20_000)
    # A stroke is counted by itself. An edit that may change a pixel twice needs all pixels.
    labels.data_setitem((np.array([5, 5]), np.array([5, 5])), 7)
    qtbot.waitUntil(lambda: "outdated" not in labels.features, timeout=20_000)
    assert labels.features["pixels"].tolist()[-1] == 1
    # The run keeps the edited labels in a copy.
    labels.paint((5, 5), 7)
    count_now(labels)
    dock.run()
    finish(dock)
    assert viewer.layers["picture labels edited"].data[5, 5] == 7
    assert not is_edited_by_hand(labels)
    assert "Edited by hand." not in clusters.message.text()


def test_objects_are_stale_after_an_edit(viewer, dock, finish, finish_work):
    dock.run()
    finish(dock)
    panel = dock.folds["objects"].open()
    panel.split()
    finish_work(panel)
    assert panel.message.text() == "4 objects."
    dock.result.labels.fill((2, 2), 2)
    assert "find the objects again" in panel.message.text()
    panel.split()
    finish_work(panel)
    assert panel.message.text() == "3 objects."
