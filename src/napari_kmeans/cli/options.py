"""The parser of arguments, and the flags of the options of a clustering."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from napari_kmeans.checks import Choice, RealNumber, WholeNumber
from napari_kmeans.cli.terminal import print_message
from napari_kmeans.options import COMMAND_LINE_OPTIONS, LabelList, NumberPerAxis

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.options import OptionInfo

FLAGS = {"n_clusters": ("-k", "--n-clusters"), "random_state": ("--seed",)}
"""The flags of options whose flags differ from their names."""

OPTIONS_OF_FIT = {name: info for name, info in COMMAND_LINE_OPTIONS.items() if name != "spacing"}
"""The options of a fit. The spacing is a property of the images, also of those to which a saved
model is applied."""

DECLARED = object()
"""The default of an option that is declared with it."""


class SentenceParser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage, which is longer than a screen."""

    def error(self, message: str) -> NoReturn:
        """Print the error of an argument, and end the process."""
        sentence = re.sub(r"^argument (\S+): must ", r"\1 must ", message.rstrip("."))
        print_message(f"{sentence}; {self.prog} --help lists the arguments")
        self.exit(2)


def add_option(group: argparse._ArgumentGroup, info: OptionInfo, default: Any = DECLARED) -> None:
    """Add the flags of an option, with its declared default or with another."""
    stated = "" if "Default:" in info.note else f"Default: {info.default}."
    text = " ".join(filter(None, (info.tooltip, info.note, stated))).replace("%", "%%")
    default = info.default if default is DECLARED else default
    settings: dict[str, Any] = {"dest": info.name, "default": default, "help": text}
    if isinstance(info.kind, Choice):
        group.add_argument(*flags_of(info), choices=info.kind.choices, **settings)
    elif isinstance(info.kind, LabelList):
        group.add_argument(*flags_of(info), type=parser_of(info), metavar="N[,N]", **settings)
    elif isinstance(info.kind, WholeNumber | RealNumber):
        has_list = isinstance(info.kind, NumberPerAxis) and info.kind.has_list
        metavar = "N[,N]" if has_list else "N"
        group.add_argument(*flags_of(info), type=parser_of(info), metavar=metavar, **settings)


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the number of threads, on which no result depends."""
    parser.add_argument(
        "--jobs",
        type=_parse_jobs,
        metavar="N",
        help="use at most N threads; if omitted, as many as this process may use processors",
    )


def _parse_jobs(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def flags_of(info: OptionInfo) -> tuple[str, ...]:
    """Return the flags of an option."""
    return FLAGS.get(info.name, (f"--{info.name.replace('_', '-')}",))


def refuse_beside_model(info: OptionInfo) -> str:
    """Return what to say about an option of a fit beside a saved model, without a period."""
    return (
        f"--model must go without {flags_of(info)[-1]}, which is part of a model: leave it out, or "
        "fit a model with it"
    )


_WITH_UNIT = ("spacing", "min_area")
"""The options that people write with a unit, such as 0.2mm."""


def parser_of(info: OptionInfo) -> Callable[[str], Any]:
    """Return a function that converts the text of an option to its value.

    `Options` checks the bounds.
    """

    def parse(text: str) -> Any:
        try:
            return info.kind.parse(text)  # type: ignore[union-attr]
        except ValueError:
            hint = "; --unit states the unit" if info.name in _WITH_UNIT else ""
            raise argparse.ArgumentTypeError(f"must be {info.kind}, got {text!r}{hint}") from None

    return parse
