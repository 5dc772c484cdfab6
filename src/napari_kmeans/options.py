"""Declare the kind, default, label and tooltip of every option in one place.

The validation, the arguments of the command line and the fields of the dock are
derived from these declarations.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from napari_kmeans.checks import (
    LARGEST,
    Choice,
    Flag,
    RealNumber,
    WholeNumber,
    as_numbers,
    is_whole_number,
    quote_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

AUTO = "auto"

MAX_CLUSTERS = 65535
"""Labels are stored in 8 or 16 bits, and 0 marks pixels that are left out."""

MAX_SEED = 2**32 - 1
"""The largest seed that scikit-learn accepts. The field of the dock accepts it too."""

MAX_BLUR = 100.0
"""Pixels. A wider Gaussian has a halo of more than 400 pixels on each side of a block."""

MAX_TEXTURE = 100.0
"""The weight from which a level of contrast counts as a hundred levels of color: colors hardly
count."""

MAX_CONFIDENCE = 0.99
"""The largest `min_confidence`. Only pixels of exactly the color of a center have a confidence
of 1."""

MAX_POSITION = 1000.0
"""The weight from which the width of an image of 0 to 1000 counts as much as its full range, if
the image has a floating-point dtype, whose white is 1."""

_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True)
class StartColors(Choice):
    """A word that names how start colors are drawn, or an array of start colors."""

    def check(self, name: str, value: Any) -> str | NDArray[np.float64]:
        """Return the word, or a float64 copy (K, C) of the colors.

        Raises
        ------
        ValueError
            If the value is another word, or not a table of finite numbers.
        """
        if isinstance(value, str):
            return str(super().check(name, value))
        numbers = as_numbers(value)
        colors = None if numbers is None else np.array(numbers, np.float64)
        # The comparison is also false for NaN.
        if colors is None or colors.ndim != 2 or not (np.abs(colors) <= LARGEST).all():
            words = ", ".join(map(repr, self.choices))
            raise ValueError(
                f"{name} must be {words} or an array of n_clusters colors from "
                f"{-LARGEST:g} to {LARGEST:g}, got "
                f"{quote_value(value)}: give one row per cluster and one column per channel."
            )
        return colors


@dataclass(frozen=True)
class NumberPerAxis(RealNumber):
    """A real number for all spatial axes, or one number for each axis.

    `has_list` is whether the command line takes a list, too. The dock cannot show one.
    """

    has_list: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Return a float or a tuple of floats; raise as `RealNumber.check` does."""
        numbers = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        if isinstance(numbers, (list, tuple)) and numbers:
            return tuple(RealNumber.check(self, name, number) for number in numbers)
        return super().check(name, value)

    def parse(self, text: str) -> Any:
        """Return the number, or the numbers with commas between them, that a user wrote."""
        if not self.has_list or "," not in text:
            return super().parse(text)
        return tuple(map(float, text.split(",")))


@dataclass(frozen=True)
class LabelList:
    """Labels of clusters, or None."""

    def __str__(self) -> str:
        """Return the values in the words of a message."""
        return f"None or a list of labels from 1 to {MAX_CLUSTERS}"

    def check(self, name: str, value: Any) -> Any:
        """Return the labels in ascending order, or None.

        Raises
        ------
        TypeError, ValueError
            If the value is no list, or contains anything but labels.
        """
        if value is None:
            return None
        items = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
        if not isinstance(items, (list, tuple)) or not all(map(is_whole_number, items)):
            raise TypeError(f"{name} must be {self}, got {quote_value(value)}: list the labels.")
        if not all(1 <= item <= MAX_CLUSTERS for item in items):
            raise ValueError(f"{name} must be {self}, got {quote_value(value)}: list the labels.")
        return tuple(sorted({int(item) for item in items}))

    def parse(self, text: str) -> tuple[int, ...]:
        """Return the labels that a user wrote with commas between them."""
        return tuple(map(int, text.split(",")))


