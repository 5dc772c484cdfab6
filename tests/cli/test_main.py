"""The command line, with the arguments and files of a user, partly in other processes."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

import napari_kmeans
from napari_kmeans import KMeansModel, apply_classes, segment
from napari_kmeans.batch import dropped_pixels, jobs
from napari_kmeans.batch.image_job import ImageJob
from napari_kmeans.batch.jobs import ClusteredImage
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.cli import main as main_module
from napari_kmeans.cli.main import main
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files import tiff
from napari_kmeans.files.picture import Axis, Picture
from napari_kmeans.files.reading import read_image
from napari_kmeans.options import COMMAND_LINE_OPTIONS, Options
from napari_kmeans.samples import SAMPLES
from napari_kmeans.viewer.window import fill_viewer

PARTS = ("labels.tif", "model.json", "recolored.png", "table.csv")
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def _run(*arguments: object, without: tuple[str, ...] = (), **settings):
    """Run the command line in another process, without the environment variables `without`."""
    environment = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-m", "napari_kmeans", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment | settings.pop("env", {}),
        **settings,
    )


def _names(directory: Path) -> list[str]:
    """Return the names of the results in a folder, without the record of the run."""
    return sorted(path.name for path in directory.iterdir() if path.name != RECORD_FILE)


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def photo(tmp_path, quadrants) -> Path:
    path = tmp_path / "photo.png"
    iio.imwrite(path, quadrants)
    return path


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def _assert_results(out: Path, stem: str, recolored: str, seg) -> None:
    """Check that the four files contain the results of `segment`."""
    labels = tifffile.imread(out / f"{stem}-labels.tif")
    np.testing.assert_array_equal(labels, seg.labels)
    assert labels.dtype == seg.labels.dtype
    picture = iio.imread(out / f"{stem}-recolored{recolored}")
    np.testing.assert_array_equal(picture, seg.recolored)
    assert picture.dtype == seg.recolored.dtype
    table = pd.read_csv(out / f"{stem}-table.csv")
    pd.testing.assert_frame_equal(table, seg.table, check_dtype=False)
    assert KMeansModel.load(out / f"{stem}-model.json").to_dict() == seg.model.to_dict()


class TestResults:
    def test_a_color_image_gives_four_files(self, photo, out, quadrants, quadrant_labels, capsys):
        assert main([str(photo), "-k", "4", "-o", str(out)]) == 0
        _assert_results(out, "photo", ".png", segment(quadrants, 4, rgb=True))
        labels = tifffile.imread(out / "photo-labels.tif")
        np.testing.assert_array_equal(labels, quadrant_labels)
        assert _names(out) == [f"photo-{part}" for part in PARTS]
        printed = capsys.readouterr()
        assert printed.err == ""
        assert all(f"wrote {out / name}" in printed.out for name in _names(out))

    def test_the_table_is_printed(self, photo, out, quadrants, capsys):
        main([str(photo), "-k", "4", "-o", str(out)])
        printed = capsys.readouterr().out
        for row in segment(quadrants, 4, rgb=True).table.itertuples():
            assert f"{row.index}  {row.percent:7.2f}  {row.color}" in printed

    def test_at_most_twenty_rows_of_the_table_are_printed(self, tmp_path, out, capsys):
        iio.imwrite(tmp_path / "noise.png", _noise(40, 40, 3))
        main([str(tmp_path / "noise.png"), "-k", "25", "-o", str(out)])
        assert "... and 5 more" in capsys.readouterr().out
        assert len(pd.read_csv(out / "noise-table.csv")) == 25

    def test_every_option_reaches_the_clustering(self, tmp_path, out):
        image = _noise(40, 50, 3)
        iio.imwrite(tmp_path / "noise.png", image)
        arguments = "-k 5 --color-space lab --method coreset --coreset-size 90 --init random"
        arguments += " --n-init 2 --max-iter 4 --tol 0.01 --seed 7 --blur 1.5"
        assert main([str(tmp_path / "noise.png"), *arguments.split(), "-o", str(out)]) == 0
        seg = segment(
            image,
            5,
            color_space="lab",
            method="coreset",
            coreset_size=90,
            init="random",
            n_init=2,
            max_iter=4,
            tol=0.01,
            random_state=7,
            blur=1.5,
        )
        _assert_results(out, "noise", ".png", seg)

    def test_a_16_bit_volume_gives_tiff(self, tmp_path, out, steps):
        tifffile.imwrite(tmp_path / "steps.tif", steps, photometric="minisblack")
        assert main([str(tmp_path / "steps.tif"), "-k", "3", "-o", str(out)]) == 0
        _assert_results(out, "steps", ".tif", segment(steps, 3))

    def test_a_16_bit_gray_image_gives_png(self, tmp_path, out, steps):
        iio.imwrite(tmp_path / "steps.png", steps[0])
        assert main([str(tmp_path / "steps.png"), "-k", "3", "-o", str(out)]) == 0
        _assert_results(out, "steps", ".png", segment(steps[0], 3))

    def test_a_float_color_image_gives_tiff(self, tmp_path, out, quadrants):
        image = (quadrants / 255).astype(np.float32)
        tifffile.imwrite(tmp_path / "f.tif", image, photometric="rgb")
        assert main([str(tmp_path / "f.tif"), "-k", "4", "-o", str(out)]) == 0
        _assert_results(out, "f", ".tif", segment(image, 4, rgb=True))

    def test_channels_on_the_first_axis_stay_there(self, tmp_path, out):
        image = _noise(5, 12, 14)
        tifffile.imwrite(tmp_path / "c.ome.tif", image, metadata={"axes": "CYX"})
        assert main([str(tmp_path / "c.ome.tif"), "-k", "3", "-o", str(out)]) == 0
        _assert_results(out, "c.ome", ".tif", segment(image, 3, channel_axis=0))

    def test_a_transparent_pixel_keeps_its_color(self, tmp_path, out, quadrants):
        image = np.dstack([quadrants, np.full(quadrants.shape[:2], 255, np.uint8)])
        image[3, 5] = (1, 2, 3, 0)
        iio.imwrite(tmp_path / "clear.png", image)
        assert main([str(tmp_path / "clear.png"), "-k", "4", "-o", str(out)]) == 0
        _assert_results(out, "clear", ".png", segment(image, 4, rgb=True))
        assert tifffile.imread(out / "clear-labels.tif")[3, 5] == 0
        assert iio.imread(out / "clear-recolored.png")[3, 5].tolist() == [1, 2, 3, 0]

    def test_a_sample_is_clustered(self, out):
        assert main(["--sample", "volume", "-k", "4", "-o", str(out)]) == 0
        labels = tifffile.imread(out / "volume-labels.tif")
        np.testing.assert_array_equal(labels, segment(SAMPLES["volume"](), 4).labels)
        # Voxels of 2 by 0.5 by 0.5 µm.
        table = pd.read_csv(out / "volume-table.csv")
        np.testing.assert_allclose(table["volume"], table["pixels"] * 0.5)
        assert set(table["unit"]) == {"µm³"}

    def test_a_sample_with_channels_is_clustered(self, out):
        flags = ["-k", "6", "--normalize", "percentile", "-o", str(out)]
        assert main(["--sample", "fluorescence", *flags]) == 0
        seg = segment(SAMPLES["fluorescence"](), 6, channel_axis=0, normalize="percentile")
        labels = tifffile.imread(out / "fluorescence-labels.tif")
        np.testing.assert_array_equal(labels, seg.labels)
        assert "mean TBR2" in pd.read_csv(out / "fluorescence-table.csv")

    def test_without_arguments_the_first_sample_is_clustered(self, out):
        assert main(["-o", str(out)]) == 0
        _assert_results(out, "photograph", ".png", segment(SAMPLES["photograph"]()))

    def test_images_of_the_same_name_get_numbered_results(self, tmp_path, out, capsys):
        images = [_noise(12, 14, 3, seed=seed) for seed in range(2)]
        paths = [tmp_path / name / "photo.png" for name in "ab"]
        for path, image in zip(paths, images, strict=True):
            path.parent.mkdir()
            iio.imwrite(path, image)
        assert main([*map(str, paths), "--each", "-k", "3", "-o", str(out)]) == 0
        _assert_results(out, "photo", ".png", segment(images[0], 3, rgb=True))
        _assert_results(out, "photo-2", ".png", segment(images[1], 3, rgb=True))
        printed = capsys.readouterr().out
        assert "photo: 3 clusters" in printed
        assert f"photo-2 ({paths[1]}): 3 clusters" in printed

    def test_an_input_is_not_overwritten(self, photo, quadrants):
        other = photo.with_name("photo-recolored.png")
        iio.imwrite(other, _noise(12, 14, 3))
        assert main([str(photo), str(other), "-k", "2", "-o", str(photo.parent)]) == 0
        np.testing.assert_array_equal(iio.imread(other), _noise(12, 14, 3))
        np.testing.assert_array_equal(iio.imread(photo), quadrants)


class TestTogether:
    """Several images get one model: the same as from `segment` with a list of images."""

    @pytest.fixture
    def images(self) -> dict[str, np.ndarray]:
        return {
            "dark": _noise(40, 50, 3) // 2,
            "bright": 128 + _noise(30, 60, 3, seed=1) // 2,
            "small": _noise(5, 8, 3, seed=2) // 2,
        }

    @pytest.fixture
    def paths(self, tmp_path, images) -> list[str]:
        for name, image in images.items():
            iio.imwrite(tmp_path / f"{name}.png", image)
        return [str(tmp_path / f"{name}.png") for name in images]

    def _assert_results(self, out: Path, images: dict[str, np.ndarray], seg) -> None:
        for name, labels, recolored in zip(images, seg.labels, seg.recolored, strict=True):
            np.testing.assert_array_equal(tifffile.imread(out / f"{name}-labels.tif"), labels)
            picture = iio.imread(out / f"{name}-recolored.png")
            np.testing.assert_array_equal(picture, recolored)
            table = pd.read_csv(out / f"{name}-table.csv")
            counts = np.bincount(labels.ravel(), minlength=seg.model.n_clusters + 1)[1:]
            assert table["pixels"].tolist() == counts.tolist()
            np.testing.assert_allclose(table["percent"], 100 * counts / labels.size)
            assert table["index"].tolist() == list(range(1, seg.model.n_clusters + 1))
            assert table["color"].tolist() == seg.table["color"].tolist()
        model = KMeansModel.load(out / "napari-kmeans-model.json")
        assert model.to_dict() == seg.model.to_dict()
        table = pd.read_csv(out / "napari-kmeans-table.csv")
        pd.testing.assert_frame_equal(table, seg.table, check_dtype=False)

    def test_one_model_labels_all_images(self, paths, images, out, capsys):
        assert main([*paths, "-k", "4", "-o", str(out)]) == 0
        self._assert_results(out, images, segment(list(images.values()), 4, rgb=True))
        assert len(_names(out)) == 3 * len(images) + 2
        printed = capsys.readouterr()
        assert printed.err == ""
        assert printed.out.startswith("3 images: 4 clusters\n")
        assert all(f"wrote {out / name}" in printed.out for name in _names(out))

    def test_images_beyond_the_memory_limit_are_read_again(self, paths, images, out, monkeypatch):
        monkeypatch.setattr(dropped_pixels, "MAX_BYTES_IN_MEMORY", 7000)
        assert main([*paths, "-k", "4", "-o", str(out)]) == 0
        self._assert_results(out, images, segment(list(images.values()), 4, rgb=True))

    def test_each_fits_a_model_to_each_image(self, paths, images, out):
        assert main([*paths, "--each", "-k", "3", "-o", str(out)]) == 0
        for name, image in images.items():
            _assert_results(out, name, ".png", segment(image, 3, rgb=True))
        assert len(_names(out)) == 4 * len(images)

    def test_an_unreadable_file_does_not_stop_the_others(self, paths, images, out, capsys):
        bad = Path(paths[0]).with_name("bad.png")
        bad.write_text("no image")
        assert main([paths[0], str(bad), *paths[1:], "-k", "4", "-o", str(out)]) == 1
        self._assert_results(out, images, segment(list(images.values()), 4, rgb=True))
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"napari-kmeans: cannot read {bad}: ")

    @pytest.mark.parametrize("place", [0, 2])
    @pytest.mark.parametrize("other", [_noise(9, 8), _noise(9, 8, 3).astype(np.uint16)])
    def test_an_image_of_another_kind_does_not_stop_the_others(
        self, paths, images, out, other, place, tmp_path, capsys
    ):
        tifffile.imwrite(tmp_path / "other.tif", other)
        arguments = [*paths[:place], str(tmp_path / "other.tif"), *paths[place:], "-k", "4"]
        assert main([*arguments, "-o", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        what = "channels" if other.ndim == 2 else "dtype"
        assert line.startswith(
            f"napari-kmeans: cannot cluster {tmp_path / 'other.tif'} with the other images: "
            f"it must have the {what} of {paths[0]}, "
        )
        assert line.endswith("; --each clusters each by itself.")
        self._assert_results(out, images, segment(list(images.values()), 4, rgb=True))
        assert len(_names(out)) == 3 * len(images) + 2
        assert main([*arguments, "--each", "-o", str(out.with_name("each"))]) == 0

    def test_a_damaged_chunk_does_not_stop_the_others(self, paths, images, tmp_path, out, capsys):
        scan, unreadable = tmp_path / "scan.zarr", tmp_path / "unreadable.png"
        zarr.create_array(scan, data=_noise(700, 600, 3), chunks=(256, 256, 3))
        (scan / "c" / "1" / "1" / "0").write_bytes(b"no chunk")
        unreadable.write_text("no image")
        arguments = [str(unreadable), paths[0], str(scan), *paths[1:], "-k", "4", "-o", str(out)]
        assert main(arguments) == 1
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"napari-kmeans: cannot read {unreadable}: ")
        assert second.startswith(f"napari-kmeans: cannot cluster {scan}: ")
        assert f" of {scan} cannot be read" in second
        self._assert_results(out, images, segment(list(images.values()), 4, rgb=True))

    def test_an_image_named_like_the_shared_model_gets_a_number(self, paths, tmp_path, out):
        odd = tmp_path / "napari-kmeans.png"
        iio.imwrite(odd, _noise(9, 8, 3))
        assert main([paths[0], str(odd), "-k", "2", "-o", str(out)]) == 0
        table = pd.read_csv(out / "napari-kmeans-table.csv")
        assert table["pixels"].sum() == 40 * 50 + 9 * 8
        assert pd.read_csv(out / "napari-kmeans-2-table.csv")["pixels"].sum() == 9 * 8

    def test_one_image_that_is_left_is_one_image(self, paths, tmp_path, out, capsys):
        arguments = [paths[0], str(tmp_path / "missing.png"), "-k", "2", "-o", str(out)]
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out.startswith("1 image: 2 clusters\n")
        assert printed.err.endswith("missing.png: there is no such file or folder.\n")

    def test_zarr_and_png_images_share_a_model(self, paths, images, tmp_path, out):
        scan = _noise(700, 600, 3, seed=5)
        zarr.create_array(tmp_path / "scan.zarr", data=scan, chunks=(256, 256, 3))
        assert main([paths[0], str(tmp_path / "scan.zarr"), "-k", "4", "-o", str(out)]) == 0
        seg = segment([images["dark"], scan], 4, rgb=True)
        np.testing.assert_array_equal(tifffile.imread(out / "dark-labels.tif"), seg.labels[0])
        written = read_image(out / "scan-labels.zarr").pixels
        np.testing.assert_array_equal(written, seg.labels[1])
        recolored = read_image(out / "scan-recolored.zarr").pixels
        np.testing.assert_array_equal(recolored, seg.recolored[1])
        counts = np.bincount(seg.labels[1].ravel(), minlength=5)[1:]
        assert pd.read_csv(out / "scan-table.csv")["pixels"].tolist() == counts.tolist()


class TestModel:
    """A saved model labels other images."""

    @pytest.fixture
    def model(self, tmp_path, quadrants) -> Path:
        segment(quadrants, 4, rgb=True).model.save(tmp_path / "quadrants.json")
        return tmp_path / "quadrants.json"

    def test_a_model_gives_labels_and_a_recolored_image(self, model, tmp_path, out, capsys):
        image = np.dstack([_noise(30, 40, 3), np.full((30, 40), 255, np.uint8)])
        image[2, 3] = (7, 8, 9, 0)
        iio.imwrite(tmp_path / "other.png", image)
        assert main([str(tmp_path / "other.png"), "--model", str(model), "-o", str(out)]) == 0
        assert _names(out) == ["other-labels.tif", "other-recolored.png", "other-table.csv"]
        loaded = KMeansModel.load(model)
        labels = tifffile.imread(out / "other-labels.tif")
        np.testing.assert_array_equal(labels, loaded.predict(image))
        recolored = iio.imread(out / "other-recolored.png")
        assert recolored[2, 3].tolist() == [7, 8, 9, 0]
        np.testing.assert_array_equal(
            recolored[labels > 0][:, :3], np.rint(loaded.palette)[labels[labels > 0] - 1]
        )
        table = pd.read_csv(out / "other-table.csv")
        assert table["pixels"].tolist() == [np.sum(labels == label) for label in (1, 2, 3, 4)]
        assert table["percent"].sum() == pytest.approx(100)
        assert capsys.readouterr().out.startswith("other: 4 clusters\n label  percent  color\n")

    @pytest.mark.parametrize("kind", ["other.png", "other.zarr"])
    def test_an_edited_model_gives_names_colors_merges_and_shares(
        self, kind, tmp_path, out, quadrants, capsys
    ):
        seg = segment(quadrants, 4, rgb=True)
        classes = seg.model.classes.merge([3, 2]).rename(3, "soil, dry").recolor(4, "#ff0080")
        edited = apply_classes(seg, classes.ignore(1).renumber({4: 300}))
        edited.model.save(tmp_path / "edited.json")
        image = np.tile(np.concatenate([quadrants, quadrants[:9]]), (3, 3, 1))
        if kind == "other.png":
            iio.imwrite(tmp_path / kind, image)
        else:
            zarr.create_array(tmp_path / kind, data=image, chunks=(16, 16, 3))
        model = tmp_path / "edited.json"
        assert main([str(tmp_path / kind), "--model", str(model), "-o", str(out)]) == 0
        suffix = "tif" if kind == "other.png" else "zarr"
        labels = read_image(out / f"other-labels.{suffix}").pixels
        # The clusters are numbered by hand: 2 and 3 were merged, 4 became 300.
        own = np.tile(np.concatenate([seg.labels, seg.labels[:9]]), (3, 3))
        np.testing.assert_array_equal(labels, np.array([0, 1, 3, 3, 300])[own])
        table = pd.read_csv(out / "other-table.csv", keep_default_na=False, na_values=[""])
        means = ["mean red", "mean green", "mean blue"]
        assert list(table) == ["index", "pixels", "percent", "name", "ignored", *means, "color"]
        expected = [image[np.asarray(labels) == label].mean(axis=0) for label in (1, 3, 300)]
        np.testing.assert_allclose(table[means], expected, rtol=1e-7)
        counts = np.array([np.sum(np.isin(own, each)) for each in (1, [2, 3], 4)])
        assert table["index"].tolist() == [1, 3, 300]
        assert table["pixels"].tolist() == counts.tolist()
        shares = 100 * counts / counts[1:].sum()
        np.testing.assert_allclose(table["percent"], [np.nan, *shares[1:]])
        assert table["name"].fillna("").tolist() == ["", "soil, dry", ""]
        assert table["ignored"].tolist() == [True, False, False]
        assert table["color"][2] == "#ff0080"
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["other: 3 clusters", " label  percent  color  name"]
        assert lines[2].split() == ["1", "ignored", edited.table["color"][0]]
        assert lines[3].split() == ["3", f"{shares[1]:.2f}", table["color"][1], "soil,", "dry"]
        if suffix == "zarr":
            attributes = zarr.open(out / "other-labels.zarr", mode="r").attrs
            written = attributes["ome"]["image-label"]
            properties = {each.pop("label-value"): each for each in written["properties"]}
            assert properties[3] == {
                "name": "soil, dry",
                "ignored": False,
                "pixels": int(counts[1]),
            }
            assert properties[1]["ignored"]
            assert written["colors"][2] == {"label-value": 300, "rgba": [255, 0, 128, 255]}
        # A new run recognizes and replaces the table.
        assert main([str(tmp_path / kind), "--model", str(model), "-o", str(out)]) == 0
        assert len(_names(out)) == 3

    def test_a_model_with_a_blur_gives_the_labels_of_its_run(self, tmp_path, out, quadrants):
        seg = segment(quadrants, 4, rgb=True, blur=2)
        seg.model.save(tmp_path / "blur.json")
        iio.imwrite(tmp_path / "same.png", quadrants)
        arguments = ["--model", str(tmp_path / "blur.json"), "-o", str(out)]
        assert main([str(tmp_path / "same.png"), *arguments]) == 0
        np.testing.assert_array_equal(tifffile.imread(out / "same-labels.tif"), seg.labels)

    def test_a_model_labels_a_zarr_image(self, model, tmp_path, out):
        scan = _noise(1100, 600, 3)
        zarr.create_array(tmp_path / "scan.zarr", data=scan, chunks=(256, 256, 3))
        assert main([str(tmp_path / "scan.zarr"), "--model", str(model), "-o", str(out)]) == 0
        labels = KMeansModel.load(model).predict(scan)
        np.testing.assert_array_equal(read_image(out / "scan-labels.zarr").pixels, labels)
        counts = np.bincount(labels.ravel(), minlength=5)[1:]
        assert pd.read_csv(out / "scan-table.csv")["pixels"].tolist() == counts.tolist()

    def test_an_image_of_another_kind_does_not_stop_the_others(
        self, model, photo, tmp_path, out, capsys
    ):
        iio.imwrite(tmp_path / "gray.png", _noise(9, 8))
        arguments = [str(tmp_path / "gray.png"), str(photo), "--model", str(model)]
        assert main([*arguments, "-o", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        expected = "the image must have colors, got gray"
        assert line == (
            f"napari-kmeans: cannot apply the model to {tmp_path / 'gray.png'}: {expected}."
        )
        assert _names(out) == ["photo-labels.tif", "photo-recolored.png", "photo-table.csv"]

    def test_images_in_other_units_give_a_warning(self, model, tmp_path, out, quadrants, capsys):
        kinds = {"same": (1, np.uint8), "wide": (257, np.uint16), "unit": (1 / 255, np.float32)}
        for name, (factor, dtype) in kinds.items():
            pixels = (quadrants * float(factor)).astype(dtype)
            tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb")
        paths = [str(tmp_path / f"{name}.tif") for name in kinds]
        zarr.create_array(tmp_path / "lazy.zarr", data=np.tile(pixels, (2, 2, 1)), chunks=(9, 9, 3))
        paths.append(str(tmp_path / "lazy.zarr"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert main([*paths, "--model", str(model), "-o", str(out)]) == 0
        printed = capsys.readouterr()
        assert printed.out.splitlines()[-1].startswith(
            "3 images have other units than the model (wide, unit and lazy): the shares"
        )
        lines = printed.err.splitlines()
        for path, line in zip(paths[1:], lines, strict=True):
            assert line.startswith(f"napari-kmeans: {path}: image holds ")
            assert line.endswith("so bring the image to the model's units first.")

    def test_options_include_the_scaling_of_the_model(self, tmp_path, quadrants):
        model = segment(quadrants, 4, rgb=True, normalize="zscore").model
        job = ImageJob("photo", "photo", lambda: Picture(quadrants, rgb=True))
        (outcome,) = jobs.Workflow.of_model(model).run([job])
        expected = Options(n_clusters=4, normalize="zscore")
        assert outcome.seg.options.to_dict() == expected.to_dict()

    @pytest.mark.parametrize("content", [None, "no model", "{}"])
    def test_a_file_that_is_not_a_model_is_refused(self, photo, tmp_path, out, content, capsys):
        path = tmp_path / "bad.json"
        if content is not None:
            path.write_text(content)
        assert main([str(photo), "--model", str(path), "-o", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(path) in line
        assert not out.exists()

    def test_model_is_refused_with_options_of_a_fit(self, model, photo, capsys):
        with pytest.raises(SystemExit):
            main([str(photo), "--model", str(model), "-k", "3"])
        assert "--model must go without --n-clusters" in capsys.readouterr().err


class TestLazily:
    """Lazy images give OME-Zarr, with the same results as `segment` for pixels in memory."""

    @pytest.fixture
    def image(self) -> np.ndarray:
        return _noise(1200, 1100, 3)

    @pytest.fixture
    def scan(self, tmp_path, image) -> Path:
        path = tmp_path / "scan.zarr"
        zarr.create_array(path, data=image, chunks=(512, 512, 3))
        return path

    def _assert_results(self, out: Path, stem: str, seg) -> None:
        labels = read_image(out / f"{stem}-labels.zarr")
        recolored = read_image(out / f"{stem}-recolored.zarr")
        for picture, expected in ((labels, seg.labels), (recolored, seg.recolored)):
            np.testing.assert_array_equal(picture.pixels, expected)
            assert picture.pixels.dtype == expected.dtype
        assert recolored.channel_axis == (None if seg.model.rgb else seg.model.channel_axis)
        assert bool(recolored.rgb) == seg.model.rgb
        table = pd.read_csv(out / f"{stem}-table.csv")
        pd.testing.assert_frame_equal(table, seg.table, check_dtype=False)
        model = KMeansModel.load(out / f"{stem}-model.json")
        np.testing.assert_allclose(model.cluster_centers_, seg.model.cluster_centers_)

    def test_a_color_image_gives_ome_zarr(self, scan, image, out, capsys):
        assert main([str(scan), "-k", "4", "-o", str(out)]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert all(f"wrote {out / name}" in printed.out for name in _names(out))
        names = ["labels.zarr", "model.json", "recolored.zarr", "table.csv"]
        assert _names(out) == [f"scan-{name}" for name in names]
        seg = segment(image, 4)
        self._assert_results(out, "scan", seg)
        coarse = zarr.open_array(out / "scan-labels.zarr" / "1", mode="r")
        np.testing.assert_array_equal(coarse[:], seg.labels[::2, ::2])

    def test_ome_zarr_labels_have_the_colors_of_the_clusters(self, scan, out):
        assert main([str(scan), "-k", "3", "-o", str(out)]) == 0
        attributes = zarr.open_group(out / "scan-labels.zarr", mode="r").attrs["ome"]
        colors = KMeansModel.load(out / "scan-model.json").colors
        for label, entry in enumerate(attributes["image-label"]["colors"], start=1):
            assert entry["label-value"] == label
            np.testing.assert_allclose(
                np.array(entry["rgba"]) / 255, [*colors[label - 1], 1], atol=0.01
            )
        assert len(attributes["image-label"]["colors"]) == 3

    def test_alpha_and_transparent_pixels_are_kept(self, tmp_path, out, image):
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        image[3, 5] = (1, 2, 3, 0)
        zarr.create_array(tmp_path / "clear.zarr", data=image, chunks=(512, 512, 4))
        assert main([str(tmp_path / "clear.zarr"), "-k", "4", "-o", str(out)]) == 0
        self._assert_results(out, "clear", segment(image, 4))
        recolored = read_image(out / "clear-recolored.zarr").pixels
        assert recolored[3, 5].compute().tolist() == [1, 2, 3, 0]

    def test_a_volume_keeps_its_axes(self, tmp_path, out):
        volume = _noise(5, 60, 70)
        path = tmp_path / "volume.zarr"
        zarr.create_array(path, data=volume, chunks=(1, 32, 32), dimension_names=["z", "y", "x"])
        assert main([str(path), "-k", "3", "-o", str(out)]) == 0
        self._assert_results(out, "volume", segment(volume, 3))
        axes = read_image(out / "volume-recolored.zarr").axes
        assert [axis.name for axis in axes] == ["z", "y", "x"]

    def test_channels_are_written_before_the_plane(self, tmp_path, out):
        image = _noise(60, 2, 70)
        path = tmp_path / "stain.zarr"
        zarr.create_array(path, data=image, chunks=(32, 1, 32), dimension_names=["y", "c", "x"])
        assert main([str(path), "-k", "3", "-o", str(out)]) == 0
        seg = segment(image, 3, channel_axis=1)
        labels = read_image(out / "stain-labels.zarr")
        np.testing.assert_array_equal(labels.pixels, seg.labels)
        # In OME-Zarr the channels come before the plane.
        recolored = read_image(out / "stain-recolored.zarr")
        np.testing.assert_array_equal(recolored.pixels, seg.recolored.swapaxes(0, 1))
        assert recolored.channel_axis == 0

    def test_a_large_tiff_file_gives_ome_zarr(self, tmp_path, out, image, monkeypatch):
        monkeypatch.setattr(tiff, "LARGE", 1000)
        path = tmp_path / "slide.tif"
        tifffile.imwrite(path, image, photometric="rgb", tile=(256, 256), compression="zlib")
        assert main([str(path), "-k", "4", "-o", str(out)]) == 0
        self._assert_results(out, "slide", segment(image, 4))

    def test_a_second_run_replaces_the_first(self, scan, image, out):
        for n_clusters in (5, 3):
            assert main([str(scan), "-k", str(n_clusters), "-o", str(out)]) == 0
            self._assert_results(out, "scan", segment(image, n_clusters))
            assert len(_names(out)) == 4

    def test_results_have_the_scale_and_translation_of_the_source(self, scan, tmp_path, out):
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
        place = [
            {"type": "scale", "scale": [0.5, 0.25]},
            {"type": "translation", "translation": [7.0, 0.0]},
        ]
        datasets = [{"path": "0", "coordinateTransformations": place}]
        multiscale = {"axes": axes, "datasets": datasets}
        ome = {"version": "0.5", "multiscales": [multiscale]}
        group = zarr.open_group(tmp_path / "gray.zarr", mode="w", attributes={"ome": ome})
        group.create_array("0", data=_noise(60, 70))
        assert main([str(tmp_path / "gray.zarr"), "-k", "2", "-o", str(out)]) == 0
        for name in ("labels", "recolored"):
            written = read_image(out / f"gray-{name}.zarr").axes
            assert written == read_image(tmp_path / "gray.zarr").axes

    def test_a_damaged_chunk_leaves_no_files(self, scan, out, capsys):
        (scan / "c" / "1" / "1" / "0").write_bytes(b"no chunk")
        assert main([str(scan), "-k", "2", "-o", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(scan) in line
        assert "1024" in line
        assert not out.exists()

    @on_posix
    def test_a_full_disk_leaves_the_earlier_results(self, scan, image, out):
        import resource

        # Compile all kernels first: the limit would keep numba from caching them.
        assert main([str(scan), "-k", "8", "-o", str(out)]) == 0
        assert main([str(scan), "-k", "3", "-o", str(out)]) == 0
        # The limit lets the metadata be written, but no chunk. The run needs another process:
        # there the errors that unfinished tasks of zarr print at the end would be seen.
        code = "import sys; from napari_kmeans.cli.main import main; sys.exit(main(sys.argv[1:]))"
        # Old releases give DeprecationWarnings, and numcodecs gives them in every release.
        python = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning"]
        done = subprocess.run(
            [*python, "-c", code, scan, "-k", "8", "-o", out],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)),
        )
        assert done.returncode == 1
        # In development mode, asyncio prints the tasks that take long on a busy machine.
        noise = ("numcodecs", "Executing <Task")
        lines = [
            line for line in done.stderr.splitlines() if not any(word in line for word in noise)
        ]
        assert len(lines) == 1, lines
        names = [f"{out}/scan-{kind}.zarr" for kind in ("labels", "recolored")]
        assert lines[0] in [
            f"napari-kmeans: cannot write {name}: File too large." for name in names
        ]
        self._assert_results(out, "scan", segment(image, 3))
        assert len(_names(out)) == 4

    @on_posix
    def test_the_next_run_removes_files_of_a_killed_run(self, scan, image, out):
        arguments = [sys.executable, "-m", "napari_kmeans", scan, "-k", "3", "-o", out]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
            while not list(out.glob(".napari-kmeans-*/0/c/*")):
                assert process.poll() is None
            process.kill()
        left = [name for name in _names(out) if not name.startswith("scan-")]
        assert left
        assert main([*map(str, arguments[3:])]) == 0
        self._assert_results(out, "scan", segment(image, 3))
        assert len(_names(out)) == 4


class TestEarlierRuns:
    """For each image name, a directory contains the files of one run only."""

    @pytest.fixture
    def paths(self, tmp_path) -> list[str]:
        for number, name in enumerate(("a", "b", "c")):
            iio.imwrite(tmp_path / f"{name}.png", _noise(40, 50, 3, seed=number))
        return [str(tmp_path / f"{name}.png") for name in ("a", "b", "c")]

    def _assert_one_run_each(self, out: Path, n_clusters: dict[str, int]) -> None:
        """Check that labels, table and model of each name have the same number of clusters."""
        shared = out / "napari-kmeans-model.json"
        for stem, number in n_clusters.items():
            (labels,) = out.glob(f"{stem}-labels.*")
            assert len(list(out.glob(f"{stem}-recolored.*"))) == 1
            assert np.asarray(read_image(labels).pixels).max() == number
            assert len(pd.read_csv(out / f"{stem}-table.csv")) == number
            model = out / f"{stem}-model.json"
            if model.exists() or shared.exists():
                model = model if model.exists() else shared
                assert KMeansModel.load(model).n_clusters == number

    def test_a_shared_model_replaces_single_models(self, paths, out, capsys):
        assert main([*paths, "--each", "-k", "3", "-o", str(out)]) == 0
        capsys.readouterr()
        assert main([*paths, "-k", "5", "-o", str(out)]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        for name in ("a", "b", "c"):
            assert f"removed {out / name}-model.json, of an earlier run\n" in printed.out
        assert not list(out.glob("?-model.json"))
        self._assert_one_run_each(out, dict.fromkeys("abc", 5))
        assert len(_names(out)) == 3 * 3 + 2

    def test_the_shared_model_is_removed_with_its_last_image(self, paths, out, capsys):
        shared = {"napari-kmeans-model.json", "napari-kmeans-table.csv"}
        assert main([*paths, "-k", "5", "-o", str(out)]) == 0
        capsys.readouterr()
        assert main([*paths[:2], "--each", "-k", "3", "-o", str(out)]) == 0
        assert capsys.readouterr().err == (
            f"napari-kmeans: {out / 'napari-kmeans-model.json'} is kept for c; "
            "it is no longer the model of a and b.\n"
        )
        assert shared <= set(_names(out))
        assert main([*paths[2:], "--each", "-k", "3", "-o", str(out)]) == 0
        assert capsys.readouterr().err == ""
        assert shared.isdisjoint(_names(out))
        self._assert_one_run_each(out, dict.fromkeys("abc", 3))
        assert len(_names(out)) == 3 * 4

    @pytest.fixture
    def other_model(self, tmp_path) -> str:
        segment(_noise(9, 9, 3), 3, rgb=True).model.save(tmp_path / "model.json")
        return str(tmp_path / "model.json")

    def test_labels_of_another_model_replace_all_labels_of_the_shared_model(
        self, paths, out, other_model
    ):
        assert main([*paths, "-k", "5", "-o", str(out)]) == 0
        assert main([*paths, "--model", other_model, "-o", str(out)]) == 0
        self._assert_one_run_each(out, dict.fromkeys("abc", 3))
        assert len(_names(out)) == 3 * 3

    def test_a_run_beside_labels_of_another_model_is_refused(self, paths, out, other_model, capsys):
        shared, some, rest = [*paths, "-k", "5"], paths[:2], paths[2:]
        for first, second, names in (
            (shared, [*some, "--model", other_model], "the results of c"),
            (shared, [*some, "-k", "4"], "the results of c"),
            ([*some, "-k", "5"], [*rest, "--model", other_model], "the results of a and b"),
            ([*rest, "--model", other_model], [*some, "-k", "4"], "the results of c"),
        ):
            assert main([*first, "-o", str(out)]) == 0
            before = {name: (out / name).read_bytes() for name in _names(out)}
            capsys.readouterr()
            assert main([*second, "-o", str(out)]) == 1
            assert capsys.readouterr().err == (
                f"napari-kmeans: cannot write to {out}: it holds {names} of an earlier run with "
                "another model; choose another directory.\n"
            )
            assert {name: (out / name).read_bytes() for name in _names(out)} == before
            shutil.rmtree(out)

    def test_a_lone_shared_model_is_not_put_beside_labels_of_another(
        self, paths, out, other_model, capsys
    ):
        assert main([*paths[:2], "-k", "5", "-o", str(out)]) == 0
        for path in [*out.glob("a-*"), *out.glob("b-*")]:
            path.unlink()
        assert main([paths[2], "--model", other_model, "-o", str(out)]) == 1
        assert "it holds napari-kmeans-model.json of an earlier run" in capsys.readouterr().err
        assert main([paths[2], "-k", "3", "-o", str(out)]) == 0

    def test_images_painted_with_the_shared_model_count_among_its_images(self, paths, out, capsys):
        model = str(out / "napari-kmeans-model.json")
        assert main([*paths[:2], "-k", "5", "-o", str(out)]) == 0
        assert main([paths[2], "--model", model, "-o", str(out)]) == 0
        assert capsys.readouterr().err == ""
        self._assert_one_run_each(out, dict.fromkeys("abc", 5))
        assert main([*paths[:2], "--each", "-k", "3", "-o", str(out)]) == 0
        assert "is kept for c; it is no longer the model of a and b" in capsys.readouterr().err
        assert Path(model).exists()

    def test_an_image_that_fails_loses_labels_whose_model_is_replaced(self, paths, out, capsys):
        assert main([*paths, "-k", "5", "-o", str(out)]) == 0
        Path(paths[1]).write_text("no image")
        capsys.readouterr()
        assert main([*paths, "-k", "4", "-o", str(out)]) == 1
        assert f"removed {out / 'b-labels.tif'}, of an earlier run" in capsys.readouterr().out
        self._assert_one_run_each(out, dict.fromkeys("ac", 4))
        assert len(_names(out)) == 2 * 3 + 2

    def test_results_in_another_format_replace_the_first(self, paths, tmp_path, out):
        scan = _noise(300, 200, 3)
        zarr.create_array(tmp_path / "a.zarr", data=scan, chunks=(128, 128, 3))
        first, second = [paths[0], "-k", "3"], [str(tmp_path / "a.zarr"), "-k", "4"]
        for arguments, suffixes, number in (
            (first, (".tif", ".png"), 3), (second, (".zarr", ".zarr"), 4),
            (first, (".tif", ".png"), 3),
        ):  # fmt: skip
            assert main([*arguments, "-o", str(out)]) == 0
            names = [f"a-labels{suffixes[0]}", f"a-recolored{suffixes[1]}"]
            assert _names(out) == sorted([*names, "a-model.json", "a-table.csv"])
            self._assert_one_run_each(out, {"a": number})

    def test_the_model_that_paints_is_never_removed(self, paths, out, capsys):
        assert main([*paths, "--each", "-k", "3", "-o", str(out)]) == 0
        model = (out / "a-model.json").read_bytes()
        link = out.with_name("link.json")
        link.symlink_to(out / "a-model.json")
        for path in (out / "a-model.json", link):
            assert main([*paths, "--model", str(path), "-o", str(out)]) == 0
            assert (out / "a-model.json").read_bytes() == model
            assert not (out / "b-model.json").exists()
        assert main([*paths, "-k", "4", "-o", str(out)]) == 0
        shared = [out / "napari-kmeans-model.json", out / "napari-kmeans-table.csv"]
        before = [path.read_bytes() for path in shared]
        capsys.readouterr()
        assert main([*paths, "--model", str(shared[0]), "-o", str(out)]) == 0
        assert [path.read_bytes() for path in shared] == before
        assert capsys.readouterr().err == ""

    def test_files_of_the_user_stay(self, paths, out):
        assert main([*paths[:2], "--each", "-k", "3", "-o", str(out)]) == 0
        (out / "a-model.json").write_text('{"format": "a model of somebody"}')
        (out / "a-recolored.tif").write_text("a note")
        (out / "a-notes.csv").touch()
        tifffile.imwrite(out / "b-recolored.tif", _noise(5, 6))
        (out / "b-labels.zarr").mkdir()
        foreign = ["a-model.json", "a-notes.csv", "a-recolored.tif", "b-labels.zarr"]
        assert main([*paths[:2], "-k", "2", "-o", str(out)]) == 0
        assert {*foreign, "b-recolored.tif"} <= set(_names(out))
        assert (out / "a-recolored.tif").read_text() == "a note"

    def test_an_image_that_fails_keeps_its_results_and_their_model(self, paths, out):
        assert main([*paths, "-k", "5", "-o", str(out)]) == 0
        before = {name: (out / name).read_bytes() for name in _names(out) if name[0] == "b"}
        Path(paths[1]).write_text("no image")
        assert main([*paths, "--each", "-k", "3", "-o", str(out)]) == 1
        assert {name: (out / name).read_bytes() for name in before} == before
        assert KMeansModel.load(out / "napari-kmeans-model.json").n_clusters == 5

    def test_an_input_among_the_results_stays(self, paths, out):
        assert main([paths[0], "-k", "3", "-o", str(out)]) == 0
        inputs = [paths[0], str(out / "a-recolored.png")]
        pixels = Path(inputs[1]).read_bytes()
        assert main([*inputs, "--each", "-k", "2", "-o", str(out)]) == 0
        assert Path(inputs[1]).read_bytes() == pixels
        names = {"a-2-labels.tif", "a-recolored-labels.tif", "a-labels.tif", "a-model.json"}
        assert names <= set(_names(out))


class TestFaults:
    @pytest.mark.parametrize("name", ["broken.png", "broken.tif", "missing.jpg"])
    def test_an_unreadable_file_does_not_stop_the_others(self, photo, out, name, capsys):
        bad = photo.with_name(name)
        if "broken" in name:
            bad.write_text("no image")
        assert main([str(bad), str(photo), "--each", "-k", "2", "-o", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"napari-kmeans: cannot read {bad}: ")
        assert _names(out) == [f"photo-{part}" for part in PARTS]

    @pytest.mark.parametrize("arguments", [[""], ["", "a.png"], ["a.png", "--mask", ""]])
    def test_an_empty_path_is_refused(self, photo, out, arguments, monkeypatch, capsys):
        monkeypatch.chdir(photo.parent)
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "-k", "2", "-o", str(out)])
        assert caught.value.code == 2
        assert "must be a path, got ''; . is the current folder" in capsys.readouterr().err
        assert not out.exists()

    @pytest.mark.parametrize("each", [[], ["--each"]])
    def test_an_image_that_cannot_be_written_costs_no_other(
        self, photo, out, each, monkeypatch, capsys
    ):
        # The values of a tag are no numbers.
        bad = photo.with_name("bad.tif")
        iio.imwrite(bad, iio.imread(photo))
        read = main_module.list_jobs

        def list_jobs(arguments):
            jobs = read(arguments)
            picture = jobs[0].read()._replace(geo_tags=((33550, 12, 3, ("a", "b", "c")),))
            return [jobs[0]._replace(read=lambda: picture), *jobs[1:]]

        monkeypatch.setattr(main_module, "list_jobs", list_jobs)
        code = main([str(bad), str(photo), *each, "-k", "2", "-o", str(out)])
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 1
        assert line.startswith(f"napari-kmeans: cannot write the results of {bad} to {out}: ")
        kept = [part for part in PARTS if each or part != "model.json"]
        assert not any(name.startswith("bad") for name in _names(out))
        assert {f"photo-{part}" for part in kept} <= {*_names(out)}

    def test_no_directory_is_left_if_no_image_is_read(self, tmp_path, out):
        assert main([str(tmp_path / "missing.png"), "-o", str(out / "deep")]) == 1
        assert not out.exists()

    def test_a_directory_that_cannot_be_written_is_refused_before_reading(self, photo, capsys):
        # If the images were read first, there would be a message about the missing image.
        missing = photo.with_name("missing.png")
        for directory in (photo, photo / "below"):
            assert main([str(missing), "-o", str(directory)]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line == f"napari-kmeans: cannot write to {directory}: {os.strerror(20)}."
        assert photo.is_file()

    @on_linux
    def test_a_system_directory_is_refused_in_one_line(self, photo, capsys):
        assert main([str(photo), "-o", "/proc/napari-kmeans"]) == 1
        assert capsys.readouterr().err.count("\n") == 1

    def test_an_option_that_does_not_fit_the_image_is_one_line(self, tmp_path, out, steps, capsys):
        path = tmp_path / "gray.png"
        iio.imwrite(path, steps[0])
        assert main([str(path), "--color-space", "hsv", "-o", str(out)]) == 1
        assert capsys.readouterr().err == (
            f"napari-kmeans: cannot cluster {path}: --color-space must be rgb for an image that is "
            "not RGB, got hsv: rgb compares any channels.\n"
        )
        assert not out.exists()

    def test_lab_of_wide_integers_is_refused(self, tmp_path, out, quadrants, capsys):
        path = tmp_path / "wide.tif"
        tifffile.imwrite(path, quadrants.astype(np.uint32), photometric="rgb")
        assert main([str(path), "-k", "2", "--color-space", "lab", "-o", str(out)]) == 1
        printed = capsys.readouterr()
        assert f"cannot cluster {path}: color_space must be" in printed.err
        assert printed.err.count("\n") == 1
        assert not out.exists()

    def test_fewer_colors_than_clusters_is_one_warning(self, tmp_path, out, capsys):
        path = tmp_path / "flat.png"
        iio.imwrite(path, np.full((9, 8, 3), 7, np.uint8))
        assert main([str(path), "-k", "5", "-o", str(out)]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"napari-kmeans: {path}: ")
        assert "n_clusters=5" in line
        assert len(pd.read_csv(out / "flat-table.csv")) == 1

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ("-k 0", "n_clusters must be a whole number"),
            (
                "-k many",
                "-k/--n-clusters must be a whole number from 1 to 65535, got",
            ),
            ("-k 2.5", "must be a whole number from 1 to 65535, got '2.5'"),
            ("--coreset-size some", "must be 'auto' or a whole number from 1 to"),
            ("--coreset-size 3", "coreset_size must be at least n_clusters"),
            ("--tol -1", "tol must be a number"),
            ("--tol x", "must be a number from 0.0 to 1.0, got 'x'"),
            ("--seed -1", "random_state must be"),
            ("--spacing -1", "spacing must be a number from 0.0 to"),
            ("--spacing nan", "spacing must be a number from 0.0 to"),
            (
                "--spacing 0",
                "spacing must be above 0, got 0.0: give the distance of neighboring pixels",
            ),
            ("--spacing 0,0", "spacing must be above 0, got (0.0, 0.0)"),
            ("--spacing 0.2mm", "100, got '0.2mm'; --unit states the unit"),
            ("--min-area 4mm2", "100, got '4mm2'; --unit states the unit"),
            ("--unit kg", "--unit must be a length such as µm, mm or cm, and not inches, got 'kg'"),
            ("--unit in", "--unit must be a length such as µm, mm or cm, and not inches, got 'in'"),
            ("--color-space xyz", "argument --color-space: invalid choice: 'xyz'"),
            ("--method best", "argument --method: invalid choice: 'best'"),
            ("--sample cat", "argument --sample: invalid choice: 'cat'"),
            ("--no-such-option", "unrecognized arguments: --no-such-option"),
        ],
    )
    def test_the_message_names_a_wrong_option(self, arguments, sentence, out, capsys):
        with pytest.raises(SystemExit) as caught:
            main([*arguments.split(), "-o", str(out)])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("napari-kmeans: ")
        assert sentence in line
        assert line.endswith("; napari-kmeans --help lists the arguments.")
        assert not out.exists()

    @on_posix
    def test_a_full_disk_leaves_the_earlier_results(self, tmp_path, out, capsys):
        import resource

        path = tmp_path / "noise.png"
        iio.imwrite(path, _noise(200, 200, 3))
        assert main([str(path), "-k", "3", "-o", str(out)]) == 0
        before = {name: (out / name).read_bytes() for name in _names(out)}
        capsys.readouterr()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The limit lets a part of the labels be written, as on a disk that is nearly full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            code = main([str(path), "-k", "8", "-o", str(out)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert code == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"napari-kmeans: cannot write {out}/noise-labels.tif: File too large."
        assert {name: (out / name).read_bytes() for name in _names(out)} == before

    @on_posix
    def test_ctrl_c_stops_without_a_traceback(self, tmp_path, out):
        # Opening a pipe for writing waits for its reader, so the run has surely begun to work.
        pipe = tmp_path / "pipe.png"
        os.mkfifo(pipe)
        process = subprocess.Popen(
            [sys.executable, "-m", "napari_kmeans", str(pipe), "-o", str(out)],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with pipe.open("wb"):
            # A signal between the last line of Python and the system's call that waits for bytes
            # is seen only when bytes come.
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors == "napari-kmeans: interrupted; nothing was left half-written.\n"
        assert not out.exists()


class TestProcess:
    def test_writing_files_imports_neither_qt_nor_napari(self, photo, out):
        code = (
            "import sys; from napari_kmeans.cli.main import main; code = main(sys.argv[1:]);"
            "print({'qtpy', 'napari', 'magicgui', 'vispy'} & set(sys.modules), code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, photo, "-k", "2", "-o", out],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "set() 0"

    def test_the_command_is_installed(self, photo, out):
        script = Path(sys.executable).with_name("napari-kmeans")
        arguments = [script, photo, "-k", "2", "-o", out]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert _names(out) == [f"photo-{part}" for part in PARTS]

    def test_a_pipe_gets_only_the_result(self, photo, out):
        done = _run(photo, "-k", 4, "-o", out)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("photo: 4 clusters\n")

    @on_posix
    def test_a_terminal_shows_a_progress_bar(self, photo, out):
        import termios

        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        command = [sys.executable, "-m", "napari_kmeans", str(photo), "-k", "4", "-o", str(out)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            shown = b""
            while chunk := _read_terminal(ours):
                shown += chunk
        os.close(ours)
        assert process.returncode == 0
        assert b"photo: " in shown
        assert b"%|" in shown

    @on_posix
    def test_a_closed_pipe_gives_no_traceback(self, photo, out):
        command = [sys.executable, "-m", "napari_kmeans", str(photo), "-k", "2", "-o", str(out)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            process.stdout.close()
            assert process.stderr.read() == ""

    @on_posix
    @pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&- >&- 2>&-"])
    def test_closed_streams_change_nothing(self, photo, out, streams):
        images = [photo, photo.with_name("missing.png")]
        command = [sys.executable, "-m", "napari_kmeans", *images, "-k", "2", "--each", "-o", out]
        text = f"{shlex.join(map(str, command))} {streams}"
        done = subprocess.run(text, shell=True, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == ("2>&-" not in streams)
        assert "Traceback" not in done.stderr
        _assert_results(out, "photo", ".png", segment(iio.imread(photo), 2, rgb=True))

    @on_linux
    @pytest.mark.parametrize("missing", [False, True])
    def test_messages_to_a_full_disk_do_not_end_a_run(self, photo, out, missing):
        images = [photo.with_name("missing.png"), photo] if missing else [photo]
        command = [sys.executable, "-m", "napari_kmeans", *images, "-k", "2", "--each", "-o", out]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True)
        assert done.returncode == missing
        assert "photo: 2 clusters" in done.stdout
        _assert_results(out, "photo", ".png", segment(iio.imread(photo), 2, rgb=True))

    @on_linux
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_table_to_a_full_disk_is_one_message(self, photo, out, unbuffered):
        command = [sys.executable, "-m", "napari_kmeans", photo, "-k", "2", "-o", out]
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True
            )
        assert done.returncode == 1
        assert done.stderr == (
            "napari-kmeans: cannot write the table to stdout: No space left on device.\n"
        )

    def test_version_is_printed(self, capsys):
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
        assert caught.value.code == 0
        assert capsys.readouterr().out == f"napari-kmeans {napari_kmeans.__version__}\n"

    def test_help_describes_every_option(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "With none, each run has another seed." in text
        for info in COMMAND_LINE_OPTIONS.values():
            assert info.tooltip in text
            assert info.note in text
            assert "Default:" in info.note or f"Default: {info.default}." in text


def _read_terminal(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # Linux reports a closed other end in this way.
        return b""


class TestWithoutAScreen:
    def _assert_fallback(self, done, directory: Path, problem: str) -> None:
        assert done.returncode == 0
        (line,) = done.stderr.splitlines()
        assert line == (
            f"napari-kmeans: no screen: {problem}; writing to napari-kmeans-output{os.sep} instead."
        )
        assert _names(directory / "napari-kmeans-output") == [f"photo-{part}" for part in PARTS]

    @on_linux
    def test_results_are_written_without_a_display(self, photo, tmp_path):
        done = _run(photo, "-k", 2, cwd=tmp_path, without=("DISPLAY", "WAYLAND_DISPLAY"))
        self._assert_fallback(done, tmp_path, "neither DISPLAY nor WAYLAND_DISPLAY is set")

    @pytest.mark.parametrize("platform", ["offscreen", "minimal:enable_fonts"])
    def test_results_are_written_on_a_platform_without_a_screen(self, photo, tmp_path, platform):
        done = _run(photo, "-k", 2, cwd=tmp_path, env={"QT_QPA_PLATFORM": platform})
        name = platform.partition(":")[0]
        self._assert_fallback(done, tmp_path, f"QT_QPA_PLATFORM is {name}")

    @on_linux
    def test_results_are_written_if_the_display_does_not_answer(self, photo, tmp_path):
        hidden = ("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
        done = _run(photo, "-k", 2, cwd=tmp_path, without=hidden, env={"DISPLAY": ":4711"})
        problem = "Qt cannot open the display, could not connect to display :4711"
        self._assert_fallback(done, tmp_path, problem)

    def test_a_default_directory_must_be_writable(self, photo, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        (tmp_path / "napari-kmeans-output").touch()
        assert main([str(photo)]) == 1
        assert "cannot write to napari-kmeans-output" in capsys.readouterr().err


def _outcome(pixels: np.ndarray, name: str = "photo", sample: str | None = None, **settings):
    seg = segment(pixels, 3, **settings)
    return ClusteredImage(name, Picture(pixels, **settings), seg, sample)


class TestViewer:
    def test_the_viewer_gets_layers_and_the_dock(self, make_napari_viewer, quadrants):
        viewer = make_napari_viewer()
        outcome = _outcome(quadrants, rgb=True)
        options = Options(n_clusters=3, color_space="hsv", tol=0.5, random_state=None)
        fill_viewer(viewer, [outcome], options)
        names = [layer.name for layer in viewer.layers]
        assert names == ["photo", "photo recolored", "photo labels"]
        np.testing.assert_array_equal(viewer.layers["photo"].data, quadrants)
        np.testing.assert_array_equal(viewer.layers["photo labels"].data, outcome.seg.labels)
        recolored = viewer.layers["photo recolored"]
        np.testing.assert_array_equal(recolored.data, outcome.seg.recolored)
        assert recolored.rgb
        dock = _dock(viewer)
        assert dock.image.value is viewer.layers["photo"]
        assert (dock.n_clusters.value, dock.color_space.value, dock.tol.value) == (3, "hsv", 0.5)
        assert dock.random_state.value == 0

    def test_layers_of_a_sample_have_its_scale(self, make_napari_viewer):
        viewer = make_napari_viewer()
        outcome = _outcome(SAMPLES["volume"](), "volume", sample="volume")
        fill_viewer(viewer, [outcome], Options())
        extents = [layer.extent.world for layer in viewer.layers]
        assert len(extents) == 3
        assert tuple(viewer.layers[0].scale) != (1, 1, 1)
        for extent in extents:
            np.testing.assert_array_equal(extent, extents[0])

    def test_each_channel_becomes_a_layer(self, make_napari_viewer):
        viewer = make_napari_viewer()
        outcome = _outcome(_noise(2, 30, 34), "stain", channel_axis=0)
        fill_viewer(viewer, [outcome], Options())
        assert {layer.name for layer in viewer.layers} == {
            "stain 0",
            "stain 1",
            "stain 0 recolored",
            "stain 1 recolored",
            "stain labels",
        }
        recolored = viewer.layers["stain 1 recolored"].data
        np.testing.assert_array_equal(recolored, outcome.seg.recolored[1])

    def test_multiscale_images_give_lazy_multiscale_layers(self, make_napari_viewer, tmp_path):
        image = _noise(2100, 90, 3)
        zarr.create_array(tmp_path / "tall.zarr", data=image, chunks=(512, 90, 3))
        picture = read_image(tmp_path / "tall.zarr")
        axes = (Axis("y", scale=0.5), Axis("x", translation=3.0), Axis("c", "channel"))
        picture = picture._replace(axes=axes)
        seg = segment(picture.pixels, 3)
        viewer = make_napari_viewer()
        fill_viewer(viewer, [ClusteredImage("tall", picture, seg)], Options(n_clusters=3))
        seg_in_memory = segment(image, 3, rgb=True)
        expected = {
            "tall": image,
            "tall recolored": seg_in_memory.recolored,
            "tall labels": seg_in_memory.labels,
        }
        assert [layer.name for layer in viewer.layers] == list(expected)
        for layer in viewer.layers:
            fine, coarse = layer.data
            assert isinstance(fine, da.Array)
            np.testing.assert_array_equal(fine, expected[layer.name])
            np.testing.assert_array_equal(coarse, expected[layer.name][::2, ::2])
            assert layer.scale.tolist() == [0.5, 1]
            assert layer.translate.tolist() == [0, 3]

    def test_a_multiscale_image_in_other_units_gives_one_warning(
        self, make_napari_viewer, tmp_path, quadrants
    ):
        zarr.create_array(
            tmp_path / "unit.zarr", data=_noise(2100, 90, 3) / 255, chunks=(512, 90, 3)
        )
        model = segment(quadrants, 3, rgb=True).model
        workflow = jobs.Workflow.of_model(model)
        job = ImageJob("unit", "unit.zarr", lambda: read_image(tmp_path / "unit.zarr"))
        sentences: list[str] = []
        with notices_to(sentences.append):
            outcomes = list(workflow.run([job]))
        fill_viewer(make_napari_viewer(), outcomes, workflow.options)
        assert len(sentences) == 1
        assert sentences[0].startswith("unit.zarr: image holds float64 values up to")

    def test_channels_of_a_multiscale_image_become_layers(self, make_napari_viewer, tmp_path):
        image = _noise(2, 2100, 60)
        names = ["c", "y", "x"]
        path = tmp_path / "c.zarr"
        zarr.create_array(path, data=image, chunks=(1, 512, 60), dimension_names=names)
        picture = read_image(path)
        seg = segment(picture.pixels, 3, channel_axis=0)
        viewer = make_napari_viewer()
        fill_viewer(viewer, [ClusteredImage("c", picture, seg)], Options())
        seg_in_memory = segment(image, 3, channel_axis=0)
        np.testing.assert_array_equal(viewer.layers["c 1"].data[1], image[1, ::2, ::2])
        recolored = viewer.layers["c 1 recolored"].data
        np.testing.assert_array_equal(recolored[0], seg_in_memory.recolored[1])
        np.testing.assert_array_equal(viewer.layers["c labels"].data[0], seg_in_memory.labels)
        np.testing.assert_array_equal(
            viewer.layers["c labels"].data[1], seg_in_memory.labels[::2, ::2]
        )

    def test_the_window_opens_for_the_images_that_were_read(self, photo, tmp_path, qapp):
        # One of the two images is missing: the window shows the other, and the exit code is 1.
        code = """
