"""Values of a wrong kind are refused in one sentence: the argument, the value, what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_kmeans import (
    KMeansModel,
    merge_clusters,
    plot_colors,
    plot_palette,
    plot_scores,
    segment,
    segment_slices,
    suggest_n_clusters,
    summarize,
    to_python,
)
from napari_kmeans.files import read_image
from napari_kmeans.merging import merge_tree

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 41, 3)).astype(np.uint8)
STACK = np.stack([IMAGE, IMAGE[::-1]])
SEG = segment(IMAGE, 3, rgb=True)
SLICES = segment_slices(STACK, 2, rgb=True)
RAGGED = [[1, 2], [3]]

IMAGES = {
    "segment": segment,
    "segment_slices": segment_slices,
    "summarize": summarize,
    "suggest_n_clusters": suggest_n_clusters,
    "predict": SEG.model.predict,
    "apply": SEG.model.apply,
    "apply to a stack": SLICES.model.apply,
    "recolor": SEG.model.recolor,
    "plot_colors": lambda image: plot_colors(image, SEG),
    "mask": lambda mask: segment(IMAGE, 3, mask=mask),
}


def check_refusal(call, words):
    """Check that a call raises an error of one sentence with some words."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    message = str(caught.value)
    assert words in message
    assert ", got " in message
    assert ": " in message.partition(", got ")[2]
    assert "\n" not in message


@pytest.mark.parametrize("call", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("image", [RAGGED, [IMAGE, None], [IMAGE, RAGGED], [IMAGE, "a.png"]])
def test_lists_that_are_no_array(call, image):
    check_refusal(lambda: call(image), "must be an array, got ")


def test_a_path_anywhere_in_a_list_is_named():
    check_refusal(lambda: segment([IMAGE, "a.png"]), "got 'a.png': read the file first")


@pytest.mark.parametrize(
    "call",
    [
        lambda progress: segment(IMAGE, 2, progress=progress),
        lambda progress: segment_slices(STACK, 2, rgb=True, progress=progress),
        lambda progress: summarize(IMAGE, progress=progress),
        lambda progress: suggest_n_clusters(IMAGE, [2], progress=progress),
        lambda progress: SEG.model.predict(IMAGE, progress=progress),
        lambda progress: SLICES.model.apply(STACK, progress=progress),
    ],
)
@pytest.mark.parametrize("progress", ["yes", True, 5])
def test_progress_that_cannot_be_called(call, progress):
    check_refusal(lambda: call(progress), f"progress must be a callable or None, got {progress!r}")


@pytest.mark.parametrize("rgb", ["yes", 1, 2.0, [], np.array([1, 2])])
@pytest.mark.parametrize("function", [segment, segment_slices, summarize, suggest_n_clusters])
def test_rgb_is_true_or_false(function, rgb):
    check_refusal(lambda: function(IMAGE, rgb=rgb), "rgb must be None or True or False, got ")


@pytest.mark.parametrize("value", [None, 5, "a", IMAGE, SEG.model, SEG.table])
def test_figures_need_the_result_of_their_function(value):
    check_refusal(lambda: plot_palette(value), "segmentation must be a Segmentation or Stack")
    check_refusal(lambda: plot_colors(IMAGE, value), "segmentation must be a Segmentation, got")
    check_refusal(lambda: plot_scores(value), "suggestion must be a Suggestion, got")


def test_scatter_plots_are_of_one_image():
    several = segment([IMAGE, IMAGE], 2, rgb=True)
    check_refusal(lambda: plot_colors(IMAGE, several), "segmentation must be of one image")
    check_refusal(lambda: plot_colors(IMAGE.astype(str), SEG), "image must be the RGB image")
    one = replace(several, labels=several.labels[0], recolored=several.recolored[0])
    assert plot_colors(IMAGE, one)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "options": [None, {}, 5],
        "name": [5, [], [1, 2], None],
        "path": [5, ["a", 3], b"a"],
        "sample": [5, [], "cat"],
        "rgb": ["yes", 1],
        "channel_axis": ["a", 1.5, True],
        "mask": [5, None],
        "groups": [5.5, ["a"], [1.5]],
        "joined": [5, {"a": "b"}, {1: 2.5}, [1]],
        "classes": [5, [{}], "a"],
        "part": [5, None],
    }.items(),
)
def test_arguments_of_a_script(name, values):
    for value in values:
        arguments = {"options": SEG.options, name: value}
        check_refusal(lambda: to_python(**arguments), f"{name} must be ")  # noqa: B023


@pytest.mark.parametrize("path", [None, 5, [], IMAGE, b"a"])
def test_paths(path):
    for call in (KMeansModel.load, SEG.model.save, read_image):
        check_refusal(lambda: call(path), "path must be the path of a file, got ")  # noqa: B023


@pytest.mark.parametrize("value", [None, "a", RAGGED, {}, object()])
def test_numbers_of_clusters(value):
    check_refusal(lambda: merge_clusters(SEG, value), "groups must be 3 whole numbers")
    check_refusal(lambda: merge_tree(SEG.model, value), "shares must be 3 positive numbers")
    check_refusal(lambda: merge_tree(value, [1, 2]), "colors must be 1 to 2048 rows")
    check_refusal(lambda: SEG.model.with_blur(value), "blur must be a number from 0")
