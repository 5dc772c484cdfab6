"""Clusters of a Labels layer, without a window."""

from __future__ import annotations

import json
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels

from napari_kmeans import segment, segment_layer
from napari_kmeans.classes import ClassScheme
from napari_kmeans.measuring import mean_columns
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.provenance import joined_labels
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.clusters import MAX_EDITS, Clusters
from napari_kmeans.viewer.to_layers.layer_classes import classes_of
from napari_kmeans.viewer.to_layers.layers import labels_layer
from napari_kmeans.viewer.to_layers.update import update_layer


def labels_of(image, n_clusters=4, **place):
    return segment_layer(Image(image, name="picture", rgb=True, **place), n_clusters)[0]


def colors_of(layer):
    return {label: tuple(color) for label, color in layer.colormap.color_dict.items()}


def state_of(layer):
    """Return the data, the colors and the table of a layer."""
    return np.array(layer.data), colors_of(layer), layer.features.copy()


def assert_state(layer, state):
    data, colors, features = state
    np.testing.assert_array_equal(layer.data, data)
    assert layer.data.dtype == data.dtype
    assert colors_of(layer) == colors
    pd.testing.assert_frame_equal(layer.features, features)


@pytest.fixture
def layer(quadrants):
    return labels_of(quadrants)


@pytest.fixture
def clusters(layer):
    return Clusters(layer)


# ------------------------------------------------------- several lists of a layer


def test_every_event_of_an_edit_shows_the_new_classes(layer, clusters):
    other = Clusters(layer)
    seen = []
    for event in (layer.events.data, layer.events.features, layer.events.colormap):
        event.connect(lambda: seen.append(classes_of(layer).center_labels.tolist()))
    clusters.merge([2, 3])
    assert len(seen) >= 3
    assert all(labels == [1, 2, 2, 4] for labels in seen)
    assert other.classes == clusters.classes
    other.rename(1, "soil")
    assert clusters.classes == other.classes
    assert clusters.classes.center_labels.tolist() == [1, 2, 2, 4]
    clusters.set_color(4, "#ff0000")
    assert other.classes == clusters.classes
    assert [each.name for each in classes_of(layer)] == ["soil", "", ""]
    clusters.undo()
    assert other.classes == clusters.classes
    assert [each.color for each in other.classes] == [None] * 3


# ------------------------------------------------------------------- merging


def test_merged_cluster_has_the_pixels_and_the_mean_of_its_parts(quadrants):
    image = quadrants.copy()
    image[0] = image[19, 20]
    layer = labels_of(image)
    before = layer.data.copy()
    assert Clusters(layer).merge([4, 1, 2]) == 1
    inside = np.isin(before, [1, 2, 4])
    np.testing.assert_array_equal(layer.data, np.where(inside, 1, before))
    assert layer.features["index"].tolist() == [1, 3]
    row = layer.features.iloc[0]
    assert row["pixels"] == inside.sum()
    assert row["percent"] == pytest.approx(100 * inside.mean())
    for channel, name in enumerate(("red", "green", "blue")):
        assert row[f"mean {name}"] == pytest.approx(image[inside, channel].mean())
    shown = np.array(colors_of(layer)[1])
    np.testing.assert_allclose(255 * shown[:3], image[inside].mean(axis=0), atol=0.5)
    assert shown[3] == 1
    assert row["color"] == "#{:02x}{:02x}{:02x}".format(*np.rint(255 * shown[:3]).astype(int))
    assert set(colors_of(layer)) == {None, 0, 1, 3}


@pytest.mark.parametrize("gamma", [1, 0.4])
def test_merged_cluster_has_the_color_that_apply_shows(gamma):
    picture = np.random.default_rng(0).integers(0, 256, (30, 31, 3)).astype(np.uint8)
    image = Image(picture, rgb=True, gamma=gamma, contrast_limits=(20, 200))
    source = Source.of(image)
    seg = segment(picture, 12, rgb=True)
    layer = labels_layer(seg, source)
    clusters = Clusters(layer, source, seg.model)
    for group in ([1, 2, 5], [3, 9], [4, 12], [6, 7, 8, 11]):
        clusters.merge(group)
    model = seg.model.with_classes(classes_of(layer))
    applied = labels_layer(ApplyWork(model, source).run(), source)
    assert layer.features["color"].tolist() == applied.features["color"].tolist()
    np.testing.assert_array_equal(applied.data, layer.data)
    # The gray level of the mean of the pixels, by hand.
    mean = np.rint(picture[layer.data == clusters.labels[0]].mean(axis=0))
    expected = np.clip((mean - 20) / 180, 0, 1) ** gamma
    np.testing.assert_allclose(clusters.color(clusters.labels[0])[:3], expected, atol=1e-6)