@dataclass(frozen=True)
class OptionInfo:
    """The declaration of one option.

    Attributes
    ----------
    name : str
        The keyword of `segment`; the name of the field in the dock.
    default : object
    kind : WholeNumber, RealNumber, LabelList, Choice or Flag
        The values that the option may have.
    label, tooltip : str
        The texts of the field in the dock; the tooltip is the help of the command
        line, too.
    note : str
        Sentences that follow the tooltip in the help of the command line. If they state the
        default, the default is not added.
    in_summary : bool
        Whether the summary of an image depends on the option, so that `summarize`
        takes it.
    in_space : bool
        Whether the option is an attribute of the feature space, so that models store it.
        An option of numbers is not used if it is 0.
    in_cleaning : bool
        Whether the option is an attribute of the cleaning of labels, so that models store it.
    in_dock : bool
        Whether the dock has a field for the option. The spacing of pixels is the scale of a layer.
    for_start_colors : bool
        Whether the option applies to start colors, which the command line cannot give.
    """

    name: str
    default: Any
    kind: WholeNumber | RealNumber | LabelList | Choice | Flag
    label: str
    tooltip: str
    note: str = ""
    in_summary: bool = False
    in_space: bool = False
    in_cleaning: bool = False
    in_dock: bool = True
    for_start_colors: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; empty for a number."""
        return self.kind.choices if isinstance(self.kind, Choice) else ()


def _option(default: Any, **info: Any) -> Any:
    return field(default=default, metadata=info)


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """The validated options of one clustering.

    To add an option, declare it here and in `OptionValues`, add it to `segment` (its
    signature, its docstring and its call of `Options`), and use it. The command line,
    the dock (under *More options*), stacks, scripts and the metadata of layers then
    have it, too.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong kind or lies out of bounds; the message gives
        the option, the value and what to do.
    """

    n_clusters: int = _option(
        8,
        kind=WholeNumber(1, MAX_CLUSTERS),
        label="Number of clusters",
        tooltip="The number of colors to which the image is reduced.",
    )
    color_space: str = _option(
        "rgb",
        kind=Choice(("rgb", "hsv", "lab")),
        label="Color space",
        tooltip="The space in which colors are compared: rgb by channel values, "
        "hsv by hue, saturation and value, "
        "lab by perceived difference. lab often separates objects better in photographs under "
        "uneven light, rgb in fluorescence.",
        in_summary=True,
        in_space=True,
    )
    normalize: str = _option(
        "none",
        kind=Choice(("none", "zscore", "percentile")),
        label="Scale channels",
        tooltip="none compares the channel values; zscore and percentile scale every channel "
        "to the same weight first.",
        in_summary=True,
    )
    blur: float | tuple[float, ...] = _option(
        0.0,
        kind=NumberPerAxis(0.0, MAX_BLUR, step=0.5),
        label="Blur",
        tooltip="The standard deviation of a Gaussian in pixels: neighboring pixels are averaged "
        "before they are compared. Axes that are known to be time are not blurred.",
        in_summary=True,
        in_space=True,
    )
    texture: float = _option(
        0.0,
        kind=RealNumber(0.0, MAX_TEXTURE, step=0.5),
        label="Texture",
        tooltip="The weight of the local contrast next to the color; 0 compares colors alone. "
        "It needs a blur, which sets the size of the neighborhood: it should span a few periods of "
        "the pattern.",
        in_summary=True,
        in_space=True,
    )
    position: float = _option(
        0.0,
        kind=RealNumber(0.0, MAX_POSITION, step=0.1),
        label="Position",
        tooltip="The weight of the place of a pixel. 0: colors alone. 1: the longest side of the "
        "image counts as much as the difference of black and white. Axes that are known to be "
        "time do not count.",
        in_summary=True,
        in_space=True,
    )
    smoothing: float = _option(
        0.0,
        kind=RealNumber(0.0, 10.0),
        label="Smooth",
        tooltip="How much neighboring pixels prefer the same class. 0: each pixel decides alone. "
        "1: pixels follow their neighbors if their own color says little. 2 to 3: strong noise.",
        in_cleaning=True,
    )
    min_size: int = _option(
        0,
        kind=WholeNumber(0, 1_000_000),
        label="Minimum size",
        tooltip="Smaller regions get the class that surrounds them, in pixels of full resolution. "
        "0 keeps all regions.",
        note="At most 512 for an image larger than memory.",
        in_cleaning=True,
    )
    min_area: float = _option(
        0.0,
        kind=RealNumber(0.0, LARGEST),
        label="Minimum area",
        tooltip="Smaller regions get the class that surrounds them: an area in squared units of "
        "the pixel size, or in a volume a volume in cubed units. 0 keeps all regions.",
        note="The pixel size is that of the file, or --spacing, in the unit --unit. At most that "
        "of 512 pixels for an image larger than memory.",
        in_cleaning=True,
    )
    min_size_classes: tuple[int, ...] | None = _option(
        None,
        kind=LabelList(),
        label="Small regions of",
        tooltip="The labels of the clusters whose small regions are replaced, with commas between "
        "them. Small regions of the others stay.",
        note="Default: all.",
        in_cleaning=True,
    )
    min_confidence: float = _option(
        0.0,
        kind=RealNumber(0.0, MAX_CONFIDENCE, step=0.05),
        label="Minimum confidence",
        tooltip="Pixels that are less sure of their class are left undecided: label 0, and counted "
        "in the table as undecided. The confidence is 0 between two classes and 1 on a center; "
        "with smoothing, the classes of the neighbors count, too. Pixels are decided after the "
        "minimum size, so regions can be smaller. 0 decides all pixels.",
        in_cleaning=True,
    )
    refits: int = _option(
        0,
        kind=WholeNumber(0, 100),
        label="Refits",
        tooltip="How many times the centers move to the mean colors of the classes after smoothing "
        "and the minimum size, and the image is labeled again. Noise biases the centers of a plain "
        "fit, above all those of rare classes. 5 are often enough.",
    )
    spacing: float | tuple[float, ...] = _option(
        1.0,
        kind=NumberPerAxis(0.0, LARGEST, has_list=True),
        label="Spacing",
        tooltip="The distance of neighboring pixels along all axes of space, or along each axis "
        "with commas between them, such as 2,0.3,0.3; 0 for an axis of time. Smoothing, the "
        "minimum area and the position use it.",
        note="In the unit --unit; without it in the unit of the file, or in micrometers if it "
        "states none. Default: that of the file, or 1 if the file states none.",
        in_summary=True,
        in_cleaning=True,
        in_dock=False,
    )
    balance: float = _option(
        0.0,
        kind=RealNumber(0.0, 1.0),
        label="Rare colors",
        tooltip="The weight of rare colors. 0: every pixel counts the same. 1: every color "
        "counts the same, however rare.",
    )
    method: str = _option(
        "coreset",
        kind=Choice(("coreset", "full")),
        label="Method",
        tooltip="coreset is fast: it fits a few weighted colors that stand for all pixels. full is "
        "exact: it goes on from there with every pixel, for a slightly lower cost.",
        in_summary=True,
    )
    coreset_size: int | str = _option(
        AUTO,
        kind=WholeNumber(1, 2**31 - 1, (AUTO,)),
        label="Coreset size",
        tooltip="The number of points in the coreset; auto takes at least 500 per cluster "
        "and at least 10,000.",
        in_summary=True,
    )
    random_state: int | None = _option(
        0,
        kind=WholeNumber(0, MAX_SEED, (None,)),
        label="Random seed",
        tooltip="The same seed gives the same result.",
        note="With none, each run has another seed. Default: 0.",
        in_summary=True,
    )
    init: str | NDArray[np.float64] = _option(  # noqa: RUF009 - a dataclass field
        "k-means++",
        kind=StartColors(("k-means++", "random")),
        label="Start from",
        tooltip="The start colors: far apart (k-means++) or random pixels.",
    )
    keep_init: bool = _option(
        False,
        kind=Flag(),
        label="Keep my colors",
        tooltip="Keep the marked colors as the centers, and only assign each pixel to the nearest.",
        for_start_colors=True,
    )
    n_init: int | str = _option(
        AUTO,
        kind=WholeNumber(1, 10_000, (AUTO,)),
        label="Restarts",
        tooltip="The number of runs from different starts; auto takes 30, and fewer for many "
        "clusters.",
    )
    max_iter: int = _option(
        300,
        kind=WholeNumber(1, 1_000_000),
        label="Maximum iterations",
        tooltip="The number of iterations after which a run stops even if it has not converged.",
    )
    tol: float = _option(
        1e-4,
        kind=RealNumber(0.0, 1.0, step=1e-5),
        label="Tolerance",
        tooltip="A run has converged when the summed squared motion of the centers is at most "
        "this times the variance of the data.",
    )

    def __post_init__(self) -> None:
        """Store every option as a plain value, and check those that depend on each other."""
        for name, info in OPTIONS.items():
            # `check` returns a plain Python value, for example int for np.int64. A frozen
            # dataclass can only store it in this way.
            object.__setattr__(self, name, info.kind.check(name, getattr(self, name)))
        if self.normalize != "none" and self.color_space != "rgb":
            raise ValueError(
                f"normalize must be 'none' in {self.color_space}, got "
                f"{quote_value(self.normalize)}: use color_space='rgb', which compares channels."
            )
        check_texture(self.texture, self.blur)
        check_position(self.position, self.spacing)
        for name in ("texture", "position"):
            weight = getattr(self, name)
            if weight and not isinstance(self.init, str):
                raise ValueError(
                    f"{name} must be 0 for start colors, which have no {name}, got {weight:g}: "
                    "use init='k-means++'."
                )
            if weight and self.refits:
                raise ValueError(
                    f"refits must be 0 for {name}={weight:g}, got {self.refits}: mean colors have "
                    f"no {name}. Leave out one of the two."
                )
        if self.keep_init and self.refits:
            raise ValueError(
                f"refits must be 0 for keep_init=True, got {self.refits}: centers that are kept "
                "cannot move. Leave out one of the two."
            )
        if not isinstance(self.init, str) and len(self.init) != self.n_clusters:
            raise ValueError(
                f"init must have one row per cluster, got {len(self.init)} rows for n_clusters="
                f"{self.n_clusters}: change one of the two."
            )
        if self.keep_init and isinstance(self.init, str):
            raise ValueError(
                f"keep_init must be False for init={self.init!r}, got True: give start colors as "
                "init, one row per cluster."
            )
        if self.coreset_size != AUTO and int(self.coreset_size) < self.n_clusters:
            raise ValueError(
                f"coreset_size must be at least n_clusters, got {self.coreset_size} for "
                f"{self.n_clusters} clusters: ask for a larger coreset or fewer clusters."
            )

    def check_classes(self) -> None:
        """Raise ValueError if small regions of a class are replaced that there will not be."""
        chosen = self.min_size_classes
        if chosen and chosen[-1] > self.n_clusters:
            raise ValueError(
                f"min_size_classes must be labels from 1 to {self.n_clusters}, got "
                f"{quote_value(list(chosen))}: clusters are numbered from dark to bright."
            )

    @property
    def resolved_coreset_size(self) -> int:
        """The number of points in a coreset, with "auto" replaced by its number."""
        if self.coreset_size == AUTO:
            return max(10_000, 500 * self.n_clusters)
        return int(self.coreset_size)

    @property
    def resolved_n_init(self) -> int:
        """The number of restarts, with "auto" replaced by its number; 1 for start colors."""
        if not isinstance(self.init, str):
            return 1
        if self.n_init == AUTO:
            return max(2, min(30, 240 // self.n_clusters))
        return int(self.n_init)

    @property
    def resolved_max_iter(self) -> int:
        """The number of iterations after which a run stops; 0 if the start colors are kept."""
        return 0 if self.keep_init else self.max_iter

    def for_summary(self) -> Options:
        """Return the options of `summarize`, with defaults for all other options.

        The number of clusters is not known yet. It is the default, or the size of the
        coreset if that is smaller.
        """
        size = self.coreset_size
        n_clusters = Options.n_clusters if size == AUTO else min(Options.n_clusters, int(size))
        values = {name: getattr(self, name) for name in SUMMARY_OPTIONS}
        return Options(n_clusters=n_clusters, **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that JSON can hold."""
        return {name: plain_value(getattr(self, name)) for name in OPTIONS}


