"""The labels of synthetic images stay the same from version to version.

A changed checksum is a change of results: it needs a reason, and a line in the changelog.
``python test_labels_stay.py`` prints all checksums.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import merge_similar, segment, segment_layer, segment_slices

if TYPE_CHECKING:
    from collections.abc import Callable


def picture(dtype: str = "u1", n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return a smooth picture with noise, made from integers only: the same on any machine."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:60, :80]
    waves = [(rows * (3 + c) + columns * (5 - c)) % (97 + 31 * c) for c in range(n_channels)]
    image = np.stack(waves, axis=-1) + rng.integers(0, 12, (60, 80, n_channels))
    return image.astype(dtype)


def make_multiscale_layer() -> Any:
    image = np.kron(picture(), np.ones((4, 4, 1), np.uint8))
    return Image([image, image[::2, ::2], image[::4, ::4]], rgb=True, multiscale=True)


KINDS: dict[str, Callable[[], Any]] = {
    "gray 8": lambda: segment(picture(n_channels=1)[..., 0], 5).labels,
    "gray 16": lambda: segment(picture("u2", 1)[..., 0] * 257, 5).labels,
    "rgb": lambda: segment(picture(), 6).labels,
    "rgb, full": lambda: segment(picture(), 6, method="full").labels,
    "rgb, 40 clusters": lambda: segment(picture(), 40).labels,
    "lab": lambda: segment(picture(), 6, color_space="lab").labels,
    "hsv": lambda: segment(picture(), 6, color_space="hsv").labels,
    "float channels": lambda: segment(picture("f4", 5), 6, channel_axis=-1).labels,
    "float channels, full": lambda: (
        segment(picture("f4", 5), 6, channel_axis=-1, method="full").labels
    ),
    "z-scores": lambda: segment(picture("f4", 2), 4, channel_axis=-1, normalize="zscore").labels,
    "balance": lambda: segment(picture(), 6, balance=0.5).labels,
    "mask": lambda: segment(picture(), 6, mask=picture(n_channels=1, seed=1)[..., 0] > 40).labels,
    "stack": lambda: segment_slices(np.stack([picture(seed=n) for n in range(3)]), 4).labels,
    "multiscale": lambda: segment_layer(make_multiscale_layer(), 5, level=1)[0].data[0],
    "dask": lambda: (
        segment(da.from_array(picture("f4", 5), (25, 30, 5)), 6, channel_axis=-1).labels
    ),
    "merged": lambda: merge_similar(segment(picture(), 12), distance=15).labels,
    "two images": lambda: segment([picture(), picture(seed=1)], 5).labels[1],
}

CHECKSUMS = {
    "gray 8": "36ef832997b8a964",
    "gray 16": "36ef832997b8a964",
    "rgb": "d23a39c91a35f4b9",
    "rgb, full": "d23a39c91a35f4b9",
    "rgb, 40 clusters": "c87df08d1bb4bf15",
    "lab": "4889d4d9ece60b39",
    "hsv": "e41ca280da47f676",
    "float channels": "0a0613b409c356fa",
    "float channels, full": "be13f50ab5701bb2",
    "z-scores": "afefde728cf2f1e4",
    "balance": "509f0f3df45c7110",
    "mask": "bb3198b3fa79f224",
    "stack": "1f05c4655142f23d",
    "multiscale": "b1b812352982053b",
    "dask": "0a0613b409c356fa",
    "merged": "d034192f0d7be90d",
    "two images": "3a069a5c1cbbfe5c",
}


def checksum(labels: Any) -> str:
    """Return the first digits of a hash of labels, which does not depend on their dtype."""
    data = np.ascontiguousarray(np.asarray(labels), "<u4")
    return hashlib.sha256(data.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_have_the_recorded_checksum(kind):
    assert checksum(KINDS[kind]()) == CHECKSUMS[kind]


if __name__ == "__main__":
    for name, make in KINDS.items():
        print(f'    "{name}": "{checksum(make())}",')
