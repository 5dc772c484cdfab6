"""segment_slices: each slice gets the clusters of segment, with labels that match its neighbors."""

from __future__ import annotations

import itertools
import json

import dask.array as da
import numpy as np
import pytest

from napari_kmeans import KMeansModel, segment, segment_slices

COLORS = np.array([(20, 10, 60), (200, 30, 40), (40, 180, 60), (240, 230, 220)])


@pytest.fixture
def film(quadrants):
    """Return a film (T, Y, X, 3) of four colors; the second becomes brighter than the third."""
    stack = np.stack([quadrants] * 4)
    for time in range(4):
        stack[time, :10, 10:, 1] += np.uint8(50 * time)
    return stack


@pytest.fixture
def truth(quadrant_labels):
    return np.stack([quadrant_labels] * 4)


def segment_each(stack, n_clusters, **options):
    return [segment(image, n_clusters, **options) for image in stack]


def stack_palettes(result):
    return np.array([model.palette for model in result.model.models])


def test_labels_follow_a_color_that_changes(film, truth):
    alone = segment_each(film, 4, rgb=True)
    assert any((each.labels != truth[0]).any() for each in alone)
    result = segment_slices(film, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, truth)
    np.testing.assert_array_equal(result.recolored, [each.recolored for each in alone])
    assert result.labels.dtype == np.uint8
    assert result.recolored.dtype == np.uint8
    for time, label in itertools.product(range(4), range(1, 5)):
        inside = film[time][truth[time] == label]
        np.testing.assert_allclose(stack_palettes(result)[time, label - 1], inside.mean(axis=0))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "full"},
        {"color_space": "lab", "n_init": 2},
        {"init": COLORS},
        {"coreset_size": 40, "random_state": 3},
    ],
)
def test_each_slice_gets_the_clusters_of_segment(film, options):
    result = segment_slices(film, 4, rgb=True, **options)
    for image, labels, recolored, model in zip(
        film, result.labels, result.recolored, result.model.models, strict=True
    ):
        alone = segment(image, 4, rgb=True, **options)
        np.testing.assert_array_equal(recolored, alone.recolored)
        assert {tuple(color) for color in model.palette} == set(map(tuple, alone.model.palette))
        assert len(set(zip(labels.ravel(), alone.labels.ravel(), strict=True))) == 4
    assert result.options.to_dict() == alone.options.to_dict()


def test_labels_of_neighboring_slices_have_the_smallest_sum_of_distances():
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (5, 4, 1, 3)).astype(np.uint8)
    result = segment_slices(colors, 4, rgb=True)
    for before, after in itertools.pairwise(stack_palettes(result)):
        costs = {
            order: np.linalg.norm(before - after[list(order)], axis=1).sum()
            for order in itertools.permutations(range(4))
        }
        assert min(costs, key=costs.get) == (0, 1, 2, 3)


def test_table_counts_the_pixels_of_all_slices(film, truth):
    result = segment_slices(film, 4, rgb=True)
    table = result.table
    assert table["index"].tolist() == [1, 2, 3, 4]
    for label in range(1, 5):
        inside = film[truth == label]
        (row,) = table[table["index"] == label].to_dict("records")
        assert row["pixels"] == len(inside)
        assert row["percent"] == pytest.approx(100 * len(inside) / truth.size)
        means = [row["mean red"], row["mean green"], row["mean blue"]]
        np.testing.assert_allclose(means, inside.mean(axis=0))
        assert row["color"] == "#{:02x}{:02x}{:02x}".format(*np.rint(means).astype(int))
    cost = sum(each.model.inertia_ for each in segment_each(film, 4, rgb=True))
    assert table.attrs["inertia"] == pytest.approx(cost)
    assert result.distortion == table.attrs["distortion"] >= 1


