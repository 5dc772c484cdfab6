"""Read the images of the command line, and cluster them or paint them with a model."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.cli.terminal import bar, print_message, print_warnings
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.lazy import FileArray, open_lazily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation

MAX_BYTES_IN_MEMORY = 2**29
"""The largest total size of images that are held in memory while one model is fitted to all.

The pixels of further images are dropped. Their files are read again for each pass."""


class ImageJob(NamedTuple):
    """An image to cluster: a file or a sample.

    Attributes
    ----------
    name : str
        The start of the names of the results, and the name of the layer.
    source : str
        The path of the file, or the word "sample" and the name, for messages.
    read : callable
        Returns the image, or raises UnreadableImageError.
    sample : str or None
        The name of the sample: a key of `SAMPLES`.
    """

    name: str
    source: str
    read: Callable[[], Picture]
    sample: str | None = None


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
        picture = _read_picture(job)
        seg = None if picture is None else _cluster_picture(job, picture, options)
        yield None if picture is None or seg is None else _clustered_image(job, picture, seg)


def cluster_together(jobs: Sequence[ImageJob], options: Options) -> list[ClusteredImage | None]:
    """Fit one model to several images.

    Returns
    -------
    list of ClusteredImage or None
        None for an image that cannot be read, and for all images if the fit fails.
    """
    pictures = _read_pictures(jobs)
    readable = [picture for picture in pictures if picture is not None]
    try:
        seg = _cluster_pictures(readable, options) if readable else None
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        pairs = zip(jobs, pictures, strict=True)
        sources = [job.source for job, picture in pairs if picture is not None]
        why = _name_files(reason(error), sources)
        print_message(f"cannot cluster the images as one: {why}; --each clusters each by itself")
        seg = None
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
        picture = _read_picture(job)
        seg = None if picture is None else _paint_picture(job, picture, model, options)
        yield None if picture is None or seg is None else _clustered_image(job, picture, seg)


def _clustered_image(job: ImageJob, picture: Picture, seg: Segmentation) -> ClusteredImage:
    return ClusteredImage(job.name, picture, seg, job.sample)


def _read_picture(job: ImageJob) -> Picture | None:
    """Read an image; if that fails, print the reason and return None."""
    try:
        picture = job.read()
    except UnreadableImageError as error:
        print_message(f"cannot read {job.source}: {error}")
        return None
    if picture.note:
        print_message(f"{job.source}: {picture.note}")
    return picture


def _read_pictures(jobs: Sequence[ImageJob]) -> list[Picture | None]:
    pictures = []
    n_bytes = 0
    for job in jobs:
        picture = _read_picture(job)
        if picture is not None and not picture.levels:
            n_bytes += picture.pixels.nbytes
            if n_bytes > MAX_BYTES_IN_MEMORY:
                picture = _drop_pixels(job, picture)
        pictures.append(picture)
    return pictures


class _ReadOnDemand:
    """The pixels of an image whose file is read again for each access.

    The file has a format of which no part can be read alone.
    """

    def __init__(self, job: ImageJob, pixels: NDArray[Any]) -> None:
        self.job, self.shape, self.dtype = job, pixels.shape, pixels.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return self.job.read().pixels[key]


def _drop_pixels(job: ImageJob, picture: Picture) -> Picture:
    again = FileArray(_ReadOnDemand(job, picture.pixels))
    return picture._replace(pixels=open_lazily(again, again.shape, picture.channel_axis))


def _cluster_picture(job: ImageJob, picture: Picture, options: Options) -> Segmentation | None:
    """Cluster one image; if that fails, print the reason and return None."""
    from napari_kmeans.segmentation import segment_with_options

    try:
        with print_warnings(job.source), bar(job.name) as progress:
            return segment_with_options(
                picture.pixels,
                replace(options, blur=_blur_of_space(picture, options.blur)),
                rgb=picture.rgb,
                channel_axis=picture.channel_axis,
                progress=progress,
            )
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        print_message(f"cannot cluster {job.source}: {reason(error)}")
        return None


def _cluster_pictures(pictures: Sequence[Picture], options: Options) -> Segmentation:
    from napari_kmeans.segmentation import segment_with_options

    rgb, channel_axis = _common_channels(pictures)
    options = replace(options, blur=_common_blur(pictures, options.blur))
    with print_warnings(f"{len(pictures)} images"), bar(f"{len(pictures)} images") as progress:
        return segment_with_options(
            [picture.pixels for picture in pictures],
            options,
            rgb=rgb,
            channel_axis=channel_axis,
            progress=progress,
        )


def _paint_picture(
    job: ImageJob, picture: Picture, model: KMeansModel, options: Options
) -> Segmentation | None:
    """Paint one image; if that fails, print the reason and return None."""
    from napari_kmeans.measuring import cluster_table
    from napari_kmeans.segmentation import Segmentation

    try:
        _check_channels(picture, model)
        with print_warnings(job.source), bar(job.name) as progress:
            own = model.with_blur(_blur_of_space(picture, model.blur))
            labels, recolored = own.apply(picture.pixels, progress=progress)
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        print_message(f"cannot apply the model to {job.source}: {reason(error)}")
        return None
    return Segmentation(labels, recolored, own, cluster_table(own), None, float("nan"), options)


def _channels_of(picture: Picture) -> tuple[bool, int | None]:
    """Return (rgb, channel_axis) of an image; the axis is None for RGB and gray images."""
    from napari_kmeans.imaging.blocks import open_pixels

    pixels = open_pixels(picture.pixels, rgb=picture.rgb, channel_axis=picture.channel_axis)
    return pixels.rgb, None if pixels.rgb else pixels.channel_axis


def _common_channels(pictures: Sequence[Picture]) -> tuple[bool, int | None]:
    """Return (rgb, channel_axis) of images that have the same channels.

    Raises
    ------
    TypeError, ValueError
        If an image cannot be clustered, or has other channels than the first image. The
        message contains the number of the image, from 0, as the messages of `segment` do.
    """
    channels: list[tuple[bool, int | None]] = []
    for number, picture in enumerate(pictures):
        try:
            channels.append(_channels_of(picture))
        except (TypeError, ValueError) as error:
            raise type(error)(f"image {number}: {error}") from error
        if channels[number] != channels[0]:
            first, other = _describe_channels(channels[0]), _describe_channels(channels[number])
            raise ValueError(
                f"image {number} must have the channels of image 0, {first}, got {other}"
            )
    return channels[0]


def _blur_of_space(picture: Picture, blur: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """Return a blur that does not blur the axes that the file states not to be of space.

    These are time, and axes of unknown meaning such as the pages of a TIFF file.
    """
    rgb, channel_axis = _channels_of(picture)
    channels = picture.pixels.ndim - 1 if rgb else channel_axis
    kinds = [axis.kind for number, axis in enumerate(picture.axes) if number != channels]
    if isinstance(blur, tuple) or not blur or all(kind == "space" for kind in kinds):
        return blur
    return tuple(blur if kind == "space" else 0.0 for kind in kinds)


def _common_blur(
    pictures: Sequence[Picture], blur: float | tuple[float, ...]
) -> float | tuple[float, ...]:
    """Return the blur of images that are clustered together.

    Raises
    ------
    ValueError
        If the images differ in their axes of space.
    """
    first, *others = [_blur_of_space(picture, blur) for picture in pictures]
    for number, other in enumerate(others, 1):
        if other != first:
            raise ValueError(
                f"image {number} must be blurred along the axes of image 0, {first}, got {other}"
            )
    return first


def _name_files(message: str, sources: Sequence[str]) -> str:
    """Replace "image 0", "image 1" and so on in a message with the files of the images."""

    def source_of(match: re.Match[str]) -> str:
        number = int(match[1])
        return sources[number] if number < len(sources) else match[0]

    # Do not replace the name of a folder in a path, such as "/data/image 1/a.png".
    return re.sub(r"(?:(?<= )|^)image (\d+)(?=[ ,:])", source_of, message)


def _describe_channels(kind: tuple[bool, int | None]) -> str:
    rgb, axis = kind
    if axis is None:
        return "colors" if rgb else "gray"
    return f"channels along axis {axis}"


def _check_channels(picture: Picture, model: KMeansModel) -> None:
    axis = model.channel_axis
    if axis is not None:
        axis %= picture.pixels.ndim
    kind, wanted = _channels_of(picture), (model.rgb, None if model.rgb else axis)
    if kind != wanted:
        raise ValueError(
            f"the image must have {_describe_channels(wanted)}, got {_describe_channels(kind)}"
        )


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
