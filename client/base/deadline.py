"""A moment that a wait must not go beyond.

Owns that arithmetic, by the monotonic clock, which no change of the time of day moves. Never waits.
Any thread may use a `Deadline`.
"""

from __future__ import annotations

import math
import time


class Deadline:
    """The moment `seconds` from now; None = never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        """How long it was at the beginning, for words about it."""
        self._at = math.inf if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds until then: 0.0 where it is over, infinity where it never comes."""
        return max(0.0, self._at - time.monotonic())

    def is_over(self) -> bool:
        """Return whether the moment has come."""
        return time.monotonic() >= self._at

    def within(self, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now, or this one where it comes earlier."""
        sooner = Deadline(seconds)
        return sooner if sooner._at < self._at else self
