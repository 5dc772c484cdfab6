"""figures: bars, points and curves are where the result has them, and matplotlib is optional."""

import itertools
import subprocess
import sys
from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from napari_kmeans import add_metadata, apply_classes, measure, segment, suggest_n_clusters
from napari_kmeans.figures import (
    plot_colors,
    plot_legend,
    plot_palette,
    plot_scores,
    plot_shares,
)


@pytest.fixture(scope="module")
def coffee():
    image = data.coffee()
    return image, segment(image, 5)


@pytest.fixture(scope="module")
def suggestion():
    return suggest_n_clusters(data.coffee())


def fits_in_figure(figure):
    """Return whether everything that is drawn, labels included, lies within the figure."""
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.parametrize("n_clusters", [1, 5, 32, 60])
def test_palette_has_a_bar_for_each_cluster(n_clusters):
    segmentation = segment(data.coffee(), n_clusters)
    figure = plot_palette(segmentation)
    assert isinstance(figure, Figure)
    strip, bars = figure.axes
    table = segmentation.table
    for axes in (strip, bars):
        colors = [to_hex(bar.get_facecolor()) for bar in axes.patches]
        assert colors == table["color"].tolist()
        widths = [bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(widths, table["percent"])
    ends = [bar.get_x() + bar.get_width() for bar in strip.patches]
    np.testing.assert_allclose(ends, table["percent"].cumsum())
    # The first cluster is on top.
    tops = [bars.transData.transform((0, bar.get_y()))[1] for bar in bars.patches]
    assert tops == sorted(tops, reverse=True)
    assert fits_in_figure(figure)
    if n_clusters <= 32:
        names = [text.get_text() for text in bars.get_yticklabels()]
        assert [name.split() for name in names] == [
            [str(index), color] for index, color in zip(table["index"], table["color"], strict=True)
        ]


def test_palette_shows_names_and_ignored_classes(coffee):
    segmentation = coffee[1]
    classes = segmentation.model.classes.rename(2, "n" * 200).recolor(2, "#ff0080").ignore(1)
    edited = apply_classes(segmentation, classes)
    figure = plot_palette(edited)
    strip, bars = figure.axes
    shares = edited.table["percent"].fillna(0)
    for axes in (strip, bars):
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], shares)
    assert shares.sum() == pytest.approx(100)
    assert bars.texts[0].get_text() == "ignored"
    name = bars.get_yticklabels()[1].get_text()
    assert name.split()[:2] == ["2", "#ff0080"]
    assert name.split()[2].startswith("nnn")
    assert fits_in_figure(figure)
    # The pixels and the discs have the display color of their class.
    discs = plot_colors(coffee[0], edited).axes[2].collections
    assert "#ff0080" in {to_hex(color) for color in discs[-1].get_facecolors()}


