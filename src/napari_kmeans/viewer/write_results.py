"""Write a Labels layer with its classes through napari, as *File ▸ Save Selected Layers* does."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer to a TIFF file or a zarr directory, from which it opens unchanged.

    Parameters
    ----------
    path : str
        The reader finds the file again if its name ends with ``labels`` before the suffix.
    data : array or list of arrays
    attributes : dict
        The attributes of the layer, as napari gives them to writers.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    OSError
        If the disk is full or cannot be written to.
    """
    from napari.layers import Labels

    from napari_kmeans.viewer.to_layers.saved_labels import SavedLabels

    SavedLabels.of(Labels(data, **attributes)).write(Path(path))
    return [path]
