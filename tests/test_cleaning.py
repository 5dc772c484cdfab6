"""The options `smoothing` and `min_size` in segment, models, stacks and dask images."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from math import prod

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from napari_kmeans import (
    KMeansModel,
    apply_classes,
    segment,
    segment_slices,
    split_anew,
    suggest_n_clusters,
    summarize,
)
from napari_kmeans.imaging import blocks, cleaning, smoothing
from napari_kmeans.imaging.cleaning import Cleaner, Cleaning
from napari_kmeans.imaging.regions import RegionFilter
from napari_kmeans.imaging.smoothing import Smoother

pytestmark = pytest.mark.usefixtures("separate_chunks")

COFFEE = data.coffee()[:90, :110]
_RNG = np.random.default_rng(0)
VOLUME = 3000 * gaussian_filter(_RNG.random((7, 40, 50)), 3) + _RNG.normal(0, 60, (7, 40, 50))
VOLUME = VOLUME.astype(np.uint16)
CHANNELS = [gaussian_filter(_RNG.normal(size=(60, 50)), 4) for _ in range(5)]
CHANNELS = (np.stack(CHANNELS) + _RNG.normal(0, 0.05, (5, 60, 50))).astype(np.float32)


def smooth(image, plain, spacing=None, factor=1.5):
    """Return the labels of a plain segmentation, smoothed by the smoother itself."""
    model, labels = plain.model, plain.labels
    n_pixels = np.count_nonzero(labels)
    variance = model.inertia_ / (n_pixels * model.cluster_centers_.shape[1])
    spacing = spacing or (1.0,) * labels.ndim
    rows = np.arange(model.n_clusters)
    smoother = Smoother(model.cluster_centers_, rows, variance, factor, spacing)
    points = (np.asarray(image, float) - (model.offset or 0)) / (model.scale or 1)
    return smoother.smooth(points, labels)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (COFFEE, {}),
        (COFFEE, {"method": "full", "mask": np.arange(90 * 110).reshape(90, 110) % 7 > 0}),
        (VOLUME, {}),
        (CHANNELS, {"channel_axis": 0, "normalize": "zscore"}),
    ],
)
def test_labels_table_and_colors_are_those_of_the_smoothed_labels(image, options):
    plain = segment(image, 4, **options)
    result = segment(image, 4, smoothing=1.5, **options)
    last = np.moveaxis(image, 0, -1) if "channel_axis" in options else image
    last = last[..., None] if image is VOLUME else last
    expected = smooth(last, plain)
    np.testing.assert_array_equal(result.labels, expected)
    assert (result.labels != plain.labels).any()
    counts = np.bincount(expected.ravel(), minlength=5)[1:]
    assert result.table["pixels"].tolist() == counts.tolist()
    means = np.array([last[expected == label].mean(axis=0, dtype=float) for label in range(1, 5)])
    np.testing.assert_allclose(result.model.palette, means, rtol=1e-6)
    recolored = result.recolored
    if "channel_axis" in options:
        recolored = np.moveaxis(recolored, 0, -1)
    colors = means if image.dtype.kind == "f" else np.rint(means)
    shown = np.where((expected > 0)[..., None], colors[expected.astype(int) - 1], last)
    np.testing.assert_allclose(recolored.reshape(shown.shape), shown, rtol=1e-6)
    # The fit itself is not changed.
    np.testing.assert_array_equal(result.model.cluster_centers_, plain.model.cluster_centers_)
    assert result.model.inertia_ == plain.model.inertia_


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_sums_of_changes_are_those_of_all_pixels(dtype):
    images = [COFFEE.astype(dtype) * 3, COFFEE[::-1, :60].astype(dtype)]
    masks = [np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.9, None]
    result = segment(images, 5, smoothing=1.5, min_size=5, mask=masks)
    for label in range(1, 6):
        kept = [labels == label for labels in result.labels]
        values = np.concatenate([each[own] for each, own in zip(images, kept, strict=True)])
        mean = values.sum(axis=0, dtype=np.float64) / len(values)
        if dtype == np.float32:
            np.testing.assert_allclose(result.model.palette[label - 1], mean, rtol=1e-12)
        else:
            np.testing.assert_array_equal(result.model.palette[label - 1], mean)
        assert result.table["pixels"].iloc[label - 1] == len(values)


@pytest.mark.parametrize("chunks", [(30, 40), (90, 110), (17, 200), (100, 1)])
@pytest.mark.parametrize("options", [{}, {"blur": 1.5, "color_space": "lab"}])
def test_dask_and_numpy_give_the_same_labels(chunks, options, monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 2)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 1000)
    mask = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.95
    arguments = {"smoothing": 1.0, "spacing": (2.0, 1.0), **options}
    eager = segment(COFFEE, 4, mask=mask, **arguments)
    lazy = segment(da.from_array(COFFEE, chunks=(*chunks, 3)), 4, mask=mask, **arguments)
    assert lazy.labels.chunks == da.from_array(mask, chunks=chunks).chunks
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)
    np.testing.assert_array_equal(lazy.recolored.compute(), eager.recolored)
    assert lazy.table.equals(eager.table)
    predicted = eager.model.predict(da.from_array(COFFEE, chunks=(*chunks, 3)), mask=mask)
    np.testing.assert_array_equal(predicted.compute(), eager.model.predict(COFFEE, mask=mask))


@pytest.mark.parametrize("smoothing_", [0, 0.5])
def test_small_regions_go_in_arrays_and_chunks(smoothing_, monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 2)
    plain = segment(COFFEE, 5, smoothing=smoothing_)
    eager = segment(COFFEE, 5, smoothing=smoothing_, min_size=4)
    expected = RegionFilter(4, (True, True)).filter(plain.labels)
    np.testing.assert_array_equal(eager.labels, expected)
    assert eager.table["pixels"].tolist() == np.bincount(expected.ravel())[1:].tolist()
    lazy = segment(da.from_array(COFFEE, chunks=(20, 37, 3)), 5, smoothing=smoothing_, min_size=4)
    np.testing.assert_array_equal(lazy.labels.compute(), expected)
    np.testing.assert_array_equal(eager.model.predict(COFFEE), expected)
    with pytest.raises(ValueError, match="min_size must be at most 512 for a dask image, got 900"):
        segment(da.from_array(COFFEE, chunks=(20, 37, 3)), 5, min_size=900)


@pytest.mark.parametrize("options", [{"smoothing": 1.5}, {"min_size": 4}, {"min_confidence": 0.2}])
def test_chunks_are_cleaned_in_blocks_of_several_chunks(options, monkeypatch):
    shapes = []
    clean = Cleaner.clean_window

    def record(self, values, labels, n_values, origin):
        shapes.append(labels.shape)
        # Small regions do not depend on the pixels.
        assert (values is None) == ("min_size" in options)
        return clean(self, values, labels, n_values, origin)

    monkeypatch.setattr(Cleaner, "clean_window", record)
    monkeypatch.setattr(cleaning, "_BLOCK_PIXELS", 40 * 40)
    monkeypatch.setattr(smoothing, "N_SWEEPS", 2)
    image = da.from_array(COFFEE, chunks=(15, 10, 3))
    lazy = segment(image, 5, **options)
    assert lazy.labels.chunks == image.chunks[:2]
    np.testing.assert_array_equal(lazy.labels.compute(), segment(COFFEE, 5, **options).labels)
    assert min(shapes) > (15, 10) if "min_confidence" not in options else set(shapes) == {(15, 10)}
    assert len(shapes) > 1


def test_a_volume_of_chunks_gives_the_same_labels(monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 1)
    eager = segment(VOLUME, 3, smoothing=1.0, spacing=(3.0, 1.0, 1.0))
    lazy = segment(
        da.from_array(VOLUME, chunks=(3, 18, 21)), 3, smoothing=1.0, spacing=(3.0, 1.0, 1.0)
    )
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)


def test_the_model_smooths_other_images_also_after_it_was_saved(tmp_path):
    result = segment(COFFEE, 5, smoothing=2.0)
    np.testing.assert_array_equal(result.model.predict(COFFEE), result.labels)
    labels, recolored = result.model.apply(COFFEE)
    np.testing.assert_array_equal(labels, result.labels)
    np.testing.assert_array_equal(recolored, result.recolored)
    result.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict(COFFEE), result.labels)
    values = result.model.to_dict()
    # Layers record the values themselves, without JSON.
    assert KMeansModel.from_dict(values).to_dict() == values
    assert values["version"] == 2
    assert (values["smoothing"], values["spacing"]) == (2.0, 1.0)
    # A plain model has no entries that earlier versions would not know.
    plain = segment(COFFEE, 5).model.to_dict()
    assert plain["version"] == 1
    assert not {"smoothing", "spacing", "variance"} & set(plain)
    for name, bad in (("smoothing", -1), ("spacing", "x"), ("variance", None)):
        with pytest.raises(ValueError, match=name):
            KMeansModel.from_dict(json.loads(json.dumps({**values, name: bad})))


def test_merged_classes_are_smoothed_as_one():
    result = segment(COFFEE, 5, smoothing=1.0)
    classes = result.model.classes.merge([2, 3]).renumber({5: 9})
    model = result.model.with_classes(classes)
    labels = model.predict(COFFEE)
    assert set(np.unique(labels)) <= {1, 2, 4, 9}
    plain = segment(COFFEE, 5)
    near = np.array([0, 1, 2, 2, 3, 4], np.uint8)[plain.labels]
    rows = np.array([0, 1, 1, 2, 3])
    smoother = Smoother(model.cluster_centers_, rows, model.variance, 1.0, (1.0, 1.0))
    expected = np.array([0, 1, 2, 4, 9])[smoother.smooth(COFFEE, near)]
    np.testing.assert_array_equal(labels, expected)
    merged = apply_classes(result, classes)
    assert merged.table["pixels"].sum() == COFFEE[..., 0].size


def test_several_images_slices_and_axes_of_time():
    images = [COFFEE, COFFEE[::-1, :60]]
    result = segment(images, 4, smoothing=1.0)
    counts = sum(np.bincount(each.ravel(), minlength=5) for each in result.labels)
    assert result.table["pixels"].tolist() == counts[1:].tolist()
    stack = np.stack([COFFEE[..., 0], COFFEE[::-1, :, 1]])
    slices = segment_slices(stack, 3, smoothing=1.0)
    for number in range(2):
        alone = segment(stack[number], 3, smoothing=1.0)
        assert len(np.unique(slices.labels[number])) == 3
        assert (alone.labels > 0).all()
    np.testing.assert_array_equal(slices.model.apply(stack)[0], slices.labels)
    # Frames are smoothed one by one.
    movie = segment(stack, 3, smoothing=1.0, spacing=(0.0, 1.0, 1.0))
    moved = movie.model.predict(stack[::-1])
    np.testing.assert_array_equal(moved[::-1], movie.labels)
    with pytest.raises(ValueError, match=r"spacing must have a number for each of .* 2"):
        segment(COFFEE, 3, smoothing=1.0, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="spacing must be 0 for all but 3 axes, got 4"):
        segment(np.zeros((3, 4, 5, 6), np.uint8) + np.arange(6, dtype=np.uint8), 2, smoothing=1.0)


@pytest.mark.parametrize("options", [{}, {"min_confidence": 0.1}, {"smoothing": 1.0}])
def test_a_spacing_of_other_axes_is_refused_before_the_fit(options, no_fit):
    gray, stack = COFFEE[..., 0], np.stack([COFFEE[..., 0]] * 3)
    options = {"spacing": (1, 2, 3), **options}
    summary = summarize(gray)
    for attempt in (
        lambda: segment(gray, 3, **options),
        lambda: segment(gray, 3, summary=summary, **options),
        lambda: segment([stack, gray], 3, **options),
        lambda: segment_slices(stack, 3, **options),
        lambda: summarize(gray, spacing=(1, 2, 3)),
        lambda: suggest_n_clusters(gray, spacing=(1, 2, 3)),
    ):
        with pytest.raises(ValueError, match=r"spacing must have a number for each of .* 2"):
            attempt()


@pytest.fixture
def no_fit(monkeypatch):
    def fit(*_arguments, **_options):
        raise AssertionError("The fit must not begin.")

    monkeypatch.setattr("napari_kmeans.summary.Summary.fit", fit)


def test_a_model_without_regions_applies_to_images_of_other_axes():
    model = segment(COFFEE[..., 0], 3, spacing=(1, 2)).model
    loaded = KMeansModel.from_dict(json.loads(json.dumps(model.to_dict())))
    labels = model.predict(COFFEE[:40, :50, 0])
    for each in (model, loaded):
        stack = each.predict(np.stack([COFFEE[:40, :50, 0]] * 2))
        np.testing.assert_array_equal(stack, [labels] * 2)


def test_no_smoothing_changes_no_label_and_flat_images_stay():
    plain = segment(COFFEE, 4)
    np.testing.assert_array_equal(segment(COFFEE, 4, smoothing=0).labels, plain.labels)
    flat = np.zeros((20, 30), np.uint8)
    flat[:, 10:] = 9
    result = segment(flat, 2, smoothing=5.0)
    np.testing.assert_array_equal(result.labels, (flat > 0) + 1)


def test_coarser_levels_weigh_borders_by_their_length():
    result = segment(COFFEE, 4, smoothing=1.5)
    coarse = result.model.cleaning.at_step((2, 2))
    assert (coarse.smoothing, coarse.spacing, coarse.min_size) == (0.75, (2.0, 2.0), 0)
    assert replace(result.model.cleaning, min_size=9).at_step((2, 2)).min_size == 3
    coarse = segment(VOLUME, 3, smoothing=1.0, spacing=(0, 1, 1)).model.cleaning.at_step((1, 4, 4))
    assert (coarse.smoothing, coarse.spacing) == (0.25, (0.0, 4.0, 4.0))


def test_texture_and_smoothing_together(monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 2)
    options = {"blur": 2.0, "texture": 1.5, "smoothing": 1.0, "min_size": 5}
    eager = segment(COFFEE, 4, **options)
    assert (eager.labels != segment(COFFEE, 4, **{**options, "smoothing": 0}).labels).any()
    lazy = segment(da.from_array(COFFEE, chunks=(31, 47, 3)), 4, **options)
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)
    np.testing.assert_array_equal(eager.model.predict(COFFEE), eager.labels)
    confidence = eager.model.confidence(COFFEE)
    again = eager.model.confidence(da.from_array(COFFEE, chunks=(31, 47, 3)))
    np.testing.assert_array_equal(again.compute(), confidence)
    full = segment(COFFEE.astype(np.float32), 4, method="full", **options)
    assert full.table["pixels"].sum() == COFFEE[..., 0].size


def count_by_fractions(min_area, spacing):
    """Return the smallest number of pixels whose area is at least `min_area`, without rounding."""
    pixel = prod(Fraction(str(distance)) for distance in spacing if distance)
    return next(n for n in range(10_000) if n * pixel >= Fraction(str(min_area)))


@pytest.mark.parametrize(
    ("image", "spacing", "min_area", "options"),
    [
        (COFFEE[..., 0], (1.0, 1.0), 7, {}),
        (COFFEE, (0.6, 0.3), 1.26, {}),  # 1.26 / 0.6 / 0.3 is 7.000000000000001
        (COFFEE, (0.3, 0.2), 0.43, {"color_space": "lab"}),
        (VOLUME, (2.0, 0.5, 0.5), 3.4, {}),
        (VOLUME, (0.0, 0.5, 0.5), 2.25, {}),  # areas in frames
        (CHANNELS, (0.1, 0.7), 0.63, {"channel_axis": 0}),
    ],
)
def test_a_minimum_area_is_the_number_of_pixels_that_reaches_it(image, spacing, min_area, options):
    n_pixels = count_by_fractions(min_area, spacing)
    by_area = segment(image, 12, min_area=min_area, spacing=spacing, **options)
    by_size = segment(image, 12, min_size=n_pixels, spacing=spacing, **options)
    np.testing.assert_array_equal(by_area.labels, by_size.labels)
    fewer = segment(image, 12, min_size=n_pixels - 1, spacing=spacing, **options)
    assert (by_area.labels != fewer.labels).any()
    assert by_area.table.equals(by_size.table)


def test_the_larger_of_size_and_area_counts_and_one_number_is_the_spacing_of_all_axes():
    expected = segment(COFFEE, 4, min_size=12).labels
    for options in ({"min_size": 12, "min_area": 2}, {"min_size": 3, "min_area": 3}):
        labels = segment(COFFEE, 4, spacing=0.5, **options).labels
        np.testing.assert_array_equal(labels, expected)
    slices = segment_slices(VOLUME, 3, min_area=3, spacing=0.5)
    by_size = segment_slices(VOLUME, 3, min_size=12)
    np.testing.assert_array_equal(slices.labels, by_size.labels)
    # All regions are smaller than an area that no number of pixels reaches.
    tiny = segment(COFFEE, 4, min_area=1e100, spacing=1e-100)
    np.testing.assert_array_equal(tiny.labels, segment(COFFEE, 4).labels)


def test_the_model_keeps_the_area_for_images_with_other_pixels(tmp_path):
    result = segment(COFFEE, 4, min_area=3, spacing=0.5, mask=COFFEE[..., 0] % 5 > 0)
    result.model.save(tmp_path / "model.json")
    model = KMeansModel.load(tmp_path / "model.json")
    mask = COFFEE[..., 0] % 7 > 0
    for spacing, n_pixels in (((0.5, 0.5), 12), ((0.25, 0.5), 24), ((1.0, 1.0), 3)):
        expected = model.with_cleaning(Cleaning(min_size=n_pixels)).predict(COFFEE, mask=mask)
        other = model.with_spacing(spacing)
        np.testing.assert_array_equal(other.predict(COFFEE, mask=mask), expected)
        image = da.from_array(COFFEE, chunks=(31, 40, 3))
        np.testing.assert_array_equal(other.predict(image, mask=mask).compute(), expected)
    # A coarser level has larger pixels.
    coarse = model.at_scale((2, 1)).predict(COFFEE)
    np.testing.assert_array_equal(coarse, model.with_spacing((1.0, 0.5)).predict(COFFEE))
    with pytest.raises(ValueError, match=r"min_area must be at most 128 \(512 pixels.* got 129"):
        segment(da.from_array(COFFEE), 4, min_area=129, spacing=0.5)
    with pytest.raises(ValueError, match="min_area must be a number from 0"):
        KMeansModel.from_dict({**model.to_dict(), "min_area": -1})
    with pytest.raises(ValueError, match="spacing must be a number from 0"):
        model.with_spacing((1, -1))


def test_several_images_have_one_area():
    images = [COFFEE, COFFEE[:40, ::-1]]
    by_area = segment(images, 4, min_area=3, spacing=(0.5, 0.5))
    by_size = segment(images, 4, min_size=12)
    for one, two in zip(by_area.labels, by_size.labels, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (COFFEE, {"mask": np.arange(90 * 110).reshape(90, 110) % 7 > 0}),
        (VOLUME, {"spacing": (0.0, 1.0, 1.0)}),
        (CHANNELS, {"channel_axis": 0, "smoothing": 0.3}),
    ],
)
def test_small_regions_of_chosen_classes_go_also_with_saved_models(image, options, tmp_path):
    n_axes = 3 if image is VOLUME else 2
    is_linked = tuple(map(bool, options.get("spacing", (1.0,) * n_axes)))
    plain = segment(image, 12, **options)
    result = segment(image, 12, min_size=9, min_size_classes=[7, 2, 7], **options)
    expected = RegionFilter(9, is_linked, (2, 7)).filter(plain.labels)
    np.testing.assert_array_equal(result.labels, expected)
    assert (expected != plain.labels).any()
    assert (expected != RegionFilter(9, is_linked).filter(plain.labels)).any()
    assert (
        result.table["pixels"].tolist() == np.bincount(expected.ravel(), minlength=13)[1:].tolist()
    )
    result.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    assert loaded.cleaning.min_size_classes == (2, 7)
    mask = options.get("mask")
    np.testing.assert_array_equal(loaded.predict(image, mask=mask), expected)
    damaged = {**json.loads(json.dumps(loaded.to_dict())), "min_size_classes": [13]}
    with pytest.raises(ValueError, match="min_size_classes must be numbers from 1 to 12"):
        KMeansModel.from_dict(damaged)


def test_chunks_do_not_change_the_small_regions_of_chosen_classes():
    options = {"min_size": 5, "min_size_classes": (1, 3)}
    eager = segment(COFFEE, 5, **options)
    assert (eager.labels != segment(COFFEE, 5, min_size=5).labels).any()
    lazy = segment(da.from_array(COFFEE, chunks=(20, 37, 3)), 5, **options)
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)


def test_merged_and_split_classes_keep_the_choice():
    plain, mask = segment(COFFEE, 6), COFFEE[..., 2] % 11 > 0
    result = segment(COFFEE, 6, min_size=9, min_size_classes=(2, 3, 5))

    def check(model, chosen):
        without = model.with_cleaning(Cleaning())
        labels = without.predict(COFFEE, mask=mask)
        expected = RegionFilter(9, (True, True), chosen).filter(labels)
        np.testing.assert_array_equal(model.predict(COFFEE, mask=mask), expected)
        assert (expected != labels).any() == bool(chosen)

    check(result.model, (2, 3, 5))
    # A class is chosen if all its centers are.
    check(result.model.with_classes(plain.model.classes.merge([2, 3])), (2, 5))
    merged = plain.model.classes.merge([1, 5], [3, 2]).renumber({3: 9})
    check(result.model.with_classes(merged), (9,))
    check(result.model.with_classes(plain.model.classes.merge([1, 2], [3, 4], [5, 6])), ())
    # New centers follow the others: those of class 2 are chosen, those of class 4 are not.
    for label, chosen in ((2, (2, 3, 5, 7)), (4, (2, 3, 5))):
        parts = split_anew(COFFEE, result.model, label=label, n_clusters=2)
        assert parts.labels.tolist() == [1, 2, 3, 4, 5, 6, 7]
        check(parts, chosen)


def test_classes_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match=r"min_size_classes must be labels from 1 to 4, got \[2"):
        segment(COFFEE, 4, min_size=5, min_size_classes=[5, 2])
    with pytest.raises(
        ValueError, match=r"min_size_classes must be None or a list .* 65535, got \[0"
    ):
        segment(COFFEE, 4, min_size=5, min_size_classes=[0])
    with pytest.raises(TypeError, match=r"min_size_classes must be None or a list .* got 2: list"):
        segment(COFFEE, 4, min_size=5, min_size_classes=2)
    with pytest.raises(ValueError, match=r"min_size_classes must be None for slices, got \[1\]: l"):
        segment_slices(VOLUME, 3, min_size=5, min_size_classes=[1])


@pytest.mark.parametrize("chunks", [(1, 40, 50), (2, 9, 50), (7, 13, 17)])
def test_frames_in_chunks_have_no_neighbors_in_other_frames(chunks):
    options = {"min_size": 6, "smoothing": 0.3, "spacing": (0, 1, 1)}
    eager = segment(VOLUME, 3, **options)
    lazy = segment(da.from_array(VOLUME, chunks=chunks), 3, **options)
    assert lazy.labels.chunks == da.from_array(VOLUME, chunks=chunks).chunks
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)


@pytest.mark.parametrize(("chosen", "found"), [((1, 3), (1,)), ((3,), None)])
def test_chosen_clusters_that_were_not_found_are_not_in_the_model(chosen, found):
    image = np.uint8([[1, 2, 2, 2]])
    with pytest.warns(UserWarning, match="n_clusters=3 gave 2 clusters"):
        seg = segment(image, 3, rgb=False, min_size=2, min_size_classes=chosen)
    assert seg.model.cleaning.min_size_classes == found
    again = KMeansModel.from_dict(seg.model.to_dict())
    np.testing.assert_array_equal(again.predict(image), seg.labels)
    np.testing.assert_array_equal(seg.labels, [[2, 2, 2, 2]] if found else [[1, 2, 2, 2]])
