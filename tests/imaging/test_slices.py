"""Corresponding slices of two levels."""

from __future__ import annotations

import pytest

from napari_kmeans.imaging.slices import corresponding_slice


@pytest.mark.parametrize(
    ("index", "n_slices", "n_other", "expected"),
    [
        (5, 8, 8, 5),
        (4, 8, 4, 2),
        # Halves are rounded to the even number, as np.round does in napari.
        (1, 8, 4, 0),
        (3, 8, 4, 2),
        (5, 8, 4, 2),
        # 3.5 is rounded to 4, and the last of four slices is 3.
        (7, 8, 4, 3),
        (3, 4, 8, 6),
        (2, 3, 1, 0),
    ],
)
def test_corresponding_slice_is_rounded_as_in_napari(index, n_slices, n_other, expected):
    assert corresponding_slice(index, n_slices, n_other) == expected
