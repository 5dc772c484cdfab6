"""From an image layer to the layers of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from napari.layers import Image, Labels, Points

from napari_kmeans import __version__
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.from_layers.source import Source as Source
from napari_kmeans.viewer.to_layers.label_colors import cluster_colors, label_colormap, shown_table
from napari_kmeans.viewer.to_layers.label_table import watch_edits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Layer
    from napari.utils.colormaps import DirectLabelColormap

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.viewer.background.task import Outcome

AnyLayer = TypeVar("AnyLayer", bound="Layer")

METADATA_KEY = "napari-kmeans"


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
    """Cluster the colours of an image layer, or of several that are channels of one image.

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
        point, or the mean colour under the strokes of each label, at full
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
        The image in the colours of the palette; for several layers, each of them.

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


def labels_layer(segmentation: Outcome, source: Source) -> Labels:
    """Build the layer of the labels, in the colours of the palette."""
    labels = Labels(
        segmentation.labels,
        multiscale=source.multiscale,
        colormap=_colormap(segmentation, source),
        features=shown_table(segmentation, source),
        **_identity("labels", segmentation, source),
    )
    watch_edits(labels)
    return sign(labels)


def recolored_layers(segmentation: Outcome, source: Source) -> list[Image]:
    """Build the layer of the image in the colours of the palette, or one for each channel."""
    if source.channels:
        return [
            _recolored_channel(number, segmentation, source)
            for number in range(len(source.channels))
        ]
    recolored = Image(
        segmentation.recolored,
        multiscale=source.multiscale,
        rgb=source.rgb,
        **source.display,
        **_identity("recolored", segmentation, source),
    )
    return [sign(recolored)]


def _recolored_channel(number: int, segmentation: Outcome, source: Source) -> Image:
    channel, recolored = source.channels[number], segmentation.recolored
    levels = [level[..., number] for level in recolored] if source.multiscale else None
    identity = _identity("recolored", segmentation, source)
    # Told from its neighbours, when a later run looks for it.
    identity["metadata"][METADATA_KEY]["channel"] = channel.unique_id
    identity["name"] = f"{channel.name} recolored"
    layer = Image(
        recolored[..., number] if levels is None else levels,
        multiscale=source.multiscale,
        rgb=False,
        **channel.display,
        **identity,
    )
    return sign(layer)


def coreset_layer(segmentation: Segmentation, source: Source) -> Points:
    """Build the layer of the sampled pixels: area by weight, colour by cluster.

    Raises
    ------
    ValueError
        If there is no coreset, because the method was "full".
    """
    coreset = segmentation.coreset
    if coreset is None:
        raise ValueError('method must be "coreset" for points, got "full": there is no sample.')
    points = coreset.points if source.rgb or source.channels else coreset.points[:, 0]
    model = segmentation.model
    labels, _ = model.paint(model.open(points), recolored=False)
    sample = Points(
        _in_finest(coreset.positions, source),
        ndim=len(source.shape),
        size=_point_sizes(coreset.weights, source),
        face_color=_colormap(segmentation, source).map(labels),
        border_width=0.1,
        border_color="white",
        features={"index": labels, "weight": coreset.weights},
        **_identity("coreset", segmentation, source),
    )
    return sign(sample)


def _in_finest(positions: np.ndarray, source: Source) -> np.ndarray:
    """Carry positions in what was fitted into the pixels of the finest level."""
    n_axes = len(source.shape)
    index = (None,) * n_axes if isinstance(source.stack, str) else source.stack
    factors = np.divide(source.shape, source.shape_of(source.level))
    places = np.empty((len(positions), n_axes))
    columns = iter(positions.T)
    for axis, place in enumerate(index):
        if place is None:
            places[:, axis] = (next(columns) + 0.5) * factors[axis] - 0.5
        else:
            places[:, axis] = place
    return places


def sign(layer: AnyLayer) -> AnyLayer:
    """Record in the provenance of a layer which layer it belongs to.

    napari copies the metadata when a layer is duplicated, but gives the copy
    another `unique_id`.
    """
    provenance = {**layer.metadata[METADATA_KEY], "layer_id": str(layer.unique_id)}
    layer.metadata[METADATA_KEY] = provenance
    return layer


def is_copy(layer: Layer) -> bool:
    """Return whether a layer is the user's duplicate of a result.

    Layers made before the record was introduced count as originals.
    """
    recorded = layer.metadata.get(METADATA_KEY, {}).get("layer_id")
    return recorded is not None and recorded != str(layer.unique_id)


def _identity(kind: str, segmentation: Outcome, source: Source) -> dict[str, Any]:
    """Return the name, provenance and place in the world of a layer of the result."""
    provenance = {
        "kind": kind,
        "version": __version__,
        "source": source.name,
        "source_id": source.unique_id,
        "options": segmentation.options.to_dict(),
        "level": source.level,
        "stack": source.stack if isinstance(source.stack, str) else list(source.stack),
        "model": segmentation.model.to_dict(),
        "distortion": segmentation.distortion,
    }
    return {
        "name": f"{source.name} {kind}",
        "metadata": {METADATA_KEY: provenance},
        **source.spatial,
    }


def _colormap(segmentation: Outcome, source: Source) -> DirectLabelColormap:
    """Return the colors in which the recolored layer shows each label."""
    labels = segmentation.table["index"].tolist()
    return label_colormap(dict(zip(labels, cluster_colors(segmentation, source), strict=True)))


def _point_sizes(weights: np.ndarray, source: Source) -> Any:
    """Return diameters in pixels: areas grow with weights; a hundred fill a row if equal."""
    relative = np.sqrt(weights / weights.mean())
    return max(source.shape[-2:]) / 100 * np.clip(relative, 0.4, 4)
