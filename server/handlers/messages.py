"""Sending a message: both handshakes, the sender's and the receivers'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import protocol
from protocol import Ack, CharacterCount, ConfirmCount, Refusal, SendMessage
from server.handlers.table import handles_for_session
from server.state.recent_messages import (
    Delivered,
    StoreMessage,
    acknowledgement,
    check_new_room,
    check_same_message,
    delivered,
)
from server.state.session import Session, Transaction
from storage import messages, rooms

if TYPE_CHECKING:
    from server.running.service import Service

MOST_RESENDS: Final = 3
"""How often a receiver with wrong counts is sent a message again (R-MSG)."""


@handles_for_session(SendMessage)
def send_message(service: Service, session: Session, request: SendMessage) -> bytes:
    """Open a transaction and tell the sender the letters that arrived; a message that is stored
    already is acknowledged."""
    room = service.rooms.find(request.room_id)
    if room is None:
        with service.database.reading() as reader:
            check_new_room(service, reader, session.account_id, request.room_id)
    else:
        service.rooms.visible(request.room_id, session.account_id)
    key = request.transaction_id
    if key is not None:
        already = session.transactions.get(key)
        if already is not None and (already.room_id, already.content) != (
            request.room_id,
            request.content,
        ):
            raise Refusal(
                "transaction_mismatch", "data.transaction_id: this key is open for another message"
            )
        if already is None:
            with service.database.reading() as reader:
                known = messages.by_transaction(reader, session.account_id, key)
            if known is not None:
                check_same_message(known, room, request.content)
                _wait_for_acks(service, session)
                return acknowledgement(key, known, request.request_id)
    transaction = Transaction(
        key or session.transactions.new_id(),
        key is not None,
        request.room_id,
        request.content,
        protocol.count_letters(request.content),
        service.clock() + (service.settings.transaction_timeout or float("inf")),
    )
    session.transactions.expire(service.clock())
    if not session.transactions.open(transaction):
        most = service.settings.max_pending
        raise Refusal(
            "too_many_pending",
            f"{most} of your messages wait to be confirmed or stored: confirm some first",
        )
    data = {
        "transaction_id": transaction.transaction_id,
        "letter_frequencies": transaction.counts,
        "original_action": "send_message",
    }
    return protocol.build("character_count", data, request_id=request.request_id)


@handles_for_session(ConfirmCount)
def confirm_count(service: Service, session: Session, request: ConfirmCount) -> bytes | None:
    """Store the message, or drop it. The ack of a stored one comes from the writer."""
    session.transactions.expire(service.clock())
    transaction = session.transactions.take(request.transaction_id, to_store=request.confirm)
    if transaction is None:
        raise Refusal(
            "transaction_not_found",
            f"data.transaction_id: {protocol.describe(request.transaction_id)} is not open; it may have been confirmed, or died "
            f"after {service.settings.transaction_timeout:.0f} s",
        )
    if request.confirm:
        service.writer.submit(StoreMessage(service, session, transaction, request.request_id))
        return None
    _wait_for_acks(service, session)
    return protocol.build(
        "ack",
        {"transaction_id": request.transaction_id},
        status="error",
        code="not_confirmed",
        message="You did not confirm the counts: the message was dropped.",
        request_id=request.request_id,
    )


def _wait_for_acks(service: Service, session: Session) -> None:
    """Let the writer answer what was confirmed earlier: the acks of one client keep their order."""
    if session.transactions.unsettled:
        service.writer.run(lambda connection: None)


@handles_for_session(CharacterCount)
def character_count(service: Service, session: Session, request: CharacterCount) -> bytes:
    """A receiver's counts: confirm them, or not."""
    message = find_delivered(service, session, request.transaction_id)
    return message.verdict(request.letter_frequencies == message.counts, request.request_id)


@handles_for_session(Ack)
def ack(service: Service, session: Session, request: Ack) -> bytes | None:
    """A receiver has the message: remember how far its user has come. Where the counts were wrong,
    send it again."""
    message = find_delivered(service, session, request.transaction_id)
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


def find_delivered(service: Service, session: Session, transaction_id: str) -> Delivered:
    """The message of a receivers' transaction, if it is one that the session's user received; else
    `transaction_not_found`."""
    message = service.recent.get(transaction_id)
    if message is None:
        message = _read_back(service, transaction_id)
    if message is not None and message.sender_id != session.account_id:
        room = service.rooms.find(message.room_id)
        if room is not None and room.admits(session.account_id):
            return message
    raise Refusal(
        "transaction_not_found",
        f"data.transaction_id: you have no message of transaction {protocol.describe(transaction_id)} to answer for",
    )


def _read_back(service: Service, transaction_id: str) -> Delivered | None:
    number = transaction_id[1:]
    if (
        transaction_id[0] != "m"
        or not (number.isascii() and number.isdigit())
        or number[0] == "0"
        or len(number) > 15
    ):
        return None
    with service.database.reading() as reader:
        message = messages.get(reader, int(number))
        room = None if message is None else rooms.by_pk(reader, message.room_pk)
    if message is None or room is None:
        return None
    return delivered(room.room_id, message, protocol.count_letters(message.content))
