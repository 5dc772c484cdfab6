"""The record of a run in the metadata of a layer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.layers import Labels

from napari_kmeans import __version__
from napari_kmeans.viewer import provenance
from napari_kmeans.viewer.provenance import METADATA_KEY

DATA = np.zeros((4, 5, 6), int)


def make_layer(stack="whole", **entries):
    metadata = provenance.run_metadata(
        "labels",
        "picture",
        "id of the image",
        options={"n_clusters": 3},
        level=1,
        stack=stack,
        model={"palette": [[0.0]]},
        distortion=2.5,
        **entries,
    )
    return provenance.sign(Labels(DATA, metadata=metadata))


def test_record_has_the_keys_of_version_0_1_0():
    record = make_layer(channel_id="id of the channel").metadata["napari-kmeans"]
    assert json.loads(json.dumps(record)) == record
    assert {name: record[name] for name in record if name != "layer_id"} == {
        "kind": "labels",
        "version": __version__,
        "source": "picture",
        "source_id": "id of the image",
        "options": {"n_clusters": 3},
        "level": 1,
        "stack": "whole",
        "model": {"palette": [[0.0]]},
        "distortion": 2.5,
        "channel": "id of the channel",
    }
    assert "channel" not in make_layer().metadata["napari-kmeans"]
    objects = provenance.source_metadata("objects", "picture", "id of the image")
    assert set(objects[METADATA_KEY]) == {"kind", "version", "source", "source_id"}


def test_layer_without_a_record():
    layer = Labels(DATA, metadata={"mine": 1})
    assert not provenance.has_record(layer)
    assert provenance.record_of(layer) == {}
    assert provenance.kind_of(layer) is None
    assert provenance.result_key(layer) == (None, None, None, None)
    assert provenance.recorded_level(layer) == 0
    assert provenance.recorded_slice(layer) is None
    assert not provenance.is_copy(layer)
    provenance.set_joined_labels(layer, {2: 1})
    assert layer.metadata == {"mine": 1}


def test_record_of_is_a_copy():
    layer = make_layer()
    provenance.record_of(layer)["kind"] = "other"
    assert provenance.kind_of(layer) == "labels"


@pytest.mark.parametrize(
    ("stack", "index"), [("whole", None), ("each", None), ((None, 2, None), [None, 2, None])]
)
def test_recorded_slice_is_the_only_slice_of_a_run(stack, index):
    assert provenance.recorded_slice(make_layer(stack)) == index


def test_duplicate_of_a_signed_layer_is_a_copy():
    layer = make_layer()
    assert not provenance.is_copy(layer)
    assert provenance.is_copy(Labels(DATA, metadata=layer.metadata))


def test_take_record_keeps_other_metadata():
    layer, result = make_layer(), make_layer((1, None, None))
    layer.metadata["mine"] = 1
    provenance.set_joined_labels(layer, {2: 1})
    provenance.take_record(layer, result, keeps_slices=False)
    assert layer.metadata["mine"] == 1
    assert provenance.recorded_slice(layer) == [1, None, None]
    assert provenance.joined_labels(layer) == {}
    assert not provenance.is_copy(layer)


def test_take_record_lists_runs_whose_slices_stay():
    layer = make_layer()
    for index in (1, 3, 1):
        provenance.take_record(layer, make_layer((index, None, None)), keeps_slices=True)
    record = provenance.record_of(layer)
    assert record["stack"] == [1, None, None]
    assert [run["stack"] for run in record["earlier"]] == ["whole", [3, None, None]]
    assert set(record["earlier"][0]) == {"stack", "level", "options", "model", "distortion"}
