"""The report shows the numbers of the table, escapes all names and loads nothing."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from napari_kmeans.batch.charts import make_axis
from napari_kmeans.batch.embedding import embed_picture
from napari_kmeans.batch.report import write_report
from napari_kmeans.batch.report_contents import PAGE_SIZE
from napari_kmeans.batch.shares import compare_groups, tally_shares
from napari_kmeans.execution.notices import notices_to

COLORS = ("#202020", "#c04040", "#f8f8f8")
VOID = ("meta", "img", "input", "br", "link")


def make_record(names, groups, **entries):
    model = {
        **{"format": "napari-kmeans model", "version": 2, "color_space": "rgb", "rgb": True},
        **{"channel_axis": -1, "dtype": "uint8", "normalize": "none", "offset": [], "scale": []},
        "cluster_centers": [[32.0] * 3, [192.0, 64.0, 64.0], [248.0] * 3],
        "palette": [[32.0] * 3, [192.0, 64.0, 64.0], [248.0] * 3],
        **{"inertia": 1.0, "n_iter": 3},
        "classes": [
            {"label": 1, "name": "nuclei", "color": None, "centers": [0], "ignored": False},
            {"label": 2, "name": "", "color": None, "centers": [1], "ignored": False},
            {"label": 3, "name": "glass", "color": None, "centers": [2], "ignored": True},
        ],
    }
    images = [
        {
            **{"name": name, "source": f"raw/{name}", "shape": [8, 8, 3], "dtype": "uint8"},
            **{"rgb": True, "group": group, "metadata": {"patient": "P1"}, "warnings": []},
            **{"status": "done", "failure": ""},
        }
        for name, group in zip(names, groups, strict=True)
    ]
    return {
        **{"format": "napari-kmeans run", "format_version": 1, "study": {}, "images": images},
        **{"versions": {"napari-kmeans": "0.1.1"}, "options": {"n_clusters": 3}, "model": model},
        **{"started": "2026-01-01T10:00:00+00:00", "seconds": 12.3, "warnings": [], **entries},
    }


def make_table(names, pixels, regions=("all",)):
    """Return the long table of pixels (image, region, class)."""
    return pd.DataFrame(
        {
            **{"image": name, "region": region, "class": label + 1, "pixels": count},
            **{"name": ("nuclei", "", "glass")[label], "color": COLORS[label]},
            "ignored": label == 2,
        }
        for name, of_image in zip(names, pixels, strict=True)
        for region, counts in zip(regions, of_image, strict=True)
        for label, count in enumerate(counts)
    )


class Reader(HTMLParser):
    """Collect the texts of the cells of each table, the tags, and the attributes."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.tags, self.open_tags, self.texts = {}, [], [], []
        self.rows = []
        self.feed(html)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "table":
            self.rows = self.tables.setdefault(attributes.get("id", ""), [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open_tags):
            self.rows[-1][-1] += data
        if not {"style", "script", "title"} & set(self.open_tags):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read_report(tmp_path, record, table, thumbnails=None):
    path = tmp_path / "report.html"
    write_report(path, record, table, thumbnails or {})
    return Reader(path.read_text(encoding="utf-8"))


def shares_by_hand(pixels):
    """Return percentages (image, class) of the classes 1 and 2, over all regions."""
    sums = np.array(pixels, float).sum(axis=1)[:, :2]
    return 100 * sums / sums.sum(axis=1, keepdims=True)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(100, 1000, (9, 2, 3))


def test_numbers_are_those_of_the_table(tmp_path, pixels):
    names, groups = [f"a{n}" for n in range(9)], ["control"] * 5 + ["treated"] * 4
    record = make_record(names, groups)
    report = read_report(tmp_path, record, make_table(names, pixels, ("r1", "r2")))
    shares = shares_by_hand(pixels)
    rows = report.tables["share-table"]
    assert [cell.strip() for cell in rows[0]] == ["Image", "Group", "Shares", "1 nuclei", "2"]
    for row, name, group, own in zip(rows[1:], names, groups, shares, strict=True):
        assert row[:2] == [name, group]
        assert [float(cell) for cell in row[3:]] == pytest.approx(own, abs=0.051)
    header, *rows = report.tables["group-table"]
    interval = "Difference (95 % interval)"
    assert header == ["Class", "control n = 5", "treated n = 4", interval, "U", "p"]
    for row, own in zip(rows, shares.T, strict=True):
        for cell, sample in zip(row[1:3], (own[:5], own[5:]), strict=True):
            mean, sd = map(float, re.findall(r"[\d.]+", cell))
            assert (mean, sd) == pytest.approx((sample.mean(), sample.std(ddof=1)), abs=0.051)
        welch = stats.ttest_ind(own[5:], own[:5], equal_var=False).confidence_interval()
        minus = row[3].replace("\N{MINUS SIGN}", "-")
        numbers = list(map(float, re.findall(r"[+-]?[\d.]+", minus)))
        assert numbers == pytest.approx((own[5:].mean() - own[:5].mean(), *welch), abs=0.051)
        test = stats.mannwhitneyu(own[:5], own[5:], method="exact")
        assert float(row[4]) == test.statistic
        assert float(row[5]) == pytest.approx(test.pvalue, rel=0.05)
    # The shares of two classes add up to 100 %.
    assert "1 comparison was made" in report.text
    # The methods are text without the marks of Markdown.
    assert "H. B. Mann, D. R. Whitney" in report.text
    assert ", Annals of Mathematical Statistics 18(1), 50-60, 1947" in report.text
    assert "\\" not in report.text
    assert "of all its regions together" in report.text
    # Each point of the box plots is one image with its share.
    points = re.findall(r"(a\d): ([\d.]+) %", (tmp_path / "report.html").read_text("utf-8"))
    assert len(points) == 18
    for (name, share), expected in zip(points, shares.T.ravel(), strict=True):
        assert float(share) == pytest.approx(expected, abs=0.051), name


@pytest.mark.parametrize("groups", [["control"] * 5 + ["treated"] * 4, [None] * 9])
def test_points_of_the_box_plots_have_the_colors_of_the_classes(tmp_path, pixels, groups):
    names = [f"a{n}" for n in range(9)]
    report = read_report(tmp_path, make_record(names, groups), make_table(names, pixels[:, :1]))
    colors = [each["fill"] for tag, each in report.tags if each.get("class") == "points"]
    assert colors == [each for each in COLORS[:2] for _ in set(groups)]


def test_one_number_per_axis_is_the_default_if_each_is(tmp_path):
    for spacing, is_default in ([1, 1], True), ([1.0, 1.0], True), ([1, 2], False), (2, False):
        record = make_record(["a"], [None], options={"n_clusters": 3, "spacing": spacing})
        report = read_report(tmp_path, record, make_table(["a"], [[(1, 2, 3)]]))
        (value,) = (row[1] for row in report.tables[""] if row[0].endswith(" spacing"))
        assert value.endswith(" default") == is_default, spacing


def test_warnings_end_with_a_full_stop(tmp_path):
    record = make_record(["a"], [None], warnings=["a is large", "b is small."])
    report = read_report(tmp_path, record, make_table(["a"], [[(1, 2, 3)]]))
    assert "a is large. b is small. Methods" in report.text


def test_all_tables_can_be_scrolled(tmp_path, pixels):
    names = [f"a{n}" for n in range(9)]
    table = make_table(names, pixels, ("r1", "r2"))
    record = make_record(names, ["x"] * 5 + ["y"] * 4, study={"images": ["raw"]})
    record["images"].append({**record["images"][0], "name": "b", "status": "failed"})
    path = tmp_path / "report.html"
    write_report(path, record, table, {})
    text = path.read_text("utf-8")
    # The bars of the groups are as wide as the page.
    n_tables = len(re.findall(r"<table(?! class=.bars)", text))
    inside = re.findall(r'<div class="wide">(.*?)</div>', text, re.S)
    assert sum(each.count("<table") for each in inside) == n_tables > 5


def test_a_given_model_has_no_settings_of_a_fit(tmp_path):
    record = make_record(["a"], [None], study={"model": "m.json"}, options={"n_clusters": 2})
    report = read_report(tmp_path, record, make_table(["a"], [[(1, 2, 3)]]))
    settings = [row[:2] for row in report.tables[""] if "n_clusters" in row[0]]
    assert settings == [["Number of clusters n_clusters", "3"]]
    assert "K = 3" in report.text
    assert "random_state" not in report.text


def test_cards_name_the_classes(tmp_path):
    record, table = make_record(["a"], [None]), make_table(["a"], [[(30, 70, 2)]])
    table.loc[table["class"] == 2, "name"] = "a name of more than twenty letters"
    report = read_report(tmp_path, record, table)
    assert "1 nuclei 30.0 2 a name of more th… 70.0" in report.text[report.text.index("Images a") :]


def test_bars_are_as_long_as_the_shares(tmp_path, pixels):
    names = [f"a{n}" for n in range(9)]
    report = read_report(tmp_path, make_record(names, [None] * 9), make_table(names, pixels[:, :1]))
    starts = [float(each["x"]) for tag, each in report.tags if tag == "rect" and "fill" in each]
    # The first bar is that of the means; the box plot has no filled rectangles.
    shares = shares_by_hand(pixels[:, :1])
    firsts = [shares[:, 0].mean(), *shares[:, 0]]
    assert starts == pytest.approx(np.stack([np.zeros(10), firsts], 1).ravel(), abs=0.01)
    assert "group-table" not in report.tables


def test_areas_and_values_are_means_over_the_images_of_each_group(tmp_path):
    names, groups = list("abcd"), ["x", "x", "y", "y"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 50, (4, 2, 3))
    table = make_table(names, pixels, ("tumor", "margin"))
    table["area"], table["unit"] = table["pixels"] * 0.25, "µm²"
    table["mean red"] = rng.uniform(10, 200, len(table))
    reader = read_report(tmp_path, make_record(names, groups), table)
    rows = reader.tables["figure-table"]
    assert rows[0] == ["Class", "x n = 2", "y n = 2"]
    assert rows[1] == ["Area, µm²"]
    assert "Areas and values" in reader.texts
    areas = 0.25 * pixels.sum(axis=1)
    red = table["mean red"].to_numpy().reshape(4, 2, 3)
    means = (red * pixels).sum(axis=1) / pixels.sum(axis=1)
    for first, values in ((2, areas), (5, means)):
        for place in range(2):
            expected = [
                f"{own.mean():.3g} ± {own.std(ddof=1):.3g}"
                for own in (values[:2, place], values[2:, place])
            ]
            found = [" ".join(cell.split()) for cell in rows[first + place][1:]]
            assert _rounded(found) == _rounded(expected)
    assert rows[4] == ["Mean red"]
    assert len(rows) == 7


def _rounded(cells):
    return [[f"{float(word):.2g}" for word in cell.split() if word[0].isdigit()] for cell in cells]


def test_regions_that_images_have_in_common_have_shares(tmp_path):
    pixels = [[[30, 10, 5], [0, 0, 7]], [[10, 30, 5], [1, 3, 0]]]
    table = make_table(["a", "b"], pixels, ("tumor", "margin"))
    reader = read_report(tmp_path, make_record(["a", "b"], [None, None]), table)
    rows = [[" ".join(cell.split()) for cell in row] for row in reader.tables["region-table"]]
    assert rows[0] == ["Region and class", "All images"]
    sd = f"{np.std([75, 25], ddof=1):.1f}"
    assert rows[1:] == [
        ["tumor"],
        ["1 nuclei", f"50.0 ± {sd} n = 2"],
        ["2", f"50.0 ± {sd} n = 2"],
        ["margin"],
        # The image a has only ignored pixels there.
        ["1 nuclei", "25.0 n = 1"],
        ["2", "75.0 n = 1"],
    ]
    tiles = make_table(["a"], [np.ones((30, 3), int)], [f"row {each}" for each in range(30)])
    assert "region-table" not in read_report(tmp_path, make_record(["a"], [None]), tiles).tables


def test_areas_of_slices_are_averaged_and_units_kept_apart(tmp_path):
    table = make_table(["a", "b"], [[[4, 2, 0], [8, 4, 0]], [[6, 6, 0], [6, 6, 0]]], ("all", "all"))
    table.insert(2, "slice", [0, 0, 0, 1, 1, 1] * 2)
    table["area"], table["unit"] = table["pixels"] * 1.0, ["µm²"] * 6 + ["mm²"] * 6
    reader = read_report(tmp_path, make_record(["a", "b"], [None, None]), table)
    rows = [[" ".join(cell.split()) for cell in row] for row in reader.tables["figure-table"]]
    assert rows[1:4] == [["Area per slice, µm²"], ["1 nuclei", "6"], ["2", "3"]]
    assert rows[4:] == [["Area per slice, mm²"], ["1 nuclei", "6"], ["2", "6"]]
    assert rows[0] == ["Class", "All images n = 1"]


def test_names_are_text(tmp_path):
    names = ["<script>alert(1)</script>", '"><img src=x onerror=y>', "图 & {{ 7*7 }}", "bad\udcff"]
    groups = ["<b>", "<b>", "日本", "日本"]
    table = make_table(names, [[(10, 20, 30)]] * 4)
    table["name"] = table["name"].replace("nuclei", "</style><i>")
    record = make_record(names, groups, warnings=["<u>"])
    record["images"][0]["metadata"] = {"<key>": "<value>"}
    report = read_report(tmp_path, record, table)
    assert sum(tag == "script" for tag, _ in report.tags) == 1
    assert not {"u", "img", "key", "value"} & {tag for tag, _ in report.tags}
    assert not any(key.startswith("on") for _, each in report.tags for key in each)
    shown = [row[0] for row in report.tables["share-table"][1:]]
    assert shown == [*names[:3], "bad?"]
    for text in ("<b>", "日本", "</style><i>", "<u>", "<key>: <value>"):
        assert text in report.text, text


def test_nothing_is_loaded(tmp_path):
    picture = tmp_path / "thumbnail.png"
    Image.new("RGB", (320, 200), "red").save(picture)
    record = make_record(["a", "b"], [None, None])
    table = make_table(["a", "b"], [[(1, 2, 3)], [(4, 5, 6)]])
    report = read_report(tmp_path, record, table, {"a": (picture, picture), "b": (None, None)})
    links = [each[key] for _, each in report.tags for key in ("src", "href") if key in each]
    assert len([link for link in links if link.startswith("data:image/")]) == 2
    assert all(link.startswith(("data:image/", "#")) for link in links)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"@import|url\(|https?://", html)
    (policy,) = [each["content"] for _, each in report.tags if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert report.text.count("no picture") == 2


def test_failures_and_warnings_are_listed(tmp_path):
    names = ["a", "b", "c"]
    record = make_record(names, [None] * 3, status="interrupted")
    record["images"][1] |= {"status": "failed", "failure": "the file is damaged: copy it again."}
    for number in (0, 2):
        record["images"][number]["warnings"] = ["no pixel size."]
    table = make_table(["a", "c"], [[(1, 2, 3)], [(4, 5, 6)]])
    report = read_report(tmp_path, record, table)
    assert ["b", "raw/b", "the file is damaged: copy it again."] in report.tables[""]
    assert "1 image failed" in report.text
    assert "The run was interrupted" in report.text
    assert "no pixel size. 2 images: a, c" in report.text
    for image in record["images"]:
        image |= {"status": "failed", "failure": "the disk is full: free some space."}
    report = read_report(tmp_path, record, pd.DataFrame())
    assert report.text.count("the disk is full: free some space.") == 3
    assert "3 images failed : there are no results" in report.text


def test_problems_are_in_the_head_the_rows_and_the_gallery(tmp_path):
    record = make_record(["a", "b"], [None] * 2)
    record["images"][1]["problems"] = ["other units than the model"]
    report = read_report(tmp_path, record, make_table(["a", "b"], [[(1, 2, 3)], [(4, 5, 6)]]))
    assert "1 image has other units than the model (b)" in report.text
    names = [row[0] for row in report.tables["share-table"]]
    assert names == ["Image", "a", "b other units than the model"]
    assert ("span", {"class": "problem"}) in report.tags


def test_classes_without_pixels_in_an_image_are_listed(tmp_path):
    names = ["a", "b", "c", "empty"]
    record = make_record(names, [None] * 4)
    # An ignored class does not count, nor does an image that has no counted pixel.
    pixels = [[(1, 2, 0)], [(0, 5, 6)], [(0, 5, 6)], [(0, 0, 3)]]
    text = read_report(tmp_path, record, make_table(names, pixels)).text
    assert (
        "Classes without pixels: 1 nuclei in 2 images (b and c). The share of such a class is 0 "
        "there, and counts in the mean." in text
    )
    pixels = [[(1, 2, 0)], [(3, 5, 6)], [(3, 5, 6)], [(0, 0, 3)]]
    text = read_report(tmp_path, record, make_table(names, pixels)).text
    assert "without pixels" not in text
    # Classes of single images have no mean, and their numbers no common meaning.
    record["model"], pixels[0] = None, [(0, 2, 0)]
    text = read_report(tmp_path, record, make_table(names, pixels)).text
    assert "without pixels" not in text


def test_undecided_pixels_are_in_the_rows_and_the_gallery(tmp_path):
    record = make_record(["a", "b"], [None] * 2)
    table = make_table(["a", "b"], [[(1, 2, 3), (4, 0, 0)], [(4, 5, 6), (0, 0, 0)]], "rs")
    assert "ndecided" not in read_report(tmp_path, record, table).text
    table["undecided"] = [1, 4, 0, 0, 0, 5, *[0] * 6]
    report = read_report(tmp_path, record, table)
    # In percent of all pixels of an image, also of those that are ignored.
    header, a, b = report.tables["share-table"]
    assert (header[-1], a[-1], b[-1]) == ("Undecided", "50.0", "0")
    assert "on average 25.00 % of an image, at most 50.00 % (a)" in report.text
    assert "undecided 50.0" in report.text


def test_many_images_have_pages(tmp_path):
    names = [f"image {n}" for n in range(120)]
    table = make_table(names, [[(1, 2, 3)]] * 120)
    report = read_report(tmp_path, make_record(names, ["x", "y"] * 60), table)
    paged = [each.get("data-paged") for _, each in report.tags if "data-paged" in each]
    assert sorted(paged) == ["self", "tbody"]
    # Without JavaScript, all images are there.
    assert sum(each.get("class") == "card" for _, each in report.tags) == 120
    html = (tmp_path / "report.html").read_text("utf-8")
    assert f"const PAGE_SIZE = {PAGE_SIZE};" in html
    assert html.count(f"> :nth-child(n + {PAGE_SIZE + 1})") == 2
    # All images side by side: a column for each, named.
    columns = [each for tag, each in report.tags if tag == "rect" and "fill-opacity" in each]
    assert [float(each["x"]) for each in columns] == [*range(60), *range(60)]
    paths = re.findall('<path d="([^"]+)" fill="(#.{6})"', html)
    bar = "".join(f"M{number} {{}}h1V100h-1z" for number in range(60))
    # The classes 1 and 2 have 1 and 2 of 3 pixels; class 3 is ignored.
    group = [(bar.format(*["0"] * 60), COLORS[0]), (bar.format(*["33.33"] * 60), COLORS[1])]
    assert paths == [*group, *group]


def test_images_with_own_models_are_not_compared(tmp_path):
    names = ["a", "b", "c", "d"]
    record = make_record(names, ["x", "x", "y", "y"], model=None)
    table = make_table(names, [[(n, 5, 3)] for n in range(4)])
    report = read_report(tmp_path, record, table)
    assert "group-table" not in report.tables
    assert "no comparison of groups" in report.text
    assert len(report.tables["share-table"]) == 5


def test_image_without_counted_pixels_has_no_share():
    table = make_table(["a", "b"], [[(0, 0, 9)], [(1, 3, 9)]])
    shares = tally_shares(table, make_record(["a", "b"], [None, None])["images"])
    np.testing.assert_array_equal(shares.percent, [[np.nan] * 3, [25, 75, np.nan]])
    assert len(shares.of_group(None)) == 1


def test_comparison_is_exact_for_few_images_and_equal_shares():
    # All divisions of 5 images in 2 and 3, counted by hand: 2 of 10 are as extreme as this one.
    samples = [np.array([1.0, 2]), np.array([3.0, 4, 5])]
    exact = compare_groups(samples)
    assert exact is not None
    assert exact[:3] == (0.2, "exact", 0)
    welch = stats.ttest_ind(samples[1], samples[0], equal_var=False).confidence_interval()
    assert exact.difference == pytest.approx((2.5, *welch))
    tied = compare_groups([np.array([0.0, 0]), np.array([0.0, 4, 5])])
    assert tied is not None
    assert tied.method == "exact"
    # Both images of the first group are among three zeros: 3 of 10 divisions. On the other side,
    # none is as extreme. scipy doubles the smaller side.
    assert tied.p_value == pytest.approx(0.6)
    samples = [np.array([1.0, 2, 3]), np.array([2.0, 4, 6]), np.array([7.0, 8, 9])]
    three = compare_groups(samples)
    expected = stats.kruskal(*samples)
    assert three == (pytest.approx(expected.pvalue), "chi-squared", expected.statistic, None)
    assert compare_groups([np.array([1.0]), np.array([2.0, 3])]) is None
    assert compare_groups([np.array([1.0, 1]), np.array([1.0, 1])]) is None


@pytest.mark.parametrize("largest", [0.003, 0.95, 1.0, 7.3, 29.9, 44.5, 50.1, 100.0])
def test_axes_end_at_round_numbers(largest):
    axis = make_axis(largest)
    assert largest <= axis.end <= 2 * largest
    assert 3 <= len(axis.ticks) <= 6
    assert axis.ticks[-1] == pytest.approx(axis.end)


def test_pictures_of_classes_keep_their_colors_and_fit(tmp_path):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (30, 3), np.uint8)
    pixels = colors[rng.integers(0, 30, (200, 320))]
    path = tmp_path / "classes.png"
    Image.fromarray(pixels).save(path)
    large, small = (embed_picture(path, size, has_few_colors=True) for size in (10**6, 10**4))
    decoded = Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), pixels)
    data = base64.b64decode(small.partition(",")[2])
    assert len(data) <= 10**4
    kept = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    assert {*map(bytes, kept)} <= {*map(bytes, colors)}
    path.write_bytes(b"no picture")
    sentences: list[str] = []
    with notices_to(sentences.append):
        assert embed_picture(path, 10**6, has_few_colors=True) == ""
    assert "classes.png' cannot be read and is left out" in sentences[0]


def test_another_record_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("earlier", encoding="utf-8")
    table = make_table(["a"], [[(1, 2, 3)]])
    with pytest.raises(ValueError, match=r"record must be that of a run .* got format 'x'"):
        write_report(path, {"format": "x"}, table, {})
    with pytest.raises(ValueError, match=r"table must have the columns .* got none named pixels"):
        write_report(path, make_record(["a"], [None]), table.drop(columns="pixels"), {})
    assert path.read_text("utf-8") == "earlier"
