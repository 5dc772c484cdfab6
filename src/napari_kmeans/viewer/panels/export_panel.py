"""The panel *Save and copy*: save a result, and export it for scripts and other programs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QMenu

from napari_kmeans.batch.earlier_results import find_results
from napari_kmeans.figures import plot_table
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.files.result_record import MASK
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.measuring import write_csv
from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.background.figure_work import FIGURE_FILTER, FigureWork
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.as_python import PAINTED, script_of
from napari_kmeans.viewer.to_layers.frame_table import FramesWork
from napari_kmeans.viewer.to_layers.hand_edits import count_now
from napari_kmeans.viewer.to_layers.label_area import with_sizes
from napari_kmeans.viewer.to_layers.layer_exports import MasksWork, PolygonsWork, legend_work
from napari_kmeans.viewer.to_layers.saved_labels import ENDING, SavedLabels, result_paths
from napari_kmeans.viewer.widgets.dialogs import ask_where_to_save
from napari_kmeans.viewer.widgets.form import row

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result

_MAX_NAMES = 4
"""The number of files that a message names."""


class ExportPanel(WorkingPanel):
    """A panel that saves the latest result, and exports it for scripts and other programs.

    Examples
    --------
    >>> panel = dock.folds["export"].open()
    >>> panel.save_table("clusters.csv")
    """

    title = "Save and copy"
    tooltip = "Save the result, or export it as a script, a table, a figure, polygons or masks."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._make_buttons()
        self.column.addWidget(row([self.save_button, self.export_button, self.cancel_button]))
        self.column.addWidget(row([self.table_button, self.figure_button, self.copy_button]))
        for widget in (self.message, self.progress_bar.native):
            self.column.addWidget(widget)
        self.refresh()

    def _make_buttons(self) -> None:
        self.save_button = PushButton(
            name="save_button",
            text="Save result…",
            tooltip=(
                "Save the labels with their classes, the table and the model, in files that "
                "napari opens as they are now."
            ),
        )
        self.copy_button = PushButton(
            name="copy_button",
            text="Copy as Python",
            tooltip="Copy a Python script that reproduces exactly this result.",
        )
        self.table_button = PushButton(
            name="table_button",
            text="Table…",
            tooltip="Save the table of the clusters to a CSV file.",
        )
        self.figure_button = PushButton(
            name="figure_button",
            text="Figure…",
            tooltip="Save a figure of the colors and their shares to a PNG, SVG or PDF file.",
        )
        self.export_button = PushButton(
            name="export_button",
            text="Export",
            tooltip="Save polygons, masks or a legend of the clusters for other programs.",
        )
        self.export_menu = self._make_menu()
        self.export_button.native.setMenu(self.export_menu)
        self.save_button.changed.connect(lambda: self.attempt(self._ask_for_result))
        self.copy_button.changed.connect(lambda: self.attempt(self.copy))
        self.table_button.changed.connect(lambda: self.attempt(self._ask_for_table))
        self.figure_button.changed.connect(lambda: self.attempt(self._ask_for_figure))

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for text, tooltip, ask in (
            (
                "Polygons of clusters…",
                "Save a polygon of each cluster as GeoJSON, for QuPath.",
                partial(self._ask_for_polygons, False),
            ),
            (
                "Polygons of objects…",
                "Save a polygon of each connected object as GeoJSON, for QuPath.",
                partial(self._ask_for_polygons, True),
            ),
            ("Masks…", "Save a black and white image of each cluster.", self._ask_for_masks),
            ("Legend…", "Save the colors, names and shares as a figure.", self._ask_for_legend),
        ):
            action = menu.addAction(text)
            assert action is not None
            action.setToolTip(tooltip)
            action.triggered.connect(partial(self._attempt_export, ask))
        return menu

    def _attempt_export(self, ask: Callable[[], None], _checked: bool = False) -> None:
        self.attempt(ask)

    def script(self) -> str:
        """Return a Python script that reproduces the latest result.

        The script reads the sample or the file of the layer. If their pixels
        are not those of the layer, the script loads ``image.npy`` instead. A
        mask is loaded from ``mask.npy``. Comments in the script state how to
        save both files.

        Raises
        ------
        ValueError
            If there is no result.
        """
        return script_of(self._latest_result(), self._console_name_of_masks())

    def copy(self) -> SegmentationWorker:
        """Copy the script to the clipboard, in the background.

        The files of the layer are read to compare their pixels with the layer.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the script once it is on the clipboard.

        Raises
        ------
        ValueError
            If there is no result.
        RuntimeError
            If the panel is already working.
        """
        work = ScriptWork(self._latest_result(), self._console_name_of_masks())
        return self.start(work, self._show_script)

    def save_result(self, path: str | os.PathLike[str]) -> SegmentationWorker:
        """Write the labels, the table and the model to files, in the background.

        napari opens the file of the labels with the names, colors, merges and the place of
        the layer. The files are those of the command line: ``cells-labels.tif``,
        ``cells-table.csv`` and ``cells-model.json`` for the path ``cells-labels.tif``, and also
        for ``cells.csv``. The path ``cells-labels.zarr`` gives labels as OME-Zarr, also if they
        are too large for the memory.

        Raises
        ------
        ValueError
            If there is no result, or if its labels are not in the viewer.
        FileExistsError
            If there is a file at one of the other paths that no such result is.
        RuntimeError
            If the panel is already working.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the paths once the files are complete.
        """
        work = SaveWork.of(self._labels(), Path(path))
        return self.start(work, self._show_saved)

    def _labels(self) -> Labels:
        labels = self._latest_result().labels
        if labels is None or labels not in self.dock.viewer.layers:
            raise ValueError(
                "the result has no labels in the viewer: tick Labels, and run the clustering."
            )
        return labels

    def _show_saved(self, paths: list[Path]) -> None:
        names = [path.name for path in paths[:_MAX_NAMES]]
        if len(paths) > _MAX_NAMES:
            names.append(f"and {len(paths) - _MAX_NAMES} more")
        self.show_message(f"Saved in {paths[0].parent.name}: {', '.join(names)}.")

    def _ask_for_result(self) -> None:
        suffix = ".zarr" if is_dask(layer_levels(self._labels())[0]) else ".tif"
        kinds = f"Labels (*{suffix})"
        name = f"{self._source_name()}{ENDING}{suffix}"
        path = ask_where_to_save(self, "Save result", name, kinds)
        if path is not None:
            self.save_result(path)

    def save_polygons(
        self, path: str | os.PathLike[str], objects: bool = False
    ) -> SegmentationWorker:
        """Write polygons of the clusters or of their objects as GeoJSON, in the background.

        The coordinates are pixels of the Labels layer, and ignored clusters are left out: see
        `write_geojson`.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the paths once the file is complete.

        Raises
        ------
        ValueError
            If there is no result, or if its labels are not in the viewer.
        RuntimeError
            If the panel is already working.
        """
        work = PolygonsWork(SavedLabels.of(self._labels()), Path(path), objects)
        return self.start(work, self._show_saved)

    def save_masks(self, path: str | os.PathLike[str]) -> SegmentationWorker:
        """Write a mask of each cluster, in the background.

        The path ``cells.png`` gives ``cells-mask-1.png`` and so on, with the names of clusters
        that have one: see `write_masks`.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the paths once the files are complete.

        Raises
        ------
        ValueError
            If there is no result, or if its labels are not in the viewer.
        RuntimeError
            If the panel is already working.
        """
        return self.start(MasksWork(SavedLabels.of(self._labels()), Path(path)), self._show_saved)

    def save_legend(self, path: str | os.PathLike[str]) -> SegmentationWorker:
        """Write a legend of the clusters to a PNG, SVG or PDF file, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the paths once the file is complete.

        Raises
        ------
        ValueError
            If there is no result.
        RuntimeError
            If the panel is already working.
        """
        result = self._latest_result()
        work = legend_work(result.labels, result.table, Path(path))
        return self.start(work, self._show_saved)

    def save_table(self, path: str | os.PathLike[str]) -> None:
        """Write the current table of the Labels layer to a CSV file.

        Pixels that were edited by hand are counted before. The table of a time lapse has one
        row for each frame and cluster, with the column `frame`.

        Raises
        ------
        ValueError
            If there is no result.
        OSError
            If the file cannot be written.
        """
        self._table_work(Path(path)).run()
        self.show_message(f"The table is in {Path(path).name}.")

    def save_figure(self, path: str | os.PathLike[str]) -> None:
        """Write a figure of the palette and the shares to a PNG, SVG or PDF file.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no result, or the suffix is not ``.png``, ``.svg`` or ``.pdf``.
        OSError
            If the file cannot be written.
        """
        self._figure_work(Path(path)).run()
        self.show_message(f"The figure is in {Path(path).name}.")

    def refresh(self) -> None:
        """Hide the message of an earlier result, and enable the buttons for the latest one."""
        has_result = self.dock.result is not None
        self.show_message("" if has_result else "No result yet: run a clustering first.")
        self.work_changed()

    def _latest_result(self) -> Result:
        if self.dock.result is None:
            raise ValueError("there is no result yet: run the clustering first.")
        return self.dock.result

    def _console_name_of_masks(self) -> str:
        """Return the expression for the list of masks in napari's console."""
        docks = self.dock.viewer.window.dock_widgets
        names = [name for name, widget in docks.items() if widget is self.dock]
        dock = f"viewer.window.dock_widgets[{names[0]!r}]" if names else "widget"
        return f"{dock}.result.masks"

    def work_changed(self) -> None:
        """Enable the buttons that can be used now."""
        can_do = self.dock.result is not None and not self.is_working
        for button in (
            self.save_button,
            self.export_button,
            self.copy_button,
            self.table_button,
            self.figure_button,
        ):
            button.enabled = can_do

    def _show_script(self, text: str) -> None:
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        self.show_message(_describe_script(text))

    def _figure_work(self, path: Path) -> FigureWork:
        return FigureWork(plot_table, self._latest_result().table, path)

    def _table_work(self, path: Path) -> TableWork:
        result = self._latest_result()
        layer = result.labels
        if layer is None:
            return TableWork(result.table, path)
        count_now(layer)
        frames = FramesWork.of(layer, result.table)
        return TableWork(frames or with_sizes(result.table, layer), path)

    def _ask_for_table(self) -> None:
        path = ask_where_to_save(self, "Save table", self._file_name("table.csv"), "Tables (*.csv)")
        if path is None:
            return
        work, message = self._table_work(path), f"The table is in {path.name}."
        if isinstance(work.table, FramesWork):
            self.start(work, lambda _: self.show_message(message))
        else:
            work.run()
            self.show_message(message)

    def _ask_for_figure(self) -> None:
        name = self._file_name("palette.png")
        path = ask_where_to_save(self, "Save figure", name, FIGURE_FILTER)
        if path is not None:
            message = f"The figure is in {path.name}."
            self.start(self._figure_work(path), lambda _: self.show_message(message))

    def _ask_for_polygons(self, objects: bool) -> None:
        self._labels()
        name = f"{self._source_name()}-{'objects' if objects else 'classes'}.geojson"
        path = ask_where_to_save(self, "Save polygons", name, "GeoJSON (*.geojson)")
        if path is not None:
            self.save_polygons(path, objects)

    def _ask_for_masks(self) -> None:
        suffix = ".png" if self._labels().ndim == 2 else ".tif"
        name = f"{self._source_name()}-{MASK}{suffix}"
        path = ask_where_to_save(self, "Save masks", name, f"Masks (*{suffix})")
        if path is not None:
            self.save_masks(path)

    def _ask_for_legend(self) -> None:
        name = self._file_name("legend.png")
        path = ask_where_to_save(self, "Save legend", name, FIGURE_FILTER)
        if path is not None:
            self.save_legend(path)

    def _file_name(self, ending: str) -> str:
        return f"{self._source_name()} {ending}"

    def _source_name(self) -> str:
        """Return the name of the image, without characters that no file name has."""
        name = self._latest_result().name
        return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name)


