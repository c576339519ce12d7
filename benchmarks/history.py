"""A room of a million messages, beside one of ten thousand: makes such a database, and asks for its
pages.

The rows are put in by SQL, as the server would have left them after so many messages: a million
handshakes would take minutes.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.scripts import client

__all__ = ["PAGES", "fill", "page_times"]

FIRST_TIME: Final = 1_600_000_000
SECONDS_BETWEEN: Final = 20
PAGE: Final = 50
PAGES: Final = ("newest", "from_time", "after_id")
INSERT: Final = (
    "INSERT INTO messages(room_pk, room_number, sender_id, content, sent_at, clock_high)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
TEXT: Final = (
    "message {} of a class that has talked for years, each about as long as people write them"
)


def fill(database: Path, account: str, rooms: dict[str, int]) -> None:
    """Make open rooms with so many messages each, sent by `account`. The rooms take turns, as if
    all were used during the same time."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    sender = connection.execute("SELECT id FROM accounts WHERE chatid = ?", (account,)).fetchone()[
        0
    ]
    for room_id in rooms:
        connection.execute(
            "INSERT INTO rooms(room_id, name, private, created_at) VALUES (?, ?, 0, ?)",
            (room_id, room_id, FIRST_TIME),
        )
    connection.executemany(INSERT, _rows(connection, sender, rooms))
    last = connection.execute("SELECT MAX(id) FROM messages").fetchone()[0]
    # The journal is a copy, made level at the start; a server that was left properly starts with it
    # level.
    connection.execute(
        "INSERT OR REPLACE INTO meta(key, value) VALUES ('journal_message', ?)", (str(last),)
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _rows(
    connection: sqlite3.Connection, sender: int, rooms: dict[str, int]
) -> Iterator[tuple[Any, ...]]:
    numbers = {
        room_id: connection.execute(
            "SELECT pk FROM rooms WHERE room_id = ?", (room_id,)
        ).fetchone()[0]
        for room_id in rooms
    }
    said, most = dict.fromkeys(rooms, 0), max(rooms.values())
    for turn in range(most):
        at = FIRST_TIME + turn * SECONDS_BETWEEN
        for room_id, count in rooms.items():
            if (
                said[room_id] * most <= turn * count and said[room_id] < count
            ):  # each room's messages over the whole time
                said[room_id] += 1
                content = TEXT.format(said[room_id])
                yield numbers[room_id], said[room_id], sender, content, at, at


def page_times(
    port: int, account: str, rooms: dict[str, int], requests: int
) -> dict[str, dict[str, float]]:
    """Return, for each kind of page and each room, the median of so many requests in ms. The rooms
    are asked in turn."""
    chance = random.Random(5)
    with client(port, account, register=False) as one:
        span = max(rooms.values()) * SECONDS_BETWEEN
        newest = {
            room: _ask(one, account, room, before_id=None)[1]["messages"][-1]["message_id"]
            for room in rooms
        }
        asks: dict[str, Callable[[str], dict[str, Any]]] = {
            "newest": lambda room: {"before_id": None},
            "from_time": lambda room: {"from_time": _time(FIRST_TIME + chance.randrange(span))},
            "after_id": lambda room: {"after_id": chance.randrange(newest[room])},
        }
        times: dict[str, dict[str, list[float]]] = {
            kind: {room: [] for room in rooms} for kind in PAGES
        }
        for kind in PAGES:
            for _ in range(requests):
                for room in rooms:
                    times[kind][room].append(_ask(one, account, room, **asks[kind](room))[0])
    return {
        kind: {room: 1000 * statistics.median(values) for room, values in of.items()}
        for kind, of in times.items()
    }


def _ask(one: Any, account: str, room: str, **where: Any) -> tuple[float, dict[str, Any]]:
    begun = time.perf_counter()
    one.send("get_messages", {"chatid": account, "room_id": room, "limit": PAGE, **where})
    said = one.expect("messages_list")["data"]
    return time.perf_counter() - begun, said


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
