"""Lock a file, so that only one process at a time uses what it protects."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_IS_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""The errors of a lock that another process holds."""


_ATTEMPTS = 100
"""How often a file that was removed meanwhile is created again.

A file system that gives an open file another inode number than its path must not end in a loop."""


@contextmanager
def locked(path: Path, *, waits: bool = True, removes: bool = False) -> Iterator[None]:
    """Hold the lock of a file, which is created if needed. The end of a process frees its lock.

    If the file cannot be written, or the file system has no locks, nothing is locked.

    Parameters
    ----------
    path : Path
    waits : bool, default True
        Whether to wait for another process or thread that holds the lock.
    removes : bool, default False
        Whether the file is removed at the end. A process that is killed leaves the file.

    Raises
    ------
    BlockingIOError
        Without `waits`, if another process or thread holds the lock.
    """
    file = _open_locked(path, waits)
    if file is None:
        yield
        return
    with file:
        try:
            yield
        finally:
            # If the lock were freed first, this would remove the file that another process locks.
            if removes and not _KEEPS_OPEN_FILES:
                with suppress(OSError):
                    path.unlink()
            _unlock(file)
    if removes and _KEEPS_OPEN_FILES:
        # If another process has opened the file, that process removes it.
        with suppress(OSError):
            path.unlink()


def _open_locked(path: Path, waits: bool) -> IO[bytes] | None:
    """Return a file whose lock is held; None if it cannot be written."""
    for attempt in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError:
            return None
        try:
            _lock(file, waits)
        except OSError as error:
            if not waits and error.errno in _IS_LOCKED:
                file.close()
                raise BlockingIOError(error.errno, error.strerror, str(path)) from error
        # The lock of a file that its last holder has removed would keep nobody else out.
        if attempt == _ATTEMPTS - 1 or _is_at(file, path):
            return file
        file.close()
    return None


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


_KEEPS_OPEN_FILES = sys.platform == "win32"
"""Whether the system refuses to remove a file that is open."""

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], waits: bool) -> None:
        file.seek(0)
        # LK_LOCK tries for ten seconds, then raises OSError.
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if waits else msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        with suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes], waits: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[bytes]) -> None:
        # Closing the file frees the lock. A process that was forked meanwhile would keep it.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
