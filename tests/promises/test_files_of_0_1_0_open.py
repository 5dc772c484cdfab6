"""Models and layers that version 0.1.0 wrote open, and give the same labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kmeans import KMeansModel
from napari_kmeans.viewer.to_layers.result import Result

WRITTEN = Path(__file__).parent / "written_by_0_1_0"


@pytest.mark.parametrize(("name", "n_clusters"), [("model", 4), ("merged-model", 3)])
def test_model_of_0_1_0_gives_the_same_labels(name, n_clusters, quadrants, quadrant_labels):
    model = KMeansModel.load(WRITTEN / f"{name}.json")
    expected = quadrant_labels if n_clusters == 4 else np.maximum(quadrant_labels - 1, 1)
    assert model.n_clusters == n_clusters
    np.testing.assert_array_equal(model.predict(quadrants), expected)


def test_model_in_a_layer_of_0_1_0_gives_the_labels_of_the_layer(quadrants):
    layer = json.loads((WRITTEN / "labels-layer.json").read_text())
    model = KMeansModel.from_dict(layer["metadata"]["napari-kmeans"]["model"])
    np.testing.assert_array_equal(model.predict(quadrants), layer["data"])


def test_clusters_of_a_layer_of_0_1_0_are_shown(quadrants):
    old = json.loads((WRITTEN / "labels-layer.json").read_text())
    image = Image(quadrants, name="quadrants", rgb=True)
    data = np.array(old["data"], old["dtype"])
    layer = Labels(data, metadata=old["metadata"], features=old["features"])
    result = Result.of_layer(layer, [image])
    np.testing.assert_array_equal(result.model.predict(quadrants), data)
    assert result.table["pixels"].tolist() == np.unique(data, return_counts=True)[1].tolist()
    assert result.source.unique_id == str(image.unique_id)
    assert result.outcome is not None


def test_run_updates_a_layer_of_0_1_0(make_napari_viewer, qtbot, quadrants):
    viewer = make_napari_viewer()
    image = viewer.add_image(quadrants, name="quadrants", rgb=True)
    old = json.loads((WRITTEN / "labels-layer.json").read_text())
    # The image is a new layer with a new identity: store that identity in the old metadata.
    old["metadata"]["napari-kmeans"]["source_id"] = str(image.unique_id)
    data = np.array(old["data"], old["dtype"])
    layer = viewer.add_layer(
        Labels(data, name=old["name"], metadata=old["metadata"], features=old["features"])
    )
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    dock.image.value, dock.n_clusters.value = image, 2
    results = []
    dock.segmented.connect(results.append)
    dock.run()
    qtbot.waitUntil(lambda: bool(results) and not dock.cancel_button.enabled, timeout=60_000)
    assert [each.name for each in viewer.layers] == [
        "quadrants",
        "quadrants labels",
        "quadrants recolored",
    ]
    assert np.unique(layer.data).tolist() == [1, 2]
    assert layer.metadata["napari-kmeans"]["version"] != "0.1.0"
