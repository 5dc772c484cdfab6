"""The layers that fit a model, and layers matched with its channels by name."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kmeans import segment, segment_layer
from napari_kmeans.viewer.from_layers.apply_targets import (
    describe_missing,
    find_targets,
    match_layers,
)

RNG = np.random.default_rng(0)


def layer(name, shape=(9, 8), **arguments):
    return Image(RNG.integers(0, 99, shape).astype(np.uint8), name=name, **arguments)


def model_of(*names, n_channels=0):
    image = RNG.random((n_channels or len(names), 9, 8))
    return segment(image, 2, channel_axis=0, channel_names=names or None).model


def named(targets):
    return [[each.name for each in target.layers] for target in targets]


def test_layers_of_the_kind_of_the_model_are_offered():
    color, gray = layer("color", (9, 8, 3), rgb=True), layer("gray")
    labels, recolored = segment_layer(color, 2)
    layers = [color, gray, recolored, labels, Labels(np.ones((9, 8), int), name="mask")]
    rgb = segment(color.data, 2, rgb=True).model
    assert named(find_targets(rgb, layers)) == [["color"]]
    assert named(find_targets(rgb, layers[1:])) == [["color recolored"]]
    assert named(find_targets(segment(gray.data, 2).model, layers)) == [["gray"]]
    # A single channel is gray.
    assert named(find_targets(model_of("DAPI"), layers)) == [["gray"]]
    assert find_targets(rgb, [gray, labels]) == []


@pytest.mark.parametrize(
    ("channels", "layers", "expected"),
    [
        (["DAPI", "GFP"], ["s1 GFP", "s1 DAPI", "s2-dapi", "s2-gfp", "s3 GFP"],
         [["s1 DAPI", "s1 GFP"], ["s2-dapi", "s2-gfp"]]),
        # The longest name counts.
        (["Cy3", "Cy3 bg"], ["a Cy3 bg", "a Cy3"], [["a Cy3", "a Cy3 bg"]]),
        (["img", "img [1]"], ["img [1]", "img"], [["img", "img [1]"]]),
        (["Alexa 488", "Alexa 568"], ["Alexa 488", "x", "Alexa 568"], [["Alexa 488", "Alexa 568"]]),
        # A name is no part of a word, and a layer of two channels is neither.
        (["GFP", "DAPI"], ["eGFP", "DAPI", "GFP DAPI"], []),
        # Ambiguous: two layers match.
        (["DAPI", "GFP"], ["a DAPI", "DAPI a", "a GFP"], []),
        (["DAPI", "DAPI"], ["DAPI", "GFP"], []),
    ],
)  # fmt: skip
def test_layers_are_matched_by_the_words_of_their_names(channels, layers, expected):
    assert named(find_targets(model_of(*channels), [layer(name) for name in layers])) == expected


def test_layers_of_other_shapes_are_no_channels_of_one_image():
    layers = [layer("s1 DAPI"), layer("s1 GFP", (9, 7))]
    assert find_targets(model_of("DAPI", "GFP"), layers, layers) == []


def test_selected_layers_are_matched_by_name_or_in_order():
    model = model_of("DAPI", "GFP")
    layers = [layer(name) for name in ("one GFP", "two DAPI", "x", "y")]
    (target,) = find_targets(model, layers, layers[:2])
    assert target.layers == (layers[1], layers[0])
    assert target.match == "DAPI = “two DAPI”, GFP = “one GFP” (by name)"
    (target,) = find_targets(model, layers, {layers[3], layers[2]})
    assert target.layers == (layers[2], layers[3])
    assert target.match == "DAPI = “x”, GFP = “y” (in the order of the layer list)"
    assert target.title == "x, y"
    (target,) = find_targets(model_of(n_channels=2), layers, layers[2:])
    assert target.match == "channel 0 = “x”, channel 1 = “y” (in the order of the layer list)"
    assert find_targets(model, layers, layers[:3]) == []
    with pytest.raises(ValueError, match=r"layers must be 2, .* got 3: choose layers"):
        match_layers(model, layers[:3])


@pytest.mark.parametrize(
    ("channels", "names", "sentence"),
    [
        (["DAPI", "GFP"], ["a DAPI", "DAPI a", "a GFP"],
         "Several layers match the channel DAPI: “a DAPI” and “DAPI a”."),
        (["DAPI", "GFP"], ["a DAPI"], "No layer matches the channel GFP of the model."),
        (["DAPI", "GFP"], ["x"], "No layers of one image match the channels DAPI, GFP of the mo"),
        ([], ["x"], "The model has 2 channels, channel 0, channel 1. Select 2 gray layers"),
    ],
)  # fmt: skip
def test_a_sentence_states_the_missing_channel(channels, names, sentence):
    model = model_of(*channels, n_channels=2)
    assert describe_missing(model, [layer(name) for name in names]).startswith(sentence)


@pytest.mark.parametrize(
    ("shape", "labels", "axis"),
    [
        ((3, 20, 30), None, 0),
        ((20, 30, 3), None, 2),
        ((5, 20, 3), None, 2),
        ((4, 3, 20, 30), ("t", "c", "y", "x"), 1),
        ((4, 20, 30), None, None),
        ((3, 20, 30), ("z", "y", "x"), None),
        ((3, 20, 30, 4), ("z", "y", "x", "c"), None),
    ],
)
def test_a_layer_with_an_axis_of_as_many_channels_is_offered(shape, labels, axis):
    one = layer("slide", shape, rgb=False, axis_labels=labels)
    targets = find_targets(model_of("DAPI", "GFP", "Cy5"), [one])
    assert [each.channel_axis for each in targets] == ([] if axis is None else [axis])
    for target in targets:
        np.testing.assert_array_equal(target.source().data, np.moveaxis(one.data, axis, -1))
        assert target.match.startswith(f"DAPI, GFP, Cy5 = axis {axis}")
    assert not find_targets(model_of("DAPI"), [one])[0].match
