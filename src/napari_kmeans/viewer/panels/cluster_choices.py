"""The clusters of a result as choices of a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.classes import clean_name
from napari_kmeans.measuring import IGNORED, NAME

if TYPE_CHECKING:
    from napari_kmeans.viewer.to_layers.result import Result


class ClusterRow(NamedTuple):
    """A cluster in the table of a result."""

    label: int
    name: str
    ignored: bool

    @property
    def text(self) -> str:
        """The label and the name."""
        return f"{self.label}: {self.name}" if self.name else str(self.label)


def cluster_rows(result: Result | None) -> list[ClusterRow]:
    """Return the label, the name and whether it is ignored of each cluster of a result."""
    if result is None:
        return []
    table = result.table
    names = table[NAME].fillna("") if NAME in table else [""] * len(table)
    ignored = table[IGNORED] if IGNORED in table else [False] * len(table)
    return [
        ClusterRow(int(label), clean_name(str(name)), bool(is_ignored))
        for label, name, is_ignored in zip(table["index"], names, ignored, strict=True)
    ]
