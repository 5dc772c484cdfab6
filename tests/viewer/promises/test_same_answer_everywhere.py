"""One question asked in four ways: the dock, `segment`, `segment_layer`, the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kmeans import segment, segment_layer
from napari_kmeans.cli.main import FLAGS, main
from napari_kmeans.samples import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

Pair = tuple[np.ndarray, np.ndarray]

COLOR_OPTIONS: list[dict[str, Any]] = [
    {},
    {"n_clusters": 5, "color_space": "lab", "method": "full", "n_init": 3},
    {"n_clusters": 6, "color_space": "hsv", "init": "random", "random_state": 7},
    {"n_clusters": 12, "coreset_size": 2000, "n_init": 4, "random_state": 3, "balance": 0.5},
]
GRAY_OPTIONS: list[dict[str, Any]] = [
    {},
    {"n_clusters": 5, "method": "full", "normalize": "zscore", "random_state": 7, "tol": 0.01},
]
QUESTIONS = [
    *[("photograph", options) for options in COLOR_OPTIONS],
    *[("histology", options) for options in COLOR_OPTIONS[:3]],
    *[("volume", options) for options in GRAY_OPTIONS],
]


def test_every_sample_is_asked():
    assert {name for name, _ in QUESTIONS} == set(SAMPLES)


def in_the_dock(viewer, finish, options: dict[str, Any]) -> Pair:
    """The sample in the viewer, the fields set, Run pressed."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    for name, value in options.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)
    recolored, labels = list(viewer.layers)[1:]
    assert labels.name.endswith("labels")
    return labels.data, recolored.data


def on_the_command_line(out: Path, sample: str, options: dict[str, Any]) -> Pair:
    """Written to files, and read back by other readers."""
    flags = []
    for name, value in options.items():
        flags += [FLAGS.get(name, (f"--{name.replace('_', '-')}",))[-1], str(value)]
    assert main(["--sample", sample, *flags, "-o", str(out)]) == 0
    labels = tifffile.imread(out / f"{sample}-labels.tif")
    if sample == "volume":
        return labels, tifffile.imread(out / f"{sample}-recolored.tif")
    return labels, iio.imread(out / f"{sample}-recolored.png")


@pytest.mark.parametrize(("sample", "options"), QUESTIONS)
def test_the_same_answer(viewer, finish, tmp_path, sample, options):
    (layer,) = viewer.open_sample("napari-kmeans", sample)
    seg = segment(layer.data, **options)
    labels_layer, recolored_layer = segment_layer(layer, **options)
    answers = {
        "segment_layer": (labels_layer.data, recolored_layer.data),
        "the dock": in_the_dock(viewer, finish, options),
        "the command line": on_the_command_line(tmp_path, sample, options),
    }
    assert set(np.unique(seg.labels)) == {*range(1, options.get("n_clusters", 8) + 1)}
    for name, (labels, recolored) in answers.items():
        np.testing.assert_array_equal(labels, seg.labels, err_msg=name)
        np.testing.assert_array_equal(recolored, seg.recolored, err_msg=name)
        assert (labels.dtype, recolored.dtype) == (seg.labels.dtype, seg.recolored.dtype)
