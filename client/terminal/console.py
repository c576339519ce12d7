"""What stands behind a stream of a terminal, and what makes it understand control sequences.

Owns that difference between systems. Never writes text. Any thread may use it.
"""

from __future__ import annotations

import sys
from typing import Any, Final, TextIO

_STANDARD_HANDLES: Final = {1: -11, 2: -12}  # STD_OUTPUT_HANDLE, STD_ERROR_HANDLE
_SEQUENCES: Final = 0x0004  # ENABLE_VIRTUAL_TERMINAL_PROCESSING


def has_descriptor(stream: TextIO) -> bool:
    """Return whether the system knows the stream. IDLE's and Thonny's say that they are terminals,
    but only their window shows what is written."""
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def understands_sequences(stream: TextIO) -> bool:
    """Return whether the terminal behind `stream` understands VT sequences; on Windows they are
    switched on, which old ones can't."""
    if sys.platform != "win32":
        return has_descriptor(stream)
    import ctypes

    try:
        return switch_sequences_on(ctypes.windll.kernel32, stream.fileno())
    # a stream without a number; a Python without ctypes' Windows part
    except (
        OSError,
        ValueError,
        AttributeError,
    ):
        return False


def switch_sequences_on(kernel32: Any, number: int) -> bool:
    """Switch VT sequences on for standard output (1) or error (2) ("Console Virtual Terminal
    Sequences", Microsoft)."""
    import ctypes

    if number not in _STANDARD_HANDLES:
        return False
    # A handle is as wide as a pointer; ctypes would take it for an int.
    kernel32.GetStdHandle.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel32.GetStdHandle(_STANDARD_HANDLES[number]))
    mode = ctypes.c_uint32()
    if not kernel32.GetConsoleMode(handle, ctypes.byref(mode)):
        return False
    return bool(mode.value & _SEQUENCES or kernel32.SetConsoleMode(handle, mode.value | _SEQUENCES))
