"""Tests of the plot of the scores, with scores made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QFocusEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_kmeans.suggestion import Suggestion
from napari_kmeans.viewer.widgets.score_curve import ScoreCurve, score_heights

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def suggestion():
    scores = pd.DataFrame(
        {
            "n_clusters": [2, 3, 4],
            "inertia": [3.0, 2.0, 0.0],
            "calinski_harabasz": [10.0, 30.0, np.inf],
            "silhouette": [0.5, 0.5, 0.5],
            "bic": [40.0, -10.0, 15.0],
            "stability": [1.0, 0.954, 0.5],
        }
    )
    return Suggestion(3, {"calinski_harabasz": 4, "silhouette": 2, "bic": 3}, scores)


@pytest.fixture
def curve(suggestion, qtbot):
    widget = ScoreCurve()
    qtbot.addWidget(widget)
    widget.show_suggestion(suggestion)
    widget.resize(300, widget.sizeHint().height())
    return widget


def test_heights_are_scaled_from_worst_to_best(suggestion):
    heights = score_heights(suggestion)
    assert heights["calinski_harabasz"].tolist() == [0, 1, 1]
    assert heights["silhouette"].tolist() == [0, 0, 0]
    assert heights["bic"].tolist() == [0, 1, 0.5]


def test_values_are_written_in_the_format_of_their_score(curve):
    expected = {"calinski_harabasz": "30", "silhouette": "0.500", "bic": "-10"}
    expected["stability"] = "0.95"
    assert curve.values_at(3) == expected
    assert ScoreCurve().values_at(3) == {}


def test_click_chooses_a_number_except_on_the_legend(curve):
    chosen = []
    curve.chosen.connect(chosen.append)
    for number in (4, 2):
        QTest.mouseClick(curve, LEFT, pos=curve.place_of(number).toPoint())
    QTest.mouseClick(curve, LEFT, pos=QPoint(curve.place_of(3).toPoint().x(), 3))
    assert chosen == [4, 2]


def test_arrow_keys_start_at_the_suggestion_and_stop_at_the_ends(curve):
    chosen = []
    curve.chosen.connect(chosen.append)
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Space):
        QTest.keyClick(curve, key)
    assert chosen == [3, 4]
    assert curve.pointed_at == 4


def test_keyboard_focus_points_at_the_suggestion(curve):
    assert curve.focusPolicy() & Qt.FocusPolicy.TabFocus
    QApplication.sendEvent(curve, QFocusEvent(QEvent.Type.FocusIn, Qt.FocusReason.TabFocusReason))
    assert curve.pointed_at == 3
    QApplication.sendEvent(curve, QFocusEvent(QEvent.Type.FocusOut, Qt.FocusReason.TabFocusReason))
    assert curve.pointed_at is None


def test_empty_plot_is_drawn_and_ignores_the_mouse_and_the_keys(qtbot):
    widget = ScoreCurve()
    qtbot.addWidget(widget)
    chosen = []
    widget.chosen.connect(chosen.append)
    widget.grab()
    QTest.mouseClick(widget, LEFT, pos=QPoint(50, 100))
    QTest.keyClick(widget, Qt.Key.Key_Return)
    assert chosen == []
    assert widget.numbers == []
