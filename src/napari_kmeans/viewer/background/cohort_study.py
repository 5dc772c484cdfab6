"""The study of a cohort, from what the user has chosen in the panel."""

from __future__ import annotations

import glob
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.class_edits import find_edits
from napari_kmeans.batch.inputs import find_inputs, is_folder
from napari_kmeans.batch.parts import PARTS
from napari_kmeans.batch.result_files import LOCK_FILE
from napari_kmeans.batch.run_record import encode_run_record, read_run_record
from napari_kmeans.batch.running import DEFAULT_OUTPUT
from napari_kmeans.batch.study import Study, StudyError
from napari_kmeans.batch.study_kinds import DEFAULT_OUTPUTS
from napari_kmeans.batch.study_metadata import describe_rows
from napari_kmeans.classes import ClassScheme
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import COMMAND_LINE_OPTIONS, Options
from napari_kmeans.viewer.background.carried_classes import CarriedClasses
from napari_kmeans.viewer.background.dock_words import in_words_of_dock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.execution.progress import Report

ALWAYS_IN_STUDY = ("n_clusters", "random_state")
"""Options that a study file states also if they have their defaults: a reader looks for them."""

_FIT_OPTIONS = [name for name in COMMAND_LINE_OPTIONS if name != "spacing"]


@dataclass(frozen=True)
class ChosenFiles:
    """The images in a folder, or some files.

    Attributes
    ----------
    folder : Path
        An absolute path.
    files : tuple of Path
        The files that were chosen one by one; empty for a whole folder.
    pattern : str
        The names in the folder, such as "*.tif"; empty for all images.
    recursive : bool
        Whether the subfolders are searched.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    pattern: str = ""
    recursive: bool = False

    def paths(self, base: Path) -> tuple[str, ...]:
        """Return the images as entries of a study in the folder `base`."""
        if self.files:
            return tuple(relative_path(path, base) for path in self.files)
        folder = relative_path(self.folder, base)
        if not self.pattern:
            return (folder,)
        parts = [glob.escape(folder), *(["**"] if self.recursive else []), self.pattern]
        return ("/".join(parts),)

    def subfolders(self, base: Path) -> dict[str, tuple[str, ...]]:
        """Return the subfolders as groups of a study: names and entries."""
        groups = {}
        with suppress(OSError):
            for path in sorted(self.folder.iterdir()):
                if is_folder(path) and not path.name.startswith((".", DEFAULT_OUTPUT)):
                    inner = replace(self, folder=path, recursive=True)
                    groups[path.name] = inner.paths(base)
        return groups


def relative_path(path: Path, base: Path) -> str:
    """Return a path relative to a folder, with slashes; absolute on another drive."""
    with suppress(ValueError):
        return Path(os.path.relpath(path, base)).as_posix()
    return path.as_posix()


@dataclass(frozen=True)
class FoundImages:
    """The images that were found, and what was skipped."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    about_table: str = ""
    """How many images have a row in the table of groups, or why it cannot be used."""


@dataclass(frozen=True)
class ListWork:
    """A folder to search for images, as work for the background."""

    chosen: ChosenFiles
    group_table: Path | None = None

    def run(self, _progress: Report | None = None) -> FoundImages:
        """Return the images, as the command line finds them: results of runs are skipped."""
        notes: list[str] = []
        with notices_to(lambda note: notes.append(in_words_of_dock(note))):
            # The paths of the study, which a run lists by the same function.
            paths = [Path(each) for each in self.chosen.paths(Path(os.path.abspath(os.sep)))]
            paths = [Path(os.path.abspath(os.sep)) / path for path in paths]
            found = find_inputs(paths, self.chosen.recursive)
        exist = [each.path for each in found if os.path.lexists(each.path)]
        images = tuple(path for path in exist if not is_folder(path))
        return FoundImages(images, tuple(notes), self._describe_table(images))

    def _describe_table(self, images: Sequence[Path]) -> str:
        if self.group_table is None:
            return ""
        try:
            return describe_rows(self.group_table, images)
        except StudyError as error:
            return in_words_of_dock(str(error))


@dataclass(frozen=True)
class TableChoices:
    """What is measured and written.

    Attributes
    ----------
    outputs : tuple of str
        As in `Study`. Labels are always written: the table shows the images with them.
    grid : int or None
    regions : Path or None
        The folder of label images.
    slices, by_subfolder : bool
    metadata : str or None
        A pattern of file names.
    metadata_file : Path or None
        A CSV file with a row for each image.
    """

    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    grid: int | None = None
    regions: Path | None = None
    slices: bool = False
    by_subfolder: bool = False
    metadata: str | None = None
    metadata_file: Path | None = None


