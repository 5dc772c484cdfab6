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
