"""Cluster an image: an array and options in, a `Segmentation` out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.clustering.rehearsal import kernels_of_fit
from napari_kmeans.execution.memory import claim
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.imaging.blocks import are_several, open_images
from napari_kmeans.imaging.channel_names import check_channel_names
from napari_kmeans.imaging.chunks import count_steps
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.imaging.colors import sort_dark_to_bright
from napari_kmeans.imaging.label_tally import clean_and_tally
from napari_kmeans.imaging.painting import make_results, paint, recolor_image
from napari_kmeans.measuring import cluster_table
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import SUMMARY_OPTIONS, Options, check_names, show_options
from napari_kmeans.summary import Colors, Summary, summary_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.clustering.lloyd import Fit
    from napari_kmeans.imaging.sampling import Coreset
    from napari_kmeans.imaging.tally import Tally
    from napari_kmeans.options import SummaryValues
    from napari_kmeans.types import Floats

_LEAST_CLAIMED, _MOST_CLAIMED = 2**22, 2**27
"""Bytes of the images for whose results memory is claimed during the search. For 12 megapixels in
RGB this saves 6 % of the time, for 192 MB of floats nothing."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The clusters of one image, or of several images with one model.

    Attributes
    ----------
    labels : array of unsigned integers, of the image's spatial shape
        1…K from dark to bright; 0 for pixels that are left out or undecided.
    recolored : array of the image's shape and dtype
        Each pixel in the mean color of its cluster. Pixels that are left out or undecided,
        and alpha, are unchanged.
    model : KMeansModel
        The centers and the palette.
    table : pandas.DataFrame
        One row per cluster: `index` (the label), `pixels`, `percent` (of the pixels
        that have a label), the mean of each channel in channel units, and `color`
        as #rrggbb. With `min_confidence`, the column `undecided` holds the number of pixels
        that belong to the cluster, but were left undecided: they do not count in the other
        columns. Its `attrs` hold the inertia and the distortion.
    coreset : Coreset or None
        The points that were fitted; None for ``method="full"``.
    distortion : float
        The larger of two costs of the centers divided by the smaller: their cost on the
        coreset and their cost on all pixels, ``model.inertia_``. NaN if the labels were
        painted with a model that was fitted to another image.
    options : Options
        The options of the fit.
    colors : Colors or None
        `points` (m, C) in channel units, with a texture or a position (m, F) as in `Coreset`, and
        their `weights` (m,), which show the distribution of the colors of all pixels: the coreset,
        or for "full" the cells of color space or every n-th pixel. None if no colors are in
        memory, as for a dask image of too many colors to count.
    starts : (M,) int64 array or None
        For an array `init`, the row from which each center started, in the order of the
        centers of the model. None for starts that were drawn.

    Labels and recolored are lazy dask arrays, with the chunks of the image, if the
    image is a dask array. For several images, and for the levels of a multiscale layer,
    they are lists in the same order. All other attributes are of all images together.
    """

    labels: Any
    recolored: Any
    model: KMeansModel
    table: pd.DataFrame
    coreset: Coreset | None
    distortion: float
    options: Options
    colors: Colors | None = None
    starts: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        arrays = self.labels if isinstance(self.labels, list) else [self.labels]
        shapes = ", ".join(str(array.shape) for array in arrays[:3])
        more = ", …" if len(arrays) > 3 else ""
        return (
            f"Segmentation(n_clusters={self.model.n_clusters}, labels of shape {shapes}{more}, "
            f"method={self.options.method!r}, color_space={self.options.color_space!r}, "
            f"inertia={self.model.inertia_:.6g})"
        )


def segment(
    image: Any,
    n_clusters: int = Options.n_clusters,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
    color_space: str = Options.color_space,
    normalize: str = Options.normalize,
    blur: float | tuple[float, ...] = Options.blur,
    texture: float = Options.texture,
    position: float = Options.position,
    smoothing: float = Options.smoothing,
    min_size: int = Options.min_size,
    min_area: float = Options.min_area,
    min_size_classes: tuple[int, ...] | None = Options.min_size_classes,
    min_confidence: float = Options.min_confidence,
    refits: int = Options.refits,
    spacing: float | tuple[float, ...] = Options.spacing,
    balance: float = Options.balance,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    init: Any = Options.init,
    keep_init: bool = Options.keep_init,
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
        A boolean, integer or floating point array of any number of dimensions: numpy,
        anything that converts to numpy, or dask, which is read chunk by chunk by the
        active scheduler, or by the cluster of the active Client. Values must lie
        between -1e100 and 1e100. The image is not changed.
        A list or tuple of arrays with two or more dimensions each means several images
        that share one model. They may have any shapes, and need the same channels and dtype. Nested
        lists of numbers are one image. To cluster slices as one volume, stack them.
    n_clusters : int, default 8
        The number of clusters K, from 1 to 65535.
    rgb : bool, optional
        Whether the last axis is red, green, blue and perhaps alpha. None guesses in
        the same way as ``viewer.add_image``.
    channel_axis : int, optional
        The axis of the channels of a multichannel image that is not RGB.
    channel_names : sequence of str, optional
        The names of these channels, for the table and the model. Give "" for a channel
        without a name.
    color_space : {"rgb", "hsv", "lab"}, default "rgb"
        The space in which colors are compared. "rgb" compares channel values; use it for
        gray and for other channels. "hsv" compares points of the HSV cone, in which hue is
        an angle. "lab" is CIELAB under D65. There, full brightness is the largest value of
        an integer dtype, or 1 for floats. For "lab", convert integers of more than 16 bits
        and nested lists to the unsigned dtype of their range, for example ``np.uint8`` for
        0 to 255.
    normalize : {"none", "zscore", "percentile"}, default "none"
        The scaling of the channels before they are compared, in "rgb" only: by mean and
        standard deviation ("zscore"), or by the 1st and 99th percentile ("percentile"),
        of all pixels that are not left out.
    blur : float, or one float for each spatial axis, default 0
        The standard deviation of a Gaussian, in pixels, from 0 to 100. The blurred channel
        values are compared. The table and the recolored image are of the original pixels.
        Pixels that are left out do not contribute. Give 0 for an axis of time.
    texture : float, default 0
        The weight of texture, from 0 to 100. Each channel then has two features: its blurred
        value and, times `texture`, its local contrast. The local contrast is the root of the
        mean squared difference of neighboring pixels, divided by the root of 2, in the
        Gaussian window of `blur`, which must not be 0. It is in channel units: that of white
        noise is the standard deviation of the noise. With a weight of 1, a level of contrast
        counts as much as a level of color. In "lab" a level is a hundredth of full
        brightness. Channels that are scaled have contrasts with the same scale.
    position : float, default 0
        The weight of the place of a pixel, from 0 to 1000. Each axis of space then has a feature:
        `position` times the place of the pixel along the axis, divided by the length of the
        longest axis of space, times the full range of a channel. With 1, two pixels at opposite
        ends of the longest axis differ as much as black and white in one channel. Lengths are
        numbers of pixels times `spacing`, and an axis of spacing 0, such as time, is not one of
        space. The full range is 255 for uint8, 1 for floats, 100 in "lab", and one unit of the
        scale of the channels with `normalize`. The place is relative to the image: it does not
        depend on the number of pixels.
    smoothing : float, default 0
        How much neighboring pixels prefer the same class: the cost of each pair of neighbors of
        different classes, where the squared distance of a pixel from its class costs 0.5 per
        variance within the clusters. 0 labels each pixel by its own color. 1 removes speckles
        of single pixels, 2 to 3 suit strong noise. See `napari_kmeans.imaging.smoothing.Smoother`.
        The slices of a stack are neighbors, too, unless `spacing` is 0 for their axis. The table
        and the recolored image are those of the smoothed labels.
    min_size : int, default 0
        The smallest size of a region in pixels. A region is a set of pixels of one class that
        are connected through sides, edges or corners. A smaller region, such as a hole, gets the
        class that surrounds it most. At most 512 for a dask image, whose chunks are read with
        the pixels around them. See `napari_kmeans.imaging.regions.RegionFilter`.
    min_area : float, default 0
        The smallest area of a region in squared units of `spacing`; in a volume, the smallest
        volume in cubed units. It is the number of pixels `min_area` divided by the size of a
        pixel, rounded up: a region of exactly `min_area` stays. With `min_size`, the larger
        number counts. The model keeps the area, so that `model.with_spacing` gives the number
        of pixels for an image with another size of pixels.
    min_size_classes : sequence of int, optional
        The labels of the clusters whose small regions and holes are replaced; None for all. A
        small region of another cluster stays, however small it is. Clusters are numbered from
        dark to bright. Merged clusters are one class, which is chosen if all of them are.
    min_confidence : float, default 0
        The least confidence, from 0 to 0.99, of a pixel in its class: a pixel with less is left
        undecided. It gets label 0 and is counted in the column `undecided` of the table. The
        confidence is that of `KMeansModel.confidence`: 0 for a pixel between two classes, 1 for
        a pixel on a center. With `smoothing`, the classes of its neighbors count, too. 0 decides
        all pixels. Pixels are decided last, and the centers are those of all pixels.
    refits : int, default 0
        How many times the centers move to the mean colors of the classes after `smoothing`,
        `min_size` and `min_area`, and the image is labeled and cleaned again; at most 100. It ends
        earlier if no color changes. Without these three options, nothing is fitted again. Noise
        moves the centers of a plain fit away from the true colors, above all those of rare
        classes; the means of regions have less noise. These are the steps of the
        expectation-maximization of a hidden Markov random field [3]_ with hard labels. Not
        possible with `texture`, `position` or `keep_init`.
    spacing : float, or one float for each spatial axis, default 1
        The distance of neighboring pixels along each axis, in any unit. `smoothing` and
        `position` compare these distances: farther neighbors count less. Their product is the
        size of a pixel for `min_area`. Give 0 for an axis of time, along which pixels are not
        neighbors, also not in a region, and have no place.
    balance : float, default 0
        The weight of rare colors. With 0, every pixel counts the same (plain K-means).
        With 1, every cell of color space (16 along each axis) that contains pixels counts
        the same. In between, a cell with n pixels has the weight n to the power of
        1 - `balance`. Rare colors then get clusters of their own. The inertia and the
        table still count every pixel once.
    method : {"coreset", "full"}, default "coreset"
        Whether to fit weighted points that represent all pixels, or all pixels.
    coreset_size : int or "auto", default "auto"
        The number of points in the coreset; "auto" takes at least 500 per cluster and at
        least 10,000, and ends with a fit to all colors if there are at most 262,144. For
        "full", the size of the sample on which restarts are compared;
        restarts of many clusters may use a larger sample.
    mask : array of the image's spatial shape, optional
        Zero or False where a pixel is left out. Pixels with alpha 0, with NaN or infinity
        in any color channel, and masked pixels of a `numpy.ma` image are left out, too.
        For several images, a list with a mask or None for each.
    init : {"k-means++", "random"} or (K, C) array, default "k-means++"
        The start: seeds far apart, random distinct pixels, or these colors in channel
        units. An array is run once. Its colors are only the start: the centers move to the
        colors of the image, and `starts` of the result has the row of each center. `keep_init`
        keeps the colors.
    keep_init : bool, default False
        Whether to keep the colors in the array `init` as the centers: a fixed palette, whose
        nearest color each pixel is assigned to. The recolored image and the table have the mean
        colors of the pixels.
    n_init : int or "auto", default "auto"
        The number of restarts, of which the best is kept. "auto" takes 30 for up to 8
        clusters, and down to 2 for more. Restarts run on a summary of the points, where a
        local search then lowers the cost of the best of them by swaps of centers and moves of
        single points. The best result continues on the points themselves, and on the colors of
        an image with up to 262,144 distinct colors. A single restart runs on the
        points at once: the plain algorithm of Lloyd [1]_. Where colors are not counted, it runs
        on a sample of the pixels first. An image with one channel is
        solved exactly: `n_init`, `max_iter`, `tol` and the words of `init` have no effect.
    max_iter : int, default 300
        The number of iterations after which a run stops even if it has not converged.
    tol : float, default 1e-4
        A run has converged when the summed squared motion of the centers is at most this
        times the mean variance of the features.
    random_state : int or None, default 0
        The same seed gives the same result. None takes a new seed every time.
    summary : Summary, optional
        The result of `summarize` for this image. The image is then not read again for the
        fit, unless more than 20 clusters need a larger sample. `rgb`,
        `channel_axis` and `mask` must be None: the values given to `summarize` are used. The
        labels are the same
        as without a summary.
    progress : callable, optional
        ``progress(done, total)``, called from the calling thread. An exception that it
        raises cancels the work and is passed on.

    Returns
    -------
    Segmentation

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or an option cannot be used. The message names it, gives
        its value and says what to do.
    OSError
        If a chunk of a dask array cannot be read, or does not have the shape or the dtype
        that the array declares. The message names the chunk.

    Warns
    -----
    UserWarning
        If there are fewer clusters than asked for.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM",
       :doi:`10.1109/TIT.1982.1056489`.
    .. [2] O. Bachem, M. Lucic, A. Krause, "Practical Coreset Constructions for
       Machine Learning", :arxiv:`1703.06476`.
    .. [3] Y. Zhang, M. Brady, S. Smith, "Segmentation of brain MR images through a hidden
       Markov random field model and the expectation-maximization algorithm",
       :doi:`10.1109/42.906424`.

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
        blur=blur,
        texture=texture,
        position=position,
        smoothing=smoothing,
        min_size=min_size,
        min_area=min_area,
        min_size_classes=min_size_classes,
        min_confidence=min_confidence,
        refits=refits,
        spacing=spacing,
        balance=balance,
        method=method,
        coreset_size=coreset_size,
        init=init,
        keep_init=keep_init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
    )
    return segment_with_options(
        image,
        options,
        rgb=rgb,
        channel_axis=channel_axis,
        channel_names=channel_names,
        mask=mask,
        summary=summary,
        progress=progress,
    )


def segment_with_options(
    image: Any,
    options: Options,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    channel_names: Sequence[str] | None = None,
    mask: Any = None,
    summary: Summary | None = None,
    progress: Report | None = None,
) -> Segmentation:
    """Cluster the colors of an image, as `segment` does, with options that are validated.

    The dock, the command line and stacks pass their options as one object.
    """
    options.check_classes()
    stages = Progress(progress)
    names: tuple[str, ...] = ()
    if channel_names is not None:
        # Check the names before the image is read.
        if isinstance(summary, Summary):
            pixels = summary.images[0]
        else:
            pixels = open_images(image, rgb=rgb, channel_axis=channel_axis, mask=mask)[0]
        names = check_channel_names(channel_names, pixels.n_channels, pixels.rgb)
    with shared_pool(), kernels_of_fit():
        summary = summary_for(
            image, options, summary, stages, rgb=rgb, channel_axis=channel_axis, mask=mask
        )
        if options.refits and Cleaning.of(options).moves_pixels:
            first, *others = stages.split(options.refits + 2)
            # Undecided pixels would not count in the mean colors.
            plain = summary.with_options(replace(options, refits=0, min_confidence=0.0))
            segmentation = _refit(summary, segment_summary(plain, first, names), others)
            stages.finish()
        else:
            segmentation = segment_summary(summary, stages, names)
    if are_several(image):
        return segmentation
    (labels,), (recolored,) = segmentation.labels, segmentation.recolored
    return replace(segmentation, labels=labels, recolored=recolored)


@show_options(SUMMARY_OPTIONS)
def summarize(
    image: Any,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    progress: Report | None = None,
    **options: Unpack[SummaryValues],
) -> Summary:
    """Read one or more images once, so that they can be segmented several times.

    `blur`, `texture` and `position` have to stay the same, and with a position `spacing`. If
    there is none of these and the distinct colors can be counted, `segment` may use any other
    options afterwards. Otherwise some options have to stay the same, too: `method` and
    `normalize`, for dask images also `color_space`, and for a coreset all options of this
    function.

    Parameters
    ----------
    image, rgb, channel_axis, mask, progress
        As in `segment`.
    color_space, normalize, blur, texture, position, spacing, method, coreset_size, random_state
        As in `segment`.

    Returns
    -------
    Summary
        For ``segment(image, n_clusters, summary=summary)``.

    Raises
    ------
    TypeError, ValueError
        If the image, the mask or an option cannot be used.

    Examples
    --------
    >>> from skimage import data
    >>> image = data.coffee()
    >>> summary = summarize(image)
    >>> pictures = [segment(image, k, summary=summary).recolored for k in (2, 5, 10)]
    """
    check_names(SUMMARY_OPTIONS, options)
    return summarize_with_options(
        image,
        # A single cluster is compatible with any size of the coreset.
        Options(n_clusters=1, **options),
        rgb=rgb,
        channel_axis=channel_axis,
        mask=mask,
        progress=progress,
    )


def summarize_with_options(
    image: Any,
    options: Options,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    progress: Report | None = None,
) -> Summary:
    """Read one or more images once, as `summarize` does, with options that are validated."""
    stages = Progress(progress)
    summary = summary_for(
        image,
        options.for_summary(),
        None,
        stages,
        rgb=rgb,
        channel_axis=channel_axis,
        mask=mask,
    )
    stages.finish()
    return summary


def check_image_of(segmentation: Segmentation, image: Any, mask: Any = None) -> None:
    """Check that an image is the one that was segmented, by its shape and channels.

    The image is not read.

    Parameters
    ----------
    segmentation : Segmentation
    image : array, or list of arrays
    mask : array or list, optional
        As in `segment`.

    Raises
    ------
    TypeError, ValueError
        If the image or the mask cannot be used, or if the image has another spatial shape than
        the labels or another number of channels than the model.
    """
    model, labels = segmentation.model, segmentation.labels
    axis = None if model.rgb else model.channel_axis
    images = open_images(image, rgb=model.rgb, channel_axis=axis, mask=mask)
    several = isinstance(labels, list)
    shapes = [each.shape for each in (labels if several else [labels])]
    has_channels = all(pixels.n_channels == model.n_channels for pixels in images)
    has_shapes = are_several(image) == several and [each.shape for each in images] == shapes
    if not has_shapes or not has_channels:
        raise ValueError(
            "image must be that of the segmentation, with the spatial shape "
            f"{quote_value(shapes) if several else shapes[0]} and "
            f"{model.n_channels} {'channel' if model.n_channels == 1 else 'channels'}, got "
            f"{quote_value(image)}: pass the image that was segmented."
        )


def _refit(summary: Summary, result: Segmentation, stages: list[Progress]) -> Segmentation:
    """Return the result after as many refits as the options of the summary ask for.

    Parameters
    ----------
    summary : Summary
    result : Segmentation
        The first result, in which all pixels are decided.
    stages : list of Progress
        One for each refit, and one for a last run that leaves pixels undecided.
    """
    options, min_confidence = result.options, summary.options.min_confidence
    *stages, last = stages
    for stage in stages:
        before, colors = result, result.model.center_palette
        options = replace(options, n_clusters=len(colors), init=colors, keep_init=True)
        result = _segment_again(summary.with_options(options), before, stage)
        if np.array_equal(result.model.center_palette, colors):
            break
    if min_confidence:
        options = replace(options, min_confidence=min_confidence)
        result = _segment_again(summary.with_options(options), before, last)
    return replace(result, options=summary.options)


def _segment_again(summary: Summary, before: Segmentation, progress: Progress) -> Segmentation:
    """Segment all images of a summary whose start colors are those of the classes of `before`."""
    fit, tally, _ = _fit_and_tally(summary, progress)
    used = _sort_used(summary, fit, tally)
    starts = None if before.starts is None else before.starts[used]
    fit = replace(fit, n_iter=before.model.n_iter_)
    return _segment_by_fit(summary, fit, tally, used, starts, progress, before.model.channel_names)


def segment_summary(
    summary: Summary, progress: Progress, channel_names: tuple[str, ...] = ()
) -> Segmentation:
    """Segment all images of a summary; labels and recolored images are lists."""
    options = summary.options
    results = _make_small_results(summary)
    with claim([array for pair in results for array in pair]):
        fit, tally, starts = _fit_and_tally(summary, progress)
    used = _sort_used(summary, fit, tally)
    if options.keep_init and len(used) < options.n_clusters:
        unused = sorted({*range(options.n_clusters)} - {*used.tolist()})
        notice(
            f"keep_init=True gave {len(used)} of {options.n_clusters} clusters: no pixel is "
            f"nearest to the colors in the rows {quote_value(unused)} of init.",
            stacklevel=4,
        )
    elif len(used) < options.n_clusters:
        notice(
            f"n_clusters={options.n_clusters} gave {len(used)} "
            f"{'cluster' if len(used) == 1 else 'clusters'}: there are no more distinct colors in "
            "float64.",
            stacklevel=4,
        )
    starts = None if starts is None else starts[used]
    return _segment_by_fit(summary, fit, tally, used, starts, progress, channel_names, results)


def _make_small_results(summary: Summary) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return arrays for the labels and the recolored image of each image, or an empty list.

    They take memory during the search: with larger ones, a run could fail that needs no more memory
    than there is. And the search ends before the memory of larger ones is claimed.
    """
    images = summary.images
    n_bytes = sum(pixels.array.nbytes for pixels in images)
    is_small = _LEAST_CLAIMED <= n_bytes <= _MOST_CLAIMED
    if not is_small or not Cleaning.of(summary.options).is_off:
        return []
    if any(pixels.is_lazy or not pixels.array.flags.c_contiguous for pixels in images):
        return []
    return [make_results(pixels, summary.options.n_clusters) for pixels in images]


