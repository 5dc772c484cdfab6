"""Clusters joined: the tree of their colors, what a cut of it joins, and the joined result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.checks import quote_value
from napari_kmeans.imaging.blocks import open_pixels
from napari_kmeans.imaging.colors import has_known_white, rgb_to_lab, sort_dark_to_bright, to_hex
from napari_kmeans.imaging.painting import (
    RelabelPainter,
    label_dtype,
    paint,
    recolor_lazily,
    round_to,
)
from napari_kmeans.model import KMeansModel, entries_of

if TYPE_CHECKING:
    import pandas as pd

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.types import Floats

Groups: TypeAlias = NDArray[np.int64]

_MAX_COLORS = 2048
"""Every color is compared with every other."""


@dataclass(frozen=True, eq=False)
class MergeTree:
    """Which clusters join, one pair after the other, and how far apart they are then.

    Attributes
    ----------
    pairs : (K - 1, 2) int64 array
        The two that join in each step: 0 to K - 1 are the clusters, K + i is
        what step i made.
    heights : (K - 1,) float64 array
        The distance that has to be allowed for each step, never falling.
    """

    pairs: NDArray[np.int64]
    heights: Floats

    @property
    def n_clusters(self) -> int:
        """The number K of clusters before any joined."""
        return len(self.pairs) + 1


def merge_tree(colors: KMeansModel | Any, shares: Any) -> MergeTree:
    """Build the tree in which clusters of similar colors join.

    Parameters
    ----------
    colors : KMeansModel or (K, 3) array
        The clusters, in the colors in which they are shown; an array holds
        red, green and blue from 0 to 1.
    shares : (K,) array
        Positive: numbers of pixels, or percent of them.

    Returns
    -------
    MergeTree
        Distances are from 0 to about 100, that of black and white: CIEDE2000
        [1]_ for RGB; for gray and other channels the root of the mean squared
        difference of the colors they are shown in, in percent.

    Raises
    ------
    ValueError
        If the colors are more than 2048, if the shares do not belong to them,
        or if the model is of RGB in integers of more than 16 bits.

    Notes
    -----
    The two nearest groups join, again and again; the distance of two groups is
    that of their mean colors, weighted by share (centroid linkage), which are
    the colors that the joined clusters are shown in. So a share draws the
    mean to the larger cluster but makes nothing look more alike than it is.
    A mean may lie nearer to a third group than its parts did; such a step takes
    the height of the one before it, and a cut at a lesser distance never joins
    what one at a greater distance keeps apart.

    References
    ----------
    .. [1] G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 color-difference
       formula", :doi:`10.1002/col.20070`.
    """
    nodes = _Nodes.of(colors, shares)
    n = len(nodes.weights)
    distances = np.stack([nodes.distances_from(i) for i in range(n)])
    np.fill_diagonal(distances, np.inf)
    names = np.arange(n)
    pairs, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1)
    for step in range(n - 1):
        a, b = sorted(divmod(int(distances.argmin()), n))
        pairs[step], heights[step] = (names[a], names[b]), distances[a, b]
        nodes.join(a, b)
        names[a] = n + step
        alone = np.isinf(distances[a])
        distances[a] = np.where(alone, np.inf, nodes.distances_from(a))
        distances[:, a] = distances[a]
        distances[b], distances[:, b] = np.inf, np.inf
    return MergeTree(pairs, np.maximum.accumulate(heights))


def can_compare_colors(model: KMeansModel) -> bool:
    """Return whether the colors of a model have distances: see `has_known_white`."""
    return not model.rgb or has_known_white(model.dtype)


def cut(tree: MergeTree, distance: float) -> Groups:
    """Return the group (K,) of each cluster where all that is at most `distance` apart is joined.

    Groups are numbered from 0 in the order of their first clusters.
    """
    members = [[cluster] for cluster in range(tree.n_clusters)]
    for a, b in tree.pairs[tree.heights <= distance]:
        members.append(members[a] + members[b])
    groups = np.empty(tree.n_clusters, np.int64)
    # Later ones hold earlier ones.
    for number, clusters in enumerate(members):
        groups[clusters] = number
    return _renumbered(groups)


def join_small(colors: KMeansModel | Any, shares: Any, least: float, groups: Any = None) -> Groups:
    """Join groups below a share with the group of the nearest color, the smallest first.

    Parameters
    ----------
    colors, shares
        As in `merge_tree`.
    least : float
        A fraction, from 0 to 1, of the sum of the shares.
    groups : (K,) array of int, optional
        What has been joined before; None has every cluster on its own.

    Returns
    -------
    (K,) int64 array
        The group of each cluster; none is below `least` unless it is alone.
    """
    nodes = _Nodes.of(colors, shares)
    n = len(nodes.weights)
    groups = np.arange(n) if groups is None else _renumbered(_checked_groups(groups, n))
    nodes = nodes.grouped(groups)
    least *= nodes.weights.sum()
    present = nodes.weights > 0
    while present.sum() > 1:
        small = int(np.where(present, nodes.weights, np.inf).argmin())
        if nodes.weights[small] >= least:
            break
        distances = np.where(present, nodes.distances_from(small), np.inf)
        distances[small] = np.inf
        nearest = int(distances.argmin())
        nodes.join(nearest, small)
        present[small] = False
        groups[groups == small] = nearest
    return _renumbered(groups)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Shown colors (n, 3) from 0 to 1 and their weights (n,), which change as they join."""

    colors: Floats
    weights: Floats
    rgb: bool

    @classmethod
    def of(cls, colors: KMeansModel | Any, shares: Any) -> _Nodes:
        rgb = not isinstance(colors, KMeansModel) or colors.rgb
        rows = np.array(colors.colors if isinstance(colors, KMeansModel) else colors, np.float64)
        weights = np.array(shares, np.float64)
        if isinstance(colors, KMeansModel) and not can_compare_colors(colors):
            raise ValueError(
                "colors must be of a model whose dtype states what full brightness is, got one of "
                f"{colors.dtype}: segment the image in the dtype that its values mean, such as "
                "np.uint8 for 0 to 255 or np.uint16 for 0 to 65535."
            )
        if rows.ndim != 2 or rows.shape[1] != 3 or not 1 <= len(rows) <= _MAX_COLORS:
            raise ValueError(
                f"colors must be 1 to {_MAX_COLORS} rows of red, green and blue, got shape "
                f"{rows.shape}: pass fewer clusters, or a model."
            )
        if weights.shape != rows.shape[:1] or not (weights > 0).all():
            raise ValueError(
                f"shares must be {len(rows)} positive numbers, one for each color, got "
                f"{quote_value(shares)}: pass the pixels of each cluster."
            )
        return cls(rows, weights, rgb)

    def distances_from(self, index: int) -> Floats:
        """Return how far each color is from one of them, (n,)."""
        if not self.rgb:
            squares = ((self.colors - self.colors[index]) ** 2).mean(axis=1)
            return np.asarray(100 * np.sqrt(squares))
        from skimage.color import deltaE_ciede2000

        lab = rgb_to_lab(self.colors)
        return np.asarray(deltaE_ciede2000(lab[[index]], lab))

    def join(self, kept: int, gone: int) -> None:
        """Give one the weighted mean of two colors, and the weight of both."""
        pair = [kept, gone]
        self.colors[kept] = np.average(self.colors[pair], axis=0, weights=self.weights[pair])
        self.weights[kept] += self.weights[gone]
        self.weights[gone] = 0

    def grouped(self, groups: Groups) -> _Nodes:
        """Return the mean color and the weight of each group."""
        weights = np.bincount(groups, self.weights).astype(np.float64)
        return replace(self, colors=_means(self.colors, self.weights, groups), weights=weights)


