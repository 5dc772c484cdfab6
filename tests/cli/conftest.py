"""Settings of the tests of the command line."""

from __future__ import annotations

import pytest

from napari_kmeans.cli.preparing import announce


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_announced():
    """Announce the compilation once: tests compare what is printed with what they expect."""
    announce()
