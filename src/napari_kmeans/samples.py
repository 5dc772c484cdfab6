"""Sample images as arrays. Nothing is downloaded.

The photograph and the stained tissue come with scikit-image. All others are generated. For the
leaf, the phantom and the fluorescence image, a second function returns the true class of each
pixel. The classes are numbered from dark to bright, as `segment` numbers clusters.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import RealNumber, WholeNumber
from napari_kmeans.files.picture import Axis, Channel, Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

VOLUME_SHAPE = (32, 256, 256)
VOLUME_SCALE = (2.0, 0.5, 0.5)
"""Distance of the planes, rows and columns of the volume, in micrometers."""

_BACKGROUND, _TISSUE, _NUCLEUS, _NUCLEOLUS = 1_500, 11_000, 27_000, 50_000
"""The gray values of the four classes of the volume."""

LEAF_CLASSES: Mapping[int, str] = MappingProxyType(
    {1: "lesion", 2: "leaf", 3: "halo", 4: "background"}
)
"""The classes of the leaf by label: dead tissue, green tissue, yellow tissue, and paper."""

LEAF_SHAPE = (320, 560)
LEAF_SCALE = (0.2, 0.2)
"""Distance of the rows and columns of the leaf, in millimeters."""

LEAF_LESIONS = 6.0
"""Percent of the leaf that is lesion, unless another number is asked for."""

PHANTOM_CLASSES: Mapping[int, str] = MappingProxyType(
    {
        1: "air and bone",
        2: "cerebrospinal fluid",
        3: "gray matter",
        4: "white matter",
        5: "scalp",
    }
)
"""The classes of the phantom by label."""

PHANTOM_SHAPE = (40, 136, 112)
PHANTOM_SCALE = (4.0, 1.5, 1.5)
"""Distance of the planes, rows and columns of the phantom, in millimeters."""

FLUORESCENCE_CHANNELS = ("DAPI", "PAX6", "TBR2", "TBR1")
"""The channels of the fluorescence image: the dye of all nuclei, and three markers."""

FLUORESCENCE_CELLS: Mapping[str, int] = MappingProxyType(
    {"no marker": 18, "TBR2": 21, "PAX6": 40, "TBR1": 47, "PAX6 TBR2": 16}
)
"""The number of cells of the fluorescence image by the markers that they have."""

FLUORESCENCE_CLASSES: Mapping[int, str] = MappingProxyType(
    dict(enumerate(("background", *FLUORESCENCE_CELLS), start=1))
)
"""The classes of the fluorescence image by label: the background, and the kinds of cells."""

FLUORESCENCE_SHAPE = (320, 320)
FLUORESCENCE_SCALE = (0.5, 0.5)
"""Distance of the rows and columns of the fluorescence image, in micrometers."""


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


def leaf(lesion_percent: float = LEAF_LESIONS, seed: int = 0) -> np.ndarray:
    """Return a generated scan of a leaf with lesions on white paper, (320, 560, 3) uint8.

    Parameters
    ----------
    lesion_percent : float, default 6
        The percentage of the leaf that is lesion, from 0 to 40.
    seed : int, default 0
        Another number gives lesions at other places.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, or out of bounds.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    classes, veins = _draw_leaf(lesion_percent, seed)
    rng = np.random.default_rng([seed, 1])
    lesion, halo, paper = (classes == label for label in (1, 3, 4))
    color = np.empty((*LEAF_SHAPE, 3))
    color[:] = (58, 108, 40) + 9 * _noise(rng, LEAF_SHAPE, 25)[..., None]
    color += veins[..., None] * (46, 42, 34)
    color[halo] = (205, 186, 70) + 7 * _noise(rng, LEAF_SHAPE, 3)[halo, None]
    depth = distance_transform_edt(lesion)[..., None]
    rim = np.exp(-depth / 2.5)
    color[lesion] = ((118, 76, 44) - (34, 26, 16) * rim)[lesion]
    color[lesion] += 6 * _noise(rng, LEAF_SHAPE, 2)[lesion, None]
    shadow = gaussian_filter((~paper).astype(float), 7, mode="nearest")[..., None]
    color[paper] = ((240, 239, 234) - 26 * shadow)[paper]
    color = gaussian_filter(color, (0.8, 0.8, 0)) + rng.normal(0, 5, color.shape)
    return np.asarray(np.clip(color.round(), 0, 255), dtype=np.uint8)


