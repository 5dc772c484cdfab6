"""Choose the channels of an image, and the axis that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.imaging.blocks import open_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.files.picture import Picture

GDAL_METADATA, GDAL_NODATA = 42112, 42113
"""The TIFF tags of the metadata of bands, and of the value of pixels without data."""

COLORS: tuple[Channel, ...] = (
    Channel("red", "#ff0000"),
    Channel("green", "#00ff00"),
    Channel("blue", "#0000ff"),
)
"""The channels of an RGB image."""


def find_channels(picture: Picture) -> tuple[bool, int | None]:
    """Return (rgb, channel_axis) of an image; the axis is None for RGB and gray images.

    Raises
    ------
    TypeError, ValueError
        If the image or its mask cannot be clustered.
    """
    pixels = open_pixels(
        picture.pixels, rgb=picture.rgb, channel_axis=picture.channel_axis, mask=picture.mask
    )
    return pixels.rgb, None if pixels.rgb else pixels.channel_axis


def find_axis_of_channels(picture: Picture) -> int | None:
    """Return the number of the axis of channels or colors; None for a gray image."""
    rgb, channel_axis = find_channels(picture)
    return picture.pixels.ndim - 1 if rgb else channel_axis


def set_channel_axis(picture: Picture, name: str) -> Picture:
    """Return an image whose channels lie along another axis than its file states.

    Parameters
    ----------
    picture : Picture
    name : str
        The number of the axis, negative from the end, or its name in the file.

    Raises
    ------
    UnreadableImageError
        If there is no such axis, or if the image has colors along another axis.
    """
    ndim = picture.pixels.ndim
    axis = _find_axis(picture, name)
    if picture.rgb and axis != ndim - 1:
        raise UnreadableImageError(
            f"its colors lie along axis {ndim - 1}, so its channels cannot lie along axis {axis}"
        )
    if axis == picture.channel_axis:
        return picture
    if ndim < 3:
        raise UnreadableImageError(
            f"--channel-axis needs an image of at least 3 axes, got {name} for an image of the "
            f"shape {picture.pixels.shape}"
        )
    changed = picture._replace(
        rgb=False,
        channel_axis=axis,
        axes=_name_channel_axis(picture, axis),
        channels=(),
        mask=_move_mask(picture, axis),
    )
    if picture.rgb and picture.pixels.shape[-1] > len(COLORS):
        return add_mask(changed, picture.pixels[..., len(COLORS)] != 0)
    return changed


def _name_channel_axis(picture: Picture, axis: int) -> tuple[Axis, ...]:
    """Return the axes if the channels lie along `axis`.

    If the file states another axis of channels, the meaning of that one is unknown. Then
    the axes are left out if no plane remains.
    """
    axes, old = list(picture.axes), picture.channel_axis
    if axes and old is not None:
        axes[old] = Axis(f"dim_{old}", "")
    if axes:
        axes[axis] = Axis("c", "channel")
    has_plane = sum(each.kind == "space" for each in axes) > 1
    return tuple(axes) if has_plane or old is None else ()


def _move_mask(picture: Picture, axis: int) -> Any:
    """Return the mask if the channels lie along `axis`: data are where any channel has data."""
    old = picture.pixels.ndim - 1 if picture.rgb else picture.channel_axis
    if picture.mask is None or old == axis:
        return picture.mask
    kept = picture.mask
    if old is not None:
        kept = np.broadcast_to(np.expand_dims(kept, old), picture.pixels.shape)
        if picture.no_data is not None:
            kept = kept & (picture.pixels != picture.no_data)
    return kept.any(axis=axis)


def choose_channels(picture: Picture, names: Sequence[str]) -> Picture:
    """Return an image of some of the channels of an image, in the order of `names`.

    A single channel gives a gray image. Channels of an RGB image are no longer colors;
    its transparent pixels are left out.

    Parameters
    ----------
    picture : Picture
    names : sequence of str
        The numbers of channels from 0, or their names in the file.

    Raises
    ------
    UnreadableImageError
        If there is no such channel, or if a channel is chosen twice.
    """
    rgb, axis = find_channels(picture)
    ndim = picture.pixels.ndim
    if rgb:
        axis, known = ndim - 1, COLORS
    elif axis is None:
        raise UnreadableImageError(
            "it has no channels to choose from; --channel-axis states the axis that holds them"
        )
    else:
        axis %= ndim
        known = picture.channels or (Channel(),) * picture.pixels.shape[axis]
    numbers = [_find_channel(name, known) for name in names]
    if len(set(numbers)) < len(numbers):
        raise UnreadableImageError(f"--channels must differ, got {','.join(names)}")
    # A single number removes the axis.
    single = len(numbers) == 1
    chosen = picture._replace(
        pixels=_take(picture.pixels, numbers, axis),
        rgb=False,
        channel_axis=None if single else axis,
        levels=tuple(_take(level, numbers, axis) for level in picture.levels),
        axes=picture.axes[:axis] + picture.axes[axis + 1 :] if single else picture.axes,
        channels=tuple(known[number] for number in numbers),
        # The profile and the metadata of GDAL are those of all channels.
        profile=b"",
        geo_tags=tuple(tag for tag in picture.geo_tags if tag[0] != GDAL_METADATA),
    )
    if picture.no_data is not None:
        # The mask of the file leaves out only pixels without data in any channel.
        has_data = chosen.pixels != picture.no_data
        chosen = add_mask(chosen, has_data if single else has_data.any(axis=axis))
    if rgb and picture.pixels.shape[-1] > len(COLORS):
        return add_mask(chosen, picture.pixels[..., len(COLORS)] != 0)
    return chosen


def add_mask(picture: Picture, kept: Any) -> Picture:
    """Return an image of which only the pixels are clustered that are in both masks."""
    return picture._replace(mask=kept if picture.mask is None else kept & picture.mask)


def _find_axis(picture: Picture, name: str) -> int:
    ndim: int = picture.pixels.ndim
    names = [axis.name.casefold() for axis in picture.axes]
    if name.casefold() in names:
        return names.index(name.casefold())
    if _is_whole_number(name) and -ndim <= int(name) < ndim and ndim > 1:
        return int(name) % ndim
    known = f" and names {', '.join(axis.name for axis in picture.axes)}" if names else ""
    raise UnreadableImageError(
        f"--channel-axis must be one of its axes, got {name}: they have the lengths "
        f"{', '.join(map(str, picture.pixels.shape))}{known}"
    )


def _find_channel(name: str, known: Sequence[Channel]) -> int:
    if _is_whole_number(name) and 0 <= int(name) < len(known):
        return int(name)
    names = [channel.name.casefold() for channel in known]
    if names.count(name.casefold()) == 1:
        return names.index(name.casefold())
    listed = [f"{number} {channel.name}".strip() for number, channel in enumerate(known)]
    raise UnreadableImageError(
        f"--channels must be among its channels, got {name}: they are {', '.join(listed)}"
    )


def _is_whole_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _take(pixels: Any, numbers: Sequence[int], axis: int) -> Any:
    return np.take(pixels, numbers[0] if len(numbers) == 1 else numbers, axis)
