"""Build the napari layers of a result: labels, recolored images and the points of a coreset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points

from napari_kmeans.clustering.center_splits import assign_to_centers
from napari_kmeans.measuring import IGNORED
from napari_kmeans.viewer.provenance import run_metadata, sign
from napari_kmeans.viewer.to_layers.hand_edits import watch_edits
from napari_kmeans.viewer.to_layers.label_colors import (
    OPACITIES,
    cluster_colors,
    default_scheme,
    label_colormap,
    layer_table,
)

if TYPE_CHECKING:
    from napari.utils.colormaps import DirectLabelColormap

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Channel, Inside, Source


def labels_layer(
    segmentation: AnySegmentation, source: Source, scheme: str | None = None
) -> Labels:
    """Build the Labels layer of a result.

    Parameters
    ----------
    segmentation : Segmentation or StackSegmentation
    source : Source
    scheme : {"mean", "distinct"}, optional
        The colors of the labels, see `class_colors`. By default those of `default_scheme`.
    """
    scheme = scheme or default_scheme(source.rgb)
    labels = Labels(
        segmentation.labels,
        multiscale=source.multiscale,
        colormap=_colormap(segmentation, source, scheme),
        features=layer_table(segmentation, source, scheme),
        opacity=OPACITIES[scheme],
        **_common_arguments("labels", segmentation, source, scheme=scheme),
    )
    watch_edits(labels, source)
    return sign(labels)


def recolored_layers(
    segmentation: AnySegmentation, source: Source, *, visible: bool = True
) -> list[Image]:
    """Build the layer of the recolored image, or one layer for each channel."""
    if source.channels and source.channel_axis is None:
        return [
            _recolored_channel(number, segmentation, source, visible)
            for number in range(len(source.channels))
        ]
    data, arguments = segmentation.recolored, _common_arguments("recolored", segmentation, source)
    if source.channel_axis is not None:
        number = source.channel_axis.number
        levels = [np.moveaxis(level, -1, number) for level in data] if source.multiscale else None
        data = np.moveaxis(data, -1, number) if levels is None else levels
        arguments |= source.channel_axis.spatial
    recolored = Image(
        data,
        multiscale=source.multiscale,
        rgb=source.rgb,
        visible=visible,
        **source.display,
        **arguments,
    )
    return [sign(recolored)]


def _recolored_channel(
    number: int, segmentation: AnySegmentation, source: Source, visible: bool
) -> Image:
    """Build the layer of one channel of the recolored image."""
    channel, recolored = source.channels[number], segmentation.recolored
    levels = [level[..., number] for level in recolored] if source.multiscale else None
    arguments = _common_arguments("recolored", segmentation, source, channel)
    layer = Image(
        recolored[..., number] if levels is None else levels,
        multiscale=source.multiscale,
        rgb=False,
        visible=visible,
        **channel.display,
        **arguments,
    )
    return sign(layer)


def coreset_layer(segmentation: Segmentation, source: Source, scheme: str | None = None) -> Points:
    """Build the Points layer of a coreset: one point for each sampled pixel.

    The area of a point grows with its weight. Its color is that of its label, see
    `labels_layer`.

    Raises
    ------
    ValueError
        If there is no coreset because the method is "full".
    """
    coreset = segmentation.coreset
    if coreset is None:
        raise ValueError(
            'method must be "coreset" for points, got "full", which samples no pixels: '
            'choose "coreset".'
        )
    model = segmentation.model
    # The neighborhood is already in the points of the coreset.
    points = np.asarray(model.space.points(coreset.points), np.float64)
    centers = assign_to_centers(points, model.cluster_centers_, model.splits)[0]
    labels = model.center_labels[centers]
    sample = Points(
        _positions_in_finest(coreset.positions, source),
        ndim=len(source.shape),
        size=_point_sizes(coreset.weights, source),
        face_color=_colormap(segmentation, source, scheme or default_scheme(source.rgb)).map(
            labels
        ),
        border_width=0.1,
        border_color="white",
        features={"index": labels, "weight": coreset.weights},
        **_common_arguments("coreset", segmentation, source),
    )
    return sign(sample)


def _positions_in_finest(positions: np.ndarray, source: Source) -> np.ndarray:
    """Return the positions (n, D) in the finest level of pixels of the fitted level.

    Parameters
    ----------
    positions : (n, d) array
        Positions in the level, or in the slice of the level, that was fitted.
    source : Source
    """
    n_axes = len(source.shape)
    slice_index = (None,) * n_axes if isinstance(source.stack, str) else source.stack
    factors = np.divide(source.shape, source.shape_of(source.level))
    in_finest = np.empty((len(positions), n_axes))
    columns = iter(positions.T)
    for axis, index in enumerate(slice_index):
        if index is None:
            # Coordinates are integers at pixel centers: the edge of both levels is -0.5.
            in_finest[:, axis] = (next(columns) + 0.5) * factors[axis] - 0.5
        else:
            in_finest[:, axis] = index
    return in_finest


def _common_arguments(
    kind: str,
    segmentation: AnySegmentation,
    source: Source,
    channel: Channel | None = None,
    scheme: str | None = None,
) -> dict[str, Any]:
    """Return the arguments of every layer of a result: name, metadata and place in the world.

    The layer of one channel has the name of the channel, and its `unique_id` in the
    metadata: a later run updates the layer of the same channel. A result inside the classes
    of an earlier result is called "inner".
    """
    inside, stack = source.inside, source.stack
    if kind == "recolored" and not isinstance(stack, str):
        stack = source.index_in_layer(stack)
    metadata = run_metadata(
        kind,
        source.name,
        source.unique_id,
        options=segmentation.options.to_dict(),
        level=source.level,
        stack=stack,
        model=segmentation.model.to_dict(),
        distortion=segmentation.distortion,
        channel_id=None if channel is None else channel.unique_id,
        scheme=scheme,
        inside=None if inside is None else _record_inside(inside),
        channel_axis=None if source.channel_axis is None else source.channel_axis.number,
    )
    name = source.name if channel is None else channel.name
    words = kind if inside is None else f"inner {kind}"
    return {"name": f"{name} {words}", "metadata": metadata, **source.spatial}


def _record_inside(inside: Inside) -> dict[str, Any]:
    classes = list(inside.classes)
    return {"layer": inside.layer, "layer_id": inside.layer_id, "classes": classes}


def _colormap(segmentation: AnySegmentation, source: Source, scheme: str) -> DirectLabelColormap:
    """Return a colormap with the display colors of the clusters; ignored clusters are hidden."""
    table = segmentation.table
    alphas = 1.0 - table[IGNORED] if IGNORED in table else np.ones(len(table))
    colors = np.column_stack([cluster_colors(segmentation, source, scheme), alphas])
    return label_colormap(dict(zip(table["index"].tolist(), colors, strict=True)))


def _point_sizes(weights: np.ndarray, source: Source) -> Any:
    """Return the diameters (n,) of points in pixels of the finest level.

    A point of mean weight is a hundredth of the image's longer side. Areas are
    proportional to weights, within limits that keep every point visible.
    """
    relative = np.sqrt(weights / weights.mean())
    return max(source.shape[-2:]) / 100 * np.clip(relative, 0.4, 4)
