"""Errors of reading files, and their reasons in one line."""

from __future__ import annotations


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message is the reason, in a few words."""


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse what does not fit into memory, before it is tried.

    Raises
    ------
    UnreadableImageError
        If more bytes are wanted than are free.
    """
    from psutil import virtual_memory

    free = virtual_memory().available
    if n_bytes > free:
        wanted, there = (f"{number / 2**30:,.1f} GB" for number in (n_bytes, free))
        raise UnreadableImageError(f"{what} takes {wanted} of memory, and {there} are free")


def reason(error: BaseException) -> str:
    """Return why, in one line: what the system says, or the first line of the message."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "Could not find a backend" in str(error):
        return "it is no image in a format known here"
    if isinstance(error, KeyError):
        return f"{error} is missing in it"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
