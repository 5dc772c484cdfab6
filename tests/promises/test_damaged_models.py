"""A damaged model file gives a model that works, or an error of one sentence.

An ordinary run makes 300 damaged files. ``FUZZ_CASES`` sets another number.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import subprocess
import sys
import tracemalloc
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kmeans import ClassScheme, KMeansModel, merge_clusters, segment, split_anew
from napari_kmeans.batch.fitting import describe_fit
from napari_kmeans.measuring import cluster_table
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = int(os.environ.get("FUZZ_CASES", "300"))
LONGEST_SENTENCE = 600
MERGED_BY_0_1_0 = Path(__file__).parent / "written_by_0_1_0" / "merged-model.json"
NEW_KEYS = ["__class__", "self", "cls", "center_labels", "center_pixels", "classes", "splits"]
NEW_KEYS += ["channel_names", "fit"]
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

Rng = random.Random
Tree = dict[str, Any]

RAW = "raw text: "
"""Prefix of a string whose rest is written without quotes, as text that `json` never writes."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 31, 32, -32, -33, 2**31, 2**63, 2**64, -(2**63), 10**400),
    *(0.0, -0.0, 0.5, -0.5, 1e-320, 1e150, 1e200, 1.7e308, -1.7e308, float("nan"), float("inf")),
    *(RAW + "1e999", RAW + "-1e999", RAW + "1" * 5000, RAW + "0x10", RAW + "1_0", RAW + "01"),
    *("", "rgb", "lab", "hsv", "zscore", "none", "uint8", "float16", "longdouble", "O", "M8"),
    *("uint9", "int0", "float8", "uint8,uint8", "\ud800", "\0", "é" * 40, "\n\n"),
    *("__import__('os').abort()", "cos\nabort\n(tR.", "${HOME}", "{0.__class__}", "%n"),
    *([], {}, [[]], [1], [1, [2]], [[1, 2], [3]], [[1, 2, 3]], [["1"]], [[True]], {"a": {}}),
    *([{"py/object": "os.abort"}], {"__reduce__": ["os.abort", []]}),
]

LONG_VALUES: list[Any] = [
    *("x" * 2_000_000, {str(i): i for i in range(1000)}, list(range(1, 70_000))),
    *([1] * 70_000, [[1.0]] * 70_000, [[1.0] * 70_000], [[1.0, 2.0, 3.0]] * 20_000),
]


@cache
def models() -> dict[str, KMeansModel]:
    """Return a model of each kind that can be saved."""
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (20, 31, 3), dtype=np.uint8)
    gray = color[..., 0].astype(np.uint16) * 200
    many = segment(color, 5, rgb=True, color_space="lab")
    return {
        "rgb": segment(color, 6, rgb=True).model,
        "hsv": segment(color, 3, rgb=True, color_space="hsv").model,
        "lab": many.model,
        "gray": segment(gray, 4).model,
        "channels": segment(rng.random((2, 9, 8)), 3, channel_axis=0).model,
        "named channels": segment(
            rng.random((2, 9, 8)), 3, channel_axis=0, channel_names=["DAPI", ""]
        ).model,
        "zscore": segment(color, 4, rgb=True, normalize="zscore").model,
        "percentile": segment(
            rng.random((9, 8, 5)), 3, channel_axis=2, normalize="percentile"
        ).model,
        "bool": segment(gray > 20_000, 2).model,
        "blur": segment(color, 3, rgb=True, blur=1.5).model,
        "position": segment(color, 3, rgb=True, position=0.5, spacing=(2, 1)).model,
        "position and others": segment(
            gray, 3, position=1.0, blur=1.0, texture=2.0, smoothing=1.0
        ).model,
        "merged": merge_clusters(many, [0, 1, 1, 2, 0]).model,
        "merged gray": merge_clusters(segment(gray, 4), [0, 1, 1, 2]).model,
        "fitted in a study": replace(
            segment(gray, 4).model, fit=describe_fit(["a.tif"], Options(n_clusters=4), 0, 9)
        ),
        "edited": segment(color, 6, rgb=True).model.with_classes(edit(ClassScheme.of_centers(6))),
        "split": split_twice(color, segment(color, 4, rgb=True, normalize="zscore").model),
        "split gray": split_anew(gray, segment(gray, 3).model, 2, 2),
        "split blur": split_twice(color, segment(color, 5, rgb=True, blur=1.5).model),
    }


