"""Type aliases that several modules share."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

Block: TypeAlias = tuple[slice, ...]
"""The place of a block in an image: a slice for each spatial axis."""
