"""Holds messages until somebody lets them go: one by one, or all up to an action.

Owns which messages are held. A message that is held keeps the thread of its direction waiting, and
with it the one connection it belongs to; nobody else waits. Any thread may use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, final

LOOK_SECONDS: Final = 0.25
"""So often a message that is held looks whether its connection is still there."""
LIMITS: Final = (
    (15.0, "held for 15 s: our own client now asks the server whether it is still there (ping)"),
    (30.0, "held for 30 s: a server closes who has not logged in by now (R-FRAME-8)"),
    (60.0, "held for 60 s: a message that is not confirmed by now is dropped (R-MSG-7)"),
)
"""The time limits that holding a message can trip, said when they are reached."""


@dataclass(eq=False)
class _Held:
    action: str
    frame: bytes
    since: float
    limits: list[tuple[float, str]] = field(default_factory=lambda: list(LIMITS))
    is_released: bool = False


@final
class Stepper:
    """What is held; `changed` is called with (is_on, rows, until) when that changes, `remark` with
    (row, text) when a time limit is reached."""

    def __init__(
        self,
        changed: Callable[[bool, tuple[int, ...], str], None] = lambda on, held, until: None,
        remark: Callable[[int, str], None] = lambda row, text: None,
    ) -> None:
        self._tell, self._remark = changed, remark
        self._changed = threading.Condition()  # guards all below; notified when any of it changes
        self._held: dict[int, _Held] = {}
        self._is_on = False
        self._until = ""

    @property
    def is_on(self) -> bool:
        """Whether messages are held."""
        with self._changed:
            return self._is_on

    @property
    def until(self) -> str:
        """The action that is waited for, "" for none."""
        with self._changed:
            return self._until

    def held(self) -> list[int]:
        """Return the rows of what is held, oldest first."""
        with self._changed:
            return sorted(self._held)

    def turn(self, is_on: bool) -> None:
        """Begin to hold what passes from now on, or let everything go."""
        with self._changed:
            if not (is_on or self._is_on):
                return
            self._is_on, self._until = is_on, ""
            if not is_on:
                self._release(list(self._held))
        self._say()

    def run_until(self, action: str) -> None:
        """Let everything go up to the next message of this action (a pattern): that is held."""
        with self._changed:
            self._is_on, self._until = True, action
            self._release([row for row, held in self._held.items()])
        self._say()

    def release(self, row: int | None = None, frame: bytes | None = None) -> int | None:
        """Let one message go, by default the oldest, and with `frame` that one in its place.

        Returns its row, None where it is not held (any more).
        """
        with self._changed:
            rows = sorted(self._held)
            if row is None and rows:
                row = rows[0]
            if row is None or row not in self._held:
                return None
            if frame is not None:
                self._held[row].frame = frame
            self._release([row])
        self._say()
        return row

    def frame_of(self, row: int) -> bytes | None:
        """Return the bytes of a message that is held."""
        with self._changed:
            found = self._held.get(row)
            return None if found is None else found.frame

    def wants(self, action: str) -> bool:
        """Return whether the next message, of this action, is to be held."""
        with self._changed:
            if not self._is_on or (self._until and not fnmatchcase(action, self._until)):
                return False
            was_waiting, self._until = bool(self._until), ""
        if was_waiting:
            self._say()
        return True

    def hold(self, row: int, action: str, frame: bytes, is_over: threading.Event) -> bytes | None:
        """Wait until this message is let go; returns what is to be sent. None where its connection
        is over."""
        held = _Held(action, frame, time.monotonic())
        with self._changed:
            if self._is_on:
                self._held[row] = held
            else:
                held.is_released = True
        self._say()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: held.is_released, LOOK_SECONDS)
                if held.is_released:
                    return held.frame
                if is_over.is_set():
                    self._held.pop(row, None)
                    break
            self._tell_limits(row, held)
        self._say()
        return None

    def _tell_limits(self, row: int, held: _Held) -> None:
        while held.limits and time.monotonic() - held.since >= held.limits[0][0]:
            self._remark(row, held.limits.pop(0)[1])

    def _release(self, rows: list[int]) -> None:
        for row in rows:
            self._held.pop(row).is_released = True
        self._changed.notify_all()

    def _say(self) -> None:
        with self._changed:
            state = (self._is_on, tuple(sorted(self._held)), self._until)
        self._tell(*state)
