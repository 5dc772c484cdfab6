"""Snapshots of image layers: their pixels at every resolution, and what of them to fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from napari_kmeans.imaging.blocks import as_lazy
from napari_kmeans.imaging.slices import corresponding_slice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image, Layer

WHOLE, EACH = "whole", "each"
Stack: TypeAlias = str | tuple[int | None, ...]
"""One model for all slices, one for each, or the index of one slice; None: all of an axis."""

ENOUGH_PIXELS = 4_000_000
"""A coreset of a level with as many stands for the finest one."""

DISPLAY = (
    "contrast_limits",
    "colormap",
    "gamma",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "depiction",
)
_SPATIAL = ("scale", "translate", "rotate", "shear", "units", "axis_labels")


class Origin(NamedTuple):
    """Where the pixels of a layer are from: a file, or a sample of this package."""

    path: str | None
    sample: str | None

    @classmethod
    def of(cls, layer: Image) -> Origin:
        """Return what the layer knows of it."""
        path, sample = layer.source.path, layer.source.sample
        is_own = sample is not None and sample[0] == "napari-kmeans"
        return cls(path if isinstance(path, str) else None, sample[1] if is_own else None)


class Channel(NamedTuple):
    """The layer that a channel is from: its name, its identity, the way it is shown."""

    name: str
    unique_id: str
    display: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """What an image layer was when it was asked for, whatever becomes of it later.

    Attributes
    ----------
    name : str
    unique_id : str
        Tells this layer from every other, also after it is renamed.
    levels : tuple of arrays
        The layer's data, the finest first; a single one unless `multiscale`.
        Lazy ones are dask arrays.
    multiscale : bool
    rgb : bool
    spatial : dict
        Scale, translate, rotate, shear, affine, units and axis labels.
    display : dict
        Contrast limits, colormap and the other ways in which pixels are shown.
    level : int
        The one that is fitted.
    stack : "whole", "each" or tuple of int or None
        Whether one model is fitted to all slices, one to each, or one to the
        slice of this index in the finest level.
    channels : tuple of Channel
        Where several layers are the image, each of them; the channels are then
        the last axis of the levels.
    origins : tuple of Origin
        One for each layer.
    """

    name: str
    unique_id: str
    levels: tuple[Any, ...]
    multiscale: bool
    rgb: bool
    spatial: dict[str, Any]
    display: dict[str, Any]
    level: int = 0
    stack: Stack = WHOLE
    channels: tuple[Channel, ...] = ()
    origins: tuple[Origin, ...] = ()

    @classmethod
    def of(cls, layer: Image) -> Source:
        """Take the snapshot of an image layer."""
        return cls(
            name=layer.name,
            unique_id=str(layer.unique_id),
            levels=tuple(as_lazy(level) for level in layer_levels(layer)),
            multiscale=layer.multiscale,
            rgb=layer.rgb,
            spatial=spatial_attributes(layer),
            display=_attributes(layer, DISPLAY),
            origins=(Origin.of(layer),),
        )

    def fitted_on(self, level: int | None, stack: Any, method: str) -> Source:
        """Return the same source with a choice of what is fitted.

        Parameters
        ----------
        level : int or None
            None chooses by `default_level`.
        stack : "whole", "each", int or tuple of int or None
        method : str

        Raises
        ------
        ValueError
            If the layer has no such level or slice.
        """
        stack = checked_stack(stack, self.shape)
        if level is None:
            level = default_level([self.shape_of(n) for n in range(self.n_levels)], stack, method)
        if level not in range(self.n_levels):
            raise ValueError(
                f"level must be from 0, the finest, to {self.n_levels - 1}, got {level!r}: "
                "choose one that the layer has."
            )
        return replace(self, level=level, stack=stack)

    @property
    def data(self) -> Any:
        """The pixels at full resolution."""
        return self.levels[0]

    @property
    def n_levels(self) -> int:
        """The number of resolutions."""
        return len(self.levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape at full resolution, without the channels."""
        return self.shape_of(0)

    def shape_of(self, level: int) -> tuple[int, ...]:
        """Return the spatial shape of a level."""
        return spatial_shape(self.levels[level], self.rgb or bool(self.channels))

    def index_of(self, level: int) -> tuple[Any, ...] | None:
        """Return the index of the one slice that is clustered; None if all are."""
        if isinstance(self.stack, str):
            return None
        return index_at(self.stack, self.shape, self.shape_of(level))


def layer_levels(layer: Layer) -> list[Any]:
    """Return the arrays of an image or labels layer, the finest first."""
    return list(layer.data) if layer.multiscale else [layer.data]


def spatial_shape(array: Any, channels_last: bool) -> tuple[int, ...]:
    """Return the shape of an image without its channels."""
    shape = tuple(array.shape)
    return shape[:-1] if channels_last else shape


def spatial_attributes(layer: Layer) -> dict[str, Any]:
    """Return what says where a layer lies in the world."""
    return {**_attributes(layer, _SPATIAL), "affine": layer.affine.affine_matrix.copy()}


def _attributes(layer: Layer, names: Iterable[str]) -> dict[str, Any]:
    return {name: _copy(getattr(layer, name)) for name in names}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray | list) else value


def default_level(shapes: list[tuple[int, ...]], stack: Stack, method: str) -> int:
    """Return the level to fit: the coarsest with pixels enough for a coreset, else the finest."""
    if method == "full":
        return 0
    sizes = [_fitted_pixels(shape, shapes[0], stack) for shape in shapes]
    return max((n for n, size in enumerate(sizes) if size >= ENOUGH_PIXELS), default=0)


def _fitted_pixels(shape: tuple[int, ...], finest: tuple[int, ...], stack: Stack) -> int:
    if stack == WHOLE:
        fitted: tuple[int, ...] = shape
    elif isinstance(stack, str):
        fitted = shape[-2:]
    else:
        fitted = tuple(size for size, index in zip(shape, stack, strict=True) if index is None)
    return int(np.prod(fitted, dtype=np.int64))


def checked_stack(stack: Any, shape: tuple[int, ...]) -> Stack:
    """Return "whole", "each" or an index of one slice for every axis.

    Raises
    ------
    ValueError
        If it is none of these, or not in the image.
    """
    if isinstance(stack, str) and stack in (WHOLE, EACH):
        return stack
    index = stack if isinstance(stack, tuple | list) else (stack,)
    index = (*index, *[None] * (len(shape) - len(index)))
    fits = len(index) == len(shape) and all(
        place is None
        or (isinstance(place, int | np.integer) and not isinstance(place, bool) and 0 <= place < n)
        for place, n in zip(index, shape, strict=True)
    )
    if not fits or None not in index:
        raise ValueError(
            f"stack must be 'whole', 'each' or the index of a slice in the shape {shape}, got "
            f"{stack!r}: give whole numbers from 0, with None for the axes of the slice."
        )
    return tuple(None if place is None else int(place) for place in index)


def index_at(
    slice_index: tuple[int | None, ...], finest: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Any, ...]:
    """Return the index, for arrays of this shape, of a slice of the finest level."""
    return tuple(
        slice(None) if place is None else corresponding_slice(place, full, size)
        for place, full, size in zip(slice_index, finest, shape, strict=True)
    )


def shown_slice(layer: Image) -> tuple[int | None, ...]:
    """Return the index of the slice of a layer that is in view, None for the axes that are."""
    # The one place where napari tells it with the order of the axes, units and
    # transforms taken into account.
    point = layer._data_slice.point
    return tuple(None if np.isnan(place) else round(float(place)) for place in point)
