"""What people type to run the kit: its folder and its packed file are called differently.

Pure but for asking where the kit lies. Any thread.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

MODULE: Final = ("python", "-m", "conformance")


def words(place: Path, program: str) -> tuple[str, ...]:
    """Return the words before the mode, for a kit that lies in `place` (a folder, or the packed
    file) and was started as `program`, which is `sys.argv[0]`."""
    if place.is_dir():
        return MODULE
    is_typed = os.path.basename(program) == place.name
    return "python", program if is_typed else place.name


WORDS: Final = words(Path(__file__).resolve().parents[1], sys.argv[0])
NAME: Final = " ".join(WORDS)


def named(text: str) -> str:
    """Return a text with examples as people type them here. Each text of the kit that holds such
    words comes through this: a test looks."""
    return text.replace(" ".join(MODULE), NAME)
