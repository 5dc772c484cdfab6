"""segment: exact labels, colors, costs and tables for any dtype, layout, method and color space."""

import colorsys
import threading
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from skimage import data
from skimage.color import rgb2lab
from sklearn.cluster import KMeans

from napari_kmeans import (
    Segmentation,
    segment,
    segment_slices,
    suggest_n_clusters,
    summarize,
)
from napari_kmeans import segmentation as segmentation_module
from napari_kmeans.feature_space.colors import convert_colors
from napari_kmeans.imaging import blocks as blocks_module

METHODS = ["full", "coreset"]
INTEGERS = ["u1", "i1", "u2", "i2", ">u2", "u4", "i8"]
FLOATS = ["f2", "f4", "f8", ">f4", "g"]


def quadrants(dtype="u1", scale=1):
    """Return a 20 by 21 RGB image of four noisy quadrants, and their exact labels.

    The labels are ordered by luminance: blue, red, green, gray.
    """
    colors = np.array([[0, 0, 110], [110, 0, 0], [0, 110, 0], [100, 100, 100]])
    truth = np.empty((20, 21), int)
    truth[:10, :10], truth[:10, 10:], truth[10:, :10], truth[10:, 10:] = 4, 1, 2, 3
    noise = np.random.default_rng(0).integers(0, 10, (20, 21, 3))
    image = (colors[truth - 1] + noise) * scale
    return image.astype(dtype), truth


