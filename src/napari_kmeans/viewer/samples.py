"""Sample images as napari layers, for File ▸ Open Sample."""

from __future__ import annotations

from typing import Any, TypeAlias

from napari_kmeans.samples import sample_picture
from napari_kmeans.viewer.to_layers.picture_layers import channel_arguments, spatial_arguments

LayerData: TypeAlias = list[tuple[Any, dict[str, Any], str]]


def photograph() -> LayerData:
    """Return a color photograph, 8-bit RGB."""
    return _layers_of("photograph", "coffee")


def histology() -> LayerData:
    """Return a stained tissue section, 8-bit RGB."""
    return _layers_of("histology")


def volume() -> LayerData:
    """Return a 16-bit gray volume with anisotropic voxels: 2 µm between planes, 0.5 µm in plane."""
    return _layers_of("volume")


def leaf() -> LayerData:
    """Return a scan of a leaf, 8-bit RGB, of which 6 % are lesions."""
    return _layers_of("leaf")


def phantom() -> LayerData:
    """Return a 16-bit head phantom: 4 mm between planes, 1.5 mm in plane."""
    return _layers_of("phantom")


def fluorescence() -> LayerData:
    """Return four channels of nuclei, 16 bits, one layer for each channel."""
    return _layers_of("fluorescence")


def _layers_of(sample: str, name: str = "") -> LayerData:
    picture = sample_picture(sample)
    attributes: dict[str, Any] = {"name": name or sample, "rgb": picture.rgb}
    if picture.channel_axis is not None:
        n_channels = picture.pixels.shape[picture.channel_axis]
        attributes |= {
            "channel_axis": picture.channel_axis,
            **channel_arguments(picture, sample, n_channels),
        }
    return [(picture.pixels, {**attributes, **spatial_arguments(picture.axes)}, "image")]
