"""Write the results of images: labels, recolored image, table and model."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans._version import __version__
from napari_kmeans.batch.channels import GDAL_METADATA, GDAL_NODATA
from napari_kmeans.batch.earlier_results import (
    clear_unfinished_masks,
    find_foreign,
    find_masks,
    find_results,
)
from napari_kmeans.batch.exports import Exports
from napari_kmeans.batch.reporting import tell
from napari_kmeans.batch.result_files import result_paths
from napari_kmeans.files.atomic import clear_leftovers, replacing
from napari_kmeans.files.errors import describe_unwritten
from napari_kmeans.files.ome_zarr_writer import (
    Image,
    describe_labels,
    spatial_axes,
    write_images,
)
from napari_kmeans.files.picture import Axis, Picture
from napari_kmeans.files.result_record import add_record_to_zarr, labels_record
from napari_kmeans.files.tiff_writer import png_holds, write_png, write_tiff
from napari_kmeans.files.zarr_reader import RGB_COLORS
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.label_tally import SideTally
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation

IMAGES = ("labels", "recolored")
"""The images that are written."""

RGBA = ("red", "green", "blue", "alpha")


class OutputError(Exception):
    """Results that cannot be written; the message is the sentence with the file and the reason."""


@contextmanager
def output_errors(directory: Path) -> Iterator[None]:
    """Raise an `OutputError` for what the system refuses while results are written."""
    try:
        yield
    except OSError as error:
        raise OutputError(describe_unwritten(error, directory)) from error


def write_results(
    seg: Segmentation,
    directory: Path,
    stem: str,
    picture: Picture | None = None,
    report: Report | None = None,
    shared: bool = False,
    kept: Sequence[Path] = (),
    kinds: Collection[str] = IMAGES,
    exports: Sequence[str] = (),
    damaged: Collection[Path] = (),
    beside: Sequence[Any] = (),
) -> Written:
    """Write the labels, the recolored image, the table and the model of one image.

    The files get their names only after all of them are written. Results of an
    earlier run for the same stem that are not overwritten are removed at the same
    time: a model, or labels and pixels in another format. Lazy labels and pixels
    are written as OME-Zarr, chunk by chunk.

    Parameters
    ----------
    seg : Segmentation
    directory : Path
    stem : str
        The beginning of the file names.
    picture : Picture, optional
        The image with the metadata of its file. The files get its axes, channels,
        georeference and color profile.
    report : callable, optional
        ``report(done, total)`` is called after each chunk. If it raises an
        exception, the writing stops.
    shared : bool
        Whether other images have the same model. Then the model is not written,
        and the table is that of the pixels of this image only. It needs `picture`.
    kept : sequence of Path, optional
        Files that are never removed.
    kinds : collection of str, optional
        The images that are written, of `IMAGES`.
    exports : sequence of str
        Some of `EXPORTS`, which are written in addition.
    damaged : collection of Path
        Results of an earlier run that are known to be results, and are replaced although their
        contents do not tell.
    beside : sequence of dask arrays
        Arrays that are computed together with lazy labels and pixels, and not written.

    Returns
    -------
    Written

    Raises
    ------
    OSError
        If the disk is full or cannot be written to.
    ValueError
        If the labels have axes that an export does not hold, or if a file of `kept` or a file
        that is no result would be replaced.
    """
    source = Picture(seg.recolored) if picture is None else picture
    results = {"labels": labels_picture(seg, source), "recolored": recolored_picture(seg, source)}
    results = {kind: picture for kind, picture in results.items() if kind in kinds}
    lazy = is_dask(seg.labels)
    names = [_image_name(kind, picture, lazy) for kind, picture in results.items()]
    names += ["table.csv"] if shared else ["table.csv", "model.json"]
    paths = [directory / f"{stem}-{name}" for name in names]
    find_confidence = None if picture is None else partial(_find_confidence, seg, picture)
    labels = labels_picture(seg, source)
    exported = Exports(exports, labels, seg.table, directory, stem, find_confidence)
    exported.refuse_kept(kept)
    targets = [*paths, *exported.paths]
    _refuse_foreign({*targets} - {*damaged})
    obsolete = _find_obsolete(directory, stem, targets, kept)
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import write_csv

    pixels = seg.model.open(source.pixels, source.mask) if shared else None
    side = None if pixels is None or not (lazy and results) else _tally_beside(seg, pixels)
    with replacing(targets, obsolete) as temporary:
        places = [temporary[path] for path in paths]
        images = dict(zip(results, places[: len(results)], strict=True))
        table, *model = places[len(results) :]
        if lazy:
            _write_ome_zarr(
                seg, stem, results, images, report, [*beside, *([side.array] if side else [])]
            )
        written = seg.table
        if pixels is not None:
            written = _own_table(seg, pixels, side)
        written = describe_table(written, [source])
        _write_records(seg, written, source, results, images)
        write_csv(written, table)
        for path in model:
            seg.model.save(path)
        exported.write(temporary, written)
    return Written(targets, written, obsolete)


def _find_confidence(seg: Segmentation, picture: Picture) -> Any:
    return seg.model.confidence(picture.pixels, labels=seg.labels, mask=picture.mask)


def _refuse_foreign(paths: Collection[Path]) -> None:
    """Refuse to replace files that are no results of an earlier run."""
    foreign = find_foreign(paths)
    if foreign:
        raise ValueError(f"{foreign[0].name} in it is no result of an earlier run: move it")


def _find_obsolete(
    directory: Path, stem: str, written: Sequence[Path], kept: Sequence[Path]
) -> list[Path]:
    """Return the results of an earlier run that are not written again.

    What a killed run has left is removed here.
    """
    earlier = [*result_paths(directory, stem), *find_masks(directory, stem)]
    others = [path for path in earlier if path not in written]
    clear_leftovers(others)
    clear_unfinished_masks(directory, stem)
    return find_results(others, kept)


def _write_records(
    seg: Segmentation,
    table: pd.DataFrame,
    source: Picture,
    results: Mapping[str, Picture],
    images: Mapping[str, Path],
) -> None:
    """Write the images with their records, or the records into images that are OME-Zarr."""
    records = _records(seg.model, table, recolored_picture(seg, source))
    for kind, place in images.items():
        if is_dask(seg.labels):
            add_record_to_zarr(place, records[kind])
        else:
            write = write_png if place.suffix == ".png" else write_tiff
            write(place, results[kind], records[kind])
    if is_dask(seg.labels) and "labels" in images:
        describe_labels(images["labels"], table)


def _image_name(kind: str, picture: Picture, lazy: bool) -> str:
    """Return the end of the file name of labels or of a recolored image."""
    if lazy:
        return f"{kind}.zarr"
    return f"{kind}.png" if kind == "recolored" and png_holds(picture) else f"{kind}.tif"


class Written(NamedTuple):
    """The files and the table that `write_results` has written."""

    paths: list[Path]
    table: pd.DataFrame
    removed: list[Path]
    """Files of an earlier run that were removed."""


def _tally_beside(seg: Segmentation, pixels: Pixels) -> SideTally:
    """Return the tally of a lazy image, which is found while its results are written."""
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.label_tally import SideTally

    return SideTally(seg.model.labels, pixels, seg.labels)


def _own_table(seg: Segmentation, pixels: Pixels, side: SideTally | None) -> pd.DataFrame:
    """Return the table of an image's own pixels: counts and channel means are not of the fit.

    The confidence, if the table of the result has it, is that of the image. `side` is the tally,
    if it was found while the results were written.
    """
    # These modules import numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.label_tally import tally_classes
    from napari_kmeans.measuring import CONFIDENCE, cluster_table, mean_columns

    model = seg.model
    tally = tally_classes(model.labels, pixels, seg.labels) if side is None else side.tally()
    table = cluster_table(model, tally.counts, model.count_undecided(pixels), tally.means)
    if CONFIDENCE in seg.table:
        means = table["index"].map(seg.table.set_index("index")[CONFIDENCE])
        table.insert(list(table).index(mean_columns(table)[0]), CONFIDENCE, means)
    return table


def labels_picture(seg: Segmentation, source: Picture) -> Picture:
    """Return the labels as an image, with the axes and the georeference of their source."""
    axes = _axes_of(seg, source)
    if axes and seg.model.channel_axis is not None:
        del axes[seg.model.channel_axis % len(axes)]
    # The metadata of GDAL are those of the values, such as their minimum. GDAL leaves out the
    # pixels of label 0, as the plugin does.
    tags = [tag for tag in source.geo_tags if tag[0] not in (GDAL_METADATA, GDAL_NODATA)]
    tags += [(GDAL_NODATA, 2, 2, "0")] if tags else []
    return Picture(seg.labels, rgb=False, axes=tuple(axes), geo_tags=tuple(tags))


def recolored_picture(seg: Segmentation, source: Picture) -> Picture:
    """Return the recolored image, with the metadata of its source."""
    model = seg.model
    return source._replace(
        pixels=seg.recolored,
        rgb=model.rgb,
        channel_axis=None if model.rgb else model.channel_axis,
        levels=(),
        axes=tuple(_axes_of(seg, source)),
        channels=() if model.rgb or len(source.channels) != model.n_channels else source.channels,
        mask=None,
    )


def _axes_of(seg: Segmentation, source: Picture) -> list[Axis]:
    """Return the axes of the source, or nothing if they are not those of the recolored image."""
    return list(source.axes) if len(source.axes) == seg.recolored.ndim else []


def describe_table(table: pd.DataFrame, pictures: Sequence[Picture]) -> pd.DataFrame:
    """Return a table with areas or volumes, where all images state the size of a pixel.

    Parameters
    ----------
    table : pandas.DataFrame
    pictures : sequence of Picture
        The images that the table counts.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import add_sizes, pixel_size

    sizes = {pixel_size(picture.axes, picture.pixels.shape) for picture in pictures}
    size = sizes.pop() if len(sizes) == 1 else None
    return table if size is None else add_sizes(table, size)


