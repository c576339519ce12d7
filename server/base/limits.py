"""The limits that count over time: requests, bytes said, failed logins, password hashes at
once, bytes held for clients.

Owns the counting, not the consequences: each tells its caller how long to wait, or that a bound is
passed. Imports nothing of ours but the locks and the line; every clock is handed in, so that a test
drives the time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from server.base.fair_line import FairLine, LineClosed
from server.base.locks import Rank, RankedLock

Clock = Callable[[], float]
T = TypeVar("T")


class RateLimit:
    """A token bucket: `rate` requests, or bytes, a second after a burst (docs/PROTOCOL.md R-LIM-3,
    R-LIM-17). Not safe for several threads."""

    __slots__ = ("_burst", "_clock", "_rate", "_since", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._tokens, self._since = self._burst, clock()

    def charge(self, count: int = 1) -> float:
        """Count so many; return the seconds for which the next is to be left unread. A rate of 0
        never limits."""
        if not self._rate:
            return 0.0
        now = self._clock()
        earned = (now - self._since) * self._rate
        self._tokens = min(self._burst, self._tokens + earned) - count
        self._since = now
        return max(0.0, -self._tokens / self._rate)

    @property
    def is_full(self) -> bool:
        """Whether the whole burst is there, so that the bucket is like a new one."""
        return self._tokens + (self._clock() - self._since) * self._rate >= self._burst


class RateLimits:
    """The buckets of accounts and of addresses, which outlive their connections: who comes back has
    no new burst.

    An account has one for whatever it does, on whichever connection and from wherever. The
    connections of one address on which nobody is logged in share one, `CROWD` times as large: a
    whole class may stand behind one address. Any thread.
    """

    CROWD: Final = 20
    MORE: Final = 1_024
    """Those that are full again are forgotten when so many more are held than the last time."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._lock = RankedLock(Rank.BUDGET, "rates")
        self._buckets: dict[int | str, RateLimit] = {}
        self._most = self.MORE

    def charge_account(self, account_id: int, count: int = 1) -> float:
        """Count so many requests, or bytes, of an account; return the seconds for which its next
        request is to be left unread, with a count of 0 as well."""
        with self._lock:
            return self._find(account_id, 1).charge(count)

    def charge_address(self, address: str) -> float:
        """Count a request of somebody at the address who is not logged in, as `charge_account`
        does."""
        with self._lock:
            return self._find(address, self.CROWD).charge()

    def _find(self, key: int | str, size: int) -> RateLimit:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets = {k: one for k, one in self._buckets.items() if not one.is_full}
                self._most = len(self._buckets) + self.MORE
            bucket = RateLimit(self._rate * size, self._burst * size, self._clock)
            self._buckets[key] = bucket
        return bucket


SAID_PART: Final = 2
"""An account says as much as half of `--max-waiting` at once, and as much again in each second: no
burst of messages of one user closes anybody."""


def said_limits(rate_limit: int, max_waiting: int, clock: Clock) -> RateLimits:
    """Return the buckets for the bytes that each account says (R-LIM-17)."""
    most = max_waiting // SAID_PART if rate_limit else 0
    return RateLimits(most, most, clock)


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
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = RankedLock(Rank.BUDGET, "login throttle")

    def delay(self, address: str, account: str) -> float:
        """Return the seconds to wait before the next password attempt of this pair is answered."""
        with self._lock:
            return self._delay(address, account)

    def _delay(self, address: str, account: str) -> float:
        assert self._lock.held_here()
        failed = len(self._recent(address, account))
        surplus = failed + self._under_way.get((address, account), 0) - self._allowed
        if not self._allowed or surplus < 0:
            return 0.0
        return float(
            min(self.FIRST_DELAY_SECONDS * 2 ** min(surplus, 10), self.LONGEST_DELAY_SECONDS)
        )

    def begin(self, address: str, account: str) -> float:
        """Begin a password attempt; return the seconds by which it is delayed.

        Until its `end` the attempt counts as failed for those that come meanwhile, so that guessing
        on many connections at once is no quicker.
        """
        with self._lock:  # one hold: of two that come together, the second counts the first
            delay = self._delay(address, account)
            self._under_way[address, account] = self._under_way.get((address, account), 0) + 1
        return delay

    def end(self, address: str, account: str) -> None:
        """End an attempt. `failed` was called before, where the password was wrong."""
        with self._lock:
            self._under_way[address, account] -= 1
            if not self._under_way[address, account]:
                del self._under_way[address, account]

    def failed(self, address: str, account: str) -> None:
        """Count a failed login."""
        with self._lock:
            recent = self._recent(address, account)
            recent.append(self._clock())
            self._failures[address, account] = recent[-(self._allowed + 16) :]
            self._failures.move_to_end((address, account))
            while len(self._failures) > self.REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, address: str, account: str) -> None:
        """Forget the failures of this pair, which has logged in, and know it from now on."""
        with self._lock:
            self._failures.pop((address, account), None)
            self._known[address, account] = None
            self._known.move_to_end((address, account))
            while len(self._known) > self.REMEMBERED:
                self._known.popitem(last=False)

    def who(self, address: str, account: str) -> tuple[str, str]:
        """Return who stands in the line for a password hash: at each address, every account that
        has logged in from there for itself, and all others together.

        So a crowd that tries names waits for itself alone, at its own address, too, and what stands
        in the line tells nobody elsewhere which names there are.
        """
        with self._lock:
            return (address, account if (address, account) in self._known else "")

    def _recent(self, address: str, account: str) -> list[float]:
        earliest = self._clock() - self.WINDOW_SECONDS
        return [
            moment for moment in self._failures.get((address, account), ()) if moment > earliest
        ]


