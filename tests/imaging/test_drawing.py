import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as pictures

from napari_kmeans import segment
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging import blocks, chunks, drawing
from napari_kmeans.imaging.blocks import open_images, open_pixels
from napari_kmeans.imaging.chunks import Batch, Piece
from napari_kmeans.imaging.drawing import draw_pixels

PLAIN = FeatureSpace("rgb", 1.0)


def random_of(index: int, key: int) -> float:
    """Return the random number of a pixel: SplitMix64 in Python integers."""
    mask = 2**64 - 1
    bits = (key + index * 0x9E3779B97F4A7C15) & mask
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
    return (((bits ^ (bits >> 31)) >> 11) + 0.5) * 2.0**-53


def test_uniform_draw_takes_lowest_random_numbers():
    image = np.random.default_rng(0).random((30, 40))
    mask = np.random.default_rng(1).random((30, 40)) < 0.6
    drawn = draw_pixels(open_images(image, mask=mask), 50, 0, PLAIN, [3, 4])
    key = int(np.random.SeedSequence([3, 4, 0]).generate_state(1, np.uint64)[0])
    kept = np.flatnonzero(mask)
    expected = sorted(sorted(kept, key=lambda index: random_of(int(index), key))[:50])
    assert drawn.indices.tolist() == expected
    np.testing.assert_array_equal(drawn.values[:, 0], image.ravel()[expected])
    np.testing.assert_allclose(drawn.weights, mask.sum() / 50)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_draw_does_not_depend_on_chunks_blocks_or_threads(data):
    shape = (23, 31)
    image = np.random.default_rng(5).normal(size=(*shape, 2))
    mask = np.random.default_rng(6).random(shape) < data.draw(st.sampled_from([0.05, 0.7, 1.0]))
    sizes = data.draw(st.sampled_from([(5, 5), (100, 30), (900, 900), (0, 40), (40, 0)]))

    def draw_chunks(side):
        cuts = sorted(data.draw(st.sets(st.integers(1, side - 1), max_size=4)))
        return tuple(np.diff([0, *cuts, side]).tolist())

    lazy = da.from_array(image, chunks=(draw_chunks(23), draw_chunks(31), 2))
    expected = draw_pixels(
        open_images([image] * 2, channel_axis=-1, mask=[mask] * 2), *sizes, PLAIN, [1]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", data.draw(st.sampled_from([7, 200])))
        patch.setattr(chunks, "_BATCH_PIXELS", data.draw(st.sampled_from([1, 300])))
        patch.setattr(drawing, "_MAX_SHARE", data.draw(st.sampled_from([0, 0.25, 2.0])))
        patch.setattr(
            "napari_kmeans.execution.threads.n_threads", lambda: data.draw(st.sampled_from([1, 4]))
        )
        images = open_images([lazy, image], channel_axis=-1, mask=[mask] * 2)
        drawn = draw_pixels(images, *sizes, PLAIN, [1])
    for expected_column, column in zip(expected, drawn, strict=True):
        np.testing.assert_array_equal(expected_column, column)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0, 2.0, 100.0])
@pytest.mark.parametrize("n_guessed", [1, 40, 500])
@pytest.mark.parametrize("sizes", [(50, 50), (0, 40), (40, 0), (5, 900), (9000, 9000)])
def test_guessed_limits_do_not_change_the_draw(sizes, n_guessed, margin, monkeypatch):
    rng = np.random.default_rng(1)
    images = [
        rng.normal(size=(60, 70)),
        rng.normal(size=(3, 40, 20)) + 1000,
        np.where(rng.random((1, 900)) < 0.02, 1e6, 3.0),
        np.full((20, 20), np.nan),
    ]
    masks = [rng.random(image.shape) < 0.7 for image in images]
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 200)
    pixels = [open_pixels(image, mask=mask) for image, mask in zip(images, masks, strict=True)]
    expected = draw_pixels(pixels, *sizes, PLAIN, [1])
    monkeypatch.setattr(drawing, "_LEAST_GUESSED", 1)
    monkeypatch.setattr(drawing, "_N_GUESSED", n_guessed)
    monkeypatch.setattr(drawing, "_GUESS_MARGIN", margin)
    drawn = draw_pixels(pixels, *sizes, PLAIN, [1])
    for expected_column, column in zip(expected, drawn, strict=True):
        np.testing.assert_array_equal(expected_column, column)


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.02, 0.5])
def test_guessed_limits_are_above_few_pixels_more_than_are_drawn(share, monkeypatch):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1100, 1000)) + 1e4 * (rng.random((1100, 1000)) < share)
    numbers = []

    def collect(leaf, *arguments):
        numbers.append(len((candidates := collect_pixels(leaf, *arguments)).randoms))
        return candidates

    collect_pixels = drawing._CandidatesLeaf._collect_pixels
    monkeypatch.setattr(drawing._CandidatesLeaf, "_collect_pixels", collect)
    monkeypatch.setattr(drawing, "_find_reference", lambda *_: np.zeros(1))
    draw_pixels(open_images(image), 2000, 2000, PLAIN, [0])
    assert len(numbers) == len(blocks.split_shape(image.shape))  # a single pass
    assert numbers[0] < 4 * 4000 / len(numbers)


