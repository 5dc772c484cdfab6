"""Polygons, masks and a legend that are written beside the results of an image."""

import json

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
from skimage.draw import polygon2mask

from napari_kmeans import apply_classes, segment
from napari_kmeans.batch.earlier_results import is_result_file
from napari_kmeans.batch.exports import EXPORTS
from napari_kmeans.batch.output import write_results
from napari_kmeans.cli.main import main
from napari_kmeans.files.picture import Axis, Picture


def names_in(directory):
    return {path.name for path in directory.iterdir()}


def segment_named(image):
    seg = segment(image, 4, rgb=True)
    return apply_classes(seg, seg.model.classes.rename(2, "wet/dry").ignore(3))


@pytest.mark.parametrize("lazy", [False, True])
def test_exports_are_written_with_the_results_and_removed_as_they_are(tmp_path, quadrants, lazy):
    seg = segment_named(da.from_array(quadrants, (10, 21, 3)) if lazy else quadrants)
    labels = np.asarray(seg.labels)
    written = write_results(seg, tmp_path, "a", exports=EXPORTS)
    exported = {"a-classes.geojson", "a-mask-1.png", "a-mask-2-wet_dry.png", "a-mask-4.png"}
    exported.add("a-legend.png")
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
    assert {"a-mask-1.tif", "a-mask-2.tif"} <= names_in(tmp_path)
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
    assert "must be geojson, masks, legend, or several with commas" in errors
