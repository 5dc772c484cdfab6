"""The background work of a cohort in files, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.image_rows import combine_tables
from napari_kmeans.batch.preparing import PREPARING_SENTENCE
from napari_kmeans.batch.running import run_study
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.viewer.background.carried_classes import CarriedClasses
from napari_kmeans.viewer.background.dock_words import in_words_of_dock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.image_rows import ImageRows
    from napari_kmeans.batch.study import Study
    from napari_kmeans.batch.study_result import StudyProgress
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel

_FIT_SHARE = 0.3
"""The share of the progress bar in which a model is fitted."""

_STEPS = 1000


class DoneImage(NamedTuple):
    """An image of a cohort that is done.

    Attributes
    ----------
    name : str
        The name in the table.
    payload : object
        What is needed to show the image: the `ImageJob` with the files of its results, or its
        source and its segmentation.
    rows : ImageRows
        Its rows in the table of measurements.
    """

    name: str
    payload: Any
    rows: ImageRows


class SavedImage(NamedTuple):
    """An image in a file, and the paths of its results."""

    job: ImageJob
    outputs: tuple[Path, ...]


@dataclass(eq=False)
class CohortState:
    """How far the run of a cohort is. A thread of the work writes, the panel reads.

    Attributes
    ----------
    total, n_done : int
        Images to do, and images that are done or have failed.
    done : list of DoneImage
    failures : dict of str
        The sentence of each image that failed, by its name.
    n_earlier : int
        Images that an earlier run had done.
    notes : list of str
        Sentences for the user that are no failures.
    model : KMeansModel or None
        The model of the images, once it is fitted, with the classes of an earlier one.
    carried : list of str
        Sentences about the classes that were carried from an earlier model.
    """

    total: int = 0
    n_done: int = 0
    stage: str = ""
    n_fitted: int = 0
    n_to_fit: int = 0
    seconds_left: float | None = None
    current: str = ""
    done: list[DoneImage] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    n_earlier: int = 0
    notes: list[str] = field(default_factory=list)
    model: KMeansModel | None = None
    carried: list[str] = field(default_factory=list)

    def edit(self, model: KMeansModel, earlier: KMeansModel | None) -> KMeansModel:
        """Return a model that was fitted with the edits of the classes of an earlier one."""
        self.model, self.carried = model, []
        if earlier is not None:
            carried = CarriedClasses.of(model, earlier)
            self.model, self.carried = model.with_classes(carried.classes), carried.sentences
        return self.model

    def hear(self, sentence: str) -> None:
        """Note a sentence; each once, and without those about the compiler and failures."""
        sentence = in_words_of_dock(sentence)
        # The dock says itself that kernels are compiled.
        if sentence not in self.notes and sentence != PREPARING_SENTENCE:
            self.notes.append(sentence)

    @property
    def share(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        fit_share = _FIT_SHARE if self.n_to_fit else 0.0
        if self.stage == "fit":
            return fit_share * self.n_fitted / max(self.n_to_fit, 1)
        return fit_share + (1 - fit_share) * self.n_done / max(self.total, 1)

    def report(self, progress: Report | None) -> None:
        """Report the share of the work that is done; `progress` may raise to cancel."""
        if progress is not None:
            progress(int(_STEPS * self.share), _STEPS)

    @property
    def other_notes(self) -> list[str]:
        """The notes that are not the sentences of failures."""
        known = self.failures.values()
        return [
            note
            for note in self.notes
            # What is skipped in a folder is stated beside the number of its images.
            if ": skipped " not in note and not any(note in each for each in known)
        ]

    def describe(self) -> str:
        """Return one line: the stage, the images that are done, the time left and the image."""
        if not self.stage:
            return "Looking for the images…"
        if self.stage == "fit":
            return f"Fitting the model: {self.n_fitted:,} of {self.n_to_fit:,} images read"
        if self.stage == "tables":
            return "Writing the tables and the report…"
        parts = [f"{self.n_done:,} of {self.total:,} images"]
        if self.seconds_left is not None and self.n_done < self.total:
            parts.append(f"{format_time(self.seconds_left)} left")
        return " · ".join([*parts, *([self.current] if self.current else [])])


def format_time(seconds: float) -> str:
    """Return a time in words: "about 40 s", "about 3 min" or "about 2.5 h"."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


class CohortOutcome(NamedTuple):
    """What a cohort has given so far: all of it, or the part that was done before Cancel.

    Attributes
    ----------
    table : pandas.DataFrame
        The long table of measurements.
    images : dict
        The payload of each image by its name, see `DoneImage`.
    failures : dict of str
    directory : Path or None
        The folder of the results; None for layers.
    """

    table: pd.DataFrame
    images: dict[str, Any]
    failures: dict[str, str]
    directory: Path | None


@dataclass(eq=False)
class StudyWork:
    """A study that is run in the background.

    Attributes
    ----------
    study : Study
    directory : Path
        The folder of the results.
    jobs : sequence of ImageJob or None
        Layers, instead of the files of the study.
    model : KMeansModel or None
        A model that is applied, instead of one that is fitted.
    earlier : KMeansModel or None
        A model with edited classes, whose edits are carried to the one that is fitted.
    state : CohortState
    """

    study: Study
    directory: Path
    jobs: Sequence[ImageJob] | None = None
    model: KMeansModel | None = None
    earlier: KMeansModel | None = None
    state: CohortState = field(default_factory=CohortState)

    def run(self, progress: Report | None = None) -> CohortOutcome:
        """Run the study: what an earlier run has done is not done again."""

        def listen(step: StudyProgress) -> None:
            self._note(step)
            self.state.report(progress)

        with notices_to(self.state.hear):
            result = run_study(
                self.study,
                self.directory,
                progress=listen,
                jobs=self.jobs,
                model=self.model,
                edit=lambda model: self.state.edit(model, self.earlier).classes,
            )
        return self.outcome()._replace(table=result.table)

    def outcome(self) -> CohortOutcome:
        """Return what is done: the rows of the table in the order in which images ended."""
        done = sorted(self.state.done, key=lambda each: each.rows.image.stem)
        table = combine_tables([each.rows for each in done])
        images = {each.name: each.payload for each in done}
        return CohortOutcome(table, images, dict(self.state.failures), self.directory)

    def _note(self, step: StudyProgress) -> None:
        state = self.state
        state.stage = step.stage
        if step.stage == "fit":
            state.n_fitted, state.n_to_fit = step.done, step.total
        if step.stage != "images":
            return
        state.n_done, state.total = step.done, step.total
        result = step.result
        if result is None:
            return
        name = result.image.stem
        state.seconds_left, state.current = step.seconds_left, name
        if result.part is None:
            state.failures[name] = in_words_of_dock(result.failure)
            return
        state.n_earlier += result.is_earlier
        outputs = tuple(self.directory / each for each in result.part.outputs)
        payload = SavedImage(result.image.job, outputs)
        state.done.append(DoneImage(name, payload, result.rows()))
