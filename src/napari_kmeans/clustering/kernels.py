"""Compiled loops over weighted points. Each loop runs on one thread and releases the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel, inner_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-12
"""Upper bound of relative rounding errors of coordinates, weights and squared distances."""

_RUN = 16
"""Groups that follow each other and are compared with the same centers. They are near each other,
and far from most of many centers."""

_FEW_CENTERS = 8
"""The number of centers up to which a simple comparison finds the nearest of many groups. Among
more centers, most groups are near to several."""

MIXED = -1
"""The label of a group whose points do not all have the same label."""


class Groups(NamedTuple):
    """Weighted points in groups of consecutive points, and the moments of each group.

    Compiled functions read the fields into local variables before their loops. Reading a field
    within a loop, or in a function that is called for each group, made fits 10 to 60 % slower.

    Attributes
    ----------
    points : (n, F) float64 array
    weights : (n,) float64 array
    starts : (G + 1,) int64 array
        Group g is points ``starts[g]`` to ``starts[g + 1]``.
    sums, means : (G, F) float64 arrays
        Weighted sum and mean of the points of each group.
    totals : (G,) float64 array
        Weight of each group.
    radii : (G,) float64 array
        At least the largest distance of a point from the mean of its group.
    scatters : (G,) float64 array
        Weighted sum of squared distances from the mean of the group.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    sums: NDArray[np.float64]
    totals: NDArray[np.float64]
    means: NDArray[np.float64]
    radii: NDArray[np.float64]
    scatters: NDArray[np.float64]


class LabelState(NamedTuple):
    """The nearest of K centers for each point, and limits within which labels cannot change.

    Attributes
    ----------
    centers : (K, F) float64 array
    drifts : (K + 1,) float64 array
        Entry k adds up, for each motion of the centers, the distance that center k moved and
        the largest distance that a center moved. Any other center can have come nearer to a
        point of cluster k by at most this sum. Entry K, for groups with several labels, adds up
        twice the largest distance.
    group_labels : (G,) int32 array
        The label of all points of a group, or `MIXED`.
    group_limits : (G,) float64 array
        The labels of a group cannot change while its drift is below this limit. The drift is
        ``drifts[label]`` for a group with one label, and ``drifts[K]`` for a mixed group.
    labels : (n,) int32 array
        The label of each point of a mixed group, -1 before the first update. Values of points
        in other groups are out of date.
    limits : (n,) float64 array
        The label of a point cannot change while ``drifts[label]`` is below this limit.
    margin : float
        Upper bound of the rounding error of a distance.
    """

    centers: NDArray[np.float64]
    drifts: NDArray[np.float64]
    group_labels: NDArray[np.int32]
    group_limits: NDArray[np.float64]
    labels: NDArray[np.int32]
    limits: NDArray[np.float64]
    margin: float


@inline_kernel
def _squared_distance(a: Any, i: int, b: Any, k: int) -> Any:
    distance = 0.0
    for j in range(a.shape[1]):
        # Convert first: the difference of unsigned integers would wrap around.
        difference = np.float64(a[i, j]) - np.float64(b[k, j])
        distance += difference * difference
    return distance


@compile_kernel
def pick_indices(weights: NDArray[Any], draws: NDArray[Any], indices: NDArray[Any]) -> None:
    """Write for each draw the first index at which the cumulative sum of `weights` exceeds it.

    `draws` are ascending.
    """
    last = weights.shape[0] - 1
    index = 0
    total = weights[0]
    for i in range(draws.shape[0]):
        # A draw can exceed the sum of the weights by a rounding error.
        while draws[i] >= total and index < last:
            index += 1
            total += weights[index]
        indices[i] = index