def test_figures_are_saved_as_png_and_svg(coffee, tmp_path):
    figure = plot_palette(coffee[1])
    figure.savefig(tmp_path / "palette.png")
    figure.savefig(tmp_path / "palette.svg")
    assert (tmp_path / "palette.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "palette.svg").read_text("utf-8")
    assert all(color in svg for color in coffee[1].table["color"])
    plot_colors(*coffee).savefig(tmp_path / "colors.svg")
    assert (tmp_path / "colors.svg").stat().st_size < 10**6


@pytest.mark.parametrize("lazy", [False, True])
def test_scatter_plots_show_pixels_at_their_colors(coffee, lazy):
    image, segmentation = coffee
    if lazy:
        image = da.from_array(image, chunks=(100, 100, 3))
        segmentation = segment(image, 5, method="full")
    figure = plot_colors(image, segmentation)
    pixels, labels = np.asarray(image), np.asarray(segmentation.labels)
    known = {tuple(p): n for p, n in zip(pixels.reshape(-1, 3), labels.flat, strict=True)}
    panels = np.array(figure.axes).reshape(2, 2)
    for (before, after), channel in zip(panels.T, (1, 2), strict=True):
        (points,) = before.collections
        offsets, colors = points.get_offsets(), np.rint(points.get_facecolors()[:, :3] * 255)
        assert 2000 < len(offsets) < 8000
        np.testing.assert_array_equal(offsets, colors[:, [0, channel]])
        clusters = np.array([known[tuple(color)] for color in colors.astype(int)])
        again, _, discs = after.collections
        np.testing.assert_array_equal(again.get_offsets(), offsets)
        expected = segmentation.model.colors[clusters - 1]
        np.testing.assert_allclose(again.get_facecolors()[:, :3], expected)
        np.testing.assert_allclose(discs.get_offsets(), segmentation.model.palette[:, [0, channel]])
        percent = segmentation.table["percent"]
        np.testing.assert_allclose(discs.get_sizes(), np.maximum(12 * percent, 20))
    assert fits_in_figure(figure)


def test_excluded_pixels_are_not_plotted(quadrants):
    mask = np.zeros((20, 21), bool)
    mask[:10] = True
    image = np.dstack([quadrants, np.full((20, 21), 255, np.uint8)])
    figure = plot_colors(image, segment(image, 2, rgb=True, mask=mask))
    assert len(figure.axes[0].collections[0].get_offsets()) == mask.sum()


@pytest.mark.parametrize(("factor", "white"), [(16, 4095), (1, 255)])
def test_pixels_of_a_wide_dtype_are_plotted_in_their_own_colors(quadrants, factor, white):
    image = quadrants.astype(np.uint16) * factor
    # One pixel is brighter than the white value, which is derived from the mean colors.
    image[15, 15] = 1.1 * white
    segmentation = segment(image, 4, rgb=True)
    for axes in plot_colors(image, segmentation).axes[:2]:
        points = axes.collections[0]
        colors = points.get_facecolors()[:, :3]
        np.testing.assert_allclose(
            np.minimum(points.get_offsets()[:, 0], white), colors[:, 0] * white
        )


def test_plot_colors_refuses_other_images_than_the_rgb_image_of_the_result(coffee, steps):
    with pytest.raises(ValueError, match=r"image must be the RGB image .*\(400, 600\), got shape"):
        plot_colors(coffee[0][:100], coffee[1])
    with pytest.raises(ValueError, match="image must be the RGB image"):
        plot_colors(coffee[0][..., :2], coffee[1])
    with pytest.raises(ValueError, match="image must be the RGB image"):
        plot_colors(steps, segment(steps, 3))


def test_scores_are_curves_with_votes_and_the_suggestion(suggestion):
    figure = plot_scores(suggestion)
    names = ("calinski_harabasz", "silhouette", "bic")
    for axes, name in zip(figure.axes, names, strict=True):
        line, curve, disc = axes.lines
        assert set(line.get_xdata()) == {suggestion.n_clusters}
        np.testing.assert_array_equal(curve.get_xdata(), suggestion.scores["n_clusters"])
        np.testing.assert_array_equal(curve.get_ydata(), suggestion.scores[name])
        assert list(disc.get_xdata()) == [suggestion.votes[name]]
        best = min(curve.get_ydata()) if name == "bic" else max(curve.get_ydata())
        assert list(disc.get_ydata()) == [best]
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Calinski\u2013Harabasz\n(higher is better)",
        "silhouette\n(higher is better)",
        "tempered BIC\n(lower is better)",
    ]
    assert figure.axes[0].get_title(loc="left").endswith(f" {suggestion.n_clusters}")
    assert fits_in_figure(figure)


def test_infinite_scores_are_plotted(tmp_path):
    image = np.repeat(np.array([10, 100, 200, 250], np.uint8), 50).reshape(20, 10)
    plot_scores(suggest_n_clusters(image)).savefig(tmp_path / "scores.png")


