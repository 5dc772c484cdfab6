"""A path or a layer in place of an array is refused in a sentence that names what to use."""

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kmeans import (
    merge_clusters,
    merge_similar,
    segment,
    segment_layer,
    segment_slices,
    split_anew,
    split_objects,
    suggest_n_clusters,
    summarize,
)
from napari_kmeans.files import read_image

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
MODEL = segment(IMAGE, 2, rgb=True).model
FUNCTIONS = {
    "segment": segment,
    "segment_slices": segment_slices,
    "summarize": summarize,
    "suggest_n_clusters": suggest_n_clusters,
    "predict": MODEL.predict,
    "apply": MODEL.apply,
    "mask": lambda mask: segment(IMAGE, 2, rgb=True, mask=mask),
    "split_anew": lambda image: split_anew(image, MODEL, 1),
    "split_objects": split_objects,
}


@pytest.mark.parametrize("path", ["cells.tif", Path("cells.tif"), b"cells.tif"])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_path_is_to_be_read_first(function, path):
    with pytest.raises(TypeError, match=r"must be an array, got .*cells.*read_image\(path\)"):
        function(path)


@pytest.mark.parametrize("layer", [Image(IMAGE, rgb=True), Labels(IMAGE[..., 0])])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_layer_goes_to_segment_layer(function, layer):
    with pytest.raises(TypeError, match=r"must be an array, got <.* layer .* segment_layer"):
        function(layer)


def test_lists_of_paths_and_layers_are_refused():
    with pytest.raises(TypeError, match=r"got 'a.png': read the file first"):
        segment(["a.png", "b.png"])
    with pytest.raises(TypeError, match=r"got <Image layer .*: pass the data"):
        segment([Image(IMAGE)])


@pytest.mark.parametrize("given", [IMAGE, "cells.tif", Labels(IMAGE[..., 0])])
def test_segment_layer_names_the_function_for_arrays(given):
    with pytest.raises(TypeError, match=r"layer must be an Image layer, got .* use segment for"):
        segment_layer(given)


@pytest.mark.parametrize("merge", [merge_similar, lambda result: merge_clusters(result, [0, 0])])
def test_only_a_segmentation_of_one_model_is_merged(merge):
    stack = np.stack([IMAGE, IMAGE])
    for given in (IMAGE, "cells.tif", segment_slices(stack, 2, rgb=True)):
        with pytest.raises(TypeError, match="segmentation must be the result of segment, got"):
            merge(given)


def test_an_image_is_read_from_a_path_as_text(tmp_path):
    from PIL import Image as PillowImage

    PillowImage.fromarray(IMAGE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")).pixels, IMAGE)
