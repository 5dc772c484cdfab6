"""Edited classes of blurred colors give the same labels wherever the model goes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
from distributed import Client, LocalCluster
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from napari_kmeans import KMeansModel, apply_classes, segment, segment_layer
from napari_kmeans.cli.main import main

BLUR = 1.5
CHUNKS = [(17, 61, 3), (60, 10, 3), (23, 19, 2), (60, 61, 3)]


@pytest.fixture
def noisy():
    """Return an RGB image of 60 by 61 pixels: six colors in blocks, with much noise."""
    rng = np.random.default_rng(0)
    colors = rng.integers(40, 216, (2, 3, 3)).repeat(30, axis=0).repeat(21, axis=1)[:, :61]
    return np.clip(colors + rng.normal(0, 30, colors.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def edited(viewer, noisy, finish):
    """Return the dock after a run of six clusters of blurred colors, edited in the list."""
    viewer.add_image(noisy, name="noisy", rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    dock.n_clusters.value, dock.blur.value = 6, BLUR
    dock.run()
    finish(dock)
    edit_list(dock)
    return dock


def edit_list(dock):
    clusters = dock.folds["clusters"].open().list
    kept = clusters.merge([2, 5])
    clusters._clusters.rename(kept, "soil, wet")
    clusters.set_color(3, "#ff0080")
    clusters._clusters.ignore([6])


def nearest_classes(image, model):
    """Return the class of the nearest center of each blurred color, without the package."""
    weights = gaussian_filter(np.ones(image.shape[:2]), BLUR, mode="constant")
    sums = gaussian_filter(image.astype(float), (BLUR, BLUR, 0), mode="constant")
    points = (sums / weights[..., None]).reshape(-1, 3)
    nearest = cdist(points, model.cluster_centers_).argmin(axis=1)
    return model.classes.center_labels[nearest].reshape(image.shape[:2])


def check_table(table, labels):
    """Check the pixels and the shares of a table against labels, counted by hand."""
    counts = np.array([np.sum(labels == label) for label in table["index"]])
    assert table["pixels"].tolist() == counts.tolist()
    counted = counts * ~table["ignored"].to_numpy(bool)
    shares = np.where(table["ignored"], np.nan, 100 * counted / counted.sum())
    np.testing.assert_allclose(table["percent"], shares)
    assert sorted(filter(None, table["name"].fillna(""))) == ["soil, wet"]
    assert "#ff0080" in table["color"].tolist()


def wait_for(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)


def test_dock_functions_files_and_command_line_agree(viewer, edited, noisy, qtbot, tmp_path):
    dock, layer = edited, edited.result.labels
    model = dock.result.model
    truth = nearest_classes(noisy, model)
    assert len(np.unique(truth)) == 5
    np.testing.assert_array_equal(layer.data, truth)
    check_table(layer.features, truth)
    # The functions.
    seg = apply_classes(segment(noisy, 6, rgb=True, blur=BLUR), model.classes)
    np.testing.assert_array_equal(seg.labels, truth)
    check_table(seg.table, truth)
    np.testing.assert_array_equal(
        segment_layer(viewer.layers["noisy"], 6, blur=BLUR)[0].data,
        segment(noisy, 6, rgb=True, blur=BLUR).labels,
    )
    # Apply, save and load.
    panel = dock.folds["apply"].open()
    panel.apply(viewer.add_image(da.from_array(noisy, CHUNKS[0]), name="lazy", rgb=True))
    wait_for(qtbot, panel)
    np.testing.assert_array_equal(viewer.layers["lazy labels"].data, truth)
    check_table(viewer.layers["lazy labels"].features, truth)
    panel.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    for chunks in CHUNKS:
        np.testing.assert_array_equal(loaded.predict(da.from_array(noisy, chunks)), truth)
    # The command line.
    iio.imwrite(tmp_path / "noisy.png", noisy)
    arguments = [str(tmp_path / "noisy.png"), "--model", str(tmp_path / "model.json")]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "noisy-labels.tif"), truth)
    check_table(pd.read_csv(tmp_path / "noisy-table.csv"), truth)


def test_workers_and_threads_agree(edited, noisy):
    model = edited.result.model
    truth = nearest_classes(noisy, model)

    def predict(number):
        chunks = CHUNKS[number % 4]
        return np.asarray(model.predict(da.from_array(noisy, chunks) if number % 2 else noisy))

    with ThreadPoolExecutor(8) as pool:
        for labels in pool.map(predict, range(16)):
            np.testing.assert_array_equal(labels, truth)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
    ):
        lazy = da.from_array(noisy, CHUNKS[2])
        np.testing.assert_array_equal(model.predict(lazy).compute(), truth)
        fitted = segment(lazy, 6, rgb=True, blur=BLUR)
        seg = apply_classes(fitted, model.classes)
        np.testing.assert_array_equal(seg.labels.compute(), truth)
        check_table(seg.table, truth)


@pytest.mark.parametrize("level", [0, 1])
def test_script_gives_the_labels_of_all_levels(viewer, noisy, finish, tmp_path, level):
    levels = [noisy, noisy[::2, ::2]]
    viewer.add_image(levels, name="noisy", rgb=True, multiscale=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    dock.n_clusters.value, dock.blur.value, dock.level.value = 6, BLUR, level
    dock.run()
    finish(dock)
    edit_list(dock)
    text = dock.folds["export"].open().script()
    for number, pixels in enumerate(levels):
        np.save(tmp_path / f"image-{number}.npy", pixels)
    code = "np.savez('labels.npz', *labels)"
    (tmp_path / "script.py").write_text(f"{text}\n{code}")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True)
    with np.load(tmp_path / "labels.npz") as saved:
        for number, labels in enumerate(dock.result.labels.data):
            np.testing.assert_array_equal(saved[f"arr_{number}"], labels)
