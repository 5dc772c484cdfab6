"""Name, color, ignore and merge classes as a study file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_kmeans.classes import ClassScheme


def edit_classes(classes: ClassScheme, edits: Mapping[int, Mapping[str, Any]]) -> ClassScheme:
    """Return the classes with the edits of a study file.

    Parameters
    ----------
    classes : ClassScheme
    edits : mapping of int to mapping
        For the label of a class: `merge` (labels that join it), `name`, `color`, `ignored`.

    Raises
    ------
    TypeError, ValueError
        If no class has a label, or if a value is not valid.
    """
    for label, edit in edits.items():
        if edit.get("merge"):
            classes = classes.merge([label, *edit["merge"]])
        if "name" in edit:
            classes = classes.rename(label, edit["name"])
        if "color" in edit:
            classes = classes.recolor(label, edit["color"])
        if "ignored" in edit:
            classes = classes.ignore(label, edit["ignored"])
    return classes


def find_edits(classes: ClassScheme) -> dict[int, dict[str, Any]]:
    """Return the edits with which `edit_classes` makes some classes of those of a new model.

    The label of a class must be that of one of its centers in the new model.
    """
    edits: dict[int, dict[str, Any]] = {}
    for each in classes:
        others = [center + 1 for center in each.centers if center + 1 != each.label]
        edit: dict[str, Any] = {"merge": others} if others else {}
        edit |= {"name": each.name} if each.name else {}
        edit |= {"color": each.color} if each.color else {}
        edit |= {"ignored": True} if each.ignored else {}
        if edit:
            edits[each.label] = edit
    return edits