@compile_kernel
def describe_groups(groups: Groups, first: int, last: int) -> None:
    """Compute the sums, totals, means, radii and scatters of groups `first` to `last`."""
    points, weights, starts = groups.points, groups.weights, groups.starts
    sums, totals, means = groups.sums, groups.totals, groups.means
    radii, scatters = groups.radii, groups.scatters
    squares = np.empty(64)
    for g in range(first, last):
        own, shares = points[starts[g] : starts[g + 1]], weights[starts[g] : starts[g + 1]]
        size = shares.shape[0]
        if size > squares.shape[0]:
            squares = np.empty(2 * size)
        total = 0.0
        for i in range(size):
            total += shares[i]
            squares[i] = 0.0
        totals[g] = total
        # One feature at a time: its sum stays in a register.
        for j in range(points.shape[1]):
            added = 0.0
            for i in range(size):
                added += shares[i] * own[i, j]
            mean = added / total
            sums[g, j], means[g, j] = added, mean
            for i in range(size):
                difference = own[i, j] - mean
                squares[i] += difference * difference
        max_square = scatter = 0.0
        for i in range(size):
            scatter += shares[i] * squares[i]
            max_square = max(max_square, squares[i])
        radii[g] = np.sqrt(max_square)
        scatters[g] = scatter


@inner_kernel
def _measure_all(point: NDArray[Any], columns: NDArray[Any], squares: NDArray[Any]) -> Any:
    """Write the squared distances of a point from centers, and return the index of the nearest.

    `columns` (F, K or more) are the coordinates of the centers, and `squares` has K entries.
    """
    n_features, n_centers = columns.shape[0], squares.shape[0]
    for k in range(n_centers):
        squares[k] = 0.0
    # The innermost loops run over all centers, so that the compiler can vectorize them.
    for j in range(n_features):
        column, coordinate = columns[j], point[j]
        for k in range(n_centers):
            squares[k] += (column[k] - coordinate) * (column[k] - coordinate)
    closest = 0
    for k in range(n_centers):
        if squares[k] < squares[closest]:
            closest = k
    return closest


@inner_kernel
def find_nearby(
    boxes: NDArray[Any],
    box: int,
    columns: NDArray[Any],
    distances: NDArray[Any],
    nearby: NDArray[Any],
) -> Any:
    """Find the centers that can be the nearest center of a point within a box.

    Parameters
    ----------
    boxes : (2, B, F) array
        The middles of boxes, and half of their sides.
    box : int
    columns : (F, K) array
        The coordinates of the centers.
    distances : (K,) array
        Working memory.
    nearby : (K,) array
        Receives the indices of the centers, ascending.

    Returns
    -------
    int
        The number of these centers.
    """
    n_features, n_centers = columns.shape
    extent = boxes[1, box]
    closest = _measure_all(boxes[0, box], columns, distances)
    # The squared distance of a point from a center, minus that from the closest center, is a linear
    # function of the point. Its lowest value is that at a corner of the box.
    limit = distances[closest] * (1 + ROUNDING)
    for k in range(n_centers):
        distances[k] *= 1 - ROUNDING
    for j in range(n_features):
        column, coordinate = columns[j], columns[j, closest]
        reach = 2 * extent[j] * (1 + ROUNDING)
        for k in range(n_centers):
            distances[k] -= abs(column[k] - coordinate) * reach
    n_nearby = 0
    for k in range(n_centers):
        nearby[n_nearby] = k
        # True for NaN, too.
        n_nearby += not distances[k] > limit
    return n_nearby