def test_edited_tables_have_the_columns_of_applied_tables(layer, clusters, quadrants):
    source = Source.of(Image(quadrants, rgb=True))
    plain = list(layer.features)
    clusters.ignore([2])
    clusters.rename(1, "soil")
    clusters.merge([3, 4])
    model = segment(quadrants, 4, rgb=True).model.with_classes(classes_of(layer))
    applied = labels_layer(ApplyWork(model, source).run(), source).features
    assert list(layer.features) == list(applied)
    means = mean_columns(applied)
    np.testing.assert_allclose(layer.features[means], applied[means])
    assert list(layer.features)[:5] == ["index", "pixels", "percent", "area", "unit"]
    assert list(layer.features)[5:7] == ["name", "ignored"]
    clusters.rename(1, "")
    clusters.ignore([2], False)
    assert list(layer.features) == plain


def test_merge_is_that_of_the_class_scheme(clusters, layer):
    for label, name in ((1, "a"), (2, "b"), (4, "a")):
        clusters.rename(label, name)
    clusters.set_color(1, "#ff0080")
    clusters.ignore([2])
    before = classes_of(layer)
    # 2 is ignored and larger than 1.
    assert clusters.merge([4, 2, 1]) == 1
    assert classes_of(layer) == before.merge([1, 2, 4])
    row = layer.features.set_index("index").loc[1]
    assert (row["name"], row["color"], clusters.is_ignored(1)) == ("a + b", "#ff0080", False)
    assert layer.features["percent"].sum() == pytest.approx(100)


def test_merge_into_an_ignored_cluster_is_ignored(clusters, layer):
    clusters.ignore([1])
    assert clusters.merge([1, 4]) == 1
    assert classes_of(layer)[1].ignored
    assert not clusters.is_shown(1)
    assert np.isnan(layer.features["percent"][0])
    assert layer.features["percent"][1:].sum() == pytest.approx(100)


def test_merge_of_a_model_of_another_fit_has_the_color_of_the_model(quadrants):
    model = segment(quadrants, 4, rgb=True).model
    image = quadrants[:, :9]
    source = Source.of(Image(image, rgb=True))
    layer = labels_layer(ApplyWork(model, source).run(), source)
    clusters = Clusters(layer, source, model)
    clusters.merge([1, 4])
    mean = quadrants[np.isin(model.predict(quadrants), [1, 4])].mean(axis=0)
    np.testing.assert_allclose(255 * clusters.color(1)[:3], np.rint(mean), atol=1e-4)


@pytest.mark.parametrize("text", ["two\nlines", "a" * 383, "tab\tbed"])
def test_names_are_the_same_everywhere(clusters, layer, text):
    clusters.rename(1, text)
    clusters.rename(2, text[::-1])
    clusters.merge([1, 2])
    name = classes_of(layer)[1].name
    assert clusters.name(1) == layer.features["name"][0] == name
    assert "\n" not in name
    assert "\t" not in name
    assert len(name) <= 200


def test_merged_cluster_is_hidden_only_if_all_its_parts_are(clusters):
    clusters.show([1, 4], False)
    assert clusters.merge([1, 4]) == 1
    assert not clusters.is_shown(1)
    clusters.merge([1, 2])
    assert clusters.is_shown(1)


def test_merge_joins_names(clusters, layer):
    clusters.rename(1, "nuclei")
    clusters.rename(4, "cells")
    clusters.merge([1, 2, 4])
    assert clusters.name(1) == "nuclei + cells"
    assert layer.features["name"].tolist() == ["nuclei + cells", ""]


