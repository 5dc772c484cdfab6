"""The options `--min-area`, `--spacing` and `--unit`: areas in the units of each file."""

from __future__ import annotations

import json

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_kmeans import KMeansModel, segment
from napari_kmeans.cli.main import main
from napari_kmeans.files import read_image
from napari_kmeans.imaging.cleaning import Cleaning

_RNG = np.random.default_rng(0)
NOISY = gaussian_filter(_RNG.normal(size=(3, 60, 70)), 2) * 900 + _RNG.normal(0, 12, (3, 60, 70))
NOISY = np.clip(NOISY + 128, 0, 255).astype(np.uint8)


def write(path, pixels, size, unit="µm", axes="YX"):
    """Write an OME-TIFF file with the size of its pixels along each axis; None states none."""
    metadata = {"axes": axes}
    for name, step in zip(axes, size, strict=True):
        if step is not None:
            metadata |= {f"PhysicalSize{name}": step, f"PhysicalSize{name}Unit": unit}
    tifffile.imwrite(path, pixels, metadata=metadata, ome=True)


def run(folder, names, *arguments):
    paths = [str(folder / f"{name}.ome.tif") for name in names]
    return main([*paths, "-k", "4", "-o", str(folder / "out"), *arguments])


def labels_of(folder, name):
    return tifffile.imread(folder / "out" / f"{name}.ome-labels.tif")


@pytest.mark.parametrize(
    ("size", "unit", "axes", "min_area", "n_pixels"),
    [
        ((0.5, 0.5), "µm", "YX", 3, 12),
        ((500, 250), "nm", "YX", 1_500_000, 12),
        ((0.002, 0.0005), "mm", "YX", 1e-5, 10),
        ((2.0, 0.5, 0.5), "µm", "ZYX", 6, 12),
        ((None, 0.5, 0.5), "µm", "TYX", 3, 12),
    ],
)
def test_an_area_in_the_unit_of_the_file(size, unit, axes, min_area, n_pixels, tmp_path):
    image = NOISY if len(size) == 3 else NOISY[0]
    write(tmp_path / "a.ome.tif", image, size, unit, axes)
    assert run(tmp_path, "a", "--min-area", str(min_area)) == 0
    spacing = (0.0 if axes[0] == "T" else 1.0, *[1.0] * (image.ndim - 1))
    expected = segment(image, 4, min_size=n_pixels, spacing=spacing).labels
    np.testing.assert_array_equal(labels_of(tmp_path, "a"), expected)
    assert (expected != segment(image, 4, min_size=n_pixels - 2, spacing=spacing).labels).any()


@pytest.mark.parametrize("option", [[], ["--min-confidence", "0.2"]])
def test_images_and_volumes_with_pixel_sizes_share_a_model_without_regions(option, tmp_path):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    write(tmp_path / "b.ome.tif", NOISY, (2.0, 0.5, 0.5), axes="ZYX")
    assert run(tmp_path, "ab", *option) == 0
    options = {"min_confidence": 0.2} if option else {}
    for name, labels in zip("ab", segment([NOISY[0], NOISY], 4, **options).labels, strict=True):
        np.testing.assert_array_equal(labels_of(tmp_path, name), labels)


