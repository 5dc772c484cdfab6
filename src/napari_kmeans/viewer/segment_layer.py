"""Cluster an image layer: an Image layer in, a Labels layer and a recolored Image layer out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Points

from napari_kmeans.checks import Flag, quote_value
from napari_kmeans.options import FIT_OPTIONS, Options, check_names, show_options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from napari_kmeans.options import OptionValues


@show_options(FIT_OPTIONS)
def segment_layer(
    layer: Image | Sequence[Image],
    n_clusters: int = Options.n_clusters,
    *,
    mask: Any = None,
    mask_classes: Sequence[int] | None = None,
    level: int | None = None,
    stack: str | int | tuple[int | None, ...] = WHOLE,
    channel_axis: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> tuple[Labels, Image | list[Image]]:
    """Cluster the colors of an image layer, or of several that are channels of one image.

    Parameters
    ----------
    layer : napari.layers.Image or sequence of them
        RGB, RGBA or gray, with any number of dimensions, of one or several resolutions,
        in memory or lazy (dask, zarr). Several layers are clustered as one image with a
        channel for each. They must be gray and have the same shape. With `normalize`,
        each channel has the same weight, however bright it is.
    n_clusters, color_space, normalize, balance, method, coreset_size
    n_init, max_iter, tol, random_state
        As in :func:`napari_kmeans.segment`.
    smoothing, min_size, min_area, min_size_classes, spacing
        As in :func:`napari_kmeans.segment`, in pixels of the finest level. A `spacing` that is
        one number is replaced by the scale of the layer, in micrometers if its units are
        lengths: `min_area` is then in square or cubic micrometers. Pixels are not neighbors
        along axes of time.
    init : {"k-means++", "random"}, (K, C) array, Points or Labels layer
        As in :func:`napari_kmeans.segment`, or a layer of marks over the image: each point
        gives the color of the pixel under it, and each label the mean color of its pixels,
        at full resolution and in world coordinates. The number of points or labels then
        replaces `n_clusters`. Marks in 2-D layers are of the slice that is clustered, or
        else of the slice in view. Clusters have the numbers of the labels, or the order of
        the points from 1, and the names in a column `name` (of points also `label`) of the
        features. Colors that you gave the marks are the display colors: a direct colormap of
        labels, or face colors that differ between all points.
    keep_init : bool, default False
        Whether the start colors in `init` stay the centers, as in :func:`napari_kmeans.segment`.
    mask : array, napari.layers.Labels or napari.layers.Shapes, optional
        The pixels to cluster: where an array or labels are nonzero, or inside rectangles,
        ellipses and polygons. Labels and shapes count where they lie over the image in the
        world; 2-D ones are valid in every slice. For a multiscale layer, arrays have the
        pixels of the finest level.
    mask_classes : sequence of int, optional
        The labels of a Labels layer `mask` in which pixels are clustered; None takes all but 0.
        The new labels are then numbered after the largest label of the mask, so that the two
        layers have no label in common.
    level : int, optional
        The level of a multiscale layer that is fitted; 0 is the finest. None takes for a
        coreset the coarsest level of at least four million pixels, and the finest level
        for "full" or if no level has that many.
    stack : "whole", "each", int or tuple, default "whole"
        For a layer with more than two dimensions: one model for all slices ("whole"), one
        for each slice ("each", see :func:`napari_kmeans.segment_slices`), or the index of
        the only slice that is clustered. An index names the first axes, or all axes with
        None for the two of the slice: ``(None, 7, None)``.
    channel_axis : int, optional
        The axis of a single gray layer along which its channels lie. All other arguments then
        count the other axes only. The labels do not have this axis, and `recolored` is one
        layer with this axis in its place. napari aligns the last axes of layers: the labels lie
        over the image if the channels are its first axis.
    progress : callable, optional
        ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    labels : napari.layers.Labels
        1…K from dark to bright, unless `init` or `mask_classes` give other numbers. 0 where
        pixels are left out, and in slices that are not clustered. Labels of RGB images have
        the display colors of `recolored`; other labels have distinct colors. The features of
        the layer are the table. The pixels of the table are those of the level that was
        fitted, and its `color` is that of the label.
    recolored : napari.layers.Image or list of them
        The image in the colors of the palette, with the contrast limits and the gamma of the
        layer; for several layers, a list.

    Both have the levels of the image, and are lazy where the image is.

    Raises
    ------
    TypeError, ValueError
        If the layer is not an image layer, or if the mask or an option cannot be used.

    Examples
    --------
    >>> labels, recolored = segment_layer(viewer.layers["coffee"], n_clusters=8)
    >>> viewer.add_layer(recolored), viewer.add_layer(labels)
    """
    layers = list(layer) if isinstance(layer, list | tuple) else [layer]
    for each in layers or [layer]:
        if not isinstance(each, Image):
            raise TypeError(
                f"layer must be an Image layer, got {quote_value(each)}: choose an image layer, "
                "or use segment for an array."
            )
    check_names(FIT_OPTIONS, options)
    start, keeps = None, False
    if isinstance(options.get("init"), Points | Labels):
        # The colors of the marks replace these options when the task runs.
        start, n_clusters = options.pop("init"), 1
        keeps = Flag().check("keep_init", options.pop("keep_init", False))
    values = Options(n_clusters=n_clusters, **options)
    task = Task.of(
        layers,
        values,
        start=start,
        keep_start=keeps,
        mask=mask,
        mask_classes=mask_classes,
        level=level,
        stack=stack,
        channel_axis=channel_axis,
    )
    outcome = task.run(progress)
    labels, recolored = labels_layer(outcome, task.source), recolored_layers(outcome, task.source)
    is_one_layer = not task.source.channels or task.source.channel_axis is not None
    return labels, recolored[0] if is_one_layer else recolored
