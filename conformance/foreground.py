"""What the programs of the kit share: where they listen, why they can't, and how they end.

The main thread; `listening_address` is a pure function for `argparse`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

SLICE_SECONDS: Final = 0.25
"""So long the main thread waits at most at a time: on Windows no signal interrupts a wait, and
Ctrl-C is heard behind it."""
_WSAEACCES: Final = 10013
"""Winsock: the port is taken exclusively, or reserved. Its errno is EACCES."""


class Misuse(ValueError):
    """The command line can't be followed; the text says why and what to do."""


def listening_address(text: str) -> tuple[str, int]:
    """Read [HOST:]PORT; without HOST this machine only."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected PORT or HOST:PORT, as 9875 or 0.0.0.0:9875"
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def refuse(host: str, port: int, error: OSError, instead: str) -> NoReturn:
    """Say why nobody can listen there, and what to do. Raises `Misuse`."""
    if getattr(error, "winerror", None) == _WSAEACCES:
        why = (
            "Windows keeps the port, for another program or for itself (Hyper-V and WSL reserve "
            "some: netsh interface ipv4 show excludedportrange tcp lists them); take another one "
            f"({instead})"
        )
    elif error.errno == errno.EADDRINUSE:
        why = f"the port is in use; take another one ({instead}), or end the program that has it"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "ports below 1024 are for administrators; take a higher one"
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "this machine has no such address; 0.0.0.0 stands for all that it has"
    else:
        why = str(error.strerror or error)
    raise Misuse(f"can't listen on {host}:{port}: {why}") from error


def end_quietly() -> None:
    """Let Ctrl-C end this program at once and without a traceback, while it is still loaded."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def hear_ctrl_c() -> None:
    """Let Ctrl-C be KeyboardInterrupt again, now that there is something to end in order."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def hear_sigterm() -> None:
    """Let SIGTERM end this program as Ctrl-C does, with all that it has started."""
    with contextlib.suppress(ValueError):  # not in the main thread: only tests do that
        signal.signal(signal.SIGTERM, _interrupt)


def wait(done: threading.Event) -> None:
    """Wait until it is done, for Ctrl-C or SIGTERM: these raise KeyboardInterrupt."""
    hear_sigterm()
    while not done.wait(SLICE_SECONDS if sys.platform == "win32" else 3600.0):
        pass


def wait_for(changed: threading.Condition, is_so: Callable[[], object], seconds: float) -> bool:
    """Wait, with the condition held, until `is_so`; return False where it is not within `seconds`.
    Ctrl-C is heard within `SLICE_SECONDS`."""
    deadline = time.monotonic() + seconds
    while not changed.wait_for(is_so, min(SLICE_SECONDS, max(0.0, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
    return True


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