def _records(
    model: KMeansModel, table: pd.DataFrame, recolored: Picture
) -> dict[str, dict[str, Any]]:
    """Return the records in the files of the labels and of the recolored image."""
    channels = {"channels": [list(channel) for channel in recolored.channels]}
    labels = labels_record(__version__, table, model=model.to_dict())
    recolored_record = {"kind": "recolored", "version": __version__, **channels}
    return {"labels": labels, "recolored": recolored_record}


def _write_ome_zarr(
    seg: Segmentation,
    stem: str,
    results: Mapping[str, Picture],
    paths: Mapping[str, Path],
    report: Report | None,
    beside: Sequence[Any],
) -> None:
    images = []
    if "labels" in results:
        labels = results["labels"]
        axes = tuple(labels.axes or spatial_axes(labels.pixels.ndim))
        name = f"{stem} labels"
        images.append(Image(paths["labels"], name, labels.pixels, axes))
    if "recolored" in results:
        recolored = results["recolored"]
        if recolored.geo_tags or recolored.profile:
            lost = "georeference" if recolored.geo_tags else "color profile"
            tell(f"{stem}: its {lost} is not written, because OME-Zarr has no place for it")
        ndim, channel_axis = recolored.pixels.ndim, seg.model.channel_axis
        axes = tuple(recolored.axes or _default_axes(ndim, channel_axis))
        channels = _describe_channels(seg, recolored)
        name = f"{stem} recolored"
        images.append(Image(paths["recolored"], name, recolored.pixels, axes, channels))
    if images:
        write_images(images, report, beside)


