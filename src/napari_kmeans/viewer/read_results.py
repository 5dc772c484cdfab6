"""Open the files of results in napari as what they are: labels with classes, recolored images.

napari calls `get_reader` for each file that matches the patterns in the manifest, and
for each directory. So the function reads only the record, and this module imports
nothing large.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_kmeans.files.result_record import read_record, recorded_axes, recorded_channels

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel

    LayerData: TypeAlias = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the function that opens a result, or None if the path is no result.

    Several paths are a stack of images, which no result is.
    """
    if not isinstance(path, str) or read_record(Path(path)) is None:
        return None
    return read_result


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
    model = _model(record)
    arguments["metadata"] = _metadata(record, path, model)
    if record["kind"] == "labels":
        return [(data, {**arguments, **_classes(record, model)}, "labels")]
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


def _model(record: dict[str, Any]) -> KMeansModel | None:
    """Return the model in a record; None if it is missing or damaged."""
    from napari_kmeans.model import KMeansModel

    try:
        return KMeansModel.from_dict(record["model"])
    except (KeyError, ValueError):
        return None


def _classes(record: dict[str, Any], model: KMeansModel | None) -> dict[str, Any]:
    """Return the table and the colors of a Labels layer; nothing that the record lacks."""
    import pandas as pd

    from napari_kmeans.viewer.to_layers.label_colors import OPACITIES, label_colormap

    try:
        features = _with_default_colors(pd.DataFrame(record["table"]), record, model)
        ignored = features.get("ignored", pd.Series(False, features.index)).to_numpy(bool)
        colors = {
            int(label): [*(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)), float(not gone)]
            for label, color, gone in zip(
                features["index"], features["color"], ignored, strict=True
            )
        }
        opacity = OPACITIES[_scheme(record, model)]
        return {"features": features, "colormap": label_colormap(colors), "opacity": opacity}
    except (KeyError, TypeError, ValueError):
        # Another program may have changed the record.
        return {}


def _scheme(record: dict[str, Any], model: KMeansModel | None) -> str:
    """Return the color scheme of labels: that in the record, or else that of new labels."""
    from napari_kmeans.viewer.to_layers.label_colors import MEAN, OPACITIES, default_scheme

    if record.get("colors") in OPACITIES:
        return str(record["colors"])
    return MEAN if model is None else default_scheme(model.rgb)


def _with_default_colors(
    table: pd.DataFrame, record: dict[str, Any], model: KMeansModel | None
) -> pd.DataFrame:
    """Return a table with distinct colors if a new layer of the result would have them.

    A file with a color scheme keeps the colors of its table. The command line writes no
    scheme: its table has mean colors.
    """
    from napari_kmeans.imaging.colors import to_hex
    from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors

    if "colors" in record or model is None or model.rgb:
        return table
    if table["index"].tolist() != model.labels.tolist():
        return table
    return table.assign(color=to_hex(model.with_own_colors(distinct_colors(model.labels))))


def _metadata(record: dict[str, Any], path: str, model: KMeansModel | None) -> dict[str, Any]:
    """Return the metadata of a layer that shows the result of a run."""
    from napari_kmeans.viewer.provenance import run_metadata, source_metadata

    kind, source = record["kind"], Path(path).stem.removesuffix(f"-{record['kind']}")
    if model is None:
        return source_metadata(kind, source, "")
    return run_metadata(
        kind,
        source,
        "",
        options=model.options.to_dict(),
        level=0,
        stack="whole",
        model=model.to_dict(),
        distortion=float("nan"),
        scheme=_scheme(record, model) if kind == "labels" else None,
    )
