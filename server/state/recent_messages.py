"""Both handshakes: the change that stores a confirmed message, and what its receivers are checked
against afterwards.

Owns the memory of recently delivered messages. Never sends; the handlers and the delivery do.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import protocol
from protocol import Refusal
from server.state.room_directory import RoomState, no_such_room
from server.state.session import LETTER_BYTES, Session, Transaction
from server.writing.delivery import Delivery
from server.writing.writer import Change
from storage import messages, rooms
from storage.errors import StorageError
from storage.messages import Message

if TYPE_CHECKING:
    from server.running.service import Service

log: Final = logging.getLogger("server.transactions")


@dataclass(frozen=True, slots=True)
class Delivered:
    """A stored message as its receivers are asked about it. Its transaction (T2) is made from the
    id, so that no receiver needs a state of its own."""

    message_id: int
    room_id: str
    room_pk: int
    sender_id: int
    counts: Mapping[str, int]
    frame: bytes
    """What every receiver was sent."""
    confirmed: bytes
    """The frame that confirms right counts."""

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return len(self.frame) + len(self.confirmed) + LETTER_BYTES * len(self.counts) + 256

    def verdict(self, agrees: bool, request_id: str | None) -> bytes:
        """The `confirm_count` that answers a receiver."""
        if agrees and request_id is None:
            return self.confirmed
        return _confirmation(self.message_id, agrees, request_id)


def receiver_transaction(message_id: int) -> str:
    """T2, the transaction in which receivers answer for a message."""
    return f"m{message_id}"


def _confirmation(message_id: int, agrees: bool, request_id: str | None) -> bytes:
    """The `confirm_count` of a receivers' transaction. Put together by hand: with a request_id of
    each receiver's own this is once a delivery, 1 µs instead of 5."""
    beside = "" if request_id is None else f',"request_id":{json.dumps(request_id)}'
    word = "true" if agrees else "false"
    return protocol.frame(
        f'{{"action":"confirm_count","data":{{"transaction_id":"{receiver_transaction(message_id)}","confirm":{word}}}{beside}}}'.encode()
    )


def delivered(room_id: str, message: Message, counts: Mapping[str, int]) -> Delivered:
    """What there is to say of a message that was just stored, or read back."""
    transaction_id = receiver_transaction(message.id)
    frame = protocol.build(
        "receive_message",
        {
            "transaction_id": transaction_id,
            "room_id": room_id,
            "sender_chatid": message.sender_chatid,
            "content": message.content,
            "timestamp": protocol.format_time(message.sent_at),
            "message_id": message.id,
        },
    )
    confirmed = _confirmation(message.id, True, None)
    return Delivered(
        message.id, room_id, message.room_pk, message.sender_id, counts, frame, confirmed
    )


class RecentMessages:
    """The messages of late, to check receivers' counts without asking storage: the oldest go when
    `MOST_BYTES` are held.

    The writer adds; any thread gets. (A dictionary's single operations are atomic, so no lock is
    needed.)
    """

    MOST_BYTES: Final = 32 * 1024 * 1024

    def __init__(self) -> None:
        self._messages: OrderedDict[str, Delivered] = OrderedDict()
        self._held = 0

    def add(self, message: Delivered) -> None:
        """Remember it. The writer's thread only."""
        self._messages[receiver_transaction(message.message_id)] = message
        self._held += message.size
        while self._held > self.MOST_BYTES and len(self._messages) > 1:
            _, oldest = self._messages.popitem(last=False)
            self._held -= oldest.size

    def get(self, transaction_id: str) -> Delivered | None:
        """The message of a receivers' transaction, if it is still held."""
        return self._messages.get(transaction_id)


def room_to_write(
    service: Service, connection: sqlite3.Connection, session: Session, room_id: str, now: int
) -> tuple[RoomState, bool]:
    """Inside the writer's transaction: the room for what the session's user stores there, and
    whether it was made just now.

    Makes an open room of an id that no room has, and brings the user back who had left. Raises
    Refusal before it writes.
    """
    state = service.rooms.find(room_id, connection)
    if state is None:
        check_new_room(service, connection, session.account_id, room_id)
        service.rooms.begin_change(room_id)
        rooms.create_open(connection, room_id, session.account_id, now)
        state = service.rooms.find(room_id, connection)
        assert state is not None
        return state, True
    if not state.admits(session.account_id):
        raise no_such_room(room_id)
    if session.account_id in state.departed:
        service.rooms.begin_change(room_id)
        rooms.rejoin(connection, state.room.pk, session.account_id)
        state = service.rooms.find(room_id, connection)
        assert state is not None
    return state, False


