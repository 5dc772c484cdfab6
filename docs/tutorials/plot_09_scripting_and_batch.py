"""
Scripting and batch
===================

**Question:** how do I apply one model to many files, and get the same result in a script, on the
command line, and next year?

**Data:** three scans of leaves in TIFF files, with their pixel size.

The same without code: :ref:`in the dock <scripting-in-the-dock>`.
"""

# %%
# Write the scans. TIFF files can state the size of a pixel: here 0.2 mm, which is 50 pixels per
# centimeter.

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import pandas as pd
import tifffile

from napari_kmeans import KMeansModel, measure, segment, to_python
from napari_kmeans.files import read_image
from napari_kmeans.samples import leaf

folder = TemporaryDirectory()
directory = Path(folder.name)
for number in range(3):
    tifffile.imwrite(
        directory / f"leaf{number}.tif",
        leaf(4 + 4 * number, number),
        photometric="rgb",
        resolution=(50, 50),
        resolutionunit="CENTIMETER",
    )
paths = sorted(directory.glob("*.tif"))

# %%
# Read the files, and fit one model to all of them: a list of images gives lists of labels. The
# pixels of all images count.

pictures = [read_image(path) for path in paths]
images = [picture.pixels for picture in pictures]
segmentation = segment(images, 4, color_space="lab")
table = measure(segmentation, images, names=[path.stem for path in paths])
print(table.pivot(index="image", columns="class", values="percent").round(2))

# %%
# Save the model. It is a JSON file with the centers, the classes and all options. A model that is
# loaded gives the same labels, without a fit.

segmentation.model.save(directory / "leaf-model.json")
model = KMeansModel.load(directory / "leaf-model.json")
labels = model.predict(images[2])
assert (labels == segmentation.labels[2]).all()

# %%
# Do the same on the command line, in a terminal: ::
#
#     napari-kmeans leaf*.tif -k 4 --color-space lab -o results
#
# It writes the labels, the recolored images, a table and the model, and needs no screen. The files
# keep the pixel size, so the table has areas.

command = [sys.executable, "-m", "napari_kmeans", *map(str, paths)]
command += ["-k", "4", "--color-space", "lab"]
command += ["-o", str(directory / "results")]
subprocess.run(command, check=True, capture_output=True)
for path in sorted((directory / "results").iterdir()):
    print(path.name)

# %%
# The labels are identical: the command line, scripts and the dock use the same code and the same
# seed.

written = tifffile.imread(directory / "results" / "leaf2-labels.tif")
assert (written == labels).all()
counts = pd.read_csv(directory / "results" / "napari-kmeans-table.csv")
print(counts.head(4).round(2).to_string(index=False))

figure, axes = plt.subplots(1, 3, figsize=(10, 2.2), layout="constrained")
for panel, image, each in zip(axes, images, segmentation.labels, strict=True):
    panel.imshow(image)
    panel.contour(each == 1, [0.5], colors="white", linewidths=0.8)
    panel.set_title(
        f"lesions {100 * (each == 1).sum() / (each < 4).sum():.1f} %"
    )
    panel.axis("off")
plt.show()

# %%
# ``to_python`` writes a script that gives the same result again. *Copy as Python* in the dock uses
# this function.

one = segment(images[0], 4, color_space="lab")
script = to_python(one.options, path=paths[0], rgb=True)
print(script)
folder.cleanup()

# %%
# For many images with tables, groups, a report and a record, use a study: see the tutorial on
# cohorts. A study continues after an interruption, and ``napari-kmeans repeat results`` does it
# again and compares the labels.
#
# .. _scripting-in-the-dock:
#
# In the dock
# -----------
#
# 1. Run the clustering on one image. In the panel *Apply to…*, press *Save model…*.
# 2. Open other images, check them in *Apply to…*, and press *Apply*. *Load model…* opens a model of
#    a script or of the command line.
# 3. In the panel *Save and copy*, *Copy as Python* copies the script.
#
# Watch out
# ---------
#
# - Fit the model to all images or to some typical ones. A model of one image lacks the colors that
#   only others have.
# - ``napari-kmeans *.tif --each`` fits a model to each image: label 1 then is not the same in all.
# - Keep the model and the version of the package with the results:
#   ``napari_kmeans.__version__``.
