"""The kinds of entries of a study file, and the messages about other values."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_kmeans.batch.pixel_size import check_unit
from napari_kmeans.checks import Flag, WholeNumber, is_whole_number, quote_value
from napari_kmeans.classes import clean_name
from napari_kmeans.options import COMMAND_LINE_OPTIONS, MAX_CLUSTERS, Options, plain_value

OUTPUTS = (
    "labels",
    "recolored",
    "table",
    "report",
    "geojson",
    "masks",
    "legend",
    "confidence",
    "parquet",
)
"""What a study can write for its images, beside the measurements, the model and the record."""

DEFAULT_OUTPUTS = ("labels", "recolored", "table", "report")


@dataclass(frozen=True)
class Text:
    """A text that is not empty, or None."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a text"

    def check(self, name: str, value: Any) -> str | None:
        """Return a text; a number that YAML has read as such counts as its digits."""
        if value is None:
            return None
        if is_whole_number(value):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write a text.")
        return _check_characters(name, value)


@dataclass(frozen=True)
class TextList:
    """One text or a list of texts, such as paths; with `has_commas` also texts with commas."""

    has_commas: bool = False

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a text or a list of texts"

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        """Return a tuple of texts; empty for None."""
        if value is None:
            return ()
        items = [value] if isinstance(value, str | os.PathLike) or is_whole_number(value) else value
        if not isinstance(items, list | tuple):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write a list.")
        texts = [os.fspath(item) if isinstance(item, os.PathLike) else item for item in items]
        texts = [str(item) if is_whole_number(item) else item for item in texts]
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write texts.")
            _check_characters(name, text)
        if self.has_commas:
            texts = [part.strip() for text in texts for part in text.split(",")]
        return tuple(texts)


@dataclass(frozen=True)
class NamedTexts:
    """A mapping of names to texts or lists of texts."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a mapping of names to paths, such as {control: raw/c*.tif}"

    def check(self, name: str, value: Any) -> dict[str, tuple[str, ...]]:
        """Return a dict of tuples of texts; empty for None."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write a mapping.")
        return {str(key): TextList().check(f"{name}: {key}", each) for key, each in value.items()}


@dataclass(frozen=True)
class LengthUnit:
    """The name of a unit of length, or None."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a unit of length"

    def check(self, name: str, value: Any) -> str | None:
        """Return the name of a unit that is given by its name or symbol."""
        return None if value is None else check_unit(name, value)


@dataclass(frozen=True)
class OutputList:
    """Names of outputs."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return f"a list of {', '.join(OUTPUTS)}"

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        """Return the names in the order of `OUTPUTS`."""
        names = TextList(has_commas=True).check(name, value)
        for each in names:
            if each not in OUTPUTS:
                raise ValueError(
                    f"{name} must be {self}, got {quote_value(each)}: {suggest(each, OUTPUTS)}."
                )
        return tuple(each for each in OUTPUTS if each in names)


@dataclass(frozen=True)
class FitOptions:
    """Options of `segment`, by their names."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a mapping of options, such as {n_clusters: 5, color_space: lab}"

    def check(self, name: str, value: Any) -> dict[str, Any]:
        """Return the options that are given, as plain values."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write a mapping.")
        known = [each for each in COMMAND_LINE_OPTIONS if each != "spacing"]
        for key in value:
            if key not in known:
                raise ValueError(
                    f"{name} must have options of a fit, got {quote_value(key)}: "
                    f"{suggest(key, known)}."
                )
        options = Options(**value)
        return {key: plain_value(getattr(options, key)) for key in value}


@dataclass(frozen=True)
class ClassEdits:
    """Names, colors and merges of classes, by their labels."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return "a mapping of labels to names or to {name, color, ignored, merge}"

    def check(self, name: str, value: Any) -> dict[int, dict[str, Any]]:
        """Return the edits of each class, as plain values."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write a mapping.")
        label = WholeNumber(1, MAX_CLUSTERS)
        return {
            # JSON has texts as keys.
            label.check(f"{name}: label", int(key) if str(key).isdecimal() else key): (
                self._check_class(f"{name}: {key}", each)
            )
            for key, each in value.items()
        }

    def _check_class(self, name: str, value: Any) -> dict[str, Any]:
        edits = {"name": value} if isinstance(value, str) else value
        if not isinstance(edits, Mapping):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: write its name.")
        known = ("name", "color", "ignored", "merge")
        for key in edits:
            if key not in known:
                raise ValueError(
                    f"{name} must have {', '.join(known)}, got {quote_value(key)}: "
                    f"{suggest(key, known)}."
                )
        checked: dict[str, Any] = {}
        if "merge" in edits:
            merged = (
                edits["merge"] if isinstance(edits["merge"], list | tuple) else [edits["merge"]]
            )
            label = WholeNumber(1, MAX_CLUSTERS)
            checked["merge"] = [label.check(f"{name}: merge", each) for each in merged]
        if "name" in edits:
            text = str(edits["name"])
            if text != clean_name(text):
                raise ValueError(
                    f"{name}: name must be one short line, got {quote_value(text)}: give another."
                )
            checked["name"] = text
        if edits.get("color") is not None:
            checked["color"] = Text().check(f"{name}: color", edits["color"])
        if "ignored" in edits:
            checked["ignored"] = Flag().check(f"{name}: ignored", edits["ignored"])
        return checked


def _check_characters(name: str, text: str) -> str:
    """Refuse characters that no path has and no file can hold; names of files may be odd."""
    if "\0" in text or "\n" in text:
        raise ValueError(
            f"{name} must be on one line without NUL, got {quote_value(text)}: write another text."
        )
    return text


def suggest(got: Any, known: Iterable[str]) -> str:
    """Return what to write instead of an unknown word."""
    known = list(known)
    near = difflib.get_close_matches(str(got), known, 1)
    return f"write {near[0]}" if near else f"use one of {', '.join(known)}"
