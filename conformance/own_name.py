"""What people type to run the kit: its folder and its packed file are called differently.

Pure but for asking where the kit lies and how Python is called. Any thread.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

PYTHON: Final = "python" if os.name == "nt" or shutil.which("python") else "python3"
"""Ubuntu and macOS have no `python`."""
MODULE: Final = ("-m", "conformance")
WRITTEN: Final = " ".join(("python", *MODULE))
"""How the texts of the kit call it."""


def words(place: Path, program: str) -> tuple[str, ...]:
    """Return the words before the mode, for a kit that lies in `place` (a folder, or the packed
    file) and was started as `program`, which is `sys.argv[0]`."""
    if place.is_dir():
        return PYTHON, *MODULE
    is_typed = os.path.basename(program) == place.name
    return PYTHON, program if is_typed else place.name


WORDS: Final = words(Path(__file__).resolve().parents[1], sys.argv[0])
NAME: Final = " ".join(WORDS)


def named(text: str) -> str:
    """Return a text with examples as people type them here. Each text of the kit that holds such
    words comes through this: a test looks."""
    return text.replace(WRITTEN, NAME)
