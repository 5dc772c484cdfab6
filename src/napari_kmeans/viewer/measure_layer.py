"""Measure the classes of a Labels layer: layers in, one long table out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_kmeans.checks import Flag, quote_value
from napari_kmeans.imaging.blocks import as_lazy
from napari_kmeans.imaging.channel_names import shown_channel_names
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.measured_arrays import MeasuredArrays
from napari_kmeans.measurement import Measuring
from napari_kmeans.measurement_table import MeasuredClasses
from napari_kmeans.measuring import IGNORED, NAME
from napari_kmeans.viewer.from_layers.channels import source_of_axis
from napari_kmeans.viewer.from_layers.region_layers import layer_regions, same_pixels
from napari_kmeans.viewer.from_layers.source import layer_levels, without_common_words
from napari_kmeans.viewer.provenance import kind_of, record_of, recorded_channel_axis
from napari_kmeans.viewer.to_layers.frame_table import FRAME
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_area import finest_size, time_axes
from napari_kmeans.viewer.to_layers.label_colors import color_of_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_kmeans.execution.progress import Report


def measure_layer(
    labels_layer: Labels,
    *,
    image: Image | Sequence[Image] | None = None,
    regions: Any = None,
    values: Image | Sequence[Image] = (),
    medians: bool = True,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Measure each class of a Labels layer in each region, as `measure` does for arrays.

    Parameters
    ----------
    labels_layer : napari.layers.Labels
        A result of this plugin. Its pixels are measured as they are, with all edits by hand.
        Of a multiscale layer, the finest level is measured.
    image : napari.layers.Image or sequence of them, optional
        The layer, or the layers of channels, that were clustered. Their channels are measured.
    regions : napari.layers.Labels or napari.layers.Shapes, optional
        The regions, where they lie over the labels in the world. Each label is a region, with
        the name that it has in a column `name` of the features beside its `index`. Each
        rectangle, ellipse or polygon is a region: its pixels are those whose center is inside,
        and its name is that in a column `name` or `label` of the features, its text, or its
        number from 1 on. Shapes may overlap. A layer of fewer axes lies in all slices.
    values : napari.layers.Image or sequence of them, optional
        Other images to measure, with the pixels of the labels. Their columns have the names of
        the layers.
    medians : bool, default True
        Whether to find medians.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    pandas.DataFrame
        As `measure` returns it. The column `image` has the name of the image that was
        clustered. Each frame of a time lapse has its own rows, with its number in the column
        `frame`. Areas or volumes are in the units of the layer, without a column if these do
        not agree.

    Raises
    ------
    TypeError, ValueError
        If a layer has another type or other pixels, or if the labels are no result.

    Examples
    --------
    >>> labels, recolored = segment_layer(viewer.layers["tissue"], n_clusters=4)
    >>> measure_layer(labels, regions=viewer.layers["Shapes"], values=viewer.layers["marker"])
    """
    classes = _check_labels(labels_layer)
    pixels = as_lazy(layer_levels(labels_layer)[0])
    shape = tuple(int(length) for length in pixels.shape)
    channels = _image_channels(_as_layers("image", image), labels_layer, shape)
    others = _as_layers("values", values)
    same_pixels("values", others, labels_layer, shape)
    for layer in others:
        own = _layer_channels(layer)
        repeated = [name for name in own if name in channels]
        if repeated:
            raise ValueError(
                f"values must have other names than the channels, got {repeated[0]!r} twice: "
                "rename the layer."
            )
        channels |= own
    found = layer_regions(regions, labels_layer, shape)
    times = [axis for axis in time_axes(labels_layer) if shape[axis] > 1]
    names = [FRAME] if len(times) == 1 else [f"{FRAME} {axis}" for axis in times]
    measuring = Measuring(
        MeasuredArrays(pixels, channels, found.arrays, None, tuple(times)),
        classes,
        str(record_of(labels_layer).get("source", labels_layer.name)),
        found,
        names,
        finest_size(labels_layer),
        Flag().check("medians", medians),
    )
    return measuring.table(progress=progress)


def _check_labels(layer: Any) -> MeasuredClasses:
    """Return the classes of a Labels layer that is a result of this plugin."""
    if not isinstance(layer, Labels):
        raise TypeError(
            f"labels_layer must be a Labels layer, got {quote_value(layer)}: choose the labels of "
            "a run."
        )
    features = layer.features
    if kind_of(layer) != "labels" or "index" not in features or not len(features):
        raise ValueError(
            f"labels_layer must be a result of this plugin, got {layer.name!r}: choose the labels "
            "of a run."
        )
    table = features[features["index"] > 0].drop_duplicates("index").sort_values("index")
    labels = tuple(int(label) for label in table["index"])
    names = table[NAME].fillna("") if NAME in table else [""] * len(labels)
    ignored = table[IGNORED] if IGNORED in table else [False] * len(labels)
    # A highlight of the list of clusters fades the colors of all other classes.
    colormap = without_highlight(layer.colormap)
    colors = np.array([color_of_label(colormap, label)[:3] for label in labels])
    return MeasuredClasses(
        labels, tuple(map(str, names)), tuple(to_hex(colors)), tuple(map(bool, ignored))
    )


def _as_layers(name: str, layers: Any) -> list[Image]:
    listed = list(layers) if isinstance(layers, list | tuple) else [layers]
    listed = [] if layers is None else listed
    for layer in listed:
        if not isinstance(layer, Image):
            raise TypeError(
                f"{name} must be Image layers, got {quote_value(layer)}: choose image layers."
            )
    return listed


def _image_channels(layers: list[Image], labels: Labels, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the channels of the image that was clustered, by their names."""
    axis = recorded_channel_axis(labels)
    if len(layers) == 1 and axis is not None and not layers[0].rgb:
        return _channels_along(layers[0], int(axis), shape)
    same_pixels("image", layers, labels, shape)
    if len(layers) == 1:
        layer = layers[0]
        return _layer_channels(layer, "" if layer.rgb else "intensity")
    names = without_common_words([layer.name for layer in layers])
    arrays = [as_lazy(layer_levels(layer)[0]) for layer in layers]
    return dict(zip(shown_channel_names(names, len(layers)), arrays, strict=True))


def _channels_along(layer: Image, axis: int, shape: tuple[int, ...]) -> dict[str, Any]:
    source = source_of_axis(layer, axis)
    if source.shape != shape:
        raise ValueError(
            f"image must have the pixels of the labels of shape {shape}, got {layer.name!r} of "
            f"shape {source.shape} without its channels: choose the image that was clustered."
        )
    return {
        channel.name: source.data[..., number] for number, channel in enumerate(source.channels)
    }


def _layer_channels(layer: Image, name: str | None = None) -> dict[str, Any]:
    """Return the channels of one layer, by its name or another one."""
    pixels, name = as_lazy(layer_levels(layer)[0]), layer.name if name is None else name
    if not layer.rgb:
        return {name: pixels}
    return {
        f"{name} {color}".strip(): pixels[..., number]
        for number, color in enumerate(("red", "green", "blue"))
    }
