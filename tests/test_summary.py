"""summarize: a summary gives the results of its image for any options that the summary allows."""

import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import segment, summarize
from napari_kmeans.clustering.assignment import TASK_POINTS


@pytest.fixture(scope="module")
def coffee():
    return data.coffee()[::2, ::2]


def assert_same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.recolored, other.recolored)
    assert one.model.to_dict() == other.model.to_dict()
    assert one.distortion == other.distortion


@pytest.mark.parametrize(
    "options",
    [
        {"n_clusters": 3},
        {"n_clusters": 5, "method": "full"},
        {"n_clusters": 5, "color_space": "lab"},
        {"n_clusters": 5, "color_space": "hsv", "method": "full"},
        {"n_clusters": 5, "coreset_size": 300},
        {"n_clusters": 5, "random_state": 7, "n_init": 1},
    ],
)
def test_summary_of_counted_colors_allows_any_options(coffee, options):
    summary = summarize(coffee)
    segment(coffee, 8, summary=summary)
    assert_same(segment(coffee, summary=summary, **options), segment(coffee, **options))


@pytest.mark.parametrize("method", ["full", "coreset"])
def test_summary_of_floats_allows_several_numbers_of_clusters(coffee, method):
    image = coffee / 255
    summary = summarize(image, method=method, coreset_size=2000, rgb=True)
    for k in (2, 6):
        again = segment(image, k, method=method, coreset_size=2000, summary=summary)
        fresh = segment(image, k, method=method, coreset_size=2000)
        assert again.model.n_clusters == k
        # The sample of the summary was drawn for another K: the costs are close, not equal.
        assert again.model.inertia_ == pytest.approx(fresh.model.inertia_, rel=0.02)


@pytest.mark.parametrize("left_out", [False, True])
def test_values_of_a_sampled_image_are_tested_again_only_if_some_were_left_out(coffee, left_out):
    image = (coffee / 255).astype(np.float32)
    image[5, 6, 1] = np.nan if left_out else 0
    summary = summarize(image, coreset_size=500, rgb=True)
    assert summary.images[0].is_complete == (not left_out)
    result = segment(image, 4, coreset_size=500, summary=summary)
    assert (result.labels[5, 6] == 0) == left_out
    assert np.count_nonzero(result.labels == 0) == left_out
    # The image changes after the summary was made.
    image[7, 8, 2] = np.inf
    changed = segment(image, 4, coreset_size=500, summary=summary)
    assert changed.labels[7, 8] == 0
    assert np.isfinite(changed.model.palette).all()


def test_summary_has_the_mask_and_channels_of_its_image(coffee):
    mask = np.arange(coffee.shape[1]) < 100 * np.ones((len(coffee), 1))
    summary = summarize(coffee, mask=mask)
    result = segment(coffee, 4, summary=summary)
    np.testing.assert_array_equal(result.labels == 0, ~mask)
    moved = np.moveaxis(coffee, -1, 0)
    summary = summarize(moved, channel_axis=0)
    assert segment(moved, 4, summary=summary).recolored.shape == moved.shape


@pytest.mark.parametrize(
    ("made", "used", "message"),
    [
        ({}, {"color_space": "lab"}, "color_space must be 'rgb'"),
        ({}, {"coreset_size": 999}, "coreset_size must be 'auto'"),
        ({}, {"random_state": 1}, "random_state must be 0"),
        ({}, {"method": "full"}, "method must be 'coreset'"),
        ({"method": "full"}, {}, "method must be 'full'"),
        ({}, {"mask": np.ones((200, 300))}, "mask must be None"),
        ({}, {"rgb": True}, "rgb must be None"),
    ],
)
def test_options_that_contradict_the_summary_are_refused(coffee, made, used, message):
    image = coffee / 255
    summary = summarize(image, **made)
    with pytest.raises(ValueError, match=message):
        segment(image, 4, summary=summary, **used)


def test_summary_of_another_image_is_refused(coffee):
    with pytest.raises(ValueError, match="image must be the image of the summary"):
        segment(coffee[:-1], 4, summary=summarize(coffee))


