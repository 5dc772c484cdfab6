"""The command line: images in, files or a napari window out."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans import __version__
from napari_kmeans.files import read_image
from napari_kmeans.parameters import AUTO, OPTIONS, OptionInfo, Options
from napari_kmeans.picture import Picture, UnreadableImageError, reason
from napari_kmeans.results import free_stems, output_directory, write_results
from napari_kmeans.samples import SAMPLES
from napari_kmeans.terminal import PROGRAM, bar, print_table, say, spoken_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import napari

    from napari_kmeans.segmentation import Segmentation

DEFAULT_DIRECTORY = Path("napari-kmeans-output")
QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
FLAGS = {"n_clusters": ("-k", "--n-clusters"), "random_state": ("--seed",)}
"""The options whose flags are not simply their names."""

NO_SEED = "none"
FAILED = 1
INTERRUPTED = 130


class Job(NamedTuple):
    """One image to be clustered: a file, or a sample."""

    name: str
    source: str
    read: Callable[[], Picture]
    sample: str | None = None


class Outcome(NamedTuple):
    """One image that was clustered."""

    name: str
    picture: Picture
    seg: Segmentation
    sample: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        options = Options(**{name: getattr(arguments, name) for name in OPTIONS})
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    try:
        code = _run(_jobs(arguments), options, arguments.output)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the table stopped; Python must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        say("interrupted; nothing was left half-written")
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, with every option of the clustering."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Cluster the colours of images by K-means: labels, a recolored image, "
        "a table and a model. Without -o, the result is shown in napari.",
    )
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="image files; none: the first sample"
    )
    parser.add_argument("--sample", choices=tuple(SAMPLES), help="cluster a sample image")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="write <name>-labels.tif, <name>-recolored.png (.tif where PNG cannot hold it), "
        "<name>-table.csv and <name>-model.json to DIR; needs no screen",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    group = parser.add_argument_group("clustering")
    for info in OPTIONS.values():
        _add_option(group, info)
    return parser


def screen_problem() -> str | None:
    """Return why no window can be opened here, or None."""
    if not any(importlib.util.find_spec(binding) for binding in QT_BINDINGS):
        return f"no Qt is installed (pip install '{PROGRAM}[all]' installs it)"
    platform = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if platform in ("offscreen", "minimal"):
        return f"QT_QPA_PLATFORM is {platform}"
    on_x11 = sys.platform not in ("win32", "darwin") and not platform
    if on_x11 and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    # In another process: Qt ends the one in which it finds no screen.
    probe = "from qtpy.QtGui import QGuiApplication; QGuiApplication([])"
    try:
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "the display does not answer"
    return "Qt cannot open the display" if done.returncode else None


def fill_viewer(viewer: napari.Viewer, outcomes: Sequence[Outcome], options: Options) -> None:
    """Add to a viewer each image, its recolored copy and its labels, and the dock."""
    for outcome in outcomes:
        if outcome.seg.model.rgb or outcome.seg.model.channel_axis is None:
            _add_layers(viewer, outcome)
        else:
            _add_channels(viewer, outcome)
    _, dock = viewer.window.add_plugin_dock_widget(PROGRAM)
    for name in OPTIONS:
        # The dock has no field for a seed that is drawn anew.
        if getattr(options, name) is not None:
            getattr(dock, name).value = getattr(options, name)


def _run(jobs: Sequence[Job], options: Options, directory: Path | None) -> int:
    if directory is None:
        problem = screen_problem()
        if problem is None:
            return _show(jobs, options)
        say(f"no screen: {problem}; writing to {DEFAULT_DIRECTORY}{os.sep} instead")
        directory = DEFAULT_DIRECTORY
    with ExitStack() as stack:
        try:
            stack.enter_context(output_directory(directory))
        except OSError as error:
            say(f"cannot write to {directory}: {reason(error)}")
            return FAILED
        return _write(jobs, options, directory)


def _show(jobs: Sequence[Job], options: Options) -> int:
    outcomes = []
    for job in jobs:
        outcome = _cluster(job, options)
        if outcome is not None:
            print_table(outcome.name, outcome.seg.table)
            outcomes.append(outcome)
    if outcomes:
        import napari

        fill_viewer(napari.Viewer(title=PROGRAM), outcomes, options)
        napari.run()
    return FAILED if len(outcomes) < len(jobs) else 0


def _write(jobs: Sequence[Job], options: Options, directory: Path) -> int:
    files = [Path(job.source) for job in jobs]
    stems = free_stems([job.name for job in jobs], directory, files)
    failures = 0
    for job, stem in zip(jobs, stems, strict=True):
        outcome = _cluster(job, options)
        if outcome is None:
            failures += 1
            continue
        try:
            with bar(f"writing {stem}") as progress:
                paths = write_results(outcome.seg, directory, stem, outcome.picture.axes, progress)
        except UnreadableImageError as error:
            say(f"cannot read {job.source}: {error}")
            failures += 1
            continue
        except OSError as error:
            say(f"cannot write the results of {job.source} to {directory}: {reason(error)}")
            failures += 1
            continue
        print_table(outcome.name, outcome.seg.table)
        for path in paths:
            print(f"wrote {path}")
    return FAILED if failures else 0


def _cluster(job: Job, options: Options) -> Outcome | None:
    """Read and cluster one image, or say why not and return None."""
    try:
        picture = job.read()
    except UnreadableImageError as error:
        say(f"cannot read {job.source}: {error}")
        return None
    if picture.note:
        say(f"{job.source}: {picture.note}")
    from napari_kmeans.segmentation import segment

    values = {name: getattr(options, name) for name in OPTIONS}
    try:
        with spoken_warnings(job.source), bar(job.name) as progress:
            seg = segment(
                picture.pixels,
                rgb=picture.rgb,
                channel_axis=picture.channel_axis,
                progress=progress,
                **values,
            )
    except (TypeError, ValueError, MemoryError, OSError, UnreadableImageError) as error:
        say(f"cannot cluster {job.source}: {reason(error)}")
        return None
    return Outcome(job.name, picture, seg, job.sample)


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    jobs = [Job(path.stem, str(path), partial(read_image, path)) for path in arguments.images]
    sample = arguments.sample
    if sample is None and not jobs:
        sample = next(iter(SAMPLES))
    if sample is not None:
        name = sample
        jobs.append(Job(name, f"sample {name}", lambda: Picture(SAMPLES[name]()), sample=name))
    return jobs


def _add_option(group: argparse._ArgumentGroup, info: OptionInfo) -> None:
    flags = FLAGS.get(info.name, (f"--{info.name.replace('_', '-')}",))
    text = f"{info.tooltip} Default: {info.default}.".replace("%", "%%")
    settings: dict[str, Any] = {"dest": info.name, "default": info.default, "help": text}
    if info.choices:
        group.add_argument(*flags, choices=info.choices, **settings)
    else:
        group.add_argument(*flags, type=_number(info), metavar="N", **settings)


def _number(info: OptionInfo) -> Callable[[str], Any]:
    """Return what turns the text of an option into its value; the bounds are checked later."""
    words: dict[str, str | None] = {AUTO: AUTO} if info.default == AUTO else {}
    if info.name == "random_state":
        words = {NO_SEED: None}
    kind, noun = (float, "a number") if isinstance(info.default, float) else (int, "a whole number")
    wanted = " or ".join([noun, *map(repr, words)])

    def parse(text: str) -> Any:
        if text in words:
            return words[text]
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}") from None

    return parse


def _add_layers(viewer: napari.Viewer, outcome: Outcome) -> None:
    from napari_kmeans.viewer import samples
    from napari_kmeans.viewer.layers import Source, labels_layer, recolored_layer

    attributes = {"name": outcome.name, "rgb": outcome.seg.model.rgb}
    if outcome.sample is not None:
        ((_, attributes, _),) = getattr(samples, outcome.sample)()
    image = viewer.add_image(outcome.picture.pixels, **attributes)
    source = Source.of(image)
    viewer.add_layer(recolored_layer(outcome.seg, source))
    viewer.add_layer(labels_layer(outcome.seg, source))
    viewer.layers.selection.active = image


def _add_channels(viewer: napari.Viewer, outcome: Outcome) -> None:
    """Add an image of named channels as napari shows it: a layer for each."""
    axis, n_channels = outcome.seg.model.channel_axis, outcome.seg.model.n_channels
    for pixels, name in (
        (outcome.picture.pixels, outcome.name),
        (outcome.seg.recolored, f"{outcome.name} recolored"),
    ):
        names = [f"{name} {channel}" for channel in range(n_channels)]
        viewer.add_image(pixels, channel_axis=axis, name=names)
    viewer.add_labels(outcome.seg.labels, name=f"{outcome.name} labels", features=outcome.seg.table)


if __name__ == "__main__":
    sys.exit(main())
