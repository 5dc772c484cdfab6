"""Compile kernels in other processes, and say so when a run waits for them."""

from __future__ import annotations

from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.reporting import tell
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, PREPARING, waits_to

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

PREPARING_SENTENCE = PREPARING[0].lower() + PREPARING[1:]


def kernels_for(
    pixels: Any, rgb: bool, channel_axis: int | None, *, fit: bool = True
) -> AbstractContextManager[None]:
    """Compile the kernels for images of a kind in other processes, while the context waits.

    Without `fit`, the images are only painted. The sentence about the compilation goes to the
    listener of the caller.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.rehearsal import ImageKind, rehearse_stages

    COMPILE_PROCESSES.enable()
    kind = ImageKind.of(pixels, rgb, channel_axis)
    caller = copy_context()

    def on_wait() -> None:
        if COMPILE_PROCESSES.is_preparing:
            # A context runs one function at a time, and several threads may wait.
            caller.copy().run(announce)
        if fit:
            rehearse_stages(kind)

    return waits_to(on_wait)


@cache
def announce() -> None:
    """Tell that kernels are compiled, once in a process."""
    tell(PREPARING_SENTENCE)