def _sort_used(summary: Summary, fit: Fit, tally: Tally) -> NDArray[np.int64]:
    """Return the indices of the centers that have pixels, in the order of their labels."""
    used = np.flatnonzero(tally.counts)
    return used[sort_dark_to_bright(tally.means[used], summary.images[0].rgb, fit.centers[used])]


def _segment_by_fit(
    summary: Summary,
    fit: Fit,
    tally: Tally,
    used: NDArray[np.int64],
    starts: NDArray[np.int64] | None,
    progress: Progress,
    channel_names: tuple[str, ...],
    results: Sequence[tuple[NDArray[Any], NDArray[Any]] | None] = (),
) -> Segmentation:
    """Label and clean all images by the centers `used` of a fit; see `paint` for `results`."""
    images = summary.images
    model = replace(_make_model(summary, fit, tally, used), channel_names=channel_names)
    counts, undecided = tally.counts[used], None
    # The ranks of centers without pixels are never read.
    ranks = np.empty(len(fit.centers), np.int64)
    ranks[used] = np.arange(len(used))
    painters = summary.painters(model.cluster_centers_, tally, ranks)
    step = progress.stage(0.2, sum(len(pixels.blocks()) for pixels in images))
    painted = [
        paint(pixels, painter, model.palette if model.cleaning.is_off else None, step, room)
        for pixels, painter, room in zip(
            images, painters, results or [None] * len(images), strict=True
        )
    ]
    if not model.cleaning.is_off:
        cleaner = model.cleaner()
        marked, cleaned_tally, undecided = clean_and_tally(
            cleaner,
            images,
            [labels for labels, _ in painted],
            replace(tally, counts=tally.counts[used], sums=tally.sums[used]),
            step,
        )
        counts = cleaned_tally.counts
        # A class that has lost all its pixels keeps its color.
        palette = np.where(counts[:, None] > 0, cleaned_tally.means, model.center_palette)
        model = replace(model, center_palette=palette, center_pixels=counts)
        cleaned = [cleaner.drop_undecided(labels) for labels in marked]
        are_labeled = int(counts.sum()) == sum(pixels.n_pixels for pixels in images)
        painted = [
            (labels, recolor_image(pixels, labels, palette, are_labeled=are_labeled))
            for pixels, labels in zip(images, cleaned, strict=True)
        ]
    progress.finish()
    distortion = summary.distortion(fit, tally)
    table = cluster_table(model, counts, undecided)
    table.attrs.update(inertia=model.inertia_, distortion=distortion)
    return Segmentation(
        [labels for labels, _ in painted],
        [
            pixels.channels_back(recolored)
            for (_, recolored), pixels in zip(painted, images, strict=True)
        ],
        model,
        table,
        summary.coreset,
        distortion,
        summary.options,
        summary.color_sample,
        starts,
    )


