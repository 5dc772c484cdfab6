"""The files of image layers, for a study that names files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_kmeans.viewer.to_layers.as_python import file_has_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.cohort_batch import BatchFile
    from napari_kmeans.viewer.from_layers.source import Source


@dataclass(frozen=True, eq=False)
class LayerBatchWork:
    """A study file to write for layers, whose files are compared with the layers before.

    Attributes
    ----------
    batch : BatchFile
        Its images are replaced by the files.
    sources : sequence of Source
    fit_on : sequence of Source
        The layers that the model is fitted to; empty for all.
    path : Path
    """

    batch: BatchFile
    sources: Sequence[Source]
    fit_on: Sequence[Source]
    path: Path

    def run(self, progress: Report | None = None) -> list[Path]:
        """Write the files, and return their paths.

        Raises
        ------
        ValueError
            If a layer has no file with the same pixels.
        """
        files = {}
        for number, source in enumerate(self.sources):
            files[source.unique_id] = file_of(source)
            if progress is not None:
                progress(number + 1, len(self.sources))
        cohort = replace(
            self.batch.cohort,
            images=tuple(files[each.unique_id] for each in self.sources),
            fit_on=tuple(files[each.unique_id] for each in self.fit_on),
        )
        return replace(self.batch, cohort=cohort).write(self.path)


def file_of(source: Source) -> Path:
    """Return the file of a layer.

    Raises
    ------
    ValueError
        If the layer has no file, or if its pixels are not those of the file.
    """
    paths = {origin.path for origin in source.origins}
    path = paths.pop() if len(paths) == 1 else None
    own = source.levels if source.channel_axis is None else source.channel_axis.levels
    if path is None or not file_has_pixels(Path(path), own):
        raise ValueError(
            f"the layer {source.name!r} must have the pixels of a file to be in a batch, got other "
            "pixels or no file: save the layer and open the file, or choose a folder as images."
        )
    return Path(path).absolute()