@inner_kernel
def _find_candidates(
    means: NDArray[Any],
    g: int,
    radius: float,
    margin: float,
    centers: NDArray[Any],
    columns: NDArray[Any],
    distances: NDArray[Any],
    candidates: NDArray[Any],
) -> Any:
    """Find the centers that can be the nearest center of a point within a ball.

    The ball has its center at ``means[g]``. Write the indices of these centers to `candidates`.
    Return their number, and a lower bound of the difference between the distances of a point from
    any other center and from its nearest candidate, for all points of the ball.
    """
    distances[:] = 0.0
    # The innermost loop runs over all centers, so that the compiler can vectorize it.
    for j in range(columns.shape[0]):
        mean, column = means[g, j], columns[j]
        for k in range(distances.shape[0]):
            distances[k] += (column[k] - mean) * (column[k] - mean)
    closest = 0
    for k in range(distances.shape[0]):
        distances[k] = np.sqrt(distances[k])
        if distances[k] < distances[closest]:
            closest = k
    min_distance = distances[closest]
    min_gap = np.inf
    n_candidates = 0
    for k in range(centers.shape[0]):
        gap = distances[k] - min_distance - 2 * radius
        if gap <= margin and k != closest:
            # The triangle inequality does not exclude this center. A tighter test follows: the ball
            # is on one side of the plane midway between two centers if the distance of its center
            # from the plane is larger than its radius.
            between = np.sqrt(_squared_distance(centers, k, centers, closest))
            if between > 0:
                plane = (distances[k] ** 2 - min_distance**2) / (2 * between)
                reach = distances[k] + min_distance + 2 * radius
                gap = max(gap, 2 * between * (plane - radius) / reach)
        if gap > margin:
            min_gap = min(min_gap, gap)
        else:
            candidates[n_candidates] = k
            n_candidates += 1
    return n_candidates, min_gap - margin


@inline_kernel
def _add_point(
    points: Any, weights: Any, i: int, label: int, sums: Any, totals: Any, counts: Any
) -> None:
    """Add point i to the sums, the weight and the count of a cluster."""
    counts[label] += 1
    totals[label] += weights[i]
    for j in range(points.shape[1]):
        sums[label, j] += weights[i] * points[i, j]


@inline_kernel
def _remove_point(
    points: Any, weights: Any, i: int, label: int, sums: Any, totals: Any, counts: Any
) -> None:
    """Subtract point i from the sums, the weight and the count of a cluster.

    The callers test for label -1. This test within the inlined function made fits up to 2.4 times
    slower.
    """
    counts[label] -= 1
    totals[label] -= weights[i]
    for j in range(points.shape[1]):
        sums[label, j] -= weights[i] * points[i, j]


@inner_kernel
def _assign_by_plane(
    points: NDArray[Any],
    weights: NDArray[Any],
    start: int,
    stop: int,
    centers: NDArray[Any],
    a: int,
    b: int,
    reach: float,
    margin: float,
    plane: NDArray[Any],
    labels: NDArray[Any],
    limits: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
) -> Any:
    """Assign the points of a group to the nearer of two centers, a < b.

    Return the number of changed labels, and a lower bound of the difference between the distances
    of a point from the two centers. `reach` is an upper bound of the sum of the two distances.
    """
    n_features = points.shape[1]
    normal, middle = plane[0], plane[1]
    for j in range(n_features):
        normal[j] = 2 * (centers[b, j] - centers[a, j])
        middle[j] = 0.5 * (centers[a, j] + centers[b, j])
    n_changed = 0
    min_excess = np.inf
    for i in range(start, stop):
        # The difference of the two squared distances is a linear function of the point. Measuring
        # from the midpoint keeps its precision if all coordinates are far from 0.
        excess = 0.0
        for j in range(n_features):
            excess += normal[j] * (middle[j] - points[i, j])
        min_excess = min(min_excess, abs(excess))
        if abs(excess) <= margin * reach:
            to_b = _squared_distance(points, i, centers, b)
            excess = to_b - _squared_distance(points, i, centers, a)
        label = a if excess >= 0 else b
        old = labels[i]
        if old == label:
            continue
        n_changed += 1
        labels[i] = label
        limits[i] = -np.inf
        _add_point(points, weights, i, label, sums, totals, counts)
        if old >= 0:
            _remove_point(points, weights, i, old, sums, totals, counts)
    return n_changed, min_excess / reach - margin if reach > 0 else 0.0