def test_lazy_labels_are_merged_when_they_are_viewed(quadrants, quadrant_labels):
    computed = []

    def load(block):
        computed.append(1)
        return block

    layer = labels_of(quadrants)
    lazy = da.from_array(layer.data, chunks=(7, 9)).map_blocks(load, dtype=layer.data.dtype)
    layer.data = lazy
    clusters = Clusters(layer)
    computed.clear()
    with layer._block_refresh():
        assert clusters.merge([1, 4]) == 1
        assert not computed
    expected = np.where(quadrant_labels == 4, 1, quadrant_labels)
    assert isinstance(layer.data, da.Array)
    assert layer.data.dtype == lazy.dtype
    np.testing.assert_array_equal(layer.data.compute(), expected)
    clusters.undo()
    assert layer.data is lazy
    clusters.redo()
    np.testing.assert_array_equal(layer.data.compute(), expected)


@pytest.mark.parametrize("make", [np.asarray, da.from_array])
def test_merge_and_undo_change_all_levels(quadrants, make):
    levels = [make(quadrants), make(quadrants[::2, ::2])]
    labels, _ = segment_layer(Image(levels, multiscale=True, rgb=True), 4)
    before = [np.array(level) for level in labels.data]
    clusters = Clusters(labels)
    kept = clusters.merge([1, 3])
    for level, old in zip(labels.data, before, strict=True):
        np.testing.assert_array_equal(level, np.where(np.isin(old, [1, 3]), kept, old))
    clusters.undo()
    for level, old in zip(labels.data, before, strict=True):
        np.testing.assert_array_equal(level, old)


def test_merged_labels_are_recorded_in_the_metadata(clusters, layer):
    assert [clusters.merge(pair) for pair in ([1, 4], [3, 2], [2, 1])] == [1, 2, 1]
    assert clusters.joined == {4: 1, 2: 1, 3: 1}
    clusters.undo()
    assert clusters.joined == {4: 1, 3: 2}
    assert joined_labels(layer) == clusters.joined


def test_ignored_cluster_is_hidden_and_does_not_count(clusters, layer):
    before = state_of(layer)
    pixels = before[2]["pixels"].to_numpy()
    clusters.ignore([1, 3])
    assert layer.features["ignored"].tolist() == [True, False, True, False]
    shares = 100 * pixels / (pixels[1] + pixels[3])
    np.testing.assert_allclose(layer.features["percent"], [np.nan, shares[1], np.nan, shares[3]])
    assert [clusters.is_shown(label) for label in (1, 2, 3, 4)] == [False, True, False, True]
    assert np.isnan(clusters.percent([1, 3]))
    assert clusters.percent([1, 2]) == pytest.approx(shares[1])
    np.testing.assert_array_equal(layer.data, before[0])
    # A merge of an ignored cluster into a larger one counts its pixels.
    clusters.ignore([1, 3], False)
    assert_state(layer, before)
    clusters.undo()
    assert clusters.is_ignored(3)
    clusters.undo()
    assert_state(layer, before)


def test_edits_change_the_recorded_classes(clusters, layer):
    clusters.rename(2, "a\nb")
    clusters.ignore([3])
    kept = clusters.merge([2, 4])
    classes = classes_of(layer)
    assert classes == ClassScheme.of_centers(4).rename(2, "a b").ignore(3).merge([kept, 6 - kept])
    clusters.set_color(1, "red")
    assert classes_of(layer) == classes.recolor(1, "#ff0000")
    gone = clusters.merge([kept, 1])
    merged = classes_of(layer)
    assert merged[gone].color == clusters.hex_color(gone)
    for _ in range(5):
        clusters.undo()
    assert classes_of(layer).is_unedited


def test_classes_of_a_layer_of_0_1_0_have_its_merges_and_names():
    path = Path(__file__).parents[2] / "promises" / "written_by_0_1_0" / "labels-layer.json"
    written = json.loads(path.read_text())
    metadata = written["metadata"]
    metadata["napari-kmeans"]["joined"] = {3: 2}
    features = pd.DataFrame(written["features"]).drop(index=2).reset_index(drop=True)
    features["name"] = ["", "soil", "sky"]
    layer = Labels(np.array(written["data"]), metadata=metadata, features=features)
    expected = ClassScheme.of_centers(4).merge([2, 3]).rename(2, "soil").rename(4, "sky")
    assert classes_of(layer) == expected
    Clusters(layer).rename(1, "ink")
    assert classes_of(layer) == expected.rename(1, "ink")


def test_layer_without_a_model_has_no_classes(quadrant_labels, layer):
    other = Labels(quadrant_labels, features=layer.features.drop(columns="color"))
    clusters = Clusters(other)
    clusters.rename(1, "ink")
    clusters.ignore([2])
    assert classes_of(other) is None
    assert other.features["name"][0] == "ink"


