"""Polygons, masks and a legend that are written beside the results of an image."""

import json
from dataclasses import replace

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from napari_builtins.io import napari_write_image
from skimage.draw import polygon2mask

from napari_kmeans import KMeansModel, apply_classes, segment, split_anew
from napari_kmeans.batch.earlier_results import is_result_file
from napari_kmeans.batch.exports import EXPORTS
from napari_kmeans.batch.inputs import find_inputs
from napari_kmeans.batch.output import write_results
from napari_kmeans.cli.main import main
from napari_kmeans.files.picture import Axis, Picture
from napari_kmeans.files.reading import read_image


def names_in(directory):
    return {path.name for path in directory.iterdir()}


def segment_named(image):
    seg = segment(image, 4, rgb=True)
    return apply_classes(seg, seg.model.classes.rename(2, "wet/dry").ignore(3))


@pytest.mark.parametrize("lazy", [False, True])
def test_exports_are_written_with_the_results_and_removed_as_they_are(tmp_path, quadrants, lazy):
    seg = segment_named(da.from_array(quadrants, (10, 21, 3)) if lazy else quadrants)
    labels = np.asarray(seg.labels)
    source = Picture(da.from_array(quadrants, (10, 21, 3)) if lazy else quadrants, rgb=True)
    written = write_results(seg, tmp_path, "a", source, exports=EXPORTS)
    exported = {"a-classes.geojson", "a-mask-1.png", "a-mask-2-wet_dry.png", "a-mask-4.png"}
    exported |= {"a-legend.png", f"a-confidence.{'zarr' if lazy else 'tif'}"}
    assert exported <= names_in(tmp_path) == {path.name for path in written.paths}
    assert np.array_equal(iio.imread(tmp_path / "a-mask-2-wet_dry.png"), 255 * (labels == 2))
    features = json.loads((tmp_path / "a-classes.geojson").read_text())["features"]
    assert [each["properties"]["label"] for each in features] == [1, 2, 4]
    (ring,) = features[1]["geometry"]["coordinates"]
    assert np.array_equal(polygon2mask(labels.shape, np.array(ring)[:, ::-1] - 0.5), labels == 2)
    # A run over the folder must not cluster them, and a file of the user is kept.
    assert all(is_result_file(path) for path in written.paths)
    iio.imwrite(tmp_path / "a-mask-9.png", labels.astype(np.uint8))
    # A killed run leaves such a file.
    (tmp_path / ".napari-kmeans-0123abcd-a-mask-7-soil.png").touch()
    again = write_results(seg, tmp_path, "a")
    assert {path.name for path in again.removed} == exported
    left = names_in(tmp_path)
    assert "a-mask-9.png" in left
    assert not [name for name in left if name.startswith(".")]


def test_results_of_a_similar_name_stay(tmp_path, quadrants):
    seg = segment_named(quadrants)
    others = write_results(seg, tmp_path, "a-mask-1", exports=["masks"]).paths
    write_results(seg, tmp_path, "a", exports=["masks"])
    assert write_results(seg, tmp_path, "a").removed
    assert all(path.exists() for path in others)


def test_masks_have_the_size_of_pixels_and_the_axes_of_the_file(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 8), np.uint8)
    axes = (Axis("t", "time"), *(Axis(name, "space", "micrometer", 0.5) for name in "yx"))
    write_results(segment(image, 2), tmp_path, "a", Picture(image, axes=axes), exports=EXPORTS)
    assert {"a-confidence.tif", "a-mask-1.tif", "a-mask-2.tif"} <= names_in(tmp_path)
    features = json.loads((tmp_path / "a-classes.geojson").read_text())["features"]
    planes = [each["geometry"]["plane"] for each in features]
    assert planes == [{"c": -1, "z": 0, "t": t} for t in range(3) for _ in range(2)]


def test_an_export_that_fails_leaves_nothing(tmp_path, quadrants):
    image = np.random.default_rng(0).integers(0, 256, (2, 2, 2, 3, 4), np.uint8)
    with pytest.raises(ValueError, match="labels must have 2 to 4 axes"):
        write_results(segment(image, 2), tmp_path, "a", exports=["geojson"])
    mask = tmp_path / "a-mask-1.png"
    iio.imwrite(mask, quadrants)
    with pytest.raises(ValueError, match=r"a-mask-1\.png is an input"):
        write_results(segment_named(quadrants), tmp_path, "a", kept=[mask], exports=["masks"])
    assert names_in(tmp_path) == {"a-mask-1.png"}


def test_the_command_line_writes_exports(tmp_path, quadrants, capsys):
    path = tmp_path / "a.png"
    iio.imwrite(path, quadrants)
    out = tmp_path / "out"
    assert main([str(path), "-k", "2", "-o", str(out), "--export", "masks, geojson"]) == 0
    assert {"a-classes.geojson", "a-mask-1.png", "a-mask-2.png"} <= names_in(out)
    for arguments in (["--export", "masks"], ["--export", "mask", "-o", str(out)]):
        with pytest.raises(SystemExit):
            main([str(path), *arguments])
    errors = capsys.readouterr().err
    assert "--export must go with -o" in errors
    assert "must be geojson, masks, legend, confidence, or several with commas" in errors


