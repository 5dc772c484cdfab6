"""The option `position` on napari layers: levels, scales, stacks, axes of time, and panels."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from skimage import data
from sklearn.metrics import pairwise_distances_argmin

from napari_kmeans import segment, segment_layer, segment_slices
from napari_kmeans.merging import apply_classes
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.confidence_work import SoftWork, StabilityWork
from napari_kmeans.viewer.background.summary_cache import SummaryCache
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.to_layers.split_class import SplitWork

COFFEE = data.coffee()[:120, :160]
LEVELS = [COFFEE, COFFEE[::2, ::2], COFFEE[::4, ::4]]
VOLUME = np.random.default_rng(0).integers(0, 255, (6, 40, 48)).astype(np.uint8)
VOLUMES = [VOLUME, VOLUME[:, ::2, ::2]]


def task_of(layer, level=None, stack="whole", **options):
    options = {"n_clusters": 4, "position": 0.6, **options}
    return Task.of([layer], Options(**options), mask=None, level=level, stack=stack)


def nearest(image, lengths, centers, weight=0.6 * 255):
    """Return the label of the nearest center of colors (..., C) and places.

    `lengths` are those of the axes of the image in any unit, 0 for an axis of time.
    """
    grid = np.indices(image.shape[:-1])
    columns = [
        weight * length / max(lengths) * (own + 0.5) / size
        for own, size, length in zip(grid, image.shape, lengths, strict=False)
        if length
    ]
    points = np.concatenate([image.astype(float), np.stack(columns, axis=-1)], axis=-1)
    flat = pairwise_distances_argmin(points.reshape(-1, points.shape[-1]), centers)
    return flat.reshape(image.shape[:-1]) + 1


def run_script(task, seg, levels, folder):
    """Return the values of a copied script, which reads the levels from files."""
    for number, image in enumerate(levels):
        np.save(folder / f"image-{number}.npy", image)
    script = script_of(Result(task, seg, ())).replace('np.load(f"', f'np.load(f"{folder}/')
    values: dict = {}
    exec(script, values)
    return values


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_places_are_the_same_on_all_levels(level, smoothing, tmp_path):
    layer = Image(LEVELS, rgb=True, multiscale=True)
    task = task_of(layer, level, smoothing=smoothing)
    seg = task.run()
    if not smoothing:
        for image, labels in zip(LEVELS, seg.labels, strict=True):
            expected = nearest(image, (120, 160), seg.model.cluster_centers_)
            np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(seg.model.predict(COFFEE), seg.labels[0])
    applied = ApplyWork(seg.model, Source.of(layer)).run()
    script = run_script(task, seg, LEVELS, tmp_path)
    for one, two, three in zip(applied.labels, script["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)
    np.testing.assert_array_equal(applied.table["pixels"], np.bincount(seg.labels[0].flat)[1:])


@pytest.mark.parametrize("level", [0, 1])
def test_levels_of_a_volume_have_the_scale_of_the_layer(level, tmp_path):
    # Only the last two axes of the levels are reduced.
    layer = Image(VOLUMES, scale=(4, 0.5, 0.5), multiscale=True)
    task = task_of(layer, level, method="full")
    seg = task.run()
    for image, labels in zip(VOLUMES, seg.labels, strict=True):
        expected = nearest(image[..., None], (24, 20, 24), seg.model.cluster_centers_)
        np.testing.assert_array_equal(labels, expected)
    script = run_script(task, seg, VOLUMES, tmp_path)
    applied = ApplyWork(seg.model, Source.of(layer)).run()
    for one, two, three in zip(applied.labels, script["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)
    # The images of the panel *Confidence* are of the same places.
    soft = SoftWork(task, seg.model, None, seg.labels).run()
    np.testing.assert_array_equal(soft.levels[0], seg.model.confidence(VOLUME))
    own = seg.model.at_scale((1, 2, 2))
    np.testing.assert_array_equal(soft.levels[1], own.confidence(VOLUMES[1]))
    assert StabilityWork(task, seg).run().seeds > 0


def test_model_in_a_layer_of_another_scale_has_the_places_of_this_layer():
    model = segment(VOLUME, 4, position=0.6, spacing=(2, 1, 1)).model
    seg = ApplyWork(model, Source.of(Image(VOLUME, scale=(8, 1, 1)))).run()
    expected = nearest(VOLUME[..., None], (48, 40, 48), model.cluster_centers_)
    np.testing.assert_array_equal(seg.labels, expected)
    with pytest.raises(ValueError, match=r"image must have 3 axes of space among 3, .* got 2"):
        ApplyWork(model, Source.of(Image(VOLUME, axis_labels=("t", "y", "x")))).run()


@pytest.mark.parametrize(
    ("arguments", "lengths"),
    [
        ({"axis_labels": ("t", "y", "x")}, (0, 40, 48)),
        ({"units": ("second", "um", "um"), "scale": (9, 1, 2)}, (0, 40, 96)),
        ({"axis_labels": ("z", "y", "x")}, (6, 40, 48)),
    ],
)
def test_axes_of_time_have_no_places(arguments, lengths):
    seg = task_of(Image(VOLUME, **arguments)).run()
    expected = nearest(VOLUME[..., None], lengths, seg.model.cluster_centers_)
    np.testing.assert_array_equal(seg.labels, expected)
    np.testing.assert_array_equal(seg.model.predict(VOLUME), seg.labels)


def test_slices_have_the_places_of_their_plane(tmp_path):
    layer = Image(VOLUMES, scale=(4, 2, 1), multiscale=True)
    expected = segment_slices(VOLUME, 4, position=0.6, spacing=(2, 1)).labels
    task = task_of(layer, stack="each")
    seg = task.run()
    np.testing.assert_array_equal(seg.labels[0], expected)
    script = run_script(task, seg, VOLUMES, tmp_path)
    for one, two in zip(script["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, two)
    one = task_of(layer, stack=(3, None, None)).run()
    alone = segment(VOLUME[3], 4, position=0.6, spacing=(2, 1)).labels
    np.testing.assert_array_equal(one.labels[0][3], alone)
    assert not one.labels[0][:3].any()


def test_separated_classes_have_the_labels_before_the_merge():
    task = task_of(Image(VOLUMES, scale=(4, 1, 1), multiscale=True))
    seg = task.run()
    merged = apply_classes(seg, seg.model.classes.merge([2, 3]))
    split = SplitWork(2, merged.model, seg.model, task, merged.labels).run()
    for level, part in enumerate(split.pixels):
        np.testing.assert_array_equal(part.apply(merged.labels[level]), seg.labels[level])


def test_cached_summary_is_of_one_position():
    layer, cache = Image(COFFEE, rgb=True), SummaryCache()
    for options in ({"position": 0.6}, {"position": 0.0}, {"position": 0.6, "smoothing": 1.0}):
        task = Task.of(
            [layer],
            Options(n_clusters=4, **options),
            mask=None,
            level=None,
            stack="whole",
            cache=cache,
        )
        np.testing.assert_array_equal(task.run().labels, segment(COFFEE, 4, **options).labels)


def test_channels_of_a_layer_have_places():
    image = np.moveaxis(COFFEE, -1, 0)
    labels = segment_layer(Image(image), 4, position=0.6, channel_axis=0)[0].data
    expected = segment(image, 4, position=0.6, channel_axis=0).labels
    np.testing.assert_array_equal(labels, expected)
