"""Compare color spaces and numbers of clusters on images with a known answer.

    python tests/benchmarks/color_spaces.py

For each image, the pixels of one object are known. The union of clusters that agrees best
with them is found, and its Jaccard index is printed: the number of pixels in both, divided
by the number in either. 1 is perfect. The figures are medians of five seeds.

Two answers are masks of stains in scikit-image's photograph of a stained tissue, separated
by color deconvolution and Otsu's threshold. The other images are made here, so that their
answers are exact; they have shading and noise.
"""

from __future__ import annotations

import numpy as np

from napari_kmeans import segment

SPACES = ("rgb", "hsv", "lab")
NUMBERS = (3, 4, 5, 6, 8, 12)
SEEDS = range(5)
SIDE = 384


def main():
    spaces = "".join(f"{space:>8}" for space in SPACES)
    scores = {name: jaccard_of(image, truth) for name, image, truth in all_images()}
    for number, n_clusters in enumerate(NUMBERS):
        print(f"{n_clusters} clusters{'':11}{spaces}")
        for name, table in scores.items():
            print(f"{name:<20}" + "".join(f"{score:8.3f}" for score in table[number]))
        mean = np.mean([table[number] for table in scores.values()], axis=0)
        print(f"{'mean':<20}" + "".join(f"{score:8.3f}" for score in mean) + "\n")


def jaccard_of(image, truth):
    """Return the medians over the seeds, (numbers, spaces)."""
    return [
        [
            np.median([best_jaccard(image, truth, n_clusters, space, seed) for seed in SEEDS])
            for space in SPACES
        ]
        for n_clusters in NUMBERS
    ]


def best_jaccard(image, truth, n_clusters, space, seed):
    seg = segment(image, n_clusters, color_space=space, random_state=seed)
    inside = np.bincount(seg.labels[truth], minlength=n_clusters + 1)
    outside = np.bincount(seg.labels[~truth], minlength=n_clusters + 1)
    # The best union consists of the clusters with the largest shares of the object, because
    # the index is a ratio of two sums over the clusters.
    order = np.argsort(-inside / np.maximum(inside + outside, 1), kind="stable")
    both, either = np.cumsum(inside[order]), truth.sum() + np.cumsum(outside[order])
    return (both / either).max()


def all_images():
    yield from stained_tissue()
    yield from made_tissue()
    yield from made_leaf()
    yield from made_fluorescence()
    yield from shaded_disks()


def stained_tissue():
    from skimage.color import rgb2hed
    from skimage.data import immunohistochemistry
    from skimage.filters import threshold_otsu

    image = immunohistochemistry()
    stains = rgb2hed(image)
    for name, channel in (("tissue: blue nuclei", 0), ("tissue: brown stain", 2)):
        yield name, image, stains[..., channel] > threshold_otsu(stains[..., channel])


def made_tissue():
    """Nuclei in tissue, stained with hematoxylin and eosin, by the law of Beer and Lambert."""
    rng = np.random.default_rng(1)
    tissue = smooth_noise(rng, 40) > -0.8
    nuclei = disks(rng, 90, 5, 9) & tissue
    densities = np.stack([0.15 + 0.9 * nuclei, 0.5 * tissue * (1 + 0.4 * smooth_noise(rng, 15))])
    densities[0] *= 1 + 0.25 * smooth_noise(rng, 6)
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    image = 245 * np.exp(-np.tensordot(densities.clip(0), stains, axes=(0, 0)))
    yield "H&E: nuclei", photograph_of(rng, image, 5), nuclei


def made_leaf():
    """A green leaf with brown lesions on gray paper, lit from one side."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    leaf = (x / 0.85) ** 2 + (y / 0.55) ** 2 < 1 + 0.1 * np.sin(9 * np.arctan2(y, x))
    lesions = disks(rng, 25, 5, 14) & leaf
    image = np.where(leaf[..., None], (70.0, 120, 45), (190, 190, 185))
    image[lesions] = 120, 85, 45
    image *= (1 + 0.45 * x + 0.12 * smooth_noise(rng, 25))[..., None]
    picture = photograph_of(rng, image, 6)
    yield "leaf", picture, leaf
    yield "lesions of a leaf", picture, lesions


def made_fluorescence():
    """Blue nuclei, green cytoplasm and red spots; photons are counted, so noise is Poisson."""
    rng = np.random.default_rng(3)
    nuclei, cytoplasm = disks(rng, 40, 10, 14), smooth_noise(rng, 18) > -0.2
    spots = disks(rng, 200, 2, 3) & cytoplasm
    image = np.full((SIDE, SIDE, 3), (8.0, 8, 10))
    image[cytoplasm] += 0, 70, 0
    image[nuclei] += 0, 0, 120
    image[spots] += 130, 0, 0
    image *= (1 + 0.3 * smooth_noise(rng, 30).clip(-2, 2))[..., None].clip(0.3)
    picture = rng.poisson(image.clip(0) / 4).clip(0, 63).astype(np.uint8) * np.uint8(4)
    yield "fluorescence: nuclei", picture, nuclei
    yield "fluorescence: spots", picture, spots


def shaded_disks():
    """Disks of four colors with strong shading; one color is the answer."""
    rng = np.random.default_rng(4)
    image = np.full((SIDE, SIDE, 3), 150.0)
    truth = np.zeros((SIDE, SIDE), bool)
    for number, color in enumerate([(180, 60, 60), (60, 90, 170), (200, 180, 60), (110, 60, 130)]):
        found = disks(rng, 15, 12, 20)
        image[found] = color
        truth = found if not number else truth & ~found
    image *= (1 + 0.5 * np.linspace(-1, 1, SIDE))[:, None, None]
    yield "shaded red disks", photograph_of(rng, image, 6), truth


def photograph_of(rng, image, noise):
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def smooth_noise(rng, sigma):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
    return noise / noise.std()


def disks(rng, count, smallest, largest):
    y, x = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((SIDE, SIDE), bool)
    for row, column, radius in rng.uniform((0, 0, smallest), (SIDE, SIDE, largest), (count, 3)):
        found |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    return found


if __name__ == "__main__":
    main()
