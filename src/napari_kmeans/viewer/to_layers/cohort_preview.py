"""Show one image of a cohort in files, with its classes, in place of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_kmeans.batch.result_files import find_labels_file
from napari_kmeans.viewer.provenance import is_edited_by_hand
from napari_kmeans.viewer.to_layers.opened_files import image_data, open_file

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.cohort_work import SavedImage
    from napari_kmeans.viewer.to_layers.opened_files import LayerData


@dataclass(frozen=True, eq=False)
class PreviewWork:
    """An image of a cohort to read with its labels, as work for the background."""

    name: str
    image: SavedImage

    def run(self, _progress: Report | None = None) -> list[LayerData]:
        """Return the layers: the image, and its labels if they were written.

        Raises
        ------
        UnreadableImageError
            If a file was removed or is damaged.
        """
        layers = [image_data(self.image.job.read(), self.name)]
        labels = find_labels_file(self.image.outputs)
        return layers if labels is None else [*layers, *open_file(str(labels))]


class Preview:
    """The layers of the image of a cohort that is in view.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._layers: list[Layer] = []

    @property
    def layers(self) -> list[Layer]:
        """The layers in view."""
        return list(self._layers)

    @property
    def labels(self) -> Labels | None:
        """The labels in view; None if there are none, or if the user has removed them."""
        for layer in self._layers:
            if isinstance(layer, Labels) and layer in self._viewer.layers:
                return layer
        return None

    def show(self, layers: list[LayerData]) -> None:
        """Remove the layers of the image before, and add those of another one.

        Labels on which the user has painted stay, with their image.
        """
        self.clear()
        for data, arguments, kind in layers:
            add = self._viewer.add_labels if kind == "labels" else self._viewer.add_image
            added: Any = add(data, **arguments)
            self._layers += added if isinstance(added, list) else [added]
        self._viewer.reset_view()

    def clear(self) -> None:
        """Remove the layers in view."""
        layers, self._layers = self._layers, []
        if any(isinstance(each, Labels) and is_edited_by_hand(each) for each in layers):
            return
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
