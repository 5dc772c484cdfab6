"""The image of a cohort that is in view: its layers, or a preview of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_kmeans.viewer.to_layers.cohort_preview import Preview
from napari_kmeans.viewer.to_layers.update import find_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import napari
    from napari.layers import Labels, Layer

    from napari_kmeans.viewer.to_layers.cohort_layers import PaintedImage


class CohortView:
    """Shows one image of a cohort, and can show all layers again as they were.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._preview = Preview(viewer)
        self._shown = ""
        self._before: dict[Layer, bool] = {}
        """Whether each layer that was hidden or shown here was visible before."""

    @property
    def name(self) -> str:
        """The name of the image of the preview; empty without a preview."""
        return self._shown

    @property
    def layers(self) -> list[Layer]:
        """The layers of the preview."""
        return self._preview.layers

    @property
    def preview_labels(self) -> Labels | None:
        """The labels of the preview; None without a preview."""
        return self._preview.labels

    @property
    def has_hidden(self) -> bool:
        """Whether layers are hidden that were visible before."""
        return any(
            was_visible and not layer.visible and layer in self._viewer.layers
            for layer, was_visible in self._before.items()
        )

    def labels_in_view(self, name: str) -> Labels | None:
        """Return the labels of the preview if it is of this image."""
        return self._preview.labels if name == self._shown else None

    def show_preview(self, name: str, layers: Any) -> Labels | None:
        """Show the layers of an image that was read, in place of the one before."""
        self._preview.show(layers)
        self._shown = name
        return self._preview.labels

    def show_layers(self, image: PaintedImage, images: Iterable[PaintedImage]) -> Labels | None:
        """Show the layers of an image, hide those of the others, and return its labels."""
        for each in images:
            for layer in self._layers_of(each):
                self._before.setdefault(layer, layer.visible)
                layer.visible = each is image
        return find_labels(self._viewer.layers, image.source)

    def _layers_of(self, image: PaintedImage) -> Iterator[Layer]:
        ids, layers = image.source.unique_id.split(), self._viewer.layers
        yield from (layer for layer in layers if str(layer.unique_id) in ids)
        labels = find_labels(layers, image.source)
        if labels is not None:
            yield labels

    def restore(self) -> None:
        """Show the layers that were hidden here, and hide those that were shown here."""
        before, self._before = self._before, {}
        for layer, was_visible in before.items():
            if layer in self._viewer.layers:
                layer.visible = was_visible

    def clear(self) -> None:
        """Remove the preview, and show all layers as they were."""
        self._preview.clear()
        self._shown = ""
        self.restore()
