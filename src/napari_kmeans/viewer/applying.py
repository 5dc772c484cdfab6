"""A model on an image that it was not fitted to: whether it fits, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.blocks import is_dask, open_pixels
from napari_kmeans.imaging.chunks import count_steps
from napari_kmeans.imaging.colors import white_of
from napari_kmeans.imaging.tally import tally_pixels
from napari_kmeans.merging import MergedModel
from napari_kmeans.notices import notice
from napari_kmeans.parallel import map_slices
from napari_kmeans.parameters import Options
from napari_kmeans.progress import Progress, part_of
from napari_kmeans.segmentation import Segmentation, table_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.progress import Report
    from napari_kmeans.viewer.source import Source

_OTHER_UNITS = 16
"""The darkest images of the same units are not so many times darker than others, as a rule."""

_WINDOW = 512
"""Pixels along each axis that are looked at of a lazy image, to tell its range."""

_SLAB = 2**20


def check_channels(model: KMeansModel, source: Source) -> None:
    """Check that a model can be applied to an image layer.

    Raises
    ------
    ValueError
        If the channels are not those of the model.
    """
    name = source.name
    if model.channel_axis is not None and not model.rgb:
        raise ValueError(
            f"the model compares {model.n_channels} channels, and {name!r} is a single layer: "
            "select layers like those it was fitted to and run again, all as channels."
        )
    if model.rgb and not source.rgb:
        raise ValueError(
            f"the model is of colors (color space {model.color_space}), and {name!r} has none: "
            "choose an image with red, green and blue."
        )
    if source.rgb and not model.rgb:
        raise ValueError(
            f"the model is of gray levels, and {name!r} is in color: "
            "choose a gray image, or run on a color image for another model."
        )


@dataclass(frozen=True, eq=False)
class Application:
    """A model, and the image layer to paint by it.

    Attributes
    ----------
    model : KMeansModel
    source : Source
        Levels in memory are painted at once, lazy ones when they are looked
        at; but the one at `source.level` is read, to be counted.
    fitted : Segmentation or None
        The one that the model is from, for what it tells of the fit.
    """

    model: KMeansModel
    source: Source
    fitted: Segmentation | None = None

    def run(self, progress: Report | None = None) -> Segmentation:
        """Paint all levels, and count the pixels of each cluster.

        Returns
        -------
        Segmentation
            With lists of labels and recolored images if the source has levels.

        Warns
        -----
        UserWarning
            If the image seems to be in other units than the model's.
        """
        model, source, fitted = self.model, self.source, self.fitted
        _warn_of_units(model, source)
        labels, recolored = self._paint(part_of(progress, 0, 0.5))
        image = source.levels[source.level]
        counts = _count(model, image, labels[source.level], part_of(progress, 0.5, 1))
        return Segmentation(
            labels=labels if source.multiscale else labels[0],
            recolored=recolored if source.multiscale else recolored[0],
            model=model,
            table=table_of(model, counts),
            coreset=None,
            distortion=fitted.distortion if fitted else float("nan"),
            options=fitted.options if fitted else _options_of(model),
        )

    def _paint(self, progress: Report | None) -> Any:
        """Return the labels and the recolored images of all levels."""
        n_levels = self.source.n_levels
        painted = [
            self.model.apply(
                pixels, progress=part_of(progress, level / n_levels, (level + 1) / n_levels)
            )
            for level, pixels in enumerate(self.source.levels)
        ]
        return map(list, zip(*painted, strict=True))


def _options_of(model: KMeansModel) -> Options:
    """Return what a model alone tells of the options."""
    return Options(
        n_clusters=model.n_clusters, color_space=model.color_space, normalize=model.normalize
    )


def _count(
    model: KMeansModel, image: Any, labels: Any, progress: Report | None
) -> NDArray[np.int64]:
    """Return the number of pixels (K,) of each cluster."""
    if not is_dask(labels):
        flat = labels.reshape(-1)
        n_labels = model.n_clusters + 1
        parts = map_slices(
            lambda part: np.bincount(flat[part], minlength=n_labels), flat.size, _SLAB
        )
        counts: NDArray[np.int64] = np.sum(parts, axis=0, dtype=np.int64)
        return counts[1:]
    pixels = (open_pixels(image, rgb=model.rgb),)
    step = Progress(progress).stage(1, count_steps(pixels))
    counts = tally_pixels(pixels, model.cluster_centers_, model.space, step).counts
    if isinstance(model, MergedModel):
        counts = np.bincount(model.center_labels - 1, counts).astype(np.int64)
    return counts


def _warn_of_units(model: KMeansModel, source: Source) -> None:
    dtype = np.dtype(source.data.dtype)
    if white_of(dtype) == model.white:
        return
    here, there = _greatest(source), float(model.palette.max())
    if here <= 0 or there <= 0 or 1 / _OTHER_UNITS <= here / there <= _OTHER_UNITS:
        return
    notice(
        f"{source.name!r} holds {dtype} values up to {here:g}, while the model's colors, of "
        f"{model.dtype}, go up to {there:g}: values are compared as they are, so bring the "
        "image to the model's units first.",
        stacklevel=3,
    )


def _greatest(source: Source) -> float:
    """Return the greatest value of the coarsest level, or near the middle of it if it is lazy."""
    array = source.levels[-1]
    if is_dask(array):
        array = array[_middle(source.shape_of(source.n_levels - 1))]
    values = np.asarray(array)
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    sizes = [*[1] * (len(shape) - 2), _WINDOW, _WINDOW][-len(shape) :]
    starts = [max(full - size, 0) // 2 for full, size in zip(shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
