"""Open the files of results in napari as what they are: labels with classes, recolored images.

Files of the command line open, and files of labels that were saved in napari.

napari calls `get_reader` for each file that matches the patterns in the manifest, and
for each directory. So the function reads only the record, and this module imports
nothing large.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_kmeans.files.result_record import read_record, recorded_axes, recorded_channels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.files.picture import Picture

    LayerData: TypeAlias = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the function that opens a result, or None if the path is no result.

    Several paths are a stack of images, which no result is.
    """
    if not isinstance(path, str):
        return None
    if read_record(Path(path)) is not None:
        return read_result
    return read_results if _labels_in(Path(path)) else None


def read_results(path: str) -> list[LayerData]:
    """Return the Labels layers of the results in a folder."""
    return [layer for file in _labels_in(Path(path)) for layer in read_result(str(file))]


def _labels_in(folder: Path) -> list[Path]:
    """Return the files of labels in a folder of results, in the order of their names."""
    # A zarr directory has no such files, and may be large.
    if not folder.is_dir() or (folder / "zarr.json").exists():
        return []
    files = (path for suffix in (".tif", ".zarr") for path in folder.glob(f"*-labels{suffix}"))
    return sorted(path for path in files if read_record(path) is not None)


def read_result(path: str) -> list[LayerData]:
    """Return the layers of a file or a zarr directory that has a record.

    Raises
    ------
    UnreadableImageError
        If the file is damaged.
    """
    from napari_kmeans.files.reading import read_image
    from napari_kmeans.viewer.to_layers.picture_layers import (
        channel_arguments,
        contrast_arguments,
        data_arguments,
        gray_arguments,
        spatial_arguments,
    )

    record = read_record(Path(path)) or {}
    picture = _with_shape(read_image(path), record)
    axes = recorded_axes(record)
    if len(axes) == picture.pixels.ndim:
        kinds = [axis.kind for axis in axes]
        axis = kinds.index("channel") if "channel" in kinds and not picture.rgb else None
        picture = picture._replace(axes=axes, channel_axis=axis)
    picture = picture._replace(channels=recorded_channels(record))
    arguments = data_arguments(picture.levels or (picture.pixels,))
    data = arguments.pop("data")
    arguments |= {"name": Path(path).stem, **spatial_arguments(picture.axes)}
    arguments["metadata"] = _metadata(record, path, picture.pixels.ndim)
    if record["kind"] == "labels":
        arguments |= _classes(record) | _layer_arguments(record, picture.pixels.ndim)
        return [(data, arguments, "labels")]
    axis = picture.channel_axis
    arguments |= contrast_arguments(picture, axis)
    if axis is None:
        arguments |= gray_arguments(picture, arguments["name"])
        return [(data, {**arguments, "rgb": bool(picture.rgb)}, "image")]
    channels = channel_arguments(picture, arguments["name"], picture.pixels.shape[axis])
    return [(data, {**arguments, **channels, "channel_axis": axis}, "image")]


def _with_shape(picture: Picture, record: dict[str, Any]) -> Picture:
    """Return an image with the axes of one pixel that its file does not state."""
    shape, channels = record.get("shape"), picture.channel_axis
    if not isinstance(shape, list) or len(shape) <= picture.pixels.ndim:
        return picture
    if [size for size in shape if size != 1] != list(picture.pixels.shape):
        return picture
    # The axes of one pixel are before the channels: the writers put the channels before the plane.
    moved = None if channels is None else channels + len(shape) - picture.pixels.ndim
    spatial = [size for axis, size in enumerate(shape) if axis != moved]
    mask = picture.mask if picture.mask is None else picture.mask.reshape(spatial)
    pixels = picture.pixels.reshape(shape)
    return picture._replace(pixels=pixels, channel_axis=moved, levels=(), mask=mask)


def _classes(record: dict[str, Any]) -> dict[str, Any]:
    """Return the table and the colormap of a Labels layer; nothing that the record lacks."""
    import pandas as pd

    from napari_kmeans.viewer.to_layers.label_colors import label_colormap

    try:
        features = pd.DataFrame(record["table"])
        ignored = features.get("ignored", pd.Series(False, features.index)).to_numpy(bool)
        hidden = {*_layer_of(record).get("hidden", features["index"][ignored])}
        colors = {
            int(label): [
                *(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)),
                float(label not in hidden),
            ]
            for label, color in zip(features["index"], features["color"], strict=True)
        }
        return {"features": features, "colormap": label_colormap(colors)}
    except (KeyError, TypeError, ValueError):
        # Another program may have changed the record.
        return {}


def _layer_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the layer that was saved in napari; empty for other files."""
    layer = record.get("layer")
    return layer if isinstance(layer, dict) else {}


def _layer_arguments(record: dict[str, Any], ndim: int) -> dict[str, Any]:
    """Return the name and the place of the layer that was saved, as far as they are valid."""
    from napari.layers import Labels

    from napari_kmeans.viewer.from_layers.source import SPATIAL_ATTRIBUTES

    layer = _layer_of(record)
    name, place = layer.get("name"), layer.get("place")
    arguments = {"name": name} if isinstance(name, str) and name else {}
    if not isinstance(place, dict):
        return arguments
    place = {name: place[name] for name in SPATIAL_ATTRIBUTES if name in place}
    try:
        Labels(np.zeros((1,) * ndim, np.uint8), **place)
    except Exception:
        # Another program may have changed the record. napari raises errors of many types.
        return arguments
    return arguments | place


def _metadata(record: dict[str, Any], path: str, ndim: int) -> dict[str, Any]:
    """Return the metadata of a layer that shows the result of a run."""
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.stacks import StackModel
    from napari_kmeans.viewer.provenance import saved_metadata, source_metadata

    kind, recorded = record["kind"], record.get("model")
    source = Path(path).stem.removesuffix(f"-{kind}")
    if kind != "labels":
        return source_metadata(kind, source, "")
    run = _layer_of(record).get("run")
    run = run if isinstance(run, dict) else {}
    try:
        if isinstance(recorded, dict) and "models" in recorded:
            return saved_metadata(source, run, StackModel.from_dict(recorded).to_dict(), ndim)
        model = KMeansModel.from_dict(recorded)
    except ValueError:
        return saved_metadata(source, run, None, ndim)
    return saved_metadata(source, {"options": model.options.to_dict()} | run, model.to_dict(), ndim)