@cache
def trees() -> list[Tree]:
    """Return the entries of a file of each kind."""
    saved = [model.to_dict() for model in models().values()]
    return [*saved, json.loads(MERGED_BY_0_1_0.read_text())]


def split_twice(image: np.ndarray, model: KMeansModel) -> KMeansModel:
    """Return a model with a merged class that was clustered anew, and one of its parts again."""
    merged = model.with_classes(model.classes.merge([3, 1]).rename(3, "soil"))
    once = split_anew(image, merged, 3, 3)
    return split_anew(image, once, once.classes.labels[-1], 2)


def edit(classes: ClassScheme) -> ClassScheme:
    """Return classes with every kind of edit."""
    edited = classes.merge([5, 2]).rename(5, "soil, dry").recolor(5, "#804020").rename(3, "tree")
    return edited.ignore(1).renumber({6: 400})


# ------------------------------------------------------------------------ damages


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    here = [(tree, key) for key in keys]
    below = [places(tree[key]) for key in keys if isinstance(tree[key], (dict, list))]
    return here + [place for inner in below for place in inner]


def draw_value(rng: Rng) -> Any:
    # Copy the value, so that no two rows are the same object: rows may be damaged further.
    return json.loads(json.dumps(rng.choice(VALUES if rng.random() < 0.95 else LONG_VALUES)))


def replace_value(tree: Tree, rng: Rng) -> None:
    container, key = rng.choice(places(tree))
    container[key] = draw_value(rng)


def replace_entry(tree: Tree, rng: Rng) -> None:
    """Replace a value of the top level, which `replace_value` seldom hits."""
    tree[rng.choice(list(tree))] = draw_value(rng)


def change_number(tree: Tree, rng: Rng) -> None:
    numbers = [(c, k) for c, k in places(tree) if type(c[k]) in (int, float)]
    container, key = rng.choice(numbers)
    container[key] *= rng.choice([-1, 0, 0.5, 2, 1e10, 1e150, 1e-150, 1e300])


def remove(tree: Tree, rng: Rng) -> None:
    container, key = rng.choice(places(tree))
    del container[key]


def lengthen(tree: Tree, rng: Rng) -> None:
    lists = [c[k] for c, k in places(tree) if isinstance(c[k], list) and c[k]]
    chosen = rng.choice(lists)
    element = rng.choice(chosen)
    is_long = len(json.dumps(element)) > 10_000
    chosen.extend([element] * (1 if is_long else rng.choice([1, 2, 50])))


def nest(tree: Tree, rng: Rng) -> None:
    container, key = rng.choice(places(tree))
    for _ in range(rng.choice([1, 5, 200])):
        container[key] = [container[key]] if rng.random() < 0.5 else {"a": container[key]}


def swap(tree: Tree, rng: Rng) -> None:
    (a, key), (b, other) = rng.choice(places(tree)), rng.choice(places(tree))
    a[key], b[other] = json.loads(json.dumps([b[other], a[key]]))


def add_unknown(tree: Tree, rng: Rng) -> None:
    tree[rng.choice([*NEW_KEYS, "x" * 100_000])] = draw_value(rng)


def mix(tree: Tree, rng: Rng) -> None:
    other = rng.choice(trees())
    for key in rng.sample(list(other), rng.randint(1, 4)):
        # Copy the entry, or further damage would change the tree that all cases start from.
        tree[key] = json.loads(json.dumps(other[key]))


TREE_DAMAGES: list[Callable[[Tree, Rng], None]] = [
    *(replace_value, replace_entry, change_number, remove, lengthen, nest, swap, add_unknown, mix),
]


def to_text(tree: Tree) -> str:
    return re.sub(f'"{RAW}([^"]*)"', r"\1", json.dumps(tree))


