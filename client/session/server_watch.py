"""Whether the server is still there: a silent one is pinged, and counts as lost where it stays
silent.

Owns that decision. Never sends anything: the reading thread asks, and pings. For that thread.
"""

from __future__ import annotations

import time
from typing import Final

from client.base.deadline import Deadline
from client.base.times import SleepWatch
from client.errors import ConnectionLost

READ_SECONDS: Final = 1.0
"""How long the reading thread waits for a packet before it looks at the clock."""
WAKE_SECONDS: Final = 3.0
"""After the machine has slept, a server that does not answer a ping within this counts as lost."""


class ServerWatch:
    """Watches the server of one connection. A server that has never answered a ping may not know
    it: then only the network can tell that it is gone."""

    def __init__(self, idle_seconds: float) -> None:
        self.sleep = SleepWatch(READ_SECONDS)
        self._idle_seconds = idle_seconds
        self._answers_pings = False
        self._answer_by: Deadline | None = None  # for who was asked after a sleep

    def begin(self) -> None:
        """Forget the silence of the link before."""
        self._answer_by = None
        self.sleep.has_slept()

    def answered_ping(self) -> None:
        """Take note that this server knows pings."""
        self._answers_pings = True

    def heard(self) -> None:
        """Take note of a packet."""
        self._answer_by = None

    def woke_up(self) -> bool:
        """Return whether the machine has slept, so that the server must be pinged now."""
        if not (self.sleep.has_slept() and self._answers_pings):
            return False
        self._answer_by = Deadline(WAKE_SECONDS)
        return True

    def is_silent(self, heard_at: float) -> bool:
        """Return whether the server, last heard at that moment of the monotonic clock, has been
        silent for so long that a ping is due. Raise `ConnectionLost` where it counts as gone."""
        if self._answer_by is not None and self._answer_by.is_over():
            raise ConnectionLost("this machine slept, and the server does not answer any more")
        if not self._answers_pings:
            return False
        silent = time.monotonic() - heard_at
        if silent > 2 * self._idle_seconds:
            raise ConnectionLost(f"no sign of life from the server for {silent:.0f} s")
        return silent >= self._idle_seconds
