"""The slice of a level that corresponds to a slice of another level."""

from __future__ import annotations


def corresponding_slice(index: int, n_slices: int, n_other: int) -> int:
    """Return the index, among `n_other` slices, that corresponds to one of `n_slices`.

    The index is rounded as napari rounds it when it shows a slice at another level.
    So the slice that is painted is the slice that napari shows.
    """
    return min(round(index * n_other / n_slices), n_other - 1)
