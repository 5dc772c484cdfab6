"""Merging of clusters: trees and groups equal plain loops, and results equal their pixels."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_kmeans import (
    ClassScheme,
    KMeansModel,
    apply_classes,
    merge_clusters,
    merge_similar,
    segment,
)
from napari_kmeans.feature_space.space import PLAIN
from napari_kmeans.measuring import channel_means
from napari_kmeans.merging import MergeTree, carry_classes, cut_tree, merge_small, merge_tree


def random_colors(seed, n=12):
    rng = np.random.default_rng(seed)
    return rng.random((n, 3)), rng.integers(1, 500, n)


def naive_groups(colors, weights, distance):
    """Merge the nearest pair of mean colors until the distance is larger than `distance`."""
    groups = [[i] for i in range(len(colors))]
    while len(groups) > 1:
        means = [np.average(colors[group], axis=0, weights=weights[group]) for group in groups]
        lab = [rgb2lab(mean) for mean in means]
        apart, a, b = min(
            (float(deltaE_ciede2000(lab[a], lab[b])), a, b)
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        )
        if apart > distance:
            break
        groups[a] += groups.pop(b)
    return {frozenset(group) for group in groups}


def as_sets(groups):
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", [0, 8, 15, 25, 40, 100])
def test_cut_tree_gives_the_groups_of_a_loop(seed, distance):
    colors, weights = random_colors(seed)
    groups = cut_tree(merge_tree(colors, weights), distance)
    assert as_sets(groups) == naive_groups(colors, weights, distance)


@pytest.mark.parametrize("seed", range(20))
def test_larger_distance_only_merges_more_clusters(seed):
    tree = merge_tree(*random_colors(seed, n=20))
    assert isinstance(tree, MergeTree)
    assert tree.n_clusters == 20
    assert (np.diff(tree.heights) >= 0).all()
    for lower, higher in pairwise(np.linspace(0, 60, 30)):
        fine, coarse = cut_tree(tree, lower), cut_tree(tree, higher)
        assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))
    assert cut_tree(tree, -1).tolist() == list(range(20))
    assert not cut_tree(tree, tree.heights[-1]).any()


def gray_model(levels, dtype=np.uint8):
    levels = np.asarray(levels, float)[:, None]
    return KMeansModel(levels, levels, 0.0, 1, PLAIN, False, None, np.dtype(dtype))


@pytest.mark.parametrize("seed", range(3))
def test_heights_of_gray_equal_the_centroid_linkage_of_scipy(seed):
    rng = np.random.default_rng(seed)
    levels, counts = np.sort(rng.uniform(0, 255, 9)), rng.integers(1, 9, 9)
    tree = merge_tree(gray_model(levels), counts)
    steps = linkage(np.repeat(levels, counts)[:, None] / 2.55, "centroid")
    expected = np.maximum.accumulate(steps[-8:, 2])
    np.testing.assert_allclose(tree.heights, expected, atol=1e-9)


def test_distance_of_black_and_white_is_100_in_rgb_and_gray():
    assert merge_tree([[0, 0, 0], [1, 1, 1]], [5, 1]).heights == pytest.approx([100], abs=0.01)
    assert merge_tree(gray_model([0, 255]), [5, 1]).heights == pytest.approx([100])
    # Levels of 16 bits are compared as they are displayed: from the lowest to the highest level.
    assert merge_tree(gray_model([300, 400], np.uint16), [1, 1]).heights == pytest.approx([100])


def test_tree_of_one_cluster_has_no_steps():
    tree = merge_tree([[0.5, 0.5, 0.5]], [7])
    assert tree.n_clusters == 1
    assert cut_tree(tree, 50).tolist() == [0]


def test_smallest_clusters_are_merged_first_into_the_nearest_color():
    model = gray_model([0, 40, 100, 200, 240])
    # Level 40 (2 %) is merged into 0, and 240 (3 %) into 200.
    assert merge_small(model, [45, 2, 30, 20, 3], 0.05).tolist() == [0, 0, 1, 2, 2]
    # Levels 100 and 130 are too small alone, but large enough together.
    model = gray_model([0, 100, 130, 255])
    assert merge_small(model, [46, 4, 4, 46], 0.06).tolist() == [0, 1, 1, 2]
    # Merged, at level 115, they are too small and nearer to 0.
    assert merge_small(model, [46, 4, 4, 46], 0.1).tolist() == [0, 0, 0, 1]
    assert merge_small(model, [1, 1, 1, 1], 0).tolist() == [0, 1, 2, 3]
    assert merge_small(model, [1, 1, 1, 1], 1).tolist() == [0, 0, 0, 0]


def test_small_groups_are_merged_as_a_whole():
    model = gray_model([0, 20, 200, 220])
    assert merge_small(model, [3, 3, 3, 91], 0.05, [7, 2, 2, 5]).tolist() == [0, 0, 0, 1]
    assert merge_small(model, [3, 3, 3, 91], 0.05, [4, 4, 9, 9]).tolist() == [0, 0, 1, 1]


def check_merged_result(image, merged, before, groups):
    """Compare a merged result of an RGB image with the means and counts of its pixels."""
    old, new = np.asarray(before.labels), np.asarray(merged.labels)
    joined = np.append(-1, groups)[old]
    pairs = set(zip(joined.ravel().tolist(), new.ravel().tolist(), strict=True)) - {(-1, 0)}
    assert len(pairs) == len(set(groups)) == merged.model.n_clusters
    luminance = merged.model.palette @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    recolored = np.array(image)
    for row, (label, mean) in enumerate(
        zip(merged.table["index"], merged.model.palette, strict=True)
    ):
        inside = image[new == label][:, :3]
        assert merged.table["pixels"][row] == len(inside)
        assert merged.table["percent"][row] == pytest.approx(100 * len(inside) / (new > 0).sum())
        np.testing.assert_allclose(mean, inside.mean(axis=0), rtol=1e-6)
        row_means = merged.table.loc[row, ["mean red", "mean green", "mean blue"]]
        np.testing.assert_allclose(row_means.to_numpy(float), mean)
        recolored[new == label, :3] = np.rint(mean)
        assert merged.table["color"][row] == "#" + bytes(np.rint(mean).astype(np.uint8)).hex()
    np.testing.assert_array_equal(merged.recolored, recolored)


@pytest.mark.parametrize("method", ["full", "coreset"])
def test_merged_result_equals_its_pixels(method):
    image = data.coffee()
    mask = np.ones(image.shape[:2], bool)
    mask[:50] = False
    before = segment(image, 6, method=method, mask=mask)
    copies = before.labels.copy(), before.table.copy()
    groups = [3, 1, 1, 2, 3, 2]
    merged = merge_clusters(before, groups)
    check_merged_result(image, merged, before, groups)
    np.testing.assert_array_equal(merged.model.predict(image, mask=mask), merged.labels)
    assert merged.labels.dtype == np.uint8
    np.testing.assert_array_equal(before.labels, copies[0])
    assert before.table.equals(copies[1])
    assert merged.table.attrs == before.table.attrs


def test_merging_keeps_alpha_and_excluded_pixels(quadrants):
    alpha = np.full((20, 21, 1), 200, np.uint8)
    alpha[:5] = 0
    image = np.concatenate([quadrants, alpha], axis=2)
    before = segment(image, 4, rgb=True)
    merged = merge_clusters(before, [0, 1, 1, 0])
    check_merged_result(image, merged, before, [0, 1, 1, 0])


def test_merging_of_a_dask_result_is_lazy(quadrants):
    lazy = da.from_array(quadrants, chunks=(7, 8, 3))
    merged = merge_clusters(segment(lazy, 4, rgb=True), [0, 1, 1, 2])
    expected = merge_clusters(segment(quadrants, 4, rgb=True), [0, 1, 1, 2])
    assert isinstance(merged.labels, da.Array)
    assert isinstance(merged.recolored, da.Array)
    assert merged.labels.dtype == np.uint8
    np.testing.assert_array_equal(merged.labels, expected.labels)
    np.testing.assert_array_equal(merged.recolored, expected.recolored)
    np.testing.assert_array_equal(merged.model.predict(lazy), expected.labels)


def test_gray_and_other_channels_are_merged(steps):
    merged = merge_clusters(segment(steps, 3), [0, 0, 1])
    np.testing.assert_array_equal(merged.labels, np.where(steps == 50_000, 2, 1))
    low = steps[steps < 50_000].mean()
    np.testing.assert_array_equal(merged.recolored, np.where(steps == 50_000, 50_000, round(low)))
    assert merged.table["mean intensity"].tolist() == pytest.approx([low, 50_000])
    channels = np.stack([steps, steps[::-1] // 2])
    before = segment(channels, 3, channel_axis=0)
    merged = merge_similar(before, 60)
    assert merged.model.n_clusters < 3
    assert merged.recolored.shape == channels.shape
    np.testing.assert_array_equal(
        merged.recolored[:, merged.labels == 1][:, 0], np.rint(merged.model.palette[0])
    )


def test_merge_similar_merges_similar_and_small_clusters():
    before = segment(data.coffee(), 32)
    merged = merge_similar(before, 10, 0.01)
    assert 3 < merged.model.n_clusters < 16
    assert merged.table["percent"].min() >= 1
    assert merged.table["pixels"].sum() == before.table["pixels"].sum()
    same = merge_similar(before)
    np.testing.assert_array_equal(same.labels, before.labels)
    assert same.table.equals(before.table)


def test_merged_result_can_be_merged_again(quadrants):
    twice = merge_clusters(merge_clusters(segment(quadrants, 4, rgb=True), [0, 1, 1, 2]), [0, 0, 1])
    once = merge_clusters(segment(quadrants, 4, rgb=True), [0, 0, 0, 1])
    np.testing.assert_array_equal(twice.labels, once.labels)
    np.testing.assert_array_equal(twice.model.predict(quadrants), once.labels)
    np.testing.assert_allclose(twice.model.palette, once.model.palette)


def test_other_columns_of_the_table_come_from_the_largest_cluster(quadrants):
    before = segment(quadrants, 4, rgb=True)
    before.table["name"] = ["ink", "wine", "grass", "paper"]
    largest = int(before.table["pixels"][[1, 2]].idxmax())
    merged = merge_clusters(before, [0, 1, 1, 2])
    assert merged.table["name"].tolist() == ["ink", before.table["name"][largest], "paper"]


def test_merged_model_is_saved_and_loaded(tmp_path, quadrants):
    merged = merge_clusters(segment(quadrants, 4, rgb=True, color_space="lab"), [0, 1, 1, 2])
    merged.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    assert loaded.to_dict() == merged.model.to_dict()
    assert loaded.n_clusters == 3
    np.testing.assert_array_equal(loaded.predict(quadrants), merged.labels)
    np.testing.assert_array_equal(loaded.recolor(merged.labels), merged.recolored)


@pytest.mark.parametrize(
    "labels", [None, 5, [], [1, 2], [1, 1, 1, 1], [1, 2, 2, 4], [1, [2], 3, 1], [True, 2, 3, 2]]
)
def test_invalid_center_labels_are_refused(labels, quadrants):
    values = {**segment(quadrants, 4, rgb=True).model.to_dict(), "center_labels": labels}
    with pytest.raises(ValueError, match=r"center_labels must hold|must belong together"):
        KMeansModel.from_dict(values)


def test_merging_keeps_names_and_ignored_classes(quadrants):
    before = segment(quadrants, 4, rgb=True)
    larger, smaller = sorted([2, 3], key=lambda label: -before.table["pixels"][label - 1])
    classes = before.model.classes.rename(larger, "a").rename(smaller, "b").ignore(1)
    merged = merge_clusters(apply_classes(before, classes), [0, 1, 1, 2])
    assert [each.name for each in merged.model.classes] == ["", "a + b", ""]
    assert merged.table["name"].tolist() == ["", "a + b", ""]
    assert merged.table["ignored"].tolist() == [True, False, False]


def edit(classes):
    """Return classes of four centers with every kind of edit that merges or keeps classes."""
    merged = classes.merge([3, 2]).rename(3, "soil").recolor(4, "#ff0080").ignore(1)
    return merged.renumber({4: 300})


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["rgb", "gray", "channels"])
def test_apply_classes_edits_labels_colors_and_table(kind, lazy, quadrants, quadrant_labels):
    image = {"rgb": quadrants, "gray": quadrants[..., 0] // 2 + quadrants[..., 1] // 2}
    image["channels"] = np.moveaxis(quadrants[..., :2], -1, 0)
    arguments = {"rgb": {"rgb": True}, "gray": {"rgb": False}, "channels": {"channel_axis": 0}}
    array = da.from_array(image[kind], chunks=7) if lazy and kind != "rgb" else image[kind]
    array = da.from_array(quadrants, chunks=(7, 8, 3)) if lazy and kind == "rgb" else array
    before = segment(array, 4, **arguments[kind])
    table = before.table.copy()
    after = apply_classes(before, edit(before.model.classes))
    old = np.asarray(before.labels)
    # The label of each cluster after the edits, by hand.
    truth = np.array([0, 1, 3, 3, 300])[old]
    np.testing.assert_array_equal(after.labels, truth)
    np.testing.assert_array_equal(after.model.predict(array), truth)
    labels, recolored = after.model.apply(array)
    np.testing.assert_array_equal(labels, truth)
    np.testing.assert_array_equal(after.recolored, recolored)
    np.testing.assert_array_equal(after.model.recolor(np.asarray(after.labels)), recolored)
    channels_last = np.moveaxis(image[kind], 0, -1) if kind == "channels" else image[kind]
    for row, label in enumerate([1, 3, 300]):
        mean = channels_last[truth == label].mean(axis=0)
        np.testing.assert_allclose(after.model.palette[row], mean, rtol=1e-9)
    counts = [(truth == label).sum() for label in (1, 3, 300)]
    assert after.table["index"].tolist() == [1, 3, 300]
    assert after.table["pixels"].tolist() == counts
    assert after.table["name"].tolist() == ["", "soil", ""]
    assert after.table["ignored"].tolist() == [True, False, False]
    shares = [np.nan, *(100 * np.array(counts[1:]) / sum(counts[1:]))]
    np.testing.assert_allclose(after.table["percent"], shares)
    assert after.table["color"][2] == "#ff0080"
    np.testing.assert_allclose(after.model.colors[2], [1, 0, 128 / 255])
    assert before.table.equals(table)
    assert before.model.edited_classes is None


def test_apply_classes_to_several_images(quadrants):
    images = [quadrants, quadrants[:9]]
    before = segment(images, 4, rgb=True)
    after = apply_classes(before, edit(before.model.classes))
    for image, labels, recolored in zip(images, after.labels, after.recolored, strict=True):
        np.testing.assert_array_equal(labels, after.model.predict(image))
        np.testing.assert_array_equal(recolored, after.model.apply(image)[1])


def test_apply_classes_without_an_edit_gives_the_same_table(quadrants):
    before = segment(quadrants, 4, rgb=True)
    same = apply_classes(before, before.model.classes)
    assert same.table.to_csv() == before.table.to_csv()
    assert same.model.to_dict() == before.model.to_dict()
    merged = apply_classes(before, edit(before.model.classes))
    renamed = apply_classes(merged, merged.model.classes.rename(3, ""))
    assert "name" not in renamed.table
    again = apply_classes(renamed, merged.model.classes)
    assert again.table.to_csv() == merged.table.to_csv()


def test_renumbered_classes_keep_their_colors(quadrants):
    before = segment(quadrants, 4, rgb=True)
    swapped = apply_classes(before, before.model.classes.renumber({1: 4, 4: 2, 2: 1}))
    old_label = np.array([2, 4, 3, 1])
    np.testing.assert_array_equal(old_label[swapped.labels - 1], before.labels)
    np.testing.assert_array_equal(swapped.recolored, before.recolored)
    np.testing.assert_array_equal(swapped.model.palette, before.model.palette[old_label - 1])
    np.testing.assert_array_equal(swapped.model.recolor(swapped.labels), before.recolored)
    assert swapped.table["pixels"].tolist() == before.table["pixels"][old_label - 1].tolist()


def test_split_model_gives_back_the_colors(quadrants):
    before = segment(quadrants, 4, rgb=True)
    merged = apply_classes(before, before.model.classes.merge([2, 4, 1]))
    split = merged.model.with_classes(merged.model.classes.split(2))
    assert split.to_dict() == before.model.to_dict()
    np.testing.assert_array_equal(split.palette, before.model.palette)
    np.testing.assert_array_equal(split.predict(quadrants), before.labels)
    with pytest.raises(ValueError, match="classes must not split those of the segmentation"):
        apply_classes(merged, split.classes)


def test_classes_of_other_centers_are_refused(quadrants):
    model = segment(quadrants, 4, rgb=True).model
    with pytest.raises(ValueError, match="classes must be those of 4 centers, got those of 3"):
        model.with_classes(ClassScheme.of_centers(3))
    with pytest.raises(TypeError, match="classes must be a ClassScheme, got 3"):
        model.with_classes(3)


def test_edited_model_is_saved_and_loaded(tmp_path, quadrants):
    before = segment(quadrants, 4, rgb=True)
    model = apply_classes(before, edit(before.model.classes)).model
    model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    assert loaded.to_dict() == model.to_dict()
    assert loaded.classes == model.classes
    np.testing.assert_array_equal(loaded.palette, model.palette)
    np.testing.assert_array_equal(loaded.colors, model.colors)
    for own, expected in zip(loaded.apply(quadrants), model.apply(quadrants), strict=True):
        np.testing.assert_array_equal(own, expected)
    assert repr(loaded).startswith("KMeansModel(n_clusters=3, classes=ClassScheme(3 classes of 4")
    # Version 0.1.0 opens models without edits only: an edited model states another version.
    assert (before.model.to_dict()["version"], model.to_dict()["version"]) == (1, 2)
    assert "classes" not in before.model.to_dict()


def test_a_merged_class_has_one_color_before_and_after_a_model_is_saved(tmp_path):
    """The number of pixels differs much: the color of a class is not the mean of its centers."""
    colors = np.array([[10, 10, 10], [100, 20, 20], [140, 40, 20], [230, 230, 200]], np.uint8)
    image = np.repeat(colors, [200, 190, 10, 200], axis=0).reshape(20, 30, 3)
    before = segment(image, 4, rgb=True)
    classes = before.model.classes.merge([2, 3])
    before.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    expected = [102.0, 21.0, 20.0]
    for model in (apply_classes(before, classes).model, loaded.with_classes(classes)):
        np.testing.assert_allclose(model.palette[1], expected)
    np.testing.assert_array_equal(
        np.unique(np.asarray(loaded.with_classes(classes).apply(image)[1])[7], axis=0), [expected]
    )


def test_merged_model_of_0_1_0_keeps_its_colors():
    path = Path(__file__).parent / "promises" / "written_by_0_1_0" / "merged-model.json"
    values = json.loads(path.read_text())
    model = KMeansModel.load(path)
    assert model.palette.tolist() == values["palette"]
    assert model.center_labels.tolist() == values["center_labels"]
    again = KMeansModel.from_dict(model.to_dict())
    assert again.palette.tolist() == values["palette"]


@pytest.mark.parametrize("values", ["no model", {}, {"palette": [[1.0]], "center_labels": [1]}])
def test_values_without_a_model_are_refused(values):
    with pytest.raises(ValueError, match="not a napari-kmeans model"):
        KMeansModel.from_dict(values)


@pytest.mark.parametrize("groups", [[0, 1], [0.0, 1, 1, 2], None, [[0, 1, 1, 2]]])
def test_invalid_groups_are_refused(groups, quadrants):
    with pytest.raises(ValueError, match="groups must be 4 whole numbers"):
        merge_clusters(segment(quadrants, 4, rgb=True), groups)


def test_rgb_of_integers_of_more_than_16_bits_has_no_distances(quadrants):
    wide = segment(quadrants.astype(np.int64), 4, rgb=True)
    for call in (
        lambda: merge_similar(wide, distance=1),
        lambda: merge_tree(wide.model, wide.table["pixels"]),
        lambda: merge_small(wide.model, wide.table["pixels"], 0.1),
    ):
        with pytest.raises(ValueError, match=r"colors must be of a model .* got one of int64"):
            call()
    # Clusters can be merged by number, and gray is compared by its own range.
    assert merge_clusters(wide, [0, 0, 1, 2]).model.n_clusters == 3
    gray = segment(quadrants[..., 0].astype(np.int64), 4, rgb=False)
    assert merge_similar(gray, distance=100).model.n_clusters == 1


def test_invalid_colors_and_shares_are_refused():
    colors, shares = random_colors(0, n=3)
    with pytest.raises(ValueError, match="shares must be 3 positive numbers"):
        merge_tree(colors, shares[:2])
    with pytest.raises(ValueError, match="shares must be 3 positive numbers"):
        merge_tree(colors, [1, 0, 2])
    with pytest.raises(ValueError, match=r"colors must be 1 to 2048 rows .* got .* shape \(3, 2\)"):
        merge_tree(colors[:, :2], shares)


@pytest.mark.parametrize("lazy", [False, True])
def test_clusters_of_several_images_are_merged_in_each_image(quadrants, lazy):
    images = [quadrants, quadrants[:9]]
    given = [da.from_array(image, (7, 5, 3)) for image in images] if lazy else images
    before = segment(given, 4, rgb=True)
    merged = merge_clusters(before, [0, 1, 1, 2])
    assert len(merged.labels) == len(merged.recolored) == 2
    for labels, recolored, image in zip(merged.labels, merged.recolored, images, strict=True):
        expected_labels, expected = merged.model.apply(image)
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(recolored, expected)
    counts = sum(np.bincount(np.asarray(labels).ravel(), minlength=4) for labels in merged.labels)
    assert merged.table["pixels"].tolist() == counts[1:].tolist()
    assert merge_similar(before, distance=100).model.n_clusters == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_share": 2}, "min_share must be a number from 0.0 to 1.0, got 2"),
        ({"min_share": None}, "min_share must be a number .* got None"),
        ({"distance": -3}, "distance must be a number from 0.0 to 1e[+]100, got -3"),
        ({"distance": float("nan")}, "distance must be a number .* got nan"),
        ({"distance": "abc"}, "distance must be a number .* got 'abc'"),
    ],
)
def test_distance_and_share_out_of_bounds_are_refused(options, message, quadrants):
    with pytest.raises((TypeError, ValueError), match=message):
        merge_similar(segment(quadrants, 4, rgb=True), **options)


@pytest.mark.parametrize("n_channels", [3, 6, 12])
def test_channels_of_different_means_do_not_merge_at_distance_0(n_channels):
    image = np.random.default_rng(0).integers(200, 256, (30, 31, n_channels)).astype(np.uint8)
    before = segment(image, 6, channel_axis=-1)
    assert len(set(before.table["color"])) == 6
    assert len(merge_similar(before).table) == 6


def test_ignored_classes_are_never_merged():
    model = gray_model([0, 10, 20, 30, 200])
    model = model.with_classes(model.classes.ignore(2).ignore(5))
    tree = merge_tree(model, [10, 10, 10, 10, 60])
    assert sorted(tree.pairs.ravel().tolist()) == [*range(8)]
    assert np.isinf(tree.heights).tolist() == [False, False, True, True]
    for distance in (1000, np.inf):
        assert cut_tree(tree, distance).tolist() == [0, 1, 0, 0, 2]
    # Label 4 has 5 of the 30 pixels that count. The nearest level that counts is 20.
    assert merge_small(model, [15, 1, 10, 5, 1000], 0.2).tolist() == [0, 1, 2, 2, 3]
    assert merge_small(model, [15, 1, 10, 5, 1000], 0.1).tolist() == [0, 1, 2, 3, 4]
    none = model.with_classes(model.classes.ignore(1).ignore(3).ignore(4))
    assert merge_small(none, [15, 1, 10, 5, 1000], 0.5).tolist() == [0, 1, 2, 3, 4]
    assert cut_tree(merge_tree(none, [1] * 5), 1000).tolist() == [0, 1, 2, 3, 4]


def test_merge_similar_keeps_the_pixels_of_ignored_classes(quadrants):
    before = segment(quadrants, 4, rgb=True)
    before = apply_classes(before, before.model.classes.ignore(2).rename(2, "left"))
    merged = merge_similar(before, 100, 0.5)
    assert sorted(merged.table["ignored"]) == [False, True]
    row = merged.table.set_index("name").loc["left"]
    np.testing.assert_array_equal(merged.labels == row["index"], before.labels == 2)


def test_groups_merge_classes_as_the_class_scheme_does(quadrants):
    before = segment(quadrants, 4, rgb=True)
    classes = before.model.classes.rename(2, "b").rename(4, "d").recolor(2, "#ff0080").ignore(4)
    before = apply_classes(before, classes)
    merged = merge_clusters(before, [0, 1, 2, 1]).model.classes
    expected = classes.merge([2, 4])[2]
    found = next(each for each in merged if each.centers == expected.centers)
    assert (found.name, found.color, found.ignored) == ("b + d", "#ff0080", False)


# -------------------------------------------------------------------- carrying


def test_carried_classes_follow_the_colors():
    colors = np.array([[10, 10, 10], [90, 20, 20], [20, 150, 20], [230, 230, 200]], np.uint8)
    image = colors[np.random.default_rng(0).integers(0, 4, (20, 20))]
    earlier = segment(image, 4, color_space="lab", rgb=True).model
    classes = earlier.classes.merge([2, 3]).rename(2, "tissue").rename(4, "paper").ignore(1)
    earlier = earlier.with_classes(classes.recolor(4, "#ffff00"))
    # Each color becomes two clusters: a darker one, and one of the same color.
    shades = np.concatenate([colors, np.clip(colors.astype(int) - 6, 0, 255).astype(np.uint8)])
    model = segment(shades[np.random.default_rng(1).integers(0, 8, (30, 30))], 8, rgb=True).model
    carried, lost = carry_classes(model, earlier)
    assert not lost
    rows = {
        tuple(sorted(tuple(np.rint(model.center_palette[i]).astype(int)) for i in each.centers)): (
            each.name,
            each.color,
            each.ignored,
        )
        for each in carried
    }
    assert rows == {
        ((10, 10, 10),): ("", None, True),
        ((4, 4, 4),): ("", None, True),
        ((14, 144, 14), (20, 150, 20), (84, 14, 14), (90, 20, 20)): ("tissue", None, False),
        ((230, 230, 200),): ("paper", "#ffff00", False),
        ((224, 224, 194),): ("", None, False),
    }


@pytest.mark.parametrize("kind", ["rgb", "gray", "channels"])
def test_no_name_is_carried_to_a_color_that_is_far(kind):
    """The earlier model gives each color to a class, and the nearest one may be far."""
    values = np.array([20, 100, 101, 180, 240], np.float32)
    tints = {"rgb": (1, 0.9, 0.7), "gray": (1,), "channels": (1, 0.2, 0.6, 0.5)}[kind]
    colors = values[:, None] * np.array(tints, np.float32)
    options = {"rgb": kind == "rgb", "channel_axis": -1 if kind == "channels" else None}

    def fit(rows):
        image = np.repeat(colors[rows], 20, axis=0).reshape(len(rows), 20, -1)
        image = np.rint(image).astype(np.uint8) if kind == "rgb" else image
        return segment(image[..., 0] if kind == "gray" else image, len(rows), **options).model

    earlier = fit([0, 1, 4])
    classes = earlier.classes.rename(1, "dark").rename(2, "middle").rename(3, "pale").ignore(3)
    earlier = earlier.with_classes(classes)
    carried, lost = carry_classes(fit([0, 2, 3]), earlier)
    # A value of 180 is nearer to 240 than to 101.
    assert [(each.name, each.ignored) for each in carried] == [
        ("dark", False),
        ("middle", False),
        ("", False),
    ]
    assert [each.name for each in lost] == ["pale"]
    merged = earlier.with_classes(earlier.classes.merge([2, 3]))
    carried, lost = carry_classes(fit([0, 2, 3]), merged)
    assert [(each.name, each.centers) for each in carried] == [
        ("dark", (0,)),
        ("middle + pale", (1,)),
        ("", (2,)),
    ]
    assert not lost


def test_carried_classes_need_the_same_channels():
    gray, rgb = np.arange(30).reshape(5, 6), np.zeros((5, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="earlier must have the 1 channels of the model, got 3"):
        carry_classes(segment(gray, 3).model, segment(rgb, 1, rgb=True).model)
    floats = segment(gray / 30, 3).model
    with pytest.raises(ValueError, match="earlier must have the full brightness 1 of the model"):
        carry_classes(floats, segment(gray.astype(np.uint8), 3).model)


class TestClassesDecidePixels:
    """With the image, labels are those that the model with the edited classes gives."""

    options: ClassVar[dict[str, Any]] = {"min_confidence": 0.2, "smoothing": 1.0}
    image = data.coffee()[100:160, 100:180]

    @pytest.mark.parametrize("as_array", [np.asarray, da.from_array])
    def test_merged_classes(self, as_array):
        image, mask = as_array(self.image), np.arange(60)[:, None] > np.zeros(80) + 5
        seg = segment(image, 6, mask=mask, **self.options)
        classes = seg.model.classes.merge([2, 3, 4]).rename(2, "cup")
        edited = apply_classes(seg, classes, image=image, mask=mask)
        labels, recolored = seg.model.with_classes(classes).apply(self.image, mask=mask)
        np.testing.assert_array_equal(edited.labels, labels)
        np.testing.assert_array_equal(edited.recolored, recolored)
        assert (labels != np.asarray(apply_classes(seg, classes).labels)).any()
        table = edited.table
        assert table["name"].tolist() == ["", "cup", "", ""]
        assert table["pixels"].tolist() == [(labels == each).sum() for each in edited.model.labels]
        assert table["undecided"].sum() == (labels[mask] == 0).sum()
        means = [self.image[labels == each].mean(axis=0) for each in edited.model.labels]
        np.testing.assert_allclose(channel_means(table), means)
        assert table.attrs == seg.table.attrs
        # A later edit of the names keeps the means of the pixels.
        named = apply_classes(edited, edited.model.classes.rename(1, "dark")).table
        np.testing.assert_allclose(channel_means(named), means)

    def test_several_images(self):
        images = [self.image, self.image[:30]]
        seg = segment(images, 6, rgb=True, **self.options)
        classes = seg.model.classes.merge([2, 3])
        edited = apply_classes(seg, classes, image=images)
        for image, labels in zip(images, edited.labels, strict=True):
            np.testing.assert_array_equal(labels, edited.model.predict(image))
        n_left = sum(int((labels == 0).sum()) for labels in edited.labels)
        assert edited.table["undecided"].sum() == n_left
        with pytest.raises(ValueError, match=r"image must have the spatial shape of the labels, "):
            apply_classes(seg, classes, image=images[:1])

    def test_a_class_is_split(self):
        seg = segment(self.image, 4)
        merged = apply_classes(seg, seg.model.classes.merge([1, 2]))
        with pytest.raises(ValueError, match="classes must not split"):
            apply_classes(merged, seg.model.classes)
        again = apply_classes(merged, seg.model.classes, image=self.image)
        np.testing.assert_array_equal(again.labels, seg.labels)
        assert again.table.equals(seg.table)

    def test_labels_that_do_not_change_are_only_renumbered(self, monkeypatch):
        seg = segment(self.image, 4)
        monkeypatch.setattr(KMeansModel, "paint_and_count", None)
        apply_classes(seg, seg.model.classes.merge([1, 2]), image=self.image)
        cleaned = segment(self.image, 4, **self.options)
        apply_classes(cleaned, cleaned.model.classes.rename(1, "dark"), image=self.image)