def _means(values: Floats, weights: Floats, groups: Groups) -> Floats:
    """Return the weighted mean (G, C) of the rows of each group."""
    sums = [np.bincount(groups, weights * column) for column in values.T]
    return np.stack(sums, axis=1) / np.bincount(groups, weights)[:, None]


def _renumbered(groups: Groups) -> Groups:
    """Give groups the numbers from 0, in the order of their first members."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _checked_groups(groups: Any, n_clusters: int) -> Groups:
    array = np.asarray(groups)
    if array.shape != (n_clusters,) or array.dtype.kind not in "ui":
        raise ValueError(
            f"groups must be {n_clusters} whole numbers, one for each cluster, got "
            f"{quote_value(groups)}: give clusters that are to be joined the same number."
        )
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class MergedModel(KMeansModel):
    """A model some of whose clusters have joined: several centers for one label.

    Attributes
    ----------
    cluster_centers_ : (M, F) float64 array
        The centers before any joined.
    palette : (K, C) float64 array
        The mean color of each joined cluster's pixels.
    center_labels : (M,) int64 array
        The label, 1…K, of each center.

    The others are those of `KMeansModel`; the inertia is that of the centers.
    """

    center_labels: NDArray[np.int64] = field(kw_only=True)

    @property
    def n_clusters(self) -> int:
        """The number of clusters K, joined ones counted once."""
        return len(self.palette)

    def _paint(
        self, pixels: Pixels, progress: Report | None, palette: Floats | None
    ) -> tuple[Any, Any]:
        """Paint with the centers, each in the color of its label, and name the labels."""
        colors = None if palette is None else palette[self.center_labels - 1]
        labels, recolored = super()._paint(pixels, progress, colors)
        names = np.append(0, self.center_labels).astype(label_dtype(self.n_clusters))
        if isinstance(labels, np.ndarray):
            return names[labels], recolored
        return labels.map_blocks(names.__getitem__, dtype=names.dtype), recolored

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain values that JSON can hold."""
        return {**super().to_dict(), "center_labels": self.center_labels.tolist()}

    @classmethod
    def from_dict(cls, values: Any) -> MergedModel:
        """Return the model that `to_dict` wrote.

        Raises
        ------
        ValueError
            If the values are not those of a model with joined clusters.
        """
        entries = entries_of(values)
        n_centers, n_labels = len(entries["cluster_centers_"]), len(entries["palette"])
        labels = values.get("center_labels")
        are_whole = isinstance(labels, list) and all(type(label) is int for label in labels)
        if not are_whole or len(labels) != n_centers or {*labels} != {*range(1, n_labels + 1)}:
            raise ValueError(
                f"center_labels must hold each label from 1 to {n_labels} for {n_centers} "
                f"centers, got {quote_value(labels)}: save the model anew."
            )
        return cls(**entries, center_labels=np.array(labels, np.int64))


