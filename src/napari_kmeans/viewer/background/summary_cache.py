"""The summary of the image that was clustered last, for the next run to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_kmeans.options import SUMMARY_OPTIONS
from napari_kmeans.segmentation import summarize
from napari_kmeans.summary import CountedColors

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.summary import Summary


class SummaryCache:
    """Remembers one summary, and makes it anew for other pixels.

    Pixels are told apart by their arrays: those of one that was changed in
    place are taken to be what they were. May be asked from several threads.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget it, and free what memory it takes."""
        self._kept: _Kept | None = None

    def of(
        self,
        image: Any,
        arrays: tuple[Any, ...],
        key: Any,
        options: dict[str, Any],
        progress: Report | None,
        **where: Any,
    ) -> Summary:
        """Return the summary of an image.

        Parameters
        ----------
        image : array
        arrays : tuple of arrays
            What the image is made of, to tell it from others.
        key : object
            Which part of these it is.
        options : dict
            Of `segment`.
        progress : callable or None
        **where
            Where the channels are, as for `summarize`.
        """
        given = {name: options[name] for name in SUMMARY_OPTIONS if name in options}
        kept = self._kept
        if kept is None or not (kept.is_of(arrays, key) and kept.serves(given)):
            summary = summarize(image, **given, **where, progress=progress)
            # One assignment: what another thread reads belongs together.
            self._kept = kept = _Kept(arrays, key, given, summary)
        return kept.summary


@dataclass(frozen=True, eq=False)
class _Kept:
    """A summary, and what it was made of."""

    arrays: tuple[Any, ...]
    key: Any
    given: dict[str, Any]
    summary: Summary

    def is_of(self, arrays: tuple[Any, ...], key: Any) -> bool:
        same = all(a is b for a, b in zip(arrays, self.arrays, strict=False))
        return same and len(arrays) == len(self.arrays) and key == self.key

    def serves(self, given: dict[str, Any]) -> bool:
        # Where colors are counted, any options will do.
        return isinstance(self.summary, CountedColors) or given == self.given