@dataclass(frozen=True)
class Cohort:
    """All that the user has chosen: the images, the options of the fit, and the table.

    Attributes
    ----------
    images : ChosenFiles or tuple of Path or tuple of str
        Files, the files of layers, or the names of layers.
    options : Options
    fit_on : tuple
        The paths or names of the images that the model is fitted to; empty for all.
    applies_model : bool
        Whether a model is applied, and none is fitted.
    pixels_per_image : int or str
        A text is wrong, and has its message from the study.
    table : TableChoices
    classes : dict
        The names and other edits of the classes, as in `Study`.
    """

    images: ChosenFiles | tuple[Path, ...] | tuple[str, ...]
    options: Options
    fit_on: tuple[Path, ...] | tuple[str, ...] = ()
    applies_model: bool = False
    pixels_per_image: int | str = 0
    table: TableChoices = field(default_factory=TableChoices)
    classes: dict[int, dict[str, Any]] = field(default_factory=dict)

    def is_same(self, other: Cohort) -> bool:
        """Return whether the choices are those of another cohort."""
        has_same_options = self.options.to_dict() == other.options.to_dict()
        return has_same_options and replace(self, options=other.options) == other

    def study(self, base: Path, *, model: str | None = None, output: str | None = None) -> Study:
        """Return the study, with paths relative to a folder.

        Parameters
        ----------
        base : Path
            The folder of the study.
        model : str, optional
            The file of the model that is applied.
        output : str, optional
            The folder of the results.

        Raises
        ------
        StudyError
            If the choices contradict each other.
        """
        table, images, groups, recursive = self.table, self._paths(base), {}, False
        if isinstance(self.images, ChosenFiles):
            recursive = self.images.recursive
            if table.by_subfolder and not self.images.files:
                groups, recursive = self.images.subfolders(base), True
        fitted: dict[str, Any] = {}
        if not self.applies_model:
            fitted = {
                "fit": options_of_fit(self.options),
                "fit_on": tuple(_entry(each, base) for each in self.fit_on),
                "pixels_per_image": self.pixels_per_image,
            }
        return Study(
            folder=base,
            images=images,
            groups=groups,
            recursive=recursive,
            metadata=table.metadata,
            metadata_file=(
                None if table.metadata_file is None else relative_path(table.metadata_file, base)
            ),
            regions=None if table.regions is None else relative_path(table.regions, base),
            grid=table.grid,
            classes=self.classes,
            slices=table.slices,
            outputs=tuple(dict.fromkeys(("labels", *table.outputs))),
            output=output,
            model=model,
            **fitted,
        )

    def _paths(self, base: Path) -> tuple[str, ...]:
        if isinstance(self.images, ChosenFiles):
            return self.images.paths(base)
        return tuple(_entry(each, base) for each in self.images)


def _entry(image: Path | str, base: Path) -> str:
    return image if isinstance(image, str) else relative_path(image, base)


def options_of_fit(options: Options) -> dict[str, Any]:
    """Return the options of a fit that differ from the defaults, by name."""
    default = Options()
    return {
        name: getattr(options, name)
        for name in _FIT_OPTIONS
        if name in ALWAYS_IN_STUDY or getattr(options, name) != getattr(default, name)
    }


def free_directory(
    base: Path, study: Study, model: KMeansModel | None, earlier: KMeansModel | None
) -> Path:
    """Return a folder of results that has none of other settings: `base`, or one with a number.

    A run in the folder of a run with the same settings goes on with it.
    """
    number, directory = 1, base
    while holds_other_results(directory, study, model, earlier):
        number += 1
        directory = base.with_name(f"{base.name}-{number}")
    return directory


def holds_other_results(
    directory: Path, study: Study, model: KMeansModel | None, earlier: KMeansModel | None
) -> bool:
    """Return whether a folder has files, and not only those of a run with the same settings.

    Parameters
    ----------
    directory : Path
    study : Study
    model : KMeansModel or None
        The model that is applied.
    earlier : KMeansModel or None
        The model whose edits are carried to the one that is fitted.
    """
    try:
        # A run that was killed early leaves only its lock.
        if {path.name for path in directory.iterdir()} <= {LOCK_FILE}:
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        record = read_run_record(directory)
    except UnreadableImageError:
        # A run that was killed has no record, and its images are known by their parts.
        return not (directory / PARTS).is_dir()
    own = study.at(study.folder)
    if earlier is not None:
        own = replace(own, classes=_carried_edits(record.get("model"), earlier))
    settings = json.loads(encode_run_record({"study": own.to_dict()}))["study"]
    if _without_files(record["study"]) != _without_files(settings):
        return True
    if model is None:
        return "model" in record["study"]
    applied = json.loads(encode_run_record({"model": model.to_dict()}))["model"]
    return bool(record.get("model") != applied)


def _carried_edits(recorded: Any, earlier: KMeansModel) -> dict[int, dict[str, Any]]:
    """Return the edits that are carried to the recorded model, before any edit of its classes.

    A fit with the settings of the record gives this model again.
    """
    try:
        model = KMeansModel.from_dict(recorded)
    except ValueError:
        return {}
    plain = model.with_classes(ClassScheme.of_centers(len(model.cluster_centers_)))
    return find_edits(CarriedClasses.of(plain, earlier).classes)


def _without_files(study: dict[str, Any]) -> dict[str, Any]:
    """Return the entries but the folder of the results and the file of the model in it."""
    return {name: value for name, value in study.items() if name not in ("output", "model")}


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all files."""
    with suppress(ValueError):
        return Path(os.path.commonpath([path.parent for path in paths]))
    return paths[0].parent
