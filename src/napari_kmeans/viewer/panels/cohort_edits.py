"""The edits of the classes of a cohort: from one image in view to the next, and to a new fit."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.batch.class_edits import find_edits
from napari_kmeans.merging import apply_classes
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.to_layers.layer_classes import model_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Labels

    from napari_kmeans.viewer.background.cohort_work import CohortState
    from napari_kmeans.viewer.panels.panel import Dock


class CohortEdits:
    """Keeps the names, colors, merges and ignored classes that the user gives in one image.

    Attributes
    ----------
    of_fit : dict
        The edits that the last run has carried to its model, as `classes` of a `Study`.
    """

    def __init__(self) -> None:
        self.of_fit: dict[int, dict[str, Any]] = {}
        # The model of the last run, with the edits of its classes in previews since.
        self._latest: KMeansModel | None = None

    def start(self) -> None:
        """Forget what the run before has carried."""
        self.of_fit = {}

    def end(self, state: CohortState, applied: KMeansModel | None) -> None:
        """Take the model of a run that has ended."""
        self._latest = state.model or applied
        self.of_fit = {} if state.model is None else find_edits(state.model.classes)

    def has_fit_of(self, model: Any) -> bool:
        """Return whether a model has the clusters of the last run."""
        return isinstance(model, KMeansModel) and _have_same_centers(model, self._latest)

    def find_earlier(self, shown: Iterable[Labels | None]) -> KMeansModel | None:
        """Return the model whose edits a fit carries to the new classes, or None.

        Parameters
        ----------
        shown : iterable of napari.layers.Labels or None
            The labels of the cohort in the viewer. The first ones with edits count. Without
            labels, the model of the last run counts.
        """
        models = [model_of(each) for each in shown if each is not None] or [self._latest]
        known = [each for each in models if isinstance(each, KMeansModel)]
        return next((each for each in known if not each.classes.is_unedited), None)

    def remember(self, preview: Labels | None) -> None:
        """Remember the edits of a preview, which is going to be removed."""
        model = None if preview is None else model_of(preview)
        if not isinstance(model, KMeansModel):
            return
        # A preview does not show the edits of a class that was clustered anew in another one.
        if not model.classes.is_unedited or _have_same_centers(model, self._latest):
            self._latest = model

    def show(self, preview: Labels | None, dock: Dock) -> None:
        """Give a preview, whose result is in view, the edits of the one before."""
        result, latest = dock.result, self._latest
        if latest is None or result is None or preview is None or result.labels is not preview:
            return
        outcome = result.outcome
        if not isinstance(outcome, Segmentation) or outcome.model.classes == latest.classes:
            return
        if _have_same_centers(outcome.model, latest):
            # Merged classes of a file cannot be split by its labels.
            with suppress(ValueError):
                dock.show_outcome(apply_classes(outcome, latest.classes))


def _have_same_centers(model: KMeansModel, other: KMeansModel | None) -> bool:
    return other is not None and np.array_equal(model.cluster_centers_, other.cluster_centers_)
