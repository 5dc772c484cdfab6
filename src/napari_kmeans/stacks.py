"""Stacks with a model for each slice, whose labels agree from slice to slice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.execution.notices import notice, notices_to
from napari_kmeans.execution.progress import Progress, Report, Step
from napari_kmeans.execution.threads import map_threads, raise_if_stopped
from napari_kmeans.imaging.blocks import open_pixels
from napari_kmeans.imaging.colors import display_colors, to_hex
from napari_kmeans.imaging.painting import label_dtype
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.options import Options
from napari_kmeans.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.types import Floats, Result

Labels: TypeAlias = NDArray[np.int64]
Fit: TypeAlias = "tuple[KMeansModel, pd.DataFrame]"
Painted: TypeAlias = tuple[Any, Any]
"""The labels of a slice, and its recolored pixels (..., C)."""
Position: TypeAlias = tuple[int, ...]
"""The index of a slice along the axes before its own two."""


@dataclass(frozen=True, eq=False)
class StackModel:
    """A model for each slice of a stack.

    Attributes
    ----------
    models : tuple of KMeansModel or None
        In the order of the slices (where several axes lead to them, the last
        runs fastest), for slices with their channels last; None where all of a
        slice was left out. Clusters are in the order of their labels.
    names : tuple of (K + 1,) integer arrays
        For each model: 0, and the label of each of its clusters. A slice of
        fewer colors has fewer clusters, and leaves some labels out.
    shape : tuple of int
        How many slices there are, along each axis before their own two.
    rgb : bool
        Whether the channels are red, green and blue.
    channel_axis : int or None
        Where the channels are in the stack; None for gray.
    """

    models: tuple[KMeansModel | None, ...]
    names: tuple[Labels, ...]
    shape: Position
    rgb: bool
    channel_axis: int | None

    @property
    def n_clusters(self) -> int:
        """The greatest label K."""
        return max(int(names[-1]) for names in self.names)

    @property
    def inertia_(self) -> float:
        """The inertia of all slices, in sum."""
        return sum(model.inertia_ for model in self.models if model)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the stack that was fitted."""
        return next(model.dtype for model in self.models if model)

    def apply(
        self, image: Any, *, mask: Any = None, progress: Report | None = None
    ) -> tuple[Any, Any]:
        """Paint a stack, each slice by its own model.

        Parameters
        ----------
        image : array
            With the axes and channels of the stack that was fitted. In one of
            another number of slices, each takes the model of the nearest, as
            the levels of a pyramid do.
        mask, progress
            As for :meth:`KMeansModel.apply`.

        Returns
        -------
        labels : array of unsigned integers, of the image's spatial shape
        recolored : array of the image's shape and dtype

        Both are lazy dask arrays, with a chunk for each slice, where the image is one.

        Raises
        ------
        ValueError
            If the axes or the channels are not those of the stack.

        Warns
        -----
        UserWarning
            If the image seems to be in other units, as :meth:`KMeansModel.apply` does.
        """
        pixels = open_pixels(image, rgb=self.rgb, channel_axis=self.channel_axis, mask=mask)
        if len(pixels.shape) != len(self.shape) + 2:
            raise ValueError(
                f"image must have {len(self.shape)} axes before the two of a slice, got shape "
                f"{np.shape(image)}: apply the models to a stack like the one they were fitted to."
            )
        palette = np.concatenate([model.palette for model in self.models if model])
        sentence = describe_other_units(pixels, palette, self.dtype)
        if sentence is not None:
            notice(sentence, stacklevel=2)
        return self.paint(pixels, progress)

    def paint(self, pixels: Pixels, progress: Report | None) -> tuple[Any, Any]:
        """Return the labels and the recolored image of the pixels of a stack."""
        stages = Progress(progress)
        step = stages.stage(1, _n_slices(pixels))
        paint = _paint_lazily if pixels.is_lazy else _paint
        labels, recolored = paint(self, pixels, step)
        stages.finish()
        return labels, pixels.channels_back(recolored)

    def paint_slice(self, pixels: Pixels, position: Position, progress: Report) -> Painted:
        """Return the labels and the recolored pixels (..., C) of one slice of a stack."""
        number = self._nearest(position, pixels.shape)
        model, dtype = self.models[number], label_dtype(self.n_clusters)
        part = _slice_of(pixels, position)
        if model is None:
            return _unpainted(part, dtype)
        labels, recolored = model.paint(model.open(_image_of(part)[0], part.mask), progress)
        return _renamed(labels, self.names[number].astype(dtype)), _channels_last(part, recolored)

    def _nearest(self, position: Position, shape: tuple[int, ...]) -> int:
        """Return the number of the model for a slice of a stack of another length."""
        # As napari rounds when it chooses the slice of another level.
        place = [
            min(round(index * own / length), own - 1)
            for index, own, length in zip(position, self.shape, shape, strict=False)
        ]
        return int(np.ravel_multi_index(place, self.shape)) if place else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the models as plain values that JSON can hold."""
        return {
            "models": [model.to_dict() if model else None for model in self.models],
            "names": [names.tolist() for names in self.names],
            "shape": list(self.shape),
            "rgb": self.rgb,
            "channel_axis": self.channel_axis,
        }


@dataclass(frozen=True, eq=False)
class StackSegmentation:
    """The clusters of each slice of a stack.

    Attributes
    ----------
    labels : array of unsigned integers, of the stack's spatial shape
        0 where a pixel was left out. A label means the same in all slices.
    recolored : array of the stack's shape and dtype
        Each pixel in the mean color of its cluster in its slice.
    model : StackModel
    table : pandas.DataFrame
        As that of a Segmentation, over all slices: a row for each label, with
        its pixels and their mean. Its `attrs` hold the inertia, summed over
        the slices, and their greatest distortion.
    slice_table : pandas.DataFrame
        The same for each slice, with its number in the column `slice`;
        ``numpy.unravel_index(number, model.shape)`` tells where it is.
    options : Options
        What was asked for.

    Labels and recolored are lazy dask arrays where the stack is one.
    """

    labels: Any
    recolored: Any
    model: StackModel
    table: pd.DataFrame
    slice_table: pd.DataFrame
    options: Options

    @property
    def distortion(self) -> float:
        """The greatest distortion of a slice."""
        return float(self.table.attrs["distortion"])


def segment_slices(
    image: Any,
    n_clusters: int = Options.n_clusters,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    color_space: str = Options.color_space,
    normalize: str = Options.normalize,
    balance: float = Options.balance,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    init: Any = Options.init,
    n_init: int | str = Options.n_init,
    max_iter: int = Options.max_iter,
    tol: float = Options.tol,
    random_state: int | None = Options.random_state,
    progress: Report | None = None,
) -> StackSegmentation:
    """Cluster the colors of each slice of a stack by itself.

    For what changes along the stack: bleaching, staining, illumination. The
    slices are those of the last two spatial axes. Labels are numbered from
    dark to bright in the first slice that has all clusters; from there on in
    both directions, the clusters of each slice are matched with those of its
    neighbor so that the distances between their centers are least in sum.

    Parameters
    ----------
    image : array
        As for :func:`segment`, of two spatial axes or more. Of a lazy one, a
        slice at a time is read.
    n_clusters : int, default 8
        In each slice. One of fewer distinct colors has fewer clusters.
    rgb, channel_axis, color_space, normalize, balance, method, coreset_size
    init, n_init, max_iter, tol, random_state
        As for :func:`segment`.
    mask : array of the image's spatial shape, optional
        Zero or False where a pixel is left out; all of a slice may be.
    progress : callable, optional
        ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    StackSegmentation

    Raises
    ------
    TypeError, ValueError
        As :func:`segment` does, if all pixels of all slices are left out, or
        if the image has fewer than two spatial axes.

    Warns
    -----
    UserWarning
        If slices have fewer clusters than were asked for.

    References
    ----------
    .. [1] H. W. Kuhn, "The Hungarian method for the assignment problem",
       :doi:`10.1002/nav.3800020109`.

    Examples
    --------
    >>> result = segment_slices(stack, n_clusters=4, rgb=True)
    >>> result.table[["index", "percent"]]
    >>> result.slice_table.pivot(index="slice", columns="index", values="percent").plot()
    """
    given: dict[str, Any] = {
        "color_space": color_space,
        "normalize": normalize,
        "balance": balance,
        "method": method,
        "coreset_size": coreset_size,
        "init": init,
        "n_init": n_init,
        "max_iter": max_iter,
        "tol": tol,
        "random_state": random_state,
    }
    options = Options(n_clusters=n_clusters, **given)
    pixels = open_pixels(image, rgb=rgb, channel_axis=channel_axis, mask=mask)
    _check_planes(pixels)
    stages = Progress(progress)
    fits, painted = _fit_slices(pixels, options, given, stages.stage(0.7, _n_slices(pixels)))
    labels_of = _matched([fit[0].cluster_centers_ if fit else None for fit in fits])
    model = _united(fits, labels_of, pixels)
    slice_table = _slice_table(fits, labels_of, model)
    # As they were counted: a pixel between two centers might be painted otherwise anew.
    step = stages.stage(0.3, _n_slices(pixels))
    labels, recolored = _gathered(painted, labels_of, pixels, model.n_clusters, step)
    recolored = pixels.channels_back(recolored)
    stages.finish()
    table = _table(slice_table, model)
    table.attrs["distortion"] = max(fit[1].attrs["distortion"] for fit in fits if fit)
    return StackSegmentation(labels, recolored, model, table, slice_table, options)


def _check_planes(pixels: Pixels) -> None:
    if len(pixels.shape) < 2:
        raise ValueError(
            f"image must have two spatial axes or more, got the spatial shape {pixels.shape}: "
            "use segment for it."
        )


def _n_slices(pixels: Pixels) -> int:
    return int(np.prod(pixels.shape[:-2], dtype=np.int64))


def _slice_of(pixels: Pixels, position: Position) -> Pixels:
    mask = None if pixels.mask is None else pixels.mask[position]
    return replace(pixels, array=pixels.array[position], mask=mask)


def _image_of(pixels: Pixels) -> tuple[Any, int | None]:
    """Return a slice as an image, and its channel axis where that has to be told."""
    if pixels.channel_axis is None:
        return pixels.array[..., 0], None
    return pixels.array, None if pixels.rgb else -1


def _channels_last(part: Pixels, recolored: Any) -> Any:
    """Return the pixels (..., C) of a slice that was painted as an image."""
    return recolored[..., None] if part.channel_axis is None else recolored


def _unpainted(part: Pixels, dtype: np.dtype[Any]) -> Painted:
    """Return a slice all of which is left out."""
    return np.zeros_like(part.array[..., 0], dtype), part.array


def _over_slices(
    function: Callable[[Position], Result], pixels: Pixels, step: Step
) -> list[Result]:
    """Return what a function gives for each slice."""
    positions = np.ndindex(pixels.shape[:-2])
    if not pixels.is_lazy:
        return map_threads(function, positions, step)
    # One after the other, for each is read by all threads already.
    results = []
    for position in positions:
        results.append(function(position))
        step(1)
    return results


def _watcher(step: Step) -> Report:
    """Return what the work on one slice reports to, so that it can be canceled within."""
    caller = get_ident()

    def watch(_done: int, _total: int) -> None:
        raise_if_stopped()
        if get_ident() == caller:
            step(0)

    return watch


def _fit_slices(
    pixels: Pixels, options: Options, given: dict[str, Any], step: Step
) -> tuple[list[Fit | None], list[Painted]]:
    """Return the model and the table of each slice, None where all of it was left out.

    Also returned: the slices, painted in labels of their own.
    """
    watch = _watcher(step)

    def fit(position: Position) -> tuple[Fit | None, Painted]:
        part = _slice_of(pixels, position)
        image, axis = _image_of(part)
        how = {**given, "rgb": pixels.rgb, "channel_axis": axis, "mask": part.mask}
        try:
            # Once for all slices is enough.
            with notices_to(len):
                result = segment(image, options.n_clusters, progress=watch, **how)
        except ValueError:
            if any(len(part.read_kept(block)) for block in part.blocks()):
                raise
            return None, _unpainted(part, label_dtype(1))
        painted = result.labels, _channels_last(part, result.recolored)
        return (result.model, result.table), painted

    fits, painted = map(list, zip(*_over_slices(fit, pixels, step), strict=True))
    _check_fits(fits, pixels, options)
    return fits, painted


def _check_fits(fits: list[Fit | None], pixels: Pixels, options: Options) -> None:
    counts = [fit[0].n_clusters for fit in fits if fit]
    if not counts:
        raise ValueError(
            f"image must have a pixel to cluster, got all {pixels.n_pixels} left out: "
            "check the mask, the alpha channel and NaN or infinite values."
        )
    fewer = sum(count < options.n_clusters for count in counts)
    if fewer:
        notice(
            f"n_clusters={options.n_clusters} gave fewer clusters in {fewer} of {len(fits)} "
            "slices: they have no more distinct colors to tell apart.",
            stacklevel=4,
        )


def _matched(centers: Sequence[Floats | None]) -> list[Labels]:
    """Return the label of each cluster of each slice, from centers (K, F) or None."""
    labels: list[Labels] = [np.empty(0, np.int64)] * len(centers)
    start = int(np.argmax([0 if each is None else len(each) for each in centers]))
    first = centers[start]
    assert first is not None
    labels[start] = np.arange(1, len(first) + 1)
    for numbers in (range(start + 1, len(centers)), range(start - 1, -1, -1)):
        latest = first.copy()
        for number in numbers:
            here = centers[number]
            if here is not None:
                labels[number] = _nearest_labels(here, latest)
                latest[labels[number] - 1] = here
    return labels


def _nearest_labels(centers: Floats, latest: Floats) -> Labels:
    """Return a label for each center (k, F), by the centers (K, F) that labels had last."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    rows, columns = linear_sum_assignment(cdist(centers, latest))
    assert len(rows) == len(centers)
    return np.asarray(columns + 1, np.int64)


