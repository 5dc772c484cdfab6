"""The last fit of a study, so that a run that is continued need not fit again."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from napari_kmeans.batch.fitting import StudyFit
from napari_kmeans.batch.parts import write_text
from napari_kmeans.batch.run_record import encode_run_record
from napari_kmeans.checks import is_whole_number
from napari_kmeans.files.atomic import write_whole

if TYPE_CHECKING:
    from napari_kmeans.batch.parts import PartStore

_FIT = "fit"
"""The name of the file of the last fit. The files of images have a suffix."""


def read_fit(store: PartStore, key: str) -> StudyFit | None:
    """Return the fit of an earlier run if it was of the same images and options."""
    from napari_kmeans.model import KMeansModel

    try:
        values = json.loads((store.folder / _FIT).read_text("utf-8"))
        if values["key"] != key:
            return None
        model = KMeansModel.from_dict(values["model"])
        failures = {str(name): str(text) for name, text in values["failures"].items()}
        n_colors = values["n_colors"]
        if n_colors is not None and not is_whole_number(n_colors):
            return None
        return StudyFit(model, failures, n_colors)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return None


def write_fit(store: PartStore, key: str, fit: StudyFit) -> None:
    """Write a fit with the key of its images and options."""
    assert fit.model is not None
    values = {
        "key": key,
        "model": fit.model.to_dict(),
        "failures": fit.failures,
        "n_colors": fit.n_colors,
    }
    text = encode_run_record(values)
    store.folder.mkdir(exist_ok=True)
    write_whole({store.folder / _FIT: partial(write_text, text)})