class SummaryValues(TypedDict, total=False):
    """The options of `summarize` as keywords."""

    color_space: str
    normalize: str
    blur: float | tuple[float, ...]
    texture: float
    position: float
    spacing: float | tuple[float, ...]
    method: str
    coreset_size: int | str
    random_state: int | None


class OptionValues(SummaryValues, total=False):
    """All options but `n_clusters` as keywords."""

    smoothing: float
    min_size: int
    min_area: float
    min_size_classes: tuple[int, ...] | None
    min_confidence: float
    refits: int
    balance: float
    init: Any
    keep_init: bool
    n_init: int | str
    max_iter: int
    tol: float


OPTIONS: dict[str, OptionInfo] = {
    item.name: OptionInfo(name=item.name, default=item.default, **item.metadata)
    for item in fields(Options)
}

SUMMARY_OPTIONS = tuple(name for name, info in OPTIONS.items() if info.in_summary)
"""The options that `summarize` takes."""

SPACE_OPTIONS = tuple(name for name, info in OPTIONS.items() if info.in_space)
"""The options that are attributes of the feature space."""

CLEANING_OPTIONS = tuple(name for name, info in OPTIONS.items() if info.in_cleaning)
"""The options that are attributes of the cleaning of labels."""

DOCK_OPTIONS = tuple(name for name, info in OPTIONS.items() if info.in_dock)
"""The options that have a field in the dock."""

