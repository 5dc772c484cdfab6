"""Take snapshots of image layers: their pixels at all levels, and the part to cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from napari_kmeans.checks import WholeNumber, is_whole_number, quote_value
from napari_kmeans.feature_space.neighborhood import scale_blur
from napari_kmeans.files.units import area_unit, comparable_lengths
from napari_kmeans.imaging.blocks import as_lazy
from napari_kmeans.imaging.slices import corresponding_slice
from napari_kmeans.viewer.from_layers.geometry import is_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Image, Layer

    from napari_kmeans.imaging.cleaning import Cleaning
    from napari_kmeans.model import KMeansModel

WHOLE, EACH = "whole", "each"
Stack: TypeAlias = str | tuple[int | None, ...]
"""The slices to cluster: "whole" fits one model to all slices, "each" one model to each slice.

A tuple is the index of one slice in the finest level, with None for the axes of the slice.
"""

ENOUGH_PIXELS = 4_000_000
"""Pixels of a level that is fine enough: its coreset represents the finest level."""

DISPLAY_ATTRIBUTES = (
    "contrast_limits",
    "colormap",
    "gamma",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "depiction",
)
SPATIAL_ATTRIBUTES = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class Origin(NamedTuple):
    """The source of the pixels of a layer: a file, or a sample of this package."""

    path: str | None
    sample: str | None

    @classmethod
    def of(cls, layer: Image) -> Origin:
        """Return the source that napari stores in a layer."""
        path, sample = layer.source.path, layer.source.sample
        is_own = sample is not None and sample[0] == "napari-kmeans"
        return cls(path if isinstance(path, str) else None, sample[1] if is_own else None)


class Channel(NamedTuple):
    """One channel of an image: the layer that shows it, or its place in the axis of channels."""

    name: str
    unique_id: str
    display: dict[str, Any]


class ChannelAxis(NamedTuple):
    """The axis of a layer along which its channels lie."""

    number: int
    """The number of the axis, from 0."""

    levels: tuple[Any, ...]
    """The data of the layer with this axis in its place, finest level first."""

    spatial: dict[str, Any]
    """The attributes that place the layer in the world, with this axis."""


class Inside(NamedTuple):
    """The Labels layer of a result in which an image is clustered, and the chosen classes.

    The result of such a run is a layer of its own: it never replaces this layer.
    """

    layer: str
    layer_id: str

    classes: tuple[int, ...] = ()
    """The labels of the chosen classes. Empty if all labels but 0 are the mask."""

    largest: int = 0
    """The largest label of the layer if classes are chosen: the new labels follow it."""


@dataclass(frozen=True, eq=False)
class Source:
    """A snapshot of an image layer. Later changes of the layer have no effect.

    Pixels that are changed in place are the exception: arrays are not copied.

    Attributes
    ----------
    name : str
    unique_id : str
        The `unique_id` of the layer. It stays the same when the layer is renamed.
    levels : tuple of arrays
        The data of the layer, finest level first; one array unless `multiscale`.
        Arrays of zarr are converted to dask arrays.
    multiscale : bool
    rgb : bool
    spatial : dict
        Scale, translate, rotate, shear, affine, units and axis labels.
    display : dict
        Contrast limits, colormap, gamma, interpolation, rendering and depiction.
    level : int
        The level that is fitted.
    stack : "whole", "each" or tuple of int or None
        The slices that are clustered, as in `Stack`.
    channels : tuple of Channel
        The channels of the image, which are the last axis of the levels: several layers, or
        the `channel_axis` of one layer. Empty for an RGB or gray layer.
    channel_axis : ChannelAxis or None
        The axis of the channels in a single layer.
    origins : tuple of Origin
        The source of the pixels of each layer.
    inside : Inside or None
        The classes in which the image is clustered.
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
    channel_axis: ChannelAxis | None = None
    origins: tuple[Origin, ...] = ()
    inside: Inside | None = None

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
            display=_copy_attributes(layer, DISPLAY_ATTRIBUTES),
            origins=(Origin.of(layer),),
        )

    def fitted_on(self, level: int | None, stack: Any, method: str) -> Source:
        """Return the same source with another level and other slices to cluster.

        Parameters
        ----------
        level : int or None
            The level to fit; None chooses by `default_level`.
        stack : "whole", "each", int or tuple of int or None
            An index may be shorter than the shape: the missing items are None.
        method : str
            "coreset" or "full", for the choice of the level.

        Raises
        ------
        ValueError
            If the layer does not have the level or the slice.
        """
        stack = complete_stack(stack, self.shape)
        if level is None:
            level = default_level([self.shape_of(n) for n in range(self.n_levels)], stack, method)
        level = WholeNumber(0, self.n_levels - 1).check("level", level)
        return replace(self, level=level, stack=stack)

    @property
    def data(self) -> Any:
        """The pixels of the finest level."""
        return self.levels[0]

    @property
    def n_levels(self) -> int:
        """The number of levels."""
        return len(self.levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the finest level without the channels."""
        return self.shape_of(0)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The names of the channels, without the words that begin the names of all layers."""
        return without_common_words([channel.name for channel in self.channels])

    def shape_of(self, level: int) -> tuple[int, ...]:
        """Return the shape of a level without the channels."""
        return spatial_shape(self.levels[level], self.rgb or bool(self.channels))

    def index_in_layer(self, index: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the index of a slice with None for the axis of channels of the layer."""
        if self.channel_axis is None:
            return index
        number = self.channel_axis.number
        return (*index[:number], None, *index[number:])

    def index_of(self, level: int) -> tuple[Any, ...] | None:
        """Return the index, in a level, of the slice that is clustered; None if all slices are."""
        if isinstance(self.stack, str):
            return None
        return index_at_level(self.stack, self.shape, self.shape_of(level))

    def blur_at(self, blur: float | tuple[float, ...], level: int) -> float | tuple[float, ...]:
        """Return the blur of the part of a level that is clustered, in pixels of this level.

        Parameters
        ----------
        blur : float or tuple of float
            In pixels of the finest level. A single number does not blur axes of time.
        level : int
        """
        axes = self._blurred_axes()
        if not isinstance(blur, tuple) and blur and any(map(self._is_time, axes)):
            blur = tuple(0.0 if self._is_time(axis) else blur for axis in axes)
        finest, shape = (
            tuple(full[axis] for axis in axes) for full in (self.shape, self.shape_of(level))
        )
        return scale_blur(blur, finest, shape)

    def cleaning_at(self, cleaning: Cleaning, level: int, position: float) -> Cleaning:
        """Return a cleaning for the part of a level that is clustered.

        Parameters
        ----------
        cleaning : Cleaning
            In pixels of the finest level. A spacing that is a single number is replaced by the
            scale of the layer, in micrometers if its units are lengths; pixels are not neighbors
            along axes of time.
        level : int
        position : float
            The weight of the place of a pixel, which depends on the spacing, too.
        """
        if not cleaning.moves_pixels and not position:
            return cleaning
        if not isinstance(cleaning.spacing, tuple):
            cleaning = replace(cleaning, spacing=self._spacing())
        return cleaning.at_step(self.steps_between(0, level))

    def model_at(self, model: KMeansModel, level: int, *, is_own: bool = False) -> KMeansModel:
        """Return a model in pixels of a level.

        The spacing of pixels is that of this layer, unless the model `is_own`: fitted to it.
        """
        cleaning = model.cleaning
        # Without a pixel size, a minimum area would count pixels: take the pixels of the fit.
        if not is_own and (not cleaning.min_area or self.has_pixel_size):
            cleaning = replace(cleaning, spacing=1.0)
        elif not is_own and not isinstance(cleaning.spacing, tuple):
            # `cleaning_at` takes a single number for a spacing that the layer decides.
            own = tuple(float(cleaning.spacing) if step else 0.0 for step in self._spacing())
            cleaning = replace(cleaning, spacing=own)
        model = model.with_cleaning(self.cleaning_at(cleaning, level, model.position))
        return model.with_blur(self.blur_at(model.blur, level))

    @property
    def has_pixel_size(self) -> bool:
        """Whether the layer states the size of its pixels: a unit, or a scale other than 1."""
        return area_unit(*self._scales_and_units()) is not None

    def _spatial_axes(self) -> list[int]:
        return [axis for axis in self._blurred_axes() if not self._is_time(axis)]

    def _scales_and_units(self) -> tuple[list[float], list[str]]:
        axes, spatial = self._spatial_axes(), self.spatial
        scales = [abs(float(spatial["scale"][axis])) for axis in axes]
        return scales, [str(spatial["units"][axis]) for axis in axes]

    def _spacing(self) -> tuple[float, ...]:
        """Return the distance of pixels along the clustered axes; 0 for axes of time."""
        axes, distances = self._spatial_axes(), comparable_lengths(*self._scales_and_units())
        known = dict(zip(axes, distances, strict=True))
        return tuple(known.get(axis, 0.0) for axis in self._blurred_axes())

    def steps_between(self, level: int, other: int) -> tuple[float, ...]:
        """Return the size of the pixels of another level along the clustered axes, in pixels."""
        shape, coarser = self.shape_of(level), self.shape_of(other)
        return tuple(shape[axis] / coarser[axis] for axis in self._blurred_axes())

    def _blurred_axes(self) -> list[int]:
        """Return the axes of the images to which a model is fitted."""
        axes = list(range(len(self.shape)))
        if isinstance(self.stack, tuple):
            return [axis for axis in axes if self.stack[axis] is None]
        return axes[-2:] if self.stack == EACH else axes

    def _is_time(self, axis: int) -> bool:
        """Return whether the layer states that an axis is time, by its label or its unit."""
        return is_time(self.spatial["axis_labels"][axis], self.spatial["units"][axis])


def without_common_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of layers as names of channels: "slide 2 DAPI" and "slide 2 GFP" differ.

    The words that all names begin with are left out, as far as a letter remains in every
    name: "Alexa 488" and "Alexa 568" stay.
    """
    words = [re.findall(r"[^\s_]+[\s_]*", name) for name in names]
    n_common = 0
    while (
        len(names) > 1
        and len({tuple(each[: n_common + 1]) for each in words}) == 1
        and all(re.search(r"[^\W\d_]", "".join(each[n_common + 1 :])) for each in words)
    ):
        n_common += 1
    return tuple(
        "".join(each[n_common:]).strip() or name for each, name in zip(words, names, strict=True)
    )


def layer_levels(layer: Layer) -> list[Any]:
    """Return the arrays of an Image or Labels layer, finest level first."""
    return list(layer.data) if layer.multiscale else [layer.data]


def spatial_shape(array: Any, channels_last: bool) -> tuple[int, ...]:
    """Return the shape of an image without the channels."""
    shape = tuple(array.shape)
    return shape[:-1] if channels_last else shape


def spatial_attributes(layer: Layer) -> dict[str, Any]:
    """Return copies of the attributes that place a layer in the world."""
    affine = {"affine": layer.affine.affine_matrix.copy()}
    return {name: affine.get(name, _copy(getattr(layer, name))) for name in SPATIAL_ATTRIBUTES}


def _copy_attributes(layer: Layer, names: Iterable[str]) -> dict[str, Any]:
    return {name: _copy(getattr(layer, name)) for name in names}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray | list) else value


def default_level(shapes: list[tuple[int, ...]], stack: Stack, method: str) -> int:
    """Return the level to fit, 0 being the finest.

    For a coreset, it is the coarsest level of at least four million pixels among the
    slices that are fitted. It is the finest level for the method "full", or if no level
    has that many pixels.

    Parameters
    ----------
    shapes : list of tuple of int
        The shape of each level without the channels, finest first.
    stack : "whole", "each" or tuple of int or None
    method : str
    """
    if method == "full":
        return 0
    sizes = [_count_fitted_pixels(shape, shapes[0], stack) for shape in shapes]
    return max((level for level, size in enumerate(sizes) if size >= ENOUGH_PIXELS), default=0)


def _count_fitted_pixels(shape: tuple[int, ...], finest: tuple[int, ...], stack: Stack) -> int:
    """Return the number of pixels of a level to which one model is fitted."""
    if stack == WHOLE:
        fitted: tuple[int, ...] = shape
    elif isinstance(stack, str):
        fitted = shape[-2:]
    else:
        fitted = tuple(size for size, index in zip(shape, stack, strict=True) if index is None)
    return int(np.prod(fitted, dtype=np.int64))


def complete_stack(stack: Any, shape: tuple[int, ...]) -> Stack:
    """Check the choice of slices, and complete the index of one slice.

    Parameters
    ----------
    stack : "whole", "each", int or sequence of int or None
        An index of one slice may be shorter than the shape.
    shape : tuple of int
        The shape of the finest level without the channels.

    Returns
    -------
    str or tuple of int or None
        "whole", "each", or an index with one item for each axis.

    Raises
    ------
    ValueError
        If `stack` is none of these, or if the image does not have the slice.
    """
    if isinstance(stack, str) and stack in (WHOLE, EACH):
        return stack
    index = stack if isinstance(stack, tuple | list) else (stack,)
    index = (*index, *[None] * (len(shape) - len(index)))
    fits = len(index) == len(shape) and all(
        item is None or (is_whole_number(item) and 0 <= item < size)
        for item, size in zip(index, shape, strict=True)
    )
    if not fits or None not in index or len(shape) < 3:
        raise ValueError(
            f"stack must be 'whole', 'each' or the index of a slice in the shape {shape}, got "
            f"{quote_value(stack)}: give whole numbers from 0, with None for the axes of the slice."
        )
    return tuple(None if item is None else int(item) for item in index)


def index_at_level(
    slice_index: tuple[int | None, ...], finest: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Any, ...]:
    """Return the index of a slice of the finest level in an array of another level.

    Parameters
    ----------
    slice_index : tuple of int or None
        The index in the finest level.
    finest, shape : tuple of int
        The shapes of the finest level and of the other level, without the channels.
    """
    return tuple(
        slice(None) if item is None else corresponding_slice(item, full, size)
        for item, full, size in zip(slice_index, finest, shape, strict=True)
    )


def shown_slice(layer: Image) -> tuple[int | None, ...]:
    """Return the index of the slice in view, with None for the axes on the screen."""
    # napari has no public attribute for this. `_data_slice` accounts for the order of
    # the axes, for units and for the transforms of the layer.
    point = layer._data_slice.point
    return tuple(None if np.isnan(item) else round(float(item)) for item in point)
