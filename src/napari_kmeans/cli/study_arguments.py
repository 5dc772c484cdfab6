"""The arguments of `napari-kmeans run`: the entries of a study file as flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_kmeans.batch.output import IMAGES
from napari_kmeans.batch.study import ENTRIES, Study, StudyError
from napari_kmeans.batch.study_kinds import OUTPUTS
from napari_kmeans.cli.options import OPTIONS_OF_FIT, add_option, parser_of, refuse_beside_model
from napari_kmeans.options import COMMAND_LINE_OPTIONS, Options
from napari_kmeans.samples import SAMPLES

STUDY_SUFFIXES = (".yaml", ".yml")

_TEXTS = (
    "sample",
    "series",
    "channel_axis",
    "mask",
    "regions",
    "metadata",
    "metadata_file",
    "model",
)
_LISTS = ("channels", "fit_on")
_NAMED = {"groups": "--group", "values": "--values"}
_SWITCHES = ("recursive", "each", "slices", "confidence")
_METAVARS = {
    "sample": "NAME",
    "series": "N",
    "channel_axis": "N",
    "channels": "N,N",
    "mask": "DIR",
    "regions": "DIR",
    "metadata": "PATTERN",
    "metadata_file": "CSV",
    "model": "FILE",
    "fit_on": "IMAGE",
}


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study file, the images and a flag for each entry of a study."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="STUDY.yaml | IMAGE",
        help="a study file, and images: files, zarr directories, names with wildcards, or "
        "folders. Flags take the place of the entries of the study file",
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="the folder of the results")
    group = parser.add_argument_group("study")
    for name in ENTRIES:
        if name in _NAMED:
            group.add_argument(
                _NAMED[name],
                dest=name,
                action="append",
                type=_parse_named,
                metavar="NAME=PATH",
                help=f"{help_of(name)}. Repeat the flag for each name",
            )
        elif name in _TEXTS:
            group.add_argument(_flag(name), metavar=_METAVARS[name], help=help_of(name))
        elif name in _LISTS:
            group.add_argument(
                _flag(name), action="append", metavar=_METAVARS[name], help=help_of(name)
            )
        elif name in _SWITCHES:
            group.add_argument(_flag(name), action="store_true", default=None, help=help_of(name))
    group.add_argument("--grid", type=int, metavar="N", help=help_of("grid"))
    group.add_argument(
        "--pixels-per-image", type=int, metavar="N", help=help_of("pixels_per_image")
    )
    group.add_argument(
        "--no-medians",
        dest="medians",
        action="store_false",
        default=None,
        help="leave the medians out of the table",
    )
    group.add_argument("--outputs", metavar=",".join(OUTPUTS[:2]) + ",…", help=help_of("outputs"))
    spacing = COMMAND_LINE_OPTIONS["spacing"]
    group.add_argument(
        "--spacing", type=parser_of(spacing), metavar="N[,N]", help=help_of("spacing")
    )
    group.add_argument("--unit", metavar="UNIT", help=help_of("unit"))
    _add_class_arguments(parser.add_argument_group("classes"))
    options = parser.add_argument_group("clustering")
    for info in OPTIONS_OF_FIT.values():
        add_option(options, info, default=None)


def _add_class_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--class",
        dest="class_names",
        action="append",
        type=_parse_named,
        default=[],
        metavar="LABEL=NAME",
        help="name the class of a label",
    )
    group.add_argument(
        "--merge",
        action="append",
        type=_parse_texts,
        default=[],
        metavar="LABEL,LABEL",
        help="merge classes into the first of them: labels, or names of classes",
    )
    group.add_argument(
        "--ignore",
        action="append",
        type=_parse_texts,
        default=[],
        metavar="LABEL[,LABEL]",
        help="classes that keep their labels, and do not count in shares: labels, or names",
    )


def study_of(arguments: argparse.Namespace) -> Study:
    """Return the study of the arguments of `napari-kmeans run`.

    Raises
    ------
    StudyError
        If a study file or an argument is wrong.
    """
    files = [path for path in arguments.paths if Path(path).suffix.lower() in STUDY_SUFFIXES]
    images = [path for path in arguments.paths if path not in files]
    if len(files) > 1:
        raise StudyError([f"one study file can be run at a time, got {' and '.join(files)}."])
    folder = Path(files[0]).absolute().parent if files else Path.cwd()
    values = Study.load(files[0]).to_dict() if files else {}
    if arguments.model is not None:
        # The model takes the place of the fit of the study file.
        for name in ("fit", "fit_on", "each", "pixels_per_image"):
            values.pop(name, None)
    values |= {name: _relative(name, value) for name, value in _given(arguments).items()}
    if images:
        values["images"] = [str(Path(path).absolute()) for path in images]
        if arguments.groups is None:
            # The images of the arguments are all images of the study.
            values.pop("groups", None)
    options = _given_options(arguments)
    if arguments.model is not None and options:
        refused = OPTIONS_OF_FIT[next(iter(options))]
        raise StudyError([f"{refuse_beside_model(refused)}."])
    values["fit"] = {**values.get("fit", {}), **options}
    model = None if values.get("model") is None else folder / values["model"]
    values["classes"] = _edit_classes(dict(values.get("classes", {})), arguments, model)
    return Study.from_dict(values, folder)


def plain_study(arguments: argparse.Namespace, options: Options, together: bool) -> Study:
    """Return the study of a run without the tables of a study, for its record.

    Raises
    ------
    StudyError
        If a path has characters that no study can have.
    """
    values = {
        "images": tuple(map(str, arguments.images)),
        "sample": arguments.sample,
        "recursive": arguments.recursive,
        # No image has these: the images have failed, with a sentence.
        "series": arguments.series or None,
        "channel_axis": arguments.channel_axis or None,
        "channels": arguments.channels,
        "spacing": arguments.spacing,
        "unit": arguments.unit,
        "mask": None if arguments.mask is None else str(arguments.mask),
        "confidence": arguments.confidence,
        "outputs": (*IMAGES, *arguments.export),
    }
    if arguments.model is not None:
        values["model"] = str(arguments.model)
    else:
        values["each"] = not together
        values["fit"] = {name: getattr(options, name) for name in OPTIONS_OF_FIT}
    if not arguments.images and arguments.sample is None:
        values["sample"] = next(iter(SAMPLES))
    return Study(**values, folder=Path.cwd()).at(Path.cwd())


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the entries of a study that arguments state."""
    values = {name: getattr(arguments, name, None) for name in ENTRIES if name != "images"}
    for name in _NAMED:
        pairs = values[name]
        if pairs is not None:
            named: dict[str, list[str]] = {}
            for key, path in pairs:
                named.setdefault(key, []).append(path)
            values[name] = named
    return {name: value for name, value in values.items() if value is not None}


