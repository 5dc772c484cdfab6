"""Build the Image layers of the panel *Confidence*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_kmeans.viewer.provenance import sign, source_metadata

if TYPE_CHECKING:
    from napari.utils import Colormap


def soft_layer(
    levels: list[Any],
    title: str,
    colormap: str | Colormap,
    *,
    name: str,
    source_id: str,
    spatial: dict[str, Any],
) -> Image:
    """Build the layer of the confidence, or of the membership in a class, from 0 to 1.

    Parameters
    ----------
    levels : list of arrays
        Finest level first.
    title : str
        What the layer shows: the end of its name.
    colormap : str or Colormap
    name, source_id : str
        The name of the image that was clustered, and its `unique_id`.
    spatial : dict
        Scale, translation and further arguments that place the layer in the world.
    """
    multiscale = len(levels) > 1
    layer = Image(
        levels if multiscale else levels[0],
        multiscale=multiscale,
        rgb=False,
        name=f"{name} {title}",
        colormap=colormap,
        contrast_limits=(0, 1),
        metadata=source_metadata(title, name, source_id),
        **spatial,
    )
    return sign(layer)
