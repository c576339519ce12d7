"""The events of a page: numbered, encoded, the latest of them kept.

Owns the events and their numbers. `publish` never waits for a viewer: each viewer's thread fetches
what it has not seen, and learns how many it has missed. Any thread.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, final

MAX_EVENTS: Final = 20_000
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_EVENT_BYTES: Final = 64 * 1024
BATCH: Final = 500
BATCH_BYTES: Final = 256 * 1024
"""So many events, and bytes of them, go to a viewer in one piece; one event at least."""


@dataclass(frozen=True)
class Batch:
    """Events in order: `lost` are missing before the first, `last` is the number of the last."""

    lost: int
    events: tuple[bytes, ...]
    last: int


@final
class Ring:
    """Keeps the latest events, bounded in number and bytes."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._changed = threading.Condition()
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._last = 0
        self._closed = threading.Event()

    def publish(self, event: Mapping[str, Any]) -> None:
        """Append an event; the oldest leave. One that is too large is told by its kind alone."""
        data = json.dumps(event, separators=(",", ":")).encode("ascii")
        if len(data) > MAX_EVENT_BYTES:
            short = {"kind": "too_large", "of": str(event.get("kind"))[:100], "bytes": len(data)}
            data = json.dumps(short).encode("ascii")
        with self._changed:
            self._events.append(data)
            self._bytes += len(data)
            self._last += 1
            while len(self._events) > self._max_events or self._bytes > self._max_bytes:
                self._bytes -= len(self._events.popleft())
            self._changed.notify_all()

    def after(self, number: int, seconds: float) -> Batch:
        """Return the events after `number`; wait for the first of them, `seconds` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > number or self.is_closed, seconds)
            first = self._last - len(self._events)  # the number before the oldest that is kept
            start = max(number, first)
            events: list[bytes] = []
            room = BATCH_BYTES
            for data in islice(self._events, start - first, start - first + BATCH):
                room -= len(data)
                if events and room < 0:
                    break
                events.append(data)
            return Batch(start - number, tuple(events), start + len(events))

    @property
    def last(self) -> int:
        """The number of the latest event; 0 before the first."""
        with self._changed:
            return self._last

    @property
    def is_closed(self) -> bool:
        """Whether the page is being closed."""
        return self._closed.is_set()

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until the page is being closed, `seconds` at most."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Wake all viewers for good."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
