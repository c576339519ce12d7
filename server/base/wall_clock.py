"""The server's clock for people: whole seconds since 1970, UTC.

Owns the highest time that any message was given. Order is never taken from this clock: it may jump.
"""

from __future__ import annotations

from server.base.limits import Clock


class WallClock:
    """The time of day, and the highest one that was ever given to a message (`clock_high`)."""

    def __init__(self, clock: Clock, high: int) -> None:
        self._clock, self._high = clock, high

    def seconds(self) -> int:
        """Return the time now. Any thread."""
        return int(self._clock())

    def high(self, now: int) -> int:
        """Return the highest time any message was given, this one included. The writer's thread
        only."""
        self._high = max(self._high, now)
        return self._high
