"""Write a Python script that reads an image and segments it with the same options again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.checks import Choice, Flag, WholeNumber, quote_value
from napari_kmeans.classes import ClassScheme
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.options import MAX_CLUSTERS, OPTIONS, Options
from napari_kmeans.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.model import KMeansModel

_MAX_AXES = 64
"""The largest number of axes of a numpy array."""

_NUMPY = "import numpy as np"


@dataclass(frozen=True)
class Part:
    """The part of an image that was clustered, by default the whole image at once.

    Attributes
    ----------
    level : int
        The level that was fitted; 0 is the finest.
    n_levels : int
        The number of levels. If there are several, all are painted, and the labels and
        the recolored image are lists.
    index : tuple, for each level a tuple of int and None
        If a single slice was clustered, its index in each level. None stands for the
        whole axis.
    each : bool
        Whether each slice was clustered by itself, by `segment_slices`.
    blurs : tuple
        The blur in pixels of each level. Empty without a blur, or for a single level.
    steps : tuple of tuple of float
        For each level, the size of its pixels along each spatial axis, in pixels of the level
        that was fitted. Empty for a single level, and if labels are not cleaned and places are
        not compared.
    """

    level: int = 0
    n_levels: int = 1
    index: tuple[tuple[int | None, ...], ...] = ()
    each: bool = False
    blurs: tuple[float | tuple[float, ...], ...] = ()
    steps: tuple[tuple[float, ...], ...] = ()


def to_python(
    options: Options,
    *,
    name: str | Sequence[str] = "image",
    path: str | os.PathLike[str] | Sequence[str] | None = None,
    sample: str | None = None,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    channel_names: Sequence[str] = (),
    mask: bool | str = False,
    groups: Sequence[int] | None = None,
    joined: Mapping[int, int] | None = None,
    classes: ClassScheme | None = None,
    model: KMeansModel | None = None,
    part: Part = Part(),
    deciding: ClassScheme | None = None,
) -> str:
    """Return a Python script that computes the same result again.

    Parameters
    ----------
    options : Options
        The options of the segmentation. The script contains those that differ from the
        defaults, and always `n_clusters`.
    name : str or sequence of str, default "image"
        The name of the image, for example that of its napari layer. Several names are
        those of layers that are stacked as the channels of one image, along its last axis.
    path : str, path or sequence of str, optional
        The file or zarr directory of the image, or of each layer. If one does not exist
        or is None, the script loads ``image.npy``, and a comment explains how to save
        that file.
    sample : str, optional
        The name of the sample image of this package: a key of `SAMPLES`.
    rgb, channel_axis
        The arguments of `segment`. Give one of them: `segment` may guess wrong.
    channel_names : sequence of str, optional
        The names of the channels, as in `segment`.
    mask : bool or str, default False
        Whether there was a mask. The script loads the mask from ``mask.npy``, or for
        several levels from one file for each level. A str is the expression of the mask,
        or of the list of masks, in napari's console.
    groups : sequence of int, optional
        The groups with which `merge_clusters` merged clusters afterwards.
    joined : mapping of int to int, optional
        Labels that were merged by hand after that, ``{label: new label}``. The other
        labels keep their numbers, and the script prints the table before this merge.
    classes : ClassScheme, optional
        The classes of the centers after all edits. They replace `joined`.
    model : KMeansModel, optional
        A model that was applied, or some of whose classes were clustered anew by
        `split_anew`. The script then contains this model and applies it, and fits nothing.
    part : Part
        The level and the slices that were clustered.
    deciding : ClassScheme, optional
        The merged classes by which pixels were decided, see `apply_classes` with an image. The
        edits in `groups` and `classes` came after them.

    Returns
    -------
    str
        The text of the script. The script defines `segmentation`, `labels` and
        `recolored`, and prints the table. With `model`, it defines `model`, `labels` and
        `recolored`, and prints the classes.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind. The message gives its name, its value and what
        to do.

    Examples
    --------
    >>> text = to_python(segmentation.options, sample="photograph", rgb=True)
    """
    names = _as_texts("name", name, (str,))
    paths = _as_texts("path", path, (str, os.PathLike, type(None)))
    _check_type("options", options, Options, "pass segmentation.options")
    _check_type("part", part, Part, "leave it out for the whole image")
    if sample is not None:
        Choice(tuple(SAMPLES)).check("sample", sample)
    rgb = Flag((None,)).check("rgb", rgb)
    channel_axis = WholeNumber(-_MAX_AXES, _MAX_AXES - 1, (None,)).check(
        "channel_axis", channel_axis
    )
    channel_names = _as_texts("channel_names", channel_names, (str,)) if channel_names else []
    mask = mask if isinstance(mask, str) else Flag().check("mask", mask)
    for argument, scheme in (("classes", classes), ("deciding", deciding)):
        if scheme is not None:
            _check_type(argument, scheme, ClassScheme, "pass model.classes")
    if model is not None:
        from napari_kmeans.model import KMeansModel

        _check_type("model", model, KMeansModel, "pass segmentation.model")
    if groups is not None:
        groups = _as_whole_numbers("groups", groups)
    if joined is not None:
        _check_type("joined", joined, Mapping, "pass {label: new label}")
        gone = _as_whole_numbers("joined", joined)
        joined = dict(zip(gone, _as_whole_numbers("joined", joined.values()), strict=True))
    if part.blurs:
        options = replace(options, blur=part.blurs[part.level])
    if part.steps:
        to_fitted = [1 / step for step in part.steps[0]]
        cleaning = Cleaning.of(options).with_size_as_area(len(to_fitted)).at_step(to_fitted)
        options = replace(options, **cleaning.options)
    imports, body = _lines_to_read(names, paths, sample, part)
    if mask:
        imports.append(_NUMPY)
        body += ["", *_lines_to_load_mask(mask, part)]
    title = f"# The clusters of {' + '.join(names)!r}, as computed by napari-kmeans {__version__}."
    if model is not None:
        imports.append("from napari_kmeans import KMeansModel")
        body += ["", *_lines_to_apply_model(model, bool(mask), part)]
        return "\n".join([title, *_group_imports(imports), "", *body, ""])
    arguments = _input_arguments(rgb, channel_axis, channel_names, mask, part)
    body += ["", *_lines_to_segment(options, arguments, part)]
    functions = [_function_name(part)]
    if deciding is not None:
        functions = ["ClassScheme", "apply_classes", *functions]
        body += _lines_to_apply_classes(deciding, {"image": "image", **_mask_argument(mask, part)})
        classes = None if classes == deciding else classes
    if groups is not None:
        functions.insert(0, "merge_clusters")
        body.append(f"segmentation = merge_clusters(segmentation, {groups})")
    if classes is not None:
        functions = ["ClassScheme", "apply_classes", *functions]
        body += _lines_to_apply_classes(classes, {})
    body += _lines_of_results(bool(mask), part)
    if joined and classes is None:
        imports.append(_NUMPY)
        body += _lines_to_merge_labels(joined, part)
    body.append("print(segmentation.table.to_string(index=False))")
    imports.append(f"from napari_kmeans import {', '.join(dict.fromkeys(functions))}")
    return "\n".join([title, *_group_imports(imports), "", *body, ""])


def _check_type(name: str, value: Any, kind: type[Any], advice: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be of type {kind.__name__}, got {quote_value(value)}: {advice}."
        )


def _as_texts(name: str, value: Any, kinds: tuple[type[Any], ...]) -> list[Any]:
    """Return one text, or several, as a list."""
    texts = [value] if isinstance(value, kinds) or not isinstance(value, Iterable) else list(value)
    if not texts or not all(isinstance(text, kinds) for text in texts):
        raise TypeError(
            f"{name} must be a text or several, got {quote_value(value)}: give one for each layer."
        )
    return texts


def _as_whole_numbers(name: str, value: Any) -> list[int]:
    numbers = list(value) if isinstance(value, Iterable) else [value]
    return [WholeNumber(0, MAX_CLUSTERS).check(name, number) for number in numbers]


def _function_name(part: Part) -> str:
    return "segment_slices" if part.each else "segment"


def _input_arguments(
    rgb: bool | None,
    channel_axis: int | None,
    channel_names: list[str],
    mask: bool | str,
    part: Part,
) -> dict[str, str]:
    """Return the code of the arguments that describe the image and its mask."""
    arguments = {}
    if channel_axis is not None:
        arguments["channel_axis"] = repr(channel_axis)
    elif rgb is not None:
        arguments["rgb"] = repr(rgb)
    if channel_names:
        arguments["channel_names"] = repr(channel_names)
    return arguments | _mask_argument(mask, part)


def _mask_argument(mask: bool | str, part: Part) -> dict[str, str]:
    if not mask:
        return {}
    return {"mask": "mask" if part.n_levels == 1 else f"masks[{part.level}]"}


def _lines_to_read(
    names: list[str], paths: list[Any], sample: str | None, part: Part
) -> tuple[list[str], list[str]]:
    """Return the imports and the lines that read the image or all of its levels."""
    if sample is not None:
        imports, image = [f"from napari_kmeans.samples import {sample}"], f"{sample}()"
        return imports, _image_lines(image, part)
    # No function reads the levels of several files as one image: load arrays instead.
    exist = all(each is not None and os.path.exists(each) for each in paths)
    if exist and len(paths) == len(names) and part.n_levels == 1:
        return _lines_to_read_files([os.path.abspath(each) for each in paths], part)
    if exist and len(paths) == len(names) == 1:
        imports, image = _read_image_call(os.path.abspath(paths[0]))
        return imports, _level_lines([f"levels = {image}.levels"], part)
    return [_NUMPY], _lines_to_load_image(names, part)


def _read_image_call(path: str) -> tuple[list[str], str]:
    imports = ["from pathlib import Path", "from napari_kmeans.files import read_image"]
    return imports, f"read_image(Path({path!r}))"


def _lines_to_read_files(paths: list[str], part: Part) -> tuple[list[str], list[str]]:
    if len(paths) == 1:
        imports, image = _read_image_call(paths[0])
        return imports, _image_lines(f"{image}.pixels", part)
    imports, _ = _read_image_call("")
    lines = ["paths = [", *(f"    {path!r}," for path in paths), "]"]
    image = "np.stack([read_image(Path(path)).pixels for path in paths], axis=-1)"
    return [*imports, _NUMPY], [*lines, *_image_lines(image, part)]


def _lines_to_load_image(names: list[str], part: Part) -> list[str]:
    meaning = f"the pixels of {' + '.join(names)!r}"
    if part.n_levels == 1:
        lines = _saving_comment("image", meaning, _console_expression(names, ""))
        return [*lines, *_image_lines('np.load("image.npy")', part)]
    levels = range(part.n_levels)
    expressions = [_console_expression(names, f"[{level}]") for level in levels]
    return _level_lines(_lines_to_load_levels("image", "levels", meaning, expressions), part)


def _console_expression(names: list[str], level: str) -> str:
    """Return the expression for the pixels of layers in napari's console."""
    layers = [f"viewer.layers[{name!r}].data{level}" for name in names]
    if len(layers) == 1:
        return layers[0]
    return f"numpy.stack([{', '.join(layers)}], axis=-1)"


