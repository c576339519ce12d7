"""A connection and, once somebody has logged in on it, the session: who that is and what they have
open.

Owns the state of one client; never sends or stores anything itself. Unless a line says otherwise,
only the client's own thread touches it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from protocol import STUDENT, TEACHER
from server.base.limits import MemoryBudget
from server.net.outbox import Outbox
from server.net.sockets import Stream
from server.state.downloads import Downloads
from server.state.open_transactions import Transactions
from server.state.uploads import Upload
from storage.uploads import StoredFile

FREE_READINGS: Final = 8
READINGS_REMEMBERED: Final = 256


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
    role: str = STUDENT
    since: int = 0
    """When it logged in, in seconds since 1970."""
    active_at: float = 0.0
    """Monotonic time of the last request that its user made."""
    messages_sent: int = 0
    """Since the login; the writer counts."""
    looked_into: dict[str, float] = field(default_factory=dict)
    """By room: the monotonic time at which its members were last told that this teacher reads
    it."""
    was_ended: bool = False
    """Whether it was ended from outside: nothing is stored or read for it any more. The writer's
    thread sets it."""
    uploads: dict[tuple[str, str], Upload] = field(default_factory=dict)
    """By room and name."""
    finished: dict[tuple[str, str], StoredFile | None] = field(default_factory=dict)
    """What the session's last `file_send_fin` or `file_send_init` of a room and name found stored;
    None after a cancel."""
    marks: dict[int, int] = field(default_factory=dict)
    """The newest message acknowledged, sent or read, by room (`pk`)."""
    unsaved_marks: dict[int, int] = field(default_factory=dict)
    """Those of `marks` that are not stored yet: the session's thread puts in, the writer takes out,
    each by one call of the dictionary, which is whole without the GIL, too. Nobody walks through
    it."""
    predecessors: tuple[Session, ...] = ()
    """The user's earlier sessions whose threads may still have to save what they have, as of the
    login."""
    read_back: dict[int, int] = field(default_factory=dict)
    """How often a message that is not in memory any more was read for this receiver's answers."""
    has_ended: bool = False
    """Whether its thread has saved everything. Set once, by that thread."""
    has_left: bool = False
    """Whether it has left, or its login was given up. Belongs to the registry's lock."""
    is_online: bool = False
    """Whether messages are delivered to it. Belongs to the registry's lock."""

    @property
    def is_teacher(self) -> bool:
        """Whether its user may do what only teachers may. Changing a role ends the session."""
        return self.role == TEACHER

    def may_read_back(self, message_id: int) -> bool:
        """Count one more reading of a message; False where it is more than a receiver's answers
        take: two packets for each of four copies."""
        times = self.read_back.get(message_id, 0) + 1
        if times > FREE_READINGS or (times == 1 and len(self.read_back) >= READINGS_REMEMBERED):
            return False
        self.read_back[message_id] = times
        return True

    def mark(self, room_pk: int, message_id: int) -> None:
        """Remember that the user has everything of the room up to this message."""
        if message_id > self.marks.get(room_pk, 0):
            self.marks[room_pk] = message_id
            self.unsaved_marks[room_pk] = message_id


class Connection:
    """One accepted socket: its stream, its outbox, its limits, and the session on it, if any."""

    __slots__ = (
        "_budget",
        "address",
        "bad_json_frames",
        "ended",
        "frame_begun_at",
        "input_held",
        "is_charged",
        "login_deadline",
        "name",
        "outbox",
        "parting",
        "replies",
        "replies_bytes",
        "reply_held",
        "session",
        "stream",
    )

    def __init__(
        self,
        name: str,
        address: str,
        stream: Stream,
        outbox: Outbox,
        budget: MemoryBudget,
        login_deadline: float | None,
    ) -> None:
        self.name = name
        self._budget = budget
        self.input_held = 0
        """Bytes that have come and are not answered, and the buffer for the next ones."""
        self.reply_held = 0
        """Bytes reserved for the answer that is being made."""
        self.address = address
        self.stream = stream
        self.outbox = outbox
        self.session: Session | None = None
        self.replies: list[bytes] = []
        """Answers of the frames read at once, to be sent as one."""
        self.replies_bytes = 0
        self.bad_json_frames = 0
        self.is_charged = False
        """Set by the handler of a packet that counts for the rate though others of its kind are
        free."""
        self.login_deadline: float | None = login_deadline
        """Monotonic; None while logged in, or while the server itself takes its time over a login.
        The watch reads it."""
        self.frame_begun_at: float | None = None
        """Monotonic time since which the thread waits for the rest of a frame. The watch reads
        it."""
        self.ended = False
        """Whether the client is to be served no more. Any thread may set it, by `close` or
        `part`."""
        self.parting: str | None = None
        """Why it is closed, where the client is to have first what it was told."""

    def close(self, why: str) -> None:
        """End it from any thread: the client's own thread wakes, cleans up and closes the
        socket."""
        self.ended = True
        self.outbox.close(why)

    def part(self, why: str) -> None:
        """End it from any thread, as `close` does, but let the client have what waits for it: its
        own thread sends that, for a moment at most."""
        self.parting = why
        self.ended = True
        self.stream.stop_reading()

    def flush(self) -> None:
        """Send the answers gathered so far. The client's own thread only."""
        if self.replies:
            self.outbox.put(self.replies[0] if len(self.replies) == 1 else b"".join(self.replies))
            self.replies.clear()
            self.replies_bytes = 0

    def hold_input(self, size: int) -> None:
        """Hold so many bytes for what is read from the client, instead of those held before. Waits
        for room where they are more. The client's own thread only."""
        change, self.input_held = size - self.input_held, size
        self._hold(change)

    def hold_reply(self, size: int) -> None:
        """Hold so many bytes for the answer that is being made, as `hold_input` does."""
        change, self.reply_held = size - self.reply_held, size
        self._hold(change)

    def _hold(self, change: int) -> None:
        if change > 0:
            self._budget.reserve(change, lambda: self.ended)
        elif change < 0:
            self._budget.add(change)

    @property
    def held(self) -> int:
        """Bytes held for this client that come free when it is closed."""
        held, session = self.outbox.waiting + self.input_held + self.reply_held, self.session
        if session is not None:
            held += session.transactions.held
            held += sum(upload.held for upload in list(session.uploads.values()))
        return held
