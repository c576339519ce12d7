"""Sending a message: both handshakes, the sender's and the receivers'."""

from __future__ import annotations

import sqlite3
from typing import Final

import protocol
from protocol import Ack, CharacterCount, ConfirmCount, ErrorCode, Refusal, SendMessage
from server.base.refusals import as_refusal
from server.handlers.context import Context
from server.handlers.room_access import (
    check_may_speak,
    check_may_write,
    room_to_write,
)
from server.handlers.sessions import check_current
from server.handlers.table import handles_for_session
from server.state.open_transactions import Transaction
from server.state.recent_messages import Delivered, confirmation, delivered, message_of
from server.state.room_directory import RoomState
from server.state.session import Session
from server.writing.delivery import Delivery
from server.writing.writer import Change, Writer
from storage import messages, rooms
from storage.errors import StorageError
from storage.messages import Message

FREE_SECONDS: Final = 60
"""So long receivers' packets about a message are free of the rate limit in any case (R-LIM-4)."""

LONGEST_PAUSE_SECONDS: Final = 2.0
"""So long at most a sender is left unread at a time: meanwhile it is not noticed that its client
has left."""


@handles_for_session(SendMessage)
def send_message(context: Context, session: Session, request: SendMessage) -> bytes:
    """Open a transaction and answer the counts of the letters that arrived; acknowledge a message
    that is stored already."""
    if request.announce and not session.is_teacher:
        raise Refusal(ErrorCode.FORBIDDEN, "data.announce: only teachers may announce")
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
    check_may_speak(context.restrictions, session, room, writing=False)
    session.transactions.expire(context.clock())
    reserved = session.transactions.reserve(request.content, lambda: session.connection.ended)
    transaction = Transaction(
        key or session.transactions.new_id(),
        key is not None,
        request.room_id,
        request.content,
        protocol.count_letters(request.content),
        context.clock() + (context.settings.transaction_timeout or float("inf")),
        request.announce,
    )
    if not session.transactions.open(transaction, reserved):
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
        change = StoreMessage(context, session, transaction, request.request_id)
        try:
            context.writer.submit(change)
        except StorageError:
            session.transactions.settled(transaction)
            raise
        _slow_down(context, session, transaction)
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


def _slow_down(context: Context, session: Session, transaction: Transaction) -> None:
    """Read nothing more from a sender for a while, where it says more than what may wait for a
    receiver (R-LIM-17)."""
    if not context.settings.rate_limit:
        return
    size = len(protocol.encode_text(transaction.content))
    wait = context.said.charge_account(session.account_id, size)
    if wait > 0:
        session.connection.flush()
        longest = min(wait, LONGEST_PAUSE_SECONDS)  # the rest is owed by the next message
        context.shutdown.pause(longest, lambda: session.connection.ended)


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
        self.size = transaction.size
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
        size = messages.share_bytes(transaction.content)
        self._context.disk_space.check()
        now = self._context.wall_clock.seconds()
        self._room, self._is_new_room = room_to_write(
            self._context, connection, session, transaction.room_id, now, size
        )
        pk, clock_high = self._room.room.pk, self._context.wall_clock.high(now)
        message_id = messages.insert(
            connection,
            pk,
            session.account_id,
            transaction.content,
            now,
            clock_high,
            key,
            transaction.announce,
        )
        self._stored = Message(
            message_id,
            pk,
            session.account_id,
            session.chatid,
            transaction.content,
            now,
            transaction.announce,
        )

    def committed(self, delivery: Delivery) -> None:
        message, session = self._stored, self._session
        assert message is not None
        session.transactions.settled(self._transaction)
        reply = acknowledgement(self._transaction.transaction_id, message, self._request_id)
        delivery.reply(session.connection.outbox, reply)
        if self._is_repeated:
            return
        session.messages_sent += 1
        assert self._room is not None
        room_id = self._room.room.room_id
        if self._is_new_room:
            delivery.event("room_created", None, room_id=room_id, name=self._room.room.name)
        sent = delivered(room_id, message, self._transaction.counts)
        self._context.recent.add(sent)
        row = ("message", message.id)
        delivery.to_room(self._room, session.account_id, sent.frame, message.sent_at, row)

    def failed(self, error: Exception, delivery: Delivery) -> None:
        self._session.transactions.settled(self._transaction)
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


# What receivers answer. Of a recent message everything is in memory. Of an older one the rights
# come first and the work after, so that time tells a stranger nothing (R-MSG-12), and the packet
# counts for the rate (R-LIM-4).


@handles_for_session(CharacterCount)
def character_count(context: Context, session: Session, request: CharacterCount) -> bytes:
    """Compare a receiver's counts with ours: confirm them, or not."""
    recent = _recent(context, session, request.transaction_id)
    if recent is not None:
        agrees = request.letter_frequencies in (recent.counts, recent.counts_before)
        return recent.verdict(agrees, request.request_id)
    _, message = _read_back(context, session, request.transaction_id)
    agrees = request.letter_frequencies == protocol.count_letters(message.content)
    if message.is_hidden and not agrees:  # it may have come before it was hidden
        with context.database.reading() as reader:
            before = messages.original(reader, message.id)
        assert before is not None, "messages stay"
        agrees = request.letter_frequencies == protocol.count_letters(before.content)
    return confirmation(message.id, agrees, request.request_id)


@handles_for_session(Ack)
def ack(context: Context, session: Session, request: Ack) -> bytes | None:
    """Remember that the receiver has everything up to this message. Where its counts were wrong,
    send the message again."""
    recent = _recent(context, session, request.transaction_id)
    if recent is None:
        room_id, message = _read_back(context, session, request.transaction_id)
        room_pk, message_id = message.room_pk, message.id
    else:
        room_pk, message_id = recent.room_pk, recent.message_id
    if request.status == "success":
        session.mark(room_pk, message_id)
        return None
    if not context.resends.count(session.account_id, message_id):
        return None
    return recent.frame if recent is not None else delivered(room_id, message, {}).frame


def _recent(context: Context, session: Session, transaction_id: str) -> Delivered | None:
    """Return the message of a receivers' transaction, if it is in memory; raise
    `transaction_not_found` where the session's user has no answer to give for it."""
    message = context.recent.get(transaction_id)
    if message is None:
        return None
    room = context.rooms.find(message.room_id)
    is_readable = room is not None and room.admits(session.account_id)
    if not is_readable or message.sender_id == session.account_id:
        raise _no_transaction(transaction_id)
    return message


def _read_back(context: Context, session: Session, transaction_id: str) -> tuple[str, Message]:
    """Return the room's id and the message of a receivers' transaction, from the database; raise
    `transaction_not_found` as `_recent` does, before anything of the content is read."""
    message_id = message_of(transaction_id)
    with context.database.reading() as reader:
        place = None if message_id is None else messages.place(reader, message_id)
        room = None if place is None else rooms.by_pk(reader, place.room_pk)
        if room is not None:
            room = rooms.find_for(reader, room.room_id, session.account_id)
        if place is None or room is None or place.sender_id == session.account_id:
            raise _no_transaction(transaction_id)
        message = messages.get(reader, place.message_id)
    assert message is not None, "read in the same snapshot"
    age = context.wall_clock.seconds() - message.sent_at
    is_free = 0 <= age <= FREE_SECONDS and session.may_read_back(message.id)
    session.connection.is_charged = not is_free
    return room.room_id, message


def _no_transaction(transaction_id: str) -> Refusal:
    return Refusal(
        ErrorCode.TRANSACTION_NOT_FOUND,
        "data.transaction_id: you have no message of transaction "
        f"{protocol.describe(transaction_id)} to answer for",
    )
