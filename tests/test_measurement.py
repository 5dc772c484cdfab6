"""measure: figures equal those of numpy loops and scikit-image, for all arrays to the last bit."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import regionprops_table

from napari_kmeans import (
    add_confidence,
    grid_regions,
    measure,
    segment,
    segment_slices,
    split_objects,
)
from napari_kmeans.measurement_table import Measurements, image_channels


@pytest.fixture(scope="module")
def noise():
    """Return an RGB image of noise, its segmentation, and regions 0 to 4 in it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (41, 53, 3)).astype(np.uint8)
    return image, segment(image, 3, n_init=1), rng.integers(0, 5, (41, 53))


def values_of(dtype, shape, seed=1):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)
    if dtype == np.bool_:
        return rng.random(shape) < 0.3
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def check_against_loops(table, labels, regions, arrays):
    """Compare each row with the pixels of its region and class."""
    for row in table.to_dict("records"):
        inside = (labels == row["class"]) & (regions == int(row["region"]))
        assert row["pixels"] == inside.sum()
        for name, array in arrays.items():
            own = array[inside].astype(np.float64)
            own = own[np.isfinite(own)]
            exact = sum(map(Fraction, own.tolist()), Fraction()) / len(own)
            assert row[f"mean {name}"] == float(exact)
            np.testing.assert_allclose(row[f"std {name}"], own.std(), rtol=1e-12)
            assert row[f"median {name}"] == np.median(own)


