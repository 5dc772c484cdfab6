"""Read files of any other format with the reader plugins of napari that are installed.

The plugins are found and called through npe2, which does not import napari.
"""

from __future__ import annotations

import re
import zlib
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory, reason
from napari_kmeans.files.picture import Axis, Channel, Picture, Series
from napari_kmeans.files.units import LENGTHS, TIMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from npe2 import PluginManager

_STDOUT = RLock()
"""Held while the standard output is replaced, which is one for all threads."""

OWN = ("napari", "napari-kmeans")
"""Plugins that are not asked: napari's own readers guess, and this package calls itself."""

COLORS = {
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "yellow": "#ffff00",
    "gray": "#ffffff",
}
"""The colors of napari's colormaps of one color."""

_MIN_SIDE = 30
"""Pixels. As napari does, take no smaller plane for an image in color."""

UNIT_NAMES = {
    **{unit.symbol: name for name, unit in {**LENGTHS, **TIMES}.items()},
    "um": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
}
"""Names of units by their symbols. The second symbol has the Greek letter, not the micro sign."""


class Format(NamedTuple):
    """A format that needs a reader plugin.

    Attributes
    ----------
    name : str
    start : re.Pattern
        Matches the first bytes of its files.
    suffix : str
        The usual suffix. It only chooses between formats whose files begin alike.
    plugins : tuple of str
        Names of packages on PyPI.
    """

    name: str
    start: re.Pattern[bytes]
    suffix: str
    plugins: tuple[str, ...]


def _format(name: str, start: bytes, suffix: str, *plugins: str) -> Format:
    return Format(name, re.compile(start, re.DOTALL), suffix, plugins)


FORMATS = (
    _format("ND2", rb"\xda\xce\xbe\x0a", ".nd2", "napari-nikon-nd2", "napari-bioio-reader"),
    _format("CZI", rb"ZISRAWFILE", ".czi", "napari-czifile2", "napari-bioio-reader"),
    _format("LIF", rb"\x70\0\0\0....\x2a", ".lif", "napari-bioio-reader", "napari-aicsimageio"),
    _format("NIfTI", rb".{344}n[+i]1\0|.{4}n[+i]2\0", ".nii", "napari-itk-io", "napari-nifti"),
    _format("DICOM", rb".{128}DICM", ".dcm", "napari-itk-io", "napari-nibabel"),
    _format("Imaris", rb"\x89HDF\r\n\x1a\n", ".ims", "napari-imaris-loader"),
    _format("HDF5", rb"\x89HDF\r\n\x1a\n", ".h5", "napari-h5", "napari-itk-io"),
    _format("NRRD", rb"NRRD000", ".nrrd", "napari-itk-io", "napari-nifti"),
    _format("MetaImage", rb"ObjectType|NDims", ".mha", "napari-itk-io"),
    _format("MRC", rb".{208}MAP ", ".mrc", "napari-mrcfile-reader"),
)
"""Formats with reader plugins, for the message about a file that no installed reader accepts."""


def is_accepted(path: Path, header: bytes) -> bool:
    """Return whether an installed reader plugin accepts a file or a directory."""
    return next(_reader_functions(path), None) is not None


def describe_format(path: Path, header: bytes) -> str:
    """Return the name of the format of a file and the plugins that read it, or an empty string."""
    header = _unpacked(header)
    found = [each for each in FORMATS if each.start.match(header)]
    if not found:
        return ""
    known = [each for each in found if path.suffix.lower() == each.suffix]
    kind = (known or found)[-1]
    # Only napari installs npe2, and the plugins need not install napari.
    needed, first = ("a reader plugin of napari", "")
    if _plugin_manager() is None:
        needed, first = ("npe2 and a reader plugin of napari", "npe2 ")
    plugins = " or ".join(f"pip install {first}{name}" for name in kind.plugins)
    return f"it is {kind.name}, which needs {needed}: {plugins}"


def _unpacked(header: bytes) -> bytes:
    """Return the first bytes of a file after decompression, if gzip has compressed it."""
    if not header.startswith(b"\x1f\x8b"):
        return header
    try:
        return zlib.decompressobj(wbits=31).decompress(header, 4096)
    except zlib.error:
        return header


