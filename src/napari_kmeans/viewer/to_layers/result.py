"""A result as the panels show it: a Labels layer with its image, its model and its table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Image, Labels

from napari_kmeans.measuring import COUNT_COLUMNS, UNDECIDED, count_undecided
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import Options
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackModel
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.channels import source_of_channels
from napari_kmeans.viewer.from_layers.found_source import find_source
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.provenance import (
    is_copy,
    kind_of,
    record_of,
    result_key,
)
from napari_kmeans.viewer.to_layers.label_colors import MEAN, layer_table
from napari_kmeans.viewer.to_layers.label_table import (
    counted_index,
    counted_level,
    is_outdated,
    without_mark,
)
from napari_kmeans.viewer.to_layers.layer_classes import edited_model, model_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from napari.layers import Layer

    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source

    AnyModel: TypeAlias = KMeansModel | StackModel


_NO_OUTCOME = "The labels are no longer the clusters of their model: run the clustering again."
_NO_SLICES = "The results of the single slices are not in the layer: run the clustering again."


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a finished run, of a model that was applied, or of a layer with a record.

    Attributes
    ----------
    task : Task or None
        The source and the options of the run. None if the image is not known.
    outcome : Segmentation or StackSegmentation or None
        None if the clusters of a layer from elsewhere are no longer those of its model.
    layers : tuple of napari.layers.Layer
        The layers of the result. The user may have removed some from the viewer.
    recorded : KMeansModel or StackModel or None
        The model in the record of the layer, if the result was rebuilt by `of_layer`.
    seconds : float or None
        The time of the run, if it is known.
    """

    task: Task | None
    outcome: AnySegmentation | None
    layers: tuple[Layer, ...]
    recorded: AnyModel | None = None
    seconds: float | None = None

    @classmethod
    def of_layer(cls, labels: Labels, layers: Iterable[Layer]) -> Result | None:
        """Rebuild the result that a Labels layer shows from the record of the layer.

        Parameters
        ----------
        labels : napari.layers.Labels
            A layer of a script, of a file, or a duplicate of a result.
        layers : iterable of napari.layers.Layer
            The layers among which the image and the recolored layers are found.

        Returns
        -------
        Result or None
            None if the layer has no model, or no table of clusters.
        """
        model = model_of(labels)
        if model is None or not set(COUNT_COLUMNS) <= set(labels.features):
            return None
        layers = list(layers)
        source = _find_source(labels, layers, model)
        if source is not None and source.channels and isinstance(model, KMeansModel):
            # The channels of layers are the last axis, wherever they are in a file.
            model = replace(model, channel_axis=-1)
        recolored = _find_recolored(labels, layers)
        outcome = _rebuild_outcome(labels, recolored, source, model)
        task = None
        if source is not None:
            task = Task(source, None, _read_options(record_of(labels), model), applied=True)
        return cls(task, outcome, (*recolored, labels), model)

    def is_current(self, layers: Iterable[Layer]) -> bool:
        """Return whether a result that was rebuilt has all of its layers that there are."""
        layers = list(layers)
        if self.recorded is None or self.labels is None:
            return True
        if self.source is None and _find_source(self.labels, layers, self.recorded) is not None:
            return False
        return self.recolored == _find_recolored(self.labels, layers)

    @property
    def source(self) -> Source | None:
        """The image with its level and its slices; None if it is not known."""
        return None if self.task is None else self.task.source

    @property
    def has_own_numbers(self) -> bool:
        """Whether the labels are numbered in another way than from 1, from dark to bright."""
        return self.task is not None and self.task.has_own_numbers

    @property
    def name(self) -> str:
        """The name of the image when it was clustered."""
        if self.source is not None:
            return self.source.name
        return str(record_of(self.layers[-1]).get("source", self.layers[-1].name))

    @property
    def masks(self) -> list[Any] | None:
        """The mask of the clustered slices of each level; None if no pixel was left out.

        The mask of a result that was rebuilt is where its labels are not 0, unless its table counts
        the rest as undecided.
        """
        if self.task is None or self.recorded is None or self.labels is None:
            return None if self.task is None else self.task.masks
        if _counts_all_pixels(self.labels):
            return None
        masks = []
        for level, array in enumerate(layer_levels(self.labels)):
            index = self.task.source.index_of(level)
            masks.append((array if index is None else array[index]) != 0)
        is_everywhere = all(isinstance(mask, np.ndarray) and mask.all() for mask in masks)
        return None if is_everywhere else masks

    @property
    def labels(self) -> Labels | None:
        """The Labels layer of the result, or None."""
        return next((layer for layer in self.layers if isinstance(layer, Labels)), None)

    @property
    def fitted_model(self) -> AnyModel:
        """The model of the outcome, before the edits of its classes in the list of clusters."""
        if self.outcome is not None:
            return self.outcome.model
        assert self.recorded is not None
        return self.recorded

    @property
    def options(self) -> Options:
        """The options of the fit, as far as they are known."""
        if self.outcome is not None:
            return self.outcome.options
        return _read_options(record_of(self.layers[-1]), self.fitted_model)

    @property
    def layer(self) -> Layer | None:
        """The layer that the result belongs to: its labels, or else the first of its layers."""
        return self.labels or next(iter(self.layers), None)

    @property
    def model(self) -> AnyModel:
        """The model of the outcome, with the classes that the user may have edited."""
        model = self.fitted_model
        if self.labels is None or not isinstance(model, KMeansModel):
            return model
        return edited_model(self.labels, model)

    @property
    def table(self) -> pd.DataFrame:
        """The table in the Labels layer, which the user may have edited; else that of the run."""
        if self.labels is not None:
            features: pd.DataFrame = self.labels.features
            is_table = {"index", "percent", "color"} <= set(features)
            if is_table or self.outcome is None or self.source is None:
                return features
        assert self.outcome is not None
        assert self.source is not None
        # Without labels, the screen shows the recolored image.
        return layer_table(self.outcome, self.source, MEAN)

    @property
    def recolored(self) -> list[Image]:
        """The recolored layer, or the layer of each recolored channel."""
        return [layer for layer in self.layers if isinstance(layer, Image)]

    @property
    def source_id(self) -> str:
        """The `unique_id` of the image when it was clustered; of several channels, all of them."""
        if self.source is not None:
            return self.source.unique_id
        return str(record_of(self.layers[-1]).get("source_id", ""))

    def known_outcome(self) -> AnySegmentation:
        """Return the outcome, for work that needs the clusters and not only their layer.

        Raises
        ------
        ValueError
            If the layer no longer shows the clusters of its model, or is one of slices with a
            model each that was not clustered in this session.
        """
        if self.outcome is None:
            raise ValueError(self.describe_missing_outcome())
        return self.outcome

    def describe_missing_outcome(self) -> str:
        """Return the sentence for work that needs the outcome if there is none."""
        return _NO_SLICES if isinstance(self.recorded, StackModel) else _NO_OUTCOME

    def describe_missing(self, purpose: str) -> str:
        """Return the sentence for work that needs the image, such as "to split clusters"."""
        return f"The image “{self.name}” is not in the viewer: open it {purpose}."

    def known_source(self, purpose: str) -> Source:
        """Return the image, for work that needs its pixels.

        Parameters
        ----------
        purpose : str
            The end of the message: "to split clusters".

        Raises
        ------
        ValueError
            If the image is not known.
        """
        if self.source is None:
            raise ValueError(self.describe_missing(purpose))
        return self.source