@pytest.mark.parametrize(
    "dtype",
    [
        np.bool_,
        np.int8,
        np.int16,
        np.uint16,
        np.int32,
        np.float16,
        np.float32,
        np.dtype(">f4"),
        np.float64,
    ],
)
def test_figures_equal_those_of_loops_for_each_dtype(noise, dtype):
    image, segmentation, regions = noise
    other = values_of(dtype, regions.shape)
    table = measure(segmentation, image, regions=regions, values={"other": other})
    assert len(table) == 12
    arrays = {"red": image[..., 0], "blue": image[..., 2], "other": other}
    check_against_loops(table, segmentation.labels, regions, arrays)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_that_float64_cannot_hold_are_exact(noise, dtype):
    _, segmentation, regions = noise
    other = values_of(dtype, regions.shape) | np.array(1, dtype)
    table = measure(segmentation, values={"x": other})
    for row in table.to_dict("records"):
        own = sorted(other[segmentation.labels == row["class"]].tolist())
        n, mean = len(own), Fraction(sum(own), len(own))
        variance = sum((each - mean) ** 2 for each in own) / n
        assert row["mean x"] == float(mean)
        assert row["std x"] == pytest.approx(float(variance) ** 0.5, rel=1e-15)
        assert row["median x"] == (own[(n - 1) // 2] + own[n // 2]) / 2


def test_extreme_floats_neither_overflow_nor_cancel():
    labels = segment(np.array([[0, 0, 0, 9]], np.uint8), 2)
    values = {
        "large": np.array([[1e308, 1.7e308, 1.6e308, 1]]),
        "close": np.array([[1e15 + 1, 1e15 + 2, 1e15 + 3, 1]]),
        "tiny": np.array([[5e-324, 5e-324, 0, -0.0]]),
        "cancel": np.array([[1e300, 1.0, -1e300, 1]]),
    }
    row = measure(labels, values=values).iloc[0]
    assert row["mean large"] == float(Fraction(sum(map(Fraction, (1e308, 1.7e308, 1.6e308))), 3))
    assert row["median large"] == 1.6e308
    assert row["std close"] == (2 / 3) ** 0.5
    assert (row["median tiny"], row["std large"]) == (5e-324, pytest.approx(0.309120616e308))
    assert row["mean cancel"] == 1 / 3
    assert measure(labels, values=values).iloc[1]["median tiny"] == 0


def test_figures_equal_regionprops_and_ndimage(noise):
    _, segmentation, regions = noise
    other = values_of(np.float32, regions.shape)
    table = measure(segmentation, regions=regions, values={"x": other}).set_index(
        ["class", "region"]
    )
    for label in (1, 2, 3):
        own = np.where(segmentation.labels == label, regions, 0)
        found = regionprops_table(
            own,
            other.astype(np.float64),
            properties=("label", "num_pixels", "intensity_mean", "intensity_std"),
        )
        rows = table.loc[label].loc[[str(region) for region in found["label"]]]
        assert rows["pixels"].tolist() == found["num_pixels"].tolist()
        np.testing.assert_allclose(rows["mean x"], found["intensity_mean"], rtol=1e-12)
        np.testing.assert_allclose(rows["std x"], found["intensity_std"], rtol=1e-12)
        medians = ndimage.median(other.astype(np.float64), own, found["label"])
        assert rows["median x"].tolist() == medians.tolist()


def test_dask_arrays_of_odd_chunks_give_the_same_table_to_the_last_bit(noise):
    image, segmentation, regions = noise
    values = {"f": values_of(np.float32, regions.shape), "d": values_of(float, regions.shape)}
    expected = measure(segmentation, image, regions=regions, values=values, confidence=True)
    lazy = replace(segmentation, labels=da.from_array(segmentation.labels, (7, 53)))
    found = measure(
        lazy,
        da.from_array(image, (11, 13, 2)),
        regions=da.from_array(regions, (41, 5)),
        values={name: da.from_array(each, (10, 10)) for name, each in values.items()},
        confidence=True,
    )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    mixed = measure(lazy, image, regions=regions, values=values, confidence=True)
    with dask.config.set(scheduler="single-threaded"):
        alone = measure(lazy, image, regions=regions, values=values, confidence=True)
    pd.testing.assert_frame_equal(mixed, expected, check_exact=True)
    pd.testing.assert_frame_equal(alone, expected, check_exact=True)


def test_blocks_merge_in_any_order_and_through_pickle(noise):
    image, segmentation, regions = noise
    channels = image_channels(image, segmentation.model)
    channels["f"] = values_of(np.float32, regions.shape)
    arrays = {"f": channels["f"]}
    total = Measurements(segmentation.model, n_channels=4)
    while True:
        for rows in (slice(30, 41), slice(0, 7), slice(7, 30)):
            part = total.fresh()
            block = {name: each[rows] for name, each in channels.items()}
            part.add(segmentation.labels[rows], block, regions[rows])
            total.merge(pickle.loads(pickle.dumps(part)))
        if not total.next_pass():
            break
    expected = measure(segmentation, image, regions=regions, values=arrays)
    pd.testing.assert_frame_equal(
        total.table("image 0", region_names={}), expected, check_exact=True
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("budget", [600, 6000, 60000])
def test_small_budget_takes_more_passes_to_the_same_medians(noise, dtype, budget):
    _, segmentation, regions = noise
    other = values_of(dtype, regions.shape)
    total, n_passes = Measurements(segmentation.model, budget=budget), 0
    while n_passes == 0 or total.next_pass():
        for rows in (slice(0, 1), slice(1, 30), slice(30, 41)):
            part = total.fresh()
            part.add(segmentation.labels[rows], {"x": other[rows]}, regions[rows])
            total.merge(part)
        n_passes += 1
    assert n_passes > 1 or budget > 600
    check_against_loops(total.table(), segmentation.labels, regions, {"x": other})


@pytest.fixture
def halves():
    """Return a gray image of 6 by 8 pixels with values 0 to 47, and its two classes."""
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    return image, segment(image, 2)


class _File:
    """Pixels in a file, which counts how often each of its chunks is read."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.dtype, self.ndim = pixels, *_properties(pixels)
        self.counts = {}

    def __getitem__(self, key):
        place = tuple(each.start for each in key)
        self.counts[place] = self.counts.get(place, 0) + 1
        return self.pixels[key]

    def open(self):
        chunks = (20, 30, *self.shape[2:])
        meta = np.empty((0,) * self.ndim, self.dtype)
        return da.from_array(self, chunks=chunks, name=False, inline_array=True, meta=meta)


def _properties(pixels):
    return pixels.shape, pixels.dtype, pixels.ndim


@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("are_painted", [False, True])
def test_each_chunk_of_lazy_arrays_is_read_once(noise, n_channels, are_painted):
    image, seg, _ = noise
    alpha = np.where(image[..., :1] > 20, 255, 0).astype(np.uint8)
    pixels = _File(np.concatenate([image, alpha], axis=-1)[..., :n_channels])
    values = _File(values_of(np.float32, (41, 53, 2)))
    lazy = pixels.open()
    expected = seg.model.predict(pixels.pixels)
    labels = seg.model.predict(lazy) if are_painted else expected
    table = measure(replace(seg, labels=labels), lazy, values={"v": values.open()})
    whole = replace(seg, labels=expected)
    reference = measure(whole, pixels.pixels, values={"v": values.pixels})
    pd.testing.assert_frame_equal(table, reference, check_exact=True)
    assert set(pixels.counts.values()) == {1}
    assert set(values.counts.values()) == {1}


def test_columns_and_rows_of_a_plain_table(halves):
    image, segmentation = halves
    table = measure(segmentation, image, names="a.tif", spacing=(0.5, 2), unit="µm")
    keys = ["image", "region", "class", "name", "color", "ignored"]
    sizes = ["pixels", "percent", "area", "unit"]
    statistics = ["mean intensity", "std intensity", "median intensity"]
    assert list(table) == [*keys, *sizes, *statistics]
    assert table["image"].tolist() == ["a.tif"] * 2
    assert table["region"].tolist() == ["all"] * 2
    assert table[["class", "pixels", "percent", "area"]].to_numpy().tolist() == [
        [1, 24, 50, 24],
        [2, 24, 50, 24],
    ]
    assert set(table["unit"]) == {"µm²"}
    assert table["median intensity"].tolist() == [11.5, 35.5]


def test_each_region_has_all_classes_and_pixels_of_no_region_do_not_count(halves):
    image, segmentation = halves
    regions = np.zeros((6, 8), np.int64)
    regions[:2], regions[4:, :4] = 7, 2**31
    table = measure(segmentation, image, regions=regions, region_names={7: "top", 9: "absent"})
    rows = table.set_index(["region", "class"])
    assert table["region"].drop_duplicates().tolist() == ["top", "absent", str(2**31)]
    assert rows["pixels"].tolist() == [16, 0, 0, 0, 0, 8]
    np.testing.assert_array_equal(rows["percent"], [100, 0, np.nan, np.nan, 0, 100])
    assert np.isnan(rows.loc[("top", 2), "mean intensity"])
    assert np.isnan(rows.loc[("absent", 1), "median intensity"])
    assert rows.loc[(str(2**31), 2), "mean intensity"] == image[4:, :4].mean()


def test_overlapping_masks_count_pixels_in_each(halves):
    image, segmentation = halves
    left, middle = np.zeros((2, 6, 8), bool)
    left[:, :4], middle[2:4, 2:6] = True, True
    regions = {"left": left, "middle": da.from_array(middle, (4, 3)), "none": middle & False}
    rows = measure(segmentation, image, regions=regions).set_index(["region", "class"])
    assert rows["pixels"].tolist() == [12, 12, 4, 4, 0, 0]
    assert rows.loc[("left", 1), "mean intensity"] == image[:3, :4].mean()
    assert rows.loc[("middle", 2), "median intensity"] == np.median(image[3, 2:6])


def test_objects_are_regions(halves):
    image, segmentation = halves
    objects = split_objects(image % 8 < 3)
    table = measure(segmentation, image, regions=objects)
    assert table[["region", "pixels"]].to_numpy().tolist() == [["1", 9], ["1", 9]]


@pytest.mark.parametrize("is_lazy", [False, True])
def test_cells_of_a_grid_are_named_and_need_no_array(is_lazy):
    image = np.arange(70, dtype=np.uint8).reshape(7, 10)
    segmentation = segment(image, 2)
    grid = grid_regions((7, 10), (4, 6))
    assert grid.names == {
        1: "row 0 column 0",
        2: "row 0 column 1",
        3: "row 1 column 0",
        4: "row 1 column 1",
    }
    expected = 1 + 2 * (np.arange(7)[:, None] // 4) + np.arange(10) // 6
    assert (np.asarray(grid) == expected).all()
    if is_lazy:
        segmentation = replace(segmentation, labels=da.from_array(segmentation.labels, (3, 4)))
    found = measure(segmentation, image, regions=grid)
    named = measure(segmentation, image, regions=expected, region_names=grid.names)
    pd.testing.assert_frame_equal(found, named, check_exact=True)
    assert len(grid_regions((10**6, 10**6, 10**6), 10**5).n_cells) == 3


def test_slices_have_rows_of_their_own(noise):
    rng = np.random.default_rng(3)
    volume = rng.integers(0, 99, (3, 4, 11)).astype(np.uint16)
    segmentation = segment(volume, 2)
    regions = rng.integers(0, 3, volume.shape)
    table = measure(
        segmentation, volume, regions=regions, slices={0: "frame"}, spacing=(0, 2, 1), unit="px"
    )
    assert list(table)[:3] == ["image", "region", "frame"]
    assert set(table["unit"]) == {"px²"}
    for frame in range(3):
        own = replace(segmentation, labels=segmentation.labels[frame])
        alone = measure(own, volume[frame], regions=regions[frame])
        rows = table[table["frame"] == frame].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[alone.columns], alone, check_exact=True)
    lazy = replace(segmentation, labels=da.from_array(segmentation.labels, (2, 3, 4)))
    found = measure(lazy, volume, regions=regions, slices={0: "frame"})
    pd.testing.assert_frame_equal(found, table[found.columns], check_exact=True)
    both = measure(segmentation, slices=(1, 0))
    assert list(both)[2:4] == ["slice 0", "slice 1"]
    assert both["pixels"].sum() == volume.size
    whole = measure(segmentation, spacing=(0, 2, 1))
    assert whole["area per frame"].sum() == 4 * 11 * 2
    assert measure(segmentation, spacing=2)["volume"].sum() == volume.size * 8


def test_values_leave_out_nan_infinity_and_masked(halves):
    _, segmentation = halves
    numbers = np.arange(48, dtype=np.float32).reshape(6, 8)
    values = np.ma.masked_array(numbers, np.zeros((6, 8), bool))
    values[0, 0], values[0, 1:3], values[0, 3], values[1, :] = np.nan, np.inf, -np.inf, np.ma.masked
    planes = np.stack([np.full((6, 8), 5), np.full((6, 8), 6)], axis=-1)
    row = measure(segmentation, values={"v": values, "two": planes}).iloc[0]
    assert row["pixels"] == 24
    own = [4, 5, 6, 7, *range(16, 24)]
    assert (row["mean v"], row["median v"]) == (np.mean(own), np.median(own))
    assert (row["mean two 0"], row["mean two 1"]) == (5, 6)


def test_ignored_and_merged_classes():
    image = np.repeat(np.array([10, 60, 120, 250], np.uint8), [4, 3, 2, 1])[None]
    segmentation = segment(image, 4)
    classes = segmentation.model.classes.merge([2, 3]).rename(2, "soil").ignore(4)
    merged = segmentation.model.with_classes(classes)
    own = replace(segmentation, labels=merged.predict(image), model=merged)
    table = measure(own, image)
    assert table["class"].tolist() == [1, 2, 4]
    assert table["name"].tolist() == ["", "soil", ""]
    assert table["ignored"].tolist() == [False, False, True]
    assert table["pixels"].tolist() == [4, 5, 1]
    np.testing.assert_allclose(table["percent"], [400 / 9, 500 / 9, np.nan])
    assert table["mean intensity"].tolist() == [10, 84, 250]


@pytest.mark.parametrize("is_lazy", [False, True])
def test_undecided_pixels_are_counted_by_region_and_class(is_lazy):
    image = np.random.default_rng(4).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    segmentation = segment(image, 3, rgb=True, min_confidence=0.3)
    regions = np.repeat([[1, 2]], 15, axis=1).repeat(20, axis=0)
    own = da.from_array(image, (7, 9, 3)) if is_lazy else image
    table = measure(segmentation, own, regions=regions)
    assert table["undecided"].sum() == (segmentation.labels == 0).sum() > 0
    by_class = table.groupby("class")["undecided"].sum()
    assert by_class.tolist() == segmentation.table["undecided"].tolist()
    left = (segmentation.labels == 0) & (regions == 1)
    assert table.loc[table["region"] == "1", "undecided"].sum() == left.sum()


def test_confidence_is_that_of_add_confidence(noise):
    image, segmentation, _ = noise
    table = measure(segmentation, image, confidence=True)
    expected = add_confidence(segmentation, image).table["confidence"]
    np.testing.assert_allclose(table["confidence"], expected, rtol=1e-12)


def test_mask_leaves_pixels_out(halves):
    image, segmentation = halves
    mask = image % 2 == 0
    for own in (mask, da.from_array(mask, 3)):
        for given in (image, None):
            assert measure(segmentation, given, mask=own)["pixels"].tolist() == [12, 12]


def test_channels_first_equal_channels_last():
    image = np.random.default_rng(5).integers(0, 1000, (9, 12, 5)).astype(np.int16)
    last = segment(image, 3, channel_axis=-1, channel_names=["DAPI", "", "GFP", "", ""])
    first = segment(
        np.moveaxis(image, -1, 0), 3, channel_axis=0, channel_names=last.model.channel_names
    )
    table = measure(last, image)
    assert "median DAPI" in table
    assert "std channel 1" in table
    pd.testing.assert_frame_equal(table, measure(first, np.moveaxis(image, -1, 0)))


def test_models_of_slices_are_measured():
    stack = np.random.default_rng(6).integers(0, 255, (3, 8, 9)).astype(np.uint8)
    for image in (stack, da.from_array(stack, (1, 8, 9))):
        result = segment_slices(image, 2, min_confidence=0.2)
        table = measure(result, image, slices=0, confidence=True)
        assert table["pixels"].tolist() == result.slice_table["pixels"].tolist()
        assert table["undecided"].tolist() == result.slice_table["undecided"].tolist()
        expected = result.slice_table["mean intensity"]
        np.testing.assert_allclose(table["mean intensity"], expected)


def test_several_images_and_levels(halves):
    image, segmentation = halves
    several = segment([image, image[:3]], 2)
    values = [{"v": image}, None]
    table = measure(several, [image, image[:3]], values=values, names=["a", "b"])
    assert table["image"].tolist() == ["a", "a", "b", "b"]
    assert table.groupby("image")["pixels"].sum().tolist() == [48, 24]
    assert table["mean v"].isna().tolist() == [False, False, True, True]
    levels = replace(segmentation, labels=[segmentation.labels, segmentation.labels[::2, ::2]])
    finest = measure(levels, [image, image[::2, ::2]], multiscale=True)
    pd.testing.assert_frame_equal(finest, measure(segmentation, image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regions": np.full((6, 8), -1)}, "regions must have numbers from 0 on, got -1"),
        ({"regions": np.ones((6, 7), int)}, r"regions must have the shape .*\(6, 7\)"),
        ({"regions": np.ones((6, 8))}, "regions must be whole numbers"),
        ({"regions": {"a": np.ones((2, 2), bool)}}, r"regions\['a'\] must have the shape"),
        ({"regions": grid_regions((6, 7), 2)}, "regions must have the shape"),
        ({"region_names": ["a"]}, "region_names must be left out"),
        ({"regions": np.ones((6, 8), int), "region_names": ["a", "a"]}, "must be different"),
        ({"regions": np.ones((6, 8), int), "region_names": 3}, "region_names must be a mapping"),
        ({"values": {"v": np.ones((6, 7))}}, r"values\['v'\] must have the shape"),
        ({"values": {"v": np.ones((6, 8), complex)}}, "boolean, integer or floating"),
        ({"values": np.ones((6, 8))}, "values must be a mapping"),
        ({"values": {"intensity": np.ones((6, 8))}}, "values must have other names"),
        ({"names": ["a", "b"]}, "names must be 1 texts"),
        ({"slices": 2}, "slices must be a whole number from -2 to 1, got 2"),
        ({"slices": [0, -2]}, "slices must have different axes"),
        ({"slices": {0: "class"}}, "slices must have other names than the columns"),
        ({"spacing": (1, 2, 3)}, "spacing must be one number or 2 numbers"),
        ({"unit": 3}, "unit must be a text"),
        ({"image": np.ones((6, 7), np.uint8)}, "image must have the spatial shape"),
        ({"image": None, "confidence": True}, "image must be given for confidence"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(halves, arguments, message):
    image, segmentation = halves
    with pytest.raises((TypeError, ValueError), match=message):
        measure(segmentation, **{"image": image, **arguments})


def test_channels_of_another_stack_are_refused():
    stack = np.random.default_rng(0).random((3, 2, 6, 8))
    slices = segment_slices(stack, 2, channel_axis=0)
    for n_channels in (2, 4):
        other = np.zeros((n_channels, 2, 6, 8))
        with pytest.raises(ValueError, match=f"image must have the model's 3 .* got {n_channels}"):
            measure(slices, other)
