"""Apply models of channels to layers, in memory, lazy and of several levels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import segment
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.measuring import channel_means
from napari_kmeans.viewer.from_layers.apply_targets import match_layers
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.apply_model import ApplyToSeveral, ApplyWork, fit_to_source
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

NAMES = ["DAPI", "GFP", "Cy5"]


@pytest.fixture(scope="module")
def stains():
    return np.random.default_rng(0).integers(0, 4000, (2, 3, 20, 31)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["in memory", "lazy", "multiscale", "lazy multiscale"])
def test_layers_in_another_order_get_the_labels_of_the_array(stains, kind):
    # The model is from the command line: its channels are the first axis.
    model = segment(stains[0], 3, channel_axis=0, channel_names=NAMES, normalize="zscore").model
    model = model.with_classes(model.classes.rename(2, "nuclei").ignore(1))
    levels = [np.kron(stains[1], np.ones((1, 2, 2), np.uint16)), stains[1]]
    levels = levels if "multiscale" in kind else levels[1:]

    def layer(channel):
        data = [
            da.from_array(level[channel]) if "lazy" in kind else level[channel] for level in levels
        ]
        name, several = f"slide 2 {NAMES[channel]}", len(data) > 1
        return Image(data if several else data[0], name=name, multiscale=several)

    source = match_layers(model, [layer(2), layer(0), layer(1)]).source()
    assert source.channel_names == tuple(NAMES)
    done = []
    work = ApplyWork(fit_to_source(model, source), source)
    (outcome,) = ApplyToSeveral((work,)).run(lambda *steps: done.append(steps))
    labels = labels_layer(outcome, source)
    shown = labels.data if len(levels) > 1 else [labels.data]
    recolored = [each.data for each in recolored_layers(outcome, source)]
    for number, level in enumerate(levels):
        expected, colors = model.apply(level)
        np.testing.assert_array_equal(shown[number], expected)
        for channel in range(3):
            pixels = recolored[channel]
            pixels = pixels[number] if len(levels) > 1 else pixels
            np.testing.assert_array_equal(pixels, colors[channel])
    counts = np.bincount(model.predict(levels[0]).ravel(), minlength=4)[1:]
    assert labels.features["pixels"].tolist() == counts.tolist()
    assert labels.features["name"].tolist() == ["", "nuclei", ""]
    assert labels.metadata[METADATA_KEY]["model"]["channel_names"] == NAMES
    assert done == sorted(done)
    assert done[-1][0] >= 0.99 * done[-1][1]


@pytest.mark.parametrize("kind", ["rgb", "rgba", "gray", "float"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"smoothing": 1.0, "min_confidence": 0.2}, {"min_confidence": 0.2}]
)
def test_the_table_has_the_means_of_the_image(kind, lazy, options):
    rng, n_channels = np.random.default_rng(3), {"rgb": 3, "rgba": 4, "float": 3}.get(kind, 1)
    images = rng.integers(0, 256, (2, 40, 33, n_channels)).astype(np.uint8)
    if kind == "rgba":
        images[..., 3] = np.where(images[..., 0] > 40, 255, 0)
    if kind == "gray":
        images = images[..., 0]
    if kind == "float":
        images = (images / 255).astype(np.float32)
        images[1, 5, 7:12] = np.nan
    is_rgb = kind != "gray"
    model = segment(images[0], 5, rgb=is_rgb, **options).model
    # Labels have gaps, and two centers are one class.
    model = model.with_classes(model.classes.merge([2, 4]).rename(2, "stained").ignore(5))
    data = (
        da.from_array(images[1], chunks=(16, 33)[: images[1].ndim])
        if lazy and not is_rgb
        else (da.from_array(images[1], chunks=(16, 33, n_channels)) if lazy else images[1])
    )
    outcome = ApplyWork(model, Source.of(Image(data, rgb=is_rgb))).run()
    labels, pixels = np.asarray(outcome.labels), images[1].reshape(40, 33, -1)
    expected = [pixels[labels == label].mean(axis=0, dtype=float) for label in (1, 2, 3, 5)]
    assert (labels == 0).any() == bool(options or kind in ("rgba", "float"))
    np.testing.assert_allclose(
        channel_means(outcome.table), np.array(expected)[:, : model.n_channels], rtol=1e-6
    )
    # The color is that of the class, in which the recolored image shows it.
    assert outcome.table["color"].tolist() == to_hex(model.colors)


def test_a_class_without_pixels_has_no_mean():
    image = np.repeat(np.arange(4, dtype=np.uint8) * 60, 8).reshape(4, 8)
    model = segment(image, 4).model
    outcome = ApplyWork(model, Source.of(Image(image[:3]))).run()
    assert outcome.table["pixels"].tolist() == [8, 8, 8, 0]
    np.testing.assert_array_equal(outcome.table["mean intensity"], [0, 60, 120, np.nan])


def test_a_layer_without_a_pixel_size_is_told_for_a_minimum_area():
    image = np.random.default_rng(4).integers(0, 256, (20, 20)).astype(np.uint8)
    model = segment(image, 3, min_area=2, spacing=0.5).model
    plain = Source.of(Image(image, name="photo"))
    with pytest.warns(
        UserWarning, match=r"pixel size of 'photo' is not known.*fit, 0\.5, .*pixels"
    ):
        outcome = ApplyWork(model, plain).run()
    np.testing.assert_array_equal(outcome.labels, model.predict(image))
    # Warnings are errors.
    ApplyWork(model, Source.of(Image(image, scale=(0.25, 0.25), units="um"))).run()
    ApplyWork(segment(image, 3).model, plain).run()
    ApplyWork(segment(image, 3, min_area=8).model, plain).run()