def labels_of_centers(model: KMeansModel) -> NDArray[np.int64]:
    """Return the label, 1…K, of each center (M,) of a model."""
    if isinstance(model, MergedModel):
        return model.center_labels
    return np.arange(1, model.n_clusters + 1)


def merge_similar(
    segmentation: Segmentation, distance: float = 0.0, min_share: float = 0.0
) -> Segmentation:
    """Join the clusters of similar colors, then those that are small.

    Parameters
    ----------
    segmentation : Segmentation
        What `segment` returned.
    distance : float, default 0
        Colors at most so far apart join, in CIEDE2000 for RGB: about 2 can
        just be told apart side by side, black and white are 100 apart; see
        `merge_tree`.
    min_share : float, default 0
        Clusters below this fraction of the pixels join the one of the nearest
        color.

    Returns
    -------
    Segmentation
        See `merge_clusters`.

    Raises
    ------
    ValueError
        As `merge_tree` does.

    Examples
    --------
    >>> from skimage import data
    >>> merged = merge_similar(segment(data.coffee(), 32), distance=10, min_share=0.01)
    """
    model, pixels = segmentation.model, segmentation.table["pixels"]
    groups = cut(merge_tree(model, pixels), distance)
    return merge_clusters(segmentation, join_small(model, pixels, min_share, groups))


