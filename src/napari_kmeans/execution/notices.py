"""Send warnings to the current thread's listener, or to `warnings.warn` if there is none.

`warnings.catch_warnings` changes the filters of the whole process. A thread would catch
the warnings of other threads, and two threads that restore the filters in the wrong order
would leave changed filters behind. So a worker thread sets a listener instead.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


def notice(sentence: str, *, stacklevel: int) -> None:
    """Send a sentence to the listener of this context, or warn if there is no listener.

    Parameters
    ----------
    sentence : str
        The text of the notice or of the `UserWarning`.
    stacklevel : int
        The place of the warning, as for `warnings.warn`: 1 is the line that calls `notice`.
    """
    listener = _listener.get()
    if listener is None:
        warnings.warn(sentence, UserWarning, stacklevel=stacklevel + 1)
    else:
        listener(sentence)


@contextmanager
def notices_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Send the notices of this context to a callable. Each thread has its own context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def has_listener() -> bool:
    """Return whether the notices of this context have a listener."""
    return _listener.get() is not None


@contextmanager
def notices_about(source: str) -> Iterator[None]:
    """Begin the notices of this context with the name of an image: "a.tif: …"."""
    outer = _listener.get()

    def forward(sentence: str) -> None:
        if outer is None:
            warnings.warn(f"{source}: {sentence}", UserWarning, stacklevel=4)
        else:
            outer(f"{source}: {sentence}")

    with notices_to(forward):
        yield


@contextmanager
def notices_also_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Send the notices of this context to a callable, and then on as before.

    Without a listener outside, they become warnings at the end: within the context they would be
    caught by code that turns warnings into notices.
    """
    outer = _listener.get()
    sentences: list[str] = []

    def send(sentence: str) -> None:
        listener(sentence)
        (sentences.append if outer is None else outer)(sentence)

    try:
        with notices_to(send):
            yield
    finally:
        for sentence in sentences:
            warnings.warn(sentence, UserWarning, stacklevel=3)
