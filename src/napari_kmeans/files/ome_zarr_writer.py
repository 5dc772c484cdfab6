"""Lazy arrays to OME-Zarr (NGFF 0.5 on zarr 3), chunk by chunk, with coarser levels for viewers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.progress import Progress
from napari_kmeans.execution.threads import n_threads
from napari_kmeans.files.picture import Axis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report, Step

SIDE = 1024
"""Pixels: chunks are stored about so large, and no coarser level is made of a smaller image."""

ORDER = {"time": 0, "space": 2}
"""What NGFF wants first and last of the kinds of axes."""


@dataclass(frozen=True, eq=False)
class Image:
    """A lazy array and the directory it is to be written to.

    Attributes
    ----------
    path : Path
        Not there yet.
    name : str
    array : dask array
    axes : sequence of Axis
        One for each axis of the array; they are stored in the order of NGFF.
    metadata : dict
        What the attribute ``ome`` holds beside the levels.
    watch : callable, optional
        Called with each chunk of the array, from several threads.
    """

    path: Path
    name: str
    array: Any
    axes: Sequence[Axis]
    metadata: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[NDArray[Any]], None] | None = None


def spatial_axes(ndim: int) -> tuple[Axis, ...]:
    """Name the axes of an image of which nothing is known: x, y, z and time from the last."""
    known = (Axis("t", "time"), Axis("z"), Axis("y"), Axis("x"))
    others = tuple(Axis(f"dim_{number}", "") for number in range(ndim - len(known)))
    return (*others, *known)[-ndim:] if ndim else ()


def write_images(images: Sequence[Image], report: Report | None = None) -> None:
    """Write images of one source, which is read once for all of them.

    The coarser levels hold every second pixel of the plane, so that no label and
    no color appears in them that is not in the image; each is made from the one
    before as it was stored.

    Parameters
    ----------
    images : sequence of Image
        With planes of the same size.
    report : callable, optional
        ``report(done, total)``, after each chunk; raising from it cancels.

    Raises
    ------
    OSError
        If the disk is full or cannot be written to.
    """
    pyramids = [_Pyramid.of(image) for image in images]
    shares = [4.0**-number for number in range(min(len(p.shapes) for p in pyramids))]
    progress = Progress(report)
    for number, share in enumerate(shares):
        targets = [pyramid.create_level(number) for pyramid in pyramids]
        sources = [
            pyramid.source(number, target.target)
            for pyramid, target in zip(pyramids, targets, strict=True)
        ]
        _store(sources, targets, progress.stage(share / sum(shares), 1))
    for pyramid in pyramids:
        pyramid.describe(len(shares))
    progress.finish()


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """An image that is being written: its group, and the shape of each level."""

    image: Image
    array: Any
    axes: tuple[Axis, ...]
    plane: tuple[int, ...]
    shapes: list[tuple[int, ...]]
    group: zarr.Group

    @classmethod
    def of(cls, image: Image) -> _Pyramid:
        import zarr

        order = sorted(range(len(image.axes)), key=lambda axis: ORDER.get(image.axes[axis].kind, 1))
        axes = tuple(image.axes[axis] for axis in order)
        array = _regular(image.array.transpose(order))
        plane = tuple(number for number, axis in enumerate(axes) if axis.kind == "space")[-2:]
        group = zarr.open_group(image.path, mode="w-", zarr_format=3)
        return cls(image, array, axes, plane, list(_halved(array.shape, plane)), group)

    def create_level(self, number: int) -> _ChunkWriter:
        chunks = [
            _stored_size(size, length) if axis in self.plane else size
            for axis, (size, length) in enumerate(
                zip(self.array.chunksize, self.array.shape, strict=True)
            )
        ]
        shape = self.shapes[number]
        level = self.group.create_array(
            str(number),
            shape=shape,
            chunks=tuple(map(min, chunks, shape)),
            dtype=self.array.dtype,
            dimension_names=[axis.name for axis in self.axes],
        )
        return _ChunkWriter(level, None if number else self.image.watch)

    def source(self, number: int, target: zarr.Array[Any]) -> Any:
        """Return what a level is made of: the image, or every second pixel of the level before."""
        import dask.array as da

        if number == 0:
            return self.array
        steps = [2 if axis in self.plane else 1 for axis in range(self.array.ndim)]
        finer: Any = self.group[str(number - 1)]
        chunks = tuple(size * step for size, step in zip(target.chunks, steps, strict=True))
        opened = da.from_array(finer, chunks=chunks, name=False, inline_array=True)
        return opened[tuple(slice(None, None, step) for step in steps)]

    def describe(self, n_levels: int) -> None:
        """Write the metadata, without which a reader finds no image."""
        axes = [
            {
                key: value
                for key, value in (("name", a.name), ("type", a.kind), ("unit", a.unit))
                if value
            }
            for a in self.axes
        ]
        datasets = [
            {"path": str(number), "coordinateTransformations": self._place(number)}
            for number in range(n_levels)
        ]
        multiscale = {"name": self.image.name, "axes": axes, "datasets": datasets}
        ome = {"version": "0.5", "multiscales": [multiscale], **self.image.metadata}
        self.group.attrs["ome"] = ome

    def _place(self, number: int) -> list[dict[str, Any]]:
        scale = [
            a.scale * (2**number if axis in self.plane else 1) for axis, a in enumerate(self.axes)
        ]
        place: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(a.translation for a in self.axes):
            shift = [a.translation for a in self.axes]
            place.append({"type": "translation", "translation": shift})
        return place


def _regular(array: Any) -> Any:
    """Return an array whose chunks are alike along each axis, but for a smaller last one."""
    if all(len({*sizes[:-1]}) < 2 and sizes[-1] <= sizes[0] for sizes in array.chunks):
        return array
    return array.rechunk(array.chunksize)


def _halved(shape: tuple[int, ...], plane: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield shape
    while max((shape[axis] for axis in plane), default=0) > SIDE:
        shape = tuple(
            -(-length // 2) if axis in plane else length for axis, length in enumerate(shape)
        )
        yield shape


def _stored_size(size: int, length: int) -> int:
    """Return how long the stored chunks are of which a chunk that is computed is made."""
    if size >= length:
        return min(size, SIDE)
    while size > SIDE and size % 2 == 0:
        size //= 2
    return size


def _store(sources: Sequence[Any], targets: Sequence[Any], step: Step) -> None:
    """Compute lazy arrays together into targets of the same shapes, on threads."""
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
    # A pool of its own: leaving it waits for the chunks that are being written,
    # so that nothing comes into a directory that is taken away.
    with ThreadPoolExecutor(n_threads(), "napari-kmeans") as pool, watch:
        compute(stored, scheduler="threads", pool=pool)


@dataclass(frozen=True, eq=False)
class _ChunkWriter:
    """What `dask.array.store` writes into: each stored chunk by itself.

    zarr writes those of one assignment together, and goes on with the others
    when one has failed.
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
            # Contiguous, for zarr is slow to copy what is not.
            part = np.ascontiguousarray(block[tuple(map(slice, corner, stop))])
            begin = [place.start + start for place, start in zip(region, corner, strict=True)]
            self.target[tuple(map(slice, begin, np.add(begin, part.shape)))] = part
