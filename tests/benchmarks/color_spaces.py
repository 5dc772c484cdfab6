"""Compare color spaces and numbers of clusters on images with a known answer.

    python tests/benchmarks/color_spaces.py

In each image, the pixels of one or two objects are known. The Jaccard index of two regions
is the number of pixels in both, divided by the number in either; 1 is perfect. Two indices
are computed for each object: that of the best union of clusters, and that of the best
single cluster, which needs no merging by hand.

The answers favor no color space: the images are made here from reflectances under an uneven
light, from stains by the law of Beer and Lambert, or from counted photons, so that their
objects are known exactly. Only the two answers of the real photograph are computed from its
colors: they are stains, separated by color deconvolution and Otsu's threshold.

A figure of an image is the median over the seeds, and the mean over its objects. Each seed
makes another image. The sign test counts the images in which one space is better than
another by more than 0.005.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest

from napari_kmeans import segment

SPACES = ("rgb", "hsv", "lab")
NUMBERS = (3, 4, 5, 6, 8, 12)
SEEDS = range(5)
SIDE = 320
TIE = 0.005


def main():
    scores, seconds = zip(*(scores_of(name) for name in IMAGES), strict=True)
    # images, numbers, spaces, (best union, best single cluster)
    scores = np.array(scores)
    for kind, title in enumerate(("best union of clusters", "best single cluster")):
        for number, n_clusters in enumerate(NUMBERS):
            print_table(f"{title}, K = {n_clusters}", scores[:, number, :, kind])
        print_table(f"{title}, median over K", np.median(scores[..., kind], axis=1))
        print(f"{title}, median over the images, by K:")
        for n_clusters, row in zip(NUMBERS, np.median(scores[..., kind], axis=0), strict=True):
            print(f"{n_clusters:>4}" + "".join(f"{score:8.3f}" for score in row))
        print()
    print("seconds of a run, relative to rgb:", np.mean(seconds, axis=0) / np.mean(seconds, 0)[0])


def print_table(title, scores):
    print(f"{title:<42}" + "".join(f"{space:>8}" for space in SPACES))
    for name, row in zip(IMAGES, scores, strict=True):
        print(f"{name:<42}" + "".join(f"{score:8.3f}" for score in row))
    for name, average in (("mean", np.mean), ("median", np.median)):
        print(f"{name:<42}" + "".join(f"{score:8.3f}" for score in average(scores, axis=0)))
    for first, second in ((2, 0), (1, 0), (2, 1)):
        difference = scores[:, first] - scores[:, second]
        better, worse = int((difference > TIE).sum()), int((difference < -TIE).sum())
        p = binomtest(better, better + worse).pvalue if better + worse else 1.0
        pair = f"{SPACES[first]} against {SPACES[second]}"
        print(f"{pair:<20}better {better:2}, worse {worse:2}, p = {p:.3f}")
    print(flush=True)


def scores_of(name):
    """Return the scores of an image, (numbers, spaces, 2), and the seconds of each space."""
    all_scores, seconds = [], np.zeros(len(SPACES))
    for seed in SEEDS:
        image, objects = IMAGES[name](np.random.default_rng(seed))
        scores = np.empty((len(NUMBERS), len(SPACES), 2))
        for number, n_clusters in enumerate(NUMBERS):
            for space, color_space in enumerate(SPACES):
                start = time.perf_counter()
                seg = segment(image, n_clusters, color_space=color_space, random_state=seed)
                seconds[space] += time.perf_counter() - start
                scores[number, space] = np.mean(
                    [best_jaccard(seg.labels, truth, n_clusters) for truth in objects], axis=0
                )
        all_scores.append(scores)
    return np.median(all_scores, axis=0), seconds


def best_jaccard(labels, truth, n_clusters):
    """Return the Jaccard index of the best union of clusters, and of the best cluster."""
    inside = np.bincount(labels[truth], minlength=n_clusters + 1)
    outside = np.bincount(labels[~truth], minlength=n_clusters + 1)
    single = inside / (truth.sum() + outside)
    # The best union consists of the clusters with the largest shares of the object, because
    # the index is a ratio of two sums over the clusters.
    order = np.argsort(-inside / np.maximum(inside + outside, 1), kind="stable")
    both, either = np.cumsum(inside[order]), truth.sum() + np.cumsum(outside[order])
    return (both / either).max(), single.max()


# ------------------------------------------------------------- a real photograph


def stained_tissue(_rng):
    """Colonic glands in hematoxylin and DAB. The seeds change only the fit."""
    from skimage.color import rgb2hed
    from skimage.data import immunohistochemistry
    from skimage.filters import threshold_otsu

    image = immunohistochemistry()
    stains = rgb2hed(image)
    return image, [stains[..., n] > threshold_otsu(stains[..., n]) for n in (0, 2)]


# ------------------------------------------------------------- stains in tissue


def hematoxylin_eosin(rng):
    """Nuclei in pink tissue, beside empty glass."""
    tissue = smooth_noise(rng, 35) > -0.8
    nuclei = disks(rng, 80, 5, 9) & tissue
    eosin = 0.5 * tissue * (1 + 0.4 * smooth_noise(rng, 13))
    hematoxylin = (0.12 * tissue + 0.9 * nuclei) * (1 + 0.25 * smooth_noise(rng, 5))
    return stained(rng, (hematoxylin, eosin), ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))), [nuclei]


def brown_nuclei(rng):
    """Blue nuclei, of which some are brown as well and touch the blue nuclei."""
    blue, brown = disks(rng, 70, 6, 10), disks(rng, 35, 6, 10)
    vary = 1 + 0.25 * smooth_noise(rng, 8)
    hematoxylin = (0.1 + 0.7 * blue + 0.3 * brown) * vary
    dab = (0.05 + 0.9 * brown) * vary
    return stained(rng, (hematoxylin, dab), ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))), [brown]


def trichrome(rng):
    """Blue collagen between red muscle fibers, with dark nuclei."""
    collagen = np.abs(smooth_noise(rng, 14)) < 0.35
    nuclei = disks(rng, 60, 3, 5)
    muscle = ~collagen
    vary = 1 + 0.3 * smooth_noise(rng, 10)
    densities = (0.7 * collagen * vary, 0.8 * muscle * vary, 0.9 * nuclei)
    colors = ((0.80, 0.59, 0.10), (0.10, 0.75, 0.65), (0.65, 0.70, 0.29))
    return stained(rng, densities, colors), [collagen & ~nuclei, nuclei]


# ---------------------------------------------- reflectances under an uneven light


def leaf(rng):
    """A green leaf with brown lesions on gray paper, lit from one side."""
    y, x = grid()
    shape = (x / 0.85) ** 2 + (y / 0.55) ** 2 < 1 + 0.1 * np.sin(9 * np.arctan2(y, x))
    lesions = disks(rng, 25, 4, 12) & shape
    colors = painted((190, 190, 185), (shape, (70, 120, 45)), (lesions, (120, 85, 45)))
    light = 1 + 0.7 * x + 0.2 * smooth_noise(rng, 20)
    return photographed(rng, colors, light), [shape, lesions]


def yellow_leaf(rng):
    """A leaf with veins whose parts turn yellow gradually; the yellow parts are the object."""
    y, x = grid()
    shape = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    yellowing = smooth_noise(rng, 25)
    share = np.clip(0.5 + yellowing * 2, 0, 1)[..., None]
    green, yellow = linear((60, 115, 40)), linear((190, 175, 60))
    colors = np.where(shape[..., None], share * yellow + (1 - share) * green, linear((25, 25, 30)))
    veins = shape & (np.abs(y - 0.3 * np.sin(14 * x) * y) < 0.012)
    colors[veins] = linear((150, 165, 110))
    light = 1 + 0.4 * y + 0.15 * smooth_noise(rng, 20)
    return photographed(rng, colors, light), [shape & (yellowing > 0) & ~veins]


def canopy(rng):
    """Plants on brown soil, with shadows of the plants on the soil."""
    plants = smooth_noise(rng, 7) > 0.7
    shadows = np.roll(plants, (6, 8), (0, 1)) & ~plants
    texture = np.exp(0.2 * smooth_noise(rng, 1.5))
    colors = painted((125, 98, 75), (plants, (85, 130, 55))) * texture[..., None]
    return photographed(rng, colors, np.where(shadows, 0.25, 1.0)), [plants]


def tomatoes(rng):
    """Shaded spheres, red and green, before dark leaves; the red ones are the object."""
    colors = painted((40, 70, 35), (smooth_noise(rng, 9) > 0.3, (75, 105, 60)))
    light, ripe = np.ones((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number, (row, column, radius) in enumerate(places(rng, 26, 14, 26)):
        v, u = (y - row) / radius, (x - column) / radius
        sphere = u**2 + v**2 < 1
        normal = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
        light[sphere] = (0.15 + np.clip(0.7 * normal - 0.5 * v - 0.3 * u, 0, None))[sphere]
        ripe[sphere] = number % 2
        colors[sphere] = linear((190, 45, 35) if number % 2 else (120, 150, 60))
    return photographed(rng, colors, light), [ripe]


def colonies(rng):
    """Blue and white colonies on a plate of agar, with dark corners."""
    y, x = grid()
    plate = x**2 + y**2 < 0.95
    white, blue = disks(rng, 70, 3, 7) & plate, disks(rng, 50, 3, 7) & plate
    colors = painted((60, 60, 62), (plate, (200, 185, 140)), (white, (228, 222, 200)))
    colors[blue] = linear((70, 110, 160))
    return photographed(rng, colors, 1 - 0.45 * (x**2 + y**2)), [blue, white & ~blue]


def skin_mole(rng):
    """A brown mole on skin, with hairs and a dark rim."""
    y, x = grid()
    radius = 0.45 + 0.05 * np.sin(5 * np.arctan2(y, x) + rng.uniform(0, 6))
    mole = np.hypot(x, y) < radius
    skin = linear((215, 165, 140)) * np.exp(0.08 * smooth_noise(rng, 6))[..., None]
    brown = linear((125, 80, 60)) * np.exp(0.25 * smooth_noise(rng, 9))[..., None]
    colors = np.where(mole[..., None], brown, skin)
    hairs = np.zeros_like(mole)
    for angle, offset in rng.uniform((0, -0.9), (np.pi, 0.9), (14, 2)):
        hairs |= np.abs(x * np.cos(angle) + y * np.sin(angle) - offset + 0.1 * x * y) < 0.006
    colors[hairs] = linear((50, 38, 32))
    return photographed(rng, colors, 1.05 - 0.5 * (x**2 + y**2)), [mole & ~hairs]


def color_chart(rng):
    """The 24 patches of a color chart, painted in the published sRGB values, under a lamp."""
    size = SIDE // 6
    patches = rng.permutation(24).reshape(4, 6)
    cells = np.kron(patches, np.ones((size, size), int))
    margins = (SIDE - 4 * size) // 2, (SIDE - 6 * size) // 2
    frame = np.pad(cells, [(margin, margin) for margin in margins], constant_values=24)
    colors = linear(np.array([*CHART, (40, 40, 40)]))[frame]
    lamp = 1 + 0.35 * np.linspace(-1, 1, frame.shape[1])[None] + np.zeros(frame.shape)
    # Orange, orange yellow and yellow; purplish blue, blue and cyan; grays without white.
    groups = ((6, 11, 15), (7, 12, 17), (19, 20, 21, 22))
    return photographed(rng, colors, lamp), [np.isin(frame, group) for group in groups]


CHART = (
    *((115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177)),
    *((103, 189, 170), (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108)),
    *((157, 188, 64), (224, 163, 46), (56, 61, 150), (70, 148, 73), (175, 54, 60)),
    *((231, 199, 31), (187, 86, 149), (8, 133, 161), (243, 243, 242), (200, 200, 200)),
    *((160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52)),
)
"""The sRGB values of the patches of the ColorChecker, row by row."""


def painted_disks(rng):
    """Disks of four paints on gray, with strong shading; one paint is the object."""
    colors = np.broadcast_to(linear((150, 150, 150)), (SIDE, SIDE, 3)).copy()
    red = np.zeros((SIDE, SIDE), bool)
    for paint in ((180, 60, 60), (60, 90, 170), (200, 180, 60), (110, 60, 130)):
        found = disks(rng, 12, 11, 18)
        colors[found] = linear(paint)
        red = found if paint == (180, 60, 60) else red & ~found
    return photographed(rng, colors, 1 + 0.75 * np.linspace(-1, 1, SIDE)[:, None]), [red]


# --------------------------------------------------- phantoms and counted photons


def phantom(rng):
    """Nested ellipses in dull colors with a bias field, as in a composite of three scans."""
    y, x = grid()
    values = np.full((SIDE, SIDE, 3), 12.0)
    skull, brain = ellipse(x, y, 0, 0, 0.8, 0.92), ellipse(x, y, 0, 0, 0.72, 0.84)
    values[skull], values[brain] = (150, 160, 140), (95, 105, 120)
    ventricles = ellipse(x, y, -0.22, 0.05, 0.12, 0.3) | ellipse(x, y, 0.22, 0.05, 0.12, 0.3)
    values[ventricles] = 60, 60, 125
    tumors = np.zeros_like(brain)
    for _ in range(6):
        u, v = rng.uniform((-0.45, -0.6), (0.45, 0.6))
        tumors |= ellipse(x, y, u, v, *rng.uniform(0.06, 0.13, 2))
    tumors &= brain & ~ventricles
    values[tumors] = 130, 95, 100
    values *= (1 + 0.2 * x + 0.1 * smooth_noise(rng, 60))[..., None]
    return as_bytes(values + rng.normal(0, 7, values.shape)), [tumors, ventricles]


def touching_nuclei(rng):
    """A composite of blue nuclei, green cytoplasm and red spots; the noise is that of photons."""
    nuclei, cytoplasm = disks(rng, 60, 9, 13), smooth_noise(rng, 15) > -0.2
    spots = disks(rng, 140, 2, 3) & cytoplasm
    return fluorescence(
        rng, (spots, (130, 0, 0)), (cytoplasm, (0, 70, 0)), (nuclei, (0, 0, 120))
    ), [nuclei, spots]


def bleeding_channels(rng):
    """Red and green cells that overlap on nuclei, with bleed-through between the channels."""
    red, green, nuclei = disks(rng, 25, 12, 20), disks(rng, 25, 12, 20), disks(rng, 40, 7, 9)
    picture = fluorescence(
        rng, (red, (110, 25, 0)), (green, (20, 100, 10)), (nuclei, (10, 20, 110))
    )
    return picture, [red & green, nuclei]


def fluorescence(rng, *signals):
    photons = np.full((SIDE, SIDE, 3), (8.0, 8, 10))
    for region, color in signals:
        vary = (1 + 0.3 * smooth_noise(rng, 8)).clip(0.3)
        # Light from out of focus surrounds each object.
        signal = 0.85 * gaussian_filter(region * 1.0, 1) + 0.15 * gaussian_filter(region * 1.0, 8)
        photons += (vary * signal)[..., None] * color
    return as_bytes(4 * rng.poisson(photons / 4))


IMAGES = {
    "photograph of blue and brown stains": stained_tissue,
    "hematoxylin and eosin: nuclei": hematoxylin_eosin,
    "immunohistochemistry: brown nuclei": brown_nuclei,
    "trichrome: collagen, nuclei": trichrome,
    "leaf, lesions": leaf,
    "leaf: yellow parts": yellow_leaf,
    "canopy on soil": canopy,
    "tomatoes: ripe": tomatoes,
    "colonies: blue, white": colonies,
    "mole on skin": skin_mole,
    "color chart: yellows, blues, grays": color_chart,
    "shaded disks: red": painted_disks,
    "phantom: tumors, ventricles": phantom,
    "fluorescence: nuclei, spots": touching_nuclei,
    "fluorescence: overlap, nuclei": bleeding_channels,
}

# ------------------------------------------------------------------------- parts


def linear(color):
    """Return the linear light of sRGB values from 0 to 255."""
    share = np.asarray(color, float) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def photographed(rng, reflectances, light):
    """Return the sRGB image of reflectances under a light, with the noise of a sensor."""
    photons = 3000 * (reflectances * np.clip(light, 0.03, None)[..., None]).clip(0)
    measured = (rng.poisson(photons) + rng.normal(0, 6, photons.shape)).clip(0) / 3000
    encoded = np.where(
        measured <= 0.0031308, 12.92 * measured, 1.055 * measured ** (1 / 2.4) - 0.055
    )
    return as_bytes(255 * encoded)


def stained(rng, densities, colors):
    """Return the image of stains on a white lamp, whose optical densities add up."""
    absorbed = np.tensordot(np.array(densities).clip(0), np.array(colors), axes=(0, 0))
    values = 245 * np.exp(-absorbed)
    return as_bytes(gaussian_filter(values, (0.7, 0.7, 0)) + rng.normal(0, 5, values.shape))


def painted(background, *regions):
    colors = np.broadcast_to(linear(background), (SIDE, SIDE, 3)).copy()
    for region, color in regions:
        colors[region] = linear(color)
    return colors


def as_bytes(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def grid():
    return np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]


def ellipse(x, y, u, v, a, b):
    return ((x - u) / a) ** 2 + ((y - v) / b) ** 2 < 1


def smooth_noise(rng, sigma):
    noise = gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def places(rng, count, smallest, largest):
    return rng.uniform((0, 0, smallest), (SIDE, SIDE, largest), (count, 3))


def disks(rng, count, smallest, largest):
    y, x = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((SIDE, SIDE), bool)
    for row, column, radius in places(rng, count, smallest, largest):
        found |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    return found


if __name__ == "__main__":
    main()
