"""Screens where lines are shown above the line that is being typed, which is never torn.

Owns standard input and output while the client runs. Knows nothing of chat. `show`, `notice`,
`ring` and `being_typed` may be called by any thread, the rest by the one that reads what is typed.

Nothing is drawn over the whole screen, so that it can be scrolled, copied, and read aloud by a
screen reader.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import TextIO

from client.base.text import cells, end_of, visible
from client.terminal.keys import Echo, Keys, LineEditor
from client.terminal.plain_screens import Complete, Terminal
from client.terminal.readline_state import ReadlineState


class RedrawingScreen(Terminal):
    """A terminal where the typed line is taken away, the arrival shown, and the typed line put back
    below.

    From above: what stays, whose last line may have a key; the notices; the prompt with the typed
    line.
    """

    can_replace = True

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        super().__init__(stdin, stdout)
        self._echo = Echo(stdin)
        self._starting = (
            False  # whether somebody else is about to draw the prompt, nobody knows when
        )
        self._deferred: list[tuple[str, str]] = []
        self._key = ""  # that of the line right above notices and prompt
        self._key_rows = 0  # how many rows it takes
        # the columns for which that row and the notices were drawn: another width may have broken
        # them
        self._drawn_for = 0
        self._notices: dict[str, str] = {}
        self._standing = 0  # how many rows of notices are on the screen

    def show(self, text: str, key: str = "") -> None:
        with self._lock:
            if self._starting or (self._reading and self._is_finished()):
                self._deferred.append((text, key))
            else:
                self._draw([(text, key)])

    def notice(self, text: str, key: str) -> None:
        with self._lock:
            if text != self._notices.get(key, ""):
                self._notices[key] = text
                if not text:
                    del self._notices[key]
                if self._reading and not self._starting and not self._is_finished():
                    self._draw([])

    def close(self) -> None:
        self._echo.set(True)

    def being_typed(self) -> str:
        with self._lock:
            return (
                self._raw_line()
                if self._reading and not self._starting and not self._is_finished()
                else ""
            )

    def _draw(self, texts: list[tuple[str, str]]) -> None:
        columns = self._columns()
        if columns != self._drawn_for:
            self._key, self._standing, self._drawn_for = "", 0, columns
        out = self._taken_away(columns) if self._reading else ""
        for text, key in texts:
            rows = self._rows(text, columns)
            if key and key == self._key:
                out += f"\x1b[{self._key_rows}A\r\x1b[J"
            self._key, self._key_rows = key, len(rows)
            out += "".join(row + "\n" for row in rows)
        self._write(out + (self._put_back(columns) if self._reading else ""))

    def _set_reading(self, reading: bool) -> None:
        """From now on the prompt stands on the screen, or not; shows what had to wait to know
        it."""
        with self._lock:
            self._starting = False
            self._reading = reading
            if not reading:
                self._key = ""  # what is above the prompt is no longer the line with the key
                self._standing = 0
            if self._deferred or (reading and self._notices):
                self._draw(self._deferred)
                self._deferred = []

    def _raw_line(self) -> str:
        """Return what has been typed so far."""
        raise NotImplementedError

    def _raw_before_cursor(self) -> str:
        return self._raw_line()

    def _is_finished(self) -> bool:
        """Return whether Enter was pressed and the prompt is about to be taken for gone."""
        return False

    def _line(self) -> str:
        return self._as_shown(visible(self._raw_line()))

    def _before_cursor(self) -> str:
        return self._as_shown(visible(self._raw_before_cursor()))

    def _taken_away(self, columns: int) -> str:
        """Return the sequence that clears notices, prompt and the typed line, from where the cursor
        stands."""
        rows = end_of(self._prompt + self._before_cursor(), columns)[0] + self._standing
        self._standing = 0
        return (f"\x1b[{rows}A" if rows else "") + "\r\x1b[J"

    def _put_back(self, columns: int) -> str:
        text = self._prompt + self._line()
        end = end_of(text, columns)
        at = end_of(self._prompt + self._before_cursor(), columns)
        if text and not end[1]:
            text += " \r"  # at the last column a terminal stays in the row until something follows
        # up and to the column: one step left at a time would stop at the beginning of a row
        if at != end:
            up = f"\x1b[{end[0] - at[0]}A" if end[0] > at[0] else ""
            text += up + "\r" + (f"\x1b[{at[1]}C" if at[1] else "")
        rows = [row for notice in self._notices.values() for row in self._rows(notice, columns)]
        self._standing = len(rows)
        return "".join(row + "\n" for row in rows) + text


class ReadlineScreen(RedrawingScreen):
    """GNU readline edits the line. Where it does not tell where the cursor stands, it is put at the
    end of the line."""

    def __init__(self, stdin: TextIO, stdout: TextIO, library: ModuleType) -> None:
        super().__init__(stdin, stdout)
        self._library = library
        self._state = ReadlineState(library)
        self._last = ""  # the newest line of the history
        self._keeps_history = hasattr(library, "set_auto_history")
        if self._keeps_history:  # by itself it would keep names, too, and the same line twice
            library.set_auto_history(False)
        self._has_hook = hasattr(library, "set_pre_input_hook")
        if self._has_hook:
            library.set_pre_input_hook(lambda: self._set_reading(True))

    def ask(self, question: str) -> str:
        return self._read(question)

    def read_line(self, prompt: str) -> str:
        line = self._read(prompt)
        if self._keeps_history and line.strip() and line != self._last:
            # what the locale does not know can't be fetched back, but it is said all the same
            with contextlib.suppress(UnicodeError):
                self._library.add_history(line)
            self._last = line
        return line

    def _read(self, prompt: str) -> str:
        with self._lock:
            self._prompt = prompt
            self._starting = self._has_hook  # which readline calls when the prompt stands there
            self._reading = not self._has_hook
        try:
            self._echo.set(True)  # readline shows nothing where the terminal would not
            line = input(prompt)
            self._drop_notices(line)
            return line
        finally:
            self._echo.set(False)
            self._set_reading(False)

    def _drop_notices(self, line: str) -> None:
        """Take the notices away from above a line that was just finished, or they scroll away with
        it; above a long one they stay."""
        with self._lock:
            shown = self._prompt + self._as_shown(visible(line))
            columns = self._columns()
            if self._standing and columns == self._drawn_for and cells(shown) < columns:
                self._write(f"\x1b[{self._standing + 1}A\r\x1b[J{shown}\n")

    def typed(self) -> str:
        return str(self._library.get_line_buffer())

    def _is_finished(self) -> bool:
        return self._state.is_finished()

    def _raw_line(self) -> str:
        return self.typed()

    def _raw_before_cursor(self) -> str:
        line = self.typed()
        at = self._state.cursor()
        return line if at is None else os.fsdecode(os.fsencode(line)[:at])

    def complete_with(self, complete: Complete) -> None:
        def answer(text: str, number: int) -> str | None:
            found = complete(os.fsdecode(os.fsencode(self.typed())[: self._library.get_endidx()]))
            ending = "" if found[number:] and found[number].endswith(("/", "\\")) else " "
            return found[number] + ending if number < len(found) else None

        self._library.set_completer_delims(" ")
        self._library.set_completer(answer)
        self._library.parse_and_bind("tab: complete")


class KeyScreen(RedrawingScreen):
    """A terminal whose keys come one by one: our own editor edits the line. For Windows, and where
    there is no GNU readline."""

    def __init__(self, stdin: TextIO, stdout: TextIO, keys: Keys) -> None:
        super().__init__(stdin, stdout)
        self._keys = keys
        self._editor = LineEditor()

    def ask(self, question: str) -> str:
        return self._read(question, keep=False)

    def read_line(self, prompt: str) -> str:
        return self._read(prompt, keep=True)

    def _read(self, prompt: str, *, keep: bool) -> str:
        with self._taking_keys():
            with self._lock:
                self._prompt = prompt
                self._editor.begin()
                self._reading = True
                self._drawn_for = self._columns()
                self._write(self._put_back(self._drawn_for))
            try:
                while True:
                    line = self._take(self._keys.next_key(), keep)
                    if line is not None:
                        return line
            except (KeyboardInterrupt, EOFError):
                self._end_line()
                raise
            finally:
                self._set_reading(False)

    @contextlib.contextmanager
    def _taking_keys(self) -> Iterator[None]:
        self._keys.begin()
        try:
            yield
        finally:
            self._keys.end()
            self._echo.set(False)

    def _take(self, key: str, keep: bool) -> str | None:
        with self._lock:
            columns = self._columns()
            if columns != self._drawn_for:
                self._key, self._standing, self._drawn_for = "", 0, columns
            before = self._taken_away(columns)
            line = self._editor.press(key, keep=keep)
            if line is None:
                self._write(before + self._choices(columns) + self._put_back(columns))
            else:
                self._write(before + self._prompt + self._line() + "\n")
                self._reading = False  # what arrives now must not clear the row below
            return line

    def _choices(self, columns: int) -> str:
        """Return the words among which a second Tab could not decide, in rows above the line."""
        if not self._editor.choices:
            return ""
        self._key = ""
        return "".join(
            row + "\n" for row in self._rows("  ".join(map(visible, self._editor.choices)), columns)
        )

    def _end_line(self) -> None:
        """Leave the cursor at the end of a line that is broken off, as readline does."""
        with self._lock:
            if self._reading:
                self._write(self._taken_away(self._columns()) + self._prompt + self._line())
                self._reading = False

    def complete_with(self, complete: Complete) -> None:
        self._editor.complete = complete

    def typed(self) -> str:
        return self._editor.text

    def _raw_line(self) -> str:
        return self._editor.text

    def _raw_before_cursor(self) -> str:
        return self._editor.text[: self._editor.cursor]
