"""Tables of clusters, and the merging of their rows."""

import numpy as np
import pandas as pd
import pytest

from napari_kmeans import segment
from napari_kmeans.measuring import (
    channel_means,
    cluster_table,
    merge_rows,
    percentages,
    weighted_means,
)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "index": [1, 2, 3, 4],
            "pixels": [10, 30, 0, 60],
            "percent": [10.0, 30.0, 0.0, 60.0],
            "mean red": [0.0, 100.0, 7.0, 50.0],
            "mean green": [4.0, 8.0, 9.0, 1.0],
            "name": ["a", "b", "c", "d"],
        }
    )


def test_merged_rows_have_the_sums_of_pixels_and_the_means_of_pixels(table):
    merged = merge_rows(table, [5, 5, 5, 2])
    assert merged["pixels"].tolist() == [60, 40]
    assert merged["percent"].tolist() == [60, 40]
    np.testing.assert_allclose(channel_means(merged), [[50, 1], [75, 7]])
    assert merged["name"].tolist() == ["d", "b"]
    assert table["pixels"].tolist() == [10, 30, 0, 60]


def test_classes_without_pixels_have_no_part_in_merged_means(table):
    table.loc[2, ["mean red", "mean green"]] = np.nan
    np.testing.assert_allclose(channel_means(merge_rows(table, [5, 5, 5, 2])), [[50, 1], [75, 7]])
    merged = merge_rows(table, [1, 2, 3, 3])
    assert merged["mean red"].tolist() == [0, 100, 50]
    assert merge_rows(table, [1, 2, 3, 4])["mean red"].isna().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("name", ["area", "volume"])
def test_merged_rows_have_the_sums_of_areas_or_volumes(table, name):
    described = table.assign(**{name: table["pixels"] * 0.5, "unit": "µm²"})
    merged = merge_rows(described, [5, 5, 5, 2])
    assert merged[name].tolist() == [30, 20]
    assert merged["unit"].tolist() == ["µm²", "µm²"]


def test_rows_without_pixels_are_averaged():
    means = weighted_means(
        np.array([[1.0], [3.0], [8.0]]), np.array([0, 0, 5]), np.array([0, 0, 1])
    )
    assert means.tolist() == [[2], [8]]


def test_percentages_of_no_pixels_are_zero():
    assert percentages(np.zeros(3, np.int64)).tolist() == [0, 0, 0]


def test_the_table_of_a_model_without_counts_has_means_and_colors():
    image = np.array([[0, 0], [200, 200]], np.uint8)
    result = segment(image, 2)
    palette = cluster_table(result.model)
    assert palette.columns.tolist() == ["index", "mean intensity", "color"]
    pd.testing.assert_frame_equal(palette, result.table[palette.columns.tolist()])
