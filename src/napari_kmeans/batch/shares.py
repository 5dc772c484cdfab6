"""The shares of the classes in the images of a study, and their comparison between groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.measurement_table import CLASS, COLOR, IMAGE, REGION
from napari_kmeans.measuring import COUNT_COLUMNS, IGNORED, NAME, UNDECIDED, percentages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

PIXELS = COUNT_COLUMNS[1]
"""The column of the numbers of pixels."""

_MAX_PAIRS = 10_000
"""The product of the sizes of two groups up to which the exact distribution of U is computed
where no shares are equal. It takes 0.1 seconds there."""

_MAX_DIVISIONS = 20_000
"""The number of ways to divide the images into two groups up to which all of them are tried where
shares are equal. It takes 0.2 seconds there: the ways of two groups of 8 images."""


@dataclass(frozen=True)
class ShareTable:
    """The share of each class in each image, over all regions and slices of the image.

    Attributes
    ----------
    images : tuple of str
        The names of the images that have rows in the table of measurements.
    groups : tuple of str or None
        The group of each image.
    n_regions : int
        The largest number of regions of an image.
    labels : tuple of int
        The numbers of the classes, ascending.
    names : tuple of str
        The name of each class; "" without a name.
    ignored : (K,) bool array
        The classes that do not count.
    colors : (N, K) array of str
        The color of each class in each image as #rrggbb. They differ between images
        that have models of their own.
    pixels : (N, K) int64 array
    """

    images: tuple[str, ...]
    groups: tuple[str | None, ...]
    n_regions: int
    labels: tuple[int, ...]
    names: tuple[str, ...]
    ignored: NDArray[np.bool_]
    colors: NDArray[Any]
    pixels: NDArray[np.int64]

    @cached_property
    def percent(self) -> Floats:
        """The shares in percent of the counted pixels, (N, K) float64.

        They are NaN for ignored classes, and for images without counted pixels.
        """
        shares = np.full(self.pixels.shape, np.nan)
        for row, pixels in enumerate(self.pixels):
            if pixels[~self.ignored].sum():
                shares[row] = percentages(pixels, self.ignored)
        return shares

    @property
    def counted(self) -> list[int]:
        """The indices of the classes that are not ignored."""
        return np.flatnonzero(~self.ignored).tolist()

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The names of the groups, in the order of their first image."""
        return tuple(dict.fromkeys(group for group in self.groups if group is not None))

    def of_group(self, group: str | None) -> Floats:
        """Return the shares of the images of a group that have counted pixels, (n, K).

        None returns those of all images.
        """
        return self.percent[self.rows_of(group)]

    def rows_of(self, group: str | None) -> list[int]:
        """Return the indices of the images of a group, or of all, that have counted pixels."""
        has_pixels = self.pixels[:, ~self.ignored].sum(axis=1) > 0
        return [
            row
            for row, each in enumerate(self.groups)
            if has_pixels[row] and (group is None or each == group)
        ]


def tally_shares(table: pd.DataFrame, images: Sequence[Mapping[str, Any]]) -> ShareTable:
    """Return the shares of the classes in each image.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of measurements of a study, with the columns `image`, `class` and `pixels`.
        Rows of several regions or slices of an image are summed.
    images : sequence of mapping
        The images in the record of the run. They give the order and the groups.
    """
    rows = table if len(table) else table.reindex(columns=[IMAGE, CLASS, PIXELS])
    sums = rows.groupby([IMAGE, CLASS], sort=True)[PIXELS].sum().unstack(fill_value=0)
    names = [name for name in dict.fromkeys(each["name"] for each in images) if name in sums.index]
    labels = [int(label) for label in sums.columns]
    by_class = rows.groupby(CLASS)
    groups = {each["name"]: each.get("group") for each in images}
    return ShareTable(
        tuple(names),
        tuple(None if groups[name] is None else str(groups[name]) for name in names),
        int(rows.groupby(IMAGE)[REGION].nunique().max()) if REGION in rows and len(rows) else 1,
        tuple(labels),
        tuple(_class_names(rows, labels)),
        by_class[IGNORED].any().to_numpy(bool) if IGNORED in rows else np.zeros(len(labels), bool),
        _class_colors(rows, names, labels),
        sums.reindex(names).to_numpy(np.int64).reshape(len(names), len(labels)),
    )


def _class_names(rows: pd.DataFrame, labels: Sequence[int]) -> list[str]:
    if NAME not in rows:
        return [""] * len(labels)
    named = rows[rows[NAME].notna() & (rows[NAME].astype(str) != "")]
    first = named.groupby(CLASS)[NAME].first().to_dict()
    return [str(first.get(label, "")) for label in labels]


def _class_colors(rows: pd.DataFrame, names: Sequence[str], labels: Sequence[int]) -> NDArray[Any]:
    """Return the color of each class in each image; a class without rows there has its first."""
    shape = (len(names), len(labels))
    if COLOR not in rows or not labels:
        return np.full(shape, "#808080", object)
    by_class = rows.groupby(CLASS)[COLOR].first().to_dict()
    of_image = rows.groupby([IMAGE, CLASS])[COLOR].first().to_dict()
    colors = [of_image.get((name, label), by_class[label]) for name in names for label in labels]
    return np.array(colors, object).reshape(shape)


