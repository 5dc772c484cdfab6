"""Apply models of channels to layers, in memory, lazy and of several levels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import segment
from napari_kmeans.viewer.from_layers.apply_targets import match_layers
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.apply_model import ApplyToSeveral, ApplyWork, fit_to_source
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

NAMES = ["DAPI", "GFP", "Cy5"]


@pytest.fixture(scope="module")
def stains():
    return np.random.default_rng(0).integers(0, 4000, (2, 3, 20, 31)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["in memory", "lazy", "multiscale", "lazy multiscale"])
def test_layers_in_another_order_get_the_labels_of_the_array(stains, kind):
    # The model is from the command line: its channels are the first axis.
    model = segment(stains[0], 3, channel_axis=0, channel_names=NAMES, normalize="zscore").model
    model = model.with_classes(model.classes.rename(2, "nuclei").ignore(1))
    levels = [np.kron(stains[1], np.ones((1, 2, 2), np.uint16)), stains[1]]
    levels = levels if "multiscale" in kind else levels[1:]

    def layer(channel):
        data = [
            da.from_array(level[channel]) if "lazy" in kind else level[channel] for level in levels
        ]
        name, several = f"slide 2 {NAMES[channel]}", len(data) > 1
        return Image(data if several else data[0], name=name, multiscale=several)

    source = match_layers(model, [layer(2), layer(0), layer(1)]).source()
    assert source.channel_names == tuple(NAMES)
    done = []
    work = ApplyWork(fit_to_source(model, source), source)
    (outcome,) = ApplyToSeveral((work,)).run(lambda *steps: done.append(steps))
    labels = labels_layer(outcome, source)
    shown = labels.data if len(levels) > 1 else [labels.data]
    recolored = [each.data for each in recolored_layers(outcome, source)]
    for number, level in enumerate(levels):
        expected, colors = model.apply(level)
        np.testing.assert_array_equal(shown[number], expected)
        for channel in range(3):
            pixels = recolored[channel]
            pixels = pixels[number] if len(levels) > 1 else pixels
            np.testing.assert_array_equal(pixels, colors[channel])
    counts = np.bincount(model.predict(levels[0]).ravel(), minlength=4)[1:]
    assert labels.features["pixels"].tolist() == counts.tolist()
    assert labels.features["name"].tolist() == ["", "nuclei", ""]
    assert labels.metadata[METADATA_KEY]["model"]["channel_names"] == NAMES
    assert done == sorted(done)
    assert done[-1][0] >= 0.99 * done[-1][1]