@compile_kernel
def update_labels(
    groups: Groups,
    state: LabelState,
    first: int,
    last: int,
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
) -> Any:
    """Assign each point of groups `first` to `last` to its nearest center.

    A group or a point is skipped while the drift of its label is below its limit: see
    `LabelState`. The weighted points that a cluster gains and loses are added to and subtracted
    from `sums` (K, F), `totals` (K,) and `counts` (K,). Return the number of changed labels.
    """
    points, weights, starts = groups.points, groups.weights, groups.starts
    group_sums, group_totals = groups.sums, groups.totals
    means, radii = groups.means, groups.radii
    centers, drifts, margin = state.centers, state.drifts, state.margin
    group_labels, group_limits = state.group_labels, state.group_limits
    labels, limits = state.labels, state.limits
    n_centers = centers.shape[0]
    n_features = points.shape[1]
    columns = np.ascontiguousarray(centers.T)
    distances = np.empty(n_centers)
    candidates = np.empty(n_centers, np.int64)
    plane = np.empty((2, n_features))
    n_changed = 0
    for g in range(first, last):
        group_label = group_labels[g]
        if drifts[n_centers if group_label == MIXED else group_label] < group_limits[g]:
            continue
        start, stop = starts[g], starts[g + 1]
        n_candidates, min_gap = _find_candidates(
            means, g, radii[g], margin, centers, columns, distances, candidates
        )
        if n_candidates == 1:
            label = candidates[0]
            group_limits[g] = min_gap + drifts[label]
            if group_label == label:
                continue
            n_unchanged = 0
            if group_label == MIXED:
                for i in range(start, stop):
                    old = labels[i]
                    n_unchanged += old == label
                    if old >= 0:
                        _remove_point(points, weights, i, old, sums, totals, counts)
            else:
                counts[group_label] -= stop - start
                totals[group_label] -= group_totals[g]
                for j in range(n_features):
                    sums[group_label, j] -= group_sums[g, j]
            counts[label] += stop - start
            totals[label] += group_totals[g]
            for j in range(n_features):
                sums[label, j] += group_sums[g, j]
            n_changed += stop - start - n_unchanged
            group_labels[g] = label
            continue
        if group_label != MIXED:
            for i in range(start, stop):
                labels[i] = group_label
                limits[i] = -np.inf
            group_labels[g] = MIXED
        if n_candidates == 2:
            n_group_changed, group_gap = _assign_by_plane(
                points,
                weights,
                start,
                stop,
                centers,
                candidates[0],
                candidates[1],
                distances[candidates[0]] + distances[candidates[1]] + 2 * radii[g],
                margin,
                plane,
                labels,
                limits,
                sums,
                totals,
                counts,
            )
            n_changed += n_group_changed
            group_limits[g] = min(group_gap, min_gap) + drifts[n_centers]
            continue
        group_gap = min_gap
        for i in range(start, stop):
            old = labels[i]
            if old >= 0 and drifts[old] < limits[i]:
                group_gap = min(group_gap, limits[i] - drifts[old])
                continue
            first_square = np.inf
            second_square = np.inf
            label = 0
            for c in range(n_candidates):
                square = _squared_distance(points, i, centers, candidates[c])
                if square < first_square:
                    second_square = first_square
                    first_square = square
                    label = candidates[c]
                elif square < second_square:
                    second_square = square
            gap = min(np.sqrt(second_square) - np.sqrt(first_square) - margin, min_gap)
            limits[i] = gap + drifts[label]
            group_gap = min(group_gap, gap)
            if old == label:
                continue
            n_changed += 1
            labels[i] = label
            _add_point(points, weights, i, label, sums, totals, counts)
            if old >= 0:
                _remove_point(points, weights, i, old, sums, totals, counts)
        group_limits[g] = group_gap + drifts[n_centers]
    return n_changed