def overwrite_bytes(text: bytes, rng: Rng) -> bytes:
    damaged = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def insert_bytes(text: bytes, rng: Rng) -> bytes:
    place = rng.randrange(len(text))
    tokens = [b"NaN", b"1e999", b"null", b"[", b"}", b'"', b"\\", b"\xff\xfe", b"\0", b","]
    tokens.append(b"9" * 5000)
    return text[:place] + rng.choice(tokens) + text[place:]


def cut_bytes(text: bytes, rng: Rng) -> bytes:
    start, stop = sorted(rng.randrange(len(text)) for _ in range(2))
    return text[:start] + text[stop:] if rng.random() < 0.5 else text[:start]


def repeat_bytes(text: bytes, rng: Rng) -> bytes:
    start, stop = sorted(rng.randrange(len(text)) for _ in range(2))
    return text[:stop] + text[start:]


def change_digits(text: bytes, rng: Rng) -> bytes:
    """Change digits, after which the text is often still JSON and sometimes still a model."""
    places = [match.start() for match in re.finditer(rb"\d", text)]
    damaged = bytearray(text)
    for place in rng.sample(places, 3):
        damaged[place] = ord(rng.choice("0123456789e.-"))
    return bytes(damaged)


def repeat_key(text: bytes, rng: Rng) -> bytes:
    key = rng.choice(list(json.loads(text)))
    again = to_text({key: draw_value(rng)})[1:-1].encode(errors="surrogatepass")
    return text.rstrip()[:-1] + b"," + again + b"}"


def change_encoding(text: bytes, rng: Rng) -> bytes:
    encoding = rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-be", "cp500"])
    return text.decode().encode(encoding)


def wrap(text: bytes, rng: Rng) -> bytes:
    opening, closing = rng.choice([(b"[", b"]"), (b'{"format":', b"}"), (b"\n" * 1000, b" ")])
    times = rng.choice([1, 3, 100_000])
    return opening * times + text + closing * times


TEXT_DAMAGES: list[Callable[[bytes, Rng], bytes]] = [
    *(overwrite_bytes, insert_bytes, cut_bytes, repeat_bytes, change_digits, repeat_key),
    *(change_encoding, wrap),
]


def make_damaged_text(rng: Rng) -> bytes:
    tree = json.loads(json.dumps(rng.choice(trees())))
    if rng.random() < 0.4:
        return rng.choice(TEXT_DAMAGES)(json.dumps(tree).encode(), rng)
    for _ in range(rng.randint(1, 3)):
        rng.choice(TREE_DAMAGES)(tree, rng)
        if not tree:
            break
    return to_text(tree).encode(errors="surrogatepass")


# ------------------------------------------------------------------------ checks


def make_small_image(model: KMeansModel) -> np.ndarray:
    """Return six pixels from black to white, in a layout that fits the channel axis.

    If the model compares places, they have the number of axes that it was fitted to.
    """
    levels = np.linspace(0, 1 if model.dtype.kind in "bf" else model.white, 6)
    pixels = levels.astype(model.dtype)[:, None] * np.ones(model.n_channels, model.dtype)
    axis = model.channel_axis
    n_axes = 2 if axis is None else max(2, axis if axis >= 0 else -axis - 1)
    n_axes = len(model.space.spacing) or n_axes
    shape = [6] if n_axes == 1 else [2, 3] + [1] * (n_axes - 2)
    if axis is None:
        return pixels.reshape(shape)
    return np.moveaxis(pixels.reshape(*shape, model.n_channels), -1, axis)


