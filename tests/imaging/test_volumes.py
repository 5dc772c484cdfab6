"""Volumes of arrays, and the steps to neighbors: truth is a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure

from napari_kmeans.imaging.volumes import Volumes, neighbor_steps


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((5,), (0,)), ((4, 5), (0, 1)), ((4, 5), (0,)), ((2, 3, 4, 5), (0, 2)), ((2, 3, 4), (1, 2))],
)
def test_pixels_of_a_volume_are_those_of_its_axes(shape, axes):
    array = np.arange(np.prod(shape)).reshape(shape)
    volumes = Volumes(shape, axes)
    split = volumes.split(array)
    np.testing.assert_array_equal(volumes.join(split), array)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    places = list(np.ndindex(*[shape[axis] for axis in others]))
    for place in np.ndindex(shape):
        inner = [place[axis] for axis in axes]
        number = places.index(tuple(place[axis] for axis in others))
        assert split[(number, *[0] * (3 - len(axes)), *inner)] == array[place]
    # Further axes stay last.
    colors = np.stack([array, -array], axis=-1)
    np.testing.assert_array_equal(volumes.split(colors)[..., 1], -split)
    assert volumes.split(colors).flags.c_contiguous


def test_neighbors_are_those_of_the_full_structure_of_scipy():
    for has_neighbors in np.ndindex(2, 2, 2):
        structure = generate_binary_structure(3, 3)
        for axis, has in enumerate(has_neighbors):
            if not has:
                structure = structure & (np.indices(structure.shape)[axis] == 1)
        expected = [step for step in np.argwhere(structure) - 1 if step.any()]
        steps = neighbor_steps(has_neighbors)
        assert steps.shape == (len(expected), 3)
        assert steps.tolist() == [step.tolist() for step in expected]
