"""Type aliases and type variables that several modules share."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
"""A numpy array of float64, of any shape."""

Block: TypeAlias = tuple[slice, ...]
"""The place of a block in an image: a slice for each spatial axis."""

Result = TypeVar("Result")
"""The result of a function that is mapped over items."""
