"""The tables `restrictions` and `audit`: what teachers did, and what is in force of it.

Owns their SQL. Never begins or commits, never decides who may do what, and never tells anybody. Any
thread that has a connection may call it; what changes something takes the connection of
`Database.transaction()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from storage import messages

__all__ = [
    "BAN",
    "CLASS",
    "MUTE",
    "PAUSE",
    "Act",
    "Row",
    "announce",
    "last_id",
    "lift",
    "note",
    "page",
    "remove_over",
    "restrict",
    "restrictions",
    "since",
]

MUTE: Final = "mute"
BAN: Final = "ban"
PAUSE: Final = "pause"
CLASS: Final = 0
"""Stands for the account in the row of a pause: it is for everybody."""


@dataclass(frozen=True, slots=True)
class Row:
    """A mute, a ban or a pause. `ends_at` is in seconds since 1970, None = until it is lifted."""

    kind: str
    account_id: int
    ends_at: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Act:
    """A row of the audit: `act` is the action of the request that a teacher sent, or the word of a
    command that has no such request; `by` is None where the command line did it. What an act is
    not about is None, "" where it is a text."""

    id: int
    at: int
    by: str | None
    act: str
    user_id: int | None
    user: str | None
    room_pk: int | None
    room_id: str | None
    message_id: int | None
    file_path: str | None
    ends_at: int | None
    reason: str
    detail: str


def restrict(connection: sqlite3.Connection, row: Row) -> None:
    """Put the restriction in force, in the place of an earlier one of its kind."""
    connection.execute(
        """INSERT INTO restrictions(kind, account_id, ends_at, reason) VALUES (?, ?, ?, ?)
           ON CONFLICT (kind, account_id)
           DO UPDATE SET ends_at = excluded.ends_at, reason = excluded.reason""",
        (row.kind, row.account_id, row.ends_at, row.reason),
    )


def lift(connection: sqlite3.Connection, kind: str, account_id: int) -> bool:
    """End the restriction; False where there was none."""
    cursor = connection.execute(
        "DELETE FROM restrictions WHERE kind = ? AND account_id = ?", (kind, account_id)
    )
    return cursor.rowcount > 0


def remove_over(connection: sqlite3.Connection, row: Row) -> None:
    """Remove a restriction whose time has passed, unless a newer one has taken its place."""
    connection.execute(
        "DELETE FROM restrictions WHERE kind = ? AND account_id = ? AND ends_at IS ?",
        (row.kind, row.account_id, row.ends_at),
    )


def restrictions(connection: sqlite3.Connection) -> list[Row]:
    """Return every restriction, those whose time has passed too."""
    rows = connection.execute("SELECT kind, account_id, ends_at, reason FROM restrictions")
    return [Row(*row) for row in rows]


_ACTS = """SELECT t.id, t.at, (SELECT chatid FROM accounts WHERE id = t.by_id), t.act, t.user_id,
    (SELECT chatid FROM accounts WHERE id = t.user_id), t.room_pk,
    (SELECT room_id FROM rooms WHERE pk = t.room_pk), t.message_id, t.file_path, t.ends_at,
    t.reason, t.detail FROM audit t"""


def note(
    connection: sqlite3.Connection,
    act: str,
    at: int,
    by_id: int | None,
    *,
    user_id: int | None = None,
    room_pk: int | None = None,
    message_id: int | None = None,
    file_path: str | None = None,
    ends_at: int | None = None,
    reason: str = "",
    detail: str = "",
) -> Act:
    """Write the act into the audit, in the transaction that does it; return the row. `by_id` is the
    teacher's account, None for the command line."""
    cursor = connection.execute(
        """INSERT INTO audit(at, by_id, act, user_id, room_pk, message_id, file_path, ends_at,
           reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (at, by_id, act, user_id, room_pk, message_id, file_path, ends_at, reason, detail),
    )
    row = connection.execute(f"{_ACTS} WHERE t.id = ?", (cursor.lastrowid,)).fetchone()
    return Act(*row)


def announce(
    connection: sqlite3.Connection,
    room_pk: int,
    account_id: int,
    text: str,
    now: int,
    clock_high: int,
) -> int:
    """Store an announcement of the command line, in the name of a teacher's account, with its row
    in the audit; return the message's number."""
    number = messages.insert(
        connection, room_pk, account_id, text, now, clock_high, None, announce=True
    )
    note(connection, "announce", now, None, user_id=account_id, room_pk=room_pk, message_id=number)
    return number


def page(connection: sqlite3.Connection, after_id: int, limit: int) -> Iterator[Act]:
    """Yield up to `limit` acts with an id above this one, oldest first, read as they are taken:
    keep the connection until the end."""
    rows = connection.execute(f"{_ACTS} WHERE t.id > ? ORDER BY t.id LIMIT ?", (after_id, limit))
    for row in rows:
        yield Act(*row)


def since(connection: sqlite3.Connection, act_id: int) -> list[Act]:
    """Return what the command line did after the act with this id, in order."""
    rows = connection.execute(
        f"{_ACTS} WHERE t.id > ? AND t.by_id IS NULL ORDER BY t.id", (act_id,)
    )
    return [Act(*row) for row in rows]


def last_id(connection: sqlite3.Connection) -> int:
    """Return the id of the newest act; 0 where there is none."""
    return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM audit").fetchone()[0])
