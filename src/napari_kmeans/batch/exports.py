"""Write further results beside those of a run: polygons, masks, a legend and the confidence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_kmeans._version import __version__
from napari_kmeans.batch.channels import GDAL_NODATA
from napari_kmeans.batch.result_files import file_key
from napari_kmeans.files.ome_zarr_writer import Image, spatial_axes, write_images
from napari_kmeans.files.result_record import CONFIDENCE, add_record_to_zarr
from napari_kmeans.files.tiff_writer import tiff_axes, write_tiff
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.files.picture import Picture

EXPORTS = ("geojson", "masks", "legend", "confidence")
"""What can be written beside the results of an image."""

LEGEND_SOFTWARE = f"napari-kmeans {__version__}"
"""The software in the metadata of a legend, by which it is recognized."""


class Exports:
    """The further files of one image.

    Parameters
    ----------
    names : sequence of str
        Some of `EXPORTS`.
    labels : Picture
        The labels with the axes of their file. Lazy labels are computed slice by slice for
        polygons, and as a whole for masks.
    table : pandas.DataFrame
        The table of their clusters.
    directory : Path
    stem : str
        The beginning of the file names.
    find_confidence : callable, optional
        Returns the confidence of each pixel, an array of the shape of the labels.

    Attributes
    ----------
    paths : list of Path
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: Picture,
        table: pd.DataFrame,
        directory: Path,
        stem: str,
        find_confidence: Callable[[], Any] | None = None,
    ) -> None:
        self._parts: list[tuple[list[Path], Callable[..., Any]]] = []
        if not names:
            return
        # These modules import numba, which would slow down the start of the command line.
        from napari_kmeans.class_masks import Masks
        from napari_kmeans.exported import Exported
        from napari_kmeans.geojson import write_geojson

        letters = tiff_axes(labels).lower()
        if "geojson" in names:
            path = directory / f"{stem}-classes.geojson"
            write = partial(write_geojson, labels.pixels, axes=letters)
            self._parts.append(([path], lambda temporary, table: write(*temporary, classes=table)))
        if "masks" in names:
            masks = Masks(Exported.of(labels.pixels, table, False, letters), labels.axes, stem)
            self._parts.append(
                (masks.paths(directory), lambda temporary, _: masks.write(temporary))
            )
        if "legend" in names:
            self._parts.append(([directory / f"{stem}-legend.png"], _write_legend))
        if "confidence" in names:
            if find_confidence is None:
                raise ValueError("the confidence needs the image: pass its picture.")
            suffix = ".zarr" if is_dask(labels.pixels) else ".tif"
            write_values = partial(_write_confidence, find_confidence, labels, stem)
            self._parts.append(
                (
                    [directory / f"{stem}-confidence{suffix}"],
                    lambda temporary, _: write_values(*temporary),
                )
            )

    @property
    def paths(self) -> list[Path]:
        """All files, in the order of `EXPORTS`."""
        return [path for paths, _ in self._parts for path in paths]

    def refuse_kept(self, kept: Sequence[Path]) -> None:
        """Raise ValueError if a file would be written over one that has to be kept."""
        keys = {file_key(path) for path in kept}
        lost = next((path for path in self.paths if file_key(path) in keys), None)
        if lost is not None:
            raise ValueError(f"{lost.name} is an input: choose another directory for the results")

    def write(self, temporary: dict[Path, Path], table: pd.DataFrame) -> None:
        """Write all files to their temporary paths, with the final table."""
        for paths, write in self._parts:
            write([temporary[path] for path in paths], table)


def _write_legend(temporary: list[Path], table: pd.DataFrame) -> None:
    from napari_kmeans.figures import plot_legend_of_table

    metadata = {"Software": LEGEND_SOFTWARE}
    plot_legend_of_table(table).savefig(temporary[0], format="png", metadata=metadata)


def _write_confidence(
    find_confidence: Callable[[], Any], labels: Picture, stem: str, path: Path
) -> None:
    """Write the confidence with the axes and the georeference of the labels."""
    values, record = find_confidence(), {"kind": CONFIDENCE, "version": __version__}
    if is_dask(values):
        axes = tuple(labels.axes or spatial_axes(values.ndim))
        write_images([Image(path, f"{stem} {CONFIDENCE}", values, axes)])
        add_record_to_zarr(path, record)
        return
    # Pixels that have no class are NaN, and not 0 as in the labels.
    tags = [(GDAL_NODATA, 2, 4, "nan") if tag[0] == GDAL_NODATA else tag for tag in labels.geo_tags]
    write_tiff(path, labels._replace(pixels=values, geo_tags=tuple(tags)), record)
