"""Fill the napari window that the command line opens: images, results and the dock."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.cli.terminal import PROGRAM
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.label_tally import tally_classes
from napari_kmeans.measuring import cluster_table
from napari_kmeans.viewer import samples
from napari_kmeans.viewer.background.paint_levels import Painted, paint_levels
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.masks import mask_levels
from napari_kmeans.viewer.from_layers.source import Channel, Source
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.picture_layers import (
    channel_arguments,
    contrast_arguments,
    data_arguments,
    gray_arguments,
    spatial_arguments,
)
from napari_kmeans.viewer.to_layers.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Labels
    from qtpy.QtWidgets import QWidget

    from napari_kmeans.batch.jobs import ClusteredImage
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation

MAX_PLANE_SIDE = 2048
"""Longest side in pixels of a plane that napari shows at one resolution only."""

WINDOW_SIZE = (1400, 900)
"""Width and height at which a picture has about half of the window beside the dock and the layers.

The window that napari opens first is 1089 pixels wide, of which 352 are left for the picture."""

TITLE_HEIGHT = 40
"""Pixels of a screen that are left for the title of the window."""


def fill_viewer(
    viewer: napari.Viewer, outcomes: Sequence[ClusteredImage], options: Options
) -> None:
    """Add each image, its recolored copy and its labels to a viewer, and open the dock.

    The fields of the dock show `options`, and the panel *Clusters* lists the clusters of the
    last image. The recolored copies are hidden: without the labels, one sees the image.
    """
    is_shared = len({id(outcome.seg.model) for outcome in outcomes}) < len(outcomes)
    result = None
    for each in outcomes:
        is_of_fit = not is_shared and not math.isnan(each.seg.distortion)
        outcome = each if is_of_fit else _with_own_table(each)
        if outcome.seg.model.rgb or outcome.seg.model.channel_axis is None:
            result = _add_layers(viewer, outcome)
        else:
            result = _add_channels(viewer, outcome)
        if not is_of_fit and is_dask(each.seg.labels):
            result = None
    masks = [_add_mask(viewer, outcome) for outcome in outcomes]
    # The images may have different sizes, and napari has fitted the view to the first.
    viewer.reset_view()
    _, dock = viewer.window.add_plugin_dock_widget(PROGRAM)
    _enlarge_window(viewer, dock.native)
    source = None if result is None else result.source
    if source is not None and len(source.channels) > 1:
        _select_channels(viewer, source)
        dock.together.value = True
    if options.min_area:
        # The options of a result are in micrometers.
        options = replace(options, min_area=outcomes[-1].seg.options.min_area)
    dock.show_options(options)
    if masks and masks[-1] is not None:
        dock.mask.value = masks[-1]
    if result is not None:
        dock.show_result(result)


def _select_channels(viewer: napari.Viewer, source: Source) -> None:
    """Select the layers of the channels of an image, which the dock then offers to combine."""
    ids = {channel.unique_id for channel in source.channels}
    layers = [layer for layer in viewer.layers if str(layer.unique_id) in ids]
    viewer.layers.selection.active = layers[-1]
    viewer.layers.selection.update(layers)


def _enlarge_window(viewer: napari.Viewer, dock: QWidget) -> None:
    """Make the window at least as large as WINDOW_SIZE, but no larger than the screen."""
    window, screen = dock.window(), dock.screen()
    if window is None or screen is None or window.isMaximized() or window.isFullScreen():
        return
    left, top, *size = viewer.window.geometry()
    available = screen.availableGeometry()
    largest = available.width(), available.height() - TITLE_HEIGHT
    width, height = np.minimum(np.maximum(size, WINDOW_SIZE), largest).tolist()
    # Move the window only if a part of it would lie beyond the screen.
    left = max(available.left(), min(left, available.left() + available.width() - width))
    top = max(available.top(), min(top, available.top() + available.height() - height))
    viewer.window.set_geometry(left, top, width, height)


def _with_own_table(outcome: ClusteredImage) -> ClusteredImage:
    """Return an image with the table of its own pixels, and not of those of the fit.

    The pixels of a lazy image are not counted, because the whole image would be read.
    """
    seg = outcome.seg
    if is_dask(seg.labels):
        return outcome
    model, picture = seg.model, outcome.picture
    pixels = model.open(picture.pixels, picture.mask)
    tally = tally_classes(model.labels, pixels, seg.labels)
    table = cluster_table(model, tally.counts, model.count_undecided(pixels), tally.means)
    return outcome._replace(seg=replace(seg, table=table, distortion=math.nan))


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


def _add_layers(viewer: napari.Viewer, outcome: ClusteredImage) -> Result:
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
    masks = mask_levels(outcome.picture.mask, image, source)
    seg = _paint_levels(outcome.seg, levels, masks)
    (recolored,), labels = recolored_layers(seg, source), labels_layer(seg, source)
    viewer.add_layer(recolored)
    # A layer that is hidden before it is added has a black thumbnail.
    recolored.visible = False
    viewer.add_layer(labels)
    viewer.layers.selection.active = image
    # The cost of a model that was fitted to another image is not that of this image.
    task = Task(source, masks, seg.options, (image.data,), applied=math.isnan(seg.distortion))
    return Result(task, seg, (recolored, labels))


def _add_channels(viewer: napari.Viewer, outcome: ClusteredImage) -> Result:
    """Add one image layer and one recolored layer for each channel, and one Labels layer."""
    axis, picture = outcome.seg.model.channel_axis, outcome.picture
    assert axis is not None
    levels = shown_levels(picture, axis)
    images = viewer.add_image(
        **data_arguments(levels),
        channel_axis=axis,
        **channel_arguments(picture, outcome.name, outcome.seg.model.n_channels),
        **contrast_arguments(picture, axis),
        **spatial_arguments(picture.axes),
    )
    sources = [Source.of(image) for image in images]
    # As `source_of_channels`, but without a copy of the pixels.
    source = replace(
        sources[0],
        name=outcome.name,
        unique_id=" ".join(each.unique_id for each in sources),
        levels=tuple(np.moveaxis(level, axis, -1) for level in levels),
        channels=tuple(Channel(each.name, each.unique_id, each.display) for each in sources),
        origins=tuple(origin for each in sources for origin in each.origins),
    )
    masks = mask_levels(picture.mask, images[0], source)
    seg = _paint_levels(outcome.seg, levels, masks)
    # The channels of layers are the last axis, as in a run of the dock on these layers.
    recolored = [
        np.moveaxis(level, axis, -1)
        for level in (seg.recolored if source.multiscale else [seg.recolored])
    ]
    seg = replace(
        seg,
        recolored=recolored if source.multiscale else recolored[0],
        model=replace(seg.model, channel_axis=-1),
    )
    layers = (*recolored_layers(seg, source), labels_layer(seg, source))
    for layer in layers:
        viewer.add_layer(layer)
        layer.visible = layer is layers[-1]
    arrays = tuple(image.data for image in images)
    is_applied = math.isnan(seg.distortion)
    return Result(Task(source, masks, seg.options, arrays, applied=is_applied), seg, layers)


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
        steps = [full / size for full, size in zip(finest, pixels.shape, strict=True)]
        return model.at_scale(steps).paint(pixels, report)

    painted = paint_levels(levels, paint, known)
    labels, recolored = map(list, zip(*painted, strict=True))
    return replace(seg, labels=labels, recolored=recolored)
