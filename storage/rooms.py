"""The tables `rooms`, `members`, `departures` and `marks`: which rooms there are, who belongs to
them, who read how far.

Owns their SQL. Never begins or commits, never decides who may do what. Any thread that has a
connection may call it; what changes something takes the connection of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage import shares
from storage.errors import NameTaken

__all__ = [
    "ADVANCE_MARK",
    "Overview",
    "Room",
    "add_member",
    "advance_marks",
    "by_pk",
    "count_heard",
    "count_made_by",
    "create_open",
    "create_private",
    "depart",
    "departed_ids",
    "every",
    "find",
    "find_for",
    "mark_deleted",
    "member_chatids",
    "member_ids",
    "overview",
    "private_by_role",
    "private_without",
    "rejoin",
    "remove_member",
    "rename",
    "restore",
    "set_rules",
    "visible",
]


@dataclass(frozen=True, slots=True)
class Room:
    """One room. `pk` is its number within the server, `room_id` its name on the wire. `owner` is
    None for open rooms.

    A deleted room keeps its `room_id`, members and messages.
    """

    pk: int
    room_id: str
    name: str
    owner: int | None
    private: bool
    deleted: bool
    read_only: bool = False
    """Whether only teachers may write in it."""
    uploads: bool = True
    """Whether students may send files to it."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A room as one account sees it. `last_message_id` is 0 where the room has none; `unread`
    counts others' messages."""

    last_message_id: int
    unread: int


_COLUMNS = (
    "r.pk, r.room_id, r.name, r.owner, r.private, r.deleted_at IS NOT NULL, r.read_only, r.uploads"
)


def _room(row: tuple[int, str, str, int | None, int, int, int, int]) -> Room:
    return Room(*row[:4], *map(bool, row[4:]))


def find(connection: sqlite3.Connection, room_id: str) -> Room | None:
    """Return the room with this id, a deleted one too."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM rooms r WHERE r.room_id = ?", (room_id,)
    ).fetchone()
    return _room(row) if row else None


def by_pk(connection: sqlite3.Connection, pk: int) -> Room | None:
    """Return the room with this number, a deleted one too."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM rooms r WHERE r.pk = ?", (pk,)).fetchone()
    return _room(row) if row else None


def find_for(connection: sqlite3.Connection, room_id: str, account_id: int) -> Room | None:
    """Return the room with this id where it exists for the account: open, or with the account
    among its members, and not deleted."""
    row = connection.execute(
        f"""SELECT {_COLUMNS} FROM rooms r WHERE r.room_id = ? AND r.deleted_at IS NULL
            AND (r.private = 0 OR EXISTS (
                SELECT 1 FROM members m WHERE m.room_pk = r.pk AND m.account_id = ?))""",
        (room_id, account_id),
    ).fetchone()
    return _room(row) if row else None


def create_open(
    connection: sqlite3.Connection, room_id: str, created_by: int | None, now: int
) -> Room:
    """Make an open room, to which every account belongs; its name is its id. Raises NameTaken where
    the id was ever in use."""
    return _create(connection, room_id, room_id, None, created_by, False, now)


def create_private(
    connection: sqlite3.Connection,
    room_id: str,
    name: str,
    owner: int,
    member_ids: Iterable[int],
    now: int,
    teacher_ids: Iterable[int] = (),
) -> Room:
    """Make a private room of these members and its owner, and of teachers who belong to it as such.
    Raises NameTaken where the id was ever in use."""
    room = _create(connection, room_id, name, owner, owner, True, now)
    invited = {owner, *member_ids}
    members = invited.union(teacher_ids)
    for account_id in members:
        add_member(connection, room.pk, account_id, by_role=account_id not in invited)
    shares.add(connection, owner, len(members) * shares.MEMBER_BYTES)
    return room


def _create(
    connection: sqlite3.Connection,
    room_id: str,
    name: str,
    owner: int | None,
    made_by: int | None,
    private: bool,
    now: int,
) -> Room:
    if find(connection, room_id) is not None:
        raise NameTaken("a room with this id exists, or existed")
    cursor = connection.execute(
        "INSERT INTO rooms(room_id, name, owner, made_by, private, created_at) VALUES "
        "(?, ?, ?, ?, ?, ?)",
        (room_id, name, owner, made_by, private, now),
    )
    assert cursor.lastrowid is not None
    if made_by is not None:
        shares.add(connection, made_by, shares.ROOM_BYTES)
    return Room(cursor.lastrowid, room_id, name, owner, private, deleted=False)


