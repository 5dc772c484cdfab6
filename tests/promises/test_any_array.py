"""Any array with any options gives the right result, or an error of one clear sentence.

A run makes some hundreds of calls, the same in each run. ``FUZZ_CASES=10000`` makes 10,000 calls,
different in each run. The expected result of a call is computed here with NumPy, scikit-image and
scikit-learn. The faults of a call are found here too: the error of a call with faults has to name
one of them, and a call without faults has to return a result.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hsv, rgb2lab
from sklearn.metrics import pairwise_distances

from napari_kmeans import KMeansModel, segment, segment_slices, summarize
from napari_kmeans.imaging import blocks, chunks, cleaning
from napari_kmeans.options import SUMMARY_OPTIONS

CASES = int(os.environ.get("FUZZ_CASES", "0"))

LARGEST = 1e100
"""Largest absolute value that a pixel may have."""

MAX_PIXELS = 900
"""Largest drawn image: several blocks, and fast to compare each pixel with each center."""

INTEGERS = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">u2", ">i2", ">u4", ">i8"]
FLOATS = ["f2", "f4", "f8", "g", ">f2", ">f4", ">f8"]
OTHER_DTYPES = ["c8", "c16", "O", "U3", "S2", "M8[s]", "m8[s]", "V4"]
LAYOUTS = ["plain", "read-only", "fortran", "strided", "reversed", "broadcast", "memmap", "list"]
LAYOUTS += ["dask", "dask", "zarr"]
MASK_LAYOUTS = ["plain", "plain", "reversed", "list", "dask", "zarr"]
VALUE_KINDS = ["unit", "ends", "offset", "bytes", "unit", "denormal", "magnitudes", "whole"]
VALUE_KINDS += ["dim", "shifted"]

DEFAULTS = {
    "n_clusters": 8,
    "color_space": "rgb",
    "normalize": "none",
    "blur": 0.0,
    "balance": 0.0,
    "method": "coreset",
    "coreset_size": "auto",
    "init": "k-means++",
    "n_init": "auto",
    "max_iter": 300,
    "tol": 1e-4,
    "random_state": 0,
}
NOT_WHOLE = [
    0,
    -1,
    10**30,
    2.0,
    float("nan"),
    "many",
    None,
    True,
    [3],
    np.array([1, 2]),
    {},
]
OPTIONS: dict[str, tuple[list[Any], list[Any]]] = {
    "n_clusters": (
        [1, 2, 2, 3, 3, 5, 5, 8, 17, 255, 256, 257, 1000, np.int64(4), 65535],
        [*NOT_WHOLE, 65536],
    ),
    "color_space": (["rgb", "rgb", "hsv", "lab"], ["RGB", "", None, 3, np.array(["rgb", "lab"])]),
    "normalize": (["none", "none", "zscore", "percentile"], ["z", None, 0, ["none"]]),
    "blur": (
        [0, 0.0, 0.1, 0.7, np.float32(1.5), 4, 100, "axes", "axes", "axes"],
        [-1, 101.0, float("nan"), "2", None, True, [], [1.0, "x"], (1.0,) * 9],
    ),
    "balance": ([0.0, 0.5, 1, np.float32(0.25)], [-0.1, 1.5, float("nan"), "0", None, 1j, [0.5]]),
    "method": (["coreset", "full"], ["fast", None, 0]),
    "coreset_size": (["auto", "auto", 1, 3, 20, 300, 10**6], [*NOT_WHOLE, 2**31, "all"]),
    "n_init": (["auto", 1, 2, np.uint8(5)], [*NOT_WHOLE, 10_001, "few"]),
    "max_iter": ([1, 2, 300, 10**6], [*NOT_WHOLE, 10**6 + 1]),
    "tol": ([0, 1e-4, 0.5, 1.0], [-1e-9, 2, float("inf"), float("nan"), "small", None, [0.1]]),
    "random_state": (
        [0, 1, 2**32 - 1, np.int32(7), None],
        [-1, 2**32, 0.5, "x", True, np.random.default_rng(0)],
    ),
}
"""Valid and invalid values of each option. The blur "axes" is a number for each axis."""


def fuzz(share: float) -> Any:
    """Return hypothesis settings for a share of all cases."""
    return settings(
        max_examples=max(int((CASES or 200) * share), 1),
        derandomize=not CASES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# ------------------------------------------------------------------------- drawing calls


@dataclass(repr=False)
class Case:
    """A call of `segment`, with all that is needed to check its result."""

    array: np.ndarray
    """The image as a NumPy array."""

    layout: str = "plain"
    seed: int = 0
    """Seed from which chunks are drawn."""

    rgb: Any = None
    channel_axis: Any = None
    mask: np.ndarray | None = None
    mask_layout: str = "plain"
    options: dict[str, Any] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)
    """Names of the options whose value is invalid by itself."""

    block: int = 2**19
    """Number of pixels in a block; a batch of chunks has at most twice this number."""

    in_slices: bool = False
    """Whether each slice is clustered by itself, so that a blur has two axes."""

    def __repr__(self) -> str:
        with np.printoptions(threshold=20):
            fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Case({' '.join(fields.split())})"

    @property
    def all_options(self) -> dict[str, Any]:
        return DEFAULTS | self.options

    @property
    def is_lazy(self) -> bool:
        return self.layout in ("dask", "zarr")

    @property
    def is_colored(self) -> bool:
        if self.rgb is not None:
            return bool(self.rgb)
        shape = self.array.shape
        last = len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 30
        return self.channel_axis is None and last

    def channels_last(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the image's shape as pixels (..., C), alpha included."""
        if self.is_colored:
            return array
        return (
            array[..., None]
            if self.channel_axis is None
            else np.moveaxis(array, int(self.channel_axis), -1)
        )

    def colors(self, array: np.ndarray) -> np.ndarray:
        """Return the channels (..., C) that are clustered: all but alpha."""
        pixels = self.channels_last(array)
        return pixels[..., :3] if self.is_colored else pixels

    @property
    def n_axes(self) -> int:
        """The number of axes of a blur."""
        has_channels = self.is_colored or self.channel_axis is not None
        return 2 if self.in_slices else self.array.ndim - has_channels

    @property
    def is_blurred(self) -> bool:
        return bool(np.any(self.all_options["blur"]))

    @property
    def is_narrow(self) -> bool:
        """Whether float32 holds all values, so that blurred values are rounded to float32."""
        return np.can_cast(self.array.dtype, np.float32)

    def compared(self, index: Any = ()) -> np.ndarray:
        """Return the compared colors (n, C) of the included pixels, of one slice at an index."""
        colors, included = self.colors(self.array)[index], self.included[index]
        if not self.is_blurred:
            return colors[included].astype(float)
        sigmas = np.broadcast_to(np.asarray(self.all_options["blur"], float), included.ndim)

        def blur(values: np.ndarray) -> np.ndarray:
            return gaussian_filter(values, sigmas, mode="constant", truncate=4)

        weights = blur(included.astype(float))[included]
        zeros = np.where(included[..., None], colors, 0).astype(float)
        sums = [blur(channel)[included] for channel in np.moveaxis(zeros, -1, 0)]
        return np.stack(sums, axis=-1) / weights[:, None]

    @property
    def included(self) -> np.ndarray:
        """Return the mask of the pixels that are clustered."""
        pixels = self.channels_last(self.array)
        included = np.isfinite(self.colors(self.array)).all(axis=-1)
        if self.is_colored and pixels.shape[-1] == 4:
            included &= pixels[..., 3] != 0
        return included if self.mask is None else included & (self.mask != 0)


