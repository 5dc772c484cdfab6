"""The fields of the panel *Cohort*: the images, the model and what is written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, PushButton, SpinBox
from napari.layers import Labels, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_kmeans.batch.running import DEFAULT_OUTPUT
from napari_kmeans.batch.study_kinds import DEFAULT_OUTPUTS, OUTPUTS
from napari_kmeans.viewer.background.cohort_study import ChosenFiles, TableChoices, common_folder
from napari_kmeans.viewer.provenance import kind_of
from napari_kmeans.viewer.widgets.checked_list import CheckedList
from napari_kmeans.viewer.widgets.dialogs import ask_for_files, ask_for_folder, ask_what_to_open
from napari_kmeans.viewer.widgets.form import (
    WordOrNumber,
    folder_with,
    form,
    narrow,
    offer_choices,
    row,
    show_row,
)
from napari_kmeans.viewer.widgets.share_table import REST
from napari_kmeans.viewer.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS, FILES, FOLDER = "layers", "files", "folder"
FIT_ALL, FIT_SOME, APPLY = "all", "some", "apply"
SUBFOLDER, NAME, TABLE = "subfolder", "name", "table"
GRID = "grid"
ALL_PIXELS = "all"

_TABLE_FILTER = "Tables (*.csv *.tsv *.txt)"

_OUTPUT_TEXTS = {
    "recolored": "recolored images",
    "table": "table of shares",
    "report": "report (HTML)",
    "geojson": "outlines (GeoJSON)",
    "masks": "a mask of each class",
    "legend": "legend",
    "confidence": "confidence of each pixel",
    "parquet": "table as Parquet",
}
"""What can be written, beside the labels: the table shows the images with them."""


class CohortForm(QWidget):
    """The fields of the panel. They start nothing.

    Parameters
    ----------
    viewer : napari.Viewer
        Its Labels and Shapes layers are offered as regions.
    changed : callable
        Called after the user has changed a field.
    """

    def __init__(self, viewer: Any, changed: Callable[[], object]) -> None:
        super().__init__()
        self._viewer, self._changed = viewer, changed
        self._files: tuple[Path, ...] = ()
        self._make_image_fields()
        self._make_model_fields()
        self._make_more_fields()
        self._lay_out()
        self._connect()
        self.update_rows()

    def _make_image_fields(self) -> None:
        self.images = ComboBox(
            name="cohort_images",
            label="Images",
            tooltip="The images that are clustered together.",
            choices=[("image layers of the viewer", LAYERS), ("folder or files", FILES)],
        )
        self.layers = CheckedList(self)
        self.layers.setToolTip("The layers of the kind of the image above: check those to use.")
        self.folder = LineEdit(
            name="cohort_folder", label="Folder", tooltip="The folder with the images."
        )
        self.folder_button = PushButton(
            name="folder_button", text="Folder…", tooltip="Choose a folder with images."
        )
        self.files_button = PushButton(
            name="files_button", text="Files…", tooltip="Choose single files."
        )
        self.pattern = LineEdit(
            name="cohort_pattern",
            label="Names",
            tooltip="The names of the images in the folder, such as *.tif. Empty: all images.",
        )
        self.pattern.native.setPlaceholderText("all images, or *.tif")
        self.recursive = CheckBox(
            name="cohort_recursive",
            value=False,
            text="Subfolders",
            tooltip="Also search the subfolders.",
        )
        self.found = WrappedLabel(self)

    def _make_model_fields(self) -> None:
        self.model = ComboBox(
            name="cohort_model",
            label="Model",
            tooltip="Whether a model is fitted, with the options of the form above, or the model "
            "of the clusters in the list is applied, with its names, colors and merges.",
            choices=[
                ("fit one model on all", FIT_ALL),
                ("fit on some, apply to all", FIT_SOME),
                ("apply the model of the list", APPLY),
            ],
        )
        self.fit_on = CheckedList(self)
        self.fit_on.setToolTip("The images that the model is fitted to.")
        self.classes = WrappedLabel(self)
        self.classes.setTextFormat(Qt.TextFormat.RichText)
        self.results = ComboBox(
            name="cohort_results",
            label="Results",
            tooltip="As layers: the labels and the recolored image of each image in the viewer. In "
            "a folder: files, with a table and a report.",
            choices=[("as layers", LAYERS), ("in a folder", FOLDER)],
        )
        for field in (self.images, self.model, self.results):
            narrow(field)

    def _make_more_fields(self) -> None:
        self.pixels = WordOrNumber(
            name="pixels_per_image",
            label="Pixels / image",
            value=ALL_PIXELS,
            tooltip="The most pixels of each image that the fit reads, so that large images do "
            "not dominate: a number, or all.",
        )
        self.groups = ComboBox(
            name="cohort_groups",
            label="Groups",
            tooltip="The column of groups in the table.",
            choices=[
                ("none", None),
                ("by subfolder", SUBFOLDER),
                ("by file name", NAME),
                ("a table (CSV)…", TABLE),
            ],
        )
        self.group_pattern = LineEdit(
            name="group_pattern",
            label="Name",
            value="{group}_{rest}",
            tooltip="The parts of the file names, in braces: each becomes a column of the table. "
            "The part {group} has the groups; without it, the first part.",
        )
        self.group_table = LineEdit(
            name="group_table",
            label="Table",
            tooltip="A CSV file with a row for each image: the name of the image, and a column "
            "group. Further columns join the table of shares.",
        )
        self.group_table_button = PushButton(
            name="group_table_button", text="…", tooltip="Choose the CSV file of the groups."
        )
        self.about_table = WrappedLabel(self)
        self.regions = ComboBox(
            name="cohort_regions",
            label="Regions",
            tooltip="The regions that are measured: the classes have their shares in each.",
            choices=self._region_choices,
        )
        self.grid = SpinBox(
            name="cohort_grid",
            label="Side",
            tooltip="The side of the squares, in pixels.",
            value=256,
            min=1,
            max=2**31 - 1,
        )
        self.regions_folder = LineEdit(
            name="regions_folder",
            label="Folder",
            tooltip="The folder of label images with the names of the images.",
        )
        self.regions_button = PushButton(
            name="regions_button", text="…", tooltip="Choose the folder of label images."
        )
        self.outputs = CheckedList(self)
        self.outputs.setToolTip("What is written, beside the labels and the measurements.")
        self.outputs.offer(
            [(_OUTPUT_TEXTS[each], each, "") for each in OUTPUTS if each in _OUTPUT_TEXTS]
        )
        self.outputs.check(DEFAULT_OUTPUTS)
        self.slices = CheckBox(
            name="cohort_slices",
            value=False,
            text="A row for each slice and frame",
            tooltip="Measure each slice and each frame of a stack by itself.",
        )
        self.output = LineEdit(
            name="cohort_output",
            label="Results in",
            tooltip="The folder of the results. Empty: a new folder among the images, or, with "
            "their subfolders, beside their folder.",
        )
        self.output_button = PushButton(
            name="output_button", text="…", tooltip="Choose the folder of the results."
        )
        for field in (self.groups, self.regions):
            narrow(field)

    def _lay_out(self) -> None:
        for button in (self.group_table_button, self.regions_button, self.output_button):
            button.native.setMaximumWidth(30)
        self._folder_row = row([self.folder, self.folder_button, self.files_button])
        self._pattern_row = row([self.pattern, self.recursive])
        self._table_row = row([self.group_table, self.group_table_button])
        self._regions_row = row([self.regions_folder, self.regions_button])
        self._output_row = row([self.output, self.output_button])
        main = [
            self.images,
            ("", self.layers.toolTip(), self.layers),
            (self.folder.label, self.folder.tooltip, self._folder_row),
            (self.pattern.label, self.pattern.tooltip, self._pattern_row),
            ("", "", self.found),
            self.model,
            ("Fit on", self.fit_on.toolTip(), self.fit_on),
            ("", "", self.classes),
            self.results,
        ]
        more = [
            self.pixels,
            self.groups,
            self.group_pattern,
            (self.group_table.label, self.group_table.tooltip, self._table_row),
            ("", "", self.about_table),
            self.regions,
            self.grid,
            (self.regions_folder.label, self.regions_folder.tooltip, self._regions_row),
            self.slices,
            ("Write", self.outputs.toolTip(), self.outputs),
            (self.output.label, self.output.tooltip, self._output_row),
        ]
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(form(main))
        self.more = folder_with("More", form(more))
        column.addWidget(self.more)

    def _connect(self) -> None:
        fields = (self.images, self.model, self.results, self.groups, self.regions)
        for field in (*fields, self.pattern, self.recursive, self.group_table, self.output):
            field.changed.connect(self._on_changed)
        self.folder.changed.connect(self._on_folder_typed)
        for checked in (self.layers, self.fit_on):
            checked.checked_by_user.connect(self._changed)
        self.folder_button.changed.connect(self._ask_for_folder)
        self.files_button.changed.connect(self._ask_for_files)
        self.group_table_button.changed.connect(self._ask_for_table)
        self.regions_button.changed.connect(lambda: self._ask_for(self.regions_folder))
        self.output_button.changed.connect(lambda: self._ask_for(self.output))

    def _region_choices(self, _combo_box: Any) -> list[tuple[str, Any]]:
        choices: list[tuple[str, Any]] = [("whole images", None), ("squares", GRID)]
        if self.are_layers_results:
            return choices + region_choices(self._viewer)
        return [*choices, ("label images", FOLDER)]

    # ----------------------------------------------------------------- values

    @property
    def are_files(self) -> bool:
        """Whether the images are files."""
        return bool(self.images.value == FILES)

    @property
    def are_layers_results(self) -> bool:
        """Whether the results become layers."""
        return not self.are_files and bool(self.results.value == LAYERS)

    @property
    def chosen_files(self) -> ChosenFiles | None:
        """The chosen folder or files; None if nothing is chosen yet."""
        text = self.folder.value.strip()
        if self._files:
            return ChosenFiles(common_folder(self._files), self._files)
        if not text:
            return None
        recursive = self.recursive.value or self.groups.value == SUBFOLDER
        folder = Path(text).expanduser().absolute()
        return ChosenFiles(folder, (), self.pattern.value.strip(), recursive)

    @property
    def table_choices(self) -> TableChoices:
        """What is measured and written.

        Raises
        ------
        ValueError
            If the folder of the regions or the table of the groups is not given.
        """
        regions = None
        if self.regions.value == FOLDER:
            text = self.regions_folder.value.strip()
            if not text:
                raise ValueError("the folder of the regions must be given, got none: choose one.")
            regions = Path(text).expanduser().absolute()
        by_subfolder = self.are_files and self.groups.value == SUBFOLDER
        choices = TableChoices(
            outputs=tuple(self.outputs.checked),
            grid=self.grid.value if self.regions.value == GRID else None,
            regions=regions,
            slices=self.slices.value,
            by_subfolder=by_subfolder,
        )
        if self.are_files and self.groups.value == NAME:
            pattern = with_group(self.group_pattern.value.strip())
            return replace(choices, metadata=pattern or None)
        if self.are_files and self.groups.value == TABLE:
            if self.chosen_table is None:
                raise ValueError("the table of the groups must be given, got none: choose it.")
            return replace(choices, metadata_file=self.chosen_table)
        return choices

    @property
    def chosen_table(self) -> Path | None:
        """The CSV file of the groups; None if the groups come from elsewhere."""
        text = self.group_table.value.strip() if self.groups.value == TABLE else ""
        return Path(text).expanduser().absolute() if text else None

    @property
    def regions_layer(self) -> Any:
        """The Labels or Shapes layer whose regions are measured, or None."""
        chosen = self.regions.value
        return None if chosen in (None, GRID, FOLDER) else chosen

    @property
    def pixels_per_image(self) -> int | str:
        """The most pixels of each image that the fit reads, 0 for all; a text if it is wrong."""
        value: int | str = self.pixels.value
        return 0 if value == ALL_PIXELS else value

    @property
    def output_folder(self) -> Path | None:
        """The folder of the results that the user has given, or None."""
        text = self.output.value.strip()
        return Path(text).expanduser().absolute() if text else None

    def choose_folder(self, folder: Path) -> None:
        """Take the images in a folder."""
        self._files = ()
        self.images.value = FILES
        self.folder.value = str(folder)
        self._on_changed()

    def choose_files(self, paths: list[Path]) -> None:
        """Take single files."""
        self.images.value = FILES
        self.folder.value = str(common_folder(paths))
        self._files = tuple(paths)
        self._on_changed()

    # ------------------------------------------------------------------ fields

    def update_rows(self) -> None:
        """Show the fields that have an effect."""
        are_files, single = self.are_files, bool(self._files)
        with self.regions.changed.blocked():
            offer_choices(self.regions)
        show_row(self.layers, not are_files)
        show_row(self._folder_row, are_files)
        show_row(self._pattern_row, are_files and not single)
        show_row(self.found, are_files)
        show_row(self.fit_on, self.model.value == FIT_SOME)
        show_row(self.classes, self.model.value == APPLY)
        show_row(self.results, not are_files)
        show_row(self.pixels, self.model.value != APPLY)
        show_row(self.groups, are_files)
        show_row(self.group_pattern, are_files and self.groups.value == NAME)
        has_table = are_files and self.groups.value == TABLE
        show_row(self._table_row, has_table)
        show_row(self.about_table, has_table)
        show_row(self.grid, self.regions.value == GRID)
        show_row(self._regions_row, self.regions.value == FOLDER)
        for field in (self.outputs, self._output_row):
            show_row(field, not self.are_layers_results)
        place = self.chosen_files
        if are_files and place is not None:
            self.output.native.setPlaceholderText(default_directory(place).name)

    def _on_changed(self, *_: Any) -> None:
        self.update_rows()
        self._changed()

    def _on_folder_typed(self, *_: Any) -> None:
        self._files = ()
        self._on_changed()

    def _ask_for_folder(self) -> None:
        folder = ask_for_folder(self, "Choose the folder of the images", self.folder.value)
        if folder is not None:
            self.choose_folder(folder)

    def _ask_for_files(self) -> None:
        paths = ask_for_files(self, "Choose images", self.folder.value)
        if paths:
            self.choose_files(paths)

    def _ask_for_table(self) -> None:
        path = ask_what_to_open(self, "Choose the table of the groups", _TABLE_FILTER)
        if path is not None:
            self.group_table.value = str(path)

    def _ask_for(self, field: LineEdit) -> None:
        folder = ask_for_folder(self, "Choose a folder", field.value or self.folder.value)
        if folder is not None:
            field.value = str(folder)


def region_choices(viewer: Any) -> list[tuple[str, Any]]:
    """Return the layers whose labels or shapes may be regions: those that are no clusters."""
    return [
        (layer.name, layer)
        for layer in viewer.layers
        if isinstance(layer, Labels | Shapes) and kind_of(layer) != "labels"
    ]


def with_group(pattern: str) -> str:
    """Return a pattern of file names whose first field is the group, if none is."""
    if "{group}" in pattern:
        return pattern
    return re.sub(rf"(?<!{{){{(?!{REST}}})\w+}}", "{group}", pattern, count=1)


def default_directory(chosen: ChosenFiles) -> Path:
    """Return the folder of the results: in that of the images, or beside it.

    In a folder that is searched with its subfolders, results would be found as images.
    """
    if chosen.recursive:
        return chosen.folder.with_name(f"{chosen.folder.name}-{DEFAULT_OUTPUT}")
    return chosen.folder / DEFAULT_OUTPUT
