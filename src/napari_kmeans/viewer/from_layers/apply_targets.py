"""Find the image layers that a model can be applied to; match layers with its channels by name."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from napari.layers import Image

from napari_kmeans.measuring import channel_names
from napari_kmeans.viewer.from_layers.channels import (
    can_be_channels,
    has_label,
    likely_channel_axis,
    source_of_axis,
    source_of_channels,
)
from napari_kmeans.viewer.from_layers.source import (
    Source,
    layer_levels,
    without_common_words,
)
from napari_kmeans.viewer.provenance import has_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_kmeans.model import KMeansModel


class Target(NamedTuple):
    """An image that a model can be applied to: one layer, or a layer for each channel.

    Attributes
    ----------
    layers : tuple of napari.layers.Image
        In the order of the channels of the model.
    match : str
        The layer of each channel, or the axis of the channels, in words; empty for a layer
        without channels.
    channel_axis : int or None
        The axis of a single layer along which its channels lie, in the order of the model.
    """

    layers: tuple[Image, ...]
    match: str = ""
    channel_axis: int | None = None

    @property
    def title(self) -> str:
        """The name of the layer, or "slide 2: DAPI, GFP" for several layers."""
        names = [layer.name for layer in self.layers]
        parts = without_common_words(names)
        common = names[0].removesuffix(parts[0]).strip(" _")
        return f"{common}: {', '.join(parts)}" if common else ", ".join(parts)

    def source(self) -> Source:
        """Return a snapshot of the layers as one image."""
        if len(self.layers) > 1:
            return source_of_channels(self.layers)
        if self.channel_axis is not None:
            return source_of_axis(self.layers[0], self.channel_axis)
        return Source.of(self.layers[0])


def needs_channels(model: KMeansModel) -> bool:
    """Return whether a model compares several channels that are not red, green and blue."""
    return not model.rgb and model.n_channels > 1


def find_targets(
    model: KMeansModel, layers: Iterable[Any], selected: Iterable[Any] = ()
) -> list[Target]:
    """Return the images in a viewer that a model can be applied to.

    Parameters
    ----------
    model : KMeansModel
    layers : iterable of napari.layers.Layer
        In the order of the list of layers.
    selected : iterable of napari.layers.Layer
        If they are as many as the channels of the model, they are offered even if their
        names do not match.

    Returns
    -------
    list of Target
        Layers that the plugin made are left out unless nothing else fits.
    """
    images = [layer for layer in layers if isinstance(layer, Image)]
    chosen = [layer for layer in images if layer in {*selected}]
    for offered in ([layer for layer in images if not has_record(layer)], images):
        if needs_channels(model):
            targets = [each for each in map(partial(match_axis, model), offered) if each]
            targets += _find_sets(model, offered)
            together = _match_selected(model, [layer for layer in chosen if layer in offered])
            known = [{*target.layers} for target in targets]
            if together is not None and {*together.layers} not in known:
                targets.append(together)
        else:
            targets = [Target((layer,)) for layer in offered if layer.rgb == model.rgb]
        if targets:
            return targets
    return []


def find_alike(
    layers: Iterable[Any], image: Image | None, channel_axis: int | None = None
) -> list[Target]:
    """Return the image layers that one model can be fitted to, together with an image.

    They have the same dtype and number of axes, and are in color if the image is. Results are
    left out.

    Parameters
    ----------
    layers : iterable of layers
    image : napari.layers.Image or None
        None takes the first image layer.
    channel_axis : int, optional
        The axis of the image along which its channels lie. The layers have as many.
    """
    images = [each for each in layers if isinstance(each, Image) and not has_record(each)]
    if image is None or image not in images:
        image, channel_axis = next(iter(images), None), None
    if image is None:
        return []
    kind = _kind_of(image, channel_axis)
    return [
        Target((each,), channel_axis=channel_axis)
        for each in images
        if each.ndim == image.ndim and _kind_of(each, channel_axis) == kind
    ]


def _kind_of(layer: Image, channel_axis: int | None) -> tuple[Any, ...]:
    n_channels = None if channel_axis is None else layer_levels(layer)[0].shape[channel_axis]
    return layer.rgb, layer.ndim, layer.dtype, n_channels


def match_layers(model: KMeansModel, layers: Sequence[Image]) -> Target:
    """Return layers as the channels of a model: by their names, or else in their order.

    Raises
    ------
    ValueError
        If there are not as many as channels, or if they are not channels of one image.
    """
    if len(layers) != model.n_channels:
        raise ValueError(
            f"layers must be {model.n_channels}, one for each channel of the model, got "
            f"{len(layers)}: choose layers for {', '.join(channel_names(model))}."
        )
    # Check that they are channels of one image.
    source_of_channels(layers)
    target = _match_by_name(model, layers)
    return target or _describe(model, layers, "in the order of the layer list")


def match_axis(model: KMeansModel, layer: Image) -> Target | None:
    """Return a layer whose channels lie along one of its axes; None if they do not fit."""
    axis = likely_channel_axis(layer, model.n_channels)
    if axis is None or not needs_channels(model):
        return None
    label = layer.axis_labels[axis]
    name = f"{axis} ({label})" if has_label(label) else str(axis)
    listed = ", ".join(channel_names(model))
    return Target((layer,), f"{listed} = axis {name} of “{layer.name}” (in its order)", axis)


def describe_missing(model: KMeansModel, layers: Iterable[Any]) -> str:
    """Return the sentence about a viewer without an image that a model can be applied to."""
    if model.rgb:
        return "The model is of colors: open an RGB image."
    if not needs_channels(model):
        return "The model is of gray levels: open a gray image."
    names = channel_names(model)
    remedy = (
        f"Select {len(names)} gray layers of one shape: they are taken in the order of the layer "
        "list."
    )
    listed = ", ".join(names)
    if _words_of_channels(model) is None:
        return f"The model has {len(names)} channels, {listed}. {remedy}"
    found = _group_by_channel(model, [each for each in layers if _is_gray_image(each)])
    for channels in found.values():
        for place, matching in channels.items():
            if len(matching) > 1:
                several = " and ".join(f"“{layer.name}”" for layer in matching)
                return f"Several layers match the channel {names[place]}: {several}. {remedy}"
    missing = [
        name
        for place, name in enumerate(names)
        if not any(place in channels for channels in found.values())
    ]
    if found and missing:
        return f"No layer matches the channel {missing[0]} of the model. {remedy}"
    return f"No layers of one image match the channels {listed} of the model. {remedy}"


def _is_gray_image(layer: Any) -> bool:
    return isinstance(layer, Image) and not layer.rgb and not has_record(layer)


def _find_sets(model: KMeansModel, layers: Iterable[Image]) -> list[Target]:
    """Return the sets of layers whose names are those of the channels, and otherwise equal."""
    targets = []
    for channels in _group_by_channel(model, [each for each in layers if not each.rgb]).values():
        matching = [channels.get(place, []) for place in range(model.n_channels)]
        members = [each[0] for each in matching if len(each) == 1]
        if len(members) == model.n_channels and can_be_channels(members):
            targets.append(_describe(model, members, "by name"))
    return targets


def _match_selected(model: KMeansModel, layers: list[Image]) -> Target | None:
    if len(layers) != model.n_channels or not can_be_channels(layers):
        return None
    return match_layers(model, layers)


def _match_by_name(model: KMeansModel, layers: Iterable[Image]) -> Target | None:
    """Return layers in the order of the channels in their names; None unless each has one."""
    places: dict[int, Image] = {}
    for _, channels in _group_by_channel(model, layers).items():
        for place, matching in channels.items():
            if place in places or len(matching) > 1:
                return None
            places[place] = matching[0]
    if len(places) < model.n_channels:
        return None
    return _describe(model, [places[place] for place in sorted(places)], "by name")


def _describe(model: KMeansModel, layers: Sequence[Image], how: str) -> Target:
    pairs = zip(channel_names(model), layers, strict=True)
    listed = ", ".join(f"{name} = “{layer.name}”" for name, layer in pairs)
    return Target(tuple(layers), f"{listed} ({how})")


def _group_by_channel(
    model: KMeansModel, layers: Iterable[Image]
) -> dict[tuple[str, ...], dict[int, list[Image]]]:
    """Return the layers of each channel by the other words in their names.

    A layer whose name has the names of several channels belongs to the longest of them.
    """
    groups: dict[tuple[str, ...], dict[int, list[Image]]] = {}
    channels = _words_of_channels(model)
    for layer in layers if channels else ():
        assert channels is not None
        words = _split_words(layer.name)
        found = [
            (len(each), place) for place, each in enumerate(channels) if _find(each, words) >= 0
        ]
        length = max((length for length, _ in found), default=0)
        longest = [place for each, place in found if each == length]
        if len(longest) == 1:
            start = _find(channels[longest[0]], words)
            others = (*words[:start], *words[start + length :])
            groups.setdefault(others, {}).setdefault(longest[0], []).append(layer)
    return groups


def _words_of_channels(model: KMeansModel) -> list[tuple[str, ...]] | None:
    """Return the words of the name of each channel; None unless all have different names."""
    words = [_split_words(name) for name in model.channel_names]
    return words if words and all(words) and len({*words}) == len(words) else None


def _split_words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", name.casefold()))


def _find(part: tuple[str, ...], words: tuple[str, ...]) -> int:
    """Return the first place of consecutive words among others; -1 if they are not there."""
    places = range(len(words) - len(part) + 1)
    return next((place for place in places if words[place : place + len(part)] == part), -1)