def test_plotting_leaves_pyplot_and_the_backend_alone():
    code = (
        "import sys, numpy as np, matplotlib; before = matplotlib.get_backend(auto_select=False);"
        "from napari_kmeans import segment; from napari_kmeans.figures import plot_palette;"
        "plot_palette(segment(np.eye(9), 2));"
        "print('matplotlib.pyplot' in sys.modules,"
        "before == matplotlib.get_backend(auto_select=False))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_message_without_matplotlib_names_the_command_to_install_it(
    coffee, suggestion, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    sentence = r"figures need matplotlib.* pip install matplotlib\."
    for plot in (
        lambda: plot_palette(coffee[1]),
        lambda: plot_colors(*coffee),
        lambda: plot_scores(suggestion),
    ):
        with pytest.raises(ImportError, match=sentence):
            plot()


def test_palette_of_ignored_classes_is_drawn_without_a_warning(coffee):
    segmentation = coffee[1]
    classes = segmentation.model.classes
    for label in classes.labels:
        classes = classes.ignore(label)
    _, bars = plot_palette(apply_classes(segmentation, classes)).axes
    assert bars.get_xlim() == (0, 100)


def test_shares_end_at_the_same_place_in_both_parts(coffee):
    figure = plot_palette(coffee[1])
    figure.canvas.draw()
    strip, bars = figure.axes
    ends = [axes.transData.transform((81.6, 0))[0] for axes in (strip, bars)]
    assert ends[0] == pytest.approx(ends[1])


def test_names_of_a_script_are_drawn_on_one_line_and_not_cut(coffee):
    name = "a name of about fifty characters, which fits in it"
    table = coffee[1].table.assign(name=["two\nlines", "a\ttab", name, "", ""])
    figure = plot_palette(replace(coffee[1], table=table))
    texts = [each.get_text() for each in figure.axes[1].get_yticklabels()]
    assert [text.split("  ")[2] for text in texts[:3]] == ["two lines", "a tab", name]
    assert len({len(text) for text in texts}) == 1
    # A missing glyph would give a warning, which fails the test.
    assert fits_in_figure(figure)


def test_legend_has_a_row_for_each_class(coffee, tmp_path):
    _, seg = coffee
    classes = seg.model.classes.rename(1, "dark $x^2$ <&>").recolor(1, "#00ff00").ignore(3)
    seg = apply_classes(seg, classes.merge([4, 5]).rename(4, "n" * 60))
    figure = plot_legend(seg)
    (axes,) = figure.axes
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == seg.table["color"].tolist()
    texts = [text.get_text() for text in axes.texts]
    share = seg.table["percent"]
    assert texts[:4] == ["1", "2", "3", "4"]
    assert texts[4:8] == ["dark $x^2$ <&>", "", "", "n" * 60]
    assert texts[8:] == [f"{share[0]:.1f} %", f"{share[1]:.1f} %", "ignored", f"{share[3]:.1f} %"]
    boxes = [text.get_window_extent() for text in axes.texts[3::4]]
    ends = [0, *(end for box in boxes for end in (box.x0, box.x1)), figure.bbox.x1]
    assert ends == sorted(ends)
    for suffix in ("png", "svg", "pdf"):
        figure.savefig(tmp_path / f"legend.{suffix}")


def test_legend_states_undecided_pixels(coffee):
    image, _ = coffee
    table = segment(image, 3, min_confidence=0.3).table
    share = 100 * table["undecided"].sum() / (table["undecided"] + table["pixels"]).sum()
    (axes,) = plot_legend(segment(image, 3, min_confidence=0.3)).axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[3::4] == ["", "undecided", f"{share:.1f} %"]


# --------------------------------------------------------------- shares of groups


def shares_table(groups, names=("ink", "", "paper"), n_images=3):
    """Return measurements of images in groups, with other shares in each image."""
    rng = np.random.default_rng(0)
    rows = []
    for number, group in enumerate(np.repeat(groups, n_images).tolist()):
        counts = rng.integers(1, 1000, len(names))
        for label, (name, pixels) in enumerate(zip(names, counts, strict=True), 1):
            color = f"#{40 * label % 256:02x}8080"
            row = (f"{number}", group, "all", label, name, color, False, int(pixels))
            rows.append((*row, 100 * pixels / counts.sum()))
    columns = ["image", "group", "region", "class", "name", "color", "ignored", "pixels", "percent"]
    return pd.DataFrame(rows, columns=columns)


def points_of(axes):
    """Return the shares in axes, and the places of their groups."""
    x, y = axes.collections[0].get_offsets().T
    return y, np.rint(x).astype(int)


def texts_of(axes):
    return [text.get_text() for text in axes.get_xticklabels()]


def test_shares_are_points_with_the_mean_of_each_group(quadrants):
    images = [quadrants, quadrants[:14], quadrants[5:, 6:], quadrants[:, :9]]
    seg = segment(images, 4, rgb=True)
    seg = apply_classes(
        seg, seg.model.classes.rename(2, "leaf $x$").recolor(2, "#fafafa").ignore(4)
    )
    table = measure(seg, names=["new_1", "old_1", "new_2", "old_2"])
    table = add_metadata(table, "{group}_{plant}")
    figure = plot_shares(table)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "class 1",
        "leaf $x$",
        "class 3",
    ]
    counts = np.array([np.bincount(labels.ravel(), minlength=5)[1:4] for labels in seg.labels])
    expected = 100 * counts / counts.sum(axis=1, keepdims=True)
    for number, axes in enumerate(figure.axes):
        shares, places = points_of(axes)
        np.testing.assert_allclose(shares, expected[:, number])
        assert places.tolist() == [0, 1, 0, 1]
        means = [line.get_ydata()[0] for line in axes.lines]
        np.testing.assert_allclose(means, [shares[::2].mean(), shares[1::2].mean()])
        assert texts_of(axes) == ["new\nn = 2", "old\nn = 2"]
        assert axes.get_ylim()[0] == 0
        color = to_hex(axes.collections[0].get_facecolors()[0])
        assert color == table.loc[table["class"] == number + 1, "color"].iloc[0]
    assert figure.axes[0].get_ylabel() == "percent of the pixels that count"
    assert fits_in_figure(figure)
    # Other groups, and none.
    assert texts_of(plot_shares(table, "plant").axes[0]) == ["1\nn = 2", "2\nn = 2"]
    alone = plot_shares(table.drop(columns="group"))
    assert texts_of(alone.axes[0]) == ["all images\nn = 4"]


