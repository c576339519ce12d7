"""The real client under a pseudo-terminal, and a small model of the terminal's screen to compare
with.

Only for systems with pseudo-terminals. Ends no process that it did not start.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.patience import patience

ROOT = Path(__file__).resolve().parents[2]
SECONDS = patience(15.0)
# Ctrl-C reaches a program only from its controlling terminal; the program makes it so itself,
# before it becomes the client.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z@])|\x1b[=>]|\x1b\][^\x07]*\x07")
_BEGUN = re.compile(r"\x1b(\[[?\d;]*)?|\x1b\][^\x07]*")


class TerminalModel:
    """What a terminal of so many columns shows after it was sent some text; rows grow without
    end."""

    def __init__(self, columns: int, *, flows: bool = False) -> None:
        """`flows` is whether it breaks its lines anew when it gets another width, as most do."""
        self.columns = columns
        self.flows = flows
        self.answer: Callable[[str], object] = lambda text: None
        """Takes what the terminal says by itself, as if it were typed."""
        # the rows whose line goes on in the next one, and how many cells of each belong to it
        self._goes_on: dict[int, int] = {}
        self.rows: list[list[str]] = [[]]
        self.row = 0
        self.column = 0
        self._rest = ""

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            match = _SEQUENCE.match(text, at)
            if match is None and _BEGUN.fullmatch(text, at):
                self._rest = text[at:]  # the rest comes with the next bytes
                return
            if match is None:
                assert text[at] != "\x1b", (
                    f"a sequence that the model does not know: {text[at : at + 12]!r}"
                )
                self._character(text[at])
                at += 1
            else:
                if match.group(2):
                    self._sequence(match.group(2), match.group(1))
                at = match.end()

    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]

    def _cells(self) -> list[str]:
        while len(self.rows) <= self.row:
            self.rows.append([])
        cells = self.rows[self.row]
        cells.extend(" " for _ in range(self.columns - len(cells)))
        return cells

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            self._cells()
        elif character == "\b":
            self.column = max(0, min(self.column, self.columns - 1) - 1)
        elif character >= " ":
            if character == "\ufe0f":  # makes the symbol before it a picture of two columns
                self._widen()
                return
            width = (
                0
                if unicodedata.combining(character)
                else 2
                if unicodedata.east_asian_width(character) in "WF"
                else 1
            )
            if (
                self.column + width > self.columns
            ):  # the last column is left only when something follows
                self._goes_on[self.row] = self.column
                self.row, self.column = self.row + 1, 0
            cells = self._cells()
            if width:
                cells[self.column] = character
                if width == 2:
                    cells[self.column + 1] = ""
                self.column += width
            else:
                cells[self.column - 1] += character

    def _widen(self) -> None:
        cells = self._cells()
        at = self.column - 1
        cells[at] += "\ufe0f"
        if not cells[at].startswith("\ufe0f") and self.column < self.columns:
            cells[self.column] = ""
            self.column += 1

    def resize(self, columns: int) -> None:
        """Another width: the rows are cut off, or their lines broken anew."""
        if self.flows:
            self._flow(columns)
            return
        for cells in self.rows:
            cells.extend(" " for _ in range(columns - len(cells)))
            del cells[columns:]
        self.columns = columns
        self.column = min(self.column, columns - 1)

    def _flow(self, columns: int) -> None:
        rows, goes_on, at = self.rows, self._goes_on, (self.row, self.column)
        self.rows, self._goes_on, self.columns = [[]], {}, columns
        self.row = self.column = 0
        line: list[str] = []
        offset, cursor = None, (0, 0)  # of the cursor in its line, and where it comes to stand
        for number, cells in enumerate(rows):
            if number == at[0]:
                offset = len(line) + at[1]
            if number in goes_on:
                line += cells[: goes_on[number]]
                continue
            line += cells
            while line and line[-1] == " " and (offset is None or len(line) > offset):
                line.pop()
            for place, cell in enumerate(line):
                if place == offset:
                    cursor = self.row, self.column
                self._character(cell) if cell else None
            if offset is not None and offset >= len(line):
                cursor = self.row, self.column
            line, offset = [], None
            self._character("\r")
            self._character("\n")
        self.row, self.column = cursor
        del self.rows[-1]

    def _sequence(self, kind: str, numbers: str) -> None:
        count = int(numbers) if numbers.isdigit() else 1
        at = min(self.column, self.columns - 1)
        cells = self._cells()
        if kind == "A":
            self.row, self.column = max(0, self.row - count), at
        elif kind == "B":
            self.row, self.column = self.row + count, at
        elif kind == "n":
            assert numbers == "6", numbers
            self.answer(f"\x1b[{self.row + 1};{at + 1}R")
        elif kind == "C":
            self.column = min(self.columns - 1, at + count)
        elif kind == "D":
            self.column = max(0, at - count)
        elif kind in "JK":
            assert not numbers, numbers
            cells[at:] = [" "] * (self.columns - at)
            self._goes_on.pop(self.row, None)
            if kind == "J":
                del self.rows[self.row + 1 :]
                self._goes_on = {row: used for row, used in self._goes_on.items() if row < self.row}
        elif kind == "P":
            cells[at:] = [*cells[at + count :], *[" "] * count]
        elif kind == "@":
            cells[at:] = ([" "] * count + cells[at:])[: self.columns - at]
        else:
            assert kind in "hlm", f"a sequence that the model does not know: {kind}"


class PtyClient:
    """`chat_client.py` in a pseudo-terminal; a context manager that always ends it."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        columns: int = 80,
        environment: dict[str, str] | None = None,
        before: str = "",
        flows: bool = False,
    ) -> None:
        """`before` is Python that runs in the process before the client does; `flows` as in
        `TerminalModel`."""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.output = ""
        self._reading = threading.Lock()
        self.model = TerminalModel(columns, flows=flows)
        self.model.answer = self.type
        program = [str(ROOT / "chat_client.py")]
        if before:
            start = (
                f"import sys; sys.path.insert(0, {str(ROOT)!r}); {before}; "
                "import chat_client; sys.exit(chat_client.main())"
            )
            program = ["-c", start]
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._seen = 0
        cleaned = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "INPUTRC")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            start_new_session=True,
            env={
                **cleaned,
                "TERM": "xterm",
                "LC_ALL": "C.UTF-8",
                "INPUTRC": "/dev/null",
                **(environment or {}),
            },
        )
        os.close(slave)

    def resize(self, columns: int) -> None:
        """Another width: the terminal has it, and the program is told."""
        self.read(0.05)
        self.model.resize(columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def read(self, seconds: float) -> bool:
        """Take what comes within some time; False at the end. Any thread: a script of the server
        may read while the test does, and of two that see bytes one would wait for the next."""
        with self._reading:
            if select.select([self.master], [], [], seconds)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # Linux says so when the last process has closed its side
                    data = b""
                if not data:
                    return False
                text = self._decoder.decode(data)
                self.output += text
                self.model.feed(text)
        return True

    def wait(self, condition: Callable[[], object], what: Any) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            more = self.read(0.05)
            assert condition() or (more and time.monotonic() < deadline), (
                f"{what!r} did not come; screen:\n{self.screen()}"
            )

    def sees(self, words: str) -> None:
        """Wait until the program has written these words, after those that were waited for
        before."""
        self.wait(lambda: words in self.output[self._seen :], words)
        self._seen = self.output.index(words, self._seen) + len(words)

    def shows(self, *last_lines: str) -> None:
        """Wait until the last lines of the screen are these."""
        self.wait(lambda: self._filled()[-len(last_lines) :] == list(last_lines), last_lines)

    def _filled(self) -> list[str]:
        lines = self.model.lines()
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def screen(self) -> str:
        return "\n".join(self._filled())

    def log_in(self, name: str, password: str, *, register: bool = False) -> None:
        self.sees("[login/register] ")
        self.type("register\n" if register else "login\n")
        self.sees("Name: ")
        self.type(f"{name}\n")
        for question in ("Password: ", "Password again: ") if register else ("Password: ",):
            self.sees(question)
            self.type(f"{password}\n")
        self.sees(f"You are {name}")
        self.sees("[lobby] ")

    def ends(self) -> int:
        """Wait until the program has ended; its exit status."""
        deadline = time.monotonic() + SECONDS
        while self.read(0.05) and self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; screen:\n{self.screen()}"
        return self.process.wait(SECONDS)

    def __enter__(self) -> PtyClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        os.close(self.master)