@pytest.mark.parametrize("lazy", [False, True])
def test_the_confidence_of_each_pixel_is_written(tmp_path, lazy):
    image = np.random.default_rng(0).normal(100, 30, (40, 50)).astype(np.float32)
    image[3, 4] = np.nan
    axes = tuple(Axis(name, "space", "micrometer", 0.25) for name in "yx")
    array = da.from_array(image, (16, 50)) if lazy else image
    seg = segment(array, 3, smoothing=1, min_confidence=0.2)
    expected = np.asarray(seg.model.confidence(image, labels=np.asarray(seg.labels)))
    assert np.isnan(expected).sum() == (np.asarray(seg.labels) == 0).sum() > 1
    write_results(seg, tmp_path, "a", Picture(array, axes=axes), exports=["confidence"])
    (path,) = tmp_path.glob("a-confidence.*")
    read = read_image(path)
    np.testing.assert_array_equal(np.asarray(read.pixels), expected)
    assert [axis.scale for axis in read.axes] == [0.25, 0.25]
    assert is_result_file(path)
    # A run over the folder does not take it for an image.
    iio.imwrite(tmp_path / "b.png", np.zeros((9, 9), np.uint8))
    assert [each.path.name for each in find_inputs((tmp_path,), recursive=False)] == ["b.png"]


def test_images_of_confidence_that_napari_saved_are_kept(tmp_path, quadrants):
    iio.imwrite(tmp_path / "a.png", quadrants)
    seg, picture = segment(quadrants, 2, rgb=True), Picture(quadrants, rgb=True)
    write_results(seg, tmp_path, "a", picture)
    saved = tmp_path / "a-confidence.tif"
    napari_write_image(str(saved), np.ones((20, 21), np.float32), {})
    before = saved.read_bytes()
    assert not write_results(seg, tmp_path, "a", picture).removed
    with pytest.raises(ValueError, match=r"a-confidence\.tif in it is no result"):
        write_results(seg, tmp_path, "a", picture, exports=["confidence"])
    assert saved.read_bytes() == before
    assert not is_result_file(saved)
    # So are zarr directories that another program has written under this name.
    lazy = segment(da.from_array(quadrants, (10, 21, 3)), 2, rgb=True)
    zarr.create_group(tmp_path / "a-confidence.zarr", attributes={"ome": {}})
    with pytest.raises(ValueError, match=r"a-confidence\.zarr in it is no result"):
        write_results(lazy, tmp_path, "a", picture, exports=["confidence"])


def test_the_confidence_of_a_georeferenced_image_marks_pixels_without_class(tmp_path, quadrants):
    tags = [(33550, 12, 3, (0.5, 0.5, 0.0))]
    picture = Picture(quadrants, rgb=True, geo_tags=tuple(tags))
    write_results(segment_named(quadrants), tmp_path, "a", picture, exports=["confidence"])
    with tifffile.TiffFile(tmp_path / "a-confidence.tif") as file:
        assert file.pages.first.tags["GDAL_NODATA"].value == "nan"
        assert file.pages.first.tags["ModelPixelScaleTag"].value == (0.5, 0.5, 0.0)


def test_the_confidence_needs_the_image_and_classes_that_were_not_split(tmp_path, quadrants):
    seg = segment(quadrants, 2, rgb=True)
    with pytest.raises(ValueError, match="the confidence needs the image"):
        write_results(seg, tmp_path, "a", exports=["confidence"])
    model = split_anew(quadrants, seg.model, 1, 2)
    split = replace(seg, model=model, labels=model.predict(quadrants))
    picture = Picture(quadrants, rgb=True)
    with pytest.raises(ValueError, match="split"):
        write_results(split, tmp_path, "a", picture, exports=["confidence"])
    assert not names_in(tmp_path)


def test_the_command_line_writes_the_confidence(tmp_path, quadrants):
    noise = np.random.default_rng(0).normal(0, 20, quadrants.shape)
    image = np.clip(quadrants + noise, 0, 255).astype(np.uint8)
    iio.imwrite(tmp_path / "a.png", image)
    out, export = tmp_path / "out", ["--export", "confidence"]
    assert main([str(tmp_path / "a.png"), "-k", "3", "-o", str(out), *export]) == 0
    model = KMeansModel.load(out / "a-model.json")
    labels = tifffile.imread(out / "a-labels.tif")
    expected = model.confidence(image, labels=labels)
    np.testing.assert_array_equal(tifffile.imread(out / "a-confidence.tif"), expected)
    # Of several images with one model, and as an output of a study.
    iio.imwrite(tmp_path / "b.png", image[::-1])
    paths, both = [str(tmp_path / f"{name}.png") for name in "ab"], tmp_path / "both"
    assert main([*paths, "-k", "3", "-o", str(both), *export]) == 0
    flipped = tifffile.imread(both / "b-confidence.tif")
    np.testing.assert_allclose(flipped, tifffile.imread(both / "a-confidence.tif")[::-1])
    study = tmp_path / "study"
    outputs = ["--outputs", "labels,confidence"]
    assert main(["run", *paths, "-k", "3", "-o", str(study), *outputs]) == 0
    np.testing.assert_array_equal(tifffile.imread(study / "b-confidence.tif"), flipped)
