"""Edit the classes of a result: merge by the tree of colors, by size, in groups, or by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.checks import LARGEST, RealNumber, as_numbers, check_result, quote_value
from napari_kmeans.execution.progress import part_of
from napari_kmeans.feature_space.colors import has_known_white, rgb_to_lab
from napari_kmeans.imaging.blocks import are_several, open_pixels
from napari_kmeans.imaging.colors import channel_ranges, display_colors, sort_dark_to_bright, to_hex
from napari_kmeans.imaging.painting import (
    RelabelPainter,
    label_dtype,
    paint,
    recolor_lazily,
    renumber_labels,
    round_to,
)
from napari_kmeans.imaging.tally import add_tallies, weighted_means
from napari_kmeans.measuring import (
    IGNORED,
    NAME,
    class_columns,
    cluster_table,
    mean_columns,
    merge_rows,
    percentages,
    place_class_columns,
)
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation

if TYPE_CHECKING:
    from napari_kmeans.classes import ClassScheme, ColorClass
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.types import Floats

Groups: TypeAlias = NDArray[np.int64]

_MAX_COLORS = 2048
"""The tree compares every color with every other: a matrix of 32 MiB for 2048 colors."""

_DIGITS = 9
"""Decimal digits of display colors that are compared: float32 has fewer."""


CLOSE = 10.0
"""The largest distance of colors, as in `merge_tree`, over which the name of a class is carried.

