"""From a layer to an array and back: snapshots of layers, masks, and the layers of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans import __version__
from napari_kmeans.parameters import Options
from napari_kmeans.segmentation import Segmentation, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

METADATA_KEY = "napari-kmeans"
TRANSPARENT = (0.0, 0.0, 0.0, 0.0)
ELLIPSE_VERTICES = 128

_SPATIAL = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
_DISPLAY = (
    "contrast_limits",
    "colormap",
    "gamma",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "depiction",
)
# In this order: the colours and sizes of a layer must fit data that is already there.
_UPDATED: dict[type[Layer], tuple[str, ...]] = {
    Labels: ("data", "colormap", "features"),
    Image: ("data", *_DISPLAY),
    Points: ("data", "size", "face_color", "features"),
}


@dataclass(frozen=True, eq=False)
class Source:
    """What an image layer was when it was asked for, whatever becomes of it later.

    Attributes
    ----------
    name : str
    unique_id : str
        Tells this layer from every other, also after it is renamed.
    data : array
        The layer's data; the full resolution of a multiscale layer.
    rgb : bool
    spatial : dict
        Scale, translate, rotate, shear, affine, units and axis labels.
    display : dict
        Contrast limits, colormap and the other ways in which pixels are shown.
    """

    name: str
    unique_id: str
    data: Any
    rgb: bool
    spatial: dict[str, Any]
    display: dict[str, Any]

    @classmethod
    def of(cls, layer: Image) -> Source:
        """Take the snapshot of an image layer."""
        return cls(
            name=layer.name,
            unique_id=str(layer.unique_id),
            data=layer.data[0] if layer.multiscale else layer.data,
            rgb=layer.rgb,
            spatial=_spatial(layer),
            display=_attributes(layer, _DISPLAY),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the channels."""
        shape = tuple(self.data.shape)
        return shape[:-1] if self.rgb else shape


def _attributes(layer: Layer, names: Iterable[str]) -> dict[str, Any]:
    return {name: _copy(getattr(layer, name)) for name in names}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray | list) else value


def _spatial(layer: Layer) -> dict[str, Any]:
    return {**_attributes(layer, _SPATIAL), "affine": layer.affine.affine_matrix.copy()}


def segment_layer(
    layer: Image,
    n_clusters: int = Options.n_clusters,
    *,
    color_space: str = Options.color_space,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    init: Any = Options.init,
    n_init: int | str = Options.n_init,
    max_iter: int = Options.max_iter,
    tol: float = Options.tol,
    random_state: int | None = Options.random_state,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Labels, Image]:
    """Cluster the colours of an image layer.

    Parameters
    ----------
    layer : napari.layers.Image
        RGB, RGBA or gray, with any number of dimensions.
    n_clusters, color_space, method, coreset_size, init, n_init, max_iter, tol, random_state
        As in :func:`napari_kmeans.segment`.
    mask : array, napari.layers.Labels or napari.layers.Shapes, optional
        The pixels to cluster: where an array or labels are nonzero, or inside
        rectangles, ellipses and polygons. 2-D shapes hold in every slice.
    progress : callable, optional
        Called as ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    labels : napari.layers.Labels
        1…K from dark to bright in the colours of the palette, 0 where left out.
    recolored : napari.layers.Image
        The image in the colours of the palette.

    Raises
    ------
    TypeError, ValueError
        If the layer is no image layer, or as :func:`napari_kmeans.segment` does.

    Examples
    --------
    >>> labels, recolored = segment_layer(viewer.layers["coffee"], n_clusters=8)
    >>> viewer.add_layer(recolored), viewer.add_layer(labels)
    """
    if not isinstance(layer, Image):
        raise TypeError(f"layer must be an Image layer, got {layer!r}: choose an image.")
    source = Source.of(layer)
    segmentation = segment(
        source.data,
        n_clusters,
        rgb=source.rgb,
        color_space=color_space,
        method=method,
        coreset_size=coreset_size,
        mask=mask_array(mask, layer),
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        progress=progress,
    )
    return labels_layer(segmentation, source), recolored_layer(segmentation, source)


def labels_layer(segmentation: Segmentation, source: Source) -> Labels:
    """Build the layer of the labels, in the colours of the palette."""
    return Labels(
        segmentation.labels,
        colormap=_label_colors(segmentation, source),
        features=segmentation.table.copy(),
        **_identity("labels", segmentation, source),
    )


def recolored_layer(segmentation: Segmentation, source: Source) -> Image:
    """Build the layer of the image in the colours of the palette."""
    return Image(
        segmentation.recolored,
        rgb=source.rgb,
        **source.display,
        **_identity("recolored", segmentation, source),
    )


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
    points = coreset.points if source.rgb else coreset.points[:, 0]
    labels = segmentation.model.predict(points)
    return Points(
        coreset.positions,
        ndim=len(source.shape),
        size=_point_sizes(coreset.weights, source),
        face_color=_label_colors(segmentation, source).map(labels),
        border_width=0.1,
        border_color="white",
        features={"index": labels, "weight": coreset.weights},
        **_identity("coreset", segmentation, source),
    )


