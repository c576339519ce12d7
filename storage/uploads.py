"""The tables `open_uploads` and `files`: uploads that are begun, and files that are complete.

Owns their SQL and the rule by which a file gets its name in a room. Never begins or commits, never
touches the flat files (see `upload_files`). Any thread that has a connection may call it; what
changes something takes that of `Database.transaction()`.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from storage import shares
from storage.errors import NameTaken
from storage.received import Ranges, as_text, from_text

__all__ = [
    "OpenUpload",
    "StoredFile",
    "all_open",
    "by_transaction",
    "close_upload",
    "count_open",
    "counted_bytes",
    "declared_bytes",
    "declared_bytes_total",
    "disk_names",
    "find_open",
    "find_open_by_transaction",
    "free_name",
    "is_open",
    "is_removed",
    "last_of",
    "listing",
    "newest",
    "newest_ids",
    "open_upload",
    "received_of",
    "remove",
    "removed_disk_names",
    "save_progress",
    "since",
    "stale",
    "store",
    "used_bytes",
    "used_bytes_since",
]

EMPTY_FILE_BYTES = 4096
"""What an empty file counts as in its user's share: a block of the disk is the least that a file
with a name can take (docs/PROTOCOL.md, R-FILE-22)."""
_COUNTED = (
    f"CAST(TOTAL(CASE file_size WHEN 0 THEN {EMPTY_FILE_BYTES} ELSE file_size END) AS INTEGER)"
)
"""SUM would fail where declared sizes add up to more than 64 bits, TOTAL ends at the largest."""
MAX_NAME_BYTES = 255
NUMBERED_IN_TURN = 1000
"""Names that are looked up take the writer 6 microseconds each (measured)."""
_MAX_EXTENSION_BYTES = 32


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that is begun. `room_id` may be of a room that doesn't exist yet. Sizes in bytes.

    `chunk_size` and `first_number` (0 or 1) are None until known. `received` has what survived on
    disk, as of the last `save_progress`. `touched_at` is when something last came.
    """

    id: int
    account_id: int
    room_id: str
    file_name: str
    file_size: int
    file_type: str
    total_packets: int
    chunk_size: int | None
    first_number: int | None
    transaction_id: str | None
    received: Ranges
    disk_name: str
    touched_at: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One version of a complete file. `base_name` is what its sender called it, `stored_as` its
    name in the room."""

    id: int
    room_pk: int
    account_id: int
    sender_chatid: str
    base_name: str
    stored_as: str
    file_size: int
    file_type: str
    sha256: str
    sent_at: int
    disk_name: str
    total_packets: int
    transaction_id: str | None


# -- uploads that are begun ------------------------------------------------------------------------

_OPEN = """SELECT id, account_id, room_id, file_name, file_size, file_type, total_packets,
    chunk_size, first_number, transaction_id, received, disk_name, touched_at FROM open_uploads"""


def _upload(row: tuple[Any, ...]) -> OpenUpload:
    values = (*row[:10], from_text(row[10]), *row[11:])
    return OpenUpload(*values)


def open_upload(
    connection: sqlite3.Connection,
    account_id: int,
    room_id: str,
    file_name: str,
    file_size: int,
    file_type: str,
    total_packets: int,
    chunk_size: int | None,
    first_number: int | None,
    transaction_id: str | None,
    received: Ranges,
    disk_name: str,
    touched_at: int,
) -> OpenUpload:
    """Begin an upload. Raises NameTaken where this account has one open of that room and name, or
    under that key."""
    values = (
        account_id,
        room_id,
        file_name,
        file_size,
        file_type,
        total_packets,
        chunk_size,
        first_number,
        transaction_id,
    )
    try:
        cursor = connection.execute(
            """INSERT INTO open_uploads(account_id, room_id, file_name, file_size, file_type,
               total_packets, chunk_size, first_number, transaction_id, received, disk_name,
               touched_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*values, as_text(received), disk_name, touched_at),
        )
    except sqlite3.IntegrityError as error:
        raise NameTaken(f"this upload is open already: {error}") from error
    assert cursor.lastrowid is not None
    return OpenUpload(cursor.lastrowid, *values, received, disk_name, touched_at)


