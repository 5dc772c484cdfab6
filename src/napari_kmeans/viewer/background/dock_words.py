"""Sentences of the command line, in the words of the dock."""

from __future__ import annotations

import re

_WORDS = (
    (r", without --recursive\b", ", because Subfolders is not checked"),
    (r"; --each clusters each (?:image )?by itself", "; cluster such images by themselves"),
    (
        r"--min-area must go with --spacing (.*); use --spacing, or --min-size for .*",
        r"Minimum size must be in px \1; choose px",
    ),
    (r"--color-space\b", "Color space"),
    # The dock takes the pixel sizes and the channels as they are in the files.
    (r"[;:] use --(?:spacing|channels)\b.*", ""),
)
"""Patterns of flags, and their replacements."""


def in_words_of_dock(sentence: str) -> str:
    """Return a sentence with the fields of the dock in place of flags of the command line."""
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, words, sentence)
    return sentence
