"""Add metadata to tables of measurements: from the names of images, or from another table."""

from __future__ import annotations

import os
import re
from string import Formatter
from typing import TYPE_CHECKING, Any

from napari_kmeans.checks import check_path, quote_value
from napari_kmeans.execution.notices import notice
from napari_kmeans.measurement_output import check_measurements
from napari_kmeans.measurement_table import CLASS, IMAGE

if TYPE_CHECKING:
    import pandas as pd


def parse_metadata(name: str, pattern: str) -> dict[str, str]:
    """Return the fields of a name, such as the patient and the stain.

    Parameters
    ----------
    name : str
        The name of an image. Its folders do not count, unless the pattern has a slash.
    pattern : str
        The text of the name with fields in braces, such as ``"{patient}_{stain}_{day}.tif"``.
        A field has at least one character. The first fields are as short as possible.

    Returns
    -------
    dict of str to str
        The text of each field, in the order of the pattern. If the name does not match, all
        are empty, and a warning names it.

    Raises
    ------
    TypeError, ValueError
        If `name` is no text, or if `pattern` is no text with different names in braces.

    Warns
    -----
    UserWarning
        If the name does not match.

    Examples
    --------
    >>> parse_metadata("17_HE_3.tif", "{patient}_{stain}_{day}.tif")
    {'patient': '17', 'stain': 'HE', 'day': '3'}
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {quote_value(name)}: pass the name of an image.")
    expression, fields = _to_expression(pattern)
    own = name.replace("\\", "/")
    own = own if "/" in pattern else own.rpartition("/")[2]
    match = expression.fullmatch(own)
    if match is None:
        notice(
            f"{name} does not match the pattern {pattern}: its metadata are empty.", stacklevel=2
        )
        return dict.fromkeys(fields, "")
    return dict(zip(fields, match.groups(), strict=True))


def _to_expression(pattern: Any) -> tuple[re.Pattern[str], list[str]]:
    """Return the regular expression of a pattern, and the names of its fields."""
    remedy = 'give names in braces, such as "{patient}_{stain}.tif"'
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a text, got {quote_value(pattern)}: {remedy}.")
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(
            f"pattern must have closed braces, got {quote_value(pattern)}: {remedy}."
        ) from error
    fields = [field for _, field, _, _ in parts if field is not None]
    is_plain = all(not form and not conversion for _, _, form, conversion in parts)
    if not fields or not is_plain or not all(map(str.isidentifier, fields)):
        raise ValueError(
            f"pattern must have names of letters, digits and _ in braces, got "
            f"{quote_value(pattern)}: {remedy}."
        )
    if len(set(fields)) < len(fields):
        raise ValueError(
            f"pattern must have different names, got {quote_value(pattern)}: use each name once."
        )
    if not all(text for _, text in _texts_before(parts)[1:]):
        raise ValueError(
            f"pattern must have text between two names, got {quote_value(pattern)}: nothing tells "
            "where the first ends, so put a character between them."
        )
    text = "".join(
        re.escape(literal) + ("" if field is None else "(.+?)") for literal, field, _, _ in parts
    )
    return re.compile(text), fields


def _texts_before(parts: list[Any]) -> list[tuple[str, str]]:
    """Return each field, and the text between the field before and this one."""
    texts, text = [], ""
    for literal, field, _, _ in parts:
        text += literal
        if field is not None:
            texts.append((field, text))
            text = ""
    return texts


def add_metadata(table: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Return a table of measurements with the fields of the names of its images as columns.

    Parameters
    ----------
    table : pandas.DataFrame
        The result of `measure`.
    pattern : str
        See `parse_metadata`.

    Raises
    ------
    TypeError, ValueError
        As `parse_metadata` does, or if a field has the name of a column.
    """
    import pandas as pd

    check_measurements(table)
    names = list(dict.fromkeys(table[IMAGE]))
    fields = pd.DataFrame([{IMAGE: name, **parse_metadata(name, pattern)} for name in names])
    if fields.empty:
        fields = pd.DataFrame(columns=[IMAGE, *_to_expression(pattern)[1]])
    return _insert(table, fields, "pattern")


