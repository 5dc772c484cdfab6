"""Problems of images that are done: their rows in the tables need a second look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.reporting import count_images, join_names, tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.segmentation import Segmentation

OTHER_UNITS, NOT_COUNTED = "other units than the model", "no counted pixel"
FAR_COLORS = "colors far from the classes"

_CONSEQUENCES = {
    OTHER_UNITS: "the shares, and means with them, may be wrong",
    FAR_COLORS: "the classes may mean something else there",
    NOT_COUNTED: "there are no shares, which means leave out",
}
"""The problems, with what follows from each."""


class Review(NamedTuple):
    """What a second look at an image that is done has found.

    Attributes
    ----------
    problems : list of str
        Most images have none.
    far_share : float or None
        The `far_share` of the image for the model of several images. None if it is not known.
    """

    problems: list[str]
    far_share: float | None


def review_image(
    source: str, seg: Segmentation, picture: Picture, table: pd.DataFrame, *, is_painted: bool
) -> Review:
    """Find the problems of an image that is done.

    Parameters
    ----------
    source : str
        The image in messages.
    seg : Segmentation
        The result of the image, with the model that has its axes and channels.
    picture : Picture
    table : pandas.DataFrame
        The pixels of each class, perhaps in several regions.
    is_painted : bool
        Whether the model is that of several images, or a saved one: the values of the image may be
        in other units, and its colors far from the classes.
    """
    # These modules import numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.far_colors import describe_far_colors
    from napari_kmeans.measuring import COUNT_COLUMNS, IGNORED

    problems, far_share = [], None
    # The warning about units was sent when the image was painted.
    if is_painted and _has_other_units(seg, picture):
        problems.append(OTHER_UNITS)
    elif is_painted:
        far_share = seg.model.far_share(picture.pixels, mask=picture.mask)
        sentence = describe_far_colors(far_share, source)
        if sentence is not None:
            tell(sentence)
            problems.append(FAR_COLORS)
    counted = table[~table[IGNORED].astype(bool)] if IGNORED in table else table
    if not counted[COUNT_COLUMNS[1]].any():
        tell(
            f"{source}: no pixel is counted, so that there are no shares: check its mask, its "
            "alpha channel, NaN or infinite values, its regions and the ignored classes"
        )
        problems.append(NOT_COUNTED)
    # NaN, without pixels, is no number in JSON.
    return Review(problems, far_share if far_share == far_share else None)


def _has_other_units(seg: Segmentation, picture: Picture) -> bool:
    # This module imports numba, too.
    from napari_kmeans.imaging.units import describe_other_units

    pixels = seg.model.open(picture.pixels, picture.mask)
    return describe_other_units(pixels, seg.model.palette, seg.model.dtype) is not None


def describe_problems(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence about each problem, from the problems of images by their names."""
    sentences = []
    for problem, consequence in _CONSEQUENCES.items():
        names = [name for name, own in problems.items() if problem in own]
        if names:
            have = "has" if len(names) == 1 else "have"
            sentences.append(
                f"{count_images(len(names))} {have} {problem} ({join_names(names)}): {consequence}"
            )
    return sentences


def recorded_problems(images: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the problems in the entries of images in a record, by the names of the images."""
    # Records of version 0.1.1 do not have this entry.
    return {str(each.get("name")): list(each.get("problems") or ()) for each in images}
