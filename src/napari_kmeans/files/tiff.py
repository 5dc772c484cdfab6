"""Read TIFF files: small files completely, large files lazily."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.files.picture import Picture, Series
from napari_kmeans.files.tiff_colors import find_colors, is_lookup_table, read_palette
from napari_kmeans.files.tiff_metadata import (
    note_unusable_resolution,
    read_axes,
    read_channels,
    read_geo_tags,
    read_no_data,
)
from napari_kmeans.files.tiff_pixels import read_pixels
from napari_kmeans.files.tiff_series import (
    RAW_HEADERS,
    TIFF_HEADERS,
    choose_image,
    find_images,
    name_series,
    open_tiff,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Axis
    from napari_kmeans.files.tiff_colors import Colors, Conversion
    from napari_kmeans.files.tiff_series import TiffImage


LARGE = 2**28
"""Bytes. TIFF files with more pixel data than this are read lazily."""

BLOCK_PIXELS = 2**18
"""Pixels whose samples are converted at once: a few megabytes of intermediate results."""

FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (0,), 7: (0, 1), 8: (1,)}
"""Which axes of the stored plane are reversed, by the value of the tag Orientation. From 5 on,
rows and columns are exchanged afterwards."""


def is_tiff(path: Path, header: bytes) -> bool:
    """Return whether a file begins as a TIFF file does, or as a raw photograph of this kind.

    DICOM files may begin so too. Their own mark follows after 128 bytes.
    """
    return header[:4] in TIFF_HEADERS + RAW_HEADERS and header[128:132] != b"DICM"


def list_tiff_series(path: Path) -> tuple[Series, ...]:
    """Return the images in a TIFF file."""
    with open_tiff(path) as file:
        return name_series(find_images(file))


def read_stored_axes(path: Path, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Return the axes of the image of a TIFF file whose array has a shape, as it is stored.

    Returns nothing if there is no such image. The pixels are not read.
    """
    with open_tiff(path) as file:
        for image in find_images(file):
            if image.series.shape == shape:
                return read_axes(file, image, image.series.axes)
    return ()


def read_tiff(path: Path, number: int | None = None) -> Picture:
    """Read an image of a TIFF file: lazily if it is large, otherwise completely.

    Raises
    ------
    UnreadableImageError
        If the file is damaged, if its colors are not supported, or if it is too large.
    """
    with open_tiff(path) as file:
        images = find_images(file)
        number, note = choose_image(images, number)
        image = images[number]
        letters, colors = _find_colors(file, image)
        read = partial(read_pixels, path, number, lazy=image.series.nbytes > LARGE)
        stored = _put_samples_last(read(0, image.series), letters)
        levels = [_convert(stored, image, letters, colors)]
        if is_lazy(stored):
            levels += [
                _convert(_put_samples_last(read(level, series), letters), image, letters, colors)
                for level, series in enumerate(image.levels)
                if level > 0 and series.axes == image.series.axes
            ]
        letters = letters.replace("S", "") + ("S" if colors.n_samples else "")
        mask = _find_mask(read, image, stored, letters, colors)
        return _make_picture(file, image, levels, mask, letters, colors, note)


def _make_picture(
    file: tifffile.TiffFile,
    image: TiffImage,
    levels: list[Any],
    mask: Any,
    letters: str,
    colors: Colors,
    note: str,
) -> Picture:
    """Return the picture of converted pixels, turned as the tag Orientation states."""
    if not colors.rgb and "C" in letters and "S" in letters:
        levels = [_join_channels(level, letters) for level in levels]
        letters = letters.replace("C", "")
    axes = read_axes(file, image, letters.replace("C", "Q") if colors.rgb else letters)
    geo_tags = read_geo_tags(image.page)
    notes = [note, colors.note, note_unusable_resolution(image, axes)]
    orientation = image.page.tags.valueof(274, default=1)
    if orientation in FLIPS:
        levels = [_turn(level, letters, orientation) for level in levels]
        spatial = "".join(letter for letter in letters if letter not in _channel_letters(colors))
        mask = None if mask is None else _turn(mask, spatial, orientation)
        axes = _turn_axes(axes, letters, orientation)
        if geo_tags:
            geo_tags = ()
            notes.append("its georeference is left out, because the image is turned")
    # Do not ask for the pages of contiguous pixels: tifffile would read the tags of each.
    contiguous = image.series.dataoffset is not None
    missing = 0 if contiguous else sum(page is None for page in image.series)
    if missing:
        notes.append(f"{missing} of its {len(image.series)} planes are missing and read as 0")
    found = (letters.index(letter) for letter in "SC" if letter in letters)
    channel_axis = None if colors.rgb else next(found, None)
    count = 0 if channel_axis is None else levels[0].shape[channel_axis]
    return Picture(
        levels[0],
        colors.rgb,
        channel_axis,
        "; ".join(filter(None, notes)),
        levels=tuple(levels) if is_lazy(levels[0]) else (),
        axes=axes,
        channels=read_channels(file, image, count) if count else (),
        mask=mask,
        profile=(image.page.iccprofile or b"") if colors.keeps_profile else b"",
        geo_tags=geo_tags,
        name=image.series.name,
        no_data=_find_no_data(image, colors),
    )


def is_lazy(pixels: Any) -> bool:
    """Return whether pixels are a dask array."""
    return not isinstance(pixels, np.ndarray)


