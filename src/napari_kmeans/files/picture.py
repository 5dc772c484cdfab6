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


class Channel(NamedTuple):
    """The metadata of one channel."""

    name: str = ""
    color: str | None = None
    """The display color as #rrggbb, or None if the file states no color."""


class Series(NamedTuple):
    """One of the images in a file: a series of a TIFF file, a position, a field of a plate."""

    name: str
    shape: tuple[int, ...]


class Picture(NamedTuple):
    """An image from a file, with the metadata that the file contains.

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

    channels: tuple[Channel, ...] = ()
    """One for each channel along `channel_axis`; empty if the file has no such metadata."""

    mask: Any = None
    """A bool array of the spatial shape, lazy as the pixels are. False where the file states
    that there are no data. None if there are data everywhere."""

    profile: bytes = b""
    """The ICC color profile, or empty."""

    geo_tags: tuple[tuple[int, int, int, Any], ...] = ()
    """The TIFF tags of a georeference: (code, type, count, value), for `tifffile.TiffWriter`."""

    name: str = ""
    """The name of the image in its file, or empty."""

    no_data: Any = None
    """The value of missing data, as in the pixels; None if the file states none. A pixel of
    several channels is left out by `mask` if all of them have this value."""
