"""Read the images of the command line, and cluster them or paint them with a model."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.image_job import SRGB_SPACES, ImageJob, read_picture
from napari_kmeans.batch.kinds import leave_out_other_kinds, note_other_channels
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
from napari_kmeans.files.lazy import FileArray, open_lazily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation

MAX_BYTES_IN_MEMORY = 2**29
"""The largest total size of images that are held in memory while one model is fitted to all.

The pixels of further images are dropped. Their files are read again for each pass."""


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


def cluster_together(jobs: Sequence[ImageJob], options: Options) -> list[ClusteredImage | None]:
    """Fit one model to several images.

    Returns
    -------
    list of ClusteredImage or None
        None for an image that cannot be read, and for an image with other channels or
        another dtype than most images; None for all images if the fit fails.
    """
    pictures = _read_pictures(jobs, options)
    leave_out_other_kinds(jobs, pictures, options)
    note_other_channels(jobs, pictures)
    seg = None
    while seg is None and any(picture is not None for picture in pictures):
        readable = [number for number, picture in enumerate(pictures) if picture is not None]
        try:
            seg = _cluster_pictures([each for each in pictures if each is not None], options)
        except FAILURES as error:
            why, damaged = reason(error), find_image_number(reason(error))
            if damaged is None or damaged >= len(readable):
                tell(f"cannot cluster the images as one: {why}; --each clusters each by itself")
                break
            source = jobs[readable[damaged]].source
            tell(f"cannot cluster {source}: {replace_image_number(why, source)}")
            pictures[readable[damaged]] = None
    if seg is None:
        return [None] * len(jobs)
    painted = zip(seg.labels, seg.recolored, strict=True)
    segs = iter([replace(seg, labels=labels, recolored=pixels) for labels, pixels in painted])
    return [
        None if picture is None else _clustered_image(job, picture, next(segs))
        for job, picture in zip(jobs, pictures, strict=True)
    ]


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


def _read_pictures(jobs: Sequence[ImageJob], options: Options) -> list[Picture | None]:
    pictures = []
    n_bytes = 0
    for job in jobs:
        picture = read_picture(job, options)
        if picture is not None and not picture.levels:
            n_bytes += picture.pixels.nbytes
            if n_bytes > MAX_BYTES_IN_MEMORY:
                picture = _drop_pixels(job, picture)
        pictures.append(picture)
    return pictures


class _ReadOnDemand:
    """The pixels of an image whose file is read again for each access.

    The file has a format of which no part can be read alone. The mask is kept in memory.
    """

    def __init__(self, job: ImageJob, pixels: NDArray[Any]) -> None:
        self.job, self.shape, self.dtype = job, pixels.shape, pixels.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return self.job.read().pixels[key]


def _drop_pixels(job: ImageJob, picture: Picture) -> Picture:
    again = FileArray(_ReadOnDemand(job, picture.pixels))
    return picture._replace(pixels=open_lazily(again, again.shape, picture.channel_axis))


FAILURES = (TypeError, ValueError, MemoryError, OSError, UnreadableImageError)
"""The errors of an image that cannot be read, clustered or painted: other images can be."""


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


def check_color_space(rgb: bool, options: Options) -> None:
    """Refuse a color space of RGB images for other images, with the flag of the command line."""
    if options.color_space in SRGB_SPACES and not rgb:
        raise ValueError(
            "--color-space must be rgb for an image that is not RGB, got "
            f"{options.color_space}: rgb compares any channels"
        )


def _cluster_pictures(pictures: Sequence[Picture], options: Options) -> Segmentation:
    from napari_kmeans.segmentation import segment_with_options

    rgb, channel_axis = find_channels(pictures[0])
    check_color_space(rgb, options)
    options = options_for(pictures[0], options)
    images = count_images(len(pictures))
    names = {channel_names_of(picture) for picture in pictures}
    kernels = kernels_for(pictures[0].pixels, rgb, channel_axis)
    with warnings_about(images), bar(images) as progress, kernels:
        return segment_with_options(
            [picture.pixels for picture in pictures],
            options,
            rgb=rgb,
            channel_axis=channel_axis,
            # Names that differ are not those of the channels of all images.
            channel_names=names.pop() if len(names) == 1 else None,
            mask=[picture.mask for picture in pictures],
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


_IMAGE_NUMBER = re.compile(r"(?:(?<= )|^)image (\d+)(?=[ ,:])")
"""The number of an image in a message, but not in a path such as "/data/image 1/a.png"."""


def find_image_number(message: str) -> int | None:
    """Return the number of the image that a message of a fit of several images is about."""
    found = _IMAGE_NUMBER.search(message)
    return int(found[1]) if found else None


def replace_image_number(message: str, source: str) -> str:
    """Return a message with the name of the image instead of its number."""
    return _IMAGE_NUMBER.sub(lambda _: source, message)


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
