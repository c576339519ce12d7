"""A small line editor, and the keys of a Windows console, for where Python has no readline.

Owns the line that is being typed and its history. Draws nothing. Used by the one thread that reads the keys.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

MAX_HISTORY: Final = 500

# After \x00 or \xe0 a Windows console sends the second half of a key that is no character (_getwch, Microsoft C runtime).
_SPECIAL: Final = {
    "H": "up", "P": "down", "K": "left", "M": "right", "G": "home", "O": "end", "S": "delete", "s": "word left", "t": "word right",
}  # fmt: skip


def take_keys_from_console() -> bool:
    """Prepare a Windows console: switch its VT sequences on. False on other systems."""
    if sys.platform != "win32":
        return False
    os.system("")  # the shell that this starts switches them on for the console, and leaves them on
    return True


def read_key() -> str:
    """Wait for the next key of a Windows console: a character, or the name of a key such as `left`; "" for an unknown one."""
    if sys.platform != "win32":
        raise OSError("keys can be read one by one on Windows only")
    import msvcrt

    return name_key(msvcrt.getwch)


def name_key(next_character: Callable[[], str]) -> str:
    """Put together what a console sends for one key."""
    character = next_character()
    if character in "\x00\xe0":
        return _SPECIAL.get(next_character(), "")
    if "\ud800" <= character <= "\udbff":  # an emoji comes in two halves (UTF-16)
        return (character + next_character()).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return character


class LineEditor:
    """One line with a cursor, the lines before it, and completion. `press` takes a key; the caller draws `text` and `cursor`."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self.words: Callable[[], list[str]] = list
        self._history: list[str] = []
        self._at = 0
        self._draft = ""

    def begin(self) -> None:
        """A new, empty line."""
        self._set("")
        self._at = len(self._history)

    def press(self, key: str) -> str | None:
        """Do what a key does; returns the line where it is finished. Ctrl-C raises `KeyboardInterrupt`, Ctrl-D or Ctrl-Z on an
        empty line `EOFError`."""
        if key in ("\r", "\n"):
            return self._finish()
        if key == "\x03":
            raise KeyboardInterrupt
        if key in ("\x04", "\x1a") and not self.text:
            raise EOFError
        action = self._KEYS.get(key)
        if action is not None:
            action(self)
        elif len(key) == 1 and key.isprintable():
            self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
            self.cursor += 1
        return None

    def _finish(self) -> str:
        line = self.text
        if line and (not self._history or self._history[-1] != line):
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
        start = self.text[begin : self.cursor]
        found = [word for word in self.words() if word.startswith(start)]
        if found:
            ending = " " if len(found) == 1 else ""
            new = os.path.commonprefix(found) + ending
            self.text = self.text[:begin] + new + self.text[self.cursor :]
            self.cursor = begin + len(new)

    _KEYS: Final[dict[str, Callable[[LineEditor], None]]] = {
        "left": _left, "right": _right, "home": _home, "end": _end, "up": _up, "down": _down, "delete": _delete,
        "word left": _word_left, "word right": _word_right, "\b": _backspace, "\x7f": _backspace, "\t": _complete,
        "\x01": _home, "\x05": _end, "\x15": _delete_before, "\x0b": _delete_after, "\x17": _delete_word, "\x1b": _clear,
    }  # fmt: skip
