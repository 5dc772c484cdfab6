"""write_masks: one binary image per class, with names that every file system takes."""

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from napari_kmeans import write_masks
from napari_kmeans.files import read_image


def make_classes():
    names = ['a "b"/c:\\d', "", "ignored", "日本" * 90, "end. ."]
    return pd.DataFrame(
        {
            "index": range(1, 6),
            "name": names,
            "color": ["#102030"] * 5,
            "ignored": [name == "ignored" for name in names],
        }
    )


@pytest.mark.parametrize("make", [np.asarray, lambda labels: da.from_array(labels, chunks=4)])
def test_masks_of_two_axes_are_png(make, tmp_path):
    labels = np.random.default_rng(0).integers(0, 6, (9, 7))
    paths = write_masks(make(labels), tmp_path, "field 1", classes=make_classes())
    names = [path.name for path in paths]
    assert names[0] == "field 1-mask-1-a _b__c__d.png"
    assert names[1] == "field 1-mask-2.png"
    assert names[3] == "field 1-mask-5-end.png"
    assert all(len(name.encode()) < 200 for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for label, path in zip((1, 2, 4, 5), paths, strict=True):
        mask = iio.imread(path)
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, 255 * (labels == label))


def test_masks_of_a_stack_are_tiff_with_axes_and_pixel_size(tmp_path):
    labels = np.random.default_rng(1).integers(0, 3, (3, 9, 7)).astype(np.uint8)
    paths = write_masks(
        labels,
        tmp_path,
        "a",
        classes=make_classes(),
        include_ignored=True,
        scale=(2, 0.5, 0.25),
        unit="micrometer",
    )
    assert [path.name for path in paths][1:3] == ["a-mask-2.tif", "a-mask-3-ignored.tif"]
    picture = read_image(paths[1])
    assert np.array_equal(picture.pixels, 255 * (labels == 2))
    assert [(axis.name, axis.scale, axis.unit) for axis in picture.axes] == [
        ("z", 2, "micrometer"),
        ("y", 0.5, "micrometer"),
        ("x", 0.25, "micrometer"),
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"unit": "um"}, "unit must be a unit of length, got 'um'"),
        ({"stem": "a/b"}, "stem must be"),
    ],
)
def test_nonsense_is_refused(arguments, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        write_masks(
            np.ones((3, 3), int),
            tmp_path,
            **{"stem": "a", "classes": make_classes(), **arguments},
        )
    assert not [*tmp_path.iterdir()]
