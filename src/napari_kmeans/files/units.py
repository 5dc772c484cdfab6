"""Units of length and time: their names in OME-Zarr, their symbols and their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Unit(NamedTuple):
    """A unit of length, with its size in meters, or a unit of time, with its size in seconds."""

    symbol: str
    size: float


LENGTHS = {
    "femtometer": Unit("fm", 1e-15),
    "picometer": Unit("pm", 1e-12),
    "angstrom": Unit("Å", 1e-10),
    "nanometer": Unit("nm", 1e-9),
    "micrometer": Unit("µm", 1e-6),
    "millimeter": Unit("mm", 1e-3),
    "centimeter": Unit("cm", 1e-2),
    "decimeter": Unit("dm", 1e-1),
    "meter": Unit("m", 1.0),
    "hectometer": Unit("hm", 1e2),
    "kilometer": Unit("km", 1e3),
    "megameter": Unit("Mm", 1e6),
    "gigameter": Unit("Gm", 1e9),
    "terameter": Unit("Tm", 1e12),
    "petameter": Unit("Pm", 1e15),
    "thou": Unit("thou", 2.54e-5),
    "inch": Unit("in", 0.0254),
    "foot": Unit("ft", 0.3048),
    "yard": Unit("yd", 0.9144),
    "mile": Unit("mi", 1609.344),
}
"""The units of length. The symbols are those of OME-XML and of pint."""

TIMES = {
    "picosecond": Unit("ps", 1e-12),
    "nanosecond": Unit("ns", 1e-9),
    "microsecond": Unit("µs", 1e-6),
    "millisecond": Unit("ms", 1e-3),
    "second": Unit("s", 1.0),
    "megasecond": Unit("Ms", 1e6),
    "minute": Unit("min", 60.0),
    "hour": Unit("h", 3600.0),
    "day": Unit("d", 86400.0),
}
"""The units of time. The symbols are those of OME-XML and of pint."""


SIZE_POWERS = {1: ("length", ""), 2: ("area", "²"), 3: ("volume", "³")}
"""The name of a size and the power of its unit, by the number of axes of space."""


_SPELLINGS = {
    **{unit.symbol: name for name, unit in LENGTHS.items()},
    "um": "micrometer",
    "\N{GREEK SMALL LETTER MU}m": "micrometer",
}
"""The names of units of length by what people write. The micro sign is another character."""


def find_length(text: str) -> str | None:
    """Return the name of a unit of length that is given by its name or symbol, such as mm.

    None if the text is no unit of length. Upper case counts in symbols: Mm is not mm.
    """
    name = _SPELLINGS.get(text.strip(), text.strip().lower())
    return name if name in LENGTHS else None


def convert_length(value: float, unit: str, target: str) -> float | None:
    """Return a length in another unit, or None if one of the units is no length.

    A value whose unit is `target` is returned unchanged, whatever the unit is.
    """
    if unit == target:
        return value
    if unit not in LENGTHS or target not in LENGTHS:
        return None
    return value * (LENGTHS[unit].size / LENGTHS[target].size)


def comparable_lengths(values: Sequence[float], units: Sequence[str]) -> tuple[float, ...]:
    """Return lengths in one unit: in micrometers if all of their units are lengths.

    Values with the same other unit are returned unchanged. Values with units that cannot be
    compared become 1.
    """
    lengths = [convert_length(*pair, "micrometer") for pair in zip(values, units, strict=True)]
    if None not in lengths:
        return tuple(float(length or 0) for length in lengths)
    return tuple(map(float, values)) if len({*units}) == 1 else (1.0,) * len(units)


def size_factor(unit: str, target: str) -> float | None:
    """Return the factor from a unit of length, area or volume to another, such as nm² and µm².

    None if they have other powers, or if one of them is not known.
    """
    sizes = {each.symbol: each.size for each in LENGTHS.values()}
    for n_axes, (_, power) in sorted(SIZE_POWERS.items(), reverse=True):
        if unit.endswith(power) and target.endswith(power):
            lengths = [sizes.get(each.removesuffix(power)) for each in (unit, target)]
            if lengths[0] and lengths[1]:
                return float((lengths[0] / lengths[1]) ** n_axes)
    return None


_UNKNOWN = "unit"
"""The symbol of lengths whose unit is not known."""


class AreaUnit(NamedTuple):
    """The unit of the sizes of regions: its symbol, and its size if lengths are in micrometers."""

    symbol: str
    size: float


def convert_area(value: float, unit: AreaUnit, target: AreaUnit) -> float | None:
    """Return an area or volume in another unit; None if the two units cannot be compared.

    An area is no volume, and units that are not known are only equal to themselves.
    """
    if unit == target:
        return value
    powers = [power for _, power in SIZE_POWERS.values() if power]
    is_known = all(not each.symbol.startswith(_UNKNOWN) for each in (unit, target))
    is_same = all(unit.symbol.endswith(p) == target.symbol.endswith(p) for p in powers)
    return value * (unit.size / target.size) if is_known and is_same else None


def area_unit(scales: Sequence[float], units: Sequence[str]) -> AreaUnit | None:
    """Return the squared or cubed unit of the last axis of space.

    Returns
    -------
    AreaUnit or None
        None if the sizes of pixels are not known: for units that cannot be compared, or pixels
        of size 1 without a unit of length.
    """
    if len(units) not in SIZE_POWERS:
        return None
    unit, (_, power) = units[-1], SIZE_POWERS[len(units)]
    if {*units} <= {*LENGTHS}:
        (length,) = comparable_lengths([1.0], [unit])
        return AreaUnit(LENGTHS[unit].symbol + power, length ** len(units))
    is_scaled = len({*units}) == 1 and any(scale != 1 for scale in scales)
    return AreaUnit(_UNKNOWN + power, 1.0) if is_scaled else None
