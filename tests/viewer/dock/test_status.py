"""The line under Run states the numbers of the result that the panels show."""

import numpy as np
import pytest

from napari_kmeans.viewer.dock.last_settings import last_settings_of
from napari_kmeans.viewer.to_layers.hand_edits import count_now


def cost_per_pixel(image, seg):
    """Return the mean squared distance of the pixels to their centers."""
    labels = seg.labels[seg.labels > 0]
    points = np.reshape(image, (*seg.labels.shape, -1))[seg.labels > 0].astype(float)
    return np.square(points - seg.model.cluster_centers_[labels - 1]).sum(1).mean()


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def parts_of(dock):
    assert dock.status.isVisibleTo(dock.native)
    return dock.status.text().split(" · ")


def test_line_follows_runs_merges_and_removed_layers(viewer, open_dock, noise, finish):
    mask = np.ones((40, 50), np.uint8)
    mask[:10, :7] = 0
    viewer.add_labels(mask, name="mask")
    viewer.add_image(noise, name="noise", rgb=True)
    dock = open_dock()
    assert not dock.status.isVisibleTo(dock.native)
    dock.mask.value = viewer.layers["mask"]
    dock.run()
    finish(dock)
    clusters, pixels, left_out, time, cost, distortion = parts_of(dock)
    assert (clusters, pixels, left_out) == ("4 clusters", "1,930 pixels", "70 left out")
    assert 0 <= float(time.removesuffix(" s")) < 20
    seg = dock.result.outcome
    assert cost == f"cost {cost_per_pixel(noise, seg):,.0f}"
    assert distortion == f"distortion {seg.distortion:.4g}"
    dock.folds["clusters"].panel.list.merge([1, 2])
    assert parts_of(dock)[0] == "3 clusters"
    dock.mask.value, dock.method.value = None, "full"
    dock.n_clusters.value = 1
    dock.run()
    finish(dock)
    clusters, pixels, _, cost = parts_of(dock)
    assert (clusters, pixels) == ("1 cluster", "2,000 pixels")
    # The cost of one cluster is the sum of the variances.
    assert cost == f"cost {noise.reshape(-1, 3).var(0).sum():,.0f}"
    for layer in dock.result.layers:
        viewer.layers.remove(layer)
    assert not dock.status.isVisibleTo(dock.native)
    assert dock.status.text() == ""


def test_level_and_slice_that_were_counted(viewer, open_dock, finish, noise):
    viewer.add_image([noise, noise[::2, ::2], noise[::4, ::4]], name="levels", rgb=True)
    dock = open_dock()
    dock.level.value = 1
    dock.run()
    finish(dock)
    assert parts_of(dock)[1] == "500 pixels"
    assert parts_of(dock)[-1] == "fitted on level 1 of 3"
    viewer.add_image(noise[..., 0].reshape(4, 10, 50).astype(float), name="stack")
    for stack, pixels in (("this", "500 pixels"), ("each", "2,000 pixels")):
        dock.stack.value = stack
        dock.run()
        finish(dock)
        assert parts_of(dock)[1] == pixels
        assert not any("left out" in part or "level" in part for part in parts_of(dock))


def test_clusters_are_unfolded_at_the_first_result_only(viewer, dock, open_dock, finish):
    clusters = dock.folds["clusters"]
    assert not clusters.is_open
    dock.run()
    finish(dock)
    assert clusters.is_open
    assert clusters.panel.list.layer is dock.result.labels
    clusters.folder.collapse(animate=False)
    dock.run()
    finish(dock)
    assert not clusters.is_open
    assert last_settings_of(viewer).has_shown_clusters


def test_clusters_that_cleaning_has_emptied_are_named(viewer, open_dock, finish):
    """Single bright pixels on two halves: the minimum size removes all of them."""
    image = np.zeros((20, 30), np.uint8)
    image[:, 15:] = 100
    image[3:18:5, 2:28:5] = 250
    viewer.add_image(image, name="dots")
    dock = open_dock()
    dock.n_clusters.value, dock.min_size.value = 3, 5
    dock.run()
    finish(dock)
    assert dock.result.table["pixels"].tolist() == [300, 300, 0]
    numbers, sentence = dock.status.text().split("\n")
    assert numbers.startswith("3 clusters · 600 pixels")
    assert sentence == "Smooth or Minimum size has left no pixel in cluster 3."
    dock.min_size.value = 0
    dock.run()
    finish(dock)
    assert "\n" not in dock.status.text()
    # Pixels that the user paints over were not removed by the run.
    labels = dock.result.labels
    labels.data_setitem(np.nonzero(labels.data > 1), 1)
    count_now(labels)
    assert dock.status.text().split("\n")[1] == "No pixel is in clusters 2 and 3."