def join_metadata(table: pd.DataFrame, source: Any) -> pd.DataFrame:
    """Return a table of measurements with the columns of another table of its images.

    Parameters
    ----------
    table : pandas.DataFrame
        The result of `measure`.
    source : path or pandas.DataFrame
        A CSV file, or a table, with a row for each image. Images are named in its column
        `image`, or in its first column if one of these is an image of the table. Rows of other
        images are ignored.

    Returns
    -------
    pandas.DataFrame
        With the other columns of `source` after `image`.

    Raises
    ------
    TypeError, ValueError
        If there is no column of images, if an image has several rows or none, or if both tables
        have a column of the same name.

    Examples
    --------
    >>> table = join_metadata(measure(segmentation, names=["a.tif", "b.tif"]), "patients.csv")
    """
    check_measurements(table)
    sidecar = _read_sidecar(source)
    images = set(table[IMAGE])
    first = next(iter(sidecar), None)
    key = IMAGE if IMAGE in sidecar else first
    if key is None or (key != IMAGE and not set(sidecar[key].astype(str)) & images):
        raise ValueError(
            f"source must have a column {IMAGE!r}, or the names of images in its first column, got "
            f"the columns {quote_value(list(sidecar))}: add a column with the names of the images."
        )
    own = sidecar.rename(columns={key: IMAGE}).astype({IMAGE: str})
    own = own[own[IMAGE].isin(images)]
    repeated = own[IMAGE][own[IMAGE].duplicated()]
    if len(repeated):
        raise ValueError(
            f"source must have one row for each image, got several for {_list(repeated)}: remove "
            "all but one."
        )
    missing = [name for name in dict.fromkeys(table[IMAGE]) if name not in set(own[IMAGE])]
    if missing:
        raise ValueError(
            f"source must have a row for each image, got none for {_list(missing)}: add a row, or "
            "leave the image out of the table."
        )
    return _insert(table, own, "source")


def _read_sidecar(source: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source.rename(columns=str)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source must be the path of a CSV file or a table, got {quote_value(source)}: pass "
            "one of these."
        )
    path = check_path("source", source)
    try:
        # Names such as 007 are texts. Spreadsheets write a byte order mark.
        header = pd.read_csv(path, nrows=0, encoding="utf-8-sig")
        key = IMAGE if IMAGE in header else next(iter(header), None)
        kinds: Any = None if key is None else {key: str}
        return pd.read_csv(path, dtype=kinds, encoding="utf-8-sig")
    except (OSError, ValueError, UnicodeError) as error:
        if isinstance(error, OSError):
            raise ValueError(
                f"source must be a CSV file, got {quote_value(str(path))} ({error.strerror}): "
                "check the path."
            ) from error
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"source must be a CSV file in UTF-8, got {quote_value(str(path))} ({reason}): save "
            "the table as CSV."
        ) from error


def _insert(table: pd.DataFrame, fields: pd.DataFrame, argument: str) -> pd.DataFrame:
    """Return a table with the columns of a row for each image, after `image`."""
    shared = [name for name in fields if name != IMAGE and name in table]
    if shared:
        raise ValueError(
            f"{argument} must have other names than the columns of the table, got "
            f"{quote_value(shared[0])}: rename it."
        )
    place = list(table).index(IMAGE) + 1
    assert place <= list(table).index(CLASS)
    result = table.copy()
    by_image = fields.set_index(IMAGE)
    for number, name in enumerate(by_image):
        result.insert(place + number, name, by_image[name].reindex(table[IMAGE]).to_numpy())
    return result


def _list(names: Any) -> str:
    return ", ".join(quote_value(name) for name in list(dict.fromkeys(names))[:3])
