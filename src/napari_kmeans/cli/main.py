"""The command line: cluster image files, and write the results or show them in napari."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from napari_kmeans._version import __version__
from napari_kmeans.batch.exports import EXPORTS
from napari_kmeans.batch.jobs import ClusteredImage, Workflow
from napari_kmeans.batch.listing import Reading, list_jobs
from napari_kmeans.batch.pixel_size import check_spacing, check_unit
from napari_kmeans.batch.reporting import bars_shown_by, count_images
from napari_kmeans.batch.result_files import SHARED_MODEL, SHARED_TABLE, output_directory
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.batch.study import StudyError
from napari_kmeans.batch.study_folder import lock_folder
from napari_kmeans.cli.options import (
    OPTIONS_OF_FIT,
    SentenceParser,
    add_jobs_option,
    add_option,
    refuse_beside_model,
)
from napari_kmeans.cli.plain_run import PlainRun
from napari_kmeans.cli.screen import screen_problem
from napari_kmeans.cli.signals import EndedBySignal, ended_by_signals
from napari_kmeans.cli.study_arguments import help_of, plain_study
from napari_kmeans.cli.study_commands import COMMANDS, run_command
from napari_kmeans.cli.terminal import (
    PROGRAM,
    StdoutError,
    bar,
    discard_stdout,
    flush_stdout,
    open_closed_streams,
    print_all_names,
    print_message,
    print_table,
)
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.execution.threads import limit_threads
from napari_kmeans.files.errors import reason
from napari_kmeans.options import (
    COMMAND_LINE_OPTIONS,
    Options,
)
from napari_kmeans.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.model import KMeansModel

DEFAULT_DIRECTORY = Path("napari-kmeans-output")
FAILED = 1
INTERRUPTED = 130
"""Exit codes. 130 is the code of shells for a program that SIGINT ended: 128 + 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments. If None, those of the process.

    Returns
    -------
    int
        The exit code: 0 if all images were clustered.
    """
    open_closed_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return _run(partial(run_command, words[0], COMMANDS[words[0]], words[1:]), headless=True)
    parser = build_parser()
    arguments = parser.parse_args(words)
    try:
        options = Options(**{name: getattr(arguments, name) for name in OPTIONS_OF_FIT})
        if arguments.spacing is not None:
            # Check it here. The images get it when they are read, so that their tables and files
            # have it, too.
            replace(options, spacing=arguments.spacing)
            check_spacing(arguments.spacing)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    _check_model_arguments(parser, arguments)
    _check_outputs(parser, arguments)
    headless = arguments.output is not None
    with limit_threads(arguments.jobs):
        return _run(partial(_cluster_images, arguments, options), headless=headless)


def _run(command: Callable[[], int], *, headless: bool) -> int:
    """Run a command that prints what it does, and return its exit code.

    `headless` states that it opens no window: Qt and napari would miss signals that end it.
    """
    print_all_names()
    try:
        # The study of a run has the current folder, also if all its paths are absolute.
        os.getcwd()
    except OSError as error:
        print_message(f"the current folder cannot be read: {reason(error)}; change to another one")
        return FAILED
    try:
        ending = ended_by_signals() if headless else nullcontext()
        with ending, notices_to(print_message), bars_shown_by(bar):
            code = command()
        flush_stdout()
        return code
    except BrokenPipeError:
        # The reader of the table has closed the pipe.
        discard_stdout()
        return FAILED
    except StdoutError as error:
        discard_stdout()
        print_message(f"cannot write the table to stdout: {error}")
        return FAILED
    except EndedBySignal as error:
        print_message(f"ended by {error.name}; nothing was left half-written")
        return error.exit_code
    except KeyboardInterrupt:
        print_message("interrupted; nothing was left half-written")
        return INTERRUPTED
    finally:
        COMPILE_PROCESSES.close()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments, which include every option of the clustering."""
    parser = SentenceParser(
        prog=PROGRAM,
        description="Cluster the colors of images by K-means: labels, a recolored image, "
        "a table and a model. Without -o, the result is shown in napari. "
        "For many images with one table: napari-kmeans run --help. "
        "To do a recorded run again: napari-kmeans repeat --help.",
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=_parse_path,
        metavar="IMAGE",
        help="image files, zarr directories, names with wildcards, or folders of images; if "
        "omitted, the first sample",
    )
    parser.add_argument("--sample", choices=tuple(SAMPLES), help="cluster a sample image")
    parser.add_argument(
        "-o",
        "--output",
        type=_parse_path,
        metavar="DIR",
        help="write <name>-labels.tif, <name>-recolored.png (.tif where PNG cannot hold it; both "
        ".zarr for images larger than memory), <name>-table.csv and <name>-model.json to DIR; "
        f"for several images with one fit {SHARED_MODEL} and {SHARED_TABLE}; and the record "
        f"{RECORD_FILE}; needs no screen",
    )
    parser.add_argument(
        "--export",
        type=_parse_exports,
        default=(),
        metavar="KIND,KIND",
        help=f"write further files, most of them for other programs: {', '.join(EXPORTS)}, as "
        "<name>-classes.geojson, <name>-mask-<label>-<name of the class>.png (.tif for stacks), "
        "<name>-legend.png and <name>-confidence.tif (.zarr for images larger than memory), the "
        "confidence of each pixel; needs -o",
    )
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="add the mean confidence of each class to the table of each image; needs -o",
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="fit a separate model to each image, instead of one model to all images",
    )
    parser.add_argument(
        "--model",
        type=_parse_path,
        metavar="FILE",
        help="apply a saved model to the images, instead of fitting a model",
    )
    _add_reading_options(parser.add_argument_group("reading"))
    add_jobs_option(parser)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    group = parser.add_argument_group("clustering")
    for info in COMMAND_LINE_OPTIONS.values():
        add_option(group, info, info.default if info.name in OPTIONS_OF_FIT else None)
    return parser


