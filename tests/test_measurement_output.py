"""pivot_measurements and write_measurements: rows, headings and files."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_kmeans import measure, pivot_measurements, segment, write_measurements


@pytest.fixture(scope="module")
def table():
    """Return a table of two images with two regions and the classes 1, "soil" and 3."""
    image = np.repeat(np.array([10, 100, 250], np.uint8), [5, 3, 2])[None]
    segmentation = segment([image, image[:, ::-1]], 3)
    model = segmentation.model.with_classes(segmentation.model.classes.rename(2, "soil"))
    regions = [np.array([[1] * 5 + [2] * 5])] * 2
    return measure(
        replace(segmentation, model=model), regions=regions, names=["b.tif", "a.tif"], spacing=2
    )


def test_pivoted_table_has_a_row_for_each_image_and_region(table):
    wide = pivot_measurements(table)
    assert list(wide) == ["image", "region", "1", "soil", "3"]
    assert wide.to_numpy().tolist() == [
        ["b.tif", "1", 100, 0, 0],
        ["b.tif", "2", 0, 60, 40],
        ["a.tif", "1", 0, 60, 40],
        ["a.tif", "2", 100, 0, 0],
    ]
    areas = pivot_measurements(table, "area")
    assert areas["soil"].tolist() == [0, 12, 12, 0]
    by_pandas = table.pivot(index=["image", "region"], columns="class", values="area")
    for label, heading in ((1, "1"), (2, "soil"), (3, "3")):
        found = areas.set_index(["image", "region"])[heading].sort_index()
        assert found.tolist() == by_pandas[label].sort_index().tolist()


def test_headings_differ_and_missing_classes_and_metadata_are_nan(table):
    same = table.assign(name=["soil", "soil", ""] * 4)
    assert list(pivot_measurements(same))[2:] == ["soil (1)", "soil (2)", "3"]
    named = table.assign(name=table["name"].replace("soil", "region"))
    assert list(pivot_measurements(named))[2:] == ["1", "region (2)", "3"]
    fewer = table[~((table["image"] == "a.tif") & (table["class"] == 3))].copy()
    fewer.insert(1, "patient", np.where(fewer["image"] == "a.tif", None, "x"))
    wide = pivot_measurements(fewer)
    assert list(wide)[:3] == ["image", "patient", "region"]
    assert wide["3"].isna().tolist() == [False, False, True, True]
    assert len(wide) == 4


def test_csv_file_has_the_rows_of_the_table(table, tmp_path):
    path = tmp_path / "table.csv"
    write_measurements(table, path)
    found = pd.read_csv(path, keep_default_na=False, dtype={"region": str})
    assert found[["image", "region", "name", "pixels"]].equals(
        table[["image", "region", "name", "pixels"]]
    )
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


def test_parquet_needs_pyarrow(table, tmp_path):
    path = tmp_path / "table.parquet"
    if find_spec("pyarrow") is None:
        with pytest.raises(ValueError, match="pyarrow is not installed"):
            write_measurements(table, path)
        assert not list(tmp_path.iterdir())
    else:
        write_measurements(table, path)
        pd.testing.assert_frame_equal(pd.read_parquet(path), table, check_dtype=False)


def test_arguments_that_cannot_be_used_are_refused(table, tmp_path):
    with pytest.raises(ValueError, match="column must be a column of values"):
        pivot_measurements(table, "image")
    with pytest.raises(ValueError, match="column must be a column of values"):
        pivot_measurements(table, ["percent"])
    with pytest.raises(ValueError, match="one row for each image, region and class"):
        pivot_measurements(pd.concat([table, table]))
    with pytest.raises(TypeError, match="table must be a table of measurements"):
        pivot_measurements(pd.DataFrame({"a": [1]}))
    with pytest.raises(TypeError, match="table must be a table"):
        write_measurements([1], tmp_path / "a.csv")


def test_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "measuring.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "shares.csv").exists()
