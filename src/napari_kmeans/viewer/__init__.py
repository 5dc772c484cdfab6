"""The napari plugin: the only package that imports napari, magicgui and Qt."""