def use_small_blocks(monkeypatch, size=57):
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_quadrants_get_their_exact_labels_in_any_dtype(dtype, method):
    image, truth = quadrants(dtype)
    result = segment(image, 4, rgb=True, method=method)
    assert isinstance(result, Segmentation)
    np.testing.assert_array_equal(result.labels, truth)
    assert result.labels.dtype == np.uint8
    assert result.recolored.dtype == image.dtype
    assert result.recolored.shape == image.shape
    for label in range(1, 5):
        mean = image[truth == label].astype(float).mean(axis=0)
        np.testing.assert_allclose(result.model.palette[label - 1], mean, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", ["hsv", "lab"])
def test_quadrants_get_their_exact_labels_in_hsv_and_lab(space, method):
    image, truth = quadrants()
    np.testing.assert_array_equal(
        segment(image, 4, rgb=True, color_space=space, method=method).labels, truth
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_channel_axis_can_be_any_axis(axis, method):
    image, _ = quadrants("u2")
    moved = np.moveaxis(image, -1, axis)
    result = segment(moved, 4, channel_axis=axis, method=method)
    assert result.recolored.shape == moved.shape
    expected = segment(image, 4, rgb=True, method=method)
    # Labels of channels are ordered by the mean of the channels, those of RGB by luminance.
    # So the numbers differ, and the clusters must be the same.
    pairs = {(a, b) for a, b in zip(result.labels.flat, expected.labels.flat, strict=True)}
    assert len(pairs) == 4
    np.testing.assert_array_equal(np.moveaxis(result.recolored, axis, -1), expected.recolored)


def test_one_and_two_channels_are_clustered():
    image, _ = quadrants("f4")
    two = segment(image[..., :2], 4, channel_axis=-1, method="full")
    assert two.model.palette.shape == (4, 2)
    one = segment(image[..., :1], 2, channel_axis=-1)
    assert one.recolored.shape == (20, 21, 1)
    assert list(one.table.columns[3:5]) == ["mean channel 0", "color"]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("method", METHODS)
def test_gray_volume_is_one_image(dtype, method, monkeypatch):
    use_small_blocks(monkeypatch)
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 4, (4, 9, 11))
    volume = (truth * 60 + rng.integers(0, 9, truth.shape)).astype(dtype)
    result = segment(volume, 3, method=method)
    np.testing.assert_array_equal(result.labels, truth)
    assert result.recolored.shape == volume.shape


def test_stack_of_rgb_pictures_is_one_image():
    image, truth = quadrants()
    stack = np.stack([image, image[::-1]])
    result = segment(stack, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, [truth, truth[::-1]])


@pytest.mark.parametrize("space", ["rgb", "hsv"])
def test_8_bit_picture_and_its_16_bit_copy_get_the_same_labels(space):
    image = data.coffee()
    eight = segment(image, 8, method="full", color_space=space)
    sixteen = segment(image.astype(np.uint16), 8, method="full", color_space=space)
    np.testing.assert_array_equal(eight.labels, sixteen.labels)


def test_reds_on_both_sides_of_hue_0_are_one_cluster_in_hsv():
    hues = np.concatenate([np.linspace(355, 365, 32), np.linspace(40, 50, 32)])
    colors = [colorsys.hsv_to_rgb(hue % 360 / 360, 1, 1) for hue in hues]
    image = np.rint(255 * np.tile(colors, (40, 1, 1))).astype(np.uint8)
    for method in METHODS:
        labels = segment(image, 2, color_space="hsv", method=method).labels
        assert (labels[:, :32] == 1).all()
        assert (labels[:, 32:] == 2).all()


@pytest.mark.parametrize("k", [2, 8])
def test_full_from_given_centers_equals_lloyd_of_scikit_learn(k):
    image = data.coffee()[::2, ::2]
    start = np.random.default_rng(k).uniform(0, 255, (k, 3))
    pixels = image.reshape(-1, 3).astype(np.float64)
    reference = KMeans(k, init=start, n_init=1, algorithm="lloyd").fit(pixels)
    for picture in (image, image.astype(np.float32)):
        fitted = segment(picture, k, method="full", init=start).model
        assert fitted.n_iter_ == reference.n_iter_
        assert fitted.inertia_ == pytest.approx(reference.inertia_, rel=1e-6)
        for center in reference.cluster_centers_:
            assert np.linalg.norm(fitted.cluster_centers_ - center, axis=1).min() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_array_as_init_is_in_channel_units_in_every_color_space(method):
    image, truth = quadrants()
    start = [[0, 0, 110], [110, 0, 0], [0, 110, 0], [100, 100, 100]]
    for space in ("rgb", "hsv", "lab"):
        result = segment(image, 4, rgb=True, color_space=space, init=start, method=method)
        np.testing.assert_array_equal(result.labels, truth)


@pytest.mark.parametrize("space", ["rgb", "hsv", "lab"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_palette_inertia_and_table_count_all_pixels(space, method, dtype, monkeypatch):
    use_small_blocks(monkeypatch, 20_000)
    image = data.coffee()[::2, ::2]
    image = image / 255 if dtype == "f8" else image
    mask = np.random.default_rng(0).random(image.shape[:2]) < 0.8
    result = segment(image, 6, color_space=space, method=method, mask=mask, coreset_size=800)
    labels, model, table = result.labels, result.model, result.table
    white = 1 if dtype == "f8" else 255
    points = convert_colors(image[mask], space, white)
    squares = ((points - model.cluster_centers_[labels[mask] - 1]) ** 2).sum()
    assert model.inertia_ == pytest.approx(squares, rel=1e-9)
    means = np.array([image[labels == label].mean(axis=0) for label in range(1, 7)])
    np.testing.assert_allclose(model.palette, means, rtol=1e-9)
    assert table["index"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["pixels"].tolist() == np.bincount(labels[mask])[1:].tolist()
    assert table["percent"].sum() == pytest.approx(100)
    np.testing.assert_allclose(table["mean green"], means[:, 1], rtol=1e-9)
    assert (np.diff(means @ [0.2126, 0.7152, 0.0722]) > 0).all()
    hexes = [
        "#{:02x}{:02x}{:02x}".format(*np.rint(255 * mean / white).astype(int)) for mean in means
    ]
    assert table["color"].tolist() == hexes
    if dtype == "u1":
        np.testing.assert_array_equal(result.recolored[mask], np.rint(means)[labels[mask] - 1])
    else:
        np.testing.assert_allclose(result.recolored[mask], means[labels[mask] - 1])


@pytest.mark.parametrize("method", METHODS)
def test_every_pixel_gets_the_label_of_its_nearest_center(method):
    image = data.chelsea()[::2, ::2]
    result = segment(image, 7, method=method)
    distances = ((image[:, :, None] - result.model.cluster_centers_) ** 2).sum(axis=3)
    np.testing.assert_array_equal(result.labels, distances.argmin(axis=2) + 1)


@pytest.mark.parametrize("method", METHODS)
def test_excluded_pixels_get_label_0_and_keep_their_color(method, monkeypatch):
    use_small_blocks(monkeypatch)
    image, truth = quadrants("f4")
    image = np.concatenate([image, np.ones((20, 21, 1), "f4")], axis=2)
    image[0, 0, 3] = 0
    image[5, 5, 1] = np.nan
    image[6, 6, 2] = np.inf
    mask = np.ones((20, 21), int)
    mask[18:] = 0
    image[19, 3] = [-1e30, 1e30, 7, 0.25]
    before = image.copy()
    result = segment(image, 4, rgb=True, method=method, mask=mask)
    out = np.zeros((20, 21), bool)
    out[0, 0] = out[5, 5] = out[6, 6] = True
    out[18:] = True
    np.testing.assert_array_equal(result.labels, np.where(out, 0, truth))
    np.testing.assert_array_equal(result.recolored[out], image[out])
    np.testing.assert_array_equal(result.recolored[..., 3], image[..., 3])
    np.testing.assert_array_equal(image, before)
    assert result.table["pixels"].sum() == (~out).sum()


@pytest.mark.parametrize("layout", ["read-only", "reversed", "fortran", "strided", "list"])
def test_memory_layout_does_not_change_the_labels(layout):
    image, truth = quadrants()
    variant = {
        "read-only": image.copy(),
        "reversed": image[::-1, :, ::-1][::-1, :, ::-1],
        "fortran": np.asfortranarray(image),
        "strided": np.repeat(image, 2, axis=1)[:, ::2],
        "list": image.tolist(),
    }[layout]
    if layout == "read-only":
        variant.flags.writeable = False
    result = segment(variant, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, truth)
    assert np.asarray(result.recolored).flags.writeable


@pytest.mark.parametrize("case", ["rgba", "gray", "channels", "fortran", "two", "few", "smooth"])
def test_results_do_not_depend_on_claimed_memory(case, monkeypatch):
    image, options = np.random.default_rng(0).integers(0, 256, (70, 90, 4), np.uint8), {}
    mask = image[..., 1] > 99
    if case == "gray":
        image = image[..., 0].astype(np.uint16)
    elif case == "channels":
        image, options = np.moveaxis(image.astype(np.float32), -1, 0), {"channel_axis": 0}
    elif case == "fortran":
        image = np.asfortranarray(image[..., :3])
    elif case == "two":
        image, mask = [image, image[:40]], [mask, mask[:40]]
    elif case == "few":
        # Labels of 300 clusters are uint16, those of 4 are uint8.
        image = image // 64 * 64
        image[..., :3] = image[..., :1]
    elif case == "smooth":
        image, options = image[..., :3], {"smoothing": 1.0}

    def run(least, most):
        monkeypatch.setattr(segmentation_module, "_LEAST_CLAIMED", least)
        monkeypatch.setattr(segmentation_module, "_MOST_CLAIMED", most)
        n_clusters = 300 if case == "few" else 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = segment(image, n_clusters, mask=mask, random_state=0, **options)
        several = case == "two"
        return [*result.labels, *result.recolored] if several else [result.labels, result.recolored]

    for claimed, own in zip(run(0, 2**27), run(2**62, 2**62), strict=True):
        assert claimed.dtype == own.dtype
        assert claimed.strides == own.strides
        np.testing.assert_array_equal(claimed, own)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_dask_image_gives_the_same_result_as_lazy_arrays(dtype, method):
    image = data.coffee()[:200, :300].astype(dtype)
    mask = np.ones(image.shape[:2], bool)
    mask[:50] = False
    lazy = da.from_array(image, chunks=(70, 110, 2))
    if dtype == "f4":
        # Distinct floats are not counted, and a sample depends on the chunks: use one chunk.
        lazy = lazy.rechunk(-1)
    # With method "full", floats in dask arrays may get other starts than floats in memory.
    start = image[::40, 60].astype(float) if (dtype, method) == ("f4", "full") else "k-means++"
    result = segment(lazy, 5, rgb=True, method=method, mask=mask, init=start)
    expected = segment(image, 5, rgb=True, method=method, mask=mask, init=start)
    assert isinstance(result.labels, da.Array)
    assert isinstance(result.recolored, da.Array)
    assert result.labels.dtype == expected.labels.dtype
    assert result.recolored.dtype == image.dtype
    np.testing.assert_array_equal(result.labels.compute(), expected.labels)
    np.testing.assert_array_equal(result.recolored.compute(), expected.recolored)
    pd.testing.assert_frame_equal(result.table, expected.table, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_number_of_threads_and_block_size_do_not_change_the_labels(dtype, method, monkeypatch):
    image = data.coffee().astype(dtype)
    use_small_blocks(monkeypatch, 10_000)
    results = []
    for threads in (1, 2, 8):
        monkeypatch.setattr(
            "napari_kmeans.execution.threads.n_threads", lambda threads=threads: threads
        )
        results.append(segment(image, 8, method=method))
    for result in results[1:]:
        np.testing.assert_array_equal(result.labels, results[0].labels)
        assert result.model.inertia_ == results[0].model.inertia_
    if dtype == "u1":
        use_small_blocks(monkeypatch, 123_456)
        again = segment(image, 8, method=method)
        np.testing.assert_array_equal(again.labels, results[0].labels)


def test_eight_concurrent_calls_give_the_same_labels():
    image = data.coffee()
    expected = segment(image, 8).labels
    results = [None] * 8

    def work(number):
        results[number] = segment(image, 8).labels

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for labels in results:
        np.testing.assert_array_equal(labels, expected)


def test_random_state_fixes_the_result_and_none_varies_it():
    image = data.coffee()
    how = {"coreset_size": 200, "n_init": 1}
    costs = [segment(image, 8, random_state=seed, **how).model.inertia_ for seed in (1, 1, 2)]
    assert costs[0] == costs[1] != costs[2]
    # Two different draws may end in the same optimum: compare five.
    drawn = {segment(image, 8, random_state=None, **how).model.inertia_ for _ in range(5)}
    assert len(drawn) > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "f4", "i8"])
def test_fewer_distinct_colors_than_clusters_give_a_warning(dtype, method):
    image = np.tile(np.array([10, 20, 30], dtype), (8, 5))
    with pytest.warns(UserWarning, match="n_clusters=8 gave 3 clusters") as caught:
        result = segment(image, 8, rgb=False, method=method)
    assert caught[0].filename == __file__
    assert result.labels.max() == 3
    np.testing.assert_array_equal(result.recolored, image)
    assert result.model.inertia_ == 0


def test_single_pixel_is_one_cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = segment(np.array([7.5]), 1)
    assert result.labels.tolist() == [1]
    assert result.recolored.tolist() == [7.5]


def test_300_clusters_give_uint16_labels():
    image = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    result = segment(image, 300, method="full")
    assert result.labels.dtype == np.uint16
    assert np.unique(result.labels).tolist() == list(range(1, 301))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_progress_grows_up_to_its_total(dtype, method, monkeypatch):
    use_small_blocks(monkeypatch, 50_000)
    seen = []
    segment(data.coffee().astype(dtype), method=method, progress=lambda *args: seen.append(args))
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]
    assert len(set(done)) > 10


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("method", METHODS)
def test_exception_in_progress_cancels_at_any_step(dtype, method, monkeypatch):
    class Canceled(Exception):
        pass

    use_small_blocks(monkeypatch, 40_000)
    image = data.coffee().astype(dtype)
    calls = []
    segment(image, method=method, progress=lambda *args: calls.append(args))
    for stop in range(0, len(calls), 7):
        countdown = iter(range(stop))

        def progress(done, total, countdown=countdown):
            if next(countdown, None) is None:
                raise Canceled

        with pytest.raises(Canceled):
            segment(image, method=method, progress=progress)
    assert not [thread for thread in threading.enumerate() if "napari-kmeans" in thread.name]


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((40, 50)), {"color_space": "hsv"}, "color_space must be 'rgb'"),
        (np.zeros((40, 50, 2)), {"color_space": "lab", "channel_axis": 2}, "got 'lab'"),
        (np.zeros((40, 50)), {"mask": np.zeros((40, 50))}, "all 2000 left out"),
        (np.full((40, 50), np.nan), {}, "all 2000 left out"),
        (np.zeros((40, 50, 4), np.uint8), {}, "all 2000 left out"),
        (np.zeros((40, 50), np.int64), {"mask": np.zeros((40, 50))}, "all 2000 left out"),
        (np.zeros((40, 50, 3)), {"init": np.zeros((8, 4))}, "image's 3 channels, got 4"),
        (np.full((40, 50, 3), 2.0), {"color_space": "lab"}, "from 0 to 1, got 2"),
        (np.full((40, 50, 3), -2), {"color_space": "hsv"}, "got -2"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_image_that_does_not_fit_the_options_is_refused_in_one_sentence(
    image, options, message, method
):
    with pytest.raises(ValueError, match=message) as caught:
        segment(image, method=method, **options)
    assert str(caught.value).count(". ") == 0


def test_result_has_a_coreset_only_for_method_coreset():
    image = data.coffee()
    assert segment(image, method="full").coreset is None
    coreset = segment(image, coreset_size=700).coreset
    assert len(coreset.points) <= 700
    assert coreset.weights.sum() == pytest.approx(image.shape[0] * image.shape[1])


def image_with_stain(dtype="u1"):
    """Return a gray-blue gradient with noise, and the mask of a red stain on 0.05 % of it."""
    rng = np.random.default_rng(0)
    image = np.empty((400, 500, 3))
    image[:] = (40, 60, 90) + np.linspace(0, 120, 500)[:, None]
    image += rng.normal(0, 4, image.shape)
    stain = np.zeros(image.shape[:2], bool)
    stain[100:110, 200:210] = True
    image[stain] = rng.normal((200, 30, 30), 6, (100, 3))
    if dtype == "f4":
        return (image / 255).astype(dtype), stain
    return np.clip(image, 0, 255).astype(dtype), stain


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_rare_color_gets_its_own_cluster_with_balance_1(dtype, method):
    image, stain = image_with_stain(dtype)
    how = {"rgb": True, "method": method}
    plain = segment(image, 4, **how).labels
    assert np.count_nonzero(np.isin(plain, plain[stain])) > 1000
    result = segment(image, 4, balance=1.0, **how)
    (label,) = np.unique(result.labels[stain])
    assert np.count_nonzero(result.labels == label) == 100
    # Inertia and labels are those of the pixels, not of the balanced weights.
    points = image.reshape(-1, 3).astype(float)
    distances = ((points[:, None] - result.model.cluster_centers_) ** 2).sum(axis=2)
    assert result.model.inertia_ == pytest.approx(distances.min(axis=1).sum(), rel=1e-6)
    np.testing.assert_array_equal(result.labels.ravel(), distances.argmin(axis=1) + 1)
    assert result.distortion < 1.2


def test_balance_is_refused_for_full_on_a_dask_image_of_floats():
    image = da.from_array(image_with_stain("f4")[0])
    with pytest.raises(ValueError, match="balance must be 0 for method 'full' on dask images"):
        segment(image, 4, rgb=True, method="full", balance=0.5)


def test_restarts_on_a_sample_reach_the_cost_of_a_fit_from_the_true_centers():
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 100, (12, 4))
    image = centers[rng.integers(12, size=(500, 600))] + rng.normal(0, 3, (500, 600, 4))
    fitted = segment(image, 12, channel_axis=-1, method="full").model
    reference = KMeans(12, init=centers, n_init=1).fit(image.reshape(-1, 4))
    assert fitted.inertia_ <= 1.0001 * reference.inertia_


@pytest.mark.parametrize("layout", ["numpy", "dask"])
@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4"])
def test_byte_order_does_not_change_the_recolored_image(dtype, layout):
    image, _ = quadrants(dtype)
    native = segment(image.astype(image.dtype.newbyteorder("=")), 4, rgb=True)
    swapped = image if layout == "numpy" else da.from_array(image, chunks=(7, 9, 3))
    result = segment(swapped, 4, rgb=True)
    assert result.recolored.dtype == image.dtype
    np.testing.assert_array_equal(result.recolored, native.recolored)


@pytest.mark.parametrize("space", ["hsv", "lab"])
def test_init_above_the_white_of_the_dtype_is_refused_in_hsv_and_lab(space):
    image, _ = quadrants()
    with pytest.raises(ValueError, match=f"init must have channels from 0 to 255 in {space}, got"):
        segment(image, 2, rgb=True, color_space=space, init=[[0, 0, 300], [1, 2, 3]])


WIDE = ["i4", "u4", ">i4", "i8", "u8"]


def lab_calls(image):
    """Return every call that clusters an image in lab, by name."""
    lazy = da.from_array(image, chunks=(8, 8, 3))
    how = {"rgb": True, "color_space": "lab"}
    start = [[0, 0, 0], [9, 9, 9]]
    return {
        "numpy": lambda: segment(image, 2, **how),
        "a start": lambda: segment(image, 2, init=start, **how),
        "a list": lambda: segment(image.astype(int).tolist(), 2, **how),
        "dask": lambda: segment(lazy, 2, **how),
        "several": lambda: segment([image, lazy], 2, **how),
        "a summary": lambda: summarize(image, **how),
        "another summary": lambda: segment(
            image, 2, color_space="lab", summary=summarize(image, rgb=True)
        ),
        "slices": lambda: segment_slices(np.stack([image, image]), 2, **how),
        "lazy slices": lambda: segment_slices(da.stack([lazy, lazy]), 2, **how),
        "a suggestion": lambda: suggest_n_clusters(image, **how),
    }


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("way", lab_calls(np.zeros((8, 8, 3))))
def test_lab_of_integers_of_more_than_16_bits_is_refused(way, dtype):
    image, _ = quadrants(dtype)
    with pytest.raises(
        ValueError, match=r"color_space must be 'rgb' or 'hsv' .* got 'lab'"
    ) as caught:
        lab_calls(image)[way]()
    message = str(caught.value)
    assert "np.uint8 for 0 to 255" in message
    assert message.count(". ") == 0


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("method", METHODS)
def test_hsv_labels_do_not_depend_on_the_integer_dtype(dtype, method):
    # The HSV cone is linear in the channels, so that it needs no white value.
    small = data.astronaut()[::8, ::8]
    expected = segment(small, 5, rgb=True, color_space="hsv", method=method)
    images = [small.astype(dtype)] + ([small.tolist()] if dtype == "i8" else [])
    for image in images:
        result = segment(image, 5, rgb=True, color_space="hsv", method=method)
        np.testing.assert_array_equal(result.labels, expected.labels)
        assert result.table["pixels"].tolist() == expected.table["pixels"].tolist()


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("lazy", [False, True])
def test_lab_model_of_uint8_predicts_wide_integers(dtype, lazy):
    # The model stores its white value; only a fit has to take that value from the dtype.
    image = data.astronaut()[::8, ::8]
    model = segment(image, 5, rgb=True, color_space="lab").model
    expected = rgb2lab(image / 255).reshape(-1, 1, 3) - model.cluster_centers_
    nearest = (expected**2).sum(axis=-1).argmin(axis=1).reshape(image.shape[:2]) + 1
    wide = image.astype(dtype)
    wide = da.from_array(wide, chunks=(20, 20, 3)) if lazy else wide
    np.testing.assert_array_equal(np.asarray(model.predict(wide)), nearest)
    np.testing.assert_array_equal(np.asarray(model.apply(wide)[0]), nearest)


def test_numpy_integer_as_channel_axis_is_saved_in_the_model(tmp_path):
    model = segment(np.arange(24.0).reshape(4, 3, 2), 2, channel_axis=np.int64(2)).model
    model.save(tmp_path / "model.json")
    assert type(model).load(tmp_path / "model.json").channel_axis == 2


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("axis", [None, 0])
def test_masked_entries_of_a_masked_array_get_label_0(axis, with_mask):
    image, labels = quadrants()
    inside = np.ones(labels.shape, bool)
    inside[3:6, :7] = False
    hidden = np.zeros(image.shape, bool)
    hidden[12:15, 4, 1] = True
    masked = np.ma.array(image, mask=hidden)
    moved = masked if axis is None else np.moveaxis(masked, -1, axis)
    axes = {"rgb": True} if axis is None else {"rgb": False, "channel_axis": axis}
    result = segment(moved, 4, mask=inside if with_mask else None, **axes)
    valid = ~hidden.any(axis=-1) & (inside | (not with_mask))
    expected = segment(np.asarray(moved), 4, mask=valid, **axes)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.labels == 0, ~valid)
    np.testing.assert_array_equal(result.recolored, expected.recolored)
    np.testing.assert_array_equal(result.model.predict(moved) == 0, hidden.any(axis=-1))
    assert type(result.recolored) is np.ndarray