def list_plugin_series(path: Path) -> tuple[Series, ...]:
    """Return the image layers that a reader plugin makes of a file."""
    return tuple(Series(each.name, tuple(each.pixels.shape)) for each in _read_layers(path))


def read_with_plugin(path: Path, number: int | None = None) -> Picture:
    """Read one of the image layers that a reader plugin makes of a file.

    Parameters
    ----------
    path : Path
    number : int, optional
        The number of the layer among the image layers; None for the largest.

    Raises
    ------
    UnreadableImageError
        If no plugin reads the file, or none of its layers is an image.
    """
    pictures = _read_layers(path)
    if number is None:
        number = int(np.argmax([each.pixels.size for each in pictures]))
    if not 0 <= number < len(pictures):
        raise UnreadableImageError(
            f"its images have the numbers 0 to {len(pictures) - 1}, got {number}"
        )
    return pictures[number]


def _read_layers(path: Path) -> list[Picture]:
    if path.is_file():
        check_memory(path.stat().st_size, "the file")
    failures = []
    for name, read in _reader_functions(path):
        try:
            # Some plugins print their progress. The standard output is for results.
            with _STDOUT, redirect_stdout(StringIO()):
                layers = read([str(path)], stack=False) or []
            pictures = [_make_picture(*_complete(layer)) for layer in layers if _is_image(layer)]
        except Exception as error:
            # Plugins raise exceptions of any type.
            failures.append(f"{name} cannot read it: {reason(error)}")
            continue
        if pictures:
            return pictures
        failures.append(f"{name} finds no image in it")
    raise UnreadableImageError("; ".join(failures) or "no reader plugin accepts it")


