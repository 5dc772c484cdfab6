"""Images of few colors get all their clusters, at a cost near the best of ten starts."""

from __future__ import annotations

import os
import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.color import rgb2hsv, rgb2lab
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from napari_kmeans import segment

CASES = int(os.environ.get("FUZZ_CASES", "0"))

MAX_RATIO = 1.005
"""Largest cost of a result relative to the best of ten starts of scikit-learn."""


def to_space(colors: np.ndarray, space: str, white: float) -> np.ndarray:
    """Return colors (n, C) in a color space, computed with scikit-image."""
    colors = colors.astype(float)
    if space == "lab":
        return rgb2lab(colors / white)
    if space == "hsv":
        hue, saturation, value = rgb2hsv(colors / white).T
        chroma, angle = saturation * value, 2 * np.pi * hue
        return white * np.stack([chroma * np.cos(angle), chroma * np.sin(angle), value], axis=1)
    return colors


_best_costs: dict[tuple[bytes, bytes, int], float] = {}


def find_best_cost(points: np.ndarray, weights: np.ndarray, n_clusters: int) -> float:
    """Return the smallest cost of ten starts of scikit-learn; 0 with a cluster for each point."""
    if n_clusters >= len(points):
        return 0.0
    # Images of several dtypes have the same colors.
    key = points.tobytes(), weights.tobytes(), n_clusters
    if key not in _best_costs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = KMeans(n_clusters, n_init=10, random_state=0).fit(points, sample_weight=weights)
        _best_costs[key] = float(fit.inertia_)
    return _best_costs[key]


