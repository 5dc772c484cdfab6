"""The Tab key visits the fields in their order on the screen, and no field that is folded away."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

pytestmark = pytest.mark.window


def visit(dock, key):
    """Press a key until the focus leaves the dock, and return the widgets that had the focus."""
    window = dock.native.window()
    visited = [window.focusWidget()]
    while True:
        QTest.keyClick(visited[-1], key)
        current = window.focusWidget()
        if current in visited or not dock.native.isAncestorOf(current):
            return visited
        visited.append(current)


def center_in_dock(dock, widget):
    return widget.mapTo(dock.native, widget.rect().center())


def test_tab_follows_the_screen_and_skips_folded_fields(viewer, dock, qtbot):
    # A widget must be visible to get the focus.
    viewer.window._qt_window.show()
    qtbot.waitUntil(dock.native.isVisible)
    # Panels are created in another order than they are shown.
    for name in ("export", "apply", "number"):
        dock.folds[name].open()
    dock.folds["apply"].folder.collapse(animate=False)
    # Qt lays the dock out some time later, after a second on a busy machine. Until then, the
    # fields have less than their height.
    field = dock.image.native
    qtbot.waitUntil(lambda: field.height() >= field.sizeHint().height(), timeout=20_000)
    dock.image.native.setFocus()
    visited = visit(dock, Qt.Key.Key_Tab)
    assert len(visited) > 20
    places = [center_in_dock(dock, widget) for widget in visited]
    for widget, place, after in zip(visited, places, places[1:], strict=False):
        is_below = after.y() > place.y() + 8
        is_right = abs(after.y() - place.y()) <= 8 and after.x() > place.x()
        assert is_below or is_right, (widget, place, after)
    titles = [fold.folder.toggleButton() for fold in dock.folds.values()]
    assert [each for each in visited if each in titles] == titles
    for folded in (dock.balance, dock.tol):
        assert folded.native not in visited
    assert not any(dock.folds["apply"].panel.isAncestorOf(each) for each in visited)
    assert dock.which_button.native in visited
    assert dock.folds["number"].panel.suggest_button.native in visited
    visited[-1].setFocus()
    assert visit(dock, Qt.Key.Key_Backtab) == visited[::-1]


def test_run_and_cancel_keep_the_focus(viewer, dock, finish, qtbot):
    viewer.window._qt_window.show()
    qtbot.waitUntil(dock.native.isVisible)
    window, run = dock.native.window(), dock.run_button.native
    run.setFocus()
    QTest.keyClick(run, Qt.Key.Key_Space)
    assert window.focusWidget() is dock.cancel_button.native
    finish(dock)
    assert window.focusWidget() is run
    assert len(viewer.layers) == 3
    dock.n_clusters.native.setFocus()
    dock.run()
    finish(dock)
    assert window.focusWidget() is dock.n_clusters.native