def test_shares_are_those_of_images_over_all_their_regions(quadrants, tmp_path):
    seg = segment([quadrants, quadrants[:14]], 4, rgb=True)
    regions = [np.tile([1, 1, 2], 7)[: quadrants.shape[1]] * np.ones((n, 1), int) for n in (20, 14)]
    table = measure(seg, names=["a", "b"], regions=regions)
    assert table["region"].nunique() == 2
    whole = plot_shares(measure(seg, names=["a", "b"])).axes[0]
    # The table is also that of a file, in which empty names are missing.
    table.to_csv(tmp_path / "table.csv", index=False)
    for each in (table, pd.read_csv(tmp_path / "table.csv")):
        axes = plot_shares(each).axes[0]
        np.testing.assert_allclose(points_of(axes)[0], points_of(whole)[0])
        assert axes.get_title(loc="left") == "class 1"


def test_images_without_a_group_or_without_pixels_are_not_hidden_in_another_group():
    table = shares_table(["b", None, "a"], n_images=2)
    table.loc[table["image"] == "5", ["pixels", "percent"]] = 0, np.nan
    axes = plot_shares(table).axes[0]
    assert texts_of(axes) == ["b\nn = 2", "no group\nn = 2", "a\nn = 1"]
    assert len(points_of(axes)[0]) == 5
    # A column of whole numbers in which one is missing is read as real numbers.
    days = shares_table([1.0, np.nan, 14.0])
    assert texts_of(plot_shares(days).axes[0]) == ["1\nn = 3", "no group\nn = 3", "14\nn = 3"]


@pytest.mark.parametrize("n_groups", [1, 2, 6, 40])
@pytest.mark.parametrize("n_classes", [1, 2, 8])
@pytest.mark.parametrize("name", ["x", "a group with a rather long name {}"])
def test_texts_of_groups_and_classes_do_not_overlap(n_groups, n_classes, name):
    groups = [f"{number} {name}".format("of leaves") for number in range(n_groups)]
    names = ["a class of a rather long name, as of dew drops"] * (n_classes - 1) + ["leaf"]
    figure = plot_shares(shares_table(groups, names))
    assert fits_in_figure(figure)
    assert n_groups > 10 or figure.get_size_inches()[0] <= 7.3
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == n_classes
    boxes = [text.get_window_extent() for text in panels[0].get_xticklabels()]
    for before, after in itertools.pairwise(boxes):
        assert before.x1 <= after.x0
    titles = [axes._left_title.get_window_extent() for axes in panels]
    for title, axes in zip(titles, panels, strict=True):
        assert not any(title.overlaps(each.bbox) for each in panels)
        assert sum(title.overlaps(each) for each in titles) == 1, axes


@pytest.fixture
def leaves(quadrants):
    """Three images with four classes, of which one is ignored, and their shares, (3, 3)."""
    images = [quadrants, quadrants[:14], quadrants[5:, 6:]]
    seg = segment(images, 4, rgb=True)
    seg = apply_classes(seg, seg.model.classes.rename(2, "lesion").rename(3, "leaf").ignore(4))
    counts = np.array([np.bincount(labels.ravel(), minlength=5)[1:4] for labels in seg.labels])
    return measure(seg, names=["a", "b", "c"]), 100 * counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("is_read", [False, True])
