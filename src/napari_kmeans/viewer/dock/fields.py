"""The fields of the dock, and the form that contains them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    ProgressBar,
    PushButton,
)
from napari.layers import Image
from qtpy.QtWidgets import QSizePolicy

from napari_kmeans.files.units import convert_area
from napari_kmeans.options import DOCK_OPTIONS, OPTIONS
from napari_kmeans.viewer.dock.choices import (
    AREA,
    METHODS,
    channel_axis_choices,
    channel_axis_field,
    level_choices,
    level_field,
    size_unit_field,
    stack_field,
)
from napari_kmeans.viewer.dock.mask_choices import mask_choices
from napari_kmeans.viewer.dock.size_offer import SizeOffer
from napari_kmeans.viewer.dock.status import PreparingNote, StatusLine
from napari_kmeans.viewer.from_layers.start_marks import can_hold_marks
from napari_kmeans.viewer.widgets.class_picker import ClassPicker
from napari_kmeans.viewer.widgets.form import (
    Note,
    add_scroll_area,
    folder_with,
    form,
    narrow,
    number_slider,
    offer_choices,
    option_field,
    row,
)
from napari_kmeans.viewer.widgets.help_page import MAIN_PAGE, OPTIONS_PAGE, HelpButton

if TYPE_CHECKING:
    import napari

    from napari_kmeans.files.units import AreaUnit

_MAIN_OPTIONS = (
    "n_clusters",
    "color_space",
    "normalize",
    "method",
    "smoothing",
    "min_size",
    "min_area",
)
"""The options in the main form. The others are under *More options*, in declared order."""


class Fields(Container[Any]):
    """The fields of the dock. They offer the layers of a viewer, but start nothing.

    The class is a magicgui container, so that napari accepts the dock as a widget, and
    scripts can use ``dock["n_clusters"]``, ``dock.asdict()`` and the signal ``dock.changed``.
    The layout of a container cannot scroll, fold fields away or place two fields in one row,
    and it aligns labels for a font that is not napari's. So the fields are removed from that
    layout, and put into Qt forms.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        fields = [*self._image_fields(), *self._option_fields(), *self._stack_fields()]
        fields += self._result_fields()
        super().__init__(widgets=fields, label="K-means segmentation", labels=False)
        self._lay_out()

    def _image_fields(self) -> list[Any]:
        self.image = ComboBox(
            name="image",
            label="Image",
            tooltip="The image layer to cluster.",
            choices=lambda _: [
                (each.name, each) for each in self.viewer.layers if isinstance(each, Image)
            ],
        )
        self.together = CheckBox(
            name="together",
            value=False,
            text="All selected layers, as channels",
            tooltip="Cluster the selected layers as the channels of one image.",
        )
        self.mask = ComboBox(
            name="mask",
            label="Mask",
            tooltip=(
                "Cluster only inside these labels or shapes, or inside chosen classes of labels. "
                "Pixels outside get label 0."
            ),
            choices=lambda _: mask_choices(self.viewer.layers),
            nullable=True,
        )
        self.mask_classes = ClassPicker()
        self.channel_axis = channel_axis_field(lambda _: channel_axis_choices(self.image.value))
        self.channel_hint = Note()
        self.size_offer = SizeOffer(self.viewer)
        return [self.image, self.together, self.channel_axis, self.mask]

    def _option_fields(self) -> list[Any]:
        """Make a field for each option. The attribute has the name of the option."""
        choices = {"init": self._start_choices, "method": METHODS}
        for name in DOCK_OPTIONS:
            special = {"choices": choices[name]} if name in choices else {}
            setattr(self, name, option_field(name, **special))
        self.shown_unit: AreaUnit | None = None
        self.entered_unit: AreaUnit | None = None
        self.size_note = Note()
        self.min_area.changed.connect(lambda: self.size_note.show_text(""))
        self.size_unit = size_unit_field(lambda: self.shown_unit)
        self.init.tooltip += " Or a layer: the colors under its points, or under its labels."
        return [*[getattr(self, name) for name in DOCK_OPTIONS], self.size_unit]

    def _stack_fields(self) -> list[Any]:
        self.stack = stack_field()
        self.level = level_field(self._level_choices)
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
            tooltip="Add the image in the mean colors of the clusters. Below labels it is hidden: "
            "click its eye in the layer list to see it.",
        )
        self.add_points = CheckBox(
            name="add_points",
            value=False,
            text="Coreset points",
            tooltip="Add the sampled pixels as points, with size by weight and color by cluster.",
        )
        self.live = CheckBox(
            name="live",
            value=False,
            text="Live",
            tooltip="Run at every change of a setting. The pixels are read only once.",
        )
        self.update_layers = CheckBox(
            name="update_layers",
            value=True,
            text="Update the layers of the last run",
            tooltip="On: a new run of an image replaces its results. Off: a new run adds layers.",
        )
        self.run_button = PushButton(
            name="run_button", text="Run", tooltip="Cluster the image in the background."
        )
        self.cancel_button = PushButton(
            name="cancel_button", text="Cancel", tooltip="Stop the run; no layer is added."
        )
        self.undo_button = PushButton(
            name="undo_button",
            text="Undo run",
            tooltip="Restore the layers as they were before the last run, merge or applied model.",
        )
        self.progress_bar = ProgressBar(
            name="progress_bar", min=0, max=100, value=0, tooltip="The progress of the run."
        )
        choices = [self.add_labels, self.add_recolored, self.add_points, self.update_layers]
        buttons = [self.run_button, self.cancel_button, self.undo_button]
        return [*choices, *buttons, self.live, self.progress_bar]

    def _lay_out(self) -> None:
        outer = self.native.layout()
        for field in self:
            outer.removeWidget(field.native)
        # The unfolded form may be higher than the window.
        self.column = layout = add_scroll_area(outer)
        for combo_box in (self.image, self.channel_axis, self.mask, self.level, self.init):
            narrow(combo_box)
        added = row([self.add_labels, self.add_recolored])
        image = row([self.image, HelpButton(MAIN_PAGE, "K-means segmentation")])
        layout.addWidget(
            form(
                [
                    (self.image.label, self.image.tooltip, image),
                    self.size_offer,
                    self.together,
                    self.channel_hint,
                    self.channel_axis,
                    self.normalize,
                    self.stack,
                    self.level,
                    (self.n_clusters.label, self.n_clusters.tooltip, self._number_row()),
                    self.color_space,
                    self.method,
                    self.smoothing,
                    (self.min_size.label, self.min_size.tooltip, self._size_row()),
                    self.size_note,
                    self.mask,
                    ("Classes", "Check the classes to cluster in.", self.mask_classes),
                    ("Add", "The layers that a run adds.", added),
                    self.update_layers,
                ]
            )
        )
        layout.addWidget(row([self.run_button, self.cancel_button, self.undo_button, self.live]))
        layout.addWidget(self.progress_bar.native)
        self.status = StatusLine()
        self.options_note = Note()
        self.carried_note = Note()
        self.marks_note = Note()
        self.preparing_note = PreparingNote()
        self.error_note = Note()
        notes = (self.carried_note, self.marks_note, self.options_note)
        for widget in (self.preparing_note, self.error_note, self.status, *notes):
            layout.addWidget(widget)
        more = [getattr(self, name) for name in DOCK_OPTIONS if name not in _MAIN_OPTIONS]
        more.insert(more.index(self.coreset_size) + 1, self.add_points)
        layout.addWidget(folder_with("More options", form(more), OPTIONS_PAGE))

    def _number_row(self) -> Any:
        """Return the number of clusters, its slider and the button *K?*, side by side."""
        self.n_clusters_slider = number_slider(self.n_clusters)
        self.which_button = PushButton(
            text="K?", tooltip="Suggest a number of clusters, in the panel “Which K?”."
        )
        return row([self.n_clusters, self.n_clusters_slider, self.which_button])

    def _size_row(self) -> Any:
        """Return the minimum size in pixels or as an area, and its unit, side by side."""
        # The unit takes the width that it needs, and the number the rest: the dock does not
        # become wider where there is a unit.
        for field in (self.min_size, self.min_area):
            policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            policy.setHorizontalStretch(1)
            field.native.setSizePolicy(policy)
            field.native.setMinimumWidth(90)
        policy = QSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.size_unit.native.setSizePolicy(policy)
        return row([self.min_size, self.min_area, self.size_unit])

    def show_size_fields(self, unit: AreaUnit | None) -> None:
        """Show the minimum size in pixels or, if it is chosen and known, in a unit of areas."""
        self.shown_unit = unit
        self._convert_min_area(unit)
        is_area = unit is not None and self.size_unit.value == AREA
        offer_choices(self.size_unit)
        self.size_unit.visible = unit is not None
        self.min_area.visible, self.min_size.visible = is_area, not is_area

    def _convert_min_area(self, unit: AreaUnit | None) -> None:
        """Keep the meaning of the minimum area in another unit, or set it to 0 with a note.

        Without a unit of areas, the number stays for the next image that has one.
        """
        before, value = self.entered_unit, self.min_area.value
        if unit is None or unit == before:
            return
        self.entered_unit = unit
        # A text that is no number stays: a run raises an error that explains it.
        if before is None or not value or isinstance(value, str):
            return
        converted = convert_area(value, before, unit)
        self.min_area.value = 0.0 if converted is None else converted
        if converted is None:
            self.size_note.show_text(
                f"The minimum size was {value:.12g} {before.symbol}. It is 0 now, because this "
                f"image is measured in {unit.symbol}: enter it again."
            )

    def _start_choices(self, combo_box: Any) -> list[tuple[str, Any]]:
        words = [(word, word) for word in OPTIONS["init"].choices]
        image, chosen = self.image.value, combo_box.value
        # A chosen layer stays a choice after it was moved off the image: a run then raises
        # an error that explains this. The field would otherwise change without notice.
        return words + [
            (each.name, each)
            for each in self.viewer.layers
            if each is chosen or can_hold_marks(each, image)
        ]

    def _level_choices(self, _combo_box: Any) -> list[tuple[str, Any]]:
        return level_choices(
            self.image.value, self.stack.value, self.method.value, self.channel_axis.value
        )
