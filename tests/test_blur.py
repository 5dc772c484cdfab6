"""The option `blur`: truth is scipy.ndimage.gaussian_filter on the whole image."""

from __future__ import annotations

import gc
import json
import pickle
import re
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2lab

from napari_kmeans import KMeansModel, merge_similar, segment, segment_slices, summarize
from napari_kmeans.feature_space.space import PLAIN, FeatureSpace
from napari_kmeans.imaging import blocks, drawing, tally
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.drawing import draw_pixels

COFFEE = data.coffee()[:90, :110]


def nearest(points, centers):
    """Return the label, from 1, of the nearest center of each point (..., F)."""
    return ((points[..., None, :] - centers) ** 2).sum(axis=-1).argmin(axis=-1) + 1


@pytest.mark.parametrize("sigma", [0.5, 2.0, (3.0, 0.0), 40.0])
@pytest.mark.parametrize("block_pixels", [300, 10**6])
def test_points_are_those_of_scipy_for_any_block(
    sigma, block_pixels, monkeypatch, blur, read_points
):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", block_pixels)
    mask = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.8
    space = FeatureSpace("lab", 255.0, blur=sigma)
    points = read_points(open_images(COFFEE, mask=mask), space)
    expected = rgb2lab(blur(COFFEE, sigma, mask) / 255)[mask]
    # 8-bit channels are summed in float32: their relative error is below 1e-6.
    np.testing.assert_allclose(points, expected, atol=1e-4)
    values = read_points(open_images(COFFEE, mask=mask), replace(space, color_space="rgb"))
    np.testing.assert_allclose(values, blur(COFFEE, sigma, mask)[mask], rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 2.0, (0.0, 3.0), 40.0])
@pytest.mark.parametrize("chunks", [(90, 110), (20, 33), (1, 110), ((40, 0, 3, 47), (110,))])
def test_chunks_of_any_size_give_the_same_bits(sigma, chunks, monkeypatch, read_points):
    mask = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.8
    spread = np.random.default_rng(1).random((90, 110)) * 1e3
    spread[3, 4], spread[50, 60] = np.nan, np.inf
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 700)
    for image, rest in ((COFFEE, (3,)), (spread, ())):
        space = FeatureSpace("rgb", 255.0, blur=sigma)
        lazy = da.from_array(image, chunks=(*chunks, *rest))
        whole = read_points(open_images(image, mask=mask), space)
        # The chunks are in another order than the pixels: compare the sorted points.
        points = read_points(open_images(lazy, mask=mask), space)
        for channel, expected in zip(points.T, whole.T, strict=True):
            np.testing.assert_array_equal(np.sort(channel), np.sort(expected))


@pytest.mark.parametrize("shape", [(90,), (60, 70), (12, 20, 30), (5, 6, 12, 13)])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "f4", "f8", "i8"])
def test_pixels_far_from_a_hole_have_the_bits_of_an_image_without_it(
    shape, dtype, monkeypatch, blur, read_points
):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (*shape, 2)).astype(dtype)
    mask = np.ones(shape, bool)
    mask.flat[5] = False
    space = FeatureSpace("rgb", 1.0, blur=(1.3, 2.0, 0.0, 0.8)[: len(shape)])
    expected = blur(image, space.sigmas(len(shape)), mask)[mask]
    results = []
    for block_pixels in (10**6, 200):
        monkeypatch.setattr(blocks, "BLOCK_PIXELS", block_pixels)
        for chunks in (None, 7):
            array = image if chunks is None else da.from_array(image, (*(chunks,) * len(shape), 2))
            pixels = open_images(array, mask=mask, channel_axis=-1)
            results.append(read_points(pixels, space))
            in_order = [np.sort(points, axis=0) for points in results]
            np.testing.assert_array_equal(in_order[-1], in_order[0])
    np.testing.assert_allclose(results[0], expected, rtol=1e-6)


@pytest.mark.parametrize("value", [np.uint8(255), np.float16(65504), np.float32(3.4e38), 2**32 - 1])
def test_the_largest_values_do_not_overflow(value, read_points):
    image = np.full((20, 30), value)
    points = read_points(open_images(image), FeatureSpace("rgb", 1.0, blur=3.0))
    assert points.astype(float).tolist() == [[float(value)]] * 600


