"""Draw a figure of a table and write it to a file, as work for the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_kmeans.files.atomic import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from napari_kmeans.execution.progress import Report

_SUFFIXES = (".png", ".svg", ".pdf")

FIGURE_FILTER = "Figures (*.png *.svg *.pdf)"
"""The files of figures, for a dialog."""


@dataclass(frozen=True, eq=False)
class FigureWork:
    """A figure to write to a file.

    Attributes
    ----------
    plot : callable
        Returns the figure of the table.
    table : pandas.DataFrame
    path : Path
    """

    plot: Callable[[pd.DataFrame], Figure]
    table: pd.DataFrame
    path: Path

    def run(self, _progress: Report | None = None) -> list[Path]:
        """Write the complete file, or no file if an error occurs; return its path.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the suffix of the path is not that of a figure.
        OSError
            If the file cannot be written.
        """
        if self.path.suffix.lower() not in _SUFFIXES:
            raise ValueError(
                f"a figure must be saved as .png, .svg or .pdf, got {self.path.name!r}: "
                "choose one of these suffixes."
            )
        write_whole({self.path: self.plot(self.table).savefig})
        return [self.path]
