"""Clean labels: turn the nearest classes of pixels into regions, and leave pixels undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.soft import find_confidence
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads
from napari_kmeans.imaging.blocks import Frame, split_shape, whole_block
from napari_kmeans.imaging.chunks import read_piece
from napari_kmeans.imaging.declared import as_key
from napari_kmeans.imaging.halos import halo_depths, inner_block, join_to_blocks, with_halo
from napari_kmeans.imaging.neighborhood import compare_like_blocks
from napari_kmeans.imaging.painting import label_dtype, renumber_labels
from napari_kmeans.imaging.regions import RegionFilter
from napari_kmeans.imaging.smoothing import Smoother
from napari_kmeans.imaging.surroundings import Surroundings
from napari_kmeans.imaging.volumes import MAX_AXES
from napari_kmeans.options import CLEANING_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.clustering.soft import Around
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.options import Options
    from napari_kmeans.types import Block, Floats

_CODES = tuple(np.dtype(each).str[1:] for each in (np.uint8, np.uint16, np.float32))
"""Dtypes of images that the kernels read where they lie."""

_MAX_REACH = 2048
"""The largest halo in pixels around the chunks of a dask image."""

_TOLERANCE = 1e-9
"""Numbers of pixels that differ less than this from a whole number are rounded to it."""

_MAX_PIXELS = 2**31
"""A number of pixels that no region of a window has: the kernels count with int32."""

_BLOCK_PIXELS = 2**21
_BLOCK_BYTES = 2**23
"""Chunks of a dask image with large halos are joined up to one of these limits.

