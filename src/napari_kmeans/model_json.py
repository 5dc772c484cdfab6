"""Read the file of a saved model, and check every entry before it is used."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST, quote_value
from napari_kmeans.classes import ClassScheme
from napari_kmeans.clustering.center_splits import CenterSplit
from napari_kmeans.feature_space.colors import find_space, white_of
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging.channel_names import check_channel_names
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.options import (
    CLEANING_OPTIONS,
    MAX_CLUSTERS,
    OPTIONS,
    SPACE_OPTIONS,
    Options,
    check_position,
    check_texture,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

FORMAT = "napari-kmeans model"
VERSION = 1
EXTENDED_VERSION = 2
"""The version of a model with edited classes, splits, a blur, a texture, a position or a cleaning,
which earlier programs would ignore."""

NO_MODEL = "this is not a napari-kmeans model: choose a JSON file that KMeansModel.save wrote."

_MAX_PIXELS = 2**53
"""Pixels of a center: float64 holds all whole numbers up to this one."""

_MAX_BYTES = 64 * 2**20
"""The limit of the memory that a damaged file can take. A model of 65,535 clusters and 20 channels
is smaller."""


def check_entries(values: Any) -> dict[str, Any]:
    """Return the attributes of a model from the entries of its file, all of them checked.

    Raises
    ------
    ValueError
        If an entry is missing, has the wrong type or contradicts another entry.
    """
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError("this is not a napari-kmeans model: save one with KMeansModel.save.")
    version = values.get("version")
    if version not in (VERSION, EXTENDED_VERSION):
        raise ValueError(
            f"version must be {VERSION} or {EXTENDED_VERSION}, got {quote_value(version)}: "
            "update napari-kmeans, or save the model again."
        )
    rgb = _read_typed(values, "rgb", bool)
    color_space = _read_choice(values, "color_space", OPTIONS["color_space"].choices)
    dtype = _read_dtype(values)
    space = _read_space(values, white_of(dtype))
    centers, palette = _read_matrix(values, "cluster_centers"), _read_matrix(values, "palette")
    n_channels = palette.shape[1]
    is_edited = version == EXTENDED_VERSION and "classes" in values
    # Version 0.1.0 wrote the palette of merged clusters, not that of their centers.
    is_merged = not is_edited and "center_labels" in values
    if centers.shape[1] != space.n_features(n_channels) or (
        len(centers) != len(palette) and not is_merged
    ):
        raise ValueError(
            "cluster_centers and palette must belong together, got shapes "
            f"{centers.shape} and {palette.shape}: save the model again."
        )
    if rgb and n_channels != 3:
        raise ValueError(
            f"palette must have three channels for rgb, got {n_channels}: save the model again."
        )
    if find_space(color_space).needs_rgb and not rgb:
        raise ValueError(
            f"color_space must be 'rgb' for channels other than red, green and blue, got "
            f"{color_space!r}: save the model again."
        )
    normalize, offset, scale = _read_scaling(values, color_space, n_channels)
    entries = {
        "cluster_centers_": centers,
        "center_palette": palette,
        "inertia_": _read_amount(values, "inertia"),
        "n_iter_": int(_read_amount(values, "n_iter")),
        "space": replace(space, offset=offset, scale=scale),
        "rgb": rgb,
        "channel_axis": _read_axis(values, rgb, n_channels),
        "dtype": dtype,
        "normalize": normalize,
        "channel_names": _read_channel_names(values, n_channels, rgb),
        "cleaning": _read_cleaning(values, len(centers)),
    }
    if values.get("fit") is not None:
        entries["fit"] = _read_fit(values)
    if "variance" in values:
        entries["variance"] = _read_amount(values, "variance")
    if is_merged:
        labels = _read_labels(values, len(centers), len(palette))
        entries["center_palette"] = palette[labels - 1]
        classes = ClassScheme.of_labels(labels)
        entries["edited_classes"] = None if classes.is_unedited else classes
    if not is_merged:
        entries["center_pixels"] = _read_pixels(values, len(centers))
    if is_edited:
        entries["edited_classes"] = _read_classes(values, len(centers))
        if "splits" in values:
            entries["splits"] = _read_splits(values, *centers.shape)
            _check_undecided(entries["cleaning"])
    return entries


def _read_fit(values: dict[str, Any]) -> dict[str, Any]:
    """Return the description of the fit of a model, with all its entries."""
    fit = _read_typed(values, "fit", dict)
    names, n_colors, options = fit.get("images"), fit.get("n_colors"), fit.get("options")
    counts = [fit.get("n_images"), fit.get("pixels_per_image"), 0 if n_colors is None else n_colors]
    if (
        not all(type(count) is int and 0 <= count <= _MAX_PIXELS for count in counts)
        or not (isinstance(names, list) and all(isinstance(name, str) for name in names))
        or not isinstance(fit.get("sources"), str)
        or not isinstance(options, dict)
    ):
        raise ValueError(
            "fit must have n_images, images, sources, pixels_per_image, n_colors and options, got "
            f"{quote_value(fit)}: save the model again."
        )
    try:
        Options(**{name: value for name, value in options.items() if name in OPTIONS})
    except (TypeError, ValueError) as error:
        raise ValueError(f"fit must have the options of a fit: {error}") from error
    return dict(fit)


def read_json(path: Path) -> Any:
    """Return the values in a model file, unchecked.

    Raises
    ------
    ValueError
        If it is a pipe or a device, is larger than 64 MiB or is not JSON.
    OSError
        If it cannot be read.
    """
    # Opening a pipe waits for its writer, and reading a device may never end.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is a pipe or a device: name a file.")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"the file is larger than {_MAX_BYTES} bytes: save the model again.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        # The decoder names a byte, a column or its own limits, which do not help with a picture.
        raise ValueError(NO_MODEL) from error


def _read_options(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return some options of the fit; earlier versions did not write all of them."""
    infos = [OPTIONS[name] for name in names]
    try:
        options = {
            info.name: info.kind.check(info.name, values.get(info.name, info.default))
            for info in infos
        }
        if "texture" in options:
            check_texture(options["texture"], options["blur"])
        return options
    except TypeError as error:
        raise ValueError(str(error)) from error


