"""Threads, dask graphs, progress and memory: how work runs, whatever the work is."""
