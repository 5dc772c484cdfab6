"""The error of reading an image file, and one-line reasons of other errors."""

from __future__ import annotations


class UnreadableImageError(Exception):
    """A file that cannot be read as an image; the message is the reason in a few words."""


def check_memory(n_bytes: int, what: str) -> None:
    """Check that an allocation fits into the free memory.

    Parameters
    ----------
    n_bytes : int
        The size of the allocation.
    what : str
        Its name in the message, such as "the file".

    Raises
    ------
    UnreadableImageError
        If `n_bytes` is more than the free memory.
    """
    from psutil import virtual_memory

    free = virtual_memory().available
    if n_bytes > free:
        needed, available = (f"{number / 2**30:,.1f} GB" for number in (n_bytes, free))
        raise UnreadableImageError(
            f"{what} needs {needed} of memory, and only {available} are free"
        )


def reason(error: BaseException) -> str:
    """Return the reason of an error, in one line for the user.

    This is the text of the operating system, if the error has one, or the first
    line of the message.
    """
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "Could not find a backend" in str(error):
        return "it is not an image in a supported format"
    if isinstance(error, KeyError):
        return f"its entry {error} is missing"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def describe_unwritten(error: OSError, place: object) -> str:
    """Return the sentence about an error of writing: the file, or else a place, and the reason."""
    return f"cannot write {error.filename or place}: {reason(error)}"
