"""The screen of the line client: lines are shown above the line that is being typed, which is never torn.

Owns standard input and output while the client runs. Knows nothing of chat. `show` may be called by any thread, the rest by the
one that reads what is typed.

Nothing is drawn over the whole screen, so that it can be scrolled, copied, and read aloud by a screen reader.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TextIO

from client.keys import LineEditor, read_key, take_keys_from_console
from client.text import cells, shorten, visible, wrap

try:
    import readline as _readline
except ImportError:  # Windows, and a Python built without it
    readline: ModuleType | None = None
else:
    readline = _readline


def open_screen() -> PlainScreen:
    """The best screen for where standard input and output go."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return PlainScreen(sys.stdin, sys.stdout)
    if os.environ.get("TERM") == "dumb":
        return PromptScreen(sys.stdin, sys.stdout)
    if readline is not None:
        return ReadlineScreen(sys.stdin, sys.stdout, readline)
    if take_keys_from_console():
        return KeyScreen(sys.stdin, sys.stdout, read_key)
    return PromptScreen(sys.stdin, sys.stdout)


class PlainScreen:
    """Lines in, lines out: for pipes and files. No prompts, no wrapping, and hidden questions are read as lines."""

    is_terminal = False
    can_replace = False
    """Whether a line shown with a `key` replaces the one above it of the same key."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._lock = threading.Lock()  # held while something is written; guards the fields of the subclasses
        self.broken = False
        """Whether nobody reads our output any more."""

    def show(self, text: str, key: str = "") -> None:
        """Show one line, or several with line ends between them; they are made harmless already."""
        with self._lock:
            self._write(text + "\n")

    def ring(self) -> None:
        """Ring the bell, where there is one."""

    def ask(self, question: str) -> str:
        """Ask for a line; raises `EOFError` at the end of input."""
        return self.read_line(question)

    def ask_hidden(self, question: str) -> str:
        """Ask for a line that is not shown while it is typed, where that is possible."""
        return self.read_line(question)

    def read_line(self, prompt: str) -> str:
        """The next line, without its end; raises `EOFError` at the end of input."""
        line = self._stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def typed(self) -> str:
        """What stood in the line that Ctrl-C has just broken off."""
        return ""

    def complete_with(self, words: Callable[[], list[str]]) -> None:
        """Let Tab complete to one of `words`, where there is a Tab."""

    def _write(self, text: str) -> None:
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError:
            self.broken = True


class PromptScreen(PlainScreen):
    """A terminal without any way to know what is being typed: an arrival stands in the middle of it, but nothing is lost."""

    is_terminal = True

    def ring(self) -> None:
        with self._lock:
            self._write("\a")

    def ask_hidden(self, question: str) -> str:
        return getpass.getpass(question)

    def read_line(self, prompt: str) -> str:
        return input(prompt)


class _RedrawingScreen(PromptScreen):
    """A terminal where the typed line is taken away, the arrival shown, and the typed line put back below."""

    can_replace = True

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        super().__init__(stdin, stdout)
        self._reading = False  # whether prompt and typed line stand on the screen
        self._starting = False  # whether somebody else is about to draw the prompt, nobody knows when
        self._deferred: list[tuple[list[str], str]] = []
        self._prompt = ""
        self._key = ""  # that of the line right above the prompt
        self._key_rows = 0

    def show(self, text: str, key: str = "") -> None:
        columns = self._columns()
        if key:
            rows = [shorten(text, columns - 1)]
        else:
            rows = [row for line in text.split("\n") for row in wrap(line, columns - 1)]
        with self._lock:
            if self._starting:
                self._deferred.append((rows, key))
            else:
                self._draw(rows, key, columns)

    def _draw(self, rows: list[str], key: str, columns: int) -> None:
        out = self._taken_away(columns) if self._reading else ""
        if key and key == self._key:
            out += f"\x1b[{self._key_rows}A\r\x1b[J"
        self._key, self._key_rows = key, len(rows)
        out += "".join(row + "\n" for row in rows)
        self._write(out + (self._put_back(columns) if self._reading else ""))

    def _set_reading(self, reading: bool) -> None:
        """From now on the prompt stands on the screen, or not; shows what had to wait to know it."""
        with self._lock:
            self._starting = False
            self._reading = reading
            for rows, key in self._deferred:
                self._draw(rows, key, self._columns())
            self._deferred.clear()
            if not reading:
                self._key = ""  # what is above the prompt is no longer the line with the key

    def _columns(self) -> int:
        return shutil.get_terminal_size().columns or 80  # Python 3.10 gives 0 where a terminal does not know its size

    def _line(self) -> str:
        """What has been typed so far."""
        raise NotImplementedError

    def _before_cursor(self) -> str:
        return self._line()

    def _taken_away(self, columns: int) -> str:
        """The sequence that clears the prompt and the typed line, from where the cursor stands."""
        rows = cells(self._prompt + self._before_cursor()) // columns
        return (f"\x1b[{rows}A" if rows else "") + "\r\x1b[J"

    def _put_back(self, columns: int) -> str:
        text = self._prompt + self._line()
        full = cells(text) and cells(text) % columns == 0
        return text + (" \r" if full else "")  # at the last column a terminal stays in the row until something follows


class ReadlineScreen(_RedrawingScreen):
    """GNU readline or libedit edits the line. Neither tells where the cursor stands, so it is put at the end of the line."""

    def __init__(self, stdin: TextIO, stdout: TextIO, library: ModuleType) -> None:
        super().__init__(stdin, stdout)
        self._library = library
        self._has_hook = hasattr(library, "set_pre_input_hook")
        if self._has_hook:
            library.set_pre_input_hook(lambda: self._set_reading(True))

    def read_line(self, prompt: str) -> str:
        with self._lock:
            self._prompt = prompt
            self._starting = self._has_hook  # which readline calls when the prompt stands there
            self._reading = not self._has_hook
        try:
            return input(prompt)
        finally:
            self._set_reading(False)

    def typed(self) -> str:
        return str(self._library.get_line_buffer())

    def _line(self) -> str:
        return visible(self.typed())

    def complete_with(self, words: Callable[[], list[str]]) -> None:
        def complete(text: str, number: int) -> str | None:
            found = [word for word in words() if word.startswith(text)]
            return found[number] + " " if number < len(found) else None

        self._library.set_completer_delims(" ")
        self._library.set_completer(complete)
        edit = "libedit" in (self._library.__doc__ or "")
        self._library.parse_and_bind("bind ^I rl_complete" if edit else "tab: complete")


class KeyScreen(_RedrawingScreen):
    """A console whose keys come one by one (Windows): our own editor edits the line."""

    def __init__(self, stdin: TextIO, stdout: TextIO, next_key: Callable[[], str]) -> None:
        super().__init__(stdin, stdout)
        self._next_key = next_key
        self._editor = LineEditor()

    def read_line(self, prompt: str) -> str:
        with self._lock:
            self._prompt = prompt
            self._editor.begin()
            self._reading = True
            self._write(prompt)
        try:
            while True:
                key = self._next_key()
                with self._lock:
                    columns = self._columns()
                    before = self._taken_away(columns)
                    line = self._editor.press(key)
                    self._write(before + self._put_back(columns))
                    if line is not None:
                        self._write("\n")
                        return line
        except (KeyboardInterrupt, EOFError):
            self._write("\n")
            raise
        finally:
            self._set_reading(False)

    def complete_with(self, words: Callable[[], list[str]]) -> None:
        self._editor.words = words

    def typed(self) -> str:
        return self._editor.text

    def _line(self) -> str:
        return visible(self._editor.text)

    def _before_cursor(self) -> str:
        return visible(self._editor.text[: self._editor.cursor])

    def _put_back(self, columns: int) -> str:
        back = cells(visible(self._editor.text[self._editor.cursor :]))
        text = super()._put_back(columns)
        if not back:
            return text
        # Up and to the column: one step left at a time would stop at the beginning of a row.
        end, at = cells(self._prompt + self._line()), cells(self._prompt + self._before_cursor())
        up, column = end // columns - at // columns, at % columns
        return text + (f"\x1b[{up}A" if up else "") + "\r" + (f"\x1b[{column}C" if column else "")


