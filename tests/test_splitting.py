"""A class clustered anew inside itself, in every kind of image."""

from __future__ import annotations

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage import data

from napari_kmeans import KMeansModel, apply_classes, segment, split_anew

COFFEE = data.coffee()[:150, :200]
FLOATS = COFFEE / 255.0
CHUNKED = da.from_array(COFFEE, chunks=(60, 70, 3))


def nearest(image, centers):
    """Return the index of the nearest center of each pixel of an image (..., C)."""
    points = np.reshape(image, (-1, image.shape[-1])).astype(float)
    return cdist(points, centers).argmin(axis=1).reshape(image.shape[:-1])


def test_hand_made_image_gets_its_colors():
    """Values 90 and 100 are nearest to the new center 130, but stay in their class."""
    image = np.array([[0, 0, 0, 40, 90, 100, 130, 130, 250, 250]] * 4, np.uint8)
    two = np.array([[38.0], [190.0]])
    model = replace(segment(image, 2).model, cluster_centers_=two, center_palette=two)
    model = replace(model, center_pixels=np.array([24, 16]))
    before = model.predict(image)
    assert before[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    split = split_anew(image, model, 2, 2)
    labels = split.predict(image)
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 3, 3]
    assert split.palette.ravel().tolist() == [*model.palette[0], 130, 250]
    assert split.center_pixels.tolist() == [24, 8, 8]
    # Alone, the center 130 would take the pixels 90 and 100 from class 1.
    assert (nearest(image[..., None], split.cluster_centers_)[0, 4:6] == 1).all()
    assert split.inertia_ == 4 * np.sum((image[0, :6] - 38.0) ** 2)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (COFFEE, {}),
        (CHUNKED, {}),
        (COFFEE, {"color_space": "lab"}),
        (COFFEE, {"color_space": "hsv"}),
        (COFFEE, {"normalize": "zscore"}),
        (FLOATS, {"normalize": "percentile", "method": "full"}),
        (da.from_array(FLOATS, chunks=80), {"method": "full"}),
        (FLOATS, {}),
        (COFFEE, {"blur": 2}),
        (CHUNKED, {"blur": (1.5, 3.0)}),
    ],
)
def test_only_the_class_changes_and_each_pixel_gets_its_nearest_new_center(image, options):
    segmentation = segment(image, 4, rgb=True, **options)
    model = segmentation.model
    method = options.get("method", "coreset")
    split = split_anew(image, model, 3, 3, method=method)
    old, new = np.asarray(model.predict(image)), np.asarray(split.predict(image))
    np.testing.assert_array_equal(new[old != 3], old[old != 3])
    assert set(np.unique(new[old == 3])) == {3, 5, 6}
    assert split.labels.tolist() == [1, 2, 3, 4, 5, 6]
    # Inside the class, the new centers are those of scipy's search.
    if not options.get("blur"):
        points = model.space.points(np.asarray(image).reshape(-1, 3)).reshape(150, 200, -1)
        expected = np.array([3, 5, 6])[nearest(points, split.cluster_centers_[3:])]
        np.testing.assert_array_equal(new[old == 3], expected[old == 3])
    for row, label in enumerate(split.labels):
        mean = np.asarray(image)[new == label].mean(axis=0)
        np.testing.assert_allclose(split.palette[row], mean, rtol=1e-9)
    counts = np.bincount(new.ravel())[split.labels]
    assert np.bincount(split.center_classes, split.center_pixels).tolist() == counts.tolist()
    assert split.inertia_ < model.inertia_
    # numpy and dask, and a saved model.
    other = np.asarray(image) if isinstance(image, da.Array) else da.from_array(image, chunks=64)
    if options.get("method") != "full":
        again = split_anew(other, model, 3, 3)
        np.testing.assert_array_equal(again.cluster_centers_, split.cluster_centers_)
    np.testing.assert_array_equal(np.asarray(split.predict(other)), new)
    loaded = KMeansModel.from_dict(json.loads(json.dumps(split.to_dict())))
    np.testing.assert_array_equal(np.asarray(loaded.predict(image)), new)
    assert loaded.to_dict() == split.to_dict()


def test_blurred_values_of_the_class_are_clustered():
    """The new centers are the means of their pixels in an image that scipy blurs."""
    model = segment(COFFEE, 4, rgb=True, blur=2).model
    split = split_anew(COFFEE, model, 3, 3, method="full")
    weights = gaussian_filter(np.ones((150, 200)), 2, mode="constant")
    channels = [gaussian_filter(COFFEE[..., c] * 1.0, 2, mode="constant") for c in range(3)]
    blurred = np.stack(channels, axis=-1) / weights[..., None]
    old, new = nearest(blurred, model.cluster_centers_) + 1, split.predict(COFFEE)
    inside = nearest(blurred, split.cluster_centers_[3:])
    np.testing.assert_array_equal(new, np.where(old == 3, np.array([3, 5, 6])[inside], old))
    for label, center in zip((3, 5, 6), split.cluster_centers_[3:], strict=True):
        np.testing.assert_allclose(center, blurred[new == label].mean(axis=0), atol=0.1)


