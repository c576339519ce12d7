"""Whether the service is being stopped, and how long its clients still have.

Owns these two facts. The main thread sets them once; any thread reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from server.base.deadline import Deadline
from server.base.limits import Clock

SLICE_SECONDS: Final = 0.25
"""How often a pause looks whether it is to end early."""


class Shutdown:
    """The end of the service, before and after it is announced."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline: Deadline | None = None
        self.is_closing = False
        """Whether the service is being stopped: nothing more is read from clients."""

    def begin(self, deadline: Deadline) -> None:
        """Say that the service closes; clients have until `deadline` to take what waits."""
        self._deadline = deadline
        self.is_closing = True

    def is_over(self) -> bool:
        """Return whether the time for a clean end has run out."""
        return self._deadline is not None and self._deadline.has_passed

    def pause(self, seconds: float, gone: Callable[[], bool]) -> None:
        """Sleep for `seconds`; end early when the service closes or `gone` says True."""
        deadline = Deadline(seconds, self._clock)
        while not self.is_closing and not gone():
            left = deadline.left()
            if not left:
                return
            time.sleep(min(left, SLICE_SECONDS))
