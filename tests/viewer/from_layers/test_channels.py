"""Several image layers as the channels of one image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kmeans import KMeansModel, segment, segment_layer
from napari_kmeans.viewer.from_layers.channels import can_be_channels, source_of_channels
from napari_kmeans.viewer.to_layers.clusters import Clusters


def make_channels(shape=(3, 40, 50)):
    """Return a bright and a faint fluorescence channel, and the class of each pixel.

    Each channel has two levels; together they have four classes.
    """
    rng = np.random.default_rng(0)
    plane = np.indices(shape)[-2:] * 2 // np.array(shape[-2:]).reshape(2, *[1] * len(shape))
    bright = 5000 + 20000 * plane[0] + rng.normal(0, 300, shape)
    faint = 20 + 30 * plane[1] + rng.normal(0, 2, shape)
    return [bright.astype("u2"), faint.astype("u2")], plane[0] * 2 + plane[1]


def make_layers(pixels, **attributes):
    place = {"scale": (2, 0.5, 0.7), "translate": (5, 1, -2), "units": ("um",) * 3}
    return [
        Image(pixels[0], name="nuclei", colormap="magenta", **place, **attributes),
        Image(pixels[1], name="membrane", colormap="green", contrast_limits=(0, 60), **place),
    ]


@pytest.mark.parametrize("lazy", [False, True])
def test_layers_are_clustered_as_channels_of_one_image(lazy):
    pixels, classes = make_channels()
    data = [da.from_array(each, chunks=(1, 20, 50)) for each in pixels] if lazy else pixels
    labels, recolored = segment_layer(make_layers(data), n_clusters=4, normalize="zscore")
    result = np.asarray(labels.data)
    pairs = np.unique(np.stack([classes, result], -1).reshape(-1, 2), axis=0)
    assert len(pairs) == 4
    expected = segment(np.stack(pixels, -1), 4, channel_axis=-1, normalize="zscore")
    np.testing.assert_array_equal(result, expected.labels)
    assert isinstance(labels.data, da.Array if lazy else np.ndarray)
    for number, (layer, original) in enumerate(zip(recolored, make_layers(pixels), strict=True)):
        np.testing.assert_array_equal(np.asarray(layer.data), expected.recolored[..., number])
        assert layer.name == f"{original.name} recolored"
        assert layer.colormap == original.colormap
        np.testing.assert_array_equal(layer.extent.world, original.extent.world)
    np.testing.assert_array_equal(labels.extent.world, recolored[0].extent.world)
    assert labels.name == "nuclei + membrane labels"
    assert list(labels.features["mean membrane"]) == list(expected.table["mean channel 1"])


def test_labels_have_the_sum_of_the_channel_colors():
    pixels, _ = make_channels()
    layers = make_layers(pixels, contrast_limits=(0, 40000))
    labels, _ = segment_layer(layers, n_clusters=4)
    model = KMeansModel.from_dict(labels.metadata["napari-kmeans"]["model"])
    Clusters(labels, source_of_channels(layers), model).set_color_scheme("mean")
    table = labels.features
    means = np.rint(table[["mean nuclei", "mean membrane"]].to_numpy())
    for label, levels in zip(table["index"], means / (40000, 60), strict=True):
        expected = np.array([levels[0], levels[1], levels[0]])
        np.testing.assert_allclose(labels.colormap.color_dict[label][:3], expected, atol=0.01)


def test_multiscale_layers_are_clustered_as_channels():
    pixels, _ = make_channels((64, 96))
    pyramids = [[each, each[::2, ::2]] for each in pixels]
    images = [Image(each, multiscale=True) for each in pyramids]
    labels, recolored = segment_layer(images, n_clusters=4, normalize="percentile", level=1)
    assert [level.shape for level in labels.data] == [(64, 96), (32, 48)]
    assert [[level.shape for level in each.data] for each in recolored] == [
        [(64, 96), (32, 48)]
    ] * 2
    np.testing.assert_array_equal(labels.data[0][::2, ::2], labels.data[1])


def test_channels_with_a_mask_and_one_model_for_each_slice():
    pixels, classes = make_channels()
    mask = classes > 0
    labels, _ = segment_layer(
        make_layers(pixels), n_clusters=3, normalize="zscore", mask=mask, stack="each"
    )
    np.testing.assert_array_equal(labels.data == 0, ~mask)
    assert labels.data.max() == 3


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "got a single one"),
        ([Image(np.zeros((4, 6)), name="small")], r"got 'small' of shape \(4, 6\) beside \(5, 6\)"),
        ([Image(np.zeros((40, 40, 3)), rgb=True, name="photo")], "got <Image layer 'photo'"),
        ([Labels(np.zeros((5, 6), int), name="classes")], "got <Labels layer 'classes'"),
    ],
)
def test_other_layers_are_refused_as_channels(others, message):
    images = [Image(np.zeros((5, 6))), *others]
    assert not can_be_channels(images)
    with pytest.raises(ValueError, match=f"layers must be two or more images .*{message}"):
        source_of_channels(images)


class TestDock:
    @pytest.fixture
    def widget(self, viewer, open_dock):
        pixels, _ = make_channels()
        for layer in make_layers(pixels):
            viewer.add_layer(layer)
        return open_dock()

    def select(self, viewer):
        viewer.layers.selection = set(list(viewer.layers)[:2])

    def test_dock_offers_channels_while_matching_layers_are_selected(self, viewer, widget):
        assert not widget.together.visible
        self.select(viewer)
        assert not widget.together.native.isHidden()
        assert widget.normalize.native.isHidden()
        widget.together.value = True
        assert widget.normalize.value == "percentile"
        assert not widget.normalize.native.isHidden()
        viewer.layers.selection = {viewer.layers[0]}
        assert widget.together.native.isHidden()
        assert widget.normalize.native.isHidden()

    def test_second_run_updates_the_layers_of_the_first(self, viewer, widget, finish):
        self.select(viewer)
        widget.together.value = True
        widget.run()
        finish(widget)
        names = ["nuclei recolored", "membrane recolored", "nuclei + membrane labels"]
        assert [layer.name for layer in viewer.layers][2:] == names
        assert viewer.layers[-1].data.max() == 4
        widget.n_clusters.value = 3
        widget.run()
        finish(widget)
        assert [layer.name for layer in viewer.layers][2:] == names
        assert viewer.layers[-1].data.max() == 3
        assert viewer.layers[-1].metadata["napari-kmeans"]["model"]["normalize"] == "percentile"

    def test_single_layer_is_not_normalized(self, viewer, widget, finish):
        self.select(viewer)
        widget.together.value = True
        viewer.layers.selection = {viewer.layers["membrane"]}
        widget.run()
        finish(widget)
        assert viewer.layers[-1].name == "membrane labels"
        assert viewer.layers[-1].metadata["napari-kmeans"]["model"]["normalize"] == "none"
