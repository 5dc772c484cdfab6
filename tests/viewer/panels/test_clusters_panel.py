"""The panel *Clusters* splits clusters again, in every kind of layer."""

from __future__ import annotations

import contextlib

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from skimage import data

from napari_kmeans import KMeansModel, segment
from napari_kmeans.cli.main import main

COFFEE = data.coffee()[:160, :200]
FLOATS = COFFEE / 255.0


def add_rgb(viewer):
    return viewer.add_image(COFFEE, name="picture", rgb=True)


def add_dask(viewer):
    return viewer.add_image(da.from_array(COFFEE, chunks=(50, 70, 3)), name="picture", rgb=True)


def add_multiscale(viewer):
    levels = [COFFEE, COFFEE[::2, ::2], COFFEE[::4, ::4]]
    return viewer.add_image(levels, name="picture", rgb=True, multiscale=True)


def add_lazy_multiscale(viewer):
    levels = [da.from_array(each, chunks=64) for each in (FLOATS, FLOATS[::2, ::2])]
    return viewer.add_image(levels, name="picture", rgb=True, multiscale=True)


def add_volume(viewer):
    volume = np.stack([COFFEE[..., 0], COFFEE[..., 1], COFFEE[..., 2]])
    return viewer.add_image(volume.astype(np.float32), name="picture")


def add_alpha(viewer):
    alpha = np.full((160, 200, 1), 255, np.uint8)
    alpha[:40] = 0
    return viewer.add_image(np.concatenate([COFFEE, alpha], axis=-1), name="picture", rgb=True)


def add_channels(viewer):
    for number in range(3):
        viewer.add_image(COFFEE[..., number], name=f"channel {number}")
    viewer.layers.selection = set(viewer.layers)
    return viewer.layers["channel 0"]


KINDS = [
    *(add_rgb, add_dask, add_multiscale, add_lazy_multiscale, add_volume, add_alpha),
    add_channels,
]


@pytest.fixture
def run(viewer, open_dock, finish):
    """Return a function that clusters an image in the dock, and returns dock and panel."""

    def run_it(add, n_clusters=6, **fields):
        image = add(viewer)
        dock = open_dock()
        dock.image.value = image
        dock.together.value = add is add_channels
        for name, value in {"n_clusters": n_clusters, **fields}.items():
            getattr(dock, name).value = value
        dock.run()
        finish(dock)
        return dock, dock.folds["clusters"].open()

    return run_it


@pytest.fixture
def split(qtbot):
    """Return a function that splits a cluster as a user does, and waits for the end."""

    def split_it(panel, label):
        panel.list.select([label])
        assert panel.list.split_action.isEnabled(), panel.list.split_action.toolTip()
        panel.list.split_action.trigger()
        qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)
        panel.list.select([])

    return split_it


def levels_of(layer):
    """Return a copy of the pixels of each level of a layer."""
    levels = layer.data if layer.multiscale else [layer.data]
    return [np.array(level) for level in levels]


def state_of(dock):
    """Return copies of everything that an edit of the clusters changes."""
    result = dock.result
    colors = {label: tuple(c) for label, c in result.labels.colormap.color_dict.items() if label}
    images = [levels_of(layer) for layer in (result.labels, *result.recolored)]
    return images, result.labels.features.copy(), colors, result.model.classes


def check_same(state, expected):
    for one, two in zip(state[0], expected[0], strict=True):
        for level, other in zip(one, two, strict=True):
            np.testing.assert_array_equal(level, other)
    assert state[1].equals(expected[1])
    assert state[2] == expected[2]
    assert state[3] == expected[3]