def merge_clusters(segmentation: Segmentation, groups: Any) -> Segmentation:
    """Join clusters.

    Parameters
    ----------
    segmentation : Segmentation
        What `segment` returned, or this function. It is not changed.
    groups : (K,) array of int
        Clusters with the same number become one; the first number is that of label 1.

    Returns
    -------
    Segmentation
        With labels numbered from dark to bright anew; each joined cluster in
        the mean color of its pixels; a `MergedModel`, whose `predict` gives
        the joined labels. The coreset, the distortion and the options are
        those of the fit. Columns of the table that `segment` did not make
        are those of the largest part.

    Raises
    ------
    ValueError
        If `groups` are not one whole number for each cluster.
    """
    model, table = segmentation.model, segmentation.table
    groups = _renumbered(_checked_groups(groups, model.n_clusters))
    pixels = table["pixels"].to_numpy()
    palette = _means(model.palette, pixels.astype(np.float64), groups)
    order = sort_dark_to_bright(palette, model.rgb)
    new_labels = np.argsort(order)[groups] + 1
    merged = _merged_model(model, palette[order], new_labels)
    labels, recolored = _repainted(segmentation, merged, np.append(0, new_labels))
    return replace(
        segmentation,
        labels=labels,
        recolored=recolored,
        model=merged,
        table=_merged_table(table, merged, new_labels),
    )


def _merged_model(model: KMeansModel, palette: Floats, new_labels: Groups) -> MergedModel:
    new = new_labels[labels_of_centers(model) - 1]
    values = {**vars(model), "palette": palette, "center_labels": new}
    return MergedModel(**values)


def _merged_table(table: pd.DataFrame, model: MergedModel, new_labels: Groups) -> pd.DataFrame:
    pixels = table["pixels"].to_numpy()
    counts = np.bincount(new_labels - 1, pixels).astype(np.int64)
    # For each label, its largest part: sorted by label, then by pixels downwards.
    parts = np.lexsort([-pixels, new_labels])
    largest = parts[np.searchsorted(new_labels[parts], np.arange(1, len(counts) + 1))]
    merged = table.iloc[largest].reset_index(drop=True)
    merged["index"] = np.arange(1, len(counts) + 1)
    merged["pixels"], merged["percent"] = counts, 100 * counts / counts.sum()
    means = [name for name in table.columns if str(name).startswith("mean ")]
    merged[means] = model.palette
    merged["color"] = to_hex(model.colors)
    return merged


def _repainted(segmentation: Segmentation, model: MergedModel, names: Groups) -> tuple[Any, Any]:
    """Return labels and recolored image with each label's new name and color."""
    dtype = label_dtype(model.n_clusters)
    axis = None if model.rgb else model.channel_axis
    pixels = open_pixels(segmentation.recolored, rgb=model.rgb, channel_axis=axis)
    if pixels.is_lazy:
        labels, recolored = _repainted_lazily(segmentation.labels, pixels.array, model, names)
    else:
        painter = RelabelPainter(
            model.palette,
            model.space,
            known_labels=segmentation.labels,
            new_labels=names.astype(dtype),
        )
        labels, recolored = paint(pixels, painter, model.palette)
    return labels, pixels.channels_back(recolored)


def _repainted_lazily(labels: Any, image: Any, model: MergedModel, names: Groups) -> Any:
    names = names.astype(label_dtype(model.n_clusters))
    renamed = labels.map_blocks(names.__getitem__, dtype=names.dtype)
    return renamed, recolor_lazily(renamed, round_to(model.palette, model.dtype), image)
