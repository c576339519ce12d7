"""The table `messages`: what was said, in which order, and the ways to page through it.

Owns its SQL. Never begins or commits; never takes order from a clock. Any thread that has a
connection may call it; `insert` takes the connection of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storage import shares
from storage.rooms import ADVANCE_MARK

__all__ = [
    "MOST_ID",
    "Message",
    "Place",
    "by_transaction",
    "clock_high",
    "get",
    "insert",
    "original",
    "page",
    "page_within_second",
    "put_back",
    "renumber",
    "set_hidden",
    "since",
]


MOST_ID = 10**14
"""Higher ids are not believed where they come from outside the database: every id must fit the 15
digits of a receivers' transaction, and so must those that follow."""


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message. `sent_at` is in whole seconds, UTC, by the server's clock, which may have
    jumped; `id` gives the order."""

    id: int
    room_pk: int
    sender_id: int
    sender_chatid: str
    content: str
    sent_at: int
    announce: bool = False
    is_hidden: bool = False
    """Whether a teacher has hidden it: `content` says so then, and not what was said."""


# The name by a subselect, not a join: a join lets SQLite choose to walk the accounts once somebody
# has run ANALYZE.
_SHOWN = """CASE WHEN m.hidden_by IS NULL THEN m.content ELSE
    '[removed by ' || (SELECT chatid FROM accounts WHERE id = m.hidden_by) || ']' END"""
_COLUMNS = """SELECT m.id, m.room_pk, m.sender_id,
    (SELECT chatid FROM accounts WHERE id = m.sender_id), {content}, m.sent_at, m.announce,
    m.hidden_by IS NOT NULL FROM messages m"""
_SELECT = _COLUMNS.format(content=_SHOWN)
_ORIGINAL = _COLUMNS.format(content="m.content")


def _message(row: tuple[Any, ...]) -> Message:
    number, room_pk, sender_id, sender, content, sent_at, announce, is_hidden = row
    return Message(
        number, room_pk, sender_id, sender, content, sent_at, bool(announce), bool(is_hidden)
    )


_INSERT = """INSERT INTO messages(
    room_pk, room_number, sender_id, content, sent_at, clock_high, transaction_id, announce)
    VALUES (?, 1 + COALESCE(
        (SELECT room_number FROM messages WHERE room_pk = ? ORDER BY id DESC LIMIT 1), 0),
    ?, ?, ?, ?, ?, ?)"""


def insert(
    connection: sqlite3.Connection,
    room_pk: int,
    sender_id: int,
    content: str,
    sent_at: int,
    clock_high: int,
    transaction_id: str | None,
    announce: bool = False,
) -> int:
    """Store a message, give back its id, mark the room as read by the sender up to it, and count it
    into the sender's share.

    `clock_high` is the highest `sent_at` of the whole server so far, this one included.
    `transaction_id` is the sender's own key, each of which it may use once.
    """
    cursor = connection.execute(
        _INSERT,
        (room_pk, room_pk, sender_id, content, sent_at, clock_high, transaction_id, announce),
    )
    message_id = cursor.lastrowid
    assert message_id is not None
    connection.execute(ADVANCE_MARK, (sender_id, room_pk, message_id))
    shares.add(connection, sender_id, share_bytes(content))
    return message_id


def share_bytes(content: str) -> int:
    """Return what a message of this content counts as in its sender's share, in bytes."""
    return shares.MESSAGE_BYTES + len(content.encode())


def by_transaction(
    connection: sqlite3.Connection, sender_id: int, transaction_id: str
) -> Message | None:
    """Return the message that this account stored under its key, if it did, with what it said also
    where that is hidden."""
    row = connection.execute(
        f"{_ORIGINAL} WHERE m.sender_id = ? AND m.transaction_id = ?", (sender_id, transaction_id)
    ).fetchone()
    return _message(row) if row else None


def get(connection: sqlite3.Connection, message_id: int) -> Message | None:
    """Return the message with this id, or None."""
    row = connection.execute(f"{_SELECT} WHERE m.id = ?", (message_id,)).fetchone()
    return _message(row) if row else None


def original(connection: sqlite3.Connection, message_id: int) -> Message | None:
    """Return the message with this id with what it said, also where that is hidden; or None."""
    row = connection.execute(f"{_ORIGINAL} WHERE m.id = ?", (message_id,)).fetchone()
    return _message(row) if row else None


def set_hidden(connection: sqlite3.Connection, message_id: int, hidden_by: int | None) -> None:
    """Hide the message in the name of this account, or show it again (None)."""
    connection.execute("UPDATE messages SET hidden_by = ? WHERE id = ?", (hidden_by, message_id))


def page(
    connection: sqlite3.Connection,
    room_pk: int,
    *,
    from_time: int | None = None,
    after_id: int | None = None,
    before_id: int | None = None,
    newest: bool = False,
    limit: int,
) -> Iterator[Message]:
    """Yield up to `limit` messages of the room, read one by one as they are taken: keep the
    connection until the end.

    `from_time`: only with `sent_at` at or after it. `after_id`, `before_id`: only with a greater, a
    smaller id. All given ones hold together. With `before_id` or `newest` they come newest first,
    otherwise oldest first.
    """
    backwards = newest or before_id is not None
    sql, values = _page_query(room_pk, from_time, after_id, before_id, backwards, limit)
    for row in connection.execute(sql, values):
        yield _message(row)


