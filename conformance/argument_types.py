"""What words of the command line mean: accounts, addresses, times.

Pure functions for `argparse`. Any thread.
"""

from __future__ import annotations

import argparse


def account(text: str) -> tuple[str, str]:
    """Read NAME:PASSWORD; a password may hold colons."""
    name, colon, password = text.partition(":")
    if not colon or not name or not password:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:PASSWORD")
    return name, password


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT, also [::1]:9876."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, as localhost:9876")
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
