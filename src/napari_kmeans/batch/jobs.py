"""Read the images of the command line, and cluster them or paint them with a model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_kmeans.batch import dropped_pixels
from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.dropped_pixels import kept_pictures, read_again
from napari_kmeans.batch.fitting import fit_pictures
from napari_kmeans.batch.image_job import (
    FAILURES,
    ImageJob,
    check_color_space,
    describe_unreadable,
    read_picture_or_raise,
)
from napari_kmeans.batch.matching import match_channels, with_axis_of
from napari_kmeans.batch.picture_options import (
    area_unit_of,
    blur_of_space,
    channel_names_of,
    options_for,
    spacing_of,
)
from napari_kmeans.batch.preparing import kernels_for
from napari_kmeans.batch.reporting import bar, count_images, tell, warnings_about
from napari_kmeans.files.errors import UnreadableImageError, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation


class ClusteredImage(NamedTuple):
    """An image and its clusters."""

    name: str
    picture: Picture
    seg: Segmentation
    sample: str | None = None


class Failure(NamedTuple):
    """An image that failed, and the sentence why."""

    sentence: str

    @classmethod
    def tell(cls, sentence: str) -> Failure:
        """Send the sentence to the listener, and return the failure."""
        tell(sentence)
        return cls(sentence)


class Workflow(NamedTuple):
    """The steps for all images: fit a model to each, fit one to all, or paint with a model."""

    options: Options
    together: bool = False
    """Whether one model is fitted to all images."""

    model: KMeansModel | None = None
    """The model that the images are painted with; None to fit a model."""

    @classmethod
    def of_model(cls, model: KMeansModel) -> Workflow:
        """Return the workflow that paints images with a model."""
        return cls(model.options, model=model)

    @property
    def shared(self) -> bool:
        """Whether all images have the same model, so that no image gets a model file of its own."""
        return self.together or self.model is not None

    def run(self, jobs: Sequence[ImageJob]) -> Iterator[ClusteredImage | Failure]:
        """Yield the result of each image; of an image that failed the sentence, which was sent."""
        if self.model is not None:
            return paint_each(jobs, self.model, self.options)
        if self.together:
            return cluster_together(jobs, self.options)
        return cluster_each(jobs, self.options)


def cluster_each(jobs: Sequence[ImageJob], options: Options) -> Iterator[ClusteredImage | Failure]:
    """Fit a model to each image."""
    for job in jobs:
        yield _do_image(
            job,
            "cluster",
            partial(read_picture_or_raise, job, options),
            partial(cluster_picture, job, options=options),
        )


def cluster_together(
    jobs: Sequence[ImageJob], options: Options
) -> Iterator[ClusteredImage | Failure]:
    """Fit one model to several images, then paint each of them.

    An image with other channels or another dtype than most images fails. If the fit fails, all
    images do. The results of images beyond `MAX_BYTES_IN_MEMORY` are lazy.
    """
    with kept_pictures():
        with bar(count_images(len(jobs))) as progress:
            fit = fit_pictures(jobs, options, report=progress, keeps=True)
        n_bytes = 0
        for job, picture in zip(jobs, fit.pictures, strict=True):
            if picture is None or fit.seg is None:
                yield Failure(fit.failures.get(job.source, "no model was fitted to the images"))
                continue
            n_bytes += 0 if picture.levels else picture.pixels.nbytes
            loads = not picture.levels and n_bytes <= dropped_pixels.MAX_BYTES_IN_MEMORY
            yield _do_image(
                job,
                "apply the model to",
                partial(read_again, job) if loads else partial(_return, picture),
                partial(_paint_fitted, job, fitted=fit.seg, options=options),
            )


def paint_each(
    jobs: Sequence[ImageJob], model: KMeansModel, options: Options
) -> Iterator[ClusteredImage | Failure]:
    """Apply a model to each image."""
    for job in jobs:
        yield _do_image(
            job,
            "apply the model to",
            partial(read_picture_or_raise, job, options),
            partial(paint_picture, job, model=model, options=options),
        )


def _do_image(
    job: ImageJob,
    verb: str,
    read: Callable[[], Picture],
    work: Callable[[Picture], Segmentation],
) -> ClusteredImage | Failure:
    """Read an image and find its clusters. `verb` is what was done, for the message."""
    try:
        picture = read()
    except UnreadableImageError as error:
        return Failure.tell(describe_unreadable(job, error))
    try:
        return ClusteredImage(job.name, picture, work(picture), job.sample)
    except FAILURES as error:
        return Failure.tell(f"cannot {verb} {job.source}: {reason(error)}")


def _return(picture: Picture) -> Picture:
    return picture


def _paint_fitted(
    job: ImageJob, picture: Picture, fitted: Segmentation, options: Options
) -> Segmentation:
    """Paint an image with the model of several, whose table is kept."""
    own = paint_picture(job, picture, fitted.model, options)
    return replace(fitted, labels=own.labels, recolored=own.recolored)


def cluster_picture(job: ImageJob, picture: Picture, options: Options) -> Segmentation:
    """Cluster one image; raise one of `FAILURES` if that fails."""
    from napari_kmeans.segmentation import segment_with_options

    rgb, channel_axis = find_channels(picture)
    check_color_space(rgb, options)
    kernels = kernels_for(picture.pixels, rgb, channel_axis)
    with warnings_about(job.source), bar(job.name) as progress, kernels:
        return segment_with_options(
            picture.pixels,
            options_for(picture, options),
            rgb=picture.rgb,
            channel_axis=picture.channel_axis,
            channel_names=channel_names_of(picture),
            mask=picture.mask,
            progress=progress,
        )


def paint_picture(
    job: ImageJob, picture: Picture, model: KMeansModel, options: Options
) -> Segmentation:
    """Paint one image with a model; raise one of `FAILURES` if that fails."""
    from napari_kmeans.measuring import cluster_table
    from napari_kmeans.segmentation import Segmentation

    model = match_channels(job, picture, with_axis_of(picture, model))
    kernels = kernels_for(picture.pixels, *find_channels(picture), fit=False)
    with warnings_about(job.source), bar(job.name) as progress, kernels:
        own = _with_pixel_size(job, picture, model)
        labels, recolored = own.apply(picture.pixels, mask=picture.mask, progress=progress)
    return Segmentation(labels, recolored, own, cluster_table(own), None, float("nan"), options)


def _with_pixel_size(job: ImageJob, picture: Picture, model: KMeansModel) -> KMeansModel:
    """Return a model for the axes of space of an image, and for the size of its pixels."""
    own = model.with_blur(blur_of_space(picture, model.blur))
    # The size of the pixels is that of this file, if it states one.
    spacing = spacing_of(picture)
    # Without a pixel size, a minimum area would count pixels: take the pixels of the fit.
    if area_unit_of(picture) is None and model.cleaning.min_area:
        tell(
            f"{job.source}: its pixel size is not known, and is taken to be that of the fit, "
            f"{model.cleaning.spacing}, for the minimum area; its table has no areas; use --spacing"
        )
    elif isinstance(spacing, tuple):
        own = own.with_cleaning(replace(model.cleaning, spacing=spacing))
    return own


def load_results(outcome: ClusteredImage) -> ClusteredImage:
    """Return the image with its results in memory, unless it has levels.

    The results are lazy if the pixels were dropped to save memory: compute them here.
    """
    seg = outcome.seg
    if outcome.picture.levels or isinstance(seg.labels, np.ndarray):
        return outcome
    from dask.base import compute

    labels, recolored = compute(seg.labels, seg.recolored, scheduler="threads")
    return outcome._replace(seg=replace(seg, labels=labels, recolored=recolored))