import sys
import time
import napari
from napari.qt import get_qapp
from qtpy.QtCore import QTimer
from napari_kmeans.cli.main import main

def look():
    viewer = napari.current_viewer()
    print([layer.name for layer in viewer.layers], list(viewer.window.dock_widgets))
    viewer.close()
    app.quit()

app = get_qapp()
QTimer.singleShot(0, look)
sys.exit(main(sys.argv[1:]))
"""
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "missing.png", photo, "-k", "4"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert done.returncode == 1, done.stderr
        assert done.stdout.splitlines()[-1] == (
            "['photo', 'photo recolored', 'photo labels'] ['K-means segmentation (napari-kmeans)']"
        )
        assert "cannot read" in done.stderr
        assert _names(tmp_path) == ["photo.png"]


def _dock(viewer):
    from napari_kmeans.viewer.dock.widget import KMeansWidget

    (widget,) = viewer.window.dock_widgets.values()
    assert isinstance(widget, KMeansWidget)
    return widget


@on_linux
@pytest.mark.parametrize("command", [[], ["run"]])
def test_a_current_folder_that_was_removed_is_one_sentence(
    photo, out, tmp_path, monkeypatch, capsys, command
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main([*command, str(photo), "-k", "2", "-o", str(out)]) == 1
    assert capsys.readouterr().err == (
        f"napari-kmeans: the current folder cannot be read: {os.strerror(errno.ENOENT)}; change "
        "to another one.\n"
    )
    assert not out.exists()
