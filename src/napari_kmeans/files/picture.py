"""An image from a file: pixels, in memory or lazy, and what the file states of its axes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Axis(NamedTuple):
    """What a file says of an axis."""

    name: str
    kind: str = "space"
    """As OME-Zarr calls it: space, time, channel, or nothing."""

    unit: str = ""
    scale: float = 1.0
    """The distance of neighbors, in units."""

    translation: float = 0.0
    """Where the first pixel is, in units."""


class Picture(NamedTuple):
    """An image from a file and what the file says of its axes, as `segment` takes it."""

    pixels: Any
    """A numpy array, or a dask array that reads the file when it is computed."""

    rgb: bool | None = None
    channel_axis: int | None = None
    note: str = ""
    """What was lost in reading, for the user."""

    levels: tuple[Any, ...] = ()
    """Lazy pixels and their coarser copies, finest first; empty for pixels in memory."""

    axes: tuple[Axis, ...] = ()
    """One for each axis of the pixels, or none where nothing is known."""
