"""Quote values in messages, and state the largest number that is clustered."""

from __future__ import annotations

import reprlib
from typing import Any

LARGEST = 1e100
"""The largest number that is clustered: float64 can hold sums of squares of such numbers."""


_MAX_CHARACTERS = 80
"""The largest number of characters of a value in a message."""


# Write out only the start of long or deeply nested values: the text is cut anyway, and
# a value may have millions of entries.
_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _MAX_CHARACTERS // 2
_REPR.maxstring = _REPR.maxother = _MAX_CHARACTERS


def quote_value(value: Any) -> str:
    """Return a value as text for a message: on one line, and shortened if it is long."""
    if getattr(value, "shape", ()):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 4 * _MAX_CHARACTERS:
        # The text would be cut, and Python refuses to convert integers of more than 4300 digits.
        return f"a whole number of {value.bit_length()} bits"
    text = " ".join(_REPR.repr(value).split())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."