@pytest.mark.parametrize("method", METHODS)
def test_denormal_values_give_one_cluster_and_a_warning(method):
    image = da.from_array(np.arange(60).reshape(6, 10) % 7 * 5e-324, chunks=4)
    with pytest.warns(UserWarning, match="n_clusters=3 gave 1 cluster:"):
        result = segment(image, 3, method=method)
    assert (result.labels.compute() == 1).all()


@pytest.mark.parametrize("seed", [1, 9, 11, 16])
def test_pixels_between_two_centers_get_the_label_under_which_they_were_counted(seed):
    image = np.random.default_rng(seed).integers(0, 2, (40, 31, 3)).astype("f4")
    how = {"rgb": True, "coreset_size": 6, "n_init": 1, "random_state": seed}
    result = segment(da.from_array(image, chunks=-1), 3, **how)
    counts = np.bincount(result.labels.compute().ravel())[1:]
    assert result.table["pixels"].tolist() == counts.tolist()


def test_pixels_of_two_denormal_values_are_counted_under_their_label():
    # The values are denormal: the square of their distance is 0 in float64.
    with pytest.warns(UserWarning, match="n_clusters=2 gave 1 cluster:"):
        result = segment(np.array([[1.19e-322, 1.93e-322]]), 2, method="full")
    assert result.labels.tolist() == [[1, 1]]
    assert result.table["pixels"].tolist() == [2]


