"""Read the pixels of images as points, and paint labels. Knows no viewer."""