@pytest.mark.parametrize("add", KINDS)
def test_split_is_the_reverse_of_a_merge_by_hand(add, run, split):
    dock, panel = run(add)
    before = state_of(dock)
    kept = panel.list.merge([2, 3, 5])
    merged = state_of(dock)
    assert merged[1]["index"].tolist() == sorted({1, 4, 6, kept})
    lazy = type(dock.result.labels.data)
    split(panel, kept)
    check_same(state_of(dock), before)
    assert type(dock.result.labels.data) is lazy
    panel.list.undo()
    check_same(state_of(dock), merged)
    panel.list.redo()
    check_same(state_of(dock), before)
    panel.list.undo()
    panel.list.undo()
    check_same(state_of(dock), before)


@pytest.mark.parametrize("add", KINDS)
def test_classes_merged_by_merge_similar_are_split_in_all_layers(add, run, split):
    dock, panel = run(add)
    before = state_of(dock)
    merge = dock.folds["merge"].open()
    merge.min_share.value = merge.min_share.max
    merged = state_of(dock)
    assert len(merged[1]) == 1
    split(panel, 1)
    check_same(state_of(dock), before)
    panel.list.undo()
    check_same(state_of(dock), merged)
    panel.list.redo()
    # *Merge similar* goes on from the clusters after the split.
    merge.min_share.value = merge.min_share.max - 1
    assert len(dock.result.labels.features) == 1
    merge.min_share.value = 0
    assert len(dock.result.labels.features) == 6
    check_same(state_of(dock)[:1] + before[1:], before)


@pytest.mark.parametrize("add", [add_rgb, add_dask, add_multiscale])
def test_blurred_and_masked_clusters_are_split(add, viewer, run, split):
    mask = np.zeros((160, 200), np.uint8)
    mask[20:150, 30:] = 1
    mask = viewer.add_labels(mask, name="mask")
    dock, panel = run(add, blur=2.0, mask=mask)
    before = state_of(dock)
    split(panel, panel.list.merge([1, 2, 3]))
    check_same(state_of(dock), before)


def test_only_the_clustered_slice_changes(viewer, run, split):
    def add(viewer):
        return viewer.add_image(np.stack([COFFEE[..., 0], COFFEE[::-1, :, 1]]), name="picture")

    dock, panel = run(add, stack="this")
    first = viewer.dims.current_step[0]
    labels = np.array(dock.result.labels.data)
    assert labels[1 - first].max() == 0
    kept = panel.list.merge([1, 2])
    dock.result.labels.data_setitem((np.array([1 - first]), np.array([5]), np.array([6])), kept)
    split(panel, kept)
    np.testing.assert_array_equal(dock.result.labels.data[first], labels[first])
    assert dock.result.labels.data[1 - first, 5, 6] == kept
    assert np.count_nonzero(dock.result.labels.data[1 - first]) == 1


def test_undo_of_a_split_changes_no_other_slice(viewer, run, finish, split_anew):
    def add(viewer):
        return viewer.add_image(np.stack([COFFEE[..., 0], COFFEE[::-1, :, 1]]), name="picture")

    viewer.dims.set_point(0, 0)
    dock, panel = run(add, stack="this")
    viewer.dims.set_point(0, 1)
    dock.n_clusters.value = 3
    dock.run()
    finish(dock)
    before = state_of(dock)
    assert np.unique(before[0][0][0][0]).tolist() == [1, 2, 3, 4, 5, 6]
    split_anew(panel, 2, 3)
    after = state_of(dock)
    np.testing.assert_array_equal(after[0][0][0][0], before[0][0][0][0])
    assert np.unique(after[0][0][0][1]).tolist() == [1, 2, 3, 4, 5]
    panel.list.undo()
    check_same(state_of(dock), before)
    panel.list.redo()
    check_same(state_of(dock), after)


