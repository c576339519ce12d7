"""Sending a message: both handshakes, the sender's and the receivers'."""

from __future__ import annotations

import sqlite3
from typing import Final

import protocol
from protocol import Ack, CharacterCount, ConfirmCount, ErrorCode, Refusal, SendMessage
from server.base.refusals import as_refusal
from server.handlers.context import Context
from server.handlers.room_access import check_may_write, room_to_write
from server.handlers.sessions import check_current
from server.handlers.table import handles_for_session
from server.state.open_transactions import Transaction
from server.state.recent_messages import Delivered, delivered
from server.state.room_directory import RoomState
from server.state.session import Session
from server.writing.delivery import Delivery
from server.writing.writer import Change, Writer
from storage import messages, rooms
from storage.messages import Message

MOST_RESENDS: Final = 3
"""How often a receiver with wrong counts is sent a message again (R-MSG)."""


@handles_for_session(SendMessage)
def send_message(context: Context, session: Session, request: SendMessage) -> bytes:
    """Open a transaction and answer the counts of the letters that arrived; acknowledge a message
    that is stored already."""
    room = check_may_write(context, session.account_id, request.room_id)
    key = request.transaction_id
    if key is not None:
        already = session.transactions.get(key)
        if already is not None and (already.room_id, already.content) != (
            request.room_id,
            request.content,
        ):
            raise Refusal(
                ErrorCode.TRANSACTION_MISMATCH,
                "data.transaction_id: this key is open for another message",
            )
        if already is None:
            with context.database.reading() as reader:
                known = messages.by_transaction(reader, session.account_id, key)
            if known is not None:
                check_same_message(known, room, request.content)
                _wait_for_acks(context.writer, session)
                return acknowledgement(key, known, request.request_id)
    transaction = Transaction(
        key or session.transactions.new_id(),
        key is not None,
        request.room_id,
        request.content,
        protocol.count_letters(request.content),
        context.clock() + (context.settings.transaction_timeout or float("inf")),
    )
    session.transactions.expire(context.clock())
    if not session.transactions.open(transaction):
        most = context.settings.max_pending
        raise Refusal(
            ErrorCode.TOO_MANY_PENDING,
            f"{most} of your messages wait to be confirmed or stored: confirm some first",
        )
    data = {
        "transaction_id": transaction.transaction_id,
        "letter_frequencies": transaction.counts,
        "original_action": "send_message",
    }
    return protocol.build("character_count", data, request_id=request.request_id)


@handles_for_session(ConfirmCount)
def confirm_count(context: Context, session: Session, request: ConfirmCount) -> bytes | None:
    """Store the message, or drop it. The ack of a stored one comes from the writer."""
    session.transactions.expire(context.clock())
    transaction = session.transactions.take(request.transaction_id, to_store=request.confirm)
    if transaction is None:
        raise Refusal(
            ErrorCode.TRANSACTION_NOT_FOUND,
            f"data.transaction_id: {protocol.describe(request.transaction_id)} is not open; "
            "it may have been confirmed, or died "
            f"after {context.settings.transaction_timeout:.0f} s",
        )
    if request.confirm:
        context.writer.submit(StoreMessage(context, session, transaction, request.request_id))
        return None
    _wait_for_acks(context.writer, session)
    return protocol.build(
        "ack",
        {"transaction_id": request.transaction_id},
        status="error",
        code=ErrorCode.NOT_CONFIRMED,
        message="You did not confirm the counts: the message was dropped.",
        request_id=request.request_id,
    )


def _wait_for_acks(writer: Writer, session: Session) -> None:
    """Let the writer answer what was confirmed earlier: the acks of one client keep their order."""
    if session.transactions.unsettled:
        writer.run(lambda connection: None)


