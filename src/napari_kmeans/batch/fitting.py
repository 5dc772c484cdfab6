"""Fit one model to many images, of which only a few are in memory at a time.

The model is that of `segment` for the list of the images.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.channels import find_axis_of_channels, find_channels
from napari_kmeans.batch.image_job import read_picture
from napari_kmeans.batch.jobs import (
    FAILURES,
    check_color_space,
    find_image_number,
    replace_image_number,
)
from napari_kmeans.batch.kinds import find_kind, leave_out_other_kinds, note_other_channels
from napari_kmeans.batch.picture_options import channel_names_of, options_for
from napari_kmeans.batch.preparing import kernels_for
from napari_kmeans.batch.reporting import count_images, tell, warnings_about
from napari_kmeans.execution.notices import notices_also_to
from napari_kmeans.execution.progress import part_of
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.options import AUTO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.kinds import Kind
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.imaging.histogram import Histogram
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options

_KEPT_PICTURES = 8
"""Images in memory while they are read again: pixels and mask of an image are read one after the
other, by several threads."""

_BATCH = 16
"""Images whose colors are counted before their counts are joined: the counts of an image take up
to 12 bytes per pixel."""


@dataclass(frozen=True)
class StudyFit:
    """The model of several images.

    Attributes
    ----------
    model : KMeansModel or None
        None if no image could be read or if the fit failed.
    failures : dict of str
        The sentence of each image that was left out, by its source.
    """

    model: KMeansModel | None
    failures: dict[str, str] = field(default_factory=dict)


def fit_images(
    jobs: Sequence[ImageJob],
    options: Options,
    *,
    pixels_per_image: int = 0,
    report: Report | None = None,
) -> StudyFit:
    """Fit one model to images; images that fail are left out, after a sentence.

    If the distinct colors can be counted, each image is read once. Otherwise images are read
    again in each pass of the fit. Memory does not grow with the number of images.

    Parameters
    ----------
    jobs : sequence of ImageJob
    options : Options
    pixels_per_image : int
        The most pixels that are read of each image, on a regular grid; 0 reads all.
    report : callable, optional
        ``report(done, total)``.
    """
    sentences: list[str] = []
    try:
        with notices_also_to(sentences.append):
            pictures, counted = _read_once(jobs, options, pixels_per_image, part_of(report, 0, 0.8))
            leave_out_other_kinds(jobs, pictures, options)
            note_other_channels(jobs, pictures)
            model = _fit_readable(jobs, pictures, counted, options, part_of(report, 0.8, 1))
    finally:
        _RECENT.clear()
    return StudyFit(model, _find_failures(jobs, pictures, sentences))


def _find_failures(
    jobs: Sequence[ImageJob], pictures: Sequence[Picture | None], sentences: Sequence[str]
) -> dict[str, str]:
    """Return the sentence about each image that was left out."""
    failures = {}
    for job, picture in zip(jobs, pictures, strict=True):
        if picture is None:
            starts = tuple(f"cannot {verb} {job.source}" for verb in ("read", "mask", "cluster"))
            own = [each for each in sentences if each.startswith(starts)]
            failures[job.source] = own[-1] if own else f"cannot cluster {job.source}"
    return failures


def _fit_readable(
    jobs: Sequence[ImageJob],
    pictures: list[Picture | None],
    counted: Mapping[Kind, _Counted],
    options: Options,
    report: Report | None,
) -> KMeansModel | None:
    """Fit a model to the images that are not None, without those that turn out to be damaged."""
    while used := [number for number, picture in enumerate(pictures) if picture is not None]:
        readable = [picture for picture in pictures if picture is not None]
        colors = counted.get(find_kind(readable[0], options))
        known = colors is not None and colors.n_images == len(readable)
        try:
            return _fit(readable, colors.histogram if colors and known else None, options, report)
        except FAILURES as error:
            why, damaged = reason(error), find_image_number(reason(error))
            if damaged is None or damaged >= len(used):
                tell(f"cannot fit a model to the images: {why}")
                break
            source = jobs[used[damaged]].source
            tell(f"cannot cluster {source}: {replace_image_number(why, source)}")
            pictures[used[damaged]] = None
    return None


class _Counted(NamedTuple):
    """The colors of several images of one kind, with their counts."""

    n_images: int
    histogram: Histogram


def _read_once(
    jobs: Sequence[ImageJob], options: Options, n_pixels: int, report: Report | None
) -> tuple[list[Picture | None], dict[Kind, _Counted]]:
    """Read all images, on threads, and count their colors where this is possible.

    Return the images, whose pixels are read again when they are needed, and the counts.
    """
    pictures: list[Picture | None] = []
    counted: dict[Kind, _Counted] = {}

    def read(job: ImageJob) -> tuple[Picture | None, Histogram | None]:
        return _read_image(job, options, n_pixels)

    def step(count: float) -> None:
        if report is not None:
            report(len(pictures) + int(count), len(jobs))

    for start in range(0, len(jobs), _BATCH):
        found: dict[Kind, list[Histogram]] = {}
        for picture, histogram in map_threads(read, jobs[start : start + _BATCH], step):
            pictures.append(picture)
            if picture is not None and histogram is not None:
                found.setdefault(find_kind(picture, options), []).append(histogram)
        for kind, histograms in found.items():
            known = counted.get(kind)
            parts = histograms if known is None else [known.histogram, *histograms]
            total = len(histograms) + (0 if known is None else known.n_images)
            counted[kind] = _Counted(total, parts[0].merge(*parts[1:]))
    return pictures, counted


def _read_image(
    job: ImageJob, options: Options, n_pixels: int
) -> tuple[Picture | None, Histogram | None]:
    picture = read_picture(job, options)
    if picture is None:
        return None, None
    try:
        thinned = _thin_out(picture, n_pixels)
        find_kind(thinned, options)
        histogram = _count_colors(thinned, options)
    except (TypeError, ValueError, OSError, UnreadableImageError) as error:
        tell(f"cannot cluster {job.source}: {reason(error)}")
        return None, None
    return (thinned if thinned.levels else _drop_pixels(job, thinned, n_pixels)), histogram


def _thin_out(picture: Picture, n_pixels: int) -> Picture:
    """Return every n-th pixel of an image along each axis, so that at most `n_pixels` are left."""
    channels = find_axis_of_channels(picture)
    axes = [axis for axis in range(picture.pixels.ndim) if axis != channels]
    shape = [picture.pixels.shape[axis] for axis in axes]
    if not n_pixels or math.prod(shape) <= n_pixels:
        return picture
    stride = math.ceil((math.prod(shape) / n_pixels) ** (1 / len(axes)))
    while math.prod(-(-length // stride) for length in shape) > n_pixels:
        stride += 1
    key = tuple(
        slice(None) if axis == channels else slice(None, None, stride)
        for axis in range(picture.pixels.ndim)
    )
    mask = picture.mask
    if mask is not None:
        mask = mask[(slice(None, None, stride),) * len(axes)]
    return picture._replace(pixels=picture.pixels[key], mask=mask)


class _ReadAgain:
    """The pixels or the mask of an image whose file is read again when they are needed."""

    def __init__(self, job: ImageJob, n_pixels: int, name: str, array: NDArray[Any]) -> None:
        self.job, self.n_pixels, self.name = job, n_pixels, name
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return getattr(_RECENT.read(self.job, self.n_pixels), self.name)[key]


def _drop_pixels(job: ImageJob, picture: Picture, n_pixels: int) -> Picture:
    pixels = FileArray(_ReadAgain(job, n_pixels, "pixels", picture.pixels))
    lazy = picture._replace(pixels=open_lazily(pixels, pixels.shape, picture.channel_axis))
    if picture.mask is None:
        return lazy
    mask = FileArray(_ReadAgain(job, n_pixels, "mask", picture.mask))
    return lazy._replace(mask=open_lazily(mask, mask.shape, None))


class _RecentPictures:
    """The images that were read last: the pixels and the mask of an image are read apart."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[tuple[ImageJob, int], Picture] = OrderedDict()
        self._lock = Lock()

    def read(self, job: ImageJob, n_pixels: int) -> Picture:
        """Return an image with at most so many pixels, from memory if it was read last."""
        # Two fits at a time may have different images of one name, such as layers of two viewers.
        key = job, n_pixels
        with self._lock:
            picture = self._pictures.get(key)
        if picture is None:
            picture = _thin_out(job.read(), n_pixels)
            with self._lock:
                self._pictures[key] = picture
                while len(self._pictures) > _KEPT_PICTURES:
                    self._pictures.popitem(last=False)
        return picture

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._pictures.clear()


