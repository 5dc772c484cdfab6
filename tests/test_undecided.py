"""The option `min_confidence`: pixels that are left undecided, against a loop over all pixels."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from napari_kmeans import (
    KMeansModel,
    apply_classes,
    measure,
    merge_clusters,
    merge_similar,
    segment,
    segment_slices,
    split_anew,
)
from napari_kmeans.imaging import blocks, smoothing
from napari_kmeans.merging import carry_classes
from napari_kmeans.options import Options

pytestmark = pytest.mark.usefixtures("separate_chunks")

COFFEE = data.coffee()[:60, :70]
_RNG = np.random.default_rng(0)
CHANNELS = [gaussian_filter(_RNG.normal(size=(60, 70)), 4) for _ in range(5)]
CHANNELS = (np.stack(CHANNELS) + _RNG.normal(0, 0.05, (5, 60, 70))).astype(np.float32)
MASK = np.random.default_rng(3).random(COFFEE.shape[:2]) < 0.9


def silhouettes(image, labels, model):
    """Return the simplified silhouette of each pixel in the class of its label, by a loop."""
    found = np.full(labels.shape, np.nan)
    for place in np.ndindex(labels.shape):
        if labels[place]:
            distances = {}
            for center, label in zip(
                model.cluster_centers_, model.center_labels.tolist(), strict=True
            ):
                distance = np.sqrt(((image[place].astype(float) - center) ** 2).sum())
                distances[label] = min(distance, distances.get(label, np.inf))
            a = distances.pop(int(labels[place]))
            b = min(distances.values())
            found[place] = (b - a) / max(a, b)
    return found


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
@pytest.mark.parametrize("lazy", [False, True])
def test_measured_pixels_stay_undecided_after_classes_were_merged(smoothing, lazy):
    image = da.from_array(COFFEE, chunks=(20, 70, 3)) if lazy else COFFEE
    segmentation = segment(image, 5, smoothing=smoothing, min_confidence=0.2)
    classes = segmentation.model.classes.merge([2, 3]).merge([4, 5])
    merged = apply_classes(segmentation, classes)
    table = measure(merged, image)
    assert table["undecided"].tolist() == merged.table["undecided"].tolist()
    assert (table["pixels"] + table["undecided"]).sum() == COFFEE[..., 0].size
    # With the image, the pixels between merged classes are decided.
    decided = apply_classes(segmentation, classes, image=image)
    table = measure(decided, image)
    assert table["undecided"].sum() == (np.asarray(decided.labels) == 0).sum()
    assert table["undecided"].sum() < merged.table["undecided"].sum()


@pytest.mark.parametrize("cleaning", [{}, {"smoothing": 1.5}, {"min_size": 9}])
@pytest.mark.parametrize("masked", [False, True])
def test_pixels_below_the_confidence_have_label_0_and_are_counted(cleaning, masked):
    mask = MASK if masked else None
    decided = segment(COFFEE, 4, mask=mask, **cleaning)
    result = segment(COFFEE, 4, mask=mask, min_confidence=0.3, **cleaning)
    if "smoothing" in cleaning:
        own = decided.model.confidence(COFFEE, labels=decided.labels, mask=mask)
    else:
        own = silhouettes(COFFEE, decided.labels, decided.model)
        # Pixels of small regions, which have moved, are nearer to another class.
        assert (own < 0).any() == bool(cleaning)
    is_undecided = own < 0.3
    expected = np.where(is_undecided, 0, decided.labels)
    np.testing.assert_array_equal(result.labels, expected)
    assert 0.01 < is_undecided.mean() < 0.5
    table = result.table
    for row, label in enumerate(range(1, 5)):
        inside = expected == label
        assert table["pixels"][row] == inside.sum()
        assert table["undecided"][row] == (is_undecided & (decided.labels == label)).sum()
        assert table["percent"][row] == 100 * inside.sum() / (expected > 0).sum()
        means = COFFEE[inside].mean(axis=0, dtype=float)
        np.testing.assert_allclose(result.model.palette[row], means, rtol=1e-9)
        assert (result.recolored[inside] == np.rint(means)).all()
    np.testing.assert_array_equal(result.recolored[expected == 0], COFFEE[expected == 0])
    # The fit is that of all pixels.
    np.testing.assert_array_equal(result.model.cluster_centers_, decided.model.cluster_centers_)
    assert result.model.inertia_ == decided.model.inertia_


@pytest.mark.parametrize("chunks", [(30, 40), (60, 70), (17, 69), (60, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"blur": 1.5, "color_space": "lab"},
        {"smoothing": 1.0, "min_size": 4},
        {"blur": 2.0, "texture": 1.0},
    ],
)
def test_dask_and_numpy_leave_the_same_pixels_undecided(chunks, options, monkeypatch):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 2)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 1000)
    arguments = {"mask": MASK, "min_confidence": 0.25, **options}
    eager = segment(COFFEE, 4, **arguments)
    image = da.from_array(COFFEE, chunks=(*chunks, 3))
    lazy = segment(image, 4, **arguments)
    assert lazy.labels.chunks == image.chunks[:2]
    assert lazy.labels.dtype == eager.labels.dtype == np.uint8
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)
    np.testing.assert_array_equal(lazy.recolored.compute(), eager.recolored)
    assert lazy.table.equals(eager.table)
    predicted = eager.model.predict(image, mask=MASK)
    np.testing.assert_array_equal(predicted.compute(), eager.labels)
    labels, recolored = eager.model.apply(COFFEE, mask=MASK)
    np.testing.assert_array_equal(labels, eager.labels)
    np.testing.assert_array_equal(recolored, eager.recolored)
    decided = segment(COFFEE, 4, **{**arguments, "min_confidence": 0})
    own = decided.model.confidence(COFFEE, labels=decided.labels, mask=MASK)
    np.testing.assert_array_equal(eager.labels == 0, ~(own >= 0.25))
    assert "undecided" not in decided.table


def test_channels_and_several_images():
    normalized = {"channel_axis": 0, "normalize": "zscore"}
    result = segment(CHANNELS, 4, min_confidence=0.2, **normalized)
    plain = segment(CHANNELS, 4, **normalized)
    expected = np.where(plain.model.confidence(CHANNELS) < 0.2, 0, plain.labels)
    np.testing.assert_array_equal(result.labels, expected)
    images, masks = [COFFEE, COFFEE[:40, 20:]], [None, MASK[:40, 20:]]
    result = segment(images, 3, mask=masks, min_confidence=0.2)
    plain = segment(images, 3, mask=masks)
    undecided = np.zeros(4, int)
    for image, own_mask, labels, before in zip(
        images, masks, result.labels, plain.labels, strict=True
    ):
        own = plain.model.confidence(image, mask=own_mask)
        np.testing.assert_array_equal(labels, np.where(own < 0.2, 0, before))
        undecided += np.bincount(before[own < 0.2], minlength=4)
    assert result.table["undecided"].tolist() == undecided[1:].tolist()


def test_more_classes_than_half_of_a_byte():
    image = np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32) ^ 1
    result = segment(image, 200, min_confidence=0.9)
    decided = segment(image, 200)
    assert result.labels.dtype == np.uint8
    sure = decided.model.confidence(image) >= 0.9
    np.testing.assert_array_equal(result.labels, np.where(sure, decided.labels, 0))
    assert result.table["undecided"].sum() == np.count_nonzero(~sure)
    lazy = segment(da.from_array(image, chunks=(7, 32)), 200, min_confidence=0.9)
    np.testing.assert_array_equal(lazy.labels.compute(), result.labels)


@pytest.mark.parametrize("lazy", [False, True])
def test_each_slice_of_a_stack_leaves_its_pixels_undecided(lazy):
    stack = np.stack([COFFEE, COFFEE[::-1] // 2, COFFEE])
    mask = np.ones(stack.shape[:3], bool)
    mask[0, 5:9], mask[2] = False, False
    image = da.from_array(stack, chunks=(1, 40, 40, 3)) if lazy else stack
    plain = segment_slices(stack, 3, mask=mask)
    result = segment_slices(image, 3, mask=mask, min_confidence=0.3)
    own = plain.model.confidence(image, labels=plain.labels, mask=mask)
    is_undecided = np.asarray(own) < 0.3
    expected = np.where(is_undecided, 0, plain.labels)
    np.testing.assert_array_equal(np.asarray(result.labels), expected)
    np.testing.assert_array_equal(np.asarray(result.model.apply(image, mask=mask)[0]), expected)
    counts = np.bincount(plain.labels[is_undecided], minlength=4)[1:]
    assert result.table["undecided"].tolist() == counts.tolist()
    assert result.slice_table["undecided"].sum() == counts.sum()
    # The labels of the whole stack, not those of the slice.
    nearest = np.asarray(plain.model.confidence(image, mask=mask))
    np.testing.assert_array_equal(np.asarray(own)[:2], nearest[:2])
    assert np.isnan(np.asarray(own)[2]).all()


def test_the_model_leaves_pixels_undecided_also_after_it_was_saved(tmp_path):
    result = segment(COFFEE, 5, min_confidence=0.4)
    result.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict(COFFEE), result.labels)
    assert loaded.options.min_confidence == 0.4
    pixels = loaded.open(da.from_array(COFFEE, chunks=(25, 40, 3)))
    assert loaded.count_undecided(pixels).tolist() == result.table["undecided"].tolist()
    assert segment(COFFEE, 5).model.count_undecided(pixels) is None
    values = result.model.to_dict()
    assert values["version"] == 2
    for bad in (-0.1, 1, "x"):
        with pytest.raises(ValueError, match="min_confidence must be a number from 0"):
            KMeansModel.from_dict(json.loads(json.dumps({**values, "min_confidence": bad})))


def test_off_is_the_default_and_changes_no_bit():
    for options in ({}, {"smoothing": 1.0, "min_size": 5}):
        plain, off = segment(COFFEE, 4, **options), segment(COFFEE, 4, min_confidence=0, **options)
        np.testing.assert_array_equal(plain.labels, off.labels)
        np.testing.assert_array_equal(plain.recolored, off.recolored)
        assert plain.table.equals(off.table)
        assert plain.model.to_dict() == off.model.to_dict()
        assert not {"min_confidence", "undecided"} & {*plain.model.to_dict(), *plain.table}
    assert Options().min_confidence == 0
    with pytest.raises(ValueError, match=r"min_confidence must be a number from 0.0 to 0.99, got"):
        segment(COFFEE, 4, min_confidence=1)


def test_one_class_is_always_sure():
    result = segment(COFFEE, 1, min_confidence=0.99)
    assert (result.labels == 1).all()
    assert result.table["undecided"].tolist() == [0]


def test_all_pixels_of_a_class_can_be_undecided():
    # The gray levels 0 and 40 lie far from their mean, in relation to the next class.
    image = np.repeat([0, 40, 60, 100], 50).reshape(10, 20).astype(np.uint8)
    result = segment(image, 2, min_confidence=0.9)
    assert not result.labels.any()
    assert result.table["undecided"].tolist() == [100, 100]
    assert result.table["percent"].tolist() == [0, 0]
    np.testing.assert_allclose(result.model.palette[:, 0], [20, 80])
    assert merge_similar(result, distance=100).table["undecided"].tolist() == [200]


def test_merged_classes_are_sure_where_their_centers_are_near():
    result = segment(COFFEE, 5, min_confidence=0.3)
    classes = result.model.classes.merge([2, 3]).renumber({5: 9}).ignore(4)
    merged = apply_classes(result, classes)
    undecided = result.table["undecided"].tolist()
    expected = [undecided[0], undecided[1] + undecided[2], *undecided[3:]]
    assert merged.table["undecided"].tolist() == expected
    assert list(merged.table)[:5] == ["index", "pixels", "percent", "undecided", "ignored"]
    # The merge of a result moves no pixel: pixels between 2 and 3 stay undecided in its labels.
    np.testing.assert_array_equal(merged.labels == 0, result.labels == 0)
    # The model compares classes: the pixels between 2 and 3 are sure.
    labels = merged.model.predict(COFFEE)
    nearest = segment(COFFEE, 5).model.with_classes(classes).predict(COFFEE)
    own = silhouettes(COFFEE, nearest, merged.model)
    np.testing.assert_array_equal(labels, np.where(own < 0.3, 0, nearest))
    assert (labels > 0).sum() > (merged.labels > 0).sum()
    assert merge_clusters(result, [0, 1, 1, 2, 3]).table["undecided"].sum() == sum(undecided)


def test_classes_are_not_split_anew():
    model = segment(COFFEE, 3, min_confidence=0.2).model
    with pytest.raises(ValueError, match=r"model must decide all pixels, got min_confidence=0\.2"):
        split_anew(COFFEE, model, label=2)
    split = split_anew(COFFEE, segment(COFFEE, 3).model, label=2).to_dict()
    with pytest.raises(ValueError, match=r"min_confidence must be 0 .* split anew, got 0\.2"):
        KMeansModel.from_dict({**split, "min_confidence": 0.2})


@pytest.mark.parametrize(
    "options", [{"min_confidence": 0.5}, {"smoothing": 5.0, "spacing": (1.0, 1.0)}]
)
def test_edits_of_classes_are_carried_to_models_that_clean(options):
    earlier = segment(COFFEE, 4, **options).model
    earlier = earlier.with_classes(earlier.classes.rename(2, "wood").ignore(4))
    classes, lost = carry_classes(segment(COFFEE, 4, **options).model, earlier)
    assert [each.name for each in classes] == ["", "wood", "", ""]
    assert not lost
    assert classes.ignored.tolist() == [False, False, False, True]


@pytest.mark.parametrize("lazy", [False, True])
def test_the_confidence_in_the_class_of_a_label(lazy):
    model = segment(COFFEE, 4).model
    model = model.with_classes(model.classes.merge([1, 3]).renumber({4: 7}))
    labels = np.random.default_rng(1).choice([0, 1, 2, 4, 7, 300], COFFEE.shape[:2])
    is_class = np.isin(labels, [1, 2, 7])
    expected = silhouettes(COFFEE, np.where(is_class, labels, 0), model)
    image, given = COFFEE, labels
    if lazy:
        image = da.from_array(COFFEE, chunks=(25, 40, 3))
        given = da.from_array(labels, chunks=(60, 9))
    own = model.confidence(image, labels=given)
    assert isinstance(own, da.Array) == lazy
    np.testing.assert_allclose(np.asarray(own), expected, atol=1e-6)
    assert (expected < 0).any()
    masked = np.asarray(model.confidence(image, labels=labels, mask=MASK))
    np.testing.assert_array_equal(masked, np.where(MASK, np.asarray(own), np.nan))
    with pytest.raises(ValueError, match=r"labels must have the spatial shape \(60, 70\)"):
        model.confidence(image, labels=labels[1:])
    with pytest.raises(TypeError, match="labels must be whole numbers, got dtype float64"):
        model.confidence(image, labels=labels / 2)
