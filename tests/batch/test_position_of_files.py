"""The option ``--position`` of the command line: axes and pixel sizes are those of the file."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from skimage import data
from sklearn.metrics import pairwise_distances_argmin

from napari_kmeans import KMeansModel, segment
from napari_kmeans.cli.main import main

FILM = np.random.default_rng(0).integers(0, 255, (5, 40, 50)).astype(np.uint8)


def nearest(image, lengths, centers):
    """Return the label of the nearest center of gray values and places.

    `lengths` are those of the axes in any unit, 0 for an axis of time.
    """
    columns = [image.astype(float)]
    for own, size, length in zip(np.indices(image.shape), image.shape, lengths, strict=True):
        if length:
            columns.append(0.5 * 255 * length / max(lengths) * (own + 0.5) / size)
    points = np.stack(columns, axis=-1)
    flat = pairwise_distances_argmin(points.reshape(-1, points.shape[-1]), centers)
    return flat.reshape(image.shape) + 1


def write(path, axes, **metadata):
    tifffile.imwrite(path, FILM, imagej=True, metadata={"axes": axes, **metadata})


def test_labels_are_those_of_segment(tmp_path):
    image = data.coffee()[:60, :70]
    iio.imwrite(tmp_path / "coffee.png", image)
    arguments = ["--position", "0.5", "-k", "4", "-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "coffee.png"), *arguments]) == 0
    labels = iio.imread(tmp_path / "out" / "coffee-labels.tif")
    np.testing.assert_array_equal(labels, segment(image, 4, position=0.5).labels)


@pytest.mark.parametrize(
    ("axes", "metadata", "lengths"),
    [
        ("TYX", {}, (0, 40, 50)),
        ("ZYX", {}, (5, 40, 50)),
        ("ZYX", {"spacing": 20.0, "unit": "um"}, (100, 40, 50)),
    ],
)
def test_places_have_the_pixel_size_of_the_file(axes, metadata, lengths, tmp_path):
    write(tmp_path / "film.tif", axes, **metadata)
    out = ["-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "film.tif"), "--position", "0.5", "-k", "3", *out]) == 0
    path = tmp_path / "out" / "film-model.json"
    labels = tifffile.imread(tmp_path / "out" / "film-labels.tif")
    expected = nearest(FILM, lengths, KMeansModel.load(path).cluster_centers_)
    np.testing.assert_array_equal(labels, expected)
    # The saved model gives the same labels.
    assert main([str(tmp_path / "film.tif"), "--model", str(path), *out]) == 0
    labels = tifffile.imread(tmp_path / "out" / "film-labels.tif")
    np.testing.assert_array_equal(labels, expected)


def test_a_model_is_applied_with_the_pixel_size_of_each_file(tmp_path, capsys):
    write(tmp_path / "volume.tif", "ZYX")
    write(tmp_path / "thick.tif", "ZYX", spacing=20.0, unit="um")
    write(tmp_path / "film.tif", "TYX")
    out = ["-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "volume.tif"), "--position", "0.5", "-k", "3", *out]) == 0
    path = tmp_path / "out" / "volume-model.json"
    assert main([str(tmp_path / "thick.tif"), "--model", str(path), *out]) == 0
    labels = tifffile.imread(tmp_path / "out" / "thick-labels.tif")
    expected = nearest(FILM, (100, 40, 50), KMeansModel.load(path).cluster_centers_)
    np.testing.assert_array_equal(labels, expected)
    capsys.readouterr()
    assert main([str(tmp_path / "film.tif"), "--model", str(path), *out]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "image must have 3 axes of space among 3" in line
    assert "got 2 in the spatial shape (5, 40, 50)" in line


def test_images_of_different_axes_have_no_common_places(tmp_path, capsys):
    for name, axes in (("volume", "ZYX"), ("film", "TYX")):
        write(tmp_path / f"{name}.tif", axes)
    paths = [str(tmp_path / f"{name}.tif") for name in ("volume", "film")]
    assert main([*paths, "-k", "3", "--position", "1", "-o", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"napari-kmeans: cannot cluster {paths[1]} with the other images: it must have the axes of "
        f"{paths[0]}, space, space, space, got time, space, space; --each clusters each by itself."
    )
