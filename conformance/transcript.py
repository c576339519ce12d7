"""What went over the connections of one case: lines with the time, for the report.

Owns the lines, in bounded memory. Never touches a socket. A `Transcript` may be used by several
threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

SHOWN_CHARACTERS = 700
"""So much of a payload is kept in a transcript."""
KEPT_LINES = 400
"""So many lines of a transcript are kept: the first half and the last."""

OUT, IN, NOTE = ">", "<", "*"
"""The directions of a line."""
CONNECTED, FROM_BEFORE = "connected", "logged in since an earlier case"
CLOSED_BY_KIT = "closed by the kit"
IN_VAIN = "waited in vain for"
"""Notes about a connection; what was waited for stands behind the last."""


@dataclass(frozen=True)
class Line:
    """One line of a transcript: a frame, raw bytes, or a note.

    `direction` is ">" (the kit sent), "<" (the kit received) or "*" (a note). `at` is seconds since
    the transcript began. `length_hex` are the four length bytes as "00 00 00 11", "" where there
    are none. `payload` is the JSON text as it stood on the wire (bytes that are no UTF-8 as hex),
    shortened. `who` names the connection, as "anna_x1" or "client".
    """

    direction: str
    at: float
    length_hex: str
    payload: str
    note: str
    who: str = ""


@final
class Transcript:
    """What went over the wires of one case, in order."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._head: list[Line] = []
        self._tail: deque[Line] = deque(maxlen=KEPT_LINES // 2)
        self._left_out = 0
        self._lock = threading.Lock()
        self.received = 0
        """How many packets came in."""

    @property
    def began(self) -> float:
        """The monotonic second from which `Line.at` counts."""
        return self._began

    def add(
        self, direction: str, payload: str = "", note: str = "", who: str = "", length_hex: str = ""
    ) -> None:
        """Add one line, stamped with the time."""
        if len(payload) > SHOWN_CHARACTERS:
            payload = f"{payload[:SHOWN_CHARACTERS]}… ({len(payload)} characters)"
        line = Line(
            direction, round(time.monotonic() - self._began, 4), length_hex, payload, note, who
        )
        with self._lock:
            self.received += direction == IN
            if len(self._head) < KEPT_LINES // 2:
                self._head.append(line)
            else:
                self._left_out += len(self._tail) == self._tail.maxlen
                self._tail.append(line)

    def note(self, text: str, who: str = "") -> None:
        """Add a remark between the frames."""
        self.add(NOTE, note=text, who=who)

    def has_note(self, text: str) -> bool:
        """Return whether one of the lines that are kept has this remark."""
        return any(line.note == text for line in self._kept())

    def lines(self, printed: Iterable[tuple[float, str]] = ()) -> tuple[Line, ...]:
        """Return all lines that are kept, oldest first; `printed` are lines of the program under
        test, each with its monotonic second, which stand between them."""
        beside = [
            Line(NOTE, round(at - self._began, 4), "", "", f"it printed: {text[:SHOWN_CHARACTERS]}")
            for at, text in printed
        ]
        return tuple(sorted((*self._kept(), *beside), key=lambda line: line.at))

    def _kept(self) -> tuple[Line, ...]:
        with self._lock:
            between = (
                [Line(NOTE, self._tail[0].at, "", "", f"{self._left_out} lines left out")]
                if self._left_out
                else []
            )
            return (*self._head, *between, *self._tail)
