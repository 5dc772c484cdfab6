"""Results and models print as one line, which fits a notebook however large they are."""

from dataclasses import replace

import numpy as np
import pytest

from napari_kmeans import merge_clusters, segment, segment_slices, split_objects, summarize

IMAGE = np.arange(10 * 40 * 50 * 3, dtype=np.uint8).reshape(10, 40, 50, 3)


@pytest.fixture(scope="module")
def results():
    whole, slices = segment(IMAGE, 3, rgb=True), segment_slices(IMAGE, 3, rgb=True)
    several = segment(list(IMAGE), 3, rgb=True)
    return {
        "whole": whole,
        "model": whole.model,
        "merged": merge_clusters(whole, [0, 0, 1]).model,
        "several": several,
        "slices": slices,
        "slices of levels": replace(slices, labels=[slices.labels, slices.labels[:, ::2, ::2]]),
        "stack model": slices.model,
        "summary": summarize(IMAGE, rgb=True),
        "objects": split_objects(whole.labels),
    }


def test_results_print_as_one_line(results):
    for name, result in results.items():
        assert "\n" not in repr(result), name
        assert len(repr(result)) < 200, name
        assert repr(result).startswith(f"{type(result).__name__}("), name


def test_the_line_states_shape_and_clusters(results):
    assert "n_clusters=3, labels of shape (10, 40, 50)" in repr(results["whole"])
    assert "n_clusters=2" in repr(results["merged"])
    assert "labels of shape (40, 50), (40, 50), (40, 50), …" in repr(results["several"])
