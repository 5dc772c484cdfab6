"""
A bleaching time lapse
======================

**Question:** does the stained area change, or does only the light fade?

**Data:** ten frames of nuclei. The nuclei do not move or grow, but the dye bleaches to a fifth of
its light. The frames are generated, so the true area is known.

The same without code: :ref:`in the dock <bleaching-in-the-dock>`.
"""

# %%
# Make the frames: the DAPI channel of the fluorescence sample fades, and the noise of the camera
# stays.

import matplotlib.pyplot as plt
import numpy as np

from napari_kmeans import measure, segment, segment_slices
from napari_kmeans.samples import (
    FLUORESCENCE_SCALE,
    fluorescence,
    fluorescence_truth,
)

nuclei = fluorescence()[0, :200, :200].astype(float)
rng = np.random.default_rng(0)
light = np.geomspace(1.0, 0.2, 10)
frames = np.stack(
    [nuclei * each + rng.normal(0, 150, nuclei.shape) for each in light]
)
frames = frames.clip(0, 65535).astype(np.uint16)
true_percent = 100 * (fluorescence_truth()[:200, :200] > 1).mean()

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for panel, number in zip(axes, (0, 3, 6, 9), strict=True):
    panel.imshow(frames[number], cmap="gray", vmin=0, vmax=frames.max())
    panel.set_title(f"frame {number}")
    panel.axis("off")
plt.show()

# %%
# One model for the whole time lapse takes the same threshold in all frames. A model for each frame
# follows the light: ``segment_slices`` fits each frame by itself, and gives corresponding clusters
# the same label.

whole = segment(frames, 2)
each_frame = segment_slices(frames, 2)

# %%
# Measure both frame by frame: ``slices`` names the axis of time. Its spacing is 0, because time is
# no length.

spacing = (0, *FLUORESCENCE_SCALE)
found = {}
segmentations = {"one model": whole, "a model per frame": each_frame}
for name, segmentation in segmentations.items():
    table = measure(
        segmentation, frames, slices={0: "frame"}, spacing=spacing, unit="µm"
    )
    found[name] = table[table["class"] == 2].set_index("frame")["percent"]
    first, last = found[name].iloc[[0, -1]]
    print(
        f"{name}: {first:.1f} % in the first frame, {last:.1f} % in the last"
    )
print(f"truth: {true_percent:.1f} % in every frame")

assert found["one model"].iloc[-1] < 1
assert abs(found["a model per frame"] - true_percent).max() < 1

# %%
# The area is constant. The fall in the gray line is an artifact of the fixed threshold.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), layout="constrained"
)
left.plot(found["one model"], "o-", color="gray", label="one model")
left.plot(
    found["a model per frame"],
    "o-",
    color="tab:blue",
    label="a model per frame",
)
left.axhline(true_percent, color="black", linestyle=":", label="truth")
left.set(xlabel="frame", ylabel="nuclei (% of the pixels)", ylim=(0, None))
left.legend()
right.imshow(each_frame.labels[9], cmap="gray", interpolation="none")
right.set_title("last frame, its own model")
right.axis("off")
plt.show()

# %%
# The table of a stack has a row for each slice, too. The means show how far the light has faded.

slices = each_frame.slice_table
bright = slices[slices["index"] == 2].set_index("slice")["mean intensity"]
print(
    f"the mean of the nuclei falls to {bright.iloc[-1] / bright.iloc[0]:.2f} "
    "of the first frame"
)

# %%
# .. _bleaching-in-the-dock:
#
# In the dock
# -----------
#
# 1. Open the time lapse, and *Layers ▸ Segment ▸ K-means segmentation*.
# 2. Set *Stack* to *each slice*. Press *Run*.
# 3. In the panel *Measure*, press *Measure*. If the layer has an axis of time, the table has a row
#    for each frame and class.
#
# Watch out
# ---------
#
# - napari must know the axis of time: its label is *t* or *time*, or its unit is one of time.
#   Otherwise areas are taken for volumes, and smoothing reaches into neighboring frames.
# - A model per frame always finds K clusters. In a frame without nuclei, the second cluster is
#   noise: check its mean in the table.
