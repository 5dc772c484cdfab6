"""Print the messages, warnings, progress and tables of the command line."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from napari_kmeans.execution.progress import Report

PROGRAM = "napari-kmeans"
ROWS_PRINTED = 20
NAMES_PRINTED = 3
COLUMN_FORMATS = {"index": "{:6d}", "percent": "{:7.2f}", "color": "{}", "name": "{}"}
"""The columns of a table that are printed, if the table has them."""


def print_all_names() -> None:
    """Print characters that the encoding of stdout does not have with backslashes, as stderr does.

    Otherwise the name of a file could end a run, such as Japanese in a log file on Windows.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def print_message(sentence: str) -> None:
    """Print a sentence to stderr, so that stdout has only the results."""
    print(f"{PROGRAM}: {sentence.rstrip('.')}.", file=sys.stderr)


def join_names(names: Sequence[str]) -> str:
    """Return names as a list in words: the first names, and the number of further names."""
    shown = list(names[:NAMES_PRINTED])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join([*([", ".join(shown[:-1])] if shown[:-1] else []), *shown[-1:]])


def count_images(number: int) -> str:
    """Return a number of images in words."""
    return "1 image" if number == 1 else f"{number} images"


@contextmanager
def bar(name: str) -> Iterator[Report | None]:
    """Show a progress bar if stderr is a terminal. Yield the callable that moves the bar."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(desc=name, total=1, bar_format=layout, leave=False) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress


@contextmanager
def print_warnings(source: str) -> Iterator[None]:
    """Print each `UserWarning` of the block in one line, without its place in the code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in caught:
        if message.category is UserWarning:
            print_message(f"{source}: {message.message}")


def print_table(name: str, table: pd.DataFrame) -> None:
    """Print the label, share, color and name of the clusters, at most `ROWS_PRINTED` rows.

    An ignored cluster has no share: NaN in the table.
    """
    print(f"{name}: {len(table)} clusters")
    columns = [column for column in COLUMN_FORMATS if column in table]
    print(" " + "  ".join("label" if column == "index" else column for column in columns))
    shown = table.head(ROWS_PRINTED)
    for row in zip(*(shown[column] for column in columns), strict=True):
        cells = zip(columns, row, strict=True)
        texts = (
            "ignored" if value != value else COLUMN_FORMATS[column].format(value)
            for column, value in cells
        )
        print("  ".join(texts).rstrip())
    if len(table) > len(shown):
        print(f"   ... and {len(table) - len(shown)} more")
