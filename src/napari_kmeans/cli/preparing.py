"""Compile kernels in other processes, and print a line when a run waits for them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_kmeans.cli.terminal import print_message
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, waits_to

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kernels_for(
    pixels: Any, rgb: bool, channel_axis: int | None, *, fit: bool = True
) -> Iterator[None]:
    """Compile the kernels for images of a kind in other processes, while the context waits.

    Without `fit`, the images are only painted.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.rehearsal import ImageKind, rehearse_stages

    COMPILE_PROCESSES.enable()
    kind = ImageKind.of(pixels, rgb, channel_axis)

    def on_wait() -> None:
        if COMPILE_PROCESSES.is_preparing:
            announce()
        if fit:
            rehearse_stages(kind)

    with waits_to(on_wait):
        yield


@cache
def announce() -> None:
    """Print that kernels are compiled, once in a process."""
    from tqdm import tqdm

    from napari_kmeans.rehearsal import PREPARING

    # Clear the progress bar while the line is printed.
    with tqdm.external_write_mode(sys.stderr):
        print_message(PREPARING[0].lower() + PREPARING[1:])
