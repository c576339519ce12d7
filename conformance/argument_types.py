"""What words of the command line mean: accounts, addresses, times.

Pure functions for `argparse`. Any thread.
"""

from __future__ import annotations

import argparse
from typing import Any, final


@final
class ModeParser(argparse.ArgumentParser):
    """The parser of one mode, which complains itself of words that it does not know: so the usage
    of that mode is shown."""

    def parse_known_args(self, *args: Any, **values: Any) -> Any:
        """Return what `ArgumentParser` returns, but never unknown words."""
        found, unknown = super().parse_known_args(*args, **values)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def account(text: str) -> tuple[str, str]:
    """Read NAME:PASSWORD; a password may hold colons."""
    name, colon, password = text.partition(":")
    if not colon or not name or not password:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:PASSWORD")
    return name, password


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT, also [::1]:9876."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, as localhost:9876")
    if int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is a number from 0 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def seconds(text: str) -> float:
    """Read a time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds above 0")
    return value