def _image_lines(image: str, part: Part) -> list[str]:
    return [f"image = {image}{_index_text(part, 0)}"]


def _level_lines(lines: list[str], part: Part) -> list[str]:
    """Return the lines that read `levels` and select the clustered part of each level."""
    if part.index:
        parts = [f"levels[{level}]{_index_text(part, level)}" for level in range(part.n_levels)]
        lines = [*lines, f"levels = [{', '.join(parts)}]"]
    return [*lines, f"image = levels[{part.level}]"]


def _index_text(part: Part, level: int) -> str:
    """Return the index of the slice as code, without colons at the end."""
    places = [":" if place is None else str(int(place)) for place in (part.index or [()])[level]]
    while places and places[-1] == ":":
        places.pop()
    return f"[{', '.join(places)}]" if places else ""


def _lines_to_load_mask(mask: bool | str, part: Part) -> list[str]:
    meaning = "the mask, nonzero where a pixel was clustered"
    expression = mask if isinstance(mask, str) else "the_mask"
    if part.n_levels == 1:
        return [*_saving_comment("mask", meaning, expression), 'mask = np.load("mask.npy")']
    expressions = [f"{expression}[{level}]" for level in range(part.n_levels)]
    return _lines_to_load_levels("mask", "masks", meaning, expressions)


