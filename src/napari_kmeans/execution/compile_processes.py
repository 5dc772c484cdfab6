"""Compile kernels in other processes, and wait for them without the GIL.

numba holds the GIL while it compiles: the window of napari would stand still for seconds, and
two kernels could not be compiled at a time. The other processes write the machine code to the
cache on disk, from where this process loads it in milliseconds.
"""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.execution.threads import POLL_SECONDS, n_threads, raise_if_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_PROCESSES = 4
"""More processes gain nothing: few kernels of a run can be compiled before others are called."""

IDLE_SECONDS = 10.0
"""A process that compiles nothing for so long ends. It takes about 250 MB of memory."""

_QUIET_SECONDS = 0.5
"""Shorter pauses between two kernels belong to the same preparation."""

_MOMENT_SECONDS = 1.0
"""A shorter preparation, such as that of a single kernel, is not shown."""

_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from napari_kmeans.execution.compile_processes import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""
"""The program of a process. It imports modules from the same places as this process."""

PREPARING = "Compiling for the first run of this kind, up to 40 seconds."
"""What the dock and the command line show while kernels are compiled."""

_listener: ContextVar[Callable[[], object] | None] = ContextVar("listener", default=None)


class Request(NamedTuple):
    """A kernel to compile, by the names of its module and function, and its argument types."""

    module: str
    name: str
    signature: tuple[Any, ...]


class CompileProcesses:
    """A few processes that compile kernels. They start when they are needed, and end when idle.

    Attributes
    ----------
    is_enabled : bool
        Whether kernels are compiled in other processes. False until `enable` is called, and
        again after a process has failed: the kernels are then compiled in this process.
    """

    def __init__(self) -> None:
        self.is_enabled = self._was_enabled = False
        self._lock = threading.Lock()
        self._futures: dict[Request, Future[None]] = {}
        self._first_time = self._last_time = -_QUIET_SECONDS
        self._free: SimpleQueue[_Process] = SimpleQueue()
        self._processes: list[_Process] = []

    @property
    def is_preparing(self) -> bool:
        """Whether other processes compile kernels, and have done so for more than a moment."""
        now = time.monotonic()
        is_compiling = bool(self._futures) or now - self._last_time < _QUIET_SECONDS
        return is_compiling and now - self._first_time > _MOMENT_SECONDS

    def enable(self) -> bool:
        """Compile kernels in other processes from now on, if this process can start Python.

        Returns whether that was not so before.
        """
        with self._lock:
            if self._processes or not _can_start_python():
                return False
            self._processes = [_Process() for _ in range(min(max(n_threads(), 2), MAX_PROCESSES))]
            self._free = SimpleQueue()
            for process in self._processes:
                self._free.put(process)
            self.is_enabled = self._was_enabled = True
        atexit.register(self.close)
        return True

    def enable_once(self) -> None:
        """Call `enable`, but not again after `close`, in a worker of a pool or after a fork.

        Each worker of a pool would start processes. And after a fork, two processes would write
        to the same pipes.
        """
        if not self._was_enabled and parent_process() is None:
            self.enable()

    def forget(self) -> None:
        """Leave the processes to the parent of this process, after a fork."""
        self.__init__()  # type: ignore[misc]
        self._was_enabled = True

    def disable(self) -> None:
        """Compile kernels in this process again."""
        self.is_enabled = False

    def close(self) -> None:
        """End the processes, before this process ends. What they are compiling is lost.

        A thread that waits for them gets a RuntimeError.
        """
        self.disable()
        self._was_enabled = True
        with self._lock:
            processes, self._processes = self._processes, []
        for process in processes:
            process.close()

    def compile(self, request: Request) -> None:
        """Have a kernel compiled, and wait.

        Threads that need the same kernel wait for the same process. The listener of this
        thread is called several times a second. It and `raise_if_stopped` may raise, which
        ends the waiting: the kernel is still compiled, for the next run.

        Raises
        ------
        RuntimeError
            If `close` was called.
        """
        with self._lock:
            future = self._futures.get(request)
            if future is None:
                now = time.monotonic()
                if not self._futures and now - self._last_time >= _QUIET_SECONDS:
                    self._first_time = now
                future = self._futures[request] = Future()
                # Threads of a pool would delay the exit until their kernels are compiled.
                arguments = (request, future)
                threading.Thread(target=self._work, args=arguments, daemon=True).start()
        listener = _listener.get()
        while not wait([future], timeout=POLL_SECONDS).done:
            raise_if_stopped()
            if listener is not None:
                listener()
        if not self._processes:
            raise RuntimeError("Kernels cannot be compiled after the shutdown of the processes.")

    def _work(self, request: Request, future: Future[None]) -> None:
        free = self._free
        process = free.get()
        try:
            process.compile(request)
        except Exception:
            # Python cannot be started here, or the process was killed. The kernel is compiled
            # in this process, which raises the errors of the kernel itself.
            self.disable()
        finally:
            free.put(process)
            with self._lock:
                self._last_time = time.monotonic()
                del self._futures[request]
            future.set_result(None)


class _Process:
    """A process that compiles one kernel at a time. It is started again if it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def compile(self, request: Request) -> None:
        """Compile a kernel, successfully or not.

        Raises
        ------
        OSError, EOFError, ValueError
            If the process cannot be started, or ends before it has answered.
        """
        message = pickle.dumps(request)
        process = self._process
        # A process that was idle has ended, or ends at this moment.
        if process is not None and process.poll() is None:
            with suppress(OSError, EOFError, ValueError):
                self._ask(process, message)
                return
        self._end()
        with self._lock:
            if self._is_closed:
                raise EOFError
            self._process = process = _start_python()
        self._ask(process, pickle.dumps(sys.path) + message)

    def close(self) -> None:
        """Kill the process. It is not started again."""
        with self._lock:
            self._is_closed = True
        # A thread that waits for the answer of the process then gets an error.
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                # Closing a pipe flushes what the process has not read.
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    @staticmethod
    def _ask(process: subprocess.Popen[bytes], message: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(message)
        process.stdin.flush()
        if not process.stdout.read(1):
            raise EOFError


COMPILE_PROCESSES = CompileProcesses()
"""The processes that compile the kernels of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COMPILE_PROCESSES.forget)


def is_listened() -> bool:
    """Return whether this context has a listener of `waits_to`."""
    return _listener.get() is not None


@contextmanager
def waits_to(listener: Callable[[], object]) -> Iterator[None]:
    """Call a listener several times a second while this context waits for a kernel.

    The tasks of `map_threads` belong to the context of their caller. What the listener raises
    ends the waiting.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Compile what is requested, until the other process ends or this process is idle."""
    # A library that prints must not print between the replies.
    sys.stdout = sys.stderr
    # Compiling takes about 8 % less time without garbage collection, and memory for seconds only.
    gc.disable()
    while True:
        timer = threading.Timer(IDLE_SECONDS, os._exit, [0])
        timer.daemon = True
        timer.start()
        try:
            request: Request = pickle.load(requests)
        except EOFError:
            return
        timer.cancel()
        with suppress(Exception):
            # The other process compiles what fails here again, and raises the same error.
            getattr(import_module(request.module), request.name).compile(request.signature)
        replies.write(b".")
        replies.flush()


def _can_start_python() -> bool:
    """Return whether `sys.executable` is Python, and not a program such as a bundled napari."""
    name = Path(sys.executable or "").stem.lower()
    return name.startswith("python") and not getattr(sys, "frozen", False)


def _start_python() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Windows would open a console for a program with a window. Ctrl+C in a terminal must
        # not reach the process: it would print a traceback.
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        start_new_session=True,
    )
