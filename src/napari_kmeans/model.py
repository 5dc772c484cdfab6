"""The fitted model: centers, classes, and the labels of any image with the same channels."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import RealNumber, check_path, quote_value, to_array
from napari_kmeans.classes import ClassScheme
from napari_kmeans.clustering.soft import (
    NOTHING_AROUND,
    Around,
    find_confidence,
    find_memberships,
)
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, Report, Step, ignore
from napari_kmeans.feature_space.colors import white_of
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.imaging.blocks import Pixels, as_array, open_pixels
from napari_kmeans.imaging.cleaning import NO_CLEANING, Cleaner, Cleaning
from napari_kmeans.imaging.colors import display_colors
from napari_kmeans.imaging.far_colors import find_far_share
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.label_tally import clean_and_tally, tally_cleaned
from napari_kmeans.imaging.painting import (
    Painter,
    label_dtype,
    number_labels,
    paint,
    recolor_image,
    renumber_labels,
    round_to,
)
from napari_kmeans.imaging.pixelwise import map_pixels
from napari_kmeans.imaging.tally import weighted_means
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.model_json import (
    EXTENDED_VERSION,
    FORMAT,
    NO_MODEL,
    VERSION,
    check_entries,
    read_json,
)
from napari_kmeans.options import OPTIONS, Options, check_texture, plain_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.clustering.center_splits import CenterSplit
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.tally import Tally
    from napari_kmeans.types import Floats

_EXPONENT = RealNumber(1.01, 100.0)


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """Cluster centers, their classes, and what is needed to apply them to another image.

    Attributes
    ----------
    cluster_centers_ : (M, F) float64 array
        The centers in the units of the clustering space. For rgb, gray and other
        channels without scaling these are channel units: 0…255 for uint8.
    center_palette : (M, C) float64 array
        The mean color of the pixels of each center, in channel units. Centers are in
        the order from dark to bright.
    inertia_ : float
        The sum of the squared distances of all pixels to their nearest center, in
        squared units of the clustering space.
    n_iter_ : int
        The number of iterations of the last run of Lloyd's algorithm.
    space : FeatureSpace
        The space in which pixels are compared.
    rgb : bool
        Whether the channels are red, green and blue.
    channel_axis : int or None
        The axis of the channels in an image; None for gray.
    dtype : numpy.dtype
        The dtype of the image that was fitted.
    normalize : {"none", "zscore", "percentile"}
        The kind of scaling of the channels.
    center_pixels : (M,) int64 array or None
        The number of pixels of each center in the fit: its weight in the color of a
        class of several centers. None if it is not known; centers then weigh the same.
    edited_classes : ClassScheme or None
        The classes; None if each center is a class without a name. See `classes`.
    splits : tuple of CenterSplit
        The classes that `split_anew` clustered inside themselves. Their earlier centers
        decide which pixels the new centers compete for.
    channel_names : tuple of C str
        The names of the channels, "" for a channel without a name. Empty if they are not
        known, and for red, green and blue.
    cleaning : Cleaning
        How the labels of the nearest centers are turned into regions.
    variance : float
        The variance of the pixels within their clusters, per feature, in squared units of the
        clustering space. Smoothing compares distances with it.
    fit : mapping or None
        How the centers were fitted to the images of a study: plain values, see
        `napari_kmeans.batch.fitting.describe_fit`. None if it is not known.
    """

    cluster_centers_: Floats
    center_palette: Floats
    inertia_: float
    n_iter_: int
    space: FeatureSpace
    rgb: bool
    channel_axis: int | None
    dtype: np.dtype[Any]
    normalize: str = "none"
    center_pixels: NDArray[np.int64] | None = None
    edited_classes: ClassScheme | None = None
    splits: tuple[CenterSplit, ...] = ()
    channel_names: tuple[str, ...] = ()
    cleaning: Cleaning = NO_CLEANING
    variance: float = 0.0
    fit: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        classes = "" if self.edited_classes is None else f"classes={self.edited_classes!r}, "
        names = quote_value(list(self.channel_names))
        channels = f"channel_names={names}, " if self.channel_names else ""
        return (
            f"KMeansModel(n_clusters={self.n_clusters}, {classes}color_space={self.color_space!r}, "
            f"n_channels={self.n_channels}, {channels}dtype={self.dtype.name!r}, "
            f"inertia_={self.inertia_:.6g})"
        )

    @property
    def n_clusters(self) -> int:
        """The number of classes K, merged clusters counted once."""
        return len(self.labels)

    @cached_property
    def classes(self) -> ClassScheme:
        """The class scheme: labels, names, display colors, and the centers of each class.

        `with_classes` returns the model with other classes.
        """
        if self.edited_classes is None:
            return ClassScheme.of_centers(len(self.cluster_centers_))
        return self.edited_classes

    def with_classes(self, classes: ClassScheme) -> KMeansModel:
        """Return the same centers with other classes.

        Parameters
        ----------
        classes : ClassScheme
            An edit of `classes`.

        Raises
        ------
        TypeError, ValueError
            If `classes` is no class scheme, or is that of another number of centers.

        Examples
        --------
        >>> classes = model.classes.merge([2, 3]).rename(2, "soil")
        >>> labels = model.with_classes(classes).predict(image)
        """
        if not isinstance(classes, ClassScheme):
            raise TypeError(
                f"classes must be a ClassScheme, got {quote_value(classes)}: edit the classes "
                "of a model."
            )
        n_centers = len(self.cluster_centers_)
        if classes.n_centers != n_centers:
            raise ValueError(
                f"classes must be those of {n_centers} centers, got those of "
                f"{classes.n_centers}: edit the classes of this model."
            )
        return replace(self, edited_classes=None if classes.is_unedited else classes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label of each class, (K,), in ascending order: 1…K until classes are edited."""
        if self.edited_classes is None:
            return np.arange(1, len(self.cluster_centers_) + 1)
        return np.array(self.edited_classes.labels)

    @property
    def center_labels(self) -> NDArray[np.int64]:
        """The label of each center, (M,)."""
        return self.labels if self.edited_classes is None else self.edited_classes.center_labels

    @property
    def center_classes(self) -> NDArray[np.int64]:
        """The class of each center as the index, from 0, of its row in `palette`, (M,)."""
        return np.searchsorted(self.labels, self.center_labels)

    @cached_property
    def palette(self) -> Floats:
        """The mean color of the pixels of each class, (K, C), in channel units."""
        rows = self.center_classes
        if self.n_clusters == len(rows):
            return self.center_palette[np.argsort(rows)]
        if self.center_pixels is not None:
            return weighted_means(self.center_palette, self.center_pixels, rows)
        # Add the mean difference to the first color of each class: the mean of equal
        # colors is then exactly that color, as in merged models of version 0.1.0.
        first = self.center_palette[np.unique(rows, return_index=True)[1]]
        return first + weighted_means(self.center_palette - first[rows], np.ones(len(rows)), rows)

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return int(self.center_palette.shape[1])

    @property
    def white(self) -> float:
        """The channel value of full brightness."""
        return white_of(self.dtype)

    @property
    def color_space(self) -> str:
        """The color space in which colors are compared: "rgb", "hsv" or "lab"."""
        return self.space.color_space

    @property
    def offset(self) -> tuple[float, ...]:
        """The offset of each channel, which is subtracted first; empty without scaling."""
        return self.space.offset

    @property
    def scale(self) -> tuple[float, ...]:
        """The number by which each channel is divided; empty without scaling."""
        return self.space.scale

    @property
    def blur(self) -> float | tuple[float, ...]:
        """The standard deviation of the blur in pixels, or one for each spatial axis."""
        return self.space.blur

    @property
    def texture(self) -> float:
        """The weight of the local contrast; 0 if contrasts are not compared."""
        return self.space.texture

    @property
    def position(self) -> float:
        """The weight of the place of a pixel; 0 if places are not compared."""
        return self.space.position

    @property
    def options(self) -> Options:
        """The options of the fit, with defaults for all options that a model does not store."""
        return Options(
            n_clusters=self.n_clusters,
            normalize=self.normalize,
            **self.space.options,
            **self.cleaning.options,
        )

    @property
    def colors(self) -> Floats:
        """Colors (K, 3) from 0 to 1 that show the classes on a screen."""
        return self.with_own_colors(display_colors(self.palette, self.rgb, self.dtype))

    def with_own_colors(self, colors: Floats) -> Floats:
        """Return display colors (K, 3), replaced where a class has its own display color."""
        colors = colors.copy()
        for row, each in enumerate(self.edited_classes or ()):
            if each.color is not None:
                colors[row] = np.frombuffer(bytes.fromhex(each.color[1:]), np.uint8) / 255
        return colors

    @property
    def palette_of_labels(self) -> Floats:
        """The palette with a row for each label from 1 to the largest, (L, C).

        The rows of numbers that no class has are 0.
        """
        if self.edited_classes is None:
            return self.palette
        rows = np.zeros((self.labels[-1], self.n_channels))
        rows[self.labels - 1] = self.palette
        return rows

    def predict(self, image: Any, *, mask: Any = None, progress: Report | None = None) -> Any:
        """Return the label of each pixel's nearest center.

        Parameters
        ----------
        image : array
            An image with the channels of the image that was fitted, in the same
            units. A dask array gives lazy labels.
        mask : array of the image's spatial shape, optional
            Zero or False where a pixel is left out.
        progress : callable, optional
            ``progress(done, total)``; raising from it cancels.

        Returns
        -------
        array of unsigned integers, of the image's spatial shape
            The label of the class of the nearest center: 1…K until classes are edited.
            0 for pixels outside `mask`, of alpha 0, NaN or infinite, and for pixels that are left
            undecided. The labels are cleaned if the model was fitted with `smoothing`,
            `min_size` or `min_confidence`.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            As `apply` does.

        Notes
        -----
        A pixel at exactly the same distance from two centers gets the label of the first.
        `segment` may have given it the other label, because it paints in the order
        of the fit, before labels are numbered. The cost is the same.
        """
        pixels = self.open(image, mask)
        self._warn_of_other_units(pixels)
        return self.paint(pixels, progress, recolored=False)[0]

    def apply(
        self, image: Any, *, mask: Any = None, progress: Report | None = None
    ) -> tuple[Any, Any]:
        """Paint another image: its labels, and the image in the colors of the palette.

        Parameters
        ----------
        image : array
            As for `predict`. The dtype may differ, but the units must be the same: for a
            model of uint8, the values of a float image have to be 0…255 too.
        mask, progress
            As for `predict`.

        Returns
        -------
        labels : array of unsigned integers, of the image's spatial shape
            The labels that `predict` returns.
        recolored : array of the image's shape and dtype
            Each pixel in the mean color of its class, rounded and clipped to
            the range of the dtype. Pixels that are left out or undecided, and alpha, are
            unchanged.

        Both are lazy dask arrays where the image is one, and the image is not read.
        Only if its dtype has another full brightness than the dtype of the model, a
        few chunks are read to compare the units.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            If the image seems to be in other units than the model: it has another
            dtype, and its greatest value is more than 16 times that of the model's
            palette, or less than a 16th of it. Two images of floats must have values up
            to 1 and above 16.
        """
        pixels = self.open(image, mask)
        self._warn_of_other_units(pixels)
        return self.paint(pixels, progress)

    def far_share(self, image: Any, *, mask: Any = None) -> float:
        """Return the share of an image's pixels that are far from all classes.

        Parameters
        ----------
        image, mask
            As for `predict`. Of an image with more than 262,144 pixels, up to three windows along
            each axis are read, of 64 pixels along the last two.

        Returns
        -------
        float
            The share, from 0 to 1, of pixels that are farther from their nearest center than this
            center is from the next one. A few hundredths for images like those of the fit. From 0.4
            on, the command line, studies and the dock point the image out: it may have another
            stain, exposure or scanner, or be another kind of image. NaN for a model of a single
            center or with a `position`, and if all pixels are left out.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Notes
        -----
        Background that is near a class counts as any other pixels: the share of a small section on
        a slide is small. Pixels that are near a class and mean something else are not far.

        Examples
        --------
        >>> shares = {path.name: model.far_share(imread(path)) for path in paths}
        """
        pixels = self.open(image, mask)
        return find_far_share(pixels, self.cluster_centers_, self.space, self.splits)

    def memberships(
        self,
        image: Any,
        *,
        mask: Any = None,
        exponent: float = 2.0,
        progress: Report | None = None,
    ) -> Any:
        """Return how much each pixel belongs to each class, as fuzzy c-means defines it.

        Parameters
        ----------
        image, mask, progress
            As for `predict`.
        exponent : float, default 2
            The fuzzifier, from 1.01 to 100. Near 1 a pixel belongs to one class only. Large
            numbers make all memberships equal.

        Returns
        -------
        (..., K) float32 array
            The membership in each class, in the order of `labels`, with the sum 1. It is
            proportional to ``distance ** (-2 / (exponent - 1))`` [1]_, for the distance from
            the nearest center of the class. NaN for pixels that are left out. A lazy dask
            array if the image is one.

        Raises
        ------
        TypeError, ValueError
            As `predict` raises them, if `exponent` is out of bounds, or if a class was split
            anew.

        Notes
        -----
        Only the pixel's own color counts, or its own features with `blur` and `texture`. The
        largest membership is that of the nearest class, although cleaning (`smoothing`,
        `min_size`) may have given the pixel another one.

        References
        ----------
        .. [1] J. C. Bezdek, R. Ehrlich, W. Full, "FCM: The fuzzy c-means clustering
           algorithm", :doi:`10.1016/0098-3004(84)90020-7`.

        Examples
        --------
        >>> memberships = model.memberships(image)
        >>> viewer.add_image(memberships, channel_axis=-1)
        """
        exponent = _EXPONENT.check("exponent", exponent)
        pixels = self._open_unsplit("memberships", image, mask)
        function = partial(
            find_memberships,
            centers=self.cluster_centers_,
            classes=self.center_classes,
            exponent=exponent,
        )
        stages = Progress(progress)
        step = stages.stage(1, len(pixels.blocks()))
        values = map_pixels(pixels, function, self.space, self.n_clusters, step)
        stages.finish()
        return values

    def confidence(
        self,
        image: Any,
        *,
        labels: Any = None,
        mask: Any = None,
        progress: Report | None = None,
    ) -> Any:
        """Return how sure the class of each pixel is: its simplified silhouette.

        Parameters
        ----------
        image, mask, progress
            As for `predict`.
        labels : integer array of the image's spatial shape, optional
            The label of the class of each pixel, such as the labels of `predict`. By default the
            nearest class, or with `smoothing` that of `predict`, also for undecided pixels.

        Returns
        -------
        float32 array of the image's spatial shape
            (b - a) / max(a, b) for the distance a from the class of the pixel and the distance
            b from the nearest of the other classes [1]_: 0 for a pixel between two classes, at
            most 1, and negative for a pixel that is nearer to another class. 1 for a model of one
            class. NaN for pixels that are left out, and for those whose label is not that of a
            class. A lazy dask array if the image is one.

        Raises
        ------
        TypeError, ValueError
            As `predict` raises them, if `labels` are not whole numbers or have another shape,
            or if a class was split anew.

        Notes
        -----
        The distance is that of the pixel's own color, or of its own features with `blur` and
        `texture`.

        With `smoothing`, the neighbors decide, too. The distance from a class is then the square
        root of what the pixel would add to the energy that smoothing lowers [2]_:
        ``d**2 / (2 * variance)`` plus the weights of the neighbors of other classes, for the
        distance d of its color and the variance of the colors within their clusters. So a pixel
        with a wrong color inside a region is sure of its class, and a pixel at a ragged border
        is not. Neighbors without label count with the class that they would have if the model
        leaves pixels undecided (`min_confidence`), and not at all if it does not.

        References
        ----------
        .. [1] E. R. Hruschka, R. J. G. B. Campello, L. N. de Castro, "Evolving
           clusters in gene-expression data", :doi:`10.1016/j.ins.2005.07.015`.
        .. [2] J. Besag, "On the statistical analysis of dirty pictures",
           :doi:`10.1111/j.2517-6161.1986.tb01412.x`.
        """
        pixels = self._open_unsplit("confidence", image, mask)
        known = None if labels is None else self._known_classes(pixels, labels)
        stages, smoother, all_known = Progress(progress), None, known
        if self.cleaning.smoothing:
            smoother = self.cleaner().smoother(len(pixels.shape))
            if known is None:
                all_known = self._clean_all(pixels, stages)
            elif self.cleaning.min_confidence:
                # Undecided pixels are neighbors, too.
                all_known = np.where(known > 0, known, self._clean_all(pixels, stages))
        function = partial(
            _find_confidence, centers=self.cluster_centers_, classes=self.center_classes
        )
        step = stages.stage(1, len(pixels.blocks()))
        values = map_pixels(pixels, function, self.space, 1, step, all_known, smoother)[..., 0]
        if all_known is not known and known is not None:
            values = np.where(known > 0, values, np.float32(np.nan))
        stages.finish()
        return values

    def _known_classes(self, pixels: Pixels, labels: Any) -> Any:
        """Return the class of each pixel, from 1 to K, by its label; 0 for one that is left out."""
        known = as_labels(labels, pixels)
        known = number_labels(known if pixels.is_lazy else np.asarray(known), self.labels)
        return known if pixels.mask is None else np.where(pixels.mask, known, known.dtype.type(0))

    def _clean_all(self, pixels: Pixels, stages: Progress) -> Any:
        """Return the cleaned classes of pixels, from 1 to K, also those of undecided pixels."""
        n_blocks = len(pixels.blocks())
        painter = self._painter(pixels, stages, n_blocks)
        nearest = self._paint_nearest(pixels, painter, stages.stage(0.3, n_blocks))
        cleaning = replace(self.cleaning, min_confidence=0.0)
        cleaner = replace(self.cleaner(), cleaning=cleaning)
        return cleaner.clean(pixels, nearest, stages.stage(0.3, n_blocks))

    def _open_unsplit(self, name: str, image: Any, mask: Any) -> Pixels:
        """Return an image as pixels, for numbers of a model whose classes were not split anew."""
        if self.splits:
            raise ValueError(
                f"{name} must be computed with a model whose classes were not split anew, got "
                f"{quote_value(self)}: use the model before the split."
            )
        pixels = self.open(image, mask)
        self._warn_of_other_units(pixels, stacklevel=4)
        return pixels

    def open(self, image: Any, mask: Any = None) -> Pixels:
        """Return an image that has the channels of the model as pixels; check it."""
        self._check_channels(as_array("image", image).shape)
        pixels = open_pixels(image, rgb=self.rgb, channel_axis=self.channel_axis, mask=mask)
        self._check_axes_of_space(pixels.shape)
        self.space.sigmas(len(pixels.shape))
        if not self.cleaning.is_off:
            self.cleaning.spacing_of(len(pixels.shape))
        return pixels

    def paint(
        self, pixels: Pixels, progress: Report | None = None, *, recolored: bool = True
    ) -> tuple[Any, Any]:
        """Return labels and recolored image of pixels that `open` returned.

        Like `apply`, but without the warning about units. The recolored image is None
        if it is not wanted.
        """
        stages = Progress(progress)
        n_blocks = len(pixels.blocks())
        painter = self._painter(pixels, stages, n_blocks)
        step = stages.stage(0.4, n_blocks)
        if self.cleaning.is_off:
            colors = self.palette[self.center_classes] if recolored else None
            labels, image = paint(pixels, painter, colors, step)
            labels = self._renumber(labels, self.center_labels)
        else:
            nearest = self._paint_nearest(pixels, painter, step)
            labels = self.cleaner().clean(pixels, nearest, step)
            image = recolor_image(pixels, labels, self.palette) if recolored else None
            labels = self._renumber(labels, self.labels)
        stages.finish()
        return labels, None if image is None else pixels.channels_back(image)

    def paint_and_count(
        self, pixels: Pixels, progress: Report | None = None
    ) -> tuple[Any, Any, Tally, NDArray[np.int64] | None]:
        """Return what `paint` returns, the tally of the classes, and the undecided pixels.

        For a model that cleans labels. The labels of a dask image are cleaned to be counted, and
        kept: they are not cleaned again when they are viewed or written.

        Returns
        -------
        labels, recolored
            As from `paint`.
        tally : Tally
            The pixels and the sums of each class, (K,). Its cost is 0.
        undecided : (K,) int64 array or None
            As from `count_undecided`.
        """
        stages, n_blocks = Progress(progress), len(pixels.blocks())
        nearest = self._paint_nearest(pixels, self._painter(pixels, stages, n_blocks))
        cleaner, step = self.cleaner(), stages.stage(0.4, n_blocks)
        (marked,), tally, undecided = clean_and_tally(cleaner, [pixels], [nearest], step=step)
        labels = cleaner.drop_undecided(marked)
        are_labeled = int(tally.counts.sum()) == pixels.n_pixels
        image = recolor_image(pixels, labels, self.palette, are_labeled=are_labeled)
        labels = self._renumber(labels, self.labels)
        stages.finish()
        return labels, pixels.channels_back(image), tally, undecided

    def count_undecided(
        self, pixels: Pixels, progress: Report | None = None
    ) -> NDArray[np.int64] | None:
        """Return the number of pixels of each class that are left undecided, (K,).

        None if the model decides all pixels. The pixels are those that `open` returned.
        """
        if not self.cleaning.min_confidence:
            return None
        stages, n_blocks = Progress(progress), len(pixels.blocks())
        nearest = self._paint_nearest(pixels, self._painter(pixels, stages, n_blocks))
        cleaner, step = self.cleaner(), stages.stage(0.4, n_blocks)
        marked = cleaner.clean_and_mark(pixels, nearest)
        undecided = tally_cleaned(cleaner, (pixels,), (marked,), step)[1]
        stages.finish()
        return undecided

    def find_undecided(self, pixels: Pixels) -> Any:
        """Return the label of the class of undecided pixels, and 0 for all other pixels.

        Pixels that were undecided before classes were merged count, too: merging does not decide
        them. None if the model decides all pixels. The pixels are those that `open` returned. A
        dask array if they are one.
        """
        if not self.cleaning.min_confidence:
            return None
        undecided = self._find_undecided(pixels)
        if self.splits or len(self.labels) == len(self.cluster_centers_):
            return undecided
        before = replace(self, edited_classes=None)._find_undecided(pixels)
        names = np.append(0, self.center_labels).astype(undecided.dtype)
        before = renumber_labels(before, names)
        return np.where(before > 0, before, undecided)

    def _find_undecided(self, pixels: Pixels) -> Any:
        nearest = self._paint_nearest(pixels, self._painter(pixels, Progress(None), 1))
        cleaner = self.cleaner()
        marked = cleaner.clean_and_mark(pixels, nearest)
        numbers = np.zeros(cleaner.n_marked + 1, label_dtype(self.labels[-1]))
        numbers[cleaner.n_classes + 1 :] = self.labels
        return renumber_labels(marked, numbers)

    def _paint_nearest(self, pixels: Pixels, painter: Painter, step: Step = ignore) -> Any:
        """Return the nearest class of each pixel, from 1 to K, as a `Cleaner` takes them."""
        labels, _ = paint(pixels, painter, None, step)
        return self._renumber(labels, self.center_classes + 1)

    def _renumber(self, labels: Any, numbers: NDArray[np.int64]) -> Any:
        """Return labels with other numbers for the labels from 1 on, if classes were edited."""
        if self.edited_classes is None:
            return labels
        new_labels = np.append(0, numbers).astype(label_dtype(self.labels[-1]))
        return renumber_labels(labels, new_labels)

    def cleaner(self) -> Cleaner:
        """Return the cleaning of the labels of the rows of `palette`, from 1 to K."""
        return Cleaner(
            self.cleaning,
            self.space,
            self.cluster_centers_,
            self.center_classes,
            self.variance,
            is_nearest=not self.splits,
        )

    def _warn_of_other_units(self, pixels: Pixels, stacklevel: int = 3) -> None:
        sentence = describe_other_units(pixels, self.palette, self.dtype)
        if sentence is not None:
            notice(sentence, stacklevel=stacklevel)

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        axis = self.channel_axis
        n_channels = 1
        if axis is not None and len(shape) > 1 and -len(shape) <= axis < len(shape):
            n_channels = shape[axis]
        if n_channels != self.n_channels and not (self.rgb and n_channels == 4):
            raise ValueError(
                f"image must have the model's {self.n_channels} channels, got {n_channels} in "
                f"shape {shape}: apply the model to an image like the one it was fitted to."
            )

    def _check_axes_of_space(self, shape: tuple[int, ...]) -> None:
        """Check that an image has the axes of space whose places the model compares."""
        if not self.position:
            return
        n_others = self.space.without_places.n_features(self.n_channels)
        n_places, spacing = self.cluster_centers_.shape[1] - n_others, self.space.spacing
        n_axes = self.space.n_places if len(spacing) == len(shape) else len(shape)
        if n_axes != n_places or len(spacing) != len(shape):
            raise ValueError(
                f"image must have {n_places} axes of space among {len(spacing)}, because the model "
                f"compares the places along these, got {n_axes} in the spatial shape {shape}: "
                "apply the model to an image like the one it was fitted to."
            )

    def _painter(self, pixels: Pixels, stages: Progress, n_blocks: int) -> Painter:
        painter = Painter(self.cluster_centers_, self.space, splits=self.splits)
        # A table of colors needs all pixels; a lazy image is only read when it is viewed.
        if pixels.is_lazy or not self.space.is_pointwise:
            return painter
        codec = find_codec([pixels], stages.stage(0.2, n_blocks))
        if codec is None:
            return painter
        return painter.with_table(build_histogram([pixels], codec, stages.stage(0.4, n_blocks)))

    def with_blur(self, blur: float | tuple[float, ...]) -> KMeansModel:
        """Return the same model with another blur, as for another level of an image."""
        blur = OPTIONS["blur"].kind.check("blur", blur)
        check_texture(self.texture, blur)
        return replace(self, space=replace(self.space, blur=blur))

    def with_cleaning(self, cleaning: Cleaning) -> KMeansModel:
        """Return the same model with another cleaning of the labels.

        The places of pixels, if they are compared, have the spacing of the cleaning.
        """
        if not self.position:
            return replace(self, cleaning=cleaning)
        spacing = cleaning.spacing
        if not isinstance(spacing, tuple):
            spacing = (spacing,) * len(self.space.spacing)
        return replace(
            self,
            cleaning=replace(cleaning, spacing=spacing),
            space=replace(self.space, spacing=spacing),
        )

    def with_spacing(self, spacing: float | Sequence[float]) -> KMeansModel:
        """Return the same model for images with another distance of pixels.

        A minimum area is then the same area in these images. A position compares the places at
        these distances.

        Parameters
        ----------
        spacing : float, or one float for each spatial axis
            As in `segment`, in the unit of the image that was fitted.

        Raises
        ------
        ValueError
            If the model compares positions, and the spacing has other axes of space.

        Examples
        --------
        >>> model = segment(image, 4, min_area=20, spacing=0.5).model
        >>> labels = model.with_spacing(0.25).predict(finer_image)
        """
        spacing = OPTIONS["spacing"].kind.check("spacing", spacing)
        if self.position:
            n_axes = len(self.space.spacing)
            own = spacing if isinstance(spacing, tuple) else (spacing,) * n_axes
            if len(own) != n_axes or np.count_nonzero(own) != self.space.n_places:
                raise ValueError(
                    f"spacing must have {self.space.n_places} of {n_axes} axes of space, as the "
                    f"positions of the model, got {quote_value(spacing)}: give 0 for the same axes."
                )
        return self.with_cleaning(replace(self.cleaning, spacing=spacing))

    def at_scale(self, steps: Sequence[float]) -> KMeansModel:
        """Return the model for a coarser level of an image: its blur, smoothing and spacing.

        Parameters
        ----------
        steps : sequence of float
            The size of a pixel of the level along each spatial axis, in pixels of the image
            that was fitted.
        """
        steps = [float(step) for step in steps]
        sigmas = self.space.sigmas(len(steps))
        blur = tuple(sigma / step for sigma, step in zip(sigmas, steps, strict=True))
        model = self.with_blur(blur) if any(sigmas) else self
        return model.with_cleaning(self.cleaning.at_step(steps))

    def without_neighborhood(self) -> KMeansModel:
        """Return the model for colors that are no pixels, without blur, texture and position.

        The centers keep their colors only. The labels are those of the nearest centers.
        """
        space = self.space.of_colors
        n_features = space.n_features(self.n_channels)
        return replace(
            self,
            cluster_centers_=self.cluster_centers_[:, :n_features],
            space=space,
            cleaning=NO_CLEANING,
        )

    def with_channel_order(self, order: Sequence[int]) -> KMeansModel:
        """Return the same model for images whose channels have another order.

        Parameters
        ----------
        order : sequence of int
            The index, in this model, of each channel of these images.
        """
        # Without red, green and blue, each coordinate of a point is that of one channel.
        assert not self.rgb
        places = list(order)
        contrasts = [len(places) + place for place in places] if self.texture else []
        n_features = self.cluster_centers_.shape[1]
        features = [*places, *contrasts, *range(n_features - self.space.n_places, n_features)]
        offset, scale = (
            tuple(values[place] for place in places) if values else ()
            for values in (self.offset, self.scale)
        )
        names = self.channel_names
        return replace(
            self,
            cluster_centers_=self.cluster_centers_[:, features],
            center_palette=self.center_palette[:, places],
            space=replace(self.space, offset=offset, scale=scale),
            splits=tuple(
                replace(split, replaced=split.replaced[:, features]) for split in self.splits
            ),
            channel_names=tuple(names[place] for place in places) if names else (),
        )

    def recolor(self, labels: Any) -> NDArray[Any]:
        """Return an image in which each label has the color of the palette.

        Parameters
        ----------
        labels : array of integers
            Labels of classes, and 0.

        Returns
        -------
        array of the fitted image's dtype
            With the shape of the labels and the channels at `channel_axis`, without
            alpha. Label 0, and numbers below the largest label that no class has,
            become 0.

        Raises
        ------
        TypeError, ValueError
            If `labels` are not whole numbers from 0 to the largest label.
        """
        index: NDArray[Any] = to_array("labels", labels)
        if index.dtype.kind not in "bui":
            raise TypeError(
                f"labels must be whole numbers, got dtype {index.dtype}: "
                "pass the labels of predict."
            )
        if index.size and not 0 <= index.min() <= index.max() <= self.labels[-1]:
            raise ValueError(
                f"labels must lie from 0 to {self.labels[-1]}, got {index.min()} to "
                f"{index.max()}: pass labels of this model."
            )
        colors = np.vstack([np.zeros(self.n_channels), self.palette_of_labels])
        image = np.take(round_to(colors, self.dtype), index.astype(np.intp), axis=0)
        if self.channel_axis is None:
            return image[..., 0]
        return np.moveaxis(image, -1, self.channel_axis)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain values that JSON can hold."""
        used = {
            name: plain_value(value)
            for name, value in self.space.options.items()
            if name != "color_space" and np.any(value)
        }
        if not self.cleaning.is_off:
            cleaning = {name: plain_value(value) for name, value in self.cleaning.options.items()}
            if not self.cleaning.min_confidence:
                del cleaning["min_confidence"]
            used |= {**cleaning, "variance": self.variance}
        if self.position:
            used["spacing"] = list(self.space.spacing)
        is_extended = self.edited_classes is not None or bool(used) or bool(self.splits)
        values = {
            "format": FORMAT,
            # An earlier program would ignore these, and edited classes and splits: it must refuse.
            "version": EXTENDED_VERSION if is_extended else VERSION,
            "color_space": self.color_space,
            "rgb": self.rgb,
            "channel_axis": self.channel_axis,
            "dtype": self.dtype.name,
            "normalize": self.normalize,
            "offset": list(self.offset),
            "scale": list(self.scale),
            "cluster_centers": self.cluster_centers_.tolist(),
            "palette": self.center_palette.tolist(),
            "inertia": self.inertia_,
            "n_iter": self.n_iter_,
        }
        if self.edited_classes is not None or self.splits:
            values["classes"] = self.classes.to_list()
        if self.center_pixels is not None:
            # Classes may be merged after the model was saved. Earlier versions ignore this entry.
            values["center_pixels"] = self.center_pixels.tolist()
        if self.splits:
            values["splits"] = [
                {
                    "centers": split.replaced.tolist(),
                    "places": split.places.tolist(),
                    "n_new": split.n_new,
                }
                for split in self.splits
            ]
        if self.channel_names:
            values["channel_names"] = list(self.channel_names)
        if self.fit is not None:
            values["fit"] = dict(self.fit)
        return {**values, **used}

    @classmethod
    def from_dict(cls, values: Any) -> KMeansModel:
        """Return the model that `to_dict` wrote.

        Raises
        ------
        ValueError
            If an entry is missing, has the wrong type or contradicts another entry.
        """
        return cls(**check_entries(values))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a JSON file, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        write_whole(
            {check_path("path", path): lambda part: part.write_text(text, encoding="utf-8")}
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KMeansModel:
        """Read a model from a JSON file.

        Every value is checked, and nothing is executed. The file must have at most 64 MiB,
        and the model at most 65,535 clusters and 65,535 channels.

        Raises
        ------
        ValueError
            If the file does not hold a model; the message names the file.
        OSError
            If the file cannot be read.
        """
        path = check_path("path", path)
        try:
            return cls.from_dict(read_json(path))
        except (ValueError, RecursionError) as error:
            # Values that are nested almost too deeply to be read are too deep to be quoted.
            reason = NO_MODEL if isinstance(error, RecursionError) else error
            raise ValueError(f"cannot read a model from {os.fspath(path)!r}: {reason}") from error


def as_labels(labels: Any, pixels: Pixels) -> Any:
    """Return labels of an image as a numpy or dask array of whole numbers; check them."""
    array = as_array("labels", labels)
    if array.dtype.kind not in "bui":
        raise TypeError(
            f"labels must be whole numbers, got dtype {array.dtype}: pass the labels of predict."
        )
    if array.shape != pixels.shape:
        raise ValueError(
            f"labels must have the spatial shape {pixels.shape} of the image, got "
            f"{array.shape}: pass the labels of this image."
        )
    return array


def _find_confidence(
    points: NDArray[Any],
    labels: NDArray[Any] | None = None,
    around: Around = NOTHING_AROUND,
    *,
    centers: Floats,
    classes: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the confidence of points in the classes of their labels, from 1 to K."""
    own = None if labels is None else labels.astype(np.int64) - 1
    return find_confidence(points, centers, classes, own, around)