@pytest.mark.parametrize("labels", [[], [2], [2, 2]])
def test_merge_refuses_fewer_than_two_labels(clusters, labels):
    with pytest.raises(ValueError, match="labels must be at least two clusters, got"):
        clusters.merge(labels)


@pytest.mark.parametrize("edit", ["merge", "rename", "set_color"])
def test_edit_of_a_missing_label_raises_and_changes_nothing(clusters, layer, edit):
    before = state_of(layer)
    arguments = {"merge": [[1, 9]], "rename": [9, "x"], "set_color": [9, "red"]}[edit]
    with pytest.raises(ValueError, match=r"label must be one of \[1, 2, 3, 4\], got 9"):
        getattr(clusters, edit)(*arguments)
    assert_state(layer, before)
    assert not clusters.can_undo


# ------------------------------------------------------------ undo and redo


def test_undo_and_redo_restore_every_edit_exactly(clusters, layer):
    edits = [
        lambda: clusters.rename(2, "red cells"),
        lambda: clusters.set_color(3, "#00ff80"),
        lambda: clusters.show([1, 3], False),
        lambda: clusters.merge([1, 2, 4]),
        lambda: clusters.show([3]),
        lambda: clusters.merge([1, 3]),
    ]
    states = [state_of(layer)]
    for edit in edits:
        edit()
        states.append(state_of(layer))
    for state in states[-2::-1]:
        clusters.undo()
        assert_state(layer, state)
    assert not clusters.can_undo
    clusters.undo()
    for state in states[1:]:
        clusters.redo()
        assert_state(layer, state)
    assert not clusters.can_redo
    clusters.redo()
    assert_state(layer, states[-1])


def test_edit_clears_the_redo_history(clusters):
    clusters.rename(1, "a")
    clusters.undo()
    assert clusters.can_redo
    clusters.rename(1, "b")
    assert not clusters.can_redo


def test_undo_of_a_merge_keeps_pixels_painted_since(clusters, layer, quadrant_labels):
    clusters.merge([2, 4])
    layer.data[15, 15] = 3
    layer.data[0, 0] = 2
    clusters.undo()
    expected = quadrant_labels.copy()
    expected[15, 15], expected[0, 0] = 3, 2
    np.testing.assert_array_equal(layer.data, expected)


def test_merge_does_not_change_the_array_of_the_run(clusters, layer):
    data, before = layer.data, layer.data.copy()
    clusters.merge([1, 2])
    np.testing.assert_array_equal(data, before)


def test_number_of_edits_to_undo_is_limited(clusters):
    for number in range(MAX_EDITS + 5):
        clusters.rename(1, f"name {number}")
    undone = 0
    while clusters.can_undo:
        clusters.undo()
        undone += 1
    assert undone == MAX_EDITS
    assert clusters.name(1) == "name 4"


def test_call_without_a_change_is_no_edit(clusters):
    clusters.rename(1, "")
    clusters.show([1, 2])
    assert not clusters.can_undo


# ------------------------------------------------------------- colors


def test_set_color_changes_the_colormap_and_the_table(clusters, layer):
    others = {label: color for label, color in colors_of(layer).items() if label != 2}
    clusters.set_color(2, (1, 0.5, 0))
    assert colors_of(layer) == {**others, 2: (1, 0.5, 0, 1)}
    assert layer.features["color"][1] == clusters.hex_color(2) == "#ff8000"
    clusters.set_color(2, "blue")
    assert layer.features["color"][1] == "#0000ff"


def test_hidden_cluster_keeps_its_color(clusters, layer):
    before = state_of(layer)
    clusters.show([2, 3], False)
    assert [clusters.is_shown(label) for label in (1, 2, 3, 4)] == [True, False, False, True]
    colors = colors_of(layer)
    assert colors[2] == (*before[1][2][:3], 0)
    clusters.set_color(3, "red")
    assert not clusters.is_shown(3)
    clusters.show([2])
    assert colors_of(layer)[2] == before[1][2]


def test_show_restores_the_alpha_before_hiding(clusters, layer):
    layer.colormap = {**layer.colormap.color_dict, 2: (0.1, 0.2, 0.3, 0.4)}
    clusters.show([2], False)
    clusters.show([2])
    np.testing.assert_allclose(colors_of(layer)[2], (0.1, 0.2, 0.3, 0.4))