def leaf_truth(lesion_percent: float = LEAF_LESIONS, seed: int = 0) -> NDArray[np.uint8]:
    """Return the class of each pixel of `leaf` with the same arguments: a label of LEAF_CLASSES.

    The lesions are `lesion_percent` of the pixels of the leaf, which are the classes "lesion",
    "leaf" and "halo", rounded to a whole number of pixels.
    """
    classes, _ = _draw_leaf(lesion_percent, seed)
    return classes


def _draw_leaf(lesion_percent: float, seed: int) -> tuple[NDArray[np.uint8], Any]:
    """Return the class of each pixel, and how much each pixel is a vein, from 0 to 1."""
    from scipy.ndimage import distance_transform_edt

    percent = RealNumber(0.0, 40.0).check("lesion_percent", lesion_percent)
    rng = np.random.default_rng(WholeNumber(0, 2**63 - 1).check("seed", seed))
    y, x = np.indices(LEAF_SHAPE, dtype=float)
    # `along` is 0 at the stalk and 1 at the tip, `across` is 0 on the midrib and 1 on the margin.
    along = (x - 70) / 450
    inside = along.clip(0, 1)
    teeth = 1 + 0.035 * (22 * inside % 1)
    half_width = 300 * inside**0.62 * (1 - inside) ** 0.85 * teeth
    from_midrib = y - 160 + 16 * np.sin(np.pi * along)
    blade = (half_width > 0) & (np.abs(from_midrib) < half_width)
    stalk = (along > -0.12) & (along < 0.02) & (np.abs(from_midrib) < 4)
    across = from_midrib / np.maximum(half_width, 1)
    side = 9 * (along - 0.13 * np.abs(across) ** 1.3) + 0.5 * (across > 0)
    from_side = np.abs(side % 1 - 0.5) * 50
    midrib = np.exp(-((from_midrib / (3.2 - 2 * inside)) ** 2))
    veins = np.maximum(midrib, 0.55 * np.exp(-((from_side / 1.1) ** 2)) * (np.abs(across) < 0.92))
    veins = np.where(stalk & ~blade, 0.9, veins)

    # Each lesion is a distorted disc. The discs grow together until they have the wanted area.
    waves = 1 + 0.16 * _noise(rng, LEAF_SHAPE, 5)
    growth = np.full(LEAF_SHAPE, np.inf)
    places = np.argwhere(blade & (np.abs(across) < 0.8) & (along > 0.08))
    for row, column in places[rng.integers(len(places), size=17)]:
        radius = rng.lognormal(0, 0.45)
        growth = np.minimum(growth, np.hypot(y - row, x - column) * waves / radius)
    growth[~blade] = np.inf
    classes = np.where(blade | stalk, 2, 4).astype(np.uint8)
    n_lesion = round(percent / 100 * int((classes == 2).sum()))
    lesion = np.zeros(LEAF_SHAPE, bool)
    lesion.flat[np.argsort(growth, axis=None, kind="stable")[:n_lesion]] = True
    if n_lesion:
        edge = 7 * (1 + 0.3 * _noise(rng, LEAF_SHAPE, 8))
        classes[(distance_transform_edt(~lesion) < edge) & blade] = 3
    classes[lesion] = 1
    return classes, veins


def phantom() -> NDArray[np.uint16]:
    """Return a generated magnetic resonance image of a head, (40, 136, 112) uint16.

    The contrast is that of a T1-weighted image: fluid is dark and white matter is bright.
    """
    rng = np.random.default_rng(1)
    levels = np.array([0, 900, 7_000, 15_000, 22_000, 34_000])[phantom_truth()]
    bias = 1 + 0.03 * _noise(rng, PHANTOM_SHAPE, (8, 20, 20))
    # The noise of a magnitude image: that of the real and of the imaginary part.
    real, imaginary = rng.normal(0, 1_500, (2, *PHANTOM_SHAPE))
    return np.asarray(np.hypot(levels * bias + real, imaginary).round(), dtype=np.uint16)


