"""Trace the outlines of the regions of a label image along the edges of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_CORNERS = 2**31 - 1
"""The kernel stores places of corners as int32, which halves its memory."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """The outlines of all regions of a label image, as rings around regions and their holes.

    A region has the pixels of one label that are connected along their edges. Regions that
    touch at a corner are separate, and no ring meets a corner twice: so each region with its
    holes is a valid polygon.

    Attributes
    ----------
    corners : (N,) int32 array
        The corners of all rings, one ring after the other, without the repeated first one.
        The corner at column x and row y is ``y * stride + x``. Outer rings have a positive
        area in x and y (counterclockwise if y points up), rings of holes a negative one.
    ends : (R,) int64 array
        The end of each ring in `corners`.
    owners : (R,) int32 array
        The number of the region of each ring.
    are_holes : (R,) bool array
        Whether each ring is the outline of a hole.
    stride : int
    firsts : (M + 1,) int64 array
        The flat index of the first pixel of each region in C order. Regions are numbered from
        1 in this order; entry 0 is unused.
    """

    corners: NDArray[np.int32]
    ends: NDArray[np.int64]
    owners: NDArray[np.int32]
    are_holes: NDArray[np.bool_]
    stride: int
    firsts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """The start of each ring in `corners`, (R,)."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])


def trace_outlines(labels: NDArray[Any]) -> Outlines:
    """Return the outlines of all regions of labels other than 0.

    Parameters
    ----------
    labels : (H, W) array of integers

    Raises
    ------
    ValueError
        If there are more corners than the tracer can count.
    """
    from skimage.measure import label

    regions, n_regions = label(labels, background=0, connectivity=1, return_num=True)
    padded = np.pad(regions.astype(np.int32, copy=False), 1)
    n_corners = _count_corners(padded)
    if max(n_corners, padded.size) > _MAX_CORNERS:
        raise ValueError(
            f"labels must have at most {_MAX_CORNERS:,} pixels and corners of regions in a slice, "
            f"got {labels.size:,} pixels and {n_corners:,} corners: write a part of the image, or "
            "a coarser level."
        )
    # Each ring has four corners or more.
    ends, owners = np.empty(n_corners // 4, np.int64), np.empty(n_corners // 4, np.int32)
    are_holes, corners = np.empty(n_corners // 4, np.bool_), np.empty(n_corners, np.int32)
    firsts = np.zeros(n_regions + 1, np.int64)
    n_rings = _trace_rings(
        padded.ravel(),
        padded.shape[1],
        np.zeros(padded.size, np.bool_),
        np.zeros(padded.size, np.int32),
        np.empty(n_corners, np.int32),
        corners,
        ends,
        owners,
        are_holes,
        firsts,
    )
    rows, columns = np.divmod(firsts, padded.shape[1])
    firsts = (rows - 1) * labels.shape[1] + columns - 1
    # The kernel names a corner after the pixel below it and to its right, with the margin.
    corners -= padded.shape[1] + 1
    n_rings = int(n_rings)
    return Outlines(
        corners, ends[:n_rings], owners[:n_rings], are_holes[:n_rings], padded.shape[1], firsts
    )


def _count_corners(regions: NDArray[np.int32]) -> int:
    """Return the number of corners of all rings, of regions in a margin of 0."""
    own = regions[1:-1, 1:-1]
    n_corners = 0
    for dy, dx in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        beside = regions[1:-1, 1 + dx : regions.shape[1] - 1 + dx] == own
        above = regions[1 + dy : regions.shape[0] - 1 + dy, 1:-1] == own
        across = regions[1 + dy : regions.shape[0] - 1 + dy, 1 + dx : regions.shape[1] - 1 + dx]
        turns_right = ~(beside | above)
        turns_left = beside & above & (across != own)
        n_corners += int(np.count_nonzero((turns_right | turns_left) & (own != 0)))
    return n_corners


@compile_kernel
def _trace_rings(
    regions: NDArray[np.int32],
    stride: int,
    is_traced: NDArray[np.bool_],
    places: NDArray[np.int32],
    path: NDArray[np.int32],
    corners: NDArray[np.int32],
    ends: NDArray[np.int64],
    owners: NDArray[np.int32],
    are_holes: NDArray[np.bool_],
    firsts: NDArray[np.int64],
) -> np.int64:
    """Trace all rings with their region to the right on the screen, where y points down.

    A path turns right wherever it can: so it stays with its region, also where another region,
    or another part of the same region, touches at the corner. Where it meets a corner the
    second time, the loop since the first time is a ring of its own: the outline of a hole.

    Parameters
    ----------
    regions : (P,) int32 array
        The flat image of regions 1…M in a margin of 0.
    stride : int
        The length of a row with its margin.
    is_traced : (P,) bool array
        Work space, False: whether the upper edge of a pixel is in a ring.
    places : (P,) int32 array
        Work space, 0: 1 plus the place in the path of a corner that can be met again.
    path : (N,) int32 array
        Work space.
    corners, ends, owners, are_holes, firsts : arrays
        Output, as in `Outlines`. Corners and pixels are flat indices with the margin, and
        `firsts` has to contain 0.

    Returns
    -------
    int64
        The number of rings.
    """
    n_rings = n_corners = np.int64(0)
    for start in range(stride, regions.shape[0] - stride):
        own = regions[start]
        if own == 0 or regions[start - stride] == own or is_traced[start]:
            continue
        # Directions 0 to 3 are right, down, left and up.
        corner, direction, length = np.int64(start), np.int64(0), np.int64(0)
        while True:
            # The path turns at this corner. Append the corner, or cut off the loop.
            right = np.int64(0)
            place = np.int64(places[corner])
            if place > 0:
                for i in range(place - 1, length):
                    corners[n_corners] = path[i]
                    n_corners += 1
                    if i >= place:
                        places[path[i]] = 0
                ends[n_rings], owners[n_rings], are_holes[n_rings] = n_corners, own, True
                n_rings += 1
                length = place
            else:
                path[length] = corner
                length += 1
                # Mark a corner at which the region touches itself.
                around = np.int64(regions[corner - stride - 1] == own) + np.int64(
                    regions[corner] == own
                )
                beside = np.int64(regions[corner - stride] == own) + np.int64(
                    regions[corner - 1] == own
                )
                if around + beside == 2 and around != 1:
                    places[corner] = length
            # Go straight on to the next corner at which the path turns.
            turn = np.int64(0)
            while turn == 0:
                if direction == 0:
                    is_traced[corner] = True
                    corner += 1
                    right, left = corner, corner - stride
                elif direction == 1:
                    corner += stride
                    right, left = corner - 1, corner
                elif direction == 2:
                    corner -= 1
                    right, left = corner - stride - 1, corner - 1
                else:
                    corner -= stride
                    right, left = corner - stride, corner - stride - 1
                if regions[right] != own:
                    turn = np.int64(1)
                elif regions[left] == own:
                    turn = np.int64(3)
            direction = (direction + turn) % 4
            if corner == start and direction == 0:
                break
        for i in range(length):
            corners[n_corners] = path[i]
            n_corners += 1
            places[path[i]] = 0
        ends[n_rings], owners[n_rings] = n_corners, own
        are_holes[n_rings] = firsts[own] != 0
        n_rings += 1
        if firsts[own] == 0:
            firsts[own] = start
    return n_rings
