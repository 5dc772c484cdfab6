"""Find the image that a layer of a result was made from, by the record of the layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_kmeans.viewer.from_layers.channels import source_of_axis, source_of_channels
from napari_kmeans.viewer.from_layers.source import (
    WHOLE,
    Source,
    layer_levels,
    spatial_attributes,
    spatial_shape,
)
from napari_kmeans.viewer.provenance import has_record, record_of, recorded_channel_axis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Labels

_BETWEEN_NAMES = " + "
"""Between the names of the layers that were the channels of one image."""


def find_source(
    labels: Labels,
    layers: Iterable[Any],
    *,
    rgb: bool,
    n_channels: int,
    channel_names: Sequence[str] = (),
) -> Source | None:
    """Return the image of a Labels layer with a record, or None if it is not among some layers.

    The image has the recorded `unique_id`. A file that was opened again has another one: then
    it is the only layer of the recorded name. In both cases it has the shape of the labels.
    The source lies where the labels lie, so that an edit of the labels does not move them.

    Parameters
    ----------
    labels : napari.layers.Labels
    layers : iterable of layers
    rgb : bool
        Whether the image is in color.
    n_channels : int
        The number of its channels. Several gray layers are the channels of one image.
    channel_names : sequence of str, optional
        The names of the channels in the file of the image. napari appends them to its name.
    """
    record, axis = record_of(labels), recorded_channel_axis(labels)
    images = [each for each in layers if isinstance(each, Image) and _fits(each, labels, rgb, axis)]
    n_layers = 1 if rgb or axis is not None else n_channels
    ids, name = str(record.get("source_id")).split(), str(record.get("source"))
    found = [[each for each in images if str(each.unique_id) == one] for one in ids]
    if not _is_found(found, n_layers):
        names = [name] if n_layers == 1 else name.split(_BETWEEN_NAMES)
        of_file = [f"{name} {channel}" for channel in channel_names]
        originals = [each for each in images if not has_record(each)]
        for candidates in (names, of_file):
            found = [[each for each in originals if each.name == one] for one in candidates]
            if _is_found(found, n_layers):
                break
    if not _is_found(found, n_layers):
        return None
    chosen = [each for (each,) in found]
    try:
        if axis is not None:
            source = source_of_axis(chosen[0], axis)
        else:
            source = source_of_channels(chosen) if n_layers > 1 else Source.of(chosen[0])
    except ValueError:
        # The user has moved one of the layers.
        return None
    source = replace(
        source,
        levels=source.levels[: len(layer_levels(labels))],
        multiscale=labels.multiscale,
        spatial=spatial_attributes(labels),
    )
    return _with_recorded_part(source, record)


def _is_found(found: list[list[Image]], n_layers: int) -> bool:
    """Return whether there is one candidate for each layer of an image."""
    return len(found) == n_layers and all(len(each) == 1 for each in found)


def _fits(image: Image, labels: Labels, rgb: bool, channel_axis: Any) -> bool:
    """Return whether an image has the shape of some labels at every level of the labels.

    A file of labels has the finest level only.
    """
    if image.rgb != rgb:
        return False
    shapes = [tuple(level.shape) for level in layer_levels(labels)]
    levels = layer_levels(image)[: len(shapes)]
    found = [spatial_shape(level, image.rgb) for level in levels]
    if channel_axis is not None:
        # A user or a script may have changed the record.
        if channel_axis not in range(image.ndim):
            return False
        found = [(*shape[:channel_axis], *shape[channel_axis + 1 :]) for shape in found]
    return found == shapes


def _with_recorded_part(source: Source, record: dict[str, Any]) -> Source:
    """Return an image with the recorded level and slices; all slices if they do not fit."""
    level, stack = record.get("level", 0), record.get("stack", WHOLE)
    try:
        return source.fitted_on(level, stack, "full")
    except (TypeError, ValueError):
        # A user or a script may have changed the record.
        return source.fitted_on(0, WHOLE, "full")