@compile_kernel
def label_groups(
    groups: Groups,
    centers: NDArray[Any],
    first: int,
    last: int,
    labels: NDArray[Any],
    group_labels: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
) -> Any:
    """Find the nearest center of each point of groups `first` to `last` once, and return the cost.

    The labels are written to `labels` (n,), those of the groups, or `MIXED`, to `group_labels`
    (G,), and the points and their weights are added to `sums` (K, F) and `totals` (K,). If there
    are no `labels` (n = 0), mixed groups are only marked. This takes half of the time of
    `update_labels`, which also finds the limits within which labels cannot change.
    """
    has_points = labels.shape[0] > 0
    points, weights, starts = groups.points, groups.weights, groups.starts
    group_sums, group_totals = groups.sums, groups.totals
    means, radii, scatters = groups.means, groups.radii, groups.scatters
    n_centers, n_features = centers.shape
    columns = np.ascontiguousarray(centers.T)
    near_columns = np.empty((n_features, n_centers))
    nearby, candidates = np.empty((2, n_centers), np.int64)
    squares, excesses = np.empty((2, n_centers))
    box = np.empty((2, 1, n_features))
    work, run_labels = np.empty((3, _RUN)), np.empty(_RUN, np.int64)
    size = 0
    for g in range(first, last):
        size = max(size, starts[g + 1] - starts[g]) if has_points else 0
    own_columns, distances = np.empty((n_features, size)), np.empty((2, size))
    cost = 0.0
    for run in range(first, last, _RUN):
        run_stop = min(run + _RUN, last)
        for j in range(n_features):
            low, high = np.inf, -np.inf
            for g in range(run, run_stop):
                low, high = min(low, means[g, j] - radii[g]), max(high, means[g, j] + radii[g])
            middle = box[0, 0, j] = low / 2 + high / 2
            box[1, 0, j] = max(high - middle, middle - low)
        n_nearby = find_nearby(box, 0, columns, squares, nearby)
        for c in range(n_nearby):
            for j in range(n_features):
                near_columns[j, c] = centers[nearby[c], j]
        if n_nearby <= _FEW_CENTERS:
            _label_balls(
                means[run:run_stop], radii[run:run_stop], near_columns, n_nearby, work, run_labels
            )
        else:
            run_labels[:] = MIXED
        for g in range(run, run_stop):
            n_candidates = 1
            candidates[0] = run_labels[g - run]
            if candidates[0] == MIXED:
                n_candidates = _find_in_ball(
                    means[g], radii[g], near_columns, squares[:n_nearby], excesses, candidates
                )
            start, stop = starts[g], starts[g + 1]
            group_labels[g] = MIXED
            if n_candidates == 1:
                label = group_labels[g] = nearby[candidates[0]]
                if has_points:
                    for i in range(start, stop):
                        labels[i] = label
                totals[label] += group_totals[g]
                for j in range(n_features):
                    sums[label, j] += group_sums[g, j]
                square = _squared_distance(means, g, centers, label)
                cost += scatters[g] + group_totals[g] * square
                continue
            if not has_points:
                continue
            own, own_labels, shares = points[start:stop], labels[start:stop], weights[start:stop]
            lowest, others = distances[0, : own.shape[0]], distances[1, : own.shape[0]]
            for j in range(n_features):
                column = own_columns[j]
                for i in range(own.shape[0]):
                    column[i] = own[i, j]
            for i in range(own.shape[0]):
                lowest[i] = np.inf
                own_labels[i] = 0
            for c in range(n_candidates):
                label = nearby[candidates[c]]
                for i in range(own.shape[0]):
                    others[i] = 0.0
                for j in range(n_features):
                    column, coordinate = own_columns[j], centers[label, j]
                    for i in range(own.shape[0]):
                        others[i] += (column[i] - coordinate) * (column[i] - coordinate)
                for i in range(own.shape[0]):
                    own_labels[i] = label if others[i] < lowest[i] else own_labels[i]
                    lowest[i] = min(others[i], lowest[i])
            for i in range(own.shape[0]):
                label = own_labels[i]
                cost += shares[i] * lowest[i]
                totals[label] += shares[i]
                for j in range(n_features):
                    sums[label, j] += shares[i] * own[i, j]
    return cost