@st.composite
def shapes(draw: Any) -> tuple[int, ...]:
    if draw(st.integers(0, 4)) == 4:
        # Shapes that are RGB where `rgb` is None, and shapes near to these.
        return (*draw(st.sampled_from([(31, 31), (30, 40), (1, 32, 31)])), draw(st.integers(2, 5)))
    shape: list[int] = []
    min_side = draw(st.sampled_from([1] * 14 + [0]))
    for side in draw(st.lists(st.integers(min_side, 24), min_size=min_side, max_size=5)):
        shape.append(side if side * np.prod(shape or [1]) <= MAX_PIXELS else 1)
    if draw(st.booleans()) and len(shape) < 5:
        shape.insert(draw(st.integers(0, len(shape))), draw(st.integers(1, 5)))
    return tuple(shape)


def draw_numbers(rng: np.random.Generator, dtype: np.dtype, kind: str, shape: Any) -> np.ndarray:
    """Return numbers of a dtype, of a kind that may be difficult for the dtype."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "ui":
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if kind in ("ends", "denormal"):
            return rng.choice(np.array([low, low + 1, 0, 1, high - 1, high], dtype), shape)
        if kind == "offset":
            start = (low, high - 20)[rng.integers(2)]
            return np.array(np.asarray(rng.integers(0, 21, shape), "O") + start, dtype)
        if kind in ("dim", "shifted"):
            # Dark or flat photographs: their colors lie in few cells of color space.
            start = 0 if kind == "dim" else min(high, 255) // 2
            return np.asarray(start + rng.integers(0, rng.integers(2, 9), shape), dtype)
        if kind in ("bytes", "unit"):
            return np.asarray(rng.integers(0, min(high, 255) + 1, shape), dtype)
        native = dtype.newbyteorder("=").type
        return np.asarray(rng.integers(low, high, shape, native, endpoint=True), dtype)
    info = np.finfo(dtype)
    if kind == "ends":
        ends = [0, -0.0, info.max, info.min, info.tiny, info.smallest_subnormal, 1, 1 + info.eps]
        return rng.choice(np.array(ends, dtype), shape)
    if kind == "denormal":
        return np.asarray(rng.integers(-20, 50, shape), dtype) * info.smallest_subnormal
    if kind == "offset":
        return np.asarray(0.25 / info.eps + rng.integers(0, 30, shape), dtype)
    if kind in ("bytes", "dim", "shifted"):
        low, high = {"bytes": (0, 256), "dim": (0, 5), "shifted": (100, 105)}[kind]
        return np.asarray(rng.integers(low, high, shape), dtype)
    if kind == "unit":
        return np.asarray(rng.random(shape), dtype)
    if kind == "magnitudes":
        exponent = min(float(np.log10(info.max)), 100.0) * 0.99
        numbers = 10.0 ** rng.uniform(-1.5 * exponent, exponent, shape)
        return np.asarray(numbers * rng.choice([-1, 1], shape), dtype)
    return np.asarray(rng.normal(0, 10.0 ** rng.integers(-3, 4), shape), dtype)


@st.composite
def arrays(draw: Any, shape: tuple[int, ...], colors_at: int | None) -> np.ndarray:
    """Draw an image of few or many values, or of few or many colors along an axis."""
    if draw(st.integers(0, 24)) == 24:
        return np.zeros(shape, draw(st.sampled_from(OTHER_DTYPES)))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS + FLOATS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, size = draw(st.sampled_from(VALUE_KINDS)), draw(st.sampled_from([1, 2, 5, 30, 0]))
    with np.errstate(all="ignore"):
        if colors_at is None or not size or len(shape) < 2:
            values = draw_numbers(rng, dtype, kind, (size,) if size else shape)
            array = rng.choice(values, shape) if size else values
        else:
            values = draw_numbers(rng, dtype, kind, (size, shape[colors_at]))
            spatial = np.delete(shape, colors_at)
            array = np.moveaxis(values[rng.integers(0, size, spatial)], -1, colors_at)
        array = np.array(array, dtype, order="C")
    share = draw(st.sampled_from([0, 0, 0, 0.02, 0.5, 1]))
    if dtype.kind == "f" and share:
        holes = rng.random(shape) < share
        array[holes] = rng.choice([np.nan, np.inf, -np.inf], np.count_nonzero(holes))
    return array


@st.composite
def masks(draw: Any, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["bool", "bool", "ints", "floats", "none", "all", "shape", "text"]))
    if kind == "shape":
        return np.ones(draw(st.sampled_from([(), (3,), (*shape, 1), (*shape[:-1], 7)])), bool)
    if kind == "text":
        return np.full(shape, draw(st.sampled_from(["no", None, 1j])))
    if kind == "ints":
        return rng.choice(np.array([0, 1, 7, -1], draw(st.sampled_from(["i1", ">i4"]))), shape)
    if kind == "floats":
        return rng.choice(np.array([0.0, 0.5, -0.0]), shape)
    return rng.random(shape) < {"bool": 0.7, "none": 0, "all": 1}[kind]


@st.composite
def cases(draw: Any, one_in: int = 120, in_slices: bool = False) -> Case:
    """Draw a call in which one of about `one_in` options is invalid."""
    shape = draw(shapes())
    n_axes = len(shape)
    rgb = draw(st.sampled_from([None, None, False, True, True]))
    if rgb and n_axes and draw(st.integers(0, 9)):
        shape = (*shape[:-1], draw(st.sampled_from([3, 4])))
    axis = None
    if rgb is not True and draw(st.booleans()):
        short = [i - n_axes * n for i, side in enumerate(shape) if side < 6 for n in (0, 1)]
        axis = draw(st.sampled_from(short)) if short else None
    colors_at = -1 if rgb else axis
    if draw(st.integers(0, one_in)) == one_in:
        axis = draw(st.sampled_from([n_axes, -n_axes - 1, 0, 1.0, "c", True, None, np.int8(-1)]))
        colors_at = None
    array = draw(arrays(shape, colors_at))
    case = Case(array, rgb=rgb, channel_axis=axis, in_slices=in_slices)
    case.layout, case.seed = draw(st.sampled_from(LAYOUTS)), draw(st.integers(0, 99))
    case.block = draw(st.sampled_from([2**19, 2**19, 100]))
    if draw(st.integers(0, 2)) == 2:
        channels = -1 if case.is_colored else axis
        is_axis = isinstance(channels, (int, np.integer)) and not isinstance(channels, bool)
        is_axis = is_axis and -n_axes <= channels < n_axes
        case.mask = draw(masks(tuple(np.delete(shape, channels)) if is_axis else shape))
        case.mask_layout = draw(st.sampled_from(MASK_LAYOUTS))
    draw_options(draw, case, one_in)
    return case


def draw_options(draw: Any, case: Case, one_in: int) -> None:
    for name, (valid, invalid) in OPTIONS.items():
        if draw(st.integers(0, one_in)) == one_in:
            case.options[name] = draw(st.sampled_from(invalid))
            case.invalid.add(name)
        elif name == "n_clusters" or draw(st.integers(0, 2)) == 2:
            case.options[name] = draw(st.sampled_from(valid))
    if case.options.get("blur") == "axes" and "blur" not in case.invalid:
        sigmas = st.sampled_from([0, 0.0, 0.4, 1.0, 3.5])
        case.options["blur"] = tuple(draw(sigmas) for _ in range(case.n_axes)) or 0.0
    make_consistent(draw, case)
    if draw(st.integers(0, 3)) == 3:
        case.options["init"] = draw(starts(case))


def make_consistent(draw: Any, case: Case) -> None:
    """Change options that contradict each other, except in one call of ten."""
    how = case.all_options
    if draw(st.integers(0, 9)) == 9:
        return
    if not case.is_colored or how["normalize"] != "none":
        case.options.pop("color_space", None)
        case.invalid.discard("color_space")
    if not {"coreset_size", "n_clusters"} & case.invalid and how["coreset_size"] != "auto":
        case.options["n_clusters"] = min(how["n_clusters"], how["coreset_size"])


@st.composite
def starts(draw: Any, case: Case) -> Any:
    """Draw a value of `init`: a name or colors, valid or not."""
    kind = draw(st.sampled_from(["random", "random", "colors", "colors", "list", "wrong"]))
    if kind == "random":
        return kind
    number = case.options["n_clusters"]
    n_clusters = number if "n_clusters" not in case.invalid and number < 300 else 2
    axis = case.channel_axis
    n_channels = 1
    if case.is_colored:
        n_channels = 3
    elif isinstance(axis, int) and -case.array.ndim <= axis < case.array.ndim:
        n_channels = case.array.shape[axis]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    far = draw(st.sampled_from([0.5, 100, 1e5, 1e90]))
    colors = rng.uniform(draw(st.sampled_from([0, -far])), far, (n_clusters, n_channels))
    if draw(st.booleans()):
        # All centers are equal: at first only one of them gets pixels.
        colors[:] = colors[:1]
    if kind == "colors":
        return colors.astype(draw(st.sampled_from(["f8", "f4", "i8"])) if far < 1e9 else "f8")
    if kind == "list":
        return colors.tolist()
    ragged = [[0.0] * n_channels, [0.0] * (n_channels + 1)]
    more = np.vstack([colors, colors])
    wrong = [np.nan * colors, colors[0], colors[None], more, colors[:0], colors[:, :0]]
    wrong += [
        np.hstack([colors, colors]),
        np.full(colors.shape, "red"),
        np.full(colors.shape, 1e300),
    ]
    return draw(st.sampled_from([*wrong, ragged, None, 3, "best", [], colors + 1j]))


# ---------------------------------------------------------------------- layouts of images


def apply_layout(array: np.ndarray, layout: str, seed: int = 0) -> Any:
    """Return an image of the same values in another layout."""
    if layout in ("dask", "zarr") and array.ndim and array.dtype.kind in "buif":
        return split_into_chunks(array, layout, seed)
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    elif layout == "fortran" and array.ndim:
        return np.asfortranarray(array)
    elif layout == "strided" and array.ndim:
        padded = np.zeros([2 * side + 1 for side in array.shape], array.dtype)
        padded[tuple([slice(1, None, 2)] * array.ndim)] = array
        return padded[tuple([slice(1, None, 2)] * array.ndim)]
    elif layout == "reversed" and array.ndim:
        flip = tuple([slice(None, None, -1)] * array.ndim)
        return np.ascontiguousarray(array[flip])[flip]
    elif layout == "broadcast" and array.ndim and array.shape[0]:
        return np.broadcast_to(array[:1], array.shape)
    elif layout == "memmap" and array.size and array.dtype != "O":
        with tempfile.TemporaryFile() as file:
            file.write(array.tobytes())
            file.flush()
            return np.memmap(file, array.dtype, "r", shape=array.shape)
    elif layout == "list" and array.dtype.kind in "bif" and array.dtype.itemsize <= 8:
        return array.tolist()
    return array


def split_into_chunks(array: np.ndarray, layout: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if layout == "dask":
        cuts = [np.sort(rng.integers(0, side + 1, rng.integers(0, 3))) for side in array.shape]
        sizes = [np.diff([0, *cut, side]) for cut, side in zip(cuts, array.shape, strict=True)]
        return da.from_array(array, chunks=tuple(tuple(map(int, size)) for size in sizes))
    if array.dtype.itemsize > 8 or not array.size:
        return array
    sizes = [int(rng.integers(max(side // 3, 1), side + 2)) for side in array.shape]
    return zarr.array(array, chunks=sizes, store=zarr.storage.MemoryStore())


def resolve_layout(case: Case) -> Case:
    """Return the case with the array that `numpy.asarray` returns for its layout."""
    array = case.array
    if case.layout == "broadcast" and array.ndim and array.shape[0]:
        array = np.broadcast_to(array[:1], array.shape)
    elif case.layout == "list":
        array = np.asarray(apply_layout(array, "list"))
    lazy = case.is_lazy and array.ndim > 0 and array.dtype.kind in "buif"
    lazy = lazy and (case.layout == "dask" or (array.dtype.itemsize <= 8 and array.size > 0))
    return replace(case, array=array, layout=case.layout if lazy or not case.is_lazy else "plain")


def make_mask(case: Case) -> Any:
    """Return the mask of a call in its layout."""
    if case.mask is None:
        return None
    return apply_layout(case.mask, case.mask_layout, case.seed + 1)


def as_list_of_one(seg: Any) -> Any:
    """Return the segmentation of an image as the segmentation of a list with this image."""
    return replace(seg, labels=[seg.labels], recolored=[seg.recolored])


def read_memory(image: Any) -> bytes:
    """Return the memory of an image as bytes, including the memory between its pixels."""
    while isinstance(image, np.ndarray) and isinstance(image.base, np.ndarray):
        image = image.base
    return np.asarray(image).tobytes()


# ------------------------------------------------------------------------- faults of calls


NO_PIXEL = "no pixel"
"""Fault of an image whose pixels are all left out. Another image may have pixels."""


def find_faults(case: Case) -> tuple[set[str], set[str]]:
    """Return the faults of a call and its possible faults, as names of arguments.

    A call with faults has to raise an error. The error has to name an argument of either set.
    """
    must, may = set(case.invalid), set()
    must |= find_faults_of_options(case)
    if case.array.dtype.kind not in "buif" or not case.array.size or not case.array.ndim:
        return must | {"image"}, may | {"rgb", "channel_axis", "mask", "init", "color_space"}
    shape, axis = case.array.shape, case.channel_axis
    if case.is_colored and (len(shape) < 2 or shape[-1] not in (3, 4)):
        return must | {"rgb"}, may | {"channel_axis", "mask", "init"}
    if case.rgb and axis not in (None, -1, len(shape) - 1):
        return must | {"channel_axis"}, may | {"mask", "init"}
    if not case.is_colored and axis is not None:
        is_whole = isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
        if not is_whole or len(shape) < 2 or not -len(shape) <= axis < len(shape):
            return must | {"channel_axis"}, may | {"mask", "init", "color_space"}
    colors = case.colors(case.array)
    if case.mask is not None and (
        case.mask.shape != colors.shape[:-1] or case.mask.dtype.kind not in "buif"
    ):
        return must | {"mask"}, may | {"init", "color_space"}
    space, dtype = case.all_options["color_space"], case.array.dtype
    if space == "lab" and case.is_colored and dtype.kind in "ui" and dtype.itemsize > 2:
        must.add("color_space")
    init = case.all_options["init"]
    if not isinstance(init, str) and "init" not in must:
        must |= find_faults_of_init(np.asarray(init, float), case)
    must |= find_faults_of_pixels(case, colors[case.included])
    return must, may | find_possible_faults(case)


def find_faults_of_options(case: Case) -> set[str]:
    options, faults = case.all_options, set()
    if isinstance(options["blur"], tuple) and "blur" not in case.invalid:
        faults |= set() if len(options["blur"]) == case.n_axes else {"blur"}
    are_valid = {"normalize", "color_space"}.isdisjoint(case.invalid)
    if are_valid and options["normalize"] != "none" and options["color_space"] != "rgb":
        faults.add("normalize")
    size, n_clusters = options["coreset_size"], options["n_clusters"]
    are_valid = {"coreset_size", "n_clusters"}.isdisjoint(case.invalid)
    if are_valid and size != "auto" and size < n_clusters:
        faults.add("coreset_size")
    if isinstance(options["init"], str):
        return faults | (set() if options["init"] in ("k-means++", "random") else {"init"})
    try:
        colors = np.asarray(options["init"])
        is_valid = colors.dtype.kind in "iuf" and colors.ndim == 2 and np.isfinite(colors).all()
        is_valid = (
            is_valid and len(colors) == n_clusters and (abs(colors.astype(float)) <= LARGEST).all()
        )
    except ValueError:
        is_valid = False
    return faults if is_valid else faults | {"init"}


def find_faults_of_init(init: np.ndarray, case: Case) -> set[str]:
    if init.ndim != 2:
        return {"init"}
    space = case.all_options["color_space"]
    is_invalid = init.shape[1] != case.colors(case.array).shape[-1]
    if isinstance(space, str) and space in ("hsv", "lab"):
        is_invalid = is_invalid or init.min() < 0 or init.max() > white_of(case.array.dtype)
    return {"init"} if is_invalid else set()


def find_faults_of_pixels(case: Case, colors: np.ndarray) -> set[str]:
    if not len(colors):
        return {NO_PIXEL}
    largest = np.abs(colors.astype(np.longdouble)).max()
    faults = {"image"} if largest > LARGEST else set()
    space = case.all_options["color_space"]
    if isinstance(space, str) and space in ("hsv", "lab"):
        if not case.is_colored:
            return faults | {"color_space"}
        # Compare as float64, in which the smallest long doubles are 0.
        if float(colors.min()) < 0 or float(colors.max()) > white_of(case.array.dtype):
            faults |= {"color_space"}
    return faults


def find_possible_faults(case: Case) -> set[str]:
    """Return the faults of colors that cannot be counted, or that spread too far."""
    faults = set()
    if case.is_lazy and case.all_options["method"] == "full" and case.all_options["balance"]:
        faults.add("balance")
    if case.array.dtype.kind == "f" and case.array.dtype.itemsize >= 8:
        faults |= {"normalize"} if case.all_options["normalize"] == "percentile" else set()
    return faults


def white_of(dtype: np.dtype) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


# ------------------------------------------------------------------ checks of the result


def call_and_check_error(function: Any, *cases_: Case, more: set[str] | None = None) -> Any:
    """Return the result of a call and whether it warned, or None after a correct error.

    `more` are faults besides those of the cases.
    """
    faults = [find_faults(case) for case in cases_]
    must, may = (set().union(*sets) for sets in zip(*faults, strict=True))
    if all(NO_PIXEL in each for each, _ in faults):
        must |= {"image"}
    must = (must | (more or set())) - {NO_PIXEL}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function()
        except (TypeError, ValueError) as error:
            check_sentence(error, must | may)
            return None
    assert not must, f"no error in spite of {must}"
    for warning in caught:
        assert warning.category is UserWarning, warning
        assert re.fullmatch(
            r"n_clusters=\d+ gave (fewer|\d+) clusters?.*[^.]\.", str(warning.message)
        )
    return result, bool(caught)


def check_sentence(error: Exception, names: set[str]) -> None:
    text = str(error)
    # Refuse subclasses from libraries: they are not the errors of a check of this package.
    is_own = type(error).__module__.startswith("napari_kmeans.")
    assert is_own or type(error) in (TypeError, ValueError), repr(error)
    assert "\n" not in text, text
    assert len(text) < 400, text
    assert text.endswith("."), text
    assert "got " in text, text
    assert any(re.search(rf"\b{name}\b", text) for name in names), (text, names)


def check_labels(case: Case, labels: np.ndarray, n_clusters: int) -> None:
    assert labels.shape == case.included.shape
    assert labels.dtype == np.min_scalar_type(n_clusters)
    np.testing.assert_array_equal(labels == 0, ~case.included)
    assert labels.max() <= n_clusters


def check_recolored(case: Case, labels: np.ndarray, recolored: np.ndarray, palette: Any) -> None:
    array = case.array
    assert recolored.shape == array.shape
    assert recolored.dtype == array.dtype
    colors, painted = case.colors(array), case.colors(recolored)
    np.testing.assert_array_equal(painted[labels == 0], colors[labels == 0])
    expected = round_to_dtype(palette, array.dtype)[labels[labels > 0] - 1]
    np.testing.assert_array_equal(painted[labels > 0], expected)
    beside = [case.channels_last(a)[..., colors.shape[-1] :] for a in (array, recolored)]
    np.testing.assert_array_equal(*beside)


def round_to_dtype(palette: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return palette.astype(dtype)
    if dtype.kind == "b":
        return palette >= 0.5
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    rounded = [min(max(round(float(value)), low), high) for value in palette.ravel()]
    return np.array(rounded, dtype).reshape(palette.shape)


def check_clusters(
    colors: np.ndarray,
    compared: np.ndarray,
    labels: np.ndarray,
    model: Any,
    table: Any,
    warned: bool,
    case: Case,
) -> None:
    """Check a model and its table against the colors (n, C) and labels (n,) of all pixels.

    `compared` (n, C) are the blurred colors.
    """
    n_clusters, wanted = model.n_clusters, case.all_options["n_clusters"]
    exact = compared if case.is_blurred else colors.astype(np.longdouble)
    distinct = np.unique(exact, axis=0)
    assert 1 <= n_clusters <= min(wanted, len(distinct))
    points = np.unique(to_space(compared, model, case), axis=0)
    if len(points) == len(distinct) and are_distinguishable(points, rounding(case, compared)):
        assert n_clusters == min(wanted, len(distinct))
    assert warned == (n_clusters < wanted)
    counts = np.bincount(labels - 1, minlength=n_clusters)
    assert table["index"].tolist() == list(range(1, n_clusters + 1))
    assert table["pixels"].tolist() == counts.tolist()
    assert counts.all()
    np.testing.assert_allclose(table["percent"], 100 * counts / len(labels), rtol=1e-12)
    check_palette(colors, labels, model)
    assert table["color"].str.fullmatch("#[0-9a-f]{6}").all()
    means = table.filter(like="mean ").to_numpy()
    np.testing.assert_array_equal(means, model.palette)
    light = model.palette @ [0.2126, 0.7152, 0.0722] if model.rgb else model.palette.mean(axis=1)
    assert (np.diff(light) >= -1e-12 * np.abs(model.palette).max()).all()
    check_cost(to_space(compared, model, case), labels, model, rounding(case, compared))


def rounding(case: Case, compared: np.ndarray) -> float:
    """Return an upper bound of the rounding error of the compared colors."""
    error = (1e-7 if case.is_narrow else 1e-11) if case.is_blurred else 0.0
    return float(error * np.abs(compared).max(initial=0))


def are_distinguishable(points: np.ndarray, error: float) -> bool:
    """Return whether all squared distances are larger than a distance 0 with its rounding error."""
    distances = pairwise_distances(points, metric="sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    least = max(1e-18 * np.abs(points).max() ** 2, 1e-290)
    # A squared error in lab, or after a scaling, may be larger than in channel units.
    return bool(distances.min() > (least if not error else max(least, 1e-2, 1e6 * error**2)))


def check_palette(colors: np.ndarray, labels: np.ndarray, model: Any) -> None:
    """Check that the colors of the palette are the means of their pixels."""
    for label, mean in enumerate(model.palette, start=1):
        own = colors[labels == label].astype(np.longdouble)
        assert (np.abs(mean - own.mean(axis=0)) <= 1e-12 * np.abs(own).max(axis=0) + 1e-300).all()


def to_space(colors: np.ndarray, model: Any, case: Case) -> np.ndarray:
    """Return colors (n, C) in the clustering space that the options ask for."""
    space, white = case.all_options["color_space"], white_of(case.array.dtype)
    if space == "lab":
        return rgb2lab(colors / white)
    if space == "hsv":
        hue, saturation, value = rgb2hsv(colors / white).T
        chroma, angle = saturation * value, 2 * np.pi * hue
        return np.stack([chroma * np.cos(angle), chroma * np.sin(angle), value], axis=1) * white
    if case.all_options["normalize"] == "none":
        assert model.scale == model.offset == ()
        return colors
    check_scales(colors, model, case.all_options["normalize"], rounding(case, colors))
    return (colors - model.offset) / model.scale


def check_scales(colors: np.ndarray, model: Any, normalize: str, error: float) -> None:
    for column, offset, scale in zip(colors.T, model.offset, model.scale, strict=True):
        tolerance = 1e-12 * np.abs(column).max() + error
        if normalize == "zscore":
            # Scales are rounded, so that the order of summation does not change them.
            assert abs(offset - column.mean()) <= tolerance + 1e-10 * scale
            assert scale == 1 or abs(scale - column.std()) <= 1e-9 * scale + tolerance
            continue
        for end, percent in ((offset, 0.01), (offset + scale, 0.99)):
            if end is offset or scale != 1:
                share = percent * len(column)
                assert np.count_nonzero(column < end - tolerance) <= share * (1 + 1e-9)
                assert np.count_nonzero(column <= end + tolerance) >= share * (1 - 1e-9)


def check_cost(points: np.ndarray, labels: np.ndarray, model: Any, error: float) -> None:
    """Check up to rounding that each point has its nearest center, and the cost of all points."""
    distances = pairwise_distances(points, model.cluster_centers_, metric="sqeuclidean")
    smallest = distances.min(axis=1)
    own = distances[np.arange(len(labels)), labels - 1]
    tolerance = 1e-14 * np.abs(points).max() * points.shape[1] + 1e-160
    tolerance += error * points.shape[1] / min(model.scale or (1,))
    if model.color_space != "rgb":
        tolerance += 1e-12 * model.white if model.color_space == "hsv" else 1e-9
        # The steepest parts of hsv and lab: ten units for the share of a channel.
        tolerance += 1e4 * error / (1 if model.color_space == "hsv" else model.white)
    assert (np.sqrt(own) <= np.sqrt(smallest) * (1 + 1e-9) + tolerance).all()
    cost, slack = smallest.sum(), tolerance * np.sqrt(len(smallest))
    assert np.sqrt(model.inertia_) <= np.sqrt(cost) * (1 + 1e-9) + slack
    assert np.sqrt(model.inertia_) >= np.sqrt(cost) * (1 - 1e-9) - slack


def check_saved_model(case: Case, image: Any, mask: Any, seg: Any) -> None:
    """Check that the model, written as JSON and read again, gives valid labels and colors."""
    model = KMeansModel.from_dict(json.loads(json.dumps(seg.model.to_dict())))
    predicted = np.asarray(model.predict(image, mask=mask))
    labels, recolored = map(np.asarray, model.apply(image, mask=mask))
    np.testing.assert_array_equal(labels, predicted)
    check_labels(case, labels, model.n_clusters)
    check_recolored(case, labels, recolored, model.palette)
    compared = case.compared()
    points = to_space(compared, model, case)
    check_cost(points, labels[case.included], model, rounding(case, compared))


def call_with_block_size(case: Case, function: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", case.block)
        patch.setattr(chunks, "_BATCH_PIXELS", min(chunks._BATCH_PIXELS, 2 * case.block))
        patch.setattr(cleaning, "_BLOCK_PIXELS", case.block)
        return function()


def check_segmentation(cases_: list[Case], segs: Any, warned: bool) -> None:
    """Check the segmentation of one or several images."""
    for case, labels, recolored in zip(cases_, segs.labels, segs.recolored, strict=True):
        assert isinstance(labels, da.Array if case.is_lazy else np.ndarray)
        check_labels(case, np.asarray(labels), segs.model.n_clusters)
        check_recolored(case, np.asarray(labels), np.asarray(recolored), segs.model.palette)
    colors = np.concatenate([case.colors(case.array)[case.included] for case in cases_])
    labels = np.concatenate(
        [
            np.asarray(labels)[case.included]
            for case, labels in zip(cases_, segs.labels, strict=True)
        ]
    )
    compared = np.concatenate([case.compared() for case in cases_])
    check_clusters(colors, compared, labels.astype(int), segs.model, segs.table, warned, cases_[0])
    assert segs.distortion >= 1
    assert (segs.coreset is None) == (cases_[0].all_options["method"] == "full")


@fuzz(0.5)
@given(cases())
@example(Case(np.array([1, 2, 2, 9], ">u4"), options={"n_clusters": 2}))
@example(Case(np.array([1.2e-322, 2e-322]), options={"n_clusters": 2, "method": "full"}))
@example(Case(np.array([0, 1, 7]) * 5e-324, layout="dask", options={"method": "full"}))
@example(Case(np.array([1, -1.7e308, np.nan])))
@example(Case(np.zeros((5, 5)), mask=np.full((5, 5), "no")))
@example(Case(np.zeros((4, 3, 2)), channel_axis=np.int8(-1), options={"n_clusters": 1}))
def test_segment_gives_a_right_result_or_a_clear_error(case):
    case = resolve_layout(case)
    image, mask = apply_layout(case.array, case.layout, case.seed), make_mask(case)
    before = read_memory(image)

    def call() -> Any:
        how = {"rgb": case.rgb, "channel_axis": case.channel_axis, "mask": mask}
        return call_with_block_size(case, lambda: segment(image, **how, **case.options))

    outcome = call_and_check_error(call, case)
    if outcome is not None:
        seg, warned = outcome
        check_segmentation([case], as_list_of_one(seg), warned)
        check_saved_model(case, image, mask, seg)
        if case.all_options["random_state"] is not None:
            again, _ = call_and_check_error(call, case)
            np.testing.assert_array_equal(np.asarray(again.labels), np.asarray(seg.labels))
    assert read_memory(image) == before


# ------------------------------------------------------------- summaries, lists and slices


@fuzz(0.15)
@given(cases())
def test_segment_with_a_summary_gives_a_right_result_or_a_clear_error(case):
    case = resolve_layout(case)
    image, mask = apply_layout(case.array, case.layout, case.seed), make_mask(case)
    before = read_memory(image)

    def call() -> Any:
        where = {"rgb": case.rgb, "channel_axis": case.channel_axis, "mask": mask}
        how = {name: case.options[name] for name in SUMMARY_OPTIONS if name in case.options}
        summary = summarize(image, **where, **how)
        return segment(image, **case.options, summary=summary)

    outcome = call_and_check_error(lambda: call_with_block_size(case, call), case)
    if outcome is not None:
        check_segmentation([case], as_list_of_one(outcome[0]), outcome[1])
    assert read_memory(image) == before


@fuzz(0.15)
@given(cases(), st.sampled_from(LAYOUTS), st.booleans())
def test_segment_of_two_images_gives_a_right_result_or_a_clear_error(case, layout, masked):
    first = resolve_layout(case)
    mask = first.mask if masked else None
    # The second image is the first one upside down. It is not a list, because numpy.asarray
    # may give a list another dtype.
    flipped = first.array[::-1] if first.array.ndim else first.array
    second = resolve_layout(
        replace(first, array=flipped, layout="plain" if layout == "list" else layout, mask=mask)
    )
    both = [first, second]
    images = [apply_layout(each.array, each.layout, each.seed) for each in both]
    if not all(hasattr(each, "shape") and each.ndim > 1 for each in images):
        return
    before = [read_memory(each) for each in images]

    def call() -> Any:
        where = {"rgb": case.rgb, "channel_axis": case.channel_axis}
        if any(each.mask is not None for each in both):
            where["mask"] = [make_mask(each) for each in both]
        return segment(images, **where, **first.options)

    outcome = call_and_check_error(lambda: call_with_block_size(first, call), *both)
    if outcome is not None:
        check_segmentation(both, *outcome)
    assert [read_memory(each) for each in images] == before


@fuzz(0.2)
@given(cases(in_slices=True))
def test_segment_slices_gives_a_right_result_or_a_clear_error(case):
    case = resolve_layout(case)
    image, mask = apply_layout(case.array, case.layout, case.seed), make_mask(case)
    before = read_memory(image)

    def call() -> Any:
        where = {"rgb": case.rgb, "channel_axis": case.channel_axis, "mask": mask}
        return segment_slices(image, **where, **case.options)

    n_axes = case.array.ndim - (case.is_colored or case.channel_axis is not None)
    flat = n_axes < 2
    # Even a tiny slice takes milliseconds: skip images of many slices.
    assume(np.prod(case.array.shape[: max(n_axes - 2, 0)]) <= 12)
    outcome = call_and_check_error(
        lambda: call_with_block_size(case, call), case, more={"image"} if flat else set()
    )
    if outcome is not None:
        check_slices(case, outcome[0])
        again = outcome[0].model.apply(image, mask=mask)
        for part, expected in zip(again, (outcome[0].labels, outcome[0].recolored), strict=True):
            assert part.shape == expected.shape
    assert read_memory(image) == before


def check_slices(case: Case, result: Any) -> None:
    """Check that the clusters of each slice are those of the pixels of the slice."""
    assert isinstance(result.labels, da.Array if case.is_lazy else np.ndarray)
    labels, recolored = np.asarray(result.labels), np.asarray(result.recolored)
    check_labels(case, labels, result.model.n_clusters)
    assert result.table["pixels"].tolist() == np.bincount(labels[labels > 0])[1:].tolist()
    colors, painted = case.colors(case.array), case.colors(recolored)
    np.testing.assert_array_equal(painted[labels == 0], colors[labels == 0])
    rows = result.slice_table
    for number, index in enumerate(np.ndindex(labels.shape[:-2])):
        model, included = result.model.models[number], case.included[index]
        assert (model is None) == (not included.any())
        if model is None:
            continue
        names = result.model.names[number]
        own = np.searchsorted(names, labels[index][included])
        table = rows[rows["slice"] == number]
        assert table["index"].tolist() == names[1:].tolist()
        assert table["pixels"].tolist() == np.bincount(own, minlength=len(names))[1:].tolist()
        expected = round_to_dtype(model.palette, case.array.dtype)[own - 1]
        np.testing.assert_array_equal(painted[index][included], expected)
        check_palette(colors[index][included], own, model)
        compared = case.compared(index)
        points = to_space(compared, model, case)
        check_cost(points, own, model, rounding(case, compared))
