"""A cohort of image layers whose results become layers: one model, painted image by image."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.fitting import fit_images
from napari_kmeans.batch.image_rows import ImageRows, combine_tables
from napari_kmeans.batch.image_step import measure_picture
from napari_kmeans.batch.problems import review_image
from napari_kmeans.batch.study_images import StudyImage
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.viewer.background.cohort_work import CohortOutcome, CohortState, DoneImage
from napari_kmeans.viewer.background.dock_words import in_words_of_dock
from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, describe_error
from napari_kmeans.viewer.from_layers.layer_jobs import picture_of
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork, fit_to_source
from napari_kmeans.viewer.to_layers.layers import labels_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.study import Study
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.viewer.from_layers.source import Source


class PaintedImage(NamedTuple):
    """An image of layers, and its result."""

    source: Source
    outcome: Segmentation


@dataclass(eq=False)
class LayersWork:
    """Images of layers that get labels with one model, as work for the background.

    Attributes
    ----------
    study : Study
        The options of the fit and of the table.
    jobs : sequence of ImageJob
        The images that a model is fitted to are those of the study.
    sources : sequence of Source
        The layers of each job.
    model : KMeansModel or None
        A model that is applied, instead of one that is fitted.
    earlier : KMeansModel or None
        A model with edited classes, whose edits are carried to the one that is fitted.
    measure_regions : callable, optional
        Returns the table of a Labels layer in the regions of another layer. None measures whole
        images, or the squares of the study.
    state : CohortState
    """

    study: Study
    jobs: Sequence[ImageJob]
    sources: Sequence[Source]
    model: KMeansModel | None = None
    earlier: KMeansModel | None = None
    measure_regions: Callable[[Labels], pd.DataFrame] | None = None
    state: CohortState = field(default_factory=CohortState)

    def run(self, progress: Report | None = None) -> CohortOutcome:
        """Fit the model, then paint and measure one image after the other.

        An image that fails is noted, and the others are done.

        Raises
        ------
        ValueError
            If no model can be fitted.
        """
        state = self.state
        state.total = len(self.jobs)
        with notices_to(state.hear):
            model = self.model or self._fit(progress)
            state.stage, clock = "images", time.perf_counter()
            for job, source in zip(self.jobs, self.sources, strict=True):
                state.current = source.name
                # An image that cannot share the model would count with wrong classes.
                if job.name not in state.failures:
                    self._do_image(model, job, source, progress)
                state.n_done += 1
                seconds = (time.perf_counter() - clock) / state.n_done
                state.seconds_left = seconds * (state.total - state.n_done)
                state.report(progress)
        return self.outcome()

    def outcome(self) -> CohortOutcome:
        """Return what is done."""
        table = combine_tables([each.rows for each in self.state.done])
        images = {each.name: each.payload for each in self.state.done}
        return CohortOutcome(table, images, dict(self.state.failures), None)

    def _fit(self, progress: Report | None) -> KMeansModel:
        state, study = self.state, self.study
        chosen = [job for job in self.jobs if not study.fit_on or job.name in study.fit_on]
        state.stage, state.n_to_fit = "fit", len(chosen)

        def report(done: int, total: int) -> None:
            state.n_fitted = len(chosen) * done // max(total, 1)
            state.report(progress)

        fit = fit_images(
            chosen, study.options, pixels_per_image=study.pixels_per_image, report=report
        )
        if fit.model is None:
            why = state.notes[-1] if state.notes else "no image could be read"
            raise ValueError(f"no model was fitted: {why}.")
        names = {job.source: job.name for job in chosen}
        state.failures |= {names[source]: why for source, why in fit.failures.items()}
        return state.edit(fit.model, self.earlier)

    def _do_image(
        self, model: KMeansModel, job: ImageJob, source: Source, progress: Report | None
    ) -> None:
        def report(_done: int, _total: int) -> None:
            self.state.report(progress)

        try:
            work = ApplyWork(fit_to_source(model, source), source)
            outcome = work.run(report)
            rows = self._measure(outcome, job, source)
        except EXPECTED_ERRORS as error:
            self.state.failures[job.name] = in_words_of_dock(describe_error(error))
            return
        self.state.done.append(DoneImage(job.name, PaintedImage(source, outcome), rows))

    def _measure(self, outcome: Segmentation, job: ImageJob, source: Source) -> ImageRows:
        finest: Any = outcome
        if source.multiscale:
            finest = replace(outcome, labels=outcome.labels[0], recolored=outcome.recolored[0])
        image, picture = StudyImage(job, job.name), picture_of(source)
        if self.measure_regions is None:
            table = measure_picture(finest, picture, image, self.study)
        else:
            # The names of layers may be others than those in the table.
            table = self.measure_regions(labels_layer(outcome, source)).assign(image=job.name)
        # The same name as in the warnings of `ApplyWork`, so that none is shown twice.
        name = repr(source.name)
        review = review_image(name, finest, picture, table, is_painted=True)
        columns = {str(name): table[name] for name in table}
        return ImageRows(image, columns, review.problems, review.far_share)
