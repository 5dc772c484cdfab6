"""Test that the dock, `segment`, `segment_layer` and the command line give the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kmeans import segment, segment_layer
from napari_kmeans.cli.main import main
from napari_kmeans.cli.options import FLAGS
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
CASES = [
    *[("photograph", options) for options in COLOR_OPTIONS],
    *[("histology", options) for options in COLOR_OPTIONS[:3]],
    *[("volume", options) for options in GRAY_OPTIONS],
    ("photograph", {"n_clusters": 5, "position": 0.3, "blur": 1.5, "texture": 1.0}),
    ("histology", {"n_clusters": 4, "position": 0.5}),
    ("leaf", {"n_clusters": 4, "color_space": "lab"}),
    ("phantom", {"n_clusters": 5}),
]


def test_cases_cover_every_sample():
    """The channels of the fluorescence image are several layers, which other tests cluster."""
    assert {name for name, _ in CASES} == set(SAMPLES) - {"fluorescence"}


def run_dock(viewer, finish, options: dict[str, Any]) -> Pair:
    """Set the fields of the dock for the sample in the viewer, click Run, and return the pixels."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    for name, value in options.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)
    recolored, labels = list(viewer.layers)[1:]
    assert labels.name.endswith("labels")
    return labels.data, recolored.data


def run_command_line(out: Path, sample: str, options: dict[str, Any]) -> Pair:
    """Write the files of the command line, and read them with other libraries."""
    flags = []
    for name, value in options.items():
        flags += [FLAGS.get(name, (f"--{name.replace('_', '-')}",))[-1], str(value)]
    assert main(["--sample", sample, *flags, "-o", str(out)]) == 0
    labels = tifffile.imread(out / f"{sample}-labels.tif")
    if sample in ("volume", "phantom"):
        return labels, tifffile.imread(out / f"{sample}-recolored.tif")
    return labels, iio.imread(out / f"{sample}-recolored.png")


@pytest.mark.parametrize(("sample", "options"), CASES)
def test_all_interfaces_give_the_same_pixels(viewer, finish, tmp_path, sample, options):
    (layer,) = viewer.open_sample("napari-kmeans", sample)
    seg = segment(layer.data, **options)
    labels_layer, recolored_layer = segment_layer(layer, **options)
    pairs = {
        "segment_layer": (labels_layer.data, recolored_layer.data),
        "the dock": run_dock(viewer, finish, options),
        "the command line": run_command_line(tmp_path, sample, options),
    }
    assert set(np.unique(seg.labels)) == {*range(1, options.get("n_clusters", 8) + 1)}
    for name, (labels, recolored) in pairs.items():
        np.testing.assert_array_equal(labels, seg.labels, err_msg=name)
        np.testing.assert_array_equal(recolored, seg.recolored, err_msg=name)
        assert (labels.dtype, recolored.dtype) == (seg.labels.dtype, seg.recolored.dtype)
