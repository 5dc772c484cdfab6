"""Pixels to points and back; knows no viewer."""
