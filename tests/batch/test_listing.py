"""Series, channels and masks that the arguments of the command line state."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from PIL import Image, ImageCms

from napari_kmeans import segment
from napari_kmeans.batch import dropped_pixels, jobs
from napari_kmeans.batch.channels import add_mask, choose_channels, set_channel_axis
from napari_kmeans.batch.image_job import ImageJob
from napari_kmeans.batch.listing import name_series
from napari_kmeans.cli.main import main
from napari_kmeans.files import reading, tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis, Channel, Picture, Series
from napari_kmeans.files.reading import Reader, read_image
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from pathlib import Path


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _labels(out: Path, stem: str) -> np.ndarray:
    (path,) = out.glob(f"{stem}-labels.*")
    return np.asarray(read_image(path).pixels)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def _run(out: Path, *arguments: object) -> int:
    return main([*map(str, arguments), "-o", str(out)])


class TestChannels:
    @pytest.fixture
    def stain(self, tmp_path) -> Path:
        """Return an image of five channels along the first axis."""
        path = tmp_path / "stain.tif"
        axes = {"axes": "CYX", "Channel": {"Name": ["DAPI", "405", "GFP", "GFP", "1"]}}
        tifffile.imwrite(path, _noise(5, 30, 31), metadata=axes, photometric="minisblack", ome=True)
        return path

    @pytest.fixture
    def named(self, stain) -> Picture:
        names = ("DAPI", "405", "GFP", "GFP", "1")
        axes = (Axis("c", "channel"), Axis("y", scale=0.5), Axis("x", scale=0.5))
        return read_image(stain)._replace(channels=tuple(map(Channel, names)), axes=axes)

    def test_some_channels_are_clustered(self, stain, out):
        assert _run(out, stain, "--channels", "0,3", "-k", 3) == 0
        seg = segment(_noise(5, 30, 31)[[0, 3]], 3, channel_axis=0)
        np.testing.assert_array_equal(_labels(out, "stain"), seg.labels)
        recolored = tifffile.imread(out / "stain-recolored.tif")
        np.testing.assert_array_equal(recolored, seg.recolored)

    def test_one_channel_is_a_gray_image(self, stain, out):
        assert _run(out, stain, "--channels", 2, "-k", 3) == 0
        seg = segment(_noise(5, 30, 31)[2], 3)
        np.testing.assert_array_equal(_labels(out, "stain"), seg.labels)
        np.testing.assert_array_equal(iio.imread(out / "stain-recolored.png"), seg.recolored)

    @pytest.mark.parametrize("dtype", ["u2", "f8"])
    def test_one_channel_keeps_its_name(self, tmp_path, out, dtype):
        image = _noise(2, 3, 30, 31).astype(dtype)
        metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP", "RFP"]}}
        path = tmp_path / "stain.ome.tif"
        tifffile.imwrite(path, image, metadata=metadata, photometric="minisblack")
        assert _run(out, path, "--channels", "GFP", "-k", 3) == 0
        header = (out / "stain.ome-table.csv").read_text().partition("\n")[0].split(",")
        assert [name for name in header if name.startswith("mean")] == ["mean GFP"]
        with tifffile.TiffFile(out / "stain.ome-recolored.tif") as file:
            np.testing.assert_array_equal(file.asarray(), segment(image[:, 1], 3).recolored)
            if dtype == "u2":
                assert file.imagej_metadata["Labels"] == ["GFP", "GFP"]
            else:
                (channel,) = ElementTree.fromstring(file.ome_metadata).findall(".//{*}Channel")
                assert channel.get("Name") == "GFP"

    @pytest.mark.parametrize(
        ("names", "channels", "note"),
        [
            (["GFP", "DAPI"], None, "channels GFP, DAPI of {b} are compared with DAPI, GFP of {a} "
             "by position; use --channels DAPI,GFP"),
            (["GFP", "RFP"], None, "channels GFP, RFP of {b} are compared with DAPI, GFP of {a} "
             "by position; --each clusters each image by itself"),
            (["GFP", "DAPI"], "0", "channel GFP of {b} is compared with DAPI of {a} by position; "
             "--each clusters each image by itself"),
            (["GFP", "DAPI"], "DAPI,GFP", None),
            (["DAPI", "GFP"], None, None),
        ],
    )  # fmt: skip
    def test_other_channels_of_one_model_give_a_note(
        self, tmp_path, out, names, channels, note, capsys
    ):
        images = _noise(2, 30, 31), _noise(2, 30, 31, seed=1)
        paths = {name: tmp_path / f"{name}.ome.tif" for name in "ab"}
        for path, image, given in zip(
            paths.values(), images, (["DAPI", "GFP"], names), strict=True
        ):
            metadata = {"axes": "CYX", "Channel": {"Name": given}}
            tifffile.imwrite(path, image, metadata=metadata, photometric="minisblack")
        chosen = [] if channels is None else ["--channels", channels]
        assert _run(out, *paths.values(), *chosen, "-k", 3) == 0
        expected = "" if note is None else f"napari-kmeans: {note.format(**paths)}.\n"
        assert capsys.readouterr().err == expected
        if channels == "DAPI,GFP":
            seg = segment([images[0], images[1][::-1]], 3, channel_axis=0)
            np.testing.assert_array_equal(_labels(out, "b.ome"), seg.labels[1])

    def test_channels_of_an_rgb_image_are_no_colors(self, tmp_path, out):
        image = np.dstack([_noise(40, 41, 3), np.full((40, 41), 255, np.uint8)])
        image[:5, :, 3] = 0
        iio.imwrite(tmp_path / "photo.png", image)
        assert _run(out, tmp_path / "photo.png", "--channels", "blue,0", "-k", 3) == 0
        kept = image[..., 3] > 0
        seg = segment(image[..., [2, 0]], 3, channel_axis=2, mask=kept)
        np.testing.assert_array_equal(_labels(out, "photo"), seg.labels)
        assert (_labels(out, "photo") == 0).sum() == 5 * 41

    def test_metadata_of_all_bands_are_not_those_of_chosen_channels(self, tmp_path, out):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        tags = [
            (33550, "d", 3, (2.0, 2.0, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, 9.0, 9.0, 0.0), True),
            (42112, "s", 0, "<GDALMetadata>of three bands</GDALMetadata>", True),
        ]
        path = tmp_path / "map.tif"
        tifffile.imwrite(
            path, _noise(30, 31, 3), photometric="rgb", iccprofile=profile, extratags=tags
        )
        for arguments, kept in ([], True), (["--channels", "2,0"], False):
            assert _run(out, path, *arguments, "-k", 3) == 0
            with tifffile.TiffFile(out / "map-recolored.tif") as file:
                tags = file.pages[0].tags
                assert [code in tags for code in (33550, 33922, 42112, 34675)] == [
                    True, True, kept, kept,
                ]  # fmt: skip

    @pytest.mark.parametrize("planes", ["separate", "contig"])
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("bands", [[1], [0, 1], [1, 2]])
    def test_pixels_without_data_in_all_chosen_bands_are_left_out(
        self, tmp_path, out, monkeypatch, planes, lazy, bands
    ):
        monkeypatch.setattr(tiff, "LARGE", 0 if lazy else tiff.LARGE)
        values = _noise(3, 40, 41).astype(np.int16)
        values[1, :9] = values[2, 4:12] = -9999
        axis = 0 if planes == "separate" else 2
        image = np.moveaxis(values, 0, axis)
        tifffile.imwrite(
            tmp_path / "bands.tif",
            image,
            photometric="minisblack",
            planarconfig=planes,
            extratags=[(42113, "s", 0, "-9999", True)],
        )
        names = ",".join(map(str, bands))
        assert _run(out, tmp_path / "bands.tif", "--channels", names, "-k", 3) == 0
        kept = np.logical_or.reduce([values[band] != -9999 for band in bands])
        assert kept.all() == (0 in bands)
        chosen = image.take(bands[0] if len(bands) == 1 else bands, axis)
        seg = segment(chosen, 3, channel_axis=axis if len(bands) > 1 else None, mask=kept)
        labels = _labels(out, "bands")
        np.testing.assert_array_equal(labels == 0, ~kept)
        if not lazy:
            np.testing.assert_array_equal(labels, seg.labels)

    def test_channels_of_a_lazy_image_are_clustered(self, tmp_path, out):
        image = _noise(3, 70, 60)
        names = ["c", "y", "x"]
        path = tmp_path / "c.zarr"
        zarr.create_array(path, data=image, chunks=(1, 32, 32), dimension_names=names)
        assert _run(out, path, "--channels", "2,0", "-k", 3) == 0
        seg = segment(image[[2, 0]], 3, channel_axis=0)
        np.testing.assert_array_equal(_labels(out, "c"), seg.labels)

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [(["dapi", "2"], [0, 2]), (["405"], [1]), (["1", "DAPI"], [1, 0]), (["4", "0"], [4, 0])],
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_names_and_numbers_choose_channels(self, named, names, numbers, lazy):
        pixels = named.pixels
        if lazy:
            lazy_pixels = da.from_array(pixels, chunks=(2, 16, 31))
            named = named._replace(pixels=lazy_pixels, levels=(lazy_pixels, lazy_pixels[:, ::2]))
        chosen = choose_channels(named, names)
        expected = pixels[numbers[0]] if len(numbers) == 1 else pixels[numbers]
        np.testing.assert_array_equal(chosen.pixels, expected)
        for level, step in zip(chosen.levels, (1, 2), strict=False):
            np.testing.assert_array_equal(level, expected[..., ::step, :])
        assert isinstance(chosen.pixels, da.Array) == lazy
        assert [each.name for each in chosen.channels] == [
            named.channels[number].name for number in numbers
        ]
        axis_names = [axis.name for axis in chosen.axes]
        assert axis_names == (["y", "x"] if len(numbers) == 1 else ["c", "y", "x"])

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            (["5"], "got 5: they are 0 DAPI, 1 405, 2 GFP, 3 GFP, 4 1$"),
            (["-1"], "got -1: they are"),
            (["GFP"], "got GFP: they are 0 DAPI"),
            (["0", "dapi"], "--channels must differ, got 0,dapi"),
        ],
    )
    def test_a_wrong_channel_is_refused_with_the_list(self, named, names, why):
        with pytest.raises(UnreadableImageError, match=why):
            choose_channels(named, names)

    def test_a_gray_image_has_no_channels(self, tmp_path, out, capsys):
        iio.imwrite(tmp_path / "gray.png", _noise(20, 21))
        assert _run(out, tmp_path / "gray.png", "--channels", "0") == 1
        assert "gray.png: it has no channels to choose from" in capsys.readouterr().err

    def test_a_model_of_channels_needs_the_same_channels(self, stain, out, capsys):
        assert _run(out, stain, "--channels", "0,3", "-k", 3) == 0
        labels = _labels(out, "stain")
        model = out.with_name("model.json")
        (out / "stain-model.json").rename(model)
        assert _run(out, stain, "--channels", "0,3", "--model", model) == 0
        np.testing.assert_array_equal(_labels(out, "stain"), labels)
        capsys.readouterr()
        assert _run(out, stain, "--model", model) == 1
        assert "image must have the model's 2 channels, got 5" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("names", "note"),
        [
            (["GFP", "RFP", "DAPI"], "GFP, RFP, DAPI are matched by name with DAPI, GFP, RFP"),
            (["gfp", "rfp", "dapi"], "gfp, rfp, dapi are matched by name with DAPI, GFP, RFP"),
            (["GFP", "RFP", "Cy5"], "GFP, RFP, Cy5 are compared with DAPI, GFP, RFP"),
            (["GFP", "RFP", "DAPI", "x"], "got GFP, RFP, DAPI, x; use --channels 2,0,1"),
        ],
    )
    def test_a_model_matches_channels_by_name(self, tmp_path, out, capsys, names, note):
        image = _noise(3, 30, 31)

        def write(path: Path, pixels: np.ndarray, names: list[str]) -> None:
            metadata = {"axes": "CYX", "Channel": {"Name": names}}
            tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack")

        a, b, model = (tmp_path / name for name in ("a.ome.tif", "b.ome.tif", "model.json"))
        write(a, image, ["DAPI", "GFP", "RFP"])
        write(b, np.concatenate([image[[1, 2, 0]], image[: len(names) - 3]]), names)
        assert _run(out, a, "-k", 3, "--normalize", "zscore") == 0
        (out / "a.ome-model.json").rename(model)
        labels, recolored = _labels(out, "a.ome"), tifffile.imread(out / "a.ome-recolored.tif")
        capsys.readouterr()
        assert _run(out, a, "--model", model) == 0
        assert capsys.readouterr().err == ""
        failed = _run(out, b, "--model", model)
        assert note in capsys.readouterr().err
        if failed:
            assert _run(out, b, "--model", model, "--channels", note[-5:]) == 0
        is_same = np.array_equal(_labels(out, "b.ome"), labels)
        assert is_same == ("compared" not in note)
        if "matched" in note:
            # The recolored image has the channels in the order of its file.
            again = tifffile.imread(out / "b.ome-recolored.tif")
            np.testing.assert_array_equal(again, recolored[[1, 2, 0]])

    @pytest.mark.parametrize("axis", [0, -2, -1])
    def test_a_model_fits_channels_along_any_axis(self, tmp_path, out, axis):
        image, model = _noise(3, 30, 31), tmp_path / "model.json"
        own = segment(np.moveaxis(image, 0, axis), 3, channel_axis=axis)
        own.model.save(model)
        tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "CYX"})
        assert _run(out, tmp_path / "a.tif", "--model", model) == 0
        np.testing.assert_array_equal(_labels(out, "a"), own.labels)
        recolored = np.moveaxis(own.recolored, axis, 0)
        np.testing.assert_array_equal(tifffile.imread(out / "a-recolored.tif"), recolored)

    @pytest.mark.parametrize("axis", ["1", "-2", "q", "Q"])
    def test_the_axis_of_channels_is_stated(self, tmp_path, out, axis):
        image = _noise(30, 4, 31)
        zarr.create_array(
            tmp_path / "a.zarr", data=image, chunks=(16, 4, 16), dimension_names=["y", "q", "x"]
        )
        assert _run(out, tmp_path / "a.zarr", "--channel-axis", axis, "-k", 3) == 0
        seg = segment(image, 3, channel_axis=1)
        np.testing.assert_array_equal(_labels(out, "a"), seg.labels)
        recolored = read_image(out / "a-recolored.zarr")
        # In OME-Zarr the channels come before the plane.
        assert recolored.channel_axis == 0
        np.testing.assert_array_equal(recolored.pixels, seg.recolored.swapaxes(0, 1))

    def test_pages_are_channels_if_stated(self, tmp_path, out):
        image = _noise(4, 30, 31)
        tifffile.imwrite(tmp_path / "pages.tif", image, photometric="minisblack")
        arguments = ["--channel-axis", "0", "--channels", "1,2", "-k", 3]
        assert _run(out, tmp_path / "pages.tif", *arguments) == 0
        seg = segment(image[1:3], 3, channel_axis=0)
        np.testing.assert_array_equal(_labels(out, "pages"), seg.labels)

    @pytest.mark.parametrize(
        ("axis", "why"),
        [
            ("3", "--channel-axis must be one of its axes, got 3: they have the lengths 5, 30, 31"),
            ("t", "got t: they have the lengths 5, 30, 31 and names c, y, x"),
        ],
    )
    def test_a_wrong_axis_is_refused(self, named, axis, why):
        with pytest.raises(UnreadableImageError, match=why):
            set_channel_axis(named, axis)

    def test_colors_stay_along_the_last_axis(self):
        picture = Picture(_noise(30, 31, 3), rgb=True)
        with pytest.raises(UnreadableImageError, match="its colors lie along axis 2"):
            set_channel_axis(picture, "0")
        changed = set_channel_axis(picture, "-1")
        assert (changed.rgb, changed.channel_axis) == (False, 2)

    def test_the_axis_of_the_user_replaces_that_of_the_file(self, named):
        changed = set_channel_axis(named, "x")
        assert (changed.rgb, changed.channel_axis, changed.axes, changed.channels) == (
            False, 2, (), (),
        )  # fmt: skip

    def test_scales_of_the_other_axes_stay(self, tmp_path, out):
        image = _noise(4, 2, 30, 31)
        metadata = {"axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, image, metadata=metadata, photometric="minisblack", ome=True)
        changed = set_channel_axis(read_image(path), "0")
        assert [(axis.name, axis.kind, axis.scale) for axis in changed.axes] == [
            ("c", "channel", 1), ("dim_1", "", 1), ("y", "space", 0.5), ("x", "space", 0.25),
        ]  # fmt: skip
        assert _run(out, path, "--channel-axis", "z", "-k", 3) == 0
        labels = read_image(out / "stack-labels.tif")
        np.testing.assert_array_equal(labels.pixels, segment(image, 3, channel_axis=0).labels)
        sizes = [(axis.scale, axis.unit) for axis in labels.axes]
        assert sizes[-2:] == [(0.5, "micrometer"), (0.25, "micrometer")]

    @pytest.mark.parametrize("axis", ["0", "1", "-1"])
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.zarr"])
    def test_an_image_of_two_axes_has_no_axis_of_channels(self, tmp_path, out, capsys, name, axis):
        path, image = tmp_path / name, _noise(20, 5)
        if name == "a.zarr":
            zarr.create_array(path, data=image, chunks=(10, 5))
        elif name == "a.npy":
            np.save(path, image)
        else:
            iio.imwrite(path, image)
        assert _run(out, path, "--channel-axis", axis, "-k", 3) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"napari-kmeans: cannot read {path}: --channel-axis needs an image of at least 3 "
            f"axes, got {axis} for an image of the shape (20, 5)."
        )

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("chosen", [[0, 1, 2], [1, 2], [1]])
    def test_a_mask_of_the_file_is_combined_along_the_axis(
        self, tmp_path, out, monkeypatch, lazy, chosen
    ):
        monkeypatch.setattr(tiff, "LARGE", 0 if lazy else tiff.LARGE)
        image = _noise(3, 30, 31) // 2 + 1
        image[1, :9] = image[2, 4:12] = image[0, 7:] = 0
        path = tmp_path / "pages.tif"
        tags = [(42113, "s", 0, "0", True)]
        tifffile.imwrite(path, image, photometric="minisblack", extratags=tags)
        names = ",".join(map(str, chosen))
        assert _run(out, path, "--channel-axis", "0", "--channels", names, "-k", 3) == 0
        kept = (image[chosen] != 0).any(axis=0)
        assert not kept.all()
        np.testing.assert_array_equal(_labels(out, "pages") == 0, ~kept)

    def test_a_mask_of_bands_is_combined_along_another_axis(self):
        pixels = _noise(4, 3, 20, 21) // 2 + 1
        pixels[1:, 0, :5] = pixels[:, :, 3:9] = 0
        kept = (pixels != 0).any(axis=1)
        picture = Picture(pixels, channel_axis=1, mask=kept, no_data=np.uint8(0))
        np.testing.assert_array_equal(
            set_channel_axis(picture, "0").mask, (pixels != 0).any(axis=0)
        )
        # Another mask of a pixel counts for all its bands.
        picture = Picture(pixels, channel_axis=1, mask=kept)
        expected = np.stack([kept.any(axis=0)] * 3)
        np.testing.assert_array_equal(set_channel_axis(picture, "0").mask, expected)

    def test_transparent_pixels_stay_left_out_if_the_axis_is_stated(self, tmp_path, out):
        image = _noise(30, 31, 4)
        image[..., 3] = np.where(image[..., 3] > 99, 255, 0)
        iio.imwrite(tmp_path / "photo.png", image)
        assert _run(out, tmp_path / "photo.png", "--channel-axis", "2", "-k", 3) == 0
        seg = segment(image, 3, channel_axis=2, mask=image[..., 3] > 0)
        np.testing.assert_array_equal(_labels(out, "photo"), seg.labels)
        assert (_labels(out, "photo") == 0).any()

    @pytest.mark.parametrize("text", ["", "0,,1", "a,"])
    def test_empty_names_of_channels_are_refused(self, text, capsys):
        with pytest.raises(SystemExit):
            main(["--channels", text])
        assert "must be numbers or names with commas between them" in capsys.readouterr().err


class TestPipes:
    @pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
    @pytest.mark.parametrize(
        ("arguments", "numbers"),
        [([], [0]), (["--series", 1], [1]), (["--series", "all", "--each"], [0, 1])],
    )
    def test_a_named_pipe_is_read_once(self, tmp_path, out, arguments, numbers):
        images = [_noise(30, 31), _noise(20, 21, seed=1)]
        with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
            for image in images:
                writer.write(image, photometric="minisblack", metadata=None)
        pipe = tmp_path / "pipe.tif"
        os.mkfifo(pipe)
        command = [sys.executable, "-m", "napari_kmeans", pipe, *arguments, "-k", 3, "-o", out]
        with subprocess.Popen([*map(str, command)]) as process:
            # This waits until the command line reads the pipe, which is written once.
            pipe.write_bytes((tmp_path / "two.tif").read_bytes())
            try:
                assert process.wait(timeout=100) == 0
            finally:
                process.kill()
        for number in numbers:
            stem = f"pipe-{number}" if arguments else "pipe"
            expected = segment(images[number], 3).labels
            np.testing.assert_array_equal(_labels(out, stem), expected)


class TestMasks:
    @pytest.mark.parametrize("lazy", [False, True])
    def test_nan_is_not_in_the_mask(self, tmp_path, out, lazy, monkeypatch):
        monkeypatch.setattr(tiff, "LARGE", 0 if lazy else tiff.LARGE)
        image = _noise(30, 31)
        mask = np.ones((30, 31), np.float32)
        mask[:5], mask[5:9] = np.nan, 0
        tifffile.imwrite(tmp_path / "a.tif", image)
        tifffile.imwrite(tmp_path / "m.tif", mask)
        assert _run(out, tmp_path / "a.tif", "--mask", tmp_path / "m.tif", "-k", 3) == 0
        np.testing.assert_array_equal(
            _labels(out, "a") == 0, np.arange(30 * 31).reshape(30, 31) < 9 * 31
        )

    @pytest.fixture
    def kept(self) -> np.ndarray:
        kept = np.zeros((30, 31), np.uint8)
        kept[5:20, 4:25] = 1
        kept[5:9, 4:25] = 7
        return kept

    def _assert_labels(self, out: Path, stem: str, image: np.ndarray, kept, **settings) -> None:
        seg = segment(image, 3, mask=kept, **settings)
        np.testing.assert_array_equal(_labels(out, stem), seg.labels)
        assert ((_labels(out, stem) > 0) == (np.asarray(kept) > 0)).all()
        table = pd.read_csv(out / f"{stem}-table.csv")
        assert table["pixels"].sum() == np.count_nonzero(kept)

    @pytest.mark.parametrize("kind", ["labels", "bool", "rgb", "rgba", "lazy"])
    def test_a_file_masks_one_image(self, tmp_path, out, kept, kind):
        iio.imwrite(tmp_path / "photo.png", _noise(30, 31, 3))
        path = tmp_path / "some.tif"
        if kind == "labels":
            tifffile.imwrite(path, kept.astype(np.uint16) * 300)
        elif kind == "bool":
            path = path.with_suffix(".png")
            Image.fromarray(kept > 0).save(path)
        elif kind == "lazy":
            path = path.with_suffix(".zarr")
            zarr.create_array(path, data=kept, chunks=(16, 16))
        else:
            path = path.with_suffix(".png")
            colors = [kept * 0, kept, kept * 3, np.full_like(kept, 255)]
            iio.imwrite(path, np.dstack(colors[: len(kind)]))
        assert _run(out, tmp_path / "photo.png", "--mask", path, "-k", 3) == 0
        self._assert_labels(out, "photo", _noise(30, 31, 3), kept, rgb=True)

    @pytest.mark.parametrize("together", [False, True])
    def test_a_folder_has_a_mask_for_each_image(self, tmp_path, out, kept, together, monkeypatch):
        # The second image is read again for each pass.
        monkeypatch.setattr(dropped_pixels, "MAX_BYTES_IN_MEMORY", 3000)
        images = {name: _noise(30, 31, 3, seed=seed) for seed, name in enumerate("abc")}
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        for name, image in images.items():
            iio.imwrite(tmp_path / "images" / f"{name}.png", image)
        masks = {"a.png": kept, "B_Mask.tif": kept[::-1], "c-labels.png": kept[:, ::-1]}
        for name, mask in masks.items():
            iio.imwrite(tmp_path / "masks" / name, mask)
        arguments = [tmp_path / "images", "--mask", tmp_path / "masks", "-k", 3]
        assert _run(out, *arguments, *([] if together else ["--each"])) == 0
        if together:
            seg = segment(list(images.values()), 3, mask=list(masks.values()), rgb=True)
            for name, labels in zip(images, seg.labels, strict=True):
                np.testing.assert_array_equal(_labels(out, name), labels)
            return
        for (name, image), mask in zip(images.items(), masks.values(), strict=True):
            self._assert_labels(out, name, image, mask, rgb=True)

    def test_masks_may_lie_beside_the_images(self, tmp_path, out, kept):
        for name, seed in (("a.png", 0), ("b.png", 1)):
            iio.imwrite(tmp_path / name, _noise(30, 31, 3, seed=seed))
            iio.imwrite(tmp_path / name.replace(".", "_mask."), kept)
        assert _run(out, tmp_path, "--each", "--mask", tmp_path, "-k", 3) == 0
        assert len(list(out.glob("*-labels.*"))) == 2
        self._assert_labels(out, "b", _noise(30, 31, 3, seed=1), kept, rgb=True)

    def test_masks_of_subfolders_lie_in_subfolders(self, tmp_path, out, kept, capsys):
        for day, mask in (("1", kept), ("2", kept[::-1])):
            for place, pixels in (("images", _noise(30, 31, 3)), ("masks", mask)):
                (tmp_path / place / day).mkdir(parents=True)
                iio.imwrite(tmp_path / place / day / "a.png", pixels)
        arguments = [tmp_path / "images", "--recursive", "--each", "-k", 3, "--mask"]
        assert _run(out, *arguments, tmp_path / "masks") == 0
        self._assert_labels(out, "a", _noise(30, 31, 3), kept, rgb=True)
        self._assert_labels(out, "a-2", _noise(30, 31, 3), kept[::-1], rgb=True)
        capsys.readouterr()
        assert _run(out, *arguments, tmp_path / "masks" / "1") == 1
        assert capsys.readouterr().err.count("has the name of 2 images; sort the masks") == 2

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            ([], "there is no mask of it in {masks}, such as a-mask.png"),
            (["ab.png"], "there is no mask of it in {masks}, such as a-mask.png"),
            (["a.png", "a-mask.tif"], "a-mask.tif and a.png in {masks} are all masks of it"),
        ],
    )
    def test_an_image_without_its_mask_fails_alone(self, tmp_path, out, kept, names, why, capsys):
        masks = tmp_path / "masks"
        masks.mkdir()
        for name in ("a", "b"):
            iio.imwrite(tmp_path / f"{name}.png", _noise(30, 31, 3))
        for name in [*names, "b.png"]:
            iio.imwrite(masks / name, kept)
        images = [tmp_path / "a.png", tmp_path / "b.png"]
        assert _run(out, *images, "--each", "--mask", masks, "-k", 3) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"napari-kmeans: cannot mask {images[0]}: ")
        assert why.format(masks=masks) in line
        self._assert_labels(out, "b", _noise(30, 31, 3), kept, rgb=True)

    def test_a_mask_of_another_shape_is_refused(self, tmp_path, out, kept, capsys):
        iio.imwrite(tmp_path / "photo.png", _noise(31, 30, 3))
        iio.imwrite(tmp_path / "mask.png", kept)
        assert _run(out, tmp_path / "photo.png", "--mask", tmp_path / "mask.png") == 1
        assert capsys.readouterr().err == (
            f"napari-kmeans: cannot mask {tmp_path / 'photo.png'}: its mask, "
            f"{tmp_path / 'mask.png'}, has the shape (30, 31), and the image has (31, 30).\n"
        )

    def test_one_mask_for_several_images_is_refused(self, tmp_path, out, kept, capsys):
        for name in ("a", "b", "mask"):
            iio.imwrite(tmp_path / f"{name}.png", kept)
        images = [tmp_path / "a.png", tmp_path / "b.png"]
        assert _run(out, *images, "--mask", tmp_path / "mask.png") == 1
        assert "--mask must be a folder for 2 images, got " in capsys.readouterr().err
        assert not out.exists()

    def test_a_mask_is_not_overwritten(self, tmp_path, out, kept):
        out.mkdir()
        iio.imwrite(tmp_path / "a.png", _noise(30, 31, 3))
        tifffile.imwrite(out / "a-labels.tif", kept, compression="zlib")
        assert _run(out, tmp_path / "a.png", "--mask", out, "-k", 3) == 0
        np.testing.assert_array_equal(tifffile.imread(out / "a-labels.tif"), kept)
        self._assert_labels(out, "a-2", _noise(30, 31, 3), kept, rgb=True)

    def test_labels_of_a_model_have_the_mask(self, tmp_path, out, kept):
        image = _noise(30, 31, 3)
        model = segment(image, 3, rgb=True).model
        model.save(tmp_path / "model.json")
        iio.imwrite(tmp_path / "a.png", image)
        iio.imwrite(tmp_path / "m.png", kept)
        arguments = ["--mask", tmp_path / "m.png", "--model", tmp_path / "model.json"]
        assert _run(out, tmp_path / "a.png", *arguments) == 0
        np.testing.assert_array_equal(_labels(out, "a"), model.predict(image, mask=kept))

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("run", ["each", "together", "model"])
    def test_pixels_without_data_are_left_out(self, kept, lazy, run):
        """The mask of the file is combined with the mask of the user."""
        image, nodata = _noise(30, 31, 3), np.ones((30, 31), bool)
        nodata[7:12] = False
        picture = Picture(image, rgb=True, mask=nodata)
        if lazy:
            chunks = da.from_array(image, chunks=(16, 16, 3))
            picture = picture._replace(
                pixels=chunks, levels=(chunks,), mask=da.from_array(nodata, chunks=(16, 16))
            )
        job = ImageJob("a", "a", lambda: add_mask(picture, kept > 0))
        options = Options(n_clusters=3)
        workflow = jobs.Workflow(options, together=run == "together")
        if run == "model":
            workflow = jobs.Workflow.of_model(segment(image, 3, rgb=True).model)
        outcomes = list(workflow.run([job, job] if run == "together" else [job]))
        for outcome in outcomes:
            labels = np.asarray(outcome.seg.labels)
            np.testing.assert_array_equal(labels > 0, (kept > 0) & nodata)


class TestSeries:
    """Several images in a file, of a format that the tests add to the readers: numpy's npz."""

    @pytest.fixture
    def images(self) -> dict[str, np.ndarray]:
        return {"A 1": _noise(30, 31), "A:2": _noise(2, 20, 21, seed=1)}

    @pytest.fixture
    def plate(self, tmp_path, images, monkeypatch) -> Path:
        def list_arrays(path: Path) -> tuple[Series, ...]:
            return tuple(Series(name, pixels.shape) for name, pixels in np.load(path).items())

        def read(path: Path, number: int | None) -> Picture:
            arrays = np.load(path)
            return Picture(arrays[arrays.files[number or 0]], rgb=False)

        reader = Reader("a list", lambda path, header: header.startswith(b"PK"), read, list_arrays)
        monkeypatch.setattr(reading, "READERS", (reader, *reading.READERS))
        np.savez(tmp_path / "plate.npz", **images)
        return tmp_path / "plate.npz"

    @pytest.mark.parametrize("series", ["1", "A:2", "a:2", "A_2"])
    def test_one_series_is_clustered(self, plate, images, out, series):
        assert _run(out, plate, "--series", series, "-k", 3) == 0
        np.testing.assert_array_equal(_labels(out, "plate-A_2"), segment(images["A:2"], 3).labels)

    def test_series_of_one_file_do_not_overwrite_each_other(self, plate, images, out):
        for number in range(2):
            assert _run(out, plate, "--series", number, "-k", 3) == 0
        for stem, image in zip(("plate-A 1", "plate-A_2"), images.values(), strict=True):
            np.testing.assert_array_equal(_labels(out, stem), segment(image, 3).labels)

    def test_all_series_are_images_with_their_names(self, plate, images, out):
        assert _run(out, plate, "--series", "all", "--each", "-k", 3) == 0
        for name, image in images.items():
            stem = f"plate-{name.replace(':', '_')}"
            np.testing.assert_array_equal(_labels(out, stem), segment(image, 3).labels)
        # Four files of each image, and the record.
        assert len(list(out.iterdir())) == 2 * 4 + 1

    @pytest.mark.parametrize("series", ["2", "some", "1.5", "-1", ""])
    def test_a_wrong_choice_lists_the_series(self, plate, out, capsys, series):
        assert _run(out, plate, f"--series={series}") == 1
        assert capsys.readouterr().err == (
            f"napari-kmeans: cannot read {plate}: --series must be one of its images, got "
            f"{series}: they are 0 A 1 (30, 31), 1 A:2 (2, 20, 21).\n"
        )

    def test_a_real_file_has_one_series(self, tmp_path, out, capsys):
        iio.imwrite(tmp_path / "photo.png", _noise(30, 31, 3))
        assert _run(out, tmp_path / "photo.png", "--series", "all", "-k", 3) == 0
        assert (out / "photo-labels.tif").exists()
        assert _run(out, tmp_path / "photo.png", "--series", "1") == 1
        assert "--series must be one of its images, got 1: they are 0 (30, 31, 3)" in (
            capsys.readouterr().err
        )

    def test_names_of_series_fit_into_names_of_files(self):
        names = ["Série 1", "a:b*c", "twice", "twice", "", "..", "x" * 300, "画像"]
        assert name_series([Series(name, (3, 4)) for name in names]) == [
            "Série 1", "a_b_c", "2", "3", "4", "5", "x" * 80, "画像",
        ]  # fmt: skip


class TestProfiles:
    """The profiles are made by littlecms, in imagecodecs and in Pillow."""

    @pytest.mark.parametrize("space", ["lab", "hsv", "rgb"])
    @pytest.mark.parametrize("name", ["adobergb", "srgb", "damaged", "gray"])
    def test_a_profile_other_than_srgb_gives_a_note(self, name, space, capsys):
        import imagecodecs

        profile = b"damaged" if name == "damaged" else imagecodecs.cms_profile(name)
        picture = Picture(_noise(30, 31, 3), rgb=True, profile=profile)
        job = ImageJob("photo", "photo.tif", lambda: picture)
        options = Options(n_clusters=3, color_space=space)
        list(jobs.Workflow(options).run([job]))
        expected = (
            "napari-kmeans: photo.tif: its color profile is Adobe RGB (compatible), and "
            f"{space} takes its colors for sRGB; convert it to sRGB for exact colors.\n"
        )
        noted = name == "adobergb" and space != "rgb"
        assert capsys.readouterr().err == (expected if noted else "")

    def test_the_profile_of_pillow_is_srgb(self):
        from napari_kmeans.batch.color_profiles import describe_other_profile

        made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        assert describe_other_profile(made.tobytes()) is None
