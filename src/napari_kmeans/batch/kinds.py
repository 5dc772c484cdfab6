"""Compare the kinds of images: those of one model need the same channels and dtype."""

from __future__ import annotations

from collections import Counter
from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.picture_options import (
    axes_without_channels,
    channel_names_of,
    options_for,
)
from napari_kmeans.batch.reporting import join_names, tell
from napari_kmeans.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.options import Options


class Kind(NamedTuple):
    """The properties that all images of one model must have in common, for messages."""

    channels: str
    dtype: str
    blur: str
    spacing: tuple[float, ...]
    axes: str


_REMEDIES = {
    "spacing": "use --min-size for a number of pixels, or fit a model to images of one pixel size, "
    "and apply it to the others with --model"
}
"""The ways out of a difference, where it is not to cluster each image by itself."""

_SPACING_TOLERANCE = 1e-3
"""Pixel sizes of one scanner differ by their rounding, such as 0.5 and 0.4999925 µm."""


def leave_out_other_kinds(
    jobs: Sequence[ImageJob], pictures: list[Picture | None], options: Options
) -> dict[str, str]:
    """Replace the images that cannot share a model with most images by None.

    Return the sentence about each of them, by its source.
    """
    failures: dict[str, str] = {}

    def leave_out(number: int, sentence: str) -> None:
        pictures[number] = None
        failures[jobs[number].source] = sentence

    kinds: dict[int, Kind] = {}
    for number, (job, picture) in enumerate(zip(jobs, pictures, strict=True)):
        try:
            if picture is not None:
                kinds[number] = find_kind(picture, options)
        except (TypeError, ValueError) as error:
            leave_out(number, f"cannot cluster {job.source}: {reason(error)}")
    if not kinds:
        return failures
    kinds = _join_spacings(kinds)
    # Of several kinds with the same number of images, that of the first image is taken.
    most, _ = Counter(kinds.values()).most_common(1)[0]
    first = next(jobs[number].source for number, kind in kinds.items() if kind == most)
    for number, kind in kinds.items():
        for name, expected, got in zip(Kind._fields, most, kind, strict=True):
            if got != expected:
                remedy = _REMEDIES.get(name, "--each clusters each by itself")
                leave_out(
                    number,
                    f"cannot cluster {jobs[number].source} with the other images: it must have "
                    f"the {name} of {first}, {expected}, got {got}; {remedy}",
                )
                break
    return failures


def _join_spacings(kinds: Mapping[int, Kind]) -> dict[int, Kind]:
    """Return kinds in which spacings that are nearly equal are the first of them."""
    first: list[tuple[float, ...]] = []
    joined = {}
    for number, kind in kinds.items():
        same = next((each for each in first if _are_close(each, kind.spacing)), None)
        if same is None:
            first.append(kind.spacing)
        joined[number] = kind if same is None else kind._replace(spacing=same)
    return joined


def _are_close(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) == len(b) and all(
        isclose(one, other, rel_tol=_SPACING_TOLERANCE) for one, other in zip(a, b, strict=True)
    )


def note_other_channels(jobs: Sequence[ImageJob], pictures: Sequence[Picture | None]) -> None:
    """Print a message for each list of named channels other than that of the first image."""
    sources: dict[tuple[str, ...], list[str]] = {}
    for job, picture in zip(jobs, pictures, strict=True):
        names = channel_names_of(picture) if picture else ()
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


def find_kind(picture: Picture, options: Options) -> Kind:
    """Return the kind of an image; raise TypeError or ValueError if it cannot be clustered."""
    rgb, axis = find_channels(picture)
    text = name_kind(rgb, axis)
    if axis is not None:
        text = f"{picture.pixels.shape[axis]} channels along axis {axis}"
    dtype = picture.pixels.dtype.newbyteorder("=").name
    own = options_for(picture, options)
    # A minimum area is another number of pixels in images with other pixels.
    spacing = own.spacing if isinstance(own.spacing, tuple) else (own.spacing,)
    spacing = spacing if options.min_area else ()
    axes = ", ".join(axis.kind for axis in axes_without_channels(picture))
    return Kind(text, dtype, str(own.blur), spacing, axes if options.position else "")


def name_kind(rgb: bool, channel_axis: int | None) -> str:
    """Return the kind of the channels in words: colors, gray or channels."""
    if rgb:
        return "colors"
    return "gray" if channel_axis is None else "channels"
