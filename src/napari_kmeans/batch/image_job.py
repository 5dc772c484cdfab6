"""An image to cluster, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.batch.masks import MaskError
from napari_kmeans.batch.reporting import tell
from napari_kmeans.files.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.options import Options

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


FAILURES = (TypeError, ValueError, MemoryError, OSError, UnreadableImageError)
"""The errors of an image that cannot be read, clustered or painted: other images can be."""


def describe_unreadable(job: ImageJob, error: UnreadableImageError) -> str:
    """Return the sentence about an image whose file, or the file of its mask, cannot be read."""
    verb = "mask" if isinstance(error, MaskError) else "read"
    return f"cannot {verb} {job.source}: {error}"


def check_color_space(rgb: bool, options: Options) -> None:
    """Refuse a color space of RGB images for other images, with the flag of the command line."""
    if options.color_space in SRGB_SPACES and not rgb:
        raise ValueError(
            "--color-space must be rgb for an image that is not RGB, got "
            f"{options.color_space}: rgb compares any channels"
        )


def read_picture_or_raise(job: ImageJob, options: Options) -> Picture:
    """Read an image, and tell what is lost in reading; raise UnreadableImageError if it fails."""
    picture = job.read()
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
