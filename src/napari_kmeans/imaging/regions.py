"""Give small regions of labels the label that surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution import threads
from napari_kmeans.execution.compiling import compile_kernel
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging.volumes import Volumes, neighbor_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 3
"""Rounds in which small regions without a large neighbor wait for their neighbors. In photographs,
fewer than one of ten thousand pixels waits longer."""

_WINDOW_PIXELS = 2**23
"""The maximum number of pixels of a task, except for the halo. Small tasks are mostly halo."""


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
        # Each part repeats the work on its halo: make no more than there is a thread for.
        n_workers = threads.n_workers()
        n_parts = 1 if n_workers == 1 else 2 * n_workers
        size = min(_WINDOW_PIXELS // per_index, -(-labels.shape[axis] // n_parts))
        size = max(size, 2 * halo, 1)
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
    """Return the root of a run in a forest, and shorten the path to it."""
    root = i
    while parents[root] != root:
        root = parents[root]
    while parents[i] != root:
        above = parents[i]
        parents[i] = root
        i = above
    return root


@compile_kernel
def _unite(parents: NDArray[Any], a: int, b: int) -> None:
    """Unite the regions of two runs."""
    a, b = _find_root(parents, a), _find_root(parents, b)
    parents[max(a, b)] = min(a, b)


@compile_kernel
def _connect_rows(
    flat: NDArray[Any],
    firsts: NDArray[Any],
    a: int,
    a_end: int,
    b: int,
    b_end: int,
    shift: int,
    parents: NDArray[Any],
) -> None:
    """Unite the runs of a row with those of the same label that they touch in another row.

    Parameters
    ----------
    flat : (n,) array
        The labels of all pixels.
    firsts : (R + 1,) int32 array
        The first pixel of each run, and n.
    a, a_end, b, b_end : int
        The first run of each of the two rows, and the end of its runs.
    shift : int
        The number of pixels from a pixel of the other row to that of the same column in the row.
    parents : (R,) int32 array
        The forest of runs.
    """
    while a < a_end and b < b_end:
        label, other = flat[firsts[a]], flat[firsts[b]]
        if label == other and label != 0:
            _unite(parents, a, b)
        end, other_end = firsts[a + 1], firsts[b + 1] + shift
        if end == other_end and a + 1 < a_end and b + 1 < b_end:
            # Runs that touch at a corner.
            if label != 0 and label == flat[firsts[b + 1]]:
                _unite(parents, a, b + 1)
            if other != 0 and other == flat[firsts[a + 1]]:
                _unite(parents, a + 1, b)
        a += end <= other_end
        b += other_end <= end


@compile_kernel
def _find_runs(
    flat: NDArray[Any], length: int, firsts: NDArray[Any], row_starts: NDArray[Any]
) -> None:
    """Write the first pixel of each run of pixels of one label, and the first run of each row.

    The last entry of both arrays is the number of pixels, or of runs.
    """
    run = np.uint32(0)
    for row in range(len(row_starts) - 1):
        row_starts[row] = run
        firsts[run] = row * length
        run += np.uint32(1)
        before, after = flat[row * length : (row + 1) * length - 1], flat[row * length + 1 :]
        for x in range(length - 1):
            # Write each pixel, and overwrite it if no run begins there: faster than an "if".
            firsts[run] = row * length + x + 1
            run += np.uint32(before[x] != after[x])
    firsts[run], row_starts[len(row_starts) - 1] = len(flat), run


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
    n_runs = depth * n_rows
    for row in range(depth * n_rows):
        before, after = flat[row * length : (row + 1) * length - 1], flat[row * length + 1 :]
        for x in range(length - 1):
            n_runs += before[x] != after[x]
    firsts, row_starts = np.empty(n_runs + 1, np.int32), np.empty(depth * n_rows + 1, np.int32)
    _find_runs(flat, length, firsts, row_starts)
    # Connect the runs of each row to those of the rows before it. The root of a region is its
    # first run.
    parents, sizes = np.empty(n_runs, np.int32), np.zeros(n_runs, np.int32)
    for run in range(n_runs):
        parents[run] = run
    for row in range(depth * n_rows):
        z, y = row // n_rows, row % n_rows
        for zz in range(max(z - 1, 0), z + 1):
            for yy in range(max(y - 1, 0), min(y + 2, n_rows) if zz < z else y):
                other = zz * n_rows + yy
                _connect_rows(
                    flat,
                    firsts,
                    row_starts[row],
                    row_starts[row + 1],
                    row_starts[other],
                    row_starts[other + 1],
                    (row - other) * length,
                    parents,
                )
    # The runs of small regions, in the order of their roots: count sort.
    n_regions = n_small = 0
    for run in range(n_runs):
        parents[run] = _find_root(parents, run)
        sizes[parents[run]] += firsts[run + 1] - firsts[run]
    numbers = np.empty(n_runs, np.int32)
    for run in range(n_runs):
        root, label = parents[run], flat[firsts[run]]
        is_small = label != 0 and sizes[root] < min_size and not (len(is_kept) and is_kept[label])
        if is_small and root == run:
            numbers[run] = n_regions
            n_regions += 1
        numbers[run] = numbers[root] if is_small else -1
        n_small += is_small
    starts, filled = np.zeros(n_regions + 1, np.int64), np.zeros(n_regions, np.int64)
    for run in range(n_runs):
        if numbers[run] >= 0:
            starts[numbers[run] + 1] += 1
    for region in range(n_regions):
        starts[region + 1] += starts[region]
    runs = np.empty(n_small, np.int32)
    # The regions of the pixels of small regions. All other entries are not read.
    in_small, regions = np.zeros(len(flat), np.uint8), np.empty(len(flat), np.int32)
    for run in range(n_runs):
        region = numbers[run]
        if region >= 0:
            runs[starts[region] + filled[region]] = run
            filled[region] += 1
            for i in range(firsts[run], firsts[run + 1]):
                in_small[i], regions[i] = 1, region
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
                for i in range(firsts[runs[place]], firsts[runs[place] + 1]):
                    z, y, x = i // length // n_rows, i // length % n_rows, i % length
                    for n in range(len(steps)):
                        zz, yy, xx = z + steps[n, 0], y + steps[n, 1], x + steps[n, 2]
                        inside = 0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length
                        if not inside:
                            continue
                        other = (zz * n_rows + yy) * length + xx
                        # A neighbor of the same label belongs to the region.
                        if flat[other] == 0 or flat[other] == flat[i]:
                            continue
                        label = np.int64(flat[other])
                        if in_small[other]:
                            if not is_done[regions[other]]:
                                continue
                            label = new_labels[regions[other]]
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
                for i in range(firsts[runs[place]], firsts[runs[place] + 1]):
                    flat[i] = new_labels[region]
