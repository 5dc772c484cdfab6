"""The summary of the image that was clustered last, for the next run to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_kmeans.segmentation import summarize
from napari_kmeans.summary import CountedColors

if TYPE_CHECKING:
    from napari_kmeans.progress import Report
    from napari_kmeans.summary import Summary

_OPTIONS = ("color_space", "normalize", "method", "coreset_size", "random_state")
"""What `summarize` takes, and what a sample depends on."""


class KeptSummary:
    """Remembers one summary, and makes it anew for other pixels.

    Pixels are told apart by their arrays: those of one that was changed in
    place are taken to be what they were.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget it, and free what memory it takes."""
        self._arrays: tuple[Any, ...] = ()
        self._key: Any = None
        self._given: dict[str, Any] = {}
        self._summary: Summary | None = None

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
        given = {name: options[name] for name in _OPTIONS if name in options}
        if self._summary is None or not (self._is_of(arrays, key) and self._serves(given)):
            self._summary = summarize(image, **given, **where, progress=progress)
            self._arrays, self._key, self._given = arrays, key, given
        return self._summary

    def _is_of(self, arrays: tuple[Any, ...], key: Any) -> bool:
        same = all(a is b for a, b in zip(arrays, self._arrays, strict=False))
        return same and len(arrays) == len(self._arrays) and key == self._key

    def _serves(self, given: dict[str, Any]) -> bool:
        # Where colours are counted, any options will do.
        return isinstance(self._summary, CountedColors) or given == self._given
