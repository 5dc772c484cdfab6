"""Units of length, area and volume are converted where they can be compared."""

from __future__ import annotations

import pytest

from napari_kmeans.files.units import size_factor


@pytest.mark.parametrize(
    ("unit", "target", "factor"),
    [
        ("nm", "µm", 1e-3),
        ("nm²", "µm²", 1e-6),
        ("mm³", "µm³", 1e9),
        ("µm²", "µm³", None),
        ("µm²", "µm", None),
        ("unit²", "µm²", None),
    ],
)
def test_sizes_are_converted_by_the_power_of_their_unit(unit, target, factor):
    assert size_factor(unit, target) == (None if factor is None else pytest.approx(factor))
