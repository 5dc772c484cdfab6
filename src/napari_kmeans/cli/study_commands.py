"""The commands `run`, which does a study, and `repeat`, which does a recorded run again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.problems import describe_problems, recorded_problems
from napari_kmeans.batch.repeating import RecordedImages
from napari_kmeans.batch.reporting import count_images
from napari_kmeans.batch.result_files import find_labels_file, output_directory
from napari_kmeans.batch.run_record import (
    describe_versions,
    hash_labels,
    is_run_record,
    read_run_record,
)
from napari_kmeans.batch.study import Study, StudyError
from napari_kmeans.cli.options import SentenceParser, add_jobs_option
from napari_kmeans.cli.study_arguments import STUDY_SUFFIXES, add_study_arguments, study_of
from napari_kmeans.cli.terminal import PROGRAM, bar, print_line, print_message
from napari_kmeans.execution.threads import limit_threads
from napari_kmeans.files.errors import UnreadableImageError, reason

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from napari_kmeans.batch.study_result import StudyProgress, StudyResult

FAILED = 1
SECONDS_BETWEEN_LINES = 30
"""Without a terminal, as in the log of a queue, a line states the progress so often."""

IDENTICAL = "identical labels"


def run_command(name: str, command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command, print the mistakes in its study, and return the exit code."""
    try:
        return command(argv)
    except BrokenPipeError:
        raise
    except StudyError as error:
        for mistake in error.mistakes:
            print_message(mistake)
    except UnreadableImageError as error:
        print_message(f"cannot {name}: {error}")
    except OSError as error:
        print_message(f"cannot {name}: {error.filename or 'a file'}: {reason(error)}")
    return FAILED


def build_run_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of `napari-kmeans run`."""
    parser = SentenceParser(
        prog=f"{PROGRAM} run",
        description="Cluster many images with one model, and measure all of them in one table. "
        "Images that an earlier run in the same folder has done with the same model and options "
        "are not done again. A file named run is an image if it is written as ./run.",
    )
    add_study_arguments(parser)
    parser.add_argument("--again", action="store_true", help="do all images again")
    add_jobs_option(parser)
    parser.add_argument(
        "--save-study", metavar="FILE", help="write the study to a YAML file, and do nothing else"
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Do a study: one model, all images, one table, one record."""
    arguments = build_run_parser().parse_args(argv)
    study = study_of(arguments)
    if arguments.save_study:
        place = Path(arguments.save_study)
        if place.suffix.lower() not in STUDY_SUFFIXES:
            raise StudyError(
                [f"--save-study must be a name that ends in .yaml, got {arguments.save_study!r}."]
            )
        # Its paths are relative to its folder.
        is_beside = place.absolute().parent == study.folder.absolute()
        with output_directory(place.absolute().parent):
            (study if is_beside else study.at(study.folder)).save(place)
        print_line(f"wrote {arguments.save_study}")
        return 0
    with limit_threads(arguments.jobs):
        result = _run_with_bar(study, again=arguments.again)
    _print_result(result)
    return FAILED if result.failures else 0


