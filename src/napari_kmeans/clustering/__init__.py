"""K-means on weighted points; knows no image."""
