"""Write the results of images: the command line with -o, without the tables of a study."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from napari_kmeans.batch.earlier_results import (
    describe_other_results,
    find_foreign,
    find_masks,
    find_results,
    stems_without_model,
)
from napari_kmeans.batch.image_record import Stopwatch
from napari_kmeans.batch.jobs import ClusteredImage, Failure, load_results
from napari_kmeans.batch.output import (
    OutputError,
    describe_table,
    output_errors,
    write_results,
)
from napari_kmeans.batch.plain_record import PlainRecord
from napari_kmeans.batch.problems import review_image
from napari_kmeans.batch.reporting import count_images, join_names, tell_missing_sizes
from napari_kmeans.batch.result_files import (
    SHARED_MODEL,
    SHARED_TABLE,
    free_stems,
    result_paths,
)
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.batch.study_folder import studies_in
from napari_kmeans.cli.terminal import bar, print_line, print_message, print_table
from napari_kmeans.execution.notices import notices_also_to
from napari_kmeans.files.atomic import put_back, read_contents, replacing, write_whole
from napari_kmeans.files.errors import UnreadableImageError, describe_unwritten, reason
from napari_kmeans.imaging.declared import ChunkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.jobs import Workflow
    from napari_kmeans.batch.output import Written
    from napari_kmeans.batch.study import Study


@dataclass(frozen=True)
class PlainRun:
    """The images of a run, and where their results are written.

    Attributes
    ----------
    jobs : sequence of ImageJob
    workflow : Workflow
    directory : Path
    study : Study
        The study of the record, which gives the same labels.
    exports : sequence of str
        Files for other programs, some of `EXPORTS`.
    model_file : Path or None
        The file of the model that the images are painted with.
    confidence : bool
        Whether the tables of the images have the mean confidence of each class.
    """

    jobs: Sequence[ImageJob]
    workflow: Workflow
    directory: Path
    study: Study
    exports: Sequence[str] = ()
    model_file: Path | None = None
    confidence: bool = False

    def write(self) -> bool:
        """Cluster all images and write their results; return whether no image failed."""
        directory, workflow = self.directory, self.workflow
        sources = [path for job in self.jobs for path in job.inputs]
        shared = [directory / SHARED_MODEL, directory / SHARED_TABLE]
        taken = sources + (shared if workflow.together else [])
        stems = free_stems([job.name for job in self.jobs], directory, taken)
        kept = sources if self.model_file is None else [*sources, self.model_file]
        other = describe_other_results(directory, stems, workflow.together, workflow.model)
        if other is not None:
            print_message(
                f"cannot write to {directory}: it holds {other} of an earlier run with another "
                "model; choose another directory"
            )
            return False
        measured = {each["name"] for run in studies_in(directory) for each in run["images"]}
        if not measured.isdisjoint(stems):
            print_message(
                f"cannot write to {directory}: it holds a study of these images, whose tables "
                "would be wrong; choose another directory, or use napari-kmeans run"
            )
            return False
        paths = [directory / RECORD_FILE, *(shared if workflow.together else [])]
        for path in find_foreign(paths):
            print_message(f"cannot write to {directory}: {path.name} in it is of another program")
            return False
        before, _ = stems_without_model(directory)
        earlier = read_contents(shared)
        record = PlainRecord(self.study, directory, self.jobs, stems)
        record.model = workflow.model
        try:
            with notices_also_to(record.sentences.append):
                written = self._write_images(stems, record, kept)
        except BaseException:
            # The images that are done have results, and should have a record, too.
            with suppress(OSError):
                record.write("interrupted")
            raise
        if written is None:
            return False
        after, others = stems_without_model(directory)
        if workflow.together and others and not written:
            # No image is done, as on a full disk: the labels that are there are of this model.
            try:
                put_back(earlier)
            except OSError as error:
                print_message(describe_unwritten(error, directory))
            else:
                print_message(
                    f"no image is done, so the results of the earlier run in {directory} stay"
                )
        elif workflow.together:
            # An image that failed may have labels whose model was overwritten.
            lost = [
                path
                for stem in others - {*written}
                for path in (*result_paths(directory, stem), *find_masks(directory, stem))
            ]
            _remove_files(find_results(lost, kept), directory)
        else:
            new = [*kept, *chain(*written.values())]
            _remove_shared_files(before - after, after, directory, new)
        _write_record(record, directory)
        for sentence in record.describe_problems():
            print_line(sentence)
        return record.n_done == len(self.jobs)

    def _write_images(
        self, stems: Sequence[str], record: PlainRecord, kept: Sequence[Path]
    ) -> dict[str, list[Path]] | None:
        """Write and review the results of each image, and return their paths by its stem.

        None if the images have no model in common, or if it cannot be written.
        """
        # This module imports numba, which would slow down the start of the command line.
        from napari_kmeans.measuring import UNIT

        outcomes = self.workflow.run(self.jobs)
        if self.workflow.together:
            found = list(outcomes)
            outcomes = iter(found)
            done = [each for each in found if isinstance(each, ClusteredImage)]
            if not done or not _write_shared_files(done, self.directory):
                return None
            record.model = done[0].seg.model
        paths: dict[str, list[Path]] = {}
        sizes: dict[str, bool] = {}
        for job, stem in zip(self.jobs, stems, strict=True):
            watch = Stopwatch()
            sentences: list[str] = []
            with notices_also_to(sentences.append):
                outcome = next(outcomes)
                if isinstance(outcome, Failure):
                    record.add_failed(stem, outcome.sentence, sentences[:-1])
                    continue
                written = self._write_image(job, stem, outcome, kept)
                if isinstance(written, Failure):
                    record.add_failed(stem, written.sentence, sentences[:-1])
                    continue
                paths[stem], sizes[stem] = written.paths, UNIT in written.table
                try:
                    review = review_image(
                        job.source,
                        outcome.seg,
                        outcome.picture,
                        written.table,
                        is_painted=self.workflow.shared,
                    )
                    record.add(stem, outcome, written.paths, watch, sentences, review)
                except Exception as error:
                    # The files of the image are read once more, and decoders raise errors of many
                    # types. The results are complete: they stay, and other images can be done.
                    failure = Failure.tell(f"cannot process {job.source}: {reason(error)}")
                    record.add_failed(stem, failure.sentence, sentences[:-1])
        tell_missing_sizes(sizes, "are not in the tables; use --spacing")
        return paths

    def _write_image(
        self, job: ImageJob, stem: str, outcome: ClusteredImage, kept: Sequence[Path]
    ) -> Written | Failure:
        """Write the results of one image; if that fails, tell the reason."""
        try:
            seg = load_results(outcome).seg
            if self.confidence:
                # This module imports numba, which would slow down the start of the command line.
                from napari_kmeans.confidence import add_confidence

                seg = add_confidence(seg, outcome.picture.pixels, mask=outcome.picture.mask)
            with bar(f"writing {stem}") as progress, output_errors(self.directory):
                written = write_results(
                    seg,
                    self.directory,
                    stem,
                    outcome.picture,
                    progress,
                    shared=self.workflow.shared,
                    kept=kept,
                    exports=self.exports,
                )
        except (UnreadableImageError, ChunkError) as error:
            return Failure.tell(f"cannot read {job.source}: {error}")
        except OutputError as error:
            return Failure.tell(str(error))
        except (OSError, ValueError, TypeError, MemoryError, struct.error) as error:
            # Writers raise errors of many types, such as struct.error for a tag out of range.
            return Failure.tell(
                f"cannot write the results of {job.source} to {self.directory}: {reason(error)}"
            )
        if not self.workflow.together:
            # A number in the names of the results does not tell which image they are of.
            title = stem if stem == job.name else f"{stem} ({job.source})"
            print_table(title, written.table)
        _print_paths(written.paths)
        _print_removed(written.removed)
        return written


def _write_record(record: PlainRecord, directory: Path) -> None:
    try:
        if record.write():
            _print_paths([record.path])
    except OSError as error:
        print_message(describe_unwritten(error, directory))


def _remove_shared_files(
    replaced: set[str], others: set[str], directory: Path, kept: Sequence[Path]
) -> None:
    """Remove the shared model and table of an earlier run if no remaining result uses them.

    Parameters
    ----------
    replaced : set of str
        The stems of results of the shared model that this run has replaced.
    others : set of str
        The stems of results of the shared model that are still there.
    directory : Path
    kept : sequence of Path
        Files that must not be removed: the inputs and the new results.
    """
    shared = find_results([directory / SHARED_MODEL, directory / SHARED_TABLE], kept)
    # If the shared model is one of `kept`, this run has painted images with it.
    if not replaced or directory / SHARED_MODEL not in shared:
        return
    if others:
        print_message(
            f"{directory / SHARED_MODEL} is kept for {join_names(sorted(others))}; "
            f"it is no longer the model of {join_names(sorted(replaced))}"
        )
        return
    _remove_files(shared, directory)


def _remove_files(paths: Sequence[Path], directory: Path) -> None:
    try:
        with replacing([], paths):
            pass
    except OSError as error:
        print_message(describe_unwritten(error, directory))
    else:
        _print_removed(paths)


def _write_shared_files(done: Sequence[ClusteredImage], directory: Path) -> bool:
    """Write the shared model and table; if that fails, print the reason and return False."""
    seg = done[0].seg
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import write_csv

    counted = describe_table(seg.table, [outcome.picture for outcome in done])
    model, table = directory / SHARED_MODEL, directory / SHARED_TABLE
    try:
        write_whole({model: seg.model.save, table: lambda path: write_csv(counted, path)})
    except OSError as error:
        print_message(describe_unwritten(error, directory))
        return False
    print_table(count_images(len(done)), counted)
    _print_paths([model, table])
    return True


def _print_removed(paths: Iterable[Path]) -> None:
    for path in paths:
        print_line(f"removed {path}, of an earlier run")


def _print_paths(paths: Iterable[Path]) -> None:
    for path in paths:
        print_line(f"wrote {path}")
