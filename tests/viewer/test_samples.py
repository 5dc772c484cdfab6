"""Tests of the samples: as arrays, without a network, and from the menu."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_kmeans.samples import SAMPLES, VOLUME_SCALE


@pytest.fixture
def no_network(monkeypatch):
    """Make downloads fail: scikit-image downloads with pooch."""
    monkeypatch.setitem(sys.modules, "pooch", None)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("photograph", (400, 600, 3), np.uint8),
        ("histology", (512, 512, 3), np.uint8),
        ("volume", (32, 256, 256), np.uint16),
    ],
)
def test_samples_are_arrays_without_a_network(name, shape, dtype):
    image = SAMPLES[name]()
    assert (image.shape, image.dtype) == (shape, dtype)
    assert np.ptp(image) > 200
    np.testing.assert_array_equal(image, SAMPLES[name]())


def test_volume_has_four_intensity_classes():
    """The first bin is the background. Tissue, nuclei and nucleoli are peaks of the histogram."""
    counts, edges = np.histogram(SAMPLES["volume"](), bins=32, range=(0, 2**16))
    peaks = (counts[1:-1] > counts[:-2]) & (counts[1:-1] > counts[2:])
    levels = [*edges[:1], *edges[1:-2][peaks]]
    assert len(levels) == 4
    assert all(counts > 0)


def test_sample_names_are_those_of_the_command_line():
    assert list(SAMPLES) == ["photograph", "histology", "volume"]


@pytest.mark.parametrize(
    ("name", "layer_name", "rgb"),
    [
        ("photograph", "coffee", True),
        ("histology", "histology", True),
        ("volume", "volume", False),
    ],
)
def test_open_sample_adds_one_layer(viewer, name, layer_name, rgb):
    (layer,) = viewer.open_sample("napari-kmeans", name)
    assert layer in viewer.layers
    assert (layer.name, layer.rgb) == (layer_name, rgb)


def test_volume_layer_has_its_voxel_size_and_units(viewer):
    (layer,) = viewer.open_sample("napari-kmeans", "volume")
    assert tuple(layer.scale) == VOLUME_SCALE
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
    assert layer.axis_labels == ("z", "y", "x")


def test_one_viewer_opens_all_samples(viewer):
    for name in SAMPLES:
        viewer.open_sample("napari-kmeans", name)
    assert len(viewer.layers) == 3
