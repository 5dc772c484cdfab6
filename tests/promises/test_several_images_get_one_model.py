"""Several images get one model, fitted to the pixels of all of them."""

import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import segment, summarize

METHODS = ["full", "coreset"]
A, B = data.coffee()[:150, :220], data.chelsea()[100:180, 30:300]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lazy", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_several_images_are_clustered_like_all_their_pixels_in_one(dtype, lazy, method):
    images = [A.astype(dtype), B.astype(dtype)]
    both = np.concatenate([image.reshape(-1, 3) for image in images])
    start = both[::4000][:6].astype(float)
    variants = [da.from_array(im, chunks=60) if n in lazy else im for n, im in enumerate(images)]
    result = segment(variants, 6, rgb=True, method=method, init=start, coreset_size=10**5)
    expected = segment(both, 6, channel_axis=1, method=method, init=start, coreset_size=10**5)
    # A row of pixels is not an RGB image: its labels are ordered by the mean of the channels.
    labels_of_all = np.concatenate([np.asarray(labels).ravel() for labels in result.labels])
    assert len(set(zip(labels_of_all.tolist(), expected.labels.tolist(), strict=True))) == 6
    assert result.model.inertia_ == pytest.approx(expected.model.inertia_, rel=1e-9)
    assert result.table["pixels"].sum() == len(both)
    for number, (image, labels, recolored) in enumerate(
        zip(variants, result.labels, result.recolored, strict=True)
    ):
        assert type(labels) is type(recolored) is (da.Array if number in lazy else np.ndarray)
        assert labels.shape == image.shape[:2]
        assert recolored.shape == image.shape
        assert recolored.dtype == image.dtype


def test_mask_of_several_images_is_a_list_with_none_for_no_mask():
    mask = np.zeros(B.shape[:2], bool)
    mask[20:60] = True
    result = segment([A, B], 4, mask=[None, mask])
    assert result.labels[0].all()
    np.testing.assert_array_equal(result.labels[1] > 0, mask)
    alone = segment([A, B[20:60]], 4)
    np.testing.assert_array_equal(result.labels[0], alone.labels[0])


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_coreset_has_the_image_and_position_of_each_point(dtype):
    plane = np.zeros((30, 40), dtype)
    volume = np.random.default_rng(0).integers(1, 99, (3, 20, 30)).astype(dtype)
    coreset = segment([plane, da.from_array(volume, chunks=11)], 3, coreset_size=500).coreset
    assert coreset.positions.shape == (len(coreset.points), 3)
    assert set(coreset.images.tolist()) == {0, 1}
    for point, image, position in zip(
        coreset.points[:, 0], coreset.images, coreset.positions, strict=True
    ):
        value = plane[tuple(position[1:])] if image == 0 else volume[tuple(position)]
        assert value == point


def test_summary_of_several_images_gives_their_labels():
    summary = summarize((A, B))
    for k in (3, 5):
        again, fresh = segment([A, B], k, summary=summary), segment([A, B], k)
        for one, other in zip(again.labels, fresh.labels, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(
        ValueError, match=r"\(150, 220, 3\) and \(80, 270, 3\), got \(150, 220, 3\): summarize"
    ):
        segment(A, 3, summary=summary)


def test_list_of_one_image_gives_lists():
    result = segment([A], 3)
    np.testing.assert_array_equal(result.labels[0], segment(A, 3).labels)
    assert len(result.recolored) == 1


def test_nested_lists_and_lists_of_rows_are_one_image():
    rows = [np.array([1, 2, 9]), np.array([9, 1, 2])]
    for image in (rows, np.array(rows).tolist()):
        assert segment(image, 2).labels.tolist() == [[1, 1, 2], [2, 1, 1]]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([A, B / 255], {}, "image 1 must have the dtype of image 0, uint8, got float64"),
        ([A, A[..., 0]], {}, "image 1 must have the colors of image 0, rgb, got gray"),
        ([A, A[..., :2]], {"channel_axis": -1}, "image 0, 3 channels, got 2 channels"),
        ([A, np.zeros((0, 4, 3))], {"rgb": True}, "image 1: image must have at least one pixel"),
        ([A, B], {"mask": np.ones((150, 220))}, "each of 2 images, got one ndarray"),
        ([A, B], {"mask": [None]}, "each of 2 images, got 1 masks"),
        ([A, B], {"mask": [None, np.ones((5, 5))]}, "image 1: mask must have"),
    ],
)
def test_images_that_do_not_match_are_refused_in_one_sentence(images, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        segment(images, 2, **options)
    assert str(caught.value).count(". ") == 0


def test_images_may_differ_in_byte_order():
    gray = A[..., 0].astype("<u2")
    result = segment([gray, gray.astype(">u2")], 3)
    np.testing.assert_array_equal(*result.labels)
    assert [recolored.dtype.str for recolored in result.recolored] == ["<u2", ">u2"]
