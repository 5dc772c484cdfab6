"""Multiscale and lazy layers: the level that is fitted, the levels painted, the chunks read."""

from __future__ import annotations

import itertools
import json

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from napari.utils import resize_dask_cache

from napari_kmeans import KMeansModel, segment, segment_layer
from napari_kmeans.imaging.blocks import as_lazy
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.objects_work import ObjectsWork
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers import source as source_module
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import Source, default_level
from napari_kmeans.viewer.from_layers.view import camera_of
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.label_area import finest_size
from napari_kmeans.viewer.to_layers.layers import coreset_layer, labels_layer
from napari_kmeans.viewer.to_layers.update import find_result, update_layer

PLACE = {"scale": (2, 0.5), "translate": (10, -3), "rotate": 30, "units": ("mm", "mm")}
CHUNKS = (32, 40, 3)


@pytest.fixture
def pyramid(quadrants):
    """Three levels of four colors: 160 by 168, 80 by 84 and 40 by 42 pixels."""
    finest = quadrants.repeat(8, axis=0).repeat(8, axis=1)
    return [finest, finest[::2, ::2], finest[::4, ::4]]


@pytest.fixture
def truth(quadrant_labels):
    finest = quadrant_labels.repeat(8, axis=0).repeat(8, axis=1)
    return [finest, finest[::2, ::2], finest[::4, ::4]]


class ReadLog:
    """A log of the chunks that lazy arrays read."""

    def __init__(self):
        self.chunks = []

    def lazy(self, array, chunks, name):
        def load(chunk, block_info=None):
            self.chunks.append((name, block_info[0]["chunk-location"]))
            return chunk

        meta = np.empty((0,) * array.ndim, array.dtype)
        return da.from_array(array, chunks=chunks).map_blocks(load, dtype=array.dtype, meta=meta)

    def levels(self):
        return {name for name, _ in self.chunks}


def check_equal(levels, expected):
    assert len(levels) == len(expected)
    for level, values in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(level, values)


def record_in(layer):
    return layer.metadata[METADATA_KEY]


# --------------------------------------------------------------- several levels


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_all_levels_are_painted_by_the_model_of_the_fitted_level(pyramid, truth, level, lazy):
    data = [da.from_array(each, chunks=CHUNKS) for each in pyramid] if lazy else pyramid
    layer = Image(data, multiscale=True, rgb=True, name="slide", **PLACE)
    labels, recolored = segment_layer(layer, 4, level=level)
    assert labels.multiscale
    assert recolored.multiscale
    assert recolored.rgb
    assert all(isinstance(each, da.Array) == lazy for each in [*labels.data, *recolored.data])
    check_equal(labels.data, truth)
    model = segment(pyramid[level], 4, rgb=True).model
    assert record_in(labels)["model"] == model.to_dict()
    check_equal(recolored.data, [np.rint(model.palette)[each - 1] for each in truth])
    for result in (labels, recolored):
        np.testing.assert_allclose(result.extent.world, layer.extent.world)
        assert result.units == layer.units
        assert record_in(result)["level"] == level
    assert labels.features["pixels"].sum() == truth[level].size


def test_metadata_contain_all_that_a_run_needs(pyramid):
    layer = Image(pyramid, multiscale=True, rgb=True)
    labels, _ = segment_layer(layer, 3, level=1, random_state=4)
    assert json.loads(json.dumps(record_in(labels))) == record_in(labels)
    known = record_in(labels)
    again, _ = segment_layer(layer, **known["options"], level=known["level"], stack=known["stack"])
    check_equal(again.data, labels.data)
    model = KMeansModel.from_dict(known["model"])
    check_equal(labels.data, [model.predict(each) for each in pyramid])


SIZES = [(40_000, 30_000), (20_000, 15_000), (2_000, 2_000), (1_999, 2_000), (500, 500)]


@pytest.mark.parametrize(
    ("shapes", "stack", "method", "level"),
    [
        (SIZES, "whole", "coreset", 2),
        (SIZES, "whole", "full", 0),
        (SIZES[3:], "whole", "coreset", 0),
        ([(9, *shape) for shape in SIZES], "whole", "coreset", 3),
        ([(9, *shape) for shape in SIZES], "each", "coreset", 2),
        ([(9, *shape) for shape in SIZES], (4, None, None), "coreset", 2),
        ([(9, *shape) for shape in SIZES], (None, 4, None), "coreset", 0),
        ([(3000, *shape) for shape in SIZES], (None, 4, None), "coreset", 3),
    ],
)
def test_default_level_is_the_coarsest_of_four_million_pixels(shapes, stack, method, level):
    assert default_level(shapes, stack, method) == level


