"""The panel *Apply to…*: apply a model to other images, save it and load it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from magicgui.widgets import PushButton
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.far_colors import FAR
from napari_kmeans.measuring import count_undecided, undecided_percent
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.from_layers.apply_targets import (
    Target,
    describe_missing,
    find_targets,
    match_axis,
    match_layers,
    needs_channels,
)
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.apply_model import (
    FAR_SHARE,
    ApplyToSeveral,
    ApplyWork,
    fit_to_source,
)
from napari_kmeans.viewer.to_layers.describe_model import count_classes, list_classes
from napari_kmeans.viewer.to_layers.result import options_of_fit
from napari_kmeans.viewer.widgets.checked_list import CheckedList
from napari_kmeans.viewer.widgets.dialogs import ask_what_to_open, ask_where_to_save
from napari_kmeans.viewer.widgets.form import form, row
from napari_kmeans.viewer.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.panels.panel import Dock

_FILE_FILTER = "K-means models (*.json)"

_MODEL_TIP = (
    "The model that is saved and applied: that of the clusters in the list, with all edits, or "
    "a loaded model until it is applied. Use model of list takes that of the list again."
)


class _LoadedModel(NamedTuple):
    """A model from a file that was not applied yet."""

    model: KMeansModel
    name: str


class ApplyPanel(WorkingPanel):
    """A panel that applies the latest model, or a model from a file, to other image layers.

    The model is that of the clusters in the list, with all edits. A model from a file takes
    its place until it is applied: then the list shows its clusters. Until then, no other layer
    and no run replaces it; the user can load another model, or drop it.

    Attributes
    ----------
    images : CheckedList
        The images that the model can be applied to. Each value is a tuple of layers: an
        image, or the channels of one image. The active layer is checked until the user
        checks others.
    classes : WrappedLabel
        The colors, names and merges of the classes of the model.
    match : WrappedLabel
        The layer of each channel, and sentences about images that cannot be used.

    Examples
    --------
    >>> panel = dock.folds["apply"].open()
    >>> worker = panel.apply([viewer.layers["second"], viewer.layers["third"]])
    """

    title = "Apply to…"
    tooltip = "Apply the clusters to other images, or save them to a file."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._applied = ""
        self._loaded: _LoadedModel | None = None
        self._targets: list[Target] = []
        self._is_chosen_by_user = False
        self.images = CheckedList(self)
        self.images.setToolTip("The images that the model is applied to: check one or several.")
        self.images.checked_by_user.connect(self._on_checked)
        self.classes, self.match = WrappedLabel(self), WrappedLabel(self)
        self.classes.setTextFormat(Qt.TextFormat.RichText)
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
        self.list_button = PushButton(
            name="list_button",
            text="Use model of list",
            tooltip="Drop the loaded model, and take that of the clusters in the list.",
        )
        self.apply_button = PushButton(
            name="apply_button",
            text="Apply",
            tooltip="Add the labels and the recolored image of each checked image.",
        )
        self.save_button.changed.connect(lambda: self.attempt(self._ask_and_save))
        self.load_button.changed.connect(lambda: self.attempt(self._ask_and_load))
        self.list_button.changed.connect(self.drop_loaded)
        self.apply_button.changed.connect(lambda: self.attempt(self.apply))

    def _lay_out(self) -> None:
        rows = [
            ("Model", _MODEL_TIP, self.message),
            ("", "", self.classes),
            ("", "", row([self.save_button, self.load_button])),
            ("", "", self.list_button.native),
            ("Images", self.images.toolTip(), self.images),
            ("", "", self.match),
        ]
        self.column.addWidget(form(rows))
        self.column.addWidget(row([self.apply_button, self.cancel_button]))
        self.column.addWidget(self.progress_bar.native)

    @property
    def model(self) -> KMeansModel:
        """The model of the shown result with all edits, or a loaded one that was not applied.

        Raises
        ------
        ValueError
            If there is no model, or the result has a model for each slice.
        """
        if self._loaded is not None:
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

    def apply(
        self, images: Image | Sequence[Image | Sequence[Image]] | None = None
    ) -> SegmentationWorker:
        """Apply the model to images, one after the other, in the background.

        Parameters
        ----------
        images : napari.layers.Image or a sequence, optional
            One layer or several. For a model of channels, each item of the sequence is itself
            a sequence, with a layer for each channel: they are matched by name, or else in
            their order. An item can also be a layer with an axis of as many channels. None uses
            the images that are checked.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with a list of Segmentation, once all layers are in the viewer;
            None stands for an image that failed. If the work is canceled, no layer is added.

        Raises
        ------
        ValueError
            If there is no model or no image, or if the model has other channels.
        RuntimeError
            If a model is already being applied.
        """
        model = self.model
        if images is None:
            targets = [each for each in self._targets if each.layers in self.images.checked]
        else:
            listed = [images] if isinstance(images, Image) else list(images)
            targets = [self._target_of(each, model) for each in listed]
        if not targets:
            raise ValueError("images must be one or more image layers, got none: check an image.")
        sources = [each.source().fitted_on(None, WHOLE, "coreset") for each in targets]
        fitted = self._fitted_segmentation()
        works = [ApplyWork(fit_to_source(model, source), source, fitted) for source in sources]
        show = partial(
            self._show_applied,
            sources,
            update=self.dock.update_layers.value,
            is_latest=self._loaded is not None,
        )
        return self.start(ApplyToSeveral(tuple(works)), show)

    def _target_of(self, image: Any, model: KMeansModel) -> Target:
        layers = [image] if isinstance(image, Image) else image
        if not isinstance(layers, list | tuple) or not all(
            isinstance(each, Image) for each in layers
        ):
            raise ValueError(f"images must be image layers, got {image!r}: open an image first.")
        if len(layers) > 1 and needs_channels(model):
            return match_layers(model, layers)
        axis_target = match_axis(model, layers[0]) if len(layers) == 1 else None
        return axis_target or Target(tuple(layers))

    def _show_applied(
        self,
        sources: Sequence[Source],
        outcomes: Sequence[Segmentation | None],
        *,
        update: bool,
        is_latest: bool,
    ) -> None:
        """Show the results of all images; the first becomes that of the list if `is_latest`."""
        self._is_chosen_by_user = False
        if any(outcome is not None for outcome in outcomes):
            self._loaded = None
        applied = [
            (source, outcome)
            for source, outcome in zip(sources, outcomes, strict=True)
            if outcome is not None
        ]
        self.dock.show_applied(applied, update=update, is_latest=is_latest)
        names = ", ".join(
            f"“{source.name}”{_describe_second_look(outcome)}" for source, outcome in applied
        )
        self._applied = f"Applied to {names}." if names else ""
        self.work_changed()

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
        """Use the model in a JSON file until it is applied, or `drop_loaded` is called.

        The form shows its options, so that a run fits as the model was fitted.

        Raises
        ------
        ValueError
            If the file does not contain a model.
        OSError
            If the file cannot be read.
        """
        model = KMeansModel.load(path)
        self._loaded = _LoadedModel(model, Path(path).name)
        self.dock.show_options(options_of_fit(model), self._loaded.name)
        self.reset_choices()

    def drop_loaded(self) -> None:
        """Use the model of the clusters in the list, and not the one that was loaded."""
        self._loaded = None
        self.reset_choices()

    def refresh(self) -> None:
        """Show the origin of the model, and follow the edits of its classes."""
        labels = None if self.dock.result is None else self.dock.result.labels
        if labels is not None:
            labels.events.features.connect(self._on_classes_edited)
        self.reset_choices()

    def _on_classes_edited(self, _event: Any) -> None:
        self.work_changed()

    def reset_choices(self) -> None:
        """Offer the layers that fit the model, and check the active one."""
        layers, selection = self.dock.viewer.layers, self.dock.viewer.layers.selection
        try:
            self._targets = find_targets(self.model, layers, selection)
        except ValueError:
            # There is no model.
            self._targets = []
        self.images.offer([(each.title, each.layers, each.match) for each in self._targets])
        self._is_chosen_by_user &= bool(self.images.checked)
        if not self._is_chosen_by_user:
            self._check_active_layers()
        self.work_changed()

    def _check_active_layers(self) -> None:
        """Check the active layer or the selected channels; else the only image, if it is one."""
        selection, offered = self.dock.viewer.layers.selection, self.images.values
        chosen = [each for each in offered if {*each} == {*selection}]
        chosen = chosen or [each for each in offered if selection.active in each]
        if not chosen and not self.images.checked:
            chosen = offered if len(offered) == 1 else []
        if chosen:
            self.images.check(chosen[:1])

    def _on_checked(self) -> None:
        self._applied = ""
        self._is_chosen_by_user = True
        self.work_changed()

    def _fitted_segmentation(self) -> Segmentation | None:
        """Return the result that the model was fitted in; None for a model from a file."""
        result = self.dock.result
        if result is None or self._loaded is not None:
            return None
        return result.outcome if isinstance(result.outcome, Segmentation) else None

    def work_changed(self) -> None:
        """Show the model and enable the buttons that can be used now."""
        model: KMeansModel | None = None
        try:
            model = self.model
        except ValueError as error:
            self.show_message(str(error).capitalize())
            self.classes.show_text("")
        else:
            self.show_message(f"{self._model_name()}: {count_classes(model)}")
            self.classes.show_text(list_classes(model, self._colors_of(model)))
        self._describe_match(model)
        self.save_button.enabled = model is not None
        can_apply = model is not None and bool(self.images.checked)
        self.apply_button.enabled = can_apply and not self.is_working
        # The clusters of the applied model would replace a model that is loaded meanwhile.
        self.load_button.enabled = not self.is_working
        self.list_button.enabled = not self.is_working
        self.list_button.visible = self._loaded is not None

    def _model_name(self) -> str:
        if self._loaded is not None:
            return f"{self._loaded.name}, loaded and not applied yet"
        assert self.dock.result is not None
        return self.dock.result.name

    def _colors_of(self, model: KMeansModel) -> dict[int, str]:
        """Return the colors in which the classes are shown by label."""
        colors = dict(zip(model.labels.tolist(), to_hex(model.colors), strict=True))
        if self.dock.result is not None and self._loaded is None:
            table = self.dock.result.table
            if {"index", "color"} <= set(table):
                colors |= dict(zip(table["index"], table["color"], strict=True))
        return colors

    def _describe_match(self, model: KMeansModel | None) -> None:
        checked = self.images.checked
        applied = [self._applied] if self._applied else []
        lines = applied + [
            each.match for each in self._targets if each.match and each.layers in checked
        ]
        if model is not None and not self._targets:
            lines = [describe_missing(model, self.dock.viewer.layers)]
        self.match.show_text("\n".join(lines))

    def _ask_and_save(self) -> None:
        path = ask_where_to_save(self, "Save model", "model.json", _FILE_FILTER)
        if path is not None:
            self.save(path)

    def _ask_and_load(self) -> None:
        path = ask_what_to_open(self, "Load model", _FILE_FILTER)
        if path is not None:
            self.load(path)


def _describe_second_look(outcome: Segmentation) -> str:
    """Return, in brackets, the undecided pixels and those far from the classes; mostly nothing."""
    texts = []
    if count_undecided(outcome.table):
        texts.append(f"{undecided_percent(outcome.table):.1f} % of the pixels undecided")
    share = outcome.table.attrs.get(FAR_SHARE, float("nan"))
    if share >= FAR:
        texts.append(f"{100 * share:.0f} % of the pixels far from all clusters")
    return f" ({', '.join(texts)})" if texts else ""
