"""Compile kernels in other processes, and say so when a run waits for them."""

from __future__ import annotations

from contextvars import copy_context
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.reporting import tell
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, PREPARING, waits_to

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

PREPARING_SENTENCE = PREPARING[0].lower() + PREPARING[1:]

NOT_KEPT_SENTENCE = (
    "compiled kernels cannot be kept, so that each run compiles them for about half a minute: set "
    "NUMBA_CACHE_DIR to a folder that can be written to"
)

ABOUT_COMPILING = (PREPARING_SENTENCE, NOT_KEPT_SENTENCE)
"""Sentences about the run, and not about an image or the results."""

_lock = Lock()


def kernels_for(
    pixels: Any, rgb: bool, channel_axis: int | None, *, fit: bool = True
) -> AbstractContextManager[None]:
    """Compile the kernels for images of a kind in other processes, while the context waits.

    Without `fit`, the images are only painted. The sentence about the compilation goes to the
    listener of the caller.
    """
    # These modules import numba, which would slow down the start of the command line.
    from napari_kmeans.execution.compiling import is_code_kept
    from napari_kmeans.rehearsal import ImageKind, rehearse_stages

    COMPILE_PROCESSES.enable()
    if not is_code_kept():
        announce(NOT_KEPT_SENTENCE)
    kind = ImageKind.of(pixels, rgb, channel_axis)
    caller = copy_context()

    def on_wait() -> None:
        if COMPILE_PROCESSES.is_preparing:
            # A context runs one function at a time, and several threads may wait.
            caller.copy().run(announce, PREPARING_SENTENCE)
        if fit:
            rehearse_stages(kind)

    return waits_to(on_wait)


def announce(sentence: str) -> None:
    """Tell a sentence about the compilation, once in a process."""
    # A cached function runs twice if two threads call it at the same time.
    with _lock:
        _announce(sentence)


@cache
def _announce(sentence: str) -> None:
    tell(sentence)