@inner_kernel
def _label_balls(
    middles: NDArray[Any],
    radii: NDArray[Any],
    columns: NDArray[Any],
    n_centers: int,
    work: NDArray[Any],
    labels: NDArray[Any],
) -> None:
    """Write the nearest center of each of some balls, or `MIXED` if it may not be that of a point.

    `work` (3, _RUN) is working memory. By the triangle inequality, a center is the nearest of all
    points of a ball if the second nearest is farther from the middle by more than the diameter.
    This rules out less than `_find_in_ball`, but the loops over balls are vectorized.
    """
    n_balls = len(radii)
    lowest, second, others = work[0], work[1], work[2]
    for i in range(n_balls):
        lowest[i] = second[i] = np.inf
        labels[i] = 0
    for k in range(n_centers):
        for i in range(n_balls):
            others[i] = 0.0
        for j in range(columns.shape[0]):
            coordinate = columns[j, k]
            for i in range(n_balls):
                others[i] += (middles[i, j] - coordinate) * (middles[i, j] - coordinate)
        for i in range(n_balls):
            square = others[i]
            labels[i] = k if square < lowest[i] else labels[i]
            second[i] = min(second[i], max(square, lowest[i]))
            lowest[i] = min(square, lowest[i])
    for i in range(n_balls):
        gap = np.sqrt(second[i]) * (1 - ROUNDING) - np.sqrt(lowest[i]) * (1 + ROUNDING)
        labels[i] = labels[i] if gap > 2 * radii[i] * (1 + ROUNDING) else MIXED


@inner_kernel
def _find_in_ball(
    middle: NDArray[Any],
    radius: float,
    columns: NDArray[Any],
    squares: NDArray[Any],
    excesses: NDArray[Any],
    candidates: NDArray[Any],
) -> Any:
    """Do the same as `find_nearby` for a ball, and for as many centers as there are `squares`."""
    n_features, n_centers = columns.shape[0], squares.shape[0]
    closest = _measure_all(middle, columns, squares)
    for k in range(n_centers):
        excesses[k] = 0.0
    for j in range(n_features):
        column, coordinate = columns[j], columns[j, closest]
        for k in range(n_centers):
            excesses[k] += (column[k] - coordinate) * (column[k] - coordinate)
    limit, reach = squares[closest] * (1 + ROUNDING), 2 * radius * (1 + ROUNDING)
    for k in range(n_centers):
        excesses[k] = squares[k] * (1 - ROUNDING) - limit - np.sqrt(excesses[k]) * reach
    n_candidates = 0
    for k in range(n_centers):
        candidates[n_candidates] = k
        n_candidates += not excesses[k] > 0
    return n_candidates


@compile_kernel
def copy_group_labels(
    starts: NDArray[Any], first: int, last: int, group_labels: NDArray[Any], labels: NDArray[Any]
) -> None:
    """Write the label of each group that is not mixed to all its points."""
    for g in range(first, last):
        group_label = group_labels[g]
        if group_label != MIXED:
            for i in range(starts[g], starts[g + 1]):
                labels[i] = group_label


@compile_kernel
def add_costs(groups: Groups, state: LabelState, first: int, last: int) -> Any:
    """Return the sum of weighted squared distances of points from the centers of their labels."""
    points, weights, starts = groups.points, groups.weights, groups.starts
    means, group_totals, scatters = groups.means, groups.totals, groups.scatters
    centers, group_labels, labels = state.centers, state.group_labels, state.labels
    cost = 0.0
    for g in range(first, last):
        group_label = group_labels[g]
        if group_label != MIXED:
            cost += scatters[g] + group_totals[g] * _squared_distance(
                means, g, centers, group_label
            )
            continue
        for i in range(starts[g], starts[g + 1]):
            cost += weights[i] * _squared_distance(points, i, centers, labels[i])
    return cost


@compile_kernel
def move_centers(
    centers: NDArray[Any], sums: NDArray[Any], totals: NDArray[Any], drifts: NDArray[Any]
) -> Any:
    """Move centers to ``sums / totals`` in place, and add to their drifts: see `LabelState`.

    A center of weight 0 does not move. Return the sum of the squared motions.
    """
    n_centers = centers.shape[0]
    motion = 0.0
    max_squared = 0.0
    for k in range(n_centers):
        squared = 0.0
        if totals[k] > 0:
            for j in range(centers.shape[1]):
                mean = sums[k, j] / totals[k]
                squared += (mean - centers[k, j]) ** 2
                centers[k, j] = mean
        motion += squared
        max_squared = max(max_squared, squared)
        drifts[k] += np.sqrt(squared)
    for k in range(n_centers):
        drifts[k] += np.sqrt(max_squared)
    drifts[n_centers] += 2 * np.sqrt(max_squared)
    return motion


