"""Quote values in messages, and state the largest number that is clustered."""

from __future__ import annotations

import reprlib
from typing import Any

LARGEST = 1e100
"""The largest number that is clustered: float64 can hold sums of squares of such numbers."""


_SHOWN = 80
"""The largest number of characters of a value in a message."""


# Write out only the start of long or deeply nested values: the text is cut anyway, and
# a value may have millions of entries.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _SHOWN // 2
_BRIEF.maxstring = _BRIEF.maxother = _SHOWN


def quote_value(value: Any) -> str:
    """Return a value as text for a message: on one line, and shortened if it is long."""
    if getattr(value, "shape", ()):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN:
        # Python refuses to convert integers of more than 4300 digits to text.
        return f"a whole number of {value.bit_length()} bits"
    text = " ".join(_BRIEF.repr(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
