"""Open the files of results in napari as what they are: labels with classes, recolored images.

Files of the command line open, and files of labels that were saved in napari. napari calls
`get_reader` for each file that matches the patterns in the manifest, and for each directory.
So the function reads only the record, and this module imports nothing large.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_kmeans.files.result_record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.viewer.to_layers.opened_files import LayerData


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the function that opens a result, or None if the path is no result.

    The path of a folder opens the labels of all results in it. Several paths are a stack of
    images, which no result is.
    """
    if not isinstance(path, str):
        return None
    if read_record(Path(path)) is not None:
        return read_result
    return read_results if _labels_in(Path(path)) else None


def read_result(path: str) -> list[LayerData]:
    """Return the layers of a file or a zarr directory that has a record.

    Raises
    ------
    UnreadableImageError
        If the file is damaged.
    """
    from napari_kmeans.viewer.to_layers.opened_files import open_file

    return open_file(path)


def read_results(path: str) -> list[LayerData]:
    """Return the Labels layers of the results in a folder."""
    return [layer for file in _labels_in(Path(path)) for layer in read_result(str(file))]


def _labels_in(folder: Path) -> list[Path]:
    """Return the files of labels in a folder of results, in the order of their names."""
    # A zarr directory has no such files, and may be large.
    if not folder.is_dir() or (folder / "zarr.json").exists():
        return []
    files = (path for suffix in (".tif", ".zarr") for path in folder.glob(f"*[- ]labels{suffix}"))
    return sorted(path for path in files if read_record(path) is not None)
