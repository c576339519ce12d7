"""A small line editor, and the keys of consoles and terminals, for where Python has no GNU
readline.

Owns the line that is being typed and its history. Draws nothing. Used by the one thread that reads
the keys.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

MAX_HISTORY: Final = 500
MAX_CHOICES: Final = 100
_JOINERS: Final = "\u200c\u200d"  # not printable by themselves, but parts of words and emoji

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


class Keys(Protocol):
    """Where keys come from, one by one."""

    def begin(self) -> None:
        """From now on keys are taken, and the terminal does not show them by itself."""

    def next_key(self) -> str:
        """Wait for a key: a character, or a key's name as `left`; "" for an unknown one. Raise
        `EOFError` at the end."""

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

    def begin(self) -> None:
        """Do nothing: `msvcrt` sets up the console for each key."""

    def next_key(self) -> str:
        """Wait for a key."""
        if sys.platform != "win32":
            raise OSError("the keys of a console can be read on Windows only")
        import msvcrt

        return name_key(msvcrt.getwch, msvcrt.ungetwch)

    def end(self) -> None:
        """Do nothing: there is nothing to give back."""


class TerminalKeys:
    """The keys of a terminal on Linux or macOS, for a Python without GNU readline. Ctrl-C stays a
    signal."""

    def __init__(self, number: int) -> None:
        self._number = number  # the file descriptor of the terminal
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def begin(self) -> None:
        """Switch echo and the editing of lines off; what was typed ahead is kept."""
        if sys.platform != "win32":
            import termios
            import tty

            self._before = termios.tcgetattr(self._number)
            tty.setcbreak(self._number, termios.TCSADRAIN)

    def end(self) -> None:
        """Give the terminal back as it was before `begin`."""
        if sys.platform != "win32" and self._before is not None:
            import termios

            termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)
            self._before = None

    def next_key(self) -> str:
        """Wait for a key."""
        return name_terminal_key(self._character, self._waits)

    def _character(self) -> str:
        while True:
            byte = os.read(self._number, 1)
            if not byte:
                raise EOFError
            character = self._decoder.decode(byte)
            if character:
                return character

    def _waits(self) -> bool:
        """Return whether more comes at once, as after the first byte of a sequence."""
        return bool(select.select([self._number], [], [], ESCAPE_SECONDS)[0])


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
}
_WITH_ALT: Final = {"b": "word left", "f": "word right", "\x7f": "\x17", "\b": "\x17"}


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


class LineEditor:
    """One line with a cursor, the lines before it, and completion. `press` takes a key; the caller
    draws `text` and `cursor`."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self.complete: Callable[[str], list[str]] = lambda before: []
        """As `client.terminal.plain_screens.Complete`."""
        self.choices: list[str] = []
        """The words that the last key, a second Tab, could not decide among."""
        self._tabs = 0
        self._history: list[str] = []
        self._at = 0
        self._draft = ""

    def begin(self) -> None:
        """A new, empty line."""
        self._set("")
        self._at = len(self._history)

    def press(self, key: str, *, keep: bool = True) -> str | None:
        """Do what a key does; return the line where it is finished, kept in the history where
        `keep`. Ctrl-C raises `KeyboardInterrupt`, Ctrl-D or Ctrl-Z on an empty line `EOFError`."""
        self.choices = []
        self._tabs = self._tabs + 1 if key == "\t" else 0
        if key in ("\r", "\n"):
            return self._finish(keep)
        if key == "\x03":
            raise KeyboardInterrupt
        if key in ("\x04", "\x1a") and not self.text:
            raise EOFError
        action = self._KEYS.get(key)
        if action is not None:
            action(self)
        elif len(key) == 1 and (key.isprintable() or key in _JOINERS):
            self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
            self.cursor += 1
        return None

    def _finish(self, keep: bool) -> str:
        line = self.text
        if keep and line.strip() and (not self._history or self._history[-1] != line):
            self._history = [*self._history, line][-MAX_HISTORY:]
        return line

    def _set(self, text: str) -> None:
        self.text = text
        self.cursor = len(text)

    def _cut(self, begin: int, end: int) -> None:
        self.text = self.text[:begin] + self.text[end:]
        self.cursor = begin

    def _word_begin(self) -> int:
        before = self.text[: self.cursor].rstrip()
        return before.rfind(" ") + 1

    def _word_end(self) -> int:
        rest = self.text[self.cursor :]
        begin = len(rest) - len(rest.lstrip())
        end = rest.find(" ", begin)
        return len(self.text) if end < 0 else self.cursor + end

    def _left(self) -> None:
        self.cursor = max(0, self.cursor - 1)

    def _right(self) -> None:
        self.cursor = min(len(self.text), self.cursor + 1)

    def _home(self) -> None:
        self.cursor = 0

    def _end(self) -> None:
        self.cursor = len(self.text)

    def _word_left(self) -> None:
        self.cursor = self._word_begin()

    def _word_right(self) -> None:
        self.cursor = self._word_end()

    def _backspace(self) -> None:
        if self.cursor:
            self._cut(self.cursor - 1, self.cursor)

    def _delete(self) -> None:
        self._cut(self.cursor, self.cursor + 1)

    def _delete_word(self) -> None:
        self._cut(self._word_begin(), self.cursor)

    def _delete_before(self) -> None:
        self._cut(0, self.cursor)

    def _delete_after(self) -> None:
        self._cut(self.cursor, len(self.text))

    def _clear(self) -> None:
        self._set("")

    def _up(self) -> None:
        if self._at > 0:
            if self._at == len(self._history):
                self._draft = self.text
            self._at -= 1
            self._set(self._history[self._at])

    def _down(self) -> None:
        if self._at < len(self._history):
            self._at += 1
            self._set(self._draft if self._at == len(self._history) else self._history[self._at])

    def _complete(self) -> None:
        begin = self.text[: self.cursor].rfind(" ") + 1
        found = self.complete(self.text[: self.cursor])
        if not found:
            return
        new = os.path.commonprefix(found)  # noqa: RUF071 (words, of which it is right)
        if len(found) == 1 and not new.endswith(("/", "\\")):
            new += " "
        if self._tabs > 1 and len(found) > 1:
            self.choices = found[:MAX_CHOICES]
        self.text = self.text[:begin] + new + self.text[self.cursor :]
        self.cursor = begin + len(new)

    _KEYS: Final[dict[str, Callable[[LineEditor], None]]] = {
        "left": _left,
        "right": _right,
        "home": _home,
        "end": _end,
        "up": _up,
        "down": _down,
        "delete": _delete,
        "word left": _word_left,
        "word right": _word_right,
        "\b": _backspace,
        "\x7f": _backspace,
        "\t": _complete,
        "\x01": _home,
        "\x05": _end,
        "\x15": _delete_before,
        "\x0b": _delete_after,
        "\x17": _delete_word,
        "\x1b": _clear,
    }
