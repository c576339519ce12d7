"""A small line editor: one line with a cursor, the lines before it, and completion.

Owns the line that is being typed and its history. Draws nothing. Used by the one thread that reads
the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from client.base.text import cells

MAX_HISTORY: Final = 500
MAX_CHOICES: Final = 100
_ZWJ: Final = "\u200d"
# not printable by themselves, but parts of words, emoji and flags
_JOINERS: Final = frozenset("\u200c\u200d" + "".join(map(chr, range(0xE0020, 0xE0080))))


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
        self._killed = ""  # what was cut last, for Ctrl-Y
        self._sought: str | None = None  # what Ctrl-R looks for in the history

    def begin(self) -> None:
        """Begin a new, empty line."""
        self._sought = None
        self._set("")
        self._at = len(self._history)

    def press(self, key: str, *, keep: bool = True) -> str | None:
        """Do what a key does; return the line where it is finished, kept in the history where
        `keep`. Ctrl-C raises `KeyboardInterrupt`, Ctrl-D or Ctrl-Z on an empty line `EOFError`."""
        self.choices = []
        self._tabs = self._tabs + 1 if key == "\t" else 0
        if self._sought is not None and self._is_of_search(key):
            return None
        if key in ("\r", "\n"):
            return self._finish(keep)
        if key == "\x03":
            raise KeyboardInterrupt
        if key in ("\x04", "\x1a") and not self.text:
            raise EOFError
        if key == "\x12" and keep:
            self._sought, self._draft, self._at = "", self.text, len(self._history)
            return None
        action = self._KEYS.get(key)
        if action is not None:
            action(self)
        elif len(key) == 1 and (key.isprintable() or key in _JOINERS):
            self.insert(key)
        return None

    def insert(self, text: str) -> None:
        """Put a text where the cursor stands, as it is: it was pasted, so nothing in it is a
        key."""
        self._sought = None
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    @property
    def label(self) -> str:
        """What stands in place of the prompt while the history is searched; "" where it isn't."""
        if self._sought is None:
            return ""
        found = self._sought.lower() in self.text.lower()
        return f"[{'search' if found else 'nothing has'}: {self._sought}] "

    def _is_of_search(self, key: str) -> bool:
        """Take a key while the history is searched. Return False where it only ends the search:
        the line that was found stays, and the key is to do what it always does."""
        sought, newest = self._sought or "", len(self._history) - 1
        if key == "\x12":
            self._find(self._at - 1)
        elif key in ("\x07", "\x1b"):  # Ctrl-G, as in shells, and Esc
            self._sought, self._at = None, newest + 1
            self._set(self._draft)
        elif key in ("\b", "\x7f"):
            self._sought = sought[:-1]
            self._find(newest)
        elif len(key) == 1 and key.isprintable():
            self._sought = sought + key
            self._find(min(self._at, newest))
        else:
            self._sought = None
            return False
        return True

    def _find(self, begin: int) -> None:
        """Take the newest line, from number `begin` back, that has what is sought; where there is
        none, stay."""
        sought = (self._sought or "").lower()
        for at in range(begin, -1, -1):
            if sought in self._history[at].lower():
                self._at = at
                self._set(self._history[at])
                return

    def _finish(self, keep: bool) -> str:
        line = self.text
        if keep and line.strip() and (not self._history or self._history[-1] != line):
            self._history = [*self._history, line][-MAX_HISTORY:]
        return line

    def _set(self, text: str) -> None:
        self.text = text
        self.cursor = len(text)

    def _kill(self, begin: int, end: int) -> None:
        self._killed = self.text[begin:end] or self._killed
        self._cut(begin, end)

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
        self.cursor = self._sign_before()

    def _right(self) -> None:
        self.cursor = self._sign_after()

    def _sign_before(self) -> int:
        """Return where the sign before the cursor begins: an emoji of several characters is one,
        and a letter with its marks."""
        at = self.cursor - 1
        while at > 0 and (cells(self.text[at]) == 0 or self.text[at - 1] == _ZWJ):
            at -= 1
        return max(0, at)

    def _sign_after(self) -> int:
        at = self.cursor + 1
        while at < len(self.text) and (cells(self.text[at]) == 0 or self.text[at - 1] == _ZWJ):
            at += 1
        return min(len(self.text), at)

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
            self._cut(self._sign_before(), self.cursor)

    def _delete(self) -> None:
        self._cut(self.cursor, self._sign_after())

    def _delete_word(self) -> None:
        self._kill(self._word_begin(), self.cursor)

    def _delete_next_word(self) -> None:
        self._kill(self.cursor, self._word_end())

    def _delete_before(self) -> None:
        self._kill(0, self.cursor)

    def _delete_after(self) -> None:
        self._kill(self.cursor, len(self.text))

    def _yank(self) -> None:
        self.insert(self._killed)

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
        new = _common_start(found)
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
        "\x02": _left,
        "\x04": _delete,
        "\x05": _end,
        "\x06": _right,
        "\x0e": _down,
        "\x10": _up,
        "\x19": _yank,
        "delete word": _delete_next_word,
        "\x15": _delete_before,
        "\x0b": _delete_after,
        "\x17": _delete_word,
        "\x1b": _clear,
    }


def _common_start(words: Sequence[str]) -> str:
    """Return what all words begin with; Python 3.15 warns of `os.path.commonprefix`."""
    first, last = min(words), max(words)  # in order: what these two share, all share
    differs = (at for at, letter in enumerate(first) if letter != last[at : at + 1])
    return first[: next(differs, len(first))]
