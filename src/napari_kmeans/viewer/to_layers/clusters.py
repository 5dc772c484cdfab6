"""The clusters in a Labels layer: looked up, renamed, recolored, hidden, highlighted, merged."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.events import EmitterGroup, Event

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.provenance import joined_labels, set_joined_labels
from napari_kmeans.viewer.to_layers.highlight import HighlightColormap, without_highlight
from napari_kmeans.viewer.to_layers.label_area import format_area
from napari_kmeans.viewer.to_layers.label_colors import (
    color_of_label,
    colors_of_labels,
    label_colormap,
)
from napari_kmeans.viewer.to_layers.label_table import (
    COLUMNS,
    OUTDATED,
    describe_counted,
    forget_strokes,
    is_outdated,
    merge_rows,
    pixel_shares,
    without_mark,
)
from napari_kmeans.viewer.to_layers.pixel_merge import PixelMerge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.viewer.to_layers.label_colors import Color

MAX_EDITS = 100
"""Edits that can be undone, as many as napari keeps of its own."""


@dataclass(frozen=True, eq=False)
class _Looks:
    """Table and colors of a layer, and what was joined in it; none of them is ever changed."""

    features: pd.DataFrame
    colormap: Any
    joined: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class _Edit:
    before: _Looks
    after: _Looks
    pixels: tuple[PixelMerge, ...]
    """Of each level of the layer; none where no pixel changes."""


class Clusters:
    """The clusters of a Labels layer.

    All that they are is in the layer, where napari and scripts see it too:
    `data`, `colormap`, and `features` with one row per cluster.

    Parameters
    ----------
    layer : napari.layers.Labels
        With a table of `COLUMNS` as its features; without one it has no clusters.

    Attributes
    ----------
    layer : napari.layers.Labels
    highlighted : frozenset of int
        The labels that stand out; empty where all look alike.
    events : napari.utils.events.EmitterGroup
        `changed` after every change, whoever made it.

    Notes
    -----
    Pixels are those that the table counts: painting in the layer does not
    change them, but marks them as outdated. A change made elsewhere to data,
    table or colors ends what can be undone.
    """

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self.highlighted: frozenset[int] = frozenset()
        self.events = EmitterGroup(source=self, changed=Event)
        self._colormap = without_highlight(layer.colormap)
        self._table = without_mark(layer.features)
        self._alphas: dict[int, float] = {}
        self._done: list[_Edit] = []
        self._undone: list[_Edit] = []
        self._is_editing = False
        for event, callback in self._connections():
            event.connect(callback)

    def _connections(self) -> list[tuple[Any, Any]]:
        events = self.layer.events
        edits = [(event, self._on_edited) for event in (events.data, events.features)]
        places = [(event, self._on_moved) for event in (events.scale, events.affine, events.units)]
        return [*edits, (events.colormap, self._on_recolored), *places]

    def disconnect(self) -> None:
        """Follow the layer no longer."""
        for event, callback in self._connections():
            event.disconnect(callback)

    # ------------------------------------------------------------- looking up

    @property
    def labels(self) -> list[int]:
        """The label of every cluster, in the order of the table."""
        features = self.layer.features
        if not set(COLUMNS) <= set(features):
            return []
        return [int(label) for label in features["index"]]

    @property
    def joined(self) -> Mapping[int, int]:
        """Which label took in which others since the run: {one that is gone: the one it is now}."""
        return joined_labels(self.layer)

    def name(self, label: int) -> str:
        """Return the name that a cluster was given, or nothing."""
        features = self.layer.features
        return str(features["name"][self._row(label)]) if "name" in features else ""

    def color(self, label: int) -> Color:
        """Return the color (4,) of a cluster from 0 to 1, without any highlight."""
        return color_of_label(self._colormap, label)

    def hex_color(self, label: int) -> str:
        """Return the color of a cluster as #rrggbb."""
        return to_hex(self.color(label)[None, :3].astype(np.float64))[0]

    def is_shown(self, label: int) -> bool:
        """Whether a cluster can be seen."""
        return bool(self.color(label)[3] > 0)

    def pixels(self, labels: Iterable[int]) -> int:
        """Return how many pixels some clusters have together."""
        return int(sum(self.layer.features["pixels"][self._row(each)] for each in labels))

    def percent(self, labels: Iterable[int]) -> float:
        """Return the share of some clusters in all pixels that were not left out."""
        return float(sum(self.layer.features["percent"][self._row(each)] for each in labels))

    def area(self, labels: Iterable[int]) -> str:
        """Return area or volume of some clusters in the units of the layer, such as 12.3 mm²."""
        return format_area(self.layer, self.pixels(labels))

    @property
    def is_outdated(self) -> bool:
        """Whether pixels were edited by hand after they were counted."""
        return is_outdated(self.layer.features)

    @property
    def counted(self) -> str:
        """Which pixels are counted; empty if all of the only level are."""
        return describe_counted(self.layer)

    def _row(self, label: int) -> int:
        rows = np.flatnonzero(self.layer.features["index"] == label)
        if not len(rows):
            raise ValueError(f"label must be one of {self.labels}, got {label}.")
        return int(rows[0])

    # ---------------------------------------------------------------- editing

    def rename(self, label: int, name: str) -> None:
        """Give a cluster a name, in the column `name` of the table."""
        row, features = self._row(label), self.layer.features.copy()
        if name == self.name(label):
            return
        if "name" not in features:
            features.insert(1, "name", np.full(len(features), "", dtype=object))
        features.loc[row, "name"] = name
        self._edit(features, self._colormap)

    def set_color(self, label: int, color: Any) -> None:
        """Give a cluster a color, and its hex code to the column `color` of the table.

        Parameters
        ----------
        label : int
        color : str or sequence of 3 floats from 0 to 1
            A name or code that napari knows, or red, green and blue. Whether
            the cluster is shown does not change.

        Raises
        ------
        ValueError
            If the layer has no such cluster, or there is no such color.
        """
        row, features = self._row(label), self.layer.features.copy()
        rgb = DirectLabelColormap(color_dict={None: "black", 1: color}).color_dict[1][:3]
        features.loc[row, "color"] = to_hex(rgb[None])[0]
        self._edit(features, self._with_colors({label: [*rgb, self.color(label)[3]]}))

    def show(self, labels: Collection[int], shown: bool = True) -> None:
        """Show some clusters, or hide them by an alpha of 0."""
        colors = {label: self.color(label) for label in labels if self.is_shown(label) != shown}
        if not colors:
            return
        if not shown:
            self._alphas.update({label: float(color[3]) for label, color in colors.items()})
        alphas = {label: self._alphas.get(label, 1.0) if shown else 0.0 for label in colors}
        changes = {label: [*color[:3], alphas[label]] for label, color in colors.items()}
        self._edit(self.layer.features, self._with_colors(changes))

    def merge(self, labels: Collection[int]) -> int:
        """Make one cluster of several.

        Its label is that of the largest, its color and channels are the means
        of all their pixels. The other labels are gone; no label is renumbered.

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
            If there are fewer than two labels, or the layer has no such cluster.
        """
        chosen = sorted(set(labels), key=lambda label: (-self.pixels([label]), label))
        if len(chosen) < 2:
            raise ValueError(f"labels must be at least two clusters, got {sorted(labels)}.")
        rows = [self._row(label) for label in chosen]
        colors = np.array([self.color(label) for label in chosen])
        shares = pixel_shares(self.layer.features["pixels"].to_numpy()[rows])
        color = np.append(shares @ colors[:, :3], colors[:, 3].max())
        features = merge_rows(self.layer.features, rows)
        if "color" in features:
            features.loc[features["index"] == chosen[0], "color"] = to_hex(color[None, :3])[0]
        pixels = tuple(PixelMerge(np.array(chosen)) for _ in layer_levels(self.layer))
        colormap = self._with_colors({chosen[0]: color}, chosen[1:])
        self._edit(features, colormap, pixels, _joined(self.joined, chosen))
        return chosen[0]

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to make again."""
        return bool(self._undone)

    def undo(self) -> None:
        """Take the last edit back, if there is one: data, table and colors as they were."""
        if self._done:
            edit = self._done.pop()
            self._apply(edit.before, [each.revert for each in edit.pixels])
            self._undone.append(edit)
            self.events.changed()

    def redo(self) -> None:
        """Make the edit again that was undone last, if there is one."""
        if self._undone:
            edit = self._undone.pop()
            self._apply(edit.after, [each.apply for each in edit.pixels])
            self._done.append(edit)
            self.events.changed()

    def _edit(
        self,
        features: pd.DataFrame,
        colormap: Any,
        pixels: tuple[PixelMerge, ...] = (),
        joined: Mapping[int, int] | None = None,
    ) -> None:
        before = _Looks(self.layer.features.copy(), self._colormap, self.joined)
        after = _Looks(features, colormap, before.joined if joined is None else joined)
        edit = _Edit(before, after, pixels)
        self._apply(edit.after, [each.apply for each in pixels])
        self._done = [*self._done[1 - MAX_EDITS :], edit]
        self._undone = []
        self.events.changed()

    def _apply(self, looks: _Looks, relabel: list[Callable[[Any], Any]]) -> None:
        # Not of the edit: painting between an edit and its undo stays.
        outdated = self.is_outdated
        with self._editing():
            if relabel:
                old = zip(relabel, layer_levels(self.layer), strict=True)
                levels = [of_level(level) for of_level, level in old]
                self.layer.data = levels if self.layer.multiscale else levels[0]
                forget_strokes(self.layer)
            features = looks.features.assign(**({OUTDATED: True} if outdated else {}))
            self.layer.features = features
            self._table = without_mark(features)
            set_joined_labels(self.layer, looks.joined)
            self.highlighted &= set(self.labels)
            self._colormap = looks.colormap
            self._paint()

    def _with_colors(self, colors: dict[int, Any], gone: Sequence[int] = ()) -> Any:
        known = colors_of_labels(self._colormap, self.labels)
        kept = {label: color for label, color in known.items() if label not in gone}
        return label_colormap({**kept, **colors})

    # ----------------------------------------------------------- highlighting

    def highlight(self, labels: Iterable[int]) -> None:
        """Veil all clusters but these; none of them veils nothing.

        Others turn nearly black, gray or white, whichever is furthest from those
        that stand out: the layer below often has the same colors, so that
        making others transparent would change nothing to the eye.
        """
        highlighted = frozenset(labels) & set(self.labels)
        if highlighted == self.highlighted:
            return
        self.highlighted = highlighted
        with self._editing():
            self._paint()
        self.events.changed()

    def _paint(self) -> None:
        colormap = self._colormap
        if self.highlighted:
            colormap = HighlightColormap.of(colormap, self.labels, self.highlighted)
        if colormap is self.layer.colormap:
            return
        # Else what shows a single label would not know of it.
        colormap.selection = self.layer.selected_label
        colormap.use_selection = self.layer.show_selected_label
        self.layer.colormap = colormap

    # --------------------------------------------- following what others change

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
        # A mark alone leaves data and table as the edits need them.
        if event.type == "data" or not table.equals(self._table):
            self._table = table
            self._forget_edits()
            self.highlight(self.highlighted & set(self.labels))
        self.events.changed()

    def _on_recolored(self) -> None:
        if self._is_editing:
            return
        whole = without_highlight(self.layer.colormap)
        if whole is not self._colormap:
            self._colormap = whole
            self._forget_edits()
        self.highlighted = frozenset()
        self.events.changed()

    def _on_moved(self) -> None:
        self.events.changed()

    def _forget_edits(self) -> None:
        self._done, self._undone = [], []


def _joined(before: Mapping[int, int], chosen: Sequence[int]) -> dict[int, int]:
    """Add labels, the first of which stays, to what was joined before."""
    kept = chosen[0]
    earlier = {gone: kept if now in chosen else now for gone, now in before.items()}
    return {**earlier, **dict.fromkeys(chosen[1:], kept)}