@pytest.mark.parametrize("n_far", [0.01, 1, 30, 990])
def test_limits_are_those_of_the_expected_number_of_pixels(n_far):
    rng = np.random.default_rng(3)
    squares = np.where(rng.random(1000) < 0.05, 1e5, 1.0) * rng.random(1000) ** 2
    uniform_limit, limit = drawing._solve_limits(squares, 20, n_far)
    assert uniform_limit == 20 / 1000
    assert np.minimum(1, limit * squares).sum() == pytest.approx(n_far)
    assert drawing._solve_limits(np.zeros(10), 5, 5) == (0.5, np.inf)
    assert drawing._solve_limits(np.ones(10), 10, 10) == (np.inf, np.inf)
    assert drawing._solve_limits(np.full(10, 5e-324), 5, 5) == (0.5, np.inf)
    assert drawing._solve_limits(np.empty(0), 5, 5) == (np.inf, np.inf)


def test_steps_are_spread_over_the_axes():
    assert drawing._spread_step((4000, 3000), 100) == (10, 10)
    assert drawing._spread_step((3, 4000, 4000), 400) == (3, 12, 11)
    assert drawing._spread_step((10**6,), 50) == (50,)
    assert drawing._spread_step((5, 7), 0.3) == (1, 1)


@pytest.mark.parametrize("sizes", [(40, 0), (20, 20)])
def test_weighted_sums_are_right_on_average(sizes):
    rng = np.random.default_rng(0)
    image = np.where(rng.random((50, 60)) < 0.02, 90.0, 1.0) + rng.normal(0, 0.3, (50, 60))
    sums = []
    for seed in range(400):
        drawn = draw_pixels(open_images(image), *sizes, PLAIN, [seed])
        assert drawn.weights.sum() == pytest.approx(3000)
        sums.append([drawn.weights @ drawn.values[:, 0], drawn.weights @ (drawn.values[:, 0] > 50)])
    error = np.std(sums, axis=0) / np.sqrt(len(sums))
    truth = [image.sum(), np.count_nonzero(image > 50)]
    # Scaling the weights so that their sum is the number of pixels lowers their variance, but
    # adds a small bias.
    assert (np.abs(np.mean(sums, axis=0) - truth) < 5 * error + 0.02 * np.array(truth)).all()


def test_few_far_pixels_are_all_drawn_at_any_offset():
    image = 1000 + np.random.default_rng(0).normal(0, 1, (300, 300))
    image[:3, :10] = 1100
    drawn = draw_pixels(open_images(image), 500, 500, PLAIN, [0])
    assert np.count_nonzero(drawn.values > 1050) == 30
    np.testing.assert_allclose(drawn.weights[drawn.values[:, 0] > 1050], 1, rtol=0.1)


@pytest.mark.parametrize("offset", [0, -1000, 1000])
def test_few_pixels_are_read_where_all_values_are_far_from_0(offset, monkeypatch):
    numbers = []

    def select_few(*arguments):
        numbers.append(len((selected := select(*arguments))[0]))
        return selected

    select = drawing._select_few
    monkeypatch.setattr(drawing, "_select_few", select_few)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 3000)
    image = offset + np.random.default_rng(0).uniform(-1, 1, (300, 300))
    draw_pixels(open_images(image), 50, 50, PLAIN, [0])
    assert len(numbers) > 20
    assert sum(numbers[-5:]) < 0.1 * 5 * 3000


def test_few_pixels_are_all_drawn_once():
    image = np.random.default_rng(0).random((9, 9))
    drawn = draw_pixels(open_images(image), 100, 100, PLAIN, [0])
    assert drawn.indices.tolist() == list(range(81))
    np.testing.assert_array_equal(drawn.weights, 1)


