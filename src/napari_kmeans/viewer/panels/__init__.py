"""Panels that unfold below the form of the dock."""
