"""Live runs: a run at every change of a setting."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class LiveRuns:
    """Starts a run when a setting has changed, while *Live* is checked.

    If a run is under way, the next run starts after it, with the settings of that moment.

    Parameters
    ----------
    checkbox : CheckBox
        The field *Live*.
    settings : sequence of fields
        The fields that a result depends on, besides the image.
    runner : Runner
    can_run : callable
        Returns whether a run can be started.
    start : callable
        Starts a run.
    report : callable
        Called with an expected error of `start`.
    """

    def __init__(
        self,
        checkbox: Any,
        settings: Sequence[Any],
        runner: Runner[Any],
        can_run: Callable[[], bool],
        start: Callable[[], object],
        report: Callable[[Exception], None],
    ) -> None:
        self._checkbox, self._settings, self._runner = checkbox, settings, runner
        self._can_run, self._start, self._report = can_run, start, report
        self._last_values: tuple[Any, ...] = ()
        self._is_run_pending = False
        self._is_paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start no run in a `with` block, nor afterwards for the settings at its end."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False
        self._last_values = self._values()

    def on_checked(self, live: bool) -> None:
        """Start a run if *Live* was checked. Otherwise drop a pending run."""
        if live:
            self.run_again()
        else:
            self._last_values = ()
            self._is_run_pending = False

    def run_again(self) -> None:
        """Start a run, even if all settings have the values of the last run."""
        self._last_values = ()
        self.on_setting_changed()

    def on_setting_changed(self, *_: Any) -> None:
        """Start a run with the new settings, now or after the run that is under way."""
        values = self._values()
        if self._is_paused or not self._checkbox.value or not self._can_run():
            return
        # A field also emits `changed` when its choices are updated: compare the values.
        if values == self._last_values:
            return
        self._last_values = values
        self._is_run_pending = self._runner.is_running
        if self._is_run_pending:
            self._runner.cancel_if_slow()
        else:
            self._start_run()

    def _values(self) -> tuple[Any, ...]:
        return tuple(field.value for field in self._settings)

    def on_run_changed(self) -> None:
        """Start the pending run, if there is one and no run is under way."""
        if self._is_run_pending and not self._runner.is_running:
            self._is_run_pending = False
            if self._can_run():
                self._start_run()

    def _start_run(self) -> None:
        try:
            self._start()
        except EXPECTED_ERRORS as error:
            self._report(error)