def check_new_room(
    service: Service, connection: sqlite3.Connection, account_id: int, room_id: str
) -> None:
    """Raise Refusal where this id can't become a new open room made by this account."""
    if room_id.startswith(protocol.PRIVATE_ROOM_PREFIX) or not service.settings.new_rooms:
        raise no_such_room(room_id)
    check_room_share(service, connection, account_id)


def check_room_share(service: Service, connection: sqlite3.Connection, account_id: int) -> None:
    """Raise `quota_exceeded` where the account has made all the rooms it may."""
    most = service.settings.max_rooms
    if most and rooms.count_made_by(connection, account_id) >= most:
        raise Refusal(
            "quota_exceeded",
            f"data.room_id: you have made {most} rooms, which is the most a user may make",
        )


class StoreMessage(Change):
    """Store a message whose sender has confirmed the counts; then acknowledge it and tell the
    room."""

    plain = True

    def __init__(
        self, service: Service, session: Session, transaction: Transaction, request_id: str | None
    ) -> None:
        self._service, self._session, self._transaction, self._request_id = (
            service,
            session,
            transaction,
            request_id,
        )
        self._stored: Message | None = None
        self._room: RoomState | None = None
        self._is_new_room = False
        self._is_repeated = False

    def apply(self, connection: sqlite3.Connection) -> None:
        session, transaction = self._session, self._transaction
        key = transaction.transaction_id if transaction.own_key else None
        if key is not None:
            known = messages.by_transaction(connection, session.account_id, key)
            if known is not None:
                room = self._service.rooms.find(transaction.room_id, connection)
                check_same_message(known, room, transaction.content)
                self._stored, self._is_repeated = known, True
                return
        now = self._service.wall_seconds()
        self._room, self._is_new_room = room_to_write(
            self._service, connection, session, transaction.room_id, now
        )
        pk, clock_high = self._room.room.pk, self._service.clock_high(now)
        message_id = messages.insert(
            connection, pk, session.account_id, transaction.content, now, clock_high, key
        )
        self._stored = Message(
            message_id, pk, session.account_id, session.chatid, transaction.content, now
        )

    def committed(self, delivery: Delivery) -> None:
        message, session = self._stored, self._session
        assert message is not None
        session.transactions.settled()
        reply = acknowledgement(self._transaction.transaction_id, message, self._request_id)
        delivery.reply(session.connection.outbox, reply)
        if self._is_repeated:
            return
        assert self._room is not None
        room_id = self._room.room.room_id
        if self._is_new_room:
            delivery.event("room_created", None, room_id=room_id, name=self._room.room.name)
        sent = delivered(room_id, message, self._transaction.counts)
        self._service.recent.add(sent)
        delivery.to_room(self._room, session.account_id, sent.frame, message.sent_at)
        self._service.journal_reached("message", message.id)

    def failed(self, error: Exception, delivery: Delivery) -> None:
        self._session.transactions.settled()
        refusal = as_refusal(error)
        reply = protocol.build_error(
            "confirm_count", refusal.code, refusal.message, self._request_id
        )
        delivery.reply(self._session.connection.outbox, reply)


def acknowledgement(transaction_id: str, message: Message, request_id: str | None) -> bytes:
    """The `ack` of a stored message."""
    data = {
        "transaction_id": transaction_id,
        "message_id": message.id,
        "timestamp": protocol.format_time(message.sent_at),
    }
    return protocol.build("ack", data, request_id=request_id)


def check_same_message(known: Message, room: RoomState | None, content: str) -> None:
    """Raise `transaction_mismatch` where a key was used before for another room or content."""
    if room is None or room.room.pk != known.room_pk or known.content != content:
        raise Refusal(
            "transaction_mismatch",
            "data.transaction_id: this key was used for another message; expected a new key for a new message",
        )


def as_refusal(error: Exception) -> Refusal:
    """What the peer hears of an error: a refusal as it is, anything of ours as `internal_error`."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, (StorageError, TimeoutError)):
        return Refusal("internal_error", "the server could not do this now; its log says why")
    return Refusal("internal_error", "the server met a defect of its own; its log says which")
