"""Tests of the samples: arrays without a network, and the classes that they are made of."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from napari_kmeans import measure, segment, split_objects
from napari_kmeans.samples import (
    FLUORESCENCE_CELLS,
    FLUORESCENCE_CHANNELS,
    FLUORESCENCE_CLASSES,
    LEAF_CLASSES,
    PHANTOM_CLASSES,
    PHANTOM_SCALE,
    SAMPLES,
    fluorescence,
    fluorescence_truth,
    leaf,
    leaf_truth,
    phantom,
    phantom_truth,
    sample_picture,
)


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
        ("leaf", (320, 560, 3), np.uint8),
        ("phantom", (40, 136, 112), np.uint16),
        ("fluorescence", (4, 320, 320), np.uint16),
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
    assert list(SAMPLES) == [
        "photograph",
        "histology",
        "volume",
        "leaf",
        "phantom",
        "fluorescence",
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_a_picture_with_an_axis_for_each_dimension(name):
    picture = sample_picture(name)
    assert len(picture.axes) in (0, picture.pixels.ndim)
    assert picture.rgb == (picture.pixels.shape[-1] == 3)


def test_channels_of_the_fluorescence_are_named():
    picture = sample_picture("fluorescence")
    assert tuple(channel.name for channel in picture.channels) == FLUORESCENCE_CHANNELS
    assert [axis.name for axis in picture.axes] == ["c", "y", "x"]


class TestLeaf:
    @pytest.mark.parametrize(("percent", "seed"), [(6.0, 0), (0.0, 0), (25.0, 3)])
    def test_lesions_have_the_wanted_share_of_the_leaf(self, percent, seed):
        truth = leaf_truth(percent, seed)
        n_leaf = (truth < 4).sum()
        assert (truth == 1).sum() == round(percent / 100 * n_leaf)
        assert leaf(percent, seed).shape[:2] == truth.shape
        # A single leaf on paper.
        assert ndimage.label(truth < 4, np.ones((3, 3)))[1] == 1

    def test_the_share_is_found_to_a_tenth_of_a_percent(self):
        image, truth = leaf(), leaf_truth()
        seg = segment(image, 4, color_space="lab")
        table = measure(seg, image)
        pixels = table.set_index("class")["pixels"]
        assert abs(100 * pixels[1] / pixels[[1, 2, 3]].sum() - 6) < 0.1
        assert (seg.labels == truth).mean() > 0.999

    def test_the_seed_moves_the_lesions(self):
        assert (leaf_truth(seed=1) != leaf_truth(seed=2)).any()
        assert (leaf(seed=1)[leaf_truth(seed=1) == 1].mean(0) < (120, 90, 60)).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"lesion_percent": 41}, "lesion_percent must be"),
            ({"lesion_percent": "6"}, "lesion_percent must be"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    @pytest.mark.parametrize("make", [leaf, leaf_truth])
    def test_other_arguments_are_refused(self, make, arguments, message):
        with pytest.raises((TypeError, ValueError), match=message):
            make(**arguments)


class TestPhantom:
    def test_volumes_are_found_to_two_percent(self):
        image, truth = phantom(), phantom_truth()
        seg = segment(image, 5, smoothing=1, spacing=PHANTOM_SCALE)
        table = measure(seg, image, spacing=PHANTOM_SCALE, unit="mm")
        true_volumes = np.bincount(truth.ravel())[1:] * np.prod(PHANTOM_SCALE)
        np.testing.assert_allclose(table["volume"], true_volumes, rtol=0.02)
        assert (seg.labels == truth).mean() > 0.995

    def test_tissues_have_the_volumes_of_a_head(self):
        """A brain of an adult has 1.0 to 1.5 liters, more than half of it white and gray matter."""
        liters = np.bincount(phantom_truth().ravel())[1:] * np.prod(PHANTOM_SCALE) / 1e6
        assert len(liters) == len(PHANTOM_CLASSES)
        assert 0.9 < liters[2] + liters[3] < 1.5
        assert liters[1] < 0.4


class TestFluorescence:
    def test_truth_has_the_stated_cells(self):
        truth = fluorescence_truth()
        counts = {
            name: ndimage.label(truth == label, np.ones((3, 3)))[1]
            for label, name in FLUORESCENCE_CLASSES.items()
        }
        assert counts == {"background": 1, **FLUORESCENCE_CELLS}
        # No two cells touch, also not cells of different classes.
        assert ndimage.label(truth > 1, np.ones((3, 3)))[1] == sum(FLUORESCENCE_CELLS.values())

    def test_cells_have_the_markers_of_their_names(self):
        image, truth = fluorescence(), fluorescence_truth()
        for label, kind in FLUORESCENCE_CLASSES.items():
            for channel, marker in zip(image, FLUORESCENCE_CHANNELS, strict=True):
                is_on = label > 1 and (marker == "DAPI" or marker in kind.split())
                ratio = np.median(channel[truth == label]) / np.median(channel[truth == 1])
                assert (ratio > 4) == is_on, (kind, marker)

    def test_all_cells_are_found_and_their_areas_to_three_percent(self):
        image, truth = fluorescence(), fluorescence_truth()
        seg = segment(image, 6, channel_axis=0, normalize="percentile", smoothing=1, min_size=30)
        objects = split_objects(seg.labels, min_size=60)
        counts = objects.table.groupby("cluster").size()
        assert counts.tolist() == [1, *FLUORESCENCE_CELLS.values()]
        true_pixels = np.bincount(truth.ravel())[1:]
        np.testing.assert_allclose(seg.table["pixels"], true_pixels, rtol=0.03)


def test_classes_are_numbered_without_gaps():
    for classes in (LEAF_CLASSES, PHANTOM_CLASSES, FLUORESCENCE_CLASSES):
        assert list(classes) == list(range(1, len(classes) + 1))
