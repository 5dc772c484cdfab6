"""Carry the edits of classes to the model of a new fit, and describe what was carried."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.merging import carry_classes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_kmeans.classes import ClassScheme, ColorClass
    from napari_kmeans.model import KMeansModel


_MOST_NAMED = 12
"""Clusters that a sentence names."""


class CarriedClasses(NamedTuple):
    """The classes of a new model with the edits of an earlier one, in words for the user, too."""

    classes: ClassScheme
    sentences: list[str]

    @classmethod
    def of(cls, model: KMeansModel, earlier: KMeansModel) -> CarriedClasses:
        """Return the classes of a model; see `carry_classes`.

        No edit is carried to a model of other channels or units.
        """
        try:
            carried, lost = carry_classes(model, earlier)
        except ValueError:
            carried, lost = model.classes, list(earlier.classes)
        sentences = [describe_carried(carried, model.classes), describe_lost(lost)]
        return cls(carried, [each for each in sentences if each])


def describe_carried(classes: ClassScheme, before: ClassScheme) -> str:
    """Return the sentence about the classes that were edited; empty if there are none."""
    known = set(before)
    edited = [
        f"{each.label} “{each.name}”" if each.name else str(each.label)
        for each in classes
        if each not in known
    ]
    if len(edited) > _MOST_NAMED:
        edited[_MOST_NAMED:] = [f"and {len(edited) - _MOST_NAMED:,} more"]
    return f"Names and edits kept by color: {', '.join(edited)}." if edited else ""


def describe_lost(lost: Iterable[ColorClass]) -> str:
    """Return the sentence about edited classes that have no counterpart; empty without any."""
    names = list_edited(lost)
    return f"No cluster of the new result has the color of {names}." if names else ""


def list_edited(classes: Iterable[ColorClass]) -> str:
    """Return the names of classes; the labels of those that are edited and have no name."""
    names = [
        f"“{each.name}”" if each.name else f"cluster {each.label}"
        for each in classes
        if each.name or each.color or each.ignored or len(each.centers) > 1
    ]
    return ", ".join(names)
