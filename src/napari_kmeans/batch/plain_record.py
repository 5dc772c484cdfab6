"""The record of a run without tables: the results of images, and of earlier runs beside them."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.image_record import (
    Stopwatch,
    describe_done,
    describe_failed,
    describe_not_done,
    describe_source,
)
from napari_kmeans.batch.image_step import with_written_labels
from napari_kmeans.batch.parts import Inputs, write_text
from napari_kmeans.batch.problems import Review, describe_problems, recorded_problems
from napari_kmeans.batch.run_record import (
    RECORD_FILE,
    encode_run_record,
    keep_results,
    read_earlier_runs,
)
from napari_kmeans.batch.study_record import describe_study
from napari_kmeans.files.atomic import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.jobs import ClusteredImage
    from napari_kmeans.batch.study import Study
    from napari_kmeans.model import KMeansModel


class PlainRecord:
    """The record of a run that writes the results of images, without the tables of a study.

    Parameters
    ----------
    study : Study
        The study that gives the same labels, with absolute paths.
    directory : Path
        The folder of the results.
    jobs : sequence of ImageJob
    stems : sequence of str
        The start of the names of the results of each image.

    Attributes
    ----------
    path : Path
    sentences : list of str
        The messages of the run.
    model : KMeansModel or None
        The model of all images, when it is known; None if each image has its own.
    """

    def __init__(
        self, study: Study, directory: Path, jobs: Sequence[ImageJob], stems: Sequence[str]
    ) -> None:
        self.path = directory / RECORD_FILE
        self.sentences: list[str] = []
        self.model: KMeansModel | None = None
        self._study, self._directory, self._watch = study, directory, Stopwatch()
        self._sources = {
            stem: describe_source(job, stem) for job, stem in zip(jobs, stems, strict=True)
        }
        self._inputs = {stem: job.inputs for job, stem in zip(jobs, stems, strict=True)}
        self._found: dict[str, dict[str, Any]] = {}
        self._earlier = read_earlier_runs(directory)

    def add(
        self,
        stem: str,
        outcome: ClusteredImage,
        paths: Sequence[Path],
        watch: Stopwatch,
        warnings: Sequence[str],
        review: Review,
    ) -> None:
        """Add an image whose results were written, and write the record after the first one.

        If the run is killed, the folder has a record of what the run was about to do.
        """
        is_first = not self.n_done
        seg = with_written_labels(outcome.seg, list(paths))
        self._found[stem] = describe_done(
            outcome.picture,
            seg,
            inputs=Inputs.of(self._inputs[stem]),
            outputs=[path.relative_to(self._directory).as_posix() for path in paths],
            has_own_model=self.model is None,
            watch=watch,
            warnings=warnings,
            review=review,
        )
        if is_first:
            # The end of the run states why a record cannot be written.
            with suppress(OSError):
                self.write("interrupted")

    def describe_problems(self) -> list[str]:
        """Return a sentence about each problem of the images that are done."""
        entries = [{"name": stem, **each} for stem, each in self._found.items()]
        return describe_problems(recorded_problems(entries))

    def add_failed(self, stem: str, failure: str, warnings: Sequence[str]) -> None:
        """Add an image that failed, with the sentence why."""
        self._found[stem] = describe_failed(failure, warnings)

    @property
    def n_done(self) -> int:
        """The number of images that are done."""
        return sum(each["status"] == "done" for each in self._found.values())

    def write(self, status: str = "complete") -> bool:
        """Write the record if any image is done, and return whether it was written.

        Images of earlier runs whose results are still there keep their records.
        """
        if not self.n_done:
            return False
        done = {stem for stem, each in self._found.items() if each["status"] == "done"}
        images = [
            {**source, **self._found.get(stem, describe_not_done())}
            for stem, source in self._sources.items()
        ]
        record = {
            **describe_study(self._study, self._directory, self.model, has_tables=False),
            "status": status,
            "images": images,
            **self._watch.entries(),
            "warnings": self.sentences,
            "earlier": keep_results(self._earlier, self._directory, done),
        }
        write_whole({self.path: partial(write_text, encode_run_record(record))})
        return True