With twice these limits, smoothing took 0.95 of the CPU time, and 200 MB more on two threads.
"""


@dataclass(frozen=True)
class Cleaning:
    """How labels are cleaned. A model contains it.

    Attributes
    ----------
    smoothing : float
        See `Smoother`.
    min_size : int
        See `RegionFilter`.
    min_area : float
        The smallest area or volume of a region, in squared or cubed units of `spacing`.
    min_size_classes : tuple of int or None
        The numbers, from 1, of the centers whose small regions are replaced; None for all.
        Edits of classes do not change the numbers. A class is chosen if all its centers are.
    min_confidence : float
        The least confidence of a pixel in its class. A pixel with less is left undecided.
    spacing : float or tuple of float
        The distance of neighboring pixels along each spatial axis, in any unit; 0 for an axis
        along which pixels are not neighbors.
    """

    smoothing: float = 0.0
    min_size: int = 0
    min_area: float = 0.0
    min_size_classes: tuple[int, ...] | None = None
    min_confidence: float = 0.0
    spacing: float | tuple[float, ...] = 1.0

    @classmethod
    def of(cls, options: Options) -> Cleaning:
        """Return the cleaning of some options."""
        return cls(**{name: getattr(options, name) for name in CLEANING_OPTIONS})

    @property
    def options(self) -> dict[str, Any]:
        """The options of the cleaning by their names."""
        return {name: getattr(self, name) for name in CLEANING_OPTIONS}

    @property
    def moves_pixels(self) -> bool:
        """Whether pixels may get another class than the nearest, by the pixels around them."""
        return bool(self.smoothing) or self.min_size > 1 or bool(self.min_area)

    @property
    def is_off(self) -> bool:
        """Whether the labels stay those of the nearest centers."""
        return not self.moves_pixels and not self.min_confidence

    def spacing_of(self, n_axes: int) -> tuple[float, ...]:
        """Return the distance of neighbors along each of `n_axes` spatial axes.

        Raises
        ------
        ValueError
            If the spacing has another number of axes, or neighbors along too many axes.
        """
        spacing = self.spacing
        distances = spacing if isinstance(spacing, tuple) else (spacing,) * n_axes
        if len(distances) != n_axes:
            raise ValueError(
                f"spacing must have a number for each of the image's {n_axes} spatial axes, got "
                f"{len(distances)} numbers: give one number for all axes, or one for each."
            )
        n_linked = sum(distance > 0 for distance in distances)
        if n_linked > MAX_AXES and self.moves_pixels:
            raise ValueError(
                f"spacing must be 0 for all but {MAX_AXES} axes, got {n_linked} axes with "
                "neighbors: give 0 for axes such as time."
            )
        return distances

    def smallest_region(self, n_axes: int) -> int:
        """Return the smallest number of pixels of a region.

        It is `min_size`, or `min_area` divided by the size of a pixel and rounded up, whichever
        is larger.
        """
        n_pixels = self.min_area
        for distance in filter(None, self.spacing_of(n_axes)):
            n_pixels /= distance
        # The quotient of two decimal fractions is rarely whole: a region of exactly the smallest
        # area would be one pixel too small without the tolerance.
        n_pixels = min(n_pixels * (1 - _TOLERANCE), _MAX_PIXELS)
        return max(self.min_size, math.ceil(n_pixels))

    def with_centers(self, n_centers: int) -> Cleaning:
        """Return the cleaning of a fit that found only `n_centers`, maybe fewer than it asked for.

        Clusters that were not found cannot be cleaned.
        """
        if self.min_size_classes is None:
            return self
        chosen = tuple(number for number in self.min_size_classes if number <= n_centers)
        if chosen:
            return replace(self, min_size_classes=chosen)
        return replace(self, min_size_classes=None, min_size=0, min_area=0.0)

    def with_new_centers(self, replaced: NDArray[np.int64], n_centers: int, n_new: int) -> Cleaning:
        """Return the cleaning after the last `n_new` centers have replaced some of `n_centers`.

        The new centers are chosen if all replaced centers were.
        """
        if self.min_size_classes is None:
            return self
        is_chosen = np.isin(np.arange(1, n_centers + 1), self.min_size_classes)
        kept = np.delete(is_chosen, replaced)
        new = np.full(n_new, is_chosen[replaced].all())
        chosen = np.flatnonzero(np.concatenate([kept, new])) + 1
        return replace(self, min_size_classes=tuple(chosen.tolist()))

    def with_size_as_area(self, n_axes: int) -> Cleaning:
        """Return the same cleaning with an area instead of a number of pixels.

        An area is not rounded from level to level.
        """
        pixel = math.prod(filter(None, self.spacing_of(n_axes)))
        return replace(self, min_size=0, min_area=max(self.min_area, self.min_size * pixel))

    def at_step(self, steps: Sequence[float]) -> Cleaning:
        """Return the cleaning of a coarser level, whose pixels are `steps` times as large.

        A pixel of the coarser level stands for many pixels of the finest level, and a pair of
        neighbors for the pairs along their border.
        """
        spacing = self.spacing_of(len(steps))
        linked = [step for step, distance in zip(steps, spacing, strict=True) if distance]
        size = float(np.prod(linked)) ** (1 / max(len(linked), 1))
        scaled = tuple(a * b for a, b in zip(spacing, steps, strict=True))
        n_pixels = math.ceil(self.min_size / float(np.prod(linked)) - _TOLERANCE)
        return replace(self, smoothing=self.smoothing / size, min_size=n_pixels, spacing=scaled)


NO_CLEANING = Cleaning()
"""The cleaning that changes no label."""


@dataclass(frozen=True, eq=False)
class Cleaner:
    """A cleaning with the classes of a model.

    Attributes
    ----------
    cleaning : Cleaning
    space : FeatureSpace
    centers : (M, F) float64 array
    classes : (M,) int64 array
        The class of each center, from 0 to K - 1.
    variance : float
        The variance of the points within their clusters, per feature.
    is_nearest : bool, default True
        See `Smoother`.
    """

    cleaning: Cleaning
    space: FeatureSpace
    centers: Floats
    classes: NDArray[np.int64]
    variance: float
    is_nearest: bool = True

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.classes.max()) + 1

    @property
    def n_marked(self) -> int:
        """The largest label that `clean_and_mark` returns."""
        return self.n_classes * (2 if self.cleaning.min_confidence else 1)

    def clean(self, pixels: Pixels, labels: Any, step: Step = ignore) -> Any:
        """Return the cleaned labels of an image, as `clean_and_mark`; 0 for undecided pixels."""
        return self.drop_undecided(self.clean_and_mark(pixels, labels, step))

    def drop_undecided(self, marked: Any) -> Any:
        """Return labels that `clean_and_mark` returned, with 0 for undecided pixels."""
        if not self.cleaning.min_confidence:
            return marked
        numbers = np.arange(self.n_marked + 1)
        numbers[self.n_classes + 1 :] = 0
        return renumber_labels(marked, numbers.astype(label_dtype(self.n_classes)))

    def clean_and_mark(self, pixels: Pixels, labels: Any, step: Step = ignore) -> Any:
        """Return the cleaned labels of an image, with other numbers for undecided pixels.

        A pixel of class k that is left undecided has the number k + K, so that undecided
        pixels can be counted by their class.

        Parameters
        ----------
        pixels : Pixels
        labels : array of unsigned integers, of the spatial shape
            The label of the nearest class of each pixel, from 1 to K; 0 for a pixel that is left
            out. A dask array, with the chunks of the image, if the image is one.
        step : callable
            Called with 0 several times, unless the image is a dask array.
        """
        if self.cleaning.is_off:
            return labels
        if pixels.is_lazy:
            return self._clean_lazily(pixels, labels)
        smoother, regions = self._stages(len(pixels.shape))
        if not smoother.is_off:
            labels = smoother.smooth(self._points(pixels), labels, step=step)
        labels = regions.filter(labels)
        return self._mark_in_memory(pixels, labels, step) if self._marks else labels

    @property
    def _marks(self) -> bool:
        return self.cleaning.min_confidence > 0

    def _mark(self, points: NDArray[Any], labels: NDArray[Any], around: Around) -> NDArray[Any]:
        """Return labels (n,) from 1 to K, with K added where a point (n, F) is undecided."""
        own = labels.astype(np.int64)
        confidence = find_confidence(points, self.centers, self.classes, own - 1, around)
        own[confidence < self.cleaning.min_confidence] += self.n_classes
        return own.astype(label_dtype(self.n_marked))

    def _mark_in_memory(self, pixels: Pixels, labels: NDArray[Any], step: Step) -> NDArray[Any]:
        marked = np.zeros(labels.shape, label_dtype(self.n_marked))
        surroundings = Surroundings(labels, self.smoother(labels.ndim))

        def mark(block: Block) -> None:
            piece = read_piece([pixels], (0, block), self.space)
            kept = slice(None) if piece.kept is None else piece.kept
            target = np.zeros(labels[block].size, marked.dtype)
            own, around = labels[block].reshape(-1)[kept], surroundings.around(block, kept)
            target[kept] = self._mark(piece.points, own, around)
            marked[block] = target.reshape(labels[block].shape)

        map_threads(mark, pixels.blocks(), lambda _: step(0))
        return marked

    def smoother(self, n_axes: int) -> Smoother:
        """Return what smooths the labels of an image of `n_axes` spatial axes."""
        cleaning = self.cleaning
        return Smoother(
            self.centers,
            self.classes,
            self.variance,
            cleaning.smoothing,
            cleaning.spacing_of(n_axes),
            self.is_nearest,
        )

    def _stages(self, n_axes: int) -> tuple[Smoother, RegionFilter]:
        smoother, min_size = self.smoother(n_axes), self.cleaning.smallest_region(n_axes)
        is_linked = tuple(map(bool, smoother.spacing))
        return smoother, RegionFilter(min_size, is_linked, self._chosen_labels())

    def _chosen_labels(self) -> tuple[int, ...] | None:
        """Return the labels, from 1 to K, whose small regions are replaced; None for all."""
        numbers = self.cleaning.min_size_classes
        if numbers is None:
            return None
        is_other = np.isin(np.arange(1, len(self.classes) + 1), numbers, invert=True)
        chosen = np.setdiff1d(self.classes, self.classes[is_other]) + 1
        return tuple(chosen.tolist())

    def _reach(self, n_axes: int) -> list[int]:
        """Return the largest distance along each axis of pixels that can affect a label."""
        smoother, regions = self._stages(n_axes)
        largest = max(regions.reach)
        if largest > _MAX_REACH:
            allowed = _MAX_REACH * regions.min_size // largest
            raise ValueError(self._describe_large_size(regions.min_size, allowed, n_axes))
        nothing = (0,) * n_axes
        own = nothing if smoother.is_off else smoother.reach
        # Whether a pixel is decided depends on the labels around it, too.
        margins = smoother.margins if self._marks else nothing
        return [sum(parts) for parts in zip(own, regions.reach, margins, strict=True)]

    def _describe_large_size(self, n_pixels: int, allowed: int, n_axes: int) -> str:
        cleaning = self.cleaning
        if cleaning.min_size == n_pixels:
            name, limit, value = "min_size", str(allowed), str(n_pixels)
        else:
            pixel = math.prod(filter(None, cleaning.spacing_of(n_axes)))
            limit, value = f"{allowed * pixel:g} ({allowed} pixels)", f"{cleaning.min_area:g}"
            name = "min_area"
        return (
            f"{name} must be at most {limit} for a dask image, got {value}: choose a smaller size, "
            "or pass an array in memory."
        )

    def _are_points(self, values: NDArray[Any]) -> bool:
        """Return whether values are points that the kernels read where they lie."""
        is_same = self.space.is_plain and self.space.is_pointwise
        return is_same and values.dtype.isnative and values.dtype.str[1:] in _CODES

    def _points(self, pixels: Pixels) -> NDArray[Any]:
        """Return the points (..., F or more) of an image in memory."""
        image = pixels.array
        if self._are_points(image):
            return np.asarray(image)
        points: NDArray[Any] = np.zeros((*pixels.shape, self.centers.shape[1]), np.float64)

        def fill(block: Block) -> None:
            piece = read_piece([pixels], (0, block), self.space)
            target = points[block].reshape(-1, points.shape[-1])
            target[slice(None) if piece.kept is None else piece.kept] = piece.points
            points[block] = target.reshape(points[block].shape)

        map_threads(fill, pixels.blocks())
        return points

    def _clean_lazily(self, pixels: Pixels, labels: Any) -> Any:
        import dask.array as da

        chunks = pixels.array.chunks[:-1]
        image, n_values = pixels.array, pixels.n_channels
        if not self.space.is_pointwise:
            image = compare_like_blocks(pixels, self.space)
            n_values = image.shape[-1]
        reaches = self._reach(len(chunks))
        arrays = [labels[..., None], *([image] if self._needs_points(len(chunks)) else [])]
        n_bytes = sum(array.dtype.itemsize * array.shape[-1] for array in arrays)
        joined = join_to_blocks(chunks, reaches, min(_BLOCK_PIXELS, _BLOCK_BYTES // n_bytes))
        depths = halo_depths(joined, reaches)
        dtype = label_dtype(self.n_marked) if self._marks else labels.dtype
        cleaned = da.map_blocks(
            _clean_chunk,
            as_key(self),
            n_values,
            as_key(joined),
            depths,
            *(with_halo(array.rechunk(dict(enumerate(joined))), depths) for array in arrays),
            dtype=dtype,
            # With `drop_axis`, dask would copy each chunk of each array.
            chunks=(*joined, (1,)),
            meta=np.empty((0,) * (labels.ndim + 1), dtype),
        )
        return cleaned[..., 0].rechunk(chunks)

    def _needs_points(self, n_axes: int) -> bool:
        """Return whether the labels depend on the points of pixels, beside the nearest labels."""
        return self._marks or not self._stages(n_axes)[0].is_off

    def clean_window(
        self,
        values: NDArray[Any] | None,
        labels: NDArray[Any],
        n_values: int,
        origin: tuple[int, ...],
    ) -> NDArray[Any]:
        """Return the labels of `clean_and_mark` of a window, from its values (..., n or more).

        The values may be None if the labels do not depend on them.
        """
        smoother, regions = self._stages(labels.ndim)
        if values is None:
            return regions.filter(labels)
        points = values
        if not self._are_points(values):
            points = self._points_of_window(values, labels, n_values)
        if not smoother.is_off:
            labels = smoother.smooth(points, labels, origin)
        labels = regions.filter(labels)
        return self._mark_window(points, labels) if self._marks else labels

    def _points_of_window(
        self, values: NDArray[Any], labels: NDArray[Any], n_values: int
    ) -> NDArray[Any]:
        """Return the points (..., F) of a window; 0 for pixels that are left out."""
        points: NDArray[Any] = np.zeros((*labels.shape, self.centers.shape[1]), np.float64)
        for block in split_shape(labels.shape):
            kept = labels[block].reshape(-1) > 0
            flat = values[block].reshape(-1, values.shape[-1])[kept]
            flat = np.ascontiguousarray(flat[:, :n_values])
            target = points[block].reshape(-1, points.shape[-1])
            target[kept] = self.space.points(flat)
            points[block] = target.reshape(points[block].shape)
        return points

    def _mark_window(self, points: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
        flat = labels.reshape(-1)
        marked = np.zeros(flat.size, label_dtype(self.n_marked))
        kept = flat > 0
        own = points.reshape(-1, points.shape[-1])[kept, : self.centers.shape[1]]
        whole = whole_block(labels.shape)
        around = Surroundings(labels, self.smoother(labels.ndim)).around(whole, kept)
        marked[kept] = self._mark(own.astype(np.float64, copy=False), flat[kept], around)
        return marked.reshape(labels.shape)


def _clean_chunk(
    cleaner: Cleaner,
    n_values: int,
    chunks: tuple[tuple[int, ...], ...],
    depths: tuple[int, ...],
    labels: NDArray[Any],
    *images: NDArray[Any],
    block_id: tuple[int, ...] = (),
) -> NDArray[Any]:
    """Return the cleaned and marked labels (..., 1) of a chunk.

    All arrays have a halo of `depths`. There is no image if the labels do not depend on it.
    """
    own = np.asarray(labels)[..., 0]
    if not own.size:
        dtype = label_dtype(cleaner.n_marked) if cleaner.cleaning.min_confidence else own.dtype
        return own[..., None].astype(dtype)
    numbers = block_id[: own.ndim]
    inside = inner_block(chunks, depths, numbers)
    frame = Frame.of_chunk(chunks, numbers).moved_back(tuple(side.start for side in inside))
    with in_task():
        image = np.asarray(images[0]) if images else None
        cleaned = cleaner.clean_window(image, own, n_values, frame.origin)
    return np.ascontiguousarray(cleaned[inside])[..., None]
