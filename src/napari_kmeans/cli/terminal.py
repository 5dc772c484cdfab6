"""Print the messages, progress and tables of the command line."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_kmeans.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from napari_kmeans.execution.progress import Report

PROGRAM = "napari-kmeans"
ROWS_PRINTED = 20
COLUMN_FORMATS = {"index": "{:6d}", "percent": "{:7.2f}", "color": "{}", "name": "{}"}
"""The columns of a table that are printed, if the table has them."""


class StdoutError(Exception):
    """The results cannot be printed; the message is the reason."""


def open_closed_streams() -> None:
    """Let what is printed vanish if the shell has closed stdout or stderr, which are then None.

    The null devices take the numbers of the closed files, which no file of an image gets then.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def flush_stdout() -> None:
    """Print what is left in the buffer of stdout.

    Raises
    ------
    StdoutError
        If that fails, as on a full disk. A closed pipe is a `BrokenPipeError`.
    """
    with _stdout_errors():
        sys.stdout.flush()


def discard_stdout() -> None:
    """Redirect stdout to the null device: Python flushes it at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stdout_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(reason(error)) from error


def print_line(text: str) -> None:
    """Print a line of the results to stdout, with the errors of `flush_stdout`."""
    with _stdout_errors():
        print(text)


def print_all_names() -> None:
    """Print characters that the encoding of stdout does not have with backslashes, as stderr does.

    Otherwise the name of a file could end a run, such as Japanese in a log file on Windows.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def print_message(sentence: str) -> None:
    """Print a sentence to stderr, so that stdout has only the results.

    A message that cannot be printed, as on a full disk, does not end a run.
    """
    tqdm = sys.modules.get("tqdm")
    # Clear the progress bar while the line is printed.
    clear = nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(sys.stderr)
    with suppress(OSError), clear:
        print(f"{PROGRAM}: {sentence.rstrip('.')}.", file=sys.stderr)


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


def print_table(name: str, table: pd.DataFrame) -> None:
    """Print the label, share, color and name of the clusters, at most `ROWS_PRINTED` rows.

    An ignored cluster has no share: NaN in the table. The shares are of the decided pixels.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import count_undecided

    undecided = count_undecided(table)
    all_pixels = undecided + int(table["pixels"].sum()) if "pixels" in table else 0
    share = f" of the decided pixels; {100 * undecided / max(all_pixels, 1):.2f} % are undecided"
    print_line(f"{name}: {len(table)} clusters{share if undecided else ''}")
    columns = [column for column in COLUMN_FORMATS if column in table]
    print_line(" " + "  ".join("label" if column == "index" else column for column in columns))
    shown = table.head(ROWS_PRINTED)
    for row in zip(*(shown[column] for column in columns), strict=True):
        cells = zip(columns, row, strict=True)
        texts = (
            "ignored" if value != value else COLUMN_FORMATS[column].format(value)
            for column, value in cells
        )
        print_line("  ".join(texts).rstrip())
    if len(table) > len(shown):
        print_line(f"   ... and {len(table) - len(shown)} more")