def _saving_comment(file: str, meaning: str, expression: str) -> list[str]:
    return [
        f"# Fill in {meaning}. Save the file in napari's console:",
        f'#     import numpy; numpy.save("{file}.npy", {expression})',
    ]


def _lines_to_load_levels(
    what: str, result: str, meaning: str, expressions: list[str]
) -> list[str]:
    """Return the lines that load the levels of an image or a mask, each from its own file."""
    return [
        f"# Fill in {meaning}, the finest level first. Save the files in napari's console:",
        "#     import numpy",
        *(
            f'#     numpy.save("{what}-{level}.npy", {expression})'
            for level, expression in enumerate(expressions)
        ),
        f'{result} = [np.load(f"{what}-{{level}}.npy") for level in range({len(expressions)})]',
    ]


def _lines_of_results(mask: bool, part: Part) -> list[str]:
    """Return the lines that define `labels` and `recolored`, with all levels."""
    own = "segmentation.labels, segmentation.recolored"
    if part.n_levels == 1:
        return [f"labels, recolored = {own}"]
    return [
        *_lines_of_levels(part),
        f"painted = {_call_for_each_level('segmentation.model', mask, part)}",
        f"painted[{part.level}] = {own}",
        "labels, recolored = map(list, zip(*painted, strict=True))",
    ]


