"""Images in, results out: reading any image file, writing each result whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

TIFF_SUFFIXES = {".tif", ".tiff"}
PARTS = ("labels", "recolored", "table", "model")
SUFFIXES = (".tif", ".png", ".csv", ".json")


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message is the reason, in a few words."""


class Picture(NamedTuple):
    """An image from a file and what the file says of its axes, as `segment` takes it."""

    pixels: Any
    rgb: bool | None = None
    channel_axis: int | None = None
    note: str = ""
    """What was lost in reading, for the user."""


def read_image(path: Path) -> Picture:
    """Read an image; the pages of a TIFF file or the frames of an animation are a stack.

    Raises
    ------
    UnreadableImageError
        If the file is missing, damaged or no image.
    """
    if path.is_dir():
        raise UnreadableImageError("it is a directory")
    if not path.exists():
        raise UnreadableImageError("there is no such file")
    read = _read_tiff if path.suffix.lower() in TIFF_SUFFIXES else _read_with_imageio
    try:
        with _quiet_decoders():
            picture = read(path)
    except Exception as error:
        # Decoders answer damaged files with errors of many kinds, IndexError among them.
        raise UnreadableImageError(reason(error)) from error
    if picture.pixels.dtype == bool:
        return picture._replace(pixels=picture.pixels.astype(np.uint8) * np.uint8(255))
    return picture


def reason(error: BaseException) -> str:
    """Return why, in one line: what the system says, or the first line of the message."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "Could not find a backend" in str(error):
        return "it is no image in a format known here"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def write_results(seg: Segmentation, directory: Path, stem: str) -> list[Path]:
    """Write labels, recolored image, table and model; return their paths.

    None of the four takes its place before all of them are written.
    """
    labels, recolored = np.asarray(seg.labels), np.asarray(seg.recolored)
    axes = _axes(seg.model, recolored.ndim)
    png = png_holds(recolored, axes)
    writers: dict[Path, Callable[[Path], Any]] = {
        directory / f"{stem}-labels.tif": lambda path: _write_tiff(path, labels),
        directory / f"{stem}-recolored{'.png' if png else '.tif'}": lambda path: (
            _write_png(path, recolored) if png else _write_tiff(path, recolored, axes)
        ),
        directory / f"{stem}-table.csv": lambda path: seg.table.to_csv(path, index=False),
        directory / f"{stem}-model.json": seg.model.save,
    }
    write_whole(writers)
    return list(writers)


def png_holds(image: np.ndarray, axes: str) -> bool:
    """Return whether a PNG file gives `image` back exactly.

    16-bit colour is no: PNG has it, but Pillow, which most readers in Python
    use, hands it back at 8 bits.
    """
    if axes == "YX":
        return image.dtype in (np.uint8, np.uint16)
    return axes == "YXS" and image.dtype == np.uint8


def write_whole(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write files so that each is whole or not there, and what was there stays until then.

    Parameters
    ----------
    writers : mapping of path to callable
        Each callable writes its file at the path that it is given, in the
        directory of the path that the file has in the end.
    """
    token = secrets.token_hex(4)
    temporary = {path: path.with_name(f".{path.stem}.{token}{path.suffix}") for path in writers}
    try:
        for path, write in writers.items():
            write(temporary[path])
            _flush_to_disk(temporary[path])
        for path in writers:
            os.replace(temporary[path], path)
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)


@contextmanager
def output_directory(path: Path) -> Iterator[Path]:
    """Make sure that files can be written to `path`; take it away again if it stays empty.

    Raises
    ------
    OSError
        On entering, if `path` cannot be made or written to.
    """
    made = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()
        yield path
    finally:
        for directory in made:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


def free_stems(names: list[str], directory: Path, inputs: list[Path]) -> list[str]:
    """Return a stem for the outputs of each name, none of which overwrites another or an input."""
    taken = {_key(path) for path in inputs}
    stems = []
    for name in names:
        number = 1
        stem = name
        while taken & (targets := {_key(path) for path in _targets(directory, stem)}):
            number += 1
            stem = f"{name}-{number}"
        taken |= targets
        stems.append(stem)
    return stems


def _targets(directory: Path, stem: str) -> list[Path]:
    names = [f"{stem}-{part}{suffix}" for part, suffix in zip(PARTS, SUFFIXES, strict=True)]
    return [directory / name for name in (*names, f"{stem}-recolored.tif")]


def _key(path: Path) -> str:
    # Case folded: on macOS and Windows two names may be one file.
    return str(path.resolve()).casefold()


def _axes(model: KMeansModel, ndim: int) -> str:
    """Name the axes of an image as TIFF does: X, Y, Z from the last, S or C for channels."""
    n_spatial = ndim - (model.channel_axis is not None)
    names = ("Q" * n_spatial + "ZYX")[-n_spatial:]
    if model.channel_axis is None:
        return names
    position = model.channel_axis % ndim
    return names[:position] + ("S" if model.rgb else "C") + names[position:]


def _read_with_imageio(path: Path) -> Picture:
    import imageio.v3 as iio
    from imageio.plugins.pillow import PillowPlugin

    # As bytes, for imageio leaves a file open that it cannot read.
    data = path.read_bytes()
    with iio.imopen(data, "r", extension=path.suffix) as file:
        if not isinstance(file, PillowPlugin):
            return Picture(np.asarray(file.read()))
    return _read_with_pillow(data)


def _read_with_pillow(data: bytes, pages: Sequence[int] = ()) -> Picture:
    """Read the `pages` of a file, or all there are where none are given."""
    import imageio.v3 as iio

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


def _is_deep_color_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[24] == 16 and data[25] != 0


def _read_tiff(path: Path) -> Picture:
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    with TiffFile(path) as file:
        series = file.series[0]
        first = series.keyframe
        plain = first.compression in (
            COMPRESSION.NONE,
            COMPRESSION.ADOBE_DEFLATE,
            COMPRESSION.DEFLATE,
        )
        if not plain or first.photometric == PHOTOMETRIC.PALETTE:
            # Pillow has LZW, JPEG and palettes, for which tifffile needs imagecodecs.
            return _read_with_pillow(
                path.read_bytes(), [page.index for page in series.pages if page]
            )
        pixels, axes = series.asarray(), series.axes
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
        rgb = pixels.shape[-1] in (3, 4)
        return Picture(pixels, rgb=rgb, channel_axis=None if rgb else pixels.ndim - 1)
    return Picture(pixels, channel_axis=axes.index("C") if "C" in axes else None)


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Leave out what decoders say beside their errors, and Pillow's limit on the size."""
    from PIL import Image

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    limit = Image.MAX_IMAGE_PIXELS
    # The limit guards servers against strangers' files; this file the user chose.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _write_png(path: Path, image: np.ndarray) -> None:
    import imageio.v3 as iio

    iio.imwrite(path, image)


def _write_tiff(path: Path, image: np.ndarray, axes: str = "") -> None:
    import tifffile

    color = axes.endswith("S")
    tifffile.imwrite(
        path,
        image,
        photometric="rgb" if color else "minisblack",
        extrasamples=["unassalpha"] if color and image.shape[-1] == 4 else None,
        metadata={"axes": axes} if axes else {},
        compression="zlib",
    )


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
