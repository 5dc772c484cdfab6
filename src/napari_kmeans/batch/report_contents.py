"""What the report of a study shows: the values of its template, from the record and the table."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.batch.charts import Panel, draw_columns, make_box, make_panel, stack_bar
from napari_kmeans.batch.embedding import embed_picture
from napari_kmeans.batch.group_figures import Figure, list_figures, list_region_shares
from napari_kmeans.batch.image_rows import are_named_by_files
from napari_kmeans.batch.methods import as_plain_text, describe_methods
from napari_kmeans.batch.problems import describe_problems, recorded_problems
from napari_kmeans.batch.reporting import count_images, join_names
from napari_kmeans.batch.run_record import relative_path
from napari_kmeans.batch.shares import (
    Comparison,
    Difference,
    ShareTable,
    compare_classes,
    count_tests,
    describe_undecided,
    find_undecided,
    summarize_shares,
    tally_shares,
)
from napari_kmeans.batch.study_record import known_options
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.measuring import channel_names
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_kmeans.types import Floats

PAGE_SIZE = 50
"""Images on a page of the gallery and of the table of shares. The script and the style have the
same number."""

MAX_PICTURE_BYTES = 24 * 2**20
"""The size of all pictures of a report, in characters of the file. With the charts and the tables
of 1,000 images and 30 classes, the file stays below 40 MB."""

_LARGEST_PICTURE = 64 * 2**10
"""Bytes of one picture. A larger one does not look better at the size at which it is shown."""


def collect_contents(
    record: Mapping[str, Any], table: pd.DataFrame, thumbnails: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
    """Return the values that the template shows. See `write_report` for the arguments."""
    shares = tally_shares(table, record["images"])
    images = list(record["images"])
    failed = [each for each in images if each.get("status") == "failed"]
    is_shared = record.get("model") is not None
    model = KMeansModel.from_dict(record["model"]) if is_shared else None
    files, problems = _list_files(record), recorded_problems(images)
    undecided = find_undecided(table)
    paragraph, _, references = describe_methods(record, table).strip().partition("\n\n")
    return {
        "title": f"Study of {len(images):,} image{'' if len(images) == 1 else 's'}",
        "summary": _summarize(record, shares, len(failed)),
        "is_shared": is_shared,
        "n_regions": shares.n_regions,
        "has_groups": bool(shares.group_names),
        "classes": _list_classes(model, shares),
        "channels": [] if model is None else channel_names(model),
        "without_pixels": _list_without_pixels(shares) if is_shared else [],
        "undecided": describe_undecided(undecided) if undecided else "",
        "cards": _list_cards(record, shares, thumbnails, files, problems, undecided),
        "rows": _list_rows(shares, files, problems, undecided),
        "strip": _draw_strips(shares) if len(shares.images) > PAGE_SIZE else [],
        "group_bars": _draw_group_bars(shares) if is_shared else [],
        "panels": _draw_panels(shares) if is_shared else [],
        "comparison": _compare(shares) if is_shared and shares.group_names else None,
        "figures": list_figures(table, shares) if is_shared else [],
        "regions": list_region_shares(table, shares) if is_shared else [],
        "counted": shares.counted,
        "labels": [_title_class(shares, number) for number in range(len(shares.labels))],
        "failed": failed,
        "problems": describe_problems(problems),
        "is_interrupted": record.get("status") == "interrupted",
        "warnings": _group_warnings(record),
        "settings": _list_settings(record),
        "study": _list_study(record),
        "calls": _list_calls(record),
        "versions": record.get("versions") or {},
        "platform": record.get("platform", ""),
        "methods": as_plain_text(paragraph),
        "references": [as_plain_text(each) for each in references.splitlines()],
        "show": show_percent,
        "number": _show_number,
        "p_value": show_p_value,
        "difference": show_difference,
        "common_numbers": _common_numbers,
        "shorten": _shorten,
    }


# ------------------------------------------------------------------ numbers


def show_percent(value: float) -> str:
    """Return a share in percent with one decimal, or two digits below 1; a dash for NaN."""
    if value != value:
        return "\N{EN DASH}"
    if value < 0.01:
        return "<0.01" if value else "0"
    return f"{value:.2g}" if value < 0.995 else f"{value:.1f}"


def show_p_value(comparison: Comparison) -> str:
    """Return a probability with two digits; "≈" marks the normal approximation.

    Approximations are not known to two digits below 0.0001.
    """
    if comparison.method != "exact" and comparison.p_value < 1e-4:
        return "<0.0001"
    return f"{'≈ ' if comparison.method == 'normal' else ''}{comparison.p_value:.2g}"


def show_difference(difference: Difference) -> str:
    """Return the difference of two means in percentage points, with its interval."""
    numbers = [_show_signed(number) for number in difference]
    return numbers[0] if difference.low != difference.low else "{} ({} to {})".format(*numbers)


def _show_signed(number: float) -> str:
    sign = "\N{MINUS SIGN}" if number < 0 else "+" if number > 0 else ""
    return f"{sign}{show_percent(abs(number))}"


def _show_number(value: float) -> str:
    """Return a channel value: whole above 1000, with one decimal above 10, else 3 digits."""
    if abs(value) >= 10:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    return f"{value:.3g}"


def _shorten(text: str, width: int) -> str:
    """Return a text with … at its end if it is wider than so many letters.

    The characters of Chinese, Japanese and Korean are two letters wide.
    """
    widths = np.cumsum([2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text])
    if not len(widths) or widths[-1] <= width:
        return text
    return text[: int(np.searchsorted(widths, width - 1, side="right"))] + "…"


# ------------------------------------------------------------------ the head


def _summarize(record: Mapping[str, Any], shares: ShareTable, n_failed: int) -> list[str]:
    """Return the parts of the line below the title."""
    n_images = len(record["images"])
    options = record.get("options") or {}
    model = record.get("model") or {}
    n_groups = len({each["group"] for each in record["images"] if each.get("group") is not None})
    parts = [f"{n_images:,} image{'' if n_images == 1 else 's'}"]
    parts += [f"{n_groups} group{'' if n_groups == 1 else 's'}"] if n_groups else []
    parts += [f"{n_failed:,} failed" if n_failed else "none failed"]
    n_clusters = len(model["cluster_centers"]) if model else options.get("n_clusters")
    parts += [f"K = {n_clusters}"] if n_clusters else []
    n_classes = len(model.get("classes") or ())
    parts += [f"{n_classes} classes"] if n_classes and n_classes != n_clusters else []
    space = model.get("color_space") or options.get("color_space")
    parts += [f"color space {space}"] if space else []
    time = _show_time(str(record.get("started", "")), record.get("seconds"))
    n_calls = len(record.get("calls") or ())
    parts += [f"{time} in {n_calls} calls" if n_calls > 1 else time]
    version = (record.get("versions") or {}).get("napari-kmeans")
    parts += [f"napari-kmeans {version}"] if version else []
    return [part for part in parts if part]


def _show_time(started: str, seconds: float | None) -> str:
    try:
        when = datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        when = started
    if seconds is None:
        return when
    took = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{when}, {took}" if when else took


# --------------------------------------------------------------- the classes


def _title_class(shares: ShareTable, number: int) -> str:
    name = shares.names[number]
    return f"{shares.labels[number]} {name}" if name else f"{shares.labels[number]}"


class _Class(NamedTuple):
    label: int
    name: str
    color: str
    ignored: bool
    palette: list[float]
    mean: float
    sd: float
    n: int


def _list_classes(model: KMeansModel | None, shares: ShareTable) -> list[_Class]:
    """Return the classes of the shared model, with the mean of their shares over the images."""
    palettes = {}
    if model is not None:
        palettes = dict(zip(map(int, model.labels), model.palette.tolist(), strict=True))
    everything = shares.of_group(None)
    listed = []
    for number, label in enumerate(shares.labels):
        summary = summarize_shares(everything[:, number])
        listed.append(
            _Class(
                label,
                shares.names[number],
                str(shares.colors[0, number]),
                bool(shares.ignored[number]),
                palettes.get(label, []),
                summary.mean,
                summary.sd,
                summary.n,
            )
        )
    return listed


def _list_without_pixels(shares: ShareTable) -> list[str]:
    """Return the counted classes that have no pixel in some images, with these images."""
    rows, found = shares.rows_of(None), []
    for number in shares.counted:
        names = [shares.images[row] for row in rows if not shares.pixels[row, number]]
        if names:
            images = f"{count_images(len(names))} ({join_names(names)})"
            found.append(f"{_title_class(shares, number)} in {images}")
    return found


# ---------------------------------------------------------------- the images


def _list_files(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the path of the file of each image from the folder of the study, by its name.

    Empty if the names of the images are those of their files.
    """
    # The absolute path of the folder of the study is the first of them.
    folders = record.get("folder")
    if not folders:
        return {}
    files = {
        str(each["name"]): relative_path(Path(str(each.get("source"))), Path(folders[0]))
        for each in record["images"]
        # The source of a layer or of a sample is no path.
        if os.path.isabs(str(each.get("source")))
    }
    return {} if are_named_by_files(files.keys(), files.values()) else files