def find_open(
    connection: sqlite3.Connection, account_id: int, room_id: str, file_name: str
) -> OpenUpload | None:
    """Return the account's open upload of this room and name."""
    row = connection.execute(
        f"{_OPEN} WHERE account_id = ? AND room_id = ? AND file_name = ?",
        (account_id, room_id, file_name),
    ).fetchone()
    return _upload(row) if row else None


def find_open_by_transaction(
    connection: sqlite3.Connection, account_id: int, transaction_id: str
) -> OpenUpload | None:
    """Return the account's open upload under its own key."""
    row = connection.execute(
        f"{_OPEN} WHERE account_id = ? AND transaction_id = ?", (account_id, transaction_id)
    ).fetchone()
    return _upload(row) if row else None


def all_open(connection: sqlite3.Connection) -> list[OpenUpload]:
    """Return every open upload, oldest first."""
    return [_upload(row) for row in connection.execute(f"{_OPEN} ORDER BY id")]


def stale(connection: sqlite3.Connection, before: int) -> list[OpenUpload]:
    """Return the open uploads to which nothing came since `before`, longest untouched first."""
    return [
        _upload(row)
        for row in connection.execute(
            f"{_OPEN} WHERE touched_at < ? ORDER BY touched_at, id", (before,)
        )
    ]


def received_of(connection: sqlite3.Connection, upload_id: int) -> str | None:
    """Return what is stored of an upload as received; None where it is not open."""
    sql = "SELECT received FROM open_uploads WHERE id = ?"
    return next((text for (text,) in connection.execute(sql, (upload_id,))), None)


def save_progress(
    connection: sqlite3.Connection,
    upload_id: int,
    chunk_size: int | None,
    first_number: int | None,
    received: str,
    now: int,
    transaction_id: str | None = None,
) -> bool:
    """Store what has come so far, as `as_text` writes it, and the account's own key where there is
    none yet; False where the upload is not open any more, or another one has that key.

    To be called only when the chunks in `received` are synced to disk: a resumed upload relies on
    it.
    """
    cursor = connection.execute(
        "UPDATE OR IGNORE open_uploads SET chunk_size = ?, first_number = ?, received = ?, "
        "touched_at = ?, transaction_id = COALESCE(transaction_id, ?) WHERE id = ?",
        (chunk_size, first_number, received, now, transaction_id, upload_id),
    )
    return cursor.rowcount == 1


def close_upload(connection: sqlite3.Connection, upload_id: int) -> bool:
    """Make the upload open no more; whether it was.

    Whoever is told True owns its flat file once the transaction is committed, to finish or to
    remove it. Whoever is told False must leave the file alone: it is somebody else's.
    """
    return connection.execute("DELETE FROM open_uploads WHERE id = ?", (upload_id,)).rowcount == 1


def is_open(connection: sqlite3.Connection, upload_id: int) -> bool:
    """Return whether this upload is open."""
    row = connection.execute("SELECT 1 FROM open_uploads WHERE id = ?", (upload_id,)).fetchone()
    return row is not None


def count_open(connection: sqlite3.Connection, account_id: int) -> int:
    """Return how many uploads of this account are open."""
    return int(
        connection.execute(
            "SELECT COUNT(*) FROM open_uploads WHERE account_id = ?", (account_id,)
        ).fetchone()[0]
    )


def declared_bytes(connection: sqlite3.Connection, account_id: int) -> int:
    """Return the sizes that this account's open uploads were announced with, summed, as
    `counted_bytes` counts them."""
    row = connection.execute(
        f"SELECT {_COUNTED} FROM open_uploads WHERE account_id = ?", (account_id,)
    ).fetchone()
    return int(row[0])


def declared_bytes_total(connection: sqlite3.Connection, since: int = 0) -> int:
    """Return the sizes that all open uploads with an id above `since` were announced with,
    summed."""
    row = connection.execute(
        "SELECT CAST(TOTAL(file_size) AS INTEGER) FROM open_uploads WHERE id > ?", (since,)
    ).fetchone()
    return int(row[0])


