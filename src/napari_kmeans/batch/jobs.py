"""Read the images of the command line, and cluster them or paint them with a model."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.batch.channels import find_axis_of_channels, find_channels
from napari_kmeans.batch.masks import MaskError
from napari_kmeans.batch.preparing import kernels_for
from napari_kmeans.batch.reporting import bar, count_images, join_names, tell, warnings_about
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.units import area_unit, comparable_lengths
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Axis, Picture
    from napari_kmeans.files.units import AreaUnit
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

MAX_BYTES_IN_MEMORY = 2**29
"""The largest total size of images that are held in memory while one model is fitted to all.

The pixels of further images are dropped. Their files are read again for each pass."""


SRGB_SPACES = ("lab", "hsv")
"""The color spaces that are defined for sRGB."""


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
    inputs : tuple of Path
        The files that are read: the image and its mask. A run does not write to them.
    """

    name: str
    source: str
    read: Callable[[], Picture]
    sample: str | None = None
    inputs: tuple[Path, ...] = ()


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
        picture = _read_picture(job, options)
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
    _leave_out_other_kinds(jobs, pictures, options)
    _note_other_channels(jobs, pictures)
    seg = None
    while seg is None and any(picture is not None for picture in pictures):
        readable = [number for number, picture in enumerate(pictures) if picture is not None]
        try:
            seg = _cluster_pictures([each for each in pictures if each is not None], options)
        except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
            why, damaged = reason(error), _find_image_number(reason(error))
            if damaged is None or damaged >= len(readable):
                tell(f"cannot cluster the images as one: {why}; --each clusters each by itself")
                break
            source = jobs[readable[damaged]].source
            tell(f"cannot cluster {source}: {_replace_image_number(why, source)}")
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
        picture = _read_picture(job, options)
        seg = None if picture is None else _paint_picture(job, picture, model, options)
        yield None if picture is None or seg is None else _clustered_image(job, picture, seg)


def _clustered_image(job: ImageJob, picture: Picture, seg: Segmentation) -> ClusteredImage:
    return ClusteredImage(job.name, picture, seg, job.sample)


def _read_picture(job: ImageJob, options: Options) -> Picture | None:
    """Read an image; if that fails, print the reason and return None."""
    try:
        picture = job.read()
    except UnreadableImageError as error:
        verb = "mask" if isinstance(error, MaskError) else "read"
        tell(f"cannot {verb} {job.source}: {error}")
        return None
    if picture.note:
        tell(f"{job.source}: {picture.note}")
    if picture.profile and options.color_space in SRGB_SPACES:
        _note_profile(job, picture.profile, options.color_space)
    return picture


def _note_profile(job: ImageJob, profile: bytes, color_space: str) -> None:
    """Print a message if the colors of an image are not those of sRGB."""
    from napari_kmeans.batch.color_profiles import describe_other_profile

    name = describe_other_profile(profile)
    if name is not None:
        tell(
            f"{job.source}: its color profile is {name}, and {color_space} takes its colors for "
            "sRGB; convert it to sRGB for exact colors"
        )


def _read_pictures(jobs: Sequence[ImageJob], options: Options) -> list[Picture | None]:
    pictures = []
    n_bytes = 0
    for job in jobs:
        picture = _read_picture(job, options)
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


def _cluster_picture(job: ImageJob, picture: Picture, options: Options) -> Segmentation | None:
    """Cluster one image; if that fails, print the reason and return None."""
    from napari_kmeans.segmentation import segment_with_options

    try:
        rgb, channel_axis = find_channels(picture)
        _check_color_space(rgb, options)
        kernels = kernels_for(picture.pixels, rgb, channel_axis)
        with warnings_about(job.source), bar(job.name) as progress, kernels:
            return segment_with_options(
                picture.pixels,
                _options_for(picture, options),
                rgb=picture.rgb,
                channel_axis=picture.channel_axis,
                channel_names=_channel_names(picture),
                mask=picture.mask,
                progress=progress,
            )
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        tell(f"cannot cluster {job.source}: {reason(error)}")
        return None


def _check_color_space(rgb: bool, options: Options) -> None:
    """Refuse a color space of RGB images for other images, with the flag of the command line."""
    if options.color_space in SRGB_SPACES and not rgb:
        raise ValueError(
            "--color-space must be rgb for an image that is not RGB, got "
            f"{options.color_space}: rgb compares any channels"
        )