def test_axes_of_channels_volumes_and_masks():
    volume = np.moveaxis(np.stack([FLOATS[:80], FLOATS[60:140]]), -1, 1)
    mask = np.zeros((2, 80, 200), bool)
    mask[:, 10:70] = True
    model = segment(volume, 3, channel_axis=1, mask=mask).model
    split = split_anew(volume, model, 1, 2, mask=mask)
    old, new = model.predict(volume, mask=mask), split.predict(volume, mask=mask)
    np.testing.assert_array_equal(new[old != 1], old[old != 1])
    assert set(np.unique(new)) == {0, 1, 2, 3, 4}
    assert split.center_pixels.sum() == mask.sum()
    outside = split_anew(np.where(mask[:, None], volume, 0.7), model, 1, 2, mask=mask)
    assert outside.to_dict() == split.to_dict()


def test_edited_classes_are_split_again_and_again():
    model = segment(COFFEE, 5, rgb=True).model
    classes = model.classes.merge([4, 2]).rename(4, "cup").recolor(4, "#102030").ignore(4)
    model = model.with_classes(classes.rename(1, "dark").renumber({5: 90}))
    labels = model.predict(COFFEE)
    first = split_anew(COFFEE, model, 4, 2)
    assert first.labels.tolist() == [1, 2, 3, 4, 90]
    assert [each.name for each in first.classes] == ["dark", "", "", "cup", ""]
    assert [each.ignored for each in first.classes] == [False, True, False, True, False]
    assert (first.classes[4].color, first.classes[2].color) == ("#102030", None)
    second = split_anew(COFFEE, first.with_classes(first.classes.merge([3, 2])), 3, 4)
    new = second.predict(COFFEE)
    np.testing.assert_array_equal(new[labels == 1], 1)
    np.testing.assert_array_equal(new[labels == 90], 90)
    assert second.labels.tolist() == [1, 2, 3, 4, 5, 6, 90]
    third = first.with_classes(first.classes.merge([4, 2]))
    np.testing.assert_array_equal(third.predict(COFFEE), labels)
    assert third.classes.split(4).labels == (1, 3, 4, 5, 90)


def test_model_works_on_other_images_and_in_pieces():
    other = data.astronaut()[:100, :150]
    model = segment(COFFEE, 4, rgb=True).model
    split = split_anew(COFFEE, model, 2, 3)
    old, new = model.predict(other), split.predict(other)
    np.testing.assert_array_equal(new[old != 2], old[old != 2])
    labels, recolored = split.apply(other)
    np.testing.assert_array_equal(labels, new)
    np.testing.assert_array_equal(split.recolor(new), recolored)
    pieces = [split.predict(other[rows : rows + 20]) for rows in range(0, 100, 20)]
    np.testing.assert_array_equal(np.concatenate(pieces), new)
    # Without a table of colors, and from the model alone.
    np.testing.assert_array_equal(split.predict(other.astype(np.float64)), new)


def test_arguments_are_checked_and_nothing_is_changed():
    image = COFFEE.copy()
    segmentation = segment(image, 3, rgb=True)
    model, before = segmentation.model, segmentation.model.to_dict()
    for arguments, message in [
        ({"label": 9}, r"label must be one of \[1, 2, 3\], got 9"),
        ({"n_clusters": 0}, "n_clusters must be"),
        ({"n_clusters": 65535}, "n_clusters must be 1 to 65533 beside the other centers"),
        ({"method": "no"}, "method must be"),
        ({"mask": np.zeros((150, 200))}, "got 1, which has none: choose another"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            split_anew(image, model, **{"label": 1, **arguments})
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="model must be a KMeansModel, got Segmentation"):
        split_anew(image, segmentation, 1)
    with pytest.raises(ValueError, match="image must have the model's 3 channels"):
        split_anew(image[..., 0], model, 1)
    flat = segment(np.repeat([[0, 9]], 40, axis=0).astype(np.uint8), 2).model
    with pytest.raises(ValueError, match="at least two colors in the image, got 2, which has one"):
        split_anew(np.repeat([[0, 9]], 40, axis=0).astype(np.uint8), flat, 2)
    split_anew(image, model, 1, 3)
    assert model.to_dict() == before
    np.testing.assert_array_equal(image, COFFEE)


def test_fewer_colors_than_classes_give_a_warning():
    image = np.repeat([[0, 5, 7, 200]], 40, axis=0).astype(np.uint8)
    model = segment(image, 2).model
    with pytest.warns(UserWarning, match="n_clusters=5 gave 3 clusters") as caught:
        split = split_anew(image, model, 1, 5)
    assert caught[0].filename == __file__
    assert split.predict(image)[0].tolist() == [1, 3, 4, 2]


def test_segmentation_of_a_split_model_can_be_edited():
    segmentation = segment(COFFEE, 3, rgb=True)
    split = split_anew(COFFEE, segmentation.model, 2, 2)
    with pytest.raises(ValueError, match="classes must be those of 3 centers, got those of 4"):
        apply_classes(segmentation, split.classes)


def test_pixels_that_cleaning_moved_get_no_center_of_their_own(tmp_path):
    """Centers of their own would have no pixel: these are nearer to a center of another class."""
    image = data.immunohistochemistry()
    model = segment(image, 4, min_size=200).model
    for label in range(1, 5):
        split = split_anew(image, model, label, 5)
        assert (split.center_pixels > 0).all()
        assert np.isfinite(split.palette).all()
    split.save(tmp_path / "model.json")
    again = KMeansModel.load(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(image), split.predict(image))
