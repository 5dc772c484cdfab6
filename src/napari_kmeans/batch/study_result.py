"""What a study reports while it runs, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.study_tables import share_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.image_step import ImageResult


class StudyProgress(NamedTuple):
    """How far a study is.

    Attributes
    ----------
    stage : str
        "fit" while the model is fitted, then "images", at last "tables".
    done, total : int
        Images of this stage.
    seconds_left : float or None
        Estimated from the images done so far; None before the first.
    result : ImageResult or None
        The image that was just done or has failed. None in the calls between, several times a
        second, in which a run can be stopped.
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None = None
    result: ImageResult | None = None

    def __repr__(self) -> str:
        """Return one line, with the name of the image."""
        name = "" if self.result is None else f", {self.result.image.stem}"
        return f"StudyProgress({self.stage}: {self.done} of {self.total}{name})"


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study has found.

    Attributes
    ----------
    directory : Path
        The folder of the results.
    table : pandas.DataFrame
        The long table of measurements, see `measure`.
    record : dict
        The contents of the record file, see `napari_kmeans.batch.run_record`.
    files : tuple of Path
        The tables, the record, the model and the report.
    failures : dict of str
        The sentence of each image that failed, by the name of the image.
    n_earlier : int
        The number of images that an earlier run had done.
    """

    directory: Path
    table: pd.DataFrame
    record: dict[str, Any]
    files: tuple[Path, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)
    n_earlier: int = 0

    @property
    def shares(self) -> pd.DataFrame:
        """The share of each class in each image: a row for each image, all regions together."""
        return share_table(self.table)

    def __repr__(self) -> str:
        """Return one line without the tables."""
        n_images = len(self.record["images"])
        return (
            f"StudyResult(directory={str(self.directory)!r}, n_images={n_images}, "
            f"n_failures={len(self.failures)}, n_earlier={self.n_earlier})"
        )
