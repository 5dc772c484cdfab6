"""Read the images of the command line, and cluster them or paint them with a model."""

from __future__ import annotations

from dataclasses import replace
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
    read_picture,
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
    from collections.abc import Iterable, Iterator, Sequence

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

    def run(self, jobs: Sequence[ImageJob]) -> Iterable[ClusteredImage | None]:
        """Return the result of each image; None for an image that failed, after a message."""
        if self.model is not None:
            return paint_each(jobs, self.model, self.options)
        if self.together:
            return cluster_together(jobs, self.options)
        return cluster_each(jobs, self.options)


def cluster_each(jobs: Sequence[ImageJob], options: Options) -> Iterator[ClusteredImage | None]:
    """Fit a model to each image; yield None for an image that cannot be clustered."""
    for job in jobs:
        picture = read_picture(job, options)
        seg = None if picture is None else _cluster_picture(job, picture, options)
        yield None if picture is None or seg is None else _clustered_image(job, picture, seg)


def cluster_together(jobs: Sequence[ImageJob], options: Options) -> Iterator[ClusteredImage | None]:
    """Fit one model to several images, then paint each of them.

    Yields
    ------
    ClusteredImage or None
        None for an image that cannot be read, and for an image with other channels or
        another dtype than most images; None for all images if the fit fails. The results
        of images beyond `MAX_BYTES_IN_MEMORY` are lazy.
    """
    with kept_pictures():
        with bar(count_images(len(jobs))) as progress:
            fit = fit_pictures(jobs, options, report=progress, keeps=True)
        n_bytes = 0
        for job, picture in zip(jobs, fit.pictures, strict=True):
            if picture is None or fit.seg is None:
                yield None
                continue
            n_bytes += 0 if picture.levels else picture.pixels.nbytes
            loads = not picture.levels and n_bytes <= dropped_pixels.MAX_BYTES_IN_MEMORY
            yield _paint_fitted(job, picture, fit.seg, options, loads)


def _paint_fitted(
    job: ImageJob, lazy: Picture, fitted: Segmentation, options: Options, loads: bool
) -> ClusteredImage | None:
    """Paint an image with the model of several; if that fails, print the reason.

    `loads` reads the image into memory, and its results are in memory then.
    """
    try:
        picture = read_again(job) if loads else lazy
    except UnreadableImageError as error:
        tell(describe_unreadable(job, error))
        return None
    seg = _paint_picture(job, picture, fitted.model, options)
    if seg is None:
        return None
    own = replace(fitted, labels=seg.labels, recolored=seg.recolored)
    return _clustered_image(job, picture, own)


def paint_each(
    jobs: Sequence[ImageJob], model: KMeansModel, options: Options
) -> Iterator[ClusteredImage | None]:
    """Apply a model to each image; yield None for an image that cannot be painted."""
    for job in jobs:
        picture = read_picture(job, options)
        seg = None if picture is None else _paint_picture(job, picture, model, options)
        yield None if picture is None or seg is None else _clustered_image(job, picture, seg)


def _clustered_image(job: ImageJob, picture: Picture, seg: Segmentation) -> ClusteredImage:
    return ClusteredImage(job.name, picture, seg, job.sample)


def _cluster_picture(job: ImageJob, picture: Picture, options: Options) -> Segmentation | None:
    """Cluster one image; if that fails, print the reason and return None."""
    try:
        return cluster_picture(job, picture, options)
    except FAILURES as error:
        tell(f"cannot cluster {job.source}: {reason(error)}")
        return None


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


def _paint_picture(
    job: ImageJob, picture: Picture, model: KMeansModel, options: Options
) -> Segmentation | None:
    """Paint one image; if that fails, print the reason and return None."""
    try:
        return paint_picture(job, picture, model, options)
    except FAILURES as error:
        tell(f"cannot apply the model to {job.source}: {reason(error)}")
        return None


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
            f"{model.cleaning.spacing}; use --spacing"
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
