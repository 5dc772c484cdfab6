"""One image of a study: read it, paint it, measure it and write its results."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.channels import find_axis_of_channels
from napari_kmeans.batch.exports import EXPORTS
from napari_kmeans.batch.image_job import FAILURES, read_picture_or_raise
from napari_kmeans.batch.image_record import Stopwatch, describe_done, describe_source
from napari_kmeans.batch.image_rows import ImageRows
from napari_kmeans.batch.jobs import cluster_picture, paint_picture
from napari_kmeans.batch.masks import MaskError
from napari_kmeans.batch.output import IMAGES, OutputError, output_errors, write_results
from napari_kmeans.batch.parts import Inputs, Part, PartStore, make_key, measure_files
from napari_kmeans.batch.preparing import ABOUT_COMPILING
from napari_kmeans.batch.problems import review_image
from napari_kmeans.batch.reporting import tell
from napari_kmeans.batch.result_files import find_labels_file
from napari_kmeans.batch.study_images import CompanionError, read_regions, read_values
from napari_kmeans.batch.thumbnails import draw_thumbnails
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.reading import is_image, read_image
from napari_kmeans.files.units import LENGTHS
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.masks import MaskFile
    from napari_kmeans.batch.study import Study
    from napari_kmeans.batch.study_images import StudyImage
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.measurement import Measuring
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation


@dataclass(frozen=True)
class Steps:
    """What is done with each image.

    Attributes
    ----------
    directory : Path
        The folder of the results.
    key : str
        The same for the same model and options, see `make_key`.
    model : KMeansModel or None
        The model of all images; None to fit a model to each.
    options : Options
    study : Study
        Its outputs, its measurements, and the edits of the classes of each image's own model.
    kept : tuple of Path
        Files that are never removed or overwritten.
    """

    directory: Path
    key: str
    model: KMeansModel | None
    options: Options
    study: Study
    kept: tuple[Path, ...]


@dataclass(frozen=True)
class ImageResult:
    """The outcome of one image: its part, or the sentence why it failed."""

    image: StudyImage
    part: Part | None
    failure: str = ""
    sentences: tuple[str, ...] = ()
    is_earlier: bool = False
    """Whether the image had been done by an earlier run."""

    def rows(self) -> ImageRows:
        """Return the rows of an image that is done in the table of measurements."""
        if self.part is None:
            return ImageRows(self.image, {})
        entry = self.part.entry
        return ImageRows(
            self.image, self.part.table, entry.get("problems") or (), entry.get("far_share")
        )


def do_image(image: StudyImage, steps: Steps, again: bool) -> ImageResult:
    """Do all steps for one image, unless an earlier run has done them or `again` is True.

    An image that is not read from files may have other pixels, and is always done again.
    """
    store = PartStore(steps.directory)
    part = store.read(image.stem) if image.job.inputs and not again else None
    key = _part_key(image, steps)
    if part is None or not part.is_valid(key, input_paths(image), steps.directory):
        return process_image(image, steps)
    # Groups, metadata and the place of the file are not in the pixels: they may change.
    source = describe_source(image.job, image.stem, image.group, image.metadata)
    return ImageResult(image, replace(part, entry={**part.entry, **source}), is_earlier=True)


def has_other_settings(image: StudyImage, steps: Steps) -> bool:
    """Return whether an earlier run has done an image with other options or another model."""
    part = PartStore(steps.directory).read(image.stem)
    return part is not None and part.key != _part_key(image, steps)


def process_image(image: StudyImage, steps: Steps) -> ImageResult:
    """Do all steps for one image. An image that fails has a sentence instead of a part."""
    sentences: list[str] = []
    caller = copy_context()

    def listen(sentence: str) -> None:
        if sentence in ABOUT_COMPILING:
            # This is about the run, and must be seen now.
            caller.copy().run(tell, sentence)
        else:
            sentences.append(sentence)

    with notices_to(listen):
        try:
            part = _process(image, steps, sentences)
        except (MaskError, CompanionError) as error:
            verb = "mask" if isinstance(error, MaskError) else "measure"
            failure = f"cannot {verb} {image.job.source}: {error}"
            return ImageResult(image, None, failure, tuple(sentences))
        except OutputError as error:
            return ImageResult(image, None, str(error), tuple(sentences))
        except FAILURES as error:
            verb = "read" if isinstance(error, UnreadableImageError) else "process"
            failure = f"cannot {verb} {image.job.source}: {reason(error)}"
            return ImageResult(image, None, failure, tuple(sentences))
        except Exception as error:
            # Writers and decoders raise errors of many types: other images can be done.
            failure = f"cannot process {image.job.source}: {reason(error)}"
            return ImageResult(image, None, failure, tuple(sentences))
    return ImageResult(image, part, "", tuple(sentences))


def _process(image: StudyImage, steps: Steps, sentences: list[str]) -> Part:
    watch = Stopwatch()
    inputs = Inputs.of(input_paths(image))
    picture = read_picture_or_raise(image.job, steps.options)
    seg = _segment(image, picture, steps)
    kinds = [kind for kind in IMAGES if kind in steps.study.outputs]
    measuring = open_picture_measuring(seg, picture, image, steps.study)
    # Lazy pixels are painted, written and measured in one pass.
    beside = [measuring.beside()] if kinds and is_dask(seg.labels) else []
    with output_errors(steps.directory):
        written = write_results(
            seg,
            steps.directory,
            image.stem,
            picture,
            shared=steps.model is not None,
            kept=steps.kept,
            kinds=kinds,
            exports=[name for name in EXPORTS if name in steps.study.outputs],
            damaged=_find_damaged(image.stem, steps.directory),
            beside=beside,
        )
    seg = with_written_labels(seg, written.paths)
    table = measuring.table(seg.labels if beside else None)
    is_painted = steps.model is not None
    review = review_image(image.job.source, seg, picture, table, is_painted=is_painted)
    outputs = measure_files(steps.directory, written.paths)
    entry = {
        **describe_source(image.job, image.stem, image.group, image.metadata),
        **describe_done(
            picture,
            seg,
            inputs=inputs,
            outputs=outputs,
            has_own_model=steps.model is None,
            watch=watch,
            warnings=sentences,
            review=review,
        ),
    }
    columns = {str(name): table[name].tolist() for name in table}
    part = Part(_part_key(image, steps), inputs, outputs, entry, columns)
    thumbnails = draw_thumbnails(picture, seg.labels, seg.model)
    store = PartStore(steps.directory)
    try:
        with output_errors(steps.directory):
            store.write(image.stem, part, thumbnails)
    except OutputError as error:
        # The image is done: its new results have replaced those of an earlier run, and the small
        # pictures of that run would be wrong in the report.
        store.remove(image.stem)
        tell(f"{image.job.source} is done, and the next run does it again: {error}")
    return part


def _part_key(image: StudyImage, steps: Steps) -> str:
    """Return the key of an image: another pixel size gives other areas."""
    return steps.key if image.pixel_size is None else make_key([steps.key, image.pixel_size])


def _find_damaged(stem: str, directory: Path) -> list[Path]:
    """Return the results of an earlier run that no program can read.

    An image that can be read may be one that the user has edited and saved.
    """
    part = PartStore(directory).read(stem)
    paths = [directory / name for name in (part.outputs if part is not None else ())]
    return [path for path in paths if not is_image(path)]


def input_paths(image: StudyImage) -> tuple[Path, ...]:
    """Return all files that an image of a study is read from."""
    companions = [image.regions, *image.values.values()]
    return (*image.job.inputs, *(each.path for each in companions if each.path is not None))


def _segment(image: StudyImage, picture: Picture, steps: Steps) -> Segmentation:
    """Paint an image with the model of all images, or fit a model to it."""
    from napari_kmeans.batch.class_edits import edit_classes
    from napari_kmeans.merging import apply_classes

    if steps.model is not None:
        return paint_picture(image.job, picture, steps.model, steps.options)
    seg = cluster_picture(image.job, picture, steps.options)
    if not steps.study.classes:
        return seg
    edited = edit_classes(seg.model.classes, steps.study.classes)
    # The labels are those that the written model gives.
    return apply_classes(seg, edited, image=picture.pixels, mask=picture.mask)


def with_written_labels(seg: Segmentation, paths: list[Path]) -> Segmentation:
    """Return a result whose lazy labels are read from the file, instead of found again."""
    written = find_labels_file(paths)
    if written is None or written.suffix != ".zarr" or not is_dask(seg.labels):
        return seg
    return replace(seg, labels=read_image(written).pixels)


def measure_picture(
    seg: Segmentation, picture: Picture, image: StudyImage, study: Study
) -> pd.DataFrame:
    """Return the rows of an image in the table of measurements."""
    return open_picture_measuring(seg, picture, image, study).table()


def open_picture_measuring(
    seg: Segmentation, picture: Picture, image: StudyImage, study: Study
) -> Measuring:
    """Return what is measured of an image."""
    from napari_kmeans.measured_regions import grid_regions
    from napari_kmeans.measurement import open_measuring
    from napari_kmeans.measurement_inputs import ImageInput

    regions = None
    if study.grid is not None:
        regions = grid_regions(seg.labels.shape, study.grid)
    elif image.regions.problem:
        raise CompanionError(image.regions.problem)
    elif image.regions.path is not None:
        regions = read_regions(image.regions.path, picture)
    values = _read_all_values(image.values, picture) or None
    spacing, unit = _pixel_size(picture)
    return open_measuring(
        seg,
        ImageInput(image.stem, seg.labels, picture.pixels, regions, values, picture.mask),
        slices=_slices(picture, seg.labels.ndim) if study.slices else None,
        spacing=spacing,
        unit=unit,
        medians=study.medians,
        confidence=study.confidence,
    )


def _read_all_values(files: dict[str, MaskFile], picture: Picture) -> dict[str, Any]:
    for file in files.values():
        if file.problem:
            raise CompanionError(file.problem)
    return {
        name: read_values(file.path, picture)
        for name, file in files.items()
        if file.path is not None
    }


def _axes_of_labels(picture: Picture) -> list[Any]:
    channels = find_axis_of_channels(picture)
    return [axis for number, axis in enumerate(picture.axes) if number != channels]


def _pixel_size(picture: Picture) -> tuple[tuple[float, ...] | None, str]:
    """Return the distances of pixels along the axes of the labels, and their unit.

    Nothing is known if the table of clusters has no area, see `pixel_size`.
    """
    from napari_kmeans.files.units import convert_length
    from napari_kmeans.measuring import pixel_size

    axes = _axes_of_labels(picture)
    if pixel_size(picture.axes, picture.pixels.shape) is None:
        return None, ""
    unit = next(axis.unit for axis in reversed(axes) if axis.kind == "space")
    lengths = [
        abs(convert_length(axis.scale, axis.unit, unit) or 0) if axis.kind == "space" else 0.0
        for axis in axes
    ]
    return tuple(lengths), LENGTHS[unit].symbol


def _slices(picture: Picture, n_axes: int) -> dict[int, str] | None:
    """Return the axes of the labels before the plane, with the names of their columns."""
    axes = _axes_of_labels(picture) if len(picture.axes) == picture.pixels.ndim else []
    names: dict[int, str] = {}
    for number in range(n_axes - 2):
        is_time = number < len(axes) and axes[number].kind == "time"
        name = "frame" if is_time else "slice"
        names[number] = name if name not in names.values() else f"{name} {number}"
    return names or None
