"""What a teacher has forbidden for now, in the words of the prompt: muted, paused, read-only.

Owns that knowledge. Never asks the server, which decides: this is only what was told. Any thread
may call it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import protocol
from client.base.times import local_time


class Restrictions:
    """What holds for this user; `now` gives the time of day in seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards the two below
        self._until: dict[str, str] = {}  # "muted" or "paused", and until when; "" = until lifted
        self._read_only: set[str] = set()  # the ids of rooms

    def begin(self, kind: str, until: str) -> None:
        """Take note that the user is muted, or the class paused."""
        with self._lock:
            self._until[kind] = until

    def lift(self, kind: str) -> None:
        """Take note that this is over."""
        with self._lock:
            self._until.pop(kind, None)

    def set_room(self, room_id: str, *, read_only: bool) -> None:
        """Take note whether only teachers write in a room."""
        with self._lock:
            (self._read_only.add if read_only else self._read_only.discard)(room_id)

    def forget(self) -> None:
        """Forget everything: another user logs in."""
        with self._lock:
            self._until.clear()
            self._read_only.clear()

    def in_words(self, room_id: str) -> str:
        """Return what keeps the user from writing in a room, and until when; "" for nothing."""
        with self._lock:
            for kind in ("muted", "paused"):
                until = self._until.get(kind)
                if until is not None and not self._is_over(until):
                    return f"{kind} until {local_time(until)}" if until else kind
            return "read-only" if room_id in self._read_only else ""

    def _is_over(self, until: str) -> bool:
        try:
            return bool(until) and protocol.parse_time(until) <= self._now()
        except ValueError:
            return False
