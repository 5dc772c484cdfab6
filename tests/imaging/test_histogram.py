import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_kmeans.clustering.kernels import MIXED
from napari_kmeans.imaging import blocks as blocks_module
from napari_kmeans.imaging import histogram as histogram_module
from napari_kmeans.imaging.blocks import open_images, open_pixels
from napari_kmeans.imaging.histogram import WholeCells, build_histogram, find_codec


def histogram_of(image, **options):
    pixels = open_pixels(image, **options)
    codec = find_codec([pixels])
    return None if codec is None else build_histogram([pixels], codec)


def assert_counts(histogram, colors):
    expected, counts = np.unique(colors, axis=0, return_counts=True)
    order = np.lexsort(histogram.points.T[::-1])
    np.testing.assert_array_equal(histogram.points[order], expected.astype(float))
    np.testing.assert_array_equal(histogram.weights[order], counts)
    assert histogram.starts[0] == 0
    assert histogram.starts[-1] == len(expected)


def test_colors_of_a_cell_are_consecutive():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    histogram = histogram_of(image)
    cells = histogram.points // 4
    for start, stop in pairwise(histogram.starts.tolist()):
        assert len(np.unique(cells[start:stop], axis=0)) == 1
    assert len(np.unique(cells, axis=0)) == len(histogram.starts) - 1


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", ">i2", "u4", "i8", "u8"])
@pytest.mark.parametrize("block", [50, 10**6])
def test_histogram_counts_every_distinct_gray(dtype, block, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", block)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (30, 21)).astype(dtype)
    assert_counts(histogram_of(image), image.reshape(-1, 1))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u4"])
def test_histogram_counts_every_distinct_color(dtype, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", 64)
    rng = np.random.default_rng(1)
    low = -100 if dtype.startswith("i") else 0
    image = rng.integers(low, 100, (20, 21, 3)).astype(dtype)
    assert_counts(histogram_of(image, rgb=True), image.reshape(-1, 3))


@pytest.mark.parametrize("n_pixels", [1, 255, 256, 257, 100_000])
def test_bytes_of_rgb_have_the_same_codes_in_every_layout_and_dtype(n_pixels):
    # Contiguous bytes have an encoding of their own.
    colors = np.random.default_rng(2).integers(0, 256, (n_pixels, 3)).astype(np.uint8)
    image = colors[None]
    expected = histogram_of(image, rgb=True)
    assert_counts(expected, colors)
    others = [np.asfortranarray(image), image.astype(np.uint16), np.repeat(image, 2, 1)[:, ::2]]
    numbers = np.arange(len(expected.weights))
    table = expected.table(numbers, numbers.astype(np.uint32) + 1)
    entries = expected.codec.look_up(colors, table)
    np.testing.assert_array_equal(expected.points[entries - 1], colors)
    for other in others:
        histogram = histogram_of(other, rgb=True)
        np.testing.assert_array_equal(histogram.codes, expected.codes)
        np.testing.assert_array_equal(histogram.weights, expected.weights)
        values = other.reshape(-1, 3)
        np.testing.assert_array_equal(histogram.codec.look_up(values, table), entries)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_codes_of_any_narrow_range_are_one_to_one(data):
    dtype = np.dtype(data.draw(st.sampled_from(["i2", "u2", "i4", "u4", "i8", "u8"])))
    limits = np.iinfo(dtype)
    base = data.draw(st.integers(int(limits.min), int(limits.max) - 255))
    base = int(np.float64(base))  # points are float64: the value must be exact
    base = min(max(base, int(limits.min)), int(limits.max) - 255)
    offsets = data.draw(hnp.arrays(np.uint8, (6, 2)))
    image = (offsets.astype(object) + base).astype(dtype)
    histogram = histogram_of(image, channel_axis=1)
    assert histogram.weights.sum() == 6
    distinct = np.unique(offsets, axis=0)
    assert len(histogram.weights) == len(distinct)
    codec = histogram.codec
    entries = codec.look_up(
        image, histogram.table(np.arange(len(distinct)), np.arange(1, len(distinct) + 1))
    )
    same = (image[:, None] == image[None]).all(axis=2)
    np.testing.assert_array_equal(entries[:, None] == entries[None], same)


def test_masked_pixels_are_not_counted():
    image = np.array([[1, 1, 2, 9]], np.uint8)
    histogram = histogram_of(image, mask=image < 9)
    assert histogram.points.tolist() == [[1], [2]]
    assert histogram.weights.tolist() == [2, 1]


def test_too_many_colors_have_no_codec():
    wide = np.zeros((4, 4, 3), np.uint16)
    wide[0, 0] = 65_535
    assert histogram_of(wide, rgb=True) is None
    assert histogram_of(np.zeros((4, 4))) is None
    assert histogram_of(np.array([0, 2**24], np.int32)) is None
    assert histogram_of(np.array([-(2**63), 2**63 - 1])) is None


def test_masked_pixels_do_not_widen_the_range_of_a_codec():
    image = np.array([5, 7, 2**40])
    histogram = histogram_of(image, mask=image < 100)
    assert histogram.points.tolist() == [[5], [7]]


def test_look_up_of_a_color_outside_the_codec_stays_inside_the_table():
    image = np.array([[3, 4]], np.int32)
    histogram = histogram_of(image)
    table = histogram.table(np.array([0, 1]), np.array([1, 2], np.uint8))
    assert histogram.codec.look_up(np.array([[3], [4]], np.int32), table).tolist() == [1, 2]
    far = histogram.codec.look_up(np.array([[-(2**31)], [2**31 - 1]], np.int32), table)
    assert set(far.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("before", [254, 255, 256, 509, 510])
def test_counters_that_are_nearly_full_before_a_block_do_not_overflow(before, monkeypatch):
    grays = np.arange(4096, dtype=np.uint16)
    image = np.concatenate([np.repeat(grays, before), grays, grays, grays[:7]])
    counts = np.where(grays < 7, before + 3, before + 2)
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", before * len(grays))
    # The second time, count in a single table, as a single thread does.
    for number in (histogram_module.n_threads(), 1):
        monkeypatch.setattr(histogram_module, "n_threads", lambda number=number: number)
        histogram = histogram_of(image)
        assert sorted(histogram.points[:, 0]) == grays.tolist()
        np.testing.assert_array_equal(histogram.weights[histogram.points[:, 0].argsort()], counts)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_merged_histograms_equal_the_histogram_of_all_pixels(data):
    dtype = data.draw(st.sampled_from(["?", "u1", "u2"]))
    n_channels = 3 if dtype == "u1" else 1
    colors = data.draw(hnp.arrays(dtype, (data.draw(st.integers(1, 60)), n_channels)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(colors)), max_size=6)))
    pixels = open_pixels(colors, channel_axis=1)
    codec = find_codec([pixels])
    parts = []
    for start, stop in pairwise([0, *cuts, len(colors)]):
        inside = np.zeros(len(colors), bool)
        inside[start:stop] = True
        part = open_pixels(colors, channel_axis=1, mask=inside)
        parts.append(build_histogram([part], codec))
    whole = build_histogram([pixels], codec)
    middle = data.draw(st.integers(1, len(parts)))
    left = parts[0].merge(*parts[1:middle])
    right = parts[middle:]
    for merged in (parts[0].merge(*parts[1:]), left.merge(*right), right[0].merge(left, *right[1:])
                   if right else left):  # fmt: skip
        np.testing.assert_array_equal(merged.codes, whole.codes)
        np.testing.assert_array_equal(merged.weights, whole.weights)
        np.testing.assert_array_equal(merged.starts, whole.starts)


def test_merge_counts_more_pixels_than_uint32_holds():
    histogram = histogram_of(np.array([3, 3, 9], np.uint8))
    for _ in range(40):
        histogram = histogram.merge(histogram)
    assert histogram.weights.tolist() == [2.0**41, 2.0**40]


def test_merge_refuses_histograms_of_different_codecs():
    histogram = histogram_of(np.array([3, 300], np.int32))
    assert histogram.merge(histogram_of(np.array([3, 300], np.int32))).weights.tolist() == [2, 2]
    with pytest.raises(ValueError, match="same codec"):
        histogram.merge(histogram_of(np.array([4, 300], np.int32)))


@pytest.mark.parametrize("place", [(5, 5), (100, 150)])
@pytest.mark.parametrize("channel", [0, 2])
@pytest.mark.parametrize("low", [0, 5])
def test_codec_depends_on_all_pixels_and_not_only_on_some_in_the_middle(low, channel, place):
    image = np.random.default_rng(0).integers(low, 256, (200, 300, 3)).astype(np.uint16)
    assert find_codec(open_images(image)) is not None
    image[place][channel] = 4000
    mask = np.ones(image.shape[:2], bool)
    assert find_codec(open_images(image, mask=mask)) is None
    mask[place] = False
    assert find_codec(open_images(image, mask=mask)) is not None


@pytest.mark.parametrize(("dtype", "n_channels"), [("u1", 3), ("i2", 3), ("i4", 2), ("u2", 1)])
def test_cells_have_the_moments_of_their_colors(dtype, n_channels):
    rng = np.random.default_rng(3)
    low = -100 if dtype.startswith("i") else 0
    highest = 2000 if n_channels == 2 else 60
    image = rng.integers(low, highest, (60, 50, n_channels)).astype(dtype)
    histogram = histogram_of(image, channel_axis=2)
    cells = histogram.cells
    assert len(cells.totals) == len(histogram.starts) - 1
    for cell, (start, stop) in enumerate(pairwise(histogram.starts.tolist())):
        points = histogram.points[start:stop].astype(float)
        weights = histogram.weights[start:stop]
        mean = np.average(points, axis=0, weights=weights)
        squares = ((points - mean) ** 2).sum(axis=1)
        assert cells.totals[cell] == weights.sum()
        np.testing.assert_array_equal(cells.sums[cell], weights @ points)
        np.testing.assert_allclose(cells.means[cell], mean, rtol=1e-14)
        np.testing.assert_allclose(cells.scatters[cell], weights @ squares, atol=1e-9)
        corner = np.maximum(mean - points.min(axis=0), points.max(axis=0) - mean)
        assert squares.max() <= cells.radii[cell] ** 2 * (1 + 1e-12)
        assert cells.radii[cell] == pytest.approx(np.sqrt((corner**2).sum()), abs=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_table_of_whole_cells_has_the_labels_of_their_colors(dtype):
    image = np.random.default_rng(4).integers(0, 256, (90, 90, 3)).astype(dtype)
    histogram = histogram_of(image, rgb=True)
    n_cells = len(histogram.starts) - 1
    cell_labels = np.resize([2, MIXED, 0, 1, MIXED], n_cells).astype(np.int32)
    others = histogram.take(np.flatnonzero(cell_labels == MIXED))
    labels = np.resize([0, 1, 2, 2], len(others.codes)).astype(np.int32)
    new_labels = np.array([7, 300, 5], np.uint16)
    table = histogram.table(labels, new_labels, WholeCells(cell_labels, others))
    expected = np.repeat(cell_labels, np.diff(histogram.starts))
    expected[expected == MIXED] = labels
    found = histogram.codec.look_up(histogram.points.astype(dtype), table)
    np.testing.assert_array_equal(found, new_labels[expected])
    again = pickle.loads(pickle.dumps(table))
    found = histogram.codec.look_up(histogram.points.astype(dtype), again)
    np.testing.assert_array_equal(found, new_labels[expected])


def test_look_up_writes_where_it_is_asked_to():
    image = np.random.default_rng(5).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    histogram = histogram_of(image, rgb=True)
    numbers = np.arange(len(histogram.codes))
    table = histogram.table(numbers, numbers.astype(np.uint32) + 1)
    target = np.zeros((2, 900), np.uint32)
    histogram.codec.look_up(image.reshape(-1, 3), table, target[1])
    assert not target[0].any()
    np.testing.assert_array_equal(histogram.points[target[1] - 1], image.reshape(-1, 3))


@pytest.mark.parametrize("n_runs", [1, 2, 3, 11, 12, 13, 40])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_look_up_of_gray_finds_the_label_of_each_value(dtype, n_runs):
    rng = np.random.default_rng(n_runs)
    limits = np.iinfo(dtype)
    # A part of the values occurs, and the lowest and the highest are among them.
    values = rng.integers(limits.min, limits.max, (700, 9), endpoint=True).astype(dtype)
    values[0, :2] = limits.min, limits.max
    histogram = histogram_of(values)
    codes = np.arange(len(histogram.codes))
    # Neighboring runs differ, and numbers come back in later runs.
    labels = codes * n_runs // len(codes) * 3 % 7
    table = histogram.table(labels, np.arange(1, 8, dtype=np.uint8))
    found = histogram.codec.look_up(values.reshape(-1, 1), table)
    known = dict(zip(histogram.points[:, 0].tolist(), (labels + 1).tolist(), strict=True))
    assert found.tolist() == [known[value] for value in values.ravel().tolist()]


def test_look_up_of_gray_without_any_color_gives_0():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    histogram = histogram_of(image)
    table = histogram.take(np.empty(0, np.int64)).table(np.empty(0, np.int64), np.zeros(1, "u1"))
    assert not histogram.codec.look_up(image.reshape(-1, 1), table).any()