def _find_source(labels: Labels, layers: list[Layer], model: AnyModel) -> Source | None:
    one = model
    if isinstance(model, StackModel):
        one = next(each for each in model.models if each is not None)
    assert isinstance(one, KMeansModel)
    names = one.channel_names or ()
    n_channels = one.n_channels
    return find_source(labels, layers, rgb=model.rgb, n_channels=n_channels, channel_names=names)


def _find_recolored(labels: Labels, layers: Iterable[Layer]) -> list[Image]:
    """Return the recolored layers that belong to a Labels layer, from the bottom to the top.

    Duplicates belong to duplicates. If several layers show the image, or a channel, of the
    same run, none belongs to the labels: an edit could change the wrong one.
    """
    run = _describe_run(labels)
    matches: dict[Any, list[Image]] = {}
    for layer in layers:
        if not isinstance(layer, Image) or kind_of(layer) != "recolored":
            continue
        if is_copy(layer) == is_copy(labels) and _describe_run(layer) == run:
            matches.setdefault(result_key(layer), []).append(layer)
    return [found[0] for found in matches.values() if len(found) == 1]


def _describe_run(layer: Layer) -> tuple[Any, ...]:
    """Return the entries of a record that the layers of one run share, whatever was edited."""
    record = record_of(layer)
    names = ("source_id", "source", "options", "level", "stack")
    # NaN is not equal to itself: compare the text.
    return (*(record.get(name) for name in names), repr(record.get("distortion")))


