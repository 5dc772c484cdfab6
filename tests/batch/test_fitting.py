"""A model of many files is that of `segment`, and each file is read once if it can be counted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kmeans import KMeansModel, segment
from napari_kmeans.batch import dropped_pixels, fitting
from napari_kmeans.batch.fitting import fit_images
from napari_kmeans.batch.image_job import ImageJob
from napari_kmeans.batch.listing import Reading, list_jobs
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.reading import read_image
from napari_kmeans.options import Options


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _check_same(found: fitting.StudyFit, expected: KMeansModel) -> None:
    """Check centers and palettes; sums of floats depend on the order of the blocks."""
    assert found.model is not None
    np.testing.assert_allclose(found.model.cluster_centers_, expected.cluster_centers_, 1e-12)
    np.testing.assert_allclose(found.model.palette, expected.palette, 1e-6)
    np.testing.assert_array_equal(found.model.center_pixels, expected.center_pixels)


class _Reads:
    """Counts how often each image is read."""

    def __init__(self, images: list[np.ndarray], **settings: object) -> None:
        self.images, self.settings = images, settings
        self.counts = [0] * len(images)

    def jobs(self) -> list[ImageJob]:
        return [
            ImageJob(str(number), f"{number}.tif", partial(self._read, number))
            for number in range(len(self.images))
        ]

    def _read(self, number: int) -> Picture:
        self.counts[number] += 1
        return Picture(self.images[number], **self.settings)


@pytest.mark.parametrize(
    ("options", "n_reads"),
    [
        (Options(n_clusters=4), 1),
        (Options(n_clusters=4, method="full", color_space="lab"), 1),
        (Options(n_clusters=4, normalize="zscore"), 1),
        (Options(n_clusters=4, smoothing=1.0), 2),
        (Options(n_clusters=4, blur=1.0), None),
        (Options(n_clusters=4, coreset_size=500), None),
    ],
)
def test_the_model_of_many_files_is_that_of_segment(options, n_reads):
    images = [_noise(30 + i, 40, 3, seed=i) for i in range(20)]
    reads = _Reads(images, rgb=True)
    found = fit_images(reads.jobs(), options)
    expected = segment(images, rgb=True, **options.to_dict()).model
    _check_same(found, expected)
    for image in images:
        np.testing.assert_array_equal(found.model.predict(image), expected.predict(image))
    if n_reads is not None:
        assert set(reads.counts) == {n_reads}


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        (np.uint16, {"rgb": False}),
        (np.float32, {"rgb": False, "channel_axis": -1}),
        (np.uint16, {"rgb": False, "channel_axis": -1}),
    ],
)
def test_gray_and_channels_give_the_model_of_segment(dtype, settings):
    shape = (30, 40, 2) if "channel_axis" in settings else (30, 40)
    images = [(_noise(*shape, seed=i) * 9).astype(dtype) for i in range(3)]
    found = fit_images(_Reads(images, **settings).jobs(), Options(n_clusters=3))
    _check_same(found, segment(images, 3, **settings).model)


def test_masks_are_read_with_their_images(tmp_path):
    for i in range(3):
        iio.imwrite(tmp_path / f"{i}.png", _noise(30, 40, 3, seed=i))
        (tmp_path / "masks").mkdir(exist_ok=True)
        iio.imwrite(tmp_path / "masks" / f"{i}.png", _noise(30, 40, seed=9 + i) // 128 * 255)
    reading = Reading((tmp_path,), mask=tmp_path / "masks")
    with notices_to(lambda _: None):
        jobs = list_jobs(reading)
    options = Options(n_clusters=3, smoothing=1.0)
    images = [read_image(tmp_path / f"{i}.png").pixels for i in range(3)]
    masks = [read_image(tmp_path / "masks" / f"{i}.png").pixels > 0 for i in range(3)]
    expected = segment(images, 3, rgb=True, mask=masks, smoothing=1.0).model
    _check_same(fit_images(jobs, options), expected)


def test_large_images_do_not_dominate():
    small, large = _noise(40, 50, 3), _noise(400, 500, 3, seed=1)
    found = fit_images(_Reads([small, large], rgb=True).jobs(), Options(), pixels_per_image=2000)
    assert found.model.center_pixels.sum() == 2 * 2000
    assert (
        replace(found.model, fit=None).to_dict()
        == segment([small, large[::10, ::10]], rgb=True).model.to_dict()
    )


def test_images_of_another_kind_and_damaged_images_are_left_out(tmp_path):
    for i in range(3):
        tifffile.imwrite(tmp_path / f"{i}.tif", _noise(30, 40, 3, seed=i), photometric="rgb")
    tifffile.imwrite(tmp_path / "gray.tif", _noise(30, 40))
    (tmp_path / "empty.tif").touch()
    sentences: list[str] = []
    with notices_to(sentences.append):
        jobs = list_jobs(Reading(tuple(sorted(tmp_path.iterdir()))))
        found = fit_images(jobs, Options(n_clusters=3))
    assert [Path(source).name for source in found.failures] == ["empty.tif", "gray.tif"]
    assert list(found.failures.values()) == sentences
    images = [read_image(tmp_path / f"{i}.tif").pixels for i in range(3)]
    assert replace(found.model, fit=None).to_dict() == segment(images, 3, rgb=True).model.to_dict()


def test_a_fit_of_several_passes_reads_images_that_fit_the_memory_once(monkeypatch):
    images = [_noise(30, 40, 3, seed=i) for i in range(20)]
    reads = _Reads(images, rgb=True)
    fit_images(reads.jobs(), Options(n_clusters=3, blur=1.0))
    assert set(reads.counts) == {1}
    # Half of the images fit.
    monkeypatch.setattr(dropped_pixels, "MAX_BYTES_IN_MEMORY", 10 * images[0].nbytes)
    reads = _Reads(images, rgb=True)
    found = fit_images(reads.jobs(), Options(n_clusters=3, blur=1.0))
    assert max(reads.counts) > 1
    _check_same(found, segment(images, 3, rgb=True, blur=1.0).model)


def test_memory_does_not_hold_the_images():
    reads = _Reads([_noise(30, 40, 3, seed=i) for i in range(20)], rgb=True)
    fit_images(reads.jobs(), Options(n_clusters=3, blur=1.0))
    assert not dropped_pixels._RECENT._pictures