def _describe_script(text: str) -> str:
    message = "The script is on the clipboard."
    if "# Fill in" in text:
        message += " Its comments state what to fill in."
    return f"{message} {PAINTED}" if PAINTED in text else message


@dataclass(frozen=True, eq=False)
class SaveWork:
    """A Labels layer to save with its table and its model.

    Attributes
    ----------
    saved : SavedLabels
    paths : list of Path
        The file of the labels first.
    """

    saved: SavedLabels
    paths: list[Path]

    @classmethod
    def of(cls, labels: Labels, path: Path) -> SaveWork:
        """Return the work for a path that the user chose.

        Raises
        ------
        FileExistsError
            If another file than that of an earlier result is at one of the other paths.
        """
        saved = SavedLabels.of(labels)
        paths = result_paths(path, saved.table is not None, isinstance(saved.model, KMeansModel))
        others = [each for each in paths if each != path and each.exists()]
        foreign = [each.name for each in others if each not in find_results(others)]
        # Whoever typed "cells.tif" was not asked about "cells-labels.tif".
        if path not in paths and paths[0].exists():
            foreign = [paths[0].name]
        if foreign:
            raise FileExistsError(
                f"path must be that of a new result, got {path.name!r}, and {foreign[0]} exists: "
                "choose another name, or the file of the labels to replace that result."
            )
        return cls(saved, paths)

    def run(self, progress: Report | None = None) -> list[Path]:
        """Write the files, and return their paths."""
        self.saved.write(*self.paths, progress=progress)
        return self.paths


@dataclass(frozen=True, eq=False)
class ScriptWork:
    """A result to write as a script.

    Attributes
    ----------
    result : Result
    masks : str
        The expression for the list of masks in napari's console.
    """

    result: Result
    masks: str

    def run(self, _progress: Report | None = None) -> str:
        """Return the script. Files of the layer are read."""
        return script_of(self.result, self.masks)


@dataclass(frozen=True, eq=False)
class TableWork:
    """A table, or one of frames that are to be counted, to write to a file."""

    table: pd.DataFrame | FramesWork
    path: Path

    def run(self, progress: Report | None = None) -> None:
        """Write the complete file, or no file if an error occurs."""
        table = self.table.run(progress) if isinstance(self.table, FramesWork) else self.table
        write_whole({self.path: lambda temporary: write_csv(table, temporary)})