def _rebuild_outcome(
    labels: Labels, recolored: list[Image], source: Source | None, model: AnyModel
) -> Segmentation | None:
    """Return the outcome of a layer, if the rows of its table are the classes of its model."""
    table = without_mark(labels.features).drop(columns="level", errors="ignore")
    if not isinstance(model, KMeansModel) or table["index"].tolist() != model.labels.tolist():
        return None
    levels = layer_levels(labels)
    pixels = None if source is None else _recolored_levels(recolored, source)
    record = record_of(labels)
    distortion = record.get("distortion")
    return Segmentation(
        levels if labels.multiscale else levels[0],
        pixels if labels.multiscale or pixels is None else pixels[0],
        model,
        table,
        coreset=None,
        distortion=float(distortion) if isinstance(distortion, int | float) else float("nan"),
        options=_read_options(record, model),
    )


def _recolored_levels(recolored: list[Image], source: Source) -> list[Any]:
    """Return the recolored pixels of each level; those of the image if a layer is missing.

    A merge paints the colors of the classes over the pixels that have a label. All other
    pixels are those of the image anyway.
    """
    if len(recolored) != max(len(source.channels), 1):
        return list(source.levels)
    if not source.channels:
        return layer_levels(recolored[0])
    by_channel = {record_of(layer).get("channel"): layer for layer in recolored}
    ordered = [by_channel.get(channel.unique_id) for channel in source.channels]
    if any(layer is None for layer in ordered):
        return list(source.levels)
    return list(source_of_channels([layer for layer in ordered if layer is not None]).levels)


def _counts_all_pixels(labels: Labels) -> bool:
    """Return whether the pixels in a table and the undecided ones are all pixels of the labels."""
    table = labels.features
    if UNDECIDED not in table or is_outdated(table):
        return False
    counted = layer_levels(labels)[counted_level(labels)][counted_index(labels)]
    return bool(table["pixels"].sum() + count_undecided(table) == counted.size)


def _read_options(record: dict[str, Any], model: AnyModel) -> Options:
    """Return the recorded options of the fit; those that the model knows if they are not valid."""
    recorded: Any = record.get("options")
    try:
        return Options(**recorded)
    except (TypeError, ValueError):
        # A file has none, and a user or a script may have changed the record.
        return options_of_fit(model) if isinstance(model, KMeansModel) else Options()


def options_of_fit(model: KMeansModel) -> Options:
    """Return the options with which a model was fitted, with defaults for those it lacks."""
    known = model.options
    fitted: Any = (model.fit or {}).get("options")
    try:
        # The fit states how the centers were found, and the model how labels are made of them.
        own = {**model.space.options, **model.cleaning.options, "normalize": model.normalize}
        return Options(**{**fitted, **own})
    except (TypeError, ValueError):
        # A model of an earlier version has no fit, and a script may have changed it.
        return known
