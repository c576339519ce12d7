"""Locks with ranks, so that a deadlock shows as an error on the first wrong order and never as a
hang.

Owns the ranks. Imports nothing of ours. A thread may take a lock only if its rank is higher than
that of every lock the thread holds; `RankedLock` checks this at every acquisition, in service too.
No lock is ever held across a blocking call: waiting longer than `PATIENCE_SECONDS` for one is
therefore a defect and raises.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from types import TracebackType
from typing import Final

PATIENCE_SECONDS: Final = 30.0


class Rank(IntEnum):
    """The order in which locks may be taken: a thread that holds one may only take those below it
    in this list."""

    REGISTRY = 10
    """Who is here: connections, sessions, addresses. Nothing blocks while it is held."""
    ROOMS = 20
    """The cache of rooms and their members."""
    TRANSACTIONS = 30
    """One session's open transactions."""
    TRANSFERS = 40
    """One session's queue of downloads."""
    OUTBOX = 50
    """One connection's bytes that wait to be sent."""
    TLS = 55
    """One connection's encryption."""
    DRAIN = 60
    """What the drain thread is asked to watch or forget."""
    QUEUE = 70
    """The changes that wait for the writer."""
    BUDGET = 80
    """The count of bytes held for clients, the login throttle, the hashes that run."""


class LockOrderError(RuntimeError):
    """A lock was taken out of order, or could not be had for `PATIENCE_SECONDS`."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.locks: list[RankedLock] = []


_held = _Held()


class RankedLock:
    """A mutex for `with`; raises `LockOrderError` where the order of ranks is broken. Not
    reentrant.

    Has the methods that `threading.Condition` needs of its lock.
    """

    __slots__ = ("_lock", "name", "rank")

    def __init__(self, rank: Rank, name: str) -> None:
        self._lock = threading.Lock()
        self.rank = rank
        self.name = name

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; return True. With `blocking=False`, or when `timeout` passes, return False
        where another thread has it."""
        held = _held.locks
        if held and held[-1].rank >= self.rank:
            raise LockOrderError(
                f"{self.name} (rank {self.rank}) taken while holding {held[-1].name} (rank "
                f"{held[-1].rank})"
            )
        if not self._lock.acquire(False):
            if not blocking:
                return False
            if not self._lock.acquire(timeout=PATIENCE_SECONDS if timeout < 0 else timeout):
                if timeout >= 0:
                    return False
                raise LockOrderError(
                    f"{self.name} could not be had for {PATIENCE_SECONDS:.0f} s: some thread "
                    "blocks in it"
                )
        held.append(self)
        return True

    def release(self) -> None:
        """Give the lock back; only the thread that holds it may."""
        self.__exit__(None, None, None)

    def locked(self) -> bool:
        """Return whether any thread holds this lock."""
        return self._lock.locked()

    def held_here(self) -> bool:
        """Return whether the calling thread holds this lock: for assertions in helpers."""
        return self in _held.locks

    _is_owned = held_here  # the name by which threading.Condition asks

    def __enter__(self) -> None:  # the way of nearly every lock, so it calls nothing of ours
        held = _held.locks
        if (held and held[-1].rank >= self.rank) or not self._lock.acquire(False):
            self.acquire()  # says what is wrong, or waits
        else:
            held.append(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _held.locks.remove(self)
        self._lock.release()
