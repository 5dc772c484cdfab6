"""Build napari layers from results, update them in place, and edit their clusters."""