def _default_axes(ndim: int, channel_axis: int | None) -> list[Axis]:
    if channel_axis is None:
        return list(spatial_axes(ndim))
    axes = list(spatial_axes(ndim - 1))
    axes.insert(channel_axis % ndim, Axis("c", "channel"))
    return axes


def _describe_channels(seg: Segmentation, recolored: Picture) -> dict[str, Any]:
    """Return the OME-Zarr metadata of channels: their names, colors and ranges.

    The channels of colors are red, green, blue and alpha.
    """
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.imaging.colors import display_range

    model = seg.model
    white = model.white
    if not model.rgb:
        named = [
            {
                "label": channel.name,
                "color": (channel.color or "#ffffff")[1:].upper(),
                "active": True,
                "window": _window(white, float(means.min()), float(means.max())),
            }
            for channel, means in zip(recolored.channels, model.palette.T, strict=False)
        ]
        return {"omero": {"channels": named}} if named else {}
    color_range = display_range(model.palette, model.dtype)
    channels = [
        {
            "label": label,
            "color": color,
            "active": label != "alpha",
            "window": _window(white, *((0.0, white) if label == "alpha" else color_range)),
        }
        for label, color in zip(RGBA, (*RGB_COLORS, "FFFFFF"), strict=True)
    ]
    return {"omero": {"channels": channels[: seg.recolored.shape[-1]], "rdefs": {"model": "color"}}}


def _window(white: float, start: float, end: float) -> dict[str, float]:
    """Return the limits of a channel's values, and the values shown dark and bright."""
    return {"min": min(0.0, start), "max": max(white, end), "start": start, "end": end}