def test_run_without_a_level_fits_the_default_level(pyramid, monkeypatch):
    layer = Image(pyramid, multiscale=True, rgb=True)
    monkeypatch.setattr(source_module, "ENOUGH_PIXELS", pyramid[1][..., 0].size)
    assert record_in(segment_layer(layer, 4)[0])["level"] == 1
    assert record_in(segment_layer(layer, 4, method="full")[0])["level"] == 0


@pytest.mark.parametrize("level", [3, -1, 0.5, 1.0, True, "2"])
def test_missing_level_is_refused(pyramid, level):
    layer = Image(pyramid, multiscale=True, rgb=True)
    wanted = "level must be a whole number from 0 to 2, got"
    with pytest.raises((TypeError, ValueError), match=wanted):
        segment_layer(layer, 4, level=level)


def test_coreset_positions_are_in_pixels_of_the_finest_level(pyramid, truth):
    layer = Image(pyramid, multiscale=True, rgb=True, **PLACE)
    task = Task.of(
        [layer], Options(n_clusters=4, coreset_size=30), mask=None, level=2, stack="whole"
    )
    outcome = task.run()
    points = coreset_layer(outcome, task.source)
    fitted = tuple(outcome.coreset.positions.T)
    # A pixel of level 2 covers four pixels of the finest level, 0 to 3: its center is at 1.5.
    np.testing.assert_allclose(points.data % 4, 1.5)
    np.testing.assert_array_equal(points.features["index"], truth[2][fitted])
    np.testing.assert_allclose(points.data, outcome.coreset.positions * 4 + 1.5)
    np.testing.assert_allclose(points.data_to_world([3, 4]), layer.data_to_world([3, 4]))


