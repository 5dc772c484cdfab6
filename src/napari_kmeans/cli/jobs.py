"""The work of the command line: images read, clustered each alone or as one, or painted."""

from __future__ import annotations

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

HELD = 2**29
"""Bytes: of several images that get one model, as much is held in memory; others are read again."""


class Job(NamedTuple):
    """One image to be clustered: a file, or a sample."""

    name: str
    source: str
    read: Callable[[], Picture]
    sample: str | None = None


class ClusteredImage(NamedTuple):
    """One image that was clustered."""

    name: str
    picture: Picture
    seg: Segmentation
    sample: str | None = None


class Plan(NamedTuple):
    """What is to be done with the images."""

    options: Options
    together: bool = False
    """Whether one model is fitted to all of them."""

    model: KMeansModel | None = None
    """A model that they are painted with; then none is fitted."""

    @classmethod
    def of_model(cls, model: KMeansModel) -> Plan:
        """Plan to paint images with a model."""
        return cls(model.options, model=model)

    @property
    def shared(self) -> bool:
        """Whether the model is not that of one image alone."""
        return self.together or self.model is not None

    def run(self, jobs: Sequence[Job]) -> Iterable[ClusteredImage | None]:
        """Return the outcome of each job, or None where it failed, which has been said."""
        if self.model is not None:
            return paint_each(jobs, self.model, self.options)
        if self.together:
            return cluster_together(jobs, self.options)
        return cluster_each(jobs, self.options)


def cluster_each(jobs: Sequence[Job], options: Options) -> Iterator[ClusteredImage | None]:
    """Cluster images one after the other; None for one that cannot be."""
    for job in jobs:
        picture = _read(job)
        seg = None if picture is None else _segment(job, picture, options)
        yield None if picture is None or seg is None else _outcome(job, picture, seg)


def cluster_together(jobs: Sequence[Job], options: Options) -> list[ClusteredImage | None]:
    """Fit one model to several images; None for those that cannot be read, or for all."""
    pictures = _read_all(jobs)
    found = [picture for picture in pictures if picture is not None]
    try:
        seg = _segment_together(found, options) if found else None
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        print_message(
            f"cannot cluster the images as one: {reason(error)}; --each clusters each by itself"
        )
        seg = None
    if seg is None:
        return [None] * len(jobs)
    painted = zip(seg.labels, seg.recolored, strict=True)
    segs = iter([replace(seg, labels=labels, recolored=pixels) for labels, pixels in painted])
    return [
        None if picture is None else _outcome(job, picture, next(segs))
        for job, picture in zip(jobs, pictures, strict=True)
    ]


def paint_each(
    jobs: Sequence[Job], model: KMeansModel, options: Options
) -> Iterator[ClusteredImage | None]:
    """Paint images in the colors of a model; None for one that cannot be."""
    for job in jobs:
        picture = _read(job)
        seg = None if picture is None else _paint(job, picture, model, options)
        yield None if picture is None or seg is None else _outcome(job, picture, seg)


def _outcome(job: Job, picture: Picture, seg: Segmentation) -> ClusteredImage:
    return ClusteredImage(job.name, picture, seg, job.sample)


def _read(job: Job) -> Picture | None:
    """Read an image, or say why not and return None."""
    try:
        picture = job.read()
    except UnreadableImageError as error:
        print_message(f"cannot read {job.source}: {error}")
        return None
    if picture.note:
        print_message(f"{job.source}: {picture.note}")
    return picture


def _read_all(jobs: Sequence[Job]) -> list[Picture | None]:
    pictures = []
    held = 0
    for job in jobs:
        picture = _read(job)
        if picture is not None and not picture.levels:
            held += picture.pixels.nbytes
            if held > HELD:
                picture = _read_again_when_needed(job, picture)
        pictures.append(picture)
    return pictures


class _ReadAgain:
    """The pixels of an image that is read whole, and not held."""

    def __init__(self, job: Job, pixels: NDArray[Any]) -> None:
        self.job, self.shape, self.dtype = job, pixels.shape, pixels.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return self.job.read().pixels[key]


def _read_again_when_needed(job: Job, picture: Picture) -> Picture:
    again = FileArray(_ReadAgain(job, picture.pixels))
    return picture._replace(pixels=open_lazily(again, again.shape, picture.channel_axis))


def _segment(job: Job, picture: Picture, options: Options) -> Segmentation | None:
    """Cluster one image, or say why not and return None."""
    from napari_kmeans.segmentation import segment_with_options

    try:
        with print_warnings(job.source), bar(job.name) as progress:
            return segment_with_options(
                picture.pixels,
                options,
                rgb=picture.rgb,
                channel_axis=picture.channel_axis,
                progress=progress,
            )
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        print_message(f"cannot cluster {job.source}: {reason(error)}")
        return None


def _segment_together(pictures: Sequence[Picture], options: Options) -> Segmentation:
    from napari_kmeans.segmentation import segment_with_options

    kinds = {_kind(picture) for picture in pictures}
    if len(kinds) > 1:
        first, second = sorted(map(_described, kinds))[:2]
        raise ValueError(f"they must have the same channels, got {first} and {second}")
    ((rgb, channel_axis),) = kinds
    with print_warnings(f"{len(pictures)} images"), bar(f"{len(pictures)} images") as progress:
        return segment_with_options(
            [picture.pixels for picture in pictures],
            options,
            rgb=rgb,
            channel_axis=channel_axis,
            progress=progress,
        )


def _paint(job: Job, picture: Picture, model: KMeansModel, options: Options) -> Segmentation | None:
    """Paint one image, or say why not and return None."""
    from napari_kmeans.measuring import cluster_table
    from napari_kmeans.segmentation import Segmentation

    try:
        _check_kind(picture, model)
        with print_warnings(job.source), bar(job.name) as progress:
            labels, recolored = model.apply(picture.pixels, progress=progress)
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        print_message(f"cannot apply the model to {job.source}: {reason(error)}")
        return None
    return Segmentation(labels, recolored, model, cluster_table(model), None, float("nan"), options)


def _kind(picture: Picture) -> tuple[bool, int | None]:
    """Return whether an image has colors, and otherwise the axis of its channels."""
    from napari_kmeans.imaging.blocks import open_pixels

    pixels = open_pixels(picture.pixels, rgb=picture.rgb, channel_axis=picture.channel_axis)
    return pixels.rgb, None if pixels.rgb else pixels.channel_axis


def _described(kind: tuple[bool, int | None]) -> str:
    rgb, axis = kind
    if axis is None:
        return "colors" if rgb else "gray"
    return f"channels along axis {axis}"


def _check_kind(picture: Picture, model: KMeansModel) -> None:
    axis = model.channel_axis
    if axis is not None:
        axis %= picture.pixels.ndim
    kind, wanted = _kind(picture), (model.rgb, None if model.rgb else axis)
    if kind != wanted:
        raise ValueError(f"the image must have {_described(wanted)}, got {_described(kind)}")


def computed(outcome: ClusteredImage) -> ClusteredImage:
    """Return an outcome whose results are in memory if its file is one that is read whole."""
    seg = outcome.seg
    if outcome.picture.levels or isinstance(seg.labels, np.ndarray):
        return outcome
    from dask.base import compute

    labels, recolored = compute(seg.labels, seg.recolored, scheduler="threads")
    return outcome._replace(seg=replace(seg, labels=labels, recolored=recolored))
