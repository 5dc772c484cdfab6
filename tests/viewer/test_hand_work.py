"""What users do to results by hand: runs leave copies alone."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels, _layer_actions

from napari_kmeans import segment_layer
from napari_kmeans.viewer.layers import METADATA_KEY, is_copy
from napari_kmeans.viewer.update import find_result, update_layer


def duplicate(viewer, *names):
    """Duplicate layers as the context menu of napari does."""
    viewer.layers.selection = {viewer.layers[name] for name in names}
    _layer_actions._duplicate_layer(viewer.layers)
    return [viewer.layers[f"{name} copy"] for name in names]


def run(dock, finish, **fields):
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)


# -------------------------------------------------------------------- copies


def test_a_run_updates_the_originals_and_no_duplicate(viewer, dock, finish):
    image = viewer.layers["picture"]
    dock.add_points.value = True
    run(dock, finish, n_clusters=3)
    names = ["picture labels", "picture recolored", "picture coreset"]
    originals = [viewer.layers[name] for name in names]
    copies = duplicate(viewer, *names)
    copies[0].data[0, 0] = 3
    were = [np.array(each.data) for each in copies]
    run(dock, finish, image=image, n_clusters=2)
    assert list(dock.result.layers) == [originals[1], originals[0], originals[2]]
    for copy, was in zip(copies, were, strict=True):
        np.testing.assert_array_equal(copy.data, was)
        assert copy.metadata[METADATA_KEY]["options"]["n_clusters"] == 3
    assert set(np.unique(originals[0].data)) == {1, 2}
    assert dock.folds["Clusters"].open().list.layer is originals[0]


def test_a_duplicate_that_is_left_alone_is_not_updated(viewer, dock, finish):
    run(dock, finish, n_clusters=3)
    (copy,) = duplicate(viewer, "picture labels")
    viewer.layers.remove("picture labels")
    copy.name = "picture labels"
    run(dock, finish, image=viewer.layers["picture"], n_clusters=2)
    assert set(np.unique(copy.data)) == {1, 2, 3}
    assert dock.result.labels is not copy
    assert dock.result.labels in viewer.layers
    run(dock, finish, n_clusters=4)
    assert set(np.unique(copy.data)) == {1, 2, 3}
    assert [type(layer) for layer in viewer.layers].count(Labels) == 2


def test_objects_and_their_duplicates(viewer, dock, finish, qtbot):
    run(dock, finish)
    panel = dock.folds["Objects"].open()
    with qtbot.waitSignal(panel.split().finished):
        pass
    (copy,) = duplicate(viewer, "picture objects")
    was = np.array(copy.data)
    dock.image.value = viewer.layers["picture"]
    panel.min_size.value = 105
    with qtbot.waitSignal(panel.split().finished):
        pass
    np.testing.assert_array_equal(copy.data, was)
    assert len(viewer.layers["picture objects"].features) == 2


def test_channels_and_their_duplicates(quadrants):
    layers = [Image(quadrants[..., channel]) for channel in range(2)]
    labels, recolored = segment_layer(layers, 4)
    copies = [Image(each.data, metadata=each.metadata) for each in recolored]
    assert [is_copy(each) for each in (labels, *recolored, *copies)] == [False] * 3 + [True] * 2
    for original, new in zip(recolored, segment_layer(layers, 2)[1], strict=True):
        assert find_result([labels, *recolored, *copies], new) is original
        assert find_result(copies, new) is None


def test_layers_of_an_earlier_version_are_originals(quadrants):
    image = Image(quadrants, rgb=True)
    labels, _ = segment_layer(image, 4)
    del labels.metadata[METADATA_KEY]["layer_id"]
    new, _ = segment_layer(image, 2)
    assert find_result([labels], new) is labels
    update_layer(labels, new)
    assert not is_copy(labels)
    assert find_result([labels], segment_layer(image, 3)[0]) is labels