def phantom_truth() -> NDArray[np.uint8]:
    """Return the class of each voxel of `phantom`: a label of PHANTOM_CLASSES."""
    from scipy.ndimage import distance_transform_edt

    rng = np.random.default_rng(0)
    head = _ellipsoid((80, 102, 84), (74, 92, 74))
    skull = _ellipsoid((80, 102, 84), (67, 85, 67))
    skull_inside = _ellipsoid((82, 102, 84), (62, 79, 61))
    z, y, x = (axis - middle for axis, middle in zip(_phantom_axes(), (80, 102, 84), strict=True))
    brain = _ellipsoid((83, 102, 84), (58, 76, 58))
    # The fissure between the hemispheres.
    brain &= ~((np.abs(x) < 1.2) & ((z > 18) | (np.abs(y) > 48)))
    depth = distance_transform_edt(brain, sampling=PHANTOM_SCALE)
    # Folds: thin sheets of fluid that end below the surface.
    folds = np.abs(_noise(rng, PHANTOM_SHAPE, np.array((6.5, 6.5, 6.5)) / PHANTOM_SCALE))
    fluid = ~brain | ((folds < 0.11) & (depth < 17))
    cortex = brain & (distance_transform_edt(~fluid, sampling=PHANTOM_SCALE) < 3.6)
    ventricles, nuclei = np.zeros((2, *PHANTOM_SHAPE), bool)
    for side in (-1, 1):
        bent = np.abs(x - side * (5 + 0.006 * (y + 4) ** 2))
        ventricles |= (bent / 4.5) ** 2 + ((y + 4) / 34) ** 2 + ((z - 8) / 10) ** 2 < 1
        nuclei |= ((x - side * 15) / 8) ** 2 + ((y + 2) / 19) ** 2 + ((z - 2) / 13) ** 2 < 1
    classes = np.ones(PHANTOM_SHAPE, np.uint8)
    classes[head & ~skull] = 5
    classes[skull_inside] = 2
    classes[brain & ~fluid] = 4
    classes[(cortex | nuclei) & ~fluid] = 3
    classes[brain & ventricles] = 2
    return classes


def _phantom_axes() -> Sequence[Any]:
    """Return the position of the voxels along each axis, in millimeters."""
    lengths = [np.arange(n) * step for n, step in zip(PHANTOM_SHAPE, PHANTOM_SCALE, strict=True)]
    return np.meshgrid(*lengths, indexing="ij", sparse=True)


def _ellipsoid(center: Sequence[float], radii: Sequence[float]) -> NDArray[np.bool_]:
    """Return the voxels of the phantom in an ellipsoid, given in millimeters."""
    axes = zip(_phantom_axes(), center, radii, strict=True)
    return np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in axes) < 1)


