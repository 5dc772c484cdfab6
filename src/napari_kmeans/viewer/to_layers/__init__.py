"""From results to napari layers, and edits of their labels."""
