"""The clusters of a Labels layer, and the edits of them that can be undone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.events import EmitterGroup, Event

from napari_kmeans.classes import clean_name
from napari_kmeans.imaging.colors import display_colors, to_hex
from napari_kmeans.imaging.painting import round_to
from napari_kmeans.measuring import (
    COUNT_COLUMNS,
    IGNORED,
    MEAN_PREFIX,
    NAME,
    SIZE_COLUMNS,
    channel_means,
    mean_columns,
    percentages,
    place_class_columns,
    used_class_columns,
)
from napari_kmeans.viewer.from_layers.source import index_at_level, layer_levels
from napari_kmeans.viewer.provenance import (
    is_edited_by_hand,
    joined_labels,
    recorded_channel_axis,
    recorded_model,
    recorded_scheme,
    set_joined_labels,
    set_recorded_classes,
    set_recorded_model,
    set_recorded_scheme,
)
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors
from napari_kmeans.viewer.to_layers.hand_edits import (
    can_be_counted,
    count_again,
    is_recounted,
    replacing_data,
)
from napari_kmeans.viewer.to_layers.highlight import HighlightColormap, without_highlight
from napari_kmeans.viewer.to_layers.label_area import (
    count_frames,
    describe_size,
    format_area,
    with_sizes,
)
from napari_kmeans.viewer.to_layers.label_colors import (
    DISTINCT,
    class_colors,
    color_of_label,
    colors_of_labels,
    label_colormap,
    mean_colors,
    show_colormap,
)
from napari_kmeans.viewer.to_layers.label_table import (
    OUTDATED,
    counted_slice,
    describe_counted,
    forget_strokes,
    is_outdated,
    merge_rows_into_first,
    pixel_shares,
    split_row,
    without_mark,
)
from napari_kmeans.viewer.to_layers.layer_classes import classes_of, edited_model
from napari_kmeans.viewer.to_layers.pixel_merge import PixelMerge
from napari_kmeans.viewer.to_layers.recoloring import Recoloring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_kmeans.classes import ClassScheme
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.types import Floats
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.label_colors import Color
    from napari_kmeans.viewer.to_layers.split_class import ClassSplit

MAX_EDITS = 100
"""The number of edits that can be undone: the length of napari's own history of strokes."""


@dataclass(frozen=True, eq=False)
class _State:
    """The state of the clusters of a layer, except for its pixels. It is never changed."""

    features: pd.DataFrame
    colormap: Any
    joined: Mapping[int, int]
    classes: ClassScheme | None
    """None if the layer was not painted with one model."""
    model: Any
    """The recorded model, as plain values."""
    scheme: str
    """The color scheme."""


@dataclass(frozen=True, eq=False)
class _Edit:
    before: _State
    after: _State
    pixels: tuple[PixelEdit, ...]
    """The edit of the pixels of each level; empty if the edit changes no pixel."""
    images: tuple[Recoloring, ...]


class PixelEdit(Protocol):
    """An edit of label data that can be reverted."""

    def apply(self, data: Any) -> Any:
        """Return the data after the edit."""

    def revert(self, data: Any) -> Any:
        """Return the data before the edit."""


