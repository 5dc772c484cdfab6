"""Count the pixels of strokes, so that a large layer need not be counted again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.imaging.label_counts import LabelCounts, count_labels
from napari_kmeans.measuring import channel_means, mean_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


class Stroke(NamedTuple):
    """A stroke, fill or polygon of napari, as it is in the history of a layer."""

    item: Sequence[Any]
    sign: int
    """1 if it was painted or repeated, -1 if it was undone."""


def counts_after_strokes(
    table: pd.DataFrame, strokes: Sequence[Stroke], image: NDArray[Any] | None
) -> LabelCounts | None:
    """Return the counts of a table after strokes that it does not count.

    Parameters
    ----------
    table : pandas.DataFrame
        The table before the strokes, with the columns `index` and `pixels`.
    strokes : sequence of Stroke
    image : array, optional
        The pixels of the image, for the means.

    Returns
    -------
    LabelCounts or None
        None if all pixels must be counted: `data_setitem` may change a pixel twice, and the
        pixels that a mean leaves out are not known.
    """
    image = image if mean_columns(table) else None
    parts = [
        (part, sign * stroke.sign)
        for stroke in strokes
        for atom in stroke.item
        for part, sign in _count_atom(atom, image)
    ]
    if any(part is None for part, _ in parts):
        return None
    before = _counts_in(table, image is not None)
    labels = np.unique(np.concatenate([before.labels, *(part.labels for part, _ in parts)]))
    pixels = np.zeros(len(labels), np.int64)
    sums = np.zeros((len(labels), 0 if before.means is None else before.means.shape[1]))
    for part, sign in [(before, 1), *parts]:
        rows = np.searchsorted(labels, part.labels)
        pixels[rows] += sign * part.pixels
        if part.means is not None:
            sums[rows] += sign * np.where(
                part.pixels[:, None] > 0, part.pixels[:, None] * part.means, 0
            )
    # A label without pixels has no mean, and its sum is a rounding error.
    n_pixels = np.where(pixels > 0, pixels, np.nan)
    means = None if image is None else sums / n_pixels[:, None]
    return LabelCounts(labels, pixels, means)


def _counts_in(table: pd.DataFrame, with_means: bool) -> LabelCounts:
    """Return the counts that a table contains."""
    means = channel_means(table) if with_means else None
    return LabelCounts(table["index"].to_numpy(), table["pixels"].to_numpy(), means)


def _count_atom(atom: Any, image: NDArray[Any] | None) -> list[tuple[Any, int]]:
    """Return the counts of the pixels of a part of a stroke: those after it, and those before.

    None in place of counts if they are not known.
    """
    if not hasattr(atom, "slice_key"):
        return [(None, 1)]
    old = np.asarray(atom.old_values)
    values = None
    if image is not None:
        region = image[atom.slice_key]
        values = region.reshape(old.size, -1) if atom.mask is None else region[atom.mask]
        if not np.isfinite(values).all():
            return [(None, 1)]
    old = old.reshape(-1)
    return [
        (count_labels(np.full_like(old, atom.new_value), values), 1),
        (count_labels(old, values), -1),
    ]
