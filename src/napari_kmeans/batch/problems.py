"""Problems of images that are done: their rows in the tables need a second look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.reporting import count_images, join_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.segmentation import Segmentation

OTHER_UNITS = "other units than the model"

_CONSEQUENCES = {OTHER_UNITS: "the shares, and means with them, may be wrong"}
"""The problems, with what follows from each."""


def find_problems(seg: Segmentation, picture: Picture, *, is_painted: bool) -> list[str]:
    """Return the problems of an image that is done; most images have none.

    Parameters
    ----------
    seg : Segmentation
        The result of the image, with the model that has its axes and channels.
    picture : Picture
    is_painted : bool
        Whether the model was fitted to other images, whose values may be in other units.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.units import describe_other_units

    if not is_painted:
        return []
    pixels = seg.model.open(picture.pixels, picture.mask)
    is_other = describe_other_units(pixels, seg.model.palette, seg.model.dtype) is not None
    return [OTHER_UNITS] if is_other else []


def describe_problems(images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence about each problem, from the entries of images in a record."""
    sentences = []
    for problem, consequence in _CONSEQUENCES.items():
        names = [str(each.get("name")) for each in images if problem in problems_of(each)]
        if names:
            have = "has" if len(names) == 1 else "have"
            sentences.append(
                f"{count_images(len(names))} {have} {problem} ({join_names(names)}): {consequence}"
            )
    return sentences


def problems_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the problems in the entry of an image; records of earlier versions have none."""
    return list(entry.get("problems") or ())
