"""Write files and directories completely or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PREFIX = ".napari-kmeans-"
"""Prefix of the names of files and directories that are not complete yet."""


def write_whole(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write files completely or not at all.

    The earlier files at the paths stay until all new files are written.

    Parameters
    ----------
    writers : mapping of path to callable
        Each callable writes one file. Its argument is a temporary path in the
        directory of the final path.
    """
    with replacing(list(writers)) as temporary:
        for path, write in writers.items():
            write(temporary[path])


def read_contents(paths: Sequence[Path]) -> dict[Path, bytes | None]:
    """Return the contents of files; None of one that does not exist."""
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def put_back(files: dict[Path, bytes | None]) -> None:
    """Write files with the contents that they had, and remove those that did not exist."""
    contents = {path: data for path, data in files.items() if data is not None}
    write_whole({path: partial(_write_bytes, data) for path, data in contents.items()})
    for path in files.keys() - contents.keys():
        path.unlink(missing_ok=True)


def _write_bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


@contextmanager
def replacing(paths: Sequence[Path], obsolete: Sequence[Path] = ()) -> Iterator[dict[Path, Path]]:
    """Provide a temporary path for each path, and rename it to the path at the end.

    If the ``with`` block raises an exception, the earlier files stay as they
    were. If the process is killed, the next call for the same paths removes the
    files that were left. An OSError of the system names the path that was not written.

    Parameters
    ----------
    paths : sequence of Path
        Files or zarr directories that are written.
    obsolete : sequence of Path, optional
        Files or zarr directories that are removed at the end.

    Yields
    ------
    dict of Path to Path
        The temporary path of each of the `paths`, in the same directory.
    """
    clear_leftovers([*paths, *obsolete])
    token = secrets.token_hex(4)
    temporary, discarded = (
        {path: path.with_name(f"{PREFIX}{token}-{path.name}") for path in group}
        for group in (paths, obsolete)
    )
    try:
        yield temporary
        for new in temporary.values():
            _flush_to_disk(new)
        for path, new in temporary.items():
            _move_into_place(new, path)
        # Rename before deleting: deleting a directory takes long, and a process that is
        # killed meanwhile would leave half of the directory under its own name.
        for path, renamed in discarded.items():
            with suppress(FileNotFoundError):
                os.rename(path, renamed)
    except OSError as error:
        _name_path(error, temporary)
        raise
    finally:
        for leftover in (*temporary.values(), *discarded.values()):
            _remove(leftover)


def _name_path(error: OSError, temporary: Mapping[Path, Path]) -> None:
    """Let an error of the system name the path of which it names the temporary path.

    An error of writing to an open file names none: this is the file that was changed last.
    """
    if error.filename is not None:
        place = os.fspath(error.filename)
        written = [path for path, new in temporary.items() if str(place).startswith(str(new))]
    elif error.errno is not None:
        begun = [path for path, new in temporary.items() if new.exists()]
        written = sorted(begun, key=lambda path: temporary[path].stat().st_mtime_ns)
    else:
        return
    if written:
        error.filename, error.filename2 = str(written[-1]), None


def _move_into_place(new: Path, path: Path) -> None:
    if not new.is_dir() or not path.exists():
        os.replace(new, path)
        return
    # `os.replace` cannot replace a directory that is not empty. If the process is killed
    # between the first two renames, the next run puts the old directory back.
    previous = _previous_path(path)
    os.rename(path, previous)
    os.rename(new, path)
    # Rename before deleting: the next run must not put back a half-deleted directory.
    os.rename(previous, new)


def _previous_path(path: Path) -> Path:
    return path.with_name(f"{PREFIX}previous-{path.name}")


def clear_leftovers(paths: Sequence[Path]) -> None:
    """Restore or remove the files that killed runs left beside the paths."""
    for path in paths:
        if _previous_path(path).exists() and not path.exists():
            os.rename(_previous_path(path), path)
    for directory in {path.parent for path in paths}:
        names = "|".join(re.escape(path.name) for path in paths if path.parent == directory)
        # The prefix occurs twice if the writer of a file itself writes to a temporary path,
        # as `KMeansModel.save` does.
        pattern = re.compile(f"({re.escape(PREFIX)}([0-9a-f]{{8}}|previous)-)+({names})")
        # Make a list first: the directory must not change during the iteration.
        for leftover in list(directory.iterdir()):
            if pattern.fullmatch(leftover.name):
                _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    # A zarr directory has thousands of files, and flushing each of them would be slow. So a
    # power failure can damage a zarr directory that was just written.
    if path.is_file():
        with path.open("rb+") as file:
            try:
                os.fsync(file.fileno())
            except OSError as error:
                error.filename = str(path)
                raise
