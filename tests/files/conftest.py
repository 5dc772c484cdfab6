"""Fixtures of the tests of files."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def writing() -> Callable[[], AbstractContextManager[None]]:
    """Return a context that skips the test if the installed imagecodecs has no such encoder."""

    @contextmanager
    def context() -> Iterator[None]:
        try:
            yield
        except NotImplementedError as error:
            # The lowest version that is supported reads such files, and cannot write them.
            pytest.skip(f"this imagecodecs has no {error}")

    return context
