"""Reading image files, and writing files whole or not at all."""

from __future__ import annotations

from typing import Any

__all__ = ["read_image"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that a module of this package can be imported alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_kmeans.files.reading import read_image

    return read_image
