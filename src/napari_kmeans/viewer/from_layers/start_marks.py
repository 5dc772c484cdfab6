"""Starting colors that are pointed at: pixels under points, or under strokes of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Points

from napari_kmeans.imaging.blocks import is_dask, split
from napari_kmeans.imaging.declared import as_declared
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import layer_levels, shown_slice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_kmeans.viewer.from_layers.source import Source

Floats: TypeAlias = "NDArray[np.float64]"

PIECE_PIXELS = 2**19
"""As many marked pixels are looked up at once."""


@dataclass(frozen=True, eq=False)
class StartMarks:
    """What was marked in a layer when it was asked for, whatever becomes of it later.

    Attributes
    ----------
    name : str
        Of the layer.
    marks : array
        The points, one in each row, or the labels.
    are_points : bool
    to_image : AffineMap
        The map from the pixels of the layer to those of the image's finest level.
    """

    name: str
    marks: NDArray[Any]
    are_points: bool
    to_image: AffineMap

    @classmethod
    def of(cls, layer: Points | Labels, image: Image, source: Source) -> StartMarks:
        """Take the snapshot of a layer over an image.

        In axes that the image has and the layer lacks, the marks lie in the
        slice that is clustered, or else in the one in view.
        """
        to_image = AffineMap.to_pixels(layer, image)
        fitted = source.stack if not isinstance(source.stack, str) else shown_slice(image)
        for axis in range(image.ndim - layer.ndim):
            index = fitted[axis]
            if index is not None:
                to_image = to_image.with_constant(axis, index)
        if isinstance(layer, Points):
            return cls(layer.name, np.array(layer.data)[layer.shown], True, to_image)
        return cls(layer.name, np.array(layer_levels(layer)[0]), False, to_image)

    def colors(self, source: Source) -> Floats:
        """Return the mean color under each point or label, reading no other pixels.

        Parameters
        ----------
        source : Source
            Of the image; the pixels are those of its finest level.

        Returns
        -------
        (K, C) float64 array
            In channel units, in the order of the points or labels.

        Raises
        ------
        ValueError
            If there are none, if one lies outside of the image, or if all its
            pixels are left out: transparent, NaN or infinite.
        """
        names = self._names()
        if not len(names):
            raise ValueError(
                f"init must have a {self._mark} to start from, got none in {self.name!r}: "
                f"add one for each cluster."
            )
        array = source.levels[0]
        n_channels = 3 if source.rgb else array.shape[-1] if source.channels else 1
        sums, counts = np.zeros((len(names), n_channels)), np.zeros(len(names), np.int64)
        for coordinates, groups in self._marked(names):
            places, groups = self._over_image(coordinates, groups, source)
            values, kept = split(_pixels(array, places, source), None, n_channels)
            values, groups = (values, groups) if kept is None else (values[kept], groups[kept])
            np.add.at(sums, groups, values)
            counts += np.bincount(groups, minlength=len(names))
        if not counts.all():
            raise ValueError(
                f"init must have pixels of the image under each {self._mark}, got none that "
                f"count under {names[np.argmin(counts)]} of {self.name!r}: move or delete it."
            )
        return sums / counts[:, None]

    @property
    def _mark(self) -> str:
        return "point" if self.are_points else "label"

    def _names(self) -> NDArray[Any]:
        """Return the numbers of the points, from 1, or those of the labels."""
        if self.are_points:
            return np.arange(1, len(self.marks) + 1)
        return nonzero_labels(self.marks)

    def _marked(self, names: NDArray[Any]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Yield the coordinates of marked pixels in the layer, and the cluster of each."""
        if self.are_points:
            yield self.marks, np.arange(len(self.marks))
            return
        flat = self.marks.reshape(-1)
        indices = np.flatnonzero(flat)
        for first in range(0, len(indices), PIECE_PIXELS):
            piece = indices[first : first + PIECE_PIXELS]
            coordinates = np.column_stack(np.unravel_index(piece, self.marks.shape))
            yield coordinates, np.searchsorted(names, flat[piece])

    def _over_image(
        self, coordinates: Any, groups: NDArray[np.int64], source: Source
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pixels of the image at coordinates of the layer, without those outside."""
        mapped = self.to_image.apply(coordinates)
        places = np.floor(mapped + 0.5).astype(np.int64)
        inside = np.all((places >= 0) & (places < source.shape), axis=1)
        if self.are_points and not inside.all():
            raise ValueError(
                f"init must have its points over the image, got {np.sum(~inside)} of "
                f"{len(inside)} in {self.name!r} outside of {source.name!r}: move or delete them."
            )
        return places[inside], groups[inside]


def nonzero_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels in an array but 0, in their order."""
    import pandas as pd

    # numpy would sort all pixels.
    found = np.sort(pd.unique(labels.reshape(-1)))
    return np.asarray(found[found != 0])


def _pixels(array: Any, places: NDArray[np.int64], source: Source) -> NDArray[Any]:
    """Return the values (n, channels and alpha) of pixels of an image."""
    index: tuple[Any, ...] = tuple(places.T)
    if source.rgb or source.channels:
        index = (*index, slice(None))
    if not is_dask(array):
        values: NDArray[Any] = np.asarray(array)[index]
    elif len(places):
        values = np.asarray(as_declared(array).vindex[index])
    else:
        values = np.empty((0, *array.shape[len(source.shape) :]), array.dtype)
    return values if values.ndim == 2 else values[:, None]
