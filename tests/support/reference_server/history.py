"""The messages of a room, page by page."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from support.reference_server.connection import Connection
from support.reference_server.records import Message
from support.reference_server.state import State
from support.reference_server.words import (
    Packet,
    Refusal,
    written,
)


class History(State):
    """The messages of a room, page by page."""

    def do_get_messages(self, connection: Connection, data: Packet) -> None:
        if not {"from_time", "after_id", "before_id"} & set(data):
            raise Refusal("bad_packet", "data.from_time: expected a time, or after_id or before_id")
        room = self.room(connection, data["room_id"])
        begin = self.time_of(data["from_time"]) if "from_time" in data else None
        messages = [message for message in room.messages if self.is_wanted(message, begin, data)]
        page, has_more = self.page_of_messages(messages, data)
        if page:
            self.mark(self.me(connection), room.room_id, page[-1].message_id)
        answer = {
            "room_id": room.room_id,
            "messages": [self.history_entry(message) for message in page],
            "has_more": has_more,
        }
        self.reply(connection, "messages_list", "Messages retrieved successfully.", answer)

    def time_of(self, written_time: str) -> datetime:
        shape = (
            r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
            r"(?:([Zz])|([+-])(\d\d):?(\d\d)?)"
        )
        found = re.fullmatch(shape, written_time, re.ASCII)
        try:
            if found is None:
                raise ValueError
            year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = (
                found.groups()
            )
            zone = (
                timezone.utc
                if zulu
                else timezone(
                    int(sign + "1") * timedelta(hours=int(hours), minutes=int(minutes or 0))
                )
            )
            micro = int((fraction or "0")[:6].ljust(6, "0"))
            return datetime(
                int(year),
                int(month),
                int(day),
                int(hour),
                int(minute),
                int(second or 0),
                micro,
                zone,
            )
        except ValueError:
            raise Refusal(
                "bad_time", "data.from_time: expected an ISO 8601 time with a zone"
            ) from None

    def is_wanted(self, message: Message, begin: datetime | None, data: Packet) -> bool:
        if begin is not None and datetime.fromtimestamp(message.timestamp, timezone.utc) < begin:
            return False
        if message.message_id <= data.get("after_id", 0):
            return False
        before = data.get("before_id")
        return before is None or message.message_id < int(before)

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        limit = data.get("limit", 1000)
        backwards = "before_id" in data
        whole_seconds = not {"after_id", "before_id", "limit"} & set(data)
        if backwards:
            messages = messages[::-1]
        fitting = len(self.what_fits([self.history_entry(message) for message in messages]))
        page = messages[: min(limit, fitting)]
        if whole_seconds and len(page) < len(messages):
            next_second = messages[len(page)].timestamp
            page = [message for message in page if message.timestamp < next_second]
            if (
                not page or page[-1].timestamp == messages[0].timestamp
            ):  # who goes on from there must get further
                page = [
                    message for message in messages[:fitting] if message.timestamp <= next_second
                ]
        has_more = len(page) < len(messages)
        return (page[::-1] if backwards else page), has_more

    def history_entry(self, message: Message) -> Packet:
        return {
            "message_id": message.message_id,
            "sender_chatid": message.sender,
            "content": message.content,
            "timestamp": written(message.timestamp),
        }