def _cluster_pictures(pictures: Sequence[Picture], options: Options) -> Segmentation:
    from napari_kmeans.segmentation import segment_with_options

    rgb, channel_axis = find_channels(pictures[0])
    _check_color_space(rgb, options)
    options = _options_for(pictures[0], options)
    images = count_images(len(pictures))
    names = {_channel_names(picture) for picture in pictures}
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
    from napari_kmeans.measuring import cluster_table
    from napari_kmeans.segmentation import Segmentation

    try:
        model = _match_channels(job, picture, _with_axis_of(picture, model))
        kernels = kernels_for(picture.pixels, *find_channels(picture), fit=False)
        with warnings_about(job.source), bar(job.name) as progress, kernels:
            own = model.with_blur(_blur_of_space(picture, model.blur))
            # The size of the pixels is that of this file, if it states one.
            spacing = _spacing_of(picture)
            # Without a pixel size, a minimum area would count pixels: take the pixels of the fit.
            is_known = _area_unit(picture) is not None or not model.cleaning.min_area
            if not is_known:
                size = model.cleaning.spacing
                tell(
                    f"{job.source}: its pixel size is not known, and is taken to be that of the "
                    f"fit, {size}; use --spacing"
                )
            elif isinstance(spacing, tuple):
                own = own.with_cleaning(replace(model.cleaning, spacing=spacing))
            labels, recolored = own.apply(picture.pixels, mask=picture.mask, progress=progress)
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        tell(f"cannot apply the model to {job.source}: {reason(error)}")
        return None
    return Segmentation(labels, recolored, own, cluster_table(own), None, float("nan"), options)


class _Kind(NamedTuple):
    """The properties that all images of one model must have in common, for messages."""

    channels: str
    dtype: str
    blur: str
    spacing: str
    axes: str


def _leave_out_other_kinds(
    jobs: Sequence[ImageJob], pictures: list[Picture | None], options: Options
) -> None:
    """Replace the images that cannot share a model with most images by None, after a message."""
    kinds: dict[int, _Kind] = {}
    for number, (job, picture) in enumerate(zip(jobs, pictures, strict=True)):
        try:
            if picture is not None:
                kinds[number] = _find_kind(picture, options)
        except (TypeError, ValueError) as error:
            tell(f"cannot cluster {job.source}: {reason(error)}")
            pictures[number] = None
    if not kinds:
        return
    # Of several kinds with the same number of images, that of the first image is taken.
    most, _ = Counter(kinds.values()).most_common(1)[0]
    first = next(jobs[number].source for number, kind in kinds.items() if kind == most)
    for number, kind in kinds.items():
        for name, expected, got in zip(_Kind._fields, most, kind, strict=True):
            if got != expected:
                tell(
                    f"cannot cluster {jobs[number].source} with the other images: it must have "
                    f"the {name} of {first}, {expected}, got {got}; --each clusters each by itself"
                )
                pictures[number] = None
                break


def _note_other_channels(jobs: Sequence[ImageJob], pictures: Sequence[Picture | None]) -> None:
    """Print a message for each list of named channels other than that of the first image."""
    sources: dict[tuple[str, ...], list[str]] = {}
    for job, picture in zip(jobs, pictures, strict=True):
        names = _channel_names(picture) if picture else ()
        if names:
            sources.setdefault(names, []).append(job.source)
    if not sources:
        return
    (first, (source, *_)), *others = sources.items()
    for names, alike in others:
        # Names that are given twice, are empty or contain a comma choose no channels.
        chooses = len({*first}) == len(first) and all(name and "," not in name for name in first)
        remedy = (
            f"use --channels {','.join(first)}"
            if chooses and {*names} == {*first}
            else "--each clusters each image by itself"
        )
        are = "channel {} of {} is" if len(names) == 1 else "channels {} of {} are"
        tell(
            f"{are.format(', '.join(names), join_names(alike))} compared with "
            f"{', '.join(first)} of {source} by position; {remedy}"
        )


