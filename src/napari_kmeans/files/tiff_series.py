"""Find the images in a TIFF file, and choose the one to read."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from xml.etree import ElementTree

from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.picture import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

TIFF_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"EP*\0")
"""The first bytes of TIFF and BigTIFF files in both byte orders, and of EPIX files."""

RAW_HEADERS = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
"""The first bytes of raw photographs in variants of TIFF: Panasonic and Olympus."""

RAW_SENTENCE = (
    "it is a raw photograph: its pixels are not colors yet; "
    "convert it to TIFF with the program of the camera"
)

NDPI_TAG = 65420
"""The tag that all slides of Hamamatsu have, and no other files."""

SLIDE_EXTRAS = ("thumbnail", "label", "macro", "map", "other", "unknown")
"""The names that tifffile gives to the pictures beside the image of a slide."""

SLIDE_KINDS = ("svs", "qpi", "ndpi", "bif", "avs", "philips")
"""The kinds of series of slide scanners in tifffile."""

OME_EXTRAS = ("thumbnail", "label image", "macro image")
"""The names of the same pictures in OME-TIFF files that Bio-Formats writes from slides."""

LAYOUT_TAGS = (256, 257, 259, 262, 277, 278, 284, 322, 323)
"""The tags of one value that must be equal in all pages of a stack: width, length, compression,
photometric interpretation, samples, rows of a strip, planar configuration, and the size of a
tile."""

MAX_PLANES = 2**22
"""Limit on the number of planes in OME metadata. tifffile makes a list of them: more planes would
need gigabytes, and a file with so many pages has damaged metadata."""

MAX_LISTED = 4
"""The number of other images that the note lists."""


class TiffImage(NamedTuple):
    """One of the images in a TIFF file."""

    levels: tuple[tifffile.TiffPageSeries, ...]
    """All resolutions, the finest first."""

    mask: tifffile.TiffPageSeries | None = None
    """A page that states where the image has data, or None."""

    @property
    def series(self) -> tifffile.TiffPageSeries:
        """The finest resolution."""
        return self.levels[0]

    @property
    def page(self) -> tifffile.TiffPage:
        """The page whose tags are valid for all pages of the finest resolution."""
        return self.series.keyframe


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF file of any kind.

    Raises
    ------
    UnreadableImageError
        If it is a raw photograph, or if a part of its OME-TIFF data set is missing.
    """
    from tifffile import TiffFile

    with path.open("rb") as stream:
        header = stream.read(16)
        # CR2 files of Canon begin as TIFF files do.
        if header[:4] in RAW_HEADERS or header[8:10] == b"CR":
            raise UnreadableImageError(RAW_SENTENCE)
        # The name does not count: tifffile would take every file named .ndpi for a slide.
        is_ndpi = _has_ndpi_tag(stream, header) or None
    file = TiffFile(path, is_ndpi=is_ndpi)
    try:
        omexml = _read_omexml(path, file)
    except BaseException:
        file.close()
        raise
    if omexml:
        file.close()
        file = TiffFile(path, omexml=omexml)
    return file


def find_images(file: tifffile.TiffFile) -> tuple[TiffImage, ...]:
    """Return the images in a TIFF file, without the thumbnail, label and macro image of a slide.

    Raises
    ------
    UnreadableImageError
        If there is no image, or if it is a raw photograph.
    """
    series = [each for each in _list_series(file) if prod(each.shape)]
    if not series:
        raise UnreadableImageError("it contains no image")
    masks = [each for each in series if _is_mask(each.keyframe)]
    images = [each for each in series if not _is_extra(each)] or series
    return tuple(
        TiffImage(tuple(levels), _find_mask(levels[0], masks))
        for each in images
        for levels in _split_levels(each)
    )


def name_series(images: Sequence[TiffImage]) -> tuple[Series, ...]:
    """Return the names and shapes of images."""
    return tuple(Series(image.series.name, image.series.shape) for image in images)