def _relative(name: str, value: Any) -> Any:
    """Return a path of an argument as an absolute path: it is relative to the current folder."""
    if value == "":
        raise StudyError([f"{_flag(name)} must be a text, got '': leave it out."])
    if name in ("metadata_file", "mask", "regions", "model", "output"):
        return str(Path(value).absolute())
    if name == "fit_on":
        return [str(Path(each).absolute()) for each in value]
    if name in _NAMED:
        return {key: [str(Path(path).absolute()) for path in each] for key, each in value.items()}
    return value


def _given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {name: getattr(arguments, name) for name in OPTIONS_OF_FIT}
    return {name: value for name, value in values.items() if value is not None}


def _edit_classes(
    classes: dict[int, Any], arguments: argparse.Namespace, model: Path | None
) -> dict[int, Any]:
    for text, name in arguments.class_names:
        label = int(text) if text.isdecimal() else text
        classes[label] = {**classes.get(label, {}), "name": name}
    for texts in arguments.merge:
        first, *others = _find_labels("--merge", texts, classes, model)
        classes[first] = {**classes.get(first, {}), "merge": others}
    for texts in arguments.ignore:
        for label in _find_labels("--ignore", texts, classes, model):
            classes[label] = {**classes.get(label, {}), "ignored": True}
    return classes


def _find_labels(
    flag: str, texts: list[str], classes: dict[int, Any], model: Path | None
) -> list[int]:
    """Return the labels that texts are, or of the classes that they name."""
    if all(text.isdecimal() for text in texts):
        return list(map(int, texts))
    names: dict[int, str] = {}
    if model is not None:
        # This module imports numba, which would slow down the start of the command line.
        from napari_kmeans.batch.running import load_model

        names = {each.label: each.name for each in load_model(model).classes}
    names |= {label: each["name"] for label, each in classes.items() if "name" in each}
    labels: list[int] = []
    for text in texts:
        own = [label for label, name in names.items() if name == text]
        if not own and not text.isdecimal():
            raise StudyError(
                [
                    f"{flag} must be labels or names of classes with commas between them, got "
                    f"{text!r}: give its number, or name it with --class."
                ]
            )
        labels += own or [int(text)]
    return labels


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def help_of(name: str) -> str:
    """Return the help of an entry of a study as that of a flag."""
    text = str(ENTRIES[name]["help"])
    return text[0].lower() + text[1:].rstrip(".").replace("%", "%%")


def _parse_named(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(f"must be a name, = and a value, got {text!r}")
    return name, value


def _parse_texts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
