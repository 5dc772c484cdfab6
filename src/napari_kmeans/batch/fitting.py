"""Fit one model to many images, of which only a few are in memory at a time.

The model is that of `segment` for the list of the images.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.dropped_pixels import drop_pixels, keep_picture, kept_pictures, thin_out
from napari_kmeans.batch.image_job import (
    FAILURES,
    check_color_space,
    describe_unreadable,
    read_picture_or_raise,
)
from napari_kmeans.batch.kinds import find_kind, leave_out_other_kinds, note_other_channels
from napari_kmeans.batch.picture_options import (
    axes_without_channels,
    channel_names_of,
    options_for,
)
from napari_kmeans.batch.preparing import kernels_for
from napari_kmeans.batch.reporting import count_images, tell, warnings_about
from napari_kmeans.execution.progress import part_of
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.options import AUTO, Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.kinds import Kind
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.imaging.histogram import Histogram
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

MAX_LISTED = 6
"""The number of names up to which a description of a fit lists them. Longer lists become
numbers."""

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
    n_colors : int or None
        The number of distinct colors of all images; None if they were not counted.
    """

    model: KMeansModel | None
    failures: dict[str, str] = field(default_factory=dict)
    n_colors: int | None = None


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
    with kept_pictures():
        fit = fit_pictures(jobs, options, pixels_per_image=pixels_per_image, report=report)
    if fit.seg is None:
        return StudyFit(None, fit.failures, fit.n_colors)
    used = [job.source for job in jobs if job.source not in fit.failures]
    described = describe_fit(used, options, pixels_per_image, fit.n_colors)
    return StudyFit(replace(fit.seg.model, fit=described), fit.failures, fit.n_colors)


def describe_fit(
    sources: Sequence[str], options: Options, pixels_per_image: int, n_colors: int | None
) -> dict[str, Any]:
    """Return how a model was fitted, as plain values that the model keeps through edits.

    Labels contain their model, so that the images are few names and a hash.
    """
    return {
        "n_images": len(sources),
        "images": [last_part(source) for source in sources[:MAX_LISTED]],
        "sources": hash_sources(sources),
        "pixels_per_image": pixels_per_image,
        "n_colors": n_colors,
        "options": options.to_dict(),
    }


def hash_sources(sources: Iterable[str]) -> str:
    """Return the SHA-256 of the paths of images in any order."""
    return hashlib.sha256("\0".join(sorted(sources)).encode("utf-8", "surrogatepass")).hexdigest()


