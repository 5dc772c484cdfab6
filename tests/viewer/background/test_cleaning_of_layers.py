"""The options of cleaning on napari layers: levels, scales and axes of time."""

from __future__ import annotations

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from napari.layers import Image
from skimage import data

from napari_kmeans import segment, segment_slices
from napari_kmeans.imaging.cleaning import Cleaner, Cleaning
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.result import Result

COFFEE = data.coffee()[:120, :160]
LEVELS = [COFFEE, COFFEE[::2, ::2], COFFEE[::4, ::4]]
CLEANINGS = [
    {"smoothing": 1.5},
    {"min_size": 60},
    {"min_size": 61},
    {"min_area": 61.5},
    {"smoothing": 1.0, "min_size": 60},
    {"min_confidence": 0.2},
    {"min_confidence": 0.2, "smoothing": 1.0},
]


def task_of(layer, level=None, **options):
    options = Options(n_clusters=4, **options)
    return Task.of([layer], options, mask=None, level=level, stack="whole")


def run(layer, level=None, **options):
    return task_of(layer, level, **options).run()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("options", CLEANINGS)
def test_script_and_apply_to_give_the_labels_of_all_levels(level, options, tmp_path):
    layer = Image(LEVELS, rgb=True, multiscale=True)
    task = task_of(layer, level, **options)
    seg = task.run()
    plain = run(layer, level)
    # A region of 60 pixels has 15 and 3.75 pixels in the coarser levels.
    assert all((a != b).any() for a, b in zip(seg.labels, plain.labels, strict=True))
    np.testing.assert_array_equal(seg.model.predict(COFFEE), seg.labels[0])
    applied = ApplyWork(seg.model, Source.of(layer)).run()
    for table in (seg.table, applied.table):
        assert ("undecided" in table) == ("min_confidence" in options)
    for number, image in enumerate(LEVELS):
        np.save(tmp_path / f"image-{number}.npy", image)
    script = script_of(Result(task, seg, ())).replace('np.load(f"', f'np.load(f"{tmp_path}/')
    values: dict = {}
    exec(script, values)
    for one, two, three in zip(applied.labels, values["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


@pytest.mark.parametrize("options", CLEANINGS)
def test_a_lazy_image_that_a_model_is_applied_to_is_cleaned_once(options, monkeypatch):
    windows = Counter()
    clean = Cleaner.clean_window

    def count(self, values, labels, n_values, origin):
        windows[origin, labels.shape] += 1
        return clean(self, values, labels, n_values, origin)

    seg = run(Image(COFFEE, rgb=True), **options)
    model = seg.model.with_classes(seg.model.classes.merge([1, 3]).renumber({4: 9}))
    expected = ApplyWork(model, Source.of(Image(COFFEE, rgb=True))).run()
    monkeypatch.setattr(Cleaner, "clean_window", count)
    lazy = [da.from_array(level, chunks=(60, 80, 3)) for level in LEVELS[:2]]
    layer = Image(lazy, rgb=True, multiscale=True)
    done = []
    applied = ApplyWork(model, Source.of(layer)).run(lambda *steps: done.append(steps))
    assert applied.table.equals(expected.table)
    assert done == sorted(done)
    labels, recolored = dask.compute(applied.labels[0], applied.recolored[0])
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(recolored, expected.recolored)
    assert set(windows.values()) == {1}
    np.testing.assert_array_equal(applied.labels[1].shape, LEVELS[1].shape[:2])


@pytest.mark.parametrize("options", CLEANINGS)
def test_frames_of_a_film_are_cleaned_one_by_one(options):
    film = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
    film[:, :, 25:] += 2
    film[1] += 0.5
    seg = run(Image(film, axis_labels=("t", "y", "x")), **options)
    expected = segment(film, 4, spacing=(0, 1, 1), **options)
    np.testing.assert_array_equal(seg.labels, expected.labels)
    for frame, labels in zip(film, seg.labels, strict=True):
        alone = seg.model.with_cleaning(type(seg.model.cleaning)(**options))
        np.testing.assert_array_equal(alone.predict(frame), labels)


@pytest.mark.parametrize("scale", [(4, 1, 1), (1.5, 0.5, 0.5)])
def test_the_scale_of_a_layer_is_the_spacing_of_its_pixels(scale):
    volume = np.random.default_rng(0).normal(size=(6, 30, 30)).astype(np.float32)
    volume[:, :, 15:] += 2
    seg = run(Image(volume, scale=scale), smoothing=1)
    expected = segment(volume, 4, smoothing=1, spacing=scale)
    np.testing.assert_array_equal(seg.labels, expected.labels)
    assert (seg.labels != segment(volume, 4, smoothing=1).labels).any()


@pytest.mark.parametrize(("units", "factor"), [("pixel", 1), ("micrometer", 1), ("nm", 1000)])
def test_an_area_in_micrometers_is_the_same_on_all_levels_and_in_other_images(units, factor):
    scale = np.array([0.5, 0.25]) * factor
    layer = Image(LEVELS, rgb=True, multiscale=True, scale=scale, units=(units,) * 2)
    seg = run(layer, level=1, min_area=8)
    for level, n_pixels in enumerate((64, 16, 4)):
        plain = seg.model.with_cleaning(Cleaning(min_size=n_pixels))
        np.testing.assert_array_equal(seg.labels[level], plain.predict(LEVELS[level]))
    other = Image(COFFEE, rgb=True, scale=(1, 1), units=("um", "um"))
    applied = ApplyWork(seg.model, Source.of(other)).run()
    expected = seg.model.with_cleaning(Cleaning(min_size=8)).predict(COFFEE)
    np.testing.assert_array_equal(applied.labels, expected)
    # Without a pixel size, the pixels are taken to be those of the fit.
    with pytest.warns(UserWarning, match="pixel size of 'COFFEE' is not known"):
        applied = ApplyWork(seg.model, Source.of(Image(COFFEE, rgb=True))).run()
    np.testing.assert_array_equal(applied.labels, seg.labels[0])


def test_scripts_clean_each_slice_of_all_levels(tmp_path):
    stack = np.stack([COFFEE[..., 0], COFFEE[..., 2]])
    levels = [stack, stack[:, ::2, ::2]]
    layer = Image(levels, multiscale=True, scale=(3, 0.5, 0.5))
    options = Options(n_clusters=3, min_area=8.0)
    task = Task.of([layer], options, mask=None, level=1, stack="each")
    seg = task.run()
    expected = segment_slices(stack[:, ::2, ::2], 3, min_size=8)
    np.testing.assert_array_equal(seg.labels[1], expected.labels)
    for number, image in enumerate(levels):
        np.save(tmp_path / f"image-{number}.npy", image)
    script = script_of(Result(task, seg, ())).replace('np.load(f"', f'np.load(f"{tmp_path}/')
    values: dict = {}
    exec(script, values)
    for one, two in zip(values["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, two)
