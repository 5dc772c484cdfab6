"""Fill the napari window that the command line opens: images, results and the dock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.cli.terminal import PROGRAM
from napari_kmeans.feature_space.neighborhood import scale_blur
from napari_kmeans.options import OPTIONS, Options
from napari_kmeans.viewer import samples
from napari_kmeans.viewer.background.paint_levels import Painted, paint_levels
from napari_kmeans.viewer.from_layers.masks import mask_levels
from napari_kmeans.viewer.from_layers.source import Channel, Source
from napari_kmeans.viewer.to_layers.label_area import with_sizes
from napari_kmeans.viewer.to_layers.label_colors import (
    cluster_colors,
    label_colormap,
    layer_table,
)
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.picture_layers import (
    channel_arguments,
    contrast_arguments,
    data_arguments,
    gray_arguments,
    spatial_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Labels

    from napari_kmeans.cli.jobs import ClusteredImage
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.segmentation import Segmentation

MAX_PLANE_SIDE = 2048
"""Longest side in pixels of a plane that napari shows at one resolution only."""


def fill_viewer(
    viewer: napari.Viewer, outcomes: Sequence[ClusteredImage], options: Options
) -> None:
    """Add each image, its recolored copy and its labels to a viewer, and open the dock.

    The fields of the dock show `options`.
    """
    for outcome in outcomes:
        if outcome.seg.model.rgb or outcome.seg.model.channel_axis is None:
            _add_layers(viewer, outcome)
        else:
            _add_channels(viewer, outcome)
    masks = [_add_mask(viewer, outcome) for outcome in outcomes]
    _, dock = viewer.window.add_plugin_dock_widget(PROGRAM)
    for name in OPTIONS:
        # Only random_state can be None: the dock cannot show a seed that is drawn for each run.
        if getattr(options, name) is not None:
            getattr(dock, name).value = getattr(options, name)
    if masks and masks[-1] is not None:
        dock.mask.value = masks[-1]


def _add_mask(viewer: napari.Viewer, outcome: ClusteredImage) -> Labels | None:
    """Add the mask of an image as a hidden Labels layer, for further runs; None without a mask."""
    if outcome.picture.mask is None:
        return None
    active = viewer.layers.selection.active
    layer = viewer.add_labels(
        outcome.picture.mask.astype(np.uint8),
        name=f"{outcome.name} mask",
        visible=False,
        **spatial_arguments(outcome.picture.axes),
    )
    viewer.layers.selection.active = active
    return layer


def _add_layers(viewer: napari.Viewer, outcome: ClusteredImage) -> None:
    attributes = {
        **gray_arguments(outcome.picture, outcome.name),
        "rgb": outcome.seg.model.rgb,
        **contrast_arguments(outcome.picture),
        **spatial_arguments(outcome.picture.axes),
    }
    if outcome.sample is not None:
        ((_, attributes, _),) = getattr(samples, outcome.sample)()
    levels = shown_levels(outcome.picture, outcome.seg.model.channel_axis)
    image = viewer.add_image(**data_arguments(levels), **attributes)
    source = Source.of(image)
    seg = _paint_levels(outcome.seg, levels, mask_levels(outcome.picture.mask, image, source))
    viewer.add_layer(recolored_layers(seg, source)[0])
    viewer.add_layer(labels_layer(seg, source))
    viewer.layers.selection.active = image


def _add_channels(viewer: napari.Viewer, outcome: ClusteredImage) -> None:
    """Add one image layer and one recolored layer for each channel, and one Labels layer."""
    model, picture = outcome.seg.model, outcome.picture
    spatial = spatial_arguments(picture.axes)
    contrast = contrast_arguments(picture, model.channel_axis)
    levels = shown_levels(picture, model.channel_axis)

    def add(pixels: list[Any], name: str) -> Any:
        channels = channel_arguments(picture, name, model.n_channels)
        return viewer.add_image(
            **data_arguments(pixels),
            channel_axis=model.channel_axis,
            **channels,
            **contrast,
            **spatial,
        )

    layers = add(levels, outcome.name)
    sources = [Source.of(layer) for layer in layers]
    channels = tuple(Channel(each.name, each.unique_id, each.display) for each in sources)
    source = replace(sources[0], channels=channels)
    masks = mask_levels(picture.mask, layers[0], sources[0])
    seg = _paint_levels(outcome.seg, levels, masks)
    add(seg.recolored if len(levels) > 1 else [seg.recolored], f"{outcome.name} recolored")
    labels = seg.labels if len(levels) > 1 else [seg.labels]
    table = layer_table(seg, source)
    colors = dict(zip(table["index"], cluster_colors(seg, source), strict=True))
    layer = viewer.add_labels(
        **data_arguments(labels),
        name=f"{outcome.name} labels",
        colormap=label_colormap(colors),
        **spatial,
    )
    layer.features = with_sizes(table, layer)


def shown_levels(picture: Picture, channel_axis: int | None) -> list[Any]:
    """Return the pixels at all resolutions, finest first.

    The levels of the file come first. Coarser levels are added until the sides
    of a plane are at most 2048 pixels: each takes every second pixel of the
    level before. An image in memory has one level.
    """
    levels = list(picture.levels) or [picture.pixels]
    axes = range(picture.pixels.ndim)
    channels = None if channel_axis is None else axes[channel_axis]
    plane = [axis for axis in axes if axis != channels][-2:]
    every_second = tuple(slice(None, None, 2 if axis in plane else 1) for axis in axes)
    while picture.levels and max(levels[-1].shape[axis] for axis in plane) > MAX_PLANE_SIDE:
        levels.append(levels[-1][every_second])
    return levels


def _paint_levels(seg: Segmentation, levels: list[Any], masks: list[Any] | None) -> Segmentation:
    """Return the result with the labels and colors of all levels.

    The coarser levels are painted lazily. A result of one level is returned unchanged.
    The pixels outside the mask of each level are left out.
    """
    if len(levels) == 1:
        return seg
    model, known = seg.model, {0: (seg.labels, seg.recolored)}
    finest = model.open(levels[0]).shape

    def paint(level: int, report: Report | None) -> Painted:
        pixels = model.open(levels[level], None if masks is None else masks[level])
        blur = scale_blur(model.blur, finest, pixels.shape)
        return model.with_blur(blur).paint(pixels, report)

    painted = paint_levels(levels, paint, known)
    labels, recolored = map(list, zip(*painted, strict=True))
    return replace(seg, labels=labels, recolored=recolored)