def test_pixels_of_one_color_have_one_point(read_points):
    image = np.full((50, 60, 3), [0.1, 77, 1e6])
    image[20:, :] = np.nan
    space = FeatureSpace("rgb", 255.0, blur=3.0)
    assert len(np.unique(read_points(open_images(image, rgb=True), space), axis=0)) == 1


@pytest.mark.parametrize("sigma", [0.7, 2.0, 11.0, 100.0])
@pytest.mark.parametrize("has_hole", [False, True])
def test_8_bit_pixels_of_one_color_have_this_color(sigma, has_hole, read_points):
    image = np.full((70, 60, 3), [1, 77, 253], np.uint8)
    mask = np.ones(image.shape[:2], bool)
    mask[10:30, 20:40] = not has_hole
    points = read_points(open_images(image, mask=mask), FeatureSpace("rgb", 255.0, blur=sigma))
    assert np.unique(points, axis=0).tolist() == [[1, 77, 253]]


def test_large_images_are_sampled_on_a_grid_for_any_chunks(monkeypatch, blur):
    monkeypatch.setattr(drawing, "_PIXELS_PER_DRAWN", 1)
    monkeypatch.setattr(drawing, "_LEAST_PIXELS_PER_DRAWN", 0.5)
    image = np.tile(data.coffee(), (2, 2, 1))
    mask = np.ones(image.shape[:2], bool)
    mask[:100, 200:] = False
    space = FeatureSpace("rgb", 255.0, blur=2.5)
    drawn = draw_pixels(open_images(image, mask=mask), 10_000, 10_000, space, [0])
    places = np.stack(np.unravel_index(drawn.indices, mask.shape), axis=-1)
    assert (places % 5 == 2).all()
    assert mask[tuple(places.T)].all()
    blurred = blur(image, 2.5, mask)
    np.testing.assert_allclose(drawn.values, blurred[tuple(places.T)], rtol=1e-6)
    assert drawn.weights.sum() == pytest.approx(mask.sum(), rel=0.01)
    # The sample is drawn without bias: its weighted mean is that of all pixels.
    mean = drawn.weights @ drawn.values / drawn.weights.sum()
    np.testing.assert_allclose(mean, blurred[mask].mean(axis=0), rtol=0.02)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 3000)
    for chunks in ((97, 301, 3), (3, 1200, 3)):
        lazy = open_images(da.from_array(image, chunks), mask=mask)
        other = draw_pixels(lazy, 10_000, 10_000, space, [0])
        for own, expected in zip(other, drawn, strict=True):
            np.testing.assert_array_equal(own, expected)


def test_all_pixels_are_sampled_where_few_are_inside_the_mask(monkeypatch):
    monkeypatch.setattr(drawing, "_PIXELS_PER_DRAWN", 1)
    mask = np.zeros(COFFEE.shape[:2], bool)
    mask[20:40, 30:50] = True
    space = FeatureSpace("rgb", 255.0, blur=2.0)
    drawn = draw_pixels(open_images(COFFEE, mask=mask), 200, 200, space, [0])
    assert drawn.weights.sum() == pytest.approx(400)
    assert len(drawn.values) >= 200


def listing_reads(reads):
    """Return COFFEE as a dask array that adds the place of each chunk to a list when it is read."""

    def read(block_id):
        reads.append(block_id)
        start = tuple(30 * number for number in block_id[:2])
        return COFFEE[start[0] : start[0] + 30, start[1] : start[1] + 30]

    sizes = (30, 30, 30), (30, 30, 30, 20), (3,)
    return da.map_blocks(read, chunks=sizes, dtype="u1", meta=np.empty((0, 0, 0), "u1"))


@pytest.mark.parametrize(("limit", "n_reads"), [(2**20, 0), (100, 12)])
def test_labels_of_a_dask_image_are_kept_while_they_are_small(limit, n_reads, monkeypatch):
    monkeypatch.setattr(tally, "_KEPT_BYTES", limit)
    reads = []
    lazy = listing_reads(reads)
    mask = COFFEE[..., 0] > 60
    seg = segment(lazy, 4, blur=2, mask=mask)
    reads.clear()
    expected = segment(COFFEE, 4, blur=2, mask=mask)
    np.testing.assert_array_equal(seg.labels.compute(scheduler="sync"), expected.labels)
    assert len(reads) == n_reads
    np.testing.assert_array_equal(seg.recolored.compute(), expected.recolored)


