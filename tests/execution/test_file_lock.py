"""One process at a time holds the lock of a file."""

from __future__ import annotations

import subprocess
import sys

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


def test_a_place_that_cannot_be_written_is_not_locked(tmp_path):
    (tmp_path / "file").touch()
    with locked(tmp_path / "file" / "lock"):
        pass
