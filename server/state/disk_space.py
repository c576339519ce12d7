"""Whether the disk has as much room as it is to keep (`--min-free`), for what is stored row by row.

Owns when that was last looked at. (Uploads reckon with their declared sizes themselves.) Any
thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from protocol import ErrorCode, Refusal
from server.base.limits import Clock
from storage.errors import StorageError

LOOK_EVERY_SECONDS: Final = 1.0


class DiskSpace:
    """`measure` gives the free bytes and the size of the disk; `percent` of it are to stay free, 0
    for none."""

    def __init__(self, measure: Callable[[], tuple[int, int]], percent: int, clock: Clock) -> None:
        self._measure, self._percent, self._clock = measure, percent, clock
        self._looked_at = -math.inf
        self._is_low = False

    def check(self) -> None:
        """Raise `storage_full` where no more is to be stored."""
        if not self._percent:
            return
        now = self._clock()
        if now >= self._looked_at + LOOK_EVERY_SECONDS:
            self._looked_at = now
            try:
                free, total = self._measure()
            except StorageError:
                return  # what is written next finds out what is wrong
            self._is_low = free < total * self._percent / 100
        if self._is_low:
            raise Refusal(
                ErrorCode.STORAGE_FULL,
                f"the server's disk must keep {self._percent} % free: nothing was stored",
            )
