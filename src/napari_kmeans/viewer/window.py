"""The window that the command line opens: images, their results and the dock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.cli.terminal import PROGRAM
from napari_kmeans.options import OPTIONS, Options
from napari_kmeans.viewer import samples
from napari_kmeans.viewer.background.paint_levels import paint_levels
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari

    from napari_kmeans.cli.jobs import ClusteredImage
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.segmentation import Segmentation

SIDE = 2048
"""Pixels: planes larger than that are shown at several resolutions."""


def fill_viewer(
    viewer: napari.Viewer, outcomes: Sequence[ClusteredImage], options: Options
) -> None:
    """Add to a viewer each image, its recolored copy and its labels, and the dock."""
    for outcome in outcomes:
        if outcome.seg.model.rgb or outcome.seg.model.channel_axis is None:
            _add_layers(viewer, outcome)
        else:
            _add_channels(viewer, outcome)
    _, dock = viewer.window.add_plugin_dock_widget(PROGRAM)
    for name in OPTIONS:
        # The dock has no field for a seed that is drawn anew.
        if getattr(options, name) is not None:
            getattr(dock, name).value = getattr(options, name)


def _add_layers(viewer: napari.Viewer, outcome: ClusteredImage) -> None:
    attributes = {"name": outcome.name, "rgb": outcome.seg.model.rgb, **_place(outcome.picture)}
    if outcome.sample is not None:
        ((_, attributes, _),) = getattr(samples, outcome.sample)()
    levels = shown_levels(outcome.picture, outcome.seg.model.channel_axis)
    image = viewer.add_image(**_data(levels), **attributes)
    source = Source.of(image)
    seg = _paint_levels(outcome.seg, levels)
    viewer.add_layer(recolored_layers(seg, source)[0])
    viewer.add_layer(labels_layer(seg, source))
    viewer.layers.selection.active = image


def _add_channels(viewer: napari.Viewer, outcome: ClusteredImage) -> None:
    """Add an image of named channels as napari shows it: a layer for each."""
    model, place = outcome.seg.model, _place(outcome.picture)
    levels = shown_levels(outcome.picture, outcome.seg.model.channel_axis)
    seg = _paint_levels(outcome.seg, levels)
    recolored = seg.recolored if len(levels) > 1 else [seg.recolored]
    for pixels, name in ((levels, outcome.name), (recolored, f"{outcome.name} recolored")):
        names = [f"{name} {channel}" for channel in range(model.n_channels)]
        viewer.add_image(**_data(pixels), channel_axis=model.channel_axis, name=names, **place)
    labels = seg.labels if len(levels) > 1 else [seg.labels]
    viewer.add_labels(**_data(labels), name=f"{outcome.name} labels", features=seg.table, **place)


def shown_levels(picture: Picture, channel_axis: int | None) -> list[Any]:
    """Return the pixels at all resolutions, finest first.

    The levels of a file are followed by every second pixel of the last one, and
    so on, until napari can show a plane of it whole.
    """
    levels = list(picture.levels) or [picture.pixels]
    axes = range(picture.pixels.ndim)
    channels = None if channel_axis is None else axes[channel_axis]
    plane = [axis for axis in axes if axis != channels][-2:]
    every_second = tuple(slice(None, None, 2 if axis in plane else 1) for axis in axes)
    while picture.levels and max(levels[-1].shape[axis] for axis in plane) > SIDE:
        levels.append(levels[-1][every_second])
    return levels


def _paint_levels(seg: Segmentation, levels: list[Any]) -> Segmentation:
    """Return the results of all levels, lazily painted; as they are where there is but one."""
    if len(levels) == 1:
        return seg
    model, known = seg.model, {0: (seg.labels, seg.recolored)}
    painted = paint_levels(
        levels, lambda level, report: model.paint(model.open(levels[level]), report), known
    )
    labels, recolored = map(list, zip(*painted, strict=True))
    return replace(seg, labels=labels, recolored=recolored)


def _data(levels: list[Any]) -> dict[str, Any]:
    if len(levels) == 1:
        return {"data": levels[0]}
    return {"data": levels, "multiscale": True}


def _place(picture: Picture) -> dict[str, Any]:
    """Return scale and translation where the file tells them."""
    axes = [axis for axis in picture.axes if axis.kind != "channel"]
    scale, translate = [axis.scale for axis in axes], [axis.translation for axis in axes]
    if np.all(np.array(scale) == 1) and not np.any(translate):
        return {}
    return {"scale": scale, "translate": translate}