@inner_kernel
def search_above(ascending: NDArray[Any], limit: float) -> Any:
    """Return the first index whose value is above the limit, or the last index.

    A point whose distance is 0 adds nothing to a cumulative sum: its index is never returned.
    """
    low, high = 0, len(ascending) - 1
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] > limit:
            high = middle
        else:
            low = middle + 1
    return low


@compile_kernel
def choose_seeds(
    points: NDArray[Any],
    columns: NDArray[Any],
    weights: NDArray[Any],
    draws: NDArray[Any],
    costs: NDArray[Any],
    cumulative: NDArray[Any],
    rows: NDArray[Any],
    trials: NDArray[Any],
    potentials: NDArray[Any],
    all_seeds: NDArray[Any],
    numbers: NDArray[Any],
) -> None:
    """Choose seeds of several runs by greedy k-means++, and write their indices and numbers.

    If there are fewer than K distinct points, each of them becomes a seed.

    Parameters
    ----------
    points, columns : (n, F) and (F, n) arrays
        The same coordinates.
    weights : (n,) array
    draws : (R, K, T) array
        Uniform random numbers from [0, 1), for T candidates per seed of each run.
    costs, cumulative : (n,) arrays
        Working memory.
    rows, trials, potentials : (T, width), (T,) and (T,) arrays
        Working memory.
    all_seeds : (R, K) array
    numbers : (R,) array
    """
    n, n_features = weights.shape[0], columns.shape[0]
    n_trials, width = rows.shape
    last = n_trials - 1
    for run in range(draws.shape[0]):
        seeds = all_seeds[run]
        numbers[run] = draws.shape[1]
        total = 0.0
        for i in range(n):
            costs[i] = np.inf
            total += weights[i]
            cumulative[i] = total
        seeds[0] = search_above(cumulative, draws[run, 0, 0] * total)
        for s in range(1, draws.shape[1]):
            newest = seeds[s - 1]
            total = 0.0
            for i in range(n):
                square = _squared_distance(points, i, points, newest)
                costs[i] = min(costs[i], weights[i] * square)
                total += costs[i]
                cumulative[i] = total
            if total <= 0:
                numbers[run] = s
                break
            for t in range(n_trials):
                trials[t] = search_above(cumulative, draws[run, s, t] * total)
                potentials[t] = 0.0
            # So few points at a time that their costs stay in the cache.
            for start in range(0, n, width):
                own, shares = costs[start : start + width], weights[start : start + width]
                for t in range(n_trials):
                    row, trial = rows[t], trials[t]
                    for i in range(own.shape[0]):
                        row[i] = 0.0
                    for j in range(n_features):
                        column, coordinate = columns[j, start : start + width], columns[j, trial]
                        for i in range(own.shape[0]):
                            row[i] += (column[i] - coordinate) * (column[i] - coordinate)
                    for i in range(own.shape[0]):
                        row[i] = min(own[i], shares[i] * row[i])
                # An addition to a sum waits for the one before: four sums take the time of one.
                for a in range(0, n_trials, 4):
                    b, c, d = min(a + 1, last), min(a + 2, last), min(a + 3, last)
                    row_a, row_b, row_c, row_d = rows[a], rows[b], rows[c], rows[d]
                    sum_a, sum_b = potentials[a], potentials[b]
                    sum_c, sum_d = potentials[c], potentials[d]
                    for i in range(own.shape[0]):
                        sum_a += row_a[i]
                        sum_b += row_b[i]
                        sum_c += row_c[i]
                        sum_d += row_d[i]
                    potentials[a], potentials[b] = sum_a, sum_b
                    potentials[c], potentials[d] = sum_c, sum_d
            best = 0
            for t in range(n_trials):
                best = t if potentials[t] < potentials[best] else best
            seeds[s] = trials[best]
