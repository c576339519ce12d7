"""Sending and receiving messages."""

from __future__ import annotations

import secrets
import time
from collections import Counter

from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Room, Transaction
from support.reference_server.state import State
from support.reference_server.words import (
    Packet,
    Refusal,
    written,
)


class Messages(State):
    """Sending and receiving messages."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(content))

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        room_id, content, key = data["room_id"], data["content"], data.get("transaction_id")
        self.room_or_new(connection, room_id)
        self.forget_old_transactions(connection)
        kept = self.kept_keys.get((self.me(connection).name, key)) if key else None
        if kept is not None:
            self.check_same(kept, room_id, content)
            return self.acknowledge(connection, str(key), kept)
        started = connection.transactions.get(key) if key else None
        if started is not None:
            self.check_same(started, room_id, content)
        elif len(connection.transactions) >= self.MOST_OPEN:
            raise Refusal("too_many_pending", "64 transactions are open: finish some first")
        transaction_id = key or "t-" + secrets.token_hex(8)
        ends = time.monotonic() + self.TRANSACTION_SECONDS
        connection.transactions[transaction_id] = Transaction(room_id, content, key, ends)
        self.answer_counts(connection, transaction_id, content)

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        answer = {
            "transaction_id": transaction_id,
            "letter_frequencies": self.count_letters(content),
            "original_action": "send_message",
        }
        self.reply(connection, "character_count", None, answer)

    def check_same(self, before: Message | Transaction, room_id: str, content: str) -> None:
        if (before.room_id, before.content) != (room_id, content):
            raise Refusal(
                "transaction_mismatch", "data.transaction_id: this key was used for something else"
            )

    def forget_old_transactions(self, connection: Connection) -> None:
        now = time.monotonic()
        connection.transactions = {
            key: one for key, one in connection.transactions.items() if one.ends > now
        }

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        self.forget_old_transactions(connection)
        transaction_id = data["transaction_id"]
        transaction = connection.transactions.pop(transaction_id, None)
        if transaction is None:
            raise Refusal(
                "transaction_not_found", "data.transaction_id: no such transaction is open"
            )
        if not self.is_confirmed(transaction, data["confirm"]):
            message = "You did not confirm the counts: the message was dropped."
            answer = {"transaction_id": transaction_id}
            return self.reply(
                connection, "ack", message, answer, status="error", code="not_confirmed"
            )
        self.room_or_new(connection, transaction.room_id)
        message_stored = self.store(self.me(connection), transaction)
        self.acknowledge(connection, transaction_id, message_stored)
        self.deliver(self.me(connection), message_stored)

    def is_confirmed(self, transaction: Transaction, confirm: bool) -> bool:
        return confirm

    def store(self, sender: Account, transaction: Transaction) -> Message:
        room = self.make_open_room(sender, transaction.room_id)
        timestamp, t2 = int(time.time()), "r-" + secrets.token_hex(8)
        message = Message(
            self.next_message_id(), room.room_id, sender.name, transaction.content, timestamp, t2
        )
        self.keep(room, message)
        self.messages[t2] = message
        if transaction.key is not None:
            self.kept_keys[sender.name, transaction.key] = message
        self.mark(sender, room.room_id, message.message_id)
        return message

    def keep(self, room: Room, message: Message) -> None:
        room.messages.append(message)

    def next_message_id(self) -> int:
        self.last_message_id += 1
        return self.last_message_id

    def mark(self, account: Account, room_id: str, message_id: int) -> None:
        account.marks[room_id] = max(message_id, account.marks.get(room_id, 0))

    def acknowledge(self, connection: Connection, transaction_id: str, message: Message) -> None:
        answer = {
            "transaction_id": transaction_id,
            "message_id": message.message_id,
            "timestamp": written(message.timestamp),
        }
        self.reply(connection, "ack", "Action processed successfully.", answer)

    def deliver(self, sender: Account, message: Message) -> None:
        for account in self.hearers(sender, message.room_id):
            self.forward(account, self.received(account, message))

    def hearers(self, sender: Account, room_id: str) -> list[Account]:
        return [account for account in self.in_room(self.rooms[room_id]) if account is not sender]

    def forward(self, account: Account, packet: Packet) -> None:
        if account.connection is not None:
            account.connection.put(packet, forwarded=True)

    def received(self, account: Account, message: Message) -> Packet:
        data = {
            "transaction_id": message.t2,
            "room_id": message.room_id,
            "sender_chatid": message.sender,
            "content": message.content,
            "timestamp": written(message.timestamp),
            "message_id": message.message_id,
        }
        return {
            "action": "receive_message",
            "status": "success",
            "message": "New message received.",
            "data": data,
        }

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        """The message of a T2; raises where this user has none to answer for (R-MSG-12)."""
        message, account = self.messages.get(transaction_id), self.me(connection)
        if (
            message is None
            or message.sender == account.name
            or not self.may_read(account, self.rooms[message.room_id])
        ):
            raise Refusal(
                "transaction_not_found", "data.transaction_id: there is no such message for you"
            )
        return message

    def do_character_count(self, connection: Connection, data: Packet) -> None:
        message = self.message_to_answer(connection, data["transaction_id"])
        confirm = self.counts_are_right(message, data["letter_frequencies"])
        self.reply(
            connection, "confirm_count", None, {"transaction_id": message.t2, "confirm": confirm}
        )

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return letter_frequencies == self.count_letters(message.content)

    def do_ack(self, connection: Connection, data: Packet) -> None:
        message, account = (
            self.message_to_answer(connection, data["transaction_id"]),
            self.me(connection),
        )
        if data["status"] == "success":
            self.mark(account, message.room_id, message.message_id)
        elif message.copies[account.name] < 3:
            message.copies[account.name] += 1
            self.forward(account, self.received(account, message))