class StoreMessage(Change):
    """Store a message whose sender has confirmed the counts; then acknowledge it and tell the
    room."""

    needs_savepoint = False

    def __init__(
        self, context: Context, session: Session, transaction: Transaction, request_id: str | None
    ) -> None:
        self._context, self._session = context, session
        self._transaction, self._request_id = transaction, request_id
        self._stored: Message | None = None
        self._room: RoomState | None = None
        self._is_new_room = False
        self._is_repeated = False

    def apply(self, connection: sqlite3.Connection) -> None:
        session, transaction = self._session, self._transaction
        check_current(connection, session)
        key = transaction.transaction_id if transaction.own_key else None
        if key is not None:
            known = messages.by_transaction(connection, session.account_id, key)
            if known is not None:
                room = self._context.rooms.find(transaction.room_id, connection)
                check_same_message(known, room, transaction.content)
                self._stored, self._is_repeated = known, True
                return
        now = self._context.wall_clock.seconds()
        self._room, self._is_new_room = room_to_write(
            connection,
            self._context.rooms,
            self._context.settings,
            session.account_id,
            transaction.room_id,
            now,
        )
        pk, clock_high = self._room.room.pk, self._context.wall_clock.high(now)
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
        self._context.recent.add(sent)
        row = ("message", message.id)
        delivery.to_room(self._room, session.account_id, sent.frame, message.sent_at, row)

    def failed(self, error: Exception, delivery: Delivery) -> None:
        self._session.transactions.settled()
        refusal = as_refusal(error)
        reply = protocol.build_error(
            "confirm_count", refusal.code, refusal.message, self._request_id
        )
        delivery.reply(self._session.connection.outbox, reply)


def acknowledgement(transaction_id: str, message: Message, request_id: str | None) -> bytes:
    """Return the `ack` of a stored message."""
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
            ErrorCode.TRANSACTION_MISMATCH,
            "data.transaction_id: this key was used for another message; expected a new key "
            "for a new message",
        )


@handles_for_session(CharacterCount)
def character_count(context: Context, session: Session, request: CharacterCount) -> bytes:
    """Compare a receiver's counts with ours: confirm them, or not."""
    message = find_delivered(context, session, request.transaction_id)
    return message.verdict(request.letter_frequencies == message.counts, request.request_id)


@handles_for_session(Ack)
def ack(context: Context, session: Session, request: Ack) -> bytes | None:
    """Remember that the receiver has everything up to this message. Where its counts were wrong,
    send the message again."""
    message = find_delivered(context, session, request.transaction_id)
    if request.status == "success":
        session.mark(message.room_pk, message.message_id)
        return None
    times = session.resent.get(message.message_id, 0)
    if times >= MOST_RESENDS:
        return None
    if (
        len(session.resent) >= protocol.MAX_PAGE
    ):  # a client that never gets it right is not remembered for ever
        session.resent.pop(next(iter(session.resent)))
    session.resent[message.message_id] = times + 1
    return message.frame


def find_delivered(context: Context, session: Session, transaction_id: str) -> Delivered:
    """Return the message of a receivers' transaction, if it is one that the session's user
    received; else raise `transaction_not_found`."""
    message = context.recent.get(transaction_id)
    if message is None:
        message = _read_back(context, transaction_id)
    if message is not None and message.sender_id != session.account_id:
        room = context.rooms.find(message.room_id)
        if room is not None and room.admits(session.account_id):
            return message
    raise Refusal(
        ErrorCode.TRANSACTION_NOT_FOUND,
        "data.transaction_id: you have no message of transaction "
        f"{protocol.describe(transaction_id)} to answer for",
    )


def _read_back(context: Context, transaction_id: str) -> Delivered | None:
    number = transaction_id[1:]
    if (
        transaction_id[0] != "m"
        or not (number.isascii() and number.isdigit())
        or number[0] == "0"
        or len(number) > 15
    ):
        return None
    with context.database.reading() as reader:
        message = messages.get(reader, int(number))
        room = None if message is None else rooms.by_pk(reader, message.room_pk)
    if message is None or room is None:
        return None
    return delivered(room.room_id, message, protocol.count_letters(message.content))
