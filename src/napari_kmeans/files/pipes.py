"""Copy pipes to temporary files, because readers open a file more than once."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from napari_kmeans.files.errors import check_memory

COPIED_BYTES = 2**20
"""The number of bytes that are copied at once."""


def copy_pipe(path: Path) -> Path:
    """Copy what comes out of a pipe to a temporary file, which exists until the process ends.

    A pipe without a name, such as that of the shell's ``<(command)``, can be read only once.
    A second call for it returns the same copy.

    Raises
    ------
    UnreadableImageError
        If the contents exceed the free memory.
    """
    if path.is_relative_to("/dev") or path.is_relative_to("/proc"):
        status = path.stat()
        return _copy_nameless_pipe(path, status.st_dev, status.st_ino)
    return _copy(path)


@cache
def _copy_nameless_pipe(path: Path, device: int, number: int) -> Path:
    """Copy a pipe once. Another pipe may have the same path later, but not the same numbers."""
    return _copy(path)


def _copy(path: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="napari-kmeans-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    copy, n_bytes = directory / "pipe", 0
    try:
        with path.open("rb") as pipe, copy.open("wb") as file:
            while block := pipe.read(COPIED_BYTES):
                n_bytes += len(block)
                # A pipe does not state its size, and it may have no end.
                check_memory(n_bytes, "the contents of the pipe")
                file.write(block)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return copy