def newest_ids(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the highest ids of an open upload and of a file; 0 where there is none."""
    row = connection.execute(
        """SELECT COALESCE((SELECT MAX(id) FROM open_uploads), 0),
           COALESCE((SELECT MAX(id) FROM files), 0)"""
    ).fetchone()
    return int(row[0]), int(row[1])


# -- files that are complete -----------------------------------------------------------------------

_FILES = """SELECT f.id, f.room_pk, f.account_id,
    (SELECT chatid FROM accounts WHERE id = f.account_id), f.base_name, f.stored_as, f.file_size,
    f.file_type, f.sha256, f.sent_at, f.disk_name, f.total_packets, f.transaction_id FROM files f"""


def _one(
    connection: sqlite3.Connection, where: str, values: tuple[object, ...]
) -> StoredFile | None:
    row = connection.execute(
        f"{_FILES} WHERE {where} ORDER BY f.id DESC LIMIT 1", values
    ).fetchone()
    return StoredFile(*row) if row else None


def free_name(connection: sqlite3.Connection, room_pk: int, account_id: int, base_name: str) -> str:
    """Return the name that this account's next file called `base_name` gets in the room."""
    earlier = last_of(connection, room_pk, account_id, base_name)
    if earlier is not None:
        return earlier.stored_as
    return next(
        name for name in _candidates(base_name) if newest(connection, room_pk, name) is None
    )


def _candidates(base_name: str) -> Iterator[str]:
    """Yield `base_name`, then numbered ones from 2 on, each at most 255 bytes of UTF-8: the stem is
    cut between two characters. Behind `NUMBERED_IN_TURN` numbers are drawn, which nobody can have
    taken on purpose: each name is looked up on the writer's thread."""
    yield base_name
    stem, dot, extension = base_name.rpartition(".")
    # ".profile", "README", or no extension but a sentence.
    if not stem or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, tail = base_name, ""
    else:
        tail = dot + extension
    numbers = chain(range(2, NUMBERED_IN_TURN + 1), iter(_drawn_number, 0))
    for number in numbers:
        ending = f" ({number}){tail}"
        kept = stem.encode()[: MAX_NAME_BYTES - len(ending.encode())].decode(errors="ignore")
        yield kept + ending


def _drawn_number() -> int:
    return NUMBERED_IN_TURN + 1 + secrets.randbelow(10**9)


def store(
    connection: sqlite3.Connection,
    room_pk: int,
    account_id: int,
    base_name: str,
    stored_as: str,
    file_size: int,
    file_type: str,
    sha256: str,
    sent_at: int,
    disk_name: str,
    total_packets: int,
    transaction_id: str | None,
) -> StoredFile:
    """Store a complete file, whose bytes are on disk under `disk_name` already, as the newest
    version of `stored_as` in the room.

    Raises NameTaken where this account stored a file under the key before.
    """
    try:
        cursor = connection.execute(
            """INSERT INTO files(room_pk, account_id, base_name, stored_as, file_size, file_type,
               sha256, sent_at, disk_name, total_packets, transaction_id)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                room_pk,
                account_id,
                base_name,
                stored_as,
                file_size,
                file_type,
                sha256,
                sent_at,
                disk_name,
                total_packets,
                transaction_id,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise NameTaken(f"this file is stored already: {error}") from error
    shares.add(connection, account_id, shares.FILE_BYTES)
    stored = _one(connection, "f.id = ?", (cursor.lastrowid,))
    assert stored is not None
    return stored


def newest(connection: sqlite3.Connection, room_pk: int, stored_as: str) -> StoredFile | None:
    """Return the newest version of the file that the room knows as `stored_as`."""
    return _one(
        connection,
        "f.room_pk = ? AND f.stored_as = ? AND f.removed_at IS NULL",
        (room_pk, stored_as),
    )


def remove(connection: sqlite3.Connection, room_pk: int, stored_as: str, now: int) -> list[str]:
    """Take the file that the room knows as `stored_as` out of it, all versions; the rows stay.
    Return the flat files that are no more needed; empty where the room has no such file."""
    where = "room_pk = ? AND stored_as = ? AND removed_at IS NULL"
    values = (room_pk, stored_as)
    rows = connection.execute(f"SELECT disk_name FROM files WHERE {where}", values).fetchall()
    connection.execute(f"UPDATE files SET removed_at = ? WHERE {where}", (now, *values))
    return [row[0] for row in rows]


def is_removed(connection: sqlite3.Connection, file_id: int) -> bool:
    """Return whether this version of a file was removed."""
    row = connection.execute("SELECT removed_at FROM files WHERE id = ?", (file_id,)).fetchone()
    return row is None or row[0] is not None


def removed_disk_names(connection: sqlite3.Connection) -> list[str]:
    """Return the flat files of what was removed; none of them need be there any more."""
    rows = connection.execute("SELECT disk_name FROM files WHERE removed_at IS NOT NULL")
    return [row[0] for row in rows]


def by_transaction(
    connection: sqlite3.Connection, account_id: int, transaction_id: str
) -> StoredFile | None:
    """Return the file that this account stored under its own key, if it did."""
    return _one(
        connection, "f.account_id = ? AND f.transaction_id = ?", (account_id, transaction_id)
    )


def last_of(
    connection: sqlite3.Connection, room_pk: int, account_id: int, base_name: str
) -> StoredFile | None:
    """Return the newest version of what this account uploaded to the room as `base_name`."""
    return _one(
        connection,
        "f.room_pk = ? AND f.account_id = ? AND f.base_name = ? AND f.removed_at IS NULL",
        (room_pk, account_id, base_name),
    )


def listing(
    connection: sqlite3.Connection, room_pk: int, after_name: str | None, limit: int
) -> Iterator[StoredFile]:
    """Yield up to `limit` files of the room, each in its newest version, oldest of these first,
    beginning behind `after_name`; read as they are taken: keep the connection until the end.

    A name that the room doesn't have is followed by nothing.
    """
    after_id = 0
    if after_name is not None:
        last_seen = newest(connection, room_pk, after_name)
        if last_seen is None:
            return
        after_id = last_seen.id
    rows = connection.execute(
        f"""{_FILES} WHERE f.room_pk = ? AND f.id > ? AND f.removed_at IS NULL AND NOT EXISTS (
                SELECT 1 FROM files later WHERE later.room_pk = f.room_pk
                AND later.stored_as = f.stored_as AND later.id > f.id)
            ORDER BY f.id LIMIT ?""",
        (room_pk, after_id, limit),
    )
    for row in rows:
        yield StoredFile(*row)


def counted_bytes(file_size: int) -> int:
    """Return what a file of this size counts as in its user's share."""
    return file_size or EMPTY_FILE_BYTES


def used_bytes(connection: sqlite3.Connection, account_id: int) -> int:
    """Return the sizes of all files of this account, earlier versions included and removed ones
    not, as `counted_bytes` counts them. Walks the index over all of them."""
    row = connection.execute(
        f"""SELECT (SELECT {_COUNTED} FROM files WHERE account_id = ?1)
            - (SELECT {_COUNTED} FROM files INDEXED BY files_removed
               WHERE account_id = ?1 AND removed_at IS NOT NULL)""",
        (account_id,),
    ).fetchone()
    return int(row[0])


def used_bytes_since(connection: sqlite3.Connection, account_id: int, file_id: int) -> int:
    """Return the same of the files with an id above this one only. Reads no others."""
    row = connection.execute(
        # the sign keeps SQLite from choosing the index by account, and walking all of it
        f"SELECT {_COUNTED} FROM files WHERE id > ? AND +account_id = ?",
        (file_id, account_id),
    ).fetchone()
    return int(row[0])


def disk_names(connection: sqlite3.Connection) -> set[str]:
    """Return the flat files that must be there: of complete files and of open uploads."""
    return {
        row[0]
        for row in connection.execute(
            "SELECT disk_name FROM files WHERE removed_at IS NULL "
            "UNION ALL SELECT disk_name FROM open_uploads"
        )
    }


def is_stored(connection: sqlite3.Connection, disk_name: str) -> bool:
    """Return whether a complete file has this flat file."""
    row = connection.execute("SELECT 1 FROM files WHERE disk_name = ?", (disk_name,)).fetchone()
    return row is not None


def since(
    connection: sqlite3.Connection, file_id: int, room_pk: int | None = None, limit: int = -1
) -> list[StoredFile]:
    """Return file versions stored after the one with this id, in order: of all rooms or one, all
    (`limit` -1) or the first ones."""
    where = "" if room_pk is None else " AND f.room_pk = ?"
    values = [file_id, limit] if room_pk is None else [file_id, room_pk, limit]
    rows = connection.execute(f"{_FILES} WHERE f.id > ?{where} ORDER BY f.id LIMIT ?", values)
    return [StoredFile(*row) for row in rows]
