"""Save a Labels layer with its classes, so that its file opens as the same layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.files.atomic import replacing
from napari_kmeans.files.ome_zarr_writer import AXIS_RANKS, Image, describe_labels, write_images
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.result_record import add_record_to_zarr, labels_record
from napari_kmeans.files.tiff_writer import write_tiff
from napari_kmeans.imaging.blocks import as_lazy, is_dask
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.label_counts import LabelCounter, count_labels
from napari_kmeans.measuring import (
    COLOR_COLUMN,
    COUNT_COLUMNS,
    add_sizes,
    drop_sizes,
    write_csv,
)
from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.from_layers.axes import layer_axes
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_attributes
from napari_kmeans.viewer.provenance import recorded_run
from napari_kmeans.viewer.to_layers.hand_edits import count_now
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_area import counted_size
from napari_kmeans.viewer.to_layers.label_colors import color_of_label
from napari_kmeans.viewer.to_layers.label_table import (
    counted_level,
    counted_slice,
    is_outdated,
    recounted_table,
    without_mark,
)
from napari_kmeans.viewer.to_layers.layer_classes import model_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.files.picture import Axis
    from napari_kmeans.imaging.label_counts import LabelCounts
    from napari_kmeans.measuring import PixelSize
    from napari_kmeans.stacks import StackModel

ENDING = "-labels"
"""The end of the name of a file of labels, before its suffix, by which napari finds the reader."""

LAYER_ENDING = " labels"
"""The end of the names of Labels layers, which napari suggests as names of their files."""


def result_paths(path: Path, has_table: bool, has_model: bool) -> list[Path]:
    """Return the files of a result: the labels, and the table and the model beside them.

    Parameters
    ----------
    path : Path
        As the user chose it, with or without `ENDING` before its suffix. The labels are in a
        TIFF file unless the suffix is ``.zarr``: napari finds the reader by these two only.
    has_table, has_model : bool
    """
    stem = path.stem.removesuffix(ENDING)
    names = [f"{stem}{ENDING}{'.zarr' if path.suffix.lower() == '.zarr' else '.tif'}"]
    names += [f"{stem}-table.csv"] * has_table + [f"{stem}-model.json"] * has_model
    return [path.with_name(name) for name in names]


def readable_path(path: Path) -> Path:
    """Return the path of a file of labels under a name by which napari finds the reader.

    The dialog of napari adds no suffix to the name of the layer, which it suggests. The reader
    is asked for each directory, but only for files whose names end as those of labels.
    """
    if path.suffix == ".zarr" or path.name.endswith((f"{ENDING}.tif", f"{LAYER_ENDING}.tif")):
        return path
    is_image = path.suffix.lower() in (".tif", ".tiff")
    stem = path.stem if is_image else path.name
    ending = "" if stem.endswith((ENDING, LAYER_ENDING)) else ENDING
    return path.with_name(f"{stem}{ending}.tif")


@dataclass(frozen=True, eq=False)
class SavedLabels:
    """A snapshot of a Labels layer, as it is written to files.

    Attributes
    ----------
    pixels : array
        A copy of the labels of the finest level; lazy labels are not copied.
    axes : tuple of Axis
    table : pandas.DataFrame or None
        The table of the clusters in the colors on the screen; None if the layer has none.
    model : KMeansModel or StackModel or None
        The model with all edits of its classes; None if the layer has none.
    layer : dict
        The name and the place of the layer and its run, as plain values.
    size : PixelSize or None
        The size of a pixel of the finest level.
    new_color : str
        The color of labels that have no row in the table, as #rrggbb.
    must_count : bool
        Whether the table does not count the pixels of the finest level, as they are now.
    counted : tuple
        The index of the pixels that the table counts.
    """

    pixels: Any
    axes: tuple[Axis, ...]
    table: pd.DataFrame | None
    model: KMeansModel | StackModel | None
    layer: dict[str, Any]
    size: PixelSize | None = None
    new_color: str = "#ffffff"
    must_count: bool = False
    counted: tuple[Any, ...] = ()

    @classmethod
    def of(cls, layer: Labels) -> SavedLabels:
        """Take the snapshot of a Labels layer, which may be any."""
        count_now(layer)
        slice_index = counted_slice(layer) or ()
        pixels = as_lazy(layer_levels(layer)[0])
        place = {name: _as_plain(value) for name, value in spatial_attributes(layer).items()}
        return cls(
            # The user may paint while the files are written: the table is that of this moment.
            pixels=pixels if is_dask(pixels) else np.array(pixels),
            axes=_in_order_of_files(layer_axes(layer)),
            table=shown_table(layer),
            model=model_of(layer),
            layer={
                "name": layer.name,
                "place": place,
                "run": recorded_run(layer),
                "hidden": hidden_labels(layer),
            },
            size=counted_size(layer, 0),
            new_color=_color_of_others(layer),
            must_count=counted_level(layer) > 0 or is_outdated(layer.features),
            counted=tuple(slice(None) if item is None else item for item in slice_index),
        )

    def write(self, path: Path, *others: Path, progress: Report | None = None) -> None:
        """Write the labels, and the table and the model beside them: all files or none.

        Parameters
        ----------
        path : Path
            A zarr directory if its suffix is ``.zarr``, else a TIFF file, for which lazy labels
            are computed in memory.
        *others : Path
            A CSV file for the table, or a JSON file for the model.
        progress : callable, optional
            ``progress(done, total)`` is called as chunks are written. If it raises an exception,
            nothing is written.

        Raises
        ------
        OSError
            If the disk is full or cannot be written to.
        """
        with replacing([path, *others]) as temporary:
            write = self._write_zarr if path.suffix == ".zarr" else self._write_tiff
            table = write(temporary[path], path.stem, progress)
            for other in others:
                if other.suffix == ".csv" and table is not None:
                    write_csv(table, temporary[other])
                elif isinstance(self.model, KMeansModel):
                    self.model.save(temporary[other])

    def counted_table(self) -> pd.DataFrame | None:
        """Return the table of the clusters; None if the layer has none.

        Labels in memory are counted if the table does not count them as they are now.
        """
        must_count = self.must_count and not is_dask(self.pixels)
        counts = count_labels(self.pixels[self.counted]) if must_count else None
        return self._current_table(counts)

    def _write_tiff(self, path: Path, _name: str, _progress: Report | None) -> pd.DataFrame | None:
        in_memory = replace(self, pixels=np.asarray(self.pixels))
        table = in_memory.counted_table()
        picture = Picture(in_memory.pixels, rgb=False, axes=self.axes)
        write_tiff(path, picture, self._record(table))
        return table

    def _write_zarr(self, path: Path, name: str, progress: Report | None) -> pd.DataFrame | None:
        import dask.array as da

        counter = LabelCounter()
        if self.must_count and self.counted:
            counter.add(np.asarray(self.pixels[self.counted]))
        watch = counter.add if self.must_count and not self.counted else None
        pixels = self.pixels if is_dask(self.pixels) else da.from_array(self.pixels)
        image = Image(path, name.replace(ENDING, " labels"), pixels, self.axes, watch=watch)
        write_images([image], progress)
        table = self._current_table(counter.counts() if self.must_count else None)
        add_record_to_zarr(path, self._record(table))
        if table is not None:
            describe_labels(path, table)
        return table

    def _current_table(self, counts: LabelCounts | None) -> pd.DataFrame | None:
        """Return the table of the finest level with other counts and the sizes of its pixels.

        The means are left out if the pixels were counted again: they are those of others.
        """
        table = self.table
        if table is None:
            return None
        table = drop_sizes(table).drop(columns="level", errors="ignore")
        if counts is not None:
            table = recounted_table(table, counts)
            table[COLOR_COLUMN] = table[COLOR_COLUMN].fillna(self.new_color)
        return table if self.size is None else add_sizes(table, self.size)

    def _record(self, table: pd.DataFrame | None) -> dict[str, Any]:
        entries: dict[str, Any] = {"layer": self.layer}
        if self.model is not None:
            entries["model"] = self.model.to_dict()
        if table is None:
            return {"kind": "labels", "version": __version__, **entries}
        return labels_record(__version__, table, **entries)


def shown_table(layer: Labels) -> pd.DataFrame | None:
    """Return the table of a layer with the colors on the screen; None if there is no table."""
    table = without_mark(layer.features)
    if not set(COUNT_COLUMNS) <= set(table):
        return None
    colormap = without_highlight(layer.colormap)
    colors = [color_of_label(colormap, int(label))[:3] for label in table[COUNT_COLUMNS[0]]]
    table = table.drop(columns=COLOR_COLUMN, errors="ignore")
    return table.assign(**{COLOR_COLUMN: to_hex(np.array(colors, np.float64).reshape(-1, 3))})


def _color_of_others(layer: Labels) -> str:
    """Return the color of labels that no row of the table has."""
    listed = layer.features.get("index", [0])
    color = color_of_label(without_highlight(layer.colormap), max(listed, default=0) + 1)
    return to_hex(np.asarray(color[None, :3], np.float64))[0]


def hidden_labels(layer: Labels) -> list[int]:
    """Return the labels that the colormap of a layer hides."""
    colors = getattr(without_highlight(layer.colormap), "color_dict", {})
    return [int(label) for label, color in colors.items() if label and color[3] == 0]


def _in_order_of_files(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return axes that no format has to sort: time is space unless it is first."""
    ranks = [AXIS_RANKS.get(axis.kind, 1) for axis in axes]
    if ranks == sorted(ranks) and ranks.count(AXIS_RANKS["time"]) < 2:
        return axes
    return tuple(axis._replace(kind="space") for axis in axes)


def _as_plain(value: Any) -> Any:
    """Return an attribute of a layer as JSON holds it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [str(item) for item in value]
