"""Pixels that are left undecided: the dock, layers, scripts and files show the same ones."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage import data

from napari_kmeans import KMeansModel, segment, segment_layer
from napari_kmeans.cli.main import main
from napari_kmeans.figures import plot_palette
from napari_kmeans.viewer.from_layers.view import canvas_overlays
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.frame_table import FramesWork
from napari_kmeans.viewer.to_layers.hand_edits import count_now

COFFEE = data.coffee()[100:180, 100:200]
OPTIONS = {"min_confidence": 0.25, "smoothing": 0.5}


@pytest.fixture(scope="module")
def expected():
    seg = segment(COFFEE, 4, **OPTIONS)
    assert 100 < seg.table["undecided"].sum() < 4000
    return seg


def test_dock_panels_and_script(viewer, open_dock, finish, qtbot, expected, tmp_path):
    viewer.add_image(COFFEE, name="coffee")
    dock = open_dock()
    for name, value in OPTIONS.items():
        getattr(dock, name).value = value
    dock.run()
    finish(dock)
    labels, recolored = viewer.layers["coffee labels"], viewer.layers["coffee recolored"]
    np.testing.assert_array_equal(labels.data, expected.labels)
    np.testing.assert_array_equal(recolored.data, expected.recolored)
    undecided = expected.table["undecided"]
    assert labels.features["undecided"].tolist() == undecided.tolist()
    assert f"{undecided.sum():,} undecided" in dock.status.text().split(" · ")
    assert "left out" not in dock.status.text()
    share = 100 * undecided.sum() / expected.labels.size
    (line,) = dock.folds["clusters"].panel.list.message.text().split("\n")[1:]
    assert line == (
        f"Undecided: {undecided.sum():,} pixels ({share:.1f} %), which have label 0 and no row."
    )
    # The cost is that of all pixels.
    assert f"cost {expected.model.inertia_ / expected.labels.size:,.1f} ·" in dock.status.text()
    np.save(tmp_path / "image.npy", COFFEE)
    script = script_of(dock.result).replace('np.load("', f'np.load("{tmp_path}/')
    assert "min_confidence=0.25," in script
    values: dict = {}
    exec(script, values)
    np.testing.assert_array_equal(values["labels"], expected.labels)
    legend = dock.folds["clusters"].panel.legend
    legend.value = True
    rows = [each.text for key, each in canvas_overlays(viewer).items() if "legend" in key]
    assert len(rows) == 5
    assert rows[-1].replace("\u00a0", "") == f"undecided  {share:.1f} %"
    legend.value = False
    # The image shows the nearest class of each pixel, the table the class that the pixel has.
    panel = dock.folds["confidence"].open()
    panel.add_confidence()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    model = dock.result.model
    np.testing.assert_array_equal(viewer.layers["coffee confidence"].data, model.confidence(COFFEE))
    own = model.confidence(COFFEE, labels=expected.labels)
    assert np.nanmin(own) >= 0.25
    means = [own[expected.labels == label].mean(dtype=float) for label in range(1, 5)]
    np.testing.assert_allclose(labels.features["confidence"], means, rtol=1e-6)
    # The model leaves the pixels of other images undecided, too.
    other = COFFEE[::-1, ::-1].copy()
    viewer.add_image(other, name="other")
    apply = dock.folds["apply"].open()
    apply.apply()
    qtbot.waitUntil(lambda: not apply.is_working, timeout=60_000)
    applied = viewer.layers["other labels"]
    np.testing.assert_array_equal(applied.data, model.predict(other))
    counts = model.count_undecided(model.open(other))
    assert applied.features["undecided"].tolist() == counts.tolist()
    share = f"{100 * counts.sum() / applied.data.size:.1f} %"
    text = f"Applied to “other” ({share} of the pixels undecided)."
    assert apply.match.text().startswith(text)


def test_edits_in_the_list_of_clusters(expected):
    labels, _ = segment_layer(_layer(COFFEE), 4, **OPTIONS)
    clusters, before = Clusters(labels), labels.features.copy()
    labels.features = labels.features.assign(confidence=[0.6, 0.7, 0.8, 0.9])
    clusters = Clusters(labels)
    clusters.merge([2, 3])
    undecided = expected.table["undecided"].tolist()
    merged = [undecided[0], undecided[1] + undecided[2], undecided[3]]
    assert labels.features["undecided"].tolist() == merged
    np.testing.assert_array_equal(labels.features["confidence"], [0.6, np.nan, 0.9])
    clusters.undo()
    assert labels.features["undecided"].tolist() == undecided
    clusters.ignore([1])
    counted = before["pixels"].to_numpy() * [0, 1, 1, 1]
    np.testing.assert_allclose(labels.features["percent"][1:], (100 * counted / counted.sum())[1:])
    # The undecided pixels are not known any more after some of them were painted.
    labels.paint((2, 2), 3)
    count_now(labels)
    assert not {"undecided", "confidence"} & set(labels.features)


def test_merged_clusters_are_split_without_undecided_pixels(viewer, open_dock, finish, qtbot):
    viewer.add_image(COFFEE, name="coffee")
    dock = open_dock()
    dock.min_confidence.value = 0.25
    dock.run()
    finish(dock)
    labels = viewer.layers["coffee labels"]
    before = labels.data.copy()
    panel = dock.folds["clusters"].open()
    panel.list.merge([2, 3])
    panel.split(2)
    qtbot.waitUntil(lambda: len(labels.features) == 4, timeout=60_000)
    np.testing.assert_array_equal(labels.data, before)
    assert np.isnan(labels.features["undecided"]).tolist() == [False, True, True, False]
    parts = dock.status.text().split(" · ")
    assert any(part.endswith(" left out or undecided") for part in parts)
    panel.list.merge([2, 3])
    assert np.isnan(labels.features["undecided"]).tolist() == [False, True, False]


def test_frames_have_no_undecided_pixels_of_all_frames(tmp_path):
    film = np.stack([COFFEE[..., 0], COFFEE[..., 1]])
    labels, _ = segment_layer(_layer(film, axis_labels=("t", "y", "x")), 3, min_confidence=0.2)
    assert "undecided" in labels.features
    table = FramesWork.of(labels, labels.features).run()
    assert "undecided" not in table
    assert table["pixels"].sum() == (labels.data > 0).sum()


@pytest.mark.parametrize("together", [False, True])
def test_files_of_the_command_line(tmp_path, together, capsys):
    images = {"a": COFFEE, "b": COFFEE[::-1, :70].copy()}
    for name, image in images.items():
        iio.imwrite(tmp_path / f"{name}.png", image)
    files = [str(tmp_path / f"{name}.png") for name in images]
    flags = ["--min-confidence", "0.25", "-k", "4", *([] if together else ["--each"])]
    out = tmp_path / "out"
    assert main([*files, *flags, "-o", str(out)]) == 0
    results = (
        _split(segment([*images.values()], 4, min_confidence=0.25))
        if together
        else [segment(image, 4, min_confidence=0.25) for image in images.values()]
    )
    printed = capsys.readouterr().out
    for (name, image), seg in zip(images.items(), results, strict=True):
        np.testing.assert_array_equal(tifffile.imread(out / f"{name}-labels.tif"), seg.labels)
        np.testing.assert_array_equal(iio.imread(out / f"{name}-recolored.png"), seg.recolored)
        table = pd.read_csv(out / f"{name}-table.csv")
        counts = seg.model.count_undecided(seg.model.open(image))
        assert table["undecided"].tolist() == counts.tolist()
        assert counts.sum() == (seg.labels == 0).sum()
        if not together:
            share = 100 * counts.sum() / seg.labels.size
            assert f"4 clusters of the decided pixels; {share:.2f} % are undecided" in printed
    path = next(out.glob("*model.json"))
    assert main([files[1], "--model", str(path), "-o", str(tmp_path / "applied")]) == 0
    model = KMeansModel.load(path)
    painted = tifffile.imread(tmp_path / "applied" / "b-labels.tif")
    np.testing.assert_array_equal(painted, model.predict(images["b"]))
    table = pd.read_csv(tmp_path / "applied" / "b-table.csv")
    assert table["undecided"].sum() == (painted == 0).sum()


def test_the_figure_states_of_which_pixels_its_shares_are(expected):
    strip, bars = plot_palette(expected).axes
    share = 100 * expected.table["undecided"].sum() / expected.labels.size
    assert strip.get_title(loc="left") == f"4 clusters; {share:.1f} % of the pixels undecided"
    assert bars.get_xlabel() == "percent of the decided pixels"


def _layer(pixels, **arguments):
    from napari.layers import Image

    return Image(pixels, name="picture", rgb=pixels.shape[-1] == 3, **arguments)


def _split(seg):
    from dataclasses import replace

    pairs = zip(seg.labels, seg.recolored, strict=True)
    return [replace(seg, labels=labels, recolored=pixels) for labels, pixels in pairs]


@pytest.mark.parametrize("masked", [False, True])
def test_labels_of_a_file_have_the_confidence_of_before(
    viewer, open_dock, qtbot, tmp_path, monkeypatch, masked
):
    monkeypatch.chdir(tmp_path)
    iio.imwrite("coffee.png", COFFEE)
    mask = np.ones(COFFEE.shape[:2], np.uint8)
    mask[:, 80:] = not masked
    iio.imwrite("mask.png", mask)
    options = ["-k", "4", "--smoothing", "0.5", "--min-confidence", "0.25", "--confidence"]
    assert main(["coffee.png", "--mask", "mask.png", *options, "-o", "out"]) == 0
    (labels,) = viewer.open("out/coffee-labels.tif", plugin="napari-kmeans")
    viewer.add_image(COFFEE, name="coffee")
    viewer.layers.selection.active = labels
    dock = open_dock()
    before = labels.features["confidence"].tolist()
    panel = dock.folds["confidence"].open()
    panel.add_confidence()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    confidence = viewer.layers["coffee confidence"].data
    expected = KMeansModel.load("out/coffee-model.json").confidence(COFFEE, mask=mask)
    if masked:
        # A file does not tell undecided pixels from those outside the mask.
        expected[labels.data == 0] = np.nan
        np.testing.assert_allclose(labels.features["confidence"], before, atol=0.02)
    else:
        np.testing.assert_array_equal(confidence, expected)
        np.testing.assert_allclose(labels.features["confidence"], before, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(confidence), np.isnan(expected))
