"""Servers with the three famous mistakes of docs/lessons: each a reference server with one change.

`python -m support.lesson_servers NAME PORT` serves until the process ends.
"""

from __future__ import annotations

import sys
import threading
from typing import Final

from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Message, Room
from support.reference_server.words import Packet


class EarlyAck(ReferenceServer):
    """`ack` is sent first, and the message stored when there is time."""

    LATE_SECONDS = 0.3

    def keep(self, room: Room, message: Message) -> None:
        timer = threading.Timer(self.LATE_SECONDS, self.keep_late, (room, message))
        timer.daemon = True
        timer.start()

    def keep_late(self, room: Room, message: Message) -> None:
        with self.lock:
            super().keep(room, message)


class OrderByTime(ReferenceServer):
    """The history is `ORDER BY timestamp DESC LIMIT n`, turned round: messages of one second come
    in the wrong order."""

    def page_of_messages(self, messages: list[Message], data: Packet) -> tuple[list[Message], bool]:
        newest_first = sorted(messages, key=lambda each: each.timestamp, reverse=True)
        return super().page_of_messages(newest_first[::-1], data)


class HalfFrame(ReferenceServer):
    """The payload is taken from one recv, whatever that brings."""

    def read_payload(self, connection: Connection, length: int, deadline: float) -> bytes:
        return connection.receive(length, deadline)


SERVERS: Final = {"early_ack": EarlyAck, "order_by_time": OrderByTime, "half_frame": HalfFrame}
"""By the name of the lesson: the server with its mistake."""


if __name__ == "__main__":
    server = SERVERS[sys.argv[1]](int(sys.argv[2])).start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    threading.Event().wait()