@pytest.mark.parametrize("add", [add_rgb, add_multiscale])
def test_new_clusters_get_labels_that_no_pixel_has(add, run, split, split_anew):
    dock, panel = run(add, n_clusters=4)
    layer = dock.result.labels
    stroke = (np.array([0, 0, 0]), np.array([0, 1, 2]))
    (layer.data[0] if layer.multiscale else layer.data)[stroke] = 5
    before = levels_of(layer)
    split_anew(panel, 2, 2)
    labels = layer.features["index"].tolist()
    assert 5 not in labels
    assert len(labels) == 5
    assert [each.label for each in dock.result.model.classes] == labels
    np.testing.assert_array_equal(levels_of(layer)[0] == 5, before[0] == 5)
    panel.list.undo()
    for now, earlier in zip(levels_of(layer), before, strict=True):
        np.testing.assert_array_equal(now, earlier)
    kept = panel.list.merge([1, 4])
    (layer.data[0] if layer.multiscale else layer.data)[stroke] = {1: 4, 4: 1}[kept]
    merged = levels_of(layer)
    split(panel, kept)
    assert not {4, 1} <= {*layer.features["index"]}
    panel.list.undo()
    for now, earlier in zip(levels_of(layer), merged, strict=True):
        np.testing.assert_array_equal(now, earlier)


def test_undo_and_redo_of_a_split_keep_later_strokes(run, split):
    dock, panel = run(add_rgb)
    labels = dock.result.labels
    original = np.array(labels.data)
    kept = panel.list.merge([2, 3])
    split(panel, kept)
    places = {
        # (label before the split, painted): the label after the undo
        (2, 3): kept,
        (3, 2): kept,
        (2, 6): 6,
        (6, 3): 3,
    }
    after, undone = original.copy(), np.where(np.isin(original, [2, 3]), kept, original)
    for (old, new), expected in places.items():
        stroke = tuple(np.argwhere((original == old) & (after == old))[:20].T)
        labels.data[stroke] = new
        after[stroke], undone[stroke] = new, expected
    np.testing.assert_array_equal(np.array(labels.data), after)
    panel.list.undo()
    np.testing.assert_array_equal(np.array(labels.data), undone)
    panel.list.redo()
    np.testing.assert_array_equal(np.array(labels.data), after)
    panel.list.undo()
    np.testing.assert_array_equal(np.array(labels.data), undone)


def test_pixels_painted_by_hand_keep_their_labels(run, split):
    dock, panel = run(add_rgb)
    labels = dock.result.labels
    original = np.array(labels.data)
    kept = panel.list.merge([2, 3])
    other = np.flatnonzero((original != 2) & (original != 3))[:50]
    inside = np.flatnonzero((original == 2) | (original == 3))[:50]
    rows = [np.unravel_index(each, original.shape) for each in (other, inside)]
    labels.data_setitem(rows[0], kept)
    labels.data_setitem(rows[1], 6)
    split(panel, kept)
    expected = original.copy()
    # The color of these pixels is not of the class: the part with its label keeps them.
    expected[rows[0]], expected[rows[1]] = kept, 6
    np.testing.assert_array_equal(labels.data, expected)
    counts = np.bincount(expected.ravel(), minlength=7)
    assert labels.features["pixels"].tolist() == counts[labels.features["index"]].tolist()
    panel.list.undo()
    expected[(original == 2) | (original == 3)] = kept
    expected[rows[1]] = 6
    np.testing.assert_array_equal(labels.data, expected)


def test_rows_of_the_parts_keep_columns_of_the_user(run, split):
    dock, panel = run(add_rgb)
    labels = dock.result.labels
    labels.features = labels.features.assign(note=list("abcdef"))
    panel.list.merge([1, 4])
    panel.list.select([1 if 1 in labels.features["index"].tolist() else 4])
    (kept,) = panel.list.selected
    panel.list.ignore_action.trigger()
    panel.list._clusters.rename(kept, "soil")
    note = labels.features.set_index("index")["note"][kept]
    split(panel, kept)
    table = labels.features.set_index("index")
    assert table["note"][[1, 4]].tolist() == [note, note]
    assert table["name"].tolist() == [""] * 6
    assert table["ignored"].tolist() == [True, False, False, True, False, False]
    counts = np.bincount(np.ravel(labels.data), minlength=7)[1:]
    assert table["pixels"].tolist() == counts.tolist()
    counted = counts[[1, 2, 4, 5]]
    np.testing.assert_allclose(table["percent"].dropna(), 100 * counted / counted.sum())
    assert [labels.colormap.color_dict[label][3] for label in (1, 2, 4)] == [0, 1, 0]


