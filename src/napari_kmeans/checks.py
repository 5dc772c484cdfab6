"""Kinds of values, such as whole numbers in bounds, and the values in messages."""

from __future__ import annotations

import os
import re
import reprlib
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LARGEST = 1e100
"""The largest number that is clustered: float64 can hold sums of squares of such numbers."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Line breaks would split a row of a table, and single surrogates cannot be written."""

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
    if getattr(value, "shape", ()) and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 4 * _MAX_CHARACTERS:
        # The text would be cut, and Python refuses to convert integers of more than 4300 digits.
        return f"a whole number of {value.bit_length()} bits"
    text = " ".join(_REPR.repr(value).split())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."


def check_result(
    name: str,
    value: Any,
    *kinds: type[Any],
    words: str = "",
    remedy: str = "pass the result of the function that makes it",
) -> None:
    """Raise TypeError if a value is not the result of a function of the package.

    Parameters
    ----------
    name : str
        The name of the argument.
    value : object
    *kinds : type
        The types of the results that are accepted.
    words : str, optional
        These types in the words of the message; by default their names.
    remedy : str, optional
        What to do.
    """
    if not isinstance(value, kinds):
        words = words or "a " + " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {words}, got {quote_value(value)}: {remedy}.")


def refuse_file_or_layer(name: str, value: Any) -> None:
    """Raise TypeError for a path or a napari layer where an array is expected.

    The message names the function to use instead. In a list, every item is checked.
    """
    items = value if isinstance(value, list | tuple) else (value,)
    # One item of each type: a list may have millions of numbers.
    for item in {type(item): item for item in reversed(items)}.values():
        if isinstance(item, str | bytes | os.PathLike):
            raise TypeError(
                f"{name} must be an array, got {quote_value(item)}: read the file first, with "
                "read_image(path).pixels of the module napari_kmeans.files."
            )
        # Compare the name of the module, so that napari need not be imported.
        if any(base.__module__.startswith("napari.layers") for base in type(item).__mro__):
            raise TypeError(
                f"{name} must be an array, got {quote_value(item)}: pass the data of the layer, "
                "or the layer to segment_layer."
            )


def check_path(name: str, value: Any) -> Path:
    """Return a path as a `Path`; raise TypeError if the value is no path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(
            f"{name} must be the path of a file, got {quote_value(value)}: pass a str or a Path."
        )
    return Path(value)


def to_array(name: str, value: Any, convert: Callable[[Any], Any] = np.asarray) -> Any:
    """Return an array or nested lists as a numpy array, or as the result of another function.

    Raises
    ------
    TypeError, ValueError
        If the value is a file or a layer, or cannot be converted.
    """
    refuse_file_or_layer(name, value)
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} must be an array, got {quote_value(value)}: pass an array, or nested lists of "
            "equal lengths."
        ) from error


def as_numbers(value: Any) -> NDArray[Any] | None:
    """Return a value as an array of booleans or real numbers; None for any other value."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "buif" else None


def is_whole_number(value: Any) -> bool:
    """Return whether a value is an integer of Python or numpy, and no bool."""
    # Python counts True as the number 1; as an argument it is a mistake.
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class WholeNumber:
    """The whole numbers from `minimum` to `maximum`, and values such as "auto" or None."""

    minimum: int
    maximum: int
    others: tuple[Any, ...] = ()

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        others = "".join(f"{other!r} or " for other in self.others)
        return f"{others}a whole number from {self.minimum} to {self.maximum}"

    def check(self, name: str, value: Any) -> Any:
        """Return a value as a plain int, or one of the other values.

        Raises
        ------
        TypeError, ValueError
            If the value is not one of these; `name` begins the message.
        """
        # Compare the types first: an array == "auto" gives an array.
        if any(type(value) is type(other) and value == other for other in self.others):
            return value
        return int(_check_number(self, is_whole_number(value), name, value))

    def parse(self, text: str) -> Any:
        """Return the value that a user wrote as text; bounds are not checked."""
        for other in self.others:
            if text.lower() == str(other).lower():
                return other
        return int(text)


@dataclass(frozen=True)
class RealNumber:
    """The real numbers from `minimum` to `maximum`.

    `step` is the amount by which a spin box changes the number; None for a slider.
    """

    minimum: float
    maximum: float
    step: float | None = None

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return f"a number from {self.minimum} to {self.maximum}"

    def check(self, name: str, value: Any) -> float:
        """Return a value as a plain float; raise as `WholeNumber.check` does."""
        is_real = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
        return float(_check_number(self, is_real, name, value))

    def parse(self, text: str) -> float:
        """Return the value that a user wrote as text; bounds are not checked."""
        return float(text)


@dataclass(frozen=True)
class Flag:
    """True or False, and values such as None."""

    others: tuple[Any, ...] = ()

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return " or ".join(map(repr, (*self.others, True, False)))

    def check(self, name: str, value: Any) -> Any:
        """Return a value as a plain bool, or one of the other values; raise TypeError."""
        if any(value is other for other in self.others):
            return value
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"{name} must be {self}, got {quote_value(value)}: choose one of these."
            )
        return bool(value)


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    choices: tuple[str, ...]

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return " or ".join(map(repr, self.choices))

    def check(self, name: str, value: Any) -> Any:
        """Return a word; raise ValueError if it is not one of the choices."""
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError(
                f"{name} must be {self}, got {quote_value(value)}: choose one of these."
            )
        return value


def _check_number(kind: WholeNumber | RealNumber, is_number: bool, name: str, value: Any) -> Any:
    message = f"{name} must be {kind}, got {quote_value(value)}: choose one in this range."
    if not is_number:
        raise TypeError(message)
    # The comparison is also false for NaN.
    if not kind.minimum <= value <= kind.maximum:
        raise ValueError(message)
    return value


def make_line(text: str) -> str:
    """Return a text on one line, without characters that cannot be written or shown."""
    return _CONTROLS.sub(" ", text)
