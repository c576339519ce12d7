"""The messages of one session whose senders have not yet confirmed the counts.

Owns the open transactions of one session and their share of the memory budget. Never stores or
sends anything. The session's thread opens and takes; the watch expires; the writer settles.
"""

from __future__ import annotations

import math
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from server.base.limits import MemoryBudget
from server.base.locks import Rank, RankedLock

TRANSACTION_OVERHEAD_BYTES: Final = 512
"""What an open transaction takes besides its text, roughly, and besides `LETTER_BYTES` for each
different letter of its counts."""
LETTER_BYTES: Final = 100


@dataclass(slots=True)
class Transaction:
    """A message whose sender has not yet confirmed the counts."""

    transaction_id: str
    own_key: bool
    """Whether the sender chose the id as an idempotency key: it outlives the session, so that a
    message that is sent again is stored once."""
    room_id: str
    content: str
    counts: Mapping[str, int]
    expires_at: float
    """Monotonic time."""
    announce: bool = False

    size: int = field(init=False)
    """Bytes held, roughly, for the memory budget. Measured once, so that as much is given back as
    was reserved: Python makes a text larger when SQLite asks for its UTF-8."""

    def __post_init__(self) -> None:
        self.size = _size(self.content, len(self.counts))


def _size(content: str, letters: int) -> int:
    return TRANSACTION_OVERHEAD_BYTES + sys.getsizeof(content) + LETTER_BYTES * letters


class Transactions:
    """The open transactions of one session, and the count of those confirmed but not yet stored.

    The session's thread opens and takes; the watch expires; the writer settles.
    """

    __slots__ = ("_budget", "_earliest", "_lock", "_most", "_open", "_unsettled", "held")

    def __init__(self, most: int, budget: MemoryBudget) -> None:
        self._most, self._budget = most, budget
        self._lock = RankedLock(Rank.TRANSACTIONS, "transactions")
        self._open: dict[str, Transaction] = {}
        self._unsettled = 0
        self._earliest = math.inf
        """No open transaction expires before this moment: most looks for old ones end here."""
        self.held = 0
        """Bytes held by what is open. What is on its way to the disk can't be given up."""

    def new_id(self) -> str:
        """Make an id of the server's own, unlike every open one."""
        with self._lock:
            # Random: no key that a client thinks up meets it.
            while (name := f"t-{secrets.token_hex(8)}") in self._open:
                pass
            return name

    def get(self, transaction_id: str) -> Transaction | None:
        """Return the open transaction of this id, or None."""
        with self._lock:
            return self._open.get(transaction_id)

    def reserve(self, content: str, gone: Callable[[], bool]) -> int:
        """Wait for the memory that a message and its counts take, until there is some or the client
        is `gone()`; return how many bytes were reserved: `open` wants to know. This comes before
        the letters are counted: threads that waited with their counts would hold them unseen."""
        size = _size(content, len(set(content)))
        self._budget.reserve(size, gone)
        return size

    def open(self, transaction: Transaction, reserved: int) -> bool:
        """Open it with the memory that was reserved for it, in the place of one with the same id;
        False where too many are open or on their way to the disk."""
        with self._lock:
            old = self._open.get(transaction.transaction_id)
            is_full = self._most and len(self._open) + self._unsettled >= self._most
            is_opened = old is not None or not is_full
            freed = old.size if old else 0
            if is_opened:
                self._open[transaction.transaction_id] = transaction
                self._earliest = min(self._earliest, transaction.expires_at)
                self.held += transaction.size - freed
        change = (transaction.size - freed if is_opened else 0) - reserved
        if change:
            self._budget.add(change)
        return is_opened

    def take(self, transaction_id: str, *, to_store: bool) -> Transaction | None:
        """Close it. With `to_store` it counts as pending, and is held, until `settled`."""
        with self._lock:
            transaction = self._open.pop(transaction_id, None)
            if transaction is None:
                return None
            self.held -= transaction.size
            self._unsettled += to_store
        if to_store:
            self._budget.settle(transaction.size)
        else:
            self._budget.add(-transaction.size)
        return transaction

    def settled(self, transaction: Transaction) -> None:
        """Count out one that was taken to be stored: it has its answer."""
        with self._lock:
            self._unsettled -= 1
        self._budget.settled(transaction.size)

    @property
    def unsettled(self) -> int:
        """How many are on their way to the disk."""
        return self._unsettled

    def expire(self, now: float) -> None:
        """Drop what was not confirmed in time."""
        if now < self._earliest:
            return
        with self._lock:
            old = [key for key, transaction in self._open.items() if transaction.expires_at <= now]
            self._earliest = min(
                (t.expires_at for t in self._open.values() if t.expires_at > now), default=math.inf
            )
        for key in old:
            self.take(key, to_store=False)

    def drop_all(self) -> None:
        """Drop everything open: the session ends."""
        self.expire(math.inf)