def test_edit_during_the_split_is_not_lost(run, finish_work):
    dock, panel = run(add_rgb)
    kept = panel.list.merge([2, 3])
    panel.split(kept)
    assert "is being split" in panel.list.split_problem
    panel.list._clusters.rename(kept, "soil")
    state = state_of(dock)
    finish_work(panel)
    check_same(state_of(dock), state)
    assert "have changed in the meantime" in notification_manager.records[-1].message
    # A stroke is no edit of the classes.
    stroke = np.argwhere(np.asarray(dock.result.labels.data) == kept)[:50].T
    panel.split(kept)
    dock.result.labels.data_setitem(tuple(stroke), 6)
    finish_work(panel)
    assert (dock.result.labels.data[tuple(stroke)] == 6).all()
    assert len(dock.result.labels.features) == 6


def replace_pixels(labels):
    labels.data = np.zeros((10, 10), np.uint8)


def remove_row(labels):
    labels.features = labels.features.drop(index=1).reset_index(drop=True)


def remove_table(labels):
    labels.features = labels.features.drop(columns="index")


@pytest.mark.parametrize("edit", [replace_pixels, remove_row, remove_table])
def test_layer_that_a_script_edits_during_the_split_stays(edit, run, finish_work):
    dock, panel = run(add_rgb, n_clusters=3)
    labels = dock.result.labels
    panel.split_anew(2, 2)
    edit(labels)
    pixels, table = np.array(labels.data), labels.features.copy()
    finish_work(panel)
    assert "have changed in the meantime" in notification_manager.records[-1].message
    np.testing.assert_array_equal(labels.data, pixels)
    # Replaced pixels are counted again.
    stay = [name for name in ("index", "unit", "color") if name in table]
    assert labels.features[stay].equals(table[stay])
    assert not panel.list._clusters.can_undo


def test_split_needs_the_layers_but_not_the_image(viewer, run, split):
    dock, panel = run(add_rgb)
    before = state_of(dock)
    kept = panel.list.merge([2, 3])
    viewer.layers.remove("picture")
    split(panel, kept)
    check_same(state_of(dock), before)


def test_button_is_disabled_with_the_reason(viewer, run, finish):
    def add(viewer):
        return viewer.add_image(np.stack([COFFEE[..., 0], COFFEE[..., 1]]), name="picture")

    dock, panel = run(add, n_clusters=3)
    action = panel.list.split_action
    assert not action.isEnabled()
    assert "Select one cluster" in action.toolTip()
    panel.list.select([2])
    assert not action.isEnabled()
    assert "This cluster has one center" in action.toolTip()
    panel.list.select([panel.list.merge([1, 2])])
    assert action.isEnabled()
    assert "merged into it" in action.toolTip()
    with pytest.raises(ValueError, match="which has one: choose a merged class"):
        panel.split(3)
    dock.stack.value = "each"
    dock.run()
    finish(dock)
    panel.list.select([1])
    assert not action.isEnabled()
    assert "Each slice has a model of its own" in action.toolTip()
    with pytest.raises(ValueError, match="Each slice has a model"):
        panel.split(1)
    viewer.layers.remove(dock.result.labels)
    with pytest.raises(ValueError, match="No clusters yet: run"):
        panel.split(1)


