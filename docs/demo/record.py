"""Record a session of a server and two clients, and draw it: `session.txt` and `session.svg` beside
this file.

    python docs/demo/record.py [FOLDER]

Runs the real programs in pseudo-terminals (so on Linux and macOS only), types like a person, and
keeps what their screens show in the end. Only the server's port and this machine's address are
shown as those of README: 192.168.1.20:9876. Uses the standard library alone.
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
import tempfile
import termios
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

assert sys.platform != "win32", "there are no pseudo-terminals"

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
SECONDS: Final = 30.0
SHOWN: Final = ("192.168.1.20", "9876")
CLIENT_ROWS: Final = 10
"""So many rows of a client's window are in the picture, the last ones: all of it fits a screen."""
# Ctrl-C reaches a program only from its controlling terminal; the program makes it so itself,
# before it becomes what it shall be.
_TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


# --- A terminal's screen --------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How a cell looks; `colour` is 30 to 37 or 90 to 97, as in the sequences."""

    colour: int | None = None
    bold: bool = False
    faint: bool = False
    inverse: bool = False

    def after(self, codes: str) -> Style:
        """Return the style that a control sequence makes of this one."""
        style = self
        for code in (int(word) for word in (codes or "0").split(";")):
            if code == 0:
                style = Style()
            elif code == 39:
                style = Style(None, style.bold, style.faint, style.inverse)
            elif 30 <= code <= 37 or 90 <= code <= 97:
                style = Style(code, style.bold, style.faint, style.inverse)
            else:
                style = Style(
                    style.colour,
                    style.bold or code == 1,
                    style.faint or code == 2,
                    style.inverse or code == 7,
                )
        return style


Cell = tuple[str, Style]
BLANK: Final[Cell] = (" ", Style())