def choose_image(images: Sequence[TiffImage], number: int | None) -> tuple[int, str]:
    """Return the number of the image to read, and a note about other images.

    Parameters
    ----------
    images : sequence of TiffImage
    number : int or None
        None for the largest image.

    Raises
    ------
    UnreadableImageError
        If there is no image of this number.
    """
    if number is not None:
        if not 0 <= number < len(images):
            raise UnreadableImageError(
                f"series must be from 0 to {len(images) - 1}, the number of an image in the "
                f"file, got {number}"
            )
        return number, ""
    sizes = [prod(image.series.shape) for image in images]
    number = sizes.index(max(sizes))
    if len(images) == 1:
        return number, ""
    others = [
        f"{other} of shape {image.series.shape}"
        for other, image in enumerate(images)
        if other != number
    ]
    more = [f"{len(others) - MAX_LISTED} more"] if len(others) > MAX_LISTED else []
    return number, (
        f"only series {number}, the largest of its {len(images)} images, is read; "
        f"the others are {', '.join([*others[:MAX_LISTED], *more])}"
    )


def _has_ndpi_tag(stream: BinaryIO, header: bytes) -> bool:
    """Return whether a file is a slide of Hamamatsu: the offsets in it have 8 bytes, not 4."""
    if header[:4] != b"II*\0" or len(header) < 12:
        return False
    (place,) = struct.unpack("<Q", header[4:12])
    if place > stream.seek(0, 2) - 2:
        return False
    stream.seek(place)
    (count,) = struct.unpack("<H", stream.read(2))
    tags = stream.read(12 * count)
    return NDPI_TAG in (
        int.from_bytes(tags[start : start + 2], "little") for start in range(0, len(tags), 12)
    )


def _read_omexml(path: Path, file: tifffile.TiffFile) -> str:
    """Return the OME-XML of a data set that another file contains, or an empty string.

    Raises
    ------
    UnreadableImageError
        If a file of the data set is missing.
    """
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        # tifffile reads the pages of files with damaged OME-XML.
        return ""
    _check_counts(root)
    binary_only = next((each for each in root if each.tag.endswith("BinaryOnly")), None)
    if binary_only is not None:
        name = binary_only.get("MetadataFile", "")
        _check_parts(path, [name])
        metadata = path.parent / name
        if metadata.suffix.lower() not in (".ome", ".xml"):
            raise UnreadableImageError(f"it is a part of a data set; give {name}, its first file")
        check_memory(metadata.stat().st_size, "its metadata")
        omexml = metadata.read_text(encoding="utf-8")
        root = ElementTree.fromstring(omexml)
        _check_counts(root)
    else:
        omexml = ""
    parts = {
        each.text: each.get("FileName", "") for each in root.iter() if each.tag.endswith("UUID")
    }
    # The file itself may have been renamed.
    if len(parts) > 1 or root.get("UUID") not in parts:
        parts.pop(root.get("UUID"), None)
        _check_parts(path, [name for name in parts.values() if name.lower() != path.name.lower()])
    return omexml


def _check_counts(root: ElementTree.Element) -> None:
    """Check the numbers of planes in OME-XML, of which tifffile makes lists."""
    for element in root.iter():
        numbers = [int(element.get(name, 0)) for name in ("IFD", "NumPlanes", "PlaneCount")]
        sizes = [int(element.get(f"Size{letter}", 0)) for letter in "ZCT"]
        count = max(prod(sizes), *numbers)
        if count > MAX_PLANES:
            raise UnreadableImageError(f"its OME metadata state {count} planes, which is too many")


def _check_parts(path: Path, names: Sequence[str]) -> None:
    # The XML of a hostile file must not lead to files elsewhere.
    missing = [
        name for name in names if Path(name).name != name or not (path.parent / name).is_file()
    ]
    if missing:
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        raise UnreadableImageError(
            f"parts of its data set are missing: {', '.join(missing[:MAX_LISTED])}{more}"
        )