def _united(fits: list[Fit | None], labels_of: list[Labels], pixels: Pixels) -> StackModel:
    models = [
        _reordered(fit[0], np.argsort(labels)) if fit else None
        for fit, labels in zip(fits, labels_of, strict=True)
    ]
    names = [np.append(0, np.sort(labels)) for labels in labels_of]
    return StackModel(
        tuple(models), tuple(names), pixels.shape[:-2], pixels.rgb, pixels.channel_axis
    )


def _reordered(model: KMeansModel, order: Labels) -> KMeansModel:
    return replace(
        model, cluster_centers_=model.cluster_centers_[order], palette=model.palette[order]
    )


def _slice_table(
    fits: list[Fit | None], labels_of: list[Labels], model: StackModel
) -> pd.DataFrame:
    import pandas as pd

    tables = [
        fit[1].assign(index=labels, slice=number).sort_values("index")
        for number, (fit, labels) in enumerate(zip(fits, labels_of, strict=True))
        if fit
    ]
    table = pd.concat(tables, ignore_index=True)
    table["color"] = _hex_colors(table, model)
    return table[["slice", *(name for name in table if name != "slice")]]


def _table(slice_table: pd.DataFrame, model: StackModel) -> pd.DataFrame:
    """Return a row for each label: its pixels in all slices, and their mean."""
    pixels = slice_table["pixels"]
    means = slice_table.filter(like="mean ")
    sums = means.mul(pixels, axis=0).assign(pixels=pixels).groupby(slice_table["index"]).sum()
    table = sums[["pixels"]].reset_index()
    table["percent"] = 100 * table["pixels"] / table["pixels"].sum()
    for name in means:
        table[name] = (sums[name] / sums["pixels"]).to_numpy()
    table["color"] = _hex_colors(table, model)
    table.attrs["inertia"] = model.inertia_
    return table


