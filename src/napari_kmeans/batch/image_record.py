"""The entry of an image in the record of a run."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.run_record import describe_picture, hash_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.parts import Inputs
    from napari_kmeans.batch.problems import Review
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.segmentation import Segmentation


class Stopwatch:
    """The time at which an image or a run was begun, and the seconds since."""

    def __init__(self) -> None:
        self._started, self._clock = datetime.now(UTC), time.perf_counter()

    def entries(self) -> dict[str, Any]:
        """Return the entries `started` and `seconds` of a record."""
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 3),
        }


def describe_source(
    job: ImageJob, stem: str, group: str | None = None, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the entries of an image that do not depend on its pixels."""
    return {
        "name": stem,
        "source": job.source,
        "group": group,
        "metadata": dict(metadata or {}),
    }


def describe_done(
    picture: Picture,
    seg: Segmentation,
    *,
    inputs: Inputs,
    outputs: Iterable[str],
    has_own_model: bool,
    watch: Stopwatch,
    warnings: Sequence[str],
    review: Review,
) -> dict[str, Any]:
    """Return the entries of an image that is done.

    Parameters
    ----------
    picture : Picture
    seg : Segmentation
    inputs : Inputs
        The files that were read; the image is the first of them.
    outputs : iterable of str
        The names of the files that were written.
    has_own_model : bool
        Whether the model was fitted to this image only.
    watch : Stopwatch
    warnings : sequence of str
    review : Review
    """
    return {
        "sha256": inputs.hashes[0] if inputs.hashes else None,
        "bytes": inputs.stamps[0].size if inputs.stamps else None,
        **describe_picture(picture),
        "model": seg.model.to_dict() if has_own_model else None,
        "outputs": list(outputs),
        "labels_sha256": hash_labels(seg.labels),
        **watch.entries(),
        "warnings": list(warnings),
        "problems": list(review.problems),
        "far_share": review.far_share,
        "status": "done",
        "failure": "",
    }


def describe_failed(failure: str, warnings: Sequence[str]) -> dict[str, Any]:
    """Return the entries of an image that failed, with the sentence why."""
    return {"outputs": [], "warnings": list(warnings), "status": "failed", "failure": failure}


def describe_not_done() -> dict[str, Any]:
    """Return the entries of an image that a run that was stopped has not reached."""
    return {
        "outputs": [],
        "warnings": [],
        "status": "not done",
        "failure": "it was not reached",
    }
