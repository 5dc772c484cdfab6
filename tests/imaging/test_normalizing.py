import dask.array as da
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from napari_kmeans import KMeansModel, segment
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.normalizing import find_scales, scales_of_colors

NORMALIZATIONS = ["zscore", "percentile"]


def channels(dtype="f4", shape=(40, 50)):
    """Return an image of a bright and a faint channel, and the four classes of its pixels."""
    rng = np.random.default_rng(0)
    first, second = np.indices(shape) * 2 // np.array(shape)[:, None, None]
    image = np.stack([5000 + 9000 * first, 20 + 40 * second], axis=-1).astype(float)
    image[..., 0] += rng.normal(0, 900, shape)
    image[..., 1] += rng.normal(0, 3, shape)
    return image.astype(dtype), 2 * first + second


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", ["f4", "u2", "i8"])
@pytest.mark.parametrize("lazy", [False, True])
def test_faint_channel_counts_as_much_as_bright_channel(normalize, dtype, lazy):
    image, classes = channels(dtype)
    array = da.from_array(image, chunks=(16, 20, 1)) if lazy else image
    n_pairs = {
        choice: len(np.unique(np.stack([classes, labels], -1).reshape(-1, 2), axis=0))
        for choice in ("none", normalize)
        for labels in [np.asarray(segment(array, 4, channel_axis=-1, normalize=choice).labels)]
    }
    assert n_pairs[normalize] == 4 < n_pairs["none"]


@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_zscore_agrees_with_scikit_learn_on_standardized_channels(dtype):
    rng = np.random.default_rng(1)
    image = (rng.random((30, 30, 3)) ** [1, 2, 4] * [200, 90, 30]).astype(dtype)
    points = image.reshape(-1, 3).astype(float)
    scaler = StandardScaler().fit(points)
    start = points[[0, 100, 200, 300, 400]]
    expected = KMeans(5, init=scaler.transform(start), n_init=1, tol=0).fit(
        scaler.transform(points)
    )
    result = segment(
        image, 5, channel_axis=-1, rgb=False, normalize="zscore", method="full", init=start, tol=0
    )
    assert result.model.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
    order = np.argsort(expected.cluster_centers_[:, 0])
    ours = result.model.cluster_centers_
    np.testing.assert_allclose(
        ours[np.argsort(ours[:, 0])], expected.cluster_centers_[order], atol=1e-6
    )
    np.testing.assert_allclose(result.model.offset, scaler.mean_)
    np.testing.assert_allclose(result.model.scale, scaler.scale_)
    # The palette stays in channel units.
    for label, color in enumerate(result.model.palette, 1):
        np.testing.assert_allclose(color, points[result.labels.ravel() == label].mean(axis=0))


def test_weighted_percentiles_equal_those_of_repeated_colors():
    rng = np.random.default_rng(2)
    colors = rng.integers(0, 99, (500, 2))
    weights = rng.integers(1, 9, 500)
    repeated = np.repeat(colors, weights, axis=0)
    low, high = np.percentile(repeated, [1, 99], axis=0, method="inverted_cdf")
    offset, scale = scales_of_colors(colors, weights.astype(float), "percentile")
    np.testing.assert_array_equal(offset, low)
    np.testing.assert_array_equal(scale, high - low)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_pixels_that_are_left_out_do_not_change_the_scales(normalize):
    image, _ = channels()
    image[:5] = np.nan
    mask = np.ones(image.shape[:2], bool)
    mask[:, :7] = False
    (pixels,) = open_images(image, channel_axis=-1, mask=mask)
    inside = image[5:, 7:].reshape(-1, 2)
    scales = find_scales([pixels], normalize, seed=0)
    np.testing.assert_allclose(
        scales, scales_of_colors(inside, np.ones(len(inside)), normalize), rtol=1e-5
    )


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_constant_channel_does_not_change_the_labels(normalize):
    image, classes = channels()
    image[..., 0] = 7
    result = segment(image, 2, channel_axis=-1, normalize=normalize)
    np.testing.assert_array_equal(result.labels, classes % 2 + 1)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("lazy", [False, True])
def test_channel_of_tiny_spread_counts_as_constant(normalize, lazy):
    image, _ = channels("f8")
    tiny = 1e-120 * np.random.default_rng(0).random(image.shape[:2])
    three = np.dstack([image, tiny])
    array = da.from_array(three, chunks=(16, 20, 3)) if lazy else three
    result = segment(array, 4, channel_axis=-1, normalize=normalize)
    assert result.model.scale[2] == 1
    again = KMeansModel.from_dict(result.model.to_dict())
    np.testing.assert_array_equal(again.predict(three), result.labels)
    alone = segment(image, 4, channel_axis=-1, normalize=normalize)
    np.testing.assert_array_equal(result.labels, alone.labels)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_saved_model_scales_other_images_by_its_own_scale(normalize, tmp_path):
    image, _ = channels()
    result = segment(image, 4, channel_axis=-1, normalize=normalize)
    result.model.save(tmp_path / "model.json")
    model = KMeansModel.load(tmp_path / "model.json")
    assert (model.normalize, model.offset, model.scale) == (
        normalize,
        result.model.offset,
        result.model.scale,
    )
    np.testing.assert_array_equal(model.predict(image), result.labels)
    # A fit to this half would find another scale: the scale of the model is used.
    np.testing.assert_array_equal(model.predict(image[:20]), result.labels[:20])


def test_normalize_is_refused_in_lab():
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="normalize must be 'none' in lab, got 'zscore'"):
        segment(image, color_space="lab", normalize="zscore")


def test_percentiles_of_a_sample_are_close_to_those_of_all_pixels():
    rng = np.random.default_rng(3)
    image = (rng.normal(size=(600, 700, 2)) * [1, 50] + [7, -20]).astype(np.float32)
    offset, scale = find_scales(open_images(image, channel_axis=-1), "percentile", 0)
    low, high = np.percentile(image.reshape(-1, 2), [1, 99], axis=0)
    # The error of percentiles of a normal distribution, from 130,000 drawn pixels.
    assert (abs(offset - low) < 0.02 * (high - low)).all()
    np.testing.assert_allclose(scale, high - low, rtol=0.02)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_image_with_all_pixels_left_out_raises_the_usual_error(normalize):
    image = np.full((5, 6, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match="image must have a pixel to cluster, got all 30 left out"):
        segment(image, 2, channel_axis=-1, normalize=normalize)


def test_scale_that_makes_values_too_large_is_refused():
    image = np.tile([0, 1e-90], 500)
    image[7] = 1e20
    with pytest.raises(ValueError, match="normalize must be 'none' or 'zscore' where a value"):
        segment(image, 2, normalize="percentile")
    assert segment(image, 2, normalize="zscore").labels[7] == 2
