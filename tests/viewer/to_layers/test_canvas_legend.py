"""The legend on the canvas follows the clusters of the listed layer."""

import numpy as np
import pytest

from napari_kmeans.viewer.from_layers.view import canvas_overlays


@pytest.fixture
def clusters_panel(dock, finish):
    dock.run()
    finish(dock)
    return dock.folds["clusters"].open()


def texts(viewer):
    """Return the text and the color of each row, from top to bottom."""
    overlays = [each for key, each in canvas_overlays(viewer).items() if "legend" in key]
    assert all(each.visible and each.position == "top_left" for each in overlays)
    return [
        (each.text.replace("\u00a0", ""), np.rint(255 * each.box_color[:3]).astype(int).tolist())
        for each in sorted(overlays, key=lambda each: each.order)
    ]


def test_legend_follows_the_clusters(viewer, dock, clusters_panel, finish, qtbot):
    assert texts(viewer) == []
    clusters_panel.legend.native.click()
    labels = viewer.layers["picture labels"]

    def expected(hidden=()):
        table = labels.features
        names = table["name"] if "name" in table else [""] * len(table)
        rows = zip(table["index"], names, table["percent"], table["color"], strict=True)
        return [
            ("  ".join(filter(None, (str(label), name, f"{share:.1f} %"))), [*bytes.fromhex(c[1:])])
            for label, name, share, c in rows
            if label not in hidden
        ]

    def follows(hidden=()):
        qtbot.waitUntil(lambda: texts(viewer) == expected(hidden), timeout=5000)

    follows()
    assert len(texts(viewer)) == 4
    clusters = clusters_panel.list._clusters
    clusters.rename(2, 'leaf "x", ü')
    clusters.set_color(2, "#00ff00")
    follows()
    assert texts(viewer)[1][0].startswith('2  leaf "x", ü  ')
    clusters.merge([3, 4])
    follows()
    clusters.show([2], False)
    follows(hidden=[2])
    clusters.ignore([1])
    follows(hidden=[1, 2])
    assert len(texts(viewer)) == 1
    # The highlight of a cluster changes the colormap, and not the legend.
    clusters.highlight([3])
    follows(hidden=[1, 2])
    clusters.highlight([])
    labels.visible = False
    qtbot.waitUntil(lambda: not texts(viewer))
    labels.visible = True
    qtbot.waitUntil(lambda: len(texts(viewer)) == 1)
    dock.n_clusters.value = 3
    dock.run()
    finish(dock)
    # The new clusters keep the edits of the earlier ones that they match.
    colors = labels.colormap.color_dict
    follows(hidden=[label for label in (1, 2, 3) if colors[label][3] == 0])
    assert 'leaf "x", ü' in str(texts(viewer))
    clusters_panel.legend.native.click()
    assert texts(viewer) == []


@pytest.mark.window
@pytest.mark.parametrize("closing", ["layer", "dock"])
def test_legend_is_removed_with_its_layer_and_its_dock(
    viewer, dock, clusters_panel, closing, qtbot
):
    clusters_panel.legend.value = True
    assert len(texts(viewer)) == 4
    if closing == "layer":
        viewer.layers.remove("picture labels")
    else:
        viewer.window.remove_dock_widget(dock.native)
    assert texts(viewer) == []
    if closing == "dock":
        dock.native.deleteLater()
        qtbot.wait(50)
