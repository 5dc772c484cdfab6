"""Report the progress of several stages to a callable, as one growing number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from napari_kmeans.checks import quote_value

Report = Callable[[int, int], None]
"""A callable ``progress(done, total)``. An exception that it raises cancels the work."""

Step = Callable[[float], None]
"""A callable that receives the number of steps just done.

A call with 0 reports nothing: the callable may raise, so that the user can cancel.
"""


def ignore(_steps: float) -> None:
    """Do nothing: the step of work whose progress is not reported."""


def part_of(report: Report | None, start: float, end: float) -> Report | None:
    """Return a report for a part of the work, between the shares `start` and `end` of 1.

    ``part_of(report, 0.5, 1)`` is for the second half. Without a report, return None.
    """
    if report is None:
        return None

    def report_part(done: int, total: int) -> None:
        share = start + (end - start) * done / max(total, 1)
        report(int(share * Progress.TOTAL), Progress.TOTAL)

    return report_part


class Progress:
    """The progress of work in several stages, reported in thousandths.

    Parameters
    ----------
    report : callable or None
        Called as ``report(done, total)`` from the thread that does the work. An
        exception that it raises is passed on, which cancels the work.

    Raises
    ------
    TypeError
        If `report` is not a callable.
    """

    TOTAL = 1000

    def __init__(self, report: Report | None) -> None:
        if report is not None and not callable(report):
            raise TypeError(
                f"progress must be a callable or None, got {quote_value(report)}: pass a function "
                "of two numbers, progress(done, total)."
            )
        self._report = report
        self._done = 0.0

    def stage(self, share: float, steps: int) -> Step:
        """Return the step function of a stage of `steps` steps that is `share` of all work."""
        size = share * self.TOTAL / max(steps, 1)

        def step(count: float = 1) -> None:
            self._done += count * size
            self._send(min(int(self._done), self.TOTAL - 1))

        return step

    def split(self, number: int) -> list[Progress]:
        """Return the progress of each of several equal parts of the work that is left."""
        start = self._done / self.TOTAL
        ends = [start + (1 - start) * n / number for n in range(number + 1)]
        return [Progress(part_of(self._report, *pair)) for pair in pairwise(ends)]

    def finish(self) -> None:
        """Report that all work is done."""
        self._send(self.TOTAL)

    def _send(self, done: int) -> None:
        if self._report is not None:
            self._report(done, self.TOTAL)
