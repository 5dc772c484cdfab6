"""List the images of a study: their files, masks, regions, values, groups and metadata."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.inputs import find_inputs, is_folder
from napari_kmeans.batch.listing import Reading, list_jobs
from napari_kmeans.batch.masks import ENDINGS, MaskFile, match_masks
from napari_kmeans.batch.reporting import join_names, tell
from napari_kmeans.batch.study import StudyError
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image
from napari_kmeans.imaging.blocks import is_dask, open_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.pixel_size import StatedSize
    from napari_kmeans.batch.study import Study
    from napari_kmeans.files.picture import Picture


REGION_ENDINGS = ("regions", "rois", "objects", *ENDINGS)
"""The words that may follow the name of an image in the name of the file of its regions."""


class CompanionError(UnreadableImageError):
    """A file of regions or of values that is missing, damaged, or does not fit its image."""


@dataclass(frozen=True)
class StudyImage:
    """An image of a study.

    Attributes
    ----------
    job : ImageJob
    stem : str
        The start of the names of its results, and its name in tables.
    group : str or None
    metadata : dict of str
        Its entries in further columns of the tables.
    regions : MaskFile
        The label image of its regions; without path and problem if there are none.
    values : dict of MaskFile
        Further images to measure, by name.
    pixel_size : StatedSize or None
        That of the metadata file, with which `job` reads the image.
    file : str
        The path of its file from the folder of the study; "" for a sample or a layer. The name
        of an image can pass to another one when a study changes.
    """

    job: ImageJob
    stem: str
    group: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    regions: MaskFile = field(default_factory=lambda: MaskFile(None))
    values: dict[str, MaskFile] = field(default_factory=dict)
    pixel_size: StatedSize | None = None
    file: str = ""


def list_study_jobs(study: Study, patterns: Sequence[str] | None = None) -> list[ImageJob]:
    """Return the images of a study, or those that patterns name, as they are read.

    Raises
    ------
    ValueError
        If the mask is a file, and there are several images.
    """
    chosen = study.patterns if patterns is None else patterns
    reading = Reading(
        images=tuple(study.pattern(each) for each in chosen),
        recursive=study.recursive,
        sample=study.sample if patterns is None else None,
        series=study.series,
        channel_axis=study.channel_axis,
        channels=study.channels or None,
        mask=None if study.mask is None else study.path(study.mask),
        spacing=study.spacing,
        unit=study.unit,
    )
    return list_jobs(reading)


def find_groups(study: Study, jobs: Sequence[ImageJob]) -> list[str | None]:
    """Return the group of each image: the first whose files include that of the image."""
    members: list[tuple[str, set[str]]] = []
    # The sentences about skipped files were sent when the images were listed.
    with notices_to(lambda _sentence: None):
        for name, patterns in study.groups.items():
            paths = find_inputs([study.pattern(each) for each in patterns], study.recursive)
            members.append((name, {os.path.realpath(each.path) for each in paths}))
    found = [_groups_of(job, members) for job in jobs]
    several = [job.name for job, names in zip(jobs, found, strict=True) if len(names) > 1]
    if several:
        be, count = ("is", "counts") if len(several) == 1 else ("are", "count")
        tell(f"{join_names(several)} {be} in several groups and {count} in the first of them")
    return [names[0] if names else None for names in found]


def _groups_of(job: ImageJob, members: Iterable[tuple[str, set[str]]]) -> list[str]:
    place = os.path.realpath(job.inputs[0]) if job.inputs else None
    return [name for name, paths in members if place in paths]


def find_companions(
    study: Study, place: str, jobs: Sequence[ImageJob], word: str, endings: Sequence[str]
) -> list[MaskFile]:
    """Return the file in a folder that belongs to each image: a file of regions or of values.

    `word` names such a file in messages. The rules are those of masks: a file has the name of
    its image, and perhaps one of the endings. A file, instead of a folder, belongs to a single
    image.

    Raises
    ------
    StudyError
        If there is no such folder or file.
    """
    folder = study.path(place)
    if not folder.exists():
        raise StudyError(
            [
                f"{word.removeprefix('file of ')} must be in a folder with a file for each image, "
                f"got {folder}: there is no such folder."
            ]
        )
    if not is_folder(folder):
        if len(jobs) == 1 and folder.exists():
            return [MaskFile(folder)]
        problem = f"{folder} is no folder with a file for each image"
        return [MaskFile(None, problem)] * len(jobs)
    images = [(job.name, job.inputs[0] if job.inputs else None, Path()) for job in jobs]
    return match_masks(folder, images, word, endings)


def read_regions(path: Path, picture: Picture) -> Any:
    """Read the regions of an image: an integer array of its spatial shape.

    Raises
    ------
    CompanionError
        If the file cannot be read, has another shape, or has no whole numbers.
    """
    labels = _read_single(path, picture, "its regions")
    if labels.dtype.kind not in "bui":
        raise CompanionError(f"its regions, {path}, must be whole numbers")
    return labels


def read_values(path: Path, picture: Picture) -> Any:
    """Read values to measure: an array of the spatial shape of an image, or with channels last.

    Raises
    ------
    CompanionError
        If the file cannot be read or has another shape.
    """
    return _read_single(path, picture, "its values", has_channels=True)


def _read_single(path: Path, picture: Picture, what: str, has_channels: bool = False) -> Any:
    try:
        read = read_image(path)
    except UnreadableImageError as error:
        raise CompanionError(f"{what}, {path}: {error}") from error
    pixels = open_pixels(read.pixels, rgb=read.rgb, channel_axis=read.channel_axis)
    rgb, axis = find_channels(picture)
    image = open_pixels(picture.pixels, rgb=rgb, channel_axis=axis)
    if pixels.shape != image.shape:
        raise CompanionError(
            f"{what}, {path}, have the shape {pixels.shape}, and the image has {image.shape}"
        )
    values = pixels.array[..., : pixels.n_channels]
    if pixels.n_channels > 1 and not has_channels:
        raise CompanionError(f"{what}, {path}, have several channels, and need one")
    values = values if has_channels and pixels.n_channels > 1 else values[..., 0]
    return values if is_dask(values) and is_dask(picture.pixels) else np.asarray(values)