def build_repeat_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of `napari-kmeans repeat`."""
    parser = SentenceParser(
        prog=f"{PROGRAM} repeat",
        description="Do a recorded run again, and print whether the labels of each image are "
        "identical. The exit code is 0 if all are.",
    )
    parser.add_argument("record", type=Path, help="napari-kmeans-run.json, or the folder with it")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="keep the new results in a folder"
    )
    add_jobs_option(parser)
    return parser


def repeat(argv: Sequence[str]) -> int:
    """Do a recorded run again, and compare the labels."""
    arguments = build_repeat_parser().parse_args(argv)
    record = read_run_record(arguments.record)
    runs = [record, *(each for each in record.get("earlier") or [] if is_run_record(each))]
    n_same = n_all = 0
    is_complete = _print_what_is_missing(runs)
    folder = _folder_of(arguments.record)
    with limit_threads(arguments.jobs), _directory(arguments.output) as directory:
        for number, run in enumerate(runs, 1):
            place = directory if len(runs) == 1 else directory / f"run-{number}"
            recorded = RecordedImages(run, folder)
            result = _run_with_bar(recorded.study, place, again=True, recorded=recorded)
            _print_other_versions(run.get("versions") or {})
            _print_other_model(run.get("model"), result.record["model"])
            verdicts = _compare(run["images"], result.record["images"], folder, result.directory)
            n_all += len(verdicts)
            n_same += verdicts.count(IDENTICAL)
    print_line(f"{n_same} of {count_images(n_all)} with identical labels")
    return 0 if n_same == n_all and is_complete else FAILED


def _folder_of(record: Path) -> Path:
    """Return the folder of a record, which is given by its file or by this folder."""
    return record.absolute() if record.is_dir() else record.absolute().parent


def _print_what_is_missing(runs: Sequence[dict[str, Any]]) -> bool:
    """Say how many images recorded runs have not done; return whether there are none.

    Images that failed are no part of a result, and the run said so.
    """
    images = [entry for run in runs for entry in run["images"]]
    n_left = sum(entry.get("status") not in ("done", "failed") for entry in images)
    if n_left or any(run.get("status") == "interrupted" for run in runs):
        print_message(
            f"the recorded run was interrupted: {n_left} of {count_images(len(images))} were not "
            "done; run the same command again to finish it"
        )
        return False
    return True


@contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen.absolute()
        return
    with TemporaryDirectory(prefix=f"{PROGRAM}-") as folder:
        yield Path(folder)


def _run_with_bar(
    study: Study,
    output: Path | None = None,
    *,
    again: bool,
    recorded: RecordedImages | None = None,
) -> StudyResult:
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.batch.running import run_study

    last: StudyProgress | None = None
    printed = time.monotonic()
    with bar("images") as move:

        def show(progress: StudyProgress) -> None:
            nonlocal last, printed
            last = progress
            if move is None and time.monotonic() - printed > SECONDS_BETWEEN_LINES:
                printed = time.monotonic()
                step = "read for the fit" if progress.stage == "fit" else "done"
                print_message(f"{progress.done} of {count_images(progress.total)} {step}")
            # Reading all images for the fit takes about a third of the time.
            share = progress.done / max(progress.total, 1)
            done = {"fit": 300 * share, "images": 300 + 690 * share}.get(progress.stage, 990)
            if move is not None:
                move(int(done), 1000)

        try:
            return run_study(study, output, again=again, progress=show, recorded=recorded)
        except KeyboardInterrupt:
            if last is not None and last.stage == "images":
                done = f"{last.done} of {count_images(last.total)}"
                print_message(f"{done} are done; the same command continues")
            raise


def _print_result(result: StudyResult) -> None:
    """Print how many images were done, their problems, the mean shares and the files."""
    n_images, n_failures = len(result.record["images"]), len(result.failures)
    parts = [f"{count_images(n_images - n_failures)} done"]
    parts += [f"{result.n_earlier} of them by an earlier run"] if result.n_earlier else []
    parts += [f"{n_failures} failed"] if n_failures else []
    print_line(", ".join(parts))
    for sentence in describe_problems(recorded_problems(result.record["images"])):
        print_line(sentence)
    if result.record["model"] is not None:
        for line in _describe_shares(result.table):
            print_line(line)
    elif len(result.table):
        print_line("each image has classes of its own, so that their shares have no mean")
    _print_undecided(result.table)
    if n_images > n_failures:
        print_line(f"wrote files of {count_images(n_images - n_failures)} to {result.directory}")
    for path in result.files:
        print_line(f"wrote {path}")


def _describe_shares(table: Any) -> list[str]:
    """Return a line with the mean share of each class over the images, and their range."""
    if not len(table):
        return []
    pixels = table[~table["ignored"]] if "ignored" in table else table
    keys = ["class", "name"] if "name" in pixels else ["class"]
    counts = pixels.pivot_table("pixels", "image", keys, "sum", fill_value=0)
    shares = 100 * counts.div(counts.sum(axis=1), axis=0)
    lines = [" label    mean     min     max  name"]
    for key in shares:
        label, name = key if isinstance(key, tuple) else (key, "")
        share = shares[key]
        numbers = f"{share.mean():7.2f} {share.min():7.2f} {share.max():7.2f}"
        lines.append(f"{label:6d} {numbers}  {name}".rstrip())
    return lines


def _print_undecided(table: Any) -> None:
    """Print the share of undecided pixels, if the model leaves pixels undecided."""
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.batch.shares import describe_undecided, find_undecided

    shares = find_undecided(table)
    if shares:
        print_line(
            f"undecided pixels: {describe_undecided(shares)}; the shares are of the decided pixels"
        )


def _print_other_model(recorded: Any, found: Any) -> None:
    # The fit names its images by a hash of their paths, which may have moved.
    models = [{**(each or {}), "fit": None} for each in (recorded, found)]
    if recorded is not None and found is not None and models[0] != models[1]:
        print_message("the model differs: files that it was fitted to have changed or are missing")


def _print_other_versions(recorded: dict[str, str]) -> None:
    here = describe_versions()
    others = [
        f"{name} {here.get(name, 'missing')} instead of {version}"
        for name, version in recorded.items()
        if here.get(name) != version
    ]
    if others:
        print_message(f"the versions differ: {', '.join(others)}")


def _compare(
    before: Sequence[dict[str, Any]],
    after: Sequence[dict[str, Any]],
    folder: Path,
    repeated: Path,
) -> list[str]:
    """Print whether the labels of each image are identical, and return what is printed of each.

    Parameters
    ----------
    before, after : sequence of dict
        The images of the record, and those of the run that repeats it.
    folder, repeated : Path
        The folders of their results.
    """
    by_name = {entry["name"]: entry for entry in after}
    by_hash = {entry.get("sha256"): entry for entry in after}
    # An image that failed has no checksum.
    recorded = {entry.get("sha256") for entry in before} - {None}
    done = [entry for entry in before if entry.get("status") == "done"]
    files = [_labels_file(entry, folder) for entry in done]
    has_files = any(file is not None and file.exists() for file in files)
    verdicts = []
    for entry, file in zip(done, files, strict=True):
        # Not by their paths: the images may have been moved. A name may have got another number,
        # which it has beside an input of the same name, and may be that of another image now.
        other = by_name.get(entry.get("name"), {})
        if other.get("sha256") != entry.get("sha256"):
            is_another = other.get("sha256") in recorded
            other = by_hash.get(entry.get("sha256"), {} if is_another else other)
        verdict = _compare_entry(entry, other)
        if verdict == IDENTICAL and has_files:
            verdict = _compare_files(file, _labels_file(other, repeated))
        verdicts.append(verdict)
        is_changed = verdict == IDENTICAL and other.get("sha256") != entry.get("sha256")
        beside = ", although the file has changed" if is_changed else ""
        print_line(f"{entry.get('name')}: {verdict}{beside}")
    if done and not has_files:
        print_message(f"no labels of the run are in {folder}: only checksums were compared")
    return verdicts


def _labels_file(entry: dict[str, Any], folder: Path) -> Path | None:
    """Return the file with the labels of an image; None if none was written."""
    return find_labels_file(folder / str(name) for name in entry.get("outputs") or ())


def _compare_files(file: Path | None, repeated: Path | None) -> str:
    """Return whether a file of the record has the labels of the repeated run, in words."""
    from napari_kmeans.files.reading import read_image

    if file is None or repeated is None:
        return IDENTICAL
    if not file.exists():
        return f"the run has identical labels, but the file {file.name} is missing"
    # Not the checksum of the record: a file may have other axes than the labels of a run.
    try:
        hashes = [hash_labels(read_image(path).pixels) for path in (file, repeated)]
    except UnreadableImageError as error:
        return f"the run has identical labels, but the file cannot be read: {error}"
    if hashes[0] != hashes[1]:
        return f"the run has identical labels, but the file {file.name} has been changed"
    return IDENTICAL


def _compare_entry(entry: dict[str, Any], other: dict[str, Any]) -> str:
    if other.get("status") != "done":
        return f"failed, {other.get('failure') or 'it is missing'}"
    if other["labels_sha256"] == entry.get("labels_sha256"):
        return IDENTICAL
    if other["sha256"] != entry.get("sha256"):
        return "other labels, because the file has changed"
    return "other labels"


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"run": run, "repeat": repeat}
"""The commands by their names. Any other first argument is an image."""