def _check_model_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options of the clustering beside --model, which fits nothing."""
    if arguments.model is None:
        return
    for name, info in OPTIONS_OF_FIT.items():
        if getattr(arguments, name) != info.default:
            parser.error(refuse_beside_model(info))


def _check_outputs(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse what is written without a folder for it, and legends without their library."""
    if arguments.export and arguments.output is None:
        parser.error("--export must go with -o, the folder of its files")
    if arguments.confidence and arguments.output is None:
        parser.error("--confidence must go with -o, the folder of its table")
    if "legend" in arguments.export and find_spec("matplotlib") is None:
        parser.error("--export legend needs matplotlib: run pip install matplotlib")


def _cluster_images(arguments: argparse.Namespace, options: Options) -> int:
    try:
        jobs = list_jobs(Reading(**{name: getattr(arguments, name) for name in Reading._fields}))
    except ValueError as error:
        print_message(str(error))
        return FAILED
    workflow = Workflow(options, together=len(jobs) > 1 and not arguments.each)
    if arguments.model is not None:
        model = _load_model(arguments.model)
        if model is None:
            return FAILED
        if arguments.confidence and model.splits:
            print_message(
                f"--confidence needs a model whose classes were not split anew, got "
                f"{arguments.model}: give the model before the split, or leave --confidence out"
            )
            return FAILED
        workflow = Workflow.of_model(model)
    directory = arguments.output
    if directory is None:
        problem = screen_problem()
        if problem is None:
            return _show_images(jobs, workflow)
        print_message(f"no screen: {problem}; writing to {DEFAULT_DIRECTORY}{os.sep} instead")
        directory = DEFAULT_DIRECTORY
    # Without a screen, this is where it is known that no window opens.
    with ExitStack() as stack, ended_by_signals():
        try:
            study = plain_study(arguments, options, workflow.together)
            stack.enter_context(output_directory(directory))
            stack.enter_context(lock_folder(directory))
        except OSError as error:
            print_message(f"cannot write to {directory}: {reason(error)}")
            return FAILED
        except StudyError as error:
            for mistake in error.mistakes:
                print_message(mistake)
            return FAILED
        run = PlainRun(
            jobs,
            workflow,
            directory,
            study,
            arguments.export,
            arguments.model,
            confidence=arguments.confidence,
        )
        return 0 if run.write() else FAILED


def _load_model(path: Path) -> KMeansModel | None:
    from napari_kmeans.model import KMeansModel

    try:
        return KMeansModel.load(path)
    except ValueError as error:
        print_message(str(error))
    except OSError as error:
        print_message(f"cannot read {path}: {reason(error)}")
    return None


def _show_images(jobs: Sequence[ImageJob], workflow: Workflow) -> int:
    outcomes = [each for each in workflow.run(jobs) if isinstance(each, ClusteredImage)]
    if workflow.together and outcomes:
        print_table(count_images(len(outcomes)), outcomes[0].seg.table)
    for outcome in [] if workflow.together else outcomes:
        print_table(outcome.name, outcome.seg.table)
    if outcomes:
        import napari

        from napari_kmeans.viewer.window import fill_viewer

        fill_viewer(napari.Viewer(title=PROGRAM), outcomes, workflow.options)
        napari.run()
    return FAILED if len(outcomes) < len(jobs) else 0


def _add_reading_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recursive", action="store_true", help="read the images in subfolders of folders, too"
    )
    group.add_argument(
        "--series",
        metavar="N",
        help="the number, from 0, or name of one of the images in a file, or all; if omitted, the "
        "largest",
    )
    group.add_argument(
        "--channel-axis",
        metavar="N",
        help="the number or name of the axis that holds channels, if the file does not state it",
    )
    group.add_argument(
        "--channels",
        type=_parse_channels,
        metavar="N,N",
        help="the numbers, from 0, or names of the channels to cluster; if omitted, all",
    )
    group.add_argument("--unit", type=_parse_unit, metavar="UNIT", help=help_of("unit"))
    group.add_argument(
        "--mask",
        type=_parse_path,
        metavar="FILE",
        help="an image of the same shape, whose pixels are 0 where the image is left out; for "
        "several images a folder, in which the mask of photo.tif is named photo.png or "
        "photo-mask.png",
    )


def _parse_path(text: str) -> Path:
    # Path("") is the current folder, and an empty argument is a variable without a value.
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got ''; . is the current folder")
    return Path(text)


def _parse_channels(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(
            f"must be numbers or names with commas between them, got {text!r}"
        )
    return names


def _parse_unit(text: str) -> str:
    try:
        return check_unit("--unit", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--unit ")) from None


def _parse_exports(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not set(names) <= set(EXPORTS):
        raise argparse.ArgumentTypeError(
            f"must be {', '.join(EXPORTS)}, or several with commas between them, got {text!r}"
        )
    return names
