"""Whole rooms and periods, read for copies, exports and attendance.

Owns the SQL of these readings. Never changes anything. Any thread that has a connection may call
it; rows come as they are taken: keep the connection until the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from storage.erasing import FORGOTTEN

__all__ = [
    "Account",
    "Counts",
    "SaidFile",
    "SaidMessage",
    "accounts",
    "all_rooms",
    "counts",
    "disk_files",
    "files",
    "files_of_day",
    "files_up_to",
    "messages",
    "newest_message",
]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a database holds."""

    accounts: int
    messages: int
    files: int
    newest_message: int
    newest_file: int


@dataclass(frozen=True, slots=True)
class Account:
    """An account, deleted ones too. Times are seconds since 1970."""

    id: int
    chatid: str
    role: str
    created_at: int
    deleted: bool
    forgotten: bool
    """Whether the row is all that is left of an account that was forgotten."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room, deleted and private ones too."""

    pk: int
    room_id: str
    name: str
    private: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class SaidMessage:
    """A message with the number of its sender. `hidden_by` is who has removed it, or None."""

    id: int
    sender_id: int
    content: str
    sent_at: int
    announce: bool
    hidden_by: int | None


@dataclass(frozen=True, slots=True)
class SaidFile:
    """One version of a file; `removed` where a teacher has taken it away."""

    id: int
    sender_id: int
    name: str
    size: int
    sha256: str
    sent_at: int
    disk_name: str
    removed: bool


def counts(connection: sqlite3.Connection) -> Counts:
    """Return how many accounts (not deleted), messages and files there are. Knows a database of any
    version."""
    row = connection.execute(
        """SELECT (SELECT COUNT(*) FROM accounts WHERE deleted_at IS NULL),
           (SELECT COUNT(*) FROM messages), (SELECT COUNT(*) FROM files),
           (SELECT COALESCE(MAX(id), 0) FROM messages),
           (SELECT COALESCE(MAX(id), 0) FROM files)"""
    ).fetchone()
    return Counts(*row)


def newest_message(connection: sqlite3.Connection) -> int:
    """Return the highest id of a message; 0 where there is none."""
    return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM messages").fetchone()[0])


def disk_files(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Yield name on the disk and size of each complete file whose bytes are kept. Knows a database
    of any version."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(files)")}
    kept = "WHERE removed_at IS NULL" if "removed_at" in columns else ""
    yield from connection.execute(f"SELECT disk_name, file_size FROM files {kept} ORDER BY id")


def files_of_day(
    connection: sqlite3.Connection, room_pk: int, begin: int
) -> Iterator[tuple[str, int]]:
    """Yield name and time of each file that the room got within the day that begins then."""
    yield from connection.execute(
        "SELECT stored_as, sent_at FROM files WHERE room_pk = ? AND sent_at >= ? AND sent_at < ?",
        (room_pk, begin, begin + 86_400),
    )


def files_up_to(connection: sqlite3.Connection, highest: int) -> Iterator[tuple[str, str, int]]:
    """Yield room, name and time of each version of a file up to this id, removed ones too."""
    yield from connection.execute(
        """SELECT r.room_id, f.stored_as, f.sent_at FROM files f JOIN rooms r ON r.pk = f.room_pk
           WHERE f.id <= ?""",
        (highest,),
    )


def accounts(connection: sqlite3.Connection) -> list[Account]:
    """Return every account, deleted ones too, by their ids."""
    rows = connection.execute(
        "SELECT id, chatid, role, created_at, deleted_at IS NOT NULL, password_hash = ? "
        "FROM accounts ORDER BY id",
        (FORGOTTEN,),
    )
    return [Account(row[0], row[1], row[2], row[3], bool(row[4]), bool(row[5])) for row in rows]


def all_rooms(connection: sqlite3.Connection) -> list[Room]:
    """Return every room, by their numbers."""
    rows = connection.execute(
        "SELECT pk, room_id, name, private, deleted_at IS NOT NULL FROM rooms ORDER BY pk"
    )
    return [Room(row[0], row[1], row[2], bool(row[3]), bool(row[4])) for row in rows]


def messages(
    connection: sqlite3.Connection, room_pk: int, since: int, until: int
) -> Iterator[SaidMessage]:
    """Yield the messages of a room with a time from `since` on and before `until`, in their
    order."""
    rows = connection.execute(
        """SELECT id, sender_id, content, sent_at, announce, hidden_by
           FROM messages INDEXED BY messages_by_room
           WHERE room_pk = ? AND sent_at >= ? AND sent_at < ? ORDER BY id""",
        (room_pk, since, until),
    )
    for row in rows:
        yield SaidMessage(row[0], row[1], row[2], row[3], bool(row[4]), row[5])


def files(
    connection: sqlite3.Connection, room_pk: int, since: int, until: int
) -> Iterator[SaidFile]:
    """Yield every version of every file of a room, in the order of storing."""
    rows = connection.execute(
        """SELECT id, account_id, stored_as, file_size, sha256, sent_at, disk_name,
           removed_at IS NOT NULL
           FROM files WHERE room_pk = ? AND sent_at >= ? AND sent_at < ? ORDER BY id""",
        (room_pk, since, until),
    )
    for row in rows:
        yield SaidFile(*row)
