"""A result as a script: Python that reads the image and segments it in the same way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans import __version__
from napari_kmeans.parameters import OPTIONS, Options
from napari_kmeans.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMPY = "import numpy as np"
_OF_SUMMARIES = ("color_space", "normalize", "method", "coreset_size", "random_state")
"""The options that `summarize` takes."""


def to_python(
    options: Options,
    *,
    name: str = "image",
    path: str | os.PathLike[str] | None = None,
    sample: str | None = None,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    mask: bool = False,
    summarized: bool = False,
    groups: Sequence[int] | None = None,
) -> str:
    """Return a script that gives the same result again.

    Parameters
    ----------
    options : Options
        Of the segmentation; those that are not the defaults are written out.
    name : str, default "image"
        What the image is called, as a napari layer is.
    path : str or path, optional
        The file that the image was read from. Where there is no such file, or
        none is named, the script loads ``image.npy`` and says how to save it.
    sample : str, optional
        The sample of this package that the image is: a key of `SAMPLES`.
    rgb, channel_axis
        As they were given to `segment`; name one of them, for a guess may fail.
    mask : bool, default False
        Whether there was a mask; the script loads it from ``mask.npy``.
    summarized : bool, default False
        Whether the segmentation was of ``summary=summarize(image, …)``, from
        which other points are sampled where the colours cannot be counted.
    groups : sequence of int, optional
        The groups in which `merge_clusters` joined clusters afterwards.

    Returns
    -------
    str
        The text of the script. It ends with `segmentation`, `labels` and
        `recolored`, and prints the table.

    Raises
    ------
    ValueError
        If there is no such sample.

    Examples
    --------
    >>> text = to_python(segmentation.options, sample="photograph", rgb=True)
    """
    if sample is not None and sample not in SAMPLES:
        raise ValueError(
            f"sample must be one of {', '.join(SAMPLES)}, got {sample!r}: name one of these."
        )
    where = _where(rgb, channel_axis, mask)
    imports, body = _reading(name, path, sample)
    if mask:
        imports.append(_NUMPY)
        meaning = "the mask, True where a pixel was clustered"
        body += ["", *_loading("mask", meaning, "the_mask")]
    body += ["", *_segmenting(options, where, summarized)]
    if groups is not None:
        numbers = [int(group) for group in groups]
        body.append(f"segmentation = merge_clusters(segmentation, {numbers})")
    body.append("labels, recolored = segmentation.labels, segmentation.recolored")
    body.append("print(segmentation.table.to_string(index=False))")
    verbs = [*(["merge_clusters"] if groups is not None else []), "segment"]
    verbs += ["summarize"] if summarized else []
    imports.append(f"from napari_kmeans import {', '.join(verbs)}")
    title = f"# The clusters of {name!r}, as napari-kmeans {__version__} found them."
    return "\n".join([title, *_sorted(imports), "", *body, ""])


def _where(rgb: bool | None, channel_axis: int | None, mask: bool) -> dict[str, str]:
    """Return the arguments that say what the pixels are."""
    where = {}
    if channel_axis is not None:
        where["channel_axis"] = repr(int(channel_axis))
    elif rgb is not None:
        where["rgb"] = repr(bool(rgb))
    return {**where, "mask": "mask"} if mask else where


def _reading(
    name: str, path: str | os.PathLike[str] | None, sample: str | None
) -> tuple[list[str], list[str]]:
    """Return the imports and the lines that read the image."""
    if sample is not None:
        return [f"from napari_kmeans.samples import {sample}"], [f"image = {sample}()"]
    if path is not None and os.path.isfile(path):
        imports = ["from pathlib import Path", "from napari_kmeans.files import read_image"]
        return imports, [f"image = read_image(Path({os.path.abspath(path)!r})).pixels"]
    layer = f"viewer.layers[{name!r}].data"
    return [_NUMPY], _loading("image", f"the pixels of {name!r}", layer)


def _loading(what: str, meaning: str, expression: str) -> list[str]:
    return [
        f"# Fill in {meaning}: a file that napari's console saves by",
        f'#     import numpy; numpy.save("{what}.npy", {expression})',
        f'{what} = np.load("{what}.npy")',
    ]


def _segmenting(options: Options, where: dict[str, str], summarized: bool) -> list[str]:
    """Return the lines that segment the image."""
    given = {
        name: _text(getattr(options, name))
        for name, info in OPTIONS.items()
        if name == "n_clusters" or _differs(getattr(options, name), info.default)
    }
    lines = []
    if options.random_state is None:
        lines.append("# The seed was drawn anew (random_state=None): another run may differ.")
    if not summarized:
        return [*lines, *_call("segmentation", "segment", {**given, **where})]
    kept = {name: value for name, value in given.items() if name in _OF_SUMMARIES}
    lines += _call("summary", "summarize", {**kept, **where})
    return [*lines, *_call("segmentation", "segment", {**given, "summary": "summary"})]


def _differs(value: Any, default: Any) -> bool:
    return isinstance(value, np.ndarray) or value != default


def _text(value: Any) -> str:
    """Write a value as Python; floats so that they are read back exactly."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    rows = "".join(f"        {row},\n" for row in value.tolist())
    return f"[\n{rows}    ]"


def _call(result: str, function: str, arguments: dict[str, str]) -> list[str]:
    given = [f"    {name}={value}," for name, value in arguments.items()]
    return [f"{result} = {function}(", "    image,", *given, ")"]


def _sorted(imports: list[str]) -> list[str]:
    """Return each import once, the standard library's first, in groups."""
    groups = ("from pathlib", "import numpy", "from napari_kmeans")
    lines = []
    for group in groups:
        found = sorted({line for line in imports if line.startswith(group)})
        lines += ["", *found] if found else []
    return lines
