"""Asking a program to end in order, on every system.

Owns how that is done. Windows has no SIGTERM, and `terminate` ends a program there as a power cut
does; a program hears Ctrl-C in its own console. Never waits for the end. Any thread may use it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from support.patience import patience

OWN_CONSOLE = getattr(subprocess, "CREATE_NO_WINDOW", 0)
"""The `creationflags` of a program that `ask_to_end` is to end: on Windows it gets a console that
nobody sees, in which it is alone. 0 elsewhere."""

# In a process of its own: a process has one console, and the tests keep theirs. The helper must not
# hear the key itself.
_CTRL_C = """
import ctypes, sys
kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.FreeConsole()
steps = (
    lambda: kernel.AttachConsole(int(sys.argv[1])),
    lambda: kernel.SetConsoleCtrlHandler(None, True),
    lambda: kernel.GenerateConsoleCtrlEvent(0, 0),
)
for number, step in enumerate(steps, 1):
    if not step():
        sys.exit(f"step {number} of Ctrl-C failed: error {ctypes.get_last_error()}")
"""


def press_ctrl_c(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C in the console of a program that was started with `OWN_CONSOLE`."""
    if os.name != "nt":
        process.send_signal(signal.SIGINT)
    elif process.poll() is None:
        subprocess.run(
            [sys.executable, "-c", _CTRL_C, str(process.pid)], check=True, timeout=patience(20.0)
        )


def ask_to_end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, on Windows Ctrl-C to a program that was started with `OWN_CONSOLE`."""
    if os.name != "nt":
        process.terminate()
    else:
        press_ctrl_c(process)