def _blur_of_space(picture: Picture, blur: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """Return a blur that does not blur the axes that the file states not to be of space.

    These are time, and axes of unknown meaning such as the pages of a TIFF file.
    """
    kinds = [axis.kind for axis in _axes_without_channels(picture)]
    if isinstance(blur, tuple) or not blur or all(kind == "space" for kind in kinds):
        return blur
    return tuple(blur if kind == "space" else 0.0 for kind in kinds)


def _options_for(picture: Picture, options: Options) -> Options:
    """Return the options for the axes of space of an image, and for its pixel size.

    Raises
    ------
    ValueError
        If there is a minimum area, but no size of the pixels.
    """
    min_area = options.min_area
    if min_area:
        unit = _area_unit(picture)
        if unit is None:
            raise ValueError(
                "--min-area must go with --spacing for a file without the size of its pixels, got "
                f"{min_area:g}; use --spacing, or --min-size for a number of pixels"
            )
        min_area *= unit.size
    return replace(
        options,
        blur=_blur_of_space(picture, options.blur),
        spacing=_spacing_of(picture),
        min_area=min_area,
    )


def _axes_without_channels(picture: Picture) -> list[Axis]:
    channels = find_axis_of_channels(picture)
    return [axis for number, axis in enumerate(picture.axes) if number != channels]


def _area_unit(picture: Picture) -> AreaUnit | None:
    """Return the unit of areas or volumes; None if the file does not state the size of a pixel.

    Inches are the unit of a resolution for printing.
    """
    axes = [axis for axis in _axes_without_channels(picture) if axis.kind == "space"]
    scales, units = [axis.scale for axis in axes], [axis.unit for axis in axes]
    return area_unit(scales, units) if all(scales) and "inch" not in units else None


def _spacing_of(picture: Picture) -> float | tuple[float, ...]:
    """Return the distance of neighboring pixels along each axis; 0 for an axis not of space.

    In micrometers if the units of the file are lengths. 1 if the file states no distance.
    """
    axes = _axes_without_channels(picture)
    spatial = [axis for axis in axes if axis.kind == "space"]
    scales, units = [abs(axis.scale) for axis in spatial], [axis.unit for axis in spatial]
    distances = iter(comparable_lengths(scales, units) if all(scales) else ())
    known = tuple(next(distances, 0.0) if axis.kind == "space" else 0.0 for axis in axes)
    return known if any(known) else Options.spacing


def _find_kind(picture: Picture, options: Options) -> _Kind:
    rgb, axis = find_channels(picture)
    text = _name_kind(rgb, axis)
    if axis is not None:
        text = f"{picture.pixels.shape[axis]} channels along axis {axis}"
    dtype = picture.pixels.dtype.newbyteorder("=").name
    own = _options_for(picture, options)
    # A minimum area is another number of pixels in images with other pixels.
    spacing = str(own.spacing) if options.min_area else ""
    axes = ", ".join(axis.kind for axis in _axes_without_channels(picture))
    return _Kind(text, dtype, str(own.blur), spacing, axes if options.position else "")


_IMAGE_NUMBER = re.compile(r"(?:(?<= )|^)image (\d+)(?=[ ,:])")
"""The number of an image in a message, but not in a path such as "/data/image 1/a.png"."""


def _find_image_number(message: str) -> int | None:
    """Return the number of the image that a message of a fit of several images is about."""
    found = _IMAGE_NUMBER.search(message)
    return int(found[1]) if found else None


def _replace_image_number(message: str, source: str) -> str:
    return _IMAGE_NUMBER.sub(lambda _: source, message)


def _with_axis_of(picture: Picture, model: KMeansModel) -> KMeansModel:
    """Return the model for an image whose channels lie along the axis that its file states.

    Models of layers in the viewer have the channels last, and most files have them first.

    Raises
    ------
    ValueError
        If one of model and image is of colors or gray, and the other is not.
    """
    rgb, axis = find_channels(picture)
    if rgb == model.rgb and (rgb or (axis is None) == (model.channel_axis is None)):
        return model if rgb else replace(model, channel_axis=axis)
    wanted, got = _name_kind(model.rgb, model.channel_axis), _name_kind(rgb, axis)
    raise ValueError(f"the image must have {wanted}, got {got}")


def _name_kind(rgb: bool, channel_axis: int | None) -> str:
    if rgb:
        return "colors"
    return "gray" if channel_axis is None else "channels"


def _channel_names(picture: Picture) -> tuple[str, ...]:
    """Return the names of the channels that are compared; nothing if the file has none."""
    rgb, axis = find_channels(picture)
    n_channels = 1 if axis is None else picture.pixels.shape[axis]
    names = tuple(channel.name for channel in picture.channels)
    return names if any(names) and not rgb and len(names) == n_channels else ()


def _match_channels(job: ImageJob, picture: Picture, model: KMeansModel) -> KMeansModel:
    """Return the model with its channels in the order of the image, by their names.

    A message states the order, or names of other channels than those of the model.

    Raises
    ------
    ValueError
        If the image has more channels than those of the model.
    """
    from napari_kmeans.imaging.channel_names import match_names

    names, wanted = _channel_names(picture), model.channel_names
    if not names or not wanted or names == wanted:
        return model
    in_file, in_model = ", ".join(names), ", ".join(wanted)
    if len(names) > len(wanted) and all(names.count(name) == 1 for name in wanted):
        numbers = ",".join(str(names.index(name)) for name in wanted)
        raise ValueError(
            f"the image must have the channels of the model, {in_model}, got {in_file}; use "
            f"--channels {numbers}"
        )
    order = match_names(names, wanted)
    if order is not None:
        if order != sorted(order):
            tell(f"{job.source}: {in_file} are matched by name with {in_model} of the model")
        return model.with_channel_order(order)
    if len(names) == len(wanted):
        tell(
            f"{job.source}: {in_file} {'is' if len(names) == 1 else 'are'} compared with "
            f"{in_model} of the model by position"
        )
    return model


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
