"""Image layers as the images of a study: what a run reads of files, it takes from the layers."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.image_job import ImageJob
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.files.units import LENGTHS, TIMES
from napari_kmeans.viewer.from_layers.geometry import is_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.viewer.from_layers.source import Source

_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
"""Characters that no file name has on Windows."""


def jobs_of_sources(sources: Sequence[Source]) -> list[ImageJob]:
    """Return the images of a study for snapshots of layers, whose names are those of files."""
    jobs: list[ImageJob] = []
    for source in sources:
        name = file_name_of(source.name)
        taken = {job.name for job in jobs}
        number = 2
        while name in taken:
            name, number = f"{file_name_of(source.name)}-{number}", number + 1
        jobs.append(ImageJob(name, source.name, partial(picture_of, source)))
    return jobs


def file_name_of(name: str) -> str:
    """Return the name of a layer without characters that no file name has."""
    return _FORBIDDEN.sub("_", name).strip(" .") or "image"


def picture_of(source: Source) -> Picture:
    """Return a snapshot of layers as an image from a file: its channels are the last axis."""
    has_channels = bool(source.channels)
    levels = source.levels if source.multiscale else ()
    return Picture(
        source.data,
        rgb=source.rgb and not has_channels,
        channel_axis=source.data.ndim - 1 if has_channels else None,
        levels=levels,
        axes=_axes_of(source, has_channels or source.rgb),
        channels=tuple(Channel(name) for name in source.channel_names),
    )


def _axes_of(source: Source, has_channels: bool) -> tuple[Axis, ...]:
    spatial = source.spatial
    axes = [
        _axis_of(*values)
        for values in zip(
            spatial["axis_labels"],
            spatial["units"],
            spatial["scale"],
            spatial["translate"],
            strict=True,
        )
    ]
    return (*axes, Axis("c", "channel")) if has_channels else tuple(axes)


def _axis_of(label: str, unit: Any, scale: float, translation: float) -> Axis:
    name = str(unit)
    known = name if name in LENGTHS or name in TIMES else ""
    kind = "time" if is_time(label, unit) else "space"
    return Axis(label, kind, known, abs(float(scale)), float(translation))
