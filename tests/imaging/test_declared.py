"""Test dask arrays with chunks of another dtype or shape than declared: same result or error."""

import dask
import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import merge_clusters, segment, segment_slices, summarize
from napari_kmeans.imaging.chunks import ChunkError
from napari_kmeans.imaging.declared import as_declared

PAIRS = [
    ("f8", "f4"), ("f4", "f8"), ("f8", "u1"), ("u1", "f8"), ("u1", ">f4"), ("u1", "i8"),
    ("u2", ">u2"), (">u2", "u2"), (">u2", ">u2"), (">f8", "f8"), ("i8", "u1"), ("?", "u1"),
    ("?", "f4"), ("u1", "?"),
]  # fmt: skip
"""Pairs of the dtype that an array declares and the dtype of its chunks."""


def as_type(dtype):
    """Return a function that casts a chunk, as a closure: workers cannot import the tests."""

    def cast(block):
        return block.astype(dtype)

    return cast


def picture(declared, held):
    """Return an image as a numpy array, and as a dask array with chunks of another dtype."""
    image = data.coffee()[100:160, 200:270]
    image = image > 100 if "?" in (declared, held) else image
    image = image.astype(declared)
    lazy = da.from_array(image, chunks=(20, 30, 2))
    meta = np.empty((0, 0, 0), declared)
    return image, lazy.map_blocks(as_type(held), dtype=declared, meta=meta)


def assert_same(lazy, expected):
    """Check that labels and recolored image equal numpy's and have the declared dtype."""
    for name in ("labels", "recolored"):
        lazy_result, numpy_result = getattr(lazy, name), getattr(expected, name)
        computed = lazy_result.compute()
        assert lazy_result.dtype == computed.dtype == numpy_result.dtype
        np.testing.assert_array_equal(computed, numpy_result)


@pytest.mark.filterwarnings("ignore:n_clusters")
@pytest.mark.parametrize("method", ["full", "coreset"])
@pytest.mark.parametrize(("declared", "held"), PAIRS)
def test_chunks_of_another_dtype_give_result_of_numpy(declared, held, method):
    image, lazy = picture(declared, held)
    options = {"rgb": True, "method": method, "init": image[5::17, 7].astype(float)}
    with dask.config.set(scheduler="threads"):
        lazy_result, numpy_result = segment(lazy, 4, **options), segment(image, 4, **options)
        labels, recolored = numpy_result.model.apply(lazy)
        expected = numpy_result.model.apply(image)
        for lazy_array, numpy_array in zip((labels, recolored), expected, strict=True):
            assert lazy_array.dtype == lazy_array.compute().dtype == numpy_array.dtype
            np.testing.assert_array_equal(lazy_array.compute(), numpy_array)
        assert_same(lazy_result, numpy_result)


@pytest.mark.parametrize(("declared", "held"), [("f8", "f4"), ("u1", "f8"), (">u2", ">u2")])
def test_cluster_gives_result_of_numpy_for_chunks_of_another_dtype(client, declared, held):
    image, lazy = picture(declared, held)
    options = {"rgb": True, "method": "full", "init": image[5::17, 7].astype(float)}
    assert_same(segment(lazy, 4, **options), segment(image, 4, **options))


@pytest.mark.parametrize("inline", [False, True])
def test_big_endian_values_are_kept_on_cluster(client, inline):
    image = data.coffee()[100:160, 200:270].astype(">u2") * 200
    lazy = da.from_array(image, chunks=(20, 30, 3), inline_array=inline)
    options = {"rgb": True, "method": "full", "init": image[5::17, 7].astype(float)}
    lazy_result, numpy_result = segment(lazy, 4, **options), segment(image, 4, **options)
    np.testing.assert_array_equal(lazy_result.recolored.compute(), numpy_result.recolored)
    np.testing.assert_array_equal(lazy_result.labels.compute(), numpy_result.labels)


@pytest.mark.parametrize(("declared", "held"), [(">u2", ">u2"), ("u1", "f8")])
def test_slices_and_merged_clusters_give_result_of_numpy(declared, held):
    image, lazy = picture(declared, held)
    lazy_result, numpy_result = segment(lazy, 6, rgb=True), segment(image, 6, rgb=True)
    groups = [0, 0, 1, 1, 2, 2]
    assert_same(merge_clusters(lazy_result, groups), merge_clusters(numpy_result, groups))
    stack, lazy_stack = np.stack([image, 255 - image]), da.stack([lazy, 255 - lazy])
    lazy_result = segment_slices(lazy_stack, 3, rgb=True)
    assert_same(lazy_result, segment_slices(stack, 3, rgb=True))


@pytest.mark.parametrize("held", ["u1", "f4", ">i4"])
def test_mask_of_any_dtype_includes_nonzero_pixels(held):
    image, lazy = picture("u1", "u1")
    mask = np.random.default_rng(0).random(image.shape[:2]) < 0.8
    numbers = da.from_array(mask * 255, chunks=(25, 30))
    lazy_mask = numbers.map_blocks(as_type(held), dtype=bool, meta=np.empty((0, 0), bool))
    expected = segment(image, 3, rgb=True, mask=mask)
    assert_same(segment(lazy, 3, rgb=True, mask=lazy_mask), expected)
    np.testing.assert_array_equal(segment(image, 3, rgb=True, mask=lazy_mask).labels == 0, ~mask)