@pytest.mark.window
def test_script_of_a_split_result_gives_its_labels(viewer, run, split, tmp_path):
    dock, panel = run(add_rgb)
    merge = dock.folds["merge"].open()
    merge.min_share.value = merge.min_share.max
    split(panel, 1)
    np.save(tmp_path / "image.npy", COFFEE)

    def results():
        script = dock.folds["export"].open().script()
        space = {}
        exec(script.replace('"image.npy"', repr(str(tmp_path / "image.npy"))), space)
        return space

    np.testing.assert_array_equal(results()["labels"], dock.result.labels.data)
    np.testing.assert_array_equal(results()["recolored"], dock.result.recolored[0].data)
    seg = segment(COFFEE, 6, rgb=True, random_state=0)
    np.testing.assert_array_equal(results()["recolored"], seg.recolored)
    panel.list.merge([1, 2])
    np.testing.assert_array_equal(results()["labels"], dock.result.labels.data)


@pytest.fixture
def split_anew(qtbot):
    """Return a function that clusters a cluster anew as a user does, and waits for the end."""

    def split_it(panel, label, n_parts):
        panel.list.select([label])
        panel.list.n_parts.setValue(n_parts)
        assert panel.list.split_anew_action.isEnabled()
        panel.list.split_anew_action.trigger()
        qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)
        assert set(panel.list.selected) > {label}
        panel.list.select([])

    return split_it


@pytest.mark.parametrize("add", KINDS)
def test_cluster_is_clustered_anew_inside_itself(add, viewer, run, split_anew):
    dock, panel = run(add, n_clusters=4)
    before, model = state_of(dock), dock.result.model
    split_anew(panel, 2, 3)
    after = state_of(dock)
    assert after[1]["index"].tolist() == [1, 2, 3, 4, 5, 6]
    parts, rest = [2, 5, 6], [1, 3, 4]
    for level, (new, old) in enumerate(zip(after[0][0], before[0][0], strict=True)):
        np.testing.assert_array_equal(new[old != 2], old[old != 2])
        assert set(np.unique(new[old == 2])) == {*parts}
        for now, earlier in zip(after[0][1:], before[0][1:], strict=True):
            np.testing.assert_array_equal(now[level][old != 2], earlier[level][old != 2])
    # Counts, means and colors of the table, from the pixels.
    counts = np.bincount(after[0][0][0].ravel(), minlength=7)[1:]
    assert after[1]["pixels"].tolist() == counts.tolist()
    table, earlier = after[1].set_index("index"), before[1].set_index("index")
    assert table.loc[rest].equals(earlier.loc[rest])
    assert table.loc[parts, "percent"].sum() == pytest.approx(earlier["percent"][2])
    means = [name for name in table if name.startswith("mean ")]
    weighted = counts[[1, 4, 5]] @ table.loc[parts, means].to_numpy() / counts[[1, 4, 5]].sum()
    np.testing.assert_allclose(weighted, earlier.loc[2, means].to_numpy(float), rtol=1e-6)
    if add is not add_channels:
        # The sum of several channels may be white.
        assert len({after[2][label] for label in range(1, 7)}) == 6
    # The model gives the labels of the layer, undo gives back the model of the run.
    image = levels_of(viewer.layers["picture"])[0] if add is not add_channels else COFFEE
    np.testing.assert_array_equal(dock.result.model.predict(image), after[0][0][0])
    panel.list.undo()
    check_same(state_of(dock), before)
    assert dock.result.model.to_dict() == model.to_dict()
    panel.list.redo()
    check_same(state_of(dock), after)
    # A part is split once more, and merged parts are split again.
    split_anew(panel, 5, 2)
    np.testing.assert_array_equal(
        dock.result.model.predict(image), levels_of(dock.result.labels)[0]
    )