def _identity(kind: str, segmentation: Segmentation, source: Source) -> dict[str, Any]:
    """Return the name, provenance and place in the world of a layer of the result."""
    provenance = {
        "kind": kind,
        "version": __version__,
        "source": source.name,
        "source_id": source.unique_id,
        "options": segmentation.options.to_dict(),
        "model": segmentation.model.to_dict(),
        "distortion": segmentation.distortion,
    }
    return {
        "name": f"{source.name} {kind}",
        "metadata": {METADATA_KEY: provenance},
        **source.spatial,
    }


def _label_colors(segmentation: Segmentation, source: Source) -> DirectLabelColormap:
    """Return the colours in which the recolored layer shows each label."""
    labels = np.arange(1, segmentation.model.n_clusters + 1, dtype=segmentation.labels.dtype)
    values = np.asarray(segmentation.model.recolor(labels))
    if source.rgb:
        colors = np.clip(values[:, :3] / segmentation.model.white, 0, 1)
    else:
        colors = _shown_gray(values, source.display)
    return DirectLabelColormap(
        color_dict={
            None: TRANSPARENT,
            0: TRANSPARENT,
            **dict(zip(labels.tolist(), colors, strict=True)),
        }
    )


def _shown_gray(values: np.ndarray, display: dict[str, Any]) -> Any:
    low, high = display["contrast_limits"]
    brightness = np.clip((values.ravel().astype(np.float64) - low) / (high - low), 0, 1)
    return display["colormap"].map(brightness ** display["gamma"])


def _point_sizes(weights: np.ndarray, source: Source) -> Any:
    """Return diameters in pixels: areas grow with weights; a hundred fill a row if equal."""
    relative = np.sqrt(weights / weights.mean())
    return max(source.shape[-2:]) / 100 * np.clip(relative, 0.4, 4)


def find_result(layers: Iterable[Layer], result: Layer) -> Layer | None:
    """Return the latest layer that an earlier run made of the same source for the same purpose.

    A layer is known by what a run wrote into its metadata, never by its name,
    so a layer that somebody else named alike is not touched.
    """
    matches = [layer for layer in layers if _key(layer) == _key(result)]
    return matches[-1] if matches else None


def _key(layer: Layer) -> tuple[Any, ...]:
    """Return what two layers must share for one to take the other's data."""
    provenance = layer.metadata.get(METADATA_KEY, {})
    identity = provenance.get("kind"), provenance.get("source_id")
    return type(layer), layer.ndim, getattr(layer, "rgb", None), *identity


def update_layer(layer: Layer, result: Layer) -> None:
    """Give `layer` what `result` holds; its name and the user's own metadata stay."""
    for name in _UPDATED[type(result)]:
        setattr(layer, name, getattr(result, name))
    for name, value in _spatial(result).items():
        setattr(layer, name, value)
    layer.metadata = {**layer.metadata, **result.metadata}


def mask_array(mask: Any, layer: Image) -> Any:
    """Return a mask in the pixels of an image layer.

    Parameters
    ----------
    mask : None, array, napari.layers.Labels or napari.layers.Shapes
        Labels are compared pixel by pixel, whatever their transform; shapes are
        drawn where they lie over the image in the world.
    layer : napari.layers.Image
        The image to be masked.

    Returns
    -------
    array or None
        None and arrays as they are; layers as a boolean array of their own.
    """
    if isinstance(mask, Labels):
        return np.asarray(mask.data[0] if mask.multiscale else mask.data) != 0
    if isinstance(mask, Shapes):
        return _rasterized(mask, layer)
    return mask


def _rasterized(shapes: Shapes, layer: Image) -> np.ndarray:
    """Return which pixels of `layer` have their centre inside a shape."""
    from skimage.draw import polygon2mask

    inside = np.zeros(Source.of(layer).shape, dtype=bool)
    for outline in _outlines(shapes):
        vertices = _in_pixels(outline, shapes, layer)
        index = _slice_of(vertices, shapes.ndim, inside.shape)
        if index is not None:
            inside[index] |= polygon2mask(inside.shape[-2:], vertices[:, -2:])
    return inside


def _outlines(shapes: Shapes) -> Iterator[np.ndarray]:
    """Yield the vertices of all shapes that have an inside."""
    for vertices, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind == "ellipse":
            yield _ellipse(np.asarray(vertices))
        elif kind in ("rectangle", "polygon"):
            yield np.asarray(vertices)


def _ellipse(corners: np.ndarray) -> np.ndarray:
    """Return the outline of the ellipse in a parallelogram of four corners."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angles) * across + np.sin(angles) * along)


def _in_pixels(vertices: np.ndarray, shapes: Shapes, layer: Image) -> np.ndarray:
    """Carry vertices of shapes through the world into the pixel grid of an image."""
    return np.array([layer.world_to_data(shapes.data_to_world(v)) for v in vertices])


def _slice_of(vertices: np.ndarray, ndim: int, shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Return the slices a shape is drawn in, all along axes it lacks; None if outside."""
    index = [slice(None)] * (len(shape) - 2)
    for axis in range(max(len(shape) - ndim, 0), len(shape) - 2):
        place = round(float(vertices[:, axis].mean()))
        if not 0 <= place < shape[axis]:
            return None
        index[axis] = slice(place, place + 1)
    return tuple(index)
