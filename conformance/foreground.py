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
from typing import NoReturn


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
    if error.errno == errno.EADDRINUSE:
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
    while not done.wait(0.5 if sys.platform == "win32" else 3600.0):
        pass


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
