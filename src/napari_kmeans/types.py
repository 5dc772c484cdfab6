"""Types that several modules share."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

Block: TypeAlias = tuple[slice, ...]
"""Slices of the pixels of a block, without the channels."""
