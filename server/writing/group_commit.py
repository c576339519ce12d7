"""When the writer waits a moment for more changes, so that one commit takes them all.

Owns the estimate of how many changes are under way. A pure calculation: it never sleeps and never
reads a clock. The writer's thread only.
"""

from __future__ import annotations

from typing import Final


class GroupCommit:
    """An estimate of how many changes are under way, from the last commits: the changes of one
    commit come together again, because their makers wait for the same answers.

    Waiting for all of them makes one commit and one send to each client out of two or three: with
    16 messages under way in a room of 200, a delivery took 1.0 µs of CPU instead of 1.35 (measured,
    CPython 3.11). The wait is never longer than the last commit took, so that it can at most double
    a latency; where commits are rare there is none.
    """

    LONGEST_WAIT_SECONDS: Final = 0.01
    RECENT_SECONDS: Final = 0.02
    """A commit that ended longer ago than this says nothing about what is under way now."""
    DECAY: Final = 0.9
    """After each commit the expectation falls to this part of itself, unless more has come."""

    def __init__(self) -> None:
        self.expected = 1
        self._took = self._ended = 0.0

    def wait_seconds(self, waiting: int, now: float) -> float:
        """Return how long to wait for the rest, where `waiting` changes are there."""
        if not waiting or now - self._ended > self.RECENT_SECONDS:
            self.expected = 1
        return min(self._took, self.LONGEST_WAIT_SECONDS) if waiting < self.expected else 0.0

    def committed(self, under_way: int, begun: float, ended: float) -> None:
        """Learn from a commit that is done, its notifications included. `under_way` counts its
        changes and those that came meanwhile."""
        self.expected = max(under_way, int(self.expected * self.DECAY))
        self._took, self._ended = ended - begun, ended
