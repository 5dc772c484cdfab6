"""Do all images of a study, on threads or on the workers of a cluster."""

from __future__ import annotations

import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from napari_kmeans.batch.image_step import ImageResult, Steps, do_image, has_other_settings
from napari_kmeans.batch.reporting import count_images, tell
from napari_kmeans.batch.study_result import StudyProgress
from napari_kmeans.execution.dask_graph import active_client, map_on_cluster
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_kmeans.batch.study_images import StudyImage


def do_images(
    images: Sequence[StudyImage],
    steps: Steps,
    results: list[ImageResult],
    *,
    failures: Mapping[str, str],
    again: bool,
    are_given: bool,
    progress: Callable[[StudyProgress], object],
) -> None:
    """Do all images, on the workers of an active client or on threads.

    Parameters
    ----------
    images : sequence of StudyImage
    steps : Steps
    results : list of ImageResult
        The results are added to it in the order of the images, also if the run is stopped: then
        those of the images that are done.
    failures : mapping of str to str
        The sentence of each image that the fit has left out, by the source of the image.
    again : bool
        Whether images that an earlier run has done are done again.
    are_given : bool
        Whether images are in this process, as layers are: workers could not read them.
    progress : callable
        See `run_study`.
    """
    total, clock = len(images), time.perf_counter()
    found: dict[int, ImageResult] = {}

    def add(number: int, result: ImageResult) -> None:
        found[number] = result
        for sentence in (*result.sentences, *([result.failure] if result.failure else [])):
            tell(sentence)
        n_done = len(found)
        left = (time.perf_counter() - clock) / n_done * (total - n_done)
        progress(StudyProgress("images", n_done, total, left, result))

    def add_own(number: int, result: ImageResult) -> None:
        add(numbers[number], result)

    def keep(number: int, result: ImageResult) -> None:
        # An image that was stopped has no part.
        if result.part is not None:
            found[numbers[number]] = result

    def step(_count: float) -> None:
        progress(StudyProgress("images", len(found), total))

    numbers = []
    for number, image in enumerate(images):
        failure = failures.get(image.job.source)
        if failure is None:
            numbers.append(number)
        else:
            # The sentence was sent when the model was fitted.
            found[number] = ImageResult(image, None, failure)
            progress(StudyProgress("images", len(found), total, None, found[number]))
    own = [images[number] for number in numbers]
    if not again:
        _tell_done_again(own, steps)
    do = partial(do_image, steps=steps, again=again)
    client = None if are_given else active_client()
    try:
        if client is None:
            _map_on_threads(do, own, add_own, step, keep)
        else:
            map_on_cluster(client, do, own, add_own, step)
    finally:
        results += [found[number] for number in sorted(found)]


def _tell_done_again(images: Sequence[StudyImage], steps: Steps) -> None:
    """Tell how many images an earlier run has done with other settings.

    The report shows the sentence after the run.
    """
    number = sum(has_other_settings(image, steps) for image in images)
    if number:
        tell(
            f"{count_images(number)} {'was' if number == 1 else 'were'} done with other options or "
            "another model by an earlier run in this folder: "
            f"{'its results are' if number == 1 else 'their results are'} replaced"
        )


def _map_on_threads(
    do: Callable[[StudyImage], ImageResult],
    images: Sequence[StudyImage],
    on_result: Callable[[int, ImageResult], object],
    step: Callable[[float], object],
    keep: Callable[[int, ImageResult], object],
) -> None:
    """Do all images on threads, and pass on each result in this thread as soon as it is known.

    If the run is stopped, `keep` gets the results that were not passed on.
    """
    finished: SimpleQueue[tuple[int, ImageResult]] = SimpleQueue()

    def do_number(number: int) -> None:
        finished.put((number, do(images[number])))

    def pass_on(count: float) -> None:
        while not finished.empty():
            on_result(*finished.get())
        step(count)

    try:
        map_threads(do_number, range(len(images)), pass_on)
        pass_on(0)
    finally:
        while not finished.empty():
            keep(*finished.get())
