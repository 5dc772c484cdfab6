"""The version of the package, and the day of its release."""

__version__ = "0.1.1"

RELEASED = "2026-11-26"
"""Texts that cite this version state its year."""
