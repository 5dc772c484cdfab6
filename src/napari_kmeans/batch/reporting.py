"""Report what happens to the images of a batch: sentences and progress.

Sentences are notices, see `notices_to`. Progress goes to the bars that the caller shows.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from napari_kmeans.execution.notices import has_listener, notice, notices_about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from napari_kmeans.execution.progress import Report

ShowBar: TypeAlias = "Callable[[str], AbstractContextManager[Report | None]]"
"""Shows a progress bar with a name, and yields the callable that moves the bar."""

NAMES_LISTED = 3
"""The number of names that a sentence lists."""

_show_bar: ContextVar[ShowBar | None] = ContextVar("show_bar", default=None)


def tell(sentence: str) -> None:
    """Send a sentence to the listener of this context, or warn if there is no listener."""
    notice(sentence, stacklevel=2)


@contextmanager
def warnings_about(source: str) -> Iterator[None]:
    """Send the warnings of the block as sentences that begin with the name of an image.

    Warnings that are no notices, as those of other packages, are sent after the block if there
    is a listener, and only in the main thread: catching them changes a setting of the whole
    process.
    """
    catches = has_listener() and threading.current_thread() is threading.main_thread()
    with notices_about(source):
        if not catches:
            yield
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
        for each in caught:
            if each.category is UserWarning:
                tell(str(each.message))


@contextmanager
def bars_shown_by(show_bar: ShowBar) -> Iterator[None]:
    """Show the progress bars of this context by a callable."""
    token = _show_bar.set(show_bar)
    try:
        yield
    finally:
        _show_bar.reset(token)


def bar(name: str) -> AbstractContextManager[Report | None]:
    """Show a progress bar if the caller shows bars. Yield the callable that moves the bar."""
    show_bar = _show_bar.get()
    return nullcontext() if show_bar is None else show_bar(name)


def join_names(names: Sequence[str]) -> str:
    """Return names as a list in words: the first names, and the number of further names."""
    shown = list(names[:NAMES_LISTED])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join([*([", ".join(shown[:-1])] if shown[:-1] else []), *shown[-1:]])


def count_images(number: int) -> str:
    """Return a number of images in words."""
    return "1 image" if number == 1 else f"{number} images"


def tell_missing_sizes(sizes: Mapping[str, bool], consequence: str) -> None:
    """Tell which images have no areas, although others have.

    Parameters
    ----------
    sizes : mapping of str to bool
        Whether the size of a pixel is known, by the names of the images.
    consequence : str
        The end of a sentence about areas, with the option that states a size.
    """
    missing = [name for name, is_known in sizes.items() if not is_known]
    if missing and len(missing) < len(sizes):
        one = len(missing) == 1
        tell(
            f"{join_names(missing)} {'states' if one else 'state'} no pixel size, so "
            f"{'its' if one else 'their'} areas {consequence}, which counts for all images"
        )
