"""Affine maps between the pixels of layers and the world."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from napari_kmeans.viewer.from_layers.geometry import AffineMap

PLACE = {"scale": (2, 0.5), "rotate": 30, "translate": (10, -3), "shear": [0.2]}
POSITIONS = np.array([[0, 0], [3, 4], [-1.5, 7.25]])


def test_map_to_world_agrees_with_napari():
    layer = Image(np.zeros((5, 6)), **PLACE)
    expected = [layer.data_to_world(position) for position in POSITIONS]
    np.testing.assert_allclose(AffineMap.to_world(layer).apply(POSITIONS), expected)


def test_map_to_pixels_agrees_with_napari():
    image = Image(np.zeros((5, 6)), **PLACE)
    points = Points(ndim=2, scale=(0.25, 3), rotate=-20, translate=(-4, 8))
    expected = [image.world_to_data(points.data_to_world(position)) for position in POSITIONS]
    np.testing.assert_allclose(AffineMap.to_pixels(points, image).apply(POSITIONS), expected)


def test_map_from_2d_layer_to_3d_image():
    image = Image(np.zeros((4, 5, 6)), scale=(4, 2, 0.5))
    to_image = AffineMap.to_pixels(Labels(np.zeros((5, 6), int)), image)
    assert to_image.axes.shape == (3, 2)
    np.testing.assert_allclose(to_image.apply(np.array([[2, 3]])), [[0, 1, 6]])
    held = to_image.with_constant(0, 3)
    np.testing.assert_allclose(held.apply(np.array([[2, 3]])), [[3, 1, 6]])
    assert to_image.origin[0] == 0


@pytest.mark.parametrize(
    ("place", "volume"),
    [({}, 1), ({"scale": (2, 0.5, 3), "rotate": 30}, 3), ({"scale": (-2, 1, 1)}, 2)],
)
def test_volume_of_one_pixel(place, volume):
    layer = Labels(np.zeros((2, 3, 4), int), **place)
    assert AffineMap.to_world(layer).volume == pytest.approx(volume)
