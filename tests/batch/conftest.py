"""Settings of the tests of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_kmeans.cli.terminal import print_message
from napari_kmeans.execution.notices import notices_to

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _notices_are_printed() -> Iterator[None]:
    """Print sentences to stderr, as the command line does."""
    with notices_to(print_message):
        yield
