"""The option `refits`: centers from the classes after cleaning."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from napari_kmeans import segment, segment_slices, summarize
from napari_kmeans.options import Options

_RNG = np.random.default_rng(0)
COLORS = np.array([[230, 228, 220], [90, 140, 60], [120, 80, 40], [180, 170, 80]])


def _make_leaf():
    """Return the true classes and a noisy image of a leaf with lesions: two rare classes."""
    y, x = np.mgrid[:200, :300]
    truth = (((x - 150) / 130) ** 2 + ((y - 100) / 75) ** 2 < 1).astype(int)
    for _ in range(4):
        center_x, center_y, radius = _RNG.integers((70, 60, 6), (230, 140, 12))
        square = (x - center_x) ** 2 + (y - center_y) ** 2
        truth[(square < (radius + 4) ** 2) & (truth == 1)] = 3
        truth[square < radius**2] = 2
    image = COLORS[truth] + _RNG.normal(0, 30, (200, 300, 3))
    return truth, image.clip(0, 255).astype(np.uint8)


TRUTH, LEAF = _make_leaf()
GRAY = LEAF.mean(axis=-1).astype(np.uint16)


def percent_right(labels):
    table = np.zeros((labels.max() + 1, 4))
    np.add.at(table, (labels.ravel(), TRUTH.ravel()), 1)
    return 100 * table[linear_sum_assignment(-table)].sum() / TRUTH.size


def refit_by_hand(image, n_clusters, number, **options):
    """Return the result after several calls with the mean colors as fixed centers."""
    result = segment(image, n_clusters, **options)
    for _ in range(number):
        init = result.model.center_palette
        result = segment(image, len(init), init=init, keep_init=True, **options)
    return result


def test_rare_classes_lose_the_pixels_of_larger_ones():
    assert percent_right(segment(LEAF, 4, smoothing=2).labels) < 85
    assert percent_right(segment(LEAF, 4, smoothing=2, refits=10).labels) > 95


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (LEAF, {"smoothing": 2.0}),
        (LEAF, {"min_size": 30, "method": "full"}),
        (LEAF, {"smoothing": 2.0, "color_space": "lab", "mask": TRUTH != 3}),
        (GRAY, {"smoothing": 1.5}),
        (LEAF.astype(np.float32), {"smoothing": 1.5, "rgb": False, "normalize": "zscore"}),
        (LEAF, {"smoothing": 1.5, "blur": 1.0}),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_result_is_that_of_calls_with_the_mean_colors(image, options, number):
    expected = refit_by_hand(image, 4, number, **options)
    result = segment(image, 4, refits=number, **options)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.recolored, expected.recolored)
    np.testing.assert_array_equal(result.model.cluster_centers_, expected.model.cluster_centers_)
    assert result.table["pixels"].tolist() == expected.table["pixels"].tolist()
    assert result.options.refits == number
    assert result.options.n_clusters == 4
    assert isinstance(result.options.init, str)
    if "mask" not in options:
        np.testing.assert_array_equal(result.model.predict(image), result.labels)


@pytest.mark.parametrize("chunks", [(60, 100, 3), (200, 37, 1)])
def test_dask_images_have_the_same_labels(chunks):
    expected = segment(LEAF, 4, smoothing=2, min_size=20, refits=2)
    result = segment(da.from_array(LEAF, chunks=chunks), 4, smoothing=2, min_size=20, refits=2)
    np.testing.assert_array_equal(np.asarray(result.labels), expected.labels)
    np.testing.assert_array_equal(np.asarray(result.recolored), expected.recolored)


def test_several_images_are_fitted_again_together():
    halves = [LEAF[:, :150], LEAF[:, 150:]]
    expected = refit_by_hand(halves, 4, 2, smoothing=2)
    result = segment(halves, 4, smoothing=2, refits=2)
    for own, other in zip(result.labels, expected.labels, strict=True):
        np.testing.assert_array_equal(own, other)


def test_slices_are_fitted_again_by_themselves():
    volume = np.stack([GRAY, GRAY[::-1]])
    result = segment_slices(volume, 4, rgb=False, smoothing=1.5, refits=2)
    own = segment(GRAY, 4, smoothing=1.5, refits=2).labels
    pairs = np.unique(np.stack([result.labels[0].ravel(), own.ravel()]), axis=1)
    assert pairs.shape == (2, own.max())


def test_labels_without_cleaning_are_those_of_the_fit():
    np.testing.assert_array_equal(segment(LEAF, 4, refits=5).labels, segment(LEAF, 4).labels)


def test_undecided_pixels_count_in_the_mean_colors():
    decided = segment(LEAF, 4, smoothing=2, refits=3)
    result = segment(LEAF, 4, smoothing=2, refits=3, min_confidence=0.2)
    assert (result.labels == 0).any()
    is_decided = result.labels > 0
    np.testing.assert_array_equal(result.labels[is_decided], decided.labels[is_decided])
    np.testing.assert_array_equal(result.model.cluster_centers_, decided.model.cluster_centers_)


def test_refits_end_when_no_color_changes():
    calls = []
    result = segment(LEAF, 4, smoothing=2, refits=100, progress=lambda *done: calls.append(done))
    assert calls[-1] == (1000, 1000)
    assert calls == sorted(calls)
    again = refit_by_hand(LEAF, 4, 100, smoothing=2)
    np.testing.assert_array_equal(result.model.center_palette, again.model.center_palette)


def test_a_summary_gives_the_same_labels():
    summary = summarize(LEAF)
    np.testing.assert_array_equal(
        segment(LEAF, 4, smoothing=2, refits=2, summary=summary).labels,
        segment(LEAF, 4, smoothing=2, refits=2).labels,
    )


def test_clusters_keep_the_numbers_of_their_start_colors():
    init = COLORS[[2, 0, 3, 1]]
    result = segment(LEAF, 4, smoothing=2, init=init, refits=5)
    nearest = np.abs(result.model.center_palette[:, None] - init).sum(axis=2).argmin(axis=1)
    assert result.starts.tolist() == nearest.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texture": 1.0, "blur": 2.0}, "refits must be 0 for texture=1, got 3: "),
        ({"position": 0.5}, "refits must be 0 for position=0.5, got 3: "),
        ({"init": COLORS, "keep_init": True}, "refits must be 0 for keep_init=True, got 3: "),
        ({"refits": 101}, "refits must be"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Options(n_clusters=4, **{"refits": 3, "smoothing": 2.0} | options)
