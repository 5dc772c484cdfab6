"""Tables of clusters: one row for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.colors import to_hex

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.types import Floats

COUNT_COLUMNS = ("index", "pixels", "percent")
"""The first columns of a table of clusters whose pixels were counted."""

COLOR_COLUMN = "color"
"""The last column of a table of clusters."""

MEAN_PREFIX = "mean "
"""A column of channel means has this prefix, followed by the name of the channel."""


def cluster_table(model: KMeansModel, counts: NDArray[np.int64] | None = None) -> pd.DataFrame:
    """Return the table of the clusters of a model.

    Parameters
    ----------
    model : KMeansModel
    counts : (K,) int64 array, optional
        The number of pixels of each label; None leaves the two columns out.

    Returns
    -------
    pandas.DataFrame
        With the columns `index` (the label), `pixels`, `percent` (of all counted
        pixels), the mean of each channel in channel units, and `color` as #rrggbb.
    """
    import pandas as pd

    index, pixels, percent = COUNT_COLUMNS
    columns: dict[str, Any] = {index: np.arange(1, model.n_clusters + 1)}
    if counts is not None:
        columns |= {pixels: counts, percent: percentages(counts)}
    for name, means in zip(channel_names(model), model.palette.T, strict=True):
        columns[MEAN_PREFIX + name] = means
    return pd.DataFrame({**columns, COLOR_COLUMN: to_hex(model.colors)})


def channel_names(model: KMeansModel) -> list[str]:
    """Return the names of the channels of a model's images."""
    if model.rgb:
        return ["red", "green", "blue"]
    if model.channel_axis is None:
        return ["intensity"]
    return [f"channel {number}" for number in range(model.n_channels)]


def percentages(counts: Any) -> Any:
    """Return numbers of pixels in percent of their sum; zeros if there is no pixel."""
    return 100 * counts / max(counts.sum(), 1)


def mean_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns of channel means."""
    return [str(name) for name in table if str(name).startswith(MEAN_PREFIX)]


def channel_means(table: pd.DataFrame) -> Floats:
    """Return the channel means of each row, (K, C)."""
    return table[mean_columns(table)].to_numpy(np.float64)


def merge_rows(table: pd.DataFrame, groups: Sequence[int] | NDArray[Any]) -> pd.DataFrame:
    """Merge the rows of a table that belong to the same group.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns `pixels` and `percent`.
    groups : (n,) integers
        The group of each row.

    Returns
    -------
    pandas.DataFrame
        One row for each group, in ascending order of the groups' numbers. Pixels are
        summed and channel means are weighted by pixels; percentages are computed again from
        the pixels. The other columns have the value of the row with the most pixels.
    """
    pixels = table["pixels"].to_numpy()
    _, numbers = np.unique(groups, return_inverse=True)
    n_groups = numbers.max() + 1
    # Sort by group, and within a group by pixels, the largest first.
    order = np.lexsort([-pixels, numbers])
    largest = order[np.searchsorted(numbers[order], np.arange(n_groups))]
    merged = table.iloc[largest].reset_index(drop=True)
    counts = np.bincount(numbers, pixels).astype(np.int64)
    merged["pixels"], merged["percent"] = counts, percentages(counts)
    merged[mean_columns(table)] = weighted_means(channel_means(table), pixels, numbers)
    return merged


def weighted_means(values: Floats, weights: NDArray[Any], groups: NDArray[np.int64]) -> Floats:
    """Return the weighted mean (G, C) of the rows (n, C) of each group 0…G-1.

    If all weights of a group are 0, its rows get equal weights.
    """
    weights = np.where(np.bincount(groups, weights)[groups] > 0, weights, 1.0)
    sums = [np.bincount(groups, weights * column) for column in values.T]
    return np.stack(sums, axis=-1) / np.bincount(groups, weights)[:, None]