def _list_cards(
    record: Mapping[str, Any],
    shares: ShareTable,
    thumbnails: Mapping[str, tuple[Any, Any]],
    files: Mapping[str, str],
    problems: Mapping[str, Sequence[str]],
    undecided: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return what the gallery shows of each image that was segmented."""
    rows = {name: number for number, name in enumerate(shares.images)}
    done = [each for each in record["images"] if each.get("status") != "failed"]
    # The text of a picture has four characters for three bytes.
    budget = min(_LARGEST_PICTURE, MAX_PICTURE_BYTES * 3 // 4 // (2 * max(1, len(done))))

    def make_card(each: Mapping[str, Any]) -> dict[str, Any]:
        name = each["name"]
        original, classes = thumbnails.get(name, (None, None))
        return {
            "name": name,
            "file": files.get(name, ""),
            "group": each.get("group"),
            "metadata": each.get("metadata") or {},
            "n_warnings": len(each.get("warnings") or ()),
            "problems": problems[name],
            "original": embed_picture(original, budget, has_few_colors=False),
            "classes": embed_picture(classes, budget, has_few_colors=True),
            "shares": _list_shares(shares, rows[name]) if name in rows else [],
            "undecided": undecided.get(name),
        }

    return map_threads(make_card, done)


def _list_shares(shares: ShareTable, row: int) -> list[tuple[str, str, float]]:
    """Return the title, the color and the share of each class of an image."""
    return [
        (_title_class(shares, number), str(shares.colors[row, number]), share)
        for number, share in enumerate(shares.percent[row].tolist())
    ]


def _list_rows(
    shares: ShareTable,
    files: Mapping[str, str],
    problems: Mapping[str, Sequence[str]],
    undecided: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return the rows of the table of shares, one for each image."""
    return [
        {
            "name": name,
            "file": files.get(name, ""),
            "group": shares.groups[row],
            "bar": stack_bar(shares.percent[row], shares.colors[row]),
            "percent": shares.percent[row].tolist(),
            "undecided": undecided.get(name),
            "problems": problems[name],
        }
        for row, name in enumerate(shares.images)
    ]


def _draw_strips(shares: ShareTable) -> list[dict[str, Any]]:
    """Return the bars of all images side by side, those of a group together."""
    groups: list[str | None] = [*shares.group_names]
    groups += [None] if None in shares.groups else []
    strips = []
    for group in groups:
        rows = [row for row, each in enumerate(shares.groups) if each == group]
        paths = draw_columns(shares.percent[rows], shares.colors[rows])
        names = [shares.images[row] for row in rows]
        strips.append({"group": group, "names": names, "paths": paths})
    return strips


# ---------------------------------------------------------------- the groups


def _draw_group_bars(shares: ShareTable) -> list[dict[str, Any]]:
    """Return a bar of the mean shares of each group, or one of all images."""
    bars: list[dict[str, Any]] = []
    if len(shares.images) < 2:
        return bars
    for group in shares.group_names or (None,):
        values = shares.of_group(group)
        if len(values):
            means = values.mean(axis=0)
            colors = shares.colors[0]
            bars.append({"group": group, "n": len(values), "bar": stack_bar(means, colors)})
    return bars


def _draw_panels(shares: ShareTable) -> list[Panel]:
    """Return a box plot of each class over the groups, or one of all classes without groups."""
    if len(shares.of_group(None)) < 2:
        return []
    colors = shares.colors[0]
    titles = {
        number: {"title": _title_class(shares, number), "color": str(colors[number])}
        for number in shares.counted
    }
    if not shares.group_names:
        boxes = [
            make_box(title["title"], title["color"], *_values(shares, None, number))
            for number, title in titles.items()
        ]
        return [make_panel({"title": "", "color": ""}, boxes)] if boxes else []
    return [
        make_panel(
            title,
            [
                make_box(group, title["color"], *_values(shares, group, number))
                for group in shares.group_names
            ],
        )
        for number, title in titles.items()
    ]


def _values(shares: ShareTable, group: str | None, number: int) -> tuple[Floats, list[str]]:
    """Return the shares of a class in the images of a group, and the names of the images."""
    chosen = shares.rows_of(group)
    return shares.percent[chosen, number], [shares.images[row] for row in chosen]


def _compare(shares: ShareTable) -> dict[str, Any]:
    """Return the table of the groups: means, standard deviations, n and a test of each class."""
    groups = shares.group_names
    values = [shares.of_group(group) for group in groups]
    compared = compare_classes(shares)
    rows: list[dict[str, Any]] = []
    for number in shares.counted:
        samples = [each[:, number] for each in values]
        rows.append(
            {
                "title": _title_class(shares, number),
                "color": str(shares.colors[0, number]),
                "summaries": [summarize_shares(sample) for sample in samples],
                "test": compared[number],
            }
        )
    tests = [row["test"] for row in rows if row["test"] is not None]
    return {
        "groups": groups,
        "rows": rows,
        "n_tests": count_tests(compared),
        "has_approximate": any(test.method == "normal" for test in tests),
        "n_without": sum(group is None for group in shares.groups),
    }


def _common_numbers(figures: Sequence[Figure]) -> list[int | None]:
    """Return the number of images of each group, or None where it differs between figures."""
    columns = zip(*(row for figure in figures for row in figure.summaries), strict=True)
    numbers = [{summary.n for summary in column} for column in columns]
    return [each.pop() if len(each) == 1 else None for each in numbers]


# --------------------------------------------------------------- the records


def _group_warnings(record: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each warning once as a sentence, with the names of the images that it is about."""
    grouped: dict[str, list[str]] = {str(each): [] for each in record.get("warnings") or ()}
    for image in record["images"]:
        for each in image.get("warnings") or ():
            grouped.setdefault(str(each), []).append(image["name"])
    return [
        (text if text.endswith((".", "!", "?")) else f"{text}.", names)
        for text, names in grouped.items()
    ]


def _list_settings(record: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Return the label, the name and the value of each known option, and whether it is the default.

    They are those of the methods.
    """
    listed = []
    for name, value in known_options(record).items():
        info = OPTIONS.get(name)
        is_default = info is not None and _is_default(value, info.default)
        listed.append((info.label if info else name, name, _show_value(value), is_default))
    return listed


def _is_default(value: Any, default: Any) -> bool:
    """Return whether a value is the default, perhaps with one number per axis."""
    values = value if isinstance(value, list | tuple) else [value]
    return bool(values) and all(_show_value(each) == _show_value(default) for each in values)


def _list_calls(record: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Return time, number of images and other versions of each call; empty if there is one."""
    calls = record.get("calls") or []
    return [
        (
            _show_time(call["started"], call["seconds"]),
            call["images"],
            ", ".join(f"{name} {version}" for name, version in call["other_versions"].items()),
        )
        for call in calls
        if len(calls) > 1
    ]


def _list_study(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the entries of the study file that are set, as short texts."""
    return [
        (str(name), _shorten(_show_value(value), 300))
        for name, value in (record.get("study") or {}).items()
        if value not in (None, "", [], {}, False)
    ]


def _show_value(value: Any) -> str:
    """Return a value of a study or an option as text, lists and mappings without brackets."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_show_value(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_show_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
