"""What the line client remembers of what was shown and done: the last messages, own acts, and own
messages that were pasted at once.

Owns that knowledge. Never shows anything. A `RecentMessages` and `OwnActs` may be used by any
thread, an `OwnBlock` by one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final, NamedTuple

import protocol
from client import events
from client.base.text import counted

MAX_RECENT: Final = 200
OWN_ACT_SECONDS: Final = 5.0
"""So long an event may be that of an own act, of which the answer has told already."""


class RecentMessage(NamedTuple):
    """A message that was shown, for who looks for its number."""

    room_id: str
    message_id: int
    sender: str
    content: str


class RecentMessages:
    """The last messages that were shown, in all rooms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next one
        self._recent: deque[RecentMessage] = deque(maxlen=MAX_RECENT)

    def add(self, room_id: str, message_id: int | None, sender: str, content: str) -> None:
        """Take note of a message; one without a number, or known, is passed over."""
        with self._lock:
            known = any(message_id == recent.message_id for recent in self._recent)
            if message_id is not None and not known:
                self._recent.append(RecentMessage(room_id, message_id, sender, content))

    def of(self, room_id: str) -> list[tuple[int, str, str]]:
        """Return number, sender and text of the last messages of a room, oldest first."""
        with self._lock:
            found = [message for message in self._recent if message.room_id == room_id]
        found.sort(key=lambda message: message.message_id)
        return [(message.message_id, message.sender, message.content) for message in found]


class OwnActs:
    """The acts of this user, a teacher, whose events are about to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next one
        self._until: dict[tuple[str, str], float] = {}  # by kind and about what

    def expect(self, kind: str, about: str) -> None:
        """Take note that this user is about to do that, and hears of it by the answer."""
        with self._lock:
            self._until[kind, protocol.fold_chatid(about)] = time.monotonic() + OWN_ACT_SECONDS

    def take(self, event: events.ServerEvent) -> bool:
        """Return whether an event is that of an own act; each act has one."""
        about = event.chatid or str(event.message_id or "") or event.room_id
        with self._lock:
            until = self._until.pop((event.kind, protocol.fold_chatid(about)), 0.0)
        return time.monotonic() < until


class OwnBlock:
    """Own messages that were pasted at once, of which only the sum is shown."""

    def __init__(self) -> None:
        self.count = 0
        self.stored: list[int | None] = []
        self.refused: list[events.OwnMessage] = []

    def stored_in_words(self) -> str:
        """Return as which messages they were stored."""
        numbers = sorted(number for number in self.stored if number is not None)
        if len(numbers) < 2:
            named = f" as message {numbers[0]}" if numbers else ""
            return f"stored{named}: {counted(len(self.stored), 'message')}"
        between = "" if numbers[-1] - numbers[0] < len(numbers) else f", {len(numbers)} of them"
        return f"stored as messages {numbers[0]} to {numbers[-1]}{between}"
