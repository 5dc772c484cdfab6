"""
A cluster of computers
======================

**Question:** how do I cluster an image that one computer would need too long for?

**Data:** a dask array of 1024 by 1024 pixels in 4 chunks, small enough for a tutorial. On a real
cluster, the chunks are those of a file on a shared disk.

The workers here are processes of this computer. Instead of ``LocalCluster``, use the cluster of
your institute, such as ``SLURMCluster`` of dask-jobqueue, or ``Client("tcp://scheduler:8786")``.
All computers need the library ``distributed``, which the extra ``distributed`` of the package
installs.

The same without code: :ref:`in the dock <computers-in-the-dock>`.
"""

# %%
# Make the image lazily. Each worker makes or reads only its own chunks.

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster
from matplotlib.colors import ListedColormap

from napari_kmeans import measure, segment
from napari_kmeans.samples import histology


def make_chunk(block_info=None):
    """Return a chunk of 512 x 512 pixels, as a place holder for a file."""
    row, column, _ = block_info[None]["chunk-location"]
    return np.rot90(histology(), row + column).copy()


def make_slide():
    """Return a lazy image of 2 x 2 chunks."""
    chunks = ((512, 512), (512, 512), (3,))
    meta = np.empty((0, 0, 0), np.uint8)
    return da.map_blocks(make_chunk, chunks=chunks, meta=meta)


# %%
# The code is that of one computer. While a ``Client`` is active, its workers count the colors,
# paint the labels and sum the table. Only counts, centers and sums travel over the network. The
# labels are lazy: ``compute`` paints them on the workers and brings them home.


def cluster_slide(slide):
    """Return the labels in memory, and the table of measurements."""
    segmentation = segment(slide, 4, color_space="lab")
    table = measure(segmentation, spacing=0.5, unit="µm")
    return segmentation.labels.compute(), table


# %%
# Start the cluster. Scripts need the line ``if __name__ == "__main__"``, because each worker
# imports the script. The labels are those of one computer, pixel by pixel.

if __name__ == "__main__":
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        print(len(client.scheduler_info()["workers"]), "workers")
        labels, table = cluster_slide(make_slide())

    columns = ["class", "color", "pixels", "percent", "area", "unit"]
    print(table[columns].round(1).to_string(index=False))
    labels_here, table_here = cluster_slide(make_slide())
    assert (labels == labels_here).all()
    assert table.equals(table_here)

    figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.imshow(labels[::2, ::2], cmap=ListedColormap(table["color"].tolist()))
    axes.axis("off")
    plt.show()

# %%
# Write large labels on the workers, instead of bringing them home: ::
#
#     segmentation.labels.to_zarr("labels.zarr")
#
# A study of many images runs on the workers, too, an image on each: ::
#
#     with Client("tcp://scheduler:8786"):
#         run_study(Study.load("study.yaml"))
#
# .. _computers-in-the-dock:
#
# In the dock
# -----------
#
# Start a ``Client`` in the console of napari (*Window ▸ Console*), and open a dask or zarr image.
# *Run* then uses the workers.
#
# Watch out
# ---------
#
# - All workers need the same version of the package, and the paths of the images.
# - The first run of a worker compiles the kernels, which takes some seconds. Give the workers a
#   shared ``NUMBA_CACHE_DIR``, or expect this once for each computer.
# - Chunks of some megapixels work best: small ones cost the scheduler more than the workers.
# - A single computer needs no cluster: ``segment`` uses all of its cores.