def check(image: np.ndarray, n_clusters: int, space: str = "rgb", **where: object) -> None:
    """Check both methods against scikit-learn on the distinct colors."""
    pixels = image.reshape(-1, 3) if where.get("rgb") else image.reshape(-1, 1)
    if "channel_axis" in where:
        pixels = np.moveaxis(image, int(str(where["channel_axis"])), -1)
        pixels = pixels.reshape(-1, pixels.shape[-1])
    colors, weights = np.unique(pixels, axis=0, return_counts=True)
    white = float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else 1.0
    points = to_space(colors, space, white)
    best = find_best_cost(points, weights.astype(float), n_clusters)
    costs = {}
    for method in ("coreset", "full"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seg = segment(image, n_clusters, color_space=space, method=method, **where)
        assert seg.model.n_clusters == min(n_clusters, len(colors))
        assert np.unique(seg.labels).tolist() == list(range(1, seg.model.n_clusters + 1))
        assert bool(caught) == (n_clusters > len(colors))
        costs[method] = seg.model.inertia_
    # In lab, scikit-image rounds differently, because it sums in another order.
    rounding = 1e-9 * weights.sum() * (1 + np.abs(points).max())
    assert costs["full"] <= MAX_RATIO * best + rounding
    assert costs["full"] <= costs["coreset"] * (1 + 1e-9) + rounding


def uniform(low: int, high: int, dtype: str = "u1", shape: tuple[int, ...] = (64, 64, 3)):
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


IMAGES = {
    "64 colors in one cell": uniform(100, 104),
    "dim photograph": data.coffee()[::2, ::2] // 32,
    "dim photograph of more colors": data.astronaut()[::2, ::2] // 16,
    "low contrast": data.astronaut()[::2, ::2] // 16 + 120,
    "posterized": data.chelsea()[::2, ::2] // 64 * 64,
    "two tones": np.where(uniform(0, 2)[..., :1], [10, 20, 30], [12, 20, 33]).astype("u1"),
    "almost constant": np.r_[np.full(4094, 77), [78, 79]]
    .reshape(64, 64, 1)
    .repeat(3, 2)
    .astype("u1"),
    "constant": np.full((40, 40, 3), 9, "u1"),
}


@pytest.mark.parametrize("n_clusters", [1, 2, 4, 16, 64, 100])
@pytest.mark.parametrize("name", IMAGES)
def test_rgb_image_of_few_colors_gets_all_clusters(name, n_clusters):
    check(IMAGES[name], n_clusters, rgb=True)


@pytest.mark.parametrize("space", ["hsv", "lab"])
@pytest.mark.parametrize("n_clusters", [4, 30])
@pytest.mark.parametrize("name", ["64 colors in one cell", "dim photograph", "posterized"])
def test_hsv_and_lab_image_of_few_colors_gets_all_clusters(name, n_clusters, space):
    check(IMAGES[name], n_clusters, space, rgb=True)


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i2", "u4", "i8", ">u2"])
@pytest.mark.parametrize("n_clusters", [2, 5, 40])
def test_integer_image_of_few_colors_gets_all_clusters(dtype, n_clusters):
    low = 0 if dtype == "?" else 40
    check(uniform(low, low + 3, dtype, (40, 40, 3)), n_clusters, rgb=True)
    check(uniform(low, low + 2, dtype, (50, 5, 40)), n_clusters, channel_axis=1)
    check(uniform(low, low + 9, dtype, (40, 40)), n_clusters, rgb=False)


@settings(
    max_examples=CASES // 20 or 15,
    derandomize=not CASES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_random_image_of_few_colors_gets_all_clusters(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dtype = data.draw(st.sampled_from(["u1", "u1", "u2", "i2", "u4"]))
    levels, low = data.draw(st.integers(1, 7)), data.draw(st.integers(0, 248))
    image = rng.integers(low, low + levels, (40, 40, 3)).astype(dtype)
    if data.draw(st.booleans()):
        palette = image.reshape(-1, 3)[: data.draw(st.integers(1, 60))]
        image = palette[rng.geometric(0.2, (40, 40)) % len(palette)]
    space = data.draw(st.sampled_from(["rgb", "rgb", "hsv", "lab"])) if dtype == "u1" else "rgb"
    check(image, data.draw(st.sampled_from([1, 2, 3, 5, 8, 17, 33, 64])), space, rgb=True)


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("lazy", [False, True])
def test_single_pixels_among_490000_floats_get_their_own_clusters(method, lazy):
    # Distinct floats are not counted, and a sample of 490,000 pixels misses single pixels.
    image = np.full((700, 700, 3), 0.25, np.float32)
    image[:, 350:] = 0.75
    image[123, 45] = 0.250001
    image[600, 45] = 0.749999
    given_image = da.from_array(image, chunks=(200, 300, 3)) if lazy else image
    seg = segment(given_image, 4, method=method, rgb=True)
    assert np.bincount(np.asarray(seg.labels).ravel()).tolist()[1:] == [244_998, 1, 1, 245_000]


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_coreset_of_one_point_per_cluster_loses_no_cluster(dtype):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (60, 60, 3)).astype(dtype)
    if dtype == "f4":
        image /= 255
    for n_clusters in (3, 10, 40):
        seg = segment(image, n_clusters, rgb=True, coreset_size=n_clusters)
        assert seg.model.n_clusters == n_clusters
        assert np.bincount(seg.labels.ravel())[1:].all()


@pytest.mark.parametrize("max_iter", [1, 2])
@pytest.mark.parametrize("lazy", [False, True])
def test_one_iteration_loses_no_cluster(max_iter, lazy):
    image = np.random.default_rng(2).random((50, 50, 3))
    start = np.repeat(image[:1, 0], 9, axis=0)
    given_image = da.from_array(image, chunks=(20, 50, 3)) if lazy else image
    seg = segment(given_image, 9, rgb=True, method="full", init=start, max_iter=max_iter, tol=1.0)
    assert seg.model.n_clusters == 9


@pytest.mark.parametrize("number", [1.0, 1e-5, 0.3, 1e90])
@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("lazy", [False, True])
def test_adjacent_floats_are_two_colors(number, method, lazy):
    image = np.full((40, 40, 3), number)
    image[::2] = np.nextafter(number, np.inf)
    given_image = da.from_array(image, chunks=(20, 20, 3)) if lazy else image
    seg = segment(given_image, 2, rgb=True, method=method)
    assert np.unique(np.asarray(seg.labels)[::2]).tolist() == [2]
    assert np.unique(np.asarray(seg.labels)[1::2]).tolist() == [1]
