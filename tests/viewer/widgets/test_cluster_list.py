"""Tests of the list of clusters, with mouse and keys in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QApplication, QColorDialog, QLineEdit, QPushButton

from napari_kmeans import segment_layer
from napari_kmeans.viewer.from_layers.channels import source_of_channels
from napari_kmeans.viewer.to_layers.highlight import HighlightColormap
from napari_kmeans.viewer.to_layers.update import update_layer
from napari_kmeans.viewer.widgets.cluster_list import (
    AREA,
    COLOR,
    LABEL,
    NAME,
    PERCENT,
    ClusterList,
    format_mean,
    format_percent,
)

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def viewer(make_napari_viewer):
    """A visible window: only a window with the focus receives keys."""
    return make_napari_viewer(show=True)


@pytest.fixture
def image(viewer, quadrants):
    place = {"scale": (0.5, 0.5), "units": ("um", "um")}
    return viewer.add_image(quadrants, name="picture", rgb=True, **place)


@pytest.fixture
def layer(viewer, image):
    return viewer.add_layer(segment_layer(image, 4)[0])


@pytest.fixture
def clusters(viewer, layer, qtbot):
    widget = ClusterList(layer)
    viewer.window.add_dock_widget(widget, name="Clusters")
    window = widget.window()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    widget.table.setFocus()
    return widget


@pytest.fixture
def click(qtbot):
    def click_cell(widget, row, column=PERCENT, modifier=Qt.KeyboardModifier.NoModifier):
        index = widget.table.model().index(row, column)
        widget.table.scrollTo(index)
        place = widget.table.visualRect(index).center()
        if column == LABEL:
            place.setX(widget.table.visualRect(index).left() + 10)
        viewport = widget.table.viewport()
        qtbot.mouseClick(viewport, Qt.MouseButton.LeftButton, modifier, place)

    return click_cell


def texts(widget):
    """Return the text of each cell; of a color, the code that screen readers read."""
    model = widget.table.model()
    rows = [
        [model.data(model.index(row, column)) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]
    for row, cells in enumerate(rows):
        assert cells[COLOR] == ""
        cells[COLOR] = model.data(model.index(row, COLOR), Qt.ItemDataRole.AccessibleTextRole)
    return rows


def colors_of(layer):
    return {label: tuple(color) for label, color in layer.colormap.color_dict.items()}


def press(widget, qtbot, text):
    (button,) = [each for each in widget.findChildren(QPushButton) if each.text() == text]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def double_click(widget, qtbot, row, column):
    place = widget.table.visualRect(widget.table.model().index(row, column)).center()
    viewport, left = widget.table.viewport(), Qt.MouseButton.LeftButton
    qtbot.mouseClick(viewport, left, pos=place)
    qtbot.mouseDClick(viewport, left, pos=place)


def rename(widget, row, name):
    """Set a name as the editor of the table does."""
    model = widget.table.model()
    model.setData(model.index(row, NAME), name)


def find_editor(widget):
    return widget.table.findChild(QLineEdit)


# ------------------------------------------------------------------ the table


def test_rows_show_label_name_share_area_and_color(clusters, layer):
    hexes = layer.features["color"].tolist()
    areas = [text[AREA].replace("\u03bc", "µ") for text in texts(clusters)]
    assert areas == ["25 µm²", "27.5 µm²", "25 µm²", "27.5 µm²"]
    assert [text[:AREA] for text in texts(clusters)] == [
        ["1", "", "23.8 %"],
        ["2", "", "26.2 %"],
        ["3", "", "23.8 %"],
        ["4", "", "26.2 %"],
    ]
    assert [text[COLOR] for text in texts(clusters)] == hexes
    model = clusters.table.model()
    for row, code in enumerate(hexes):
        swatch = model.data(model.index(row, COLOR), Qt.ItemDataRole.DecorationRole)
        for mode in (swatch.Mode.Normal, swatch.Mode.Selected):
            pixel = swatch.pixmap(clusters.table.iconSize(), mode).toImage().pixelColor(7, 7)
            # A screen with 16 bits per pixel has 5 bits per channel, thus steps of 8.
            np.testing.assert_allclose(pixel.getRgb(), QColor(code).getRgb(), atol=8)


def test_list_is_narrow_enough_for_a_laptop(clusters):
    assert clusters.minimumSizeHint().width() <= 350
    assert clusters.table.horizontalHeader().length() <= clusters.table.viewport().width()


def test_every_button_has_a_tooltip_and_is_reached_with_tab(clusters, qtbot):
    rename(clusters, 0, "one")
    rename(clusters, 1, "two")
    clusters.undo()
    reached = []
    for selected, n_tabs in (([1, 2], 4), ([1], 5)):
        clusters.select(selected)
        clusters.table.setFocus()
        for _ in range(n_tabs):
            qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
            reached.append(QApplication.focusWidget().text())
    last = ["&Ignore", "&Undo", "Red&o"]
    assert reached == ["&Merge", *last, "Re&name", "&Color…", *last]
    for button in clusters.findChildren(QPushButton):
        assert len(button.toolTip()) > 20
    model = clusters.table.model()
    for column in range(model.columnCount()):
        assert model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)


@pytest.mark.parametrize(
    ("percent", "text"),
    [(0, "0.0 %"), (12.34, "12.3 %"), (100, "100.0 %"), (0.97, "1.0 %"), (0.0512, "0.05 %")],
)
def test_format_percent_is_short(percent, text):
    assert format_percent(percent) == text


def test_format_mean_is_empty_without_pixels():
    assert [format_mean(mean) for mean in (12.345, 1234.5, np.nan)] == ["12.35", "1234", ""]


def test_list_of_64_clusters_scrolls(viewer, qtbot, click):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    layer = viewer.add_layer(segment_layer(viewer.add_image(noise, rgb=True), 64)[0])
    widget = ClusterList(layer)
    viewer.window.add_dock_widget(widget)
    widget.table.setFixedHeight(200)
    assert len(texts(widget)) == 64
    click(widget, 63)
    assert widget.selected == [64]
    assert widget.table.verticalScrollBar().value() > 0


def test_list_without_clusters_asks_for_a_run(qtbot, quadrant_labels):
    widget = ClusterList()
    qtbot.addWidget(widget)
    assert widget.layer is None
    assert "run a clustering" in widget.message.text()
    widget.set_layer(Labels(quadrant_labels))
    assert "run a clustering" in widget.message.text()
    assert not any(button.isEnabled() for button in widget.findChildren(QPushButton))
    widget.set_layer(None)
    with pytest.raises(ValueError, match="call set_layer first"):
        widget.merge([1, 2])


def test_an_empty_list_that_stays_empty_changes_no_rows(qtbot):
    """Qt warns of changes without rows."""
    widget = ClusterList()
    qtbot.addWidget(widget)
    changed = []
    widget.table.model().dataChanged.connect(lambda first, last: changed.append(first))
    widget.set_layer(None)
    assert changed == []


# ----------------------------------------------------------------- selecting


def test_clicks_highlight_one_or_several_clusters(clusters, layer, click, qtbot):
    before, colormap = colors_of(layer), layer.colormap
    click(clusters, 1)
    assert clusters.selected == [2]
    colors = colors_of(layer)
    assert colors[2] == before[2]
    assert all(colors[label] != before[label] for label in (1, 3, 4))
    click(clusters, 3, modifier=CONTROL)
    assert clusters.selected == [2, 4]
    colors = colors_of(layer)
    assert [label for label in (1, 2, 3, 4) if colors[label] == before[label]] == [2, 4]
    assert "2 selected: 52.4 %" in clusters.message.text()
    click(clusters, 3, modifier=CONTROL)
    click(clusters, 1, modifier=CONTROL)
    assert clusters.selected == []
    assert layer.colormap is colormap
    assert colors_of(layer) == before


def test_arrow_keys_select_and_escape_clears_the_selection(clusters, layer, click, qtbot):
    colormap = layer.colormap
    click(clusters, 0)
    qtbot.keyClick(clusters.table, Qt.Key.Key_Down)
    assert clusters.selected == [2]
    qtbot.keyClick(clusters.table, Qt.Key.Key_Down, SHIFT)
    assert clusters.selected == [2, 3]
    qtbot.keyClick(clusters.table, Qt.Key.Key_A, CONTROL)
    assert clusters.selected == [1, 2, 3, 4]
    qtbot.keyClick(clusters.table, Qt.Key.Key_Escape)
    assert clusters.selected == []
    assert layer.colormap is colormap


def test_highlight_is_drawn_in_the_canvas(clusters, layer, viewer, image, qtbot):
    image.visible = False
    layer.opacity = 1
    plain = viewer.screenshot(canvas_only=True, flash=False)
    clusters.select([2])
    highlighted = viewer.screenshot(canvas_only=True, flash=False)
    red = np.array(layer.colormap.color_dict[2][:3]) * 255
    for picture in (plain, highlighted):
        assert (np.abs(picture[..., :3] - red).max(axis=-1) < 2).mean() > 0.1
    green = np.array(colors_of(layer)[3][:3]) * 255
    assert (np.abs(plain[..., :3] - green).max(axis=-1) < 2).mean() < 0.01
    assert (np.abs(highlighted[..., :3] - green).max(axis=-1) < 2).mean() > 0.1
    clusters.select([])
    np.testing.assert_array_equal(viewer.screenshot(canvas_only=True, flash=False), plain)


@pytest.mark.parametrize("close", ["hide", "dock", "layer", "none"])
def test_highlight_ends_when_the_list_is_closed_or_shows_another_layer(
    clusters, layer, viewer, close, image, delete
):
    colormap = layer.colormap
    clusters.select([1, 3])
    assert layer.colormap is not colormap
    if close == "hide":
        clusters.parentWidget().hide()
    elif close == "dock":
        viewer.window.remove_dock_widget(clusters)
        delete(clusters)
    elif close == "layer":
        clusters.set_layer(segment_layer(image, 2)[0])
        assert clusters.selected == []
    else:
        clusters.set_layer(None)
        assert texts(clusters) == []
    assert layer.colormap is colormap


# ------------------------------------------------------------------- editing


def test_f2_edits_a_name(clusters, layer, click, qtbot):
    click(clusters, 2)
    qtbot.keyClick(clusters.table, Qt.Key.Key_F2)
    # M and Space are shortcuts of the list. Here they must type letters.
    qtbot.keyClicks(find_editor(clusters), "M and m")
    qtbot.keyClick(find_editor(clusters), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "name" in layer.features)
    assert layer.features["name"].tolist() == ["", "", "M and m", ""]
    assert texts(clusters)[2][NAME] == "M and m"
    assert clusters.table.state() == QAbstractItemView.State.NoState
    assert clusters.findChild(QColorDialog) is None
    assert clusters.selected == [3]


def test_escape_in_the_editor_keeps_the_name(clusters, layer, click, qtbot):
    click(clusters, 2)
    press(clusters, qtbot, "Re&name")
    qtbot.keyClicks(find_editor(clusters), "nuclei")
    qtbot.keyClick(find_editor(clusters), Qt.Key.Key_Escape)
    assert "name" not in layer.features
    assert not clusters.undo_action.isEnabled()


def test_double_click_edits_a_name(clusters, layer, click, qtbot):
    double_click(clusters, qtbot, 0, NAME)
    qtbot.keyClicks(find_editor(clusters), " dark ")
    qtbot.keyClick(find_editor(clusters), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "name" in layer.features)
    assert layer.features["name"][0] == "dark"


def test_color_dialog_sets_the_color(clusters, layer, click, qtbot):
    before = colors_of(layer)
    click(clusters, 1)
    qtbot.keyClick(clusters.table, Qt.Key.Key_Return)
    dialog = clusters.findChild(QColorDialog)
    assert dialog.currentColor().name() == layer.features["color"][1]
    dialog.setCurrentColor(QColor("#12ab34"))
    dialog.accept()
    clusters.select([])
    assert layer.features["color"][1] == texts(clusters)[1][COLOR] == "#12ab34"
    expected = np.array([0x12, 0xAB, 0x34, 255]) / 255
    np.testing.assert_allclose(colors_of(layer)[2], expected, atol=1e-6)
    assert {**colors_of(layer), 2: before[2]} == before
    qtbot.waitUntil(lambda: clusters.findChild(QColorDialog) is None)


def test_canceled_color_dialog_changes_nothing(clusters, layer, click, qtbot):
    double_click(clusters, qtbot, 1, COLOR)
    clusters.findChild(QColorDialog).reject()
    assert not clusters.undo_action.isEnabled()
    qtbot.waitUntil(lambda: clusters.findChild(QColorDialog) is None)


def test_color_dialog_does_not_change_another_layer(clusters, image, qtbot):
    clusters.select([1])
    clusters.choose_color()
    dialog = clusters.findChild(QColorDialog)
    other = segment_layer(image, 3)[0]
    before = colors_of(other)
    clusters.set_layer(other)
    dialog.setCurrentColor(QColor("#12ab34"))
    dialog.accept()
    assert colors_of(other) == before
    qtbot.waitUntil(lambda: clusters.findChild(QColorDialog) is None)


def test_check_boxes_and_space_hide_and_show_clusters(clusters, layer, click, qtbot):
    before = colors_of(layer)
    click(clusters, 2, LABEL)
    clusters.select([])
    assert colors_of(layer) == {**before, 3: (*before[3][:3], 0)}
    click(clusters, 1)
    click(clusters, 2, modifier=CONTROL)
    for alpha in (1, 0, 1):
        qtbot.keyClick(clusters.table, Qt.Key.Key_Space)
        assert clusters.selected == [2, 3]
        assert colors_of(layer)[2][3] == colors_of(layer)[3][3] == alpha
    clusters.select([])
    assert colors_of(layer) == before


def test_buttons_merge_undo_and_redo(clusters, layer, click, qtbot, quadrant_labels):
    before, colors = layer.features.copy(), colors_of(layer)
    click(clusters, 0)
    click(clusters, 3, modifier=CONTROL)
    press(clusters, qtbot, "&Merge")
    merged = np.where(quadrant_labels == 4, 1, quadrant_labels)
    np.testing.assert_array_equal(layer.data, merged)
    assert [text[:AREA] for text in texts(clusters)] == [
        ["1", "", "50.0 %"],
        ["2", "", "26.2 %"],
        ["3", "", "23.8 %"],
    ]
    assert clusters.selected == [1]
    press(clusters, qtbot, "&Undo")
    np.testing.assert_array_equal(layer.data, quadrant_labels)
    assert layer.features.equals(before)
    clusters.select([])
    assert colors_of(layer) == colors
    press(clusters, qtbot, "Red&o")
    np.testing.assert_array_equal(layer.data, merged)
    assert layer.features["index"].tolist() == [1, 2, 3]


def test_keys_merge_undo_and_redo(clusters, layer, click, qtbot, quadrant_labels):
    click(clusters, 1)
    qtbot.keyClick(clusters.table, Qt.Key.Key_Down, SHIFT)
    qtbot.keyClick(clusters.table, Qt.Key.Key_M)
    assert layer.features["index"].tolist() == [1, 2, 4]
    qtbot.keyClick(clusters.table, Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data, quadrant_labels)
    qtbot.keyClick(clusters.table, Qt.Key.Key_Z, CONTROL | SHIFT)
    np.testing.assert_array_equal(layer.data, np.where(quadrant_labels == 3, 2, quadrant_labels))


def test_actions_are_enabled_for_a_fitting_selection(clusters, click):
    def enabled():
        actions = clusters.table.actions()
        return [action.text().replace("&", "") for action in actions if action.isEnabled()]

    assert enabled() == ["Select none"]
    click(clusters, 0)
    assert enabled() == ["Rename", "Color…", "Ignore", "Show or hide", "Select none"]
    click(clusters, 1, modifier=CONTROL)
    assert enabled() == ["Merge", "Ignore", "Show or hide", "Select none"]
    rename(clusters, 0, "dark")
    assert enabled() == ["Merge", "Ignore", "Show or hide", "Select none", "Undo"]
    clusters.undo()
    assert enabled() == ["Merge", "Ignore", "Show or hide", "Select none", "Redo"]


def test_empty_list_does_not_change_invalid_cells(qtbot):
    widget, changed = ClusterList(), []
    qtbot.addWidget(widget)
    # Qt prints a warning in windows that are shown.
    widget.table.model().dataChanged.connect(lambda first, last: changed.append((first, last)))
    widget.set_layer(None)
    assert all(first.isValid() and last.isValid() for first, last in changed)


# ------------------------------------------------ changes made outside the list


def test_list_shows_the_clusters_of_a_new_run(clusters, layer, image):
    clusters.select([4])
    result = segment_layer(image, 3)[0]
    update_layer(layer, result)
    assert [text[LABEL] for text in texts(clusters)] == ["1", "2", "3"]
    assert [text[COLOR] for text in texts(clusters)] == result.features["color"].tolist()
    assert clusters.selected == []
    assert colors_of(layer) == colors_of(result)


def test_areas_follow_the_scale_and_the_units(clusters, layer):
    layer.scale = (2, 2)
    assert texts(clusters)[0][AREA].replace("\u03bc", "µ") == "400 µm²"
    layer.units = ("mm", "mm")
    assert texts(clusters)[0][AREA] == "400 mm²"


def test_features_table_of_napari_shows_the_same_rows(clusters, layer, viewer):
    viewer.layers.selection = {layer}
    _, table = viewer.window.add_plugin_dock_widget("napari", "Features table widget")
    rename(clusters, 1, "wine")
    clusters.merge([1, 4])
    clusters.set_color(1, "#102030")
    model = table.table.model().sourceModel()
    shown = model.df
    assert shown["index"].tolist() == [int(text[LABEL]) for text in texts(clusters)] == [1, 2, 3]
    assert shown["name"].tolist() == [text[NAME] for text in texts(clusters)] == ["", "wine", ""]
    assert shown["color"].tolist() == [text[COLOR] for text in texts(clusters)]


def test_list_does_not_follow_its_previous_layer(clusters, layer, image):
    other = segment_layer(image, 2)[0]
    clusters.set_layer(other)
    layer.features = layer.features.iloc[:3]
    layer.colormap = {None: "red", 0: "blue", 1: "green"}
    assert [text[COLOR] for text in texts(clusters)] == other.features["color"].tolist()
    clusters.set_layer(other)
    assert clusters.layer is other


def test_deleted_list_does_not_follow_its_layer(viewer, layer, delete):
    widget = ClusterList(layer)
    dock = viewer.window.add_dock_widget(widget)
    viewer.window.remove_dock_widget(dock)
    delete(widget)
    layer.features = layer.features.iloc[:2]
    layer.colormap = {None: "red", 0: "blue", 1: "green"}
    layer.scale = (3, 3)
    assert len(layer.features) == 2


def test_ignored_clusters_are_not_highlighted(clusters, layer):
    clusters.select([2, 3])
    clusters.ignore_action.trigger()
    assert clusters.selected == []
    # The others have their own colors, and are not faded.
    assert not isinstance(layer.colormap, HighlightColormap)
    clusters.select([2])
    clusters.ignore_action.trigger()
    assert clusters.selected == [2]
    assert clusters.ignore_action.text() == "&Ignore"


# ------------------------------------------------------------- sorting, channels


def click_header(widget, qtbot, column):
    header = widget.table.horizontalHeader()
    place = QPoint(header.sectionViewportPosition(column) + 10, header.height() // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)


def labels_of(widget):
    return [int(text[LABEL]) for text in texts(widget)]


def test_headers_sort_the_rows(viewer, qtbot):
    pixels = np.repeat([1, 2, 3, 10], [900, 20_000, 5, 100])
    table = {
        "index": [1, 2, 3, 10],
        "pixels": [900, 20_000, 5, 100],
        "percent": [np.nan, 99.5, 0.02, 0.5],
        "name": ["soil", "", "Ash", "bark"],
        "ignored": [True, False, False, False],
        "color": ["#ff0000", "#808080", "#0000ff", "#101010"],
        "mean a": [9.5, 100.0, np.nan, -3.0],
        "mean b": [1.0, 2.0, 3.0, 4.0],
    }
    colors = dict(zip(table["index"], table["color"], strict=True))
    colormap = DirectLabelColormap(color_dict={None: "k", **colors})
    layer = viewer.add_labels(pixels.reshape(5, -1), features=table, colormap=colormap)
    widget = ClusterList(layer)
    viewer.window.add_dock_widget(widget, name="Clusters")
    qtbot.waitUntil(widget.isVisible)
    widget.select([3])
    expected = {
        LABEL: [1, 2, 3, 10],
        NAME: [3, 10, 1, 2],
        PERCENT: [2, 10, 3, 1],
        AREA: [2, 1, 10, 3],
        # Grays from dark to bright, then hues.
        COLOR: [10, 2, 1, 3],
        COLOR + 1: [2, 1, 10, 3],
    }
    empty = {NAME: [2], PERCENT: [1], COLOR + 1: [3]}
    for column, order in expected.items():
        last = empty.get(column, [])
        click_header(widget, qtbot, column)
        assert labels_of(widget) == order, column
        click_header(widget, qtbot, column)
        values = [label for label in order if label not in last]
        assert labels_of(widget) == values[::-1] + last, column
        assert widget.selected == [3]
        click_header(widget, qtbot, column)
        assert labels_of(widget) == [1, 2, 3, 10]
    # Edits act on the rows in view, and move them.
    click_header(widget, qtbot, NAME)
    rename(widget, 0, "zinc")
    assert layer.features.set_index("index")["name"][3] == "zinc"
    assert labels_of(widget) == [10, 1, 3, 2]
    assert widget.selected == [3]
    widget.undo()
    assert labels_of(widget) == [3, 10, 1, 2]
    widget.merge([3, 10])
    assert labels_of(widget) == [3, 1, 2]
    assert [text[NAME] for text in texts(widget)] == ["Ash + bark", "soil", ""]


def test_means_of_channels_have_columns(viewer, quadrants):
    images = [viewer.add_image(quadrants[..., n], name=f"1 {name}") for n, name in enumerate("abc")]
    layer = viewer.add_layer(segment_layer(images, 3)[0])
    widget = ClusterList(layer)
    widget.set_layer(None)
    widget.set_layer(layer, source_of_channels(images))
    model = widget.table.model()
    headers = [model.headerData(n, Qt.Orientation.Horizontal) for n in range(model.columnCount())]
    assert headers == ["Label", "Name", "Share", "Area", "", "a", "b", "c"]
    means = layer.features.filter(like="mean").to_numpy()
    assert [text[COLOR + 1 :] for text in texts(widget)] == [
        [f"{mean:.4g}" for mean in row] for row in means
    ]
    tip = model.data(model.index(0, COLOR), Qt.ItemDataRole.ToolTipRole)
    assert tip.startswith(layer.features["color"][0])
    widget.select([2])
    assert widget.selected == [2]


def test_names_and_swatches_have_room_beside_the_scroll_bar(viewer, quadrants, qtbot):
    noise = np.random.default_rng(0).integers(0, 256, quadrants.shape).astype(np.uint8)
    image = viewer.add_image(noise, rgb=True, scale=(400, 400))
    widget = ClusterList(viewer.add_layer(segment_layer(image, 40)[0]))
    viewer.window.add_dock_widget(widget, name="Clusters")
    # The width in the dock at its first width, with the scroll bar of the dock.
    widget.setFixedWidth(314)
    table, header = widget.table, widget.table.horizontalHeader()
    qtbot.waitUntil(lambda: table.width() == 314 and table.verticalScrollBar().isVisible())
    assert max(len(text[AREA]) for text in texts(widget)) >= len("1,000,000 px²")
    assert table.columnWidth(NAME) >= 60
    assert header.length() == table.viewport().width()
    widget.setFixedWidth(400)
    qtbot.waitUntil(lambda: header.length() == table.viewport().width() > 314)
    assert table.columnWidth(NAME) >= 140


def test_ten_rows_are_visible(viewer, quadrants, qtbot):
    noise = np.random.default_rng(0).integers(0, 256, quadrants.shape).astype(np.uint8)
    image = viewer.add_image(noise, rgb=True)
    widget = ClusterList(viewer.add_layer(segment_layer(image, 40)[0]))
    viewer.window.add_dock_widget(widget, name="Clusters")
    qtbot.waitUntil(widget.isVisible)
    table = widget.table
    assert table.viewport().height() >= 10 * table.rowHeight(0)
    # A cluster that is selected elsewhere comes into view.
    widget.toggle(40)
    assert widget.selected == [40]
    last = table.visualRect(table.model().index(39, NAME))
    assert table.viewport().rect().contains(last)
    widget.toggle(40)
    assert widget.selected == []