def find_undecided(table: pd.DataFrame) -> dict[str, float]:
    """Return the share of undecided pixels of each image in percent, by the name of the image.

    It is that of all pixels with a class and of all undecided pixels, in all regions of the image.
    Empty if the model leaves no pixels undecided.
    """
    if UNDECIDED not in table:
        return {}
    sums = table.groupby(IMAGE, sort=False)[[PIXELS, UNDECIDED]].sum()
    shares = 100 * sums[UNDECIDED] / sums.sum(axis=1).clip(lower=1)
    return {str(name): float(share) for name, share in shares.items()}


def describe_undecided(shares: Mapping[str, float]) -> str:
    """Return the shares of `find_undecided` as the end of a sentence about pixels."""
    largest = max(shares, key=shares.__getitem__)
    if len(shares) == 1:
        return f"{shares[largest]:.2f} % of the image"
    mean = sum(shares.values()) / len(shares)
    return f"on average {mean:.2f} % of an image, at most {shares[largest]:.2f} % ({largest})"


class Summary(NamedTuple):
    """The number of images, and the mean and the standard deviation of their shares in percent."""

    n: int
    mean: float
    sd: float
    """With n - 1 in the denominator; NaN for fewer than two images."""


def summarize_shares(shares: Floats) -> Summary:
    """Return the summary of the shares (n,) of one class."""
    mean = float(shares.mean()) if len(shares) else np.nan
    return Summary(len(shares), mean, float(shares.std(ddof=1)) if len(shares) > 1 else np.nan)


class Difference(NamedTuple):
    """The mean of the second group minus that of the first, and its 95 % confidence interval.

    The interval is NaN if the shares of both groups do not vary.
    """

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """The test of two or more groups.

    Attributes
    ----------
    p_value : float
    method : str
        "exact", "normal" or "chi-squared": the distribution.
    statistic : float
        U of the first group for two groups, H for more.
    difference : Difference or None
        Of two groups.
    """

    p_value: float
    method: str
    statistic: float
    difference: Difference | None = None


def compare_groups(samples: Sequence[Floats]) -> Comparison | None:
    """Compare the shares of one class between groups.

    Parameters
    ----------
    samples : sequence of (n,) float64 array
        The shares of the images of each group.

    Returns
    -------
    Comparison or None
        Of the Mann-Whitney U test (two-sided) for two groups [1]_, with the difference of the
        means after Welch [2]_, and of the Kruskal-Wallis test [3]_ for more. The first is
        exact for small groups. None if a group has fewer than two images, or if all shares
        are equal.

    References
    ----------
    .. [1] H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is
       stochastically larger than the other", 1947, doi:10.1214/aoms/1177730491
    .. [2] B. L. Welch, "The generalization of 'Student's' problem when several different
       population variances are involved", 1947, doi:10.1093/biomet/34.1-2.28
    .. [3] W. H. Kruskal, W. A. Wallis, "Use of ranks in one-criterion variance analysis", 1952,
       doi:10.1080/01621459.1952.10483441
    """
    from scipy import stats

    if len(samples) < 2 or min(map(len, samples)) < 2 or np.ptp(np.concatenate(samples)) == 0:
        return None
    if len(samples) > 2:
        result = stats.kruskal(*samples)
        return Comparison(float(result.pvalue), "chi-squared", float(result.statistic))
    first, second = samples
    method = _choose_method(first, second)
    result = stats.mannwhitneyu(first, second, alternative="two-sided", method=method)
    return Comparison(
        float(result.pvalue),
        "normal" if method == "asymptotic" else "exact",
        float(result.statistic),
        estimate_difference(first, second),
    )


def estimate_difference(first: Floats, second: Floats) -> Difference:
    """Return the difference of the means of two samples, with its interval after Welch."""
    from scipy import stats

    mean = float(second.mean() - first.mean())
    parts = np.array([each.var(ddof=1) / len(each) for each in (first, second)])
    # scipy's `ttest_ind` warns about samples that hardly vary.
    if not parts.any():
        return Difference(mean, np.nan, np.nan)
    freedom = parts.sum() ** 2 / (parts**2 / [len(first) - 1, len(second) - 1]).sum()
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    return Difference(mean, mean - half, mean + half)


def compare_classes(shares: ShareTable) -> dict[int, Comparison | None]:
    """Return the comparison of the groups for the index of each counted class."""
    values = [shares.of_group(group) for group in shares.group_names]
    return {
        number: compare_groups([each[:, number] for each in values]) for number in shares.counted
    }


def count_tests(tests: Mapping[int, Comparison | None]) -> int:
    """Return the number of comparisons: two classes whose shares add up to 100 % give one."""
    n_tests = sum(test is not None for test in tests.values())
    return 1 if len(tests) == 2 and n_tests else n_tests


def _choose_method(first: Floats, second: Floats) -> Any:
    from scipy import stats

    everything = np.concatenate([first, second])
    has_ties = len(np.unique(everything)) < len(everything)
    if not has_ties:
        return "exact" if len(first) * len(second) <= _MAX_PAIRS else "asymptotic"
    n_divisions = comb(len(everything), len(first))
    # With at least as many resamples as divisions, all divisions are tried.
    if n_divisions <= _MAX_DIVISIONS:
        return stats.PermutationMethod(n_resamples=_MAX_DIVISIONS)
    return "asymptotic"
