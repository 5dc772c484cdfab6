"""The class scheme of a Labels layer: the classes of its model, with the edits by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.classes import ClassScheme, ColorClass, clean_name
from napari_kmeans.measuring import IGNORED, NAME
from napari_kmeans.merging import apply_classes, carry_classes
from napari_kmeans.model import KMeansModel
from napari_kmeans.stacks import any_model_from_dict
from napari_kmeans.viewer.background.carried_classes import (
    describe_carried,
    describe_lost,
    list_edited,
)
from napari_kmeans.viewer.provenance import (
    chosen_classes,
    joined_labels,
    kind_of,
    recorded_classes,
    recorded_model,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.stacks import StackModel
    from napari_kmeans.viewer.background.task import Task


def classes_of(layer: Labels) -> ClassScheme | None:
    """Return the classes that a Labels layer shows.

    Names and ignored classes are those of the table, which scripts may edit too. Layers
    of version 0.1.0 have no record of their classes: only merges and names are known.

    Returns
    -------
    ClassScheme or None
        None if the layer was not painted with one model, such as a stack with a model for
        each slice.
    """
    try:
        recorded = recorded_classes(layer)
        if recorded is not None:
            return _with_table(ClassScheme.from_list(recorded), layer.features)
        classes = KMeansModel.from_dict(recorded_model(layer)).classes
        return _with_table(_with_joined(classes, joined_labels(layer)), layer.features)
    except ValueError:
        # The layer has no model, or a user or a script has changed its metadata.
        return None


def edited_model(layer: Labels, fitted: KMeansModel) -> KMeansModel:
    """Return the model of a result with the edits by hand in its Labels layer.

    The layer records another model if a class was clustered anew inside itself.
    """
    model, recorded = fitted, recorded_model(layer)
    classes = classes_of(layer)
    if isinstance(recorded, dict) and recorded.get("splits"):
        try:
            model = KMeansModel.from_dict(recorded)
        except ValueError:
            classes = None
    # A script may have replaced the metadata of the layer.
    if classes is None or classes.n_centers != len(model.cluster_centers_):
        return fitted
    return model.with_classes(classes)


def model_of(layer: Labels) -> KMeansModel | StackModel | None:
    """Return the recorded model with the edits of its classes; None without a valid model."""
    recorded = recorded_model(layer)
    if kind_of(layer) != "labels" or not isinstance(recorded, dict):
        return None
    try:
        model = any_model_from_dict(recorded)
        return edited_model(layer, model) if isinstance(model, KMeansModel) else model
    except ValueError:
        # A user or a script may have changed the record.
        return None


def labels_at_run(layer: Labels, model: KMeansModel) -> list[int] | None:
    """Return the label that each center of a model had directly after the run of a layer.

    None if it is not known that they are others than 1, 2, …: after *Merge similar*, the
    record contains the merged classes.
    """
    try:
        labels: list[int] = KMeansModel.from_dict(recorded_model(layer)).center_labels.tolist()
    except ValueError:
        return None
    n_centers = len(model.cluster_centers_)
    if len(labels) == n_centers == len(set(labels)):
        return labels
    # Inside classes, the labels follow those of the mask without a gap.
    first = int(model.labels[0])
    return list(range(first, first + n_centers)) if chosen_classes(layer) else None


def _with_joined(classes: ClassScheme, joined: Mapping[int, int]) -> ClassScheme:
    groups: dict[int, list[int]] = {}
    for gone, target in joined.items():
        groups.setdefault(target, [target]).append(gone)
    return classes.merge(*groups.values())


def _with_table(classes: ClassScheme, features: pd.DataFrame) -> ClassScheme:
    """Return the classes with the names and the ignored classes of a table."""
    if "index" not in features:
        return classes
    table = features.set_index("index")
    names = dict(table[NAME].fillna("")) if NAME in table else {}
    ignored = dict(table[IGNORED]) if IGNORED in table else {}
    return ClassScheme(
        tuple(
            replace(
                each,
                name=clean_name(str(names.get(each.label, ""))),
                ignored=bool(ignored.get(each.label, False)),
            )
            for each in classes
        )
    )


SLIDER_STARTS_AGAIN = "The merges of Merge similar are not kept: set its fields again."

SPLIT_DURING_RUN = (
    "The clusters that were split during the run are still merged in the new result: split them "
    "again, or undo the run."
)


class Carried(NamedTuple):
    """A new result with the edits of an earlier layer."""

    segmentation: Segmentation
    """The same object as before if there are no edits that can be carried."""

    edited: KMeansModel | None
    """The model whose edits were carried, or None."""

    message: str
    """The edits that were not carried, in words for the user, or empty."""

    carried: str = ""
    """The classes that have got edits, in words for the user, or empty."""


class LayerHistory(NamedTuple):
    """The classes of a layer directly after its last run, and the model they were carried from."""

    at_start: ClassScheme
    edited: KMeansModel | None


def edited_before(labels: Labels, history: LayerHistory | None = None) -> KMeansModel | None:
    """Return the model of a layer whose edits a new run carries; None if there are no edits.

    Merges of *Merge similar* are not carried unless the merged class has a name or a
    color, or is ignored: the slider starts from the clusters of each run.

    Parameters
    ----------
    labels : napari.layers.Labels
        The layer of an earlier result.
    history : LayerHistory, optional
        If the user has edited nothing since the last run, the edits are carried from the
        model that the user edited last. So a run with fewer clusters in between, such as
        those of *Live*, loses nothing. None if the last run is not known; the classes of
        the layer are then carried with all merges.

    Raises
    ------
    ValueError
        If the layer has no model of its classes: a script may have changed its metadata.
    """
    classes = _classes_to_carry(labels, history)
    at_start = None if history is None else history.at_start
    if history is not None and classes == at_start:
        edited = history.edited
    else:
        edited = KMeansModel.from_dict(recorded_model(labels)).with_classes(classes)
    return None if edited is None or edited.classes.is_unedited else edited


def _classes_to_carry(labels: Labels, history: LayerHistory | None) -> ClassScheme:
    classes = classes_of(labels)
    if classes is None:
        raise ValueError("labels must have the classes of one model: run the clustering again.")
    at_start = None if history is None else history.at_start
    return _without_merges_of_slider(classes, at_start, {*joined_labels(labels).values()})


def carry_edits(
    segmentation: Segmentation, task: Task, labels: Labels, history: LayerHistory | None = None
) -> Carried:
    """Give a new result the names, colors, merges and ignored classes of an earlier layer.

    Parameters
    ----------
    segmentation : Segmentation
        The outcome of the task. Pixels are decided by the merged classes that the layer had when
        the run started. Classes that were merged since then are only renumbered.
    task : Task
    labels : napari.layers.Labels
        The layer of an earlier result.
    history : LayerHistory, optional
        As in `edited_before`.
    """
    model = segmentation.model
    first = task.first_classes(len(model.cluster_centers_), segmentation.starts)
    fitted = model.with_classes(first)
    carried, lost, words = first, list[ColorClass](), ""
    try:
        edited = edited_before(labels, history)
        if edited is not None:
            carried, lost = carry_classes(fitted, edited)
            words = describe_carried(carried, fitted, edited)
        if _classes_to_carry(labels, history) != classes_of(labels):
            words = f"{words} {SLIDER_STARTS_AGAIN}".strip()
    except ValueError:
        # The image has other channels or units than before, or a script has changed the metadata.
        return Carried(segmentation, None, describe_dropped_edits(labels))
    if carried == model.classes:
        return Carried(segmentation, edited, describe_lost(lost), words)
    try:
        segmentation = apply_classes(segmentation, carried)
    except ValueError:
        # The labels of the new result do not contain the parts of its merged classes.
        return Carried(segmentation, task.edited, SPLIT_DURING_RUN)
    return Carried(segmentation, edited, describe_lost(lost), words)


def describe_dropped_edits(labels: Labels) -> str:
    """Return the edits of a layer in words, for a new result that cannot have them."""
    classes = classes_of(labels)
    return _not_carried(_edits_in_table(labels) if classes is None else list_edited(classes))


def _not_carried(names: str) -> str:
    return f"The edits of {names} are not carried to the new result." if names else ""


def _edits_in_table(labels: Labels) -> str:
    """Return the clusters that were named, ignored or merged, for a layer without classes."""
    features, merged = labels.features, {*joined_labels(labels).values()}
    if "index" not in features:
        return ""
    names = features[NAME].fillna("") if NAME in features else [""] * len(features)
    ignored = features[IGNORED] if IGNORED in features else [False] * len(features)
    return ", ".join(
        f"“{name}”" if name else f"cluster {label}"
        for label, name, is_ignored in zip(features["index"], names, ignored, strict=True)
        if name or is_ignored or label in merged
    )


def _without_merges_of_slider(
    classes: ClassScheme, at_start: ClassScheme | None, merged_by_hand: set[int]
) -> ClassScheme:
    """Return classes in which those that *Merge similar* merged, and nobody edited, are split.

    They are split into the classes at the start: the user may have merged clusters before.
    """
    if at_start is None or at_start.n_centers != classes.n_centers:
        return classes
    for each in classes:
        is_edited = each.name or each.color or each.ignored or each.label in merged_by_hand
        was_merged = len({*at_start.center_labels[list(each.centers)]}) == 1
        if not is_edited and not was_merged:
            classes = classes.split(each.label)
            for before in at_start:
                if len(before.centers) > 1 and {*before.centers} <= {*each.centers}:
                    parts = classes.center_labels[list(before.centers)]
                    classes = classes.merge(parts.tolist())
    return classes
