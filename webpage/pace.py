"""How many requests of strangers are answered in a second, so that a flood costs little.

Owns the moment of the next one. Any thread; who has to wait sleeps in its own thread.
"""

from __future__ import annotations

import threading
import time
from typing import Final, final

from webpage.refusals import Refused

REQUESTS_PER_SECOND: Final = 200.0
BURST: Final = 400
"""So many come at once: a class opens the page."""
WAIT_SECONDS: Final = 1.0


@final
class Pace:
    """One pace for all who don't control the page."""

    def __init__(self, per_second: float = REQUESTS_PER_SECOND, burst: int = BURST) -> None:
        self._gap, self._ahead = 1 / per_second, burst / per_second
        self._lock = threading.Lock()  # guards the moment
        self._next = time.monotonic() - self._ahead

    def wait(self) -> None:
        """Wait for one's turn; Refused where that is not within a second."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - self._ahead)
            if turn - now > WAIT_SECONDS:
                raise Refused(503, "Too many requests come at once. Try again in a moment.")
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - now))
