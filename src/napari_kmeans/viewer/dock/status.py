"""The lines under the button *Run*: one sums up the result, one says that kernels compile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel

from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, PREPARING
from napari_kmeans.measuring import UNDECIDED, count_undecided
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackModel
from napari_kmeans.viewer.provenance import is_edited_by_hand
from napari_kmeans.viewer.widgets.form import Note

if TYPE_CHECKING:
    from collections.abc import Container

    from napari.layers import Labels, Layer

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.result import Result

MEANING = "\n".join(
    (
        "pixels: all pixels that have a cluster",
        "left out: pixels of label 0, such as those outside the mask or without a color",
        "time: that of the run, without the drawing",
        "cost: the mean squared distance of a pixel to the center of its cluster, when the "
        "clusters were found",
        "distortion: how far the cost on the coreset is from that on all pixels; 1 is no "
        "difference",
        "level: the resolution that was clustered and counted, as in Fit on; 0 is the finest",
    )
)
"""The tooltip of the line."""


_POLL_MILLISECONDS = 200


class PreparingNote(Note):
    """A line that is shown while kernels are compiled: on opening the dock, or for a run."""

    def __init__(self) -> None:
        super().__init__()
        timer = QTimer(self)
        timer.timeout.connect(self._update)
        timer.start(_POLL_MILLISECONDS)

    def _update(self) -> None:
        if COMPILE_PROCESSES.is_preparing == self.isHidden():
            self.show_text(PREPARING if self.isHidden() else "")


class StatusLine(QLabel):
    """A line that sums up the latest result. It is hidden if there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._result: Result | None = None
        self._labels: Labels | None = None
        self.setWordWrap(True)
        self.setToolTip(MEANING)
        self.hide()

    def show_result(self, result: Result | None, layers: Container[Layer]) -> None:
        """Sum up a result if one of its layers is in the viewer, and follow its table."""
        is_shown = result is not None and any(layer in layers for layer in result.layers)
        self._result = result if is_shown else None
        self.stop()
        if self._result is not None and self._result.labels is not None:
            # The user may merge and split clusters in the list.
            self._labels = self._result.labels
            self._labels.events.features.connect(self._update)
        self._update()

    def stop(self) -> None:
        """Follow the table of the result no more."""
        if self._labels is not None:
            self._labels.events.features.disconnect(self._update)
            self._labels = None

    def _update(self, *_: Any) -> None:
        self.setText("" if self._result is None else describe_result(self._result))
        self.setVisible(self._result is not None)


def describe_result(result: Result) -> str:
    """Return one line with the numbers of a result: clusters, pixels, time, cost and level.

    A second line names clusters without pixels.

    The cost and the distortion are left out if the clusters were found in another image, or
    in an earlier session. What the image tells is left out if it is not in the viewer.
    """
    outcome, source = result.outcome, result.source
    # As in the list, where labels that were painted by hand are clusters too.
    clusters, pixels = len(result.table), int(result.table["pixels"].sum())
    parts = [f"{clusters:,} {'cluster' if clusters == 1 else 'clusters'}", f"{pixels:,} pixels"]
    undecided = count_undecided(result.table)
    if undecided:
        parts.append(f"{undecided:,} undecided")
    left_out = 0 if source is None else _count_all_pixels(source) - pixels - undecided
    if left_out > 0:
        # An edit of the list may have made the number of undecided pixels unknown.
        is_known = UNDECIDED in result.table and result.table[UNDECIDED].notna().all()
        leaves = any(each.cleaning.min_confidence > 0 for each in _models(result))
        may_be_undecided = leaves and not is_known
        parts.append(f"{left_out:,} left out{' or undecided' if may_be_undecided else ''}")
    if result.seconds is not None:
        parts.append(_format_time(result.seconds))
    is_fitted = _is_fitted(result)
    if is_fitted and outcome is not None and pixels:
        # Painting by hand moves no center: the cost is that of the run.
        n_fitted = int(outcome.table["pixels"].sum()) + count_undecided(outcome.table)
        parts.append(f"cost {_format_real(outcome.model.inertia_ / n_fitted)}")
        if not isinstance(outcome, Segmentation) or outcome.coreset is not None:
            parts.append(f"distortion {outcome.distortion:.4g}")
    if source is not None and source.n_levels > 1:
        verb = "fitted" if is_fitted else "counted"
        parts.append(f"{verb} on level {source.level} of {source.n_levels}")
    return "\n".join(filter(None, [" · ".join(parts), _describe_empty(result)]))


def _describe_empty(result: Result) -> str:
    """Return a sentence about clusters without pixels; empty if there are none."""
    table = result.table
    empty = table.loc[table["pixels"] == 0, "index"].tolist()
    if not empty:
        return ""
    words = [str(label) for label in empty[:_MOST_EMPTY]]
    more = len(empty) - len(words)
    words += [f"{more:,} more"] if more else []
    names = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    clusters = f"cluster{'' if len(empty) == 1 else 's'} {names}"
    is_edited = result.labels is not None and is_edited_by_hand(result.labels)
    if (
        _is_fitted(result)
        and not is_edited
        and any(m.cleaning.moves_pixels for m in _models(result))
    ):
        return f"Smooth or Minimum size has left no pixel in {clusters}."
    return f"No pixel is in {clusters}."


_MOST_EMPTY = 6
"""The number of clusters without pixels that are named."""


def _is_fitted(result: Result) -> bool:
    """Return whether the clusters of a result were found in its own image in this session."""
    return result.task is not None and not result.task.applied


def _models(result: Result) -> list[KMeansModel]:
    """Return the model of a result, or those of its slices."""
    model = result.model
    models = model.models if isinstance(model, StackModel) else (model,)
    return [each for each in models if each is not None]


def _count_all_pixels(source: Source) -> int:
    """Return the number of pixels of the level and of the slices that were clustered."""
    shape, index = source.shape_of(source.level), source.index_of(source.level)
    if index is not None:
        shape = tuple(
            size for size, place in zip(shape, index, strict=True) if isinstance(place, slice)
        )
    return math.prod(shape)


def _format_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _format_real(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= number < 1e7 else f"{number:.4g}"
