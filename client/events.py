"""What a connection tells its user: typed events, and the bounded queue in which they wait.

Owns the event types and the queue. Never opens a socket. Any thread may put and get.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from client.base.deadline import Deadline
from client.errors import ChatError, LetterDifference

MAX_WAITING_EVENTS: Final = 10_000


@dataclass(frozen=True)
class Message:
    """A message of somebody else. `message_id` is None where the server gives none."""

    room_id: str
    sender: str
    content: str
    timestamp: str
    message_id: int | None = None
    missed: bool = False
    """Fetched from the history after the connection had been lost."""
    corrected: bool = False
    """A second copy, other than the first, whose counts had not agreed."""
    differences: tuple[LetterDifference, ...] = ()
    """Of a corrected message: the letters of which the first copy had another number."""
    announce: bool = False
    """A teacher's announcement, to be shown prominently."""


@dataclass(frozen=True)
class CountsDisagreed:
    """The server says that a message did not arrive as it was sent; it was asked for again."""

    message: Message


@dataclass(frozen=True)
class FileShared:
    """Somebody else has put a file into a room."""

    room_id: str
    sender: str
    file_path: str
    file_size: int
    file_type: str
    timestamp: str
    missed: bool = False
    """Found in the room's list after the connection had been lost."""


class State(Enum):
    """How far an own message has come. The last two are final."""

    SENDING = "sending"
    COUNTS_AGREE = "counts agree"
    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True)
class OwnMessage:
    """An own message has reached another state; `error` says why where it was refused."""

    transaction_id: str
    room_id: str
    content: str
    state: State
    message_id: int | None = None
    timestamp: str | None = None
    error: ChatError | None = None


@dataclass(frozen=True)
class Disconnected:
    """The connection is down; attempt number `attempt` to get it back comes in `retry_seconds`."""

    reason: str
    attempt: int
    retry_seconds: float


@dataclass(frozen=True)
class Reconnected:
    """The connection is back, the session taken up, and `missed` messages were fetched (they came
    before this).

    `files` were put into rooms meanwhile; 0 where nobody asked to look for them.
    """

    missed: int
    files: int = 0


@dataclass(frozen=True)
class LoggedOut:
    """The session has ended, and this client does not take it up again; only a new login helps.

    `told` is whether the server itself has said that, and why: else it only refused the key.
    `by_teacher` is whether a teacher did it, or who runs the server.
    """

    reason: str
    told: bool = False
    by_teacher: bool = False


@dataclass(frozen=True)
class ServerEvent:
    """Something happened on the server (docs/PROTOCOL.md, Events); keys that `kind` has no use for
    are empty. `name` is that of a room or a file, `content` the text of a message or a hand."""

    kind: str
    chatid: str = ""
    room_id: str = ""
    name: str = ""
    reason: str = ""
    until: str = ""
    """A time; "" also where what has begun does not end by itself."""
    read_only: bool = False
    uploads: bool = True
    message_id: int | None = None
    content: str = ""


@dataclass(frozen=True)
class EventsDropped:
    """Nobody took the events in time, so the oldest `count` were dropped; messages among them are
    in the history."""

    count: int


@dataclass(frozen=True)
class ProtocolViolation:
    """The server sent something that breaks the protocol; it was ignored."""

    text: str


@dataclass(frozen=True)
class CatchUpFailed:
    """What the server has could not be looked at whole, at a login or after coming back: something
    that was missed may never be told. `reason` says why."""

    reason: str


@dataclass(frozen=True)
class PacketSeen:
    """A packet went over the wire; `text` shows it, harmless and without secrets. Only where
    somebody asked to see them. `sent` is whether it went to the server."""

    text: str
    sent: bool = False


Event = (
    Message
    | CountsDisagreed
    | FileShared
    | OwnMessage
    | Disconnected
    | Reconnected
    | LoggedOut
    | ServerEvent
    | EventsDropped
    | ProtocolViolation
    | CatchUpFailed
    | PacketSeen
)


class Arrivals:
    """The queue of events: bounded, and never waiting on the side that puts, which must go on
    reading."""

    def __init__(self, most: int = MAX_WAITING_EVENTS) -> None:
        self._most = most
        # guards the three below; notified at each put and at close
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._end: tuple[ChatError | None] | None = None

    def put(self, event: Event) -> None:
        """Add an event; the oldest goes where the queue is full."""
        with self._changed:
            if len(self._events) >= self._most:
                self._events.popleft()
                self._dropped += 1
            self._events.append(event)
            self._changed.notify()

    def get(self, timeout: float) -> Event | None:
        """Return the next event, or None after `timeout` seconds or where the queue has ended."""
        deadline = Deadline(timeout)
        with self._changed:
            while not self._events:
                left = deadline.left()
                if not left or self._end is not None:
                    return None
                self._changed.wait(left)
            if self._dropped:
                gap, self._dropped = EventsDropped(self._dropped), 0
                return gap
            return self._events.popleft()

    def reopen(self) -> None:
        """Take away the end of the session before: a new one begins."""
        with self._changed:
            self._end = None

    def close(self, error: ChatError | None = None) -> None:
        """End the queue: no more events will come; `error` is why, None where the user closed."""
        with self._changed:
            if self._end is None:
                self._end = (error,)
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._end is not None and not self._events

    @property
    def error(self) -> ChatError | None:
        """Why the queue ended; None where it goes on or was closed by the user."""
        with self._changed:
            return self._end[0] if self._end is not None else None
