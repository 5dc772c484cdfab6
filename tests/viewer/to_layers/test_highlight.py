"""The colormap that highlights some labels of a layer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans.viewer.to_layers.highlight import HighlightColormap, without_highlight
from napari_kmeans.viewer.to_layers.label_colors import label_colormap


@pytest.fixture
def colormap():
    """The colors black, dark red, green and nearly white."""
    colors = {1: (0, 0, 0), 2: (0.8, 0.1, 0.1), 3: (0.1, 0.7, 0.2), 4: (0.95, 0.9, 0.85)}
    return label_colormap(colors)


@pytest.mark.parametrize(("labels", "gray"), [([1], 1), ([4], 0), ([1, 4], 0.5)])
def test_other_labels_fade_to_the_gray_farthest_from_the_highlighted_colors(colormap, labels, gray):
    highlight = HighlightColormap.of(colormap, [1, 2, 3, 4], labels)
    for label in {1, 2, 3, 4} - set(labels):
        faded = 0.15 * colormap.color_dict[label][:3] + 0.85 * gray
        np.testing.assert_allclose(highlight.color_dict[label][:3], faded, rtol=1e-5)
    for label in labels:
        np.testing.assert_array_equal(highlight.color_dict[label], colormap.color_dict[label])


def test_without_highlight_returns_the_original_colormap(colormap):
    assert without_highlight(HighlightColormap.of(colormap, [1, 2, 3, 4], [2])) is colormap
    assert without_highlight(colormap) is colormap
