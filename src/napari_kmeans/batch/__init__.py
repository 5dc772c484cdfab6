"""Cluster the images in files: find and read them, and write their results.

No code here knows the terminal or napari: sentences are notices, and progress goes to the bars
that the caller shows.
"""