def check_model(model: KMeansModel) -> None:
    """Check that a model labels and recolors an image, and that it can be saved and read again."""
    assert 1 <= model.n_clusters <= 65535
    if isinstance(model.blur, tuple):
        # The number of axes of the image is not in the file.
        model = model.with_blur(model.blur[0])
    image = make_small_image(model)
    with warnings.catch_warnings():
        # The image has the values of its dtype, and the damaged model may have others.
        warnings.filterwarnings("ignore", "image holds")
        labels, recolored = model.apply(image)
    assert labels.size == 6
    assert {*labels.ravel()} <= {*model.labels}
    assert 1 <= model.labels.min() <= model.labels.max() <= 65535
    assert model.palette.shape == (model.n_clusters, model.n_channels)
    assert len(cluster_table(model, np.ones(model.n_clusters, np.int64))) == model.n_clusters
    assert (recolored.shape, recolored.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(model.recolor(labels), recolored)
    assert np.isfinite(model.colors).all()
    again = type(model).from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert again.to_dict() == model.to_dict()


def check_sentence(error: ValueError, path: Path) -> None:
    text = str(error)
    assert text.startswith(f"cannot read a model from {str(path)!r}: ")
    assert "\n" not in text
    assert len(text) < LONGEST_SENTENCE + len(str(path))
    text.encode()


def load_and_check(path: Path) -> bool:
    """Return whether a file contains a model, after checking the model or the error."""
    try:
        model = KMeansModel.load(path)
    except ValueError as error:
        check_sentence(error, path)
        return False
    check_model(model)
    return True


def test_undamaged_files_are_models(tmp_path):
    for kind, model in models().items():
        model.save(tmp_path / f"{kind}.json")
        assert load_and_check(tmp_path / f"{kind}.json")


def test_damaged_file_is_a_working_model_or_refused_in_one_sentence(tmp_path):
    path = tmp_path / "model.json"
    outcomes = {True: 0, False: 0}
    for case in range(CASES):
        rng = Rng(case)
        path.write_bytes(make_damaged_text(rng))
        try:
            outcomes[load_and_check(path)] += 1
        except Exception as error:
            raise AssertionError(f"case {case}: {path.read_bytes()[:3000]!r}") from error
    print(f"{CASES} files: {outcomes[True]} models, {outcomes[False]} refused")
    assert outcomes[True] > CASES // 20
    assert outcomes[False] > CASES // 3


# ------------------------------------------------------------- files of other kinds


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\0" * 100,
        b"[" * 10**6,
        b"9" * 5000,
        b"[" * 10**5 + b"]" * 10**5,
    ],
)
def test_file_without_json_is_refused(content, tmp_path):
    (tmp_path / "model.json").write_bytes(content)
    assert not load_and_check(tmp_path / "model.json")
    with pytest.raises(ValueError, match="not a napari-kmeans model: choose a JSON file"):
        KMeansModel.load(tmp_path / "model.json")


@pytest.mark.parametrize("depth", range(700, 1000, 20))
@pytest.mark.parametrize("name", ["dtype", "classes"])
def test_limits_of_python_are_not_in_the_sentence(name, depth, tmp_path):
    path, values = tmp_path / "model.json", models()["merged gray"].to_dict()
    text = json.dumps({**values, name: "here"})
    path.write_text(text.replace('"here"', "[" * depth + "]" * depth))
    with pytest.raises(ValueError, match="cannot read a model") as caught:
        KMeansModel.load(path)
    assert "recursion" not in str(caught.value)
    path.write_text(text.replace('"here"', "9" * 5000))
    with pytest.raises(ValueError, match="not a napari-kmeans model: choose a JSON file"):
        KMeansModel.load(path)


def test_file_above_64_mebibytes_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match="the file is larger than 67108864 bytes"):
        KMeansModel.load(path)


@on_posix
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "link to a device"])
def test_pipes_and_devices_are_refused(kind, tmp_path):
    path = tmp_path / "model.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="it is a pipe or a device: name a file"):
        KMeansModel.load("/dev/zero" if kind == "/dev/zero" else path)


@pytest.mark.parametrize("kind", ["directory", "link to itself", "missing"])
def test_file_that_cannot_be_opened_raises_the_error_of_the_system(kind, tmp_path):
    path = tmp_path / "model.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(OSError, match=re.escape(str(path))):
        KMeansModel.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster_centers": [[1]] * 65536}, r"65535 rows and columns, got \(65536, 1\)"),
        ({"palette": [[1] * 65536]}, r"65535 rows and columns, got \(1, 65536\)"),
        ({"palette": [[1] * 60_000] * 4}, r"must belong together, got shapes \(4, 1\)"),
        ({"center_pixels": [1] * 10**5}, "center_pixels must be 4 whole numbers of at least 0"),
        ({"classes": [{"label": 1}] * 10**5}, "classes must be a list with label, name"),
        ({"splits": [{}] * 10**5}, "splits must be a list of at most 65535 splits"),
        ({"splits": [{"centers": [[1.0]] * 65535, "places": [0], "n_new": 1}]}, "belong together"),
        ({"version": 1, "center_labels": [1] * 10**5}, "must hold each label from 1 to 4 for 4"),
    ],
)
def test_small_file_needs_little_memory(changes, message, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**models()["merged gray"].to_dict(), **changes}))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            KMeansModel.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
    check_sentence(caught.value, path)