def _read_cleaning(values: dict[str, Any], n_centers: int) -> Cleaning:
    cleaning = Cleaning(**_read_options(values, CLEANING_OPTIONS))
    chosen = cleaning.min_size_classes
    if chosen and chosen[-1] > n_centers:
        raise ValueError(
            f"min_size_classes must be numbers from 1 to {n_centers}, got "
            f"{quote_value(list(chosen))}: save the model again."
        )
    return cleaning


def _read_space(values: dict[str, Any], white: float) -> FeatureSpace:
    """Return the space without the scaling of the channels."""
    space = FeatureSpace(white=white, **_read_options(values, SPACE_OPTIONS))
    if not space.position:
        return space
    spacing = _read_options(values, ("spacing",))["spacing"]
    if not isinstance(spacing, tuple):
        raise ValueError(
            "spacing must have a number for each spatial axis of a model with a position, got "
            f"{spacing:g}: save the model again."
        )
    check_position(space.position, spacing)
    return replace(space, spacing=spacing)


def _read_typed(values: dict[str, Any], name: str, kind: type) -> Any:
    value = values.get(name)
    if type(value) is not kind:
        raise ValueError(
            f"{name} must be a {kind.__name__}, got {quote_value(value)}: save the model again."
        )
    return value


def _read_choice(values: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _read_typed(values, name, str)
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices}, got {quote_value(value)}: save the model again."
        )
    return str(value)


def _read_matrix(values: dict[str, Any], name: str) -> Floats:
    message = f"{name} must be a table of numbers up to {LARGEST:g}: save the model again."
    rows = _read_typed(values, name, list)
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
    if max(matrix.shape) > MAX_CLUSTERS:
        raise ValueError(
            f"{name} must have at most {MAX_CLUSTERS} rows and columns, got {matrix.shape}: "
            "save the model again."
        )
    return matrix


def _read_amount(values: dict[str, Any], name: str) -> float:
    value: Any = values.get(name)
    if not _is_finite(value) or value < 0:
        raise ValueError(
            f"{name} must be a number of at least 0, got {quote_value(value)}: "
            "save the model again."
        )
    return float(value)


def _read_axis(values: dict[str, Any], rgb: bool, n_channels: int) -> int | None:
    value = values.get("channel_axis")
    if value is None and not rgb and n_channels == 1:
        return None
    # 32 is the largest number of axes of an array in numpy 1.
    if type(value) is not int or not -32 <= value < 32 or (rgb and value != -1):
        raise ValueError(
            f"channel_axis must fit {n_channels} channels, got {quote_value(value)}: "
            "save the model again."
        )
    return value


