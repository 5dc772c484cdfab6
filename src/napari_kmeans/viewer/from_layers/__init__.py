"""Convert napari layers to arrays, masks, starting colors and channels."""
