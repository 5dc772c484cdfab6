"""Find the image files that the arguments of the command line name."""

from __future__ import annotations

import glob
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_kmeans.batch.earlier_results import is_result_file
from napari_kmeans.batch.parts import PARTS
from napari_kmeans.batch.reporting import join_names, tell
from napari_kmeans.batch.result_files import LOCK_FILE
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.files.reading import has_image_suffix, is_image
from napari_kmeans.files.zarr_reader import MARKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Input(NamedTuple):
    """A file or a zarr directory to read, or a folder without an image."""

    path: Path
    folder: Path | None = None
    """The argument in which the file was found, if that is a folder."""

    @property
    def subfolder(self) -> Path:
        """The path from the folder of the argument to the file, without the name of the file."""
        return self.path.parent.relative_to(self.folder) if self.folder else Path()


def find_inputs(arguments: Sequence[Path], recursive: bool = False) -> list[Input]:
    """Return the images that arguments name, each of them once.

    An argument is a file, a zarr directory, a folder, or a name with wildcards that the
    shell has not expanded. An argument that matches nothing is returned as it is. Results
    of earlier runs are skipped in folders and among the matches of wildcards, and noted
    where an argument names them. So are links to an image that is there, too.

    Parameters
    ----------
    arguments : sequence of Path
    recursive : bool
        Whether the subfolders of folders are searched.
    """
    found: dict[str, Input] = {}
    named = [path.name for path in arguments if is_result_file(path)]
    if named:
        one = len(named) == 1
        are = "is a result of an earlier run" if one else "are results of earlier runs"
        tell(f"{join_names(named)} {are}")
    for path in chain.from_iterable(map(_expand_wildcards, arguments)):
        for each in _list_folder(path, recursive) if is_folder(path) else [Input(path)]:
            # A link is a file of its own, with its own name.
            place = os.path.join(os.path.realpath(each.path.parent), each.path.name)
            found.setdefault(place, each)
    return _leave_out_links(list(found.values()), {*arguments})


def _leave_out_links(inputs: list[Input], named: set[Path]) -> list[Input]:
    """Leave out links to an image that is there, too, after a message: it would count twice.

    Links that an argument names are kept, after a message.
    """
    images = {os.path.realpath(each.path) for each in inputs if not os.path.islink(each.path)}
    counted: list[Input] = []
    twice: dict[str, list[str]] = {"skipped": [], "counted twice": []}
    for each in inputs:
        target = os.path.realpath(each.path)
        # Devices such as /dev/zero are no images.
        is_image = os.path.isfile(target) or os.path.isdir(target)
        is_again = is_image and os.path.islink(each.path) and target in images
        if is_again:
            twice["counted twice" if each.path in named else "skipped"].append(each.path.name)
        if not is_again or each.path in named:
            counted.append(each)
        images.add(target)
    for verb, names in twice.items():
        if names:
            one = len(names) == 1
            text = "is a link to an image that is" if one else "are links to images that are"
            tell(f"{join_names(names)} {text} there, too, and {'is' if one else 'are'} {verb}")
    return counted


def is_folder(path: Path) -> bool:
    """Return whether a path is a directory other than a zarr array or an OME-Zarr image."""
    # `Path.is_dir` raises an OSError for a name that is too long, before Python 3.14.
    return os.path.isdir(path) and not _is_zarr(path)


def _is_of_results(folder: Path) -> bool:
    """Return whether a folder is that of a run: with its files, or only locked by this run."""
    try:
        names = {path.name for path in folder.iterdir()} - {LOCK_FILE}
    except OSError:
        return False
    return not names or RECORD_FILE in names or PARTS in names


def _is_zarr(path: Path) -> bool:
    # `Path.is_file` raises an OSError in a folder that this user must not enter.
    return any(os.path.isfile(path / marker) for marker in MARKERS)


