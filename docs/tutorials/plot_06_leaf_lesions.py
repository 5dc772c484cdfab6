"""
A leaf with lesions
===================

**Question:** what share of the leaf is diseased, and how many lesions are there?

**Data:** a scan of a leaf on white paper, with pixels of 0.2 mm. The scan is generated: exactly 6 %
of the leaf are lesions.
"""

# %%
# Open the sample.

import matplotlib.pyplot as plt
import numpy as np

from napari_kmeans import apply_classes, measure, segment, split_objects, suggest_n_clusters
from napari_kmeans.samples import LEAF_CLASSES, LEAF_SCALE, leaf, leaf_truth

image = leaf()

# %%
# You expect four colors: the paper, the green leaf, the brown lesions, and the yellow halo around
# them. Cluster in *lab*, in which brown and dark green are far apart.

segmentation = segment(image, 4, color_space="lab")

figure, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
axes[0].imshow(image)
axes[1].imshow(segmentation.recolored)
for each in axes:
    each.axis("off")
plt.show()

# %%
# Name the classes and ignore the paper, so that shares are of the leaf. Then measure. The table
# has areas in square millimeters.

classes = segmentation.model.classes
for label, name in LEAF_CLASSES.items():
    classes = classes.rename(label, name)
segmentation = apply_classes(segmentation, classes.ignore(4))

table = measure(segmentation, image, spacing=LEAF_SCALE, unit="mm")
print(table[["name", "pixels", "percent", "area", "unit"]].round(2).to_string(index=False))

# %%
# The share of the lesions is that of the sample, to a tenth of a percent.

found = table.set_index("name").loc["lesion", "percent"]
truth = leaf_truth()
true_percent = 100 * (truth == 1).sum() / (truth < 4).sum()
print(f"found {found:.2f} %, truth {true_percent:.2f} %")
assert abs(found - true_percent) < 0.1

# %%
# Count the lesions. ``scale`` gives their areas and centers in millimeters. Spots of fewer than
# 10 pixels (0.4 mm²) are noise.

lesions = split_objects(segmentation.labels == 1, min_size=10, scale=LEAF_SCALE)
areas = lesions.table["area"]
print(f"{len(areas)} lesions, of {areas.min():.1f} to {areas.max():.0f} mm²")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.imshow(image)
axes.contour(lesions.labels > 0, [0.5], colors="white", linewidths=1)
for number, lesion in lesions.table.iterrows():
    row, column = lesion["centroid 0"] / LEAF_SCALE[0], lesion["centroid 1"] / LEAF_SCALE[1]
    axes.annotate(number + 1, (column + 12, row - 12), color="white", fontsize=8)
axes.axis("off")
plt.show()

# %%
# Would another K do as well? Scores of several numbers of clusters are a help, and the picture
# decides.

suggestion = suggest_n_clusters(image, color_space="lab")
print("suggested number of clusters:", suggestion.n_clusters)

# %%
# In *rgb*, the halves of the green leaf differ more than brown and green do, so that four clusters
# do not separate the lesions.

in_rgb = segment(image, 4)
share = 100 * np.mean(in_rgb.labels[truth < 4] == 1)
print(f"the darkest cluster in rgb covers {share:.0f} % of the leaf")
assert share > 50

# %%
# In the dock
# -----------
#
# 1. Open *File ▸ Open Sample ▸ napari-kmeans ▸ Leaf with lesions (RGB, 6 % lesion)*.
# 2. Open *Layers ▸ Segment ▸ K-means segmentation*.
# 3. Set *Number of clusters* to 4 and *Color space* to *lab*. Press *Run*.
# 4. In the panel *Clusters*, name the clusters. Select the paper and press *Ignore*. The
#    list then has the shares of the leaf.
# 5. In the panel *Objects*, choose the lesions in the field *Clusters*, and press *Find objects*.
#
# Watch out
# ---------
#
# - Shadows beside the leaf look like dark tissue. Press the leaf flat, or use a mask.
# - Decide whether the yellow halo counts as diseased, and state it with the result.
# - Glare on a wet leaf is as bright as the paper. Scan with crossed polarizers.
