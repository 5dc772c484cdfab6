"""Lock a file, so that only one process at a time uses what it protects."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_IS_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""The errors of a lock that another process holds."""


@contextmanager
def locked(path: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is created if needed. The end of a process frees its lock.

    If the file cannot be written, or the file system has no locks, nothing is locked.

    Raises
    ------
    BlockingIOError
        Without `waits`, if another process or thread holds the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError:
        yield
        return
    with file:
        try:
            _lock(file, waits)
        except OSError as error:
            if not waits and error.errno in _IS_LOCKED:
                raise BlockingIOError(error.errno, error.strerror, str(path)) from error
        try:
            yield
        finally:
            _unlock(file)


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