def test_summarize_reports_progress_and_refuses_invalid_options(coffee):
    seen = []
    summarize(coffee, progress=lambda *args: seen.append(args))
    assert seen[-1] == (1000, 1000)
    with pytest.raises(ValueError, match="color_space must be 'rgb'"):
        summarize(coffee[..., 0], color_space="lab")


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_distortion_is_the_ratio_of_the_costs_of_pixels_and_coreset(coffee, dtype):
    image = coffee.astype(dtype)
    result = segment(image, 6, coreset_size=400)
    coreset, centers = result.coreset, result.model.cluster_centers_
    squared = ((coreset.points[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
    cost = coreset.weights @ squared
    if dtype == "u1":
        # Add the scatter within cells: the scatter of all pixels less that of the cells.
        pixels = image.reshape(-1, 3).astype(float)
        mean = pixels.mean(axis=0)
        within = ((pixels - mean) ** 2).sum()
        within -= coreset.weights @ ((coreset.points - mean) ** 2).sum(axis=1)
        cost += within
    ratio = result.model.inertia_ / cost
    assert result.distortion == pytest.approx(max(ratio, 1 / ratio), rel=1e-6)
    assert 1 <= result.distortion < (1.02 if dtype == "u1" else 1.2)
    assert result.table.attrs == {
        "inertia": result.model.inertia_,
        "distortion": result.distortion,
    }


def test_distortion_counts_the_colors_of_all_tasks():
    image = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    result = segment(image, 6, coreset_size=400)
    pixels = image.reshape(-1, 3).astype(float)
    assert len(np.unique(pixels, axis=0)) > 2 * TASK_POINTS
    coreset, centers = result.coreset, result.model.cluster_centers_
    squared = ((coreset.points[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
    within = ((pixels - 127.5) ** 2).sum()
    within -= coreset.weights @ ((coreset.points - 127.5) ** 2).sum(axis=1)
    ratio = result.model.inertia_ / (coreset.weights @ squared + within)
    assert result.distortion == pytest.approx(max(ratio, 1 / ratio), rel=1e-9)


@pytest.mark.parametrize("space", ["rgb", "hsv", "lab"])
def test_default_coreset_has_a_distortion_below_1_percent(coffee, space):
    assert 1 <= segment(coffee, 8, color_space=space).distortion < 1.01
    assert segment(coffee, 8, color_space=space, method="full").distortion == 1


def test_cost_0_gives_distortion_1():
    assert segment(np.array([[1, 1, 5]], np.uint8), 2).distortion == 1
    assert segment(np.array([[1, 1, 5.0]]), 2).distortion == 1


def test_coreset_size_may_be_below_the_default_number_of_clusters(coffee):
    image = coffee / 255
    summary = summarize(image, coreset_size=5)
    result = segment(image, 3, coreset_size=5, summary=summary)
    assert len(result.coreset.points) <= 5
    assert result.model.n_clusters == 3


def test_other_values_than_a_summary_are_refused(coffee):
    with pytest.raises(TypeError, match="summary must be the result of summarize"):
        segment(coffee, 4, summary=coffee)


def test_array_that_contradicts_the_summary_is_not_printed_in_full(coffee):
    with pytest.raises(ValueError, match=r"mask must be None.* got ndarray of shape") as caught:
        segment(coffee, 4, summary=summarize(coffee), mask=np.ones(coffee.shape[:2]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_clusters", [3, 16, 60])
def test_summary_gives_the_labels_of_segment_without_a_summary(n_clusters):
    image = np.random.default_rng(0).random((200, 200, 3)).astype("f4")
    summary = summarize(image, rgb=True)
    direct = segment(image, n_clusters, rgb=True)
    np.testing.assert_array_equal(segment(image, n_clusters, summary=summary).labels, direct.labels)


def test_summary_of_an_image_of_another_shape_is_refused():
    image = np.random.default_rng(0).random((30, 40))
    with pytest.raises(ValueError, match=r"of shape \(30, 40\), got \(40, 30\)"):
        segment(image.T, 3, summary=summarize(image))


@pytest.mark.parametrize(
    "options", [{}, {"blur": 2.0}, {"blur": 5.0, "texture": 10}, {"position": 0.3}]
)
def test_a_single_restart_of_full_is_the_same_for_lazy_images(options):
    image = np.random.default_rng(0).random((88, 92, 5)).astype(np.float32)
    options |= {"channel_axis": 2, "method": "full", "n_init": 1, "max_iter": 3}
    found = segment(image, 20, **options)
    lazy = segment(da.from_array(image, chunks=(30, 40, 5)), 20, **options)
    np.testing.assert_array_equal(found.labels, lazy.labels)
    assert lazy.model.inertia_ == pytest.approx(found.model.inertia_, rel=1e-10)


@pytest.mark.parametrize("n_clusters", [1, 2, 9, 300])
def test_more_colors_than_are_fitted_have_exact_labels_counts_and_cost(n_clusters):
    image = np.random.default_rng(0).integers(0, 256, (640, 640, 4)).astype(np.uint8)
    mask = np.ones(image.shape[:2], bool)
    mask[:3] = False
    seg = segment(image, n_clusters, rgb=True, mask=mask, random_state=0)
    kept = mask & (image[..., 3] > 0)
    colors = image[kept][:, :3].astype(float)
    assert len(np.unique(colors, axis=0)) > 2**18
    centers = seg.model.cluster_centers_
    nearest, lowest = np.zeros(len(colors), int), np.full(len(colors), np.inf)
    for k, center in enumerate(centers):
        squares = sum((colors[:, j] - center[j]) ** 2 for j in range(3))
        nearest[squares < lowest] = k
        np.minimum(lowest, squares, out=lowest)
    np.testing.assert_array_equal(seg.labels[kept], nearest + 1)
    assert not seg.labels[~kept].any()
    counts = np.bincount(seg.labels[kept], minlength=n_clusters + 1)[1:]
    assert seg.table["pixels"].tolist() == counts.tolist()
    assert seg.model.inertia_ == pytest.approx(lowest.sum(), rel=1e-12)
    lazy = segment(
        da.from_array(image, (200, 300, 4)), n_clusters, rgb=True, mask=mask, random_state=0
    )
    np.testing.assert_array_equal(lazy.labels.compute(), seg.labels)
    np.testing.assert_array_equal(lazy.recolored.compute(), seg.recolored)


def test_integers_that_float64_cannot_hold_have_the_cost_of_their_rounded_values():
    image = np.random.default_rng(0).integers(2**60, 2**60 + 100, (30, 30, 3), dtype="u8")
    assert len(np.unique(image.astype(float))) == 1
    with pytest.warns(UserWarning, match="no more distinct colors in float64"):
        seg = segment(image, 5, rgb=True, random_state=0, coreset_size=300)
    assert seg.model.inertia_ == 0
    assert seg.distortion == 1
