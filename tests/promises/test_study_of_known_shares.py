"""A study of 24 images gives the shares that they were made with, as docs/cohort.md describes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import yaml

from napari_kmeans import Study, pivot_measurements, run_study
from napari_kmeans.batch.study import ENTRIES
from napari_kmeans.cli.main import main
from napari_kmeans.execution.notices import notices_to

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cohort.md").read_text("utf-8")


def test_the_shares_and_their_difference_are_found(tmp_path, monkeypatch, capsys):
    make = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "study.py"))["make_study"]
    known = make(tmp_path, side=64)
    with notices_to(lambda _: None):
        result = run_study(Study.load(tmp_path / "study.yaml"))
    shares = pivot_measurements(result.table).set_index("image")
    expected = [100 * known[name] for name in shares.index]
    np.testing.assert_allclose(shares["nuclei"], expected, atol=0.01)
    means = shares.groupby("group")["nuclei"].mean()
    assert abs(means["treated"] - means["control"] - 15) < 3
    # The command line writes the same tables, and the example of the page prints the means.
    assert main(["run", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "cli")]) == 0
    for name in ("measurements", "shares"):
        file = f"napari-kmeans-{name}.csv"
        assert (tmp_path / "cli" / file).read_text() == (tmp_path / "results" / file).read_text()
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    exec(example, {})
    assert "treated" in capsys.readouterr().out


def test_the_page_describes_every_entry():
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[0]
    study = Study.from_dict(yaml.safe_load(text))
    assert study.classes[3] == {"name": "background", "ignored": True}
    table = PAGE.split("| entry |")[1].split("\n\n")[0]
    described = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert described == set(ENTRIES)
