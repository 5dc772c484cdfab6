"""The formats of results."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kmeans import segment
from napari_kmeans.cli.output import write_results
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.tiff_writer import png_holds


@pytest.mark.parametrize(
    ("axes", "dtype", "expected"),
    [
        ("YX", np.uint8, True),
        ("YX", np.uint16, True),
        ("YXS", np.uint8, True),
        ("YXS", np.uint16, False),
        ("YX", np.int16, False),
        ("YX", np.float32, False),
        ("YXS", np.float64, False),
        ("ZYX", np.uint8, False),
        ("QYXS", np.uint8, False),
        ("CYX", np.uint8, False),
        ("YXC", np.uint8, False),
    ],
)
def test_png_holds_images_that_it_gives_back_exactly(axes, dtype, expected):
    channel = axes.index("C") if "C" in axes else None
    picture = Picture(np.zeros((3,) * len(axes), dtype), axes.endswith("S"), channel)
    assert png_holds(picture) == expected


@pytest.mark.parametrize(
    ("dtype", "factor", "ends", "limits"),
    [
        (np.uint8, 1, (0, 255), (0, 255)),
        (np.uint16, 16, (0, 4095), (0, 65535)),
        (np.float32, 1, (0, 255), (0, 255)),
        (np.float32, 1 / 255, (0, 1), (0, 1)),
    ],
)
def test_ome_zarr_states_the_range_of_brightness(tmp_path, quadrants, dtype, factor, ends, limits):
    alpha = np.full((20, 21, 1), 255, np.uint8)
    image = (np.concatenate([quadrants, alpha], axis=2).astype(float) * factor).astype(dtype)
    seg = segment(da.from_array(image, chunks=(10, 21, 4)), 4, rgb=True)
    write_results(seg, tmp_path, "picture")
    recolored = zarr.open(tmp_path / "picture-recolored.zarr", mode="r")
    windows = [each["window"] for each in recolored.attrs["ome"]["omero"]["channels"]]
    for window in windows[:3]:
        assert (window["start"], window["end"]) == ends
        assert (window["min"], window["max"]) == limits
    labels = zarr.open(tmp_path / "picture-labels.zarr", mode="r")
    written = labels.attrs["ome"]["image-label"]["colors"]
    colors = [[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in seg.table["color"]]
    assert [each["rgba"][:3] for each in written] == colors
    # The brightest cluster is about (240, 230, 220) of 255.
    np.testing.assert_allclose(colors[3], (240, 230, 220), atol=2)
