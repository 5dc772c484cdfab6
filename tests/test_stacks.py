"""Stacks with a model for each slice: the same as slice by slice, and labels that agree."""

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
    """Four colors (T, Y, X, 3), of which the second brightens beyond the third."""
    stack = np.stack([quadrants] * 4)
    for time in range(4):
        stack[time, :10, 10:, 1] += np.uint8(50 * time)
    return stack


@pytest.fixture
def truth(quadrant_labels):
    return np.stack([quadrant_labels] * 4)


def slice_by_slice(stack, n_clusters, **options):
    return [segment(image, n_clusters, **options) for image in stack]


def palettes(result):
    return np.array([model.palette for model in result.model.models])


def test_labels_follow_a_color_that_changes(film, truth):
    alone = slice_by_slice(film, 4, rgb=True)
    assert any((each.labels != truth[0]).any() for each in alone)
    result = segment_slices(film, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, truth)
    np.testing.assert_array_equal(result.recolored, [each.recolored for each in alone])
    assert result.labels.dtype == np.uint8
    assert result.recolored.dtype == np.uint8
    for time, label in itertools.product(range(4), range(1, 5)):
        inside = film[time][truth[time] == label]
        np.testing.assert_allclose(palettes(result)[time, label - 1], inside.mean(axis=0))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "full"},
        {"color_space": "lab", "n_init": 2},
        {"init": COLORS},
        {"coreset_size": 40, "random_state": 3},
    ],
)
def test_each_slice_is_what_segment_makes_of_it(film, options):
    result = segment_slices(film, 4, rgb=True, **options)
    for image, labels, recolored, model in zip(
        film, result.labels, result.recolored, result.model.models, strict=True
    ):
        alone = segment(image, 4, rgb=True, **options)
        np.testing.assert_array_equal(recolored, alone.recolored)
        assert {tuple(color) for color in model.palette} == set(map(tuple, alone.model.palette))
        assert len(set(zip(labels.ravel(), alone.labels.ravel(), strict=True))) == 4
    assert result.options.to_dict() == alone.options.to_dict()


def test_neighbors_are_matched_at_the_least_distance_in_sum():
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (5, 4, 1, 3)).astype(np.uint8)
    result = segment_slices(colors, 4, rgb=True)
    for before, after in itertools.pairwise(palettes(result)):
        costs = {
            order: np.linalg.norm(before - after[list(order)], axis=1).sum()
            for order in itertools.permutations(range(4))
        }
        assert min(costs, key=costs.get) == (0, 1, 2, 3)


def test_the_table_counts_all_slices(film, truth):
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
    cost = sum(each.model.inertia_ for each in slice_by_slice(film, 4, rgb=True))
    assert table.attrs["inertia"] == pytest.approx(cost)
    assert result.distortion == table.attrs["distortion"] >= 1


def test_the_table_of_slices_counts_each(film, truth):
    table = segment_slices(film, 4, rgb=True).slice_table
    assert table.columns[:4].tolist() == ["slice", "index", "pixels", "percent"]
    assert len(table) == 16
    for row in table.to_dict("records"):
        inside = film[row["slice"]][truth[row["slice"]] == row["index"]]
        assert row["pixels"] == len(inside)
        assert row["mean green"] == pytest.approx(inside[:, 1].mean())
    np.testing.assert_allclose(table.groupby("slice")["percent"].sum(), 100)


def test_gray_stacks(steps):
    result = segment_slices(steps, 3)
    np.testing.assert_array_equal(result.labels, segment(steps, 3, rgb=False).labels)
    np.testing.assert_array_equal(result.recolored, steps)
    assert result.table["mean intensity"].tolist() == [1_000, 20_000, 50_000]
    colors = set(result.slice_table["color"])
    assert colors == set(result.table["color"]) == {"#000000", "#636363", "#ffffff"}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_anywhere(film, truth, axis):
    moved = np.moveaxis(film, -1, axis)
    result = segment_slices(moved, 4, channel_axis=axis)
    np.testing.assert_array_equal(result.labels > 0, truth > 0)
    expected = segment_slices(film, 4, channel_axis=-1)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(np.moveaxis(result.recolored, axis, -1), expected.recolored)
    again = result.model.apply(moved)
    np.testing.assert_array_equal(again[0], result.labels)
    np.testing.assert_array_equal(again[1], result.recolored)


def test_several_axes_lead_to_a_slice(film, truth):
    stack = np.stack([film, film[::-1]])
    result = segment_slices(stack, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, np.stack([truth, truth]))
    assert result.model.shape == (2, 4)
    number = np.ravel_multi_index((1, 2), result.model.shape)
    rows = result.slice_table[result.slice_table["slice"] == number]
    assert rows["mean green"].iloc[1] == pytest.approx(stack[1, 2][truth[0] == 2][:, 1].mean())


def test_a_single_picture_is_a_stack_of_one(quadrants, quadrant_labels):
    result = segment_slices(quadrants, 4, rgb=True)
    np.testing.assert_array_equal(result.labels, quadrant_labels)
    assert (len(result.model.models), result.model.shape) == (1, ())
    lazy = segment_slices(da.from_array(quadrants, chunks=(9, 9, 3)), 4, rgb=True)
    np.testing.assert_array_equal(lazy.labels, quadrant_labels)


def test_a_profile_has_no_slices():
    with pytest.raises(ValueError, match=r"two spatial axes or more, got the spatial shape \(9,\)"):
        segment_slices(np.arange(9))


# ------------------------------------------------------------------- left out


