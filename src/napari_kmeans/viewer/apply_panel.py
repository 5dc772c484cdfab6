"""The panel that applies a model to another image, saves it and loads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from magicgui.widgets import ComboBox
from napari.layers import Image

from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.applying import apply_model, check_channels
from napari_kmeans.viewer.form import form, narrow, offer_choices
from napari_kmeans.viewer.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.panels import Panel
from napari_kmeans.viewer.source import WHOLE, Source
from napari_kmeans.viewer.work import (
    Work,
    ask_what_to_open,
    ask_where_to_save,
    button,
    line_of_text,
    side_by_side,
)

if TYPE_CHECKING:
    import os

    from napari_kmeans.progress import Report
    from napari_kmeans.viewer.result import Result
    from napari_kmeans.viewer.widget import KMeansWidget
    from napari_kmeans.viewer.worker import SegmentationWorker

_KINDS = "K-means models (*.json)"


class _Loaded(NamedTuple):
    """A model from a file, and the result that was the latest when it was loaded."""

    model: KMeansModel
    name: str
    result: Result | None


class ApplyPanel(Panel):
    """Applies the latest model, or one from a file, to another image layer.

    Attributes
    ----------
    image : ComboBox
        The image layer to apply it to.

    Examples
    --------
    >>> panel = dock.folds["Apply to…"].open()
    >>> worker = panel.apply(viewer.layers["another"])
    """

    title = "Apply to…"
    tooltip = "Give another image the same clusters, and keep them in a file."

    def __init__(self, dock: KMeansWidget) -> None:
        super().__init__(dock)
        self._loaded: _Loaded | None = None
        self._work = Work(dock, self._show_state)
        self.image = ComboBox(
            name="apply_to",
            label="Image",
            tooltip="The image layer to find the model's clusters in.",
            choices=self._images,
        )
        narrow(self.image)
        self._description = line_of_text()
        self._make_buttons()
        buttons = side_by_side([self._save_button, self._load_button])
        rows = [
            ("Model", "What came last: a run, or a file that was loaded.", self._description),
            ("", "", buttons),
            self.image,
        ]
        self.column.addWidget(form(rows))
        self.column.addWidget(side_by_side([self.apply_button, self.cancel_button]))
        self.refresh()

    def _make_buttons(self) -> None:
        self._save_button = button(
            "Save model…", "Write the model to a JSON file, for other images.", self._ask_and_save
        )
        self._load_button = button(
            "Load model…", "Take the model of a JSON file.", self._ask_and_load
        )
        self.apply_button = button(
            "Apply", "Add labels and the recolored image for the chosen layer.", self.apply
        )
        self.cancel_button = button("Cancel", "Stop; nothing is added.", self._work.cancel)

    @property
    def model(self) -> KMeansModel:
        """The model of the latest result, or that of a file that was loaded since.

        Raises
        ------
        ValueError
            If there is none that can be applied to another image.
        """
        if self._loaded is not None and self._loaded.result is self.dock.result:
            return self._loaded.model
        if self.dock.result is None:
            raise ValueError("there is no model yet: run the clustering, or load a model.")
        model = self.dock.result.outcome.model
        if not isinstance(model, KMeansModel):
            raise ValueError(
                "the latest result has a model for each slice, which fit no other image: "
                "run on the whole stack, or load a model."
            )
        return model

    def apply(self, layer: Image | None = None) -> SegmentationWorker:
        """Find the model's clusters in an image layer, in the background.

        Parameters
        ----------
        layer : napari.layers.Image, optional
            None takes the one in the field `image`.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the Segmentation once its layers are in the viewer.

        Raises
        ------
        ValueError
            If there is no model or no image, or if they do not fit together.
        RuntimeError
            If the model is being applied already.
        """
        layer = self.image.value if layer is None else layer
        if not isinstance(layer, Image):
            raise ValueError(f"image must be an image layer, got {layer!r}: open an image first.")
        model, fitted = self.model, self._fitted()
        source = Source.of(layer).fitted_on(None, WHOLE, "coreset")
        check_channels(model, source)
        update = self.dock.update_layers.value

        def work(progress: Report) -> Segmentation:
            return apply_model(model, source, fitted, progress)

        def show(outcome: Segmentation) -> None:
            layers = [*recolored_layers(outcome, source), labels_layer(outcome, source)]
            self.dock.show_layers(layers, update=update)

        return self._work.start(work, show)

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
        """Take the model of a JSON file, until there is a newer result.

        Raises
        ------
        ValueError
            If the file does not hold a model.
        OSError
            If the file cannot be read.
        """
        model = KMeansModel.load(path)
        self._loaded = _Loaded(model, Path(path).name, self.dock.result)
        self._show_state()

    def refresh(self) -> None:
        """Show what the model is of."""
        self.reset_choices()

    def reset_choices(self) -> None:
        """Offer the image layers there are now."""
        offer_choices(self.image)
        self._show_state()

    def _fitted(self) -> Segmentation | None:
        """Return what the model is from, None if it is from a file."""
        result = self.dock.result
        if result is None or (self._loaded is not None and self._loaded.result is result):
            return None
        return result.outcome if isinstance(result.outcome, Segmentation) else None

    def _images(self, _combo_box: Any) -> list[tuple[str, Image]]:
        return [(each.name, each) for each in self.dock.viewer.layers if isinstance(each, Image)]

    def _show_state(self) -> None:
        running = self._work.is_running
        try:
            model: KMeansModel | None = self.model
            self._description.setText(self._told(self.model))
        except ValueError as error:
            model = None
            self._description.setText(str(error).capitalize())
        self._save_button.setEnabled(model is not None)
        can_apply = model is not None and self.image.value is not None
        self.apply_button.setEnabled(can_apply and not running)
        self.apply_button.setText(f"{self._work.percent} %" if running else "Apply")
        self.cancel_button.setEnabled(running)

    def _told(self, model: KMeansModel) -> str:
        if self._loaded is not None and self._loaded.result is self.dock.result:
            return f"{model.n_clusters} clusters, from {self._loaded.name}"
        assert self.dock.result is not None
        return f"{model.n_clusters} clusters of {self.dock.result.task.source.name}"

    def _ask_and_save(self) -> None:
        path = ask_where_to_save(self, "Save model", "model.json", _KINDS)
        if path:
            self.save(path)

    def _ask_and_load(self) -> None:
        path = ask_what_to_open(self, "Load model", _KINDS)
        if path:
            self.load(path)
