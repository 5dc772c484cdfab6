"""The latest result of the dock: its task, its outcome and its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Image, Labels

from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.to_layers.label_colors import layer_table
from napari_kmeans.viewer.to_layers.layer_classes import edited_model

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Layer

    from napari_kmeans.stacks import StackModel
    from napari_kmeans.viewer.background.task import AnySegmentation, Task


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a finished run, or of a model that was applied.

    Attributes
    ----------
    task : Task
        The source and the options of the run.
    outcome : Segmentation or StackSegmentation
    layers : tuple of napari.layers.Layer
        The layers of the result. The user may have removed some from the viewer.
    seconds : float or None
        The time of the run, if it is known.
    """

    task: Task
    outcome: AnySegmentation
    layers: tuple[Layer, ...]
    seconds: float | None = None

    @property
    def labels(self) -> Labels | None:
        """The Labels layer of the result, or None."""
        return next((layer for layer in self.layers if isinstance(layer, Labels)), None)

    @property
    def model(self) -> KMeansModel | StackModel:
        """The model of the outcome, with the classes that the user may have edited."""
        model = self.outcome.model
        if self.labels is None or not isinstance(model, KMeansModel):
            return model
        return edited_model(self.labels, model)

    @property
    def table(self) -> pd.DataFrame:
        """The table in the Labels layer, which the user may have edited; else that of the run."""
        if self.labels is not None:
            features: pd.DataFrame = self.labels.features
            if {"index", "percent", "color"} <= set(features):
                return features
        return layer_table(self.outcome, self.task.source)

    @property
    def recolored(self) -> list[Image]:
        """The recolored layer, or the layer of each recolored channel."""
        return [layer for layer in self.layers if isinstance(layer, Image)]
