"""Reading any image, and writing files and directories whole or not at all."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import warnings
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.picture import Axis, Picture, UnreadableImageError, check_memory, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

TIFF_SUFFIXES = {".tif", ".tiff"}
LARGE = 2**28
"""Bytes: a TIFF file with more pixels than that is read when they are needed."""

PREFIX = ".napari-kmeans-"
"""What the names of files and directories begin with that are not complete yet."""

TIFF_KINDS = {"S": "channel", "C": "channel", "T": "time", "X": "space", "Y": "space", "Z": "space"}


def read_image(path: Path) -> Picture:
    """Read an image; the pages of a TIFF file or the frames of an animation are a stack.

    Zarr and large TIFF files give lazy dask arrays.

    Raises
    ------
    UnreadableImageError
        If the file is missing, damaged or no image.
    """
    try:
        if not path.exists():
            raise UnreadableImageError("there is no such file")
        with _quiet_decoders():
            picture = _reader(path)(path)
    except UnreadableImageError:
        raise
    except Exception as error:
        # Decoders answer damaged files with errors of many kinds, IndexError among them.
        raise UnreadableImageError(reason(error)) from error
    if picture.pixels.dtype == bool:
        return picture._replace(
            pixels=_in_8_bits(picture.pixels), levels=tuple(map(_in_8_bits, picture.levels))
        )
    return picture


def _reader(path: Path) -> Callable[[Path], Picture]:
    if path.is_dir():
        from napari_kmeans.files.zarr_reader import read_zarr

        return read_zarr
    # It may have no end. That of a pipe is with whoever writes into it.
    if not (path.is_file() or path.is_fifo()):
        raise UnreadableImageError("it is a device and no file")
    return _read_tiff if path.suffix.lower() in TIFF_SUFFIXES else _read_with_imageio


def _in_8_bits(pixels: Any) -> Any:
    return pixels.astype(np.uint8) * np.uint8(255)


def write_whole(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write files so that each is whole or not there, and what was there stays until then.

    Parameters
    ----------
    writers : mapping of path to callable
        Each callable writes its file at the path that it is given, in the
        directory of the path that the file has in the end.
    """
    with replacing(list(writers)) as temporary:
        for path, write in writers.items():
            write(temporary[path])


@contextmanager
def replacing(paths: Sequence[Path], obsolete: Sequence[Path] = ()) -> Iterator[dict[Path, Path]]:
    """Give a temporary path beside each path; what is written there takes its place at the end.

    Files and directories of zarr alike; those that are `obsolete` go at the
    same time. An exception leaves what was there before; what a run that was
    killed left behind, the next one for the same paths takes away.
    """
    clear_leftovers([*paths, *obsolete])
    token = secrets.token_hex(4)
    temporary, gone = (
        {path: path.with_name(f"{PREFIX}{token}-{path.name}") for path in group}
        for group in (paths, obsolete)
    )
    try:
        yield temporary
        for part in temporary.values():
            _flush_to_disk(part)
        for path, part in temporary.items():
            _take_place(part, path)
        # Renamed first: to delete a directory takes long, and a kill would leave a half of it.
        for path, part in gone.items():
            with suppress(FileNotFoundError):
                os.rename(path, part)
    finally:
        for part in (*temporary.values(), *gone.values()):
            _remove(part)


def _take_place(part: Path, path: Path) -> None:
    if not part.is_dir() or not path.exists():
        os.replace(part, path)
        return
    # No system call replaces a directory that is not empty. Killed between the
    # first two, a run leaves the old one to be put back by the next.
    previous = _previous(path)
    os.rename(path, previous)
    os.rename(part, path)
    # Half of it must not pass for what is to be put back.
    os.rename(previous, part)


def _previous(path: Path) -> Path:
    return path.with_name(f"{PREFIX}previous-{path.name}")


def clear_leftovers(paths: Sequence[Path]) -> None:
    """Put back or take away what runs that were killed left beside paths."""
    for path in paths:
        if _previous(path).exists() and not path.exists():
            os.rename(_previous(path), path)
    for directory in {path.parent for path in paths}:
        names = "|".join(re.escape(path.name) for path in paths if path.parent == directory)
        # A file may have been written by way of another temporary one.
        pattern = re.compile(f"({re.escape(PREFIX)}([0-9a-f]{{8}}|previous)-)+({names})")
        # A list, for what is listed must not change meanwhile.
        for leftover in list(directory.iterdir()):
            if pattern.fullmatch(leftover.name):
                _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _read_with_imageio(path: Path) -> Picture:
    import imageio.v3 as iio
    from imageio.config import known_extensions
    from imageio.plugins.pillow import PillowPlugin

    # As bytes, for imageio leaves a file open that it cannot read.
    data = _read_bytes(path)
    known = known_extensions.get(path.suffix.lower())
    # What its reader does not know no other would: they would only say so at length.
    if not known or known[0].priority[0] != "pillow":
        with iio.imopen(data, "r", extension=path.suffix) as file:
            if not isinstance(file, PillowPlugin):
                return Picture(np.asarray(file.read()))
    return _read_with_pillow(data)


