"""The state of a layer before an update in place, and the edits by hand after the update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_kmeans.measuring import COLOR_COLUMN, IGNORED, NAME
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_attributes
from napari_kmeans.viewer.provenance import (
    joined_labels,
    recorded_classes,
    recorded_slice,
    set_recorded_edits,
)
from napari_kmeans.viewer.to_layers.edited_parts import edited_boxes, edits_outside
from napari_kmeans.viewer.to_layers.hand_edits import count_again, replacing_data
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_table import forget_strokes
from napari_kmeans.viewer.to_layers.update import (
    UPDATED_ATTRIBUTES,
    indices_of_replaced_slice,
    move_to,
)

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True, eq=False)
class LayerState:
    """The data, colors, table, record and place of a layer before `update_layer`.

    The arrays are kept and not copied. Only of a slice that the update replaces in its
    array, the pixels are copied.

    Attributes
    ----------
    layer : napari.layers.Layer
    """

    layer: Layer
    _values: dict[str, Any]
    _metadata: dict[str, Any]
    _spatial: dict[str, Any]
    _slices: list[tuple[Any, Any]]
    """The index and the pixels of the replaced slice of each level; empty without one."""

    @classmethod
    def before(cls, layer: Layer, result: Layer) -> LayerState:
        """Return the state of a layer that a new result will update."""
        values = {name: getattr(layer, name) for name in UPDATED_ATTRIBUTES[type(layer)]}
        if isinstance(layer, Labels):
            values["colormap"] = without_highlight(layer.colormap)
            values["features"] = layer.features.copy()
        levels = layer_levels(layer) if hasattr(layer, "multiscale") else []
        slices = [
            (index, level[index].copy())
            for index, level in zip(indices_of_replaced_slice(layer, result), levels, strict=False)
        ]
        return cls(layer, values, dict(layer.metadata), spatial_attributes(layer), slices)

    def restore(self) -> None:
        """Give the layer its earlier state. Metadata that the user added since stay."""
        layer = self.layer
        slice_index = recorded_slice(layer)
        edits = edits_outside(layer, slice_index) if slice_index and self._slices else []
        levels = layer_levels(layer) if self._slices else []
        earlier: Any = self._values["data"]
        earlier = list(earlier) if self._slices and layer.multiscale else [earlier]
        for (index, pixels), level, was in zip(self._slices, levels, earlier, strict=False):
            if level is was:
                # The update has changed this array in place.
                was[index] = pixels
        # Before data and table, as in `update_layer`.
        layer.metadata = {**layer.metadata, **self._metadata}
        with replacing_data(layer):
            for name, value in self._values.items():
                setattr(layer, name, value)
            if isinstance(layer, Labels):
                forget_strokes(layer)
            move_to(layer, self._spatial)
        if isinstance(layer, Labels) and edits:
            # The strokes in other slices since the update stay, and the table may count them.
            earlier_edits = edited_boxes(layer)
            added = [box for box in edits if box not in earlier_edits]
            set_recorded_edits(layer, [*earlier_edits, *added])
            count_again(layer)


class EditWatch:
    """Notices edits of a Labels layer by the user: painting, and edits of its classes.

    Parameters
    ----------
    layer : napari.layers.Labels
    """

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self._has_other_pixels = False
        self._classes = _describe_classes(layer)
        for event in self._events():
            event.connect(self._on_pixels_changed)

    @property
    def is_edited(self) -> bool:
        """Whether pixels or classes of the layer have changed."""
        return self._has_other_pixels or _describe_classes(self.layer) != self._classes

    def disconnect(self) -> None:
        """Stop watching the layer."""
        for event in self._events():
            event.disconnect(self._on_pixels_changed)

    def _events(self) -> tuple[Any, Any]:
        return self.layer.events.paint, self.layer.events.data

    def _on_pixels_changed(self, _event: Any) -> None:
        self._has_other_pixels = True


def _describe_classes(layer: Labels) -> tuple[Any, ...]:
    features, classes = layer.features, recorded_classes(layer)
    # Slices with a model each have no record of their classes: the table shows all edits.
    columns = (NAME,) if classes is not None else (NAME, IGNORED, COLOR_COLUMN)
    edits = [features[name].tolist() for name in columns if name in features]
    return classes, joined_labels(layer), edits
