"""Removal of small regions: truth is a slow search with scipy and hand-made images."""

from __future__ import annotations

from collections import Counter
from inspect import signature
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, generate_binary_structure
from scipy.ndimage import label as label_components
from skimage.morphology import remove_small_holes, remove_small_objects

from napari_kmeans.execution import threads
from napari_kmeans.imaging import regions
from napari_kmeans.imaging.regions import RegionFilter


def filter_slowly(labels, min_size, is_linked, chosen=None):
    """Return the labels without small regions, one pixel and one neighbor at a time."""
    structure = generate_binary_structure(labels.ndim, labels.ndim)
    for axis, linked in enumerate(is_linked):
        if not linked:
            structure = structure & (np.indices(structure.shape)[axis] == 1)
    numbers, n_regions = np.zeros(labels.shape, int), 0
    for label in np.unique(labels[labels > 0]):
        found, n_found = label_components(labels == label, structure)
        numbers += np.where(found, found + n_regions, 0)
        n_regions += n_found
    sizes = np.bincount(numbers.ravel(), minlength=n_regions + 1)
    is_settled = sizes[numbers] >= min_size
    if chosen is not None:
        is_settled |= ~np.isin(labels, chosen)
    current = np.where(is_settled, labels, 0)
    steps = [np.array(step) - 1 for step in np.argwhere(structure) if (step != 1).any()]
    for _ in range(3):
        votes = {}
        for place in np.argwhere((labels > 0) & (current == 0)):
            for step in steps:
                other = tuple(place + step)
                if min(other) >= 0 and all(np.array(other) < labels.shape) and current[other]:
                    votes.setdefault(numbers[tuple(place)], Counter())[int(current[other])] += 1
        after = current.copy()
        for region, counter in votes.items():
            best = max(counter.values())
            winners = [label for label, count in counter.items() if count == best]
            after[numbers == region] = winners[0]
        current = after
    return np.where((labels > 0) & (current == 0), labels, current)


