"""One process at a time holds the lock of a file."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from napari_kmeans.execution import file_lock
from napari_kmeans.execution.file_lock import locked

HOLD = """
import sys
from pathlib import Path
from napari_kmeans.execution.file_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
    Path(sys.argv[2]).touch()
"""


def test_another_process_waits_for_the_lock(tmp_path):
    lock, done = tmp_path / "folder" / "lock", tmp_path / "done"
    command = [sys.executable, "-c", HOLD, str(lock), str(done)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b"locked"
        assert not done.exists()
        holder.stdin.close()
        with locked(lock):
            # The other process has touched the file before it freed the lock.
            assert done.exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), str(tmp_path / "done")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b"locked"
        holder.kill()
        with locked(tmp_path / "lock"):
            assert not (tmp_path / "done").exists()


def test_a_lock_that_its_holder_removes_keeps_the_next_one_out(tmp_path):
    lock = tmp_path / "lock"
    with ExitStack() as holder:
        holder.enter_context(locked(lock, removes=True))
        waiting = [threading.Thread(target=_hold, args=(lock, tmp_path / name)) for name in "ab"]
        for thread in waiting:
            thread.start()
        # The threads have opened the file that is removed.
        time.sleep(0.2)
    for thread in waiting:
        thread.join(60)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def _hold(lock, place):
    with locked(lock, removes=True):
        with pytest.raises(BlockingIOError), locked(lock, waits=False):
            pass
        place.touch()


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock, "_lock", refuse)
    with locked(tmp_path / "lock", waits=False, removes=True):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_a_place_that_cannot_be_written_is_not_locked(tmp_path):
    (tmp_path / "file").touch()
    with locked(tmp_path / "file" / "lock"):
        pass
