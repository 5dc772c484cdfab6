"""The fields of the dock: one for each option, of the kind that the option declares."""

import pytest
from magicgui.widgets import ComboBox, FloatSlider, FloatSpinBox, SpinBox
from qtpy.QtWidgets import QFormLayout
from superqt import QCollapsible

from napari_kmeans.options import DOCK_OPTIONS, OPTIONS
from napari_kmeans.viewer.widgets.form import WordOrNumber

KINDS = {
    "n_clusters": SpinBox,
    "color_space": ComboBox,
    "balance": FloatSlider,
    "coreset_size": WordOrNumber,
    "random_state": SpinBox,
    "init": ComboBox,
    "tol": FloatSpinBox,
    "blur": FloatSpinBox,
}


def test_fields_have_the_kind_of_their_option(dock):
    for name, kind in KINDS.items():
        assert type(getattr(dock, name)) is kind, name
    assert (dock.n_clusters.min, dock.n_clusters.max) == (1, 65535)
    assert dock.tol.step == 1e-5


def test_every_option_is_in_a_form(dock):
    for name in DOCK_OPTIONS:
        assert dock.native.isAncestorOf(getattr(dock, name).native), name
    assert set(OPTIONS) - set(DOCK_OPTIONS) == {"spacing"}
    (more,) = [
        folder
        for folder in dock.native.findChildren(QCollapsible)
        if folder.text().endswith("More options")
    ]
    (form,) = more.findChildren(QFormLayout)
    rows = [
        form.itemAt(row, QFormLayout.ItemRole.FieldRole).widget() for row in range(form.rowCount())
    ]
    inside = [name for name in DOCK_OPTIONS if getattr(dock, name).native in rows]
    main = ("n_clusters", "color_space", "normalize", "method", "smoothing", "min_size", "min_area")
    assert inside == [name for name in DOCK_OPTIONS if name not in main]


@pytest.mark.parametrize("name", ["coreset_size", "n_init"])
def test_a_wrong_setting_fails_at_the_click_before_a_worker_starts(dock, name):
    getattr(dock, name).value = "many"
    with pytest.raises(TypeError, match=f"{name} must be 'auto' or a whole number"):
        dock.task()
    with pytest.raises(TypeError, match=f"{name} must be 'auto' or a whole number"):
        dock.run()
    assert not dock._runner.is_running


def test_fewer_coreset_points_than_clusters_fail_at_the_click(dock):
    dock.coreset_size.value = 2
    with pytest.raises(ValueError, match="coreset_size must be at least n_clusters, got 2 for 4"):
        dock.run()
    assert not dock._runner.is_running
