"""Colours for the line client: whether there are to be any, and the sequences that make them.

Owns the rules and the palette. Never writes. Pure but for `wants_colour`, which may switch
a Windows console's sequences on; any thread may use it.

A colour never says anything that the words don't say, too.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from client.terminal.console import understands_sequences

Tone = Callable[[str], str]
"""A colour: gives a harmless text back with the sequences around it."""


def wants_colour(choice: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether to colour what goes to `stream`: `choice` is that of `--color`, and `auto`
    asks the environment, then the stream.

    `NO_COLOR` beats `CLICOLOR_FORCE` and `FORCE_COLOR` beat `CLICOLOR=0` beats whether `stream` is
    a terminal (no-color.org, bixense.com/clicolors).
    """
    if choice == "never" or (choice == "auto" and environ.get("NO_COLOR")):
        return False
    on_terminal = stream.isatty()
    if choice == "always" or any(
        environ.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")
    ):
        return understands_sequences(stream) if on_terminal else True
    if not on_terminal or environ.get("CLICOLOR") == "0" or environ.get("TERM") == "dumb":
        return False
    return understands_sequences(stream)


class Palette:
    """The colours of the line client; `Palette(False)` gives every text back as it is. All texts
    must be harmless already.

    Only the eight colours that every terminal has, none of them yellow, white or blue: those can't
    be read on every background.
    """

    _NAMES: Final = ("32", "35", "36", "1;32", "1;35", "1;36")

    def __init__(self, on: bool = False) -> None:
        self.on = on

    def time(self, text: str) -> str:
        """Colour the time at which something was said."""
        return self._paint("2", text)

    def name(self, text: str) -> str:
        """Colour the name of who said it: the same name always has the same colour."""
        return self._paint(self._NAMES[zlib.crc32(text.encode()) % len(self._NAMES)], text)

    def sent(self, text: str) -> str:
        """Colour a packet that went to the server."""
        return self._paint("36", text)

    def got(self, text: str) -> str:
        """Colour a packet that came from the server."""
        return self._paint("35", text)

    def good(self, text: str) -> str:
        """Colour words about something that is done."""
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        """Colour words about something that failed."""
        return self._paint("1;31", text)

    def warn(self, text: str) -> str:
        """Colour words about something that needs patience."""
        return self._paint("31", text)

    def quiet(self, text: str) -> str:
        """Colour words that need to be read once only."""
        return self._paint("2", text)

    def strong(self, text: str) -> str:
        """Make words stand out that are for this user in particular."""
        return self._paint("1", text)

    def mark(self, text: str) -> str:
        """Mark a few letters that are to be seen from afar."""
        return self._paint("1;7", text)

    def plain(self, text: str) -> str:
        """Return the text as it is."""
        return text

    def _paint(self, codes: str, text: str) -> str:
        return f"\x1b[{codes}m{text}\x1b[0m" if self.on and text else text
