"""Areas and volumes of clusters in the units of their layer."""

from __future__ import annotations

import pytest
from napari.layers import Image

from napari_kmeans import segment_layer
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.label_area import format_number


@pytest.mark.parametrize(
    ("place", "area"),
    [
        ({}, "110 px²"),
        ({"scale": (0.5, 0.5)}, "27.5 px²"),
        ({"scale": (0.5, 0.25), "units": ("mm", "mm")}, "13.8 mm²"),
        ({"scale": (-2, 3), "units": ("um", "um"), "rotate": 30}, "660 µm²"),
        ({"affine": [[0, 3, 1], [2, 0, 1], [0, 0, 1]], "units": ("um", "um")}, "660 µm²"),
        ({"scale": (2000, 3), "units": ("um", "mm")}, "660 mm²"),
        ({"scale": (40, 50)}, "220,000 px²"),
    ],
)
def test_area_is_in_the_units_of_the_layer(quadrants, place, area):
    assert (
        Clusters(segment_layer(Image(quadrants, rgb=True, **place), 4)[0])
        .area([2])
        .replace("\u03bc", "µ")
        == area
    )


def test_volume_of_a_3d_layer(steps):
    image = Image(steps, rgb=False, scale=(2, 0.5, 0.5), units=("um",) * 3)
    clusters = Clusters(segment_layer(image, 3)[0])
    assert clusters.pixels([1]) == 3 * 4 * 10
    assert clusters.area([1]).replace("\u03bc", "µ") == "60 µm³"
    assert clusters.area([1, 2]).replace("\u03bc", "µ") == "90 µm³"
    assert clusters.percent([1, 2]) == pytest.approx(75)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.001234, "0.00123"),
        (12.345, "12.3"),
        (999.4, "999"),
        (1234.5, "1,234"),
        (12345678, "12,345,678"),
        (3.456e12, "3.46e+12"),
    ],
)
def test_format_number_returns_few_digits(value, text):
    assert format_number(value) == text
