"""Read what a user passes as regions: labels, masks, objects or the cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from napari_kmeans.checks import WholeNumber, is_whole_number, quote_value
from napari_kmeans.imaging.blocks import as_array
from napari_kmeans.imaging.computed_regions import GridRegions
from napari_kmeans.imaging.region_sums import WHOLE
from napari_kmeans.objects import Objects

_MAX_LENGTH = 2**62


class MeasuredRegions(NamedTuple):
    """Regions of one image.

    Attributes
    ----------
    arrays : array, mapping of int to arrays, GridRegions or None
        As in `MeasuredArrays`.
    names : dict of int to str, or None
        The names of regions by their numbers; None for numbers, or for one region.
    expected : tuple of int
        The numbers of regions that have rows also if they have no pixels.
    """

    arrays: Any
    names: dict[int, str] | None
    expected: tuple[int, ...]


def grid_regions(shape: Sequence[int], size: int | Sequence[int]) -> GridRegions:
    """Return the cells of a grid as regions for `measure`, without an array of their labels.

    Parameters
    ----------
    shape : sequence of int
        The spatial shape of the image, ``labels.shape``.
    size : int or sequence of int
        The length of a cell in pixels along each axis. The last cells along an axis are smaller
        if the length of the axis is no multiple.

    Returns
    -------
    GridRegions
        Its `names` are "row 0 column 1" and so on, with "plane 0" before them for a volume.
        ``numpy.asarray`` of it is the label image.

    Raises
    ------
    TypeError, ValueError
        If a length is no whole number from 1 on, or if there is not one for each axis.

    Examples
    --------
    >>> measure(segmentation, regions=grid_regions(segmentation.labels.shape, 512))
    """
    lengths = _check_lengths("shape", shape)
    if is_whole_number(size):
        size = (int(size),) * len(lengths)  # type: ignore[arg-type]
    sizes = _check_lengths("size", size)
    if len(sizes) != len(lengths):
        raise ValueError(
            f"size must have {len(lengths)} lengths, one for each axis, got {quote_value(size)}: "
            "give one number for all axes, or one for each."
        )
    return GridRegions(lengths, sizes)


def open_regions(regions: Any, names: Any, shape: tuple[int, ...]) -> MeasuredRegions:
    """Check the regions of an image and their names; see `measure`.

    Raises
    ------
    TypeError, ValueError
        If they are of another type or of another shape.
    """
    if regions is None:
        if names is not None:
            raise ValueError(
                f"region_names must be left out without regions, got {quote_value(names)}: pass "
                "regions, or leave the names out."
            )
        return MeasuredRegions(None, None, (WHOLE,))
    if isinstance(regions, GridRegions):
        _check_shape("regions", regions.shape, shape)
        return _named(regions, dict(regions.names) if names is None else _check_names(names))
    if isinstance(regions, Mapping):
        return _open_masks(regions, names, shape)
    array = regions.labels if isinstance(regions, Objects) else as_array("regions", regions)
    if np.dtype(array.dtype).kind not in "bui":
        raise TypeError(
            f"regions must be whole numbers, got {quote_value(array)}: pass a label image, or a "
            "mapping of names to masks."
        )
    _check_shape("regions", array.shape, shape)
    return _named(array, None if names is None else _check_names(names))


def _named(arrays: Any, names: dict[int, str] | None) -> MeasuredRegions:
    return MeasuredRegions(arrays, names or {}, tuple(names or ()))


def _open_masks(regions: Mapping[Any, Any], names: Any, shape: tuple[int, ...]) -> MeasuredRegions:
    if names is not None:
        raise ValueError(
            f"region_names must be left out for masks with names, got {quote_value(names)}: "
            "rename the keys of regions."
        )
    masks = {}
    for number, (name, mask) in enumerate(regions.items(), 1):
        array = as_array(f"regions[{name!r}]", mask)
        if np.dtype(array.dtype).kind not in "bui":
            raise TypeError(
                f"regions[{name!r}] must be a boolean mask, got {quote_value(array)}: pass a "
                "comparison such as labels == 3."
            )
        _check_shape(f"regions[{name!r}]", array.shape, shape)
        masks[number] = array
    return _named(masks, _check_names(dict(enumerate(map(str, regions), 1))))


def _check_names(names: Any) -> dict[int, str]:
    """Return the names of regions by their numbers."""
    is_list = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    pairs = dict(enumerate(names, 1)) if is_list else names
    if not isinstance(pairs, Mapping) or not all(
        is_whole_number(number) and number > 0 and isinstance(name, str)
        for number, name in pairs.items()
    ):
        raise TypeError(
            "region_names must be a mapping of numbers to texts, or texts for the numbers from 1 "
            f"on, got {quote_value(names)}: give one for each region."
        )
    found = {int(number): str(name) for number, name in pairs.items()}
    repeated = [name for name in found.values() if list(found.values()).count(name) > 1]
    if repeated:
        raise ValueError(
            f"region_names must be different, got {quote_value(repeated[0])} more than once: "
            "rename a region."
        )
    return found


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if tuple(found) != tuple(shape):
        raise ValueError(
            f"{name} must have the shape of the labels {tuple(shape)}, got {tuple(found)}: pass "
            "regions of the same pixels."
        )


def _check_lengths(name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise TypeError(
            f"{name} must be whole numbers, one for each axis, got {quote_value(values)}: pass "
            "the shape of the labels."
        )
    return tuple(WholeNumber(1, _MAX_LENGTH).check(name, each) for each in values)
