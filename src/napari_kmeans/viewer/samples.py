"""The samples as layers, for File ▸ Open Sample."""

from __future__ import annotations

from typing import Any, TypeAlias

from napari_kmeans import samples

LayerData: TypeAlias = list[tuple[Any, dict[str, Any], str]]


def photograph() -> LayerData:
    """Return a color photograph, RGB of 8 bit."""
    return [(samples.photograph(), {"name": "coffee", "rgb": True}, "image")]


def histology() -> LayerData:
    """Return a stained tissue section, RGB of 8 bit."""
    return [(samples.histology(), {"name": "histology", "rgb": True}, "image")]


def volume() -> LayerData:
    """Return a gray volume of 16 bit, with its planes further apart than its pixels."""
    attributes = {
        "name": "volume",
        "rgb": False,
        "scale": samples.VOLUME_SCALE,
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    return [(samples.volume(), attributes, "image")]
