"""The option ``--blur`` of the command line: only axes of space are blurred."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from scipy.ndimage import gaussian_filter

from napari_kmeans import KMeansModel
from napari_kmeans.cli.main import main

FILM = np.random.default_rng(0).integers(0, 255, (5, 40, 50)).astype(np.uint8)


def nearest(image, sigma, centers):
    """Return the label of the nearest center of each pixel of a blurred gray image."""
    arguments = {"sigma": sigma, "mode": "constant", "truncate": 4}
    weights = gaussian_filter(np.ones(image.shape), **arguments)
    blurred = gaussian_filter(image.astype(float), **arguments) / weights
    return np.abs(blurred[..., None] - centers[:, 0]).argmin(axis=-1) + 1


def write_tiff(path, pixels, axes):
    options = {"imagej": True} if "I" not in axes and "Q" not in axes else {}
    tifffile.imwrite(path, pixels, metadata={"axes": axes}, **options)


@pytest.mark.parametrize(
    ("axes", "sigma"),
    [("TYX", (0, 2, 2)), ("ZYX", (2, 2, 2)), ("QYX", (0, 2, 2))],
)
def test_axes_of_a_tiff_file_that_are_not_of_space_are_not_blurred(axes, sigma, tmp_path):
    write_tiff(tmp_path / "film.tif", FILM, axes)
    arguments = ["--blur", "2", "-k", "3", "-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "film.tif"), *arguments]) == 0
    model = KMeansModel.load(tmp_path / "out" / "film-model.json")
    labels = tifffile.imread(tmp_path / "out" / "film-labels.tif")
    np.testing.assert_array_equal(labels, nearest(FILM, sigma, model.cluster_centers_))


def test_time_of_an_ome_zarr_image_is_not_blurred(tmp_path):
    group = zarr.open_group(tmp_path / "film.zarr", mode="w")
    group.create_array("0", data=FILM, chunks=(2, 30, 50))
    axes = [
        {"name": name, "type": kind}
        for name, kind in zip("tyx", ["time", "space", "space"], strict=True)
    ]
    multiscale = {"version": "0.5", "axes": axes, "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    arguments = ["--blur", "2", "-k", "3", "-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "film.zarr"), *arguments]) == 0
    model = KMeansModel.load(tmp_path / "out" / "film-model.json")
    assert model.blur == (0, 2, 2)
    # The model blurs time neither here nor in a file of the same axes.
    labels = nearest(FILM, (0, 2, 2), model.cluster_centers_)
    np.testing.assert_array_equal(model.predict(FILM), labels)


def test_a_model_of_one_blur_does_not_blur_time(tmp_path):
    for name, axes in (("volume", "ZYX"), ("film", "TYX")):
        write_tiff(tmp_path / f"{name}.tif", FILM, axes)
    out = ["-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "volume.tif"), "--blur", "2", "-k", "3", *out]) == 0
    path = tmp_path / "out" / "volume-model.json"
    assert KMeansModel.load(path).blur == 2
    assert main([str(tmp_path / "film.tif"), "--model", str(path), *out]) == 0
    labels = tifffile.imread(tmp_path / "out" / "film-labels.tif")
    expected = nearest(FILM, (0, 2, 2), KMeansModel.load(path).cluster_centers_)
    np.testing.assert_array_equal(labels, expected)


def test_images_of_different_axes_have_no_common_blur(tmp_path, capsys):
    for name, axes in (("volume", "ZYX"), ("film", "TYX")):
        write_tiff(tmp_path / f"{name}.tif", FILM, axes)
    paths = [str(tmp_path / f"{name}.tif") for name in ("volume", "film")]
    arguments = [*paths, "-k", "3", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--blur", "2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"napari-kmeans: cannot cluster {paths[1]} with the other images: it must have the blur "
        f"of {paths[0]}, 2.0, got (0.0, 2.0, 2.0); --each clusters each by itself."
    )
    # Without a blur, the axes do not matter.
    assert main(arguments) == 0
