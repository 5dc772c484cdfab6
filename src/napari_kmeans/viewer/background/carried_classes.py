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
        sentences = [describe_carried(carried, model, earlier), describe_lost(lost)]
        return cls(carried, [each for each in sentences if each])


def describe_carried(classes: ClassScheme, model: KMeansModel, earlier: KMeansModel) -> str:
    """Return the sentences about carried edits and about new classes without a name.

    Parameters
    ----------
    classes : ClassScheme
        The classes of `model` with the edits of `earlier`.
    model, earlier : KMeansModel

    Returns
    -------
    str
        Empty if no edit was carried.
    """
    known = set(model.classes)
    edited = [
        f"{each.label} “{each.name}”" if each.name else str(each.label)
        for each in classes
        if each not in known
    ]
    if not edited:
        return ""
    text = f"Names and edits are kept by color in {_name_clusters(edited)}."
    new = [str(label) for label in find_new(model, earlier)]
    if new:
        has_no_name = "is new and has no name" if len(new) == 1 else "are new and have no name"
        names = _name_clusters(new)
        text += f" {names[0].upper()}{names[1:]} {has_no_name}."
    return text


def find_new(model: KMeansModel, earlier: KMeansModel) -> list[int]:
    """Return the labels of new classes that continue no class of an earlier model."""
    named = earlier.classes
    for each in earlier.classes:
        named = named.rename(each.label, f"class {each.label}")
    # All earlier classes have a name here, so that a class without a name continues none of them.
    carried, _ = carry_classes(model, earlier.with_classes(named))
    return [each.label for each in carried if not each.name and not each.ignored]


def _name_clusters(words: list[str]) -> str:
    """Return "cluster 2" or "clusters 2, 5 and 6", with the first of many."""
    more = len(words) - _MOST_NAMED
    words = [*words[:_MOST_NAMED], *([f"{more:,} more"] if more > 0 else [])]
    names = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    return f"cluster{'' if len(words) == 1 else 's'} {names}"


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
