"""What all tests share: settings of their own, images made by hand, a viewer with the dock."""

from __future__ import annotations

import os

# Before napari is imported: no settings of the user's are read or written, and
# whatever Qt leaves behind fails the test that left it.
os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_STRICT_QT", "1")

import numpy as np
import pytest


@pytest.fixture
def quadrants() -> np.ndarray:
    """A picture of 20 by 21 pixels, RGB: four colors with a little noise, darkest first."""
    rng = np.random.default_rng(0)
    image = np.empty((20, 21, 3))
    image[:10, :10] = (20, 10, 60)
    image[:10, 10:] = (200, 30, 40)
    image[10:, :10] = (40, 180, 60)
    image[10:, 10:] = (240, 230, 220)
    return (image + rng.integers(-3, 4, image.shape)).astype(np.uint8)


@pytest.fixture
def quadrant_labels() -> np.ndarray:
    """The labels of the four colors, by luminance."""
    labels = np.empty((20, 21), dtype=int)
    labels[:10, :10], labels[:10, 10:], labels[10:, :10], labels[10:, 10:] = 1, 2, 3, 4
    return labels


@pytest.fixture
def steps() -> np.ndarray:
    """A gray volume of 3 by 8 by 10 voxels of 16 bit, in three levels."""
    volume = np.full((3, 8, 10), 1_000, dtype=np.uint16)
    volume[:, 4:] = 20_000
    volume[:, 4:, 5:] = 50_000
    return volume
