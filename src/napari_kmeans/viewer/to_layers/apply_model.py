"""Apply a model to an image layer that it was not fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, part_of
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.chunks import count_steps
from napari_kmeans.imaging.far_colors import describe_far_colors
from napari_kmeans.imaging.label_tally import tally_classes
from napari_kmeans.imaging.tally import Tally, tally_pixels
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.measuring import channel_names, cluster_table
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.background.paint_levels import Painted, paint_levels
from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.from_layers.source import Source


def fit_to_source(model: KMeansModel, source: Source) -> KMeansModel:
    """Return a model for the channels of an image in the viewer, which are its last axis.

    Raises
    ------
    ValueError
        If the channels are not those of the model.
    """
    name, n_layers = source.name, len(source.channels)
    if model.rgb and not source.rgb:
        raise ValueError(
            f"the model is of colors (color space {model.color_space}), and {name!r} has none: "
            "choose an image with red, green and blue."
        )
    if source.rgb and not model.rgb:
        raise ValueError(
            f"the model is of {'gray levels' if model.n_channels == 1 else 'channels'}, and "
            f"{name!r} is in color: choose a gray image, or run on a color image for another model."
        )
    if not model.rgb and model.n_channels != max(n_layers, 1):
        got = f"{n_layers} layers" if n_layers else "a single layer"
        raise ValueError(
            f"the model compares {model.n_channels} channels, and {name!r} is {got}: choose a "
            f"layer for each of {', '.join(channel_names(model))}."
        )
    return model if model.rgb else replace(model, channel_axis=-1 if n_layers else None)


FAR_SHARE = "far_share"
"""The attribute of a table with the `far_share` of its image."""


@dataclass(frozen=True, eq=False)
class ApplyWork:
    """A model and the image layer to apply it to, as work for the background.

    Attributes
    ----------
    model : KMeansModel
    source : Source
        The image. Levels in memory are painted by `run`, lazy levels when they are
        viewed. The level `source.level` is read by `run` in any case, to count its
        pixels.
    fitted : Segmentation or None
        The segmentation that contains the model. Its options and its distortion
        are those of the result.
    """

    model: KMeansModel
    source: Source
    fitted: Segmentation | None = None

    def run(self, progress: Report | None = None) -> Segmentation:
        """Paint all levels, and count the pixels of each cluster.

        Returns
        -------
        Segmentation
            `labels` and `recolored` are lists if the source is multiscale. The table has
            the channel means of this image, as on the command line.

        Warns
        -----
        UserWarning
            If the image seems to have other units than the model, or if many of its pixels are
            far from the classes. If the model has a minimum area, and the layer no pixel size.
        """
        model, source, fitted = self.model, self.source, self.fitted
        far_share = _warn_of_other_colors(model, source)
        _warn_of_unknown_size(model, source)
        image = source.levels[source.level]
        own = source.model_at(model, source.level)
        if is_dask(image) and not own.cleaning.is_off:
            *painted, tally, undecided = own.paint_and_count(own.open(image), progress)
            labels, recolored = self._paint(None, {source.level: (painted[0], painted[1])})
        else:
            # Lazy levels are painted when they are viewed, and are read here only to be counted.
            share = 0.0 if is_dask(image) else 1.0
            labels, recolored = self._paint(part_of(progress, 0, share), {})
            tally = tally_image(own, image, labels[source.level], part_of(progress, share, 1))
            undecided = own.count_undecided(own.open(image))
        table = cluster_table(model, tally.counts, undecided, tally.means)
        table.attrs[FAR_SHARE] = far_share
        return Segmentation(
            labels=labels if source.multiscale else labels[0],
            recolored=recolored if source.multiscale else recolored[0],
            model=model,
            table=table,
            coreset=None,
            distortion=fitted.distortion if fitted else float("nan"),
            options=fitted.options if fitted else model.options,
        )

    def _paint(self, progress: Report | None, known: Mapping[int, Painted]) -> Any:
        """Return the labels and the recolored images of all levels, some of which are known."""
        levels = self.source.levels

        def paint(level: int, report: Report | None) -> Painted:
            model = self.source.model_at(self.model, level)
            return model.paint(model.open(levels[level]), report)

        return map(list, zip(*paint_levels(levels, paint, known, progress), strict=True))


@dataclass(frozen=True, eq=False)
class ApplyToSeveral:
    """Images that a model is applied to one after the other, as work for the background.

    Attributes
    ----------
    works : tuple of ApplyWork
    """

    works: tuple[ApplyWork, ...]

    def run(self, progress: Report | None = None) -> list[Segmentation | None]:
        """Apply the model to each image.

        Returns
        -------
        list of Segmentation or None
            None for an image that failed, after a warning. The error of a single image
            is raised.
        """
        sizes = [math.prod(work.source.shape_of(work.source.level)) for work in self.works]
        ends = np.cumsum(sizes) / max(sum(sizes), 1)
        outcomes: list[Segmentation | None] = []
        for work, start, end in zip(self.works, (0, *ends), ends, strict=False):
            try:
                outcomes.append(work.run(part_of(progress, start, end)))
            except EXPECTED_ERRORS as error:
                if len(self.works) == 1:
                    raise
                notice(f"{work.source.name!r} is left out: {error}", stacklevel=2)
                outcomes.append(None)
        return outcomes


def tally_image(model: KMeansModel, image: Any, labels: Any, progress: Report | None) -> Tally:
    """Return the counts and sums of the pixels of each class, (K,), in one level.

    If the labels are lazy, the image is read once, and the labels are not computed, unless
    the model cleans them.
    """
    pixels = model.open(image)
    step = Progress(progress).stage(1, count_steps([pixels]))
    if not is_dask(labels) or not model.cleaning.is_off:
        return tally_classes(model.labels, pixels, labels, step)
    tally = tally_pixels([pixels], model.cluster_centers_, model.space, step, model.splits)
    counts = np.zeros(model.n_clusters, np.int64)
    sums = np.zeros((model.n_clusters, model.n_channels))
    np.add.at(counts, model.center_classes, tally.counts)
    np.add.at(sums, model.center_classes, tally.sums)
    return Tally(counts, sums, tally.cost)


def _warn_of_other_colors(model: KMeansModel, source: Source) -> float:
    """Warn if an image seems to have other units than the model, or many pixels are far from it.

    The coarsest level has the fewest pixels to read, but its colors are averages. Return the share
    of far pixels, or NaN if the units are others.
    """
    share = float("nan")
    pixels, name = model.open(source.levels[-1]), repr(source.name)
    sentence = describe_other_units(pixels, model.palette, model.dtype, name)
    if sentence is None:
        image = source.levels[source.level]
        share = source.model_at(model, source.level).far_share(image)
        sentence = describe_far_colors(share, name)
    if sentence is not None:
        notice(sentence, stacklevel=3)
    return share


def _warn_of_unknown_size(model: KMeansModel, source: Source) -> None:
    """Warn if a minimum area is that of the pixels of the fit, because the layer has no size."""
    cleaning = model.cleaning
    # Pixels of the size 1 had no size in the fit either.
    if (
        cleaning.min_area
        and not source.has_pixel_size
        and np.any(np.not_equal(cleaning.spacing, 1))
    ):
        notice(
            f"the pixel size of {source.name!r} is not known, and is taken to be that of the fit, "
            f"{quote_value(cleaning.spacing)}, for the minimum area: give the layer a scale and a "
            "unit to use its own. Its areas are in pixels.",
            stacklevel=3,
        )
