"""Colors for labels that differ from each other, whatever the image looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_CODES = (
    "009e73 d55e00 56b4e9 e69f00 0072b2 f0e442 cc79a7 c4f4b8 a03440 f4d0f4 5828f4 94944c "
    "7c4c70 10f4f4 406410 f4ac94 887cf4 94704c 108894 f4d094 286458 c428d0 40c410 aca0d0 "
    "f41064 88d0b8 4c5888 f47c88 c41010 acc464 f488f4 589428 b81070 3464f4 c49464 10b8c4 "
    "a06470 10f4a0 9470ac f4644c acc4f4 706428 6494d0 7c40a0 647c58 a0f410 884c10 e828a0"
)
"""The colors of the labels 1 to 48.

The first seven are those of Okabe and Ito without black, in the order in which neighbors
differ most, also with protanopia, deuteranopia and tritanopia as simulated by Machado et al.
The others were chosen one after the other, as Glasbey et al. do: each differs as much as
possible from all earlier colors, and most from the last three, with each kind of vision.
Candidates had a lightness L* from 38 to 92, so that none is nearly black or white, and a
chroma above 22, so that none is gray.

References
----------
- M. Okabe, K. Ito, "Color universal design", https://jfly.uni-koeln.de/color/
- C. Glasbey et al., "Colour displays for categorical images", :doi:`10.1002/col.20327`
- G. M. Machado et al., "A physiologically-based model for simulation of color vision
  deficiency", :doi:`10.1109/TVCG.2009.113`
"""

_PALETTE = np.array([[*bytes.fromhex(code)] for code in _CODES.split()]) / 255


def distinct_colors(labels: Sequence[int] | NDArray[np.integer[Any]]) -> Floats:
    """Return a color (n, 3) from 0 to 1 for each label from 1 on.

    A label always has the same color. Labels above 48 have the colors of the first 48 again.
    """
    return _PALETTE[(np.asarray(labels, np.int64) - 1) % len(_PALETTE)]
