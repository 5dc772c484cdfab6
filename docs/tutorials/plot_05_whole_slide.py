"""
A whole slide
=============

**Question:** where on a slide is how much stain, if the slide does not fit into memory?

**Data:** a pyramid of resolutions in a file, as slide scanners write it. This one is an OME-Zarr
image of 1536 by 1536 pixels, made of a stained tissue. The same lines work on gigapixels.

The same without code: :ref:`in the dock <slide-in-the-dock>`.
"""

# %%
# Write the slide: pixels of 0.5 µm, in chunks, and two coarser levels.

from pathlib import Path
from tempfile import TemporaryDirectory

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import zarr

from napari_kmeans import apply_classes, grid_regions, measure, segment
from napari_kmeans.files import read_image
from napari_kmeans.samples import histology

tissue = np.pad(histology(), ((0, 1024), (0, 1024), (0, 0)), mode="symmetric")
y, x = np.indices(tissue.shape[:2])
edge = 680 + 60 * np.sin(y / 150) * np.cos(x / 200)
paper = np.hypot(y - 760, (x - 700) * 0.9) > edge
tissue[paper] = (241, 240, 243)

folder = TemporaryDirectory()
path = Path(folder.name) / "slide.zarr"
group = zarr.open_group(path, mode="w")
axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
axes.append({"name": "c", "type": "channel"})
levels = []
for step in (1, 2, 4):
    group.create_array(
        str(step), data=tissue[::step, ::step], chunks=(256, 256, 3)
    )
    scale = {"type": "scale", "scale": [0.5 * step, 0.5 * step, 1]}
    levels.append({"path": str(step), "coordinateTransformations": [scale]})
group.attrs["ome"] = {
    "version": "0.5",
    "multiscales": [{"axes": axes, "datasets": levels}],
}

# %%
# Open the slide. ``read_image`` opens the pyramidal TIFF files of scanners as well. No pixels are
# read yet: they are a dask array, whose chunks are read when they are needed.

slide = read_image(path)
print("pixels:", slide.pixels.shape, "in chunks of", slide.pixels.chunksize)
print("levels:", [level.shape for level in slide.levels])
print("pixel size:", slide.axes[0].scale, slide.axes[0].unit)

# %%
# Cluster the slide. ``segment`` reads it chunk by chunk, counts its colors, and fits four clusters
# to the counts. The labels are lazy, too: they are painted when they are computed.

segmentation = segment(slide.pixels, 4, color_space="lab", min_size=50)
print(type(segmentation.labels), segmentation.labels.shape)
print(segmentation.table.round(1).to_string(index=False))

# %%
# Look at the coarsest level to see which cluster is which. The model paints it without reading the
# finer levels. ``at_scale`` tells the model that a pixel is four pixels wide, so that the minimum
# size stays an area of the slide.

overview = slide.levels[-1].compute()
labels, recolored = segmentation.model.at_scale((4, 4)).apply(overview)
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 4.5), layout="constrained"
)
left.imshow(overview)
right.imshow(recolored)
left.axis("off")
right.axis("off")
plt.show()

# %%
# Clusters 1 and 2 are brown, and the brightest is the paper with the pale parts. Measure tiles of
# 256 pixels: a row for each tile and class. The labels are painted chunk by chunk, and no array of
# the size of the slide is made.

classes = segmentation.model.classes.merge([1, 2]).rename(1, "brown").ignore(4)
segmentation = apply_classes(segmentation, classes)
grid = grid_regions(segmentation.labels.shape, 256)
tiles = measure(segmentation, regions=grid, spacing=0.5, unit="µm")
brown = tiles[tiles["name"] == "brown"]
print(brown[["region", "pixels", "percent", "area", "unit"]].head(3).round(1))

# Tiles have different amounts of tissue: sum their pixels instead of
# averaging their shares.
tissue_pixels = tiles.loc[~tiles["ignored"], "pixels"].sum()
total = 100 * brown["pixels"].sum() / tissue_pixels
print(f"brown: {total:.1f} % of the tissue of the slide")

figure, panel = plt.subplots(figsize=(5, 4), layout="constrained")
shown = panel.imshow(brown["percent"].to_numpy().reshape(6, 6), cmap="YlOrBr")
figure.colorbar(shown, label="brown (% of the tissue of a tile)")
panel.axis("off")
plt.show()

# %%
# Write the labels to a zarr store, chunk by chunk, and check them against the table.

store = Path(folder.name) / "labels.zarr"
segmentation.labels.rechunk(512).to_zarr(store)
written = da.from_zarr(store)
assert int((written == 1).sum().compute()) == brown["pixels"].sum()
folder.cleanup()

# %%
# On the command line
# -------------------
#
# One command writes the labels and the recolored image as pyramids, the table and the model. ::
#
#     napari-kmeans slide.zarr -k 4 --color-space lab --min-size 50 -o results
#
# .. _slide-in-the-dock:
#
# In the dock
# -----------
#
# 1. Drag the slide into napari. It opens as a multiscale layer if its reader plugin supports this,
#    or open it with the command above and without ``-o``.
# 2. Open *Layers ▸ Segment ▸ K-means segmentation*. *Fit on* chooses the level at which the
#    clusters are found; all levels are painted.
# 3. Press *Run*. The column ``level`` of the table states which level was counted.
#
# Watch out
# ---------
#
# - A minimum size is in pixels of the finest level. Coarse levels do not show small regions.
# - Slides have pen marks, folds and dust. Give ``mask`` a coarse mask that was drawn by hand.
# - For several slides, use one model for all of them: see the tutorial on cohorts.
