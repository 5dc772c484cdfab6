"""Follow edits of labels by hand: mark the table at once, and count the pixels when idle."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.label_counts import count_labels
from napari_kmeans.measuring import COLOR_COLUMN, COUNT_COLUMNS, SIZE_COLUMNS, mean_columns
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.to_layers.edited_parts import add_edit
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_area import with_sizes
from napari_kmeans.viewer.to_layers.label_colors import (
    color_new_labels,
    color_of_label,
    show_colormap,
)
from napari_kmeans.viewer.to_layers.label_table import (
    counted_index,
    counted_level,
    counted_pixels,
    counted_slice,
    is_counted,
    is_outdated,
    mark_outdated,
    recounted_table,
)
from napari_kmeans.viewer.to_layers.stroke_counts import Stroke, counts_after_strokes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.imaging.label_counts import LabelCounts
    from napari_kmeans.types import Floats
    from napari_kmeans.viewer.from_layers.source import Source

IDLE_MILLISECONDS = 250
"""The time without an edit after which the pixels are counted: no stroke waits for it."""

AT_ONCE = 2**21
"""Pixels that are counted in the main thread: with the means of three channels in 0.1 s. In larger
layers, only the pixels of strokes are, and all pixels are counted in the background."""


def watch_edits(layer: Labels, source: Source | None = None) -> None:
    """Follow the edits of a layer by hand, and the place of the layer in the world.

    A table of clusters gets the area or volume of each cluster.

    napari emits `paint` once for every stroke, fill, polygon and `data_setitem`, and `data`
    when the array is replaced. The table is marked as outdated at once. It is counted again
    when the user pauses, if the labels are in memory. Calling this function again has no
    effect but to set the image.

    Parameters
    ----------
    layer : napari.layers.Labels
    source : Source, optional
        The image of the labels, for the means of the channels. Its pixels are not kept alive.
    """
    recounter = _RECOUNTERS.get(layer)
    if recounter is None:
        recounter = _RECOUNTERS[layer] = _Recounter(layer)
    if source is not None:
        recounter.set_image(source.levels[source.level])


def take_image(layer: Labels, result: Labels) -> None:
    """Compute the means of a layer from the image of a new result."""
    if layer in _RECOUNTERS and result in _RECOUNTERS:
        _RECOUNTERS[layer].image = _RECOUNTERS[result].image


def count_now(layer: Labels) -> None:
    """Count the pixels of a layer whose table is outdated; lazy labels stay outdated."""
    if layer in _RECOUNTERS:
        _RECOUNTERS[layer].count(at_once=True)


def count_again(layer: Labels) -> None:
    """Mark a table whose rows were restored, and count all pixels, maybe in the background."""
    mark_outdated(layer)
    if layer in _RECOUNTERS:
        _RECOUNTERS[layer].forget_strokes()
        _RECOUNTERS[layer].count(at_once=False)


def can_be_counted(layer: Labels) -> bool:
    """Return whether the labels of a layer are in memory."""
    return isinstance(counted_pixels(layer), np.ndarray)


@contextmanager
def replacing_data(layer: Any) -> Iterator[None]:
    """Do not take changes of the pixels within the block for edits by hand."""
    _REPLACED.add(layer)
    try:
        yield
    finally:
        _REPLACED.discard(layer)
        if layer in _RECOUNTERS:
            _RECOUNTERS[layer].forget_strokes()


def is_recounted(layer: Labels) -> bool:
    """Return whether the current change of a table is a new count, and no edit of clusters."""
    return layer in _COUNTED


@contextmanager
def _recounting(layer: Labels) -> Iterator[None]:
    _COUNTED.add(layer)
    try:
        yield
    finally:
        _COUNTED.discard(layer)


class _Recounter:
    """Counts the pixels of a layer after edits by hand."""

    def __init__(self, layer: Labels) -> None:
        self._layer = ref(layer)
        self.image: Any = None
        """A weak reference to the image of the counted level, or None."""
        self._n_edits = 0
        self._strokes: list[Stroke] | None = None
        """The strokes since the last count; None if all pixels must be counted."""
        self._timer: Any = None
        self._worker: Any = None
        self.forget_strokes()
        events = layer.events
        events.paint.connect(self._on_painted)
        events.data.connect(self._on_replaced)
        events.set_data.connect(self._on_drawn)
        for event in (events.scale, events.affine, events.units, events.axis_labels):
            event.connect(self._on_placed)
        _update_sizes(layer)

    def set_image(self, image: Any) -> None:
        """Use an image for the means if it is in memory; other images are not read."""
        self.image = ref(image) if isinstance(image, np.ndarray) else None

    def _follow_history(self) -> None:
        layer = self._layer()
        self._n_strokes = 0 if layer is None else len(_history(layer)[0])

    def forget_strokes(self) -> None:
        """Take pixels and history as they are: no part of them counts as new."""
        self._follow_history()
        self._strokes = None
        # Counts that are under way in the background are those of other pixels.
        self._n_edits += 1

    # ---------------------------------------------------------------- events

    def _on_painted(self, event: Any) -> None:
        layer = event.source
        self._follow_history()
        if layer in _REPLACED:
            return
        add_edit(layer, event.value)
        if any(is_counted(layer, indices) for indices, *_ in event.value):
            self._edited(layer, Stroke(event.value, 1))

    def _on_replaced(self, event: Any) -> None:
        if event.source not in _REPLACED:
            add_edit(event.source)
            self._edited(event.source, None)

    def _on_drawn(self, event: Any) -> None:
        """Find an undo or a redo of a stroke, for which napari emits no event of its own."""
        layer, before = event.source, self._n_strokes
        self._follow_history()
        done, undone = _history(layer)
        # The history is empty after it was cleared.
        if before == self._n_strokes or not (done or undone) or layer in _REPLACED:
            return
        change = self._n_strokes - before
        items = {1: done, -1: undone}.get(change)
        self._edited(layer, Stroke(items[-1], change) if items else None)

    def _on_placed(self, event: Any) -> None:
        """Compute the areas of the table again after the layer was scaled.

        A table of objects also has positions: it is marked as outdated.
        """
        layer = event.source
        if not SIZE_COLUMNS & set(layer.features):
            return
        if set(COUNT_COLUMNS) <= set(layer.features):
            _update_sizes(layer)
        elif layer not in _REPLACED:
            mark_outdated(layer)

    def _edited(self, layer: Labels, stroke: Stroke | None) -> None:
        """Mark the table. Without a stroke, all pixels must be counted."""
        if not is_outdated(layer.features):
            self._strokes = []
        if stroke is None or self._strokes is None:
            self._strokes = None
        else:
            self._strokes.append(stroke)
        mark_outdated(layer)
        self._n_edits += 1
        self._count_when_idle()

    # -------------------------------------------------------------- counting

    def _count_when_idle(self) -> None:
        if not _has_event_loop():
            return
        if self._timer is None:
            from qtpy.QtCore import QTimer

            self._timer = QTimer()
            self._timer.setSingleShot(True)
            self._timer.setInterval(IDLE_MILLISECONDS)
            self._timer.timeout.connect(self._on_idle)
        self._timer.start()

    def _on_idle(self) -> None:
        self.count(at_once=False)

    def count(self, *, at_once: bool) -> None:
        """Count the pixels if the table is outdated, at once or in the background."""
        layer = self._layer()
        if layer is None or not is_outdated(layer.features) or not can_be_counted(layer):
            return
        if not set(COUNT_COLUMNS) <= set(layer.features):
            # A table of objects has centroids too.
            return
        work = CountWork(counted_pixels(layer), self._counted_image(layer))
        is_small = work.labels.size <= AT_ONCE
        counts = None if is_small else self._counts_after_strokes(layer, work.image)
        if counts is not None:
            _show_counts(layer, counts)
        elif at_once or is_small or not _has_event_loop():
            _show_counts(layer, work.run())
        elif self._worker is None:
            self._start(work)
        else:
            self._count_when_idle()

    def _counts_after_strokes(
        self, layer: Labels, image: NDArray[Any] | None
    ) -> LabelCounts | None:
        """Return the counts of the table and the strokes; None if they are not known."""
        if self._strokes is None or counted_slice(layer) is not None:
            return None
        return counts_after_strokes(layer.features, self._strokes, image)

    def _start(self, work: CountWork) -> None:
        from napari_kmeans.viewer.background.worker import make_worker

        self._worker, n_edits = make_worker(work), self._n_edits

        def show(counts: LabelCounts) -> None:
            layer = self._layer()
            if layer is None or not is_outdated(layer.features):
                return
            if n_edits == self._n_edits:
                _show_counts(layer, counts)
            else:
                self._count_when_idle()

        self._worker.returned.connect(show)
        self._worker.finished.connect(self._on_finished)
        self._worker.start()

    def _on_finished(self) -> None:
        self._worker = None

    def _counted_image(self, layer: Labels) -> NDArray[Any] | None:
        """Return the pixels of the image where labels are counted, or None if it is not there."""
        image, means = None if self.image is None else self.image(), mean_columns(layer.features)
        if image is None or not means:
            return None
        n_axes = layer.ndim
        if image.shape[:n_axes] != layer_levels(layer)[counted_level(layer)].shape:
            # The image or the level has been replaced.
            return None
        part: NDArray[Any] = image[counted_index(layer)]
        # Without the alpha channel.
        return part[..., : len(means)] if image.ndim > n_axes else part


@dataclass(frozen=True, eq=False)
class CountWork:
    """Labels in memory to count, and their image if its channels are averaged."""

    labels: NDArray[Any]
    image: NDArray[Any] | None

    def run(self, _progress: Report | None = None) -> LabelCounts:
        """Return the numbers of pixels and the means."""
        return count_labels(self.labels, self.image)


def _show_counts(layer: Labels, counts: LabelCounts) -> None:
    """Give a layer the table of new counts, and new labels a color of their own."""
    table = recounted_table(layer.features, counts)
    colormap = without_highlight(layer.colormap)
    with _recounting(layer):
        if isinstance(colormap, DirectLabelColormap):
            colored = color_new_labels(colormap, table["index"].tolist())
            if colored is not colormap:
                colormap = colored
                show_colormap(layer, colormap)
        if COLOR_COLUMN in table:
            known = table[COLOR_COLUMN].tolist()
            table[COLOR_COLUMN] = [
                color if isinstance(color, str) else _hex_color(colormap, label)
                for color, label in zip(known, table["index"], strict=True)
            ]
        layer.features = with_sizes(table, layer) if SIZE_COLUMNS & set(table) else table


def _update_sizes(layer: Labels) -> None:
    """Compute the areas or volumes in the table of a layer again."""
    table = with_sizes(layer.features, layer)
    if not table.equals(layer.features):
        with _recounting(layer):
            layer.features = table


def _hex_color(colormap: Any, label: int) -> str:
    color: Floats = np.asarray(color_of_label(colormap, label)[None, :3], np.float64)
    return to_hex(color)[0]


def _history(layer: Labels) -> tuple[Any, Any]:
    """Return the strokes that napari can undo, and those that it can redo.

    napari has no public access to them. Without them, undone strokes are not noticed.
    """
    return getattr(layer, "_undo_history", ()), getattr(layer, "_redo_history", ())


def _has_event_loop() -> bool:
    """Return whether a timer of this thread can fire: in a script without a viewer it cannot."""
    widgets = sys.modules.get("qtpy.QtWidgets")
    if widgets is None or threading.current_thread() is not threading.main_thread():
        return False
    return widgets.QApplication.instance() is not None


_RECOUNTERS: WeakKeyDictionary[Labels, _Recounter] = WeakKeyDictionary()
_REPLACED: WeakSet[Labels] = WeakSet()
_COUNTED: WeakSet[Labels] = WeakSet()
