"""The table of a time lapse: one row for each frame and cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.progress import Progress
from napari_kmeans.imaging.label_counts import count_labels
from napari_kmeans.measuring import PER_FRAME, PixelSize, add_sizes, drop_sizes
from napari_kmeans.viewer.to_layers.label_area import counted_size, time_axes
from napari_kmeans.viewer.to_layers.label_table import (
    counted_pixels,
    counted_slice,
    recounted_table,
    without_mark,
)

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.execution.progress import Report

FRAME = "frame"
"""The first column of the table: the number of the frame, from 0 on, as napari counts."""


@dataclass(frozen=True, eq=False)
class FramesWork:
    """The labels of a time lapse, to be counted frame by frame.

    Attributes
    ----------
    pixels : array of integers
        The counted pixels of the layer, in memory or lazy, with the time as the first axis.
    table : pandas.DataFrame
        The table of all frames together.
    size : PixelSize or None
        The area or volume of a pixel, if it is known.
    """

    pixels: Any
    table: pd.DataFrame
    size: PixelSize | None

    @classmethod
    def of(cls, layer: Labels, table: pd.DataFrame) -> FramesWork | None:
        """Return the work for a layer and its table; None if it does not have several frames."""
        pixels, slice_index = counted_pixels(layer), counted_slice(layer)
        counted = [
            axis for axis in range(layer.ndim) if slice_index is None or slice_index[axis] is None
        ]
        times = [place for place, axis in enumerate(counted) if axis in time_axes(layer)]
        if len(times) != 1 or pixels.shape[times[0]] < 2:
            return None
        order = [times[0], *(axis for axis in range(pixels.ndim) if axis != times[0])]
        pixels, size = pixels.transpose(order), counted_size(layer)
        if size is not None:
            name = size.name.removesuffix(PER_FRAME)
            size = size._replace(name=name, value=size.value * len(pixels))
        return cls(pixels, drop_sizes(without_mark(table)), size)

    def run(self, progress: Report | None = None) -> pd.DataFrame:
        """Return the table with the column `FRAME`, without channel means.

        Percentages are those of the pixels of the frame.
        """
        import pandas as pd

        step, tables = Progress(progress).stage(1, len(self.pixels)), []
        for number in range(len(self.pixels)):
            counts = count_labels(np.asarray(self.pixels[number]))
            table = recounted_table(self.table, counts)
            table.insert(0, FRAME, number)
            tables.append(table)
            step(1)
        joined = pd.concat(tables, ignore_index=True)
        return joined if self.size is None else add_sizes(joined, self.size)