def _read_bytes(path: Path) -> bytes:
    check_memory(path.stat().st_size, "the file")
    return path.read_bytes()


def _read_with_pillow(data: bytes, pages: Sequence[int] = ()) -> Picture:
    """Read the `pages` of a file, or all there are where none are given."""
    import imageio.v3 as iio

    _check_with_pillow(data, len(pages))
    mode = str(iio.immeta(data, plugin="pillow", index=0).get("mode", ""))
    # The fourth channel of a printer's colours would pass for alpha.
    how: dict[str, Any] = {"plugin": "pillow", "mode": "RGB" if mode == "CMYK" else None}
    if pages:
        pixels = np.stack([iio.imread(data, index=page, **how) for page in pages])
    else:
        pixels = np.asarray(iio.imread(data, **how))
    is_gray = mode in ("1", "L", "F") or mode.startswith("I")
    if mode == "LA":
        gray, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([gray, gray, gray, alpha], axis=-1)
    if len(pixels) == 1 and pixels.ndim > (2 if is_gray else 3):
        pixels = pixels[0]
    note = "its 16-bit colours are read at 8 bits; a TIFF file would keep them"
    return Picture(pixels, rgb=not is_gray, note=note if _is_deep_color_png(data) else "")


def _check_with_pillow(data: bytes, n_pages: int) -> None:
    """Refuse what is no image, or says that it has more pixels than there is memory for."""
    from PIL import Image, ImageMode, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data)) as image:
            n_frames = n_pages or getattr(image, "n_frames", 1)
            value = np.dtype(ImageMode.getmode(image.mode).typestr)
            n_bytes = image.width * image.height * len(image.getbands()) * value.itemsize
    except UnidentifiedImageError:
        raise UnreadableImageError("it is no image in a format known here") from None
    # Pillow holds a frame while the array is made of all of them.
    check_memory((n_frames + 1) * n_bytes, "an image of the size that it tells")


def _is_deep_color_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[24] == 16 and data[25] != 0


def _read_tiff(path: Path) -> Picture:
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    with TiffFile(path) as file:
        series = file.series[0]
        first = series.keyframe
        if series.nbytes > LARGE and first.photometric != PHOTOMETRIC.PALETTE:
            from napari_kmeans.files.tiff import open_levels

            return _tiff_picture(open_levels(path, series), series.axes, lazy=True)
        plain = first.compression in (
            COMPRESSION.NONE,
            COMPRESSION.ADOBE_DEFLATE,
            COMPRESSION.DEFLATE,
        )
        if not plain or first.photometric == PHOTOMETRIC.PALETTE:
            # Pillow has LZW, JPEG and palettes, for which tifffile needs imagecodecs.
            return _read_with_pillow(
                _read_bytes(path), [page.index for page in series.pages if page]
            )
        return _tiff_picture([series.asarray()], series.axes)


def _tiff_picture(levels: list[Any], names: str, lazy: bool = False) -> Picture:
    """Return the picture of levels whose axes have the `names` that TIFF gives them."""
    channel_axis = next((names.index(name) for name in "SC" if name in names), None)
    rgb = None
    if "S" in names and channel_axis is not None:
        levels = [np.moveaxis(level, channel_axis, -1) for level in levels]
        names = names.replace("S", "") + "S"
        rgb = levels[0].shape[-1] in (3, 4)
        channel_axis = None if rgb else len(names) - 1
    axes = tuple(
        Axis("c" if name in "SC" else name.lower(), TIFF_KINDS.get(name, "")) for name in names
    )
    return Picture(
        levels[0],
        rgb,
        channel_axis,
        levels=tuple(levels) if lazy else (),
        axes=axes,
    )


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Leave out what decoders say beside their errors, and Pillow's limit on the size."""
    from PIL import Image

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow's is the same everywhere; what there is memory for is looked at here.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _flush_to_disk(path: Path) -> None:
    # Not the thousands of files of a zarr directory: a power cut may cost them.
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
