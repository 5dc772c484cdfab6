"""The panel *Apply to…*: apply a model to another image, save it and load it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from magicgui.widgets import ComboBox, PushButton
from napari.layers import Image

from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.from_layers.source import WHOLE, Source
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork, check_channels
from napari_kmeans.viewer.widgets.dialogs import ask_what_to_open, ask_where_to_save
from napari_kmeans.viewer.widgets.form import form, narrow, offer_choices, row

if TYPE_CHECKING:
    import os

    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result

_FILE_FILTER = "K-means models (*.json)"

_MODEL_TIP = (
    "The model that is saved and applied: that of the clusters in the list, with all edits, or "
    "a loaded model until it is applied."
)


class _LoadedModel(NamedTuple):
    """A model from a file that was not applied yet, and the latest result when it was loaded."""

    model: KMeansModel
    name: str
    result: Result | None


class ApplyPanel(WorkingPanel):
    """A panel that applies the latest model, or a model from a file, to another image layer.

    The model is that of the clusters in the list, with all edits. A model from a file takes
    its place until it is applied: then the list shows its clusters.

    Attributes
    ----------
    image : ComboBox
        The image layer to apply the model to.

    Examples
    --------
    >>> panel = dock.folds["apply"].open()
    >>> worker = panel.apply(viewer.layers["another"])
    """

    title = "Apply to…"
    tooltip = "Apply the clusters to another image, or save them to a file."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._loaded: _LoadedModel | None = None
        self.image = ComboBox(
            name="apply_to",
            label="Image",
            tooltip="The image layer that the model is applied to.",
            choices=self._images,
        )
        narrow(self.image)
        self._make_buttons()
        self._lay_out()
        self.refresh()

    def _make_buttons(self) -> None:
        self.save_button = PushButton(
            name="save_button",
            text="Save model…",
            tooltip="Save the model, with the edits of the list of clusters, to a JSON file.",
        )
        self.load_button = PushButton(
            name="load_button",
            text="Load model…",
            tooltip="Take the model in a JSON file. Apply it to list and edit its clusters.",
        )
        self.apply_button = PushButton(
            name="apply_button",
            text="Apply",
            tooltip="Add the labels and the recolored image of the chosen layer.",
        )
        self.save_button.changed.connect(lambda: self.attempt(self._ask_and_save))
        self.load_button.changed.connect(lambda: self.attempt(self._ask_and_load))
        self.apply_button.changed.connect(lambda: self.attempt(self.apply))

    def _lay_out(self) -> None:
        rows = [
            ("Model", _MODEL_TIP, self.message),
            ("", "", row([self.save_button, self.load_button])),
            self.image,
        ]
        self.column.addWidget(form(rows))
        self.column.addWidget(row([self.apply_button, self.cancel_button]))
        self.column.addWidget(self.progress_bar.native)

    @property
    def _model_is_from_file(self) -> bool:
        """Whether a model was loaded since the result was shown, and not applied yet."""
        return self._loaded is not None and self._loaded.result is self.dock.result

    @property
    def model(self) -> KMeansModel:
        """The model of the latest result with all edits, or of a file loaded after it.

        Raises
        ------
        ValueError
            If there is no model, or the result has a model for each slice.
        """
        if self._loaded is not None and self._model_is_from_file:
            return self._loaded.model
        if self.dock.result is None:
            raise ValueError("there is no model yet: run the clustering, or load a model.")
        model = self.dock.result.model
        if not isinstance(model, KMeansModel):
            raise ValueError(
                "the latest result has a model for each slice, which no other image can use: "
                "run on the whole stack, or load a model."
            )
        return model

    def apply(self, layer: Image | None = None) -> SegmentationWorker:
        """Apply the model to an image layer, in the background.

        Parameters
        ----------
        layer : napari.layers.Image, optional
            None uses the layer in the field `image`.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the Segmentation once its layers are in the viewer.

        Raises
        ------
        ValueError
            If there is no model or no image, or if the model has other channels.
        RuntimeError
            If a model is already being applied.
        """
        layer = self.image.value if layer is None else layer
        if not isinstance(layer, Image):
            raise ValueError(f"image must be an image layer, got {layer!r}: open an image first.")
        source = Source.of(layer).fitted_on(None, WHOLE, "coreset")
        model = self.model
        check_channels(model, source)
        work = ApplyWork(model, source, self._fitted_segmentation())
        show = partial(
            self.dock.show_applied,
            source,
            update=self.dock.update_layers.value,
            is_latest=self._model_is_from_file,
        )
        return self.start(work, show)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a JSON file.

        Raises
        ------
        ValueError
            If there is no model.
        OSError
            If the file cannot be written.
        """
        self.model.save(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Use the model in a JSON file until there is a newer result.

        Raises
        ------
        ValueError
            If the file does not contain a model.
        OSError
            If the file cannot be read.
        """
        model = KMeansModel.load(path)
        self._loaded = _LoadedModel(model, Path(path).name, self.dock.result)
        self.work_changed()

    def refresh(self) -> None:
        """Show the origin of the model, and follow the edits of its classes."""
        labels = None if self.dock.result is None else self.dock.result.labels
        if labels is not None:
            labels.events.features.connect(self._on_classes_edited)
        self.reset_choices()

    def _on_classes_edited(self, _event: Any) -> None:
        self.work_changed()

    def reset_choices(self) -> None:
        """Update the choices of image layers."""
        offer_choices(self.image)
        self.work_changed()

    def _fitted_segmentation(self) -> Segmentation | None:
        """Return the result that the model was fitted in; None for a model from a file."""
        result = self.dock.result
        if result is None or self._model_is_from_file:
            return None
        return result.outcome if isinstance(result.outcome, Segmentation) else None

    def _images(self, _combo_box: Any) -> list[tuple[str, Image]]:
        return [(each.name, each) for each in self.dock.viewer.layers if isinstance(each, Image)]

    def work_changed(self) -> None:
        """Show the model and enable the buttons that can be used now."""
        try:
            text, has_model = self._describe(self.model), True
        except ValueError as error:
            text, has_model = str(error).capitalize(), False
        self.show_message(text)
        self.save_button.enabled = has_model
        can_apply = has_model and self.image.value is not None
        self.apply_button.enabled = can_apply and not self.is_working
        # The clusters of the applied model would replace a model that is loaded meanwhile.
        self.load_button.enabled = not self.is_working

    def _describe(self, model: KMeansModel) -> str:
        if self._loaded is not None and self._model_is_from_file:
            return f"{model.n_clusters} clusters, from {self._loaded.name}, not applied yet"
        assert self.dock.result is not None
        return f"{model.n_clusters} clusters of {self.dock.result.name}"

    def _ask_and_save(self) -> None:
        path = ask_where_to_save(self, "Save model", "model.json", _FILE_FILTER)
        if path is not None:
            self.save(path)

    def _ask_and_load(self) -> None:
        path = ask_what_to_open(self, "Load model", _FILE_FILTER)
        if path is not None:
            self.load(path)
