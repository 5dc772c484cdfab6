"""Moments of pixels against numpy."""

import numpy as np
import pytest

from napari_kmeans.feature_space.space import PLAIN
from napari_kmeans.imaging import blocks
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.streaming import find_moments


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 9, 3), (97, 83, 1), (150, 130, 5), (40, 30, 70)])
def test_moments_are_those_of_numpy(shape, dtype, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 20_000)
    rng = np.random.default_rng(shape[-1])
    image = rng.normal(90, 20, shape).clip(0, 255).astype(dtype)
    image[0, 0] = 255
    mask = rng.random(shape[:2]) < 0.9
    mask[0, 0] = True
    points = image[mask].astype(np.float64)
    images = open_images(image, rgb=False, channel_axis=-1, mask=mask)
    moments = find_moments(images, PLAIN)
    assert moments.n_pixels == len(points)
    np.testing.assert_allclose(moments.means, points.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.scatters, len(points) * points.var(axis=0), rtol=1e-11)
    np.testing.assert_array_equal(moments.low, points.min(axis=0))
    np.testing.assert_array_equal(moments.high, points.max(axis=0))


def test_moments_far_from_zero_are_precise():
    points = 1e6 + np.random.default_rng(0).random((300, 200, 2))
    # An outlier comes first.
    points[0, 0] = 0
    (image,) = open_images(points, rgb=False, channel_axis=-1)
    scatters = find_moments([image], PLAIN).scatters
    expected = points.reshape(-1, 2).astype(np.longdouble).var(axis=0) * 60_000
    np.testing.assert_allclose(scatters, expected.astype(np.float64), rtol=1e-9)


def test_moments_of_small_differences_far_from_zero_are_those_of_long_doubles():
    steps = np.random.default_rng(1).integers(0, 20, (70, 90, 1))
    points = 1e9 + 0.1 * steps
    (image,) = open_images(points, rgb=False, channel_axis=-1)
    moments = find_moments([image], PLAIN)
    exact = points.astype(np.longdouble) - np.longdouble(1e9)
    np.testing.assert_allclose(moments.scatters, float(exact.var() * exact.size), rtol=1e-12)
    assert moments.means[0] - 1e9 == pytest.approx(float(exact.mean()), abs=2e-7)