class Clusters:
    """The clusters of a Labels layer.

    The layer stores everything about its clusters, where napari and scripts can
    read it: in `data`, in `colormap`, and in `features` with one row per cluster.

    Parameters
    ----------
    layer : napari.layers.Labels
        A layer whose features have the columns `COUNT_COLUMNS`. Any other layer has no
        clusters.
    source : Source, optional
        The image of the clusters.
    model : KMeansModel, optional
        The model that painted the layer, before the edits of its classes. It gives a merged
        cluster its mean color, as applying the model does. Without a model, this is the mean of
        the colors by the pixels of the layer.
    recolored : sequence of napari.layers.Image, optional
        The recolored layer, or that of each channel. With the model, it shows merged and split
        clusters in their mean colors, whatever the color scheme of the labels.

    Attributes
    ----------
    layer : napari.layers.Labels
    source : Source or None
    model : KMeansModel or None
    recolored : sequence of napari.layers.Image
    highlighted : frozenset of int
        The labels that are highlighted; empty without a highlight.
    events : napari.utils.events.EmitterGroup
        `changed` is emitted after every change, whether it was made here or elsewhere.

    Notes
    -----
    Numbers of pixels are those in the table. Painting in the layer marks them as outdated
    until they are counted again; see `watch_edits`. Edits can be undone after painting.
    When data, table or colors are changed elsewhere, earlier edits can no longer be undone.
    """

    def __init__(
        self,
        layer: Labels,
        source: Source | None = None,
        model: KMeansModel | None = None,
        recolored: Sequence[Image] = (),
    ) -> None:
        self.layer = layer
        self.source = source
        self.model = model
        self.recolored = recolored
        self.highlighted: frozenset[int] = frozenset()
        self.events = EmitterGroup(source=self, changed=Event)
        self._colormap = without_highlight(layer.colormap)
        self._table = without_mark(layer.features)
        self._classes = classes_of(layer)
        self._hidden_alphas: dict[int, float] = {}
        self._undo_stack: list[_Edit] = []
        self._redo_stack: list[_Edit] = []
        self._is_editing = False
        for event, callback in self._connections():
            event.connect(callback)

    def _connections(self) -> list[tuple[Any, Any]]:
        events = self.layer.events
        edits = [(event, self._on_edited) for event in (events.data, events.features)]
        moves = (events.scale, events.affine, events.units, events.axis_labels)
        places = [(event, self._on_moved) for event in moves]
        modes = (events.mode, self._on_mode)
        return [*edits, (events.colormap, self._on_recolored), *places, modes]

    def disconnect(self) -> None:
        """Stop following the layer."""
        for event, callback in self._connections():
            event.disconnect(callback)

    # ------------------------------------------------------------- looking up

    @property
    def labels(self) -> list[int]:
        """The label of every cluster, in the order of the table."""
        features = self.layer.features
        if not set(COUNT_COLUMNS) <= set(features):
            return []
        return [int(label) for label in features["index"]]

    @property
    def joined(self) -> Mapping[int, int]:
        """The labels that were merged since the run: {label that is gone: its new label}."""
        return joined_labels(self.layer)

    def name(self, label: int) -> str:
        """Return the name that the user gave a cluster, or an empty string."""
        features = self.layer.features
        return str(features["name"][self._row(label)]) if "name" in features else ""

    def color(self, label: int) -> Color:
        """Return the color (4,) of a cluster from 0 to 1, as without a highlight."""
        return color_of_label(self._colormap, label)

    def hex_color(self, label: int) -> str:
        """Return the color of a cluster as #rrggbb."""
        return to_hex(self.color(label)[None, :3].astype(np.float64))[0]

    def is_shown(self, label: int) -> bool:
        """Return whether a cluster is visible."""
        return bool(self.color(label)[3] > 0)

    def pixels(self, labels: Iterable[int]) -> int:
        """Return the number of pixels of some clusters together."""
        return int(sum(self.layer.features["pixels"][self._row(label)] for label in labels))

    def percent(self, labels: Iterable[int]) -> float:
        """Return the percentage of some clusters among all pixels that count.

        Ignored clusters do not count; NaN if all of the clusters are ignored.
        """
        shares = [self.layer.features["percent"][self._row(label)] for label in labels]
        counted = [share for share in shares if not np.isnan(share)]
        return float(sum(counted)) if counted or not shares else float("nan")

    def area(self, labels: Iterable[int]) -> str:
        """Return the area or volume of some clusters in the units of the layer: 12.3 mm².

        As `format_area`: the mean of several frames; empty if it is not known.
        """
        return format_area(self.layer, self.pixels(labels))

    @property
    def channels(self) -> list[tuple[str, str]]:
        """The name of each channel, and its column of means in the table; empty for RGB."""
        columns = mean_columns(self.layer.features)
        names = [column.removeprefix(MEAN_PREFIX) for column in columns]
        if names == ["red", "green", "blue"]:
            return []
        if names == ["intensity"]:
            names = ["Mean"]
        return list(zip(names, columns, strict=True))

    def mean(self, label: int, column: str) -> float:
        """Return the mean of a cluster in one channel, given by its column of the table."""
        return float(self.layer.features[column][self._row(label)])

    @property
    def size_word(self) -> str:
        """The word for the areas or volumes; see `describe_size`."""
        return describe_size(self.layer)

    @property
    def is_outdated(self) -> bool:
        """Whether pixels were edited by hand after they were counted."""
        return is_outdated(self.layer.features)

    @property
    def is_edited_by_hand(self) -> bool:
        """Whether the user has painted in the layer since its run."""
        return is_edited_by_hand(self.layer)

    @property
    def can_be_counted(self) -> bool:
        """Whether the labels are in memory, so that they are counted after painting."""
        return can_be_counted(self.layer)

    @property
    def counted(self) -> str:
        """The frames, the slice and the level whose pixels are counted, in words.

        Empty if the layer is no time lapse, has one level and all slices are counted.
        """
        n_frames = count_frames(self.layer)
        frames = f"in {n_frames} frames" if n_frames > 1 else ""
        return ", ".join(filter(None, [frames, describe_counted(self.layer)]))

    def _row(self, label: int) -> int:
        rows = np.flatnonzero(self.layer.features["index"] == label)
        if not len(rows):
            raise ValueError(
                f"label must be one of {self.labels}, got {label}: choose a cluster of the layer."
            )
        return int(rows[0])

    # ---------------------------------------------------------------- editing

    def rename(self, label: int, name: str) -> None:
        """Give a cluster a name, in the column `name` of the table; see `clean_name`."""
        row, features, name = self._row(label), self.layer.features.copy(), clean_name(name)
        if name == self.name(label):
            return
        names, ignored = _class_columns(features)
        names[row] = name
        features = place_class_columns(features, used_class_columns(names, ignored))
        classes = self._edited(lambda classes: classes.rename(label, name), label)
        self._do(features, self._colormap, classes=classes)

    def set_color(self, label: int, color: Any) -> None:
        """Give a cluster a color, and write its hex code to the column `color` of the table.

        A hidden cluster stays hidden.

        Parameters
        ----------
        label : int
        color : str or sequence of 3 floats from 0 to 1
            A name or code that napari knows, or red, green and blue.

        Raises
        ------
        ValueError
            If the layer does not have the cluster, or if napari does not know the color.
        """
        row, features = self._row(label), self.layer.features.copy()
        rgb = DirectLabelColormap(color_dict={None: "black", 1: color}).color_dict[1][:3]
        code = to_hex(rgb[None])[0]
        features.loc[row, "color"] = code
        classes = self._edited(lambda classes: classes.recolor(label, code), label)
        colormap = self._colormap_with({label: [*rgb, self.color(label)[3]]})
        self._do(features, colormap, classes=classes)

    @property
    def color_scheme(self) -> str:
        """The colors of the clusters: "mean" or "distinct"."""
        return recorded_scheme(self.layer)

    def set_color_scheme(self, scheme: str) -> None:
        """Show the clusters in their mean colors, or in distinct colors.

        Colors that the user gave stay, and hidden clusters stay hidden. Without a model and
        without means in the table, mean colors are not known, and the colors stay.

        Parameters
        ----------
        scheme : {"mean", "distinct"}
        """
        if scheme == self.color_scheme:
            return
        current, new = self._scheme_colors(self.color_scheme), self._scheme_colors(scheme)
        own = {each.label for each in self._classes or () if each.color is not None}
        changes = {
            label: np.append(color, self.color(label)[3])
            for label, color in new.items()
            if label not in own and self._is_color(label, current.get(label))
        }
        features = self.layer.features.copy()
        is_changed = features["index"].isin(list(changes))
        codes = to_hex(np.array([changes[label][:3] for label in features["index"][is_changed]]))
        features.loc[is_changed, "color"] = codes
        self._do(features, self._colormap_with(changes), classes=self._classes, scheme=scheme)

    def _is_color(self, label: int, color: Floats | None) -> bool:
        """Return whether a cluster has a color (3,) as the screen shows it; True for None."""
        # A stack with a model for each slice has no record of the colors that the user gave.
        if self._classes is not None or color is None:
            return True
        return bool(np.abs(self.color(label)[:3] - color).max() < 1 / 255)

    def _scheme_colors(self, scheme: str) -> dict[int, Floats]:
        """Return the color (3,) of each cluster in a scheme, as far as it is known."""
        labels, features, model = self.labels, self.layer.features, self._current_model
        if scheme == DISTINCT:
            colors = distinct_colors(labels)
        elif model is not None:
            labels, means = model.labels.tolist(), model.palette
            if self.source is None:
                colors = display_colors(means, model.rgb, model.dtype)
            else:
                colors = mean_colors(means, self.source)
        elif self.source is not None and mean_columns(features):
            colors = mean_colors(channel_means(features), self.source)
        else:
            return {}
        pairs = zip(labels, colors, strict=True)
        return {label: color for label, color in pairs if label in self.labels}

    def ignore(self, labels: Collection[int], ignored: bool = True) -> None:
        """Leave some clusters out of the shares and hide them, or count and show them again.

        An ignored cluster keeps its label and its pixels. Its share is NaN. The column
        `ignored` of the table is there while a cluster is ignored.
        """
        rows, features = [self._row(label) for label in labels], self.layer.features.copy()
        names, is_ignored = _class_columns(features)
        if (is_ignored[rows] == ignored).all():
            return
        is_ignored[rows] = ignored
        features["percent"] = percentages(features["pixels"].to_numpy(), is_ignored)
        features = place_class_columns(features, used_class_columns(names, is_ignored))
        alpha = 0.0 if ignored else 1.0
        colormap = self._colormap_with({label: [*self.color(label)[:3], alpha] for label in labels})

        def ignore_each(classes: ClassScheme) -> ClassScheme:
            for label in labels:
                classes = classes.ignore(label, ignored)
            return classes

        self._do(features, colormap, classes=self._edited(ignore_each, *labels))

    def is_ignored(self, label: int) -> bool:
        """Return whether a cluster does not count in the shares."""
        features, row = self.layer.features, self._row(label)
        return IGNORED in features and bool(features[IGNORED][row])

    def _edited(
        self, edit: Callable[[ClassScheme], ClassScheme], *labels: int
    ) -> ClassScheme | None:
        """Return the classes of the layer after an edit of some labels.

        A table that was edited elsewhere may have labels that no class has. The classes
        are then unchanged.
        """
        if self._classes is None or not {*labels} <= {*self._classes.labels}:
            return self._classes
        return edit(self._classes)

    def show(self, labels: Collection[int], shown: bool = True) -> None:
        """Show some clusters, or hide them by an alpha of 0."""
        colors = {label: self.color(label) for label in labels if self.is_shown(label) != shown}
        if not colors:
            return
        if not shown:
            self._hidden_alphas.update({label: float(color[3]) for label, color in colors.items()})
        alphas = {label: self._hidden_alphas.get(label, 1.0) if shown else 0.0 for label in colors}
        changes = {label: [*color[:3], alphas[label]] for label, color in colors.items()}
        self._do(self.layer.features, self._colormap_with(changes), classes=self._classes)

    def merge(self, labels: Collection[int]) -> int:
        """Merge several clusters into one, as `ClassScheme.merge` does.

        The merged cluster has the label of the first cluster, the lowest label, and is
        ignored if that one is. It keeps a color that the user gave the first cluster. Else
        its color is the mean over all its pixels. The other labels disappear; no label is
        renumbered. If the table counts one slice of a stack, no other slice changes.

        Parameters
        ----------
        labels : collection of int
            At least two labels of the layer.

        Returns
        -------
        int
            The label of the merged cluster.

        Raises
        ------
        ValueError
            If there are fewer than two labels, or if the layer does not have one of them.
        """
        chosen = sorted(set(labels))
        if len(chosen) < 2:
            raise ValueError(
                f"labels must be at least two clusters, got {sorted(labels)}: choose more clusters."
            )
        rows = [self._row(label) for label in chosen]
        features = merge_rows_into_first(self.layer.features, rows)
        classes = self._edited(lambda classes: classes.merge(chosen), *chosen)
        # Hidden only if all merged clusters are hidden, or if the merged cluster is ignored.
        alpha = max(self.color(label)[3] for label in chosen)
        alpha = 0.0 if self.is_ignored(chosen[0]) else alpha
        color = np.append(self._merged_color(chosen, classes), alpha)
        if "color" in features:
            features.loc[features["index"] == chosen[0], "color"] = to_hex(color[None, :3])[0]
        merges = [PixelMerge(np.array(chosen), index) for index in self._counted_indices()]
        images = self._recolorings(chosen, chosen[:1], self._model_with(classes))
        # Other slices may contain the labels.
        removed = chosen[1:] if counted_slice(self.layer) is None else []
        colormap = self._colormap_with({chosen[0]: color}, removed)
        joined = _add_joined(self.joined, chosen)
        self._do(features, colormap, merges, joined, classes, images)
        return chosen[0]

    def _counted_indices(self) -> list[Any]:
        """Return the index of the slices that the table counts in each level; ... for all."""
        slice_index = counted_slice(self.layer)
        shapes = [level.shape for level in layer_levels(self.layer)]
        if slice_index is None:
            return [...] * len(shapes)
        return [index_at_level(tuple(slice_index), shapes[0], shape) for shape in shapes]

    def _merged_color(self, labels: Sequence[int], classes: ClassScheme | None) -> Floats:
        """Return the color (3,) of labels after their merge into the first of them.

        Parameters
        ----------
        labels : sequence of int
        classes : ClassScheme or None
            The classes after the merge.
        """
        first, model = labels[0], self._model_with(classes)
        has_own = any(each.label == first and each.color is not None for each in classes or ())
        if has_own or self.color_scheme == DISTINCT:
            return np.asarray(self.color(first)[:3])
        if model is not None and first in model.labels:
            is_first = model.labels == first
            if self.source is None:
                return np.asarray(
                    display_colors(model.palette, model.rgb, model.dtype)[is_first][0]
                )
            return np.asarray(mean_colors(model.palette[is_first], self.source)[0])
        colors = np.array([self.color(label)[:3] for label in labels])
        rows = [self._row(label) for label in labels]
        return np.asarray(pixel_shares(self.layer.features["pixels"].to_numpy()[rows]) @ colors)

    @property
    def _current_model(self) -> KMeansModel | None:
        """The model with the current classes; None if the layer has no known model."""
        if self.model is None or self._classes is None:
            return None
        model = edited_model(self.layer, self.model)
        return model if model.classes == self._classes else None

    def _model_with(self, classes: ClassScheme | None) -> KMeansModel | None:
        """Return the model with other classes; None if the layer has no known model."""
        model = self._current_model
        return None if model is None or classes is None else model.with_classes(classes)

    def _recolorings(
        self, before: Sequence[int], after: Sequence[int], model: KMeansModel | None
    ) -> list[Recoloring]:
        """Return the changes of the recolored layers that show other clusters.

        Parameters
        ----------
        before, after : sequence of int
            The clusters of the changed pixels, now and after the edit.
        model : KMeansModel or None
            The model after the edit. Without a model, the layers stay: each slice of a stack
            may have its own colors.
        """
        current, layers = self._current_model, self.recolored
        if current is None or model is None or not layers:
            return []
        shapes = [level.shape for level in layer_levels(self.layer)]
        n_channels = current.n_channels
        axes = [_channel_axis_of(layer, self.layer.ndim) for layer in layers]
        # The user may have removed the layer of a channel, or a script replaced the pixels.
        if len(layers) not in (1, n_channels) or any(
            [_spatial_shape(level.shape, axis) for level in layer_levels(layer)] != shapes
            for layer, axis in zip(layers, axes, strict=True)
        ):
            return []
        changes = []
        for number, layer in enumerate(layers):
            channels = slice(None) if len(layers) == 1 else slice(number, number + 1)
            old = _palette_of(current, before, layer.dtype, channels)
            new = _palette_of(model, after, layer.dtype, channels)
            axis = axes[number]
            indices = self._counted_indices()
            changes.append(Recoloring(layer, old, new, indices, -1 if axis is None else axis))
        return changes

    def split(self, split: ClassSplit) -> list[int]:
        """Split a class into several, whose pixels were found in the background.

        Returns
        -------
        list of int
            The labels of the new classes.
        """
        label, model, parts = split.label, split.model, split.rows["index"].tolist()
        is_part = np.isin(model.labels, parts)
        rgb = self._colors_of(model)[is_part]
        rows = split.rows.assign(color=to_hex(rgb))
        features = split_row(self.layer.features, self._row(label), rows)
        alpha = self.color(label)[3]
        colors = {part: [*color, alpha] for part, color in zip(parts, rgb, strict=True)}
        images = self._recolorings([label], parts, model)
        joined = {gone: target for gone, target in self.joined.items() if target != label}
        record = model.to_dict() if model.splits else None
        colormap = self._colormap_with(colors)
        self._do(features, colormap, split.pixels, joined, model.classes, images, record)
        return parts

    def _colors_of(self, model: KMeansModel) -> Floats:
        """Return the colors (K, 3) of the classes of a model in the scheme of the layer."""
        if self.source is not None:
            return class_colors(model, self.source, self.color_scheme)
        return model.colors

    @property
    def classes(self) -> ClassScheme | None:
        """The classes of the layer; None if it was not painted with one model."""
        return self._classes

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._undo_stack)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to redo."""
        return bool(self._redo_stack)

    def undo(self) -> None:
        """Undo the last edit, if there is one: restore data, table and colors."""
        if self._undo_stack:
            edit = self._undo_stack.pop()
            self._apply(edit.before, [pixels.revert for pixels in edit.pixels])
            levels = layer_levels(self.layer)
            for image in edit.images:
                _set_levels(image.layer, image.revert(levels))
            self._redo_stack.append(edit)
            self._count_strokes()
            self.events.changed()

    def redo(self) -> None:
        """Redo the edit that was undone last, if there is one."""
        if self._redo_stack:
            edit = self._redo_stack.pop()
            self._redo(edit)
            self._undo_stack.append(edit)
            self._count_strokes()
            self.events.changed()

    def _do(
        self,
        features: pd.DataFrame,
        colormap: Any,
        pixels: Sequence[PixelEdit] = (),
        joined: Mapping[int, int] | None = None,
        classes: ClassScheme | None = None,
        images: Sequence[Recoloring] = (),
        model: Any = None,
        scheme: str | None = None,
    ) -> None:
        """Apply an edit and push it on the undo stack."""
        before = _State(
            self.layer.features.copy(),
            self._colormap,
            self.joined,
            self._classes,
            recorded_model(self.layer),
            self.color_scheme,
        )
        joined = before.joined if joined is None else joined
        scheme = scheme or before.scheme
        after = _State(features, colormap, joined, classes, model or before.model, scheme)
        edit = _Edit(before, after, tuple(pixels), tuple(images))
        self._redo(edit)
        self._undo_stack = [*self._undo_stack[1 - MAX_EDITS :], edit]
        self._redo_stack = []
        if pixels:
            self._count_strokes()
        self.events.changed()

    def _redo(self, edit: _Edit) -> None:
        self._apply(edit.after, [pixels.apply for pixels in edit.pixels])
        levels = layer_levels(self.layer)
        for image in edit.images:
            _set_levels(image.layer, image.apply(levels))

    def _apply(self, state: _State, relabel: list[Callable[[Any], Any]]) -> None:
        """Give the layer a state, and change the pixels of each level by a function."""
        outdated = self.is_outdated
        with self._editing():
            # Before data and table: their events make other lists of the layer, and the
            # panels, read the record.
            set_joined_labels(self.layer, state.joined)
            set_recorded_model(self.layer, state.model)
            set_recorded_scheme(self.layer, state.scheme)
            self._classes = state.classes
            if state.classes is not None:
                set_recorded_classes(self.layer, state.classes.to_list())
            if relabel:
                pairs = zip(relabel, layer_levels(self.layer), strict=True)
                with replacing_data(self.layer):
                    _set_levels(self.layer, [function(level) for function, level in pairs])
                    forget_strokes(self.layer)
            features = state.features.assign(**({OUTDATED: True} if outdated else {}))
            if SIZE_COLUMNS & set(features):
                # The layer may have been scaled since.
                features = with_sizes(features, self.layer)
            self.layer.features = features
            self._table = without_mark(features)
            self.highlighted &= set(self.labels)
            self._colormap = state.colormap
            self._update_colormap()

    def _count_strokes(self) -> None:
        """Count the pixels if the user has painted: a restored table does not count strokes."""
        if is_edited_by_hand(self.layer):
            count_again(self.layer)

    def _colormap_with(self, colors: dict[int, Any], removed: Sequence[int] = ()) -> Any:
        """Return the colormap with other colors for some labels, and without removed labels."""
        current = colors_of_labels(self._colormap, self.labels)
        remaining = {label: color for label, color in current.items() if label not in removed}
        return label_colormap({**remaining, **colors})

    # ----------------------------------------------------------- highlighting

    def highlight(self, labels: Iterable[int]) -> None:
        """Highlight some clusters by fading all others; no label ends the highlight."""
        highlighted = frozenset(labels) & set(self.labels)
        if highlighted == self.highlighted:
            return
        self.highlighted = highlighted
        with self._editing():
            self._update_colormap()
        self.events.changed()

    def _update_colormap(self) -> None:
        """Give the layer its colormap, with the highlight if there is one."""
        colormap = self._colormap
        if self.highlighted:
            colormap = HighlightColormap.of(colormap, self.labels, self.highlighted)
        if colormap is self.layer.colormap:
            return
        show_colormap(self.layer, colormap)

    # --------------------------------------- following changes made elsewhere

    @contextmanager
    def _editing(self) -> Iterator[None]:
        self._is_editing = True
        try:
            yield
        finally:
            self._is_editing = False

    def _on_edited(self, event: Event) -> None:
        if self._is_editing:
            return
        table = without_mark(self.layer.features)
        if is_recounted(self.layer):
            # The edits can still be undone: `undo` counts the pixels.
            self._table = table
        elif event.type == "data" or not table.equals(self._table):
            self._table = table
            self._classes = classes_of(self.layer)
            self._forget_edits()
            self.highlight(self.highlighted & set(self.labels))
        # If only the mark is new, data and table are still those of the last edit, and
        # edits can be undone.
        self.events.changed()

    def _on_recolored(self) -> None:
        if self._is_editing:
            return
        colormap = without_highlight(self.layer.colormap)
        if is_recounted(self.layer):
            # A new label has got a color.
            self._colormap = colormap
            with self._editing():
                self._update_colormap()
            return
        if colormap is not self._colormap:
            self._colormap = colormap
            self._forget_edits()
        self.highlighted = frozenset()
        self.events.changed()

    def _on_mode(self) -> None:
        # Painting shows the color of a label. A highlight fades all but some.
        if self.layer.mode not in ("pan_zoom", "transform"):
            self.highlight([])

    def _on_moved(self) -> None:
        # Areas depend on scale, affine and units.
        self.events.changed()

    def _forget_edits(self) -> None:
        self._undo_stack, self._redo_stack = [], []


def _channel_axis_of(recolored: Image, ndim: int) -> int | None:
    """Return the axis of the channels in the data of a recolored layer; None without one."""
    if recolored.rgb:
        return -1
    axis = recorded_channel_axis(recolored)
    return axis if recolored.ndim == ndim + 1 and axis in range(ndim + 1) else None


def _spatial_shape(shape: tuple[int, ...], channel_axis: int | None) -> tuple[int, ...]:
    if channel_axis is None:
        return shape
    axis = channel_axis % len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _class_columns(features: pd.DataFrame) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the names and the ignored rows of a table, which may lack their columns."""
    names = features[NAME].fillna("").tolist() if NAME in features else [""] * len(features)
    ignored = features[IGNORED].to_numpy(bool, copy=True) if IGNORED in features else None
    return names, np.zeros(len(features), bool) if ignored is None else ignored


def _palette_of(
    model: KMeansModel, labels: Sequence[int], dtype: Any, channels: slice
) -> dict[int, NDArray[Any]]:
    """Return the color (C,) of some classes in the dtype of a recolored layer."""
    palette = round_to(model.palette, np.dtype(dtype))[:, channels]
    rows = dict(zip(model.labels.tolist(), palette, strict=True))
    return {label: rows[label] for label in labels}


def _set_levels(layer: Image | Labels, levels: list[Any]) -> None:
    layer.data = levels if layer.multiscale else levels[0]


def _add_joined(joined: Mapping[int, int], merged: Sequence[int]) -> dict[int, int]:
    """Return a record of joined labels after a merge into the first of several labels."""
    target = merged[0]
    earlier = {gone: target if now in merged else now for gone, now in joined.items()}
    return {**earlier, **dict.fromkeys(merged[1:], target)}