def _find_colors(file: tifffile.TiffFile, image: TiffImage) -> tuple[str, Colors]:
    """Return the letters of the axes in the file, and what the samples of a pixel are."""
    from tifffile import PHOTOMETRIC

    page, series, letters = image.page, image.series, image.series.axes
    place = len(letters) - (1 if page.planarconfig == 1 else 3)
    if (
        series.kind == "shaped"
        and page.photometric == PHOTOMETRIC.RGB
        and "S" not in letters
        and letters[place : place + 1] == "C"
    ):
        letters = letters.replace("C", "S")
    n_samples = series.shape[letters.index("S")] if "S" in letters else 0
    # ImageJ stores the display of gray values as a palette.
    is_lut = (
        series.kind == "imagej"
        and page.colormap is not None
        and ("C" in letters or is_lookup_table(page.colormap))
    )
    return letters, find_colors(page, n_samples, is_lut)


def _put_samples_last(pixels: Any, letters: str) -> Any:
    return np.moveaxis(pixels, letters.index("S"), -1) if "S" in letters else pixels


def _convert(pixels: Any, image: TiffImage, letters: str, colors: Colors) -> Any:
    """Return the pixels with converted samples. The samples are along the last axis."""
    if colors.convert is None:
        return pixels
    if "S" not in letters:
        pixels = pixels[..., np.newaxis]
    tables = _read_palettes(image) if colors.convert.table is not None else []
    if len(tables) < 2 or len(tables) != len(pixels):
        return _convert_samples(pixels, colors.convert, colors)
    # Each page has a palette of its own.
    return np.stack(
        [
            _convert_samples(each, colors.convert._replace(table=table), colors)
            for each, table in zip(pixels, tables, strict=True)
        ]
    )


def _read_palettes(image: TiffImage) -> list[NDArray[Any]]:
    """Return the palette of each page; empty if all pages have the same palette."""
    tables = [read_palette(page.aspage()) for page in image.series if page is not None]
    if all(np.array_equal(table, tables[0]) for table in tables):
        return []
    return [table.astype(np.result_type(*tables)) for table in tables]


def _convert_samples(pixels: Any, convert: Conversion, colors: Colors) -> Any:
    """Convert the samples block by block, so that intermediate results stay small."""
    if is_lazy(pixels):
        if not colors.n_samples:
            return pixels.map_blocks(convert, dtype=colors.dtype, drop_axis=pixels.ndim - 1)
        chunks = (*pixels.chunks[:-1], (colors.n_samples,))
        return pixels.map_blocks(convert, dtype=colors.dtype, chunks=chunks)
    rows = pixels.reshape(-1, pixels.shape[-1])
    samples = (colors.n_samples,) if colors.n_samples else ()
    out = np.empty((len(rows), *samples), colors.dtype)

    def convert_block(block: slice) -> None:
        out[block] = convert(rows[block])

    map_slices(convert_block, len(rows), BLOCK_PIXELS)
    return out.reshape(*pixels.shape[:-1], *samples)


def _find_mask(
    read: Callable[..., Any], image: TiffImage, stored: Any, letters: str, colors: Colors
) -> Any:
    """Return where the file states data, of the shape without channels; None if everywhere.

    Parameters
    ----------
    read : callable
        `read_pixels` for a resolution of this image.
    image : TiffImage
    stored : array
        The pixels of the file, before they are converted.
    letters : str
        The axes of the converted pixels.
    colors : Colors
    """
    masks = []
    channels = [letters.index("C")] if "C" in letters and not colors.rgb else []
    has_samples = stored.ndim > len(letters.replace("S", ""))
    axes = tuple(channels + ([stored.ndim - 1] if has_samples else []))
    no_data = read_no_data(image.page)
    if no_data is not None:
        masks.append((stored != no_data).any(axis=axes) if axes else stored != no_data)
    if colors.alpha is not None:
        masks.append((stored[..., colors.alpha] != 0).any(axis=tuple(channels)))
    shape = tuple(length for axis, length in enumerate(stored.shape) if axis not in axes)
    if image.mask is not None:
        page = read(-1, image.mask)
        if page.shape == shape[len(shape) - page.ndim :]:
            masks.append(np.broadcast_to(page != 0, shape))
    if not masks:
        return None
    mask = masks[0]
    for other in masks[1:]:
        mask = mask & other
    return mask


def _find_no_data(image: TiffImage, colors: Colors) -> Any:
    """Return the value of missing data, or None if converted pixels no longer have it."""
    convert = colors.convert
    kept = convert is None or (not convert.to_rgb and convert.kind != "MINISWHITE")
    return read_no_data(image.page) if kept and colors.dtype != bool else None


def _channel_letters(colors: Colors) -> str:
    return "S" if colors.rgb else "SC"


def _join_channels(pixels: Any, letters: str) -> Any:
    """Return pixels whose channels and samples are one last axis."""
    joined = np.moveaxis(pixels, letters.index("C"), -2)
    return joined.reshape(*joined.shape[:-2], joined.shape[-2] * joined.shape[-1])


def _turn(pixels: Any, letters: str, orientation: int) -> Any:
    """Return pixels turned as the tag Orientation states."""
    if "X" not in letters or "Y" not in letters:
        return pixels
    plane = letters.index("Y"), letters.index("X")
    reversed_axes = [plane[axis] for axis in FLIPS[orientation]]
    pixels = pixels[
        tuple(slice(None, None, -1 if axis in reversed_axes else 1) for axis in range(pixels.ndim))
    ]
    return np.swapaxes(pixels, *plane) if orientation >= 5 else pixels


def _turn_axes(axes: tuple[Axis, ...], letters: str, orientation: int) -> tuple[Axis, ...]:
    """Return axes of which rows and columns have exchanged their sizes."""
    if orientation < 5 or "X" not in letters or "Y" not in letters:
        return axes
    turned = list(axes)
    y, x = letters.index("Y"), letters.index("X")
    turned[y] = axes[x]._replace(name=axes[y].name)
    turned[x] = axes[y]._replace(name=axes[x].name)
    return tuple(turned)
