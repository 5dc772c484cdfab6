"""End a command that a signal stops as Ctrl+C does, so that it leaves nothing half-written."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("SIGTERM", "SIGHUP")
"""The signals of a scheduler that ends a job, and of a terminal that is closed. Windows has no
SIGHUP."""


SECONDS_OF_GRACE = 10.0
"""`timeout` and some schedulers send a signal twice, which must not end the cleaning up. A later
signal ends the process at once."""


class EndedBySignal(KeyboardInterrupt):
    """A signal ends the process. All code that cleans up after Ctrl+C also does so here."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number
        """The code of shells for a program that a signal ended."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `EndedBySignal` in this context if a signal ends the process.

    A signal with a handler keeps it: nohup ignores SIGHUP, and a program that calls the command
    line may have handlers of its own. Only the main thread can set handlers.
    """
    numbers = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        numbers = [each for each in known if signal.getsignal(each) is signal.SIG_DFL]

    first: float | None = None

    def end(number: int, _frame: object) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            raise EndedBySignal(number)
        if time.monotonic() - first > SECONDS_OF_GRACE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    try:
        for each in numbers:
            signal.signal(each, end)
        yield
    finally:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
