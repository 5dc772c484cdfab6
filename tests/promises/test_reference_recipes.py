"""The recipes that this project started from reach known costs, which ``pytest -s`` prints."""

from itertools import pairwise

import numpy as np
import pytest
from skimage import color, data
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image

from napari_kmeans import segment


def cost(result):
    """Return the squared error per pixel, summed over the channels."""
    return result.model.inertia_ / np.count_nonzero(result.labels)


@pytest.fixture(scope="module")
def china():
    return load_sample_image("china.jpg")


def test_17_clusters_in_10_iterations_cost_as_much_as_in_scikit_learn():
    image = data.coffee()
    full = segment(image, 17, method="full", max_iter=10)
    sample = segment(image, 17, method="coreset", coreset_size=2000, max_iter=10)
    print(f"K=17, 10 iterations: full {cost(full):.1f}, coreset of 2,000 {cost(sample):.1f}")
    for result in (full, sample):
        assert result.model.n_iter_ <= 10
        assert len(np.unique(result.recolored.reshape(-1, 3), axis=0)) == 17
        error = (image.astype(float) - result.model.palette[result.labels - 1]) ** 2
        # The palette contains the means, so that no other colors of these clusters are nearer.
        assert error.sum(axis=2).mean() <= cost(result) * (1 + 1e-9)
    assert len(sample.coreset.points) <= 2000
    pixels = image.reshape(-1, 3).astype(float)
    reference = KMeans(17, n_init=3, max_iter=10, random_state=0).fit(pixels).inertia_ / len(pixels)
    assert cost(full) <= 1.01 * reference
    assert cost(sample) <= 1.03 * reference


@pytest.mark.parametrize("n_clusters", [2, 10])
def test_hsv_costs_as_much_as_scikit_learn_on_the_hsv_cone(n_clusters):
    image = data.immunohistochemistry()
    result = segment(image, n_clusters, color_space="hsv", method="full")
    # Fit the same HSV cone with scikit-learn to every pixel.
    hue, saturation, value = np.moveaxis(color.rgb2hsv(image).reshape(-1, 3), 1, 0)
    chroma, angle = 255 * saturation * value, 2 * np.pi * hue
    cone = np.stack([chroma * np.cos(angle), chroma * np.sin(angle), 255 * value], axis=1)
    reference = KMeans(n_clusters, n_init=3, random_state=0).fit(cone).inertia_ / len(cone)
    print(f"hsv, K={n_clusters}: {cost(result):.2f}, scikit-learn {reference:.2f}")
    assert cost(result) <= 1.002 * reference


@pytest.mark.parametrize("n_clusters", [2, 5, 10])
def test_smaller_tolerance_gives_more_iterations_and_a_lower_cost(n_clusters):
    image = data.coffee()
    runs = [
        segment(image, n_clusters, method="full", init="random", n_init=1, tol=tol)
        for tol in (0.1, 1e-3, 0.0)
    ]
    iterations = [run.model.n_iter_ for run in runs]
    print(f"K={n_clusters}: iterations {iterations}, costs {[f'{cost(run):.2f}' for run in runs]}")
    assert iterations[0] < iterations[1] < iterations[2] < 300
    assert cost(runs[0]) >= cost(runs[1]) >= cost(runs[2])
    # After convergence each center is the mean of its pixels.
    np.testing.assert_allclose(runs[2].model.cluster_centers_, runs[2].model.palette, atol=1e-9)


@pytest.mark.parametrize(("n_clusters", "n_init"), [(16, "auto"), (3, 10), (10, 10)])
def test_photograph_of_few_colors_costs_as_much_as_in_scikit_learn(china, n_clusters, n_init):
    result = segment(china, n_clusters, method="full", n_init=n_init)
    pixels = china.reshape(-1, 3).astype(float)
    reference = KMeans(n_clusters, n_init=1, random_state=0).fit(pixels).inertia_ / len(pixels)
    print(f"china, K={n_clusters}: {cost(result):.1f}, scikit-learn once {reference:.1f}")
    assert len(np.unique(result.recolored.reshape(-1, 3), axis=0)) == n_clusters
    assert cost(result) <= 1.001 * reference


@pytest.mark.parametrize("method", ["full", "coreset"])
def test_cost_falls_with_the_number_of_clusters(china, method):
    costs = {k: cost(segment(china, k, method=method)) for k in (2, 3, 4, 10, 32, 64)}
    print(method, {k: round(value, 1) for k, value in costs.items()})
    falling = list(costs.values())
    assert all(b < 0.9 * a for a, b in pairwise(falling))
    # Cost of the best of five restarts of exact K-means on this picture.
    assert costs[4] == pytest.approx(1368.5, rel=0.003)
    assert costs[32] == pytest.approx(190.1, rel=0.01)


def test_balance_gives_a_rare_color_of_a_photograph_its_own_cluster():
    image = data.astronaut()
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    # The blue of the flag and of the patch: 2 % of the pixels, without dark shades.
    is_blue = (blue > 60) & (blue > 1.3 * np.maximum(red, green))
    shares = {}
    for balance in (0.0, 0.5, 1.0):
        labels = segment(image, 4, color_space="lab", balance=balance).labels
        counts = np.bincount(labels[is_blue], minlength=5)
        blue_share, size = counts.max() / counts.sum(), (labels == counts.argmax()).mean()
        print(f"balance {balance}: {blue_share:.0%} of the blue in a cluster of {size:.1%}")
        shares[balance] = blue_share, size
    assert shares[0.0][1] > 0.2
    for balance in (0.5, 1.0):
        assert shares[balance][0] > 0.98
        assert shares[balance][1] < 0.04