def test_a_model_applies_the_same_area_to_files_with_other_pixels(tmp_path):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    write(tmp_path / "b.ome.tif", NOISY[1], (250, 500), "nm")
    tifffile.imwrite(tmp_path / "c.ome.tif", NOISY[1])
    assert run(tmp_path, "a", "--min-area", "3") == 0
    path = tmp_path / "out" / "a.ome-model.json"
    model = KMeansModel.load(path)
    out = ["--model", str(path), "-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "b.ome.tif"), str(tmp_path / "c.ome.tif"), *out]) == 0
    # The pixels of a file that states no size are taken to be those of the fit.
    for name, n_pixels in (("b", 24), ("c", 12)):
        expected = model.with_cleaning(Cleaning(min_size=n_pixels)).predict(NOISY[1])
        np.testing.assert_array_equal(labels_of(tmp_path, name), expected)


def test_spacing_replaces_the_pixel_size_of_the_file(tmp_path):
    write(tmp_path / "a.ome.tif", NOISY, (2.0, 0.5, 0.5), axes="ZYX")
    for text, size, n_pixels in (("2", 96, 12), ("0,1,1", 12, 12), ("2,1,3", 72, 12)):
        assert run(tmp_path, "a", "--min-area", str(size), "--spacing", text) == 0
        spacing = (0.0, 1.0, 1.0) if text[0] == "0" else 1.0
        expected = segment(NOISY, 4, min_size=n_pixels, spacing=spacing).labels
        np.testing.assert_array_equal(labels_of(tmp_path, "a"), expected)


def areas_of(folder, name):
    """Return the area of a pixel in the table of an image, and its unit."""
    table = pd.read_csv(folder / "out" / f"{name}-table.csv")
    (size,) = {*np.round(table["area"] / table["pixels"], 9)}
    (unit,) = {*table["unit"]}
    return size, unit


@pytest.mark.parametrize(
    ("spacing", "n_pixels", "area"), [("1", 12, 1.0), ("0.5", 48, 0.25), ("2,3", 2, 6.0)]
)
def test_files_without_a_pixel_size_get_the_given_one(spacing, n_pixels, area, tmp_path):
    rgb = np.stack([NOISY[0], NOISY[0] // 2, 255 - NOISY[0]], axis=-1)
    imageio.imwrite(tmp_path / "photo.png", rgb)
    out = ["-k", "4", "-o", str(tmp_path / "out"), "--min-area", "12", "--spacing", spacing]
    assert main([str(tmp_path / "photo.png"), *out]) == 0
    labels = tifffile.imread(tmp_path / "out" / "photo-labels.tif")
    np.testing.assert_array_equal(labels, segment(rgb, 4, min_size=n_pixels).labels)
    assert areas_of(tmp_path, "photo") == (area, "µm²")
    axes = read_image(tmp_path / "out" / "photo-labels.tif").axes
    assert [axis.unit for axis in axes] == ["micrometer"] * 2


def test_the_table_has_the_given_pixel_size_in_the_unit_of_the_file(tmp_path):
    write(tmp_path / "a.ome.tif", NOISY[0], (500, 500), "nm")
    assert run(tmp_path, "a", "--spacing", "250") == 0
    assert areas_of(tmp_path, "a.ome") == (62_500.0, "nm²")


@pytest.mark.parametrize(
    ("unit", "symbol", "name", "min_area", "n_pixels"),
    [("mm", "mm²", "millimeter", 4, 100), ("Meter", "m²", "meter", 0.5, 13)],
)
def test_spacing_and_area_are_in_the_given_unit(unit, symbol, name, min_area, n_pixels, tmp_path):
    # A pixel size in the file is replaced, with its unit.
    write(tmp_path / "a.ome.tif", NOISY[0], (500, 500), "nm")
    given = ["--spacing", "0.2", "--unit", unit, "--min-area", str(min_area)]
    assert run(tmp_path, "a", *given) == 0
    expected = segment(NOISY[0], 4, min_size=n_pixels).labels
    np.testing.assert_array_equal(labels_of(tmp_path, "a"), expected)
    assert areas_of(tmp_path, "a.ome") == (0.04, symbol)
    axes = read_image(tmp_path / "out" / "a.ome-labels.tif").axes
    assert [(axis.unit, axis.scale) for axis in axes] == [(name, pytest.approx(0.2))] * 2
    record = json.loads((tmp_path / "out" / "napari-kmeans-run.json").read_text("utf-8"))
    assert record["study"]["unit"] == name
    assert main(["repeat", str(tmp_path / "out")]) == 0


def test_a_pixel_size_of_the_file_is_converted_to_the_given_unit(tmp_path):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    assert run(tmp_path, "a", "--unit", "mm", "--min-area", "3e-6") == 0
    np.testing.assert_array_equal(
        labels_of(tmp_path, "a"), segment(NOISY[0], 4, min_size=12).labels
    )
    table = pd.read_csv(tmp_path / "out" / "a.ome-table.csv")
    assert table["area"].sum() == pytest.approx(NOISY[0].size * 0.25e-6)
    assert set(table["unit"]) == {"mm²"}
    model = str(tmp_path / "out" / "a.ome-model.json")
    out = ["--model", model, "-o", str(tmp_path / "painted")]
    assert main([str(tmp_path / "a.ome.tif"), *out, "--unit", "nm"]) == 0
    labels = tifffile.imread(tmp_path / "painted" / "a.ome-labels.tif")
    np.testing.assert_array_equal(labels, labels_of(tmp_path, "a"))
    table = pd.read_csv(tmp_path / "painted" / "a.ome-table.csv")
    assert table["area"].sum() == pytest.approx(NOISY[0].size * 250_000)
    assert set(table["unit"]) == {"nm²"}


def test_a_model_takes_the_given_pixel_size_or_says_that_it_takes_that_of_the_fit(tmp_path, capsys):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    tifffile.imwrite(tmp_path / "b.ome.tif", NOISY[1])
    assert run(tmp_path, "a", "--min-area", "3") == 0
    path = tmp_path / "out" / "a.ome-model.json"
    model = KMeansModel.load(path)
    command = [str(tmp_path / "b.ome.tif"), "--model", str(path), "-o", str(tmp_path / "out")]
    for arguments, n_pixels in (["--spacing", "0.25"], 48), ([], 12), (["--spacing", "1"], 3):
        capsys.readouterr()
        assert main([*command, *arguments]) == 0
        expected = model.with_cleaning(Cleaning(min_size=n_pixels)).predict(NOISY[1])
        np.testing.assert_array_equal(labels_of(tmp_path, "b"), expected)
        is_told = "its pixel size is not known, and is taken to be that" in capsys.readouterr().err
        assert is_told == (not arguments)


def test_a_spacing_with_too_many_numbers_is_refused(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISY[0])
    assert run(tmp_path, "a", "--spacing", "1,2,3") == 1
    assert "--spacing must have a number for each of its 2 axes" in capsys.readouterr().err


def test_an_area_needs_the_size_of_the_pixels(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISY[0])
    assert run(tmp_path, "a", "--min-area", "3") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"napari-kmeans: cannot cluster {tmp_path / 'a.ome.tif'}: --min-area must go with "
        "--spacing for a file without the size of its pixels, got 3; use --spacing, or --min-size "
        "for a number of pixels."
    )
    assert run(tmp_path, "a", "--min-area", "3", "--spacing", "0.5") == 0
    np.testing.assert_array_equal(
        labels_of(tmp_path, "a"), segment(NOISY[0], 4, min_size=12).labels
    )


def test_images_of_one_model_and_one_area_have_pixels_of_one_size(tmp_path, capsys):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    write(tmp_path / "b.ome.tif", NOISY[1], (0.5, 0.25))
    assert run(tmp_path, "ab", "--min-area", "3") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f"with the other images: it must have the spacing of {tmp_path / 'a.ome.tif'}, "
        "(0.5, 0.5), got (0.5, 0.25); use --min-size for a number of pixels, or fit a model to "
        "images of one pixel size, and apply it to the others with --model."
    )
    assert run(tmp_path, "ab", "--min-area", "3", "--each") == 0
    expected = segment(NOISY[1], 4, min_size=24).labels
    np.testing.assert_array_equal(labels_of(tmp_path, "b"), expected)
    assert run(tmp_path, "ab", "--min-size", "3") == 0


def test_pixel_sizes_that_differ_by_their_rounding_are_one_size(tmp_path):
    write(tmp_path / "a.ome.tif", NOISY[0], (0.5, 0.5))
    write(tmp_path / "b.ome.tif", NOISY[1], (0.4999925, 0.5))
    assert run(tmp_path, "ab", "--min-area", "3") == 0
    images = [str(tmp_path / f"{name}.ome.tif") for name in "ab"]
    study = ["run", *images, "-k", "4", "--min-area", "3", "-o", str(tmp_path / "study")]
    assert main(study) == 0
    record = json.loads((tmp_path / "study" / "napari-kmeans-run.json").read_text("utf-8"))
    # The colors of both images were counted when they were read.
    assert record["n_colors"] == len(np.unique(NOISY))
    write(tmp_path / "b.ome.tif", NOISY[1], (0.499, 0.5))
    assert run(tmp_path, "ab", "--min-area", "3") == 1


def test_small_regions_of_chosen_classes(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISY[0])
    assert run(tmp_path, "a", "--min-size", "9", "--min-size-classes", "2,3") == 0
    expected = segment(NOISY[0], 4, min_size=9, min_size_classes=(2, 3)).labels
    np.testing.assert_array_equal(labels_of(tmp_path, "a"), expected)
    assert run(tmp_path, "a", "--min-size", "9", "--min-size-classes", "5") == 1
    assert "min_size_classes must be labels from 1 to 4, got [5]" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(tmp_path, "a", "--min-size-classes", "2;3")
    assert "must be None or a list of labels" in capsys.readouterr().err


def test_help_states_limits_and_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "At most 512 for an image larger than memory. Default: 0." in text
    assert "--spacing N[,N]" in text
    assert "such as 2,0.3,0.3" in text
    assert "Default: that of the file, or 1 if the file states none. --" in text
    assert "In the unit --unit; without it in the unit of the file, or in micrometers" in text
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "without it in that of the file, or in micrometers if the file states none" in text
    assert "--unit UNIT" in text
