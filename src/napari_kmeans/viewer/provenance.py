"""The record of a run in the metadata of a layer.

Every layer that the plugin makes has a record under `METADATA_KEY`. Only this module
names the keys of the record. Layers of version 0.1.0 have the same keys, so that they
must not be renamed. A record contains plain values that JSON can hold.
"""

from __future__ import annotations

import json
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

_OF_SESSION = ("source_id", "channel", "layer_id")
_ELSEWHERE = ("kind", "version", "level", "model", "classes", "joined", "earlier")
_NOT_SAVED = frozenset([*_OF_SESSION, *_ELSEWHERE])
"""The entries that the file of a layer does not keep in its entry ``run``."""

_IDENTITY_KEYS = ("source", "source_id", "channel", "layer_id")
"""The entries by which a run finds the layers that it updates."""


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
    scheme: str | None = None,
    inside: Mapping[str, Any] | None = None,
    channel_axis: int | None = None,
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
    scheme : {"mean", "distinct"}, optional
        The color scheme of labels.
    inside : mapping, optional
        The Labels layer whose classes were the mask: its name as `layer`, its `unique_id`
        as `layer_id`, and the list of `classes`, which is empty for all.
    channel_axis : int, optional
        The axis of the image layer along which its channels lie.
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
    if scheme is not None:
        metadata[METADATA_KEY]["colors"] = scheme
    if inside is not None:
        metadata[METADATA_KEY]["inside"] = inside
    if channel_axis is not None:
        metadata[METADATA_KEY]["channel_axis"] = channel_axis
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
    """Return the entries that two results share if a new one replaces an old one.

    They are the kind, the source, the channel, and the `unique_id` of the Labels layer
    whose classes were the mask.
    """
    record = record_of(layer)
    inside = record.get("inside", {}).get("layer_id")
    return *(record.get(name) for name in ("kind", "source_id", "channel")), inside


def chosen_classes(layer: Layer) -> list[int]:
    """Return the classes of another layer in which a layer was clustered; empty for none."""
    return list(record_of(layer).get("inside", {}).get("classes", []))


def recorded_level(layer: Layer) -> Any:
    """Return the level that was fitted; 0 without a record."""
    return record_of(layer).get("level", 0)


def recorded_channel_axis(layer: Layer) -> Any:
    """Return the axis of the image layer along which its channels lie; None without one."""
    return record_of(layer).get("channel_axis")


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


def is_of_rgb(layer: Layer) -> bool:
    """Return whether a layer is a result of an RGB image, according to its recorded model."""
    model = recorded_model(layer)
    return isinstance(model, dict) and bool(model.get("rgb"))


def recorded_classes(layer: Layer) -> Any:
    """Return the classes of a layer, as plain values, after edits by hand; None before any."""
    return record_of(layer).get("classes")


def set_recorded_classes(layer: Layer, classes: Sequence[Mapping[str, Any]]) -> None:
    """Record the classes of a layer after edits by hand, if the layer has a record."""
    if has_record(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "classes": classes}


def recorded_run(layer: Layer) -> dict[str, Any]:
    """Return the entries of a record that a file of the layer keeps for the next session.

    The others are in the file elsewhere, such as the model, or hold for this session only, such
    as the identity of layers.
    """
    record = record_of(layer)
    # A user or a script may have added entries that JSON does not hold.
    return {
        name: value for name, value in record.items() if name not in _NOT_SAVED and _is_plain(value)
    }


