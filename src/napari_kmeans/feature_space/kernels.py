"""Compiled loops over colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compile_kernel
def to_cone(values: NDArray[Any], points: NDArray[Any]) -> None:
    """Write (s v cos h, s v sin h, v) of RGB colors (n, 3) to `points` (n, 3), the cone of hsv."""
    third = np.pi / 3
    for i in range(values.shape[0]):
        red, green, blue = values[i, 0], values[i, 1], values[i, 2]
        value = max(red, green, blue)
        chroma = value - min(red, green, blue)
        hue = 0.0
        if chroma > 0:
            if value == red:
                hue = (green - blue) / chroma * third
            elif value == green:
                hue = (2 + (blue - red) / chroma) * third
            else:
                hue = (4 + (red - green) / chroma) * third
        points[i, 0] = chroma * np.cos(hue)
        points[i, 1] = chroma * np.sin(hue)
        points[i, 2] = value
