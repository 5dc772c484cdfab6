"""The napari plugin: the only package that imports napari, magicgui and Qt.

napari is not among the dependencies of this package, so this is the place that asks for it.
"""

import re

try:
    from napari import __version__
except ModuleNotFoundError as error:
    if error.name != "napari":
        raise
    raise ImportError('napari is not installed: run pip install "napari-kmeans[all]"') from error

NAPARI_VERSION: str = __version__

if [int(number) for number in re.findall("[0-9]+", NAPARI_VERSION)[:3]] < [0, 7, 1]:
    raise ImportError(
        f"napari must be 0.7.1 or later, got {NAPARI_VERSION}: run pip install --upgrade napari"
    )
