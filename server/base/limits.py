"""The limits that count over time: request rate, failed logins, password hashes at once, bytes held
for clients.

Owns the counting, not the consequences: each tells its caller how long to wait, or that a bound is
passed. Imports nothing of ours but the locks; every clock is handed in, so that a test drives the
time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, TypeVar

from server.base.locks import Rank, RankedLock

Clock = Callable[[], float]
T = TypeVar("T")


class RateLimit:
    """A token bucket for one connection: `rate` requests/s after a burst (docs/PROTOCOL.md R-LIM).
    Used by one thread."""

    __slots__ = ("_burst", "_clock", "_rate", "_since", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._tokens, self._since = self._burst, clock()

    def charge(self) -> float:
        """Count one request; return the seconds for which the next is to be left unread. A rate of
        0 never limits."""
        if not self._rate:
            return 0.0
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate) - 1.0
        self._since = now
        return max(0.0, -self._tokens / self._rate)


class LoginThrottle:
    """Slows further password attempts for one account from one address after too many failures in a
    minute.

    Others, other addresses and logins by key are not slowed, so nobody can lock another out.
    Remembers at most `REMEMBERED` pairs, dropping the one that failed longest ago. Any thread.
    """

    WINDOW_SECONDS: Final = 60.0
    FIRST_DELAY_SECONDS: Final = 1.0
    LONGEST_DELAY_SECONDS: Final = 10.0
    REMEMBERED: Final = 10_000

    def __init__(self, failures_allowed: int, clock: Clock) -> None:
        self._allowed, self._clock = failures_allowed, clock
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._under_way: dict[tuple[str, str], int] = {}
        self._lock = RankedLock(Rank.BUDGET, "login throttle")

    def delay(self, address: str, account: str) -> float:
        """Return the seconds to wait before the next password attempt of this pair is answered."""
        if not self._allowed:
            return 0.0
        with self._lock:
            surplus = (
                len(self._recent(address, account))
                + self._under_way.get((address, account), 0)
                - self._allowed
            )
        if surplus < 0:
            return 0.0
        return float(
            min(self.FIRST_DELAY_SECONDS * 2 ** min(surplus, 10), self.LONGEST_DELAY_SECONDS)
        )

    def begin(self, address: str, account: str) -> float:
        """Begin a password attempt; return the seconds by which it is delayed.

        Until its `end` the attempt counts as failed for those that come meanwhile, so that guessing
        on many connections at once is no quicker.
        """
        delay = self.delay(address, account)
        with self._lock:
            self._under_way[address, account] = self._under_way.get((address, account), 0) + 1
        return delay

    def end(self, address: str, account: str) -> None:
        """End an attempt. `failed` or `succeeded` was called before, unless it came to neither."""
        with self._lock:
            self._under_way[address, account] -= 1
            if not self._under_way[address, account]:
                del self._under_way[address, account]

    def failed(self, address: str, account: str) -> None:
        """Count a wrong password."""
        with self._lock:
            recent = self._recent(address, account)
            recent.append(self._clock())
            self._failures[address, account] = recent[-(self._allowed + 16) :]
            self._failures.move_to_end((address, account))
            while len(self._failures) > self.REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, address: str, account: str) -> None:
        """Forget the failures of this pair."""
        with self._lock:
            self._failures.pop((address, account), None)

    def _recent(self, address: str, account: str) -> list[float]:
        earliest = self._clock() - self.WINDOW_SECONDS
        return [
            moment for moment in self._failures.get((address, account), ()) if moment > earliest
        ]


class HashGate:
    """The threads in which passwords are hashed, as many as there are cores; whoever wants one
    hashed waits and holds nothing.

    In threads of their own because scrypt takes 16 MiB and the system's allocator keeps what a
    thread has once used: hashed in the clients' threads, a class that logs in together left 93 MiB
    behind (measured, 2 cores).
    """

    PATIENCE_SECONDS: Final = 120.0

    def __init__(self, at_once: int | None = None) -> None:
        count = at_once or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="hash")
        all_there = threading.Barrier(count)
        for _ in range(
            count
        ):  # all threads from the start: what the server holds does not grow with the first logins
            self._pool.submit(all_there.wait, self.PATIENCE_SECONDS)

    def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function` on a thread of the gate; return its result. Raises TimeoutError where no
        core comes free for `PATIENCE_SECONDS`."""
        try:
            return self._pool.submit(function, *arguments).result(self.PATIENCE_SECONDS)
        except FutureTimeout:
            raise TimeoutError(
                f"no core was free to check a password for {self.PATIENCE_SECONDS:.0f} s"
            ) from None

    def close(self) -> None:
        """Hash nothing more; give up what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class MemoryBudget:
    """Counts the bytes held for clients in outboxes and open transactions; `over` wakes who closes
    the largest holder."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._lock = RankedLock(Rank.BUDGET, "memory budget")
        self.over = threading.Event()

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    def add(self, size: int) -> None:
        """Count `size` more bytes (or fewer, where negative)."""
        with self._lock:
            self._held += size
            if self._most and self._held > self._most:
                self.over.set()
            else:
                self.over.clear()
