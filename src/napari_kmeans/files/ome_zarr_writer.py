"""Write lazy arrays as OME-Zarr (NGFF 0.5, zarr 3), chunk by chunk.

The images get coarser levels, so that viewers open them quickly.

The package ome-zarr (0.17) is not used for writing. It writes one image per call, so the
source of labels and recolored image would be read twice. With ``compute=False`` both can
be computed together, but then it writes the metadata before the pixels, and a canceled
image looks complete. It reports no progress. It also depends on packages for S3 and HTTP.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.memory import trim_heaps
from napari_kmeans.execution.progress import Progress
from napari_kmeans.execution.threads import n_threads
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.result_record import table_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    import zarr
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report, Step

STORED_CHUNK_SIDE = 1024
"""Pixels. About the largest length of a stored chunk along an axis of the plane.

A plane that is not longer than this gets no coarser level.
"""

AXIS_RANKS = {"time": 0, "space": 2}
"""Rank of each kind of axis in NGFF: time is first, space is last, other kinds are between."""


@dataclass(frozen=True, eq=False)
class Image:
    """A lazy array, and the directory to which it is written.

    Attributes
    ----------
    path : Path
        The directory. It must not exist yet.
    name : str
        The name of the image in the metadata.
    array : dask array
    axes : sequence of Axis
        One for each axis of the array. The axes are stored in the order of NGFF.
    metadata : dict
        Entries of the attribute ``ome`` in addition to the levels.
    watch : callable, optional
        Called with each computed chunk of the array, from several threads.
    """

    path: Path
    name: str
    array: Any
    axes: Sequence[Axis]
    metadata: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[NDArray[Any]], None] | None = None


def spatial_axes(ndim: int) -> tuple[Axis, ...]:
    """Return default axes for an image without metadata: x is last, before it y, z and time."""
    known = (Axis("t", "time"), Axis("z"), Axis("y"), Axis("x"))
    others = tuple(Axis(f"dim_{number}", "") for number in range(ndim - len(known)))
    return (*others, *known)[-ndim:] if ndim else ()


def describe_labels(path: Path, table: pd.DataFrame) -> None:
    """Write the colors and properties of labels into the metadata of their zarr directory.

    Readers of OME-Zarr show the properties of each label: its `name`, "" without one, whether
    it is `ignored`, and the number of its `pixels`.

    Parameters
    ----------
    path : Path
        A directory that `write_images` wrote.
    table : pandas.DataFrame
        The table of the clusters, as in a record. The number of pixels is left out if it is
        not known.
    """
    import zarr

    unknown = [np.nan] * len(table)
    columns = (table.get("ignored", unknown), table.get("pixels", unknown))
    colors, properties = [], []
    # A table that was edited by a script may lack a number.
    for each, is_ignored, pixels in zip(table_classes(table), *columns, strict=True):
        label, color = {"label-value": each["label"]}, bytes.fromhex(each["color"][1:])
        colors.append({**label, "rgba": [*color, 255]})
        described = {"name": each["name"], "ignored": bool(is_ignored == 1)}
        known = {"pixels": int(pixels)} if np.isfinite(pixels) else {}
        properties.append({**label, **described, **known})
    group = zarr.open_group(path, mode="r+")
    described_labels = {"colors": colors, "properties": properties} if colors else {}
    ome: Any = group.attrs["ome"]
    group.attrs["ome"] = {**ome, "image-label": described_labels}


def write_images(
    images: Sequence[Image], report: Report | None = None, beside: Sequence[Any] = ()
) -> None:
    """Write images that are computed from one source. The source is read once for all of them.

    A coarser level has every second row and column of the level before, so that it
    has no label and no color that is not in the image. It is read from the stored
    level before, not computed from the source.

    Parameters
    ----------
    images : sequence of Image
        Their planes have the same size.
    report : callable, optional
        ``report(done, total)`` is called after each chunk. If it raises an
        exception, the writing stops.
    beside : sequence of dask arrays
        Arrays of the same source that are computed together with level 0, and not written.

    Raises
    ------
    OSError
        If the disk is full or cannot be written to.
    """
    pyramids = [_Pyramid.of(image) for image in images]
    shares = [4.0**-number for number in range(min(len(p.shapes) for p in pyramids))]
    progress = Progress(report)
    for number, share in enumerate(shares):
        targets: list[Any] = [pyramid.create_level(number) for pyramid in pyramids]
        sources = [
            pyramid.source(number, target.target)
            for pyramid, target in zip(pyramids, targets, strict=True)
        ]
        if number == 0:
            sources += beside
            targets += [_Discard(each.shape) for each in beside]
        _store_on_threads(sources, targets, progress.stage(share / sum(shares), 1))
        # Each level has other threads, and with them other heaps.
        trim_heaps()
    for pyramid in pyramids:
        pyramid.describe(len(shares))
    progress.finish()


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """An image that is being written: its zarr group, and the shape of each level."""

    image: Image
    array: Any
    axes: tuple[Axis, ...]
    plane: tuple[int, ...]
    shapes: list[tuple[int, ...]]
    group: zarr.Group

    @classmethod
    def of(cls, image: Image) -> _Pyramid:
        import zarr

        order = sorted(
            range(len(image.axes)), key=lambda axis: AXIS_RANKS.get(image.axes[axis].kind, 1)
        )
        axes = tuple(image.axes[axis] for axis in order)
        array = _make_chunks_regular(image.array.transpose(order))
        plane = tuple(number for number, axis in enumerate(axes) if axis.kind == "space")[-2:]
        group = zarr.open_group(image.path, mode="w-", zarr_format=3)
        return cls(image, array, axes, plane, list(_level_shapes(array.shape, plane)), group)

    def create_level(self, number: int) -> _ChunkWriter:
        chunks = [
            _stored_length(size, length) if axis in self.plane else size
            for axis, (size, length) in enumerate(
                zip(self.array.chunksize, self.array.shape, strict=True)
            )
        ]
        shape = self.shapes[number]
        level = self.group.create_array(
            str(number),
            shape=shape,
            chunks=tuple(map(min, chunks, shape)),
            # C has two types of 64 bits, and numpy a dtype for each. zarr knows that of the text.
            dtype=self.array.dtype.str,
            dimension_names=[axis.name for axis in self.axes],
        )
        return _ChunkWriter(level, None if number else self.image.watch)

    def source(self, number: int, target: zarr.Array[Any]) -> Any:
        """Return the lazy pixels of a level.

        Level 0 is the image. Each other level has every second row and column of
        the level before, as it was stored.
        """
        import dask.array as da

        if number == 0:
            return self.array
        steps = [2 if axis in self.plane else 1 for axis in range(self.array.ndim)]
        finer: Any = self.group[str(number - 1)]
        chunks = tuple(size * step for size, step in zip(target.chunks, steps, strict=True))
        opened = da.from_array(finer, chunks=chunks, name=False, inline_array=True)
        return opened[tuple(slice(None, None, step) for step in steps)]

    def describe(self, n_levels: int) -> None:
        """Write the metadata. They come last, so that no reader opens an incomplete image."""
        axes = [
            {
                key: value
                for key, value in (("name", a.name), ("type", a.kind), ("unit", a.unit))
                if value
            }
            for a in self.axes
        ]
        datasets = [
            {"path": str(number), "coordinateTransformations": self._transformations(number)}
            for number in range(n_levels)
        ]
        multiscale = {"name": self.image.name, "axes": axes, "datasets": datasets}
        ome = {"version": "0.5", "multiscales": [multiscale], **self.image.metadata}
        self.group.attrs["ome"] = ome

    def _transformations(self, number: int) -> list[dict[str, Any]]:
        scale = [
            a.scale * (2**number if axis in self.plane else 1) for axis, a in enumerate(self.axes)
        ]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(a.translation for a in self.axes):
            shift = [a.translation for a in self.axes]
            transformations.append({"type": "translation", "translation": shift})
        return transformations


def _make_chunks_regular(array: Any) -> Any:
    """Return an array whose chunks have one length along each axis, as zarr requires.

    Only the last chunk may be shorter.
    """
    if all(len({*sizes[:-1]}) < 2 and sizes[-1] <= sizes[0] for sizes in array.chunks):
        return array
    return array.rechunk(array.chunksize)


def _level_shapes(shape: tuple[int, ...], plane: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the shape of each level. The axes of the plane are halved, rounded up."""
    yield shape
    while max((shape[axis] for axis in plane), default=0) > STORED_CHUNK_SIDE:
        shape = tuple(
            -(-length // 2) if axis in plane else length for axis, length in enumerate(shape)
        )
        yield shape


def _stored_length(size: int, length: int) -> int:
    """Return the length of the stored chunks along an axis.

    It is a divisor of the length of the computed chunks, so that no two of them
    write to the same stored chunk. A single computed chunk may have any length.
    """
    if size >= length:
        return min(size, STORED_CHUNK_SIDE)
    while size > STORED_CHUNK_SIDE and size % 2 == 0:
        size //= 2
    return size


def _store_on_threads(sources: Sequence[Any], targets: Sequence[Any], step: Step) -> None:
    """Compute lazy arrays together, on threads, and write them to targets of the same shapes."""
    import dask.array as da
    from dask.base import compute
    from dask.callbacks import Callback

    n_tasks = 0

    def begin(_graph: Any, state: dict[str, Any]) -> None:
        nonlocal n_tasks
        n_tasks = len(state["ready"]) + len(state["waiting"])

    def count(*_: Any) -> None:
        step(1 / n_tasks)

    watch = Callback(start_state=begin, posttask=count)
    stored = da.store(sources, targets, lock=False, compute=False)
    # Leaving this pool waits for the chunks that are being written. Otherwise a canceled run
    # would still write into a directory that is being removed.
    with ThreadPoolExecutor(n_threads(), "napari-kmeans") as pool, watch:
        compute(stored, scheduler="threads", pool=pool)


@dataclass(frozen=True, eq=False)
class _Discard:
    """The target of an array whose values are not written."""

    shape: tuple[int, ...]

    def __setitem__(self, region: tuple[slice, ...], block: NDArray[Any]) -> None:
        pass


@dataclass(frozen=True, eq=False)
class _ChunkWriter:
    """The target of `dask.array.store`. It writes each stored chunk separately.

    zarr writes the chunks of one assignment concurrently. If one chunk fails, as on
    a full disk, zarr continues with the others, and their errors are printed later.
    """

    target: zarr.Array[Any]
    watch: Callable[[NDArray[Any]], None] | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.target.shape

    def __setitem__(self, region: tuple[slice, ...], block: NDArray[Any]) -> None:
        if self.watch is not None:
            self.watch(block)
        starts = [
            range(0, length, size)
            for length, size in zip(block.shape, self.target.chunks, strict=True)
        ]
        for corner in product(*starts):
            stop = np.add(corner, self.target.chunks)
            # zarr copies arrays slowly if they are not contiguous.
            pixels = np.ascontiguousarray(block[tuple(map(slice, corner, stop))])
            begin = [axis.start + start for axis, start in zip(region, corner, strict=True)]
            self.target[tuple(map(slice, begin, np.add(begin, pixels.shape)))] = pixels
