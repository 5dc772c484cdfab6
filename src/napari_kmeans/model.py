"""The fitted model: centers, palette, labels of any image with the same channels."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST, quote_value
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.imaging.blocks import Pixels, open_pixels
from napari_kmeans.imaging.colors import ColorSpace, display_colors, white_of
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.painting import Painter, paint, round_to
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.options import OPTIONS, Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_FORMAT = "napari-kmeans model"
_VERSION = 1
_MAX_BYTES = 64 * 2**20
_MAX_LENGTH = 65535
"""Of the tables: a label for each row must exist."""


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """Cluster centers and what is needed to apply them to another image.

    Attributes
    ----------
    cluster_centers_ : (K, F) float64 array
        In the units of the clustering space; for rgb, gray and other channels
        these are channel units: 0…255 for uint8.
    palette : (K, C) float64 array
        The mean color of each cluster's pixels, in channel units. Clusters
        are ordered from dark to bright.
    inertia_ : float
        The sum of squared distances of all pixels to their nearest center, in
        squared units of the clustering space.
    n_iter_ : int
        Iterations of the run that led here.
    color_space : {"rgb", "hsv", "lab"}
    rgb : bool
        Whether the channels are red, green and blue.
    channel_axis : int or None
        Where the channels are in an image; None for gray.
    dtype : numpy.dtype
        Of the image that was fitted.
    normalize : {"none", "zscore", "percentile"}
        How channels were scaled.
    offset, scale : tuples of C floats
        What is taken from the values of each channel, and what they are then
        divided by; empty where channels are compared as they are.
    """

    cluster_centers_: Floats
    palette: Floats
    inertia_: float
    n_iter_: int
    color_space: str
    rgb: bool
    channel_axis: int | None
    dtype: np.dtype[Any]
    normalize: str = "none"
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def n_clusters(self) -> int:
        """The number of clusters K."""
        return len(self.cluster_centers_)

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return int(self.palette.shape[1])

    @property
    def white(self) -> float:
        """The channel value of full brightness."""
        return white_of(self.dtype)

    @property
    def space(self) -> ColorSpace:
        """Where colors are compared."""
        return ColorSpace(self.color_space, self.white, self.offset, self.scale)

    @property
    def options(self) -> Options:
        """What the model alone states of the options of its fit."""
        return Options(
            n_clusters=self.n_clusters, color_space=self.color_space, normalize=self.normalize
        )

    @property
    def colors(self) -> Floats:
        """Colors (K, 3) from 0 to 1 that show the palette on a screen."""
        return display_colors(self.palette, self.rgb, self.dtype)

    def predict(self, image: Any, *, mask: Any = None, progress: Report | None = None) -> Any:
        """Return the label of each pixel's nearest center.

        Parameters
        ----------
        image : array
            With the channels of the image that was fitted, in the same units;
            numpy, or dask for lazy labels.
        mask : array of the image's spatial shape, optional
            Zero or False where a pixel is left out.
        progress : callable, optional
            ``progress(done, total)``; raising from it cancels.

        Returns
        -------
        array of unsigned integers, of the image's spatial shape
            1…K; 0 for pixels outside `mask`, of alpha 0, NaN or infinite.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            As `apply` does.

        Notes
        -----
        Of centers at exactly the same distance the one of the lowest label is
        taken. `segment` counted such a pixel in the order of its fit, before
        labels were given, and may have put it to the other one: at no cost, for
        both are as near.
        """
        pixels = self.open(image, mask)
        self._tell_of_units(pixels)
        return self.paint(pixels, progress, recolored=False)[0]

    def apply(
        self, image: Any, *, mask: Any = None, progress: Report | None = None
    ) -> tuple[Any, Any]:
        """Paint another image: its labels, and the image in the colors of the palette.

        Parameters
        ----------
        image : array
            As for `predict`: of any dtype, in the units of the image that was
            fitted. A model of uint8 takes its levels, 0…255, from an image of
            floats too; nothing is rescaled.
        mask, progress
            As for `predict`.

        Returns
        -------
        labels : array of unsigned integers, of the image's spatial shape
            What `predict` gives.
        recolored : array of the image's shape and dtype
            Each pixel in the mean color of its cluster, rounded and clipped to
            what the dtype holds; pixels that are left out and alpha are unchanged.

        Both are lazy dask arrays where the image is one, which is not read for
        them. A part of it is read if its dtype has another full brightness than
        that of the image that was fitted.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            If the image seems to be in other units than the model: another dtype,
            whose greatest value is more than 16 times that of the model's colors,
            or less than a 16th of it.
        """
        pixels = self.open(image, mask)
        self._tell_of_units(pixels)
        return self.paint(pixels, progress)

    def open(self, image: Any, mask: Any = None) -> Pixels:
        """Check that an image has the channels of the model, and say where they are."""
        self._check_channels(np.shape(image))
        return open_pixels(image, rgb=self.rgb, channel_axis=self.channel_axis, mask=mask)

    def paint(
        self, pixels: Pixels, progress: Report | None = None, *, recolored: bool = True
    ) -> tuple[Any, Any]:
        """Return the labels and the recolored image, or None, of pixels that `open` gave.

        As `apply`, but without a word on their units.
        """
        return self._paint(pixels, progress, self.palette if recolored else None)

    def _tell_of_units(self, pixels: Pixels) -> None:
        sentence = describe_other_units(pixels, self.palette, self.dtype)
        if sentence is not None:
            notice(sentence, stacklevel=3)

    def _paint(
        self, pixels: Pixels, progress: Report | None, palette: Floats | None
    ) -> tuple[Any, Any]:
        stages = Progress(progress)
        n_blocks = len(pixels.blocks())
        painter = self._painter(pixels, stages, n_blocks)
        labels, recolored = paint(pixels, painter, palette, stages.stage(0.4, n_blocks))
        stages.finish()
        return labels, None if recolored is None else pixels.channels_back(recolored)

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        axis = self.channel_axis
        found = 1
        if axis is not None and len(shape) > 1 and -len(shape) <= axis < len(shape):
            found = shape[axis]
        if found != self.n_channels and not (self.rgb and found == 4):
            raise ValueError(
                f"image must have the model's {self.n_channels} channels, got {found} in shape "
                f"{shape}: apply the model to an image like the one it was fitted to."
            )

    def _painter(self, pixels: Pixels, stages: Progress, n_blocks: int) -> Painter:
        painter = Painter(self.cluster_centers_, self.space)
        # What is lazy is not read before it is looked at.
        if pixels.is_lazy:
            return painter
        codec = find_codec([pixels], stages.stage(0.2, n_blocks))
        if codec is None:
            return painter
        return painter.with_table(build_histogram([pixels], codec, stages.stage(0.4, n_blocks)))

    def recolor(self, labels: Any) -> NDArray[Any]:
        """Return the image of the palette.

        Parameters
        ----------
        labels : array of integers 0…K

        Returns
        -------
        array of the fitted image's dtype
            Of the labels' shape, with the channels where the image has them
            (alpha is not restored). Label 0 becomes 0.

        Raises
        ------
        TypeError, ValueError
            If `labels` are not whole numbers from 0 to K.
        """
        index = np.asarray(labels)
        if index.dtype.kind not in "bui":
            raise TypeError(
                f"labels must be whole numbers, got dtype {index.dtype}: pass what predict gives."
            )
        if index.size and not 0 <= index.min() <= index.max() <= self.n_clusters:
            raise ValueError(
                f"labels must lie from 0 to {self.n_clusters}, got {index.min()} to "
                f"{index.max()}: pass labels of this model."
            )
        colors = np.vstack([np.zeros(self.n_channels), self.palette])
        image = np.take(round_to(colors, self.dtype), index.astype(np.intp), axis=0)
        if self.channel_axis is None:
            return image[..., 0]
        return np.moveaxis(image, -1, self.channel_axis)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain values that JSON can hold."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "color_space": self.color_space,
            "rgb": self.rgb,
            "channel_axis": self.channel_axis,
            "dtype": self.dtype.name,
            "normalize": self.normalize,
            "offset": list(self.offset),
            "scale": list(self.scale),
            "cluster_centers": self.cluster_centers_.tolist(),
            "palette": self.palette.tolist(),
            "inertia": self.inertia_,
            "n_iter": self.n_iter_,
        }

    @classmethod
    def from_dict(cls, values: Any) -> KMeansModel:
        """Return the model that `to_dict` wrote.

        Raises
        ------
        ValueError
            If the values are not those of a model.
        """
        if cls is KMeansModel and isinstance(values, dict) and "center_labels" in values:
            from napari_kmeans.merging import MergedModel

            return MergedModel.from_dict(values)
        entries = entries_of(values)
        if len(entries["cluster_centers_"]) != len(entries["palette"]):
            raise _no_pair(entries)
        return cls(**entries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a JSON file, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        write_whole({Path(path): lambda part: part.write_text(text, encoding="utf-8")})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KMeansModel:
        """Read a model from a JSON file: its values are checked, and none is run.

        At most 64 MiB are read, and taken for at most 65,535 clusters of as many
        channels.

        Raises
        ------
        ValueError
            If the file does not hold a model; the message names the file.
        OSError
            If the file cannot be read.
        """
        try:
            return cls.from_dict(json.loads(_read(Path(path))))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"cannot read a model from {os.fspath(path)!r}: {error}") from error


def _read(path: Path) -> bytes:
    # A pipe may never end, nor begin.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is a pipe or a device: name a file.")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"the file is larger than {_MAX_BYTES} bytes.")
    return data


def entries_of(values: Any) -> dict[str, Any]:
    """Return what a model is made of, whatever the number of centers for a color.

    Raises
    ------
    ValueError
        If the values are not those of a model.
    """
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ValueError("this is not a napari-kmeans model: save one with KMeansModel.save.")
    if values.get("version") != _VERSION:
        raise ValueError(
            f"version must be {_VERSION}, got {quote_value(values.get('version'))}: "
            "update napari-kmeans, or save the model anew."
        )
    rgb = _of(values, "rgb", bool)
    color_space = _one_of(values, "color_space", OPTIONS["color_space"].choices)
    palette = _matrix(values, "palette")
    n_channels = palette.shape[1]
    entries = {
        "cluster_centers_": _matrix(values, "cluster_centers"),
        "palette": palette,
        "inertia_": _amount(values, "inertia"),
        "n_iter_": int(_amount(values, "n_iter")),
        "color_space": color_space,
        "rgb": rgb,
        "channel_axis": _axis(values, rgb, n_channels),
        "dtype": _dtype(values),
        **_scaling(values, color_space, n_channels),
    }
    if entries["cluster_centers_"].shape[1] != (n_channels if color_space == "rgb" else 3):
        raise _no_pair(entries)
    if rgb != (n_channels == 3) and (rgb or color_space != "rgb"):
        raise ValueError(
            f"palette must have three channels for rgb, got {n_channels}: save the model anew."
        )
    return entries


def _no_pair(entries: dict[str, Any]) -> ValueError:
    shapes = f"{entries['cluster_centers_'].shape} and {entries['palette'].shape}"
    return ValueError(
        f"cluster_centers and palette must belong together, got shapes {shapes}: "
        "save the model anew."
    )


def _of(values: dict[str, Any], name: str, kind: type) -> Any:
    value = values.get(name)
    if type(value) is not kind:
        raise ValueError(
            f"{name} must be a {kind.__name__}, got {quote_value(value)}: save the model anew."
        )
    return value


def _one_of(values: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _of(values, name, str)
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices}, got {quote_value(value)}: save the model anew."
        )
    return str(value)


def _matrix(values: dict[str, Any], name: str) -> Floats:
    message = f"{name} must be a table of numbers up to {LARGEST:g}: save the model anew."
    rows = _of(values, name, list)
    numbers = (
        type(number) in (int, float)
        for row in rows
        for number in (row if isinstance(row, list) else [None])
    )
    if not rows or not all(numbers):
        raise ValueError(message)
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError(message) from error
    if matrix.ndim != 2 or not matrix.size or not (abs(matrix) <= LARGEST).all():
        raise ValueError(message)
    if max(matrix.shape) > _MAX_LENGTH:
        raise ValueError(
            f"{name} must have at most {_MAX_LENGTH} rows and columns, got {matrix.shape}: "
            "save the model anew."
        )
    return matrix


def _amount(values: dict[str, Any], name: str) -> float:
    value: Any = values.get(name)
    if not _is_finite(value) or value < 0:
        raise ValueError(
            f"{name} must be a number of at least 0, got {quote_value(value)}: save it anew."
        )
    return float(value)


def _axis(values: dict[str, Any], rgb: bool, n_channels: int) -> int | None:
    value = values.get("channel_axis")
    if value is None and not rgb and n_channels == 1:
        return None
    if type(value) is not int or not -32 <= value < 32 or (rgb and value != -1):
        raise ValueError(
            f"channel_axis must fit {n_channels} channels, "
            f"got {quote_value(value)}: save the model anew."
        )
    return value


def _scaling(values: dict[str, Any], color_space: str, n_channels: int) -> dict[str, Any]:
    choices = OPTIONS["normalize"].choices if color_space == "rgb" else ("none",)
    normalize = _one_of(values, "normalize", choices)
    scaling: dict[str, Any] = {"normalize": normalize}
    n_numbers = 0 if normalize == "none" else n_channels
    for name in ("offset", "scale"):
        numbers = tuple(_of(values, name, list))
        if len(numbers) != n_numbers or not all(map(_is_finite, numbers)):
            raise ValueError(
                f"{name} must be {n_numbers} finite numbers, got {quote_value(numbers)}: "
                "save the model anew."
            )
        scaling[name] = tuple(map(float, numbers))
    # Else no image could be compared with the centers.
    pairs = zip(scaling["offset"], scaling["scale"], strict=True)
    if not all(LARGEST * scale >= 1 and abs(offset) <= LARGEST * scale for offset, scale in pairs):
        raise ValueError(
            f"scale must be at least {1 / LARGEST:g}, and offset at most {LARGEST:g} times as "
            f"much, got scale {quote_value(scaling['scale'])} and offset "
            f"{quote_value(scaling['offset'])}: save the model anew."
        )
    return scaling


def _is_finite(value: Any) -> bool:
    # A whole number may be too large for a float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _dtype(values: dict[str, Any]) -> np.dtype[Any]:
    name = _of(values, "dtype", str)
    # Only these names: numpy would make a dtype of many another string.
    if name.rstrip("0123456789") not in ("bool", "int", "uint", "float", "longdouble"):
        raise ValueError(
            f"dtype must be that of an image, got {quote_value(name)}: save the model anew."
        )
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError as error:
        raise ValueError(f"dtype must be that of an image, got {quote_value(name)}.") from error
    return dtype