def _fit_and_tally(
    summary: Summary, progress: Progress
) -> tuple[Fit, Tally, NDArray[np.int64] | None]:
    """Fit a summary, again if clusters stay empty, and count the pixels of each cluster.

    Return also the row of the start colors from which each center started, or None.
    """
    options = summary.options
    fit = summary.fit(progress.stage(0.3, options.resolved_n_init))
    step = progress.stage(0.2, count_steps(summary.images))
    tally = summary.tally(fit, step)
    start = summary.start
    if np.count_nonzero(tally.counts) < options.n_clusters and not options.keep_init:
        refilled = summary.refill(fit, tally, step)
        if refilled is not None:
            starts = None if start is None else _match_starts(refilled.centers, start)
            return refilled, summary.tally(refilled, step), starts
    return fit, tally, None if start is None else np.arange(len(start))


def _match_starts(centers: Floats, start: Floats) -> NDArray[np.int64]:
    """Return the start (K, F) of each center (m, F) that does not come from a run: the nearest."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return np.asarray(linear_sum_assignment(cdist(centers, start))[1], np.int64)


def _make_model(summary: Summary, fit: Fit, tally: Tally, used: NDArray[np.int64]) -> KMeansModel:
    """Return the model of the centers `used`, in the order of their labels."""
    pixels, cleaning = summary.images[0], Cleaning.of(summary.options).with_centers(len(used))
    if summary.space.position:
        cleaning = replace(cleaning, spacing=summary.space.spacing)
    return KMeansModel(
        cluster_centers_=fit.centers[used],
        center_palette=tally.means[used],
        inertia_=tally.cost,
        n_iter_=fit.n_iter,
        space=summary.space,
        rgb=pixels.rgb,
        channel_axis=pixels.channel_axis,
        dtype=pixels.dtype.newbyteorder("="),
        normalize=summary.options.normalize,
        center_pixels=tally.counts[used],
        cleaning=cleaning,
        # A plain float: models check the types of their entries.
        variance=float(tally.cost / (tally.counts.sum() * fit.centers.shape[1])),
    )
