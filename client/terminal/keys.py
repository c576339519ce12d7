"""The keys of consoles and terminals, one by one, and what of them was pasted.

Owns the reading of standard input where it is a terminal. Draws nothing. Used by the one thread
that reads the keys.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

TICK: Final = "tick"
"""What `Keys.next_key` gives where nothing was pressed for `TICK_SECONDS`."""
TICK_SECONDS: Final = 0.25
PASTE_ON: Final = "\x1b[?2004h"
"""Ask a terminal to put marks around what is pasted (xterm, "Bracketed Paste Mode")."""
PASTE_OFF: Final = "\x1b[?2004l"
WHERE: Final = "\x1b[6n"
"""Ask a terminal where its cursor stands; it answers as if keys were pressed (ECMA-48, DSR)."""
READ_BYTES: Final = 65_536
MAX_PASTED: Final = 1_000_000  # characters; the rest of a longer paste is thrown away
PASTE_SECONDS: Final = 1.0
"""So long the end mark of a paste is waited for, while nothing comes."""
BURST_SECONDS: Final = 0.03
"""What comes faster than this was not typed: an echo of a key takes longer."""
_END_OF_PASTE: Final = "\x1b[201~"
_BURST: Final = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*")
_PASTED: Final = re.compile(r"\t[^\t\r\n]|[\r\n]+[^\r\n]")

# After \x00 or \xe0 a Windows console sends the second half of a key that is no character (_getwch,
# Microsoft C runtime).
_SPECIAL: Final = {
    "H": "up",
    "P": "down",
    "K": "left",
    "M": "right",
    "G": "home",
    "O": "end",
    "S": "delete",
    "s": "word left",
    "t": "word right",
}


class Pasted(str):
    """Text that came at once: nothing in it was typed as a key."""


class Position(str):
    """Where the cursor stands, told by the terminal."""

    column: int
    """From 0."""

    @classmethod
    def at(cls, column: int) -> Position:
        """Return the answer that names this column."""
        position = cls("position")
        position.column = column
        return position


def is_paste(burst: str) -> bool:
    """Return whether characters that came at once were pasted: there is text behind a tab or a line
    end, where a person would have waited for what Tab or Enter brings."""
    return _BURST.fullmatch(burst) is not None and _PASTED.search(burst) is not None


class Keys(Protocol):
    """Where keys come from, one by one."""

    def begin(self) -> None:
        """Take keys from now on; the terminal does not show them by itself."""

    def next_key(self) -> str:
        """Wait for a key: a character, a key's name as `left`, `TICK`, `Pasted` or `Position`; ""
        for an unknown one. Raise `EOFError` at the end."""

    def waits(self) -> bool:
        """Return whether another key is there already."""

    def take_again(self) -> None:
        """Take keys as after `begin`: others have set the terminal meanwhile."""

    def end(self) -> None:
        """Give the terminal back as it was before `begin`."""


class Echo:
    """Whether the terminal itself shows what is typed: between two lines that would be torn into
    what is shown then."""

    def __init__(self, stdin: TextIO) -> None:
        self._number: int | None = None
        if sys.platform != "win32":
            with contextlib.suppress(OSError, ValueError):
                self._number = stdin.fileno() if stdin.isatty() else None

    def set(self, on: bool) -> None:
        """Switch it; what was typed ahead is kept."""
        if sys.platform != "win32" and self._number is not None:
            import termios

            # the terminal was closed; who reads it will hear so
            with contextlib.suppress(termios.error):
                settings = termios.tcgetattr(self._number)
                settings[3] = settings[3] | termios.ECHO if on else settings[3] & ~termios.ECHO
                termios.tcsetattr(self._number, termios.TCSADRAIN, settings)


class ConsoleKeys:
    """The keys of a Windows console."""

    def __init__(self) -> None:
        self._taken: deque[str] = deque()

    def begin(self) -> None:
        """Do nothing: `msvcrt` sets up the console for each key."""

    def next_key(self) -> str:
        """Wait for a key."""
        if sys.platform != "win32":
            raise OSError("the keys of a console can be read on Windows only")
        import msvcrt

        return self._next(msvcrt.getwch, msvcrt.ungetwch, msvcrt.kbhit)

    def _next(
        self,
        getwch: Callable[[], str],
        ungetwch: Callable[[str], object],
        kbhit: Callable[[], bool],
    ) -> str:
        """Take a key, and all that came with it: a console says nothing of pasting."""
        if not self._taken:
            self._taken.append(name_key(getwch, ungetwch))
            while kbhit() and len(self._taken) < MAX_PASTED:
                self._taken.append(name_key(getwch, ungetwch))
            burst = "".join(self._taken)
            if all(len(key) == 1 for key in self._taken) and is_paste(burst):
                self._taken.clear()
                return Pasted(burst)
        return self._taken.popleft()

    def waits(self) -> bool:
        """Return whether another key is there already."""
        return bool(self._taken)

    def take_again(self) -> None:
        """Do nothing: `msvcrt` sets up the console for each key."""

    def end(self) -> None:
        """Do nothing: there is nothing to give back."""


class TerminalKeys:
    """The keys of a terminal on Linux or macOS. Ctrl-C and Ctrl-Z stay signals."""

    def __init__(self, number: int) -> None:
        self._number = number  # the file descriptor of the terminal
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters: deque[str] = deque()  # read, and not yet given out as keys
        self._was_ahead = False

    def begin(self) -> None:
        """Switch echo and the editing of lines off; what was typed ahead is kept."""
        if sys.platform != "win32":
            import termios

            self._before = termios.tcgetattr(self._number)
            self.take_again()
            self._was_ahead = self._comes(0)

    def take_again(self) -> None:
        """Take keys as after `begin`: others have set the terminal meanwhile."""
        if sys.platform != "win32":
            import termios
            import tty

            # the terminal was closed; who reads it will hear so
            with contextlib.suppress(termios.error):
                tty.setcbreak(self._number, termios.TCSADRAIN)

    def end(self) -> None:
        """Give the terminal back as it was before `begin`."""
        if sys.platform != "win32" and self._before is not None:
            import termios

            # the terminal was closed; who reads it will hear so
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)
            self._before = None

    def next_key(self) -> str:
        """Wait for a key."""
        if not self._characters:
            if not self._comes(TICK_SECONDS):
                return TICK
            burst = self._read()
            while (
                not self._was_ahead
                and 1 < len(burst) < MAX_PASTED
                and "\x1b" not in burst
                and self._comes(BURST_SECONDS)
            ):
                burst += self._read()
            # nobody waits for what Tab brings before there is a prompt
            ahead = self._was_ahead and is_paste(burst)
            self._characters.extend(Pasted(c) if ahead and c == "\t" else c for c in burst)
            if not self._was_ahead and is_paste(burst):
                self._characters.clear()
                return Pasted(burst[:MAX_PASTED])
            self._was_ahead = False
        key = name_terminal_key(self._character, self._more)
        return self._rest_of_paste() if key == "paste" else key

    def waits(self) -> bool:
        """Return whether another key is there already."""
        return bool(self._characters)

    def _rest_of_paste(self) -> Pasted:
        """Return what stands before the mark that ends a paste."""
        taken: list[str] = []
        mark = list(_END_OF_PASTE)
        while taken[-len(mark) :] != mark:
            if not self._characters and not self._comes(PASTE_SECONDS):
                break
            taken.append(self._character())
        return Pasted("".join(taken).removesuffix(_END_OF_PASTE)[:MAX_PASTED])

    def _character(self) -> str:
        while not self._characters:
            self._characters.extend(self._read())
        return self._characters.popleft()

    def _read(self) -> str:
        data = os.read(self._number, READ_BYTES)
        if not data:
            raise EOFError
        return self._decoder.decode(data)

    def _more(self) -> bool:
        """Return whether more comes at once, as after the first byte of a sequence."""
        return bool(self._characters) or self._comes(ESCAPE_SECONDS)

    def _comes(self, seconds: float) -> bool:
        return bool(select.select([self._number], [], [], seconds)[0])


ESCAPE_SECONDS: Final = 0.05
"""After Esc: what comes within this belongs to the same key, which a terminal sends in one
piece."""

# What follows Esc [ or Esc O (ECMA-48; xterm, "Control Sequences", PC-style function keys).
_SEQUENCES: Final = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "3~": "delete",
    "1;5C": "word right",
    "1;5D": "word left",
    "1;3C": "word right",
    "1;3D": "word left",
    "200~": "paste",
}
_POSITION: Final = re.compile(r"\d{1,5};(\d{1,5})R")
_WITH_ALT: Final = {
    "b": "word left",
    "f": "word right",
    "d": "delete word",
    "\x7f": "\x17",
    "\b": "\x17",
}


def name_terminal_key(next_character: Callable[[], str], waits: Callable[[], bool]) -> str:
    """Put together what a terminal sends for one key; `waits` says whether more comes at once."""
    character = next_character()
    if character != "\x1b" or not waits():
        return character
    second = next_character()
    if second not in "[O":
        return _WITH_ALT.get(second, "")
    sequence = ""
    while waits() and len(sequence) < 16:
        sequence += next_character()
        if "@" <= sequence[-1] <= "~":
            break
    where = _POSITION.fullmatch(sequence)
    if where is not None:
        return Position.at(int(where[1]) - 1)
    return _SEQUENCES.get(sequence, "")


def name_key(next_character: Callable[[], str], give_back: Callable[[str], object]) -> str:
    """Put together what a console sends for one key.

    U+00E0 is the letter à, and also stands before the second half of a special key. While that
    half waits, `give_back` raises OSError: there is room for one character (`_ungetwch`, Microsoft
    C runtime).
    """
    character = next_character()
    if character in "\x00\xe0":
        try:
            give_back(character)
        except OSError:
            return _SPECIAL.get(next_character(), "")
        character = next_character()
    if "\ud800" <= character <= "\udbff":  # an emoji comes in two halves (UTF-16)
        return (
            (character + next_character())
            .encode("utf-16-le", "surrogatepass")
            .decode("utf-16-le", "replace")
        )
    return character
