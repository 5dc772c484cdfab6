"""Small pictures of an image and of its classes, for reports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.imaging.blocks import open_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel

SIDE = 320
"""The longest side of a small picture, in pixels."""

BACKGROUND = 255
"""Pixels without a label are white."""


def draw_thumbnails(
    picture: Picture, labels: Any, model: KMeansModel
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and its classes as RGB pictures (h, w, 3) of at most `SIDE` pixels.

    Of a stack or a volume, they show the middle slice. Both are from the same pixels, without
    averaging, so that each pixel of the one has its class in the other.
    """
    from napari_kmeans.imaging.colors import display_colors

    rgb, axis = find_channels(picture)
    pixels = open_pixels(picture.pixels, rgb=rgb, channel_axis=axis)
    key = _choose_pixels(pixels.shape)
    values = np.asarray(pixels.array[(*key, slice(0, pixels.n_channels))], np.float64)
    values = np.where(np.isfinite(values), values, 0)
    colors = values.reshape(-1, values.shape[-1])
    limits = np.percentile(colors, (1, 99), axis=0) if len(colors) else colors
    shown = display_colors(colors, rgb, model.dtype, model.palette if rgb else limits)
    classes = _paint_labels(np.asarray(labels[key]), model)
    return _as_picture(shown.reshape(*values.shape[:-1], 3)), classes


def _choose_pixels(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the index of the middle slice, and of every n-th pixel along its two axes."""
    planes = tuple(length // 2 for length in shape[:-2])
    stride = max(1, math.ceil(max(shape[-2:], default=1) / SIDE))
    return (*planes, *(slice(None, None, stride) for _ in shape[-2:]))


def _paint_labels(labels: NDArray[Any], model: KMeansModel) -> NDArray[np.uint8]:
    table = np.full((int(max(labels.max(initial=0), model.labels.max())) + 1, 3), BACKGROUND)
    table[model.labels] = np.rint(model.colors * 255)
    return _as_picture(table[labels] / 255)


def _as_picture(colors: NDArray[Any]) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    # A line of pixels is a picture of one row.
    return picture if picture.ndim == 3 else picture[None]
