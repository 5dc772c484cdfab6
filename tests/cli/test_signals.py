"""A command that a signal ends leaves nothing half-written, and an exit code of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_kmeans.batch.parts import PARTS
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.cli import main as main_module
from napari_kmeans.cli.main import main
from napari_kmeans.cli.signals import EndedBySignal, ended_by_signals
from napari_kmeans.execution.threads import n_threads
from napari_kmeans.files.atomic import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for number in range(24):
        image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
        iio.imwrite(tmp_path / "raw" / f"{number:02}.png", image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _list_temporary(out: Path) -> list[Path]:
    return [each for each in out.rglob(f"{PREFIX}*") if each.name != PARTS]


def _list_labels(out: Path) -> set[str]:
    return {path.name for path in out.glob("*-labels.tif")}


@pytest.mark.parametrize("command", [["run"], []], ids=["study", "images"])
def test_an_ended_run_cleans_up_and_continues(folder, command):
    arguments = [*command, "raw", "-k", "2", "-o", "out"]
    out = folder / "out"
    program = [sys.executable, "-m", "napari_kmeans", *arguments]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        while not (_list_temporary(out) and len(_list_labels(out)) > n_threads()):
            assert process.poll() is None
            time.sleep(0.002)
        # Twice, as `timeout` does.
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate()[1].splitlines()
    assert process.returncode == 143
    assert errors[-1] == "napari-kmeans: ended by SIGTERM; nothing was left half-written."
    assert _list_temporary(out) == []
    record = json.loads((out / RECORD_FILE).read_text("utf-8"))
    assert record["status"] == "interrupted"
    done = [each for each in record["images"] if each["status"] == "done"]
    assert 0 < len(done) < 24
    # An image whose files were written at this moment may be missing in the record.
    names = {f"{each['name']}-labels.tif" for each in done}
    assert names <= _list_labels(out)
    assert len(_list_labels(out) - names) <= n_threads()
    assert main(arguments) == 0
    assert json.loads((out / RECORD_FILE).read_text("utf-8"))["status"] == "complete"


def test_a_later_signal_ends_a_command_that_hangs():
    code = (
        "import signal\n"
        "from napari_kmeans.cli import signals\n"
        "signals.SECONDS_OF_GRACE = {}\n"
        "with signals.ended_by_signals():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    except signals.EndedBySignal:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
    )
    codes = [
        subprocess.run([sys.executable, "-c", code.format(seconds)]).returncode
        for seconds in (10, -1)
    ]
    assert codes == [0, -signal.SIGTERM]


def test_handlers_are_as_before(monkeypatch):
    """Only the default is replaced, and not while a window is open."""
    handlers: list[object] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    monkeypatch.setattr(main_module, "screen_problem", lambda: None)
    monkeypatch.setattr(
        main_module, "_show_images", lambda *_: handlers.append(signal.getsignal(signal.SIGTERM))
    )
    main(["--sample", "histology"])
    assert handlers == [signal.SIG_DFL]
    with ended_by_signals():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        with pytest.raises(EndedBySignal), ended_by_signals():
            signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
