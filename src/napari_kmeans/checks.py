"""Values in messages, and the largest number that is clustered."""

from __future__ import annotations

import reprlib
from typing import Any

LARGEST = 1e100
"""The greatest number that is clustered: squares of such ones, and sums of them, fit a float64."""


_SHOWN = 80
"""The characters that a message has for a value."""


# Of what is long or deep, no more than a message has room for is written out.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _SHOWN // 2
_BRIEF.maxstring = _BRIEF.maxother = _SHOWN


def quote_value(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not all of what is long."""
    if getattr(value, "shape", ()):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN:
        # Python does not write out the longest.
        return f"a whole number of {value.bit_length()} bits"
    text = " ".join(_BRIEF.repr(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
