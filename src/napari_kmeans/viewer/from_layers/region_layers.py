"""Convert layers to regions of the pixels of another layer: labels, and one region per shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes

from napari_kmeans.checks import quote_value
from napari_kmeans.imaging.blocks import as_lazy
from napari_kmeans.measured_regions import MeasuredRegions, open_regions
from napari_kmeans.measuring import NAME
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.masks import draw_shape, sample_labels, shape_vertices
from napari_kmeans.viewer.from_layers.source import layer_levels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_kmeans.types import Block

_NAME_COLUMNS = (NAME, "label")
"""The columns of the features of a Shapes layer that may hold the names of shapes."""


@dataclass(frozen=True, eq=False)
class DrawnShape:
    """The mask of a shape, which is drawn for each block."""

    shape: tuple[int, ...]
    vertices: NDArray[Any]
    ndim: int

    def numbers(self, block: Block) -> NDArray[np.bool_] | None:
        """Return where the pixels of a block have their center inside the shape; None for none."""
        return draw_shape(self.vertices, self.ndim, block)


@dataclass(frozen=True, eq=False)
class SampledLabels:
    """The labels under the pixels of another layer, which are looked up for each block."""

    shape: tuple[int, ...]
    labels: Any
    to_labels: AffineMap

    def numbers(self, block: Block) -> NDArray[Any]:
        """Return the label under the center of each pixel of a block."""
        return sample_labels(self.labels, self.to_labels, block)


def layer_regions(regions: Any, layer: Layer, shape: tuple[int, ...]) -> MeasuredRegions:
    """Return the regions of a Labels or Shapes layer in the pixels of another layer.

    Parameters
    ----------
    regions : napari.layers.Labels, napari.layers.Shapes or None
        They lie over the other layer in the world. A layer with fewer axes lies in all
        slices.
    layer : napari.layers.Layer
        The layer that is measured.
    shape : tuple of int
        The shape of its finest level.

    Raises
    ------
    TypeError, ValueError
        If `regions` is another layer, has more axes, or has no shape that encloses an area.
    """
    if regions is None:
        return open_regions(None, None, shape)
    if not isinstance(regions, Labels | Shapes):
        raise TypeError(
            f"regions must be a Labels or Shapes layer, got {quote_value(regions)}: draw regions "
            "in one of these."
        )
    if regions.ndim > layer.ndim:
        raise ValueError(
            f"regions must have at most the {layer.ndim} axes of the labels, got the "
            f"{regions.ndim} axes of {regions.name!r}: take one slice of it."
        )
    if isinstance(regions, Shapes):
        return _shape_regions(regions, layer, shape)
    return _label_regions(regions, layer, shape)


def _shape_regions(shapes: Shapes, layer: Layer, shape: tuple[int, ...]) -> MeasuredRegions:
    vertices = shape_vertices(shapes, layer)
    if not vertices:
        raise ValueError(
            f"regions must have a rectangle, an ellipse or a polygon, got none in {shapes.name!r}: "
            "draw one."
        )
    masks = {
        index + 1: DrawnShape(shape, outline, shapes.ndim) for index, outline in vertices.items()
    }
    names = _different({number: _shape_name(shapes, number - 1) for number in masks})
    return MeasuredRegions(masks, names, tuple(masks))


def _shape_name(shapes: Shapes, index: int) -> str:
    """Return the name of a shape: in a column of the features, its text, or its number."""
    features = shapes.features
    named = [features[column][index] for column in _NAME_COLUMNS if column in features]
    texts = shapes.text.values
    named += [texts[index]] if np.ndim(texts) == 1 and len(texts) > index else []
    # A missing value of a table is None or NaN.
    found = [str(name).strip() for name in named if name is not None and name == name]
    return next((name for name in found if name), str(index + 1))


def _label_regions(labels: Labels, layer: Layer, shape: tuple[int, ...]) -> MeasuredRegions:
    finest, to_labels = as_lazy(layer_levels(labels)[0]), AffineMap.to_pixels(layer, labels)
    is_same = tuple(finest.shape) == shape and to_labels.is_identity
    arrays = finest if is_same else SampledLabels(shape, finest, to_labels)
    features = labels.features
    names: dict[int, str] = {}
    if {"index", NAME} <= set(features):
        pairs = zip(features["index"], features[NAME].fillna(""), strict=True)
        names = {int(number): str(name) for number, name in pairs if str(name) and number > 0}
    return MeasuredRegions(arrays, _different(names), ())


def _different(names: dict[int, str]) -> dict[int, str]:
    """Return names in which those that occur more than once have their number, too."""
    counts = Counter(names.values())
    return {
        number: name if counts[name] == 1 else f"{name} ({number})"
        for number, name in names.items()
    }


def same_pixels(name: str, layers: Iterable[Layer], labels: Labels, shape: tuple[int, ...]) -> None:
    """Check that layers have the pixels of the finest level of a Labels layer.

    Raises
    ------
    ValueError
        If a layer has another shape, or lies elsewhere.
    """
    for layer in layers:
        own = tuple(layer_levels(layer)[0].shape)
        own = own[:-1] if getattr(layer, "rgb", False) else own
        if own != shape or not AffineMap.to_pixels(labels, layer).is_identity:
            raise ValueError(
                f"{name} must have the pixels of the labels {labels.name!r} of shape {shape}, got "
                f"{layer.name!r} of shape {own}: choose an image of the same size and place, or "
                "resample it."
            )
