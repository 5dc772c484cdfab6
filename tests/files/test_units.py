"""Units of length, area and volume are converted where they can be compared."""

from __future__ import annotations

import pytest

from napari_kmeans.files.units import find_length, size_factor


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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mm", "millimeter"),
        ("Mm", "megameter"),
        (" Millimeter ", "millimeter"),
        ("um", "micrometer"),
        ("\N{GREEK SMALL LETTER MU}m", "micrometer"),
        ("\N{MICRO SIGN}m", "micrometer"),
        ("s", None),
        ("", None),
    ],
)
def test_a_unit_of_length_is_found_by_its_name_or_symbol(text, name):
    assert find_length(text) == name
