"""Compile kernels with numba, and keep the machine code in a cache where one can be written."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable


def compile_kernel(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Any:
    """Return a function that numba compiles on its first call, and that releases the GIL.

    `fastmath` names the transformations of LLVM that may change the last digits of results.

    The machine code is kept beside the package, or in the cache directory of the user. If
    neither can be written to, each process compiles the function again, in memory.
    """
    return _keep_machine_code(njit(nogil=True, fastmath=fastmath)(function))


def inline_kernel(function: Callable[..., Any]) -> Any:
    """Return a function that numba inserts into the kernels that call it."""
    return _keep_machine_code(njit(nogil=True, inline="always")(function))


def _keep_machine_code(dispatcher: Any) -> Any:
    # `njit(cache=True)` raises this RuntimeError on import if there is no place for the cache.
    # Do not use a temporary directory that other users can write to: the cache is unpickled.
    with suppress(RuntimeError):
        dispatcher.enable_caching()
        dispatcher._cache = _OptionalCache(dispatcher._cache)
    return dispatcher


class _OptionalCache:
    """A cache of machine code that is not used while its files cannot be read or written.

    The cache of numba raises the OSError from the first call of the kernel, for example if
    the disk is full.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the machine code for a signature, or None if it is not in the cache."""
        with suppress(OSError):
            return self._cache.load_overload(signature, context)
        return None

    def save_overload(self, signature: Any, code: Any) -> None:
        """Save the machine code for a signature, if that is possible."""
        with suppress(OSError):
            self._cache.save_overload(signature, code)
