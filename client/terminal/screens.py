"""Which screen the line client gets, by where its standard input and output go.

Owns that choice. Never writes. For the thread that starts the client.
"""

from __future__ import annotations

import codecs
import locale
import os
import sys
from types import ModuleType

from client.terminal.console import is_terminal, understands_sequences
from client.terminal.keys import ConsoleKeys, TerminalKeys
from client.terminal.plain_screens import PlainScreen, PromptScreen
from client.terminal.redrawing_screens import KeyScreen, ReadlineScreen

try:
    import readline as _readline
except ImportError:  # Windows, and a Python built without it
    readline: ModuleType | None = None
else:
    readline = _readline


def open_screen() -> PlainScreen:
    """Return the best screen for where standard input and output go."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return PlainScreen(sys.stdin, sys.stdout)
    if os.environ.get("TERM") == "dumb" or not understands_sequences(sys.stdout):
        return PromptScreen(sys.stdin, sys.stdout)
    if sys.platform == "win32":
        return KeyScreen(sys.stdin, sys.stdout, ConsoleKeys())
    if (
        readline is not None
        and "libedit" not in (readline.__doc__ or "")
        and locale_reads_as(sys.stdin.encoding or "utf-8")
    ):
        return ReadlineScreen(sys.stdin, sys.stdout, readline)
    # libedit's readline does not tell what has been typed before the line is finished.
    return KeyScreen(sys.stdin, sys.stdout, TerminalKeys(sys.stdin.fileno()))


def locale_reads_as(encoding: str) -> bool:
    """Return whether the locale, by which readline goes, means the same characters as Python does,
    which says UTF-8 where it is C."""
    if sys.platform == "win32":
        return False
    try:
        return codecs.lookup(locale.nl_langinfo(locale.CODESET)) == codecs.lookup(encoding)
    except (AttributeError, LookupError):
        return False
