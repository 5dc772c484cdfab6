"""Open the file of a result as layers: labels with their classes, or a recolored image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from napari.layers import Labels

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.files.reading import read_image
from napari_kmeans.files.result_record import read_record, recorded_axes, recorded_channels
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.model import KMeansModel
from napari_kmeans.stacks import StackModel, any_model_from_dict
from napari_kmeans.viewer.from_layers.source import SPATIAL_ATTRIBUTES
from napari_kmeans.viewer.provenance import saved_metadata, source_metadata
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors
from napari_kmeans.viewer.to_layers.label_colors import (
    MEAN,
    OPACITIES,
    default_scheme,
    label_colormap,
)
from napari_kmeans.viewer.to_layers.picture_layers import (
    channel_arguments,
    contrast_arguments,
    data_arguments,
    gray_arguments,
    spatial_arguments,
)
from napari_kmeans.viewer.to_layers.result import options_of_fit

if TYPE_CHECKING:
    from napari_kmeans.files.picture import Picture

LayerData: TypeAlias = tuple[Any, dict[str, Any], str]
"""The data, the attributes and the type of a layer, as napari takes them from readers."""


def open_file(path: str) -> list[LayerData]:
    """Return the layers of a file or a zarr directory that has a record.

    A file that another program changed opens as far as its record is valid.

    Raises
    ------
    UnreadableImageError
        If the file is damaged.
    """
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
    model = _model(record)
    arguments["metadata"] = _metadata(record, path, model, picture.pixels.ndim)
    if record["kind"] == "labels":
        arguments |= _classes(record, model) | _layer_arguments(record, picture.pixels.ndim)
        return [(data, arguments, "labels")]
    return [_image_of(picture, data, arguments)]


def image_data(picture: Picture, name: str) -> LayerData:
    """Return the layer of an image from any file; of several channels, the layers of all."""
    # A file of plain arrays does not state whether it is in color.
    rgb, axis = find_channels(picture)
    picture = picture._replace(rgb=rgb, channel_axis=axis)
    arguments = data_arguments(picture.levels or (picture.pixels,))
    data = arguments.pop("data")
    return _image_of(picture, data, {**arguments, "name": name, **spatial_arguments(picture.axes)})


def _image_of(picture: Picture, data: Any, arguments: dict[str, Any]) -> LayerData:
    axis = picture.channel_axis
    arguments = arguments | contrast_arguments(picture, axis)
    if axis is None:
        arguments |= gray_arguments(picture, arguments["name"])
        return (data, {**arguments, "rgb": bool(picture.rgb)}, "image")
    channels = channel_arguments(picture, arguments["name"], picture.pixels.shape[axis])
    return (data, {**arguments, **channels, "channel_axis": axis}, "image")


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


def _model(record: dict[str, Any]) -> KMeansModel | StackModel | None:
    """Return the model in a record; None if it is missing or damaged."""
    try:
        return any_model_from_dict(record.get("model"))
    except ValueError:
        return None


def _classes(record: dict[str, Any], model: KMeansModel | StackModel | None) -> dict[str, Any]:
    """Return the table and the colors of a Labels layer; nothing that the record lacks."""
    try:
        features = _with_default_colors(pd.DataFrame(record["table"]), record, model)
        ignored = features.get("ignored", pd.Series(False, features.index)).to_numpy(bool)
        hidden = {*_layer_of(record).get("hidden", features["index"][ignored])}
        colors = {
            int(label): [
                *(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)),
                float(label not in hidden),
            ]
            for label, color in zip(features["index"], features["color"], strict=True)
        }
        opacity = OPACITIES[_scheme(record, model)]
        return {"features": features, "colormap": label_colormap(colors), "opacity": opacity}
    except (KeyError, TypeError, ValueError):
        # Another program may have changed the record.
        return {}


def _layer_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the layer that was saved in napari; empty for other files."""
    layer = record.get("layer")
    return layer if isinstance(layer, dict) else {}


def _layer_arguments(record: dict[str, Any], ndim: int) -> dict[str, Any]:
    """Return the name and the place of the layer that was saved, as far as they are valid."""
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


def _run_of(record: dict[str, Any]) -> dict[str, Any]:
    run = _layer_of(record).get("run")
    return run if isinstance(run, dict) else {}


def _scheme(record: dict[str, Any], model: KMeansModel | StackModel | None) -> str:
    """Return the color scheme of labels: that in the record, or else that of new labels."""
    scheme = _run_of(record).get("colors")
    if scheme in OPACITIES:
        return str(scheme)
    return MEAN if model is None else default_scheme(model.rgb)


def _with_default_colors(
    table: pd.DataFrame, record: dict[str, Any], model: KMeansModel | StackModel | None
) -> pd.DataFrame:
    """Return a table with distinct colors if a new layer of the result would have them.

    A file of a layer keeps the colors of its table. The command line writes mean colors.
    """
    if _layer_of(record) or not isinstance(model, KMeansModel) or model.rgb:
        return table
    if table["index"].tolist() != model.labels.tolist():
        return table
    return table.assign(color=to_hex(model.with_own_colors(distinct_colors(model.labels))))


def _metadata(
    record: dict[str, Any], path: str, model: KMeansModel | StackModel | None, ndim: int
) -> dict[str, Any]:
    """Return the metadata of a layer that shows the result of a run."""
    kind = record["kind"]
    source = Path(path).stem.removesuffix(f"-{kind}")
    if kind != "labels":
        return source_metadata(kind, source, "")
    run = {"colors": _scheme(record, model), **_run_of(record)}
    if isinstance(model, KMeansModel):
        run = {"options": options_of_fit(model).to_dict(), **run}
    return saved_metadata(source, run, None if model is None else model.to_dict(), ndim)
