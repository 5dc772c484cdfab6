"""Run a study: fit a model, do all images, write the tables, the record and the report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kmeans._version import __version__
from napari_kmeans.batch.class_edits import edit_classes, find_edits
from napari_kmeans.batch.fitting import StudyFit, fit_images
from napari_kmeans.batch.image_loop import do_images
from napari_kmeans.batch.image_record import Stopwatch
from napari_kmeans.batch.image_rows import combine_tables
from napari_kmeans.batch.image_step import ImageResult, Steps, input_paths
from napari_kmeans.batch.known_fit import read_fit, write_fit
from napari_kmeans.batch.parts import PartStore, Stamp, make_key, write_text
from napari_kmeans.batch.preparing import ABOUT_COMPILING
from napari_kmeans.batch.reporting import join_names, tell, tell_missing_sizes
from napari_kmeans.batch.result_files import SHARED_MODEL, file_key, output_directory
from napari_kmeans.batch.run_calls import join_calls, read_calls
from napari_kmeans.batch.run_record import (
    RECORD_FILE,
    encode_run_record,
    has_tables,
    keep_results,
    read_earlier_runs,
)
from napari_kmeans.batch.study import Study, StudyError
from napari_kmeans.batch.study_folder import (
    find_other_files,
    lock_folder,
    paths_inside,
    refuse_other_study,
    refuse_to_overwrite,
)
from napari_kmeans.batch.study_images import StudyImage, list_study_jobs
from napari_kmeans.batch.study_listing import list_images
from napari_kmeans.batch.study_record import describe_images, describe_study
from napari_kmeans.batch.study_result import StudyProgress, StudyResult
from napari_kmeans.batch.study_tables import write_study_files
from napari_kmeans.checks import check_result
from napari_kmeans.execution.notices import notices_also_to
from napari_kmeans.files.atomic import put_back, read_contents, write_whole
from napari_kmeans.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.repeating import RecordedImages
    from napari_kmeans.classes import ClassScheme
    from napari_kmeans.model import KMeansModel


DEFAULT_OUTPUT = "napari-kmeans-output"

_READING = ("series", "channel_axis", "channels", "spacing", "unit", "mask")
"""The entries of a study that decide what is read of its images."""


def run_study(
    study: Study,
    output: str | Path | None = None,
    *,
    again: bool = False,
    progress: Callable[[StudyProgress], object] | None = None,
    jobs: Sequence[ImageJob] | None = None,
    model: KMeansModel | None = None,
    edit: Callable[[KMeansModel], ClassScheme] | None = None,
    recorded: RecordedImages | None = None,
) -> StudyResult:
    """Run a study: one model, all images, one table, one record.

    Images that an earlier run in the same folder has done with the same model and options are
    not done again. An image that fails is listed, and the others are done. With an active
    `distributed.Client`, its workers do the images: they need the paths of the study. Otherwise
    threads do, one image at a time each.

    Parameters
    ----------
    study : Study
    output : path, optional
        The folder of the results. None takes that of the study, or "napari-kmeans-output".
    again : bool, default False
        Whether all images are done again.
    progress : callable, optional
        Called in this thread with a `StudyProgress`. An exception that it raises stops the run
        after the images in work, and is passed on. What was done is kept.
    jobs : sequence of ImageJob, optional
        The images, instead of the files that the study names. Images that are not read from
        files, such as layers of a viewer, are always done again: they may have other pixels.
    model : KMeansModel, optional
        A model that is applied, instead of a file with one.
    edit : callable, optional
        Called with the model that was fitted to the images, it returns the classes of the model.
        The record has them as `classes` of the study. It is for a study without `classes`.
    recorded : RecordedImages, optional
        The images of a record of this study. Only they are done, with the groups and the metadata
        in the record.

    Returns
    -------
    StudyResult

    Raises
    ------
    StudyError
        If there is no image, or if the model cannot be read or fitted.
    OSError
        If the folder of the results cannot be written to.
    """
    check_result("study", study, Study, remedy="load it with Study.load")
    directory = study.path(str(output or study.output or DEFAULT_OUTPUT)).absolute()
    # Paths must hold for workers in other folders, and in the record.
    study = study.at(study.folder)
    if model is not None:
        # The record names the file of the model, which is written there.
        study = replace(study, model=str(directory / SHARED_MODEL))
    _check_libraries(study)
    with output_directory(directory), lock_folder(directory):
        report = progress or (lambda _: None)
        return _Run(study, directory, again, report, jobs, model, edit, recorded).run()


def _check_libraries(study: Study) -> None:
    """Refuse outputs whose libraries are missing, before any work."""
    needed = {"parquet": "pyarrow", "legend": "matplotlib"}
    missing = [
        f"outputs must be without {output} if {name} is not installed: run pip install {name}."
        for output, name in needed.items()
        if output in study.outputs and find_spec(name) is None
    ]
    if missing:
        raise StudyError(missing)


class _Run:
    """One run of a study."""

    def __init__(
        self,
        study: Study,
        directory: Path,
        again: bool,
        progress: Callable[[StudyProgress], object],
        jobs: Sequence[ImageJob] | None = None,
        model: KMeansModel | None = None,
        edit: Callable[[KMeansModel], ClassScheme] | None = None,
        recorded: RecordedImages | None = None,
    ) -> None:
        self.study, self.directory, self.again, self.progress = study, directory, again, progress
        self.jobs, self.model, self.edit, self.recorded = jobs, model, edit, recorded
        self.store = PartStore(directory)
        # The record of an earlier study in this folder is replaced.
        earlier = read_earlier_runs(directory)
        self.earlier = [run for run in earlier if not has_tables(run)]
        studies = [run for run in earlier if has_tables(run)]
        self.before = studies[0] if studies else {}
        self.calls = read_calls(self.before)
        self.has_earlier_fit = False
        others = self.before.get("files_of_other_images")
        self.other_files: dict[str, list[str]] = others if isinstance(others, dict) else {}
        self.watch = Stopwatch()
        self.sentences: list[str] = []
        # The fit of this run: an image that it left out fails. An image that the model was not to
        # be fitted to is painted with it.
        self.fit = StudyFit(None)
        self.fitted: list[ImageJob] = []
        # The images that the study names, also those that are not in the record that is repeated.
        self.listed: list[ImageJob] = []

    def run(self) -> StudyResult:
        """Do all steps, and write the record also if they are stopped."""
        with notices_also_to(self._note):
            images = list_images(self.study, self._list_jobs(), self.directory, self.recorded)
            refuse_other_study(self.directory, {image.job.source for image in images})
            self._refuse_to_overwrite(images)
            model = self._find_model(images)
        steps = self._steps(images, model)
        earlier = read_contents([self.directory / name for name in (RECORD_FILE, SHARED_MODEL)])
        # If this run is killed, the record of an earlier run must not call its folder complete.
        self._write_record(self._record(images, [], model, "interrupted"))
        try:
            if model is not None:
                self._write_model(model)
        except OSError:
            with suppress(OSError):
                put_back(earlier)
            raise
        results: list[ImageResult] = []
        try:
            do_images(
                images,
                steps,
                results,
                failures=self.fit.failures,
                again=self.again,
                are_given=self.jobs is not None,
                progress=self.progress,
            )
            self.progress(StudyProgress("tables", 0, 1))
            if self._has_results() and not any(each.part for each in results):
                return self._keep_earlier(images, results, model, earlier)
            with notices_also_to(self._note):
                _note_missing_sizes(results)
                self._note_other_files(results)
            record = self._record(images, results, model, "complete")
            done = [each for each in results if each.part is not None]
            table = combine_tables([each.rows() for each in done])
            files = write_study_files(self.study, self.directory, self.store, record, table)
        except BaseException:
            # Not complete: the next run needs no record to go on, but a reader of the folder does.
            with suppress(OSError):
                self._write_record(self._record(images, results, model, "interrupted"))
            raise
        files += [] if model is None else [self.directory / SHARED_MODEL]
        self.progress(StudyProgress("tables", 1, 1))
        n_earlier = sum(each.is_earlier for each in results)
        failures = _find_failures(results)
        return StudyResult(self.directory, table, record, tuple(files), failures, n_earlier)

    def _has_results(self) -> bool:
        """Return whether an earlier run of a study in this folder has done an image."""
        return any(each.get("status") == "done" for each in self.before.get("images") or ())

    def _keep_earlier(
        self,
        images: Sequence[StudyImage],
        results: Sequence[ImageResult],
        model: KMeansModel | None,
        earlier: dict[Path, bytes | None],
    ) -> StudyResult:
        """Put back the record and the model of an earlier run: its labels and tables are there.

        No image is done, as on a full disk: tables of this run would be empty.
        """
        tell(
            f"no image is done, so the tables, the record and the model of the earlier run in "
            f"{self.directory} stay"
        )
        record = self._record(images, results, model, "complete")
        put_back(earlier)
        return StudyResult(self.directory, combine_tables([]), record, (), _find_failures(results))

    def _note(self, sentence: str) -> None:
        # The compilation of kernels says nothing about the results.
        if sentence not in ABOUT_COMPILING:
            self.sentences.append(sentence)

    def _note_other_files(self, results: Sequence[ImageResult]) -> None:
        """Tell which results in the folder are of images that left the study or failed."""
        done = {each.image.stem: each.part.outputs for each in results if each.part is not None}
        images = self.before.get("images") or []
        found = find_other_files(self.directory, images, self.other_files, done)
        self.other_files = found
        number = sum(map(len, found.values()))
        if number:
            tell(
                f"{number} {'file' if number == 1 else 'files'} of an earlier run in "
                f"{self.directory} {'is' if number == 1 else 'are'} of no image that is done now "
                f"({join_names(list(found))}): the record lists them"
            )

    def _list_jobs(self) -> list[ImageJob]:
        try:
            jobs = list_study_jobs(self.study) if self.jobs is None else list(self.jobs)
        except ValueError as error:
            raise StudyError([f"{reason(error)}."]) from error
        self.listed = jobs
        return jobs if self.recorded is None else self.recorded.choose(jobs)

    def _inputs(self, images: Sequence[StudyImage]) -> list[Path]:
        """Return all files that the study reads."""
        study = self.study
        named = [study.metadata_file, study.model if self.model is None else None]
        paths = [path for image in images for path in input_paths(image)]
        paths += [study.path(name) for name in named if name is not None]
        return paths + [path for job in self.fitted for path in job.inputs]

    def _refuse_to_overwrite(self, images: Sequence[StudyImage]) -> None:
        refuse_to_overwrite(self.directory, self._inputs(images), bool(self.study.classes))

    def _find_model(self, images: Sequence[StudyImage]) -> KMeansModel | None:
        """Return the model of all images: saved, of an earlier run, or fitted; None for `each`."""
        study = self.study
        if study.each:
            return None
        if self.model is not None:
            model = self.model
        elif study.model is not None:
            model = load_model(study.path(study.model))
        else:
            model = self._fit(images)
            if self.edit is not None:
                self.study = study = replace(study, classes=find_edits(self.edit(model)))
        try:
            edited = model.with_classes(edit_classes(model.classes, study.classes))
        except (TypeError, ValueError) as error:
            raise StudyError([f"classes: {reason(error)}."]) from error
        return edited if study.classes else model

    def _fit(self, images: Sequence[StudyImage]) -> KMeansModel:
        """Fit a model, or take that of an earlier run if its images and options are the same."""
        study = self.study
        jobs: Sequence[ImageJob] = [image.job for image in images]
        if study.fit_on:
            jobs = self.fitted = self._list_fitted(jobs)
            self._refuse_to_overwrite(images)
        key = self._fit_key(jobs, images)
        is_known = not self.again and all(job.inputs for job in jobs)
        known = read_fit(self.store, key) if is_known else None
        if known is not None and known.model is not None:
            self.fit, self.has_earlier_fit = known, True
            for sentence in known.failures.values():
                tell(sentence)
            return known.model
        total = len(jobs)

        def report(done: int, out_of: int) -> None:
            n_images = int(total * done / max(out_of, 1))
            self.progress(StudyProgress("fit", n_images, total))

        fit = fit_images(
            jobs, study.options, pixels_per_image=study.pixels_per_image, report=report
        )
        if fit.model is None:
            # Without failures, the fit of all images has failed, and its reason was told.
            named = f": correct {join_names(list(fit.failures))}" if fit.failures else ""
            error = StudyError([f"a model must be fitted to images, got none of {total}{named}."])
            if total == 1:
                # The sentence about this image was told, and has the reason.
                error.mistakes = []
            raise error
        self.fit = fit
        write_fit(self.store, key, fit)
        return fit.model

    def _list_fitted(self, jobs: Sequence[ImageJob]) -> list[ImageJob]:
        """Return the images that `fit_on` names: files, or the names of given images."""
        names = self.study.fit_on
        if self.jobs is None:
            # An image of the study is read with its pixel size in the metadata file.
            own = {job.source: job for job in jobs}
            found = list_study_jobs(self.study, names)
            if self.recorded is not None:
                found = self.recorded.leave_out_new(found, self.listed)
            return [own.get(job.source, job) for job in found]
        return [job for job in jobs if str(self.study.path(job.name).absolute()) in names]

    def _fit_key(self, jobs: Sequence[ImageJob], images: Sequence[StudyImage]) -> str:
        stamps = []
        for job in jobs:
            for path in job.inputs:
                with suppress(OSError):
                    stamps.append(Stamp.of(path))
        settings = self.study.to_dict()
        return make_key(
            [
                stamps,
                self.study.options.to_dict(),
                [settings.get(name) for name in (*_READING, "pixels_per_image")],
                [image.pixel_size for image in images],
                __version__,
            ]
        )

    def _steps(self, images: Sequence[StudyImage], model: KMeansModel | None) -> Steps:
        study = self.study
        options = study.options if model is None else model.options
        settings = study.to_dict()
        measuring = ("regions", "grid", "values", "slices", "medians", "confidence", "outputs")
        key = make_key(
            [
                # Images that were moved have another hash in the fit, and the same results.
                None if model is None else replace(model, fit=None).to_dict(),
                # A model states its options, and classes that were edited.
                None if model is not None else [options.to_dict(), study.classes],
                [settings.get(name) for name in (*_READING, *measuring)],
                __version__,
            ]
        )
        files = self._inputs(images)
        return Steps(
            directory=self.directory,
            key=key,
            model=model,
            options=options,
            study=study,
            kept=(*paths_inside(self.directory, files), self.directory / SHARED_MODEL),
        )

    def _record(
        self,
        images: Sequence[StudyImage],
        results: Sequence[ImageResult],
        model: KMeansModel | None,
        status: str,
    ) -> dict[str, Any]:
        done = {each.image.stem for each in results if each.part is not None}
        before = [each.part.entry for each in results if each.part and each.is_earlier]
        described = describe_study(self.study, self.directory, model)
        call = {
            **self.watch.entries(),
            "images": len(done) - len(before),
            "status": status,
            "versions": described["versions"],
        }
        return {
            **described,
            "n_colors": self.fit.n_colors,
            "status": status,
            "images": describe_images(images, results),
            **join_calls(self.calls, call, before, has_earlier_fit=self.has_earlier_fit),
            "warnings": self.sentences,
            "files_of_other_images": self.other_files,
            "earlier": keep_results(self.earlier, self.directory, done),
        }

    def _write_model(self, model: KMeansModel) -> None:
        path, given = self.directory / SHARED_MODEL, self.study.model
        if self.model is not None or given is None or file_key(Path(given)) != file_key(path):
            write_whole({path: model.save})

    def _write_record(self, record: dict[str, Any]) -> None:
        text = encode_run_record(record)
        write_whole({self.directory / RECORD_FILE: partial(write_text, text)})


def _find_failures(results: Sequence[ImageResult]) -> dict[str, str]:
    return {each.image.stem: each.failure for each in results if each.part is None}


def _note_missing_sizes(results: Sequence[ImageResult]) -> None:
    """Tell which images have no area although others have one."""
    parts = {each.image.stem: each.part for each in results if each.part is not None}
    sizes = {stem: bool(part.entry.get("pixel_size")) for stem, part in parts.items()}
    tell_missing_sizes(sizes, "are empty; give spacing")


def load_model(path: Path) -> KMeansModel:
    """Return the model in a file, or raise a StudyError."""
    from napari_kmeans.model import KMeansModel

    try:
        return KMeansModel.load(path)
    except ValueError as error:
        raise StudyError([str(error)]) from error
    except OSError as error:
        raise StudyError([f"{path} cannot be read: {reason(error)}."]) from error