def count_made_by(connection: sqlite3.Connection, account_id: int) -> int:
    """Return how many rooms, open and private, this account has made; deleted ones don't count."""
    row = connection.execute(
        "SELECT COUNT(*) FROM rooms WHERE made_by = ? AND deleted_at IS NULL", (account_id,)
    ).fetchone()
    return int(row[0])


def rename(connection: sqlite3.Connection, pk: int, name: str) -> None:
    """Give the room another name; its id stays."""
    connection.execute("UPDATE rooms SET name = ? WHERE pk = ?", (name, pk))


def set_rules(connection: sqlite3.Connection, pk: int, *, read_only: bool, uploads: bool) -> None:
    """Say whether only teachers write in the room, and whether students send files to it."""
    connection.execute(
        "UPDATE rooms SET read_only = ?, uploads = ? WHERE pk = ?", (read_only, uploads, pk)
    )


def mark_deleted(connection: sqlite3.Connection, pk: int, now: int) -> None:
    """Put the room out of reach, with all that is in it, until `restore`."""
    connection.execute(
        "UPDATE rooms SET deleted_at = ? WHERE pk = ? AND deleted_at IS NULL", (now, pk)
    )


def restore(connection: sqlite3.Connection, pk: int) -> None:
    """Bring a deleted room back as it was, members and messages included."""
    connection.execute("UPDATE rooms SET deleted_at = NULL WHERE pk = ?", (pk,))


def member_ids(connection: sqlite3.Connection, pk: int) -> frozenset[int]:
    """Return the members of a private room whose accounts are not deleted."""
    rows = connection.execute(
        """SELECT m.account_id FROM members m JOIN accounts a ON a.id = m.account_id
           WHERE m.room_pk = ? AND a.deleted_at IS NULL""",
        (pk,),
    )
    return frozenset(row[0] for row in rows)


def departed_ids(connection: sqlite3.Connection, pk: int) -> frozenset[int]:
    """Return the accounts that left an open room and did not come back."""
    return frozenset(
        row[0]
        for row in connection.execute("SELECT account_id FROM departures WHERE room_pk = ?", (pk,))
    )


def add_member(
    connection: sqlite3.Connection, pk: int, account_id: int, *, by_role: bool = False
) -> None:
    """Make the account a member of the private room; it may be one already. `by_role`: as a teacher
    only, which ends where it is added without that."""
    connection.execute(
        """INSERT INTO members(room_pk, account_id, by_role) VALUES (?, ?, ?)
           ON CONFLICT (room_pk, account_id)
           DO UPDATE SET by_role = MIN(by_role, excluded.by_role)""",
        (pk, account_id, by_role),
    )


def remove_member(connection: sqlite3.Connection, pk: int, account_id: int) -> None:
    """End the membership of the account in the private room; it may have been no member."""
    connection.execute("DELETE FROM members WHERE room_pk = ? AND account_id = ?", (pk, account_id))


def depart(connection: sqlite3.Connection, pk: int, account_id: int) -> None:
    """Take the account out of the open room until `rejoin`; it may have left before."""
    connection.execute(
        "INSERT INTO departures(room_pk, account_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (pk, account_id),
    )


def rejoin(connection: sqlite3.Connection, pk: int, account_id: int) -> None:
    """Bring the account back into the open room; it may never have left."""
    connection.execute(
        "DELETE FROM departures WHERE room_pk = ? AND account_id = ?", (pk, account_id)
    )


_MEMBERS_OF_PRIVATE = """FROM members m JOIN accounts a ON a.id = m.account_id
    WHERE m.room_pk = ? AND a.deleted_at IS NULL"""
_MEMBERS_OF_OPEN = """FROM accounts a
    WHERE a.deleted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM departures d WHERE d.room_pk = ? AND d.account_id = a.id)"""


def member_chatids(
    connection: sqlite3.Connection, room: Room, after: str | None, limit: int
) -> Iterator[str]:
    """Yield up to `limit` names of who belongs to the room, sorted by code points, beginning behind
    `after`; read as they are taken: keep the connection until the end."""
    members = _MEMBERS_OF_PRIVATE if room.private else _MEMBERS_OF_OPEN
    rows = connection.execute(
        f"SELECT a.chatid {members} AND a.chatid > ? ORDER BY a.chatid LIMIT ?",
        (room.pk, after or "", limit),
    )
    for row in rows:
        yield row[0]


