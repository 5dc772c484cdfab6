"""A duplicate that the user made of a result is a copy, which no run updates."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, _layer_actions

from napari_kmeans import segment_layer
from napari_kmeans.viewer.provenance import METADATA_KEY, is_copy, sign_unsigned
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.to_layers.update import copy_of_edited, find_result, update_layer


def layers_of(kind, quadrants):
    if kind == "channels":
        return [Image(quadrants[..., channel]) for channel in range(2)]
    if kind == "levels":
        return [Image([quadrants, quadrants[::2, ::2]], rgb=True, multiscale=True)]
    if kind == "volume":
        return [Image(np.stack([quadrants[..., 0]] * 2))]
    return [Image(quadrants, rgb=True)]


def segmented(layers, n_clusters):
    labels, recolored = segment_layer(layers, n_clusters)
    return [labels, *(recolored if isinstance(recolored, list) else [recolored])]


def duplicate(viewer, layers):
    """Duplicate layers as the context menu of napari does, and return the new layers."""
    before = [*viewer.layers]
    viewer.layers.selection = set(layers)
    _layer_actions._duplicate_layer(viewer.layers)
    return [layer for layer in viewer.layers if layer not in before]


def pixels_of(layer):
    return [np.array(level) for level in (layer.data if layer.multiscale else [layer.data])]


@pytest.mark.parametrize("kind", ["image", "levels", "channels", "volume"])
def test_duplicates_of_all_kinds_of_layers_are_copies(quadrants, kind):
    viewer, layers = ViewerModel(), layers_of(kind, quadrants)
    originals = segmented(layers if kind == "channels" else layers[0], 3)
    viewer.layers.extend([*layers, *originals])
    copies = duplicate(viewer, originals)
    copies += duplicate(viewer, copies)
    assert len(copies) == 2 * len(originals)
    # Neither the name nor the viewer makes a copy an original.
    copies[0].name, originals[0].name = originals[0].name, "mine"
    other = ViewerModel()
    moved = copies[-1]
    viewer.layers.remove(moved)
    other.layers.append(moved)
    assert [is_copy(layer) for layer in copies] == [True] * len(copies)
    assert not any(map(is_copy, originals))
    were = [pixels_of(layer) for layer in copies]
    for new, original in zip(
        segmented(layers if kind == "channels" else layers[0], 2), originals, strict=True
    ):
        assert find_result(viewer.layers, new) is original
        assert find_result(copies, new) is None
        update_layer(original, new)
    for layer, was in zip(copies, were, strict=True):
        assert all(map(np.array_equal, pixels_of(layer), was))
    labels = [layer for layer in copies if isinstance(layer, Labels)]
    results = [Result.of_layer(layer, viewer.layers) for layer in labels]
    assert [result.model.n_clusters for result in results] == [3, 3]


def test_layers_without_a_recorded_id_are_signed_before_they_are_duplicated(quadrants):
    viewer, image = ViewerModel(), Image(quadrants, rgb=True)
    labels, _ = segment_layer(image, 3)
    metadata = json.loads(json.dumps(labels.metadata))
    del metadata[METADATA_KEY]["layer_id"]
    opened = Labels(labels.data, features=labels.features, metadata=metadata)
    viewer.layers.append(opened)
    sign_unsigned(opened)
    (copy,) = duplicate(viewer, [opened])
    sign_unsigned(copy)
    assert (is_copy(opened), is_copy(copy)) == (False, True)


@pytest.mark.parametrize("kind", ["image", "levels"])
def test_kept_copies_of_edited_labels_are_copies(quadrants, kind):
    (image,) = layers_of(kind, quadrants)
    labels = segmented(image, 3)[0]
    copy = copy_of_edited(labels)
    assert is_copy(copy)
    assert copy.multiscale == labels.multiscale
    assert all(map(np.array_equal, pixels_of(copy), pixels_of(labels)))
    del labels.metadata[METADATA_KEY]["layer_id"]
    assert is_copy(copy_of_edited(labels))