def test_draw_is_empty_if_all_pixels_are_left_out():
    drawn = draw_pixels(open_images(np.full((9, 9), np.nan)), 10, 10, PLAIN, [0])
    assert [len(column) for column in drawn] == [0, 0, 0, 0]


def test_batch_that_runs_twice_does_not_change_the_draw():
    values = np.random.default_rng(0).random((1000, 1))
    place = (slice(0, 1000),)
    leaf = drawing._CandidatesLeaf(None, 20, 20, [0], [(1000,)])

    def run(leaf):
        return leaf(Batch(0, 1000, [Piece(values, None, [(0, place)])]))

    first, again = run(leaf), run(leaf)
    fresh = run(pickle.loads(pickle.dumps(leaf)))
    for other in (again, fresh):
        for one, two in zip(first.draw(20, 20), other.draw(20, 20), strict=True):
            np.testing.assert_array_equal(one, two)


IMAGES = {
    "floats": (pictures.coffee()[:200, :300] / 255, {"rgb": True}),
    "lab": (pictures.coffee()[:200, :300] / 255, {"rgb": True, "color_space": "lab"}),
    "hsv": (
        (pictures.coffee()[:200, :300] / 255).astype("f4"),
        {"rgb": True, "color_space": "hsv"},
    ),
    "16 bits": (pictures.coffee()[:200, :300].astype("u2") * 257, {"channel_axis": -1}),
    "zscore": (pictures.coffee()[:200, :300] / 255, {"channel_axis": -1, "normalize": "zscore"}),
    "percentile": (
        pictures.coffee()[:200, :300] / 255,
        {"channel_axis": -1, "normalize": "percentile"},
    ),
    "gray": (np.random.default_rng(0).normal(size=(300, 400)), {}),
    "volume": (np.random.default_rng(0).normal(size=(5, 90, 80, 2)), {"channel_axis": -1}),
}


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("name", IMAGES)
def test_labels_of_dask_images_equal_those_of_numpy_for_any_chunks(name, method, monkeypatch):
    image, options = IMAGES[name]
    # Small enough that a sample is drawn, and not all pixels.
    size = {"coreset_size": 2000, "method": method}
    expected = segment(image, 5, **options, **size)
    for sides in ((64,) * image.ndim, (33, 150, 41, 2)[: image.ndim], (7, *image.shape[1:])):
        monkeypatch.setattr(chunks, "_BATCH_PIXELS", 20_000)
        lazy = da.from_array(image, chunks=tuple(map(min, sides, image.shape)))
        result = segment(lazy, 5, **options, **size)
        np.testing.assert_array_equal(result.labels.compute(), expected.labels)
        if method == "coreset":
            centers = result.model.cluster_centers_, expected.model.cluster_centers_
            np.testing.assert_array_equal(*centers)
            np.testing.assert_array_equal(result.coreset.positions, expected.coreset.positions)


@pytest.mark.parametrize("normalize", ["none", "zscore", "percentile"])
def test_gray_floats_get_the_same_labels_from_numpy_and_dask(normalize):
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.normal(mean, 0.1, 3000) for mean in (1, 2, 5)])
    image = rng.permutation(image).astype("f4").reshape(90, 100)
    expected = np.searchsorted([1.5, 3.5], image) + 1
    for given_image in (image, da.from_array(image, chunks=(40, 100))):
        seg = segment(given_image, 3, normalize=normalize, method="full")
        np.testing.assert_array_equal(np.asarray(seg.labels), expected)


@pytest.mark.parametrize("coreset_size", [100, 500, 1100])
def test_full_has_the_same_start_on_numpy_and_dask_with_small_coreset(coreset_size):
    image = np.random.default_rng(0).random((60, 60, 3)).astype("f4")
    options = {"rgb": True, "method": "full", "coreset_size": coreset_size}
    expected = segment(image, 8, **options)
    result = segment(da.from_array(image, chunks=(25, 60, 3)), 8, **options)
    np.testing.assert_array_equal(result.labels.compute(), expected.labels)


def test_masked_dask_array_leaves_masked_pixels_out():
    image, mask = np.random.default_rng(0).random((2, 30, 40)) > 0.5
    image = image + np.random.default_rng(1).random((30, 40))
    expected = segment(np.ma.masked_array(image, mask), 3)
    lazy = [da.from_array(array, chunks=(7, 40)) for array in (image, mask)]
    result = segment(da.ma.masked_array(*lazy), 3)
    np.testing.assert_array_equal(result.labels.compute(), expected.labels)
    assert np.array_equal(expected.labels == 0, mask)
