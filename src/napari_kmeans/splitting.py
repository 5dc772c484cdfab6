"""Cluster one class of a model anew, inside itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.clustering.center_splits import CenterSplit
from napari_kmeans.execution.notices import notice, notices_to
from napari_kmeans.execution.progress import Progress, Report, part_of
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.imaging.chunks import count_steps
from napari_kmeans.imaging.cleaning import NO_CLEANING
from napari_kmeans.imaging.neighborhood import compare_lazily
from napari_kmeans.imaging.tally import tally_pixels
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import Options
from napari_kmeans.segmentation import segment_summary
from napari_kmeans.summary import EmptyImageError, summarize_pixels

if TYPE_CHECKING:
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Floats


def split_anew(
    image: Any,
    model: KMeansModel,
    label: int,
    n_clusters: int = 2,
    *,
    mask: Any = None,
    method: str = "coreset",
    random_state: int | None = 0,
    progress: Report | None = None,
) -> KMeansModel:
    """Split one class of a model by clustering its pixels anew.

    Parameters
    ----------
    image : array
        The image that the model was fitted to, or another one with the same channels.
    model : KMeansModel
        It is not changed.
    label : int
        The label of the class.
    n_clusters : int, default 2
        The number of new classes.
    mask : array of the image's spatial shape, optional
        As in `segment`.
    method, random_state
        As in `segment`.
    progress : callable, optional
        ``progress(done, total)``; raising from it cancels.

    Returns
    -------
    KMeansModel
        Pixels of all other classes have the same labels as before, in any image. The pixels
        of the class get the nearest of the new centers, which are numbered from dark to
        bright. The first new class keeps the label, the name and the color; the others have
        the lowest free labels. `inertia_` is that of all pixels of `image`.

    Raises
    ------
    TypeError
        If `model` is not a KMeansModel.
    ValueError
        If the model compares textures or places, or leaves pixels undecided, if no class has
        the label, or if the class has fewer than two colors in the image.

    Warns
    -----
    UserWarning
        If there are fewer new classes than asked for.

    Notes
    -----
    The earlier centers still decide which pixels belong to the class. The new centers alone,
    among all others, would take pixels from the neighboring classes and lose pixels to them.

    Examples
    --------
    >>> segmentation = segment(image, 4)
    >>> model = split_anew(image, segmentation.model, label=2, n_clusters=3)
    >>> labels, recolored = model.apply(image)
    """
    if not isinstance(model, KMeansModel):
        raise TypeError(
            f"model must be a KMeansModel, got {quote_value(model)}: pass the model of a "
            "segmentation."
        )
    for name, weight in {"texture": model.texture, "position": model.position}.items():
        if weight:
            raise ValueError(
                f"model must have no {name}, got {name}={weight:g}: fit the image with more "
                "clusters instead."
            )
    if model.cleaning.min_confidence:
        raise ValueError(
            "model must decide all pixels, got min_confidence="
            f"{model.cleaning.min_confidence:g}: fit the image with min_confidence=0."
        )
    options = Options(
        n_clusters=n_clusters,
        color_space=model.color_space,
        method=method,
        random_state=random_state,
    )
    classes = model.classes.replace_centers(label, options.n_clusters)
    pixels = model.open(image, mask)
    sentences: list[str] = []
    with shared_pool():
        # A class of one color is an error, without a warning before it.
        with notices_to(sentences.append):
            new_centers = _cluster_class(model, pixels, label, options, part_of(progress, 0, 0.8))
        for sentence in sentences:
            notice(sentence, stacklevel=2)
        if len(new_centers) < options.n_clusters:
            classes = model.classes.replace_centers(label, len(new_centers))
        return _replace_centers(
            replace(model, edited_classes=None if classes.is_unedited else classes),
            np.array(model.classes[label].centers),
            new_centers,
            pixels,
            part_of(progress, 0.8, 1),
        )


def _cluster_class(
    model: KMeansModel, pixels: Pixels, label: int, options: Options, progress: Report | None
) -> Floats:
    """Return the new centers (n, F) of the pixels of a class, from dark to bright."""
    # A pixel that cleaning has moved to the class is nearer to a center of another class, which
    # would keep it: a new center of such pixels alone would have none.
    plain = model.with_cleaning(NO_CLEANING)
    labels, _ = plain.paint(pixels, part_of(progress, 0, 0.3), recolored=False)
    stages, space = Progress(part_of(progress, 0.3, 1)), model.space
    chosen = replace(pixels, mask=labels == label)
    if not space.is_pointwise:
        # The blur needs the pixels of other classes, too: choose pixels after it.
        chosen = _blur_pixels(pixels, chosen.mask, model)
        space = replace(space, blur=0.0)
    try:
        summary = summarize_pixels((chosen,), options, stages, space)
    except EmptyImageError:
        centers = np.empty((0, 0))
    else:
        centers = segment_summary(summary, stages).model.cluster_centers_
    if len(centers) < min(2, options.n_clusters):
        raise ValueError(
            f"label must be a class with at least two colors in the image, got "
            f"{quote_value(label)}, which has {'one' if len(centers) else 'none'}: choose another "
            "class."
        )
    return centers


def _blur_pixels(pixels: Pixels, chosen: Any, model: KMeansModel) -> Pixels:
    """Return the blurred values of some pixels of an image as a lazy image."""
    import dask.array as da

    if not pixels.is_lazy:
        array = da.from_array(pixels.array, chunks=(*["auto"] * len(pixels.shape), -1))
        mask = pixels.mask
        if mask is not None:
            mask = da.from_array(mask, chunks=array.chunks[:-1])
        chosen = da.from_array(chosen, chunks=array.chunks[:-1])
        pixels = replace(pixels, array=array, mask=mask)
    blurred = compare_lazily(pixels, model.space)
    chosen = chosen.rechunk(blurred.chunks[:-1])
    return replace(pixels, array=blurred, mask=chosen, channel_chunks=(pixels.n_channels,))


def _replace_centers(
    model: KMeansModel,
    places: Any,
    new_centers: Floats,
    pixels: Pixels,
    progress: Report | None,
) -> KMeansModel:
    """Return a model with new centers in place of others, and the mean colors of their pixels."""
    old = model.cluster_centers_
    kept = np.setdiff1d(np.arange(len(old)), places)
    centers = np.concatenate([old[kept], new_centers])
    splits = (*model.splits, CenterSplit(old[places], places, len(new_centers)))
    step = Progress(progress).stage(1, count_steps((pixels,)))
    tally = tally_pixels((pixels,), centers, model.space, step, splits)
    counts = model.center_pixels
    return replace(
        model,
        cluster_centers_=centers,
        center_palette=np.concatenate([model.center_palette[kept], tally.means[len(kept) :]]),
        center_pixels=None
        if counts is None
        else np.concatenate([counts[kept], tally.counts[len(kept) :]]),
        inertia_=tally.cost,
        splits=splits,
        cleaning=model.cleaning.with_new_centers(places, len(old), len(new_centers)),
    )
