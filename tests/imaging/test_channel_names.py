"""Names of channels: in the table and in the model, checked, shown and matched."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_kmeans import KMeansModel, segment, segment_slices, split_anew
from napari_kmeans.imaging.channel_names import (
    check_channel_names,
    match_names,
    shown_channel_names,
)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 4000, (3, 20, 30)).astype(np.uint16)


def test_names_are_in_the_table_and_in_the_file_of_the_model(image, tmp_path):
    unnamed = segment(image, 3, channel_axis=0)
    named = segment(image, 3, channel_axis=0, channel_names=["DAPI", "", "a\nb"])
    np.testing.assert_array_equal(named.labels, unnamed.labels)
    columns = [f"mean {name}" for name in ("DAPI", "channel 1", "a b")]
    numbered = [f"mean channel {number}" for number in range(3)]
    np.testing.assert_array_equal(named.table[columns], unnamed.table[numbered])
    named.model.save(tmp_path / "model.json")
    model = KMeansModel.load(tmp_path / "model.json")
    assert model.channel_names == ("DAPI", "", "a b")
    assert "channel_names=['DAPI', '', 'a b']" in repr(model)
    values = unnamed.model.to_dict()
    assert "channel_names" not in values
    assert values["version"] == named.model.to_dict()["version"]
    stack = segment_slices(np.stack([image] * 2, 1), 3, channel_axis=0, channel_names=None)
    assert set(numbered) <= set(stack.table)
    stack = segment_slices(np.stack([image] * 2, 1), 3, channel_axis=0, channel_names=[*"abc"])
    assert {"mean a", "mean b", "mean c"} <= set(stack.table) & set(stack.slice_table)
    assert segment(image[0], 3, channel_names=["DAPI"]).table.columns[3] == "mean DAPI"


@pytest.mark.parametrize("normalize", ["none", "percentile"])
def test_a_model_is_reordered_with_the_channels(image, normalize):
    seg = segment(image, 3, channel_axis=0, channel_names=[*"abc"], normalize=normalize)
    model = split_anew(image, seg.model, 2, 2)
    turned = model.with_channel_order([2, 0, 1])
    labels, recolored = model.apply(image)
    again, turned_recolored = turned.apply(image[[2, 0, 1]])
    np.testing.assert_array_equal(again, labels)
    np.testing.assert_array_equal(turned_recolored, recolored[[2, 0, 1]])
    assert turned.channel_names == ("c", "a", "b")


@pytest.mark.parametrize(
    ("names", "rgb", "message"),
    [
        (["a", "b"], False, r"channel_names must be 3 texts, got \['a', 'b'\]"),
        ("abc", False, "channel_names must be texts, got 'abc'"),
        ([1, 2, 3], False, "channel_names must be texts, got"),
        (5, False, "channel_names must be texts, got 5"),
        ([*"abc"], True, "channel_names must be left out for red, green and blue"),
    ],
)
def test_other_names_are_refused_before_the_image_is_read(image, names, rgb, message):
    pixels = np.moveaxis(image, 0, -1).astype(np.uint8) if rgb else image
    where = {"rgb": True} if rgb else {"channel_axis": 0}
    for function in (segment, segment_slices):
        with pytest.raises((TypeError, ValueError), match=message):
            function(pixels, 3, channel_names=names, **where)
    values = segment(pixels, 3, **where).model.to_dict()
    with pytest.raises(ValueError, match="channel_names must be"):
        KMeansModel.from_dict(json.loads(json.dumps({**values, "channel_names": names})))


def test_channels_with_the_same_name_or_another_number_keep_their_number():
    shown = shown_channel_names
    assert shown(["a", "a", "channel 0", "channel 3"], 4) == [
        "channel 0",
        "channel 1",
        "channel 2",
        "channel 3",
    ]
    assert shown(["x", "", "z"], 3) == ["x", "channel 1", "z"]
    assert check_channel_names(["channel 0", "channel 1"], 2, False) == ()
    assert shown([], 2) == ["channel 0", "channel 1"]


def test_names_are_matched_in_any_order_and_case():
    assert match_names(["DAPI", "GFP"], ["gfp", "dapi"]) == [1, 0]
    for others in (["DAPI", "RFP"], ["DAPI"], ["GFP", "GFP"]):
        assert match_names(["DAPI", "GFP"], others) is None
    assert match_names(["a", "a"], ["a", "a"]) is None
    assert match_names(["", "a"], ["a", ""]) is None
