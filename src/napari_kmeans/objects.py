"""Connected objects: the clusters of an image, parted where their pixels do not touch."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from napari_kmeans.checks import quote_value
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.painting import label_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Objects:
    """The connected objects of a label image.

    Attributes
    ----------
    labels : array of unsigned integers, of the image's shape
        1…M in the order of their first pixels; 0 where there is no object.
    table : pandas.DataFrame
        One row per object: `index` (the label); `cluster`; `pixels`; `area`, or
        volume, in world units; `centroid 0`, … along each axis, in world units;
        `min 0`, … and `max 0`, …, the bounding box in pixels, without its end.
    """

    labels: NDArray[Any]
    table: pd.DataFrame


def split_objects(
    labels: Any,
    *,
    min_size: int = 1,
    connectivity: int | None = None,
    scale: Sequence[float] | None = None,
) -> Objects:
    """Part clusters into connected objects, and drop small ones.

    Parameters
    ----------
    labels : array of integers
        Of any dimensions; 0 is the background.
    min_size : int, default 1
        Objects of fewer pixels become background.
    connectivity : int, optional
        Along how many axes neighboring pixels may differ: 1 connects pixels
        that share a side, 2 also those that share an edge, and so on. None
        connects all that touch.
    scale : sequence of float, optional
        The distance of pixels along each axis, as a napari layer has it. None
        takes 1 for each.

    Returns
    -------
    Objects

    Raises
    ------
    TypeError
        If `labels` are not whole numbers, or a dask array: an object may cross
        any number of its chunks.
    ValueError
        If another argument cannot be used.

    Examples
    --------
    >>> from skimage import data
    >>> segmentation = segment(data.coins(), 2)
    >>> objects = split_objects(segmentation.labels, min_size=100)
    """
    array = _checked_labels(labels)
    spacing = _checked_scale(scale, array.ndim)
    _check_range("min_size", min_size, None)
    if connectivity is not None:
        _check_range("connectivity", connectivity, array.ndim)
    from skimage.measure import label

    parts = np.asarray(label(array, background=0, connectivity=connectivity))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= min_size)
    names = np.zeros(len(sizes), label_dtype(len(kept)))
    names[kept] = np.arange(1, len(kept) + 1)
    objects = names[parts]
    return Objects(objects, _table(objects, array, sizes[kept], spacing))


def _table(
    objects: NDArray[Any], clusters: NDArray[Any], sizes: NDArray[Any], scale: NDArray[np.float64]
) -> pd.DataFrame:
    import pandas as pd

    shape = len(sizes), objects.ndim
    sums, lows, highs = np.zeros((3, *shape), np.int64)
    lows[:] = objects.shape
    member = np.empty(len(sizes), np.int64)
    _measure(objects.ravel(), np.array(objects.shape), sums, lows, highs, member)
    columns: dict[str, Any] = {
        "index": np.arange(1, len(sizes) + 1),
        "cluster": clusters.ravel()[member],
        "pixels": sizes,
        "area": sizes * scale.prod(),
    }
    centroids = sums / sizes[:, None] * scale
    for name, values in (("centroid", centroids), ("min", lows), ("max", highs)):
        columns.update({f"{name} {axis}": values[:, axis] for axis in range(objects.ndim)})
    return pd.DataFrame(columns)


@njit(cache=True, nogil=True)
def _measure(
    objects: NDArray[Any],
    shape: NDArray[Any],
    sums: NDArray[Any],
    lows: NDArray[Any],
    highs: NDArray[Any],
    member: NDArray[Any],
) -> None:
    """Write sums of indices (M, D), least indices, greatest ones plus 1, and a pixel of each."""
    n_axes = shape.shape[0]
    at = np.zeros(n_axes, np.int64)
    for i in range(objects.shape[0]):
        if objects[i]:
            m = np.int64(objects[i]) - 1
            member[m] = i
            for axis in range(n_axes):
                sums[m, axis] += at[axis]
                lows[m, axis] = min(lows[m, axis], at[axis])
                highs[m, axis] = max(highs[m, axis], at[axis] + 1)
        axis = n_axes - 1
        at[axis] += 1
        while at[axis] == shape[axis] and axis > 0:
            at[axis] = 0
            axis -= 1
            at[axis] += 1


def _checked_labels(labels: Any) -> NDArray[Any]:
    if is_dask(labels):
        raise TypeError(
            "labels must be in memory to find what is connected, got a dask array: "
            "pass labels.compute()."
        )
    array = np.asarray(labels)
    if array.dtype.kind not in "bui" or not array.ndim or not array.size:
        raise TypeError(
            f"labels must be an image of whole numbers, got shape {array.shape} of dtype "
            f"{array.dtype}: pass a label image."
        )
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def _checked_scale(scale: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    spacing = np.ones(ndim) if scale is None else np.asarray(scale, np.float64)
    if spacing.shape != (ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"scale must be {ndim} positive numbers, one for each axis, got {quote_value(scale)}: "
            "pass the scale of the layer."
        )
    return spacing


def _check_range(name: str, value: Any, most: int | None) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not 1 <= value <= (most or value):
        wanted = f"from 1 to {most}" if most else "of at least 1"
        raise ValueError(
            f"{name} must be a whole number {wanted}, got {quote_value(value)}: "
            "choose one in this range."
        )
