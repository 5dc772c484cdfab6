"""From an image layer to the layers of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels


def segment_layer(
    layer: Image | Sequence[Image],
    n_clusters: int = Options.n_clusters,
    *,
    color_space: str = Options.color_space,
    normalize: str = Options.normalize,
    balance: float = Options.balance,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    init: Any = Options.init,
    n_init: int | str = Options.n_init,
    max_iter: int = Options.max_iter,
    tol: float = Options.tol,
    random_state: int | None = Options.random_state,
    level: int | None = None,
    stack: str | int | tuple[int | None, ...] = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Labels, Image | list[Image]]:
    """Cluster the colors of an image layer, or of several that are channels of one image.

    Parameters
    ----------
    layer : napari.layers.Image or sequence of them
        RGB, RGBA or gray, with any number of dimensions, of one or several
        resolutions, in memory or lazy (dask, zarr). Several are clustered as
        one image with a channel for each: gray, and of the same shape. With
        `normalize`, each counts alike, however bright it is.
    n_clusters, color_space, normalize, balance, method, coreset_size
    n_init, max_iter, tol, random_state
        As in :func:`napari_kmeans.segment`.
    init : {"k-means++", "random"}, (K, C) array, Points or Labels layer
        As in :func:`napari_kmeans.segment`, or what is pointed at in a layer
        over the image, wherever the two lie in the world: the pixel under each
        point, or the mean color under the strokes of each label, at full
        resolution. There are as many clusters as points or labels then, and
        `n_clusters` does not count. 2-D layers hold for the slice of a stack
        that is clustered, or else for the one in view. The clusters are not
        numbered as the points or labels are, but from dark to bright.
    mask : array, napari.layers.Labels or napari.layers.Shapes, optional
        The pixels to cluster: where an array or labels are nonzero, or inside
        rectangles, ellipses and polygons. 2-D shapes hold in every slice. For a
        multiscale layer, arrays and labels have the pixels of the finest level;
        labels of as many levels are taken level by level.
    level : int, optional
        The level of a multiscale layer that is fitted, 0 being the finest. None
        takes the coarsest of at least four million pixels for a coreset, and
        the finest for "full" or if none has as many.
    stack : "whole", "each", int or tuple, default "whole"
        For a layer with more than two dimensions: one model for all slices, one
        for each (see :func:`napari_kmeans.segment_slices`), or the index of a
        single slice, the only one that is clustered. An index names the first
        axes, or all of them with None for those of the slice: ``(None, 7, None)``.
    progress : callable, optional
        Called as ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    labels : napari.layers.Labels
        1…K from dark to bright in the colors in which `recolored` is shown, with
        the contrast limits and the gamma of the layer; 0 where left out and in
        slices that are not clustered. Its features are the table, whose pixels
        are those of the level that was fitted, and whose `color` is that on the
        screen.
    recolored : napari.layers.Image or list of them
        The image in the colors of the palette; for several layers, each of them.

    Both have the levels of the image, and are lazy where it is.

    Raises
    ------
    TypeError, ValueError
        If the layer is no image layer, or as :func:`napari_kmeans.segment` does.

    Examples
    --------
    >>> labels, recolored = segment_layer(viewer.layers["coffee"], n_clusters=8)
    >>> viewer.add_layer(recolored), viewer.add_layer(labels)
    """
    layers = list(layer) if isinstance(layer, list | tuple) else [layer]
    for each in layers or [layer]:
        if not isinstance(each, Image):
            raise TypeError(f"layer must be an Image layer, got {each!r}: choose an image.")
    task = Task.of(
        layers,
        mask=mask,
        level=level,
        stack=stack,
        n_clusters=n_clusters,
        color_space=color_space,
        normalize=normalize,
        balance=balance,
        method=method,
        coreset_size=coreset_size,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
    )
    outcome = task.run(progress)
    labels, recolored = labels_layer(outcome, task.source), recolored_layers(outcome, task.source)
    return labels, recolored if task.source.channels else recolored[0]
