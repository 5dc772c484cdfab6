"""Give small regions of labels the label that surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging.volumes import Volumes, neighbor_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 3
"""Rounds in which small regions without a large neighbor wait for their neighbors. In photographs,
fewer than one of ten thousand pixels waits longer."""

_WINDOW_PIXELS = 2**20
"""Approximate number of pixels of a task."""


@dataclass(frozen=True)
class RegionFilter:
    """The removal of small regions.

    A region is a set of pixels of one label that are connected through sides, edges or corners.
    A region with fewer than `min_size` pixels gets the label with the most pairs of neighboring
    pixels, one inside and one outside, among its large neighbors. A region with only small
    neighbors waits until they have their label, for a few rounds. Then, and where all its
    neighbors are left out, it keeps its label.

    Attributes
    ----------
    min_size : int
    is_linked : tuple of bool
        For each axis, whether pixels are neighbors along it.
    chosen : tuple of int or None
        The labels whose small regions are replaced; None for all. A region of another label
        counts as large.
    """

    min_size: int
    is_linked: tuple[bool, ...]
    chosen: tuple[int, ...] | None = None

    @property
    def is_off(self) -> bool:
        """Whether the labels stay the same."""
        return self.min_size <= 1 or not any(self.is_linked) or self.chosen == ()

    @property
    def reach(self) -> tuple[int, ...]:
        """The largest distance, along each axis, of pixels that can affect a label.

        A region with fewer than m pixels has an extent below m.
        """
        distance = 0 if self.is_off else (_ROUNDS + 1) * self.min_size
        return tuple(distance if linked else 0 for linked in self.is_linked)

    def filter(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return labels (...) without small regions; 0 marks pixels that are left out."""
        if self.is_off or not labels.size:
            return labels
        axes = tuple(axis for axis, linked in enumerate(self.is_linked) if linked)
        volumes = Volumes(labels.shape, axes)
        moved = volumes.split(labels)
        filtered = np.empty_like(moved)
        for volume, target in zip(moved, filtered, strict=True):
            self._filter_volume(volume, target)
        return volumes.join(filtered)

    def _filter_volume(self, labels: NDArray[Any], filtered: NDArray[Any]) -> None:
        """Write the labels of a volume (Z, Y, X) without small regions."""
        # In a volume with fewer pixels, all regions are small.
        min_size = min(self.min_size, labels.size + 1)
        halo = (_ROUNDS + 1) * min_size
        # Divide the volume along its longest axis, but not into parts shorter than the halo.
        axis = int(np.argmax(labels.shape))
        per_index = labels.size // labels.shape[axis]
        size = max(_WINDOW_PIXELS // per_index, 2 * halo, 1)
        steps = neighbor_steps([length > 1 for length in labels.shape])
        is_kept = np.zeros(0, np.bool_)
        if self.chosen is not None:
            is_kept = np.ones(np.iinfo(labels.dtype).max + 1, np.bool_)
            is_kept[list(self.chosen)] = False

        def work(start: int) -> None:
            stop = min(start + size, labels.shape[axis])
            first, last = max(start - halo, 0), min(stop + halo, labels.shape[axis])
            # The kernel changes the window.
            window = _slice_axis(labels, axis, first, last).copy()
            _replace_small(window, steps, min_size, is_kept, _ROUNDS)
            own = _slice_axis(window, axis, start - first, stop - first)
            _slice_axis(filtered, axis, start, stop)[...] = own

        map_threads(work, range(0, labels.shape[axis], size))


def _slice_axis(array: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    return array[(slice(None),) * axis + (slice(start, stop),)]


@compile_kernel
def _find_root(parents: NDArray[Any], i: int) -> int:
    """Return the root of a pixel in a forest, and shorten the path to it."""
    root = i
    while parents[root] != root:
        root = parents[root]
    while parents[i] != root:
        above = parents[i]
        parents[i] = root
        i = above
    return root


@compile_kernel
def _replace_small(
    labels: NDArray[Any],
    steps: NDArray[Any],
    min_size: int,
    is_kept: NDArray[np.bool_],
    n_rounds: int,
) -> None:
    """Replace the labels (Z, Y, X) of small regions in place; see `RegionFilter`.

    `steps` (n, 3) are those to the neighbors of a pixel. `is_kept` is whether the regions of each
    label stay, or empty.
    """
    depth, n_rows, length = labels.shape
    flat = labels.reshape(-1)
    parents, sizes = np.empty(len(flat), np.int32), np.zeros(len(flat), np.int32)
    # Connect each pixel to its neighbors before it. The root of a region is its first pixel.
    for z in range(depth):
        for y in range(n_rows):
            for x in range(length):
                i = (z * n_rows + y) * length + x
                parents[i] = i
                if flat[i] == 0:
                    continue
                for n in range(len(steps) // 2):
                    zz, yy, xx = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
                    if not (zz >= 0 and 0 <= yy < n_rows and 0 <= xx < length):
                        continue
                    other = (zz * n_rows + yy) * length + xx
                    if flat[other] == flat[i]:
                        a, b = _find_root(parents, i), _find_root(parents, other)
                        parents[max(a, b)] = min(a, b)
    for i in range(len(flat)):
        parents[i] = _find_root(parents, i)
        sizes[parents[i]] += 1
    if len(is_kept):
        for i in range(len(flat)):
            if parents[i] == i and is_kept[flat[i]]:
                sizes[i] = max(sizes[i], min_size)
    # The pixels of small regions, in the order of their roots: count sort.
    n_small, n_regions = 0, 0
    for i in range(len(flat)):
        if flat[i] != 0 and sizes[parents[i]] < min_size:
            n_small += 1
            n_regions += parents[i] == i
    starts = np.zeros(n_regions + 1, np.int64)
    numbers = np.empty(len(flat) if n_regions else 1, np.int32)
    region = 0
    for i in range(len(flat)):
        if parents[i] == i and flat[i] != 0 and sizes[i] < min_size:
            numbers[i] = region
            starts[region + 1] = starts[region] + sizes[i]
            region += 1
    pixels, filled = np.empty(n_small, np.int64), np.zeros(n_regions, np.int64)
    for i in range(len(flat)):
        if flat[i] != 0 and sizes[parents[i]] < min_size:
            region = numbers[parents[i]]
            pixels[starts[region] + filled[region]] = i
            filled[region] += 1
    is_done = np.zeros(n_regions, np.bool_)
    new_labels = np.zeros(n_regions, np.int64)
    found, counts = np.empty((2, len(steps) * min_size), np.int64)
    for _ in range(n_rounds):
        n_changed = 0
        for region in range(n_regions):
            if is_done[region]:
                continue
            n_found = 0
            for place in range(starts[region], starts[region + 1]):
                i = pixels[place]
                z, y, x = i // length // n_rows, i // length % n_rows, i % length
                for n in range(len(steps)):
                    zz, yy, xx = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
                    inside = 0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length
                    if not inside:
                        continue
                    other = (zz * n_rows + yy) * length + xx
                    root = parents[other]
                    if flat[other] == 0 or root == parents[i]:
                        continue
                    label = np.int64(flat[other])
                    if sizes[root] < min_size:
                        if not is_done[numbers[root]]:
                            continue
                        label = new_labels[numbers[root]]
                    at = 0
                    while at < n_found and found[at] != label:
                        at += 1
                    if at == n_found:
                        found[at], counts[at] = label, 0
                        n_found += 1
                    counts[at] += 1
            best = 0
            for at in range(1, n_found):
                # Of labels with as many pairs, the first one that was found is taken.
                if counts[at] > counts[best]:
                    best = at
            if n_found:
                # Regions of this round do not affect each other.
                new_labels[region] = -found[best]
                n_changed += 1
        for region in range(n_regions):
            if new_labels[region] < 0:
                new_labels[region] = -new_labels[region]
                is_done[region] = True
        if n_changed == 0:
            break
    for region in range(n_regions):
        if is_done[region]:
            for place in range(starts[region], starts[region + 1]):
                flat[pixels[place]] = new_labels[region]