@pytest.mark.parametrize("add", [add_rgb, add_dask, add_multiscale])
def test_blurred_and_masked_cluster_is_clustered_anew(add, viewer, run, split, split_anew):
    mask = np.zeros((160, 200), np.uint8)
    mask[20:150, 30:] = 1
    layer = viewer.add_labels(mask, name="mask")
    dock, panel = run(add, blur=2.0, mask=layer)
    before = levels_of(dock.result.labels)
    split_anew(panel, 3, 2)
    after = state_of(dock)
    for new, old in zip(after[0][0], before, strict=True):
        np.testing.assert_array_equal(new[old != 3], old[old != 3])
        assert set(np.unique(new[old == 3])) == {3, 7}
    np.testing.assert_array_equal(dock.result.model.predict(COFFEE, mask=mask), after[0][0][0])
    split(panel, panel.list.merge([3, 7, 1]))
    assert sorted(state_of(dock)[1]["pixels"]) == sorted(after[1]["pixels"])
    for new, old in zip(levels_of(dock.result.labels), after[0][0], strict=True):
        pairs = set(zip(new.ravel().tolist(), old.ravel().tolist(), strict=True))
        assert len(pairs) == 8


@pytest.mark.window
@pytest.mark.parametrize(("add", "blur"), [(add_rgb, 0.0), (add_multiscale, 2.0)])
def test_new_clusters_are_everywhere(add, blur, viewer, run, split_anew, tmp_path, finish_work):
    dock, panel = run(add, n_clusters=4, blur=blur)
    panel.list._clusters.rename(2, "cup")
    panel.list.merge([1, 3])
    split_anew(panel, 2, 3)
    panel.list.set_color(5, "#ff0080")
    labels = levels_of(dock.result.labels)
    # *Apply to…*, a saved model, the command line and the copied script.
    levels = dock.result.task.source.levels
    apply = dock.folds["apply"].open()
    data_of = list(levels) if len(levels) > 1 else levels[0]
    viewer.add_image(data_of, name="other", rgb=True, multiscale=len(levels) > 1)
    apply.apply(viewer.layers["other"])
    finish_work(apply)
    other = viewer.layers["other labels"]
    for one, two in zip(levels_of(other), labels, strict=True):
        np.testing.assert_array_equal(one, two)
    tables = [layer.features.set_index("index") for layer in (other, dock.result.labels)]
    assert tables[0][["pixels", "name"]].equals(tables[1][["pixels", "name"]])
    assert tables[0]["color"][[2, 4, 5]].equals(tables[1]["color"][[2, 4, 5]])
    assert tables[0]["color"][5] == "#ff0080"
    apply.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict(COFFEE), labels[0])
    iio.imwrite(tmp_path / "other.png", COFFEE)
    arguments = [str(tmp_path / "other.png"), "--model", str(tmp_path / "model.json")]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/other-labels.tif"), labels[0])
    for number, level in enumerate(levels):
        np.save(tmp_path / f"image-{number}.npy", level)
    np.save(tmp_path / "image.npy", COFFEE)
    script = dock.folds["export"].open().script()
    space = {}
    with contextlib.chdir(tmp_path):
        exec(script, space)
    results = space["labels"] if len(levels) > 1 else [space["labels"]]
    for one, two in zip(results, labels, strict=True):
        np.testing.assert_array_equal(one, two)
    # *Merge similar* does not undo the split.
    merge = dock.folds["merge"].open()
    merge.min_share.value = 50.0
    assert "The clusters were split" in merge.message.text()
    assert merge.min_share.value == 0
    np.testing.assert_array_equal(levels_of(dock.result.labels)[0], labels[0])


def test_error_of_a_cluster_of_one_color_is_shown(viewer, run, finish_work):
    def add(viewer):
        image = np.repeat(np.array([[0, 90, 250]], np.uint8), 40, axis=0)
        return viewer.add_image(np.repeat(image, 20, axis=1), name="picture")

    dock, panel = run(add, n_clusters=3)
    state = state_of(dock)
    panel.split_anew(2, 2)
    finish_work(panel)
    assert "label must be a class with at least two colors" in (
        notification_manager.records[-1].message
    )
    check_same(state_of(dock), state)
