"""The class scheme of a Labels layer: the classes of its model, with the edits by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_kmeans.classes import ClassScheme, clean_name
from napari_kmeans.measuring import IGNORED, NAME
from napari_kmeans.merging import apply_classes, carry_classes
from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.provenance import joined_labels, recorded_classes, recorded_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.segmentation import Segmentation


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


def carry_edits(
    segmentation: Segmentation, labels: Labels, at_start: ClassScheme | None = None
) -> tuple[Segmentation, list[str]]:
    """Give a new result the names, colors, merges and ignored classes of an earlier layer.

    Merges of *Merge similar* are not carried unless the merged class has a name or a
    color, or is ignored: the slider starts from the clusters of each run.

    Parameters
    ----------
    segmentation : Segmentation
        A result without edited classes.
    labels : napari.layers.Labels
        The layer of an earlier result of an image with the same channels.
    at_start : ClassScheme, optional
        The classes of the layer directly after its run. None if they are not known; all
        merges are then carried.

    Returns
    -------
    segmentation : Segmentation
        The same object if the layer has no edits that can be carried.
    lost : list of str
        The names of classes whose color no cluster of the new result has.
    """
    classes, values = classes_of(labels), recorded_model(labels)
    if classes is None or classes.is_unedited:
        return segmentation, []
    try:
        classes = _without_merges_of_slider(classes, at_start, {*joined_labels(labels).values()})
        earlier = KMeansModel.from_dict(values).with_classes(classes)
        carried = carry_classes(segmentation.model, earlier)
    except ValueError:
        # The image has other channels than before, or a script has changed the metadata.
        return segmentation, [each.name for each in classes if each.name]
    kept = {each.name for each in carried}
    lost = [each.name for each in classes if each.name and each.name not in kept]
    return apply_classes(segmentation, carried), lost


def _without_merges_of_slider(
    classes: ClassScheme, at_start: ClassScheme | None, merged_by_hand: set[int]
) -> ClassScheme:
    """Return classes in which those that *Merge similar* merged, and nobody edited, are split."""
    if at_start is None or at_start.n_centers != classes.n_centers:
        return classes
    for each in classes:
        is_edited = each.name or each.color or each.ignored or each.label in merged_by_hand
        was_merged = len({*at_start.center_labels[list(each.centers)]}) == 1
        if not is_edited and not was_merged:
            classes = classes.split(each.label)
    return classes
