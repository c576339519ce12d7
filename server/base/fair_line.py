"""Places that are taken in turn: a crowd that waits together makes nobody else wait for all of it.

Owns the order in which those who wait are served, and how many are served at once. Never knows what
a place is used for. Any thread.
"""

from __future__ import annotations

import heapq
import queue
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from server.base.locks import Rank, RankedLock

__all__ = ["FairLine", "LineClosed", "Turns"]

T = TypeVar("T")


class LineClosed(TimeoutError):
    """No more places are given: the server is closing."""


class Turns(Generic[T]):
    """A queue whose keys take turns: one item of each key in a round, within a key the oldest
    first. A key that comes new has its first turn in the round that is under way.

    (Start-time fair queueing, Goyal and others 1996, with every item of the same weight.) Not safe
    for several threads.
    """

    REMEMBERED: Final = 10_000
    """Keys that had their turn, at most: where ever new ones come, no round ends."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[T]] = {}
        self._heads: list[tuple[int, int, Hashable]] = []
        """A heap of (round of the key's next turn, arrival, key)."""
        self._round = 0
        self._served: dict[Hashable, int] = {}
        """The keys that had their turn in the round that is under way, or later."""
        self._arrivals = self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Hashable, item: T) -> None:
        """Put an item at the end of its key's line."""
        self._count += 1
        line = self._lines.get(key)
        if line is not None:
            line.append(item)
            return
        self._lines[key] = deque([item])
        self._push(max(self._round, self._served.get(key, -1) + 1), key)

    def next(self) -> tuple[Hashable, T]:
        """Take out the item whose turn it is, with its key. Raises IndexError where there is
        none."""
        turn, _, key = heapq.heappop(self._heads)
        if turn > self._round:
            self._round = turn
            self._served = {name: last for name, last in self._served.items() if last >= turn}
        elif len(self._served) >= self.REMEMBERED:
            self._served.clear()
        self._served[key] = turn
        line = self._lines[key]
        item = line.popleft()
        self._count -= 1
        if line:
            self._push(turn + 1, key)
        else:
            del self._lines[key]
        return key, item

    def _push(self, turn: int, key: Hashable) -> None:
        self._arrivals += 1
        # the number of the arrival is unlike every other, so that no two keys are compared
        heapq.heappush(self._heads, (turn, self._arrivals, key))


class _Waiter:
    """Somebody in the line. `answer` gets True with the place, False where the line is closed."""

    __slots__ = ("answer", "has_left")

    def __init__(self) -> None:
        self.answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.has_left = False


class FairLine:
    """A number of places, and the line in front of them: groups take turns, and within a group its
    members do.

    A group with 500 that wait makes another group wait for one of them, not for 500.
    """

    PATIENCE_SECONDS: Final = 120.0

    def __init__(self, places: int, name: str) -> None:
        self._free, self._name = places, name
        self._lock = RankedLock(Rank.BUDGET, "fair line")
        self._groups: Turns[None] = Turns()
        self._members: dict[Hashable, Turns[_Waiter]] = {}
        self._closed = False

    @contextmanager
    def place(
        self, group: Hashable, member: Hashable, patience: float = PATIENCE_SECONDS
    ) -> Iterator[None]:
        """Hold a place for the block. Waits for it `patience` seconds at most, then TimeoutError;
        raises LineClosed where the line is closed first."""
        self._enter(group, member, patience)
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """Give no more places; whoever waits is told at once."""
        with self._lock:
            self._closed = True
            waiters = [self._next() for _ in range(len(self._groups))]
        for waiter in waiters:
            waiter.answer.put(False)

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._groups)

    def _enter(self, group: Hashable, member: Hashable, patience: float) -> None:
        with self._lock:
            if self._closed:
                raise LineClosed(f"{self._name}: the server is closing")
            if self._free:
                self._free -= 1
                return
            waiter = _Waiter()
            self._groups.add(group, None)
            self._members.setdefault(group, Turns()).add(member, waiter)
        try:
            is_served = waiter.answer.get(timeout=patience)
        except queue.Empty:
            with self._lock:
                waiter.has_left = waiter.answer.empty()
            if waiter.has_left:
                raise TimeoutError(f"{self._name}: no place in {patience:g} s") from None
            is_served = waiter.answer.get()
        if not is_served:
            raise LineClosed(f"{self._name}: the server is closing")

    def _leave(self) -> None:
        with self._lock:
            while len(self._groups):
                waiter = self._next()
                if not waiter.has_left:
                    waiter.answer.put(True)  # under the lock: whoever gives up looks there
                    return
            self._free += 1

    def _next(self) -> _Waiter:
        group, _ = self._groups.next()
        members = self._members[group]
        _, waiter = members.next()
        if not len(members):
            del self._members[group]
        return waiter
