"""Painting the levels of an image with one model."""

from __future__ import annotations

import dask.array as da
import numpy as np

from napari_kmeans.viewer.background.paint_levels import paint_levels, painting_effort

LEVELS = [np.zeros((8, 10, 3)), np.zeros((4, 5, 3)), np.zeros((2, 5, 3))]


def paint(level, progress):
    if progress is not None:
        progress(1, 2)
        progress(2, 2)
    return f"labels {level}", f"recolored {level}"


def test_paint_levels_returns_pairs_from_the_finest_level():
    expected = [(f"labels {level}", f"recolored {level}") for level in range(3)]
    assert paint_levels(LEVELS, paint) == expected


def test_paint_levels_does_not_paint_known_levels():
    known = {1: ("known labels", "known colors")}
    painted = paint_levels(LEVELS, paint, known)
    assert painted == [paint(0, None), known[1], paint(2, None)]
    assert list(known) == [1]


def test_progress_is_shared_by_the_pixels_of_each_level():
    steps = []
    paint_levels(LEVELS, paint, progress=lambda *each: steps.append(each))
    shares = np.cumsum([40, 40, 10, 10, 5, 5]) / 110
    assert steps == [(int(share * 1000), 1000) for share in shares]


def test_lazy_levels_take_no_share_of_the_progress():
    steps = []
    lazy = [da.zeros((8, 10, 3)), LEVELS[1]]
    paint_levels(lazy, paint, progress=lambda *each: steps.append(each))
    assert steps == [(0, 1000), (0, 1000), (500, 1000), (1000, 1000)]
    assert painting_effort(lazy[0]) == 0
    assert paint_levels(lazy[:1], paint, progress=lambda *_: None) == [paint(0, None)]
