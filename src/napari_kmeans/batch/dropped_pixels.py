"""Images whose pixels are not all in memory: their files are read again when they are needed."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.channels import find_axis_of_channels
from napari_kmeans.files.lazy import FileArray, open_lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.files.picture import Picture

MAX_BYTES_IN_MEMORY = 2**29
"""The largest total size of the images that are held in memory while one model is fitted to all.

Of further images, the files are read again for each pass."""

_MIN_PICTURES = 8
"""Images that are held whatever their size: pixels and mask of an image are read one after the
other, by several threads."""


def drop_pixels(job: ImageJob, picture: Picture, n_pixels: int = 0) -> Picture:
    """Return an image that is read again when its pixels or its mask are needed.

    Parameters
    ----------
    job : ImageJob
    picture : Picture
        The image of the job, see `thin_out`.
    n_pixels : int
        The most pixels that are taken of the image; 0 for all.
    """
    pixels = FileArray(_ReadAgain(job, n_pixels, "pixels", picture.pixels))
    lazy = picture._replace(pixels=open_lazily(pixels, pixels.shape, picture.channel_axis))
    if picture.mask is None:
        return lazy
    mask = FileArray(_ReadAgain(job, n_pixels, "mask", picture.mask))
    return lazy._replace(mask=open_lazily(mask, mask.shape, None))


def keep_picture(job: ImageJob, picture: Picture, n_pixels: int = 0) -> None:
    """Keep an image in memory if it fits, so that its file need not be read again soon."""
    _RECENT.keep_if_it_fits(job, n_pixels, picture)


def read_again(job: ImageJob, n_pixels: int = 0) -> Picture:
    """Return the image of a job, from memory if it is kept."""
    return _RECENT.read(job, n_pixels)


@contextmanager
def kept_pictures() -> Iterator[None]:
    """Forget all images at the end of the block."""
    try:
        yield
    finally:
        _RECENT.clear()


def thin_out(picture: Picture, n_pixels: int) -> Picture:
    """Return every n-th pixel of an image along each axis, so that at most `n_pixels` are left."""
    channels = find_axis_of_channels(picture)
    axes = [axis for axis in range(picture.pixels.ndim) if axis != channels]
    shape = [picture.pixels.shape[axis] for axis in axes]
    if not n_pixels or math.prod(shape) <= n_pixels:
        return picture
    stride = math.ceil((math.prod(shape) / n_pixels) ** (1 / len(axes)))
    while math.prod(-(-length // stride) for length in shape) > n_pixels:
        stride += 1
    key = tuple(
        slice(None) if axis == channels else slice(None, None, stride)
        for axis in range(picture.pixels.ndim)
    )
    mask = picture.mask
    if mask is not None:
        mask = mask[(slice(None, None, stride),) * len(axes)]
    return picture._replace(pixels=picture.pixels[key], mask=mask)


class _ReadAgain:
    """The pixels or the mask of an image whose file is read again when they are needed."""

    def __init__(self, job: ImageJob, n_pixels: int, name: str, array: NDArray[Any]) -> None:
        self.job, self.n_pixels, self.name = job, n_pixels, name
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return getattr(_RECENT.read(self.job, self.n_pixels), self.name)[key]


class _RecentPictures:
    """The images that were read last, of at most `MAX_BYTES_IN_MEMORY`."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[tuple[ImageJob, int], Picture] = OrderedDict()
        self._n_bytes = 0
        self._lock = Lock()

    def read(self, job: ImageJob, n_pixels: int) -> Picture:
        """Return an image with at most so many pixels, from memory if it was read last."""
        # Two fits at a time may have different images of one name, such as layers of two viewers.
        with self._lock:
            picture = self._pictures.get((job, n_pixels))
        if picture is None:
            picture = thin_out(job.read(), n_pixels)
            with self._lock:
                self._add(job, n_pixels, picture)
                self._forget_oldest()
        return picture

    def keep_if_it_fits(self, job: ImageJob, n_pixels: int, picture: Picture) -> None:
        """Keep an image if no other has to be forgotten for it."""
        with self._lock:
            if self._n_bytes + picture.pixels.nbytes <= MAX_BYTES_IN_MEMORY:
                self._add(job, n_pixels, picture)

    def _add(self, job: ImageJob, n_pixels: int, picture: Picture) -> None:
        # Two threads may have read the same image.
        if (job, n_pixels) not in self._pictures:
            self._pictures[job, n_pixels] = picture
            self._n_bytes += picture.pixels.nbytes

    def _forget_oldest(self) -> None:
        while len(self._pictures) > _MIN_PICTURES and self._n_bytes > MAX_BYTES_IN_MEMORY:
            _, oldest = self._pictures.popitem(last=False)
            self._n_bytes -= oldest.pixels.nbytes

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._pictures.clear()
            self._n_bytes = 0


_RECENT = _RecentPictures()
