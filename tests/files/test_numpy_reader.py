"""Arrays that numpy saves are images: `.npy` and `.npz` files."""

from __future__ import annotations

import zipfile
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import list_series, read_image

RNG = np.random.default_rng(17)
IMAGE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_without_a_suffix(tmp_path, dtype, order):
    array = np.asarray(IMAGE[..., 0].astype(dtype), order=order)
    with (tmp_path / "array").open("wb") as file:
        np.save(file, array)
    picture = read_image(tmp_path / "array")
    np.testing.assert_array_equal(picture.pixels, array)
    assert (picture.rgb, picture.channel_axis, picture.note) == (None, None, "")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_a_file_are_series(tmp_path, save):
    small = IMAGE[:5, :6, 0]
    save(tmp_path / "a.npz", small=small, image=IMAGE, x=np.arange(900), names=np.array(["a"]))
    series = list_series(tmp_path / "a.npz")
    assert [(each.name, each.shape) for each in series] == [
        ("small", (5, 6)),
        ("image", (20, 30, 3)),
    ]
    picture = read_image(tmp_path / "a.npz")
    np.testing.assert_array_equal(picture.pixels, IMAGE)
    assert picture.note == "only image, the largest of its 2 arrays, is read; the others are small"
    np.testing.assert_array_equal(read_image(tmp_path / "a.npz", 0).pixels, small)
    with pytest.raises(UnreadableImageError, match=r"from 0 to 1, .*, got 2$"):
        read_image(tmp_path / "a.npz", 2)


def test_memory_is_checked_before_unpacking(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((3000, 3000), np.uint8))
    np.save(tmp_path / "a.npy", np.zeros((3000, 3000), np.uint8))
    memory = SimpleNamespace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    for name in ("a.npz", "a.npy"):
        with pytest.raises(UnreadableImageError, match="an image of the size that it states needs"):
            read_image(tmp_path / name)


def test_python_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}, {}]]), allow_pickle=True)
    with pytest.raises(UnreadableImageError, match="no array of numbers"):
        read_image(tmp_path / "a.npy")


def test_files_that_are_cut_give_one_sentence(tmp_path):
    np.save(tmp_path / "a.npy", IMAGE)
    np.savez(tmp_path / "a.npz", image=IMAGE)
    for name in ("a.npy", "a.npz"):
        content = (tmp_path / name).read_bytes()
        for tenths in range(10):
            (tmp_path / name).write_bytes(content[: len(content) * tenths // 10])
            with pytest.raises(UnreadableImageError) as caught:
                read_image(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_a_zip_file_with_something_else_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.npy", b"")
        file.writestr("text.txt", b"")
    with pytest.raises(UnreadableImageError, match="not an image in a supported format"):
        read_image(tmp_path / "a.zip")