def _is_damaged_zarr(path: Path) -> bool:
    """Return whether a folder has the name of a zarr directory, and no metadata of zarr inside."""
    if path.suffix.lower() != ".zarr" or not is_folder(path):
        return False
    try:
        return not any(map(_is_zarr, path.iterdir()))
    except OSError:
        return True


def _expand_wildcards(path: Path) -> list[Path]:
    """Return the images that match a name with wildcards, and any other path as it is.

    Results of earlier runs are left out, after a message.

    cmd.exe and PowerShell do not expand wildcards, and no shell expands quoted ones.
    """
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    others = [match for match in matches if not is_result_file(match)]
    results = _count_results(len(matches) - len(others))
    if results:
        tell(f"{path}: skipped {results[0]}")
    return others or [path]


def _list_folder(folder: Path, recursive: bool) -> list[Input]:
    """Return the images in a folder, and print in one line what is skipped."""
    inputs: list[Input] = []
    hidden: list[str] = []
    results: list[str] = []
    others: list[str] = []
    locked: list[Input] = []
    n_subfolders = 0
    for path in _walk(folder, recursive, lambda place: locked.append(Input(place))):
        if path.name == LOCK_FILE:
            continue
        if path.name.startswith("."):
            hidden.append(path.name)
        elif is_folder(path) and not _is_damaged_zarr(path):
            # With --recursive, a subfolder that is not entered has been read before.
            n_subfolders += not recursive and not _is_of_results(path)
        elif is_result_file(path):
            results.append(path.name)
        elif _is_input(path):
            inputs.append(Input(path, folder))
        else:
            others.append(path.name)
    skipped = [
        *_count_results(len(results)),
        *_count(len(hidden), "hidden file", "hidden files"),
        *_count(len(others), "file that is not an image", "files that are not images", others),
        *_count(n_subfolders, "subfolder, without --recursive", "subfolders, without --recursive"),
    ]
    if skipped:
        tell(f"{folder}: skipped {'; '.join(skipped)}")
    # A folder that cannot be listed may hold images: it fails when it is read.
    return [*inputs, *locked] or [Input(folder)]


def _is_input(path: Path) -> bool:
    """Return whether a path in a folder is an image, or has to be one by its suffix.

    An image that cannot be read, such as the zeros of a failed copy, fails when it is read: if
    this file were skipped, an image would be missing in the results without a word.
    """
    if _is_damaged_zarr(path):
        return True
    if os.path.isfile(path) or _is_zarr(path):
        return is_image(path) or has_image_suffix(path)
    # A link to a file that is gone. Devices and pipes may have no end.
    return has_image_suffix(path) and not os.path.exists(path)


def _walk(folder: Path, recursive: bool, refuse: Callable[[Path], object]) -> Iterator[Path]:
    """Yield the files and zarr directories of a folder in order, and subfolders not entered.

    `refuse` is called with each folder that cannot be listed.
    """

    def note(error: OSError) -> None:
        refuse(Path(error.filename))

    seen = {os.path.realpath(folder)}
    for directory, subfolders, files in os.walk(folder, followlinks=True, onerror=note):
        here = Path(directory)
        entered = []
        for name in sorted(subfolders) if recursive else ():
            # A link may lead to a folder above itself.
            place = os.path.realpath(here / name)
            if not is_folder(here / name) or _is_damaged_zarr(here / name):
                continue
            if not name.startswith(".") and place not in seen:
                entered.append(name)
                seen.add(place)
        yield from (here / name for name in sorted({*subfolders, *files} - {*entered}))
        # `os.walk` enters the subfolders that are left in its list.
        subfolders[:] = entered


def _count_results(number: int) -> list[str]:
    return _count(number, "file of an earlier run", "files of earlier runs")


def _count(number: int, one: str, several: str, names: Sequence[str] = ()) -> list[str]:
    """Return "3 files (a, b and c)" as a list of one text, or an empty list for 0."""
    text = f"{number} {one if number == 1 else several}"
    return [f"{text} ({join_names(names)})" if names else text] if number else []
