"""Results that are rebuilt from a Labels layer: image, model, table and recolored layers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels

from napari_kmeans import segment_layer
from napari_kmeans.stacks import StackModel
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.result import Result


def reopened(labels, **attributes):
    """Return a layer as a file gives it: the same pixels and record, and another `unique_id`."""
    metadata = {METADATA_KEY: json.loads(json.dumps(labels.metadata[METADATA_KEY]))}
    del metadata[METADATA_KEY]["layer_id"]
    values = {"features": labels.features, "colormap": labels.colormap, "metadata": metadata}
    return Labels(labels.data, multiscale=labels.multiscale, **{**values, **attributes})


def test_layers_of_a_script_have_their_image_model_and_table(quadrants, quadrant_labels):
    image, other = Image(quadrants, rgb=True), Image(quadrants[::-1], rgb=True)
    labels, recolored = segment_layer(image, 4)
    clusters = Clusters(labels)
    clusters.rename(clusters.merge([1, 2]), "dark")
    clusters.ignore([4])
    result = Result.of_layer(labels, [other, image, recolored, labels])
    assert result.source.unique_id == str(image.unique_id)
    assert result.labels is labels
    assert result.recolored == [recolored]
    assert result.table["name"].tolist() == ["dark", "", ""]
    assert [each.label for each in result.model.classes if each.ignored] == [4]
    np.testing.assert_array_equal(
        result.model.predict(quadrants), np.where(quadrant_labels == 2, 1, quadrant_labels)
    )
    assert result.outcome.labels is labels.data
    assert Result.of_layer(labels, [other, labels]).source is None


def test_image_of_a_file_is_found_by_its_name_and_shape(quadrants):
    image = Image(quadrants, rgb=True, name="leaf")
    labels = reopened(segment_layer(image, 3)[0], scale=(2, 2))
    again = Image(quadrants, rgb=True, name="leaf")
    gray = Image(quadrants[..., 0], rgb=False, name="leaf")
    cropped = Image(quadrants[1:], rgb=True, name="leaf")
    result = Result.of_layer(labels, [gray, again, cropped])
    assert result.source.unique_id == str(again.unique_id)
    # An edit puts the layers where the source is: they must stay where the labels are.
    np.testing.assert_array_equal(result.source.spatial["scale"], (2, 2))
    assert Result.of_layer(labels, [gray, cropped]).source is None
    assert Result.of_layer(labels, [again, Image(quadrants, rgb=True, name="leaf")]).source is None
    assert Result.of_layer(labels, []).name == "leaf"


def test_channels_are_found_in_their_order(quadrants):
    layers = [Image(quadrants[..., channel], name=f"c{channel}") for channel in range(3)]
    labels, recolored = segment_layer(layers, 3)
    result = Result.of_layer(labels, [*recolored, *layers[::-1]])
    assert [each.unique_id for each in result.source.channels] == [
        str(each.unique_id) for each in layers
    ]
    np.testing.assert_array_equal(result.model.predict(result.source.data), labels.data)
    assert result.recolored == recolored
    np.testing.assert_array_equal(
        result.outcome.recolored, np.stack([each.data for each in recolored], axis=-1)
    )
    opened = [Image(each.data, name=each.name) for each in layers]
    again = Result.of_layer(reopened(labels), opened[::-1])
    np.testing.assert_array_equal(again.source.data, quadrants)
    assert Result.of_layer(reopened(labels), opened[1:]).source is None


def test_levels_and_slices_are_those_of_the_record(quadrants):
    levels = [np.kron(quadrants, np.ones((4, 4, 1), np.uint8)), quadrants]
    image = Image(levels, rgb=True, multiscale=True)
    labels, _ = segment_layer(image, 4, level=1)
    result = Result.of_layer(labels, [image])
    assert result.source.level == 1
    assert [each.shape for each in result.outcome.labels] == [(80, 84), (20, 21)]
    stack = Image(np.stack([quadrants] * 3), rgb=True)
    labels, _ = segment_layer(stack, 4, stack=1)
    assert Result.of_layer(labels, [stack]).source.stack == (1, None, None)


def test_labels_of_the_finest_level_have_this_level_of_the_image(quadrants):
    """A file of labels has the finest level only."""
    levels = [np.kron(quadrants, np.ones((4, 4, 1), np.uint8)), quadrants]
    image = Image(levels, rgb=True, multiscale=True, name="slide")
    labels, _ = segment_layer(image, 4, level=1)
    record = json.loads(json.dumps(labels.metadata))
    record[METADATA_KEY] |= {"source_id": "", "level": 0}
    finest = Labels(labels.data[0], features=labels.features, metadata=record)
    result = Result.of_layer(finest, [image])
    assert [level.shape for level in result.source.levels] == [(80, 84, 3)]
    assert not result.source.multiscale
    np.testing.assert_array_equal(result.model.predict(result.source.data), finest.data)


def test_masks_are_the_pixels_that_have_a_label(quadrants):
    image, mask = Image(quadrants, rgb=True), np.ones((20, 21), bool)
    mask[:, 15:] = False
    labels, _ = segment_layer(image, 2, mask=mask)
    np.testing.assert_array_equal(Result.of_layer(labels, [image]).masks[0], mask)
    labels, _ = segment_layer(image, 2)
    assert Result.of_layer(labels, [image]).masks is None


def test_recolored_layers_are_those_of_the_same_run_or_of_duplicates(quadrants):
    image = Image(quadrants, rgb=True)
    labels, recolored = segment_layer(image, 4)
    _, other = segment_layer(image, 3)
    copies = [
        Labels(labels.data, features=labels.features, metadata=labels.metadata),
        Image(recolored.data, metadata=recolored.metadata),
    ]
    layers = [image, recolored, other, *copies]
    assert Result.of_layer(labels, layers).recolored == [recolored]
    assert Result.of_layer(copies[0], layers).recolored == [copies[1]]
    assert Result.of_layer(copies[0], [image, recolored]).recolored == []
    # Two layers of the same run: an edit could change the wrong one.
    _, same = segment_layer(image, 4)
    assert Result.of_layer(labels, [*layers, same]).recolored == []


def test_slices_have_their_models(quadrants):
    image = Image(np.stack([quadrants, quadrants[::-1]]), rgb=True)
    labels, _ = segment_layer(image, 4, stack="each")
    result = Result.of_layer(labels, [image])
    assert isinstance(result.model, StackModel)
    np.testing.assert_array_equal(result.model.apply(image.data)[0], labels.data)
    assert result.outcome is None
    with pytest.raises(ValueError, match="results of the single slices"):
        result.known_outcome()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("models", []),
        ("models", [None]),
        ("names", [[0]]),
        ("names", [[0, 2, 1], [0, 1, 2]]),
        ("shape", "x"),
        ("channel_axis", "x"),
    ],
)
def test_damaged_models_of_slices_are_refused(quadrants, name, value):
    labels, _ = segment_layer(Image(np.stack([quadrants] * 2), rgb=True), 2, stack="each")
    values = labels.metadata[METADATA_KEY]["model"]
    assert StackModel.from_dict(values).to_dict() == values
    with pytest.raises(ValueError, match=r"slices|channel_axis"):
        StackModel.from_dict({**values, name: value})


def test_layers_without_clusters_have_no_result(quadrants):
    image = Image(quadrants, rgb=True)
    labels, _ = segment_layer(image, 4)
    assert Result.of_layer(Labels(labels.data), [image]) is None
    for key, value in (("kind", "objects"), ("model", None), ("model", {"palette": 1})):
        damaged = reopened(labels)
        damaged.metadata[METADATA_KEY][key] = value
        assert Result.of_layer(damaged, [image]) is None
    assert Result.of_layer(reopened(labels, features=None), [image]) is None


def test_damaged_record_gives_what_is_still_known(quadrants):
    image = Image(quadrants, rgb=True)
    labels = reopened(segment_layer(image, 4)[0])
    labels.metadata[METADATA_KEY] |= {"stack": [9], "level": "x", "options": {"a": 1}}
    result = Result.of_layer(labels, [image])
    assert (result.source.level, result.source.stack) == (0, "whole")
    assert result.outcome.options.to_dict() == result.model.options.to_dict()
    # A label that the user painted, with a row of its own, is no class of the model.
    row = labels.features.iloc[:1].assign(index=9)
    labels.features = pd.concat([labels.features, row], ignore_index=True)
    result = Result.of_layer(labels, [image])
    assert result.outcome is None
    assert result.model.n_clusters == 4
    assert len(result.table) == 5