def test_an_image_is_not_read_again_to_recolor_all_pixels_by_kept_labels():
    reads = []
    seg = segment(listing_reads(reads), 4, blur=2)
    reads.clear()
    recolored = seg.recolored.compute()
    assert reads == []
    np.testing.assert_array_equal(recolored, segment(COFFEE, 4, blur=2).recolored)


def test_kept_labels_are_counted_until_they_are_deleted(monkeypatch):
    monkeypatch.setattr(tally, "_KEPT_BYTES", COFFEE[..., 0].size)
    gc.collect()
    lazy = da.from_array(COFFEE, (50, 50, 3))
    results = [segment(lazy, 2, blur=2).labels for _ in range(2)]
    n_kept = len(tally._kept_labels)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(results[0])), results[0])
    del results
    gc.collect()
    assert (n_kept, len(tally._kept_labels)) == (1, 0)


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("options", [{}, {"color_space": "lab"}, {"normalize": "zscore"}])
def test_labels_are_those_of_the_nearest_center_of_the_blurred_image(method, options, blur):
    mask = np.ones(COFFEE.shape[:2], bool)
    mask[10:40, 20:90] = False
    seg = segment(COFFEE, 4, blur=2, method=method, mask=mask, **options)
    points = blur(COFFEE, 2, mask)
    if options == {"color_space": "lab"}:
        points = rgb2lab(points / 255)
    if "normalize" in options:
        inside = points[mask]
        points = (points - inside.mean(axis=0)) / inside.std(axis=0)
    expected = np.where(mask, nearest(points, seg.model.cluster_centers_), 0)
    np.testing.assert_array_equal(seg.labels, expected)
    # The table and the palette are of the original pixels.
    means = [COFFEE[seg.labels == label].mean(axis=0) for label in range(1, 5)]
    np.testing.assert_allclose(seg.model.palette, means)
    counts = np.bincount(seg.labels.ravel(), minlength=5)[1:]
    np.testing.assert_array_equal(seg.table["pixels"], counts)
    lazy = da.from_array(COFFEE, chunks=(31, 47, 3))
    other = segment(lazy, 4, blur=2, method=method, mask=mask, **options)
    np.testing.assert_array_equal(np.asarray(other.labels), seg.labels)
    np.testing.assert_array_equal(np.asarray(other.recolored), seg.recolored)
    np.testing.assert_array_equal(seg.model.predict(COFFEE, mask=mask), seg.labels)
    np.testing.assert_array_equal(seg.model.predict(lazy, mask=mask), seg.labels)


def test_full_fit_has_the_cost_of_scikit_learn(blur):
    from sklearn.cluster import KMeans

    points = blur(COFFEE, 1.5).reshape(-1, 3)
    expected = KMeans(4, n_init=20, random_state=0).fit(points).inertia_
    assert segment(COFFEE, 4, blur=1.5, method="full").model.inertia_ <= expected * 1.001


@pytest.mark.parametrize("method", ["coreset", "full"])
def test_several_images_are_blurred_one_by_one(method, blur):
    images = [COFFEE, COFFEE[::-1, :70].copy()]
    seg = segment(images, 4, blur=2, method=method)
    for image, labels in zip(images, seg.labels, strict=True):
        np.testing.assert_array_equal(labels, nearest(blur(image, 2), seg.model.cluster_centers_))


def test_slices_are_not_blurred_into_each_other():
    stack = np.stack([COFFEE, 255 - COFFEE])
    seg = segment_slices(stack, 3, blur=2)
    for number, image in enumerate(stack):
        alone = segment(image, 3, blur=2)
        np.testing.assert_array_equal(seg.recolored[number], alone.recolored)


def test_volume_is_blurred_along_the_given_axes(blur):
    volume = np.random.default_rng(0).random((6, 40, 50))
    seg = segment(volume, 3, blur=(0, 2, 1))
    points = blur(volume[..., None], (0, 2, 1))
    np.testing.assert_array_equal(seg.labels, nearest(points, seg.model.cluster_centers_))


