"""Split the clusters of a label image into connected objects, and measure the objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import WholeNumber, as_numbers, quote_value, to_array
from napari_kmeans.execution.compiling import compile_kernel
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.painting import label_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


_MAX_SIZE = 2**63 - 1
"""No array has more pixels."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The connected objects of a label image.

    Attributes
    ----------
    labels : array of unsigned integers, of the image's shape
        1…M in the order of the first pixel of each object; 0 where there is no object.
    table : pandas.DataFrame
        One row per object: `index`, its label; `cluster`, its label in the input;
        `pixels`, their number; `area` (in 3-D the volume) in the units of `scale`;
        `centroid 0`, …, one column per axis, in the units of `scale`; `min 0`, …
        and `max 0`, …, the half-open bounding box in pixels: `max` is outside.
    """

    labels: NDArray[Any]
    table: pd.DataFrame

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        return f"Objects(n_objects={len(self.table)}, labels of shape {self.labels.shape})"


def split_objects(
    labels: Any,
    *,
    min_size: int = 1,
    connectivity: int | None = None,
    scale: Sequence[float] | None = None,
) -> Objects:
    """Split clusters into connected objects, and remove small objects.

    Parameters
    ----------
    labels : array of integers
        NumPy array, or a list, of any number of dimensions; 0 is the background.
    min_size : int, default 1
        Objects of fewer pixels become background.
    connectivity : int, optional
        Number of axes along which the indices of two connected pixels may
        differ by 1, as in `skimage.measure.label`. In 3-D, 1 connects voxels
        that share a face, 2 also voxels that share an edge, 3 also voxels that
        share a corner. None takes the number of dimensions.
    scale : sequence of float, optional
        Distance between neighboring pixels along each axis, as in
        ``layer.scale`` of napari. None takes 1 for each axis.

    Returns
    -------
    Objects

    Raises
    ------
    TypeError
        If `labels` is not an array of integers, or is a dask array: an object
        may cross any number of its chunks.
    TypeError, ValueError
        If `min_size`, `connectivity` or `scale` has another type or is out of bounds.

    Examples
    --------
    >>> from skimage import data
    >>> segmentation = segment(data.coins(), 2)
    >>> objects = split_objects(segmentation.labels, min_size=100)
    """
    array = _check_labels(labels)
    spacing = check_scale(scale, array.ndim)
    min_size = WholeNumber(1, _MAX_SIZE).check("min_size", min_size)
    connectivity = WholeNumber(1, array.ndim, (None,)).check("connectivity", connectivity)
    components = _find_components(array, connectivity or array.ndim)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes >= min_size)
    new_labels = np.zeros(len(sizes), label_dtype(len(large)))
    new_labels[large] = np.arange(1, len(large) + 1)
    objects = new_labels[components]
    return Objects(objects, _make_table(objects, array, sizes[large], spacing))


def _find_components(labels: NDArray[Any], connectivity: int) -> NDArray[Any]:
    """Return the connected components, numbered in the order of their first pixels."""
    from skimage.measure import label

    if labels.ndim <= 3:
        return np.asarray(label(labels, background=0, connectivity=connectivity))
    # scikit-image stops at three dimensions. scipy only knows a foreground, so that each
    # cluster is split by itself.
    from scipy.ndimage import generate_binary_structure
    from scipy.ndimage import label as label_foreground

    structure = generate_binary_structure(labels.ndim, connectivity)
    components, n_components = np.zeros(labels.shape, np.int64), 0
    for cluster in np.setdiff1d(np.unique(labels), 0):
        found, n_found = label_foreground(labels == cluster, structure)
        components += np.where(found, found + n_components, 0)
        n_components += n_found
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    # The background comes first, or is missing.
    order = np.argsort(np.argsort(np.where(components.ravel()[first] == 0, -1, first)))
    numbers = order + int((components != 0).all())
    return np.asarray(numbers[inverse].reshape(labels.shape))


def _make_table(
    objects: NDArray[Any], clusters: NDArray[Any], sizes: NDArray[Any], scale: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the table of objects with labels 1…M, from their sizes (M,) in pixels."""
    import pandas as pd

    shape = len(sizes), objects.ndim
    sums, starts, ends = np.zeros((3, *shape), np.int64)
    starts[:] = objects.shape
    pixels = np.empty(len(sizes), np.int64)
    _measure_objects(objects.ravel(), np.array(objects.shape), sums, starts, ends, pixels)
    columns: dict[str, Any] = {
        "index": np.arange(1, len(sizes) + 1),
        "cluster": clusters.ravel()[pixels],
        "pixels": sizes,
        "area": sizes * scale.prod(),
    }
    centroids = sums / sizes[:, None] * scale
    for name, values in (("centroid", centroids), ("min", starts), ("max", ends)):
        columns.update({f"{name} {axis}": values[:, axis] for axis in range(objects.ndim)})
    return pd.DataFrame(columns)


@compile_kernel
def _measure_objects(
    objects: NDArray[Any],
    shape: NDArray[Any],
    sums: NDArray[Any],
    starts: NDArray[Any],
    ends: NDArray[Any],
    pixels: NDArray[Any],
) -> None:
    """Measure all objects of a flat label image in one pass.

    On 12 million pixels with 20,000 objects, `split_objects` takes 1.8 times longer
    with `scipy.ndimage.find_objects` and `numpy.bincount`.

    Parameters
    ----------
    objects : (N,) array of unsigned integers
        Labels 1…M in C order; 0 is the background.
    shape : (D,) int64 array
        Shape of the image.
    sums, starts, ends : (M, D) int64 arrays
        Output: the sum of the indices along each axis, the smallest index, and
        the largest index plus 1. `sums` and `ends` have to contain 0, and
        `starts` the shape.
    pixels : (M,) int64 array
        Output: the flat index of one pixel of each object.
    """
    n_axes = shape.shape[0]
    index = np.zeros(n_axes, np.int64)
    for i in range(objects.shape[0]):
        if objects[i]:
            m = np.int64(objects[i]) - 1
            pixels[m] = i
            for axis in range(n_axes):
                sums[m, axis] += index[axis]
                starts[m, axis] = min(starts[m, axis], index[axis])
                ends[m, axis] = max(ends[m, axis], index[axis] + 1)
        # Step to the next pixel: carry over into the axis before where an axis ends.
        axis = n_axes - 1
        index[axis] += 1
        while index[axis] == shape[axis] and axis > 0:
            index[axis] = 0
            axis -= 1
            index[axis] += 1


def _check_labels(labels: Any) -> NDArray[Any]:
    if is_dask(labels):
        raise TypeError(
            "labels must be in memory, because an object may cross several chunks, "
            "got a dask array: pass labels.compute()."
        )
    array: NDArray[Any] = to_array("labels", labels)
    if array.dtype.kind not in "bui" or not array.ndim or not array.size:
        raise TypeError(
            f"labels must be an image of whole numbers, got shape {array.shape} of dtype "
            f"{array.dtype}: pass a label image."
        )
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def check_scale(scale: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    """Return the distance between pixels along each axis, (ndim,); None is 1."""
    spacing = np.ones(ndim) if scale is None else as_numbers(scale)
    is_valid = spacing is not None and spacing.shape == (ndim,) and spacing.dtype.kind != "b"
    if spacing is None or not is_valid or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"scale must be {ndim} positive numbers, one for each axis, got {quote_value(scale)}: "
            "pass the scale of the layer."
        )
    return spacing.astype(np.float64)