def last_part(path: str) -> str:
    """Return the last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]


class FittedPictures(NamedTuple):
    """Images and the clusters that were fitted to all of them.

    Attributes
    ----------
    pictures : list of Picture or None
        Their pixels are lazy. None for an image that was left out.
    seg : Segmentation or None
        None if no image could be read or if the fit failed.
    failures : dict of str
        The sentence of each image that was left out, by its source.
    n_colors : int or None
        The number of distinct colors of all images; None if they were not counted.
    """

    pictures: list[Picture | None]
    seg: Segmentation | None
    failures: dict[str, str]
    n_colors: int | None = None


def fit_pictures(
    jobs: Sequence[ImageJob],
    options: Options,
    *,
    pixels_per_image: int = 0,
    report: Report | None = None,
    keeps: bool = False,
) -> FittedPictures:
    """Fit one model to images, as `fit_images`, and return the images, too.

    Call it within `kept_pictures`. `keeps` holds images in memory although the fit does not need
    them again.
    """
    reading = part_of(report, 0, 0.8)
    read, counted = _read_once(jobs, options, pixels_per_image, reading, keeps)
    failures = {job.source: each.failure for job, each in zip(jobs, read, strict=True)}
    failures = {source: failure for source, failure in failures.items() if failure}
    pictures = [each.picture for each in read]
    others = leave_out_other_kinds(jobs, pictures, options)
    for sentence in others.values():
        tell(sentence)
    note_other_channels(jobs, pictures)
    failures |= others
    while used := [number for number, picture in enumerate(pictures) if picture is not None]:
        readable = [picture for picture in pictures if picture is not None]
        histogram = _join_counts(counted, readable, options)
        try:
            seg = _fit(readable, histogram, options, part_of(report, 0.8, 1))
            n_colors = None if histogram is None else len(histogram.weights)
            return FittedPictures(pictures, seg, failures, n_colors)
        except FAILURES as error:
            why, damaged = reason(error), _find_image_number(reason(error))
            if damaged is None or damaged >= len(used):
                tell(f"cannot cluster the images as one: {why}; --each clusters each by itself")
                break
            source = jobs[used[damaged]].source
            sentence = f"cannot cluster {source}: {_replace_image_number(why, source)}"
            tell(sentence)
            failures[source] = sentence
            pictures[used[damaged]] = None
    return FittedPictures(pictures, None, failures)


_IMAGE_NUMBER = re.compile(r"(?:(?<= )|^)image (\d+)(?=[ ,:])")
"""The number of an image in a message, but not in a path such as "/data/image 1/a.png"."""


def _find_image_number(message: str) -> int | None:
    """Return the number of the image that a message of a fit of several images is about."""
    found = _IMAGE_NUMBER.search(message)
    return int(found[1]) if found else None


def _replace_image_number(message: str, source: str) -> str:
    """Return a message with the name of the image instead of its number."""
    return _IMAGE_NUMBER.sub(lambda _: source, message)


class _Counted(NamedTuple):
    """The colors of several images of one kind, with their counts."""

    n_images: int
    histogram: Histogram


class _Read(NamedTuple):
    """An image that was read once; its pixels were dropped. Or the sentence why it failed."""

    picture: Picture | None = None
    histogram: Histogram | None = None
    failure: str = ""


def _read_once(
    jobs: Sequence[ImageJob], options: Options, n_pixels: int, report: Report | None, keeps: bool
) -> tuple[list[_Read], dict[Kind, _Counted]]:
    """Read all images, on threads, and count their colors where this is possible."""
    done: list[_Read] = []
    counted: dict[Kind, _Counted] = {}

    def read(job: ImageJob) -> _Read:
        return _read_image(job, options, n_pixels, keeps)

    def step(count: float) -> None:
        if report is not None:
            report(len(done) + int(count), len(jobs))

    for start in range(0, len(jobs), _BATCH):
        found: dict[Kind, list[Histogram]] = {}
        for each in map_threads(read, jobs[start : start + _BATCH], step):
            done.append(each._replace(histogram=None))
            if each.failure:
                tell(each.failure)
            if each.picture is not None and each.histogram is not None:
                found.setdefault(find_kind(each.picture, options), []).append(each.histogram)
        for kind, histograms in found.items():
            known = counted.get(kind)
            parts = histograms if known is None else [known.histogram, *histograms]
            total = len(histograms) + (0 if known is None else known.n_images)
            counted[kind] = _Counted(total, parts[0].merge(*parts[1:]))
    return done, counted


def _join_counts(
    counted: Mapping[Kind, _Counted], pictures: Sequence[Picture], options: Options
) -> Histogram | None:
    """Return the colors of images with their counts; None if other images are counted with them.

    Images whose pixels differ by the rounding of their size have several kinds.
    """
    kinds = dict.fromkeys(find_kind(picture, options) for picture in pictures)
    parts = [counted[kind] for kind in kinds if kind in counted]
    if sum(each.n_images for each in parts) != len(pictures):
        return None
    first, *others = (each.histogram for each in parts)
    return first.merge(*others) if others else first


def _read_image(job: ImageJob, options: Options, n_pixels: int, keeps: bool) -> _Read:
    try:
        picture = read_picture_or_raise(job, options)
    except UnreadableImageError as error:
        return _Read(failure=describe_unreadable(job, error))
    try:
        thinned = thin_out(picture, n_pixels)
        find_kind(thinned, options)
        histogram = _count_colors(thinned, options)
        if thinned.levels:
            return _Read(thinned, histogram)
        if keeps or histogram is None:
            keep_picture(job, thinned, n_pixels)
        return _Read(drop_pixels(job, thinned, n_pixels), histogram)
    except (TypeError, ValueError, OSError, UnreadableImageError) as error:
        return _Read(failure=f"cannot cluster {job.source}: {reason(error)}")


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
) -> Segmentation:
    """Fit a model to images, whose counted colors are given if they are known."""
    from napari_kmeans.imaging.blocks import open_images
    from napari_kmeans.imaging.cleaning import Cleaning
    from napari_kmeans.segmentation import segment_with_options
    from napari_kmeans.summary import summarize_histogram

    rgb, channel_axis = find_channels(pictures[0])
    check_color_space(rgb, options)
    options = options_for(pictures[0], options)
    if len({len(axes_without_channels(each)) for each in pictures}) > 1 and not (
        Cleaning.of(options).moves_pixels
    ):
        # A spacing of two axes is not one of three. Without regions, the fit needs no spacing, and
        # the model gets that of each image to which it is applied.
        options = replace(options, spacing=Options.spacing)
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
        )
