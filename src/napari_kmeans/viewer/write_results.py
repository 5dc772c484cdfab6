"""Write a Labels layer with its classes through napari, as *File ▸ Save Selected Layers* does."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer to a TIFF file or a zarr directory, from which it opens unchanged.

    Parameters
    ----------
    path : str
        As the user chose it. If the reader would not find the file again by its name, the name
        is completed: ``cells`` and ``cells.tif`` give ``cells-labels.tif``.
    data : array or list of arrays
    attributes : dict
        The attributes of the layer, as napari gives them to writers.

    Returns
    -------
    list of str
        The path of the file.

    Raises
    ------
    FileExistsError
        If the name was completed, and there is such a file, which the user did not choose.
    OSError
        If the disk is full or cannot be written to.
    """
    from napari.layers import Labels
    from napari.utils.notifications import show_info

    from napari_kmeans.viewer.to_layers.saved_labels import SavedLabels, readable_path

    chosen = Path(path)
    written = readable_path(chosen)
    if written != chosen and written.exists():
        raise FileExistsError(
            f"path must be that of a new file, got {chosen.name!r}, and {written.name} exists: "
            f"choose another name, or {written.name} to replace it."
        )
    SavedLabels.of(Labels(data, **attributes)).write(written)
    if written != chosen:
        show_info(f"The labels are in {written.name}.")
    return [str(written)]
