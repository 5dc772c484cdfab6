"""What exports need of a result: its labels slice by slice, and its classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import check_result, make_line, quote_value, to_array
from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.result_record import table_classes
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.measuring import COLOR_COLUMN, COUNT_COLUMNS, are_ignored, cluster_table
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackSegmentation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

LETTERS = "tzyx"
"""The letters of the axes of labels, in the order of arrays without metadata."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
"""Characters that file names cannot have on Linux, macOS or Windows."""

_MAX_NAME_BYTES = 100
"""The largest size of the name of a class in a file name, which has at most 255 bytes."""


@dataclass(frozen=True)
class ExportedClass:
    """A class as other programs get it."""

    label: int
    name: str
    """One line of text; empty without a name."""

    color: str
    """The display color as #rrggbb."""

    ignored: bool = False

    @property
    def shown_name(self) -> str:
        """The name, or one made of the label."""
        return self.name or f"Class {self.label}"

    @property
    def rgb(self) -> list[int]:
        """Red, green and blue from 0 to 255."""
        return list(bytes.fromhex(self.color[1:]))

    @property
    def file_name(self) -> str:
        """The label and the name as a part of a file name."""
        name = _UNSAFE.sub("_", self.name).encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
        # Windows removes spaces and dots at the end of a name.
        return f"{self.label}-{name}".rstrip("-. ")


@dataclass(frozen=True, eq=False)
class Exported:
    """The labels of one image and its classes.

    Attributes
    ----------
    labels : (..., Y, X) array of whole numbers
        A numpy or dask array. Its axes are in the order of `letters`.
    classes : tuple of ExportedClass
        The classes to export, in ascending order of their labels.
    known : array of int
        The labels of all classes, also of those that are not exported.
    letters : str
        A letter of `LETTERS` for each axis.
    """

    labels: Any
    classes: tuple[ExportedClass, ...]
    known: NDArray[np.int64]
    letters: str

    @classmethod
    def of(
        cls,
        segmentation: Any,
        classes: KMeansModel | pd.DataFrame | None,
        include_ignored: bool,
        axes: str | None,
    ) -> Exported:
        """Check the arguments of an export.

        Raises
        ------
        TypeError, ValueError
            If an argument is of another kind.
        """
        if isinstance(segmentation, Segmentation | StackSegmentation):
            labels = segmentation.labels
            table = segmentation.table if classes is None else _class_table(classes)
        else:
            labels, table = segmentation, _class_table(classes)
        labels = _check_labels(labels)
        all_classes = _classes_of(table)
        exported = [each for each in all_classes if include_ignored or not each.ignored]
        known = np.array([each.label for each in all_classes])
        return cls(labels, tuple(exported), known, check_axes(axes, labels.ndim))

    def slices(self) -> Iterator[tuple[dict[str, int], NDArray[Any]]]:
        """Yield the place of each slice, such as ``{"z": 3}``, and its labels (Y, X).

        Lazy labels are computed slice by slice.

        Raises
        ------
        ValueError
            If a slice of lazy labels does not fit into the memory, or a label has no class.
        """
        lengths = self.labels.shape[:-2]
        for index in product(*map(range, lengths)):
            place = dict(zip(self.letters, index, strict=False))
            yield place, self.compute(index)

    def compute(self, index: tuple[int, ...] = (), bytes_per_pixel: int = 40) -> NDArray[Any]:
        """Return a part of the labels in memory, after a check of its labels.

        Parameters
        ----------
        index : tuple of int
        bytes_per_pixel : int
            The memory that the caller needs for each pixel of lazy labels. 40 is that of
            tracing outlines around single pixels.
        """
        part = self.labels[index]
        if is_dask(part):
            try:
                check_memory(part.size * bytes_per_pixel, "the slice")
            except UnreadableImageError as error:
                raise ValueError(
                    f"labels must have slices that fit into memory, got shape {part.shape} "
                    f"({error}): pass the labels of a coarser level or of a part."
                ) from error
        labels = np.asarray(part)
        found = np.unique(labels)
        unknown = np.setdiff1d(found, [0, *self.known])
        if len(unknown):
            raise ValueError(
                f"labels must have a class each, got {quote_value(unknown.tolist())} without "
                "one: pass the table with these labels as classes."
            )
        return labels


def check_axes(axes: str | None, ndim: int) -> str:
    """Return the letter of each axis; None takes those of arrays without metadata."""
    if not 2 <= ndim <= len(LETTERS):
        raise ValueError(
            f"labels must have 2 to {len(LETTERS)} axes, got {ndim}: pass a part of them."
        )
    if axes is None:
        return LETTERS[-ndim:]
    is_valid = isinstance(axes, str) and axes in ("yx", "tyx", "zyx", "tzyx", "ztyx")
    if not is_valid or len(axes) != ndim:
        raise ValueError(
            f"axes must be {ndim} letters of t and z before yx, got {quote_value(axes)}: write a "
            f"letter for each axis, such as {LETTERS[-ndim:]!r}."
        )
    return axes


def axes_of(letters: str, scale: Sequence[float], unit: str) -> tuple[Axis, ...]:
    """Return the metadata of axes with the scale of each and a unit for those of space."""
    return tuple(
        Axis(letter, "time", "", step) if letter == "t" else Axis(letter, "space", unit, step)
        for letter, step in zip(letters, scale, strict=True)
    )


def _class_table(classes: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(classes, KMeansModel):
        return cluster_table(classes)
    words = "a KMeansModel or a table of classes"
    remedy = "pass segmentation.model or segmentation.table"
    check_result("classes", classes, pd.DataFrame, words=words, remedy=remedy)
    needed = [COUNT_COLUMNS[0], COLOR_COLUMN]
    if not set(needed) <= set(classes):
        raise ValueError(
            f"classes must have the columns {' and '.join(needed)}, got "
            f"{quote_value(list(classes))}: {remedy}."
        )
    table: pd.DataFrame = classes
    return table


def _classes_of(table: pd.DataFrame) -> list[ExportedClass]:
    classes = [
        ExportedClass(each["label"], make_line(str(each["name"])), each["color"], bool(is_ignored))
        for each, is_ignored in zip(table_classes(table), are_ignored(table), strict=True)
    ]
    return sorted(classes, key=lambda each: each.label)


def _check_labels(labels: Any) -> Any:
    if isinstance(labels, list) and any(hasattr(each, "shape") for each in labels):
        raise ValueError(
            f"segmentation must be of one image, got one of {len(labels)} images or levels: pass "
            "the labels of one, and classes=segmentation.table."
        )
    array = labels if is_dask(labels) else to_array("segmentation", labels)
    if array.dtype.kind not in "bui" or 0 in array.shape:
        raise TypeError(
            f"segmentation must be a result or an image of whole numbers, got shape "
            f"{array.shape} of dtype {array.dtype}: pass segmentation.labels."
        )
    return array.view(np.uint8) if array.dtype.kind == "b" else array
