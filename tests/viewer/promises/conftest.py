"""Fixtures of the tests that use napari as a person does."""

from __future__ import annotations

import pytest


@pytest.fixture
def viewer(window_viewer):
    """The viewer with a real window in each test of this folder."""
    return window_viewer


@pytest.fixture
def forget_drawing(viewer):
    """Return a function that drops the queued drawing commands of the canvas.

    A canvas that is not shown never executes these commands, so they accumulate.
    """
    return viewer.window._qt_viewer.canvas._scene_canvas.context.glir.clear
