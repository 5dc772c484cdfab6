"""Tests of the samples as napari layers, from the menu."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans.samples import (
    FLUORESCENCE_CHANNELS,
    FLUORESCENCE_SCALE,
    LEAF_SCALE,
    PHANTOM_SCALE,
    SAMPLES,
    VOLUME_SCALE,
    fluorescence,
)


@pytest.mark.parametrize(
    ("name", "layer_names", "rgb", "scale", "unit"),
    [
        ("photograph", ["coffee"], True, (1, 1), "pixel"),
        ("histology", ["histology"], True, (1, 1), "pixel"),
        ("volume", ["volume"], False, VOLUME_SCALE, "micrometer"),
        ("leaf", ["leaf"], True, LEAF_SCALE, "millimeter"),
        ("phantom", ["phantom"], False, PHANTOM_SCALE, "millimeter"),
        (
            "fluorescence",
            [f"fluorescence {name}" for name in FLUORESCENCE_CHANNELS],
            False,
            FLUORESCENCE_SCALE,
            "micrometer",
        ),
    ],
)
def test_a_sample_opens_with_names_scale_and_units(viewer, name, layer_names, rgb, scale, unit):
    layers = viewer.open_sample("napari-kmeans", name)
    assert [layer.name for layer in layers] == layer_names
    assert list(viewer.layers) == layers
    for layer in layers:
        assert layer.rgb == rgb
        assert tuple(layer.scale) == scale
        assert [str(each) for each in layer.units] == [unit] * layer.ndim
        if unit != "pixel":
            assert layer.axis_labels == ("z", "y", "x")[-layer.ndim :]


def test_each_channel_is_a_layer_with_a_color_of_its_own(viewer):
    layers = viewer.open_sample("napari-kmeans", "fluorescence")
    np.testing.assert_array_equal([layer.data for layer in layers], fluorescence())
    brightest = [tuple(layer.colormap.map([1.0])[0]) for layer in layers]
    assert len(set(brightest)) == 4


def test_one_viewer_opens_all_samples(viewer):
    for name in SAMPLES:
        viewer.open_sample("napari-kmeans", name)
    assert len(viewer.layers) == 5 + len(FLUORESCENCE_CHANNELS)
