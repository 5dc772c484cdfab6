"""Sample images as napari layers, for File ▸ Open Sample."""

from __future__ import annotations

from typing import Any, TypeAlias

from napari_kmeans import samples

LayerData: TypeAlias = list[tuple[Any, dict[str, Any], str]]


def photograph() -> LayerData:
    """Return a color photograph, 8-bit RGB."""
    return [(samples.photograph(), {"name": "coffee", "rgb": True}, "image")]


def histology() -> LayerData:
    """Return a stained tissue section, 8-bit RGB."""
    return [(samples.histology(), {"name": "histology", "rgb": True}, "image")]


def volume() -> LayerData:
    """Return a 16-bit gray volume with anisotropic voxels: 2 µm between planes, 0.5 µm in plane."""
    attributes = {
        "name": "volume",
        "rgb": False,
        "scale": samples.VOLUME_SCALE,
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    return [(samples.volume(), attributes, "image")]
