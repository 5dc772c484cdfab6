"""Names of the channels of multichannel images: check them, show them and match them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from napari_kmeans.checks import quote_value
from napari_kmeans.classes import clean_name

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_channel_names(names: Any, n_channels: int, rgb: bool) -> tuple[str, ...]:
    """Return names of channels, each on one line; an empty tuple without names.

    Names that are no more than the numbers of the channels are no names.

    Parameters
    ----------
    names : sequence of str or None
        A name for each channel, "" for a channel without a name. None or an empty sequence
        stands for no names at all.
    n_channels : int
    rgb : bool
        Whether the channels are red, green and blue, which need no names.

    Raises
    ------
    TypeError, ValueError
        If they are not a name for each channel.
    """
    names = () if names is None else names
    are_names = isinstance(names, Iterable) and not isinstance(names, str | bytes)
    listed = list(names) if are_names else []
    if not are_names or not all(isinstance(name, str) for name in listed):
        raise TypeError(
            f"channel_names must be texts, got {quote_value(names)}: give one for each channel."
        )
    if listed and rgb:
        raise ValueError(
            f"channel_names must be left out for red, green and blue, got {quote_value(listed)}: "
            "give rgb=False and channel_axis to compare the channels as they are."
        )
    if listed and len(listed) != n_channels:
        raise ValueError(
            f"channel_names must be {n_channels} texts, got {quote_value(listed)}: give one for "
            "each channel."
        )
    cleaned = tuple(clean_name(name) for name in listed)
    return cleaned if any(cleaned) and list(cleaned) != _number(n_channels) else ()


def shown_channel_names(names: Sequence[str], n_channels: int) -> list[str]:
    """Return a different name for each channel.

    A channel has its number if it has no name, or the name or the number of another channel.
    """
    numbered = _number(n_channels)
    own = list(names) or numbered
    return [
        name if name and own.count(name) == 1 and name not in {*numbered} - {number} else number
        for name, number in zip(own, numbered, strict=True)
    ]


def _number(n_channels: int) -> list[str]:
    """Return the names of channels without names."""
    return [f"channel {number}" for number in range(n_channels)]


def match_names(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Return the place of each name among other names, whatever its case.

    Returns
    -------
    list of int or None
        None unless both lists have the same names in any order, each of them once.
    """
    wanted, found = ([name.casefold() for name in each] for each in (names, others))
    if sorted(wanted) != sorted(found) or len({*wanted}) < len(wanted) or "" in wanted:
        return None
    return [found.index(name) for name in wanted]
