"""What is said beside a result: a warning, or a word to the one who listens in this thread.

`warnings.catch_warnings` changes the whole process: what one thread catches is
lost to another, and what one brings back may be what the other had made of it.
So work on a thread of its own is listened to here instead.
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
    """Tell the listener of this context, or give a UserWarning if there is none.

    Parameters
    ----------
    sentence : str
    stacklevel : int
        As for `warnings.warn`: 1 is the line that calls this.
    """
    listener = _listener.get()
    if listener is None:
        warnings.warn(sentence, UserWarning, stacklevel=stacklevel + 1)
    else:
        listener(sentence)


@contextmanager
def notices_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Let a callable have the notices of this context; threads have one each."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
