"""Distinct colors, compared by CIEDE2000, as seen with normal and with deficient color vision."""

from __future__ import annotations

import numpy as np
from skimage.color import deltaE_ciede2000, lab2lch, rgb2lab

from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors
from napari_kmeans.viewer.to_layers.label_colors import label_colormap

N = 48

PROTANOPIA = [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
DEUTERANOPIA = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
"""The matrices for linear RGB of Viénot, Brettel and Mollon, doi:10.1002/(SICI)1520-6378."""


def seen_with(matrix, colors):
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(matrix), 0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def differences(colors, step):
    lab = rgb2lab(colors)
    return deltaE_ciede2000(lab, np.roll(lab, step, axis=0))


def test_colors_differ_and_neighbors_differ_also_for_color_blind_people():
    colors = distinct_colors(range(1, N + 1))
    for step in range(1, N):
        # 2 is just visible between adjacent areas.
        assert differences(colors, step).min() > 10
    assert differences(colors, 1).min() > 25
    for matrix in (PROTANOPIA, DEUTERANOPIA):
        assert differences(seen_with(matrix, colors), 1).min() > 10


def test_colors_are_neither_black_nor_white_nor_gray():
    lightness, chroma, _ = np.moveaxis(lab2lch(rgb2lab(distinct_colors(range(1, N + 1)))), -1, 0)
    assert lightness.min() > 35
    assert lightness.max() < 95
    assert chroma.min() > 15


def test_color_of_a_label_does_not_depend_on_the_other_labels():
    every = distinct_colors(range(1, 200))
    np.testing.assert_array_equal(distinct_colors([7, 300 % N, 55]), every[[6, 300 % N - 1, 54]])
    np.testing.assert_array_equal(every[N:], every[: 199 - N])


def test_labels_that_are_no_class_have_another_color():
    colors = distinct_colors(range(1, N + 1))
    unlisted = label_colormap(dict(enumerate(colors, start=1))).color_dict[None][:3]
    assert deltaE_ciede2000(rgb2lab(colors), rgb2lab(np.float64(unlisted)[None])).min() > 5
