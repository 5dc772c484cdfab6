"""
Marker combinations in fluorescence
===================================

**Question:** how many cells have which combination of markers?

**Data:** nuclei of an embryonic cortex in four channels, DAPI and the markers PAX6, TBR2 and TBR1.
The image is generated, so the number of cells of each kind is known.

The same without code: :ref:`in the dock <markers-in-the-dock>`.
"""

# %%
# Open the sample. The channels are along the first axis.

import matplotlib.pyplot as plt
import numpy as np

from napari_kmeans import apply_classes, segment, split_objects
from napari_kmeans.samples import (
    FLUORESCENCE_CELLS,
    FLUORESCENCE_CHANNELS,
    FLUORESCENCE_SCALE,
    fluorescence,
)

image = fluorescence()
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for panel, channel, name in zip(
    axes, image, FLUORESCENCE_CHANNELS, strict=True
):
    panel.imshow(channel, cmap="gray")
    panel.set_title(name)
    panel.axis("off")
plt.show()

# %%
# Cluster the four values of each pixel together. ``normalize="percentile"`` gives each channel the
# same influence, whatever its gain. Six clusters are the background and five kinds of nuclei: K is
# the number of combinations that occur, plus one. ``smoothing`` and ``min_size`` clear the edges of
# nuclei, where half of the light is missing.

segmentation = segment(
    image,
    6,
    channel_axis=0,
    channel_names=FLUORESCENCE_CHANNELS,
    normalize="percentile",
    smoothing=1,
    min_size=30,
)
columns = [f"mean {name}" for name in FLUORESCENCE_CHANNELS]
means = segmentation.table.set_index("index")[columns]
print(means.round(0))

# %%
# A class has a marker if its mean is above the middle of the range of this channel. Name each class
# by its markers.

middle = (means.max() + means.min()) / 2
classes = segmentation.model.classes
names = {}
for label, row in (means > middle).iterrows():
    on = [name for name in FLUORESCENCE_CHANNELS if row[f"mean {name}"]]
    names[label] = " ".join(on[1:]) or ("no marker" if on else "background")
    classes = classes.rename(label, names[label])
segmentation = apply_classes(segmentation, classes)
for label, name in names.items():
    print(label, name)

# %%
# Split the classes into connected objects. Each object is a nucleus; objects of fewer than
# 60 pixels (15 µm²) are fragments.

objects = split_objects(
    segmentation.labels, min_size=60, scale=FLUORESCENCE_SCALE
)
nuclei = objects.table.assign(name=objects.table["cluster"].map(names))
nuclei = nuclei[nuclei["name"] != "background"]
summary = nuclei.groupby("name")["area"].agg(["size", "mean"])
titles = {"size": "cells", "mean": "mean area (µm²)"}
print(summary.rename(columns=titles).round(1))

# %%
# All cells of the sample are found, with their markers.

assert summary["size"].to_dict() == dict(FLUORESCENCE_CELLS)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 4.4), layout="constrained"
)
colors = plt.get_cmap("Set2")(np.arange(6))
colors[0] = (0, 0, 0, 1)
left.imshow(colors[segmentation.labels - 1], interpolation="none")
left.set_title("marker combinations")
left.axis("off")
color_of = {name: colors[label - 1] for label, name in names.items()}
bars = right.bar(
    summary.index,
    summary["size"],
    color=[color_of[name] for name in summary.index],
)
right.bar_label(bars)
right.set_ylabel("cells")
right.tick_params(axis="x", rotation=20)
plt.show()

# %%
# .. _markers-in-the-dock:
#
# In the dock
# -----------
#
# 1. Open *File ▸ Open Sample ▸ napari-kmeans ▸ Fluorescent nuclei (four channels, known cells)*.
#    It opens four layers.
# 2. Select the four layers in the layer list, and open *Layers ▸ Segment ▸ K-means segmentation*.
# 3. Check *All selected layers, as channels*. Set *Scale channels* to *percentile*, *Number of
#    clusters* to 6, *Smooth* to 1, and *Minimum size* to 30 px. Press *Run*.
# 4. In the panel *Clusters*, the mean of each channel is to the right of each cluster. Double-click
#    a name to edit it. Select the background and press *Ignore*.
# 5. Open the panel *Objects*, set its *Minimum size* to 60, and press *Find objects*.
#
# Watch out
# ---------
#
# - Nuclei that touch are one object. Separate them first, for example with a nucleus detector, and
#   give its labels to ``measure(regions=…)``.
# - Scale the channels. Without it, the brightest channel decides: here, K-means on the values as
#   they are takes the dim edges of nuclei for a class of their own.
# - Light from another channel looks like a weak marker. Correct it before you cluster.
# - A rare combination may need a larger K, or *Rare colors*.
