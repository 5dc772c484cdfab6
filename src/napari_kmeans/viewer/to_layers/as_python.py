"""Write a result of the dock as a Python script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.classes import ClassScheme
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.imaging.colors import sort_dark_to_bright
from napari_kmeans.measuring import drop_sizes
from napari_kmeans.model import KMeansModel
from napari_kmeans.samples import SAMPLES
from napari_kmeans.scripting import Part, to_python
from napari_kmeans.viewer.from_layers.source import EACH
from napari_kmeans.viewer.provenance import is_edited_by_hand, joined_labels, recorded_scheme
from napari_kmeans.viewer.to_layers.label_colors import MEAN, layer_table
from napari_kmeans.viewer.to_layers.label_table import without_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.options import Options
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.result import Result

PAINTED = "The pixels that you painted by hand are not in the labels of the script."

_COMPARED_SIDE = 256
"""Pixels of a lazy image that are compared along each axis, in its middle."""


def script_of(result: Result, masks: str = "masks") -> str:
    """Return a script that computes a result again.

    napari stores the file or the sample that a layer was opened from. The script reads
    its pixels from there if the layer still has the same pixels; this function reads
    the file to compare them.

    Parameters
    ----------
    result : Result
    masks : str
        The name of the list of masks in napari's console.
    """
    source, outcome = result.known_source("to copy a script"), result.known_outcome()
    fitted, masks_of_result = outcome.model, result.masks
    applied = result.task is None or result.task.applied
    classes = groups = model = None
    deciding = None if result.task is None else result.task.carried_classes(outcome)
    if isinstance(result.model, KMeansModel) and isinstance(fitted, KMeansModel):
        # No fit of this image gives an applied model, or one of a class that was clustered anew.
        model = result.model if applied or result.model.splits else None
        # `groups` are those of single centers, which `deciding` has merged before.
        if deciding is not None or result.model.classes != _classes_in_order(fitted):
            classes = result.model.classes
        elif model is None:
            groups = _groups_of(fitted)
    names = [source.name]
    channel_axis = -1 if source.channels else None
    if source.channel_axis is not None:
        channel_axis = _channel_axis_of_part(source)
    elif source.channels:
        names = [channel.name for channel in source.channels]
    if model is not None and not model.rgb:
        # The script takes the pixels as the layer has them: its channels need not be last.
        model = replace(model, channel_axis=channel_axis)
    sample = _sample_of(source)
    mask = masks if source.n_levels > 1 else f"{masks}[0]"
    script = to_python(
        outcome.options,
        name=names,
        path=None if sample else _paths_of(source),
        sample=sample,
        rgb=None if source.channels else source.rgb,
        channel_axis=channel_axis,
        channel_names=source.channel_names,
        mask=False if masks_of_result is None else mask,
        groups=groups,
        joined=None if result.labels is None else joined_labels(result.labels),
        classes=classes,
        model=model,
        part=_part_of(source, outcome.options),
        deciding=deciding,
    )
    return script + _note_of_slices(result) + _note_of_edits(result)


def _note_of_edits(result: Result) -> str:
    """Return a comment if pixels were painted by hand, which no script can repeat."""
    if result.labels is None or not is_edited_by_hand(result.labels):
        return ""
    return f"# {PAINTED}\n"


def _note_of_slices(result: Result) -> str:
    """Return a comment that states which edits of slices with their own models are missing."""
    source, labels = result.known_source("to copy a script"), result.labels
    if source.stack != EACH:
        return ""
    note, table = "", drop_sizes(without_mark(result.table))
    if result.task is not None and result.task.start is not None:
        note += "# In napari, the classes have the numbers and names of the marks.\n"
    elif result.has_own_numbers:
        note += "# In napari, the labels follow those of the layer whose classes are the mask.\n"
    scheme = MEAN if labels is None else recorded_scheme(labels)
    if not table.equals(layer_table(result.known_outcome(), source, scheme)):
        note += (
            "# Each slice has its own model: edits of the list of clusters are not in the table "
            "here.\n"
            "# Names, display colors and ignored clusters are in the table of the Labels layer.\n"
        )
    return note


def _groups_of(fitted: KMeansModel) -> list[int] | None:
    """Return the group of each center of merged clusters; None if no clusters are merged."""
    if fitted.n_clusters == len(fitted.center_labels):
        return None
    first: dict[int, int] = {}
    return [first.setdefault(label, len(first)) for label in fitted.center_labels.tolist()]


def _classes_in_order(model: KMeansModel) -> ClassScheme:
    """Return the classes of a model without names, with labels from dark to bright."""
    # As in `merge_clusters`, classes of equal colors keep their order.
    order = sort_dark_to_bright(model.palette, model.rgb, model.labels[:, None])
    return ClassScheme.of_labels(np.argsort(order)[model.center_classes] + 1)


def _part_of(source: Source, options: Options) -> Part:
    """Return the level and the slices of the image that were clustered."""
    indices = [source.index_of(level) for level in range(source.n_levels)]
    index = tuple(
        source.index_in_layer(
            tuple(None if isinstance(item, slice) else int(item) for item in level_index)
        )
        for level_index in indices
        if level_index is not None
    )
    levels = range(source.n_levels if source.n_levels > 1 else 0)
    blurs = tuple(source.blur_at(options.blur, level) for level in levels)
    steps = tuple(source.steps_between(source.level, level) for level in levels)
    return Part(
        source.level,
        source.n_levels,
        index,
        source.stack == EACH,
        blurs if np.any(options.blur) else (),
        steps if Cleaning.of(options).moves_pixels or options.position else (),
    )


def _channel_axis_of_part(source: Source) -> int:
    """Return the axis of channels in the part of the layer that is clustered."""
    assert source.channel_axis is not None
    number, index = source.channel_axis.number, source.index_of(0)
    before = () if index is None else index[:number]
    return number - sum(not isinstance(item, slice) for item in before)


def _sample_of(source: Source) -> str | None:
    """Return the name of the sample whose pixels an image has, or None."""
    sample = source.origins[0].sample
    if source.channels or source.multiscale or sample not in SAMPLES:
        return None
    return sample if _have_same_pixels(source.data, SAMPLES[sample]()) else None


def _paths_of(source: Source) -> list[str] | None:
    """Return the file of each channel; None unless all pixels are those of the files."""
    paths, own = [], source.levels if source.channel_axis is None else source.channel_axis.levels
    is_stacked = source.channels and source.channel_axis is None
    for channel, origin in enumerate(source.origins):
        pixels = [array[..., channel] if is_stacked else array for array in own]
        if origin.path is None or not file_has_pixels(Path(origin.path), pixels):
            return None
        paths.append(origin.path)
    return paths


def file_has_pixels(path: Path, levels: Sequence[Any]) -> bool:
    """Return whether a file has the same levels as a layer. The file is read."""
    try:
        picture = read_image(path)
    except UnreadableImageError:
        return False
    file_levels = picture.levels if len(levels) > 1 else (picture.pixels,)
    return len(file_levels) == len(levels) and all(map(_have_same_pixels, levels, file_levels))


def _have_same_pixels(first: Any, second: Any) -> bool:
    """Return whether two arrays are equal. Only the middle of lazy arrays is read."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if is_dask(first) != is_dask(second):
        return False
    if is_dask(first):
        # The pixels of a coreset depend on the chunks.
        if first.chunks != second.chunks:
            return False
        first, second = _read_middle(first), _read_middle(second)
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _read_middle(array: Any) -> Any:
    """Return the middle of a lazy array as a numpy array."""
    starts = [max(size - _COMPARED_SIDE, 0) // 2 for size in array.shape]
    return np.asarray(array[tuple(slice(start, start + _COMPARED_SIDE) for start in starts)])
