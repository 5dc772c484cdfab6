"""Tests of the panel *Measure*: the classes of the labels in view, in regions."""

from __future__ import annotations

import numpy as np
import pandas as pd


def test_classes_are_measured_in_regions_of_a_layer(viewer, dock, finish, qtbot, tmp_path):
    panel = dock.folds["measure"].open()
    assert panel.message.text().startswith("There are no labels to measure")
    assert not panel.measure_button.enabled
    dock.run()
    finish(dock)
    labels = viewer.layers["picture labels"].data
    regions = np.zeros((20, 21), int)
    regions[:7, 3:], regions[12:, :] = 1, 5
    layer = viewer.add_labels(regions, name="cells")
    marker = np.random.default_rng(0).integers(0, 9, (20, 21)).astype(np.uint8)
    viewer.add_image(marker, name="marker")
    viewer.layers.selection.active = viewer.layers["picture labels"]
    assert [each.name for each in panel.values.values] == ["picture", "marker"]
    panel.regions.value = layer
    panel.values.check([viewer.layers["marker"]])
    # A highlight fades the colors on the screen, and not those of the table.
    dock.highlight(2)
    panel.measure_button.native.click()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    frame = panel.results.table.shares.frame()
    assert frame["region"].tolist() == ["1", "5"]
    for region, shares in zip((1, 5), frame.iloc[:, 2:].to_numpy(float), strict=True):
        counts = np.bincount(labels[regions == region], minlength=5)[1:]
        np.testing.assert_allclose(shares, 100 * counts / counts.sum())
    panel.results.save_table(tmp_path / "all.csv", measurements=True)
    table = pd.read_csv(tmp_path / "all.csv")
    own = table[(table["region"] == 5) & (table["class"] == 3)].iloc[0]
    colors = viewer.layers["picture labels"].features["color"]
    assert table["color"][:4].tolist() == colors.tolist()
    pixels = marker[(regions == 5) & (labels == 3)]
    assert own["pixels"] == len(pixels)
    np.testing.assert_allclose(
        own[["mean marker", "median marker"]].to_list(), [pixels.mean(), np.median(pixels)]
    )
    # The table of another result is not shown.
    viewer.layers.remove("picture labels")
    assert not panel.results.isVisibleTo(panel)


def test_the_confidence_is_measured_in_the_classes(viewer, dock, finish, qtbot, tmp_path):
    noise = np.random.default_rng(0).integers(-20, 20, (20, 21, 3))
    image = np.clip(viewer.layers["picture"].data + noise, 0, 255).astype(np.uint8)
    viewer.layers["picture"].data = image
    dock.run()
    finish(dock)
    confidence = dock.folds["confidence"].open()
    for action in (confidence.add_confidence, confidence.add_membership):
        action()
        qtbot.waitUntil(lambda: not confidence.is_working, timeout=60_000)
    compare = dock.folds["compare"].open()
    compare.compare()
    qtbot.waitUntil(lambda: not compare.is_working, timeout=60_000)
    panel, soft = dock.folds["measure"].open(), viewer.layers["picture confidence"]
    offered = [each.name for each in panel.values.values]
    # Recolored images have the colors of the classes.
    assert offered == ["picture", "picture confidence", "picture membership 1"]
    panel.values.check([soft])
    panel.measure()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    panel.results.save_table(tmp_path / "all.csv", measurements=True)
    table = pd.read_csv(tmp_path / "all.csv")
    labels = viewer.layers["picture labels"].data
    means = [soft.data[labels == each].mean(dtype=float) for each in range(1, 5)]
    np.testing.assert_allclose(table["mean picture confidence"], means, rtol=1e-5)
