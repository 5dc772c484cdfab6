"""The facade: an array and options in, a Segmentation out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_kmeans.parameters import Options

if TYPE_CHECKING:
    import pandas as pd

    from napari_kmeans.model import KMeansModel


@dataclass(frozen=True, eq=False)
class Coreset:
    """points (m, C) channel values, weights (m,), positions (m, ndim) or None."""

    points: Any
    weights: Any
    positions: Any


@dataclass(frozen=True, eq=False)
class Segmentation:
    labels: Any
    recolored: Any
    model: KMeansModel
    table: pd.DataFrame
    coreset: Coreset | None
    options: Options


def segment(
    image: Any,
    n_clusters: int = Options.n_clusters,
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    color_space: str = Options.color_space,
    method: str = Options.method,
    coreset_size: int | str = Options.coreset_size,
    mask: Any = None,
    init: Any = Options.init,
    n_init: int | str = Options.n_init,
    max_iter: int = Options.max_iter,
    tol: float = Options.tol,
    random_state: int | None = Options.random_state,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    raise NotImplementedError