def visible(
    connection: sqlite3.Connection, account_id: int, after: str | None, limit: int
) -> Iterator[Room]:
    """Yield up to `limit` rooms that the account can see, sorted by the code points of `room_id`,
    beginning behind `after`; read as they are taken: keep the connection until the end.

    These are all open rooms, those it left included, and the private ones of which it is a member;
    no deleted ones.
    """
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM rooms r
            WHERE r.private = 0 AND r.deleted_at IS NULL AND r.room_id > ?
            UNION ALL
            SELECT {_COLUMNS} FROM members m JOIN rooms r ON r.pk = m.room_pk
            WHERE m.account_id = ? AND r.private = 1 AND r.deleted_at IS NULL AND r.room_id > ?
            ORDER BY room_id LIMIT ?""",
        (after or "", account_id, after or "", limit),
    )
    for row in rows:
        yield _room(row)


def every(connection: sqlite3.Connection, after: str | None, limit: int) -> Iterator[Room]:
    """Yield up to `limit` rooms of the server, private and deleted ones too, sorted and read as
    `visible` does."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM rooms r WHERE r.room_id > ? ORDER BY r.room_id LIMIT ?",
        (after or "", limit),
    )
    for row in rows:
        yield _room(row)


def count_heard(connection: sqlite3.Connection, account_id: int) -> int:
    """Return how many rooms the account hears: open ones that it has not left, and private ones of
    which it is a member."""
    row = connection.execute(
        """SELECT (SELECT COUNT(*) FROM rooms WHERE private = 0 AND deleted_at IS NULL)
            - (SELECT COUNT(*) FROM departures d JOIN rooms r ON r.pk = d.room_pk
               WHERE d.account_id = ?1 AND r.deleted_at IS NULL)
            + (SELECT COUNT(*) FROM members m JOIN rooms r ON r.pk = m.room_pk
               WHERE m.account_id = ?1 AND r.private = 1 AND r.deleted_at IS NULL)""",
        (account_id,),
    ).fetchone()
    return int(row[0])


def private_without(connection: sqlite3.Connection, account_id: int) -> list[Room]:
    """Return the private rooms, but for deleted ones, of which the account is no member."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM rooms r WHERE r.private = 1 AND r.deleted_at IS NULL
            AND NOT EXISTS (
                SELECT 1 FROM members m WHERE m.room_pk = r.pk AND m.account_id = ?)""",
        (account_id,),
    )
    return [_room(row) for row in rows]


def private_by_role(connection: sqlite3.Connection, account_id: int) -> list[Room]:
    """Return the private rooms, deleted ones too, to which the account belongs as a teacher
    only."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM members m JOIN rooms r ON r.pk = m.room_pk
            WHERE m.account_id = ? AND m.by_role = 1""",
        (account_id,),
    )
    return [_room(row) for row in rows]


def overview(
    connection: sqlite3.Connection, pk: int, account_id: int, read_to: int = 0
) -> Overview:
    """Return the room's newest message and what this account has not read, as a difference of two
    room_numbers: nothing is scanned. `read_to`: up to where it has read, as far as that may not be
    stored yet."""
    newest = connection.execute(
        "SELECT id, room_number FROM messages WHERE room_pk = ? ORDER BY id DESC LIMIT 1", (pk,)
    ).fetchone()
    if newest is None:
        return Overview(0, 0)
    read = connection.execute(
        """SELECT room_number FROM messages
           WHERE room_pk = ? AND id <= MAX(?, COALESCE((
               SELECT message_id FROM marks WHERE room_pk = ? AND account_id = ?), 0))
           ORDER BY id DESC LIMIT 1""",
        (pk, read_to, pk, account_id),
    ).fetchone()
    if read is None:  # what is older than the room's first message was removed, and is not unread
        read = connection.execute(
            "SELECT room_number - 1 FROM messages WHERE room_pk = ? ORDER BY id LIMIT 1", (pk,)
        ).fetchone()
    return Overview(newest[0], newest[1] - read[0])


ADVANCE_MARK = """INSERT INTO marks(account_id, room_pk, message_id) VALUES (?, ?, ?)
    ON CONFLICT (room_pk, account_id)
    DO UPDATE SET message_id = excluded.message_id WHERE excluded.message_id > message_id"""
"""(account id, room pk, message id): `messages.insert` runs it too."""


def advance_marks(connection: sqlite3.Connection, marks: Iterable[tuple[int, int, int]]) -> None:
    """Store for each (account id, room pk, message id) that the account has read the room up to
    there. A mark only ever rises."""
    connection.executemany(ADVANCE_MARK, marks)
