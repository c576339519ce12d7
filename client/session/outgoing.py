"""Own messages on their way: sent, counted by the server, confirmed or not, acknowledged, and sent
again after a lost connection.

Owns the sender's half of the handshake (docs/PROTOCOL.md, "Sending a message"). Every method of
`OwnMessages` is called with the connection's condition held; `Outgoing.wait` may be called by any
thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import protocol
from client.base.waiting import wait_in_slices
from client.errors import (
    ChatError,
    ConnectionLost,
    CountsDiffer,
    LetterDifference,
    ServerError,
)
from client.events import Event, OwnMessage, State
from client.network.link import Link
from client.records import as_id, as_number, as_object, as_text, code_and_message

SEND_SECONDS: Final = 60.0
MAY_BE_STORED: Final = "{}; it may have been stored, or not"
MAX_IN_FLIGHT: Final = 32  # the server allows 64 unconfirmed messages a session
MAX_STARTS: Final = 5
RESEND_SECONDS: Final = 5.0
"""So long a message waits for the next step of its handshake before it is started over; each time
twice as long. TCP loses nothing, but a server or what stands before it may."""
ACK_SECONDS: Final = 0.5
"""So long an `ack` may come behind an error that says that its transaction is not open."""
GIVE_UP_SECONDS: Final = 30.0
"""So long a confirmed message waits for its `ack` that can't be sent again without risk."""


class Outgoing:
    """An own message on its way. `state` and what follows it are written by `OwnMessages`; `wait`
    for the end of it."""

    def __init__(self, room_id: str, content: str, *, announce: bool = False) -> None:
        self.announce = announce
        self.transaction_id = secrets.token_hex(16)
        self.room_id = room_id
        self.content = content
        self.letters = protocol.count_letters(content)
        self.state = State.SENDING
        self.message_id: int | None = None
        self.timestamp: str | None = None
        self.error: ChatError | None = None
        self.done = threading.Event()  # set once, when `state` has become STORED or REFUSED
        self.starts = 0
        self.overdue_at = 0.0  # of the monotonic clock; the answer should have come by then
        self.request_id: str | None = (
            None  # that of the running attempt; None while it waits to be sent
        )
        self.server_key: str | None = (
            None  # the transaction_id that the server uses, once it is known
        )
        self.confirmed = False

    def wait(self, timeout: float = SEND_SECONDS) -> Outgoing:
        """Wait until the message is stored. Raise the error that stopped it, or `ConnectionLost`
        after `timeout` seconds."""
        if not wait_in_slices(self.done.wait, timeout):
            raise ConnectionLost(
                f"no acknowledgement within {timeout:g} s; the message is still tried"
            )
        if self.error is not None:
            raise self.error
        return self

    def snapshot(self) -> OwnMessage:
        """Return the event that tells of the present state."""
        return OwnMessage(
            self.transaction_id,
            self.room_id,
            self.content,
            self.state,
            self.message_id,
            self.timestamp,
            self.error,
        )