def _hex_colors(table: pd.DataFrame, model: StackModel) -> list[str]:
    """Return the colors of the means, with one scale for all slices and their mean."""
    means = table.filter(like="mean ").to_numpy(np.float64)
    palette = np.concatenate([each.palette for each in model.models if each])
    return to_hex(display_colors(means, model.rgb, model.dtype, palette))


def _paint(model: StackModel, pixels: Pixels, step: Step) -> tuple[Any, Any]:
    labels, recolored = _empty_stack(pixels, label_dtype(model.n_clusters))
    watch = _watcher(step)

    def paint(position: Position) -> None:
        painted = model.paint_slice(pixels, position, watch)
        labels[position], recolored[position] = painted

    _over_slices(paint, pixels, step)
    return labels, recolored


def _paint_lazily(model: StackModel, pixels: Pixels, step: Step) -> tuple[Any, Any]:
    watch = _watcher(step)
    painted = _over_slices(
        lambda position: model.paint_slice(pixels, position, watch), pixels, step
    )
    return _stacked_both(painted, pixels)


def _gathered(
    painted: list[Painted],
    labels_of: list[Labels],
    pixels: Pixels,
    n_clusters: int,
    step: Step,
) -> tuple[Any, Any]:
    """Return slices in labels of their own as one stack, in the labels (k,) given for each.

    `painted` is emptied, so that hardly more than one stack is held.
    """
    dtype = label_dtype(n_clusters)
    painted.reverse()

    def named(names: Labels) -> Painted:
        labels, recolored = painted.pop()
        step(1)
        return _renamed(labels, np.append(0, names).astype(dtype)), recolored

    slices = map(named, labels_of)
    if pixels.is_lazy:
        return _stacked_both(list(slices), pixels)
    stack = _empty_stack(pixels, dtype)
    for position, (labels, recolored) in zip(np.ndindex(pixels.shape[:-2]), slices, strict=True):
        stack[0][position], stack[1][position] = labels, recolored
    return stack


def _empty_stack(pixels: Pixels, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    return np.empty(pixels.shape, dtype), np.empty_like(pixels.array, order="K")


def _stacked_both(painted: list[Painted], pixels: Pixels) -> tuple[Any, Any]:
    labels, recolored = zip(*painted, strict=True)
    shape = pixels.shape[:-2]
    return _stacked(labels, shape), _stacked(recolored, shape)


def _stacked(parts: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Return lazy slices as one lazy stack."""
    import dask.array as da

    if not shape:
        return parts[0]
    size = len(parts) // shape[0]
    starts = range(0, len(parts), size)
    return da.stack([_stacked(parts[start : start + size], shape[1:]) for start in starts])


def _renamed(labels: Any, names: NDArray[Any]) -> Any:
    """Return ``names[labels]``."""
    if isinstance(labels, np.ndarray):
        return names[labels]
    return labels.map_blocks(names.__getitem__, dtype=names.dtype, meta=np.empty(0, names.dtype))
