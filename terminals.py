"""Whether a person sits at a stream, and how a path is typed there: the same in server and client.

Owns these two questions. Never reads or writes. Any thread may use it.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person sits at `stream`. Windows says so of `NUL`, too, at which a question
    would wait for ever."""
    if not stream.isatty():
        return False
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    try:
        return has_mode(ctypes.windll.kernel32, msvcrt.get_osfhandle(stream.fileno()))
    except (OSError, ValueError):  # a stream in memory, which is not NUL
        return True


def has_mode(kernel32: Any, handle: int) -> bool:
    """Return whether a Windows handle is a console's: only these have a mode ("GetConsoleMode",
    Microsoft)."""
    import ctypes

    mode = ctypes.c_uint32()
    return bool(kernel32.GetConsoleMode(ctypes.c_void_p(handle), ctypes.byref(mode)))


def quoted(path: str) -> str:
    """Return a path as it is typed behind an option, in every shell: in quotation marks where it
    needs them."""
    return path if re.fullmatch(r"[\w./\\:~+-]+", path) else f'"{path}"'
