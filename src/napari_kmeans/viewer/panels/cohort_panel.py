"""The panel *Cohort*: one model for many images, one table, one image in view."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox

from napari_kmeans.batch.problems import describe_problems
from napari_kmeans.batch.running import DEFAULT_OUTPUT
from napari_kmeans.figures import plot_shares
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.background.cohort_batch import BatchFile
from napari_kmeans.viewer.background.cohort_study import (
    Cohort,
    ListWork,
    free_directory,
    holds_other_results,
    relative_path,
)
from napari_kmeans.viewer.background.cohort_work import SavedImage, StudyWork
from napari_kmeans.viewer.background.dock_words import in_words_of_dock
from napari_kmeans.viewer.background.figure_work import FIGURE_FILTER, FigureWork
from napari_kmeans.viewer.background.runner import Runner, describe_error
from napari_kmeans.viewer.background.worker import make_worker
from napari_kmeans.viewer.from_layers.apply_targets import find_alike, find_targets
from napari_kmeans.viewer.from_layers.layer_jobs import jobs_of_sources
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.measure_layer import measure_layer
from napari_kmeans.viewer.panels.cohort_edits import CohortEdits
from napari_kmeans.viewer.panels.cohort_form import (
    APPLY,
    FILES,
    FIT_SOME,
    CohortForm,
    default_directory,
)
from napari_kmeans.viewer.panels.cohort_results import CohortResults
from napari_kmeans.viewer.panels.cohort_view import CohortView
from napari_kmeans.viewer.panels.working_panel import PanelWork, WorkingPanel, show_outcome
from napari_kmeans.viewer.to_layers.cohort_layers import LayersWork
from napari_kmeans.viewer.to_layers.cohort_preview import PreviewWork
from napari_kmeans.viewer.to_layers.describe_model import list_classes
from napari_kmeans.viewer.to_layers.layer_files import LayerBatchWork
from napari_kmeans.viewer.to_layers.update import find_labels
from napari_kmeans.viewer.widgets.dialogs import ask_where_to_save
from napari_kmeans.viewer.widgets.form import row, scroll_to

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from napari_kmeans.viewer.background.cohort_study import FoundImages
    from napari_kmeans.viewer.background.cohort_work import CohortOutcome
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.from_layers.apply_targets import Target
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.panels.panel import Dock

_LIST_DELAY = 300
"""Milliseconds after the last key in a field before the folder is searched."""

_POLL_MILLISECONDS = 200

_SCROLL_DELAY, _SCROLLS = 100, 3
"""Milliseconds between attempts to scroll, and their number: a layout takes several turns of the
event loop, and a busy window was not done with it after 100."""

_MOST_NOTES = 3
"""Notes that are shown below the button; the record of the run has all."""

_NO_LAYERS = "No image layer fits: open images, or choose a folder or files."

_STUDY_FILTER = "Studies (*.yaml)"


class CohortPanel(WorkingPanel):
    """A panel that clusters many images with one model, and shows their shares in one table.

    Attributes
    ----------
    form : CohortForm
        The fields: images, model, results.
    results : CohortResults
        The table, which is shown once there is one.

    Examples
    --------
    >>> panel = dock.folds["cohort"].open()
    >>> panel.form.choose_folder(Path("sections"))
    >>> worker = panel.run()
    """

    title = "Cohort"
    tooltip = "One model for many images, with one table of the shares of all."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._targets: list[Target] = []
        self._found: FoundImages | None = None
        self._are_chosen_by_user = False
        self._pending: StudyWork | LayersWork | None = None
        # The model of the last run: the layers whose list had it may be gone after the run.
        self._applied: KMeansModel | None = None
        self._edits = CohortEdits()
        # The choices of the last run.
        self._cohort: Cohort | None = None
        self._wanted: tuple[str, int | None] | None = None
        self._error = ""
        self._is_closed = False
        self._view = CohortView(dock.viewer)
        self.form = CohortForm(dock.viewer, self._on_form_changed)
        self._n_scrolls = 0
        self._make_buttons()
        self.results = CohortResults(self.figure_button)
        self._make_listing()
        for widget in (
            self.form,
            row([self.run_button, self.cancel_button, self.batch_button]),
            self.progress_bar.native,
            self.message,
            self.results,
        ):
            self.column.addWidget(widget)
        self.results.table.chosen.connect(self.show_image)
        self.results.all_button.changed.connect(self.show_all_layers)
        self.results.save_button.changed.connect(lambda: self.attempt(self.results.ask_and_save))
        dock.native_parent_changed.connect(self._on_dock_moved)
        dock.image.changed.connect(self._on_image_changed)
        if not self._find_targets():
            self.form.images.value = FILES
        self.refresh()

    def _make_buttons(self) -> None:
        self.run_button = PushButton(
            name="cohort_button",
            text="Run cohort",
            tooltip="Fit the model and cluster all images. After Cancel, it goes on.",
        )
        self.batch_button = PushButton(
            name="batch_button",
            text="Save as batch…",
            tooltip="Write a study file that repeats this cohort on the command line: "
            "napari-kmeans run study.yaml",
        )
        self.figure_button = PushButton(
            name="save_figure_button",
            text="Save figure…",
            tooltip="Save a figure to a PNG, SVG or PDF file: the shares of each class, with a "
            "point for each image and the mean of each group.",
        )
        self.cancel_button.tooltip = "Stop after the images in work. What is done is kept."
        self.run_button.changed.connect(lambda: self.attempt(self._ask_and_run))
        self.batch_button.changed.connect(lambda: self.attempt(self._ask_and_save_batch))
        self.figure_button.changed.connect(lambda: self.attempt(self._ask_and_save_figure))

    def _make_listing(self) -> None:
        """Make what searches the folder in the background, and shows the progress of a run."""
        hidden_bar = ProgressBar(visible=False)
        hidden_bar.native.setParent(self)
        self._listing: Runner[PanelWork] = Runner(
            hidden_bar, show_outcome, self._on_listing_changed, self._show_listing_error
        )
        self.destroyed.connect(self._listing.cancel_and_disconnect)
        self._list_timer, self._poll_timer = QTimer(self), QTimer(self)
        self._scroll_timer = QTimer(self)
        for timer in (self._list_timer, self._scroll_timer):
            timer.setSingleShot(True)
        self._scroll_timer.setInterval(_SCROLL_DELAY)
        self._scroll_timer.timeout.connect(self._scroll)
        # The button is below the fields: without a scroll bar, the next click is there.
        self._scroll_soon()
        self._list_timer.setInterval(_LIST_DELAY)
        self._list_timer.timeout.connect(self._list_images)
        self._poll_timer.setInterval(_POLL_MILLISECONDS)
        self._poll_timer.timeout.connect(self._show_state)

    def _scroll_soon(self) -> None:
        self._n_scrolls = _SCROLLS
        self._scroll_timer.start()

    def _scroll(self) -> None:
        """Scroll to the table, or to the button and its progress while there is none."""
        self._n_scrolls -= 1
        if self._n_scrolls:
            self._scroll_timer.start()
        has_table = self.results.outcome is not None and self._pending is None
        # A message is hidden while it is empty.
        button = self.message if self.message.isVisible() else self.cancel_button.native
        scroll_to(self.results.table if has_table else button)

    # ---------------------------------------------------------------- choices

    def refresh(self) -> None:
        """Follow the model and the classes of the list."""
        labels = None if self.dock.result is None else self.dock.result.labels
        if labels is not None:
            labels.events.features.connect(self._on_classes_edited)
        self.reset_choices()

    def reset_choices(self) -> None:
        """Offer the layers that fit; all are checked until the user has chosen."""
        self.form.update_rows()
        self._targets = self._find_targets()
        offered = [(each.title, each.layers, each.match) for each in self._targets]
        if not self.form.are_files:
            self._offer_to_fit(offered)
        self.form.layers.offer(offered)
        self._are_chosen_by_user &= bool(self.form.layers.checked)
        if not self._are_chosen_by_user:
            self.form.layers.check([each.layers for each in self._targets])
        self.work_changed()

    def _find_targets(self) -> list[Target]:
        """Return the layers that a model can be fitted to, or that the model of the list fits."""
        dock, layers = self.dock, self.dock.viewer.layers
        own = self._view.layers
        layers = [each for each in layers if each not in own]
        if self.form.model.value != APPLY:
            return find_alike(layers, dock.image.value, dock.channel_axis.value)
        try:
            return find_targets(self._model_of_list(), layers)
        except ValueError:
            return []

    def _offer_to_fit(self, offered: list[tuple[str, Any, str]]) -> None:
        """Offer the images for the fit. The first is checked until the user has chosen."""
        fit_on = self.form.fit_on
        if fit_on.values != [value for _, value, _ in offered]:
            fit_on.offer(offered)
        if not fit_on.checked and offered:
            fit_on.check([offered[0][1]])

    def _model_of_list(self) -> KMeansModel:
        result = self.dock.result
        if result is None:
            if self._applied is not None:
                return self._applied
            raise ValueError("there is no model yet: run the clustering, or choose to fit one.")
        model = result.model
        if not isinstance(model, KMeansModel):
            raise ValueError(
                "the latest result has a model for each slice, which no other image can use: "
                "run on the whole stack, or choose to fit a model."
            )
        return model

    def _on_form_changed(self) -> None:
        sender_checked = self.form.layers.checked
        everything = [each.layers for each in self._targets]
        self._are_chosen_by_user = sender_checked != everything
        if self.form.are_files:
            self._found = None
            self._list_timer.start()
        self.reset_choices()

    def _on_image_changed(self, *_: Any) -> None:
        self.reset_choices()

    def _on_classes_edited(self, _event: Any) -> None:
        self.work_changed()

    def _list_images(self) -> None:
        """Search the folder for images, in the background."""
        chosen = self.form.chosen_files
        if chosen is None:
            self.form.found.show_text("")
        elif self._listing.is_running:
            self._listing.cancel()
            self._list_timer.start()
        else:
            self.form.found.show_text("Looking for images…")
            work = PanelWork(
                make_worker(ListWork(chosen, self.form.chosen_table)), self._show_found
            )
            self._listing.start(work)

    def _show_found(self, found: FoundImages) -> None:
        self._found = found
        number = len(found.paths)
        text = f"{number:,} image{'' if number == 1 else 's'} found."
        self.form.found.show_text("\n".join([text, *found.notes[:_MOST_NOTES]]))
        self.form.about_table.show_text(found.about_table)
        self._offer_to_fit([(path.name, path, str(path)) for path in found.paths])
        self.work_changed()

    def _show_listing_error(self, error: Exception) -> None:
        self.form.found.show_text(f"The folder cannot be searched: {describe_error(error)}")

    def _on_listing_changed(self) -> None:
        self.work_changed()

    # ----------------------------------------------------------------- running

    def run(self, directory: str | os.PathLike[str] | None = None) -> SegmentationWorker:
        """Cluster all images in the background.

        Parameters
        ----------
        directory : path, optional
            The folder of the results, if they are files. None takes that of the field, or else a
            folder among the images, or beside theirs, that has no results of other settings.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with a `CohortOutcome` once the table is shown. If the work is
            canceled, what was done is kept and shown.

        Raises
        ------
        ValueError
            If there is no image or no model, or if the choices contradict each other.
        RuntimeError
            If the panel is already working.
        """
        work = self._work(None if directory is None else Path(directory))
        self._applied, self._cohort = self._model_to_apply(), self.cohort()
        self._edits.start()
        for sentence in self._describe_unused():
            work.state.hear(sentence)
        self._wanted, self._error = None, ""
        worker = self.start(work, self._show_outcome)
        self._pending = work
        self._poll_timer.start()
        self._show_state()
        self._scroll_soon()
        return worker

    def _describe_unused(self) -> list[str]:
        """Return sentences about fields of the form that hold for its image only."""
        unused = []
        if self.dock.mask.value is not None:
            unused.append("The mask of the form is not used in a cohort.")
        if not isinstance(self.dock.init.value, str):
            unused.append("The start colors of a layer are not used in a cohort.")
        return unused

    def _work(self, directory: Path | None) -> StudyWork | LayersWork:
        cohort, model = self.cohort(), self._model_to_apply()
        if self.form.are_files:
            chosen = self.form.chosen_files
            assert chosen is not None
            earlier = self._earlier_model([])
            study = cohort.study(chosen.folder)
            directory = directory or self._directory(
                default_directory(chosen), study, model, earlier
            )
            return StudyWork(study, directory, None, model, earlier)
        sources = self._sources()
        earlier = self._earlier_model(sources)
        jobs = jobs_of_sources(sources)
        names = {source.unique_id: job.name for source, job in zip(sources, jobs, strict=True)}
        cohort = replace(
            cohort,
            images=tuple(names.values()),
            fit_on=tuple(names[each.unique_id] for each in self._sources_to_fit()),
        )
        base = self._folder_of_layers(sources)
        study = cohort.study(base)
        if self.form.are_layers_results:
            layer = self.form.regions_layer
            regions = None if layer is None else partial(measure_layer, regions=layer)
            return LayersWork(study, jobs, sources, model, earlier, regions)
        directory = directory or self._directory(base / DEFAULT_OUTPUT, study, model, earlier)
        return StudyWork(study, directory, jobs, model, earlier)

    def _earlier_model(self, sources: list[Source]) -> KMeansModel | None:
        """Return the model whose names and other edits a fit carries to the new classes."""
        if self.form.model.value == APPLY:
            return None
        layers, result = self.dock.viewer.layers, self.dock.result
        shown = [self._view.preview_labels, *(find_labels(layers, each) for each in sources)]
        # Each layer has its own names: those in the list count first.
        shown.sort(key=lambda each: result is None or each is not result.labels)
        return self._edits.find_earlier(shown)

    def cohort(self) -> Cohort:
        """Return what the user has chosen. Layers are named by their names.

        Raises
        ------
        ValueError
            If there is no image.
        """
        form, applies = self.form, self.form.model.value == APPLY
        fits_some = form.model.value == FIT_SOME
        if form.are_files:
            images: Any = form.chosen_files
            if images is None:
                raise ValueError("the folder of the images must be given, got none: choose it.")
            if self._found is not None and not self._found.paths:
                raise ValueError(f"{images.folder} must have images, got none: choose another.")
            fit_on = tuple(form.fit_on.checked) if fits_some else ()
        else:
            if not form.layers.checked:
                raise ValueError("images must be one or more layers, got none: check a layer.")
            images, fit_on = tuple(each.name for each in self._sources()), ()
        if fits_some and not form.fit_on.checked:
            raise ValueError("the model must be fitted to an image, got none: check one.")
        return Cohort(
            images,
            self.dock.fit_options(),
            fit_on,
            applies,
            0 if applies else form.pixels_per_image,
            form.table_choices,
        )

    def _model_to_apply(self) -> KMeansModel | None:
        return self._model_of_list() if self.form.model.value == APPLY else None

    def _sources(self) -> list[Source]:
        checked = self.form.layers.checked
        chosen = [each for each in self._targets if each.layers in checked]
        return [each.source().fitted_on(None, WHOLE, "coreset") for each in chosen]

    def _sources_to_fit(self) -> list[Source]:
        if self.form.model.value != FIT_SOME or self.form.are_files:
            return []
        checked = self.form.fit_on.checked
        chosen = [each for each in self._targets if each.layers in checked]
        unused = [each.title for each in chosen if each.layers not in self.form.layers.checked]
        if unused:
            raise ValueError(
                f"the model must be fitted to images of the cohort, got “{unused[0]}”: check it in "
                "both lists."
            )
        return [each.source() for each in chosen]

    def _folder_of_layers(self, sources: list[Source]) -> Path:
        """Return the folder of the first file of layers, else the current one."""
        paths = [origin.path for source in sources for origin in source.origins if origin.path]
        return Path(paths[0]).absolute().parent if paths else Path.cwd()

    def _directory(
        self, default: Path, study: Any, model: KMeansModel | None, earlier: KMeansModel | None
    ) -> Path:
        return self.form.output_folder or free_directory(default, study, model, earlier)

    def _ask_and_run(self) -> None:
        work = self._work(None)
        if isinstance(work, StudyWork) and holds_other_results(
            work.directory, work.study, work.model, work.earlier
        ):
            question = (
                f"The folder {work.directory} has files of other settings. Results of the same "
                "names are replaced. Run in this folder?"
            )
            if QMessageBox.question(self, "Run cohort", question) != QMessageBox.StandardButton.Yes:
                return
        self.run()

    def _show_state(self) -> None:
        if self._pending is not None:
            self.show_message(self._pending.state.describe())

    def _show_outcome(self, outcome: CohortOutcome) -> None:
        work, self._pending = self._pending, None
        assert work is not None
        self._show_results(work, outcome)
        self.show_message(_describe_done(work, outcome))

    def _show_results(self, work: StudyWork | LayersWork, outcome: CohortOutcome) -> None:
        """Show the table, and the layers if the results are layers."""
        self._edits.end(work.state, work.model)
        in_view = self._view.name
        self._view.clear()
        if isinstance(work, LayersWork):
            applied = [(each.source, each.outcome) for each in outcome.images.values()]
            update = self.dock.update_layers.value
            # The model that was applied may have been that of the preview.
            is_other = work.model is None or self._lists_other_model()
            is_latest = is_other and not self._updates_list(applied, update)
            self.dock.show_applied(applied, update=update, is_latest=is_latest)
        elif outcome.images and (work.jobs is None or in_view or self._lists_other_model()):
            self._want_image(in_view, outcome)
        self.results.show_outcome(outcome)
        if outcome.images or outcome.failures:
            self._scroll_soon()

    def _want_image(self, in_view: str, outcome: CohortOutcome) -> None:
        """Show an image of a cohort: that of a click during the run, the one before, or the first.

        Without it, the list would show an earlier result again, and the next run and the batch
        would use the model of that result.
        """
        images = outcome.images
        if self._wanted is None or self._wanted[0] not in images:
            self._wanted = (in_view if in_view in images else next(iter(images))), None

    def _lists_other_model(self) -> bool:
        """Return whether the list has a result, and its model is not that of the last run."""
        result = self.dock.result
        return result is not None and not self._edits.has_fit_of(result.model)

    def _updates_list(self, applied: Sequence[tuple[Source, Any]], update: bool) -> bool:
        """Return whether the labels in the list are replaced by those of a cohort."""
        result, layers = self.dock.result, self.dock.viewer.layers
        if result is None or result.labels is None or not update:
            return False
        return any(find_labels(layers, source) is result.labels for source, _ in applied)

    def work_changed(self) -> None:
        """Enable the buttons that can be used, and show what is done after Cancel."""
        if self._is_closed:
            return
        if not self.is_working:
            self._end_run()
        has_images = self._has_images()
        can_start = has_images and not self.is_working and self._has_model()
        self._show_missing_layers()
        self.run_button.enabled = can_start
        self.batch_button.enabled = can_start
        outcome = self.results.outcome
        has_shares = outcome is not None and bool(outcome.images)
        self.figure_button.enabled = has_shares and not self.is_working
        self.form.classes.show_text(self._list_classes())
        if not self.is_working and self._wanted is not None:
            self._show_wanted()

    def _show_missing_layers(self) -> None:
        has_none = not self.form.are_files and not self._targets
        if has_none and not self.message.text():
            self.show_message(_NO_LAYERS)
        elif not has_none and self.message.text() == _NO_LAYERS:
            self.show_message("")

    def _end_run(self) -> None:
        """Show what was done if a run has ended without its outcome, by Cancel or an error."""
        self._poll_timer.stop()
        work, self._pending = self._pending, None
        if work is None:
            return
        outcome = work.outcome()
        if outcome.images or outcome.failures:
            self._show_results(work, outcome)
        self.show_message(self._error or _describe_stopped(work))

    def _has_images(self) -> bool:
        if not self.form.are_files:
            return bool(self.form.layers.checked)
        return self._found is not None and bool(self._found.paths)

    def _has_model(self) -> bool:
        try:
            return self.form.model.value != APPLY or self._model_of_list() is not None
        except ValueError:
            return False

    def _list_classes(self) -> str:
        if self.form.model.value != APPLY:
            return ""
        try:
            model = self._model_of_list()
        except ValueError as error:
            return str(error).capitalize()
        colors = dict(zip(model.labels.tolist(), to_hex(model.colors), strict=True))
        return f"{escape(self._describe_origin(model))}<br>{list_classes(model, colors)}"

    def _describe_origin(self, model: KMeansModel) -> str:
        """Return in words which result the model of the list comes from."""
        result = self.dock.result
        of_cohort = "last run of the cohort" if self._edits.has_fit_of(model) else ""
        layer = "" if result is None or result.labels is None else f"“{result.labels.name}”"
        return f"From {', '.join(each for each in (layer, of_cohort) if each)}:"

    # ------------------------------------------------------------ image in view

    def show_image(self, name: str, label: int | None = None) -> None:
        """Show one image of the table with its classes, and highlight a class.

        Files are read in the background, and replace the image that was shown before. For
        layers, the other images of the cohort are hidden until `show_all_layers`.
        """
        self._wanted = name, label
        if not self.is_working:
            self._show_wanted()

    def _show_wanted(self) -> None:
        wanted, self._wanted = self._wanted, None
        outcome = self.results.outcome
        if wanted is None or outcome is None or wanted[0] not in outcome.images:
            return
        name, label = wanted
        image = outcome.images[name]
        if not isinstance(image, SavedImage):
            self._activate(self._view.show_layers(image, outcome.images.values()), label)
            self.results.show_hidden(self._view.has_hidden)
        elif (labels := self._view.labels_in_view(name)) is not None:
            self._activate(labels, label)
        else:
            self.start(
                PreviewWork(name, image), lambda layers: self._show_preview(name, label, layers)
            )

    def _show_preview(self, name: str, label: int | None, layers: Any) -> None:
        self._edits.remember(self._view.preview_labels)
        with self.dock.selection_kept():
            labels = self._view.show_preview(name, layers)
        self._activate(labels, None)
        self._edits.show(labels, self.dock)
        self.dock.highlight(label)

    def show_all_layers(self) -> None:
        """Show the layers of the cohort that `show_image` has hidden."""
        self._view.restore()
        self.results.show_hidden(False)

    def _activate(self, labels: Any, label: int | None) -> None:
        """Show the classes of an image in the panels, and highlight one of them."""
        if labels is None:
            return
        self.dock.viewer.layers.selection.active = labels
        self.dock.highlight(label)
        # The list of clusters above may have been opened.
        self._scroll_soon()

    # ------------------------------------------------------------------- figure

    def save_figure(self, path: str | os.PathLike[str]) -> SegmentationWorker:
        """Write a figure of the shares by group to a PNG, SVG or PDF file, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the paths once the file is complete.

        Raises
        ------
        ValueError
            If there is no table.
        RuntimeError
            If the panel is already working.
        """
        outcome = self.results.outcome
        if outcome is None:
            raise ValueError("there is no table yet: run the cohort first.")
        work = FigureWork(plot_shares, outcome.table, Path(path))
        return self.start(work, lambda _: self.show_message(f"The figure is in {work.path.name}."))

    def _ask_and_save_figure(self) -> None:
        path = ask_where_to_save(self, "Save figure", "cohort.png", FIGURE_FILTER)
        if path is not None:
            self.save_figure(path)

    # --------------------------------------------------------------- batch file

    def save_batch(self, path: str | os.PathLike[str]) -> SegmentationWorker | None:
        """Write the study file of the cohort, with relative paths.

        A model that is applied is written beside it. Of layers, the files are named: they are
        read in the background, to compare them with the layers.

        Returns
        -------
        SegmentationWorker or None
            For layers, a worker that emits `returned` with the paths.

        Raises
        ------
        ValueError
            If there is no image or no model, or if the choices contradict each other.
        """
        if self.form.regions_layer is not None:
            raise ValueError(
                f"regions must be files in a batch, got the layer {self.form.regions_layer.name!r}:"
                " choose whole images or squares, or save the regions and choose files as images."
            )
        path = Path(path).absolute()
        output = self.form.output_folder
        batch = BatchFile(
            self._cohort_with_classes(),
            self._model_to_apply(),
            None if output is None else relative_path(output, path.parent),
        )
        if self.form.are_files:
            self._show_saved(batch.write(path))
            return None
        work = LayerBatchWork(batch, self._sources(), self._sources_to_fit(), path)
        return self.start(work, self._show_saved)

    def _cohort_with_classes(self) -> Cohort:
        """Return the choices, with the edits that the last run has carried if it is repeated."""
        cohort = self.cohort()
        if self._cohort is None or not cohort.is_same(self._cohort):
            return cohort
        return replace(cohort, classes=self._edits.of_fit)

    def _show_saved(self, paths: list[Path]) -> None:
        names = " and ".join(path.name for path in paths)
        self.show_message(f"Saved {names}. To repeat: napari-kmeans run {paths[0].name}")

    def _ask_and_save_batch(self) -> None:
        chosen = self.form.chosen_files if self.form.are_files else None
        name = "study.yaml" if chosen is None else str(chosen.folder / "study.yaml")
        path = ask_where_to_save(self, "Save as batch", name, _STUDY_FILTER)
        if path is not None:
            self.save_batch(path)

    # ------------------------------------------------------------------ closing

    def report(self, error: Exception) -> None:
        """Show an error also in the panel: a notification may cut the sentence off."""
        super().report(error)
        # At the end of a run, its message is shown again.
        self._error = in_words_of_dock(describe_error(error))
        self.show_message(self._error)

    def _on_dock_moved(self, parent: Any) -> None:
        """Add no layers when a run ends after the dock was closed."""
        self._is_closed = parent is None
        if parent is None:
            self._pending = self._wanted = None


def _describe_done(work: StudyWork | LayersWork, outcome: CohortOutcome) -> str:
    n_done, n_failed = len(outcome.images), len(outcome.failures)
    text = f"{n_done:,} image{'' if n_done == 1 else 's'} done"
    if work.state.n_earlier:
        text += f", {work.state.n_earlier:,} of them by an earlier run"
    if n_failed:
        text += f"; {n_failed:,} failed"
    folder = outcome.directory
    place = "" if folder is None else f" The results are in {folder.parent.name}/{folder.name}."
    notes, more = work.state.other_notes[:_MOST_NOTES], len(work.state.other_notes) - _MOST_NOTES
    notes += [f"… and {more:,} more notes."] if more > 0 else []
    problems = describe_problems({each.name: each.rows.problems for each in work.state.done})
    return "\n".join([f"{text}.{place}", *problems, *work.state.carried, *notes])


def _describe_stopped(work: StudyWork | LayersWork) -> str:
    state = work.state
    if not state.n_done:
        return "Stopped before an image was done."
    again = " Run cohort goes on with the others." if isinstance(work, StudyWork) else ""
    return f"Stopped: {state.n_done:,} of {state.total:,} images are done and kept.{again}"
