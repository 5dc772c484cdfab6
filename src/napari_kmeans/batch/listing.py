"""List the images to cluster: files, series, channels, masks and samples."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.batch.channels import add_mask, choose_channels, set_channel_axis
from napari_kmeans.batch.image_job import ImageJob
from napari_kmeans.batch.inputs import Input, find_inputs, is_folder
from napari_kmeans.batch.masks import MaskError, MaskFile, match_masks, read_mask
from napari_kmeans.batch.pixel_size import convert_pixel_size, set_pixel_size
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.pipes import copy_pipe
from napari_kmeans.files.reading import list_series, read_image
from napari_kmeans.samples import SAMPLES, sample_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.files.picture import Picture, Series

ALL = "all"
"""The value of --series for all images in a file."""

SERIES_LISTED = 10
"""The number of images in a file that a message names."""

NAME_LENGTH = 80
"""The largest number of characters that the name of a series adds to the names of files."""


class _Source(NamedTuple):
    """An image before its channels are chosen and its mask is applied."""

    name: str
    label: str
    read: Callable[[], Picture]
    path: Path | None = None
    subfolder: Path = Path()
    sample: str | None = None


class Reading(NamedTuple):
    """The images to read, and what to read of them.

    Attributes
    ----------
    images : tuple of Path
        Files, zarr directories, folders, and names with wildcards.
    recursive : bool
        Whether subfolders are searched.
    sample : str or None
        The name of a sample that is read, too.
    series : str or None
        The number or the name of the image in a file, or `ALL`; None for the largest.
    channel_axis : str or None
        The number or the name of the axis of channels, where the file does not state it.
    channels : tuple of str or None
        The numbers or the names of the channels to cluster; None for all.
    mask : Path or None
        The file of the mask, or for several images their folder.
    spacing : float or tuple of float, or None
        The distance of neighboring pixels; None for that of the file.
    unit : str or None
        The name of the unit of length of `spacing`, into which the pixel sizes of files are
        converted; None for that of each file, or micrometers if a file states none.
    """

    images: tuple[Path, ...] = ()
    recursive: bool = False
    sample: str | None = None
    series: str | None = None
    channel_axis: str | None = None
    channels: tuple[str, ...] | None = None
    mask: Path | None = None
    spacing: float | tuple[float, ...] | None = None
    unit: str | None = None


def list_jobs(reading: Reading) -> list[ImageJob]:
    """Return the images to read; the first sample if none are named.

    Raises
    ------
    ValueError
        If the mask is a file, and there are several images.
    """
    inputs = find_inputs(reading.images, reading.recursive)
    sources = [source for each in inputs for source in _list_images(each, reading.series)]
    sample = reading.sample
    if sample is None and not inputs:
        sample = next(iter(SAMPLES))
    if sample is not None:
        read = partial(sample_picture, sample)
        sources.append(_Source(sample, f"sample {sample}", read, sample=sample))
    masks, used = _find_masks(reading.mask, sources)
    return [
        ImageJob(
            source.name,
            source.label,
            partial(_read_adjusted, source.read, reading, mask),
            source.sample,
            tuple(path for path in (source.path, mask.path) if path is not None),
        )
        for source, mask in zip(sources, masks, strict=True)
        # A folder may contain images and their masks.
        if source.path is None or os.path.realpath(source.path) not in used
    ]


def _list_images(found: Input, series: str | None) -> list[_Source]:
    """Return the images in a file that are clustered."""
    path = found.path

    def source(name: str, read: Callable[[], Picture], label: str = str(path)) -> _Source:
        return _Source(name, label, read, path, found.subfolder)

    if is_folder(path):
        return [source(path.stem, partial(_refuse, _describe_folder(path)))]
    try:
        # A pipe can be read once, and its images are read one after the other.
        file = copy_pipe(path) if path.is_fifo() else path
        if series is None:
            return [source(path.stem, partial(read_image, file))]
        listed = list_series(file)
    except (OSError, UnreadableImageError) as error:
        return [source(path.stem, partial(_refuse, reason(error)))]
    numbers = range(len(listed))
    if series != ALL:
        number = _find_series(series, listed)
        if number is None:
            return [source(path.stem, partial(_refuse, _describe_choice(series, listed)))]
        numbers = range(number, number + 1)
    if len(listed) == 1:
        return [source(path.stem, partial(read_image, file))]
    names = name_series(listed)
    return [
        source(
            f"{path.stem}-{names[number]}",
            partial(read_image, file, number),
            f"{path}, image {names[number]}",
        )
        for number in numbers
    ]


def _describe_folder(path: Path) -> str:
    """Return why a folder is no image."""
    try:
        os.scandir(path).close()
    except OSError as error:
        return reason(error)
    return "it is a folder without an image"


def _find_masks(place: Path | None, sources: Sequence[_Source]) -> tuple[list[MaskFile], set[str]]:
    """Return the mask of each image, and the real paths of images that are masks of others."""
    if place is None:
        return [MaskFile(None)] * len(sources), set()
    if is_folder(place):
        masks = match_masks(place, [(each.name, each.path, each.subfolder) for each in sources])
        return masks, {os.path.realpath(mask.path) for mask in masks if mask.path is not None}
    if len(sources) != 1:
        raise ValueError(
            f"--mask must be a folder for {len(sources)} images, got {place}: name the masks as "
            "the images, and give their folder"
        )
    return [MaskFile(place)], set()


def name_series(listed: Sequence[Series]) -> list[str]:
    """Return the name of each series, as a part of names of files; its number if it has none."""
    names = [re.sub(r"[^\w.+ -]+", "_", each.name)[:NAME_LENGTH].strip(" ._") for each in listed]
    return [
        name if name and names.count(name) == 1 else str(number)
        for number, name in enumerate(names)
    ]


def _find_series(text: str, listed: Sequence[Series]) -> int | None:
    """Return the number of the image that a number, or a name in the file or of results, means."""
    if text.isdecimal() and int(text) < len(listed):
        return int(text)
    for names in ([each.name for each in listed], name_series(listed)):
        folded = [name.casefold() for name in names]
        if text and folded.count(text.casefold()) == 1:
            return folded.index(text.casefold())
    return None


def _describe_choice(got: str, listed: Sequence[Series]) -> str:
    """Return the message about a series that is not in a file."""
    texts = [f"{index} {each.name}".strip() for index, each in enumerate(listed)]
    shapes = [f"{text} {each.shape}" for text, each in zip(texts, listed, strict=True)]
    more = f" and {len(shapes) - SERIES_LISTED} more" if len(shapes) > SERIES_LISTED else ""
    return (
        f"--series must be one of its images, got {got}: "
        f"they are {', '.join(shapes[:SERIES_LISTED])}{more}"
    )


def _refuse(why: str) -> Picture:
    raise UnreadableImageError(why)


def _read_adjusted(read: Callable[[], Picture], reading: Reading, mask: MaskFile) -> Picture:
    """Read an image with the channels, the mask and the pixel size that the caller states."""
    if mask.problem:
        raise MaskError(mask.problem)
    picture = read()
    try:
        if reading.channel_axis is not None:
            picture = set_channel_axis(picture, reading.channel_axis)
        if reading.channels is not None:
            picture = choose_channels(picture, reading.channels)
        if mask.path is not None:
            picture = add_mask(picture, read_mask(mask.path, picture))
        if reading.spacing is not None:
            picture = set_pixel_size(picture, reading.spacing, reading.unit)
        elif reading.unit is not None:
            picture = convert_pixel_size(picture, reading.unit)
    except (TypeError, ValueError, OSError, MemoryError) as error:
        raise UnreadableImageError(reason(error)) from error
    return picture