def fluorescence() -> NDArray[np.uint16]:
    """Return generated nuclei of an embryonic cortex in four channels, (4, 320, 320) uint16.

    The channels are FLUORESCENCE_CHANNELS. Nuclei have none, one or two of the three markers.
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(2)
    nuclei, kinds = _draw_nuclei()
    classes = np.array(["background", *kinds])
    photons = np.empty((4, *FLUORESCENCE_SHAPE))
    for channel, name in enumerate(FLUORESCENCE_CHANNELS):
        has_marker = np.array([name == "DAPI" or name in kind.split() for kind in classes])
        has_marker[0] = False
        strength = np.where(has_marker, rng.uniform(0.8, 1.2, len(classes)), 0)[nuclei]
        grain = 1 + 0.12 * _noise(rng, FLUORESCENCE_SHAPE, 1.5)
        haze = 0.06 * (1 + 0.3 * _noise(rng, FLUORESCENCE_SHAPE, 40))
        photons[channel] = 260 * (gaussian_filter(strength * grain, 0.9) + haze)
    gains = np.array([30, 22, 18, 26])[:, None, None]
    return np.asarray(100 + gains * rng.poisson(photons), dtype=np.uint16)


def fluorescence_truth() -> NDArray[np.uint8]:
    """Return the class of each pixel of `fluorescence`: a label of FLUORESCENCE_CLASSES.

    No two nuclei touch, so that the connected regions of a class are its FLUORESCENCE_CELLS.
    """
    nuclei, kinds = _draw_nuclei()
    labels = {name: label for label, name in FLUORESCENCE_CLASSES.items()}
    return np.array([1, *(labels[kind] for kind in kinds)], np.uint8)[nuclei]


def _draw_nuclei() -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of the nucleus of each pixel, 0 for none, and the kind of each nucleus."""
    rng = np.random.default_rng(0)
    y, x = np.indices(FLUORESCENCE_SHAPE)
    nuclei, occupied = np.zeros(FLUORESCENCE_SHAPE, np.int64), np.zeros(FLUORESCENCE_SHAPE, bool)
    # Each kind is in a layer of the tissue: from the top row to the last.
    layers = {
        "PAX6": (215, 305),
        "PAX6 TBR2": (180, 270),
        "TBR2": (140, 215),
        "TBR1": (15, 140),
        "no marker": (15, 305),
    }
    kinds: list[str] = []
    for kind, (top, bottom) in layers.items():
        wanted = len(kinds) + FLUORESCENCE_CELLS[kind]
        while len(kinds) < wanted:
            row, column = rng.uniform(top, bottom), rng.uniform(12, 308)
            # Nuclei at the ventricle, below, are long and upright.
            stretch = rng.uniform(1.0, 1.25) if row < 200 else rng.uniform(1.3, 1.6)
            size, tilt = rng.uniform(7.0, 8.5), rng.normal(0, 0.25)
            # A nucleus and the gap around it reach at most 19 pixels.
            near = tuple(slice(max(0, round(at) - 20), round(at) + 20) for at in (row, column))
            dy, dx = y[near] - row, x[near] - column
            down = dy * np.cos(tilt) + dx * np.sin(tilt)
            right = dx * np.cos(tilt) - dy * np.sin(tilt)
            distance = np.hypot(down / stretch, right * stretch**0.5)
            if not occupied[near][distance < size].any():
                kinds.append(kind)
                nuclei[near][distance < size] = len(kinds)
                occupied[near] |= distance < size + 3
    return nuclei, kinds


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: Any) -> Any:
    """Return noise of mean 0 and variance 1, smoothed with a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


SAMPLES: dict[str, Callable[[], np.ndarray]] = {
    "photograph": photograph,
    "histology": histology,
    "volume": volume,
    "leaf": leaf,
    "phantom": phantom,
    "fluorescence": fluorescence,
}
"""The samples by name. The command line uses the first if it gets no image and no sample."""

_SPACE = {
    "volume": (VOLUME_SCALE, "micrometer"),
    "leaf": (LEAF_SCALE, "millimeter"),
    "phantom": (PHANTOM_SCALE, "millimeter"),
    "fluorescence": (FLUORESCENCE_SCALE, "micrometer"),
}
"""The distance of pixels along each axis of space, and its unit."""

_COLORS = ("#4466ff", "#22cc44", "#ff4433", "#dd44ee")
"""The display colors of the channels of the fluorescence image."""


def sample_picture(name: str) -> Picture:
    """Return a sample as an image with axes, pixel sizes, units and channels.

    Parameters
    ----------
    name : str
        A key of SAMPLES.
    """
    pixels = SAMPLES[name]()
    scale, unit = _SPACE.get(name, ((), ""))
    letters = "zyx"[3 - len(scale) :]
    space = [
        Axis(letter, unit=unit, scale=step) for letter, step in zip(letters, scale, strict=True)
    ]
    if name == "fluorescence":
        channels = map(Channel, FLUORESCENCE_CHANNELS, _COLORS)
        axes = (Axis("c", "channel"), *space)
        return Picture(pixels, rgb=False, channel_axis=0, axes=axes, channels=tuple(channels))
    rgb = pixels.shape[-1] == 3
    axes = (*space, Axis("c", "channel")) if rgb and space else tuple(space)
    return Picture(pixels, rgb=rgb, axes=axes)