def _read_scaling(
    values: dict[str, Any], color_space: str, n_channels: int
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Return `normalize`, the offset and the scale."""
    choices = OPTIONS["normalize"].choices if color_space == "rgb" else ("none",)
    normalize = _read_choice(values, "normalize", choices)
    scaling: dict[str, tuple[float, ...]] = {}
    n_numbers = 0 if normalize == "none" else n_channels
    for name in ("offset", "scale"):
        numbers = tuple(_read_typed(values, name, list))
        if len(numbers) != n_numbers or not all(map(_is_finite, numbers)):
            raise ValueError(
                f"{name} must be {n_numbers} finite numbers, got {quote_value(numbers)}: "
                "save the model again."
            )
        scaling[name] = tuple(map(float, numbers))
    # A smaller scale or a larger offset would turn pixels into infinite points.
    pairs = zip(scaling["offset"], scaling["scale"], strict=True)
    if not all(LARGEST * scale >= 1 and abs(offset) <= LARGEST * scale for offset, scale in pairs):
        raise ValueError(
            f"scale must be at least {1 / LARGEST:g}, and offset at most {LARGEST:g} times as "
            f"much, got scale {quote_value(scaling['scale'])} and offset "
            f"{quote_value(scaling['offset'])}: save the model again."
        )
    return normalize, scaling["offset"], scaling["scale"]


def _read_channel_names(values: dict[str, Any], n_channels: int, rgb: bool) -> tuple[str, ...]:
    """Return the names of the channels, which earlier versions did not write."""
    if "channel_names" not in values:
        return ()
    try:
        names = _read_typed(values, "channel_names", list)
        return check_channel_names(names, n_channels, rgb)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _read_labels(values: dict[str, Any], n_centers: int, n_labels: int) -> NDArray[np.int64]:
    labels = values["center_labels"]
    are_whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not are_whole or len(labels) != n_centers or {*labels} != {*range(1, n_labels + 1)}:
        raise ValueError(
            f"center_labels must hold each label from 1 to {n_labels} for {n_centers} "
            f"centers, got {quote_value(labels)}: save the model again."
        )
    return np.array(labels, np.int64)


def _read_classes(values: dict[str, Any], n_centers: int) -> ClassScheme | None:
    classes = ClassScheme.from_list(values.get("classes"))
    if classes.n_centers != n_centers:
        raise ValueError(
            f"classes must contain {n_centers} centers, got {classes.n_centers}: "
            "save the model again."
        )
    return None if classes.is_unedited else classes


def _read_pixels(values: dict[str, Any], n_centers: int) -> NDArray[np.int64] | None:
    pixels = values.get("center_pixels")
    if pixels is None:
        return None
    are_counts = isinstance(pixels, list) and all(
        type(number) is int and 0 <= number <= _MAX_PIXELS for number in pixels
    )
    if not are_counts or len(pixels) != n_centers:
        raise ValueError(
            f"center_pixels must be {n_centers} whole numbers of at least 0, got "
            f"{quote_value(pixels)}: save the model again."
        )
    return np.array(pixels, np.int64)


def _read_splits(
    values: dict[str, Any], n_centers: int, n_features: int
) -> tuple[CenterSplit, ...]:
    splits = values["splits"]
    is_list = isinstance(splits, list) and all(isinstance(each, dict) for each in splits)
    if not is_list or len(splits) > MAX_CLUSTERS:
        raise ValueError(
            f"splits must be a list of at most {MAX_CLUSTERS} splits, got {quote_value(splits)}: "
            "save the model again."
        )
    read = []
    # The last split made the centers of the model.
    for split in reversed(splits):
        replaced, n_new, places = _read_matrix(split, "centers"), split.get("n_new"), None
        if type(n_new) is int and 1 <= n_new <= n_centers:
            n_centers += len(replaced) - n_new
            places = _read_places(split.get("places"), len(replaced), n_centers)
        if places is None or replaced.shape[1] != n_features or n_centers > MAX_CLUSTERS:
            raise ValueError(
                "splits must have centers, places and n_new that belong together, got places "
                f"{quote_value(split.get('places'))} and n_new {quote_value(n_new)}: save the "
                "model again."
            )
        read.append(CenterSplit(replaced, places, n_new))
    return tuple(reversed(read))


def _check_undecided(cleaning: Cleaning) -> None:
    """Raise ValueError if pixels of classes that were split anew are to be left undecided."""
    if cleaning.min_confidence:
        raise ValueError(
            "min_confidence must be 0 for classes that were split anew, got "
            f"{cleaning.min_confidence:g}: save the model again."
        )


def _read_places(places: Any, n_places: int, n_centers: int) -> NDArray[np.int64] | None:
    """Return the indices of replaced centers; None unless they ascend below `n_centers`."""
    are_indices = isinstance(places, list) and all(
        type(each) is int and 0 <= each < n_centers for each in places
    )
    if not are_indices or len(places) != n_places or places != sorted(set(places)):
        return None
    return np.array(places, np.int64)


def _is_finite(value: Any) -> bool:
    # JSON allows whole numbers that are too large for a float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _read_dtype(values: dict[str, Any]) -> np.dtype[Any]:
    name = _read_typed(values, "dtype", str)
    # numpy accepts many other strings, such as "V5" or "i4,f8".
    if name.rstrip("0123456789") not in ("bool", "int", "uint", "float", "longdouble"):
        raise ValueError(
            f"dtype must be that of an image, got {quote_value(name)}: save the model again."
        )
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError as error:
        raise ValueError(
            f"dtype must be that of an image, got {quote_value(name)}: save the model again."
        ) from error
    return dtype