def test_progress_covers_all_levels(pyramid):
    seen = []
    layer = Image(pyramid, multiscale=True, rgb=True)
    segment_layer(layer, 4, level=2, progress=lambda *steps: seen.append(steps))
    done = [each for each, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (1000, 1000)
    # The fit counts 4 for each pixel of the coarsest level: 4 of 4 + 4 + 16 units.
    assert done[0] < 4 / 24 * 1000 < done[-2]


# ----------------------------------------------------------------- in place


def results(layer, n_clusters, **options):
    return segment_layer(layer, n_clusters, **options)


@pytest.mark.parametrize("lazy", [False, True])
def test_multiscale_results_are_updated_in_place(pyramid, truth, lazy):
    data = [da.from_array(each, chunks=CHUNKS) for each in pyramid] if lazy else pyramid
    layer = Image(data, multiscale=True, rgb=True)
    viewer = ViewerModel()
    before = [viewer.add_layer(each) for each in results(layer, 2, level=2)]
    layer.scale = (3, 0.5)
    new = results(layer, 4, level=1)
    for result, earlier in zip(new, before, strict=True):
        assert find_result(viewer.layers, result) is earlier
        update_layer(earlier, result)
        np.testing.assert_allclose(earlier.extent.world, layer.extent.world)
    check_equal(before[0].data, truth)
    assert before[0].features["index"].tolist() == [1, 2, 3, 4]
    assert set(before[0].colormap.color_dict) == {None, 0, 1, 2, 3, 4}
    assert record_in(before[0])["level"] == 1


def test_multiscale_results_do_not_replace_others(pyramid):
    layer = Image(pyramid, multiscale=True, rgb=True)
    several = results(layer, 2)
    single = Image(pyramid[0], rgb=True)
    one = results(single, 2)
    for each in (*one, *several):
        record_in(each)["source_id"] = "the same"
    for ours, others in ((one, several), (several, one)):
        for result in ours:
            assert find_result(others, result) is None


# --------------------------------------------------------------------- masks


def at_pixel_centers(mask, shape):
    """Return a mask at the center of each pixel of a level, computed pixel by pixel."""
    levels = np.empty(shape, mask.dtype)
    for index in np.ndindex(*shape):
        place = (np.array(index) + 0.5) * np.array(mask.shape) / shape
        levels[index] = mask[tuple(np.floor(place).astype(int))]
    return levels


@pytest.mark.parametrize("kind", ["array", "labels", "lazy array", "lazy labels", "zarr labels"])
def test_mask_of_the_finest_level_applies_to_all_levels(pyramid, truth, kind):
    rng = np.random.default_rng(0)
    mask = (rng.random((160, 168)) < 0.7).astype(np.uint8) * 3
    given = da.from_array(mask, chunks=50) if "lazy" in kind else mask
    if "zarr" in kind:
        given = zarr.array(mask, chunks=(50, 50))
    layer = Image(pyramid, multiscale=True, rgb=True)
    masked = Labels(given) if "labels" in kind else given
    labels, recolored = segment_layer(layer, 4, mask=masked, level=1)
    for data, painted, original, whole in zip(
        labels.data, recolored.data, pyramid, truth, strict=True
    ):
        inside = at_pixel_centers(mask, data.shape) > 0
        np.testing.assert_array_equal(data, np.where(inside, whole, 0))
        np.testing.assert_array_equal(painted[~inside], original[~inside])


def test_levels_of_odd_sizes_take_the_mask_at_pixel_centers(quadrants):
    finest = quadrants.repeat(3, axis=0)[:53]
    layer = Image([finest, finest[::3, ::2], finest[::7, ::5]], multiscale=True, rgb=True)
    mask = np.random.default_rng(0).random((53, 21)) < 0.5
    labels, _ = segment_layer(layer, 2, mask=mask, level=0)
    check_equal(
        [each > 0 for each in labels.data], [at_pixel_centers(mask, e.shape) for e in labels.data]
    )


def test_mask_of_the_same_number_of_levels_applies_level_by_level(pyramid, truth):
    masks = [np.zeros(each.shape, int) for each in truth]
    masks[0][:10], masks[1][:, :30], masks[2][5:] = 1, 2, 3
    layer = Image(pyramid, multiscale=True, rgb=True)
    labels, _ = segment_layer(layer, 4, mask=Labels(masks, multiscale=True), level=2)
    check_equal(labels.data, [np.where(m, t, 0) for m, t in zip(masks, truth, strict=True)])


def test_mask_of_another_number_of_levels_applies_by_its_finest_level(pyramid, truth):
    mask = np.zeros((160, 168), int)
    mask[40:, 8:] = 1
    drawn = Labels([mask, mask[::8, ::8] * 0 + 1], multiscale=True)
    layer = Image(pyramid, multiscale=True, rgb=True)
    labels, _ = segment_layer(layer, 4, mask=drawn)
    expected = [mask, mask[::2, ::2], mask[::4, ::4]]
    check_equal(labels.data, [np.where(m, t, 0) for m, t in zip(expected, truth, strict=True)])


def test_mask_of_another_shape_is_refused(pyramid):
    layer = Image(pyramid, multiscale=True, rgb=True)
    with pytest.raises(ValueError, match=r"mask must .* \(160, 168\), got \(80, 84\)"):
        segment_layer(layer, 4, mask=np.ones((80, 84)), level=1)


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_on_other_pixels_mask_all_levels_where_they_are_seen(pyramid, truth, lazy):
    data = [da.from_array(each, chunks=CHUNKS) for each in pyramid] if lazy else pyramid
    layer = Image(data, multiscale=True, rgb=True)
    drawn = np.random.default_rng(0).integers(0, 2, (40, 42))
    mask = Labels(drawn, scale=(4, 4), translate=(1.5, 1.5))
    labels, _ = segment_layer(layer, 4, mask=mask, level=2)
    masks = [drawn.repeat(n, axis=0).repeat(n, axis=1) for n in (4, 2, 1)]
    check_equal(labels.data, [np.where(m, t, 0) for m, t in zip(masks, truth, strict=True)])


@pytest.mark.parametrize("lazy", [False, True])
def test_shapes_are_drawn_on_all_levels(pyramid, truth, lazy):
    data = [da.from_array(each, chunks=CHUNKS) for each in pyramid] if lazy else pyramid
    layer = Image(data, multiscale=True, rgb=True, **PLACE)
    corners = np.array([[8.9, 21.1], [8.9, 98.7], [118.2, 98.7], [118.2, 21.1]])
    outline = np.array([layer.data_to_world(corner) for corner in corners])
    labels, _ = segment_layer(layer, 4, mask=Shapes([outline], shape_type="polygon"), level=2)
    for factor, drawn, whole in zip((1, 2, 4), labels.data, truth, strict=True):
        # The centers of the pixels, in pixels of the finest level.
        rows, columns = (np.indices(whole.shape) + 0.5) * factor - 0.5
        inside = (rows > 8.9) & (rows < 118.2) & (columns > 21.1) & (columns < 98.7)
        np.testing.assert_array_equal(drawn, np.where(inside, whole, 0))


# ---------------------------------------------------------------------- lazy


def test_fit_reads_only_its_level(pyramid):
    reads = ReadLog()
    data = [reads.lazy(each, CHUNKS, n) for n, each in enumerate(pyramid)]
    layer = Image(data, multiscale=True, rgb=True, contrast_limits=(0, 255))
    reads.chunks.clear()
    mask = Labels(da.ones((160, 168), chunks=50, dtype=np.uint8))
    segment_layer(layer, 4, level=1, mask=mask)
    assert reads.levels() - {2} == {1}


@pytest.fixture
def no_dask_cache():
    size = resize_dask_cache().cache.total_bytes
    resize_dask_cache(0)
    yield
    resize_dask_cache(size)


@pytest.mark.parametrize("result", [0, 1])
def test_panning_reads_only_the_chunks_in_view(
    make_napari_viewer, no_dask_cache, quadrants, result
):
    # Larger than the window: otherwise napari shows the whole finest level.
    finest = quadrants.repeat(160, axis=0).repeat(160, axis=1)
    reads = ReadLog()
    data = [reads.lazy(finest[::n, ::n], (320, 320, 3), n) for n in (1, 4, 16)]
    viewer = make_napari_viewer(show=True)
    layer = segment_layer(Image(data, multiscale=True, rgb=True), 4, level=2)[result]
    viewer.add_layer(layer)
    assert 1 not in reads.levels()
    # Zoom in on the middle of one chunk, until the chunk fills the window.
    camera_of(viewer).zoom = 10
    for row in (2, 7):
        reads.chunks.clear()
        camera_of(viewer).center = (160 + 320 * row, 480)
        viewer.screenshot(flash=False)
        assert layer.data_level == 0
        assert {place for name, place in reads.chunks if name == 1} == {(row, 1, 0)}


@pytest.mark.parametrize("shape", [(20, 21, 3), (3, 8, 10)])
def test_zarr_arrays_stay_lazy(quadrants, quadrant_labels, steps, shape):
    rgb = shape[-1] == 3
    data = quadrants if rgb else steps
    stored = zarr.create_array({}, data=data, chunks=(3, 7, shape[-1]))
    labels, recolored = segment_layer(Image(stored, rgb=rgb), 4 if rgb else 3)
    assert isinstance(labels.data, da.Array)
    assert recolored.data.chunks[:2] == as_lazy(stored).chunks[:2] != ((20,), (21,))
    expected = segment(data, 4 if rgb else 3, rgb=rgb)
    np.testing.assert_array_equal(labels.data, expected.labels)
    np.testing.assert_array_equal(recolored.data, expected.recolored)


def test_levels_of_zarr_arrays_stay_lazy(pyramid, truth):
    stored = [zarr.create_array({}, data=each, chunks=CHUNKS) for each in pyramid]
    layer = Image(stored, multiscale=True, rgb=True)
    assert all(isinstance(level, da.Array) for level in Source.of(layer).levels)
    labels, _ = segment_layer(layer, 4)
    assert all(isinstance(level, da.Array) for level in labels.data)
    check_equal(labels.data, truth)


def test_as_lazy_returns_other_arrays_unchanged(quadrants):
    lazy = da.from_array(quadrants)
    assert as_lazy(quadrants) is quadrants
    assert as_lazy(lazy) is lazy


def test_mask_of_lazy_labels_stays_lazy(quadrants):
    reads = ReadLog()
    drawn = reads.lazy(np.ones((20, 21), int), (5, 21), "mask")
    layer = Image(da.from_array(quadrants, chunks=(5, 21, 3)), rgb=True)
    mask = Labels(drawn)
    reads.chunks.clear()
    task = Task.of([layer], Options(n_clusters=4), mask=mask, level=None, stack="whole")
    assert not reads.chunks
    (inside,) = task.masks
    assert isinstance(inside, da.Array)
    assert inside.all()


# --------------------------------------------------------------------- areas


def area_of(layer, labels):
    return Clusters(layer).area(labels).replace("\u03bc", "µ")


@pytest.mark.parametrize("level", [0, 1, 2, None])
def test_area_does_not_depend_on_the_counted_level(pyramid, level):
    place = {"scale": (0.5, 0.25), "units": ("um", "um"), "rotate": 30}
    layer = Image(pyramid, multiscale=True, rgb=True, **place)
    labels, _ = segment_layer(layer, 4, level=level)
    assert area_of(labels, [1]) == "800 µm²"  # 80 times 80 pixels of 0.125
    assert area_of(labels, [1, 2, 3, 4]) == "3,360 µm²"
    merged = Clusters(labels).merge([1, 3])
    assert area_of(labels, [merged]) == "1,600 µm²"
    n = 0 if level is None else level
    assert labels.features["pixels"].sum() == 160 * 168 / 4**n
    assert set(labels.features["level"]) == {n}
    height, width = pyramid[n].shape[:2]
    assert Clusters(labels).counted == f"on level {n} ({height}\u00a0\u00d7\u00a0{width})"


def test_area_with_levels_of_other_factors_than_two():
    """The coarse level has a third of the rows, and 33 of 100 columns."""
    finest = np.zeros((99, 100), np.uint8)
    finest[33:] = 200
    coarse = np.zeros((33, 33), np.uint8)
    coarse[11:] = 200
    layer = Image([finest, coarse], multiscale=True, rgb=False, scale=(2, 3), units=("mm", "mm"))
    for level in (0, 1):
        labels, _ = segment_layer(layer, 2, level=level)
        assert area_of(labels, [1]) == "19,800 mm²"
        assert area_of(labels, [2]) == "39,600 mm²"


def test_volume_with_several_levels(steps):
    """Levels may have fewer slices. A single slice has the thickness of the finest level."""
    finest = steps.repeat(2, axis=0).repeat(2, axis=1)  # 6 by 16 by 10 voxels
    levels = [finest, finest[::2, ::2], finest[::3, ::4, ::2]]
    place = {"scale": (3, 0.5, 0.5), "units": ("um",) * 3}
    layer = Image(levels, multiscale=True, rgb=False, **place)
    for level, stack in itertools.product(range(3), ("whole", "each")):
        labels, _ = segment_layer(layer, 3, level=level, stack=stack)
        assert area_of(labels, [1]) == "360 µm³"  # 6 by 8 by 10 voxels of 0.75
    for level in range(3):
        labels, _ = segment_layer(layer, 3, level=level, stack=4)
        assert area_of(labels, [1]) == "60 µm³"
        shape = "\u00a0\u00d7\u00a0".join(map(str, levels[level].shape[1:]))
        assert Clusters(labels).counted == f"in slice 4 only, on level {level} ({shape})"
        labels, _ = segment_layer(layer, 2, level=level, stack=(None, 12, None))
        # 6 by 5 voxels in the finest level. In level 2, the part has three of five columns.
        assert area_of(labels, [1]) == ("27 µm³" if level == 2 else "22.5 µm³")


def test_area_after_applying_a_model_to_several_levels(pyramid, monkeypatch):
    monkeypatch.setattr(source_module, "ENOUGH_PIXELS", 40 * 42)
    layer = Image(pyramid, multiscale=True, rgb=True)
    source = Source.of(layer).fitted_on(None, "whole", "coreset")
    assert source.level == 2
    outcome = ApplyWork(segment(pyramid[0], 4).model, source).run()
    labels = labels_layer(outcome, source)
    assert area_of(labels, [1]) == "6,400 px²"
    assert set(labels.features["level"]) == {2}


def test_objects_have_the_areas_of_their_clusters(pyramid):
    layer = Image(pyramid, multiscale=True, rgb=True, scale=(0.5, 0.5))
    labels, _ = segment_layer(layer, 4, level=2)
    transform = AffineMap.to_world(labels)
    size = finest_size(labels)
    objects = ObjectsWork(labels.data[0], None, 20, None, transform, size=size).run().table
    for label in range(1, 5):
        (area,) = objects["area"][objects["cluster"] == label]
        assert area_of(labels, [label]) == f"{area:,.0f} px²"
    np.testing.assert_allclose(objects["centroid 0"][:2], 39.5 / 2)


def test_table_of_one_level_has_no_level(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    assert "level" not in labels.features
    assert Clusters(labels).counted == ""


def test_recorded_level_that_the_layer_lacks_counts_as_the_finest(pyramid):
    labels, _ = segment_layer(Image(pyramid, multiscale=True, rgb=True), 4, level=2)
    two = Labels(list(labels.data[:2]), features=labels.features, metadata=labels.metadata)
    assert Clusters(two).area([1]) == "400 px²"
