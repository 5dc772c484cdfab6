"""The classes of a model: labels, names, display colors, and the centers of each class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import Flag, WholeNumber, is_whole_number, make_line, quote_value
from napari_kmeans.options import MAX_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MAX_NAME = 200
"""The largest number of characters of a name: a longer text does not fit in a list."""

_LABEL = WholeNumber(1, MAX_CLUSTERS)

_HEX_COLOR = re.compile(r"#[0-9a-f]{6}", re.ASCII)


@dataclass(frozen=True)
class ColorClass:
    """One class of an image: a label number and the centers that belong to it.

    Attributes
    ----------
    label : int
        The number in a label image, from 1 to 65535.
    centers : tuple of int
        The indices, from 0, of the centers that belong to the class, in ascending order.
    name : str
        One line of text; "" without a name.
    color : str or None
        The display color as #rrggbb. None shows the mean color of the class.
    ignored : bool
        Whether the class does not count in shares.

    Raises
    ------
    TypeError, ValueError
        If an attribute has another type or is out of bounds.
    """

    label: int
    centers: tuple[int, ...]
    name: str = ""
    color: str | None = None
    ignored: bool = False

    def __post_init__(self) -> None:
        """Check all attributes, and sort the centers."""
        object.__setattr__(self, "label", _LABEL.check("label", self.label))
        object.__setattr__(self, "centers", _check_centers(self.centers))
        if not isinstance(self.name, str) or self.name != clean_name(self.name):
            raise ValueError(
                f"name must be one line of at most {MAX_NAME} characters, got "
                f"{quote_value(self.name)}: give another name."
            )
        if self.color is not None:
            object.__setattr__(self, "color", _check_color(self.color))
        object.__setattr__(self, "ignored", Flag().check("ignored", self.ignored))

    def to_dict(self) -> dict[str, Any]:
        """Return the class as plain values that JSON can hold."""
        return {
            "label": self.label,
            "name": self.name,
            "color": self.color,
            "centers": list(self.centers),
            "ignored": self.ignored,
        }


@dataclass(frozen=True, repr=False)
class ClassScheme:
    """The classes of a model. Each center belongs to exactly one class.

    A scheme never changes: each edit returns a new scheme. So earlier schemes are the
    history of the edits, and an edit is undone by returning to an earlier scheme.

    Parameters
    ----------
    classes : iterable of ColorClass

    Attributes
    ----------
    classes : tuple of ColorClass
        In ascending order of their labels.

    Raises
    ------
    ValueError
        If two classes have the same label, or if a center belongs to no class or to
        several classes.

    Examples
    --------
    >>> classes = model.classes.merge([2, 3]).rename(2, "soil").ignore(1)
    >>> model = model.with_classes(classes)
    """

    classes: tuple[ColorClass, ...]

    def __post_init__(self) -> None:
        """Sort the classes by label, and check that they fit together."""
        classes = tuple(self.classes) if isinstance(self.classes, Iterable) else ()
        if not classes or not all(isinstance(each, ColorClass) for each in classes):
            raise ValueError(
                f"classes must be one or more ColorClass objects, got {quote_value(self.classes)}: "
                "edit the classes of a model."
            )
        classes = tuple(sorted(classes, key=lambda each: each.label))
        object.__setattr__(self, "classes", classes)
        if len(set(self.labels)) != len(classes):
            raise ValueError(
                f"classes must have different labels, got {quote_value(list(self.labels))}: "
                "give each class its own label."
            )
        centers = sorted(center for each in classes for center in each.centers)
        if centers != list(range(len(centers))):
            raise ValueError(
                f"classes must contain each center from 0 once, got {quote_value(centers)}: "
                "give each center to one class."
            )

    @classmethod
    def of_centers(cls, n_centers: int) -> ClassScheme:
        """Return the scheme of a new model: one class for each center, in the same order."""
        n_centers = _LABEL.check("n_centers", n_centers)
        return cls.of_labels(range(1, n_centers + 1))

    @classmethod
    def of_labels(cls, center_labels: Iterable[int]) -> ClassScheme:
        """Return the scheme in which each center has the label of its class."""
        if not isinstance(center_labels, Iterable):
            raise TypeError(
                f"center_labels must be a list of labels, got {quote_value(center_labels)}: give "
                "the label of the class of each center."
            )
        centers: dict[int, list[int]] = {}
        for center, label in enumerate(center_labels):
            centers.setdefault(_LABEL.check("label", label), []).append(center)
        return cls(tuple(ColorClass(label, tuple(each)) for label, each in centers.items()))

    @classmethod
    def from_list(cls, values: Any) -> ClassScheme:
        """Return the scheme that `to_list` wrote.

        Raises
        ------
        ValueError
            If the values are not those of a scheme.
        """
        names = ("label", "name", "color", "centers", "ignored")
        are_complete = isinstance(values, list) and all(
            isinstance(each, dict) and {*names} <= {*each} for each in values
        )
        if not are_complete or not values:
            raise ValueError(
                f"classes must be a list with {', '.join(names)} of each class, got "
                f"{quote_value(values)}: save the model again."
            )
        try:
            return cls(tuple(ColorClass(**{name: each[name] for name in names}) for each in values))
        except TypeError as error:
            raise ValueError(str(error)) from error

    def to_list(self) -> list[dict[str, Any]]:
        """Return the classes as plain values that JSON can hold."""
        return [each.to_dict() for each in self.classes]

    def __repr__(self) -> str:
        """Return one line without the classes."""
        return f"ClassScheme({len(self)} classes of {self.n_centers} centers)"

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    def __iter__(self) -> Iterator[ColorClass]:
        """Iterate over the classes in ascending order of their labels."""
        return iter(self.classes)

    def __getitem__(self, label: int) -> ColorClass:
        """Return the class of a label.

        Raises
        ------
        ValueError
            If no class has the label.
        """
        found = self._by_label.get(label) if is_whole_number(label) else None
        if found is None:
            raise ValueError(
                f"label must be one of {quote_value(list(self.labels))}, got "
                f"{quote_value(label)}: choose the label of a class."
            )
        return found

    @cached_property
    def _by_label(self) -> dict[int, ColorClass]:
        return {each.label: each for each in self.classes}

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each class, in ascending order."""
        return tuple(each.label for each in self.classes)

    @property
    def n_centers(self) -> int:
        """The number of centers of all classes."""
        return len(self.center_labels)

    @cached_property
    def center_labels(self) -> NDArray[np.int64]:
        """The label of each center, (M,)."""
        labels = np.empty(sum(len(each.centers) for each in self.classes), np.int64)
        for each in self.classes:
            labels[list(each.centers)] = each.label
        return labels

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """Whether each class is ignored, (K,)."""
        return np.array([each.ignored for each in self.classes])

    @property
    def is_unedited(self) -> bool:
        """Whether this is the scheme of a new model."""
        return all(
            each.centers == (row,)
            and (each.label, each.name, each.color, each.ignored) == (row + 1, "", None, False)
            for row, each in enumerate(self.classes)
        )

    # ---------------------------------------------------------------- editing

    def merge(self, *groups: Sequence[int]) -> ClassScheme:
        """Return the scheme with the classes of each group merged into one class.

        The merged class has the label, the color and `ignored` of the first class. Its
        name is made of the different names of all merged classes, joined by " + ".

        Parameters
        ----------
        *groups : sequence of int
            The labels to merge: at least two in each group, and each label in one group.

        Raises
        ------
        ValueError
            If a group has fewer than two labels, if no class has one of the labels, or if
            two groups have the same label.
        """
        chosen = []
        for group in groups:
            labels = list(group) if isinstance(group, Iterable) else [group]
            classes = list(dict.fromkeys(self[label] for label in labels))
            if len(classes) < 2:
                raise ValueError(
                    f"labels must be at least two classes, got {quote_value(labels)}: choose "
                    "more classes."
                )
            chosen.append(classes)
        return self._replaced(list(chain(*chosen)), [_merge(classes) for classes in chosen])

    def rename(self, label: int, name: str) -> ClassScheme:
        """Return the scheme with another name for a class; "" removes its name."""
        return self._replaced([self[label]], [replace(self[label], name=name)])

    def recolor(self, label: int, color: str | None) -> ClassScheme:
        """Return the scheme with another display color, #rrggbb, for a class.

        None shows the mean color of the class again.
        """
        return self._replaced([self[label]], [replace(self[label], color=color)])

    def ignore(self, label: int, ignored: bool = True) -> ClassScheme:
        """Return the scheme with a class that does not count in shares, or counts again."""
        return self._replaced([self[label]], [replace(self[label], ignored=ignored)])

    def split(self, label: int, own_labels: Sequence[int] | None = None) -> ClassScheme:
        """Return the scheme with a class split into one class for each of its centers.

        The center whose own label is that of the class keeps it, or else the first center.
        Other centers get their own label if no class has this label, or else the lowest free
        label above the lowest of all classes. So classes that were only merged get their labels
        back. The new classes have no name and no color. They are ignored if the class was.

        Parameters
        ----------
        label : int
        own_labels : sequence of int, optional
            The label that each center had before any merge. None takes 1, 2, … in their order.

        Raises
        ------
        ValueError
            If no class has the label, or if the class has only one center.
        """
        whole = self[label]
        if len(whole.centers) < 2:
            raise ValueError(
                f"label must be that of a class of several centers, got {quote_value(label)}, "
                "which has one: choose a merged class."
            )
        own = range(1, self.n_centers + 1) if own_labels is None else own_labels
        labels = {each: own[each] for each in whole.centers if own[each] not in self._by_label}
        first = next((each for each in whole.centers if own[each] == whole.label), None)
        labels[whole.centers[0] if first is None else first] = whole.label
        used = {*self.labels, *labels.values()}
        free = (each for each in range(self.labels[0], MAX_CLUSTERS + 1) if each not in used)
        parts = [
            ColorClass(
                labels[each] if each in labels else next(free), (each,), ignored=whole.ignored
            )
            for each in whole.centers
        ]
        return self._replaced([whole], parts)

    def replace_centers(self, label: int, n_centers: int) -> ClassScheme:
        """Return the scheme after new centers have replaced those of a class.

        The new centers are the last ones, after the kept centers. Each of them becomes a
        class. The first keeps the label, the name and the color; the others have the
        lowest labels that no class has, above the lowest of all classes. They are ignored if
        the class was.

        Raises
        ------
        ValueError
            If no class has the label, or if there would be too many centers.
        """
        whole = self[label]
        kept = np.flatnonzero(self.center_labels != label)
        if not 1 <= n_centers <= MAX_CLUSTERS - len(kept):
            raise ValueError(
                f"n_clusters must be 1 to {MAX_CLUSTERS - len(kept)} beside the other centers, "
                f"got {quote_value(n_centers)}: choose a number in this range."
            )
        others = [
            replace(each, centers=tuple(np.searchsorted(kept, each.centers).tolist()))
            for each in self.classes
            if each.label != label
        ]
        numbers = range(self.labels[0], MAX_CLUSTERS + 1)
        free = (number for number in numbers if number not in self._by_label)
        parts = [replace(whole, centers=(len(kept),))]
        for center in range(len(kept) + 1, len(kept) + n_centers):
            parts.append(ColorClass(next(free), (center,), ignored=whole.ignored))
        return ClassScheme((*others, *parts))

    def renumber(self, new_labels: Mapping[int, int]) -> ClassScheme:
        """Return the scheme with other labels for some classes.

        Parameters
        ----------
        new_labels : mapping of int to int
            The new label for each label that changes.

        Raises
        ------
        ValueError
            If no class has one of the labels, or if two classes would have the same label.
        """
        if not isinstance(new_labels, Mapping):
            raise TypeError(
                f"new_labels must be a mapping, got {quote_value(new_labels)}: pass the new label "
                "of each label that changes, such as {3: 1}."
            )
        changed = [self[label] for label in new_labels]
        renumbered = [replace(each, label=new_labels[each.label]) for each in changed]
        return self._replaced(changed, renumbered)

    def _replaced(self, old: Sequence[ColorClass], new: Sequence[ColorClass]) -> ClassScheme:
        """Return the scheme with some classes in place of others."""
        gone = {each.label for each in old}
        kept = [each for each in self.classes if each.label not in gone]
        return ClassScheme((*kept, *new))


def clean_name(text: str) -> str:
    """Return a text as a valid name: on one line, and cut with … if it is too long."""
    name = make_line(text)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _merge(classes: Sequence[ColorClass]) -> ColorClass:
    """Return the first of several classes with the centers and the names of all of them."""
    name = clean_name(" + ".join(dict.fromkeys(each.name for each in classes if each.name)))
    centers = tuple(center for each in classes for center in each.centers)
    return replace(classes[0], centers=centers, name=name)


def _check_centers(centers: Any) -> tuple[int, ...]:
    are_indices = isinstance(centers, list | tuple) and all(
        is_whole_number(center) and 0 <= center < MAX_CLUSTERS for center in centers
    )
    if not centers or not are_indices:
        raise ValueError(
            f"centers must be one or more indices from 0, got {quote_value(centers)}: give each "
            "class a center."
        )
    return tuple(sorted(int(center) for center in centers))


def _check_color(color: Any) -> str:
    if not isinstance(color, str) or not _HEX_COLOR.fullmatch(color.lower()):
        raise ValueError(
            f"color must be #rrggbb or None, got {quote_value(color)}: write red, green and blue "
            "as two hexadecimal digits each."
        )
    return color.lower()
