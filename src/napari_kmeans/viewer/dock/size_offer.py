"""The offer of the dock to take over the size of pixels that a file states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_kmeans.viewer.background.worker import make_worker
from napari_kmeans.viewer.from_layers.stated_size import (
    StatedSizeWork,
    lacks_size,
    layers_of_same_pixels,
)
from napari_kmeans.viewer.widgets.form import Note

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.from_layers.stated_size import StatedSize


class SizeOffer(QWidget):
    """A note with a button, shown if the file of a layer states a size that the layer lacks."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: Image | None = None
        self._size: StatedSize | None = None
        self._worker: SegmentationWorker | None = None
        self.note = Note()
        self.button = PushButton(
            text="Use this pixel size",
            tooltip=(
                "Give this layer, and layers of the same pixels, the scale and the unit of the "
                "file. Tables then have areas in this unit."
            ),
        )
        self.button.changed.connect(self._use)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.note)
        layout.addWidget(self.button.native)
        self.hide()

    def follow(self, layer: Image | None) -> None:
        """Read the file of a layer in the background, unless it has been read."""
        if layer is not self._layer:
            if self._worker is not None:
                self._worker.returned.disconnect(self._on_read)
            self._layer, self._size, self._worker = layer, None, None
            if lacks_size(layer):
                self._worker = make_worker(StatedSizeWork.of(layer))
                # Qt forgets a method of this widget when the widget is deleted.
                self._worker.returned.connect(self._on_read)
                self._worker.start()
        self.update_offer()

    def update_offer(self) -> None:
        """Show the offer if the layer still lacks the size."""
        is_offered = self._size is not None and lacks_size(self._layer)
        if is_offered:
            self.note.show_text(
                f"The file states pixels of {self._size}. napari has not read this, and areas are "
                "in pixels."
            )
        self.setVisible(is_offered)

    def _on_read(self, size: StatedSize | None) -> None:
        self._size, self._worker = size, None
        self.update_offer()

    def _use(self) -> None:
        layer, size = self._layer, self._size
        if layer is None or size is None:
            return
        for each in layers_of_same_pixels(layer, self._viewer.layers):
            each.scale, each.units = size.scale, size.units
        self._viewer.reset_view()
        self.update_offer()
