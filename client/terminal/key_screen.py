"""The screen where lines are shown above the line that is being typed, which is never torn.

Owns standard input and output while the client runs. Knows nothing of chat. `show`, `notice`,
`ring` and `being_typed` may be called by any thread, the rest by the one that reads what is typed.

Nothing is drawn over the whole screen, so that it can be scrolled, copied, and read aloud by a
screen reader.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TextIO

from client.base.deadline import Deadline
from client.base.text import cells, cut, end_of, visible
from client.terminal.completion import Choice
from client.terminal.keys import PASTE_OFF, PASTE_ON, TICK, WHERE, Echo, Keys, Pasted, Position
from client.terminal.line_editor import LineEditor
from client.terminal.pasting import Block, lines_of, question, split
from client.terminal.plain_screens import Complete, Terminal

STEADY_SECONDS: Final = 0.15
"""So long a new width must last before anything is drawn for it: a window that is dragged has many,
and each drawing would meet the next."""
_FLOWS: Final = frozenset(
    ("TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION", "TERM_PROGRAM")
)
"""Variables of terminals that break their lines anew when they get another width."""
ANSWER_SECONDS: Final = 0.5
"""So long a terminal may take to say where its cursor stands; over a slow line it takes a while."""


class Line(NamedTuple):
    """What is shown and stays, as `PlainScreen.show` takes it."""

    text: str
    key: str = ""
    settled: str = ""


@dataclass
class Drawn:
    """What stands on the screen, from the notices down: how it was drawn, and for which width."""

    notices: list[str]
    before: str  # the prompt, and the typed line as far as the cursor
    columns: int

    def up(self, columns: int, *, flows: bool) -> tuple[int, int]:
        """Return how many rows the cursor stands below the first of them, and in which column, in
        a terminal that has so many columns now. `flows` is whether it has broken its lines anew,
        as most do, or only cut them off."""
        row, column = end_of(self.before, columns if flows else self.columns)
        if not flows:
            return len(self.notices) + row, min(column, columns - 1)
        rows = sum(max(1, -(-cells(notice) // columns)) for notice in self.notices)
        return rows + row, column


class KeyScreen(Terminal):
    """A terminal whose keys come one by one: the typed line is taken away, the arrival shown, and
    the typed line put back below.

    From above: what stays, whose last line may have a key; the notices; the prompt with the typed
    line.
    """

    can_replace = True

    def __init__(
        self, stdin: TextIO, stdout: TextIO, keys: Keys, *, tells_position: bool = True
    ) -> None:
        """`tells_position` is whether the terminal can be asked where its cursor stands."""
        super().__init__(stdin, stdout)
        self._keys = keys
        self._tells_position = tells_position
        self._echo = Echo(stdin)
        self._editor = LineEditor()
        self._given: deque[str] = deque()  # keys that come before those of the terminal
        self._deferred: list[Line] = []
        self._key = ""  # that of the line right above notices and prompt
        self._key_rows = 0  # how many rows it takes
        self._settled = ""  # what takes its place once something else comes below
        # how many rows the line takes that was just finished, and for which width; 0 where
        # something stands below it
        self._finished = 0, 0
        self._notices: dict[str, str] = {}
        self._is_line = False  # whether what is typed answers `read_line`, and no question
        self._drawn: Drawn | None = None  # None while no prompt stands on the screen
        self._asked: Deadline | None = None  # until when the terminal may say where the cursor is
        self._asked_for = 0  # the width about which it is asked
        # whether the terminal breaks its lines anew; None until that is known
        self._flows = True if not tells_position or _FLOWS & os.environ.keys() else None
        self._steady: Deadline | None = None  # when it is asked, if that is the width until then

    # --- For any thread ---

    def show(self, text: str, key: str = "", settled: str = "") -> None:
        with self._lock:
            self._deferred.append(Line(text, key, settled))
            self._draw_deferred()

    def replace(self, text: str, key: str, settled: str = "") -> bool:
        with self._lock:
            last = self._deferred[-1].key if self._deferred else self._key
            if key != last:
                return False
            self._deferred.append(Line(text, key, settled))
            self._draw_deferred()
            return True

    def notice(self, text: str, key: str) -> None:
        with self._lock:
            if text != self._notices.get(key, ""):
                self._notices[key] = text
                if not text:
                    del self._notices[key]
                if self._drawn is not None:
                    self._draw_deferred()

    def set_prompt(self, prompt: str) -> None:
        with self._lock:
            if self._is_line and prompt != self._prompt:
                self._prompt = prompt
                if self._drawn is not None:
                    self._draw([])

    def being_typed(self) -> str:
        with self._lock:
            return self._editor.text if self._drawn is not None else ""

    def take_keys(self) -> None:
        if self._drawn is not None:
            self._keys.take_again()

    def redraw(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._drawn is not None:
                self._begin_anew()
        finally:
            self._lock.release()
        return True

    @contextlib.contextmanager
    def aside(self) -> Iterator[bool]:
        if not self._lock.acquire(blocking=False):
            yield False
            return
        try:
            was_drawn = self._drawn is not None
            if was_drawn:
                self._write(self._below() + PASTE_OFF + "\n")
            yield True
            if was_drawn:
                self._begin_anew()
        finally:
            self._lock.release()

    # --- For the thread that reads what is typed ---

    def ask(self, question: str) -> str:
        return str(self._read(question, keep=False))

    def read_line(self, prompt: str) -> str | Block:
        return self._read(prompt, keep=True)

    def typed(self) -> str:
        return self._editor.text

    def take_back(self) -> bool:
        with self._lock:
            rows, columns = self._finished
            self._finished = 0, 0
            if not rows or columns != self._columns():
                return False
            self._write(f"\x1b[{rows}A\r\x1b[J")
            return True

    def complete_with(self, complete: Complete) -> None:
        self._editor.complete = complete

    def close(self) -> None:
        self._echo.set(True)

    def _read(self, prompt: str, *, keep: bool) -> str | Block:
        with self._taking_keys():
            with self._lock:
                self._prompt, self._is_line, self._finished = prompt, keep, (0, 0)
                self._editor.begin()
                self._write(PASTE_ON + self._put_back(self._columns()))
                self._draw_deferred()
            try:
                while True:
                    line = self._take(self._next_key(), keep)
                    if line is not None:
                        return line
            except (KeyboardInterrupt, EOFError):
                self._end_line()
                raise

    @contextlib.contextmanager
    def _taking_keys(self) -> Iterator[None]:
        self._keys.begin()
        try:
            yield
        finally:
            self._keys.end()
            self._echo.set(False)
            with self._lock:
                self._drawn = self._asked = self._steady = None
                self._is_line = False
                self._key = ""  # what is above the prompt is no longer the line with the key
                self._write(PASTE_OFF)
                self._draw_deferred()

    def _next_key(self) -> str:
        return self._given.popleft() if self._given else self._keys.next_key()

    def _take(self, key: str, keep: bool) -> str | Block | None:
        if isinstance(key, Pasted):
            return self._take_paste(key, keep)
        with self._lock:
            if key == TICK:
                self._draw_deferred()
                return None
            if isinstance(key, Position):
                self._take_position(key.column)
                return None
            line = self._editor.press(key, keep=keep)
            if line is not None:
                self._end("\n")
            elif self._appended(key):
                self._write(key)
            elif not (self._given or self._keys.waits()):
                self._draw(self._choices())
            return line

    def _appended(self, key: str) -> bool:
        """Return whether this key was put to the end of a line that is drawn, so that no more than
        itself has to be shown; note that it was."""
        drawn, editor = self._drawn, self._editor
        if (
            drawn is None
            or not (len(key) == 1 and " " <= key < "\x7f" and editor.text.endswith(key))
            or editor.cursor < len(editor.text)
            or drawn.columns != self._columns()
            or drawn.before + key != self._before_and_after(drawn.columns)[0]
            or end_of(drawn.before + key, drawn.columns)[1] == 0
        ):
            return False
        drawn.before += key
        return True

    def _take_paste(self, pasted: str, keep: bool) -> str | Block | None:
        """Take text that nobody typed: no key of it is obeyed."""
        lines, ended = split(pasted)
        if len(lines) == 1 or not keep:
            with self._lock:
                self._editor.insert(lines[0])
                self._draw([])
            return None
        if len(lines) == 2:
            end = ["\r"] if ended else []
            self._given.extend([Pasted(lines[0]), "\r", Pasted(lines[1]), *end])
            return None
        return self._ask_about(pasted)

    def _ask_about(self, pasted: str) -> Block | None:
        """Ask what is to become of many lines; return them where they are to be said."""
        editor, prompt = self._editor, self._prompt
        before, after = editor.text[: editor.cursor], editor.text[editor.cursor :]
        lines, _ = split(before + pasted + after)
        with self._lock:
            self._prompt, self._is_line = question(lines), False
            editor.begin()
            self._draw([])
        block = self._answer(lines)
        with self._lock:
            self._prompt, self._is_line = prompt, True
            if block:
                self._take_away()
                self._draw([Line(block.summary(prompt))])
                return block
            editor.insert(before + after)
            editor.cursor = len(before)
            self._draw([])
        return None

    def _answer(self, lines: list[str]) -> Block:
        """Wait for a key that is an answer. Ctrl-C is one: not to send them."""
        try:
            while True:
                key = self._next_key()
                block = lines_of(lines, key)
                if block is not None:
                    return block
                if key == TICK or isinstance(key, Position):
                    self._take(key, keep=False)
        except KeyboardInterrupt:
            return Block()

    # --- Drawing; the lock is held ---

    def _draw_deferred(self) -> None:
        """Show what waits, unless it must be known first where the cursor stands."""
        texts = self._take_deferred()
        if texts or (self._drawn is not None and self._is_stale()):
            self._draw(texts)

    def _take_deferred(self) -> list[Line]:
        texts, self._deferred = self._deferred, []
        return texts

    def _is_stale(self) -> bool:
        """Return whether the screen has another width or other notices than were drawn."""
        drawn, columns = self._drawn, self._columns()
        assert drawn is not None
        return drawn.columns != columns or drawn.notices != self._notice_rows(columns)

    def _draw(self, texts: list[Line]) -> None:
        columns = self._columns()
        if self._drawn is not None and self._drawn.columns != columns and not self._knows(columns):
            self._deferred = [*texts, *self._deferred]
            return
        out = self._taken_away(columns)
        for line in texts:
            self._finished = 0, 0
            rows = self._rows(line.text, columns)
            goes_on = line.key == self._key
            if self._key and (goes_on or self._settled):
                out += f"\x1b[{self._key_rows}A\r\x1b[J"
                before = [] if goes_on else self._rows(self._settled, columns)
                out += "".join(row + "\n" for row in before)
            self._key, self._key_rows, self._settled = line.key, len(rows), line.settled
            out += "".join(row + "\n" for row in rows)
        self._write(out + (self._put_back(columns) if self._drawn is not None else ""))

    def _knows(self, columns: int) -> bool:
        """Return whether it is known where the cursor stands after the width has changed; the
        terminal is asked where it isn't."""
        assert self._drawn is not None
        if not self._tells_position or (self._asked is not None and self._asked.is_over()):
            self._settle(None)
            return True
        if self._asked_for != columns or self._steady is None:
            self._asked_for, self._steady, self._asked = columns, Deadline(STEADY_SECONDS), None
        elif self._asked is None and self._steady.is_over():
            self._asked = Deadline(ANSWER_SECONDS)
            self._write(WHERE)
        return False

    def _take_position(self, column: int) -> None:
        """Take the terminal's answer, unless its width has changed once more since it was asked."""
        if self._asked_for == self._columns():
            self._settle(column)
        self._draw(self._take_deferred())

    def _settle(self, column: int | None) -> None:
        """Note where the notices begin after the width has changed, by the column in which the
        cursor is now; None where that could not be had."""
        drawn, columns = self._drawn, self._columns()
        self._asked = self._steady = None
        if drawn is None or drawn.columns == columns:
            return
        flowing, standing = (drawn.up(columns, flows=flows) for flows in (True, False))
        if column is not None and flowing[1] != standing[1]:
            self._flows = column == flowing[1]
        if self._flows is None:  # rather too little is taken away
            up = min(flowing[0], standing[0])
        else:
            up = flowing[0] if self._flows else standing[0]
        self._key = ""
        self._drawn = Drawn([""] * up, "", columns)

    def _taken_away(self, columns: int) -> str:
        """Return the sequence that clears notices, prompt and the typed line, from where the cursor
        stands."""
        if self._drawn is None:
            return ""
        rows = self._drawn.up(columns, flows=True)[0]
        return (f"\x1b[{rows}A" if rows else "") + "\r\x1b[J"

    def _put_back(self, columns: int) -> str:
        before, after = self._before_and_after(columns)
        text, at = before + after, end_of(before, columns)
        end = end_of(text, columns)
        if text and not end[1]:
            text += " \r"  # at the last column a terminal stays in the row until something follows
        # up and to the column: one step left at a time would stop at the beginning of a row
        if at != end:
            up = f"\x1b[{end[0] - at[0]}A" if end[0] > at[0] else ""
            text += up + "\r" + (f"\x1b[{at[1]}C" if at[1] else "")
        rows = self._notice_rows(columns)
        self._drawn = Drawn(rows, before, columns)
        return "".join(row + "\n" for row in rows) + text

    def _below(self) -> str:
        """Return the sequence that goes from the cursor to the last row of the typed line."""
        assert self._drawn is not None
        columns = self._drawn.columns
        before, after = self._before_and_after(columns)
        down = end_of(before + after, columns)[0] - end_of(before, columns)[0]
        return f"\x1b[{down}B" if down else ""

    def _before_and_after(self, columns: int) -> tuple[str, str]:
        """Return the prompt with the typed line as far as the cursor, and the rest: of a line that
        is longer than the screen only the part around the cursor."""
        editor = self._editor
        prompt = visible(editor.label) or self._prompt
        room = columns * max(1, self._lines() - 2 - len(self._notices)) - cells(prompt) - 4
        before = self._as_shown(visible(editor.text[max(0, editor.cursor - room) : editor.cursor]))
        after = self._as_shown(visible(editor.text[editor.cursor : editor.cursor + room]))
        is_cut = editor.cursor > room, len(editor.text) - editor.cursor > room
        if any(is_cut) or cells(before) + cells(after) > room:
            keep = max(room - cells(after), room * 3 // 4)
            before = cut(before, keep, from_end=True, mark=".." if is_cut[0] else "")
            after = cut(after, room - min(keep, cells(before)), mark=".." if is_cut[1] else "")
        return prompt + before, after

    def _notice_rows(self, columns: int) -> list[str]:
        return [row for notice in self._notices.values() for row in self._rows(notice, columns)]

    def _choices(self) -> list[Line]:
        """Return the words among which a second Tab could not decide, to stand above the line."""
        choices = self._editor.choices
        told = [choice.shown for choice in choices if isinstance(choice, Choice)]
        text = "\n".join(told) if told else "  ".join(map(visible, choices))
        return [Line(text)] if choices else []

    def _end_line(self) -> None:
        """Leave the cursor at the end of a line that is broken off, as shells do."""
        with self._lock:
            if self._drawn is not None:
                self._end("")

    def _end(self, below: str) -> None:
        """Leave the typed line as it is, without notices; what arrives now must not clear it."""
        self._take_away()
        columns = self._columns()
        line = "".join(self._before_and_after(columns))
        self._write(line + below)
        if below:
            row, column = end_of(line, columns)
            self._finished = row + (1 if column or not row else 0), columns

    def _take_away(self) -> None:
        """Take the typed line away for good."""
        columns = self._columns()
        if self._drawn is not None and self._drawn.columns != columns:
            self._settle(None)
        self._write(self._taken_away(columns))
        self._drawn = None

    def _begin_anew(self) -> None:
        """Draw the typed line in a row of its own: others have written meanwhile."""
        self._key = ""
        self._asked = self._steady = None
        self._write("\r\x1b[J" + PASTE_ON + self._put_back(self._columns()))
