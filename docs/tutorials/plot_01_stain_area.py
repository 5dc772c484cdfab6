"""
Stain area on histology
=======================

**Question:** what share of the tissue is stained brown?

**Data:** colonic glands, stained with DAB (brown, the protein FHL2) and hematoxylin (blue, all
nuclei). The image comes with scikit-image: 512 by 512 pixels, 8-bit RGB.

The same without code: :ref:`in the dock <stain-area-in-the-dock>`.
"""

# %%
# Open the image. Any array of the shape (rows, columns, 3) works in the same way, and
# ``napari_kmeans.files.read_image`` reads files.

import matplotlib.pyplot as plt

from napari_kmeans import apply_classes, measure, segment
from napari_kmeans.samples import histology

image = histology()

# %%
# Find four clusters of color. In the color space *lab*, equal distances look about equally
# different, which suits stains. ``smoothing=1`` removes speckles of single pixels.

segmentation = segment(image, 4, color_space="lab", smoothing=1)
print(segmentation.table.round(1).to_string(index=False))

# %%
# The clusters are numbered from dark to bright, and the column ``color`` of the table shows them.
# Clusters 1 and 2 are dark and light brown, 3 is blue, and 4 is pale. Merge the two browns, name
# the classes, and ignore the pale parts: an ignored class keeps its label, but does not count in
# the shares.

classes = segmentation.model.classes.merge([1, 2])
classes = (
    classes.rename(1, "brown").rename(3, "blue").rename(4, "pale").ignore(4)
)
segmentation = apply_classes(segmentation, classes)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("image")
axes[1].imshow(segmentation.recolored)
axes[1].set_title("mean colors of the classes")
axes[2].imshow(segmentation.labels == 1, cmap="gray_r", interpolation="none")
axes[2].set_title("brown")
for each in axes:
    each.axis("off")
plt.show()

# %%
# Measure the classes. ``percent`` is of the pixels of all classes that are not ignored, so here of
# the stained tissue. With ``spacing`` the table has areas: 0.5 µm is an example, so use the pixel
# size of your microscope.

table = measure(segmentation, image, spacing=0.5, unit="µm")
columns = ["name", "pixels", "percent", "area", "unit"]
print(table[columns].round(1).to_string(index=False))

brown = table.set_index("name").loc["brown", "percent"]
print(f"{brown:.1f} % of the stained tissue is brown.")

# %%
# Check the result with another method: separate the stains by color deconvolution, and compare the
# brown stain inside and outside of the class *brown*.

from skimage.color import rgb2hed

dab = rgb2hed(image)[..., 2]
is_brown = segmentation.labels == 1
print(
    f"mean DAB in brown: {dab[is_brown].mean():.3f}, "
    f"elsewhere: {dab[~is_brown].mean():.3f}"
)
assert dab[is_brown].mean() > 2 * dab[~is_brown].mean()

# %%
# .. _stain-area-in-the-dock:
#
# In the dock
# -----------
#
# 1. Open *File ▸ Open Sample ▸ napari-kmeans ▸ Stained histology (RGB)*.
# 2. Open *Layers ▸ Segment ▸ K-means segmentation*.
# 3. Set *Number of clusters* to 4, *Color space* to *lab* and *Smooth* to 1. Press *Run*.
# 4. In the panel *Clusters*, select the two browns and press *Merge*. Double-click a name to edit
#    it. Select the pale cluster and press *Ignore*.
# 5. Open the panel *Measure* and press *Measure*.
#
# Watch out
# ---------
#
# - The share depends on what counts as tissue. Decide on the ignored classes before you compare
#   groups, and use the same model for all images: see the tutorial on cohorts.
# - DAB does not follow the law of Beer and Lambert. Its area can be measured, but its darkness is
#   no amount of protein.
# - With three clusters, light brown and blue share one. Ask for more clusters than stains, and
#   merge those that belong together.
