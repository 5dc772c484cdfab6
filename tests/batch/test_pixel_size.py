"""The pixel size that a caller states, and its unit."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans.batch.pixel_size import convert_pixel_size, set_pixel_size
from napari_kmeans.files.picture import Axis, Picture


def picture_of(*axes):
    return Picture(np.zeros((4, 5)), axes=axes)


def plane(unit, scale, translation=0.0):
    return [Axis(name, "space", unit, scale, translation) for name in "yx"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (plane("micrometer", 500.0, 1000.0), plane("millimeter", 0.5, 1.0)),
        # A size without a unit is in the stated one; size 1 without a unit is no pixel size.
        (plane("", 0.5, 2.0), plane("millimeter", 0.5, 2.0)),
        (plane("", 1.0), plane("", 1.0)),
        (plane("pixel", 2.0), plane("pixel", 2.0)),
        # Inches are a resolution for printing.
        (plane("inch", 0.01), plane("inch", 0.01)),
    ],
)
def test_a_pixel_size_is_converted(before, after):
    for own, expected in zip(
        convert_pixel_size(picture_of(*before), "millimeter").axes, after, strict=True
    ):
        assert own == expected._replace(
            scale=pytest.approx(expected.scale), translation=pytest.approx(expected.translation)
        )


def test_an_axis_of_time_has_no_unit_of_length():
    axes = Axis("t", "time", "second", 2.0), Axis("x", "space", "micrometer", 1.0)
    time, x = convert_pixel_size(picture_of(*axes), "nanometer").axes
    assert time == axes[0]
    assert (x.unit, x.scale) == ("nanometer", pytest.approx(1000))


def test_another_unit_leaves_an_image_at_its_place():
    given = picture_of(*plane("micrometer", 500.0, 1000.0))
    for axis in set_pixel_size(given, 0.2, "millimeter").axes:
        assert axis[2:] == ("millimeter", 0.2, pytest.approx(1.0))
