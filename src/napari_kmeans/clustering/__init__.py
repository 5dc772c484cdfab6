"""K-means of weighted points. This package does not use images."""
