"""
A volume with anisotropic voxels
================================

**Question:** what are the volumes of the tissues, where the planes are farther apart than the
pixels?

**Data:** a generated magnetic resonance image of a head. The planes are 4 mm apart and the pixels
1.5 mm. The tissue of each voxel is known.

The same without code: :ref:`in the dock <volume-in-the-dock>`.
"""

# %%
# Open the sample and its voxel size. The image is noisy: the noise is a fifth of the difference
# between gray and white matter.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from napari_kmeans import apply_classes, measure, segment
from napari_kmeans.samples import (
    PHANTOM_CLASSES,
    PHANTOM_SCALE,
    phantom,
    phantom_truth,
)

image = phantom()
print(image.shape, image.dtype, "voxels of", PHANTOM_SCALE, "mm")

# %%
# Cluster the volume twice: each voxel by its own gray value, and with smoothing. ``spacing`` is the
# distance of the voxels. Neighbors in the next plane are farther away, so they count less.
# The clusters are numbered from dark to bright, as the tissues are.

plain = segment(image, 5)
smooth = segment(image, 5, smoothing=1, spacing=PHANTOM_SCALE)

truth = phantom_truth()
for name, segmentation in {"plain": plain, "smooth": smooth}.items():
    right = 100 * (segmentation.labels == truth).mean()
    print(f"{name}: {right:.2f} % of the voxels are right")

# %%
# Look along two axes. The pixels of the lower pictures are drawn with their true height.

figure, axes = plt.subplots(
    2, 3, figsize=(10, 6.6), height_ratios=(1.3, 1), layout="constrained"
)
pictures = {
    "image": image,
    "plain": plain.labels,
    "smoothing with spacing": smooth.labels,
}
for column, (name, volume) in enumerate(pictures.items()):
    cmap = "gray" if volume is image else "viridis"
    axes[0, column].imshow(volume[20], cmap=cmap, interpolation="none")
    aspect = PHANTOM_SCALE[0] / PHANTOM_SCALE[2]
    axes[1, column].imshow(
        volume[:, 70],
        cmap=cmap,
        aspect=aspect,
        origin="lower",
        interpolation="none",
    )
    axes[0, column].set_title(name)
for each in axes.flat:
    each.axis("off")
plt.show()

# %%
# Name the classes, and measure. ``measure`` needs the distance of the voxels too: the table then
# has volumes. A thousand cubic millimeters are a milliliter.

classes = smooth.model.classes
for label, name in PHANTOM_CLASSES.items():
    classes = classes.rename(label, name)
smooth = apply_classes(smooth, classes.ignore(1))

milliliters = np.prod(PHANTOM_SCALE) / 1000
volumes = pd.DataFrame({"tissue": list(PHANTOM_CLASSES.values())})
volumes["plain"] = plain.table["pixels"] * milliliters
volumes["smooth"] = (
    measure(smooth, image, spacing=PHANTOM_SCALE, unit="mm")["volume"] / 1000
)
volumes["truth"] = np.bincount(truth.ravel())[1:] * milliliters
print(volumes.round(0).to_string(index=False))

errors = (volumes["smooth"] / volumes["truth"] - 1).abs()
print(f"largest error with smoothing: {100 * errors.max():.1f} %")
assert errors.max() < 0.02

# %%
# .. _volume-in-the-dock:
#
# In the dock
# -----------
#
# 1. Open *File ▸ Open Sample ▸ napari-kmeans ▸ Head phantom (16-bit, 3-D, known volumes)*. The
#    layer has the voxel size, and the dock and the tables use it.
# 2. Open *Layers ▸ Segment ▸ K-means segmentation*.
# 3. Set *Stack* to *whole stack*, *Number of clusters* to 5 and *Smooth* to 1. Press *Run*.
# 4. The panel *Clusters* lists the volumes. The panel *Measure* makes a table of them.
#
# Watch out
# ---------
#
# - Check the scale of your layer: a file without a voxel size opens with voxels of one pixel, and
#   smoothing then takes all neighbors for equally near. In Python, state ``spacing``.
# - More smoothing is not better. With ``smoothing=2``, the thin sheets of fluid between the folds
#   disappear: compare a thin structure before and after.
# - Real images have voxels of two tissues at each border, and brightness that changes across the
#   head. Correct the brightness first, and exclude the scalp with a mask.
