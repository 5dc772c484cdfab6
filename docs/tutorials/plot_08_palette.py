"""
A palette for a figure
======================

**Question:** which few colors represent a picture, and how do I use them in a figure?

**Data:** a photograph of a cup of coffee, 600 by 400 pixels. It comes with scikit-image.

The same without code: :ref:`in the dock <palette-in-the-dock>`.
"""

# %%
# Find eight colors. In *lab*, equal distances look about equally different.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from napari_kmeans import merge_similar, plot_palette, segment
from napari_kmeans.samples import histology, photograph

image = photograph()
segmentation = segment(image, 8, color_space="lab")

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.2), layout="constrained"
)
left.imshow(image)
left.set_title(f"{len(np.unique(image.reshape(-1, 3), axis=0)):,} colors")
right.imshow(segmentation.recolored)
right.set_title("8 colors")
left.axis("off")
right.axis("off")
plt.show()

# %%
# ``plot_palette`` draws the colors and their shares. Save the figure for your paper in any format
# of matplotlib, such as SVG.

folder = TemporaryDirectory()
picture = Path(folder.name) / "palette.png"
plot_palette(segmentation).savefig(picture)
plot_palette(segmentation).savefig(picture.with_suffix(".svg"))

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.imshow(plt.imread(picture))
axes.axis("off")
plt.show()

# %%
# Merge colors that look alike. The distance is CIEDE2000: 2 is just visible between neighboring
# areas, and black and white are 100 apart.

merged = merge_similar(segmentation, distance=15)
palette = merged.table["color"].tolist()
print(f"{len(palette)} colors:", *palette)
assert len(palette) < 8

# %%
# Use the palette in your own figure: the column ``color`` has the codes.

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
bars = axes.barh(palette, merged.table["percent"], color=palette)
axes.bar_label(bars, fmt="%.0f %%", padding=3)
axes.margins(x=0.1)
axes.set_xlabel("share of the picture (%)")
plt.show()

# %%
# Common colors win. ``balance`` gives rare colors more weight, so that a color of few pixels gets a
# cluster of its own. The table still counts every pixel once.

rare = segment(image, 8, color_space="lab", balance=0.5)
print("plain:   ", *segmentation.table["color"])
print("balanced:", *rare.table["color"])
smallest = [each.table["percent"].min() for each in (segmentation, rare)]
print(
    "smallest cluster: {:.2f} % and {:.2f} % of the pixels".format(*smallest)
)
assert smallest[1] < smallest[0]

# %%
# The other way round: show an image in colors that are given, such as those of a print. ``init``
# has the colors in the units of the channels, and ``keep_init=True`` keeps them as the centers. The
# recolored image has the mean colors of the pixels. ``starts`` has the row of ``init`` for each
# label, so that you can paint the given colors themselves.

given = ["#4a2511", "#a8713a", "#7d86b0", "#d9c7b0", "#f7f3ee"]
colors = 255 * np.array([to_rgb(each) for each in given])
fixed = segment(histology(), len(given), init=colors, keep_init=True)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(8, 4), layout="constrained"
)
left.imshow(histology())
right.imshow(colors.astype(np.uint8)[fixed.starts][fixed.labels - 1])
left.axis("off")
right.axis("off")
plt.show()
folder.cleanup()

# %%
# .. _palette-in-the-dock:
#
# In the dock
# -----------
#
# 1. Open *File ▸ Open Sample ▸ napari-kmeans ▸ Color photograph (coffee)*.
# 2. Open *Layers ▸ Segment ▸ K-means segmentation*, set *Number of clusters* to 8 and *Color space*
#    to *lab*, and press *Run*. The recolored layer is hidden below the labels: click its eye.
# 3. In the panel *Merge similar*, move *Color distance*.
# 4. In the panel *Save and copy*, *Figure…* saves the palette, and *Table…* its codes.
# 5. *Rare colors* is under *More options*. To give colors, mark them with points in a Points layer,
#    choose this layer in *Start from*, and check *Keep my colors*.
#
# Watch out
# ---------
#
# - Neighboring colors of a palette should differ in brightness as well, for readers who do not see
#   all colors, and for print without color.
# - The colors are those of the file. A photograph with a color profile other than sRGB looks
#   different in a figure: convert it first.
# - A palette is for categories. Use a colormap of matplotlib for numbers.
