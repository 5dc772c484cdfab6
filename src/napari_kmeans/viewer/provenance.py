"""The record of a run in the metadata of a layer.

Every layer that the plugin makes has a record under `METADATA_KEY`. Only this module
names the keys of the record. Layers of version 0.1.0 have the same keys, so that they
must not be renamed. A record contains plain values that JSON can hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from napari_kmeans._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Layer

AnyLayer = TypeVar("AnyLayer", bound="Layer")

METADATA_KEY = "napari-kmeans"
"""The key of the record in the metadata of a layer."""

_RUN_KEYS = ("stack", "level", "options", "model", "distortion")
"""The entries that describe a run whose slices a layer still shows."""


def source_metadata(kind: str, source: str, source_id: str) -> dict[str, Any]:
    """Return the metadata of a layer that was made from an image layer.

    Parameters
    ----------
    kind : str
        The content of the layer: "labels", "recolored", "coreset", "compared" or "objects".
    source : str
        The name of the image layer.
    source_id : str
        Its `unique_id`; of several layers as channels, all of them.
    """
    record = {"kind": kind, "version": __version__, "source": source, "source_id": source_id}
    return {METADATA_KEY: record}


def run_metadata(
    kind: str,
    source: str,
    source_id: str,
    *,
    options: Mapping[str, Any],
    level: int,
    stack: str | Sequence[int | None],
    model: Mapping[str, Any],
    distortion: float,
    channel_id: str | None = None,
) -> dict[str, Any]:
    """Return the metadata of a layer that shows the result of a run.

    Parameters
    ----------
    kind, source, source_id : str
        As in `source_metadata`.
    options, model : dict
        As plain values.
    level : int
        The level that was fitted.
    stack : str or sequence of int or None
        "whole", "each" or the index of the slice that was clustered.
    distortion : float
    channel_id : str, optional
        The `unique_id` of the layer of a channel, for its recolored copy.
    """
    metadata = source_metadata(kind, source, source_id)
    metadata[METADATA_KEY] |= {
        "options": options,
        "level": level,
        "stack": stack if isinstance(stack, str) else list(stack),
        "model": model,
        "distortion": distortion,
    }
    if channel_id is not None:
        metadata[METADATA_KEY]["channel"] = channel_id
    return metadata


def has_record(layer: Layer) -> bool:
    """Return whether the plugin made a layer, or the original of a duplicate."""
    return METADATA_KEY in layer.metadata


def record_of(layer: Layer) -> dict[str, Any]:
    """Return a copy of the record of a layer; empty for a layer without a record."""
    return dict(layer.metadata.get(METADATA_KEY, {}))


def kind_of(layer: Layer) -> str | None:
    """Return the content of a layer, as in `source_metadata`; None without a record."""
    return record_of(layer).get("kind")


def set_kind(layer: Layer, kind: str) -> None:
    """Change the recorded content of a layer, for example so that no run updates it."""
    layer.metadata[METADATA_KEY]["kind"] = kind


def result_key(layer: Layer) -> tuple[Any, ...]:
    """Return the entries that two results share if a new one replaces an old one."""
    record = record_of(layer)
    return tuple(record.get(name) for name in ("kind", "source_id", "channel"))


def recorded_level(layer: Layer) -> Any:
    """Return the level that was fitted; 0 without a record."""
    return record_of(layer).get("level", 0)


def recorded_slice(layer: Layer) -> list[int | None] | None:
    """Return the index of the only slice that was clustered; None if all slices were."""
    stack = record_of(layer).get("stack")
    return stack if isinstance(stack, list) else None


def joined_labels(layer: Layer) -> dict[int, int]:
    """Return the labels that the user merged since the run: {label that is gone: its new label}."""
    return dict(record_of(layer).get("joined", {}))


def set_joined_labels(layer: Layer, joined: Mapping[int, int]) -> None:
    """Record the labels that the user merged, if the layer has a record."""
    if has_record(layer) and joined != joined_labels(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "joined": joined}


def recorded_model(layer: Layer) -> Any:
    """Return the model that painted a layer, as plain values; None without a record."""
    return record_of(layer).get("model")


def set_recorded_model(layer: Layer, model: Any) -> None:
    """Record another model after an edit of its centers, if the layer has a record."""
    if has_record(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "model": model}


def recorded_classes(layer: Layer) -> Any:
    """Return the classes of a layer, as plain values, after edits by hand; None before any."""
    return record_of(layer).get("classes")


def set_recorded_classes(layer: Layer, classes: Sequence[Mapping[str, Any]]) -> None:
    """Record the classes of a layer after edits by hand, if the layer has a record."""
    if has_record(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "classes": classes}


def is_edited_by_hand(layer: Layer) -> bool:
    """Return whether the user has painted in a layer since its run."""
    return bool(record_of(layer).get("edited_by_hand", False))


def set_edited_by_hand(layer: Layer) -> None:
    """Record that the user has painted in a layer, if the layer has a record."""
    if has_record(layer) and not is_edited_by_hand(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "edited_by_hand": True}


def take_record(layer: Layer, result: Layer, *, keeps_slices: bool) -> None:
    """Replace the record of a layer by that of a new result.

    All other metadata of the layer stay.

    Parameters
    ----------
    layer, result : napari.layers.Layer
    keeps_slices : bool
        Whether the result is one slice of a stack whose other slices stay in the
        layer. The runs of the other slices are then listed under "earlier".
    """
    record = record_of(result)
    if keeps_slices:
        record["earlier"] = _runs_of_other_slices(layer, record["stack"])
    layer.metadata = {**layer.metadata, METADATA_KEY: record}
    sign(layer)


def _runs_of_other_slices(layer: Layer, new_slice: list[int | None]) -> list[dict[str, Any]]:
    """Return the runs of a layer, except for that of the slice which a new run replaces."""
    record = record_of(layer)
    runs = [*record.get("earlier", []), {name: record.get(name) for name in _RUN_KEYS}]
    return [run for run in runs if run["stack"] != new_slice]


def sign(layer: AnyLayer) -> AnyLayer:
    """Record the `unique_id` of a layer in its own record, and return the layer.

    napari copies the metadata when the user duplicates a layer, but gives the
    duplicate another `unique_id`: `is_copy` compares the two.
    """
    layer.metadata[METADATA_KEY] = {**record_of(layer), "layer_id": str(layer.unique_id)}
    return layer


def is_copy(layer: Layer) -> bool:
    """Return whether a layer is the user's duplicate of a result.

    Layers of version 0.1.0 have no `layer_id`. They count as originals.
    """
    layer_id = record_of(layer).get("layer_id")
    return layer_id is not None and layer_id != str(layer.unique_id)