def speckle(shape, seed, n_labels=4):
    """Return labels of smooth regions with speckles and some pixels that are left out."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, n_labels + 1, [-(-n // 5) for n in shape])
    for axis, n in enumerate(shape):
        coarse = np.repeat(coarse, 5, axis=axis).take(range(n), axis=axis)
    noisy = np.where(rng.random(shape) < 0.25, rng.integers(0, n_labels + 1, shape), coarse)
    return noisy.astype(np.uint8)


@pytest.mark.parametrize("shape", [(30, 40), (6, 12, 15), (80,), (3, 14, 11)])
@pytest.mark.parametrize("min_size", [2, 4, 9])
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_a_slow_search(shape, min_size, seed):
    labels = speckle(shape, seed)
    is_linked = (seed > 0, *(True,) * (len(shape) - 1)) if len(shape) > 1 else (True,)
    given = labels.copy()
    filtered = RegionFilter(min_size, is_linked).filter(labels)
    np.testing.assert_array_equal(labels, given)
    assert filtered.dtype == labels.dtype
    np.testing.assert_array_equal(filtered == 0, labels == 0)
    np.testing.assert_array_equal(filtered, filter_slowly(labels, min_size, is_linked))


@pytest.mark.parametrize("shape", [(30, 40), (6, 12, 15), (3, 14, 11)])
@pytest.mark.parametrize("chosen", [(2,), (1, 4), (1, 2, 3, 4), ()])
def test_small_regions_of_other_labels_stay(shape, chosen, monkeypatch):
    labels = speckle(shape, 7)
    is_linked = (len(shape) == 2, *(True,) * (len(shape) - 1))
    filtered = RegionFilter(6, is_linked, chosen).filter(labels)
    expected = filter_slowly(labels, 6, is_linked, chosen)
    np.testing.assert_array_equal(filtered, expected)
    # No label but the chosen ones loses a pixel.
    others = (labels > 0) & ~np.isin(labels, chosen)
    np.testing.assert_array_equal(filtered[others], labels[others])
    everywhere = RegionFilter(6, is_linked).filter(labels)
    assert (filtered != everywhere).any() == (len(chosen) < 4)
    monkeypatch.setattr(regions, "_WINDOW_PIXELS", 100)
    np.testing.assert_array_equal(RegionFilter(6, is_linked, chosen).filter(labels), expected)


def test_holes_are_filled_and_large_regions_stay():
    labels = np.ones((20, 20), np.uint8)
    labels[3:6, 3:6] = 2  # 9 pixels
    labels[10:14, 10:14] = 2  # 16 pixels
    labels[10, 0:4] = 3
    for min_size, n_left in ((9, 25), (10, 16), (17, 0)):
        filtered = RegionFilter(min_size, (True, True)).filter(labels)
        assert (filtered == 2).sum() == n_left
        assert (filtered == 3).sum() == 0
    np.testing.assert_array_equal(RegionFilter(1, (True, True)).filter(labels), labels)


def test_a_diagonal_line_is_one_region():
    labels = np.eye(12, dtype=np.uint8) + 1
    np.testing.assert_array_equal(RegionFilter(12, (True, True)).filter(labels), labels)
    assert (RegionFilter(13, (True, True)).filter(labels) == 1).all()


def test_a_region_among_pixels_that_are_left_out_keeps_its_label():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 3
    np.testing.assert_array_equal(RegionFilter(5, (True, True)).filter(labels), labels)


@pytest.mark.parametrize("shape", [(400, 23), (21, 500), (300, 9, 8)])
def test_windows_and_threads_give_the_same_labels(shape, monkeypatch):
    labels = speckle(shape, 5)
    region_filter = RegionFilter(4, (True,) * len(shape))
    expected = region_filter.filter(labels)
    monkeypatch.setattr(regions, "_WINDOW_PIXELS", 200)
    for n_threads in (1, 8):
        monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
        np.testing.assert_array_equal(region_filter.filter(labels), expected)
    reach = region_filter.reach[0]
    middle = slice(200, 230)
    axis = int(np.argmax(shape))
    outer = (slice(None),) * axis + (slice(200 - reach, 230 + reach),)
    inner = (slice(None),) * axis + (slice(reach, reach + 30),)
    place = (slice(None),) * axis + (middle,)
    np.testing.assert_array_equal(region_filter.filter(labels[outer])[inner], expected[place])


def test_all_neighbors_are_tried():
    # The region is surrounded by 5 pixels of label 1, 7 pairs of label 2.
    for step in product((-1, 0, 1), repeat=2):
        labels = np.full((5, 5), 2, np.uint8)
        labels[2, 2] = 1
        labels[2 + step[0], 2 + step[1]] = 1
        assert (RegionFilter(3, (True, True)).filter(labels) == 2).all()


@pytest.mark.parametrize("shape", [(60, 70), (12, 20, 25)])
@pytest.mark.parametrize("min_size", [3, 20])
def test_two_labels_give_the_small_objects_and_holes_of_scikit_image(shape, min_size):
    rng = np.random.default_rng(1)
    noise = gaussian_filter(rng.normal(size=shape), 0.8) > 0
    labels = noise.astype(np.uint8) + 1
    objects = RegionFilter(min_size, (True,) * len(shape), (2,)).filter(labels) == 2
    np.testing.assert_array_equal(objects, keep_large(noise, min_size))
    holes = RegionFilter(min_size, (True,) * len(shape), (1,)).filter(labels) == 1
    np.testing.assert_array_equal(holes, keep_large(~noise, min_size))
    assert (objects != noise).any()
    assert (holes == noise).any()


def keep_large(mask, min_size):
    """Return a mask without small objects. scikit-image fills holes in the same way."""
    if "max_size" in signature(remove_small_objects).parameters:
        small: dict = {"max_size": min_size - 1}
        small_hole = small
    else:
        small, small_hole = {"min_size": min_size}, {"area_threshold": min_size}
    kept = remove_small_objects(mask, connectivity=mask.ndim, **small)
    filled = remove_small_holes(~mask, connectivity=mask.ndim, **small_hole)
    np.testing.assert_array_equal(kept, ~filled)
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_holes_get_the_label_around_them_and_pixels_that_are_left_out_stay(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(rng.integers(1, 4, (4, 5)), 20, 0), 20, 1).astype(np.uint8)
    for value in (0, 1, 2, 3, 0, 1, 2, 3):
        for y, x in rng.integers(1, 75, (12, 2)):
            labels[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = value
    filtered = RegionFilter(12, (True, True)).filter(labels)
    np.testing.assert_array_equal(filtered == 0, labels == 0)
    structure, n_holes = np.ones((3, 3)), 0
    for label in (1, 2, 3):
        regions, n_regions = label_components(labels == label, structure)
        sizes = np.bincount(regions.ravel())
        for number in range(1, n_regions + 1):
            region = regions == number
            around = binary_dilation(region, structure) & ~region & (labels > 0)
            if sizes[number] >= 12:
                assert (filtered[region] == label).all()
            elif len(np.unique(labels[around])) == 1:
                # Left-out pixels beside the region do not count.
                (outer,) = np.unique(labels[around])
                own = label_components(labels == outer, structure)[0]
                if (np.bincount(own.ravel())[np.unique(own[around])] >= 12).all():
                    assert (filtered[region] == outer).all()
                    n_holes += 1
            elif not around.any():
                assert (filtered[region] == label).all()
    assert n_holes > 5


def test_a_hole_of_several_small_regions_is_filled():
    labels = np.ones((20, 20), np.uint8)
    labels[5:12, 5:12] = np.arange(7)[:, None] % 2 + 2  # seven stripes of 7 pixels
    assert (RegionFilter(8, (True, True)).filter(labels) == 1).all()
    # A hole of the middle alone is left out, and stays.
    labels[8, 8] = 0
    filtered = RegionFilter(8, (True, True)).filter(labels)
    assert (filtered == 0).sum() == 1
    assert filtered[8, 8] == 0
    assert (filtered == 1).sum() == 399


def test_a_window_inside_a_task_is_not_divided(monkeypatch):
    labels = np.random.default_rng(0).integers(1, 4, (120, 30)).astype(np.uint8)
    sizes = []
    replace_small = regions._replace_small
    monkeypatch.setattr(
        regions,
        "_replace_small",
        lambda window, *rest: (sizes.append(window.size), replace_small(window, *rest)),
    )
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    expected = RegionFilter(2, (True, True)).filter(labels)
    assert len(sizes) == 6
    sizes.clear()
    with threads.in_task():
        np.testing.assert_array_equal(RegionFilter(2, (True, True)).filter(labels), expected)
    # A part would repeat the work on its halo, in the same thread.
    assert sizes == [labels.size]
