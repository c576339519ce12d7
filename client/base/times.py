"""Times of the protocol as people read them, and whether this machine has slept.

Owns both. Never waits. `local_time` and `day` are for any thread; a `SleepWatch` is for the one
that made it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import protocol

SLEEP_SECONDS: Final = 5.0
"""A jump of this much is taken for sleep; a thread on a busy machine is kept waiting for less."""


def local_time(timestamp: str) -> str:
    """Return a time of the protocol by this machine's clock and zone; with its date where that is
    not today's."""
    try:
        moment = time.localtime(protocol.parse_time(timestamp))
    except (ValueError, OverflowError, OSError):
        return "--:--"
    today = time.localtime()
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)


def day() -> str:
    """Return today by this machine's clock and zone, as `Tuesday, 2026-11-24`."""
    return time.strftime("%A, %Y-%m-%d", time.localtime())


class SleepWatch:
    """Tells when the machine slept between two looks that should have been at most `expected`
    seconds apart.

    Linux and macOS stop the monotonic clock while they sleep, so the wall clock runs ahead of it;
    Windows lets both run on, so the looks are too far apart. A wall clock that is set forward looks
    the same, which does no harm: one ping more.
    """

    def __init__(
        self,
        expected: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._expected = expected
        self._monotonic = monotonic
        self._wall = wall
        self._seen = monotonic(), wall()

    def has_slept(self) -> bool:
        """Return whether the machine slept since the last call."""
        before, self._seen = self._seen, (self._monotonic(), self._wall())
        steady, shown = self._seen[0] - before[0], self._seen[1] - before[1]
        return max(steady, shown) - self._expected > SLEEP_SECONDS