def _reader_functions(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the names of the plugins that accept a path and the functions that read it."""
    manager = _plugin_manager()
    if manager is None:
        return
    readers = [
        each for each in manager.iter_compatible_readers([str(path)]) if each.plugin_name not in OWN
    ]
    # npe2 gives the readers in random order.
    for each in sorted(readers, key=lambda each: (each.plugin_name, each.command)):
        try:
            with _STDOUT, redirect_stdout(StringIO()):
                read = each.exec(kwargs={"path": [str(path)], "stack": False})
        except Exception:
            # The packages that the plugin needs are missing, or it fails for this file.
            continue
        if read is not None:
            yield each.plugin_name, read


@cache
def _plugin_manager() -> PluginManager | None:
    """Return the manager of npe2 with all installed plugins; None without napari and npe2.

    It takes about half a second to find the plugins.
    """
    try:
        from npe2 import PluginManager
    except ImportError:
        return None
    manager = PluginManager.instance()
    manager.discover(include_npe1=True)
    manager.index_npe1_adapters()  # type: ignore[no-untyped-call]
    return manager


def _is_image(layer: Sequence[Any]) -> bool:
    """Return whether layer data, (data, attributes, kind) or a part of it, are an image."""
    return layer[0] is not None and (len(layer) < 3 or layer[2].lower() == "image")


def _complete(layer: Sequence[Any]) -> tuple[Any, Mapping[str, Any]]:
    return layer[0], (layer[1] if len(layer) > 1 and layer[1] else {})


def _make_picture(data: Any, attributes: Mapping[str, Any]) -> Picture:
    """Return the picture of an image layer. The channel axis of rgb layers is the last."""
    rgb = attributes.get("rgb")
    several = attributes.get("multiscale")
    if several is None:
        several = isinstance(data, list | tuple)
    levels = [_as_array(level) for level in (data if several else [data])]
    is_lazy = not isinstance(levels[0], np.ndarray)
    pixels, channel_axis = levels[0], None if rgb else attributes.get("channel_axis")
    if channel_axis is not None:
        channel_axis %= pixels.ndim
    n_channels = 1 if channel_axis is None else pixels.shape[channel_axis]
    names, colors = (_of_channels(attributes.get(key), n_channels) for key in ("name", "colormap"))
    is_rgb = bool(rgb) or (rgb is None and channel_axis is None and _guess_rgb(pixels.shape))
    axes, note = _read_axes(attributes, pixels.ndim - (is_rgb or channel_axis is not None))
    if channel_axis is not None:
        axes.insert(channel_axis, Axis("c", "channel"))
    elif is_rgb:
        axes.append(Axis("c", "channel"))
    channels = tuple(
        Channel(name if isinstance(name, str) else "", _as_color(color))
        for name, color in zip(names, colors, strict=True)
    )
    return Picture(
        pixels,
        rgb=is_rgb,
        channel_axis=channel_axis,
        note=note,
        levels=tuple(levels) if is_lazy else (),
        axes=tuple(axes),
        channels=channels if channel_axis is not None else (),
        name=names[0] if channel_axis is None and isinstance(names[0], str) else "",
    )


def _as_array(level: Any) -> Any:
    """Return a numpy array, or a dask array if the data are lazy."""
    if type(level).__module__.partition(".")[0] == "xarray":
        level = level.data
    if hasattr(level, "chunks") and not isinstance(level, np.ndarray):
        import dask.array as da

        # h5py and zarr have chunks too.
        return level if isinstance(level, da.Array) else da.from_array(level)
    return np.asarray(level)


def _guess_rgb(shape: tuple[int, ...]) -> bool:
    """Return whether napari shows an image in color if its plugin does not state it."""
    return len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > _MIN_SIDE


def _of_channels(value: Any, n_channels: int) -> list[Any]:
    """Return an attribute of each channel. One value is that of all channels."""
    values = list(value) if isinstance(value, list | tuple) else [value] * n_channels
    return values if len(values) == n_channels else [None] * n_channels


def _as_color(colormap: Any) -> str | None:
    name = colormap.lower() if isinstance(colormap, str) else ""
    return COLORS.get(name, name if name.startswith("#") and len(name) == 7 else None)


def _read_axes(attributes: Mapping[str, Any], ndim: int) -> tuple[list[Axis], str]:
    """Return the axes of a layer without those of channels, and a note about a lost rotation."""
    scale = _of_axes(attributes.get("scale"), ndim, 1.0)
    shift = _of_axes(attributes.get("translate"), ndim, 0.0)
    note = ""
    turned = any(np.any(attributes.get(key, 0)) for key in ("rotate", "shear"))
    affine = attributes.get("affine")
    if affine is not None:
        matrix = np.asarray(getattr(affine, "affine_matrix", affine), float)
        linear = matrix[:ndim, :ndim]
        if len(matrix) != ndim + 1 or np.any(linear != np.diag(np.diag(linear))):
            turned = True
        shift = np.diag(linear) * shift + matrix[:ndim, -1] if not turned else shift
        # The length of a column is the distance of neighboring pixels, also after a rotation.
        scale = scale * np.linalg.norm(linear, axis=0) if len(matrix) == ndim + 1 else scale
    if turned:
        shift = shift * 0
        note = "its rotation is not kept: pixels are written in the order in which they are stored"
    units = attributes.get("units") or [""] * ndim
    units = [units] * ndim if isinstance(units, str) or not hasattr(units, "__len__") else units
    units = list(units) if len(units) == ndim else [""] * ndim
    labels = list(attributes.get("axis_labels") or ())
    default = [*(f"dim_{number}" for number in range(ndim - 3)), "z", "y", "x"][-ndim:]
    labels = labels if len(labels) == ndim else default
    if not (set(attributes) & {"scale", "translate", "units", "axis_labels", "affine"}):
        return [Axis(str(label)) for label in labels], note
    axes = [
        _make_axis(str(label), _unit_name(unit), float(size), float(start))
        for label, unit, size, start in zip(labels, units, scale, shift, strict=True)
    ]
    return axes, note


def _make_axis(label: str, unit: str, scale: float, translation: float) -> Axis:
    is_time = unit in TIMES or label.lower() in ("t", "time")
    return Axis(label, "time" if is_time else "space", unit, scale, translation)


def _of_axes(values: Any, ndim: int, default: float) -> Any:
    """Return a number for each axis. napari adds missing numbers at the front."""
    given = np.ravel(np.asarray([] if values is None else values, float))[-ndim:]
    return np.concatenate([np.full(ndim - len(given), default), given])


def _unit_name(unit: Any) -> str:
    """Return the name of a unit, or an empty string for pixels and for unknown units."""
    text = str(unit).strip()
    name = UNIT_NAMES.get(text, text.lower())
    name = name.removesuffix("s") if name not in ("", "s") else name
    return name if name in LENGTHS or name in TIMES else ""
