"""Every option of the clustering, once: name, default, bounds, label, tooltip.

The API, the dock widget and the command line read their defaults, bounds and
texts from here, so that they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST, quote_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

AUTO = "auto"


@dataclass(frozen=True)
class OptionInfo:
    """What a user is told about one option, and what it may be."""

    name: str
    default: Any
    label: str
    tooltip: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def _option(default: Any, **info: Any) -> Any:
    return field(default=default, metadata=info)


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """The validated options of one clustering.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong kind or lies out of bounds; the message gives
        the option, the value and what to do.
    """

    n_clusters: int = _option(
        8,
        label="Number of clusters",
        tooltip="How many colors the image is reduced to.",
        minimum=1,
        maximum=65535,
    )
    color_space: str = _option(
        "rgb",
        label="Color space",
        tooltip="Where colors are compared: rgb as they are, hsv by hue, lab as the eye sees.",
        choices=("rgb", "hsv", "lab"),
    )
    normalize: str = _option(
        "none",
        label="Scale channels",
        tooltip="none takes channels as they are; zscore and percentile let each count alike.",
        choices=("none", "zscore", "percentile"),
    )
    balance: float = _option(
        0.0,
        label="Rare colors",
        tooltip="From 0, where every pixel counts, to 1, where every color does, rare ones too.",
        minimum=0.0,
        maximum=1.0,
    )
    method: str = _option(
        "coreset",
        label="Method",
        tooltip="coreset fits a small weighted sample of the pixels; full fits every pixel.",
        choices=("coreset", "full"),
    )
    coreset_size: int | str = _option(
        AUTO,
        label="Coreset size",
        tooltip="Points in the coreset; auto takes 500 per cluster and at least 10,000.",
        minimum=1,
        maximum=2**31 - 1,
    )
    init: str | NDArray[np.float64] = _option(  # noqa: RUF009 - a dataclass field
        "k-means++",
        label="Start from",
        tooltip="How the starting colors are drawn: spread out (k-means++) or at random.",
        choices=("k-means++", "random"),
    )
    n_init: int | str = _option(
        AUTO,
        label="Restarts",
        tooltip="How many starts are tried; auto takes 30, and fewer for many clusters.",
        minimum=1,
        maximum=10_000,
    )
    max_iter: int = _option(
        300,
        label="Maximum iterations",
        tooltip="Iterations after which a start that has not converged is stopped.",
        minimum=1,
        maximum=1_000_000,
    )
    tol: float = _option(
        1e-4,
        label="Tolerance",
        tooltip="Stops once the centers move less than this, relative to the spread of the data.",
        minimum=0.0,
        maximum=1.0,
    )
    random_state: int | None = _option(
        0,
        label="Random seed",
        tooltip="The same seed gives the same result.",
        minimum=0,
        maximum=2**32 - 1,
    )

    def __post_init__(self) -> None:
        """Check every option, and store it as a plain value."""
        for name in ("n_clusters", "max_iter"):
            self._store(name, _whole_number(OPTIONS[name], getattr(self, name)))
        for name in ("coreset_size", "n_init"):
            value = getattr(self, name)
            if not isinstance(value, str) or value != AUTO:
                self._store(name, _whole_number(OPTIONS[name], value, AUTO))
        if self.random_state is not None:
            seed = _whole_number(OPTIONS["random_state"], self.random_state, "None")
            self._store("random_state", seed)
        for name in ("balance", "tol"):
            self._store(name, _real_number(OPTIONS[name], getattr(self, name)))
        for name in ("color_space", "normalize", "method"):
            _choice(OPTIONS[name], getattr(self, name))
        if self.normalize != "none" and self.color_space != "rgb":
            raise ValueError(
                f"normalize must be 'none' in {self.color_space}, got "
                f"{quote_value(self.normalize)}: use color_space='rgb', which compares channels."
            )
        self._store("init", self._checked_init())
        if self.coreset_size != AUTO and int(self.coreset_size) < self.n_clusters:
            raise ValueError(
                f"coreset_size must be at least n_clusters, got {self.coreset_size} for "
                f"{self.n_clusters} clusters: ask for a larger coreset or fewer clusters."
            )

    def _store(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_init(self) -> str | NDArray[np.float64]:
        if isinstance(self.init, str):
            return _choice(OPTIONS["init"], self.init)
        colors = _real_numbers(self.init)
        # NaN is not below anything.
        if colors is None or colors.ndim != 2 or not (np.abs(colors) <= LARGEST).all():
            raise ValueError(
                f"init must be 'k-means++', 'random' or an array of n_clusters finite colors, "
                f"got {quote_value(self.init)}: give one row per cluster and one column per "
                "channel."
            )
        if len(colors) != self.n_clusters:
            raise ValueError(
                f"init must have one row per cluster, got {len(colors)} rows for n_clusters="
                f"{self.n_clusters}: change one of the two."
            )
        return colors

    @property
    def resolved_coreset_size(self) -> int:
        """The number of points in a coreset, with "auto" worked out."""
        if self.coreset_size == AUTO:
            return max(10_000, 500 * self.n_clusters)
        return int(self.coreset_size)

    @property
    def resolved_n_init(self) -> int:
        """The number of restarts, with "auto" worked out; a given start is run once."""
        if not isinstance(self.init, str):
            return 1
        if self.n_init == AUTO:
            return max(4, min(30, 240 // self.n_clusters))
        return int(self.n_init)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that JSON can hold."""
        values = {info.name: getattr(self, info.name) for info in fields(self)}
        if not isinstance(self.init, str):
            values["init"] = self.init.tolist()
        return values


OPTIONS: dict[str, OptionInfo] = {
    item.name: OptionInfo(name=item.name, default=item.default, **item.metadata)
    for item in fields(Options)
}

SUMMARY_OPTIONS = ("color_space", "normalize", "method", "coreset_size", "random_state")
"""What `summarize` takes, and what a sample depends on."""


def _real_numbers(value: Any) -> NDArray[np.float64] | None:
    """Return an array of real numbers as float64, None where it is not one."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return np.array(array, np.float64) if array.dtype.kind in "buif" else None


def _bounds(info: OptionInfo) -> str:
    return f"from {info.minimum} to {info.maximum}"


def _whole_number(info: OptionInfo, value: Any, other: str = "") -> int:
    wanted = f"{info.name} must be {other + ' or ' if other else ''}a whole number {_bounds(info)}"
    message = f"{wanted}, got {quote_value(value)}: choose one in this range."
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(message)
    if not info.minimum <= value <= info.maximum:  # type: ignore[operator]
        raise ValueError(message)
    return int(value)


def _real_number(info: OptionInfo, value: Any) -> float:
    wanted = f"{info.name} must be a number {_bounds(info)}"
    message = f"{wanted}, got {quote_value(value)}: choose one in this range."
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(message)
    if not info.minimum <= value <= info.maximum:  # type: ignore[operator]
        raise ValueError(message)
    return float(value)


def _choice(info: OptionInfo, value: Any) -> str:
    if not isinstance(value, str) or value not in info.choices:
        names = " or ".join(repr(choice) for choice in info.choices)
        raise ValueError(
            f"{info.name} must be {names}, got {quote_value(value)}: choose one of these."
        )
    return value
