"""The only room that knows napari, magicgui and Qt."""