def _lines_of_levels(part: Part) -> list[str]:
    """Return the lines that define what the model needs to know of each level."""
    if part.steps:
        return [f"steps = {list(part.steps)}"]
    return [f"blurs = {list(part.blurs)}"] if part.blurs else []


def _lines_to_apply_model(model: KMeansModel, mask: bool, part: Part) -> list[str]:
    """Return the lines that contain a model and paint the image, or all levels, with it."""
    lines = [
        "# The model was not fitted to this image as a whole.",
        f"model = KMeansModel.from_dict({model.to_dict()!r})",
    ]
    if part.n_levels == 1:
        lines.append(f"labels, recolored = model.apply(image{', mask=mask' * mask})")
    else:
        lines += _lines_of_levels(part)
        lines.append(f"painted = {_call_for_each_level('model', mask, part)}")
        lines.append("labels, recolored = map(list, zip(*painted, strict=True))")
    return [*lines, 'print(*model.classes, sep="\\n")']


def _call_for_each_level(model: str, mask: bool, part: Part) -> str:
    """Return a list of the results of `apply` of a model for each level, as code."""
    names = ["level", *["mask"] * mask]
    at_level = model
    if part.steps:
        names.append("step")
        at_level = f"{model}.at_scale(step)"
    elif part.blurs:
        names.append("blur")
        at_level = f"{model}.with_blur(blur)"
    lists = ", ".join([f"{name}s" for name in names])
    each = lists if len(names) == 1 else f"zip({lists}, strict=True)"
    call = f"{at_level}.apply(level{', mask=mask' * mask})"
    return f"[{call} for {', '.join(names)} in {each}]"


def _lines_to_merge_labels(joined: Mapping[int, int], part: Part) -> list[str]:
    """Return the lines that replace labels that were merged by hand."""
    lines = ["# Merge the clusters that were merged by hand."]
    for target in sorted(set(joined.values())):
        merged = sorted(label for label, new in joined.items() if new == target)
        code = f"np.where(np.isin({{0}}, {merged}), {target}, {{0}})"
        if part.n_levels == 1:
            lines.append(f"labels = {code.format('labels')}")
        else:
            lines.append(f"labels = [{code.format('level')} for level in labels]")
    return lines


def _lines_to_apply_classes(classes: ClassScheme, arguments: dict[str, str]) -> list[str]:
    """Return the lines that merge, name, color, ignore and number the classes."""
    more = "".join(f", {name}={value}" for name, value in arguments.items())
    return [
        "# Edit the classes; centers are numbered from 0, from dark to bright.",
        "classes = [",
        *(f"    {each.to_dict()!r}," for each in classes),
        "]",
        f"segmentation = apply_classes(segmentation, ClassScheme.from_list(classes){more})",
    ]


def _lines_to_segment(options: Options, arguments: dict[str, str], part: Part) -> list[str]:
    """Return the lines that segment the image."""
    values = {
        name: _to_code(getattr(options, name))
        for name, info in OPTIONS.items()
        if name == "n_clusters" or _is_not_default(getattr(options, name), info.default)
    }
    lines = []
    if options.random_state is None:
        lines.append("# The seed was random (random_state=None): another run may differ.")
    return [*lines, *_call_lines("segmentation", _function_name(part), {**values, **arguments})]


def _is_not_default(value: Any, default: Any) -> bool:
    return isinstance(value, np.ndarray) or value != default


def _to_code(value: Any) -> str:
    """Return a value as Python code that gives exactly the same floats."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    rows = "".join(f"        {row},\n" for row in value.tolist())
    return f"[\n{rows}    ]"


def _call_lines(result: str, function: str, arguments: dict[str, str]) -> list[str]:
    lines = [f"    {name}={value}," for name, value in arguments.items()]
    return [f"{result} = {function}(", "    image,", *lines, ")"]


def _group_imports(imports: list[str]) -> list[str]:
    """Return each import once, in groups: the standard library, numpy, this package."""
    groups = ("from pathlib", "import numpy", "from napari_kmeans")
    lines = []
    for group in groups:
        found = sorted({line for line in imports if line.startswith(group)})
        lines += ["", *found] if found else []
    return lines
