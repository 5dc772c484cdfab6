"""The fitted model: centers, palette, and the labels of any image with the same channels."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import refuse_file_or_layer
from napari_kmeans.execution.notices import notice
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.feature_space.colors import white_of
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.imaging.blocks import Pixels, open_pixels
from napari_kmeans.imaging.colors import display_colors
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.painting import (
    Painter,
    label_dtype,
    paint,
    renumber_labels,
    round_to,
)
from napari_kmeans.imaging.units import describe_other_units
from napari_kmeans.model_json import FORMAT, VERSION, VERSION_WITH_BLUR, check_entries, read_bytes
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """Cluster centers, and everything that is needed to apply them to another image.

    Attributes
    ----------
    cluster_centers_ : (M, F) float64 array
        The centers in the units of the clustering space. For rgb, gray and other
        channels these are channel units: 0…255 for uint8. There is one center for
        each cluster, or several where clusters were merged.
    palette : (K, C) float64 array
        The mean color of the pixels of each cluster, in channel units. Clusters
        are numbered from dark to bright.
    inertia_ : float
        The sum of the squared distances of all pixels to their nearest center, in
        squared units of the clustering space.
    n_iter_ : int
        The number of iterations of the last run of the fit.
    color_space : {"rgb", "hsv", "lab"}
        The space in which colors are compared.
    rgb : bool
        Whether the channels are red, green and blue.
    channel_axis : int or None
        The axis of the channels in an image; None for gray.
    dtype : numpy.dtype
        The dtype of the image that was fitted.
    normalize : {"none", "zscore", "percentile"}
        The kind of scaling of the channels.
    offset, scale : tuples of C floats
        A channel value is compared as ``(value - offset) / scale``. Both are empty
        where channels are not scaled.
    blur : float or tuple of floats
        The standard deviation of the Gaussian that blurs the channel values before they
        are compared, in pixels, or one for each spatial axis.
    merged_labels : (M,) int64 array or None
        The label, 1…K, of each center after clusters were merged; None if each center
        is a cluster. See `center_labels`.
    """

    cluster_centers_: Floats
    palette: Floats
    inertia_: float
    n_iter_: int
    color_space: str
    rgb: bool
    channel_axis: int | None
    dtype: np.dtype[Any]
    normalize: str = "none"
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    merged_labels: NDArray[np.int64] | None = None
    blur: float | tuple[float, ...] = 0.0

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        return (
            f"KMeansModel(n_clusters={self.n_clusters}, color_space={self.color_space!r}, "
            f"n_channels={self.n_channels}, dtype={self.dtype.name!r}, "
            f"inertia_={self.inertia_:.6g})"
        )

    @property
    def n_clusters(self) -> int:
        """The number of clusters K, merged clusters counted once."""
        return len(self.palette)

    @property
    def center_labels(self) -> NDArray[np.int64]:
        """The label, 1…K, of each center, (M,)."""
        if self.merged_labels is None:
            return np.arange(1, len(self.cluster_centers_) + 1)
        return self.merged_labels

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return int(self.palette.shape[1])

    @property
    def white(self) -> float:
        """The channel value of full brightness."""
        return white_of(self.dtype)

    @property
    def space(self) -> FeatureSpace:
        """The space in which colors are compared."""
        return FeatureSpace(self.color_space, self.white, self.offset, self.scale, self.blur)

    @property
    def options(self) -> Options:
        """The options of the fit as far as the model states them."""
        return Options(
            n_clusters=self.n_clusters,
            color_space=self.color_space,
            normalize=self.normalize,
            blur=self.blur,
        )

    @property
    def colors(self) -> Floats:
        """Colors (K, 3) from 0 to 1 that show the palette on a screen."""
        return display_colors(self.palette, self.rgb, self.dtype)

    def predict(self, image: Any, *, mask: Any = None, progress: Report | None = None) -> Any:
        """Return the label of each pixel's nearest center.

        Parameters
        ----------
        image : array
            An image with the channels of the image that was fitted, in the same
            units. A dask array gives lazy labels.
        mask : array of the image's spatial shape, optional
            Zero or False where a pixel is left out.
        progress : callable, optional
            ``progress(done, total)``; raising from it cancels.

        Returns
        -------
        array of unsigned integers, of the image's spatial shape
            1…K; 0 for pixels outside `mask`, of alpha 0, NaN or infinite.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            As `apply` does.

        Notes
        -----
        A pixel at exactly the same distance from two centers gets the lower label.
        `segment` may have given it the other label, because it paints in the order
        of the fit, before labels are numbered. The cost is the same.
        """
        pixels = self.open(image, mask)
        self._warn_of_other_units(pixels)
        return self.paint(pixels, progress, recolored=False)[0]

    def apply(
        self, image: Any, *, mask: Any = None, progress: Report | None = None
    ) -> tuple[Any, Any]:
        """Paint another image: its labels, and the image in the colors of the palette.

        Parameters
        ----------
        image : array
            As for `predict`. The dtype may be another one, the units may not: for a
            model of uint8, the values of a float image have to be 0…255 too.
        mask, progress
            As for `predict`.

        Returns
        -------
        labels : array of unsigned integers, of the image's spatial shape
            The labels that `predict` returns.
        recolored : array of the image's shape and dtype
            Each pixel in the mean color of its cluster, rounded and clipped to
            the range of the dtype. Pixels that are left out, and alpha, are unchanged.

        Both are lazy dask arrays where the image is one, and the image is not read.
        Only if its dtype has another full brightness than the dtype of the model, a
        few chunks are read to compare the units.

        Raises
        ------
        ValueError
            If the channels are not those of the model.

        Warns
        -----
        UserWarning
            If the image seems to be in other units than the model: it has another
            dtype, and its greatest value is more than 16 times that of the model's
            palette, or less than a 16th of it.
        """
        pixels = self.open(image, mask)
        self._warn_of_other_units(pixels)
        return self.paint(pixels, progress)

    def open(self, image: Any, mask: Any = None) -> Pixels:
        """Return an image that has the channels of the model as pixels; check it."""
        refuse_file_or_layer("image", image)
        self._check_channels(np.shape(image))
        pixels = open_pixels(image, rgb=self.rgb, channel_axis=self.channel_axis, mask=mask)
        self.space.sigmas(len(pixels.shape))
        return pixels

    def paint(
        self, pixels: Pixels, progress: Report | None = None, *, recolored: bool = True
    ) -> tuple[Any, Any]:
        """Return labels and recolored image of pixels that `open` returned.

        Like `apply`, but without the warning about units. The recolored image is None
        if it is not wanted.
        """
        stages = Progress(progress)
        n_blocks = len(pixels.blocks())
        painter = self._painter(pixels, stages, n_blocks)
        colors = self.palette[self.center_labels - 1] if recolored else None
        labels, image = paint(pixels, painter, colors, stages.stage(0.4, n_blocks))
        if self.merged_labels is not None:
            new_labels = np.append(0, self.merged_labels).astype(label_dtype(self.n_clusters))
            labels = renumber_labels(labels, new_labels)
        stages.finish()
        return labels, None if image is None else pixels.channels_back(image)

    def _warn_of_other_units(self, pixels: Pixels) -> None:
        sentence = describe_other_units(pixels, self.palette, self.dtype)
        if sentence is not None:
            notice(sentence, stacklevel=3)

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        axis = self.channel_axis
        n_channels = 1
        if axis is not None and len(shape) > 1 and -len(shape) <= axis < len(shape):
            n_channels = shape[axis]
        if n_channels != self.n_channels and not (self.rgb and n_channels == 4):
            raise ValueError(
                f"image must have the model's {self.n_channels} channels, got {n_channels} in "
                f"shape {shape}: apply the model to an image like the one it was fitted to."
            )

    def _painter(self, pixels: Pixels, stages: Progress, n_blocks: int) -> Painter:
        painter = Painter(self.cluster_centers_, self.space)
        # A table of colors needs all pixels; a lazy image is only read when it is viewed.
        if pixels.is_lazy or not self.space.is_pointwise:
            return painter
        codec = find_codec([pixels], stages.stage(0.2, n_blocks))
        if codec is None:
            return painter
        return painter.with_table(build_histogram([pixels], codec, stages.stage(0.4, n_blocks)))

    def with_blur(self, blur: float | tuple[float, ...]) -> KMeansModel:
        """Return the same model with another blur, as for another level of an image."""
        return replace(self, blur=blur)

    def recolor(self, labels: Any) -> NDArray[Any]:
        """Return an image in which each label has the color of the palette.

        Parameters
        ----------
        labels : array of integers 0…K

        Returns
        -------
        array of the fitted image's dtype
            With the shape of the labels and the channels at `channel_axis`, without
            alpha. Label 0 becomes 0.

        Raises
        ------
        TypeError, ValueError
            If `labels` are not whole numbers from 0 to K.
        """
        index = np.asarray(labels)
        if index.dtype.kind not in "bui":
            raise TypeError(
                f"labels must be whole numbers, got dtype {index.dtype}: "
                "pass the labels of predict."
            )
        if index.size and not 0 <= index.min() <= index.max() <= self.n_clusters:
            raise ValueError(
                f"labels must lie from 0 to {self.n_clusters}, got {index.min()} to "
                f"{index.max()}: pass labels of this model."
            )
        colors = np.vstack([np.zeros(self.n_channels), self.palette])
        image = np.take(round_to(colors, self.dtype), index.astype(np.intp), axis=0)
        if self.channel_axis is None:
            return image[..., 0]
        return np.moveaxis(image, -1, self.channel_axis)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain values that JSON can hold."""
        values = {
            "format": FORMAT,
            # An earlier program would apply the model without the blur: it must refuse.
            "version": VERSION if self.space.is_pointwise else VERSION_WITH_BLUR,
            "color_space": self.color_space,
            "rgb": self.rgb,
            "channel_axis": self.channel_axis,
            "dtype": self.dtype.name,
            "normalize": self.normalize,
            "offset": list(self.offset),
            "scale": list(self.scale),
            "cluster_centers": self.cluster_centers_.tolist(),
            "palette": self.palette.tolist(),
            "inertia": self.inertia_,
            "n_iter": self.n_iter_,
        }
        if not self.space.is_pointwise:
            values["blur"] = list(self.blur) if isinstance(self.blur, tuple) else self.blur
        if self.merged_labels is not None:
            values["center_labels"] = self.merged_labels.tolist()
        return values

    @classmethod
    def from_dict(cls, values: Any) -> KMeansModel:
        """Return the model that `to_dict` wrote.

        Raises
        ------
        ValueError
            If an entry is missing, has the wrong type or contradicts another entry.
        """
        return cls(**check_entries(values))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a JSON file, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        write_whole({Path(path): lambda part: part.write_text(text, encoding="utf-8")})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KMeansModel:
        """Read a model from a JSON file.

        Every value is checked, and nothing is executed. The file has at most 64 MiB,
        and the model at most 65,535 clusters and 65,535 channels.

        Raises
        ------
        ValueError
            If the file does not hold a model; the message names the file.
        OSError
            If the file cannot be read.
        """
        try:
            return cls.from_dict(json.loads(read_bytes(Path(path))))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"cannot read a model from {os.fspath(path)!r}: {error}") from error