def test_start_without_pixels_is_refilled_beside_the_largest_float32():
    image = np.array([1, 1, 1, 1, np.finfo("f4").max], "f4")
    result = segment(image, 2, method="full", init=[[0.3], [0.1]])
    assert result.labels.tolist() == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("options", [{}, {"method": "full"}, {"color_space": "lab"}])
def test_kept_start_colors_are_the_centers(options):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    palette = np.array([[250, 250, 250], [10, 20, 30], [200, 30, 30], [40, 160, 60]], np.uint8)
    result = segment(image, 4, rgb=True, init=palette, keep_init=True, **options)
    assert result.starts.tolist() == [1, 2, 3, 0]
    convert = rgb2lab if options.get("color_space") == "lab" else np.float64
    points, centers = convert(image), convert(palette[None])[0][result.starts]
    np.testing.assert_allclose(result.model.cluster_centers_, centers, atol=1e-9)
    nearest = cdist(points.reshape(-1, 3), centers).argmin(axis=1) + 1
    np.testing.assert_array_equal(result.labels.ravel(), nearest)
    np.testing.assert_array_equal(result.model.predict(image), result.labels)
    assert result.model.n_iter_ == 0
    # The recolored image has the mean colors of the pixels, as that of every run.
    mean = image[result.labels == 1].mean(axis=0)
    np.testing.assert_array_equal(result.recolored[result.labels == 1][0], np.rint(mean))


