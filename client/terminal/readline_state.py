"""What GNU readline knows of its line, and Python's `readline` does not tell: the cursor, and
whether it is finished.

Owns the look into the library's memory. Never writes there. Any thread may ask.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


class ReadlineState:
    """Reads two public variables of the library, which can be found wherever it is linked as a
    shared object."""

    def __init__(self, library: ModuleType) -> None:
        self._point: Any = None
        self._done: Any = None
        path = getattr(library, "__file__", None)
        if path is None:  # built into Python
            return
        try:
            import ctypes

            linked = ctypes.CDLL(path)
            self._point = ctypes.c_int.in_dll(linked, "rl_point")
            self._done = ctypes.c_int.in_dll(linked, "rl_done")
        except (ImportError, OSError, ValueError):
            pass  # then nobody knows

    def cursor(self) -> int | None:
        """Return the cursor's place in the line, in bytes; None where it can't be had."""
        return None if self._point is None else int(self._point.value)

    def is_finished(self) -> bool:
        """Return whether Enter was pressed, so that the screen's cursor stands below the line
        already."""
        return self._done is not None and bool(self._done.value)
