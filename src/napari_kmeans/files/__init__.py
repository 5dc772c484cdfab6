"""Read image files, and write files completely or not at all."""

from __future__ import annotations

from typing import Any

__all__ = ["read_image"]


def __getattr__(name: str) -> Any:
    # Import the readers on first use: `files.atomic` and `files.errors` are also used without
    # them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_kmeans.files.reading import read_image

    return read_image
