"""The latest result of a dock: what was done, what came out, and the layers that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Image, Labels

from napari_kmeans.viewer.to_layers.label_colors import shown_table

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Layer

    from napari_kmeans.viewer.background.task import AnySegmentation, Task


@dataclass(frozen=True, eq=False)
class Result:
    """A run that has come to its end.

    Attributes
    ----------
    task : Task
        The source and the options.
    outcome : Segmentation or StackSegmentation
    layers : tuple of napari.layers.Layer
        Those in the viewer that show it; the user may have removed some since.
    """

    task: Task
    outcome: AnySegmentation
    layers: tuple[Layer, ...]

    @property
    def labels(self) -> Labels | None:
        """The layer of the labels, if there is one."""
        return next((layer for layer in self.layers if isinstance(layer, Labels)), None)

    @property
    def table(self) -> pd.DataFrame:
        """The table that the layer of the labels shows, or that of the run."""
        if self.labels is not None:
            features: pd.DataFrame = self.labels.features
            if {"index", "percent", "color"} <= set(features):
                return features
        return shown_table(self.outcome, self.task.source)

    @property
    def recolored(self) -> list[Image]:
        """The recolored layer, or that of each channel."""
        return [layer for layer in self.layers if isinstance(layer, Image)]