class HashGate:
    """The threads in which passwords are hashed, as many as there are cores, and the line in front
    of them.

    In threads of their own because scrypt takes 16 MiB and the system's allocator keeps what a
    thread has once used: hashed in the clients' threads, a class that logs in together left 93 MiB
    behind (measured, 2 cores).
    """

    def __init__(self, at_once: int | None = None) -> None:
        count = at_once or os.cpu_count() or 1
        self.line = FairLine(count, "password hashes")
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="hash")
        all_there = threading.Barrier(count)
        # All threads from the start: what the server holds does not grow with the first logins.
        for _ in range(count):
            self._pool.submit(all_there.wait, self.line.PATIENCE_SECONDS)

    def run(self, who: tuple[str, str], function: Callable[..., T], *arguments: object) -> T:
        """Return what `function` gives. `who` (an address, and who there) waits in line for a core,
        holding nothing: TimeoutError where none comes free for `FairLine.PATIENCE_SECONDS`,
        LineClosed where the server closes."""
        with self.line.place(*who):
            try:
                future = self._pool.submit(function, *arguments)
            except RuntimeError as error:  # it was shut down since the place was given
                raise LineClosed(str(error)) from None
            return future.result(self.line.PATIENCE_SECONDS)

    def close(self) -> None:
        """Hash nothing more; who waits is sent away at once."""
        self.line.close()
        self._pool.shutdown(wait=False)


class MemoryBudget:
    """Counts the bytes held for clients, from the first that arrives to the last that is sent.

    What a client's own thread is about to take for it, it reserves, and waits while there is no
    room; what others cause is added at once. `over` wakes who closes the largest holder. Any
    thread.
    """

    SOON_SECONDS: Final = 1.0
    """Memory that clients take off the server's hands by themselves comes back sooner than this;
    after it, somebody is closed."""
    SLICE_SECONDS: Final = 0.1
    """How often a thread that waits looks whether it is to end."""
    PATIENCE_SECONDS: Final = 10.0
    """A thread that has waited for so long goes on all the same: no limit may be smaller than what
    is always held."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._kept, self._settling = most, 0, 0, 0
        self._lock = RankedLock(Rank.BUDGET, "memory budget")
        self._freed = threading.Condition(self._lock)  # type: ignore[arg-type]  # has a lock's methods
        self._waiting = 0
        self._wanted = 0
        self.over = threading.Event()

    @property
    def held(self) -> int:
        """Bytes held for clients now."""
        return self._held

    def keep(self, change: int) -> None:
        """Count so many more bytes (or fewer) that the server remembers of what clients sent: they
        take their part of the budget, and are nobody's."""
        with self._lock:
            self._kept += change
            self._set_over()

    @property
    def excess(self) -> int:
        """Bytes that must be freed, for what is held and for those who have waited too long. What
        is on its way to the disk comes free by itself."""
        with self._lock:
            needed = self._taken + self._wanted - self._settling
            return needed - self._most if self._most else 0

    def settle(self, size: int) -> None:
        """Note that so many of the bytes held are on their way to the disk."""
        with self._lock:
            self._settling += size

    def settled(self, size: int) -> None:
        """Count so many bytes fewer that were on their way to the disk: they have their answer."""
        with self._lock:
            self._settling -= size
            self._change(-size)

    def share(self, most: int, parts: int) -> int:
        """Return the bytes that a memory of the server's own may take: `most`, but not more than
        one of so many `parts` of the whole budget."""
        return min(most, self._most // parts) if self._most else most

    def add(self, size: int) -> None:
        """Count `size` more bytes (or fewer, where negative)."""
        with self._lock:
            self._change(size)

    def _change(self, size: int) -> None:
        self._held += size
        if size < 0 and self._waiting:
            self._freed.notify_all()
        self._set_over()

    def reserve(self, size: int, gone: Callable[[], bool]) -> None:
        """Count `size` more bytes once there is room for them. Returns early when `gone()`, or
        after `PATIENCE_SECONDS`: they are counted then, too."""
        with self._lock:
            if self._most and size > 0 and self._taken + size > self._most:
                self._wait(size, gone)
            self._held += size
            self._set_over()

    def _wait(self, size: int, gone: Callable[[], bool]) -> None:
        is_urgent, self._waiting = False, self._waiting + 1
        try:
            for number in range(1, round(self.PATIENCE_SECONDS / self.SLICE_SECONDS) + 1):
                if self._freed.wait_for(
                    lambda: self._taken + size <= self._most, self.SLICE_SECONDS
                ):
                    return
                if gone():
                    return
                if not is_urgent and number * self.SLICE_SECONDS >= self.SOON_SECONDS:
                    is_urgent, self._wanted = True, self._wanted + size
                if is_urgent:
                    self.over.set()
        finally:
            self._waiting -= 1
            self._wanted -= size if is_urgent else 0

    @property
    def _taken(self) -> int:
        return self._held + self._kept

    def _set_over(self) -> None:
        assert self._lock.held_here()
        if self._most and self._held + self._kept + self._wanted > self._most:
            self.over.set()
        elif self.over.is_set():
            self.over.clear()
