"""Columns of the tables from the names of the files, and from a CSV file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.pixel_size import SIZE, SIZE_UNIT, SIZES
from napari_kmeans.batch.reporting import join_names, tell
from napari_kmeans.batch.study import StudyError
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.study import Study

IMAGE, GROUP = "image", "group"
"""The column of the images in a CSV file, and the field that names the group of an image."""

RESERVED = (
    *("image", "region", "slice", "frame", "class", "name", "color", "ignored", "pixels"),
    *("percent", "unit", "undecided", "confidence", "problem", "far_share"),
)
"""Columns of the tables, which cannot be metadata."""

RESERVED_STARTS = ("mean ", "std ", "median ", "area", "volume", "length", "slice ", "frame ")
"""The starts of further columns, which have the names of channels or units of time."""


def find_metadata(
    study: Study, jobs: Sequence[ImageJob], stems: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the metadata of each image, by column: of its name, then of the CSV file.

    Parameters
    ----------
    study : Study
    jobs : sequence of ImageJob
    stems : sequence of str
        The names of the images in the tables.

    Raises
    ------
    StudyError
        If the pattern or the CSV file cannot be used.
    """
    found: list[dict[str, Any]] = [{} for _ in jobs]
    fields: Sequence[str] = ()
    if study.metadata is not None:
        fields = _parse_names(study.metadata, jobs, found)
        _check_columns("metadata", fields)
    if study.metadata_file is not None:
        rows = _read_rows(study.path(study.metadata_file))
        columns = [str(name) for name in rows]
        _check_columns("metadata_file", columns)
        if {*columns} & {*fields}:
            name = next(name for name in columns if name in fields)
            raise StudyError(
                [f"metadata and metadata_file must have different columns, got {name} in both."]
            )
        left = _add_rows(rows, jobs, stems, found)
        if left:
            be = "is no image" if len(left) == 1 else "are no images"
            tell(f"{join_names(left)} of {study.path(study.metadata_file).name} {be} of this study")
        fields = [*fields, *columns]
    has_groups = GROUP in fields or study.groups
    if study.metadata is not None and not has_groups:
        tell(
            f"the pattern {study.metadata} has no field {{group}}, so that the report compares no "
            "groups: write {group} where a name has its group"
        )
    elif study.metadata_file is not None and not has_groups:
        _tell_missing_group(study.path(study.metadata_file).name, fields)
    return found


def _tell_missing_group(name: str, columns: Sequence[str]) -> None:
    """Tell that a CSV file has no column of groups, unless it has only pixel sizes."""
    others = [column for column in columns if column not in (SIZE, SIZE_UNIT, *SIZES)]
    if others:
        be = "column is" if len(columns) == 1 else "columns are"
        tell(f"no column {GROUP} in {name}: groups are not compared; its {be} {', '.join(columns)}")


def describe_rows(path: Path, images: Sequence[Path]) -> str:
    """Return in words how many images have a row in a CSV file, and whether it names groups.

    Raises
    ------
    StudyError
        If the file cannot be used.
    """
    rows = _read_rows(path)
    columns = [str(name) for name in rows]
    _check_columns("metadata_file", columns)
    n_found = sum(any(name in rows.index for name in _names_of_file(image)) for image in images)
    has = "has" if n_found == 1 else "have"
    text = f"{n_found:,} of {len(images):,} image{'' if len(images) == 1 else 's'} {has} a row."
    if GROUP in columns:
        return text
    there = f"the columns are {join_names(columns)}" if columns else "there is no column of data"
    return f"{text} No column has the name {GROUP}, so that nothing is compared: {there}."


def _parse_names(
    pattern: str, jobs: Sequence[ImageJob], found: list[dict[str, Any]]
) -> Sequence[str]:
    """Add the fields of the name of each file, and return the names of the fields."""
    from napari_kmeans.metadata import parse_metadata

    fields: Sequence[str] = ()
    others = []
    for job, entries in zip(jobs, found, strict=True):
        path = job.inputs[0] if job.inputs else None
        # A pattern may leave out the suffix, which is then no part of its last field. A pattern
        # with a slash is about the folders, too.
        places = () if path is None else (path.with_name(path.stem), path)
        names = [_name_in(pattern, place) for place in places] or [job.name]
        parsed: dict[str, str] = {}
        for name in names:
            try:
                with notices_to(lambda _sentence: None):
                    parsed = parse_metadata(name, pattern)
            except ValueError as error:
                raise StudyError([f"metadata: {reason(error)}."]) from error
            if any(parsed.values()):
                break
        else:
            others.append(job.name)
        # A field that is not found is missing: "" would be a group of its own.
        entries.update({name: text or None for name, text in parsed.items()})
        fields = list(parsed)
    if others:
        do = "does" if len(others) == 1 else "do"
        tell(
            f"{join_names(others)} {do} not match the pattern {pattern}: "
            f"{', '.join(fields)} {'is' if len(fields) == 1 else 'are'} empty there"
        )
    return fields


def _name_in(pattern: str, path: Path) -> str:
    n_folders = pattern.replace("\\", "/").count("/")
    return "/".join(path.absolute().parts[-1 - n_folders :])