It was found with the clusters of 9 photographs, leaves and tissues, for 3 to 10 clusters in three
color spaces. Without a limit, 97 % of the pairs that `carry_classes` made were closer. Of these,
94 % shared at least a third of their pixels, and of the pairs beyond 12 fewer than half.
"""


@dataclass(frozen=True, eq=False)
class MergeTree:
    """The order in which clusters of similar colors merge, one pair after the other.

    Attributes
    ----------
    pairs : (K - 1, 2) int64 array
        The two groups that merge in each step. 0 to K - 1 are the single clusters,
        K + i is the group that step i made.
    heights : (K - 1,) float64 array
        The distance of the two groups of each step, at least that of the step before.
        Infinite if the step would merge an ignored class.
    """

    pairs: NDArray[np.int64]
    heights: Floats

    @property
    def n_clusters(self) -> int:
        """The number K of clusters before any merge."""
        return len(self.pairs) + 1


def merge_tree(colors: KMeansModel | Any, shares: Any) -> MergeTree:
    """Build the tree in which clusters of similar colors merge.

    Parameters
    ----------
    colors : KMeansModel or (K, 3) array
        The display colors of the clusters; an array holds red, green and blue from
        0 to 1.
    shares : (K,) array
        The number of pixels of each cluster, or their percentage. All are positive.

    Returns
    -------
    MergeTree
        The last merges, at an infinite distance, are those of the classes that a model
        ignores: `cut_tree` never makes them. Other distances go from 0 to about 100, the
        distance of black and white: CIEDE2000 [1]_ for RGB. For gray and other channels the
        distance is the root of the mean squared difference of the display colors, in
        percent.

    Raises
    ------
    ValueError
        If there are more than 2048 colors, if the shares are not one positive number for
        each color, or if the model is of RGB in integers of more than 16 bits.

    Notes
    -----
    In each step the two nearest groups merge. The distance of two groups is the
    distance of their mean colors, weighted by share (centroid linkage). The mean
    color is the display color of the merged cluster. A large cluster moves the mean
    toward its color. The distance itself does not depend on the shares.
    The mean of a new group may lie nearer to a third group than its two members did.
    The next step then has a smaller distance, and its height is raised to that of the
    step before. So a cut
    at a smaller distance never merges clusters that a cut at a larger one separates.

    References
    ----------
    .. [1] G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 color-difference
       formula", :doi:`10.1002/col.20070`.
    """
    nodes = _Nodes.of(colors, shares)
    n = len(nodes.weights)
    distances = np.stack([nodes.distances_from(i) for i in range(n)])
    np.fill_diagonal(distances, np.inf)
    ignored = _find_ignored(colors, n)
    distances[ignored], distances[:, ignored] = np.inf, np.inf
    groups = np.arange(n)
    pairs, heights = np.empty((n - 1, 2), np.int64), np.full(n - 1, np.inf)
    n_steps = max(int((~ignored).sum()) - 1, 0)
    for step in range(n_steps):
        a, b = sorted(divmod(int(distances.argmin()), n))
        pairs[step], heights[step] = (groups[a], groups[b]), distances[a, b]
        nodes.merge(a, b)
        groups[a] = n + step
        is_gone = np.isinf(distances[a])
        distances[a] = np.where(is_gone, np.inf, nodes.distances_from(a))
        distances[:, a] = distances[a]
        distances[b], distances[:, b] = np.inf, np.inf
    remaining = np.setdiff1d(np.arange(n + n_steps), pairs[:n_steps])
    for step in range(n_steps, n - 1):
        pairs[step] = remaining[:2]
        remaining = np.append(remaining[2:], n + step)
    return MergeTree(pairs, np.maximum.accumulate(heights))


def can_compare_colors(model: KMeansModel) -> bool:
    """Return whether the colors of a model can be compared; see `has_known_white`."""
    return not model.rgb or has_known_white(model.dtype)


def cut_tree(tree: MergeTree, distance: float) -> Groups:
    """Return the group (K,) of each cluster after all merges up to a distance.

    Ignored classes never merge.
    Groups are numbered from 0 in the order of their first clusters.
    """
    members = [[cluster] for cluster in range(tree.n_clusters)]
    for a, b in tree.pairs[(tree.heights <= distance) & np.isfinite(tree.heights)]:
        members.append(members[a] + members[b])
    groups = np.empty(tree.n_clusters, np.int64)
    # Later groups include earlier ones, so the last number that a cluster gets is right.
    for number, clusters in enumerate(members):
        groups[clusters] = number
    return _renumber_groups(groups)


def merge_small(
    colors: KMeansModel | Any, shares: Any, min_share: float, groups: Any = None
) -> Groups:
    """Merge each group below a share with the group of the nearest color, the smallest first.

    The classes that a model ignores never merge, and do not count in the shares.

    Parameters
    ----------
    colors, shares
        As in `merge_tree`.
    min_share : float
        A fraction, from 0 to 1, of the sum of the shares.
    groups : (K,) array of int, optional
        The groups to begin with; None begins with a group for each cluster.

    Returns
    -------
    (K,) int64 array
        The group of each cluster. No group is below `min_share`, unless it is the only
        group or ignored.
    """
    nodes = _Nodes.of(colors, shares)
    n = len(nodes.weights)
    groups = np.arange(n) if groups is None else _renumber_groups(_check_groups(groups, n))
    is_counted = np.bincount(groups, _find_ignored(colors, n)) == 0
    nodes = nodes.merged_in(groups)
    min_weight = min_share * nodes.weights[is_counted].sum()
    present = is_counted.copy()
    while present.sum() > 1:
        small = int(np.where(present, nodes.weights, np.inf).argmin())
        if nodes.weights[small] >= min_weight:
            break
        distances = np.where(present, nodes.distances_from(small), np.inf)
        distances[small] = np.inf
        nearest = int(distances.argmin())
        nodes.merge(nearest, small)
        present[small] = False
        groups[groups == small] = nearest
    return _renumber_groups(groups)


def _find_ignored(colors: KMeansModel | Any, n: int) -> NDArray[np.bool_]:
    """Return whether each of n clusters is an ignored class of a model, (n,)."""
    if isinstance(colors, KMeansModel) and colors.edited_classes is not None:
        return colors.edited_classes.ignored
    return np.zeros(n, np.bool_)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Display colors (n, 3) from 0 to 1 and their weights (n,); both change with each merge."""

    colors: Floats
    weights: Floats
    rgb: bool

    @classmethod
    def of(cls, colors: KMeansModel | Any, shares: Any) -> _Nodes:
        rgb = not isinstance(colors, KMeansModel) or colors.rgb
        rows = as_numbers(colors.colors if isinstance(colors, KMeansModel) else colors)
        weights = as_numbers(shares)
        if isinstance(colors, KMeansModel) and not can_compare_colors(colors):
            raise ValueError(
                "colors must be of a model whose dtype states what full brightness is, got one of "
                f"{colors.dtype}: segment the image in the unsigned dtype of its range, such as "
                "np.uint8 for 0 to 255 or np.uint16 for 0 to 65535."
            )
        is_table = rows is not None and rows.ndim == 2 and rows.shape[1] == 3
        if rows is None or not is_table or not 1 <= len(rows) <= _MAX_COLORS:
            raise ValueError(
                f"colors must be 1 to {_MAX_COLORS} rows of red, green and blue, got "
                f"{quote_value(colors if rows is None else rows)}: pass fewer clusters, or a model."
            )
        if weights is None or weights.shape != rows.shape[:1] or not (weights > 0).all():
            raise ValueError(
                f"shares must be {len(rows)} positive numbers, one for each color, got "
                f"{quote_value(shares)}: pass the number of pixels of each cluster."
            )
        # The last digits of a mean depend on the order in which pixels were added. They must not
        # decide which of several equal colors is the nearest.
        return cls(rows.astype(np.float64).round(_DIGITS), weights.astype(np.float64), rgb)

    def distances_from(self, index: int) -> Floats:
        """Return the distance of each color from one of them, (n,)."""
        if not self.rgb:
            squares = ((self.colors - self.colors[index]) ** 2).mean(axis=1)
            return np.asarray(100 * np.sqrt(squares))
        from skimage.color import deltaE_ciede2000

        lab = rgb_to_lab(self.colors)
        return np.asarray(deltaE_ciede2000(lab[[index]], lab))

    def merge(self, kept: int, gone: int) -> None:
        """Replace a color by the weighted mean of two, and its weight by their sum."""
        pair = [kept, gone]
        self.colors[kept] = np.average(self.colors[pair], axis=0, weights=self.weights[pair])
        self.weights[kept] += self.weights[gone]
        self.weights[gone] = 0

    def merged_in(self, groups: Groups) -> _Nodes:
        """Return the mean color and the weight of each group."""
        weights = np.bincount(groups, self.weights).astype(np.float64)
        return replace(
            self, colors=weighted_means(self.colors, self.weights, groups), weights=weights
        )


