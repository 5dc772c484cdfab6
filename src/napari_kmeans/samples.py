"""Three sample images as arrays: a photograph, a stained tissue and a gray volume.

Nothing is downloaded. Two of them come with scikit-image, the third is generated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VOLUME_SHAPE = (32, 256, 256)
VOLUME_SCALE = (2.0, 0.5, 0.5)
"""Distance of the planes, rows and columns of the volume, in micrometers."""

_BACKGROUND, _TISSUE, _NUCLEUS, _NUCLEOLUS = 1_500, 11_000, 27_000, 50_000
"""The gray values of the four classes of the volume."""


def photograph() -> np.ndarray:
    """Return a photograph of a cup of coffee, (400, 600, 3) uint8, by Rachel Michetti (CC0)."""
    from skimage.data import coffee

    return np.asarray(coffee())


def histology() -> np.ndarray:
    """Return colonic glands in brown and blue stains, (512, 512, 3) uint8."""
    from skimage.data import immunohistochemistry

    return np.asarray(immunohistochemistry())


def volume() -> np.ndarray:
    """Return a generated tissue with nuclei, (32, 256, 256) uint16.

    Background, tissue, nuclei and nucleoli are four classes of intensity. Every call
    returns the same volume.
    """
    from skimage.filters import gaussian

    rng = np.random.default_rng(0)
    tissue = _smooth_noise(rng, sigma=20) > -0.4
    nuclei, nucleoli = (np.zeros(VOLUME_SHAPE, dtype=bool) for _ in range(2))
    for center, radius in _spheres(rng):
        nuclei |= _squared_distance(center) < radius**2
        spot = center + rng.uniform(-0.3, 0.3, 3) * radius
        nucleoli |= _squared_distance(spot) < (0.35 * radius) ** 2
    levels = np.where(tissue, _TISSUE, _BACKGROUND)
    levels[tissue & nuclei] = _NUCLEUS
    levels[tissue & nucleoli] = _NUCLEOLUS
    blurred = gaussian(levels.astype(np.float32), sigma=(0.4, 0.9, 0.9), preserve_range=True)
    shading = 1 + 0.08 * _smooth_noise(rng, sigma=12)
    grain = rng.normal(0, 12, VOLUME_SHAPE) * np.sqrt(blurred)
    return np.asarray(np.clip(blurred * shading + grain, 0, 65_535), dtype=np.uint16)


def _smooth_noise(rng: np.random.Generator, sigma: float) -> Any:
    """Return noise of mean 0 and variance 1, smoothed with a Gaussian of `sigma` micrometers."""
    from skimage.filters import gaussian

    noise = rng.standard_normal(VOLUME_SHAPE, dtype=np.float32)
    smooth = gaussian(noise, sigma=sigma / np.array(VOLUME_SCALE), mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def _spheres(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the centers and radii of spheres that do not touch, in micrometers."""
    extent = np.array(VOLUME_SHAPE) * VOLUME_SCALE
    placed: list[tuple[np.ndarray, float]] = []
    centers, radii = rng.uniform(0, extent, (600, 3)), rng.uniform(5, 9, 600)
    for center, radius in zip(centers, radii, strict=True):
        if all(np.linalg.norm(center - other) > radius + r + 1 for other, r in placed):
            placed.append((center, radius))
            yield center, radius


def _squared_distance(center: np.ndarray) -> Any:
    """Return the squared distance of every voxel from `center`, in square micrometers."""
    z, y, x = (
        ((np.arange(n) * step - middle) ** 2).astype(np.float32)
        for n, step, middle in zip(VOLUME_SHAPE, VOLUME_SCALE, center, strict=True)
    )
    return z[:, None, None] + y[:, None] + x


SAMPLES: dict[str, Callable[[], np.ndarray]] = {
    "photograph": photograph,
    "histology": histology,
    "volume": volume,
}
"""The samples by name. The command line uses the first if it gets no image and no sample."""
