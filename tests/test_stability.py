"""Stability: truth is scikit-learn's adjusted Rand index, and images whose classes are known."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, jaccard_score

from napari_kmeans import (
    apply_classes,
    measure_stability,
    segment,
    split_anew,
    suggest_n_clusters,
    summarize,
)
from napari_kmeans.clustering.agreement import (
    Refits,
    adjusted_rand_index,
    count_pairs,
    match_clusters,
)
from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.options import Options


def four_colors(shape=(90, 80), noise=8, wide=1):
    """Return four distant colors with noise, in equal shares. The first has `wide` times more."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, shape)
    colors = np.array([[50, 60, 70], [200, 60, 60], [60, 200, 60], [220, 220, 220]])
    sigmas = noise * np.where(truth == 0, wide, 1)[..., None]
    image = colors[truth] + sigmas * rng.normal(0, 1, (*shape, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_rand_index_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 5, 60))
    weights = rng.integers(1, 9, 60)
    pairs = count_pairs(first, second, weights.astype(float), 4, 5)
    expected = adjusted_rand_score(np.repeat(first, weights), np.repeat(second, weights))
    assert adjusted_rand_index(pairs) == pytest.approx(expected)


def test_adjusted_rand_index_of_trivial_clusterings_is_1():
    assert adjusted_rand_index(np.array([[7.0]])) == 1
    assert adjusted_rand_index(np.eye(5)) == 1
    assert adjusted_rand_index(np.array([[1.0]])) == 1


def test_clusters_are_matched_one_to_one_and_the_rest_by_overlap():
    pairs = np.array([[40.0, 45.0, 0, 5], [0, 10, 0, 0], [0, 0, 30, 2]])
    # Cluster 1 of the second clustering shares most with cluster 0, which matches cluster 0.
    assert match_clusters(pairs).tolist() == [0, 1, 2, 0]


def test_distant_classes_are_found_again_and_others_are_not():
    image = four_colors()
    stable = measure_stability(segment(image, 4), image)
    assert stable.seeds == stable.halves == 1
    assert stable.table["jaccard"].tolist() == [1] * 4
    assert measure_stability(segment(image, 6), image).halves < 0.9


def test_only_the_parts_of_a_divided_color_have_a_low_jaccard_index():
    image = four_colors(noise=4, wide=4)
    jaccard = measure_stability(segment(image, 6), image).table["jaccard"]
    # The first color, the darkest, is divided into three parts at arbitrary places.
    assert (jaccard[:3] < 0.9).all()
    assert (jaccard[3:] > 0.95).all()


def test_jaccard_of_a_class_is_that_of_its_pixels():
    points = np.random.default_rng(0).normal(size=(300, 2))
    data = GroupedPoints(points, np.ones(300))
    centers = np.array([[-1.0, 0], [1, 0], [0, 1]])
    refits = Refits(data, centers, Options(n_clusters=3, n_init=2))
    reference = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    halves = refits._fit_halves(5)
    expected = np.mean([jaccard_score(reference, half, average=None) for half in halves], axis=0)
    agreement = refits.measure([5])
    np.testing.assert_allclose(agreement.jaccard, expected)
    assert agreement.halves == pytest.approx(adjusted_rand_score(*halves))
    assert refits.measure_halves([5]) == agreement.halves


def test_merging_parts_of_one_color_makes_the_classes_stable():
    image = four_colors(noise=4, wide=4)
    segmentation = segment(image, 6)
    before = measure_stability(segmentation, image)
    classes = segmentation.model.classes.merge([1, 2, 3]).rename(1, "dark")
    after = measure_stability(apply_classes(segmentation, classes), image)
    assert after.table["index"].tolist() == [1, 4, 5, 6]
    assert after.table["name"].tolist() == ["dark", "", "", ""]
    assert after.table["jaccard"].min() > 0.95
    assert after.halves > 0.98 > before.halves


def test_the_summary_a_dask_image_and_threads_give_the_same_numbers():
    image = four_colors(noise=40)
    mask = np.ones(image.shape[:2], bool)
    mask[:20] = False
    segmentation = segment(image, 5, mask=mask, color_space="lab")
    direct = measure_stability(segmentation, image, mask=mask, n_repeats=2)
    again = measure_stability(segmentation, image, summary=summarize(image, mask=mask), n_repeats=2)
    lazy = measure_stability(
        segmentation, da.from_array(image, chunks=(40, 50, 3)), mask=mask, n_repeats=2
    )
    for other in (again, lazy):
        assert (direct.seeds, direct.halves) == (other.seeds, other.halves)
        np.testing.assert_array_equal(direct.table, other.table)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.random.default_rng(0).normal(size=(4, 40, 50)).astype(np.float32), {"channel_axis": 0}),
        (np.random.default_rng(0).integers(0, 900, (5, 20, 30)).astype(np.uint16), {}),
        (four_colors(), {"balance": 0.5}),
        (four_colors(), {"method": "full", "blur": 1.0}),
        (np.arange(4, dtype=np.uint8).reshape(2, 2), {}),
    ],
)
def test_all_kinds_of_images_have_a_stability(image, options):
    stability = measure_stability(segment(image, 3, **options), image, n_repeats=1)
    assert -0.5 <= stability.halves <= 1
    assert 0 <= stability.seeds <= 1
    assert len(stability.table) == 3


def test_the_scores_of_a_suggestion_have_a_stability_that_falls_after_the_true_number():
    scores = suggest_n_clusters(four_colors(), range(3, 7)).scores.set_index("n_clusters")
    assert scores["stability"][4] == scores["stability"].max() == 1
    assert scores["stability"][6] < 0.9


def test_what_cannot_be_measured_is_refused():
    image = four_colors()
    segmentation = segment(image, 3)
    with pytest.raises(TypeError, match="segmentation must be a Segmentation"):
        measure_stability(image, image)
    with pytest.raises(ValueError, match=r"n_repeats must be .* got 0"):
        measure_stability(segmentation, image, n_repeats=0)
    split = split_anew(image, segmentation.model, label=2, n_clusters=2)
    with pytest.raises(ValueError, match="segmentation must have classes that were not split"):
        measure_stability(replace(segmentation, model=split), image)
    for other in (image[:10], image[None], image[..., :2], [image], image[:, 1:]):
        for summary in (None, summarize(image)):
            with pytest.raises(ValueError, match=r"(image|rgb) must"):
                measure_stability(segmentation, other, summary=summary)
    # A summary of the other image does not make it the one that was segmented.
    with pytest.raises(ValueError, match="image must be that of the segmentation, with the spat"):
        measure_stability(segmentation, image[:40], summary=summarize(image[:40]))


def test_one_pixel_has_no_halves():
    image = np.full((1, 1), 3, np.uint8)
    with pytest.raises(ValueError, match="image must have at least two pixels, got 1: one pixel"):
        measure_stability(segment(image, 1), image)
