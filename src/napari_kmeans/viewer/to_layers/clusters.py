"""The clusters in a Labels layer: looked up, renamed, recolored, hidden, highlighted, merged."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.events import EmitterGroup, Event

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.label_colors import label_colormap
from napari_kmeans.viewer.to_layers.label_table import (
    COLUMNS,
    OUTDATED,
    forget_strokes,
    is_outdated,
    without_mark,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

    Color: TypeAlias = NDArray[np.floating[Any]]

MAX_EDITS = 100
"""Edits that can be undone, as many as napari keeps of its own."""

_BLOCK = 2**17
"""Pixels at a time: few enough for the cache, and whole bytes of bits."""

_VEIL = 0.85
"""How much of its color a cluster loses while others are highlighted."""


class Highlight(DirectLabelColormap):  # type: ignore[misc]
    """Colors that veil all clusters but some; `whole` has them as they are."""

    _whole: Any = None

    @classmethod
    def of(cls, whole: Any, colors: dict[Any, Any]) -> Highlight:
        """Return the colormap of `colors`, which remembers what it veils."""
        highlight = cls(color_dict=colors)
        highlight._whole = whole
        return highlight

    @property
    def whole(self) -> Any:
        """The colormap without the veil."""
        return self._whole


def merge_pixels(
    data: NDArray[Any], labels: NDArray[np.integer[Any]]
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Make one label of several.

    Parameters
    ----------
    data : array of integers
        It is not changed.
    labels : (m,) integer array
        Positive labels; all become the first of them.

    Returns
    -------
    merged : array like `data`
    planes : (b, n / 8) uint8 array
        What `split_pixels` needs: one bit per pixel for every doubling of m.
    """
    flat = np.ascontiguousarray(data).reshape(-1)
    merged, steps = np.empty_like(flat), _steps(labels, data.dtype)
    # The last entry stands for all greater labels, the first for those below 0.
    codes_of = np.zeros(labels.max() + 2, np.min_scalar_type(len(labels)))
    codes_of[labels] = np.arange(len(labels))
    planes = np.empty(((len(labels) - 1).bit_length(), -(-flat.size // 8)), np.uint8)

    def merge_block(part: slice) -> None:
        block = flat[part]
        codes = np.take(codes_of, block.astype(np.intp), mode="clip")
        np.add(block, np.take(steps, codes, mode="clip"), out=merged[part])
        for bit, plane in enumerate(planes):
            bits = np.packbits(codes >> bit & 1)
            plane[part.start // 8 :][: bits.size] = bits

    map_slices(merge_block, flat.size, _BLOCK)
    return merged.reshape(data.shape), planes


def split_pixels(
    data: NDArray[Any], labels: NDArray[np.integer[Any]], planes: NDArray[np.uint8]
) -> NDArray[Any]:
    """Return what `merge_pixels` was given; pixels painted over since then stay as they are."""
    flat = np.ascontiguousarray(data).reshape(-1)
    split, steps = np.empty_like(flat), _steps(labels, data.dtype)

    def split_block(part: slice) -> None:
        block = flat[part]
        codes = np.zeros(block.size, np.min_scalar_type(len(labels)))
        for bit, plane in enumerate(planes):
            bits = np.unpackbits(plane[part.start // 8 :][: -(-block.size // 8)])
            codes |= bits[: block.size].astype(codes.dtype) << bit
        codes *= block == labels[0]
        np.subtract(block, np.take(steps, codes, mode="clip"), out=split[part])

    map_slices(split_block, flat.size, _BLOCK)
    return split.reshape(data.shape)


def _steps(labels: NDArray[np.integer[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return what must be added to each label to make it the first; unsigned ones wrap around."""
    names = labels.astype(dtype)
    return np.asarray(names[0] - names)


def _merge_chunk(chunk: NDArray[Any], labels: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return merge_pixels(chunk, labels)[0]


@dataclass(eq=False)
class PixelMerge:
    """The pixels of several labels made one, and back, without a copy of the data.

    Attributes
    ----------
    labels : (m,) integer array
        The labels to merge; the first is the one that stays.
    """

    labels: NDArray[np.integer[Any]]
    _before: Any = field(default=None, init=False, repr=False)

    def apply(self, data: Any) -> Any:
        """Return label data with one label for all of them; lazy data stay lazy."""
        if hasattr(data, "dask"):
            self._before = data
            return data.map_blocks(_merge_chunk, labels=self.labels, dtype=data.dtype)
        merged, self._before = merge_pixels(np.asarray(data), self.labels)
        return merged

    def revert(self, data: Any) -> Any:
        """Return what `apply` was given; pixels painted over since then stay as they are."""
        before, self._before = self._before, None
        if hasattr(data, "dask"):
            return before
        return split_pixels(np.asarray(data), self.labels, before)


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
        self._colormap = without_veil(layer.colormap)
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
        return joined_by_hand(self.layer)

    def name(self, label: int) -> str:
        """Return the name that a cluster was given, or nothing."""
        features = self.layer.features
        return str(features["name"][self._row(label)]) if "name" in features else ""

    def color(self, label: int) -> Color:
        """Return the color (4,) of a cluster from 0 to 1, without any highlight."""
        return _color(self._colormap, label)

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
        size = (self.pixels(labels) * _pixel_size(self.layer)).to_reduced_units()
        units = f"{size.units:~P}".replace("pixel", "px")
        return f"{format_number(size.magnitude)} {units}"

    @property
    def is_outdated(self) -> bool:
        """Whether pixels were edited by hand after they were counted."""
        return is_outdated(self.layer.features)

    @property
    def counted(self) -> str:
        """Which pixels are counted; empty if all of the only level are."""
        place, level = _slice_counted(self.layer), _level_counted(self.layer)
        levels = layer_levels(self.layer)
        shape = [
            size
            for axis, size in enumerate(levels[level].shape)
            if place is None or place[axis] is None
        ]
        parts = []
        if place is not None:
            parts.append(f"in slice {', '.join(str(at) for at in place if at is not None)} only")
        if len(levels) > 1:
            # No-break spaces: a size is not torn at the end of a line.
            size = "\u00a0\u00d7\u00a0".join(map(str, shape))
            parts.append(f"on level {level} ({size})")
        return ", ".join(parts)

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
        shares = _shares(self.layer.features["pixels"].to_numpy()[rows])
        color = np.append(shares @ colors[:, :3], colors[:, 3].max())
        features = _merged_rows(self.layer.features, rows, shares)
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
            self._remember(looks.joined)
            self.highlighted &= set(self.labels)
            self._colormap = looks.colormap
            self._paint()

    def _remember(self, joined: Mapping[int, int]) -> None:
        provenance = self.layer.metadata.get(METADATA_KEY)
        if provenance is not None and joined != self.joined:
            self.layer.metadata[METADATA_KEY] = {**provenance, "joined": joined}

    def _with_colors(self, colors: dict[int, Any], gone: Sequence[int] = ()) -> Any:
        known = _color_dict(self._colormap, self.labels)
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
        colormap = self._veiled() if self.highlighted else self._colormap
        if colormap is self.layer.colormap:
            return
        # Else what shows a single label would not know of it.
        colormap.selection = self.layer.selected_label
        colormap.use_selection = self.layer.show_selected_label
        self.layer.colormap = colormap

    def _veiled(self) -> Highlight:
        colors = _color_dict(self._colormap, self.labels)
        veil = _far_gray(np.array([colors[label][:3] for label in self.highlighted]))
        for label in set(colors) - self.highlighted - {0}:
            rgb = (1 - _VEIL) * colors[label][:3] + _VEIL * veil
            colors[label] = np.append(rgb, colors[label][3])
        return Highlight.of(self._colormap, colors)

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
        whole = without_veil(self.layer.colormap)
        if whole is not self._colormap:
            self._colormap = whole
            self._forget_edits()
        self.highlighted = frozenset()
        self.events.changed()

    def _on_moved(self) -> None:
        self.events.changed()

    def _forget_edits(self) -> None:
        self._done, self._undone = [], []


def joined_by_hand(layer: Labels) -> Mapping[int, int]:
    """Return which labels of a result were merged since the run, each with what it is now."""
    return dict(layer.metadata.get(METADATA_KEY, {}).get("joined", {}))


def _joined(before: Mapping[int, int], chosen: Sequence[int]) -> dict[int, int]:
    """Add labels, the first of which stays, to what was joined before."""
    kept = chosen[0]
    earlier = {gone: kept if now in chosen else now for gone, now in before.items()}
    return {**earlier, **dict.fromkeys(chosen[1:], kept)}


def format_number(value: float) -> str:
    """Return a number of at least 0 in as few digits as tell it: 1,234 or 12.3."""
    return f"{value:,.0f}" if 999.5 <= value < 1e9 or value == int(value) < 1e9 else f"{value:.3g}"


def without_veil(colormap: Any) -> Any:
    """Return the colormap of a layer as it is while nothing is highlighted."""
    return colormap.whole if isinstance(colormap, Highlight) else colormap


def _color(colormap: Any, label: int) -> Color:
    if isinstance(colormap, DirectLabelColormap):
        return np.asarray(colormap.color_dict.get(label, colormap.default_color))
    # The colors of all labels, also where a single one is shown.
    every = colormap.model_copy(update={"use_selection": False})
    return np.asarray(every.map(np.array([label]))[0])


def _color_dict(colormap: Any, labels: Iterable[int]) -> dict[Any, Color]:
    """Return the colors of a direct colormap, or of these labels in any other."""
    if isinstance(colormap, DirectLabelColormap):
        return dict(colormap.color_dict)
    return dict(label_colormap({label: _color(colormap, label) for label in labels}).color_dict)


def _far_gray(colors: Color) -> float:
    """Return which of black, gray and white is least like any of some colors (m, 3)."""
    grays = np.array([0, 0.5, 1])
    distances = np.linalg.norm(colors - grays[:, None, None], axis=-1)
    return float(grays[distances.min(axis=1).argmax()])


def _pixel_size(layer: Labels) -> Any:
    """Return the size in the world, with its units, of one of the pixels that are counted."""
    steps = np.array([layer.data_to_world(step) for step in np.eye(layer.ndim)])
    size = abs(np.linalg.det(steps - layer.data_to_world(np.zeros(layer.ndim))))
    size = size * _pixels_of_finest(layer)
    for unit in layer.units:
        size = size * unit
    return size


def _pixels_of_finest(layer: Labels) -> float:
    """Return how many pixels of the finest level one of the counted pixels stands for.

    Levels need not halve all axes, nor any exactly. Along the axes of a single
    slice nothing is counted: there the slice is one of the finest level.
    """
    levels, place = layer_levels(layer), _slice_counted(layer)
    ratios = np.divide(levels[0].shape, levels[_level_counted(layer)].shape)
    counted = [place is None or place[axis] is None for axis in range(layer.ndim)]
    return float(np.prod(ratios[counted]))


def _level_counted(layer: Labels) -> int:
    """Return the level whose pixels the table of a layer counts."""
    level = layer.metadata.get(METADATA_KEY, {}).get("level", 0)
    return int(level) if level in range(len(layer_levels(layer))) else 0


def _slice_counted(layer: Labels) -> list[int | None] | None:
    """Return the index of the only slice that the table of a layer counts, None for all."""
    stack = layer.metadata.get(METADATA_KEY, {}).get("stack")
    return stack if isinstance(stack, list) and len(stack) == layer.ndim else None


def _shares(pixels: NDArray[Any]) -> NDArray[np.float64]:
    total = pixels.sum()
    return np.asarray(pixels / total) if total else np.full(len(pixels), 1 / len(pixels))


def _merged_rows(
    features: pd.DataFrame, rows: list[int], shares: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the table with several rows made one, the first of them."""
    table, first = features.copy(), rows[0]
    total = features["pixels"].sum()
    table.loc[first, "pixels"] = features["pixels"][rows].sum()
    table.loc[first, "percent"] = 100 * table["pixels"][first] / max(total, 1)
    for column in features:
        if str(column).startswith("mean "):
            table.loc[first, column] = shares @ features[column][rows]
    if "name" in features:
        names = dict.fromkeys(filter(None, features["name"][rows]))
        table.loc[first, "name"] = " + ".join(names)
    return table.drop(index=rows[1:]).reset_index(drop=True)
