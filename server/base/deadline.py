"""A moment on a monotonic clock by which something must be done.

Owns nothing shared: a deadline is made, asked and dropped by one function. Never sleeps.
"""

from __future__ import annotations

import time

from server.base.limits import Clock


class Deadline:
    """The moment `seconds` from now. A test hands in a clock of its own."""

    __slots__ = ("_at", "_clock")

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than 0."""
        return max(0.0, self._at - self._clock())

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._at
