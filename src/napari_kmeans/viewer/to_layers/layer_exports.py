"""Export a Labels layer for other programs, in the background: polygons, masks and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_kmeans.batch.earlier_results import clear_unfinished_masks, find_masks
from napari_kmeans.class_masks import Masks
from napari_kmeans.exported import Exported
from napari_kmeans.figures import plot_legend_of_table
from napari_kmeans.files.atomic import replacing
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.result_record import MASK
from napari_kmeans.files.tiff_writer import tiff_axes
from napari_kmeans.geojson import write_geojson
from napari_kmeans.viewer.background.figure_work import FigureWork
from napari_kmeans.viewer.to_layers.saved_labels import SavedLabels, shown_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.execution.progress import Report


def _table_of(saved: SavedLabels) -> pd.DataFrame:
    table = saved.counted_table()
    if table is None:
        raise ValueError("the layer has no table of clusters: run the clustering again.")
    return table


def _letters(saved: SavedLabels) -> str:
    return tiff_axes(Picture(saved.pixels, rgb=False, axes=saved.axes)).lower()


@dataclass(frozen=True, eq=False)
class PolygonsWork:
    """Labels to write as polygons.

    Attributes
    ----------
    saved : SavedLabels
    path : Path
    objects : bool
        Whether each connected object is a feature, or else each class.
    """

    saved: SavedLabels
    path: Path
    objects: bool

    def run(self, progress: Report | None = None) -> list[Path]:
        """Write the complete file, or no file if an error occurs; return its path."""
        write_geojson(
            self.saved.pixels,
            self.path,
            classes=_table_of(self.saved),
            objects=self.objects,
            axes=_letters(self.saved),
            progress=progress,
        )
        return [self.path]


@dataclass(frozen=True, eq=False)
class MasksWork:
    """Labels to write as a mask of each class.

    Attributes
    ----------
    saved : SavedLabels
    path : Path
        As the user chose it. The names of the masks begin with its name without ending.
    """

    saved: SavedLabels
    path: Path

    def run(self, progress: Report | None = None) -> list[Path]:
        """Write all files, or none if an error occurs; return their paths.

        Masks of an earlier export under the same name that are not replaced are removed.

        Raises
        ------
        FileExistsError
            If another file than an earlier mask is at one of the paths.
        """
        folder, stem = self.path.parent, self.path.stem.removesuffix(f"-{MASK}")
        exported = Exported.of(
            self.saved.pixels, _table_of(self.saved), False, _letters(self.saved)
        )
        masks = Masks(exported, self.saved.axes, stem)
        paths, earlier = masks.paths(folder), find_masks(folder, stem)
        # Whoever typed "cells.png" was not asked about "cells-mask-1.png".
        foreign = [path.name for path in paths if path.exists() and path not in earlier]
        if foreign:
            raise FileExistsError(
                f"path must be that of new masks, got {self.path.name!r}, and {foreign[0]} "
                "exists: choose another name."
            )
        clear_unfinished_masks(folder, stem)
        with replacing(paths, [path for path in earlier if path not in paths]) as temporary:
            masks.write([*temporary.values()], progress)
        return paths


def legend_work(layer: Labels | None, table: pd.DataFrame, path: Path) -> FigureWork:
    """Return the work for a legend of a layer in the colors on the screen.

    Without a layer, the legend is that of the table.
    """
    shown = None if layer is None else shown_table(layer)
    return FigureWork(plot_legend_of_table, table if shown is None else shown, path)
