"""The napari plugin: the only package that imports napari, magicgui and Qt.

napari is not among the dependencies of this package, so this is the place that asks for it.
"""

try:
    from napari import __version__ as _napari_version
except ModuleNotFoundError as error:
    if error.name != "napari":
        raise
    raise ImportError('napari is not installed: run pip install "napari[all]"') from error

if [int(number) for number in _napari_version.split(".")[:2]] < [0, 9]:
    raise ImportError(
        f"napari must be 0.9 or later, got {_napari_version}: run pip install --upgrade napari"
    )