_RECENT = _RecentPictures()


def _count_colors(picture: Picture, options: Options) -> Histogram | None:
    """Return the colors of an image with their counts; None if they are not counted.

    Only colors whose codes are the same in all images are counted: those of at most 24 bits. A
    coreset of a given size is drawn from the pixels.
    """
    # These modules import numba, which would slow down the start of the command line.
    from napari_kmeans.feature_space.colors import white_of
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import open_images
    from napari_kmeans.imaging.histogram import MAX_BITS, build_histogram, find_codec

    images = open_images(
        picture.pixels, rgb=picture.rgb, channel_axis=picture.channel_axis, mask=picture.mask
    )
    dtype = images[0].dtype
    space = FeatureSpace.of(options, white_of(dtype))
    has_few_bits = 8 * dtype.itemsize * images[0].n_channels <= MAX_BITS and dtype.kind in "bui"
    is_counted = has_few_bits and space.is_pointwise and options.coreset_size == AUTO
    if not is_counted or picture.levels:
        return None
    codec = find_codec(images)
    return None if codec is None else build_histogram(images, codec)


def _fit(
    pictures: Sequence[Picture],
    histogram: Histogram | None,
    options: Options,
    report: Report | None,
) -> KMeansModel:
    """Fit a model to images, whose counted colors are given if they are known."""
    from napari_kmeans.imaging.blocks import open_images
    from napari_kmeans.segmentation import segment_with_options
    from napari_kmeans.summary import summarize_histogram

    rgb, channel_axis = find_channels(pictures[0])
    check_color_space(rgb, options)
    options = options_for(pictures[0], options)
    names = {channel_names_of(picture) for picture in pictures}
    arrays, masks = [each.pixels for each in pictures], [each.mask for each in pictures]
    arguments: dict[str, Any] = {"rgb": rgb, "channel_axis": channel_axis, "mask": masks}
    kernels = kernels_for(arrays[0], rgb, channel_axis)
    with warnings_about(count_images(len(pictures))), kernels:
        if histogram is not None:
            images = open_images(arrays, **arguments)
            arguments = {"summary": summarize_histogram(images, options, histogram)}
        return segment_with_options(
            arrays,
            options,
            # Names that differ are not those of the channels of all images.
            channel_names=names.pop() if len(names) == 1 else None,
            progress=report,
            **arguments,
        ).model
