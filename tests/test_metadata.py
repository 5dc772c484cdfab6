"""Metadata of images: fields of their names, and columns of another table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_kmeans import add_metadata, join_metadata, measure, parse_metadata, segment

PATTERN = "{patient}_{stain}_{day}.tif"


@pytest.fixture(scope="module")
def table():
    image = np.array([[0, 0, 9]], np.uint8)
    names = ["007_HE_3.tif", "12_PAS_14.tif"]
    return measure(segment([image, image], 2), names=names)


@pytest.mark.parametrize(
    ("name", "pattern", "fields"),
    [
        ("007_HE_3.tif", PATTERN, {"patient": "007", "stain": "HE", "day": "3"}),
        ("a/b\\007_HE_3_b.tif", PATTERN, {"patient": "007", "stain": "HE", "day": "3_b"}),
        ("day 3/x.tif", "day {day}/{name}.tif", {"day": "3", "name": "x"}),
        ("(a)+{b}", "({x})+{{{y}}}", {"x": "a", "y": "b"}),
    ],
)
def test_fields_of_names(name, pattern, fields):
    assert parse_metadata(name, pattern) == fields


def test_names_that_do_not_match_are_reported_and_empty():
    with pytest.warns(UserWarning, match=r"other\.tif does not match the pattern"):
        fields = parse_metadata("other.tif", PATTERN)
    assert fields == {"patient": "", "stain": "", "day": ""}


@pytest.mark.parametrize(
    "pattern", ["x.tif", "{a", "a}", "{a}{b}", "{a}_{a}", "{}", "{0}", "{a.b}", "{a:d}", "{a!r}", 3]
)
def test_bad_patterns_are_refused(pattern):
    with pytest.raises((TypeError, ValueError), match="pattern must"):
        parse_metadata("a_b.tif", pattern)


def test_fields_become_columns_after_the_image(table):
    found = add_metadata(table, PATTERN)
    assert list(found)[:5] == ["image", "patient", "stain", "day", "region"]
    assert found["patient"].tolist() == ["007", "007", "12", "12"]
    assert list(table)[1] == "region"
    with pytest.raises(ValueError, match="other names than the columns of the table, got 'region'"):
        add_metadata(table, "{region}_{b}.tif")


def test_rows_of_a_csv_file_are_joined(table, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("file,age,group\n12_PAS_14.tif,30,b\n007_HE_3.tif,40,a\nx,1,c\n", "utf-8-sig")
    found = join_metadata(table, path)
    assert list(found)[:4] == ["image", "age", "group", "region"]
    assert found["age"].tolist() == [40, 40, 30, 30]
    frame = pd.read_csv(path, encoding="utf-8-sig").rename(columns={"file": "image"})
    pd.testing.assert_frame_equal(join_metadata(table, frame[["age", "image", "group"]]), found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,a\n007_HE_3.tif,1\n", r"got none for '12_PAS_14\.tif'"),
        ("image,a\n007_HE_3.tif,1\n12_PAS_14.tif,1\n007_HE_3.tif,2\n", "several for '007_HE_3"),
        ("patient,a\n7,1\n", "source must have a column 'image'"),
        ("image,class\n007_HE_3.tif,1\n12_PAS_14.tif,1\n", "got 'class'"),
        ("", "source must be a CSV file"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, tmp_path, text, message):
    path = tmp_path / "patients.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        join_metadata(table, path)