def _list_series(file: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    from tifffile import PHOTOMETRIC

    try:
        series = file.series
        alike = series[:1] and (series[0].kind != "uniform" or _are_alike(file, series[0]))
    except RuntimeError:
        alike = False
    if not alike:
        # tifffile compares only some pages of long files before it takes all for one stack.
        file.is_uniform = False
        vars(file).pop("series", None)
        series = file.series
    _check_planes(file, series)
    photometric = [each.keyframe.photometric for each in series if not each.keyframe.is_reduced]
    if PHOTOMETRIC.CFA in photometric or PHOTOMETRIC.LINEAR_RAW in photometric:
        raise UnreadableImageError(RAW_SENTENCE)
    return series


def _check_planes(file: tifffile.TiffFile, series: Sequence[tifffile.TiffPageSeries]) -> None:
    """Check that a file contains all its pages: tifffile drops those after the end of the file.

    Raises
    ------
    UnreadableImageError
        If the file was cut off.
    """
    kinds = {each.kind for each in series}
    # Only one piece of uncompressed planes has an offset. Its size is checked where it is read.
    is_piece = kinds <= {"imagej", "shaped"} and series[0].dataoffset is not None
    stated = (file.imagej_metadata or {}).get("images", 1)
    n_pages = 1 if is_piece else len(file.pages)
    if "imagej" not in kinds and isinstance(stated, int) and stated > n_pages:
        raise UnreadableImageError(
            f"it ends too early: ImageJ has written {stated} planes, and it contains {n_pages}"
        )
    # The links in slides of Hamamatsu have another size.
    if is_piece or file.is_ndpi:
        return
    form, stream = file.tiff, file.filehandle
    last = file.pages[n_pages - 1]
    stream.seek(last.offset)
    (count,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
    stream.seek(last.offset + form.tagnosize + count * form.tagsize)
    link = stream.read(form.offsetsize)
    if len(link) < form.offsetsize or struct.unpack(form.offsetformat, link)[0] >= stream.size:
        raise UnreadableImageError(
            f"it ends too early: the page after its {n_pages} pages begins beyond its end"
        )


def _are_alike(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Return whether all pages have the same size, type and compression.

    The tags are compared as they are in the file, because tifffile needs much longer for all
    tags of a page.
    """
    form, stream = file.tiff, file.filehandle
    expected: list[bytes] = []
    places: list[slice] = []
    for page in series:
        if page is None:
            continue
        stream.seek(page.offset)
        (count,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
        entries = stream.read(form.tagsize * count)
        # The tags are at the same places in most pages: search them only where they are not.
        if not expected or [entries[place] for place in places] != expected:
            places = [
                slice(start, start + form.tagsize)
                for start in range(0, len(entries), form.tagsize)
                if struct.unpack_from(form.byteorder + "H", entries, start)[0] in LAYOUT_TAGS
            ]
            found = [entries[place] for place in places]
            expected = expected or found
            if found != expected:
                return False
    return True


def _is_mask(page: tifffile.TiffPage) -> bool:
    from tifffile import PHOTOMETRIC

    return bool(page.is_mask) or page.photometric == PHOTOMETRIC.MASK


def _is_extra(series: tifffile.TiffPageSeries) -> bool:
    """Return whether a series is a thumbnail, a mask, or a picture beside the image of a slide."""
    from tifffile import PHOTOMETRIC

    page, name = series.keyframe, series.name.lower()
    return (
        bool(page.is_reduced)
        or _is_mask(page)
        or page.photometric in (PHOTOMETRIC.DEPTH_MAP, PHOTOMETRIC.SEMANTIC_MASK)
        or (series.kind in SLIDE_KINDS and name in SLIDE_EXTRAS)
        or (series.kind == "ome" and name in OME_EXTRAS)
    )


def _split_levels(series: tifffile.TiffPageSeries) -> list[list[tifffile.TiffPageSeries]]:
    """Return the levels of a series, or of several images that tifffile takes for levels.

    Among files without metadata, tifffile takes a page of half the size for a level. It is an
    image by itself unless its tags state a reduced resolution, or all pages have tiles.
    """
    levels = list(series.levels)
    if series.kind != "generic":
        return [levels]
    images = [[levels[0]]]
    for level in levels[1:]:
        page = level.keyframe
        if page.is_reduced or page.is_subifd or (page.is_tiled and series.keyframe.is_tiled):
            images[0].append(level)
        else:
            images.append([level])
    return images


def _find_mask(
    series: tifffile.TiffPageSeries, masks: Sequence[tifffile.TiffPageSeries]
) -> tifffile.TiffPageSeries | None:
    """Return the mask of an image: it has the same number of rows and columns."""
    page = series.keyframe
    size = page.imagelength, page.imagewidth
    found = (
        mask
        for mask in masks
        if mask is not series and (mask.keyframe.imagelength, mask.keyframe.imagewidth) == size
    )
    return next(found, None)