def test_slice_table_counts_the_pixels_of_each_slice(film, truth):
    table = segment_slices(film, 4, rgb=True).slice_table
    assert table.columns[:4].tolist() == ["slice", "index", "pixels", "percent"]
    assert len(table) == 16
    for row in table.to_dict("records"):
        inside = film[row["slice"]][truth[row["slice"]] == row["index"]]
        assert row["pixels"] == len(inside)
        assert row["mean green"] == pytest.approx(inside[:, 1].mean())
    np.testing.assert_allclose(table.groupby("slice")["percent"].sum(), 100)


def test_gray_stack_gets_its_levels(steps):
    result = segment_slices(steps, 3)
    np.testing.assert_array_equal(result.labels, segment(steps, 3, rgb=False).labels)
    np.testing.assert_array_equal(result.recolored, steps)
    assert result.table["mean intensity"].tolist() == [1_000, 20_000, 50_000]
    colors = set(result.slice_table["color"])
    assert colors == set(result.table["color"]) == {"#000000", "#636363", "#ffffff"}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channel_axis_can_be_any_axis(film, truth, axis):
    moved = np.moveaxis(film, -1, axis)
    result = segment_slices(moved, 4, channel_axis=axis)
    np.testing.assert_array_equal(result.labels > 0, truth > 0)
    expected = segment_slices(film, 4, channel_axis=-1)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(np.moveaxis(result.recolored, axis, -1), expected.recolored)
    again = result.model.apply(moved)
    np.testing.assert_array_equal(again[0], result.labels)
    np.testing.assert_array_equal(again[1], result.recolored)


def test_stack_can_have_several_leading_axes(film, truth):
    stack = np.stack([film, film[::-1]])
    result = segment_slices(stack, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, np.stack([truth, truth]))
    assert result.model.shape == (2, 4)
    number = np.ravel_multi_index((1, 2), result.model.shape)
    rows = result.slice_table[result.slice_table["slice"] == number]
    assert rows["mean green"].iloc[1] == pytest.approx(stack[1, 2][truth[0] == 2][:, 1].mean())


def test_single_picture_is_a_stack_of_one_slice(quadrants, quadrant_labels):
    result = segment_slices(quadrants, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, quadrant_labels)
    assert (len(result.model.models), result.model.shape) == (1, ())
    lazy = segment_slices(da.from_array(quadrants, chunks=(9, 9, 3)), 4, rgb=True)
    np.testing.assert_array_equal(lazy.labels, quadrant_labels)


def test_image_of_one_axis_is_refused():
    with pytest.raises(ValueError, match=r"two spatial axes or more, got the spatial shape \(9,\)"):
        segment_slices(np.arange(9))


# ------------------------------------------------------------ excluded pixels


def test_excluded_pixels_get_label_0(film, truth):
    rgba = np.concatenate([film, np.full((4, 20, 21, 1), 255, np.uint8)], axis=-1)
    rgba[2, :5, :, 3] = 0
    mask = np.ones((4, 20, 21), bool)
    mask[1] = False
    mask[3, :, :4] = False
    result = segment_slices(rgba, 4, rgb=True, mask=mask)
    excluded = ~mask | (rgba[..., 3] == 0)
    np.testing.assert_array_equal(result.labels, np.where(excluded, 0, truth))
    np.testing.assert_array_equal(result.recolored[excluded], rgba[excluded])
    np.testing.assert_array_equal(result.recolored[..., 3], rgba[..., 3])
    assert result.model.models[1] is None
    assert sorted(set(result.slice_table["slice"])) == [0, 2, 3]
    assert result.table["pixels"].sum() == (~excluded).sum()


def test_slice_of_nan_gets_label_0():
    stack = np.random.default_rng(0).random((3, 8, 9))
    stack[0] = np.nan
    result = segment_slices(stack, 2)
    assert not result.labels[0].any()
    assert np.isnan(result.recolored[0]).all()
    assert sorted(np.unique(result.labels[1:])) == [1, 2]


def test_stack_without_included_pixels_is_refused(film):
    with pytest.raises(ValueError, match="got all 1680 left out"):
        segment_slices(film, 4, rgb=True, mask=np.zeros((4, 20, 21), bool))