LARGEST_VALUES = {
    "bool": [False, False, True],
    "uint8": [0, 0, 255],
    "int64": [-(2**63), 0, 2**63 - 1],
    "float16": [-65504, 0, 65504],
    "float64": [-1e100, 0, 1e100],
}


@pytest.mark.parametrize("color_space", ["hsv", "lab"])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_color_spaces_of_channels_without_color_are_refused(color_space, n_channels):
    values = segment(np.zeros((4, 4, 3), np.uint8), 1, rgb=True, color_space=color_space).model
    entries = values.to_dict() | {
        "rgb": False,
        "palette": [[0.0] * n_channels],
        "channel_axis": -1 if n_channels > 1 else None,
    }
    with pytest.raises(ValueError, match="color_space must be 'rgb' for channels other than"):
        KMeansModel.from_dict(entries)


@pytest.mark.parametrize("dtype", LARGEST_VALUES)
def test_largest_values_are_clipped_to_the_range_of_the_dtype(dtype):
    table = [[-1e100], [0.0], [1e100]]
    values = {**models()["gray"].to_dict(), "cluster_centers": table, "palette": table}
    del values["center_pixels"]
    model = KMeansModel.from_dict({**values, "dtype": dtype})
    assert model.predict(np.array([[-1e100, 0, 1e100]])).tolist() == [[1, 2, 3]]
    assert model.recolor([1, 2, 3]).tolist() == LARGEST_VALUES[dtype]
    middle = 0 if dtype == "uint8" else 0.5
    assert model.colors.tolist() == [[0] * 3, [middle] * 3, [1] * 3]


@pytest.mark.parametrize(("name", "number"), [("offset", 1.3e152), ("scale", 1e-150), ("scale", 0)])
def test_extreme_offset_and_scale_are_refused(name, number):
    values = models()["zscore"].to_dict()
    values = {**values, name: [values[name][0], number, *values[name][2:]]}
    with pytest.raises(ValueError, match="scale must be at least 1e-100, and offset at most"):
        KMeansModel.from_dict(values)


def test_loading_executes_nothing(tmp_path):
    """Record the audit events of Python: every import, compilation, opened file and process."""
    model = models()["rgb"].to_dict()
    call = {"py/object": "os.abort", "__reduce__": ["os.abort", []]}
    texts = [
        json.dumps(model),
        json.dumps({**model, "dtype": "__import__('os').abort()"}),
        json.dumps({**model, "cluster_centers": call, "__class__": call}),
        "__import__('os').abort()",
        "!!python/object/apply:os.abort []",
        pickle.dumps(os.abort, protocol=0).decode() + "(tR.",
    ]
    paths = [tmp_path / f"{number}.json" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    code = """
import sys
from napari_kmeans import KMeansModel

def load(path):
    try:
        print(type(KMeansModel.load(path)).__name__)
    except ValueError:
        print("refused")

load(sys.argv[1])
sys.addaudithook(lambda event, arguments: print(event, *arguments[:2]))
for path in sys.argv[1:]:
    load(path)
sys.stdout.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    opened = [f"open {path} r" for path in paths]
    outcomes = ["KMeansModel"] + ["refused"] * 5
    expected = [line for pair in zip(opened, outcomes, strict=True) for line in pair]
    lines = done.stdout.splitlines()
    assert lines[: len(expected) + 1] == ["KMeansModel", *expected]
    # The lines after these come from the exit of Python itself.
    assert not [line for line in lines if line.startswith(("exec", "import", "subprocess"))]
