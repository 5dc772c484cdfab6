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
