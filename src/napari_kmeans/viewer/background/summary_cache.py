"""A cache for the summary of the image that was clustered last, for the next run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_kmeans.segmentation import summarize_with_options

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.options import Options
    from napari_kmeans.summary import Summary


class SummaryCache:
    """A cache for one summary, which is replaced when other pixels are asked for.

    Pixels are identified by their arrays. A change of an array in place is not noticed.
    Several threads may use the cache.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop the summary and free its memory."""
        self._entry: _Entry | None = None

    def get(
        self,
        image: Any,
        arrays: tuple[Any, ...],
        key: Any,
        options: Options,
        progress: Report | None,
        **where: Any,
    ) -> Summary:
        """Return the cached summary of an image, or make and cache a new one.

        Parameters
        ----------
        image : array
        arrays : tuple of arrays
            The arrays of which the image is made. They identify its pixels.
        key : object
            Identifies the part of these arrays.
        options : Options
        progress : callable or None
        **where
            The arguments of `summarize` that state where the channels are.
        """
        entry = self._entry
        if entry is None or not (entry.has_pixels_of(arrays, key) and entry.allows(options)):
            summary = summarize_with_options(image, options, **where, progress=progress)
            # A single assignment, so that another thread never reads half an entry.
            self._entry = entry = _Entry(arrays, key, summary)
        return entry.summary


@dataclass(frozen=True, eq=False)
class _Entry:
    """A summary, and the pixels of which it was made."""

    arrays: tuple[Any, ...]
    key: Any
    summary: Summary

    def has_pixels_of(self, arrays: tuple[Any, ...], key: Any) -> bool:
        same = all(a is b for a, b in zip(arrays, self.arrays, strict=False))
        return same and len(arrays) == len(self.arrays) and key == self.key

    def allows(self, options: Options) -> bool:
        """Return whether the summary can be used with these options."""
        return not self.summary.differing_options(options)