class Screen:
    """What a terminal shows after it was sent some text; rows grow without end. Raises ValueError
    for a sequence it does not know."""

    _SEQUENCE: Final = re.compile(
        r"\x1b\[([?\d;]*)([A-Za-z@])|\x1b[=>]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    )

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[list[Cell]] = [[]]
        self.row = self.column = 0
        self._style = Style()

    def feed(self, text: str) -> None:
        """Show some text."""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._character(text[at])
                at += 1
                continue
            found = self._SEQUENCE.match(text, at)
            if found is None:
                raise ValueError(f"an unknown sequence: {text[at : at + 12]!r}")
            if found[2]:
                self._do(found[2], found[1])
            at = found.end()

    def filled(self) -> list[list[Cell]]:
        """Return the rows without the empty ones at the end."""
        rows = [list(row) for row in self.rows]
        while rows and not "".join(letter for letter, _ in rows[-1]).strip():
            rows.pop()
        return rows

    def _cells(self) -> list[Cell]:
        while len(self.rows) <= self.row:
            self.rows.append([])
        cells = self.rows[self.row]
        cells.extend(BLANK for _ in range(self.columns - len(cells)))
        return cells

    def _character(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row += 1
            self._cells()
        elif letter == "\b":
            self.column = max(0, min(self.column, self.columns - 1) - 1)
        elif letter >= " ":
            width = (
                0
                if unicodedata.combining(letter)
                else 2
                if unicodedata.east_asian_width(letter) in "WF"
                else 1
            )
            if (
                self.column + width > self.columns
            ):  # the last column is left only when something follows
                self.row, self.column = self.row + 1, 0
            cells = self._cells()
            if width:
                cells[self.column : self.column + width] = [
                    (letter, self._style),
                    ("", self._style),
                ][:width]
                self.column += width
            else:
                before = cells[self.column - 1]
                cells[self.column - 1] = (before[0] + letter, before[1])

    def _do(self, kind: str, numbers: str) -> None:
        if kind == "m":
            self._style = self._style.after(numbers)
            return
        count = int(numbers) if numbers.isdigit() else 1
        at, cells = min(self.column, self.columns - 1), self._cells()
        if kind == "A":
            self.row, self.column = max(0, self.row - count), at
        elif kind == "C":
            self.column = min(self.columns - 1, at + count)
        elif kind == "D":
            self.column = max(0, at - count)
        elif kind in "JK" and not numbers:
            cells[at:] = [BLANK] * (self.columns - at)
            if kind == "J":
                del self.rows[self.row + 1 :]
        elif kind == "P":
            cells[at:] = [*cells[at + count :], *[BLANK] * count]
        elif kind == "@":
            cells[at:] = ([BLANK] * count + cells[at:])[: self.columns - at]
        elif kind not in "hl":
            raise ValueError(f"an unknown sequence: {numbers}{kind}")


# --- A program in a window ------------------------------------------------------------------------


class Window:
    """A program in a pseudo-terminal; `typed` stands in front of what it shows, as a shell would
    show it."""

    def __init__(
        self, title: str, command: list[str], typed: str, folder: Path, columns: int
    ) -> None:
        self.title, self.typed, self.columns = title, typed, columns
        self.output = ""
        self._seen = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CHAT_") and name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            start_new_session=True,
            env={
                **kept,
                "TERM": "xterm",
                "LC_ALL": "C.UTF-8",
                "INPUTRC": "/dev/null",
                "CHAT_PORT": "0",
                "XDG_CONFIG_HOME": str(folder),
                "HOME": str(folder),
            },
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Type letter by letter, waiting until the program shows them."""
        for letter in text:
            os.write(self._master, letter.encode())
            self.read(0.02)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and answer it."""
        self.sees(question)
        os.write(self._master, f"{text}\n".encode())

    def read(self, seconds: float) -> None:
        """Take what comes within some time."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program has ended
                return
            self.output += self._decoder.decode(data)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the output makes a condition true."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.title}: {what!r} did not come. It showed:\n{self.output}"
                )
            self.read(0.05)

    def sees(self, words: str) -> None:
        """Wait until the program has shown these words, after those that were waited for before."""
        self.wait(lambda: words in _plain(self.output)[self._seen :], words)
        self._seen = _plain(self.output).index(words, self._seen) + len(words)

    def shot(self, replaced: list[tuple[str, str]]) -> list[list[Cell]]:
        """Return the rows of its screen now, after all of `replaced` (pattern, text) is done to the
        output."""
        text = self.output
        for pattern, instead in replaced:
            text = re.sub(pattern, instead, text)
        screen = Screen(self.columns)
        screen.feed(f"$ {self.typed}\r\n{text}")
        return screen.filled()

    def end(self) -> None:
        """End the program, as Ctrl-C does."""
        for _ in range(50):
            if self._process.poll() is not None:
                break
            os.write(self._master, b"\x15\x03")
            deadline = time.monotonic() + 0.5
            while self._process.poll() is None and time.monotonic() < deadline:
                self.read(0.02)
        self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._master)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z@]", "", text)


def record() -> list[tuple[str, list[list[Cell]]]]:
    """Play the session. Return each window's title and rows, in the moment when a line arrives
    above one that is being typed."""
    with tempfile.TemporaryDirectory(prefix="chat-demo-") as temporary:
        folders = {name: Path(temporary) / name for name in ("teacher", "ada", "grace")}
        for folder in folders.values():
            folder.mkdir()
        (folders["grace"] / "tides.csv").write_text(
            "hour,metres\n" + "".join(f"{hour},{hour % 12 / 8:.2f}\n" for hour in range(6000))
        )
        windows: list[Window] = []
        try:
            teacher = Window(
                "The teacher",
                [str(ROOT / "chat_server.py")],
                "python chat_server.py",
                folders["teacher"],
                92,
            )
            windows.append(teacher)
            teacher.sees("Stop:")
            found = re.search(r"listening on \S+:(\d+)", teacher.output)
            assert found is not None
            port = found[1]
            for name in ("ada", "grace"):
                windows.append(
                    Window(
                        name.title(),
                        [str(ROOT / "chat_client.py"), f"127.0.0.1:{port}"],
                        f"python chat_client.py {SHOWN[0]}:{SHOWN[1]}",
                        folders[name],
                        92,
                    )
                )
            _act(windows[1], windows[2], teacher)
            replaced = [
                (rf"127\.0\.0\.1(:| port ){port}", rf"{SHOWN[0]}\g<1>{SHOWN[1]}"),
                (rf"(?<=[: ]){port}\b", SHOWN[1]),
                (r"from 127\.0\.0\.1", f"from {SHOWN[0]}"),
                (r" \(this machine's address on [^)]+\)", ""),
                (rf"Where that one doesn't answer.*\r\n(?:    \S+:{SHOWN[1]} .*\r\n)*", ""),
                (re.escape(str(folders["teacher"])), "/home/teacher/chat"),
                (r"(chat_client\.py )\S+:9876", rf"\g<1>{SHOWN[0]}:{SHOWN[1]}"),
                (r"(?<=ufw allow )\d+", SHOWN[1]),
            ]
            return [(window.title, window.shot(replaced)) for window in windows]
        finally:
            for window in reversed(windows):
                window.end()


def _act(ada: Window, grace: Window, teacher: Window) -> None:
    """Play the script: who says what."""
    for name, window in (("ada", ada), ("grace", grace)):
        window.answer("[login/register] ", "register")
        window.answer("Name: ", name)
        window.answer("Password: ", f"{name}'s secret")
        window.answer("Password again: ", f"{name}'s secret")
        window.sees(f"You are {name}")
        window.sees("You are in lobby.")
        window.sees("[lobby] ")
    ada.sees("grace is on.")
    ada.type("Hello! Who measured the tides yesterday?\n")
    ada.sees("(sent 1)")
    grace.sees("Hello! Who measured")
    grace.type("I did, @ada. Here is the table:\n")
    grace.sees("(sent 2)")
    ada.sees("Here is the table:")
    grace.type("/send tides.csv\n")
    grace.sees("SHA-256")
    teacher.sees("file stored")
    ada.sees("put the file tides.csv")
    ada.type("/get tides.csv\n")
    ada.sees("downloads/tides.csv")
    ada.type("Thank you, I will draw the cur")
    grace.sees("ada is typing")
    grace.type("The gauge stood at 1.25 m at six.\n")
    grace.sees("(sent 3)")
    ada.sees("The gauge stood at 1.25 m at six.")
    ada.sees("Thank you, I will draw the cur")
    teacher.read(0.2)


# --- Text and picture -----------------------------------------------------------------------------


def as_text(rows: list[list[Cell]]) -> str:
    """Return the rows without their colours."""
    return "".join("".join(letter for letter, _ in row).rstrip() + "\n" for row in rows)


_PALETTE: Final = {
    30: "#45475a",
    31: "#e5484d",
    32: "#5fb36a",
    33: "#d8a657",
    34: "#5b9bd5",
    35: "#c586c0",
    36: "#4fb3bf",
    37: "#d4d4d4",
    90: "#8a8a8a",
    91: "#ff6b6b",
    92: "#7ed68a",
    93: "#ffd479",
    94: "#8ab4f8",
    95: "#dda0dd",
    96: "#7fdbe4",
    97: "#ffffff",
}
CELL: Final = 7.8
ROW: Final = 17
PAD: Final = 12
BAR: Final = 26
GAP: Final = 14
PAPER: Final = "#1e1f29"
INK: Final = "#e6e6e6"


def as_svg(windows: list[tuple[str, list[list[Cell]]]]) -> str:
    """Draw the windows one above the other. Each run of letters has its width written down, so that
    the columns stand in any font."""
    width = max(len(row) for _, rows in windows for row in rows) * CELL + 2 * PAD
    parts: list[str] = []
    top = 0
    for title, rows in windows:
        parts.append(f'<g transform="translate(0 {top})">{_window(title, rows, width)}</g>')
        top += BAR + len(rows) * ROW + 2 * PAD + GAP
    height = top - GAP
    names = ", ".join(title for title, _ in windows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'width="{width:.0f}" height="{height}" role="img">\n'
        f"<title>Three terminal windows: {escape(names)}</title>\n<desc>The same session stands "
        "as text in session.txt.</desc>\n"
        "<g font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        f'font-size="13" fill="{INK}">\n' + "\n".join(parts) + "\n</g>\n</svg>\n"
    )


def _window(title: str, rows: list[list[Cell]], width: float) -> str:
    height = BAR + len(rows) * ROW + 2 * PAD
    out = [f'<rect width="{width:.0f}" height="{height}" rx="8" fill="{PAPER}"/>']
    out += [
        f'<circle cx="{18 + 18 * number}" cy="{BAR / 2:.0f}" r="5" fill="#565869"/>'
        for number in range(3)
    ]
    out.append(
        f'<text x="{width / 2:.0f}" y="{BAR - 9}" text-anchor="middle" '
        f'fill="#a9abb8">{escape(title)}</text>'
    )
    for number, row in enumerate(rows):
        baseline = BAR + PAD + number * ROW + 12
        for start, text, cells, style in _runs(row):
            out.append(_run(PAD + start * CELL, baseline, text, cells, style))
    return "\n".join(out)


def _runs(row: list[Cell]) -> list[tuple[int, str, int, Style]]:
    """Return where each run of one style begins, its letters and its width in cells; blank ones are
    left out."""
    runs: list[tuple[int, str, int, Style]] = []
    at = 0
    while at < len(row):
        end = at
        while end < len(row) and row[end][1] == row[at][1]:
            end += 1
        text = "".join(letter for letter, _ in row[at:end])
        shown = text if row[at][1].inverse else text.rstrip()
        if shown:
            runs.append((at, shown, end - at - (len(text) - len(shown)), row[at][1]))
        at = end
    return runs


def _run(x: float, y: float, text: str, cells: int, style: Style) -> str:
    width = cells * CELL
    colour = _PALETTE[style.colour] if style.colour is not None else INK
    paint = "".join(
        (
            f' fill="{colour}"' if colour != INK else "",
            ' font-weight="bold"' * style.bold,
            ' opacity="0.65"' * style.faint,
        )
    )
    if style.inverse:
        box = f'<rect x="{x:.1f}" y="{y - 12}" width="{width:.1f}" height="{ROW}" fill="{colour}"/>'
        paint = f' fill="{PAPER}"' + ' font-weight="bold"' * style.bold
    else:
        box = ""
    return (
        f'{box}<text x="{x:.1f}" y="{y}" textLength="{width:.1f}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve"{paint}>{escape(text)}</text>'
    )


def main() -> int:
    """Record the session, and write both files."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    windows = record()
    text = "\n".join(f"--- {title} ---\n{as_text(rows)}" for title, rows in windows)
    (target / "session.txt").write_text(text, "utf-8")
    drawn = [windows[0], *((title, rows[-CLIENT_ROWS:]) for title, rows in windows[1:])]
    (target / "session.svg").write_text(as_svg(drawn), "utf-8")
    print(f"{target / 'session.txt'} and {target / 'session.svg'} are written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
