"""Call the kernels of a run on a tiny image, so that their machine code is there for the run."""

from __future__ import annotations

from functools import cache, partial
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.rehearsal import rehearse_fit, run_unless_exiting
from napari_kmeans.execution.compile_processes import waits_to
from napari_kmeans.options import Options
from napari_kmeans.segmentation import segment_with_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 64
"""The tiny image has more colors than the restarts have points, so that all stages of a fit run."""

_N_CLUSTERS = 4


class ImageKind(NamedTuple):
    """What the types of the arguments of kernels depend on."""

    dtype: str
    n_channels: int
    """The length of the last axis; 0 for an image without channels."""

    rgb: bool

    @classmethod
    def of(cls, pixels: Any, rgb: bool, channel_axis: int | None) -> ImageKind:
        """Return the kind of an image."""
        axis = -1 if rgb else channel_axis
        return cls(np.dtype(pixels.dtype).str, 0 if axis is None else pixels.shape[axis], rgb)


RGB_IMAGE = ImageKind("|u1", 3, True)


def rehearse(kind: ImageKind) -> None:
    """Load or compile the kernels of a run with the default options."""
    with waits_to(partial(rehearse_stages, kind)):
        model = _segment(kind, Options(n_clusters=_N_CLUSTERS)).model
        model.apply(_make_noise(kind), progress=None)


@cache
def rehearse_stages(kind: ImageKind) -> tuple[Thread, ...]:
    """Compile kernels of the later stages of a run, in threads, while the first stages compile.

    A run needs its kernels one after the other. So one process would compile, and all others
    would wait. Call this function when a run waits for its first kernel.
    """
    work = partial(run_unless_exiting, partial(_fit_from_start, kind))
    thread = Thread(target=work, name="rehearsal", daemon=True)
    thread.start()
    return *rehearse_fit(), thread


def _fit_from_start(kind: ImageKind) -> None:
    """Fit all colors at once, without the stages that find a start."""
    colors = _make_noise(kind).reshape(-1, max(kind.n_channels, 1))[:_N_CLUSTERS]
    _segment(kind, Options(n_clusters=_N_CLUSTERS, init=colors[:, :3] if kind.rgb else colors))


def _segment(kind: ImageKind, options: Options) -> Any:
    axis = -1 if kind.n_channels and not kind.rgb else None
    return segment_with_options(_make_noise(kind), options, rgb=kind.rgb, channel_axis=axis)


def _make_noise(kind: ImageKind) -> NDArray[Any]:
    shape = (_SIDE, _SIDE, *([kind.n_channels] if kind.n_channels else []))
    noise = np.random.default_rng(0).integers(1, 256, shape)
    dtype = np.dtype(kind.dtype)
    if dtype.kind in "iu":
        return noise.astype(np.uint8).astype(dtype) if dtype.itemsize > 1 else noise.astype(dtype)
    return (noise / 256).astype(dtype)
