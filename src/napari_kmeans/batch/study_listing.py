"""List the images of a study with their groups, metadata, regions and values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.masks import MaskFile
from napari_kmeans.batch.pixel_size import (
    SIZE,
    StatedSize,
    convert_pixel_size,
    read_stated_size,
    set_pixel_size,
)
from napari_kmeans.batch.reporting import join_names, tell
from napari_kmeans.batch.result_files import free_stems
from napari_kmeans.batch.run_record import relative_path
from napari_kmeans.batch.study import StudyError
from napari_kmeans.batch.study_images import (
    REGION_ENDINGS,
    StudyImage,
    find_companions,
    find_groups,
)
from napari_kmeans.batch.study_metadata import GROUP, find_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.repeating import RecordedImages
    from napari_kmeans.batch.study import Study
    from napari_kmeans.files.picture import Picture


def list_images(
    study: Study,
    jobs: Sequence[ImageJob],
    directory: Path,
    recorded: RecordedImages | None = None,
) -> list[StudyImage]:
    """Return the images of a study, with all that belongs to each.

    Parameters
    ----------
    study : Study
    jobs : sequence of ImageJob
        How the images are read.
    directory : Path
        The folder of the results.
    recorded : RecordedImages, optional
        The images of a record, whose groups and metadata are taken: the file of the metadata may
        be missing, or may have changed.

    Raises
    ------
    StudyError
        If the metadata cannot be used.
    """
    files = [path for job in jobs for path in job.inputs]
    stems = free_stems([job.name for job in jobs], directory, files)
    regions = [MaskFile(None)] * len(jobs)
    if study.regions is not None:
        regions = find_companions(study, study.regions, jobs, "file of regions", REGION_ENDINGS)
    values = {
        name: find_companions(study, place, jobs, f"file of {name}", [name])
        for name, places in study.values.items()
        for place in places[:1]
    }
    described = (
        _describe_images(study, jobs, stems)
        if recorded is None
        else [recorded.describe(job) for job in jobs]
    )
    images: list[StudyImage] = []
    for number, (job, stem) in enumerate(zip(jobs, stems, strict=True)):
        own = {name: found[number] for name, found in values.items()}
        group, entries = described[number]
        size = _read_size(entries, stem, study.unit)
        sized = job
        if size is not None:
            sized = job._replace(read=partial(_read_sized, job.read, size, study.unit))
        file = _file_of(job, study.folder)
        images.append(StudyImage(sized, stem, group, entries, regions[number], own, size, file))
    _tell_images_without_group(images)
    return images


def _file_of(job: ImageJob, folder: Path) -> str:
    """Return the path of the file of an image from a folder; "" for a sample or a layer."""
    # A sample may have a mask in a file.
    is_file = job.sample is None and job.inputs
    return relative_path(job.inputs[0], folder) if is_file else ""


def _tell_images_without_group(images: Sequence[StudyImage]) -> None:
    names = [image.stem for image in images if image.group is None]
    if 0 < len(names) < len(images):
        be = "is" if len(names) == 1 else "are"
        tell(f"{join_names(names)} {be} in no group and not compared")


def _describe_images(
    study: Study, jobs: Sequence[ImageJob], stems: Sequence[str]
) -> list[tuple[str | None, dict[str, Any]]]:
    """Return the group and the metadata of each image."""
    groups = find_groups(study, jobs)
    described = []
    for group, entries in zip(groups, find_metadata(study, jobs, stems), strict=True):
        # A field "group" of the metadata names the group, unless the study has groups.
        named = entries.pop(GROUP, None)
        own = group if study.groups else (None if named is None else str(named))
        described.append((own, entries))
    return described


def _read_size(entries: dict[str, Any], stem: str, unit: str | None) -> StatedSize | None:
    try:
        return read_stated_size(entries, stem, unit or "micrometer")
    except ValueError as error:
        raise StudyError([f"metadata_file: {error}"]) from error


def _read_sized(read: Callable[[], Picture], size: StatedSize, unit: str | None) -> Picture:
    """Read an image with a stated pixel size, in the unit of the study if it has one."""
    picture = set_pixel_size(read(), *size, name=SIZE)
    return picture if unit is None else convert_pixel_size(picture, unit)
