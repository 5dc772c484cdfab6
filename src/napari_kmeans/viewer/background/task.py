"""The work of one run: fit the chosen level and slices of a source, and paint all levels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Layer

from napari_kmeans.classes import ClassScheme, ColorClass
from napari_kmeans.execution.progress import part_of
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.measuring import NAME, place_class_columns
from napari_kmeans.merging import apply_classes, carry_classes
from napari_kmeans.options import MAX_CLUSTERS, SUMMARY_OPTIONS
from napari_kmeans.segmentation import (
    Segmentation,
    segment_with_options,
    summarize_with_options,
)
from napari_kmeans.stacks import StackSegmentation, segment_slices_with_options
from napari_kmeans.viewer.background.paint_levels import (
    Painted,
    paint_levels,
    painting_effort,
)
from napari_kmeans.viewer.background.stack_places import place_in_stack
from napari_kmeans.viewer.from_layers.channels import (
    check_axes,
    layer_of_axes,
    shown_slice_of,
    source_of_axis,
    source_of_channels,
)
from napari_kmeans.viewer.from_layers.masks import find_inside, mask_levels
from napari_kmeans.viewer.from_layers.source import EACH, Source
from napari_kmeans.viewer.from_layers.start_marks import StartMarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels, Points
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.options import Options
    from napari_kmeans.summary import Summary
    from napari_kmeans.viewer.background.summary_cache import SummaryCache
    from napari_kmeans.viewer.from_layers.start_marks import MarkedClass

AnySegmentation: TypeAlias = Segmentation | StackSegmentation
"""The result of a run. If the source is multiscale, labels and recolored images are lists."""

_FIT_EFFORT = 4
"""The time to fit and paint a pixel, relative to the time to paint it. Measured roughly; it
only divides the progress bar."""


@dataclass(frozen=True, eq=False)
class Task:
    """The input of a run. Later changes of the layers do not affect it, except painting in place.

    Attributes
    ----------
    source : Source
    masks : list of arrays or None
        The mask of the chosen slices of each level.
    options : Options
    arrays : tuple of arrays
        The data of the layers, which identify the pixels in the cache.
    cache : SummaryCache or None
        The cache from which the summary of the pixels is taken, if there is one.
    start : StartMarks or None
        The marks whose colors replace `init` and `n_clusters` in the options.
    summary : Summary or None
        The summary of the pixels that are fitted, if there is one already.
    marked : tuple of MarkedClass
        The number, the name and the display color for each row of `init` that is the color of
        a mark.
    applied : bool
        Whether the result came from a model that was applied to the source. Then the
        pixels of the source are not those of the fit.
    edited : KMeansModel or None
        The model of the labels that the result will replace, if the user has edited its classes.
        Pixels are decided by its merged classes: see `carried_classes`.
    """

    source: Source
    masks: list[Any] | None
    options: Options
    arrays: tuple[Any, ...] = ()
    cache: SummaryCache | None = None
    start: StartMarks | None = None
    summary: Summary | None = None
    marked: tuple[MarkedClass, ...] = ()
    applied: bool = False
    edited: KMeansModel | None = None

    @classmethod
    def of(
        cls,
        layers: Sequence[Image],
        options: Options,
        *,
        start: Points | Labels | None = None,
        keep_start: bool = False,
        mask: Any,
        mask_classes: Sequence[int] | None = None,
        level: int | None,
        stack: Any,
        channel_axis: int | None = None,
        cache: SummaryCache | None = None,
    ) -> Task:
        """Return the task for a layer, or for several layers as channels of one image.

        With `channel_axis`, the channels are this axis of a single layer.
        `start` is the layer of the marks whose colors are the start, and `keep_start` holds
        the centers at these colors.

        Raises
        ------
        TypeError, ValueError
            If the layers have no such level or slice, or if the mask has another shape or
            does not have the classes.
        """
        layer = layers[0]
        if channel_axis is None:
            source = Source.of(layer) if len(layers) == 1 else source_of_channels(layers)
        elif len(layers) > 1:
            raise ValueError(
                f"channel_axis must be None for several layers, got {channel_axis}: they are the "
                "channels themselves."
            )
        else:
            source = source_of_axis(layer, channel_axis)
            check_axes("init", start, source)
            check_axes("mask", mask if isinstance(mask, Layer) else None, source)
            layer = layer_of_axes(source)
        view = shown_slice_of(layers[0], source)
        source = source.fitted_on(level, stack, options.method)
        source = replace(source, inside=find_inside(mask, mask_classes))
        arrays = tuple(layer.data for layer in layers)
        marks = None
        if start is not None:
            marks = StartMarks.of(start, layer, source, view=view, keep=keep_start)
        chosen = None if source.inside is None else source.inside.classes
        masks = mask_levels(mask, layer, source, chosen or None)
        return cls(source, masks, options, arrays, cache, marks)

    def run(self, progress: Report | None = None) -> AnySegmentation:
        """Fit one level and paint all levels.

        Levels in memory are painted at once, lazy levels when they are viewed.
        """
        if self.start is not None:
            marked, colors = self.start.classes, self.start.colors(self.source)
            options = replace(
                self.options, init=colors, n_clusters=len(colors), keep_init=self.start.keep
            )
            return replace(self, options=options, start=None, marked=marked).run(progress)
        source, shift = self.source, self._find_shift()
        parts = [self._part(level) for level in range(source.n_levels)]
        fit_share = _fit_share(parts, source.level)
        classes_share = 0.0 if self.edited is None else fit_share / _FIT_EFFORT
        fitted = self._fit(shift, part_of(progress, 0, fit_share - classes_share))
        fitted = self._number_classes(fitted, shift)
        classes = self.carried_classes(fitted)
        if classes is not None:
            assert isinstance(fitted, Segmentation)
            fitted = apply_classes(
                fitted,
                classes,
                image=self.fitted_part,
                mask=self._mask(source.level),
                progress=part_of(progress, fit_share - classes_share, fit_share),
            )
        blur, cleaning = source.blur_at(self.options.blur, 0), self._cleaning_at(0)
        if blur or self.options.position or not cleaning.is_off:
            options = replace(fitted.options, blur=blur, **cleaning.options)
            in_finest: Any = fitted.model.with_blur(blur).with_cleaning(cleaning)
            fitted = replace(fitted, model=in_finest, options=options)

        def paint(level: int, report: Report | None) -> Painted:
            model = fitted.model.with_blur(source.blur_at(self.options.blur, level))
            model = model.with_cleaning(self._cleaning_at(level))
            return model.apply(parts[level], mask=self._mask(level), progress=report)

        known = {source.level: (fitted.labels, fitted.recolored)}
        painted = paint_levels(parts, paint, known, part_of(progress, fit_share, 1))
        pairs = [self._place_in_stack(level, *pair) for level, pair in enumerate(painted)]
        labels, recolored = zip(*pairs, strict=True)
        if not source.multiscale:
            return replace(fitted, labels=labels[0], recolored=recolored[0])
        fitted.table.attrs["level"] = source.level
        return replace(fitted, labels=list(labels), recolored=list(recolored))

    def _fit(self, shift: int, progress: Report | None) -> AnySegmentation:
        pixels, mask = self.fitted_part, self._mask(self.source.level)
        names = self.source.channel_names or None
        channels = {**self._channel_arguments, "channel_names": names}
        if self.source.stack == EACH:
            numbers = [each.number + shift for each in self.marked]
            return segment_slices_with_options(
                pixels,
                self._options,
                mask=mask,
                first_label=1 + shift,
                start_labels=np.array(numbers) if numbers else None,
                progress=progress,
                **channels,
            )
        if self.summary is None and not self._uses_cache:
            return segment_with_options(
                pixels, self._options, mask=mask, progress=progress, **channels
            )
        summary = self.summary or self.summarize(part_of(progress, 0, 0.5))
        fitting = progress if self.summary else part_of(progress, 0.5, 1)
        return segment_with_options(
            pixels, self._options, channel_names=names, summary=summary, progress=fitting
        )

    def first_classes(self, n_centers: int, starts: NDArray[np.int64] | None) -> ClassScheme:
        """Return the classes of a model directly after its fit, before any edit.

        Parameters
        ----------
        n_centers : int
        starts : (M,) int64 array or None
            As in `Segmentation`.
        """
        marked = self.marked if self.start is None else self.start.classes
        shift = 0 if self.source.inside is None else self.source.inside.largest
        if not marked:
            return ClassScheme.of_labels(range(1 + shift, n_centers + 1 + shift))
        assert starts is not None
        return ClassScheme(
            tuple(
                ColorClass(marked[row].number + shift, (center,), *marked[row][1:])
                for center, row in enumerate(starts.tolist())
            )
        )

    def carried_classes(self, outcome: AnySegmentation) -> ClassScheme | None:
        """Return the classes by which the pixels of an outcome are decided, with earlier edits.

        None if the labels of single clusters are decided, and merges only renumber them: the
        labels are the same then, or there are no merges that can be carried.
        """
        if self.edited is None or not isinstance(outcome, Segmentation):
            return None
        if Cleaning.of(self.options).is_off or outcome.model.splits:
            return None
        n_centers = len(outcome.model.cluster_centers_)
        first = outcome.model.with_classes(self.first_classes(n_centers, outcome.starts))
        try:
            classes, _ = carry_classes(first, self.edited)
        except ValueError:
            # The image has other channels or units than before.
            return None
        return classes if len(classes) < n_centers else None

    def _number_classes(self, fitted: AnySegmentation, shift: int) -> AnySegmentation:
        """Return a result with the numbers, names and colors of marks, and shifted labels.

        The labels of a stack with a model for each slice have their numbers already.
        """
        if isinstance(fitted, StackSegmentation):
            names = {each.number + shift: each.name for each in self.marked}
            if not any(names.values()):
                return fitted
            of_rows = [names[label] for label in fitted.table["index"]]
            return replace(fitted, table=place_class_columns(fitted.table, {NAME: of_rows}))
        classes = self.first_classes(fitted.model.n_clusters, fitted.starts)
        return apply_classes(fitted, classes) if classes != fitted.model.classes else fitted

    def _find_shift(self) -> int:
        """Return the number that is added to all labels: inside classes, the largest of theirs."""
        shift = 0 if self.source.inside is None else self.source.inside.largest
        largest = max((each.number for each in self.marked), default=self.options.n_clusters)
        if shift + largest > MAX_CLUSTERS:
            raise ValueError(
                f"n_clusters must leave the labels within {MAX_CLUSTERS}, got {largest} labels "
                f"that follow the label {shift} of the mask: renumber the labels of the mask."
            )
        return shift

    @property
    def has_own_numbers(self) -> bool:
        """Whether the labels are numbered in another way than from 1, from dark to bright."""
        inside = self.source.inside
        return self.start is not None or (inside is not None and inside.largest > 0)

    def summarize(self, progress: Report | None = None) -> Summary:
        """Return the summary of the pixels that are fitted: the cached one, or a new one."""
        if self.cache is not None and self._uses_cache:
            axis = self.source.channel_axis and self.source.channel_axis.number
            key = (self.source.unique_id, self.source.level, self.source.stack, axis)
            return self.cache.get(
                self.fitted_part,
                self.arrays,
                key,
                self._options,
                progress,
                **self._channel_arguments,
            )
        return summarize_with_options(
            self.fitted_part,
            self._options,
            mask=self._mask(self.source.level),
            progress=progress,
            **self._channel_arguments,
        )

    @property
    def summary_options(self) -> dict[str, Any]:
        """The options on which a summary depends, by name."""
        return {name: getattr(self._options, name) for name in SUMMARY_OPTIONS}

    @property
    def _options(self) -> Options:
        """The options of the fit, with the blur and the cleaning in pixels of the fitted level."""
        blur = self.source.blur_at(self.options.blur, self.source.level)
        cleaning = self._cleaning_at(self.source.level)
        return replace(self.options, blur=blur, **cleaning.options)

    def _cleaning_at(self, level: int) -> Cleaning:
        return self.source.cleaning_at(Cleaning.of(self.options), level, self.options.position)

    @property
    def fitted_part(self) -> Any:
        """The pixels that are fitted: the chosen slices of the chosen level."""
        return self._part(self.source.level)

    @property
    def _uses_cache(self) -> bool:
        # A mask is not cached: the user may paint on its array in place.
        return self.cache is not None and self.masks is None

    @property
    def _channel_arguments(self) -> dict[str, Any]:
        """The arguments of `segment` that state where the channels are."""
        return {"rgb": self.source.rgb, "channel_axis": -1 if self.source.channels else None}

    def _part(self, level: int) -> Any:
        """Return the pixels of a level that are clustered."""
        index, array = self.source.index_of(level), self.source.levels[level]
        return array if index is None else array[index]

    def _mask(self, level: int) -> Any:
        return None if self.masks is None else self.masks[level]

    def _place_in_stack(self, level: int, labels: Any, recolored: Any) -> tuple[Any, Any]:
        """Return a slice in its place in the stack; the other slices get label 0."""
        source = self.source
        return (
            place_in_stack(source, level, labels, 0),
            place_in_stack(source, level, recolored, source.levels[level]),
        )


def _fit_share(parts: list[Any], fitted_level: int) -> float:
    """Return the share of the progress that the fit takes; painting takes the rest."""
    fit: int = _FIT_EFFORT * math.prod(parts[fitted_level].shape)
    painting = sum(
        painting_effort(part) for level, part in enumerate(parts) if level != fitted_level
    )
    return fit / max(fit + painting, 1)