def test_kept_start_colors_of_lazy_images_are_the_centers():
    pixels = np.random.default_rng(0).random((40, 50, 2))
    palette = np.array([[0.9, 0.9], [0.1, 0.2], [0.8, 0.1]])
    lazy = da.from_array(pixels, chunks=(13, 50, 2))
    expected = cdist(pixels.reshape(-1, 2), palette).argmin(axis=1).reshape(40, 50)
    for image in (pixels, lazy):
        for method in ("coreset", "full"):
            result = segment(image, 3, channel_axis=-1, init=palette, keep_init=True, method=method)
            found = result.starts[np.asarray(result.labels) - 1]
            np.testing.assert_array_equal(found, expected)


def test_kept_start_colors_without_pixels_are_named(quadrants):
    palette = [[20, 10, 60], [0, 0, 0], [0, 255, 255], [240, 230, 220]]
    with pytest.warns(UserWarning, match=r"keep_init=True gave 2 of 4 .* the rows \[1, 2\] of"):
        result = segment(quadrants, 4, rgb=True, init=palette, keep_init=True, blur=0)
    np.testing.assert_array_equal(result.starts, [0, 3])
    assert result.labels.max() == 2


def test_centers_know_their_start_also_after_empty_clusters_were_filled():
    """The last start color is the nearest of no pixel, and gray is left for it."""
    image = np.repeat(np.array([0, 100, 255], np.uint8), 9).reshape(3, 9)
    for method in METHODS:
        result = segment(image, 3, init=[[0], [255], [254.9]], method=method)
        np.testing.assert_array_equal(result.labels[:, 0], [1, 2, 3])
        assert result.starts.tolist() == [0, 2, 1]
    assert segment(image, 3).starts is None


def test_keep_init_without_start_colors_is_refused(quadrants):
    with pytest.raises(ValueError, match=r"keep_init must be False for init='k-means\+\+'"):
        segment(quadrants, 4, keep_init=True)


@pytest.mark.parametrize("size", [1e19, 1e30, 1e38])
def test_large_float32_numbers_have_no_warning(size):
    image = (np.random.default_rng(0).random((5, 5)) * size).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = segment(image, 2, rgb=False).labels
    assert (labels[image < 0.2 * size] == 1).all()
    assert (labels[image > 0.8 * size] == 2).all()
