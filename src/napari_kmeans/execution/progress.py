"""Progress of several stages as one growing number, reported to a plain callable."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[int, int], None]
"""`progress(done, total)`; raising from it cancels the work."""

Step = Callable[[float], None]
"""Called with the number of steps done; 0 only gives the user a chance to cancel."""


def ignore(_steps: float) -> None:
    """Be the step of work that nobody watches."""


def part_of(report: Report | None, start: float, end: float) -> Report | None:
    """Return what reports work that takes the whole from the share `start` to `end`."""
    if report is None:
        return None

    def report_part(done: int, total: int) -> None:
        share = start + (end - start) * done / max(total, 1)
        report(int(share * Progress.TOTAL), Progress.TOTAL)

    return report_part


class Progress:
    """Stages with a share of the whole each, reported as thousandths.

    Parameters
    ----------
    report : callable or None
        Called as ``report(done, total)`` from the thread that does the work.
        An exception it raises is left to travel: that is how work is canceled.
    """

    TOTAL = 1000

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._done = 0.0

    def stage(self, share: float, steps: int) -> Step:
        """Return the step function of a stage that takes `share` of the whole."""
        size = share * self.TOTAL / max(steps, 1)

        def step(count: float = 1) -> None:
            self._done += count * size
            self._tell(min(int(self._done), self.TOTAL - 1))

        return step

    def finish(self) -> None:
        """Report that all is done."""
        self._tell(self.TOTAL)

    def _tell(self, done: int) -> None:
        if self._report is not None:
            self._report(done, self.TOTAL)
