"""Build the Image layers of the panel *Confidence*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Image

from napari_kmeans.options import SPACE_OPTIONS
from napari_kmeans.viewer.provenance import kind_of, recorded_model, sign, source_metadata
from napari_kmeans.viewer.to_layers.layer_classes import classes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels, Layer
    from napari.utils import Colormap

OUTDATED = " (outdated)"
"""The end of the name of a layer whose labels have another model by now."""

_COMPARED_ENTRIES = (*SPACE_OPTIONS, "cluster_centers", "splits", "offset", "scale")
"""The entries of a model that decide the confidence."""

_FOLLOWERS: WeakKeyDictionary[Image, Callable[[], None]] = WeakKeyDictionary()
"""The function that ends the following of the labels, by the layer that follows them."""


def soft_layer(
    levels: list[Any],
    title: str,
    colormap: str | Colormap,
    *,
    name: str,
    source_id: str,
    spatial: dict[str, Any],
) -> Image:
    """Build the layer of the confidence, or of the membership in a class, from 0 to 1.

    Parameters
    ----------
    levels : list of arrays
        Finest level first.
    title : str
        What the layer shows: the end of its name.
    colormap : str or Colormap
    name, source_id : str
        The name of the image that was clustered, and its `unique_id`.
    spatial : dict
        Scale, translation and further arguments that place the layer in the world.
    """
    multiscale = len(levels) > 1
    layer = Image(
        levels if multiscale else levels[0],
        multiscale=multiscale,
        rgb=False,
        name=f"{name} {title}",
        colormap=colormap,
        contrast_limits=(0, 1),
        metadata=source_metadata(title, name, source_id),
        **spatial,
    )
    return sign(layer)


def is_soft(layer: Layer) -> bool:
    """Return whether a layer shows a confidence or a membership."""
    return (kind_of(layer) or "").startswith(("confidence", "membership"))


def follow_model(layer: Image, labels: Labels) -> None:
    """Mark a layer as outdated, in its name, while its labels have another model.

    A new run, a merge and a split change the model, and an undo restores it. Names, colors and
    the cleaning do not matter.
    """
    if layer in _FOLLOWERS:
        _FOLLOWERS[layer]()
    model, followed, following = _centers_of_classes(labels), ref(labels), ref(layer)

    def stop() -> None:
        labels = followed()
        if labels is not None:
            labels.events.features.disconnect(update)

    def update(_event: Any = None) -> None:
        layer, labels = following(), followed()
        if layer is None or labels is None:
            stop()
            return
        name = layer.name.removesuffix(OUTDATED)
        name = name if _centers_of_classes(labels) == model else name + OUTDATED
        if name != layer.name:
            layer.name = name

    labels.events.features.connect(update)
    _FOLLOWERS[layer] = stop
    update()


def _centers_of_classes(labels: Labels) -> Any:
    """Return what the confidence depends on: the centers of each class, and their space.

    The models of slices have no classes that a user can edit.
    """
    model, classes = recorded_model(labels), classes_of(labels)
    if classes is None or not isinstance(model, dict):
        return model
    return [model.get(name) for name in _COMPARED_ENTRIES], sorted(each.centers for each in classes)
