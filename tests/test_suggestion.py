"""suggest_n_clusters: images with a known number of colors get that number."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from skimage import data

from napari_kmeans import Suggestion, samples, segment, suggest_n_clusters, summarize


def make_noisy_colors(n_colors, seed):
    """Return a picture of distant colors with noise, and unequal shares of about 2 % or more."""
    rng = np.random.default_rng(seed)
    colors: list[np.ndarray] = []
    while len(colors) < n_colors:
        color = rng.uniform(30, 225, 3)
        if all(np.linalg.norm(color - other) > 60 for other in colors):
            colors.append(color)
    shares = np.maximum(rng.dirichlet(np.full(n_colors, 2.0)), 0.02)
    truth = rng.choice(n_colors, (120, 130), p=shares / shares.sum())
    image = np.array(colors)[truth] + rng.normal(0, 6, (120, 130, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_colors", [3, 5, 8])
def test_suggestion_is_the_number_of_distant_noisy_colors(n_colors, seed):
    image = make_noisy_colors(n_colors, seed)
    suggestion = suggest_n_clusters(image)
    assert isinstance(suggestion, Suggestion)
    assert suggestion.n_clusters == n_colors
    assert suggest_n_clusters(image.astype(np.float32)).n_clusters == n_colors
    assert suggest_n_clusters(image, method="full").n_clusters == n_colors


def test_suggestion_for_pictures_is_plausible():
    assert 4 <= suggest_n_clusters(data.coffee()).n_clusters <= 12
    assert 3 <= suggest_n_clusters(samples.histology()).n_clusters <= 5
    # The four classes of the volume are background, tissue, nuclei and nucleoli.
    assert suggest_n_clusters(samples.volume()).n_clusters == 4


def test_votes_are_the_best_rows_of_the_table_of_scores():
    suggestion = suggest_n_clusters(data.coffee(), [9, 3, 5, 3])
    scores = suggestion.scores.set_index("n_clusters")
    assert scores.index.tolist() == [3, 5, 9]
    assert list(scores) == ["inertia", "calinski_harabasz", "silhouette", "bic", "stability"]
    assert scores["inertia"].is_monotonic_decreasing
    assert suggestion.votes == {
        "calinski_harabasz": scores["calinski_harabasz"].idxmax(),
        "silhouette": scores["silhouette"].idxmax(),
        "bic": scores["bic"].idxmin(),
    }
    assert suggestion.n_clusters == sorted(suggestion.votes.values())[1]


def test_summary_gives_the_scores_of_its_image():
    image = make_noisy_colors(4, 0)
    image[:20] = 0
    mask = np.ones(image.shape[:2], bool)
    mask[:20] = False
    summary = summarize(image, mask=mask)
    for options in ({}, {"color_space": "lab"}, {"method": "full"}):
        from_summary = suggest_n_clusters(image, summary=summary, **options)
        from_image = suggest_n_clusters(image, mask=mask, **options)
        np.testing.assert_array_equal(from_summary.scores, from_image.scores)
    assert suggest_n_clusters(image, summary=summary).n_clusters == 4
    with pytest.raises(ValueError, match="mask must be None if a summary is given"):
        suggest_n_clusters(image, summary=summary, mask=mask)


def test_dask_array_and_channel_axis_give_the_same_suggestion():
    image = make_noisy_colors(5, 1)
    lazy = suggest_n_clusters(da.from_array(image, chunks=(50, 60, 3)))
    np.testing.assert_array_equal(lazy.scores, suggest_n_clusters(image).scores)
    moved = np.moveaxis(image, -1, 0)
    assert suggest_n_clusters(moved, channel_axis=0).n_clusters == 5


def test_progress_grows_to_its_total_and_an_exception_cancels():
    calls = []
    suggest_n_clusters(
        make_noisy_colors(3, 0), progress=lambda done, total: calls.append(done / total)
    )
    assert calls == sorted(calls)
    assert calls[-1] == 1
    assert len(calls) > 15

    def stop(done, total):
        if done > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        suggest_n_clusters(make_noisy_colors(3, 0), progress=stop)


@pytest.mark.parametrize(
    ("numbers", "error"),
    [([], ValueError), ([1, 2], ValueError), ([2.0], TypeError), (8, TypeError), ("ab", TypeError)],
)
def test_n_clusters_must_be_whole_numbers_of_2_or_more(numbers, error):
    with pytest.raises(error, match=r"n_clusters must (be|have) .* got"):
        suggest_n_clusters(np.zeros((4, 4), np.uint8), numbers)


def test_image_with_fewer_colors_than_every_number_is_refused():
    image = np.repeat(np.array([10, 200], np.uint8), 8).reshape(4, 4)
    assert suggest_n_clusters(image).n_clusters == 2
    with pytest.raises(ValueError, match=r"distinct colors, 2, got \[3, 4\]"):
        suggest_n_clusters(image, [3, 4])
    with pytest.raises(ValueError, match="color_space must be 'rgb'"):
        suggest_n_clusters(image, color_space="lab")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", ["coreset", "full"])
def test_dask_images_of_too_many_colors_get_the_suggestion_of_numpy(channels, method):
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 100, (5, channels))
    image = centers[rng.integers(0, 5, (300, 400))] + rng.normal(0, 1, (300, 400, channels))
    lazy = da.from_array(image, (90, 150, channels))
    expected = suggest_n_clusters(image, channel_axis=-1, method=method)
    result = suggest_n_clusters(lazy, channel_axis=-1, method=method)
    pd.testing.assert_frame_equal(result.scores, expected.scores)
    assert result.n_clusters == expected.n_clusters
    assert channels == 1 or result.n_clusters == 5


def test_coreset_smaller_than_the_default_number_of_clusters_is_enough():
    image = make_noisy_colors(3, seed=0)
    assert suggest_n_clusters(image, [2, 3], rgb=True, coreset_size=5).n_clusters in (2, 3)


@pytest.mark.parametrize(
    ("color_space", "number", "has_lesions"), [("rgb", 3, False), ("lab", 4, True)]
)
@pytest.mark.parametrize("percent", [2, 6])
def test_rare_spots_have_a_cluster_as_the_documentation_says(
    color_space, number, has_lesions, percent
):
    image, lesions = samples.leaf(percent), samples.leaf_truth(percent) == 1
    assert suggest_n_clusters(image, color_space=color_space).n_clusters == number

    def overlap(n_clusters):
        labels = segment(image, n_clusters, color_space=color_space).labels
        is_each = [labels == label for label in range(1, n_clusters + 1)]
        return max((own & lesions).sum() / (own | lesions).sum() for own in is_each)

    assert (overlap(number) > 0.9) == has_lesions
    assert overlap(8) > 0.9