COMMAND_LINE_OPTIONS = {name: info for name, info in OPTIONS.items() if not info.for_start_colors}
"""The options that the command line has: start colors can only be given in Python."""

FIT_OPTIONS = tuple(name for name in OPTIONS if name != "n_clusters")
"""The options that are keywords of `segment`, `segment_slices` and `segment_layer`."""


def show_options(names: tuple[str, ...]) -> Callable[[_Function], _Function]:
    """Return a decorator that lists options one by one in the signature of a function.

    The function takes them as ``**options``. `help` and completion then show each of
    them with its default.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        *others, last = signature.parameters.values()
        assert last.kind is inspect.Parameter.VAR_KEYWORD
        shown = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=OPTIONS[name].default,
                # The annotation is a forward reference: show its text.
                annotation=OptionValues.__annotations__[name].__forward_arg__,
            )
            for name in names
        ]
        function.__signature__ = signature.replace(parameters=[*others, *shown])  # type: ignore[attr-defined]
        return function

    return decorate


def check_texture(texture: float, blur: float | tuple[float, ...]) -> None:
    """Raise ValueError if there is a weight of texture, but no neighborhood."""
    if texture and not np.any(blur):
        raise ValueError(
            f"texture must be 0 without a blur, got {texture:g}: set blur to the size of the "
            "pattern in pixels, for example 8."
        )


def check_position(position: float, spacing: float | tuple[float, ...]) -> None:
    """Raise ValueError if there is a weight of position, but no axis of space."""
    if position and not np.any(spacing):
        raise ValueError(
            f"position must be 0 without an axis of space, got {position:g}: give a spacing above "
            "0 for at least one axis."
        )


def plain_value(value: Any) -> Any:
    """Return the value of an option as a value that JSON can hold."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def check_names(names: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Raise TypeError if options are given that a function does not take."""
    for name in options:
        if name not in names:
            raise TypeError(
                f"options must be among {', '.join(names)}, got {name!r}: leave it out."
            )