def test_slice_of_fewer_colors_gets_the_labels_of_the_nearest_colors(film, truth):
    film[1, :, :10] = COLORS[2]
    film[1, :, 10:] = (250, 240, 225)
    film[0] = COLORS[1]
    message = "n_clusters=4 gave fewer clusters in 2 of 4 slices"
    with pytest.warns(UserWarning, match=message) as caught:
        result = segment_slices(film, 4, rgb=True)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.unique(result.labels[0]).tolist() == [2]
    assert set(result.labels[1, :, :10].ravel()) == {3}
    assert set(result.labels[1, :, 10:].ravel()) == {4}
    np.testing.assert_array_equal(result.labels[2:], truth[2:])
    np.testing.assert_array_equal(result.recolored[:2], film[:2])
    assert [names.tolist() for names in result.model.names[:2]] == [[0, 2], [0, 3, 4]]
    again = result.model.apply(film)
    np.testing.assert_array_equal(again[0], result.labels)


def test_invalid_init_and_mask_are_refused(film):
    with pytest.raises(ValueError, match="init must have one column"):
        segment_slices(film, 2, rgb=True, init=[[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="mask must have the image's spatial shape"):
        segment_slices(film, 2, rgb=True, mask=np.ones((20, 21)))


# ----------------------------------------------------------------------- dask


def record_reads(array, chunks):
    """Return a dask array, and a list to which the location of each chunk that is read is added."""
    read = []

    def add(chunk, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return chunk

    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(array, chunks=chunks).map_blocks(add, dtype=array.dtype, meta=meta), read


def test_dask_stack_gives_lazy_results(film):
    expected = segment_slices(film, 4, rgb=True)
    lazy, read = record_reads(film, (2, 20, 7, 3))
    mask = np.ones((4, 20, 21), bool)
    result = segment_slices(lazy, 4, rgb=True, mask=mask)
    assert isinstance(result.labels, da.Array)
    assert result.labels.chunks == ((1,) * 4, (20,), (7, 7, 7))
    assert result.recolored.chunks == ((1,) * 4, (20,), (7, 7, 7), (3,))
    assert (result.labels.dtype, result.recolored.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.recolored, expected.recolored)
    read.clear()
    result.labels[3, :5, :5].compute()
    assert read == [(1, 0, 0, 0)]


@pytest.mark.parametrize("axis", [0, 1])
def test_channel_axis_of_a_dask_stack_can_be_any_axis(film, axis):
    moved = np.moveaxis(film, -1, axis)
    expected = segment_slices(moved, 4, channel_axis=axis)
    lazy = segment_slices(da.from_array(moved, chunks=2), 4, channel_axis=axis)
    np.testing.assert_array_equal(lazy.labels, expected.labels)
    np.testing.assert_array_equal(lazy.recolored, expected.recolored)


# ------------------------------------------------------------- saved models


@pytest.mark.parametrize("lazy", [False, True])
def test_apply_to_a_longer_stack_uses_the_nearest_models(film, truth, lazy):
    model = segment_slices(film, 4, rgb=True).model
    long = np.repeat(film, 2, axis=0)[:, ::2, ::2]
    labels, recolored = model.apply(da.from_array(long, chunks=5) if lazy else long)
    for index in range(8):
        nearest = model.models[min(round(index / 2), 3)]
        expected = nearest.apply(long[index])
        np.testing.assert_array_equal(labels[index], expected[0])
        np.testing.assert_array_equal(recolored[index], expected[1])


def test_apply_refuses_an_image_without_the_leading_axes(film):
    model = segment_slices(film, 4, rgb=True).model
    with pytest.raises(ValueError, match=r"1 axes before the two of a slice, got shape \(20, 21"):
        model.apply(film[0])


def test_models_are_written_as_json(film):
    film[0] = COLORS[1]
    mask = np.ones((4, 20, 21), bool)
    mask[2] = False
    with pytest.warns(UserWarning, match="fewer clusters"):
        result = segment_slices(film, 4, rgb=True, mask=mask)
    values = json.loads(json.dumps(result.model.to_dict()))
    assert (values["shape"], values["rgb"], values["channel_axis"]) == ([4], True, -1)
    assert values["models"][2] is None
    for number in (0, 1, 3):
        model = KMeansModel.from_dict(values["models"][number])
        labels = np.array(values["names"][number])[model.predict(film[number])]
        np.testing.assert_array_equal(labels, result.labels[number])


# ------------------------------------------------------- progress and cancel


@pytest.mark.parametrize("lazy", [False, True])
def test_progress_grows_to_its_total(film, lazy):
    seen = []
    image = da.from_array(film, chunks=9) if lazy else film
    segment_slices(image, 4, rgb=True, progress=lambda *steps: seen.append(steps))
    done = [each for each, _ in seen]
    assert done == sorted(done)
    assert len(set(done)) > 6
    assert seen[-1] == (1000, 1000)


def test_progress_is_reported_within_a_slice(film):
    calls = []
    segment_slices(da.from_array(film, chunks=9), 4, rgb=True, progress=lambda *s: calls.append(s))
    assert calls.count((0, 1000)) > 5


@pytest.mark.parametrize("after", [1, 3, 6])
@pytest.mark.parametrize("lazy", [False, True])
def test_exception_in_progress_cancels_at_any_step(film, after, lazy):
    calls = itertools.count(1)

    def cancel(_done, _total):
        if next(calls) >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_slices(
            da.from_array(film, chunks=9) if lazy else film, 4, rgb=True, progress=cancel
        )


def test_cancelled_run_reads_no_further_slice(film):
    lazy, read = record_reads(film, (1, 20, 21, 3))

    def cancel(_done, _total):
        if (1, 0, 0, 0) in read:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_slices(lazy, 4, rgb=True, progress=cancel)
    assert not {(2, 0, 0, 0), (3, 0, 0, 0)} & set(read)


def test_error_of_a_chunk_is_raised(film):
    def fail(chunk, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise ValueError("the third frame is damaged")
        return chunk

    lazy = da.from_array(film, chunks=(1, 20, 21, 3)).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0,) * 4, np.uint8)
    )
    with pytest.raises(Exception, match="the third frame is damaged"):
        segment_slices(lazy, 4, rgb=True)


@pytest.mark.parametrize("lazy", [False, True])
def test_pixels_between_two_centers_get_the_label_under_which_they_were_counted(lazy):
    stack = np.random.default_rng(0).integers(0, 2, (12, 40, 31, 3)).astype("f4")
    how = {"rgb": True, "coreset_size": 10, "n_init": 1}
    result = segment_slices(
        da.from_array(stack, chunks=(1, -1, -1, -1)) if lazy else stack, 3, **how
    )
    rows = result.slice_table.pivot(index="slice", columns="index", values="pixels").fillna(0)
    counts = [
        np.bincount(np.ravel(labels), minlength=4)[1:] for labels in np.asarray(result.labels)
    ]
    np.testing.assert_array_equal(rows, counts)


def test_colors_of_slices_and_of_the_stack_have_the_same_white(quadrants):
    """The white of the bright slice is 1023; the mean with the dark slice alone would give 255."""
    stack = np.stack([quadrants, quadrants * 0.5]).astype(np.uint16)
    stack[0] = stack[0] * 1.2
    seg = segment_slices(stack, 4, rgb=True)
    assert seg.table["mean red"].max() < 255 < seg.slice_table["mean red"].max()
    for table in (seg.table, seg.slice_table):
        means = table.filter(like="mean ").to_numpy()
        colors = [list(bytes.fromhex(code[1:])) for code in table["color"]]
        np.testing.assert_allclose(colors, means / 1023 * 255, atol=0.51)
