"""Chunks are joined so that halos are small, up to a number of pixels."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_kmeans.imaging.halos import join_to_blocks


@pytest.mark.parametrize(
    ("chunks", "reaches", "n_pixels", "expected"),
    [
        # The halos are small already.
        (((100,) * 5, (100,) * 5), (6, 6), 10**6, ((100,) * 5, (100,) * 5)),
        (((100,) * 5, (100,) * 5), (7, 6), 10**6, ((200, 300), (100,) * 5)),
        # There is no room for larger blocks, except for blocks as long as the reach.
        (((100,) * 4, (100,) * 4), (20, 20), 10**4, ((100,) * 4, (100,) * 4)),
        (((100,) * 4, (100,) * 4), (20, 20), 2 * 10**4, ((200, 200), (100,) * 4)),
        (((10,) * 8, (10,) * 8), (25, 0), 1, ((30, 50), (10,) * 8)),
        # A single chunk has no halo.
        (((100,), (100,) * 4), (90, 5), 10**6, ((100,), (100,) * 4)),
    ],
)
def test_chunks_are_joined_along_the_axes_of_large_halos(chunks, reaches, n_pixels, expected):
    assert join_to_blocks(chunks, reaches, n_pixels) == expected


_SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=12).map(tuple)


@given(
    chunks=st.lists(_SIZES, min_size=1, max_size=3).map(tuple),
    reaches=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    n_pixels=st.integers(1, 10**5),
)
def test_blocks_consist_of_whole_chunks_and_are_no_shorter_than_the_reach(
    chunks, reaches, n_pixels
):
    reaches = reaches[: len(chunks)]
    joined = join_to_blocks(chunks, reaches, n_pixels)
    for sizes, own, reach in zip(chunks, joined, reaches, strict=True):
        ends = {sum(sizes[:number]) for number in range(len(sizes) + 1)}
        starts = [sum(own[:number]) for number in range(len(own) + 1)]
        assert ends.issuperset(starts)
        assert starts[-1] == sum(sizes)
        if not reach:
            assert own == sizes
        assert len(own) == 1 or min(b - a for a, b in pairwise(starts)) >= reach