def _check_columns(entry: str, names: Sequence[str]) -> None:
    wrong = [name for name in names if name in RESERVED or name.startswith(RESERVED_STARTS)]
    if wrong:
        raise StudyError(
            [f"{entry} must not have the name of a column of the table, got {wrong[0]}: rename it."]
        )


def _read_rows(path: Path) -> pd.DataFrame:
    """Read a CSV file, whose rows have the names of their images as the index."""
    import pandas as pd

    try:
        header = path.read_text("utf-8-sig").partition("\n")[0]
        # Spreadsheets write semicolons where the comma is decimal.
        separator = max(",;\t", key=header.count)
        texts = pd.read_csv(
            path,
            encoding="utf-8-sig",
            sep=separator,
            dtype=str,
            index_col=False,
            na_values=[""],
            keep_default_na=False,
            skipinitialspace=True,
        )
    except UnicodeDecodeError as error:
        # Other encodings cannot be told apart: a wrong one would change names without a word.
        raise StudyError(
            [
                f"metadata_file {path} must be in UTF-8, got bytes of another encoding: save it as "
                "CSV UTF-8."
            ]
        ) from error
    except pd.errors.EmptyDataError as error:
        raise StudyError(
            [f"metadata_file {path} must have a column of images, got an empty file."]
        ) from error
    except (OSError, ValueError) as error:
        raise StudyError([f"metadata_file {path} cannot be read: {reason(error)}."]) from error
    texts.columns = [str(name).strip() for name in texts.columns]
    # A separator at the end of each line makes a column without a name.
    texts = texts.drop(columns=[name for name in texts if str(name).startswith("Unnamed: ")])
    rows = texts.apply(_find_numbers)
    if not len(rows.columns):
        raise StudyError([f"metadata_file {path} must have a column of images, got none."])
    key = IMAGE if IMAGE in rows else rows.columns[0]
    rows.index = pd.Index(texts[key].fillna("").str.strip())
    repeated = rows.index[rows.index.duplicated()]
    if len(repeated):
        raise StudyError(
            [
                f"metadata_file {path} must have one row for each image, got several for "
                f"{join_names(list(dict.fromkeys(repeated)))}: remove all but one."
            ]
        )
    return rows.drop(columns=key)


def _find_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of texts as numbers if all of them are, but names such as 007 as texts."""
    import pandas as pd

    texts = column.str.strip()
    known = texts.dropna()
    is_code = known.str.match(r"[+-]?0\d").any()
    numbers = pd.to_numeric(known, errors="coerce")
    if not len(known) or is_code or numbers.isna().any():
        return texts
    if len(known) == len(texts):
        return numbers
    # Whole numbers stay whole beside missing ones.
    return numbers.astype(object).reindex(texts.index)


def _names_of(job: ImageJob, stem: str) -> list[str]:
    """Return the names by which a row may name an image."""
    names = [stem, job.name]
    if job.inputs:
        names += _names_of_file(job.inputs[0])
    return list(dict.fromkeys(names))


def _names_of_file(path: Path) -> list[str]:
    inside = _name_in("/", path)
    return [path.name, path.stem, str(path), inside, _name_in("/", path.with_suffix(""))]


def _add_rows(
    rows: pd.DataFrame,
    jobs: Sequence[ImageJob],
    stems: Sequence[str],
    found: list[dict[str, Any]],
) -> list[str]:
    """Add the row of each image: that of its name in the tables, or of its file.

    Files of one name in several folders need rows with the folders. Returns the names of the rows
    without an image.
    """
    missing = []
    left = dict.fromkeys(name for name in rows.index if name)
    names = [_names_of(job, stem) for job, stem in zip(jobs, stems, strict=True)]
    # A file with several images may have one row for all of them.
    files = {(name, job.inputs[:1]) for job, each in zip(jobs, names, strict=True) for name in each}
    counts = Counter(name for name, _ in files)
    for job, stem, own_names, entries in zip(jobs, stems, names, found, strict=True):
        own = [each for each in own_names if each in rows.index]
        if own and all(counts[each] > 1 for each in own):
            raise StudyError(
                [
                    f"metadata_file must tell images of one name apart, got {own[0]} for "
                    f"{counts[own[0]]} images: write the folder, too, such as "
                    f"{_name_in('/', job.inputs[0])}."
                ]
            )
        own = [each for each in own if counts[each] == 1]
        if len(own) > 1:
            raise StudyError(
                [
                    f"metadata_file must have one row for each image, got {join_names(own)}: "
                    "remove all but one."
                ]
            )
        if not own:
            missing.append(stem)
            entries.update(dict.fromkeys(map(str, rows.columns)))
            continue
        left.pop(own[0], None)
        for column in rows:
            value = rows[column].loc[own[0]]
            plain = value.item() if hasattr(value, "item") else value
            entries[str(column)] = None if plain != plain else plain
    if missing:
        have = "has" if len(missing) == 1 else "have"
        tell(
            f"{join_names(missing)} {have} no row in the metadata file: its columns are empty there"
        )
    return list(left)
