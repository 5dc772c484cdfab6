"""Run work on threads and dask graphs, with progress. Nothing here depends on images."""