def test_rows_of_one_class_have_the_shares_of_the_whole_table(leaves, tmp_path, is_read):
    table, expected = leaves
    if is_read:
        table.to_csv(tmp_path / "table.csv", index=False, float_format="%.8g")
        table = pd.read_csv(tmp_path / "table.csv")
    figures = [
        plot_shares(table[table["name"] == "lesion"]),
        plot_shares(table, classes="lesion"),
        plot_shares(table, classes=2),
    ]
    for figure in figures:
        (axes,) = figure.axes
        np.testing.assert_allclose(points_of(axes)[0], expected[:, 1], rtol=1e-6)
        assert axes.get_ylabel() == "lesion\n(% of the pixels that count)"
        assert axes.get_title(loc="left") == ""
        assert fits_in_figure(figure)
    two = plot_shares(table, classes=["leaf", 1])
    assert [axes.get_title(loc="left") for axes in two.axes] == ["leaf", "class 1"]
    for axes, number in zip(two.axes, (2, 0), strict=True):
        np.testing.assert_allclose(points_of(axes)[0], expected[:, number], rtol=1e-6)


def test_shares_that_the_rows_do_not_have_are_refused(leaves, quadrants):
    table, _ = leaves
    regions = [np.arange(quadrants.shape[1]) // 10 * np.ones((20, 1), int) + 1]
    tiled = measure(segment([quadrants], 4, rgb=True), names=["a"], regions=regions)
    assert tiled["region"].nunique() > 1
    with pytest.raises(ValueError, match="several rows of class 1 in 'a' without all classes"):
        plot_shares(tiled[tiled["class"] == 1])
    # The same names in two studies: which rows belong together is not known.
    with pytest.raises(ValueError, match="several rows of class 1 in 'a'"):
        plot_shares(pd.concat([table, table]))
    some = table[(table["class"] == 2) | ((table["class"] == 3) & (table["image"] != "b"))]
    with pytest.raises(
        ValueError, match="same classes in each image, got no row of class 3 in 'b'"
    ):
        plot_shares(some)
    # Without the rows of an ignored class or of a class without pixels, nothing is missing.
    whole = plot_shares(table[~table["ignored"]])
    assert len(whole.axes) == 3


def test_an_image_of_fewer_classes_has_a_share_of_0(leaves):
    table, _ = leaves
    rows = table.assign(pixels=np.where((table["image"] == "b") & (table["class"] == 1), 0, 5))
    own = ~rows["ignored"]
    sums = rows["pixels"].where(own, 0).groupby(rows["image"]).transform("sum")
    rows["percent"] = (100 * rows["pixels"] / sums).where(own)
    axes = plot_shares(rows[rows["pixels"] > 0]).axes[0]
    np.testing.assert_allclose(points_of(axes)[0], [100 / 3, 0, 100 / 3])
    assert axes.lines[0].get_ydata()[0] == pytest.approx(200 / 9)


@pytest.mark.parametrize("name", ["leaf", "a class of a rather long name, as of dew drops in rain"])
def test_png_of_shares_has_300_pixels_per_inch(tmp_path, name):
    figure = plot_shares(shares_table(["a", "b"], [name]))
    assert fits_in_figure(figure)
    figure.savefig(tmp_path / "shares.png")
    with Image.open(tmp_path / "shares.png") as picture:
        assert np.round(picture.info["dpi"]).tolist() == [300, 300]
        expected = 300 * figure.get_size_inches()
        np.testing.assert_allclose(picture.size, expected, atol=1)
    # matplotlib draws no larger picture than 65,536 pixels.
    groups = [f"{n} group of a long name" for n in range(100)]
    large = plot_shares(shares_table(groups, ["x"] * 60, n_images=1))
    assert large.get_size_inches()[1] * large.dpi < 65_536


def test_plot_shares_names_what_is_wrong():
    table = shares_table(["a"])
    with pytest.raises(TypeError, match="table must be a table of measurements, got 5"):
        plot_shares(5)
    with pytest.raises(ValueError, match=r"by must be a column .*'day'.* one of \['group'\]"):
        plot_shares(table, "day")
    with pytest.raises(ValueError, match="table must have the column 'color'"):
        plot_shares(table.drop(columns="color"))
    with pytest.raises(ValueError, match="1 to 60 classes that count, got 0"):
        plot_shares(table.assign(ignored=True))
    with pytest.raises(ValueError, match=r"classes must be .* got 'leaf': choose .*'ink', 2, 'pap"):
        plot_shares(table, classes="leaf")
    with pytest.raises(ValueError, match="1 to 60 classes that count, got 0"):
        plot_shares(table, classes=[])
    with pytest.raises(ValueError, match="at most 100 groups, got 'group' with 101"):
        plot_shares(shares_table([f"{n}" for n in range(101)], n_images=1))
