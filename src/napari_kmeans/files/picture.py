"""An image from a file: its pixels, in memory or lazy, and the metadata of its axes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Axis(NamedTuple):
    """The metadata of one axis."""

    name: str
    kind: str = "space"
    """As in OME-Zarr: "space", "time" or "channel"; empty if it is unknown."""

    unit: str = ""
    scale: float = 1.0
    """The distance of neighboring pixels, in `unit`."""

    translation: float = 0.0
    """The position of the first pixel, in `unit`."""


class Picture(NamedTuple):
    """An image from a file, with the metadata of its axes.

    `rgb` and `channel_axis` have the same meaning as in `segment`.
    """

    pixels: Any
    """A numpy array, or a dask array that reads the file when it is computed."""

    rgb: bool | None = None
    channel_axis: int | None = None
    note: str = ""
    """A message to the user about information that was lost in reading, or empty."""

    levels: tuple[Any, ...] = ()
    """Lazy pixels of all resolutions, the finest first; empty if the pixels are in memory."""

    axes: tuple[Axis, ...] = ()
    """One for each axis of the pixels; empty if the file has no such metadata."""
