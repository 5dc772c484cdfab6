"""Paint the levels of an image with one model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_kmeans.execution.progress import part_of
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.types import Result

Painted: TypeAlias = tuple[Any, Any]
"""The labels and the recolored image of a level."""


def paint_levels(
    levels: Sequence[Any],
    paint: Callable[[int, Report | None], Result],
    known: Mapping[int, Result] | None = None,
    progress: Report | None = None,
) -> list[Result]:
    """Return what a function computes for each level, such as `Painted`, finest first.

    Parameters
    ----------
    levels : sequence of arrays
        The pixels of each level, for the share of the progress that it takes.
    paint : callable
        Called as ``paint(level, progress)`` for one level after the other. Its
        results are lazy where the level is lazy.
    known : mapping from level to results, optional
        Results that are there already. `paint` is not called for these levels.
    progress : callable, optional
    """
    painted = dict(known or {})
    todo = [level for level in range(len(levels)) if level not in painted]
    efforts = {level: painting_effort(levels[level]) for level in todo}
    total, done = max(sum(efforts.values()), 1), 0
    for level in todo:
        end = done + efforts[level]
        painted[level] = paint(level, part_of(progress, done / total, end / total))
        done = end
    return [painted[level] for level in range(len(levels))]


def painting_effort(pixels: Any) -> int:
    """Return the number of values to paint now: 0 for a lazy array, painted when it is viewed."""
    return 0 if is_dask(pixels) else math.prod(pixels.shape)
