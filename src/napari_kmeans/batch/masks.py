"""Find and read the masks of images."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.batch.reporting import join_names
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image
from napari_kmeans.imaging.blocks import is_dask, open_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_kmeans.files.picture import Picture

ENDINGS = ("mask", "masks", "label", "labels", "seg", "cp_masks")
"""The words that may follow the name of an image in the name of its mask.

Cellpose writes "cp_masks", and the command line writes "labels".
"""


class MaskError(UnreadableImageError):
    """A mask that cannot be read, or that does not fit its image."""


class MaskFile(NamedTuple):
    """The file of a mask, or the reason why there is none."""

    path: Path | None
    problem: str = ""


def match_masks(
    place: Path,
    images: Iterable[tuple[str, Path | None, Path]],
    word: str = "mask",
    endings: Sequence[str] = ENDINGS,
) -> list[MaskFile]:
    """Return the mask, or another file, of each image from a folder of such files.

    Parameters
    ----------
    place : Path
        The folder of the masks. If it has the subfolder of an image, its mask is there.
    images : iterable of (name, path or None, subfolder)
        The name of each image, its file, and the subfolder in which the file was found.
    word : str
        The name of such a file in messages.
    endings : sequence of str
        The words that may follow the name of the image.
    """
    masks = [_find_mask(place, *image, word, endings) for image in images]
    users = defaultdict(list)
    for number, mask in enumerate(masks):
        if mask.path is not None:
            users[os.path.realpath(mask.path)].append(number)
    for numbers in users.values():
        if len(numbers) > 1:
            for number in numbers:
                masks[number] = MaskFile(
                    None,
                    f"its {word}, {masks[number].path}, has the name of {len(numbers)} images; "
                    f"sort the {word}s into the subfolders of the images",
                )
    return masks


def _find_mask(
    place: Path,
    name: str,
    image: Path | None,
    subfolder: Path,
    word: str,
    endings: Sequence[str],
) -> MaskFile:
    folder = place / subfolder if (place / subfolder).is_dir() else place
    # Beside the image, a file of the same name is another image.
    beside = image is not None and os.path.realpath(image.parent) == os.path.realpath(folder)
    ending = rf"[ ._-]+({'|'.join(map(re.escape, endings))})"
    pattern = re.compile(
        rf"{re.escape(_strip_ome(name))}({ending})" + ("" if beside else "?"), re.IGNORECASE
    )
    found = [
        path
        for path in sorted(folder.iterdir())
        if any(pattern.fullmatch(_strip_ome(each)) for each in (path.stem, path.name))
    ]
    if len(found) == 1:
        return MaskFile(found[0])
    if found:
        names = join_names([path.name for path in found])
        return MaskFile(None, f"{names} in {folder} are all {word}s of it; leave one")
    return MaskFile(None, f"there is no {word} of it in {folder}, such as {name}-{endings[0]}.png")


def _strip_ome(stem: str) -> str:
    """Return the stem of "scan.ome" in "scan.ome.tif"."""
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def read_mask(path: Path, picture: Picture) -> Any:
    """Read the mask of an image: a bool array of its spatial shape.

    Pixels are kept where the mask is not zero in any of its channels except alpha.

    Raises
    ------
    MaskError
        If the mask cannot be read, or if it has another shape.
    """
    try:
        mask = read_image(path)
    except UnreadableImageError as error:
        raise MaskError(f"its mask, {path}: {error}") from error
    pixels = open_pixels(mask.pixels, rgb=mask.rgb, channel_axis=mask.channel_axis, mask=mask.mask)
    image = open_pixels(picture.pixels, rgb=picture.rgb, channel_axis=picture.channel_axis)
    if pixels.shape != image.shape:
        raise MaskError(
            f"its mask, {path}, has the shape {pixels.shape}, and the image has {image.shape}"
        )
    values = pixels.array[..., : pixels.n_channels]
    # NaN is missing data.
    kept = ((values != 0) & (values == values)).any(-1)
    if pixels.mask is not None:
        kept &= pixels.mask
    return kept if is_dask(picture.pixels) else np.asarray(kept)
