"""Write the regions of a label image as polygons in a GeoJSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.checks import Flag, WholeNumber, check_path
from napari_kmeans.execution.progress import Progress
from napari_kmeans.exported import Exported
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.imaging.outlines import Outlines, trace_outlines
from napari_kmeans.objects import check_scale

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.exported import ExportedClass
    from napari_kmeans.model import KMeansModel

START = f'{{"type":"FeatureCollection","generator":"napari-kmeans {__version__}","features":['
"""The first bytes of a file. GeoJSON allows other members, which readers skip."""

_N_CORNERS = 2**19
"""The approximate number of corners that are written as text at a time, about 20 MB."""

_NEW_FEATURE = b"\1"
"""The separator of features in a text of coordinates, which has no such byte."""

_BEFORE = np.array([b",", b",[", b",[[", _NEW_FEATURE + b"[["])
"""The text before a corner: inside a ring; the first of a ring, a polygon or a feature."""

_AFTER = np.array([b"", b"]", b"]]"])
"""The text after a corner: inside a ring; the last of a ring or a polygon."""


def write_geojson(
    segmentation: Any,
    path: str | os.PathLike[str],
    *,
    classes: KMeansModel | pd.DataFrame | None = None,
    objects: bool = False,
    connectivity: int | None = None,
    include_ignored: bool = False,
    scale: Sequence[float] | None = None,
    axes: str | None = None,
    progress: Report | None = None,
) -> None:
    """Write the classes as polygons along the edges of their pixels, as GeoJSON.

    QuPath imports the file with the names and colors of the classes. Pixels that were left
    out or are undecided, label 0, have no polygon.

    Parameters
    ----------
    segmentation : Segmentation, StackSegmentation, or (..., Y, X) array of whole numbers
        A result of one image, or its labels, with two to four axes. dask arrays are computed
        slice by slice.
    path : path
        The file. QuPath opens files that end in ``.geojson``.
    classes : KMeansModel or pandas.DataFrame, optional
        The classes of the labels: a model, or a table with the columns `index`, `color`, and
        maybe `name` and `ignored`. None takes the table of the segmentation; an array needs
        them.
    objects : bool, default False
        False writes one feature per class and slice, an annotation of QuPath. True writes one
        per connected object in each slice, a detection.
    connectivity : int, optional
        For objects: 1 connects pixels that share an edge, 2 also those that share a corner,
        as None does. See `split_objects`.
    include_ignored : bool, default False
        Whether ignored classes are written.
    scale : sequence of float, optional
        The distance between neighboring pixels along each axis. The coordinates are then
        physical ones. None writes coordinates in pixels, as QuPath expects them.
    axes : str, optional
        The letters of the axes, such as ``"tyx"`` for a time lapse. None takes the last of
        ``"tzyx"``.
    progress : callable, optional
        ``progress(done, total)`` is called during the work. If it raises an exception, no file
        is written.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, if a label has no class, or if a slice does not fit
        into memory.
    OSError
        If the file cannot be written.

    Notes
    -----
    The first pixel extends from 0, 0 to 1, 1; x comes first, and y points down. Regions of
    pixels that share edges are polygons with their holes, and outer rings have a positive area
    in x and y, as RFC 7946 asks for [1]_. A slice of a stack is named as in QuPath, by a member
    `plane` of the geometry. The properties are `objectType`, `name`, `classification` and
    `label`.

    References
    ----------
    .. [1] Butler, H., et al. (2016). The GeoJSON format. RFC 7946.
       :DOI:`10.17487/RFC7946`

    Examples
    --------
    >>> segmentation = segment(image, 4)
    >>> write_geojson(segmentation, "image.geojson")
    >>> write_geojson(segmentation, "objects.geojson", objects=True)
    """
    flag = Flag()
    exported = Exported.of(
        segmentation, classes, flag.check("include_ignored", include_ignored), axes
    )
    ndim = exported.labels.ndim
    steps = None if scale is None else check_scale(scale, ndim)[-2:]
    kind = _Kind(
        flag.check("objects", objects),
        WholeNumber(1, 2, (None,)).check("connectivity", connectivity) or 2,
        steps,
    )
    target = check_path("path", path)
    write_whole({target: lambda temporary: _write(exported, temporary, kind, progress)})


@dataclass(frozen=True, eq=False)
class _Kind:
    """What is written: objects or classes, and in which coordinates."""

    objects: bool
    connectivity: int
    scale: NDArray[np.float64] | None
    """The distance between pixels along y and x; None for coordinates in pixels."""

    def texts(self, n_pixels: int, axis: int, template: str) -> NDArray[np.bytes_]:
        """Return the text of each coordinate along an axis, (n_pixels + 1,)."""
        if self.scale is None:
            numbers = [str(number) for number in range(n_pixels + 1)]
        else:
            # 15 digits are exact, and hide the rounding of products such as 3 * 0.1.
            numbers = [f"{number * self.scale[axis]:.15g}" for number in range(n_pixels + 1)]
        return np.array([template.format(number).encode() for number in numbers])


def _write(exported: Exported, path: Path, kind: _Kind, progress: Report | None) -> None:
    n_slices = int(np.prod(exported.labels.shape[:-2], dtype=np.int64))
    report = Progress(progress)
    names = _distinct_names(exported.classes)
    by_label = {each.label: (each, names[each.label]) for each in exported.classes}
    separator = b""
    with path.open("wb") as file:
        file.write(START.encode())
        for place, labels in exported.slices():
            step = report.stage(0.3 / n_slices, 1)
            kept = np.where(np.isin(labels, list(by_label)), labels, 0)
            features = _Features.of(kept, kind)
            step(1)
            step = report.stage(0.7 / n_slices, max(len(features.outlines.corners), 1))
            for text, n_corners in features.texts(by_label, place, separator):
                file.write(text)
                separator = b",\n"
                step(n_corners)
        file.write(b"\n]}\n")
    report.finish()


def _distinct_names(classes: Sequence[ExportedClass]) -> dict[int, str]:
    """Return the name of each class by its label. QuPath takes classes of one name for one."""
    names = [each.shown_name for each in classes]
    return {
        each.label: each.shown_name
        if names.count(each.shown_name) == 1
        else f"{each.shown_name} ({each.label})"
        for each in classes
    }


@dataclass(frozen=True, eq=False)
class _Features:
    """The features of one slice, with their rings in the order of the file.

    Attributes
    ----------
    outlines : Outlines
    order : (R,) int64 array
        The rings, sorted by feature and polygon, each outer ring before its holes.
    features : (R,) int64 array
        The number of the feature of each ring, in this order.
    labels, n_polygons : (F,) int64 arrays
        The label and the number of polygons of each feature.
    shape : tuple of int
    kind : _Kind
    """

    outlines: Outlines
    order: NDArray[np.int64]
    features: NDArray[np.int64]
    labels: NDArray[np.int64]
    n_polygons: NDArray[np.int64]
    shape: tuple[int, ...]
    kind: _Kind

    @classmethod
    def of(cls, labels: NDArray[Any], kind: _Kind) -> _Features:
        outlines = trace_outlines(labels)
        firsts = outlines.firsts[1:]
        groups = labels.ravel()[firsts]
        if kind.objects:
            from skimage.measure import label

            groups = label(labels, background=0, connectivity=kind.connectivity).ravel()[firsts]
        _, first_regions, groups = np.unique(groups, return_index=True, return_inverse=True)
        owners = outlines.owners - np.int64(1)
        features = groups[owners]
        order = np.argsort(
            2 * (features * len(firsts) + owners) + outlines.are_holes, kind="stable"
        )
        return cls(
            outlines,
            order,
            features[order],
            labels.ravel()[firsts[first_regions]].astype(np.int64),
            np.bincount(groups, minlength=len(first_regions)),
            labels.shape,
            kind,
        )

    def texts(
        self,
        by_label: dict[int, tuple[ExportedClass, str]],
        place: dict[str, int],
        separator: bytes,
    ) -> Iterator[tuple[bytes, int]]:
        """Yield the text of the features piece by piece, and the number of corners in each."""
        plane = f',"plane":{json.dumps({"c": -1, "z": 0, "t": 0, **place})}' if place else ""
        number, close = -1, b""
        for coordinates, n_corners in self._coordinates():
            # The first piece continues the last feature of the text before.
            first, *others = coordinates.split(_NEW_FEATURE)
            pieces = [first]
            for piece in others:
                number += 1
                pieces += [close, separator if number == 0 else b",\n"]
                opening, close = self._around(number, by_label, plane)
                pieces += [opening, piece]
            yield b"".join(pieces), n_corners
        if close:
            yield close, 0

    def _around(
        self, number: int, by_label: dict[int, tuple[ExportedClass, str]], plane: str
    ) -> tuple[bytes, bytes]:
        """Return the text before and after the coordinates of a feature."""
        label = int(self.labels[number])
        described, name = by_label[label]
        is_multi = bool(self.n_polygons[number] > 1)
        properties = {
            "objectType": "detection" if self.kind.objects else "annotation",
            "name": f"{name} {number + 1}" if self.kind.objects else name,
            "classification": {"name": name, "color": described.rgb},
            "label": label,
        }
        text = json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
        opening = '{"type":"Feature","geometry":{"type":"%s","coordinates":' % (
            "MultiPolygon" if is_multi else "Polygon"
        )
        closing = f'{plane}}},"properties":{text}}}'
        return (opening + "[" * is_multi).encode(), ("]" * is_multi + closing).encode()

    def _coordinates(self) -> Iterator[tuple[bytes, int]]:
        """Yield the text of many rings at a time, and the number of their corners."""
        outlines, order = self.outlines, self.order
        starts = outlines.starts[order]
        lengths = outlines.ends[order] - starts
        owners = outlines.owners[order]
        is_new_polygon = np.diff(owners, prepend=-1, append=-1) != 0
        is_new_feature = np.diff(self.features, prepend=-1) != 0
        before = 1 + is_new_polygon[:-1].astype(np.int8) + is_new_feature
        after = 1 + is_new_polygon[1:].astype(np.int8)
        rows, columns = (
            self.kind.texts(self.shape[0], 0, "{}]"),
            self.kind.texts(self.shape[1], 1, "[{},"),
        )
        totals = np.cumsum(lengths)
        begin = 0
        while begin < len(order):
            done = totals[begin - 1] if begin else 0
            end = max(int(np.searchsorted(totals, done + _N_CORNERS)), begin + 1)
            part = slice(begin, end)
            y, x, last = self._closed_rings(starts[part], lengths[part])
            first = np.concatenate([[0], last[:-1] + 1])
            marks = np.zeros((2, len(y)), np.int8)
            marks[0, first], marks[1, last] = before[part], after[part]
            cells = [_BEFORE[marks[0]], columns[x], rows[y], _AFTER[marks[1]]]
            # Fixed widths are fast: numpy fills them with zeros, which are removed at the end.
            lines = np.empty(len(y), [(str(n), each.dtype) for n, each in enumerate(cells)])
            for n, each in enumerate(cells):
                lines[str(n)] = each
            yield lines.tobytes().translate(None, b"\0"), len(y)
            begin = end

    def _closed_rings(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Return y and x of the corners of rings that end where they start, and each last place."""
        ends = np.cumsum(lengths + 1)
        within = np.arange(ends[-1]) - np.repeat(ends - lengths - 1, lengths + 1)
        within[ends - 1] = 0
        corners = self.outlines.corners[np.repeat(starts, lengths + 1) + within]
        y, x = np.divmod(corners, self.outlines.stride)
        return y, x, ends - 1
