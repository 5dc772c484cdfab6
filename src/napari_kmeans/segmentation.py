"""The facade: an array and options in, a Segmentation out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.imaging.blocks import Pixels, are_several, open_images
from napari_kmeans.imaging.chunks import count_steps
from napari_kmeans.imaging.colors import has_known_white, sort_dark_to_bright, to_hex, white_of
from napari_kmeans.imaging.painting import paint
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import Options
from napari_kmeans.summary import Colors, Summary, summarize_pixels

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.imaging.sampling import Coreset

COUNT_COLUMNS = ("index", "pixels", "percent")
"""The first columns of the table of an image."""

COLOR_COLUMN = "color"
"""The last column of the table of an image."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The clusters of an image, or of several.

    Attributes
    ----------
    labels : array of unsigned integers, of the image's spatial shape
        1…K from dark to bright; 0 where a pixel was left out.
    recolored : array of the image's shape and dtype
        Each pixel in the mean color of its cluster; pixels that were left out
        and alpha are unchanged.
    model : KMeansModel
    table : pandas.DataFrame
        One row per cluster: `index` (the label), `pixels`, `percent` (of the
        pixels not left out), the mean of each channel, `color` as #rrggbb. Its
        `attrs` hold the inertia and the distortion.
    coreset : Coreset or None
        The points that were fitted; None for ``method="full"``.
    distortion : float
        The factor, at least 1, by which the cost that the coreset tells for the
        centers is off their true cost on all pixels, ``model.inertia_``.
    options : Options
        What was asked for.
    colors : Colors or None
        `points` (m, C) in channel units, and `weights` (m,), that show where the
        colors of all pixels lie: the coreset, or for "full" cells of color
        space or every n-th pixel. None where neither was kept, as for a dask
        image of too many colors to count.

    Labels and recolored are lazy dask arrays where the image is one, of its chunks.
    For several images they are lists, in the same order; all else is of all images.
    """

    labels: Any
    recolored: Any
    model: KMeansModel
    table: pd.DataFrame
    coreset: Coreset | None
    distortion: float
    options: Options
    colors: Colors | None = None


def segment(
    image: Any,
    n_clusters: int = Options.n_clusters,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
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
    summary: Summary | None = None,
    progress: Report | None = None,
) -> Segmentation:
    """Cluster the colors of an image by K-means.

    Parameters
    ----------
    image : array, or list or tuple of arrays
        Boolean, integer or floating point (from -1e100 to 1e100, where pixels
        are not left out), of any dimensions; numpy, anything
        that converts to it, or dask, which is read chunk by chunk by the active
        scheduler of dask, or the cluster of the active Client. It is not changed.
        A list or tuple whose entries are arrays, of two dimensions or more
        each, is several images with one model: of any shapes, numpy or dask,
        with the same channels and dtype. Nested lists of numbers are one image;
        stack slices to have them as one.
    n_clusters : int, default 8
        From 1 to 65535.
    rgb : bool, optional
        Whether the last axis is red, green, blue and perhaps alpha. None
        guesses as ``viewer.add_image`` does.
    channel_axis : int, optional
        The axis of the channels of any other multichannel image.
    color_space : {"rgb", "hsv", "lab"}, default "rgb"
        Where colors are compared. "rgb" takes channel values as they are, and
        is the one for gray and other channels; "hsv" is the cone, on which hue
        is an angle; "lab" is CIELAB under D65, in which full brightness is the
        greatest value of an integer dtype, or 1 for floats. Integers of more
        than 16 bits, and nested lists, have to be converted for "lab" to the
        dtype that their values mean.
    normalize : {"none", "zscore", "percentile"}, default "none"
        How channels are scaled before they are compared, in "rgb" alone:
        "zscore" by their mean and standard deviation, "percentile" by their
        1st and 99th percentile, over all pixels that are not left out.
    balance : float, default 0
        From 0, plain K-means, where every pixel counts, to 1, where every
        color does: a cell of color space (of 16 along each axis) weighs as
        its number of pixels to the power of 1 - `balance`. Rare colors then
        get clusters of their own. Cost and table are of the pixels all the same.
    method : {"coreset", "full"}, default "coreset"
        Whether a weighted sample of the pixels is fitted, or all of them.
    coreset_size : int or "auto", default "auto"
        Pixels in the sample; "auto" takes 500 per cluster and at least 10,000.
        For "full" it is the size of the sample on which restarts are compared.
    mask : array of the image's spatial shape, optional
        Zero or False where a pixel is left out. So are pixels of alpha 0, those
        with a NaN or an infinity in any channel, and those masked in an image
        of `numpy.ma`. For several images a
        list with a mask or None for each.
    init : {"k-means++", "random"} or (K, C) array, default "k-means++"
        Where to start: seeds far apart, distinct pixels at random, or these
        colors in channel units. With an array there is one run.
    n_init : int or "auto", default "auto"
        Restarts, of which the best is kept; "auto" takes 30, fewer
        beyond 8 clusters and at least 4. More than one are
        run on a summary of what is to be fitted, where swaps of centers and moves of
        single points then lower the cost further; the best goes on from there to
        what is to be fitted. A single restart is run there at once, and is the plain
        algorithm of Lloyd.
    max_iter : int, default 300
        Iterations after which a run that has not converged is stopped.
    tol : float, default 1e-4
        A run stops once the summed squared motion of the centers is at most
        this times the mean variance of the features.
    random_state : int or None, default 0
        The same seed gives the same result; None draws anew.
    summary : Summary, optional
        What `summarize` gave for this image, which then is not read for the fit
        again, unless more clusters than 20 ask for a larger sample; where its
        channels are and its mask are those of the summary. The labels are those
        without a summary.
    progress : callable, optional
        ``progress(done, total)``, called from this thread; an exception that
        it raises cancels the work and is passed on.

    Returns
    -------
    Segmentation

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or an option cannot be used; the message names
        it, gives its value and says what to do.
    OSError
        If a chunk of a dask array cannot be read, or if its shape or its values
        are not those of the dtype and the chunks that the array declares; the
        message says which.

    Warns
    -----
    UserWarning
        If fewer clusters come out than were asked for.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM",
       :doi:`10.1109/TIT.1982.1056489`.
    .. [2] O. Bachem, M. Lucic, A. Krause, "Practical Coreset Constructions for
       Machine Learning", :arxiv:`1703.06476`.

    Examples
    --------
    >>> from skimage import data
    >>> segmentation = segment(data.coffee(), n_clusters=8)
    >>> segmentation.labels.shape
    (400, 600)
    """
    options = Options(
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
    report = Progress(progress)
    with shared_pool():
        if summary is None:
            images = open_images(image, rgb=rgb, channel_axis=channel_axis, mask=mask)
            check_together(images[0], options)
            summary = summarize_pixels(images, options, report)
        else:
            check_summary(summary, image, rgb=rgb, channel_axis=channel_axis, mask=mask)
            check_together(summary.images[0], options)
            summary = summary.with_options(options)
        segmentation = _segment(summary, report)
    if are_several(image):
        return segmentation
    (labels,), (recolored,) = segmentation.labels, segmentation.recolored
    return replace(segmentation, labels=labels, recolored=recolored)


def summarize(
    image: Any,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    color_space: str = Options.color_space,
    normalize: str = Options.normalize,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    random_state: int | None = Options.random_state,
    progress: Report | None = None,
) -> Summary:
    """Read an image, or several, once, to segment them several times.

    Where the distinct colors can be counted, any options will do for
    `segment` afterwards. Elsewhere `method`, `normalize` and what a sample
    depends on (`color_space`, `coreset_size`, `random_state`) have to stay.

    Parameters
    ----------
    image, rgb, channel_axis, color_space, normalize
    method, coreset_size, mask, random_state, progress
        As in `segment`.

    Returns
    -------
    Summary
        For ``segment(image, n_clusters, summary=summary)``.

    Raises
    ------
    TypeError, ValueError
        As `segment` does.

    Examples
    --------
    >>> from skimage import data
    >>> image = data.coffee()
    >>> summary = summarize(image)
    >>> pictures = [segment(image, k, summary=summary).recolored for k in (2, 5, 10)]
    """
    options = Options(
        n_clusters=1,
        color_space=color_space,
        normalize=normalize,
        method=method,
        coreset_size=coreset_size,
        random_state=random_state,
    )
    # For how many clusters a sample has to do is not known yet.
    n_clusters = min(Options.n_clusters, options.resolved_coreset_size)
    options = replace(options, n_clusters=n_clusters)
    images = open_images(image, rgb=rgb, channel_axis=channel_axis, mask=mask)
    check_together(images[0], options)
    report = Progress(progress)
    summary = summarize_pixels(images, options, report)
    report.finish()
    return summary


def check_summary(summary: Summary, image: Any, **given: Any) -> None:
    """Check that a summary is of this image, and not contradicted."""
    if not isinstance(summary, Summary):
        raise TypeError(
            f"summary must be what summarize returned, or None, got {quote_value(summary)}: "
            "leave it out to read the image."
        )
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} must be None where a summary is given, got {quote_value(value)}: "
                "give it to summarize instead."
            )
    given_images = image if are_several(image) else [image]
    shapes = [tuple(np.shape(item)) for item in given_images]
    expected = [item.given_shape for item in summary.images]
    if shapes != expected:
        raise ValueError(
            f"image must be the one of the summary, of shape {_listed(expected)}, got "
            f"{_listed(shapes)}: summarize this image anew."
        )


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


def check_together(pixels: Pixels, options: Options) -> None:
    """Check what neither the image nor the options can tell alone."""
    if options.color_space != "rgb" and not pixels.rgb:
        raise ValueError(
            f"color_space must be 'rgb' for an image without color, got {options.color_space!r}: "
            "use 'rgb', which compares any channels, or pass rgb=True."
        )
    if options.color_space == "lab" and not has_known_white(pixels.dtype):
        raise ValueError(
            "color_space must be 'rgb' or 'hsv' for integers of more than 16 bits, got 'lab' for "
            f"{pixels.dtype}: convert the image to the dtype that its values mean, such as "
            "np.uint8 for 0 to 255 or np.uint16 for 0 to 65535."
        )
    if not isinstance(options.init, str) and options.init.shape[1] != pixels.n_channels:
        raise ValueError(
            f"init must have one column for each of the image's {pixels.n_channels} channels, "
            f"got {options.init.shape[1]}: give colors in the channels of the image."
        )
    if not isinstance(options.init, str) and options.color_space != "rgb":
        _check_start(options, white_of(pixels.dtype))


def _check_start(options: Options, white: float) -> None:
    """Check that the colors to start from can be converted."""
    for value in (options.init.min(), options.init.max()):  # type: ignore[union-attr]
        if not 0 <= value <= white:
            raise ValueError(
                f"init must have channels from 0 to {white:g} in {options.color_space}, got "
                f"{value:g}: give colors in the units of the image."
            )


def _segment(summary: Summary, progress: Progress) -> Segmentation:
    """Return the segmentation of all images of a summary, with lists of labels and recolored."""
    images, options = summary.images, summary.options
    fit = summary.fit(progress.stage(0.3, options.resolved_n_init))
    tally_step = progress.stage(0.2, count_steps(images))
    tally = summary.tally(fit, tally_step)
    if np.count_nonzero(tally.counts) < options.n_clusters:
        refilled = summary.refill(fit, tally, tally_step)
        if refilled is not None:
            fit, tally = refilled, summary.tally(refilled, tally_step)
    used = np.flatnonzero(tally.counts)
    used = used[sort_dark_to_bright(tally.means[used], images[0].rgb)]
    if len(used) < options.n_clusters:
        notice(
            f"n_clusters={options.n_clusters} gave {len(used)} clusters: "
            "there are no more distinct colors that float64 can tell apart.",
            stacklevel=3,
        )
    model = KMeansModel(
        cluster_centers_=fit.centers[used],
        palette=tally.means[used],
        inertia_=tally.cost,
        n_iter_=fit.n_iter,
        color_space=options.color_space,
        rgb=images[0].rgb,
        channel_axis=images[0].channel_axis,
        dtype=images[0].dtype.newbyteorder("="),
        normalize=options.normalize,
        offset=summary.space.offset,
        scale=summary.space.scale,
    )
    ranks = np.empty(len(fit.centers), np.int64)
    ranks[used] = np.arange(len(used))
    painters = summary.painters(model.cluster_centers_, tally, ranks)
    step = progress.stage(0.2, sum(len(pixels.blocks()) for pixels in images))
    painted = [
        paint(pixels, painter, model.palette, step)
        for pixels, painter in zip(images, painters, strict=True)
    ]
    progress.finish()
    distortion = summary.distortion(fit, tally)
    return Segmentation(
        [labels for labels, _ in painted],
        [
            pixels.channels_back(recolored)
            for (_, recolored), pixels in zip(painted, images, strict=True)
        ],
        model,
        _table(model, tally.counts[used], distortion),
        summary.coreset,
        distortion,
        options,
        summary.shown,
    )


def _table(model: KMeansModel, counts: NDArray[np.int64], distortion: float) -> pd.DataFrame:
    table = table_of(model, counts)
    table.attrs.update(inertia=model.inertia_, distortion=distortion)
    return table


def table_of(model: KMeansModel, counts: NDArray[np.int64]) -> pd.DataFrame:
    """Return the table of an image of which each cluster has so many pixels."""
    import pandas as pd

    percent = 100 * counts / max(counts.sum(), 1)
    values = (np.arange(1, model.n_clusters + 1), counts, percent)
    columns: dict[str, Any] = dict(zip(COUNT_COLUMNS, values, strict=True))
    for name, means in zip(channel_names(model), model.palette.T, strict=True):
        columns[f"mean {name}"] = means
    columns[COLOR_COLUMN] = to_hex(model.colors)
    return pd.DataFrame(columns)


def channel_names(model: KMeansModel) -> list[str]:
    """Return what the channels of a model's images are called."""
    if model.rgb:
        return ["red", "green", "blue"]
    if model.channel_axis is None:
        return ["intensity"]
    return [f"channel {number}" for number in range(model.n_channels)]
