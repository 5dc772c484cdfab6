"""From napari layers to arrays, masks, starts and channels."""