def _page_query(
    room_pk: int,
    from_time: int | None,
    after_id: int | None,
    before_id: int | None,
    backwards: bool,
    limit: int,
) -> tuple[str, list[int]]:
    """Return the SQL and its values. Every form walks a range of `messages_by_room`, in the order
    of ids or against it."""
    conditions, values = ["m.room_pk = ?"], [room_pk]
    if from_time is not None:
        lower = _BEFORE_TIME
        values += [room_pk, from_time]
        # As one bound: SQLite would walk from one of two, perhaps the lower, up to the other.
        if after_id is not None:
            lower = f"MAX({lower}, ?)"
            values.append(after_id)
        # The clock may have jumped back, so that older messages are still to be skipped behind that
        # first id.
        conditions += [f"m.id > {lower}", "m.sent_at >= ?"]
        values.append(from_time)
    elif after_id is not None:
        conditions.append("m.id > ?")
        values.append(after_id)
    if before_id is not None:
        conditions.append("m.id < ?")
        values.append(before_id)
    values.append(limit)
    where, order = " AND ".join(conditions), "DESC" if backwards else "ASC"
    # Else SQLite 3.49 and newer walk all messages by their ids, once ANALYZE was run.
    return (
        f"{_SELECT} INDEXED BY messages_by_room WHERE {where} ORDER BY m.id {order} LIMIT ?",
        values,
    )


# The id below the first one of the room that can be of this time or later; NULL, which no id is
# above, where there is none.
_BEFORE_TIME = """(SELECT id - 1 FROM messages INDEXED BY messages_by_clock
    WHERE room_pk = ? AND clock_high >= ? ORDER BY clock_high, id LIMIT 1)"""
_SECOND = f"""{_SELECT} INDEXED BY messages_by_second
    WHERE m.room_pk = ? AND m.sent_at = ? AND m.id > ? ORDER BY m.id LIMIT ?"""


def page_within_second(
    connection: sqlite3.Connection, room_pk: int, sent_at: int, after_id: int, limit: int
) -> Iterator[Message]:
    """Yield up to `limit` messages of the room sent in exactly this second with an id above
    `after_id`, oldest first, as `page` does."""
    for row in connection.execute(_SECOND, (room_pk, sent_at, after_id, limit)):
        yield _message(row)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is and who sent it, without its content."""

    message_id: int
    room_pk: int
    sender_id: int


def place(connection: sqlite3.Connection, message_id: int) -> Place | None:
    """Return the place of the message with this id. Takes as long for a long message as for a
    short one: SQLite reads no column behind `sender_id`, so no page of the content."""
    row = connection.execute(
        "SELECT room_pk, sender_id FROM messages WHERE id = ?", (message_id,)
    ).fetchone()
    return Place(message_id, *row) if row else None


def since(connection: sqlite3.Connection, message_id: int) -> Iterator[Message]:
    """Yield every message of the server with an id above this one, in order, with what it said also
    where that is hidden, read as they are taken: keep the connection until the end."""
    for row in connection.execute(f"{_ORIGINAL} WHERE m.id > ? ORDER BY m.id", (message_id,)):
        yield _message(row)


def clock_high(connection: sqlite3.Connection) -> int:
    """Return the highest `sent_at` of the whole server; 0 where nothing was ever sent."""
    row = connection.execute("SELECT clock_high FROM messages ORDER BY id DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def put_back(connection: sqlite3.Connection, message: Message) -> bool:
    """Store a message that was lost, under its old id; False where that id is stored.

    `renumber` must follow in the same transaction.
    """
    cursor = connection.execute(
        """INSERT INTO messages(
               id, room_pk, room_number, sender_id, content, sent_at, clock_high, announce)
           VALUES (?, ?, 0, ?, ?, ?, 0, ?) ON CONFLICT DO NOTHING""",
        (
            message.id,
            message.room_pk,
            message.sender_id,
            message.content,
            message.sent_at,
            message.announce,
        ),
    )
    if cursor.rowcount != 1:
        return False
    shares.add(connection, message.sender_id, share_bytes(message.content))
    return True


def renumber(connection: sqlite3.Connection, from_id: int) -> None:
    """Count `room_number` and `clock_high` anew for every message from this id on."""
    before = connection.execute(
        "SELECT clock_high FROM messages WHERE id < ? ORDER BY id DESC LIMIT 1", (from_id,)
    ).fetchone()
    high = before[0] if before else 0
    numbers: dict[int, int] = dict(
        connection.execute(
            "SELECT room_pk, MAX(room_number) FROM messages WHERE id < ? GROUP BY room_pk",
            (from_id,),
        ).fetchall()
    )
    changes = []
    rows = connection.execute(
        "SELECT id, room_pk, sent_at FROM messages WHERE id >= ? ORDER BY id", (from_id,)
    )
    for message_id, room_pk, sent_at in rows.fetchall():
        high = max(high, sent_at)
        numbers[room_pk] = numbers.get(room_pk, 0) + 1
        changes.append((numbers[room_pk], high, message_id))
    connection.executemany(
        "UPDATE messages SET room_number = ?, clock_high = ? WHERE id = ?", changes
    )