def test_what_is_left_out(film, truth):
    rgba = np.concatenate([film, np.full((4, 20, 21, 1), 255, np.uint8)], axis=-1)
    rgba[2, :5, :, 3] = 0
    mask = np.ones((4, 20, 21), bool)
    mask[1] = False
    mask[3, :, :4] = False
    result = segment_slices(rgba, 4, rgb=True, mask=mask)
    out = ~mask | (rgba[..., 3] == 0)
    np.testing.assert_array_equal(result.labels, np.where(out, 0, truth))
    np.testing.assert_array_equal(result.recolored[out], rgba[out])
    np.testing.assert_array_equal(result.recolored[..., 3], rgba[..., 3])
    assert result.model.models[1] is None
    assert sorted(set(result.slice_table["slice"])) == [0, 2, 3]
    assert result.table["pixels"].sum() == (~out).sum()


def test_a_slice_of_nan_is_left_out():
    stack = np.random.default_rng(0).random((3, 8, 9))
    stack[0] = np.nan
    result = segment_slices(stack, 2)
    assert not result.labels[0].any()
    assert np.isnan(result.recolored[0]).all()
    assert sorted(np.unique(result.labels[1:])) == [1, 2]


def test_everything_left_out_is_refused(film):
    with pytest.raises(ValueError, match="got all 1680 left out"):
        segment_slices(film, 4, rgb=True, mask=np.zeros((4, 20, 21), bool))


def test_a_slice_of_fewer_colors_takes_the_nearest_labels(film, truth):
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


def test_a_mistake_in_the_options_is_told(film):
    with pytest.raises(ValueError, match="init must have one column"):
        segment_slices(film, 2, rgb=True, init=[[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="mask must have the image's spatial shape"):
        segment_slices(film, 2, rgb=True, mask=np.ones((20, 21)))


# ----------------------------------------------------------------------- lazy


def counted(array, chunks):
    """A lazy array, and a list that tells which of its chunks were read."""
    read = []

    def take(chunk, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return chunk

    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(array, chunks=chunks).map_blocks(take, dtype=array.dtype, meta=meta), read


def test_a_lazy_stack_gives_lazy_results(film):
    expected = segment_slices(film, 4, rgb=True)
    lazy, read = counted(film, (2, 20, 7, 3))
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
def test_lazy_channels_anywhere(film, axis):
    moved = np.moveaxis(film, -1, axis)
    expected = segment_slices(moved, 4, channel_axis=axis)
    lazy = segment_slices(da.from_array(moved, chunks=2), 4, channel_axis=axis)
    np.testing.assert_array_equal(lazy.labels, expected.labels)
    np.testing.assert_array_equal(lazy.recolored, expected.recolored)


# ------------------------------------------------------------- applied again


@pytest.mark.parametrize("lazy", [False, True])
def test_a_stack_of_another_length_takes_the_nearest_models(film, truth, lazy):
    model = segment_slices(film, 4, rgb=True).model
    long = np.repeat(film, 2, axis=0)[:, ::2, ::2]
    labels, recolored = model.apply(da.from_array(long, chunks=5) if lazy else long)
    for index in range(8):
        nearest = model.models[min(round(index / 2), 3)]
        expected = nearest.apply(long[index])
        np.testing.assert_array_equal(labels[index], expected[0])
        np.testing.assert_array_equal(recolored[index], expected[1])


def test_models_need_the_axes_of_the_stack(film):
    model = segment_slices(film, 4, rgb=True).model
    with pytest.raises(ValueError, match=r"1 axes before the two of a slice, got shape \(20, 21"):
        model.apply(film[0])


def test_models_as_plain_values(film):
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
def test_progress_grows_to_the_end(film, lazy):
    seen = []
    image = da.from_array(film, chunks=9) if lazy else film
    segment_slices(image, 4, rgb=True, progress=lambda *steps: seen.append(steps))
    done = [each for each, _ in seen]
    assert done == sorted(done)
    assert len(set(done)) > 6
    assert seen[-1] == (1000, 1000)


def test_within_a_slice_it_can_be_cancelled(film):
    told = []
    segment_slices(da.from_array(film, chunks=9), 4, rgb=True, progress=lambda *s: told.append(s))
    assert told.count((0, 1000)) > 5


@pytest.mark.parametrize("after", [1, 3, 6])
@pytest.mark.parametrize("lazy", [False, True])
def test_it_can_be_cancelled_at_any_time(film, after, lazy):
    calls = itertools.count(1)

    def cancel(_done, _total):
        if next(calls) >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_slices(
            da.from_array(film, chunks=9) if lazy else film, 4, rgb=True, progress=cancel
        )


def test_canceling_reads_no_further_slice(film):
    lazy, read = counted(film, (1, 20, 21, 3))

    def cancel(_done, _total):
        if (1, 0, 0, 0) in read:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_slices(lazy, 4, rgb=True, progress=cancel)
    assert not {(2, 0, 0, 0), (3, 0, 0, 0)} & set(read)


def test_a_chunk_that_cannot_be_read_is_told(film):
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
def test_pixels_as_near_to_two_centers_are_painted_as_they_were_counted(lazy):
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


def test_slices_and_their_mean_are_shown_on_one_scale(quadrants):
    """White is 1023 for the bright slice, whose mean with the dark one would be below 255."""
    stack = np.stack([quadrants, quadrants * 0.5]).astype(np.uint16)
    stack[0] = stack[0] * 1.2
    seg = segment_slices(stack, 4, rgb=True)
    assert seg.table["mean red"].max() < 255 < seg.slice_table["mean red"].max()
    for table in (seg.table, seg.slice_table):
        means = table.filter(like="mean ").to_numpy()
        shown = [[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in table["color"]]
        np.testing.assert_allclose(shown, means / 1023 * 255, atol=0.51)