# ------------------------------------------- values that the dtype cannot hold


def one_chunk(values, declared):
    """Return a row of pixels in two chunks; the second chunk has `values` in their own dtype."""
    values = np.asarray(values)
    lazy = da.from_array(np.arange(2 * len(values)) % 2, chunks=len(values))

    def swap(block, block_id):
        return values if block_id == (1,) else block.astype(declared)

    return lazy.map_blocks(swap, dtype=declared, meta=np.empty(0, declared))


REFUSED = [
    ("u1", [0.0, 0.5], "0.5 in float64"),
    ("u1", [0, 256], "256 in int64"),
    ("u1", np.array([3, -1], "i1"), "-1 in int8"),
    ("i8", [1.0, 2.0**63], "9.22337.*e.18 in float64"),
    ("u8", [1.0, -1.0], "-1.0 in float64"),
    ("i4", [1.0, np.nan], "nan in float64"),
    ("?", np.array([0, 2], "u1"), "2 in uint8"),
    ("?", [1.0, 1.5], "1.5 in float64"),
    ("f4", [0, 2**24 + 1], "16777217 in int64"),
    ("f8", [0, 2**63 - 1], "9223372036854775807 in int64"),
    ("f2", [1.0, 70000.0], "70000.0 in float64"),
    ("f8", [1j, 2j], "1j in complex128"),
]


@pytest.mark.parametrize(("declared", "values", "got"), REFUSED)
def test_value_that_declared_dtype_cannot_hold_is_refused(declared, values, got):
    with pytest.raises(ChunkError, match=got) as caught:
        as_declared(one_chunk(values, declared)).compute()
    message = str(caught.value)
    assert message.startswith("chunk [2:4] of the image must have values that the declared dtype")
    assert message.count(". ") == 0
    assert message.endswith(".")


KEPT = [
    ("u8", [0.0, 2.0**63]), ("i8", [-(2.0**63), 5.0]), ("f4", [0, 2**24]), ("f8", [0, -(2**63)]),
    ("f2", [np.nan, np.inf]), ("f2", [0.1, 6e-9]), ("u2", np.array([7, 65535], ">i4")),
    ("?", [0.0, 1.0]),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "values"), KEPT)
def test_values_that_declared_dtype_can_hold_are_kept(declared, values):
    chunk = as_declared(one_chunk(values, declared))[2:].compute()
    assert chunk.dtype == declared
    np.testing.assert_array_equal(chunk, np.asarray(values).astype(declared))


def test_errors_of_fit_and_painting_name_the_chunk():
    lazy = one_chunk([0.5, 1.0], "u1")
    with pytest.raises(ChunkError, match=r"^chunk \[2:4\] of the image must have values.* 0\.5 "):
        segment(lazy, 2)
    model = segment(np.arange(9, dtype=np.uint8), 2).model
    labels, recolored = model.apply(lazy)
    assert labels[:2].compute().tolist() == [1, 1]
    for painted in (labels, recolored):
        with pytest.raises(ChunkError, match=r"^chunk \[2:4\] of the image"):
            painted.compute()
    with pytest.raises(ChunkError, match=r"^image 1: chunk \[0:1, 2:4\] of the image") as caught:
        summarize([lazy[None, :2], lazy[None]])
    assert str(caught.value).count(". ") == 0


def test_error_on_cluster_names_the_chunk(client):
    image, lazy = picture("u1", "f8")
    broken = (lazy + 0.25).map_blocks(as_type("f8"), dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with pytest.raises(ChunkError, match=r"^chunk \[\d+:\d+, \d+:\d+, \d:\d\] of the image must"):
        segment(broken, 3, rgb=True)
    assert segment(image, 3, rgb=True).model.n_clusters == 3


@pytest.mark.parametrize("returned", [(20, 10, 3), (40, 30, 3), (20, 30), (20, 30, 1)])
@pytest.mark.parametrize("axis", [None, 0])
def test_error_names_chunk_of_another_shape(returned, axis):
    image = data.coffee()[:60, :90]
    lazy = da.from_array(image, chunks=(20, 30, 3))

    def reshape(block, block_id):
        return np.ones(returned, np.uint8) if block_id == (1, 2, 0) else block

    broken = lazy.map_blocks(reshape, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    options = {"rgb": True}
    if axis == 0:
        options = {"channel_axis": 2}
    match = r"^chunk \[20:40, 60:90, 0:3\] of the image must have the shape \(20, 30, 3\), got "
    with pytest.raises(ChunkError, match=match):
        segment(broken, 3, **options)
    with pytest.raises(ChunkError, match=match):
        segment(image, 3, **options).model.apply(broken)[1].compute()


def test_error_names_mask_chunk_of_another_shape():
    image = data.coffee()[:60, :90]
    lazy = da.from_array(image, chunks=(20, 30, 3))
    mask = da.ones((60, 90), chunks=(30, 45))
    broken = mask.map_blocks(lambda block: block[:-1], dtype=bool, meta=np.empty((0, 0), bool))
    for array in (lazy, image):
        with pytest.raises(ChunkError, match=r"of the mask must have the shape \(30, 45\), got"):
            segment(array, 3, mask=broken)