def saved_metadata(
    source: str, run: Mapping[str, Any], model: Mapping[str, Any] | None, ndim: int
) -> dict[str, Any]:
    """Return the metadata of labels from a file, with the valid entries of `recorded_run`.

    A file has the finest level only, and its layer is nobody's result in this session.

    Parameters
    ----------
    source : str
        The name of the image, if `run` has none.
    run : mapping
        The entry may have been changed by another program.
    model : mapping, optional
        The model as plain values.
    ndim : int
        The number of axes of the labels.
    """
    known = {name: value for name, value in run.items() if name not in _NOT_SAVED}
    name, distortion = known.get("source"), known.get("distortion")
    metadata = source_metadata("labels", name if isinstance(name, str) else source, "")
    metadata[METADATA_KEY] = {
        **known,
        **metadata[METADATA_KEY],
        "options": known["options"] if isinstance(known.get("options"), dict) else {},
        "stack": known["stack"] if _is_stack(known.get("stack"), ndim) else "whole",
        "distortion": distortion if isinstance(distortion, float) else float("nan"),
        "level": 0,
    }
    if model is not None:
        metadata[METADATA_KEY]["model"] = model
    return metadata


def _is_stack(value: Any, ndim: int) -> bool:
    is_index = isinstance(value, list) and len(value) == ndim and None in value
    return value in ("whole", "each") or (
        is_index and all(item is None or (type(item) is int and item >= 0) for item in value)
    )


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def recorded_scheme(layer: Layer) -> str:
    """Return the color scheme of a Labels layer: "mean" or "distinct".

    Layers of versions that recorded no scheme have mean colors.
    """
    return "distinct" if record_of(layer).get("colors") == "distinct" else "mean"


def set_recorded_scheme(layer: Layer, scheme: str) -> None:
    """Record the color scheme of a Labels layer, if the layer has a record."""
    if has_record(layer) and scheme != record_of(layer).get("colors"):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "colors": scheme}


def is_edited_by_hand(layer: Layer) -> bool:
    """Return whether the user has painted in a layer since its run."""
    return bool(recorded_edits(layer))


def recorded_edits(layer: Layer) -> Any:
    """Return the parts of a layer that were edited by hand, as `edited_parts` describes them."""
    return record_of(layer).get("edited_by_hand")


def set_recorded_edits(layer: Layer, parts: Sequence[Any]) -> None:
    """Record the parts of a layer that were edited by hand, if the layer has a record."""
    if has_record(layer) and parts != recorded_edits(layer):
        layer.metadata[METADATA_KEY] = {**record_of(layer), "edited_by_hand": parts}


def take_record(
    layer: Layer,
    result: Layer,
    *,
    keeps_slices: bool,
    keeps_identity: bool = False,
    edited: Sequence[Any] = (),
) -> None:
    """Replace the record of a layer by that of a new result.

    All other metadata of the layer stay.

    Parameters
    ----------
    layer, result : napari.layers.Layer
    keeps_slices : bool
        Whether the result is one slice of a stack whose other slices stay in the
        layer. The runs of the other slices are then listed under "earlier".
    keeps_identity : bool
        Whether the layer keeps its recorded source and its `layer_id`: a duplicate
        stays a duplicate, and no run updates it.
    edited : sequence
        The parts that were edited by hand and stay.
    """
    record = record_of(result)
    if edited:
        record["edited_by_hand"] = edited
    if keeps_slices:
        record["earlier"] = _runs_of_other_slices(layer, record["stack"])
    if keeps_identity:
        earlier = record_of(layer)
        record |= {name: earlier[name] for name in _IDENTITY_KEYS if name in earlier}
    layer.metadata = {**layer.metadata, METADATA_KEY: record}
    if not keeps_identity:
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


def sign_unsigned(layer: Layer) -> None:
    """Sign a layer that has a record without a `layer_id`.

    Files, and layers of version 0.1.0, have none. Sign such a layer before the user can
    duplicate it: a duplicate of an unsigned layer could not be told from the original.
    """
    if has_record(layer) and "layer_id" not in record_of(layer):
        sign(layer)


def is_copy(layer: Layer) -> bool:
    """Return whether a layer is the user's duplicate of a result.

    Layers without a `layer_id` count as originals.
    """
    layer_id = record_of(layer).get("layer_id")
    return layer_id is not None and layer_id != str(layer.unique_id)