def test_colors_of_a_cyclic_colormap_are_kept(clusters, layer):
    layer.new_colormap(seed=3)
    mapped = layer.colormap.map(np.arange(5))
    layer.show_selected_label = True
    np.testing.assert_allclose(clusters.color(3), mapped[3])
    layer.show_selected_label = False
    clusters.set_color(2, "white")
    for label in (1, 3, 4):
        np.testing.assert_allclose(colors_of(layer)[label], mapped[label])
    assert colors_of(layer)[2] == (1, 1, 1, 1)
    assert colors_of(layer)[0][3] == 0


# ------------------------------------------------------------ highlighting


def test_highlight_fades_other_clusters_until_it_ends(clusters, layer):
    before, colormap = state_of(layer), layer.colormap
    clusters.show([4], False)
    clusters.undo()
    clusters.highlight([2, 3])
    colors = colors_of(layer)
    assert {label: colors[label] for label in (0, 2, 3)} == {
        label: before[1][label] for label in (0, 2, 3)
    }
    # Labels that are no cluster fade too.
    assert colors[None] != before[1][None]
    for label in (1, 4):
        np.testing.assert_allclose(colors[label][:3], 1, atol=0.15)
        assert colors[label][3] == before[1][label][3]
    clusters.highlight([])
    assert layer.colormap is colormap
    assert_state(layer, before)
    assert not clusters.can_undo


def test_hidden_clusters_stay_hidden_during_a_highlight(clusters, layer):
    clusters.show([3], False)
    clusters.highlight([1])
    assert colors_of(layer)[3][3] == 0


def test_edits_during_a_highlight_change_the_original_colors(clusters, layer):
    clusters.highlight([2])
    clusters.set_color(1, "red")
    assert clusters.hex_color(1) == "#ff0000"
    assert colors_of(layer)[1] != (1, 0, 0, 1)
    assert clusters.merge([1, 2]) == 1
    clusters.undo()
    clusters.highlight([])
    assert colors_of(layer)[1] == (1, 0, 0, 1)


def test_highlight_keeps_show_selected_label(clusters, layer):
    clusters.highlight([2])
    layer.selected_label = 3
    layer.show_selected_label = True
    clusters.highlight([])
    assert layer.colormap.use_selection
    assert layer.colormap.selection == 3


def test_two_objects_can_share_a_layer(clusters, layer):
    colormap, other = layer.colormap, Clusters(layer)
    clusters.highlight([2])
    assert other.hex_color(1) == clusters.hex_color(1)
    other.highlight([1])
    assert clusters.highlighted == frozenset()
    other.highlight([])
    assert layer.colormap is colormap


# -------------------------------------------------- changes made elsewhere


def test_new_run_replaces_clusters_and_clears_the_undo_history(clusters, layer, quadrants):
    calls = []
    clusters.events.changed.connect(calls.append)
    clusters.highlight([4])
    clusters.merge([1, 2])
    calls.clear()
    result = labels_of(quadrants, 3)
    update_layer(layer, result)
    assert calls
    assert clusters.labels == [1, 2, 3]
    assert clusters.hex_color(3) == result.features["color"][2]
    assert clusters.highlighted == frozenset()
    assert not clusters.can_undo
    assert colors_of(layer) == colors_of(result)


def test_new_table_drops_missing_labels_from_the_highlight(clusters, layer):
    before = colors_of(layer)
    clusters.highlight([2, 4])
    layer.features = layer.features.iloc[:3]
    assert clusters.labels == [1, 2, 3]
    assert clusters.highlighted == frozenset([2])
    clusters.highlight([])
    assert colors_of(layer) == before


def test_no_event_after_disconnect(clusters, layer):
    calls = []
    clusters.events.changed.connect(calls.append)
    clusters.disconnect()
    layer.features = layer.features.iloc[:2]
    layer.scale = (3, 3)
    layer.colormap = {None: "red", 0: "blue"}
    assert not calls


def test_layer_without_a_table_has_no_clusters(quadrant_labels):
    assert Clusters(Labels(quadrant_labels)).labels == []
    features = {"index": [1, 2], "area": [3.0, 4.0]}
    assert Clusters(Labels(quadrant_labels, features=features)).labels == []
