"""Compile kernels with numba, and keep the machine code in a cache where one can be written."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba import njit
from numba.extending import intrinsic

from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, Request
from napari_kmeans.execution.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLAGS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}
"""Nothing calls the wrappers for C: they took 5 % of the time to compile."""


_not_kept: set[str] = set()
"""The kernels whose machine code has no place, so that each process compiles them again."""


def compile_kernel(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Any:
    """Return a function that numba compiles on its first call, and that releases the GIL.

    `fastmath` names the transformations of LLVM that may change the last digits of results.

    The machine code is kept beside the package, or in the cache directory of the user. If
    neither can be written to, each process compiles the function again, in memory. After
    `COMPILE_PROCESSES.enable()`, other processes compile the function.
    """
    dispatcher = _keep_machine_code(njit(fastmath=fastmath, **_FLAGS)(function))
    # numba calls this function if it has no machine code for the types of the arguments.
    compile_here = dispatcher._compile_for_args
    dispatcher._compile_for_args = partial(_load_or_compile, dispatcher, compile_here)
    return dispatcher


def inline_kernel(function: Callable[..., Any]) -> Any:
    """Return a function that numba inserts into the kernels that call it."""
    return _keep_machine_code(njit(nogil=True, inline="always")(function))


def inner_kernel(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Any:
    """Return a function that is compiled with the kernels that call it, and kept with them.

    Python cannot call it. `fastmath` is that of `compile_kernel`.
    """
    # Without `fastmath`, numba takes that of the kernel: distances in float64 would be rounded in
    # another way.
    flags = _FLAGS | {"no_cpython_wrapper": True, "fastmath": fastmath}
    return njit(**flags)(function)


def written_kernel(function: Callable[..., Any]) -> Any:
    """Return a function for kernels, whose instructions another function writes.

    `function` returns the types of its arguments and of its result, and the function that writes
    the instructions: see `numba.extending.intrinsic`.
    """
    return intrinsic(function)


def _keep_machine_code(dispatcher: Any) -> Any:
    # `njit(cache=True)` raises this RuntimeError on import if there is no place for the cache.
    # Do not use a temporary directory that other users can write to: the cache is unpickled.
    try:
        dispatcher.enable_caching()
        dispatcher._cache = _OptionalCache(dispatcher._cache)
    except RuntimeError:
        _not_kept.add(dispatcher.py_func.__qualname__)
    return dispatcher


def is_code_kept() -> bool:
    """Return whether the machine code of all kernels has been kept as far as it is known."""
    return not _not_kept


def _load_or_compile(dispatcher: Any, compile_here: Callable[..., Any], *arguments: Any) -> Any:
    """Load the machine code for arguments; if there is none, have it compiled first."""
    cache = dispatcher._cache
    if COMPILE_PROCESSES.is_enabled and isinstance(cache, _OptionalCache):
        signature = tuple(dispatcher.typeof_pyval(argument) for argument in arguments)
        if not cache.contains(signature, dispatcher.targetctx):
            function = dispatcher.py_func
            request = Request(function.__module__, function.__qualname__, signature)
            COMPILE_PROCESSES.compile(request)
            if not cache.contains(signature, dispatcher.targetctx):
                # The other process cannot write to the cache: waiting for it takes time only.
                COMPILE_PROCESSES.disable()
    return compile_here(*arguments)


class _OptionalCache:
    """A cache of machine code that is not used while its files cannot be read or written.

    The cache of numba raises the OSError from the first call of the kernel, for example if
    the disk is full. And two processes that save machine code of the same kernel at the same
    time could give both the same file name: a kernel would be called with the machine code
    for other types. So all files are read and written under a lock.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._is_checked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(Path(self._cache.cache_path) / "napari-kmeans.lock"):
            if not self._is_checked:
                self._drop_if_unreadable()
                self._is_checked = True
            yield

    def _drop_if_unreadable(self) -> None:
        """Empty the list of an earlier version, if it names classes that are no longer there.

        numba unpickles the list before it compares the source with that of the machine code.
        """
        try:
            self._cache._cache_file._load_index()
        except OSError:
            raise
        except Exception:
            self._cache.flush()

    def contains(self, signature: Any, context: Any) -> bool:
        """Return whether the machine code for a signature is in the cache."""
        with suppress(OSError), self._locked():
            key = self._cache._index_key(signature, context.codegen())
            return key in self._cache._cache_file._load_index()
        return False

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the machine code for a signature, or None if it is not in the cache."""
        with suppress(OSError), self._locked():
            return self._cache.load_overload(signature, context)
        return None

    def save_overload(self, signature: Any, code: Any) -> None:
        """Save the machine code for a signature, if that is possible."""
        try:
            with self._locked():
                self._cache.save_overload(signature, code)
        except OSError:
            _not_kept.add(str(code.fndesc.qualname))
