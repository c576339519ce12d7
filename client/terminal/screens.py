"""Which screen the line client gets, by where its standard input and output go.

Owns that choice. Never writes. For the thread that starts the client.
"""

from __future__ import annotations

import os
import sys

from client.terminal.console import has_descriptor, understands_sequences
from client.terminal.key_screen import KeyScreen
from client.terminal.keys import ConsoleKeys, TerminalKeys
from client.terminal.person_screens import PipeScreen, WindowScreen
from client.terminal.plain_screens import PlainScreen, PromptScreen
from terminals import is_terminal


def open_screen() -> PlainScreen:
    """Return the best screen for where standard input and output go."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return PipeScreen(sys.stdin, sys.stdout)
    if not (has_descriptor(sys.stdin) and has_descriptor(sys.stdout)):
        return WindowScreen(sys.stdin, sys.stdout)
    if os.environ.get("TERM") == "dumb" or not understands_sequences(sys.stdout):
        return PromptScreen(sys.stdin, sys.stdout)
    if sys.platform == "win32":
        return KeyScreen(sys.stdin, sys.stdout, ConsoleKeys(), tells_position=False)
    return KeyScreen(sys.stdin, sys.stdout, TerminalKeys(sys.stdin.fileno()))