def test_alpha_and_infinite_pixels_do_not_contribute(blur):
    image = np.concatenate([COFFEE / 255, np.ones((90, 110, 1))], axis=-1)
    image[5:9, 5:9] = np.inf
    image[30:40, 30:40, 3] = 0
    seg = segment(image, 3, blur=3, rgb=True)
    kept = np.isfinite(image).all(axis=-1) & (image[..., 3] != 0)
    colors = np.where(kept[..., None], image[..., :3], 0)
    expected = nearest(blur(colors, 3, kept), seg.model.cluster_centers_)
    np.testing.assert_array_equal(seg.labels, np.where(kept, expected, 0))


def test_saved_model_keeps_the_blur_and_an_earlier_program_refuses_it(tmp_path):
    model = segment(COFFEE, 3, blur=(1, 2)).model
    model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    assert loaded.blur == (1, 2)
    np.testing.assert_array_equal(loaded.predict(COFFEE), model.predict(COFFEE))
    # Version 0.1.0 opens models of version 1 only.
    assert json.loads((tmp_path / "model.json").read_text())["version"] == 2
    assert segment(COFFEE, 3).model.to_dict()["version"] == 1
    assert "blur" not in segment(COFFEE, 3).model.to_dict()


@pytest.mark.parametrize("wrong", ["2", -1, [], [1, "x"], [[1]], [[1, 2], [3]], 1e9, None, True])
def test_model_with_a_wrong_blur_is_refused(wrong):
    values = segment(COFFEE, 3, blur=1).model.to_dict()
    with pytest.raises(ValueError, match="blur must be a number from 0"):
        KMeansModel.from_dict({**values, "blur": wrong})


def test_blur_of_other_axes_is_refused():
    message = re.escape("blur must have a number for each of the image's 2 spatial axes, got 3")
    with pytest.raises(ValueError, match=message):
        segment(COFFEE, 3, blur=(1, 2, 3))
    model = segment(COFFEE, 3, blur=(1, 2)).model
    with pytest.raises(ValueError, match=r"3 spatial axes, got 2"):
        model.predict(COFFEE[None])


def test_summary_serves_the_same_blur_only():
    for method in ("coreset", "full"):
        summary = summarize(COFFEE, blur=2, method=method)
        seg = segment(COFFEE, 4, blur=2, method=method, summary=summary)
        expected = segment(COFFEE, 4, blur=2, method=method)
        np.testing.assert_array_equal(seg.labels, expected.labels)
        with pytest.raises(ValueError, match=r"blur must be 2\.0"):
            segment(COFFEE, 4, blur=1, method=method, summary=summary)
    with pytest.raises(ValueError, match=r"blur must be 0\.0"):
        segment(COFFEE, 4, blur=1, summary=summarize(COFFEE))


def test_merged_clusters_keep_the_blur():
    seg = segment(COFFEE, 8, blur=2)
    merged = merge_similar(seg, distance=15)
    np.testing.assert_array_equal(merged.model.predict(COFFEE), merged.labels)


def test_plain_space_with_blur_is_not_pointwise():
    assert PLAIN.is_pointwise
    assert not FeatureSpace("rgb", 1.0, blur=(0.0, 1.0)).is_pointwise
    assert FeatureSpace("rgb", 1.0, blur=(0.0, 0.0)).is_pointwise


@pytest.mark.parametrize("sides", [40, 5])
def test_error_names_the_chunk_that_cannot_be_read(sides):
    def read(block_id):
        if block_id == (1, 0):
            raise OSError("disk is gone")
        return np.ones((sides, sides)) * sum(block_id)

    lazy = da.map_blocks(read, chunks=((sides,) * 3,) * 2, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(OSError, match=r"chunk \[.*\] of the image cannot be read") as caught:
        segment(lazy, 2, blur=2)
    # Chunks that are shorter than the radius, 8, are read together.
    expected = "[40:80, 0:40]" if sides == 40 else "[0:15, 0:15]"
    assert f"chunk {expected}" in str(caught.value)


def test_small_image_and_large_radius_need_little_memory(blur, read_points):
    # Padded along all axes at once, this image would have 800^5 pixels.
    image = np.random.default_rng(0).random((3, 2, 4, 3, 5))
    space = FeatureSpace("rgb", 1.0, blur=100.0)
    points = read_points(open_images(image), space)
    np.testing.assert_allclose(points[:, 0], blur(image[..., None], 100).ravel(), rtol=1e-9)
