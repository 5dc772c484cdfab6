"""A result of the dock as a script: where its pixels can be read again, and what was done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.merging import MergedModel
from napari_kmeans.samples import SAMPLES
from napari_kmeans.scripting import Part, to_python
from napari_kmeans.viewer.from_layers.source import EACH
from napari_kmeans.viewer.provenance import joined_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.viewer.background.task import Task
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.result import Result

_WINDOW = 256
"""Pixels along each axis that are compared of lazy images."""


def script_of(result: Result, masks: str = "masks") -> str:
    """Return a script that gives a result again.

    Files that the pixels may be from are read, to see whether they are.

    Parameters
    ----------
    result : Result
    masks : str
        What the list of the masks is called in napari's console.
    """
    task, source, model = result.task, result.task.source, result.outcome.model
    names = [channel.name for channel in source.channels] or [source.name]
    sample = _sample_of(source)
    mask = masks if source.n_levels > 1 else f"{masks}[0]"
    return to_python(
        result.outcome.options,
        name=names,
        path=None if sample else _paths_of(source),
        sample=sample,
        rgb=None if source.channels else source.rgb,
        channel_axis=-1 if source.channels else None,
        mask=False if task.masks is None else mask,
        summarized=_was_summarized(task),
        groups=model.center_labels.tolist() if isinstance(model, MergedModel) else None,
        joined=None if result.labels is None else joined_labels(result.labels),
        part=_part_of(source),
    )


def _was_summarized(task: Task) -> bool:
    return task.kept is not None and task.masks is None and task.source.stack != EACH


def _part_of(source: Source) -> Part:
    places = [source.index_of(level) for level in range(source.n_levels)]
    index = tuple(
        tuple(None if isinstance(at, slice) else int(at) for at in place)
        for place in places
        if place is not None
    )
    return Part(source.level, source.n_levels, index, source.stack == EACH)


def _sample_of(source: Source) -> str | None:
    """Return the sample of this package that the pixels are, if they are one."""
    sample = source.origins[0].sample
    if source.channels or source.multiscale or sample not in SAMPLES:
        return None
    return sample if _is_same(source.data, SAMPLES[sample]()) else None


def _paths_of(source: Source) -> list[str] | None:
    """Return the file of each channel, or None where not all pixels are those of a file."""
    paths = []
    for channel, origin in enumerate(source.origins):
        pixels = [array[..., channel] if source.channels else array for array in source.levels]
        if origin.path is None or not _are_in_file(pixels, Path(origin.path)):
            return None
        paths.append(origin.path)
    return paths


def _are_in_file(levels: Sequence[Any], path: Path) -> bool:
    try:
        picture = read_image(path)
    except UnreadableImageError:
        return False
    found = picture.levels if len(levels) > 1 else (picture.pixels,)
    return len(found) == len(levels) and all(map(_is_same, levels, found))


def _is_same(here: Any, there: Any) -> bool:
    """Return whether two arrays hold the same; of lazy ones, what is in the middle is compared."""
    if here.shape != there.shape or here.dtype != there.dtype or is_dask(here) != is_dask(there):
        return False
    if is_dask(here):
        # A sample of the pixels depends on the chunks.
        if here.chunks != there.chunks:
            return False
        here, there = _middle(here), _middle(there)
    return np.array_equal(here, there, equal_nan=here.dtype.kind == "f")


def _middle(array: Any) -> Any:
    starts = [max(size - _WINDOW, 0) // 2 for size in array.shape]
    return np.asarray(array[tuple(slice(start, start + _WINDOW) for start in starts)])
