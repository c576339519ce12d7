"""Servers with a fault about order and history."""

from __future__ import annotations

import re
import threading
from datetime import datetime

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Transaction
from support.reference_server.words import Packet


@plant("R-ORDER-2")
class SlowPath(ReferenceServer):
    """What the first speaker of a room says takes longer than what the others say: their messages
    overtake it."""

    def deliver(self, sender: Account, message: Message) -> None:
        if message.sender != self.rooms[message.room_id].messages[0].sender:
            return super().deliver(sender, message)
        timer = threading.Timer(0.1, self.deliver_late, (sender, message))
        timer.daemon = True
        timer.start()

    def deliver_late(self, sender: Account, message: Message) -> None:
        with self.lock:
            super().deliver(sender, message)


@plant("R-ORDER-3")
class SameIdTwice(ReferenceServer):
    """Each room counts its messages from 1."""

    def store(self, sender: Account, transaction: Transaction) -> Message:
        room = self.rooms.get(transaction.room_id)
        self.last_message_id = len(room.messages) if room else 0
        return super().store(sender, transaction)


@plant("R-ORDER-5", waits=True)
class AnswersLate(ReferenceServer):
    """Every `character_count` comes a moment later, behind the answers to later requests."""

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        request_id = connection.request_id

        def later() -> None:
            with self.lock:
                before, connection.request_id = connection.request_id, request_id
                ReferenceServer.answer_counts(self, connection, transaction_id, content)
                connection.request_id = before

        timer = threading.Timer(0.05, later)
        timer.daemon = True
        timer.start()


@plant("R-HIST-1")
class ForgetsHistory(ReferenceServer):
    """The history is always empty."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        return False


@plant("R-HIST-1")
class NewestFirst(ReferenceServer):
    """A page of the history has the newest message first."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        page, has_more = super().page_of_messages(messages, data)
        return page[::-1], has_more


@plant("R-HIST-2")
class FromTimeIsExclusive(ReferenceServer):
    """`from_time` leaves out what was said in that very second."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        return super().is_wanted(message, begin, data) and (
            begin is None or message.timestamp > begin.timestamp()
        )


@plant("R-HIST-3")
class AnyTime(ReferenceServer):
    """A time without a zone is taken for UTC."""

    def time_of(self, written_time: str) -> datetime:
        has_zone = written_time[-1:] in "Zz" or re.search(r"[+-]\d\d:?\d\d$", written_time)
        return super().time_of(written_time if has_zone else written_time + "Z")


@plant("R-HIST-4")
class AfterIdIsInclusive(ReferenceServer):
    """`after_id` brings the message of this id too."""

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        if message.message_id == data.get("after_id"):
            return True
        return super().is_wanted(message, begin, data)


@plant("R-HIST-5")
class BeforeIdFromTheStart(ReferenceServer):
    """`before_id` brings the first messages of the room, not those just before the id."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        if "before_id" in data:
            data = {"limit": data.get("limit", 1000)}
        return super().page_of_messages(messages, data)


@plant("R-HIST-6")
class NoLimit(ReferenceServer):
    """`limit` is ignored, but for pages that end before an id."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        if "limit" in data and "before_id" not in data:
            data = {**data, "limit": 1000}
        return super().page_of_messages(messages, data)


@plant("R-HIST-7")
class NeverHasMore(ReferenceServer):
    """`has_more` is always false."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        return super().page_of_messages(messages, data)[0], False
