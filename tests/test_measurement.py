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

from napari_kmeans import measure, segment
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


def test_small_budget_takes_more_passes_to_the_same_medians(noise):
    _, segmentation, regions = noise
    other = values_of(np.uint16, regions.shape)
    total, n_passes = Measurements(segmentation.model, budget=4000), 0
    while n_passes == 0 or total.next_pass():
        part = total.fresh()
        part.add(segmentation.labels, {"x": other}, regions)
        total.merge(part)
        n_passes += 1
    assert n_passes > 2
    check_against_loops(total.table(), segmentation.labels, regions, {"x": other})
