"""Find the layers that can mark start colors, and read the colors under points or strokes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Labels, Points
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans.classes import clean_name
from napari_kmeans.imaging.blocks import extract_values, is_dask
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.declared import as_declared
from napari_kmeans.options import MAX_CLUSTERS
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import layer_levels, shown_slice
from napari_kmeans.viewer.provenance import has_record, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats
    from napari_kmeans.viewer.from_layers.source import Source

PIECE_PIXELS = 2**19
"""Marked pixels that are looked up at a time. It bounds the memory for their coordinates."""


class MarkedClass(NamedTuple):
    """The class that starts from a mark: its number, its name or "", and its display color."""

    number: int
    name: str
    color: str | None


@dataclass(frozen=True, eq=False)
class StartMarks:
    """A snapshot of the marks in a layer. Later changes of the layer have no effect.

    Attributes
    ----------
    name : str
        The name of the layer.
    marks : array
        The positions of the points, one in each row, or the label of each pixel.
    are_points : bool
    to_image : AffineMap
        The map from the pixels of the layer to those of the image's finest level.
    names, display : mapping from int
        The names and the display colors, as #rrggbb, of marks by number, where they have some.
    keep : bool
        Whether the colors of the marks stay the centers.
    """

    name: str
    marks: NDArray[Any]
    are_points: bool
    to_image: AffineMap
    names: Mapping[int, str]
    display: Mapping[int, str]
    keep: bool = False

    @classmethod
    def of(
        cls,
        layer: Points | Labels,
        image: Image,
        source: Source,
        *,
        view: tuple[int | None, ...] | None = None,
        keep: bool = False,
    ) -> StartMarks:
        """Take the snapshot of a layer over an image.

        If the layer has fewer axes than the image, the marks lie in the slice that
        is clustered, or in the slice in view if all slices are clustered: `view`, or that of
        the image.
        """
        to_image = AffineMap.to_pixels(layer, image)
        view = view or shown_slice(image)
        slice_index = source.stack if not isinstance(source.stack, str) else view
        for axis in range(image.ndim - layer.ndim):
            index = slice_index[axis]
            if index is not None:
                to_image = to_image.with_constant(axis, index)
        if isinstance(layer, Points):
            marks, names, display = _read_points(layer)
        else:
            marks = np.array(layer_levels(layer)[0])
            names, display = _names_of_labels(layer), _colors_of_labels(layer)
        are_points = isinstance(layer, Points)
        return cls(layer.name, marks, are_points, to_image, names, display, keep)

    def colors(self, source: Source) -> Floats:
        """Return the mean color under each point or label.

        Only the marked pixels are read.

        Parameters
        ----------
        source : Source
            The image. The pixels of its finest level are read.

        Returns
        -------
        (K, C) float64 array
            In channel units, in the order of the points, or of the label numbers.

        Raises
        ------
        ValueError
            If there is no mark, if a point lies outside of the image, or if all pixels
            of a mark are left out because they are transparent, NaN or infinite.
        """
        numbers = self._numbers
        if not len(numbers):
            raise ValueError(
                f"init must have a {self._mark} to start from, got none in {self.name!r}: "
                f"add one for each cluster."
            )
        array = source.levels[0]
        n_channels = 3 if source.rgb else array.shape[-1] if source.channels else 1
        sums, counts = np.zeros((len(numbers), n_channels)), np.zeros(len(numbers), np.int64)
        for coordinates, clusters in self._pieces(numbers):
            pixels, clusters = self._pixels_of_image(coordinates, clusters, source)
            values, is_counted = extract_values(
                _read_pixels(array, pixels, source), None, n_channels
            )
            if is_counted is not None:
                values, clusters = values[is_counted], clusters[is_counted]
            np.add.at(sums, clusters, values)
            counts += np.bincount(clusters, minlength=len(numbers))
        if not counts.all():
            raise ValueError(
                f"init must have pixels of the image under each {self._mark}, got none that "
                f"count under {numbers[np.argmin(counts)]} of {self.name!r}: move or delete it."
            )
        return sums / counts[:, None]

    @property
    def classes(self) -> tuple[MarkedClass, ...]:
        """The number, the name and the display color of each mark, in the order of `colors`.

        Raises
        ------
        ValueError
            If a label is no number of a class.
        """
        numbers = self._numbers.tolist()
        for number in numbers:
            if not 1 <= number <= MAX_CLUSTERS:
                raise ValueError(
                    f"init must have labels from 1 to {MAX_CLUSTERS}, got {number} in "
                    f"{self.name!r}: paint with a smaller label."
                )
        return tuple(
            MarkedClass(number, self.names.get(number, ""), self.display.get(number))
            for number in numbers
        )

    @property
    def _mark(self) -> str:
        return "point" if self.are_points else "label"

    @cached_property
    def _numbers(self) -> NDArray[Any]:
        """Return the number of each mark: points count from 1, labels are numbers themselves."""
        if self.are_points:
            return np.arange(1, len(self.marks) + 1)
        return nonzero_labels(self.marks)

    def _pieces(self, numbers: NDArray[Any]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Yield coordinates in the layer, piece by piece, and the cluster that each marks."""
        if self.are_points:
            yield self.marks, np.arange(len(self.marks))
            return
        flat = self.marks.reshape(-1)
        indices = np.flatnonzero(flat)
        for first in range(0, len(indices), PIECE_PIXELS):
            piece = indices[first : first + PIECE_PIXELS]
            coordinates = np.column_stack(np.unravel_index(piece, self.marks.shape))
            yield coordinates, np.searchsorted(numbers, flat[piece])

    def _pixels_of_image(
        self, coordinates: Any, clusters: NDArray[np.int64], source: Source
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices (n, D) of the image's pixels at coordinates, and their clusters.

        Labels outside of the image are dropped, because strokes may cross its edge.
        """
        mapped = self.to_image.apply(coordinates)
        pixels = np.floor(mapped + 0.5).astype(np.int64)
        inside = np.all((pixels >= 0) & (pixels < source.shape), axis=1)
        if self.are_points and not inside.all():
            raise ValueError(
                f"init must have its points over the image, got {np.sum(~inside)} of "
                f"{len(inside)} in {self.name!r} outside of {source.name!r}: move or delete them."
            )
        return pixels[inside], clusters[inside]


def nonzero_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct labels in an array in ascending order, without 0."""
    import pandas as pd

    # pandas hashes the pixels; np.unique would sort all of them.
    distinct = np.sort(pd.unique(labels.reshape(-1)))
    return np.asarray(distinct[distinct != 0])


def _read_pixels(array: Any, pixels: NDArray[np.int64], source: Source) -> NDArray[Any]:
    """Return the values (n, channels and alpha) of an image at pixel indices (n, D)."""
    index: tuple[Any, ...] = tuple(pixels.T)
    if source.rgb or source.channels:
        index = (*index, slice(None))
    if not is_dask(array):
        values: NDArray[Any] = np.asarray(array)[index]
    elif len(pixels):
        values = np.asarray(as_declared(array).vindex[index])
    else:
        values = np.empty((0, *array.shape[len(source.shape) :]), array.dtype)
    return values if values.ndim == 2 else values[:, None]


def _read_points(points: Points) -> tuple[NDArray[Any], dict[int, str], dict[int, str]]:
    """Return the positions of the shown points, and their names and display colors by number.

    The names are those of the column `name` of the features, or else `label`. The colors are
    the face colors if these differ between all points: they are equal until the user sets them.
    """
    is_shown, features = points.shown, points.features
    marks = np.array(points.data)[is_shown]
    column = next((name for name in ("name", "label") if name in features), None)
    names = {} if column is None else _clean_names(features[column][is_shown], 1)
    colors = to_hex(points.face_color[is_shown][:, :3].astype(np.float64))
    is_set = 1 < len(colors) == len(set(colors))
    return marks, names, dict(enumerate(colors, 1)) if is_set else {}


def _names_of_labels(labels: Labels) -> dict[int, str]:
    """Return the names of labels in the table of a layer.

    As in napari, the column `index` contains the labels. Without it, they are the row numbers.
    """
    features = labels.features
    if "name" not in features:
        return {}
    names = _clean_names(features["name"], 0)
    if "index" not in features:
        return names
    return {int(features["index"].iloc[row]): name for row, name in names.items()}


def _clean_names(names: Iterable[Any], first: int) -> dict[int, str]:
    """Return the names by number, without those that are missing or empty."""
    import pandas as pd

    texts = {n: "" if pd.isna(name) else str(name) for n, name in enumerate(names, first)}
    return {number: clean_name(text) for number, text in texts.items() if text}


def _colors_of_labels(labels: Labels) -> dict[int, str]:
    """Return the colors of labels that the user has set; those of a result are mean colors."""
    colormap = labels.colormap
    if not isinstance(colormap, DirectLabelColormap) or has_record(labels):
        return {}
    numbers = [number for number in colormap.color_dict if number]
    colors = [np.asarray(colormap.color_dict[number], np.float64)[:3] for number in numbers]
    return dict(zip(numbers, to_hex(np.array(colors).reshape(-1, 3)), strict=True))


def can_hold_marks(layer: Any, image: Image | None) -> bool:
    """Return whether a layer can mark starting colors of an image.

    Points and Labels layers can, if they overlap the image in the world or are
    empty. The points of a coreset cannot: they are a result.
    """
    if image is None or not isinstance(layer, Points | Labels):
        return False
    if kind_of(layer) == "coreset":
        return False
    n_axes = min(layer.ndim, image.ndim)
    first, last = layer.extent.world[:, -n_axes:]
    low, high = image.extent.world[:, -n_axes:]
    # The extent of an empty layer is NaN: both comparisons are then false.
    return not (np.any(first > high) or np.any(last < low))


def count_marks(layer: Points | Labels) -> int | None:
    """Return the number of clusters that a layer marks; None for lazy labels, to read nothing."""
    if isinstance(layer, Points):
        return int(np.sum(layer.shown))
    return len(nonzero_labels(layer.data)) if isinstance(layer.data, np.ndarray) else None