def _renumber_groups(groups: Groups) -> Groups:
    """Return the groups, numbered from 0 in the order of their first members."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _check_groups(groups: Any, n_clusters: int) -> Groups:
    array = as_numbers(groups)
    if array is None or array.shape != (n_clusters,) or array.dtype.kind not in "ui":
        raise ValueError(
            f"groups must be {n_clusters} whole numbers, one for each cluster, got "
            f"{quote_value(groups)}: give clusters that are to be merged the same number."
        )
    return array.astype(np.int64)


def merge_similar(
    segmentation: Segmentation, distance: float = 0.0, min_share: float = 0.0
) -> Segmentation:
    """Merge clusters of similar colors, then small clusters.

    Ignored classes never merge: their pixels would enter the shares, or other pixels would
    leave them. `merge_clusters` and `ClassScheme.merge` merge them.

    Parameters
    ----------
    segmentation : Segmentation
        The result of `segment`. It is not changed.
    distance : float, default 0
        The largest distance of two colors that merge, in CIEDE2000 for RGB. A
        difference of 2 is just visible between adjacent areas; black and white are 100 apart.
        See `merge_tree`.
    min_share : float, default 0
        A cluster with a smaller fraction of the pixels that count merges with the cluster
        of the nearest color.

    Returns
    -------
    Segmentation
        See `merge_clusters`.

    Raises
    ------
    TypeError
        If `segmentation` is not the result of `segment`.
    ValueError
        If `distance` or `min_share` is out of bounds, if there are more than 2048
        clusters, or if the model is of RGB in integers of more than 16 bits.

    Examples
    --------
    >>> from skimage import data
    >>> merged = merge_similar(segment(data.coffee(), 32), distance=10, min_share=0.01)
    """
    _check_segmentation(segmentation)
    distance = RealNumber(0.0, LARGEST).check("distance", distance)
    min_share = RealNumber(0.0, 1.0).check("min_share", min_share)
    # A class may have lost all its pixels to the cleaning of labels.
    model, pixels = segmentation.model, segmentation.table["pixels"].clip(lower=1)
    groups = cut_tree(merge_tree(model, pixels), distance)
    return merge_clusters(segmentation, merge_small(model, pixels, min_share, groups))


def merge_clusters(
    segmentation: Segmentation, groups: Any, *, renumber: bool = True
) -> Segmentation:
    """Merge clusters in given groups.

    Parameters
    ----------
    segmentation : Segmentation
        The result of `segment`, or of this function. It is not changed.
    groups : (K,) array of int
        The group of each label, that of label 1 first. Clusters with the same number
        become one.
    renumber : bool, default True
        Whether to number the labels from dark to bright again. Otherwise a merged cluster
        keeps the lowest of its labels.

    Returns
    -------
    Segmentation
        With each merged cluster in the mean color of its pixels. `predict` of its model
        gives the merged labels. Names of merged clusters are joined. They keep the display
        color of the first of them, that of the lowest label, and are ignored if the first
        was, as in `ClassScheme.merge`.
        See `apply_classes`.

    Raises
    ------
    TypeError
        If `segmentation` is not the result of `segment`.
    ValueError
        If `groups` are not one whole number for each cluster.
    """
    _check_segmentation(segmentation)
    model, pixels = segmentation.model, segmentation.table["pixels"].to_numpy()
    groups = _renumber_groups(_check_groups(groups, model.n_clusters))
    palette = weighted_means(model.palette, pixels, groups)
    # Groups of equal colors keep their order: they are numbered by their first labels.
    order = sort_dark_to_bright(palette, model.rgb, np.arange(len(palette))[:, None])
    new_labels = np.argsort(order)[groups] + 1
    labels = model.labels.tolist()
    members: list[list[int]] = [[] for _ in palette]
    for label, group in zip(labels, groups, strict=True):
        members[group].append(label)
    classes = model.classes.merge(*(group for group in members if len(group) > 1))
    if not renumber:
        return apply_classes(segmentation, classes)
    renumbered = dict(zip(labels, new_labels.tolist(), strict=True))
    kept = [group[0] for group in members]
    return apply_classes(
        segmentation, classes.renumber({label: renumbered[label] for label in kept})
    )


def apply_classes(
    segmentation: Segmentation,
    classes: ClassScheme,
    *,
    image: Any = None,
    mask: Any = None,
    progress: Report | None = None,
) -> Segmentation:
    """Give a segmentation edited classes: merged, renamed, recolored, ignored or renumbered.

    Parameters
    ----------
    segmentation : Segmentation
        The result of `segment`, or of this function. It is not changed.
    classes : ClassScheme
        An edit of ``segmentation.model.classes``.
    image : array, optional
        The image that was segmented. Its labels are then those that `predict` of the model with
        the classes gives: merged classes are cleaned as one, and pixels that were undecided
        between them get their label. None only renumbers the labels. Both are the same without
        `smoothing`, `min_size`, `min_area` and `min_confidence`.
    mask : array, optional
        The mask of the segmentation, with `image`.
    progress : callable, optional
        ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    Segmentation
        With the labels of the classes, and each merged class in the mean color of its
        pixels. The table has the columns `name` and `ignored` if a class has a name or is
        ignored. `percent` is of the pixels of the classes that are not ignored, and NaN for
        an ignored class. The coreset, the distortion and the options are those of the fit.
        Columns of the table that `segment` did not make have the value of the largest of
        the merged classes.

    Raises
    ------
    TypeError, ValueError
        If `classes` are not those of the model's centers, or if they split a class and there is
        no `image`: the labels do not contain the center of each pixel.

    Examples
    --------
    >>> segmentation = segment(image, 4)
    >>> classes = segmentation.model.classes.merge([2, 3]).rename(2, "soil").ignore(1)
    >>> segmentation = apply_classes(segmentation, classes)
    """
    _check_segmentation(segmentation)
    model, table = segmentation.model, segmentation.table
    edited = _with_pixels(model, table["pixels"].to_numpy()).with_classes(classes)
    first_centers = np.unique(model.center_classes, return_index=True)[1]
    new_labels = edited.center_labels[first_centers]
    splits = bool((new_labels[model.center_classes] != edited.center_labels).any())
    is_cleaned_anew = edited.n_clusters < model.n_clusters and not model.cleaning.is_off
    if image is not None and (splits or is_cleaned_anew):
        return _paint_classes(segmentation, edited, image, mask, progress)
    if splits:
        raise ValueError(
            f"classes must not split those of the segmentation, {model.classes!r}, got "
            f"{classes!r}: apply the model to the image, with "
            "segmentation.model.with_classes(classes).apply(image)."
        )
    columns = class_columns(edited)
    rows = merge_rows(table.drop(columns=[*class_columns(model)], errors="ignore"), new_labels)
    rows["index"], rows["color"] = edited.labels, to_hex(edited.colors)
    rows["percent"] = percentages(rows["pixels"].to_numpy(), columns.get(IGNORED))
    # A script may have added names to the table only.
    own = {name: rows[name] for name in (NAME, IGNORED) if name in rows}
    rows = place_class_columns(rows, {**own, **columns})
    numbers = np.zeros(model.labels[-1] + 1, np.int64)
    numbers[model.labels] = new_labels
    labels, recolored = _repaint(segmentation, edited, numbers)
    return replace(segmentation, labels=labels, recolored=recolored, model=edited, table=rows)


def _paint_classes(
    segmentation: Segmentation, model: KMeansModel, image: Any, mask: Any, progress: Report | None
) -> Segmentation:
    """Return a segmentation whose image, or images, are painted and counted with a model."""
    are_images = isinstance(segmentation.labels, list)
    images = list(image) if are_images and are_several(image) else [image]
    masks = [mask] * len(images) if mask is None or not are_images else list(mask)
    pixels = [model.open(*each) for each in zip(images, masks, strict=True)]
    shapes = [each.shape for each in (segmentation.labels if are_images else [segmentation.labels])]
    if [each.shape for each in pixels] != shapes:
        raise ValueError(
            f"image must have the spatial shape of the labels, {quote_value(shapes)}, got "
            f"{quote_value([each.shape for each in pixels])}: pass the image that was segmented."
        )
    painted = [
        model.paint_and_count(
            each, part_of(progress, number / len(pixels), (number + 1) / len(pixels))
        )
        for number, each in enumerate(pixels)
    ]
    labels, recolored, tallies, undecided = map(list, zip(*painted, strict=True))
    tally = add_tallies(tallies)
    is_decided = not model.cleaning.min_confidence
    table = cluster_table(model, tally.counts, None if is_decided else np.sum(undecided, axis=0))
    # The palette of the model stays that of the fit.
    table[mean_columns(table)] = np.where(tally.counts[:, None] > 0, tally.means, model.palette)
    table.attrs.update(segmentation.table.attrs)
    return replace(
        segmentation,
        labels=labels if are_images else labels[0],
        recolored=recolored if are_images else recolored[0],
        model=model,
        table=table,
    )


def carry_classes(model: KMeansModel, earlier: KMeansModel) -> tuple[ClassScheme, list[ColorClass]]:
    """Return the classes of a new model with the edits of the classes of an earlier model.

    Each center of the new model belongs to the class to which the earlier model assigns its
    color, if a center of this class is within `CLOSE`. So a merged class keeps its centers
    merged. Of several centers in a class of one center, the one of the nearest color gets the
    name and the display color of the class. All centers in an ignored class are ignored. A color
    that is far from all earlier ones is a class of its own.

    Parameters
    ----------
    model : KMeansModel
        A model with one class for each center, which keep their labels.
    earlier : KMeansModel
        A model of images with the same channels, in the same units.

    Returns
    -------
    classes : ClassScheme
    lost : list of ColorClass
        The classes of the earlier model that have no center of the new model.

    Raises
    ------
    ValueError
        If the models have different channels, or channels of different full brightness.
    """
    if (model.rgb, model.n_channels) != (earlier.rgb, earlier.n_channels):
        raise ValueError(
            f"earlier must have the {model.n_channels} channels of the model, got "
            f"{earlier.n_channels}: choose a model of images of the same kind."
        )
    if model.white != earlier.white:
        raise ValueError(
            f"earlier must have the full brightness {model.white:g} of the model, got "
            f"{earlier.white:g}: choose a model of images in the same units."
        )
    class_of_center = _classify_colors(earlier, model.center_palette)
    all_distances = _color_distances(model, earlier)
    classes, lost = model.classes, []
    center_of = {each.label: each.centers[0] for each in classes}
    for old in earlier.classes:
        distances = all_distances[:, list(old.centers)].min(axis=1)
        is_inside = (class_of_center == old.label) & (distances <= CLOSE)
        labels = model.center_labels[is_inside].tolist()
        if not labels:
            lost.append(old)
            continue
        if len(old.centers) > 1 and len(labels) > 1:
            # Keep the label of the class if one of the centers has it.
            kept = old.label if old.label in labels else labels[0]
            classes = classes.merge([kept, *labels])
            labels = [kept]
        heir = min(labels, key=lambda label: distances[center_of[label]])
        # A class of the model may have a name and a color from the mark where it started.
        classes = classes.rename(heir, old.name or classes[heir].name)
        classes = classes.recolor(heir, old.color or classes[heir].color)
        for label in labels:
            classes = classes.ignore(label, old.ignored)
    return classes, lost


def _color_distances(model: KMeansModel, earlier: KMeansModel) -> Floats:
    """Return the distance of each center of a model from each of an earlier one, (M, E).

    It is CIEDE2000 for RGB. For other channels, it is the root of the mean squared difference in
    percent of the range of each channel among all centers.
    """
    n_centers = len(model.center_palette)
    both = np.concatenate([model.center_palette, earlier.center_palette])
    if model.rgb and can_compare_colors(model) and can_compare_colors(earlier):
        from skimage.color import deltaE_ciede2000

        lab = rgb_to_lab(display_colors(both, True, model.dtype))
        return np.asarray(deltaE_ciede2000(lab[:n_centers, None], lab[None, n_centers:]))
    ranges = channel_ranges(both)
    scaled = both / np.where(ranges > 0, ranges, 1)
    squares = (scaled[:n_centers, None] - scaled[None, n_centers:]) ** 2
    return np.asarray(100 * np.sqrt(squares.mean(axis=2)))


def _classify_colors(model: KMeansModel, colors: Floats) -> NDArray[Any]:
    """Return the label (n,) that a model gives to each of some colors (n, C)."""
    # The colors are not neighbors in an image.
    axis = None if model.channel_axis is None else -1
    alone = replace(model.without_neighborhood(), channel_axis=axis)
    pixels = colors if model.rgb or model.channel_axis is not None else colors[:, 0]
    return np.asarray(alone.paint(alone.open(pixels), recolored=False)[0])


def _with_pixels(model: KMeansModel, pixels: NDArray[np.int64]) -> KMeansModel:
    """Return a model with the pixels of its centers, if they are not known, from its classes.

    The first center of a class gets all pixels of the class.
    """
    if model.center_pixels is not None:
        return model
    center_pixels = np.zeros(len(model.cluster_centers_), np.int64)
    center_pixels[np.unique(model.center_classes, return_index=True)[1]] = pixels
    return replace(model, center_pixels=center_pixels)


def _check_segmentation(segmentation: Any) -> None:
    # A stack has a model for each slice, whose clusters cannot be merged together.
    words, remedy = "the result of segment", "segment the image first"
    check_result("segmentation", segmentation, Segmentation, words=words, remedy=remedy)


def _repaint(segmentation: Segmentation, model: KMeansModel, new_labels: Groups) -> tuple[Any, Any]:
    """Return labels and recolored image with the new number and color of each label."""
    labels, recolored = segmentation.labels, segmentation.recolored
    if np.array_equal(new_labels[segmentation.model.labels], segmentation.model.labels):
        return labels, recolored
    if not isinstance(labels, list):
        return _repaint_image(labels, recolored, model, new_labels)
    pairs = zip(labels, recolored, strict=True)
    painted = [_repaint_image(*pair, model, new_labels) for pair in pairs]
    return [each for each, _ in painted], [each for _, each in painted]


def _repaint_image(
    labels: Any, recolored: Any, model: KMeansModel, new_labels: Groups
) -> tuple[Any, Any]:
    palette = model.palette_of_labels
    new_labels = new_labels.astype(label_dtype(len(palette)))
    axis = None if model.rgb else model.channel_axis
    # The recolored image has the alpha and the left-out pixels of the image.
    pixels = open_pixels(recolored, rgb=model.rgb, channel_axis=axis)
    if pixels.is_lazy:
        labels = renumber_labels(labels, new_labels)
        recolored = recolor_lazily(labels, round_to(palette, model.dtype), pixels.array)
    else:
        painter = RelabelPainter(palette, model.space, known_labels=labels, new_labels=new_labels)
        labels, recolored = paint(pixels, painter, palette)
    return labels, pixels.channels_back(recolored)
