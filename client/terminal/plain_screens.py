"""Screens that write one line after the other: for pipes, files, and terminals that can do nothing
else.

Owns standard input and output while the client runs. Knows nothing of chat. `show`, `notice`,
`ring` and `being_typed` may be called by any thread, the rest by the one that reads what is typed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from client.base.text import wrap
from client.terminal.pasting import Block

Complete = Callable[[str], list[str]]
"""Gives, for what stands before the cursor, the words that may stand in place of the last of it."""


class PlainScreen:
    """Lines in, lines out: for pipes and files. No prompts, no wrapping, and hidden questions are
    read as lines."""

    is_terminal = False
    can_replace = False
    """Whether a line shown with a `key` replaces the one above it of the same key, and notices are
    shown."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        self._stdin = stdin
        self._stdout = stdout
        # held while something is written; guards the fields of the subclasses
        self._lock = threading.Lock()
        self.broken = False
        """Whether nobody reads our output any more."""

    def show(self, text: str, key: str = "", settled: str = "") -> None:
        """Show one line, or several with line ends between them; they are made harmless already.
        Where lines can be replaced, `settled` takes their place once something else comes below."""
        with self._lock:
            self._write(text + "\n")

    def replace(self, text: str, key: str, settled: str = "") -> bool:
        """Show a text in place of the last one, where that has this `key`; False, showing nothing,
        where something else has come after it."""
        return False

    def take_back(self) -> bool:
        """Take the line away that was just typed, so that it can be shown in another form; False
        where something else has come after it."""
        return False

    def notice(self, text: str, key: str) -> None:
        """Show a line right above the typed one until the next of its `key`, "" for none; where
        that is possible."""

    def ring(self) -> None:
        """Ring the bell, where there is one."""

    def columns(self) -> int:
        """Return how wide it is; the usual 80 where that means nothing."""
        return 80

    def ask(self, question: str) -> str:
        """Ask for a line; raise `EOFError` at the end of input."""
        return str(self.read_line(question))

    def ask_hidden(self, question: str) -> str:
        """Ask for a line that is not shown while it is typed, where that is possible."""
        return str(self.read_line(question))

    def read_line(self, prompt: str) -> str | Block:
        """Return the next line, without its end, or the messages that a paste is to become; raise
        `EOFError` at the end of input."""
        line = self._stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def typed(self) -> str:
        """Return what stood in the line that Ctrl-C has just broken off."""
        return ""

    def set_prompt(self, prompt: str) -> None:
        """Let another prompt stand before the line that is typed in answer to `read_line`."""

    def being_typed(self) -> str:
        """Return what stands in the line that is being typed; "" where nobody knows."""
        return ""

    def complete_with(self, complete: Complete) -> None:
        """Let Tab complete what is typed, where there is a Tab."""

    def aside(self) -> contextlib.AbstractContextManager[bool]:
        """Return a context in which others may write to the terminal, as a shell does while this
        program is stopped; it gives False where something is just being drawn, by the very thread
        perhaps that a signal has interrupted. For signal handlers."""
        return contextlib.nullcontext(True)

    def take_keys(self) -> None:
        """Set the terminal for reading keys again, where it is being read: others have used it."""

    def redraw(self) -> bool:
        """Draw the typed line again in a row of its own: others have written meanwhile. False where
        something is just being drawn, as `aside`."""
        return True

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _write(self, text: str) -> None:
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except OSError:
            # A pipe that nobody reads (EPIPE, on Windows EINVAL), or a terminal that was closed
            # (EIO).
            self.broken = True


class Terminal(PlainScreen):
    """What all terminals share: a bell, a width, and foreign text wrapped so that it never begins a
    row."""

    is_terminal = True

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        super().__init__(stdin, stdout)
        self._prompt = ""

    def ring(self) -> None:
        with self._lock:
            self._write("\a")

    def ask_hidden(self, question: str) -> str:
        return getpass.getpass(question)

    def columns(self) -> int:
        return self._columns()

    def _columns(self) -> int:
        # not COLUMNS first, as shutil does: a shell that exports it does not change it when the
        # window is resized
        try:
            columns = os.get_terminal_size(self._stdout.fileno()).columns
        except (OSError, ValueError):
            columns = shutil.get_terminal_size().columns
        return columns or 80  # a terminal may not know its size

    def _lines(self) -> int:
        try:
            lines = os.get_terminal_size(self._stdout.fileno()).lines
        except (OSError, ValueError):
            lines = shutil.get_terminal_size().lines
        return lines or 24

    def _rows(self, text: str, columns: int) -> list[str]:
        """Return the text in rows, never as wide as the terminal: some go to the next row at the
        last column, others wait."""
        return [row for line in self._as_shown(text).split("\n") for row in wrap(line, columns - 1)]

    def _as_shown(self, text: str) -> str:
        """Return the text with what stands for the characters that this terminal's encoding lacks,
        so that they are measured right."""
        encoding = getattr(self._stdout, "encoding", None) or "utf-8"
        return (
            text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)
        )


class PromptScreen(Terminal):
    """A terminal without any way to know what is being typed: what was typed before an arrival
    stands above it, but counts."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        super().__init__(stdin, stdout)
        self._reading = False  # whether prompt and typed line stand on the screen

    def show(self, text: str, key: str = "", settled: str = "") -> None:
        with self._lock:
            rows = "".join(row + "\n" for row in self._rows(text, self._columns()))
            self._write("\n" + rows + self._prompt if self._reading else rows)

    def read_line(self, prompt: str) -> str | Block:
        with self._lock:
            self._prompt, self._reading = prompt, True
        try:
            return input(prompt)
        finally:
            with self._lock:
                self._reading = False

    @contextlib.contextmanager
    def aside(self) -> Iterator[bool]:
        if self._reading:
            self._write("\n")
        yield True
        self.redraw()

    def redraw(self) -> bool:
        if self._reading:
            self._write(self._prompt)
        return True
