"""Smoothing of labels: truth is a brute-force search, the energy itself, and phantoms."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_kmeans.execution import threads
from napari_kmeans.imaging import smoothing
from napari_kmeans.imaging.smoothing import Smoother


def energy(smoother, points, labels):
    """Return the energy of labels, from its definition. Pixels of label 0 do not count."""
    kept = labels > 0
    squares = np.full((*labels.shape, smoother.classes.max() + 1), np.inf)
    for center, row in zip(smoother.centers, smoother.classes, strict=True):
        own = ((points - center) ** 2).sum(axis=-1)
        squares[..., row] = np.minimum(squares[..., row], own)
    chosen = np.take_along_axis(squares, np.maximum(labels.astype(int) - 1, 0)[..., None], -1)
    total = (chosen[..., 0] / (2 * smoother.variance))[kept].sum()
    spacing = np.array(smoother.spacing)
    nearest = spacing[spacing > 0].min()
    for step in product((-1, 0, 1), repeat=labels.ndim):
        step = np.array(step)
        if tuple(step) <= (0,) * labels.ndim or (step[spacing == 0] != 0).any():
            continue
        weight = smoother.smoothing * nearest / np.sqrt(((step * spacing) ** 2).sum())
        first = tuple(
            slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, labels.shape, strict=True)
        )
        second = tuple(
            slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, labels.shape, strict=True)
        )
        a, b = labels[first], labels[second]
        total += weight * ((a != b) & (a > 0) & (b > 0)).sum()
    return total


def make(shape, n_classes=4, noise=40, seed=0, n_channels=3, **settings):
    """Return a smoother, noisy points of smooth regions, the nearest labels and the truth."""
    rng = np.random.default_rng(seed)
    fields = [
        gaussian_filter(rng.normal(size=shape), min(4, min(shape) / 2)) for _ in range(n_classes)
    ]
    truth = np.argmax(fields, axis=0)
    centers = rng.uniform(60, 195, (n_classes, n_channels))
    points = centers[truth] + rng.normal(0, noise, (*shape, n_channels))
    arguments = {"smoothing": 1.0, "spacing": (1.0,) * len(shape), **settings}
    smoother = Smoother(centers, np.arange(n_classes), float(noise) ** 2, **arguments)
    nearest = ((points[..., None, :] - centers) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    return smoother, points, nearest.astype(np.uint8), truth + 1


def smooth_slowly(smoother, points, nearest):
    """Return the smoothed labels of an image, one pixel and one neighbor at a time."""
    spacing = np.array(smoother.spacing)
    steps = [np.array(step) for step in product((-1, 0, 1), repeat=nearest.ndim) if any(step)]
    weights = [spacing.min() / np.sqrt(((step * spacing) ** 2).sum()) for step in steps]

    def neighbors(place, labels):
        for step, weight in zip(steps, weights, strict=True):
            other = tuple(place + step)
            if min(other) >= 0 and all(np.array(other) < labels.shape) and labels[other]:
                yield other, smoother.smoothing * weight

    def cost(point, label):
        own = smoother.centers[smoother.classes == label - 1]
        return ((point - own) ** 2).sum(axis=1).min() / (2 * smoother.variance)

    labels, n_classes = nearest.astype(int), smoother.classes.max() + 1
    for place in np.argwhere(nearest):
        place = tuple(place)
        around = [other for other, _ in neighbors(place, nearest)]
        # The kernel counts in 255ths of the weight of all neighbors, rounded down.
        shares = np.floor(255 * np.array(weights) / sum(weights)).astype(int)
        same = 0
        for step, share in zip(steps, shares, strict=True):
            other = tuple(place + step)
            if other in around and nearest[other] == nearest[place]:
                same += share
        if same < 128:
            mean = np.mean([points[place], *(points[other] for other in around)], axis=0)
            labels[place] = 1 + np.argmin([cost(mean, k) for k in range(1, n_classes + 1)])
    for _ in range(smoothing.N_SWEEPS):
        for color in product((0, 1), repeat=nearest.ndim):
            for place in map(tuple, np.argwhere(nearest)):
                if tuple(np.array(place) % 2) != color:
                    continue
                # A dictionary keeps the order: of equal energies, the first label wins.
                sums = {labels[place]: 0.0, int(nearest[place]): 0.0}
                for other, weight in neighbors(place, labels):
                    sums[labels[other]] = sums.get(labels[other], 0.0) + weight
                energies = {k: cost(points[place], k) - total for k, total in sums.items()}
                labels[place] = min(energies, key=energies.get)
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("n_classes", [2, 7])
@pytest.mark.parametrize("kind", ["nearest", "left out", "merged", "not nearest"])
@pytest.mark.parametrize("shape", [(23, 19), (6, 7, 5), (1, 40), (70,)])
def test_labels_are_those_of_a_slow_search(shape, kind, n_classes, dtype, monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 3)
    # Several bands, and slabs whose passes meet.
    monkeypatch.setattr(smoothing, "_BAND_PIXELS", 20)
    rng = np.random.default_rng(n_classes)
    spacing = (1.5, 1.0, 1.0)[-len(shape) :]
    smoother, points, nearest, _ = make(shape, n_classes, noise=50, spacing=spacing)
    points = np.clip(points, 0, 255).astype(dtype)
    squares = ((points[..., None, :].astype(float) - smoother.centers) ** 2).sum(axis=-1)
    nearest = (squares.argmin(axis=-1) + 1).astype(np.uint8)
    if kind == "left out":
        nearest[rng.random(shape) < 0.2] = 0
    if kind == "merged":
        smoother = replace(smoother, classes=np.arange(n_classes) // 2)
        nearest = (nearest + 1) // 2
    if kind == "not nearest":
        smoother = replace(smoother, is_nearest=False)
        nearest = np.where(rng.random(shape) < 0.5, rng.integers(1, 3, shape), nearest)
        nearest = nearest.astype(np.uint8)
    smoothed = smoother.smooth(points, nearest)
    np.testing.assert_array_equal(smoothed, smooth_slowly(smoother, points, nearest))
    assert (smoothed != nearest).any() or smoother.classes.max() == 0


@pytest.mark.parametrize(("n_channels", "n_classes"), [(64, 3), (20, 17), (3, 33)])
def test_many_channels_and_classes_have_the_labels_of_a_slow_search(n_channels, n_classes):
    # The noise of 64 channels together is eight times that of one.
    noise = 50 * np.sqrt(n_channels)
    smoother, points, nearest, _ = make((23, 19), n_classes, noise, n_channels=n_channels)
    smoothed = smoother.smooth(points, nearest)
    np.testing.assert_array_equal(smoothed, smooth_slowly(smoother, points, nearest))
    assert (smoothed != nearest).any()


@pytest.mark.parametrize("shape", [(14, 15), (4, 7, 8), (60,), (3, 12, 10)])
@pytest.mark.parametrize("spacing", [1.0, "uneven", "time"])
def test_the_energy_is_lower_and_single_changes_do_not_lower_it(shape, spacing):
    spacings = {"uneven": (2.5, 1.0, 0.7)[-len(shape) :], "time": (0.0, 1.0, 1.0)[-len(shape) :]}
    own = spacings.get(spacing, (1.0,) * len(shape))
    smoother, points, nearest, _ = make(shape, spacing=own, smoothing=0.8)
    smoothed = smoother.smooth(points, nearest)
    assert smoothed.dtype == nearest.dtype
    assert smoothed.shape == shape
    final = energy(smoother, points, smoothed)
    if smoother.is_off:
        assert smoothed is nearest
        return
    assert final < energy(smoother, points, nearest)
    rng = np.random.default_rng(0)
    for place in zip(*(rng.integers(0, n, 60) for n in shape), strict=True):
        for label in range(1, 5):
            other = smoothed.copy()
            other[place] = label
            assert energy(smoother, points, other) >= final - 1e-9


@pytest.mark.parametrize("n_sweeps", [0, 1, 2, 3, 8])
def test_no_sweep_raises_the_energy(n_sweeps, monkeypatch):
    smoother, points, nearest, _ = make((50, 40), noise=60)
    energies = []
    for number in (n_sweeps, n_sweeps + 1):
        monkeypatch.setattr(smoothing, "N_SWEEPS", number)
        energies.append(energy(smoother, points, smoother.smooth(points, nearest)))
    assert energies[1] <= energies[0]


def test_the_minimum_of_small_images_is_found_or_nearly_so():
    every = np.array(list(product(range(3), repeat=9))).reshape(-1, 3, 3)
    pairs = np.zeros(len(every))
    for a, b, weight in (
        (every[:, 1:], every[:, :-1], 1),
        (every[:, :, 1:], every[:, :, :-1], 1),
        (every[:, 1:, 1:], every[:, :-1, :-1], 2**-0.5),
        (every[:, 1:, :-1], every[:, :-1, 1:], 2**-0.5),
    ):
        pairs += weight * (a != b).sum(axis=(1, 2))
    gaps = []
    for seed in range(100):
        smoother, points, nearest, _ = make((3, 3), n_classes=3, noise=50, seed=seed)
        squares = ((points[..., None, :] - smoother.centers) ** 2).sum(axis=-1)
        costs = squares.reshape(9, 3) / (2 * smoother.variance)
        energies = pairs + costs[np.arange(9), every.reshape(-1, 9)].sum(axis=1)
        found = energy(smoother, points, smoother.smooth(points, nearest))
        gaps.append(found / energies.min() - 1)
    assert min(gaps) >= -1e-12
    assert np.mean(np.array(gaps) < 1e-12) > 0.8
    assert np.mean(gaps) < 0.01


def test_one_pixel_of_another_color_joins_its_neighbors_only_if_that_costs_less():
    centers = np.array([[0.0], [10.0]])
    image = np.zeros((5, 5, 1))
    image[2, 2] = 10
    nearest = (image[..., 0] > 5).astype(np.uint8) + 1
    # Eight different neighbors cost 4 + 4 / √2 times the smoothing; the color costs 100 / 2 σ².
    pairs = 4 + 4 / np.sqrt(2)
    for factor, expected in ((0.99, 2), (1.01, 1)):
        smoother = Smoother(centers, np.arange(2), 1.0, factor * 50 / pairs, (1.0, 1.0))
        assert smoother.smooth(image, nearest)[2, 2] == expected
    # In a volume of voxels that are four times as thick, the other slices count a quarter.
    volume, near = np.stack([image, image * 0, image * 0]), np.stack([nearest, nearest * 0 + 1] * 2)
    volume, near = volume[[1, 0, 2]], near[[1, 0, 3]]
    slices = 2 * (1 / 4 + 4 / np.sqrt(16 + 1) + 4 / np.sqrt(16 + 2))
    for factor, expected in ((0.99, 2), (1.01, 1)):
        cost = factor * 50 / (pairs + slices)
        smoother = Smoother(centers, np.arange(2), 1.0, cost, (4.0, 1.0, 1.0))
        assert smoother.smooth(volume, near)[1, 2, 2] == expected


def test_left_out_pixels_stay_and_do_not_count():
    smoother, points, nearest, _ = make((40, 30), noise=60)
    nearest[10:20, 5:25] = 0
    points[10:20, 5:25] = np.nan
    smoothed = smoother.smooth(points, nearest)
    np.testing.assert_array_equal(smoothed == 0, nearest == 0)
    # Two parts that are separated by left-out pixels do not affect each other.
    nearest[:, 14:16] = 0
    whole = smoother.smooth(points, nearest)
    left = smoother.smooth(points[:, :14], nearest[:, :14])
    right = smoother.smooth(points[:, 16:], nearest[:, 16:])
    np.testing.assert_array_equal(whole[:, :14], left)
    np.testing.assert_array_equal(whole[:, 16:], right)


def test_a_permutation_of_the_classes_permutes_the_labels():
    smoother, points, nearest, _ = make((50, 60), noise=70, n_classes=5)
    order = np.array([3, 0, 4, 1, 2])
    other = Smoother(smoother.centers[order], np.arange(5), smoother.variance, 1.0, (1.0, 1.0))
    new_labels = np.append(0, np.argsort(order) + 1).astype(np.uint8)
    smoothed = smoother.smooth(points, nearest)
    np.testing.assert_array_equal(other.smooth(points, new_labels[nearest]), new_labels[smoothed])


def test_classes_of_several_centers_count_their_nearest_center():
    smoother, points, nearest, _ = make((40, 50), noise=50, n_classes=4)
    classes = np.array([0, 1, 0, 2])
    merged = Smoother(smoother.centers, classes, smoother.variance, 1.0, (1.0, 1.0))
    near = (classes[nearest - 1] + 1).astype(np.uint8)
    smoothed = merged.smooth(points, near)
    assert energy(merged, points, smoothed) < energy(merged, points, near)
    assert set(np.unique(smoothed)) <= {1, 2, 3}


@pytest.mark.parametrize("shape", [(90, 70), (12, 30, 35)])
def test_windows_and_threads_give_the_labels_of_the_whole_image(shape, monkeypatch):
    smoother, points, nearest, _ = make(shape, noise=60)
    expected = smoother.smooth(points, nearest)
    monkeypatch.setattr(smoothing, "_BAND_PIXELS", 200)
    for n_threads in (1, 2, 8):
        monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
        np.testing.assert_array_equal(smoother.smooth(points, nearest), expected)
    # Smoothing with fewer sweeps has a smaller reach than the image.
    monkeypatch.setattr(smoothing, "N_SWEEPS", 1)
    expected = smoother.smooth(points, nearest)
    reach = smoother.reach
    for start in ((37, 11), (4, 9, 13)):
        if len(start) != len(shape):
            continue
        window = tuple(slice(max(s - r, 0), s + 6 + r) for s, r in zip(start, reach, strict=True))
        inner = tuple(
            slice(s - w.start, s - w.start + 6) for s, w in zip(start, window, strict=True)
        )
        own = smoother.smooth(points[window], nearest[window], tuple(each.start for each in window))
        place = tuple(slice(s, s + 6) for s in start)
        np.testing.assert_array_equal(own[inner], expected[place])


@pytest.mark.parametrize(("shape", "smoothing_"), [((200, 200), 1.5), ((24, 48, 48), 1.0)])
@pytest.mark.parametrize(("noise", "at_least"), [(15, 0.995), (30, 0.985), (45, 0.96)])
def test_noisy_phantoms_are_labeled_right(shape, smoothing_, noise, at_least):
    rng = np.random.default_rng(1)
    fields = [gaussian_filter(rng.normal(size=shape), 8) for _ in range(4)]
    truth = np.argmax(fields, axis=0) + 1
    centers = np.array([[60, 60, 60], [60, 150, 60], [150, 60, 90], [180, 170, 160]], float)
    points = centers[truth - 1] + rng.normal(0, noise, (*shape, 3))
    nearest = ((points[..., None, :] - centers) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    smoother = Smoother(centers, np.arange(4), float(noise) ** 2, smoothing_, (1.0,) * len(shape))
    smoothed = smoother.smooth(points, nearest.astype(np.uint8))
    assert (smoothed == truth).mean() > max(at_least, (nearest == truth).mean())
