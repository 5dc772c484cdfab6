"""The dock widget: what to cluster and how, a run in the background, layers as the result."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSlider,
    FloatSpinBox,
    ProgressBar,
    PushButton,
    SpinBox,
)
from napari.layers import Image, Labels, Layer, Shapes

from napari_kmeans.parameters import AUTO, OPTIONS, Options
from napari_kmeans.viewer.channels import can_be_channels
from napari_kmeans.viewer.choices import level_choices, level_field, stack_field, stack_to_fit
from napari_kmeans.viewer.form import (
    WordOrNumber,
    folded_away,
    form,
    narrow,
    offer_choices,
    option_field,
    row,
    show_row,
)
from napari_kmeans.viewer.layers import coreset_layer, labels_layer, recolored_layers
from napari_kmeans.viewer.run import EXPECTED_ERRORS, Run, Runner, tell
from napari_kmeans.viewer.source import EACH
from napari_kmeans.viewer.task import Task
from napari_kmeans.viewer.update import find_result, update_layer
from napari_kmeans.viewer.worker import run_in_thread, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari

    from napari_kmeans.viewer.source import Source
    from napari_kmeans.viewer.task import Outcome
    from napari_kmeans.viewer.worker import SegmentationWorker


class KMeansWidget(Container[Any]):
    """Cluster the colours of an image layer from a dock in napari.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are offered and to which the results are added.

    Examples
    --------
    >>> _, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
    >>> widget.n_clusters.value = 5
    >>> worker = widget.run()
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        # The proxy that plugins are handed wraps every layer it gives out anew.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        fields = [*self._image_fields(), *self._option_fields(), *self._part_fields()]
        fields += self._result_fields()
        self._runner = Runner(self.progress_bar, self._show_results, self._update_fields)
        super().__init__(widgets=fields, label="K-means segmentation", labels=False)
        self._lay_out()
        self._connect()
        self._follow_selection()
        self._update_fields()
        warm_up()

    # ------------------------------------------------------------------ fields

    def _image_fields(self) -> list[Any]:
        self.image = ComboBox(
            name="image",
            label="Image",
            tooltip="The image layer to cluster.",
            choices=self._layers_of(Image),
        )
        self.together = CheckBox(
            name="together",
            value=False,
            text="All selected layers, as channels",
            tooltip="Cluster the selected layers as one image, with a channel for each.",
        )
        self.mask = ComboBox(
            name="mask",
            label="Mask",
            tooltip="Cluster only inside these labels or shapes; the rest gets label 0.",
            choices=self._layers_of(Labels, Shapes),
            nullable=True,
        )
        return [self.image, self.together, self.mask]

    def _option_fields(self) -> list[Any]:
        self.n_clusters = option_field(SpinBox, "n_clusters")
        self.color_space = option_field(ComboBox, "color_space")
        self.normalize = option_field(ComboBox, "normalize")
        self.balance = option_field(FloatSlider, "balance")
        self.method = option_field(ComboBox, "method")
        self.coreset_size = option_field(WordOrNumber, "coreset_size")
        self.random_state = option_field(SpinBox, "random_state")
        self.init = option_field(ComboBox, "init")
        self.n_init = option_field(WordOrNumber, "n_init")
        self.max_iter = option_field(SpinBox, "max_iter")
        self.tol = option_field(FloatSpinBox, "tol", step=1e-5)
        return [getattr(self, name) for name in OPTIONS]

    def _part_fields(self) -> list[Any]:
        self.stack = stack_field()
        self.level = level_field(self._levels)
        return [self.stack, self.level]

    def _result_fields(self) -> list[Any]:
        self.add_labels = CheckBox(
            name="add_labels",
            value=True,
            text="Labels",
            tooltip="Add a layer with the label of every pixel.",
        )
        self.add_recolored = CheckBox(
            name="add_recolored",
            value=True,
            text="Recolored",
            tooltip="Add the image in the mean colours of the clusters.",
        )
        self.add_points = CheckBox(
            name="add_points",
            value=False,
            text="Coreset points",
            tooltip="Add the sampled pixels as points: size by weight, colour by cluster.",
        )
        self.update_layers = CheckBox(
            name="update_layers",
            value=True,
            text="Update the layers of the last run",
            tooltip="On: a new run of an image replaces its results. Off: it adds new layers.",
        )
        self.run_button = PushButton(
            name="run_button", text="Run", tooltip="Cluster the image in the background."
        )
        self.cancel_button = PushButton(
            name="cancel_button", text="Cancel", tooltip="Stop the run; nothing is added."
        )
        self.progress_bar = ProgressBar(
            name="progress_bar", min=0, max=100, value=0, tooltip="How far the run is."
        )
        choices = [self.add_labels, self.add_recolored, self.add_points, self.update_layers]
        return [*choices, self.run_button, self.cancel_button, self.progress_bar]

    def _lay_out(self) -> None:
        layout = self.native.layout()
        for field in self:
            layout.removeWidget(field.native)
        for combo_box in (self.image, self.mask, self.level):
            narrow(combo_box)
        added = row([self.add_labels, self.add_recolored])
        layout.addWidget(
            form(
                [
                    self.image,
                    self.together,
                    self.normalize,
                    self.stack,
                    self.level,
                    self.n_clusters,
                    self.color_space,
                    self.method,
                    self.mask,
                    ("Add", "The layers that a run makes.", added),
                    self.update_layers,
                ]
            )
        )
        layout.addWidget(row([self.run_button, self.cancel_button]))
        layout.addWidget(self.progress_bar.native)
        sampling = [self.balance, self.coreset_size, self.add_points]
        fitting = [self.random_state, self.init, self.n_init, self.max_iter, self.tol]
        layout.addWidget(folded_away("More options", form([*sampling, *fitting])))

    def _layers_of(self, *types: type[Layer]) -> Callable[[Any], list[tuple[str, Layer]]]:
        def choices(_combo_box: Any) -> list[tuple[str, Layer]]:
            return [(each.name, each) for each in self._viewer.layers if isinstance(each, types)]

        return choices

    # ------------------------------------------------- following the viewer

    def _connect(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.reset_choices)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)
        self._viewer.layers.selection.events.changed.connect(self._update_fields)
        self.together.changed.connect(self._scale_channels)
        for field in (self.image, self.together, self.method, self.stack):
            field.changed.connect(self._update_fields)
        for box in (self.add_labels, self.add_recolored, self.add_points):
            box.changed.connect(self._update_fields)
        self.run_button.changed.connect(self._on_run_clicked)
        self.cancel_button.changed.connect(self.cancel)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_destroyed)

    def _disconnect(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.disconnect(self.reset_choices)
        self._viewer.layers.selection.events.active.disconnect(self._follow_selection)
        self._viewer.layers.selection.events.changed.disconnect(self._update_fields)

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers there are now; what is chosen stays, also under a new name."""
        for combo_box in (self.image, self.mask):
            offer_choices(combo_box)
        self._update_fields()

    def _follow_selection(self, *_: Any) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image):
            self.reset_choices()
            self.image.value = active

    def _layers(self) -> list[Image]:
        """Return the layers to cluster: the image, or the selected layers as its channels."""
        return self._selected() if self._are_together() else [self.image.value]

    def _selected(self) -> list[Layer]:
        selection = self._viewer.layers.selection
        return [layer for layer in self._viewer.layers if layer in selection]

    def _can_be_together(self) -> bool:
        selected = self._selected()
        return self.image.value in selected and can_be_channels(selected)

    def _are_together(self) -> bool:
        return self.together.value and self._can_be_together()

    def _scale_channels(self, together: bool) -> None:
        """Let channels count alike, unless the user wants otherwise."""
        self.normalize.value = "percentile" if together else Options.normalize

    def _levels(self, _combo_box: Any) -> list[tuple[str, Any]]:
        return level_choices(self.image.value, self.stack.value, self.method.value)

    def _update_fields(self, *_: Any) -> None:
        """Show the fields that apply to the image, and enable what can be done."""
        image, running = self.image.value, self._runner.is_running
        offer_choices(self.level)
        show_row(self.stack, image is not None and image.ndim > 2)
        show_row(self.level, image is not None and image.multiscale)
        self.together.visible = self._can_be_together()
        show_row(self.normalize, self._are_together())
        self.color_space.enabled = image is not None and image.rgb
        self.coreset_size.enabled = self.method.value == "coreset"
        each = image is not None and image.ndim > 2 and self.stack.value == EACH
        self.add_points.enabled = self.coreset_size.enabled and not each
        self.run_button.enabled = image is not None and not running and bool(self._builders())
        self.cancel_button.enabled = running

    # ----------------------------------------------------------------- running

    def run(self) -> SegmentationWorker:
        """Cluster the chosen image in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the Segmentation (of each slice, the
            StackSegmentation) once its layers are in the
            viewer, `errored` with an exception, and in every case `finished`.

        Raises
        ------
        ValueError
            If there is no image layer.
        RuntimeError
            If a run is under way.
        """
        if self._runner.is_running:
            raise RuntimeError("A run is under way: wait until it is finished, or cancel it.")
        layer = self.image.value
        if layer is None:
            raise ValueError("image must be an image layer, got None: open an image first.")
        task = Task.of(
            self._layers(),
            mask=self.mask.value,
            level=None if self.level.value == AUTO else self.level.value,
            stack=stack_to_fit(self.stack.value, layer),
            **self._options(),
        )
        builders = self._builders()
        worker: SegmentationWorker = run_in_thread(task, locate=coreset_layer in builders)
        self._runner.start(Run(task.source, builders, self.update_layers.value, worker))
        return worker

    def cancel(self) -> None:
        """Stop the run, if there is one; nothing is added to the viewer."""
        self.cancel_button.enabled = False
        self._runner.cancel()

    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, name).value for name in OPTIONS}
        if not self.color_space.enabled:
            options["color_space"] = Options.color_space
        if not self._are_together():
            options["normalize"] = Options.normalize
        return options

    def _builders(self) -> tuple[Callable[[Any, Source], Layer], ...]:
        """Return what makes the layers that are asked for, from the bottom to the top."""
        wanted = (
            (self.add_recolored.value, recolored_layers),
            (self.add_labels.value, labels_layer),
            (self.add_points.value and self.add_points.enabled, coreset_layer),
        )
        return tuple(builder for yes, builder in wanted if yes)

    def _on_run_clicked(self) -> None:
        try:
            self.run()
        except EXPECTED_ERRORS as error:
            tell(error)

    # ----------------------------------------------------------------- results

    def _show_results(self, run: Run, outcome: Outcome) -> None:
        with self._selection_kept():
            for build in run.builders:
                built = build(outcome, run.source)
                for result in built if isinstance(built, list) else [built]:
                    self._show(result, run.update)

    def _show(self, result: Layer, update: bool) -> None:
        earlier = find_result(self._viewer.layers, result) if update else None
        if earlier is None:
            self._viewer.add_layer(result)
        else:
            update_layer(earlier, result)

    @contextmanager
    def _selection_kept(self) -> Iterator[None]:
        """Leave the selection, and with it the image to cluster, as it was."""
        selection = self._viewer.layers.selection
        selected, active = set(selection), selection.active
        with selection.events.active.blocker(self._follow_selection):
            yield
            selection.intersection_update(selected)
            selection.update(selected)
            selection.active = active

    # ----------------------------------------------------------------- closing

    def _on_parent_changed(self, parent: Any) -> None:
        """Stop the run when the dock is closed, which takes this widget out of it."""
        if parent is None:
            self.cancel()

    def _on_destroyed(self) -> None:
        """Stop the run when the window is gone; nothing of Qt may be touched any more."""
        self._disconnect()
        self._runner.abandon()
