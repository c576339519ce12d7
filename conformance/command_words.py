"""A command line as one text, and its words: as a shell reads it, on Windows as programs there do.

Owns both directions. Never starts anything. Any thread.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

_is_windows = os.name == "nt"  # the tests replace it

_PIECE = re.compile(r'(\\*)(")|([ \t]+)|(\\+|[^\\" \t]+)')


def split(text: str) -> list[str]:
    """Return the words of a command line. Raises ValueError where a quotation mark has no other
    half."""
    return _split_windows(text) if _is_windows else shlex.split(text)


def join(words: Sequence[str]) -> str:
    """Return the command line of these words, to be typed as it is."""
    return subprocess.list2cmdline(words) if _is_windows else shlex.join(words)


def _split_windows(text: str) -> list[str]:
    """Split as programs on Windows do ("Parsing C command-line arguments", Microsoft): a backslash
    is itself, except before a quotation mark, where two are one, and an odd one makes the mark a
    letter."""
    words: list[str] = []
    word: str | None = None
    is_quoted = False
    for slashes, mark, blanks, plain in _PIECE.findall(text):
        if blanks and not is_quoted:
            if word is not None:
                words.append(word)
            word = None
        elif mark:
            word = (word or "") + "\\" * (len(slashes) // 2)
            if len(slashes) % 2:
                word += mark
            else:
                is_quoted = not is_quoted
        else:
            word = (word or "") + (blanks or plain)
    if is_quoted:
        raise ValueError("No closing quotation")
    return words if word is None else [*words, word]
