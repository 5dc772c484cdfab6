"""The table of the parts of a split class counts the pixels that have their labels."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import segment
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.to_layers.split_class import SplitWork


@pytest.mark.parametrize("options", [{}, {"smoothing": 1.0}, {"min_confidence": 0.2}])
@pytest.mark.parametrize("is_applied", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, lambda array: da.from_array(array, (20, 40, 3))])
def test_rows_of_parts_are_those_of_their_pixels(kind, is_applied, options):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    image = kind(pixels)
    merged = segment(image, 6, rgb=True, random_state=0, **options).model
    merged = merged.with_classes(merged.classes.merge((1, 4)))
    split = merged.with_classes(merged.classes.split(1))
    labels, _ = merged.apply(image)
    task = Task(
        Source.of(Image(image, rgb=True)),
        None,
        Options(n_clusters=6, **options),
        applied=is_applied,
    )
    work = SplitWork(1, merged, split, task, [labels]).run()
    found = np.asarray(work.pixels[0].apply(labels))
    for row in work.rows.to_dict("records"):
        own = found == row["index"]
        assert row["pixels"] == np.count_nonzero(own) > 0
        means = [row[f"mean {name}"] for name in ("red", "green", "blue")]
        np.testing.assert_allclose(means, pixels[own].mean(axis=0))
