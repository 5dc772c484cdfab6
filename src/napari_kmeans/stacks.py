"""Cluster each slice of a stack by itself, with labels that correspond from slice to slice."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.checks import quote_value
from napari_kmeans.execution.notices import notice, notices_to
from napari_kmeans.execution.progress import Progress, Report, Step
from napari_kmeans.execution.threads import map_threads, raise_if_stopped
from napari_kmeans.imaging.blocks import open_pixels
from napari_kmeans.imaging.channel_names import check_channel_names
from napari_kmeans.imaging.colors import display_colors, to_hex
from napari_kmeans.imaging.painting import label_dtype, number_labels, renumber_labels
from napari_kmeans.imaging.slices import corresponding_slice
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.measuring import channel_means, merge_rows
from napari_kmeans.model import KMeansModel, as_labels
from napari_kmeans.options import FIT_OPTIONS, Options, check_names, show_options
from napari_kmeans.segmentation import segment_with_options
from napari_kmeans.summary import EmptyImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    import pandas as pd

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.cleaning import Cleaning
    from napari_kmeans.options import OptionValues
    from napari_kmeans.types import Floats, Result

Labels: TypeAlias = NDArray[np.int64]
Fit: TypeAlias = "tuple[KMeansModel, pd.DataFrame, Labels | None]"
"""The model and the table of a slice, and the start of each center as in `Segmentation`."""
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
        The models in the order of the slices. If a stack has several axes before the two
        of a slice, the slices are in C order. A model is for a slice with its
        channels last, and its clusters are in the order of their labels. None for a slice
        that is left out.
    names : tuple of (K + 1,) integer arrays
        For each model: 0, followed by the label of each of its clusters. A slice with
        fewer colors has fewer clusters, and some labels are missing. For a slice that is
        left out, 0 alone.
    shape : tuple of int
        The number of slices along each axis before the two of a slice.
    rgb : bool
        Whether the channels are red, green and blue.
    channel_axis : int or None
        The axis of the channels in the stack; None for gray.
    """

    models: tuple[KMeansModel | None, ...]
    names: tuple[Labels, ...]
    shape: Position
    rgb: bool
    channel_axis: int | None

    def __repr__(self) -> str:
        """Return one line without the models."""
        return f"StackModel(shape={self.shape}, n_clusters={self.n_clusters})"

    @property
    def n_clusters(self) -> int:
        """The largest label K."""
        return max(int(names[-1]) for names in self.names)

    @property
    def inertia_(self) -> float:
        """The sum of the inertias of all slices."""
        return sum(model.inertia_ for model in self.models if model)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the stack that was fitted."""
        return next(model.dtype for model in self.models if model)

    def apply(
        self, image: Any, *, mask: Any = None, progress: Report | None = None
    ) -> tuple[Any, Any]:
        """Paint a stack, each slice with its own model.

        Parameters
        ----------
        image : array
            A stack with the axes and channels of the stack that was fitted. If it has
            another number of slices, as another level of a pyramid has, each slice is
            painted with the model of the corresponding slice.
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
        return self.paint(self.open(image, mask), progress)

    def memberships(
        self,
        image: Any,
        *,
        mask: Any = None,
        exponent: float = 2.0,
        progress: Report | None = None,
    ) -> Any:
        """Return how much each pixel belongs to each class of its slice, (..., K).

        As :meth:`KMeansModel.memberships`, for the labels 1 to K. It is 0 for a label that a
        slice does not have, and NaN in slices that are left out.
        """
        pixels = self.open(image, mask)

        def measure(plane: Any, mask: Any, number: int, _position: Position) -> Any:
            model, names = self.models[number], self.names[number]
            if model is None:
                return None
            own = model.memberships(plane, mask=mask, exponent=exponent)
            # The last column is that of labels that the slice does not have.
            columns = np.concatenate([own, 0 * own[..., :1]], axis=-1)
            places = np.full(self.n_clusters, len(names) - 1)
            places[names[1:] - 1] = np.arange(len(names) - 1)
            return columns[..., places]

        return self._measure(pixels, measure, self.n_clusters, progress)

    def confidence(
        self,
        image: Any,
        *,
        labels: Any = None,
        mask: Any = None,
        progress: Report | None = None,
    ) -> Any:
        """Return how sure the class of each pixel is, as :meth:`KMeansModel.confidence`.

        NaN in slices that are left out.
        """
        pixels = self.open(image, mask)
        labels = None if labels is None else as_labels(labels, pixels)

        def measure(plane: Any, mask: Any, number: int, position: Position) -> Any:
            model, names, own = self.models[number], self.names[number], None
            if model is None:
                return None
            if labels is not None:
                # The model of a slice numbers its classes from 1.
                own = number_labels(labels[position], names[1:])
            return model.confidence(plane, labels=own, mask=mask)[..., None]

        return self._measure(pixels, measure, 1, progress)[..., 0]

    def open(self, image: Any, mask: Any = None) -> Pixels:
        """Return a stack with the axes and channels of the models as pixels."""
        pixels = open_pixels(image, rgb=self.rgb, channel_axis=self.channel_axis, mask=mask)
        if len(pixels.shape) != len(self.shape) + 2:
            raise ValueError(
                f"image must have {len(self.shape)} axes before the two of a slice, got shape "
                f"{np.shape(image)}: apply the models to a stack like the one they were fitted to."
            )
        palette = np.concatenate([model.palette for model in self.models if model])
        sentence = describe_other_units(pixels, palette, self.dtype)
        if sentence is not None:
            notice(sentence, stacklevel=3)
        return pixels

    def _measure(
        self,
        pixels: Pixels,
        measure: Callable[[Any, Any, int, Position], Any],
        n_values: int,
        progress: Report | None,
    ) -> Any:
        """Return numbers (..., n_values) of the pixels of each slice.

        `measure` returns those of a slice, from its image, its mask, the index of its model and
        its position, or None for NaN.
        """
        stages = Progress(progress)
        step = stages.stage(1, _n_slices(pixels))

        def measure_slice(position: Position) -> Any:
            plane = _take_slice(pixels, position)
            number = self._corresponding_model(position, pixels.shape)
            numbers = measure(_as_image(plane)[0], plane.mask, number, position)
            if numbers is None:
                zeros = np.zeros_like(plane.array[..., :1], np.float32)
                numbers = (zeros + np.float32(np.nan)).repeat(n_values, axis=-1)
            return numbers

        slices = _over_slices(measure_slice, pixels, step)
        stages.finish()
        stack = _stack_slices if pixels.is_lazy else _join_slices
        return stack(slices, pixels.shape[:-2])

    def find_undecided(self, pixels: Pixels) -> Any:
        """Return the label of the class of undecided pixels of each slice, and 0 for all others.

        None if the models decide all pixels. A dask array if the pixels are one.
        """
        found = next(model for model in self.models if model)
        if not found.cleaning.min_confidence:
            return None
        dtype = label_dtype(self.n_clusters)

        def find(position: Position) -> Any:
            plane = _take_slice(pixels, position)
            number = self._corresponding_model(position, pixels.shape)
            model = self.models[number]
            if model is None:
                return _leave_out(plane, dtype)[0]
            undecided = model.find_undecided(model.open(_as_image(plane)[0], plane.mask))
            return renumber_labels(undecided, self.names[number].astype(dtype))

        slices = _over_slices(find, pixels, raise_if_stopped)
        stack = _stack_slices if pixels.is_lazy else _join_slices
        return stack(slices, pixels.shape[:-2])

    def with_blur(self, blur: float | tuple[float, ...]) -> StackModel:
        """Return the same models with another blur, as for another level of a stack."""
        models = tuple(None if model is None else model.with_blur(blur) for model in self.models)
        return replace(self, models=models)

    @property
    def position(self) -> float:
        """The weight of the place of a pixel in its slice; 0 if places are not compared."""
        return next(model.position for model in self.models if model)

    def with_cleaning(self, cleaning: Cleaning) -> StackModel:
        """Return the same models with another cleaning of the labels of each slice."""
        models = tuple(
            None if model is None else model.with_cleaning(cleaning) for model in self.models
        )
        return replace(self, models=models)

    def at_scale(self, steps: Sequence[float]) -> StackModel:
        """Return the models for a coarser level, as :meth:`KMeansModel.at_scale` does."""
        models = tuple(None if model is None else model.at_scale(steps) for model in self.models)
        return replace(self, models=models)

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
        number = self._corresponding_model(position, pixels.shape)
        model, dtype = self.models[number], label_dtype(self.n_clusters)
        plane = _take_slice(pixels, position)
        if model is None:
            return _leave_out(plane, dtype)
        labels, recolored = model.paint(model.open(_as_image(plane)[0], plane.mask), progress)
        labels = renumber_labels(labels, self.names[number].astype(dtype))
        return labels, _channels_last(plane, recolored)

    def _corresponding_model(self, position: Position, shape: tuple[int, ...]) -> int:
        """Return the index of the model for a slice of a stack with another number of slices."""
        place = [
            corresponding_slice(index, length, own)
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

    @classmethod
    def from_dict(cls, values: Any) -> StackModel:
        """Return the models that `to_dict` wrote.

        Raises
        ------
        ValueError
            If an entry is missing, has the wrong type or contradicts another entry.
        """
        try:
            models = [KMeansModel.from_dict(each) if each else None for each in values["models"]]
            names = [np.array(each, np.int64) for each in values["names"]]
            shape = tuple(int(size) for size in values["shape"])
            rgb, axis = bool(values["rgb"]), values["channel_axis"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"the models of slices cannot be read ({error}): run the clustering again."
            ) from error
        sizes = [1 if model is None else model.n_clusters + 1 for model in models]
        are_complete = any(models) and len(models) == len(names) == math.prod(shape)
        if not are_complete or [each.shape for each in names] != [(size,) for size in sizes]:
            raise ValueError(
                f"the models of slices must have a name for each cluster, got {len(models)} "
                f"models for the shape {shape}: run the clustering again."
            )
        if any((np.diff(each) <= 0).any() or each[0] != 0 for each in names):
            raise ValueError("the labels of slices must ascend from 0: run the clustering again.")
        if axis is not None and not isinstance(axis, int):
            raise ValueError(f"channel_axis must be a whole number, got {axis!r}: run again.")
        return cls(tuple(models), tuple(names), shape, rgb, axis)


def any_model_from_dict(values: Any) -> KMeansModel | StackModel:
    """Return the model that `KMeansModel.to_dict` or `StackModel.to_dict` wrote.

    Raises
    ------
    ValueError
        If it is neither, or if an entry is not valid.
    """
    if isinstance(values, dict) and "models" in values:
        return StackModel.from_dict(values)
    return KMeansModel.from_dict(values)


@dataclass(frozen=True, eq=False)
class StackSegmentation:
    """The clusters of each slice of a stack.

    Attributes
    ----------
    labels : array of unsigned integers, of the stack's spatial shape
        0 where a pixel is left out. A label stands for matched clusters in all slices.
    recolored : array of the stack's shape and dtype
        Each pixel in the mean color of its cluster in its slice.
    model : StackModel
    table : pandas.DataFrame
        The table of all slices together, with the columns of `Segmentation.table`. Its
        `attrs` hold the sum of the inertias and the largest distortion of the slices.
    slice_table : pandas.DataFrame
        The rows of each slice, with the number of the slice in the column `slice`;
        ``numpy.unravel_index(number, model.shape)`` is its index.
    options : Options

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
        """The largest distortion of a slice."""
        return float(self.table.attrs["distortion"])

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        # Of a multiscale layer, the labels are a list of the levels.
        labels = self.labels[0] if isinstance(self.labels, list) else self.labels
        return (
            f"StackSegmentation(n_clusters={self.model.n_clusters}, labels of shape "
            f"{labels.shape}, inertia={self.model.inertia_:.6g})"
        )


@show_options(FIT_OPTIONS)
def segment_slices(
    image: Any,
    n_clusters: int = Options.n_clusters,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
    mask: Any = None,
    progress: Report | None = None,
    **options: Unpack[OptionValues],
) -> StackSegmentation:
    """Cluster the colors of each slice of a stack by itself.

    Use this for stacks whose brightness or color changes from slice to slice, for example
    by bleaching, staining or illumination. A slice is a plane of the last two spatial
    axes. Labels are numbered from dark to bright in the first slice with the most
    clusters. From there, in both directions, the clusters of each slice are matched with
    the last center of each label: the sum of the distances between matched centers is
    minimal [1]_.

    Parameters
    ----------
    image : array
        As for :func:`segment`, with at least two spatial axes. A lazy image is read slice
        by slice.
    n_clusters : int, default 8
        The number of clusters in each slice. A slice with fewer distinct colors has fewer
        clusters.
    rgb, channel_axis, channel_names, color_space, normalize, blur, texture, balance, method,
    coreset_size, init, keep_init, n_init, max_iter, tol, random_state
        As for :func:`segment`.
    smoothing, min_size, min_area, spacing
        As for :func:`segment`, for each slice by itself: a number for each axis is one for each
        of the two axes of a slice. `min_size` is at most 512 for a dask image.
    min_size_classes : None
        Labels of slices are matched after each slice is cleaned: all classes are cleaned.
    mask : array of the image's spatial shape, optional
        Zero or False where a pixel is left out. A whole slice may be left out.
    progress : callable, optional
        ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    StackSegmentation

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or an option cannot be used, if all pixels of all slices
        are left out, or if the image has fewer than two spatial axes.

    Warns
    -----
    UserWarning
        If slices have fewer clusters than asked for.

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
    check_names(FIT_OPTIONS, options)
    return segment_slices_with_options(
        image,
        Options(n_clusters=n_clusters, **options),
        rgb=rgb,
        channel_axis=channel_axis,
        channel_names=channel_names,
        mask=mask,
        progress=progress,
    )


def segment_slices_with_options(
    image: Any,
    options: Options,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
    mask: Any = None,
    first_label: int = 1,
    start_labels: Labels | None = None,
    progress: Report | None = None,
) -> StackSegmentation:
    """Cluster the colors of each slice of a stack by itself; see `segment_slices`.

    The labels are numbered from `first_label`. With `start_labels`, the clusters have the
    label of the row of `init` from which they started, and clusters of slices are not matched.
    """
    if options.min_size_classes is not None:
        raise ValueError(
            "min_size_classes must be None for slices, got "
            f"{quote_value(list(options.min_size_classes))}: labels of slices are matched after "
            "each slice is cleaned."
        )
    pixels = open_pixels(image, rgb=rgb, channel_axis=channel_axis, mask=mask)
    _check_planes(pixels)
    names = check_channel_names(channel_names, pixels.n_channels, pixels.rgb)
    stages = Progress(progress)
    fits, painted = _fit_slices(pixels, options, names, stages.stage(0.7, _n_slices(pixels)))
    if start_labels is None:
        matched = _match_clusters([fit[0].cluster_centers_ if fit else None for fit in fits])
        labels_of = [labels + first_label - 1 for labels in matched]
    else:
        labels_of = [start_labels[fit[2] if fit else []] for fit in fits]
    model = _make_stack_model(fits, labels_of, pixels)
    slice_table = _slice_table(fits, labels_of, model)
    # Keep the painted slices and only renumber them: to paint again with the reordered
    # centers could give a pixel between two centers another label than it was counted with.
    step = stages.stage(0.3, _n_slices(pixels))
    labels, recolored = _stack_renumbered(painted, labels_of, pixels, model.n_clusters, step)
    recolored = pixels.channels_back(recolored)
    stages.finish()
    table = _table_of_all(slice_table, model)
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


def _take_slice(pixels: Pixels, position: Position) -> Pixels:
    mask = None if pixels.mask is None else pixels.mask[position]
    return replace(pixels, array=pixels.array[position], mask=mask)


def _as_image(plane: Pixels) -> tuple[Any, int | None]:
    """Return a slice as an image for `segment`, and its channel axis unless it is rgb or gray."""
    if plane.channel_axis is None:
        return plane.array[..., 0], None
    return plane.array, None if plane.rgb else -1


def _channels_last(plane: Pixels, recolored: Any) -> Any:
    """Return the pixels (..., C) of a slice that was painted as an image."""
    return recolored[..., None] if plane.channel_axis is None else recolored


def _leave_out(plane: Pixels, dtype: np.dtype[Any]) -> Painted:
    """Return label 0 and the unchanged pixels of a slice that is left out."""
    return np.zeros_like(plane.array[..., 0], dtype), plane.array


def _over_slices(
    function: Callable[[Position], Result], pixels: Pixels, step: Step
) -> list[Result]:
    """Return the results of a function for all slices."""
    positions = np.ndindex(pixels.shape[:-2])
    if not pixels.is_lazy:
        return map_threads(function, positions, step)
    # One slice after the other: dask reads each with all threads already.
    results = []
    for position in positions:
        results.append(function(position))
        step(1)
    return results


def _watcher(step: Step) -> Report:
    """Return a progress callable for the work on one slice, through which it can be canceled."""
    caller = get_ident()

    def watch(_done: int, _total: int) -> None:
        raise_if_stopped()
        if get_ident() == caller:
            step(0)

    return watch


def _fit_slices(
    pixels: Pixels, options: Options, channel_names: tuple[str, ...], step: Step
) -> tuple[list[Fit | None], list[Painted]]:
    """Fit and paint each slice.

    Returns
    -------
    fits : list of (model, table, starts), or None for a slice that is left out
    painted : list of (labels, recolored)
        The labels of each slice are numbered from dark to bright in that slice.
    """
    watch = _watcher(step)

    def fit(position: Position) -> tuple[Fit | None, Painted]:
        plane = _take_slice(pixels, position)
        image, axis = _as_image(plane)
        try:
            # Drop the notices of single slices; `_check_fits` gives one for all of them.
            with notices_to(_ignore):
                result = segment_with_options(
                    image,
                    options,
                    rgb=pixels.rgb,
                    channel_axis=axis,
                    channel_names=channel_names,
                    mask=plane.mask,
                    progress=watch,
                )
        except EmptyImageError:
            return None, _leave_out(plane, label_dtype(1))
        painted = result.labels, _channels_last(plane, result.recolored)
        return (result.model, result.table, result.starts), painted

    fits, painted = map(list, zip(*_over_slices(fit, pixels, step), strict=True))
    _check_fits(fits, pixels, options)
    return fits, painted


def _ignore(_sentence: str) -> None:
    """Drop a notice."""


def _check_fits(fits: list[Fit | None], pixels: Pixels, options: Options) -> None:
    counts = [fit[0].n_clusters for fit in fits if fit]
    if not counts:
        raise EmptyImageError.of(pixels.n_pixels)
    fewer = sum(count < options.n_clusters for count in counts)
    if fewer:
        notice(
            f"n_clusters={options.n_clusters} gave fewer clusters in {fewer} of {len(fits)} "
            "slices: they have no more distinct colors.",
            stacklevel=5,
        )


def _match_clusters(centers: Sequence[Floats | None]) -> list[Labels]:
    """Return the label of each cluster of each slice, from centers (K, F) or None."""
    labels: list[Labels] = [np.empty(0, np.int64)] * len(centers)
    start = int(np.argmax([0 if each is None else len(each) for each in centers]))
    first = centers[start]
    assert first is not None
    labels[start] = np.arange(1, len(first) + 1)
    for numbers in (range(start + 1, len(centers)), range(start - 1, -1, -1)):
        # The last center that each label had: a label may be missing in some slices.
        latest = first.copy()
        for number in numbers:
            here = centers[number]
            if here is not None:
                labels[number] = _match_labels(here, latest)
                latest[labels[number] - 1] = here
    return labels


def _match_labels(centers: Floats, latest: Floats) -> Labels:
    """Return a label for each center (k, F), by the last center (K, F) of each label."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    rows, columns = linear_sum_assignment(cdist(centers, latest))
    assert len(rows) == len(centers)
    return np.asarray(columns + 1, np.int64)


def _make_stack_model(
    fits: list[Fit | None], labels_of: list[Labels], pixels: Pixels
) -> StackModel:
    models = [
        _reorder(fit[0], np.argsort(labels)) if fit else None
        for fit, labels in zip(fits, labels_of, strict=True)
    ]
    names = [np.append(0, np.sort(labels)) for labels in labels_of]
    return StackModel(
        tuple(models), tuple(names), pixels.shape[:-2], pixels.rgb, pixels.channel_axis
    )


def _reorder(model: KMeansModel, order: Labels) -> KMeansModel:
    assert model.center_pixels is not None
    return replace(
        model,
        cluster_centers_=model.cluster_centers_[order],
        center_palette=model.center_palette[order],
        center_pixels=model.center_pixels[order],
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


def _table_of_all(slice_table: pd.DataFrame, model: StackModel) -> pd.DataFrame:
    """Return a row for each label: its pixels in all slices, and their mean."""
    table = merge_rows(slice_table.drop(columns="slice"), slice_table["index"].to_numpy())
    table["color"] = _hex_colors(table, model)
    table.attrs = {"inertia": model.inertia_}
    return table


def _hex_colors(table: pd.DataFrame, model: StackModel) -> list[str]:
    """Return the display colors of the means, with one gray scale for all slices."""
    palette = np.concatenate([each.palette for each in model.models if each])
    return to_hex(display_colors(channel_means(table), model.rgb, model.dtype, palette))


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
    return _stack_lazily(painted, pixels)


def _stack_renumbered(
    painted: list[Painted],
    labels_of: list[Labels],
    pixels: Pixels,
    n_clusters: int,
    step: Step,
) -> tuple[Any, Any]:
    """Return painted slices as one stack, with the labels (k,) that are given for each slice.

    `painted` is emptied slice by slice, so that not much more than one stack is in memory.
    """
    dtype = label_dtype(n_clusters)
    painted.reverse()

    def renumber(new_labels: Labels) -> Painted:
        labels, recolored = painted.pop()
        step(1)
        return renumber_labels(labels, np.append(0, new_labels).astype(dtype)), recolored

    slices = map(renumber, labels_of)
    if pixels.is_lazy:
        return _stack_lazily(list(slices), pixels)
    stack = _empty_stack(pixels, dtype)
    for position, (labels, recolored) in zip(np.ndindex(pixels.shape[:-2]), slices, strict=True):
        stack[0][position], stack[1][position] = labels, recolored
    return stack


def _empty_stack(pixels: Pixels, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    return np.empty(pixels.shape, dtype), np.empty_like(pixels.array, order="K")


def _stack_lazily(painted: list[Painted], pixels: Pixels) -> tuple[Any, Any]:
    labels, recolored = zip(*painted, strict=True)
    shape = pixels.shape[:-2]
    return _stack_slices(labels, shape), _stack_slices(recolored, shape)


def _join_slices(slices: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Return slices in memory as one array with the axes `shape` before those of a slice."""
    return np.stack(slices).reshape(*shape, *slices[0].shape)


def _stack_slices(slices: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Return lazy slices as one lazy array with the axes `shape` before those of a slice."""
    import dask.array as da

    if not shape:
        return slices[0]
    size = len(slices) // shape[0]
    starts = range(0, len(slices), size)
    return da.stack([_stack_slices(slices[start : start + size], shape[1:]) for start in starts])