class OwnMessages:
    """The own messages that are not yet stored or refused: those that wait to be sent, and those
    under way on the present link.

    `tell` takes the events, `changed` is notified whenever a message has come to its end, `numbers`
    makes request ids.
    """

    def __init__(
        self, tell: Callable[[Event], None], changed: threading.Condition, numbers: Iterator[int]
    ) -> None:
        self._tell = tell
        self._changed = changed
        self._numbers = numbers
        self._link: Link | None = None
        self._chatid = ""
        # halved by each loss, grown by each end: on a bad network few go out, but they get through
        self._window = MAX_IN_FLIGHT
        self._queued: deque[Outgoing] = deque()
        # by our transaction_id, oldest first
        self._sent: OrderedDict[str, Outgoing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queued) + len(self._sent)

    def add(self, message: Outgoing) -> None:
        """Take on a new message."""
        self._queued.append(message)
        self._tell(message.snapshot())
        self._send()

    def begin(self, link: Link, chatid: str) -> None:
        """Take on a session, and send what waits."""
        self._link, self._chatid = link, chatid
        self._send()

    def start_overdue_over(self) -> None:
        """Start over what should have been answered by now and can't be stored twice: a server
        that takes our keys knows it again (R-MSG-8), and any server drops what is not confirmed.
        What is confirmed under a server's own key is given up after `GIVE_UP_SECONDS`."""
        now = time.monotonic()
        overdue = [message for message in self._sent.values() if now > message.overdue_at]
        for message in reversed(overdue):
            if message.confirmed and message.server_key != message.transaction_id:
                if now > message.overdue_at + GIVE_UP_SECONDS:
                    self._end(message, ConnectionLost(MAY_BE_STORED.format("no acknowledgement")))
            elif message.starts < MAX_STARTS:
                self._put_back(message)
        if overdue:
            self._send()

    def lost(self) -> None:
        """Keep what was not acknowledged for the next link: the present link or session is gone."""
        self._link = None
        self._window = max(1, self._window // 2)
        for message in reversed(list(self._sent.values())):
            if message.confirmed and message.server_key != message.transaction_id:
                # The server did not take our key, so a second sending could be stored twice.
                self._end(
                    message,
                    ConnectionLost(MAY_BE_STORED.format("lost before the acknowledgement")),
                )
            else:
                message.starts = 0
                self._put_back(message)

    def stop(self) -> tuple[int, int]:
        """Send nothing any more; as `client.connection.Connection.stop_sending`."""
        self._link = None
        confirmed = sum(message.confirmed for message in self._sent.values())
        confirmed += sum(message.state is State.COUNTS_AGREE for message in self._queued)
        return len(self) - confirmed, confirmed

    def forget(self, error: ChatError) -> None:
        """Give all of them up."""
        for message in [*self._sent.values(), *self._queued]:
            self._end(message, error)
        self._queued.clear()

    def take(self, link: Link, packet: Mapping[str, Any]) -> bool:
        """Take a packet of the server; return False where it is not about an own message."""
        take = self._TAKES.get(packet["action"])
        return take is not None and take(self, link, packet)

    def _counted(self, link: Link, packet: Mapping[str, Any]) -> bool:
        data = packet["data"]
        message = self._find(packet, data["transaction_id"], fresh=True)
        if message is None:
            return False
        if message.confirmed:
            return True  # the counts came twice, and a second answer would be an error
        message.server_key = data["transaction_id"]
        differences = differences_between(message.letters, data["letter_frequencies"])
        message.confirmed = not differences
        link.send(
            protocol.build_request(
                "confirm_count",
                {"transaction_id": message.server_key, "confirm": message.confirmed},
                request_id=message.request_id,
            )
        )
        if differences:
            self._end(message, CountsDiffer(differences))
        else:
            message.state = State.COUNTS_AGREE
            self._tell(message.snapshot())
        return True

    def _acknowledged(self, link: Link, packet: Mapping[str, Any]) -> bool:
        data = as_object(packet.get("data"))
        message = self._find(packet, as_text(data.get("transaction_id")))
        if message is None:
            return True  # it had ended before, by counts that differ
        if packet.get("status") == "error":
            self._end(
                message, ServerError(*code_and_message(packet, protocol.ErrorCode.NOT_CONFIRMED))
            )
        else:
            message.message_id = as_id(data.get("message_id"))
            message.timestamp = as_text(data.get("timestamp")) or None
            self._end(message, None)
        return True

    def _refused(self, link: Link, packet: Mapping[str, Any]) -> bool:
        action = packet.get("original_action")
        message = self._find(packet, "", fresh=action == "send_message")
        if message is None or action not in ("send_message", "confirm_count"):
            return False
        code, text = code_and_message(packet, "error")
        may_start_over = message.starts < MAX_STARTS
        if may_start_over and code == protocol.ErrorCode.TRANSACTION_NOT_FOUND:
            # It has died, or this confirmation came twice and the `ack` is on its way.
            message.confirmed = False
            message.overdue_at = time.monotonic() + ACK_SECONDS
        elif may_start_over and code == protocol.ErrorCode.TOO_MANY_PENDING:
            self._put_back(message)
            self._send()
        else:
            self._end(message, ServerError(code, text))
        return True

    _TAKES: Final[Mapping[str, Callable[[OwnMessages, Link, Mapping[str, Any]], bool]]] = {
        "character_count": _counted,
        "ack": _acknowledged,
        "error": _refused,
    }

    def _find(self, packet: Mapping[str, Any], key: str, *, fresh: bool = False) -> Outgoing | None:
        """Return the message that a packet speaks of. A server of the 24 packets alone names it by
        a key of its own, or not at all: then it is the oldest that was sent, and is `fresh`: not
        yet counted."""
        if key in self._sent:
            return self._sent[key]
        request_id = packet.get("request_id")
        for message in self._sent.values():
            if request_id == message.request_id or (key and key == message.server_key):
                return message
        if isinstance(request_id, str) or not fresh:
            return None
        return next(
            (message for message in self._sent.values() if message.server_key is None), None
        )

    def _put_back(self, message: Outgoing) -> None:
        """Put a message to the front of those that wait, to be started over."""
        del self._sent[message.transaction_id]
        message.request_id = message.server_key = None
        message.confirmed = False
        self._queued.appendleft(message)

    def _end(self, message: Outgoing, error: ChatError | None) -> None:
        message.error = error
        message.state = State.STORED if error is None else State.REFUSED
        self._sent.pop(message.transaction_id, None)
        self._window = min(MAX_IN_FLIGHT, self._window + 1)
        self._tell(message.snapshot())
        message.done.set()
        self._send()
        self._changed.notify_all()

    def _send(self) -> None:
        """Send what waits, as many as may be under way at once."""
        while self._link is not None and self._queued and len(self._sent) < self._window:
            message = self._queued[0]
            message.request_id = f"m{next(self._numbers)}"
            data = {
                "chatid": self._chatid,
                "room_id": message.room_id,
                "content": message.content,
                "transaction_id": message.transaction_id,
                **({"announce": True} if message.announce else {}),
            }
            try:
                self._link.send(
                    protocol.build_request("send_message", data, request_id=message.request_id)
                )
            except ConnectionLost:
                return  # the reading thread is about to notice
            message.starts += 1
            message.overdue_at = time.monotonic() + RESEND_SECONDS * 2 ** (message.starts - 1)
            self._sent[message.transaction_id] = self._queued.popleft()


def differences_between(
    meant: Mapping[str, int], counted: Mapping[str, Any]
) -> list[LetterDifference]:
    """Return the characters of which not as many were counted as were meant."""
    if meant == counted:
        return []
    pairs = (
        (letter, meant.get(letter, 0), as_number(counted.get(letter)))
        for letter in sorted({*meant, *counted})
    )
    return [LetterDifference(*pair) for pair in pairs if pair[1] != pair[2]]


def letters_between(first: str, second: str) -> tuple[LetterDifference, ...]:
    """Return the characters of which `second` has another number than `first`: `meant` is that of
    `second`."""
    return tuple(differences_between(protocol.count_letters(second), protocol.count_letters(first)))
