"""A connection and, once somebody has logged in on it, the session: who that is and what they have
open.

Owns the state of one client; never sends or stores anything itself. Unless a line says otherwise,
only the client's own thread touches it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from server.base.limits import MemoryBudget, RateLimit
from server.base.locks import Rank, RankedLock
from server.net.outbox import Outbox
from server.net.sockets import Stream

if TYPE_CHECKING:
    from server.state.uploads import Downloads, Upload
    from storage.uploads import StoredFile

TRANSACTION_OVERHEAD_BYTES: Final = 512
"""What an open transaction takes besides its text, roughly; each different letter of its counts
takes as much as `LETTER`."""
LETTER_BYTES: Final = 100


@dataclass(slots=True)
class Transaction:
    """A message whose sender has not yet confirmed the counts."""

    transaction_id: str
    own_key: bool
    """Whether the sender chose the id, so that it outlives the session."""
    room_id: str
    content: str
    counts: Mapping[str, int]
    expires_at: float
    """Monotonic time."""

    @property
    def size(self) -> int:
        """Bytes held, roughly, for the memory budget."""
        return TRANSACTION_OVERHEAD_BYTES + 4 * len(self.content) + LETTER_BYTES * len(self.counts)


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
        """Bytes held by what is open."""

    def new_id(self) -> str:
        """An id of the server's own making, unlike every open one."""
        with self._lock:
            while (
                name := f"t-{secrets.token_hex(8)}"
            ) in self._open:  # random: no key that a client thinks up meets it
                pass
            return name

    def get(self, transaction_id: str) -> Transaction | None:
        """The open transaction of this id."""
        with self._lock:
            return self._open.get(transaction_id)

    def open(self, transaction: Transaction) -> bool:
        """Open it, in the place of one with the same id; False where too many are open or on their
        way to the disk."""
        with self._lock:
            old = self._open.get(transaction.transaction_id)
            if old is None and self._most and len(self._open) + self._unsettled >= self._most:
                return False
            self._open[transaction.transaction_id] = transaction
            self._earliest = min(self._earliest, transaction.expires_at)
            change = transaction.size - (old.size if old else 0)
            self.held += change
        self._budget.add(change)
        return True

    def take(self, transaction_id: str, *, to_store: bool) -> Transaction | None:
        """Close it; with `to_store` it counts as pending until `settled`."""
        with self._lock:
            transaction = self._open.pop(transaction_id, None)
            if transaction is None:
                return None
            self.held -= transaction.size
            self._unsettled += to_store
        self._budget.add(-transaction.size)
        return transaction

    def settled(self) -> None:
        """One that was taken to be stored has its answer."""
        with self._lock:
            self._unsettled -= 1

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


@dataclass(eq=False, slots=True)
class Session:
    """Somebody who is logged in. Compared by identity: a clean-up of an old session never removes a
    newer one."""

    account_id: int
    chatid: str
    folded: str
    credential_version: int
    key_hash: bytes
    features: frozenset[str]
    connection: Connection
    transactions: Transactions
    downloads: Downloads
    uploads: dict[tuple[str, str], Upload] = field(default_factory=dict)
    """By room and name."""
    finished: dict[tuple[str, str], StoredFile | None] = field(default_factory=dict)
    """What the session's last `file_send_fin` or `file_send_init` of a room and name found stored;
    None after a cancel."""
    marks: dict[int, int] = field(default_factory=dict)
    """The newest message acknowledged, sent or read, by room (`pk`). The writer copies it."""
    marks_changed: bool = False
    """Set by the session's thread after a change, cleared by the writer before it copies."""
    resent: dict[int, int] = field(default_factory=dict)
    """How often a message was sent again after a wrong count, by message."""
    predecessor: Session | None = None
    """The session whose place this one took, while its thread may still have to save what it has of
    uploads."""
    has_ended: bool = False
    """Whether its thread has saved everything. Set once, by that thread."""
    is_online: bool = False
    """Whether messages are delivered to it. Belongs to the registry's lock."""

    def mark(self, room_pk: int, message_id: int) -> None:
        """Remember that the user has everything of the room up to this message."""
        if message_id > self.marks.get(room_pk, 0):
            self.marks[room_pk] = message_id
            self.marks_changed = True


class Connection:
    """One accepted socket: its stream, its outbox, its limits, and the session on it, if any."""

    __slots__ = (
        "address",
        "bad_json_frames",
        "ended",
        "frame_begun_at",
        "login_deadline",
        "name",
        "outbox",
        "rate",
        "replies",
        "session",
        "stream",
    )

    def __init__(
        self,
        name: str,
        address: str,
        stream: Stream,
        outbox: Outbox,
        rate: RateLimit,
        login_deadline: float | None,
    ) -> None:
        self.name = name
        self.address = address
        self.stream = stream
        self.outbox = outbox
        self.rate = rate
        self.session: Session | None = None
        self.replies: list[bytes] = []
        """Answers of the frames read at once, to be sent as one."""
        self.bad_json_frames = 0
        self.login_deadline: float | None = login_deadline
        """Monotonic; None while logged in, or while the server itself takes its time over a login.
        The watch reads it."""
        self.frame_begun_at: float | None = None
        """Monotonic time since which the thread waits for the rest of a frame. The watch reads
        it."""
        self.ended = False
        """Whether the client is to be served no more. Any thread may set it, by `close`."""

    def close(self, why: str) -> None:
        """End it from any thread: the client's own thread wakes, cleans up and closes the
        socket."""
        self.ended = True
        self.outbox.close(why)

    def flush(self) -> None:
        """Send the answers gathered so far. The client's own thread only."""
        if self.replies:
            self.outbox.put(self.replies[0] if len(self.replies) == 1 else b"".join(self.replies))
            self.replies.clear()

    @property
    def held(self) -> int:
        """Bytes held for this client."""
        session = self.session
        return self.outbox.waiting + (session.transactions.held if session else 0)
