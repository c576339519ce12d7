"""What is to leave the database for good: an account with its texts, and what is older than it may
be.

Owns the SQL of that. Never begins or commits: whoever calls it takes small steps, so that a running
server gets its turns. Bytes are gone from the file only after `Database.compact`. Any thread that
has the connection of `Database.transaction()` may call it.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field

from storage import meta, shares

__all__ = [
    "FORGOTTEN",
    "Numbering",
    "begin",
    "begun_uploads",
    "empty_tables",
    "end_accounts",
    "erase_accounts",
    "erase_details",
    "erase_file_rows",
    "erase_messages",
    "erase_some",
    "erase_some_rows",
    "files_of",
    "files_up_to",
    "is_rewrite_due",
    "leave_token",
    "messages_up_to",
    "noticed",
    "old_files",
    "old_messages",
    "old_rows",
    "rename",
    "set_rewrite_due",
    "take_files_out",
]

FORGOTTEN = "forgotten"
"""The password record of an account that was forgotten: it fits no password."""
_TOKEN = "erasure"
_REWRITE = "rewrite_due"
ROWS_AT_ONCE = 200
FEW = 10
"""Rows between two looks at the clock."""
FILES_AT_ONCE = 20
OldRow = tuple[str, tuple[int, ...]]
"""A table, and the key of a row in it."""
_DATED = {
    "audit": (("id",), "at"),
    "errands": (("id",), "asked_at"),
    "sessions": (("account_id", "since"), "until"),
}
"""Of each table whose rows grow old: its key, and the column with the time."""


@dataclass(slots=True)
class Numbering:
    """How far `erase_messages` has come: the last id that it looked at, and the last number that it
    gave in each room."""

    last_id: int = 0
    by_room: dict[int, int] = field(default_factory=dict)
    erased: int = 0


def begin(connection: sqlite3.Connection, account_id: int, token: str, now: int) -> None:
    """Delete the account as `deluser` does, and leave `token` for a running server to notice."""
    connection.execute(
        "UPDATE accounts SET deleted_at = COALESCE(deleted_at, ?), "
        "credential_version = credential_version + 1 WHERE id = ?",
        (now, account_id),
    )
    connection.execute("DELETE FROM session_keys WHERE account_id = ?", (account_id,))
    leave_token(connection, token)


def leave_token(connection: sqlite3.Connection, token: str) -> None:
    """Leave `token` for a running server to notice that something was erased."""
    meta.put(connection, _TOKEN, token)


def noticed(connection: sqlite3.Connection) -> str:
    """Return the token that was left last; "" where there was none."""
    return meta.get(connection, _TOKEN) or ""


def set_rewrite_due(connection: sqlite3.Connection, is_due: bool) -> None:
    """Leave word that the database is to be rewritten at the next start, or that it was."""
    meta.put(connection, _REWRITE, "1" if is_due else "")


def is_rewrite_due(connection: sqlite3.Connection) -> bool:
    """Return whether the database is to be rewritten when no server runs on it."""
    return bool(meta.get(connection, _REWRITE))


def erase_messages(
    connection: sqlite3.Connection, account_id: int, state: Numbering, *, keep_texts: bool
) -> bool:
    """Go on through all messages, `ROWS_AT_ONCE` of them: erase the account's, and count the others
    anew within their rooms, on which what is unread depends. With `keep_texts` only the account's
    own keys are erased. Return whether there is more to do."""
    rows = connection.execute(
        "SELECT id, room_pk, room_number, sender_id FROM messages WHERE id > ? ORDER BY id LIMIT ?",
        (state.last_id, ROWS_AT_ONCE),
    ).fetchall()
    for message_id, room_pk, number, sender_id in rows:
        state.last_id = message_id
        if sender_id == account_id:
            state.erased += 1
            if keep_texts:
                connection.execute(
                    "UPDATE messages SET transaction_id = NULL WHERE id = ?", (message_id,)
                )
            else:
                state.by_room.setdefault(room_pk, number - 1)
                connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))
                continue
        right = state.by_room.get(room_pk, number - 1) + 1
        state.by_room[room_pk] = right
        if number != right:
            connection.execute(
                "UPDATE messages SET room_number = ? WHERE id = ?", (right, message_id)
            )
    return len(rows) == ROWS_AT_ONCE


def files_of(connection: sqlite3.Connection, account_id: int) -> list[str]:
    """Return the names on the disk of some files and open uploads of the account. `take_files_out`
    is to follow, then they are removed, then `erase_file_rows`: whatever ends it between, doing it
    again goes on."""
    rows = connection.execute(
        """SELECT disk_name FROM files WHERE account_id = ?
           UNION ALL SELECT disk_name FROM open_uploads WHERE account_id = ? LIMIT ?""",
        (account_id, account_id, ROWS_AT_ONCE),
    )
    return [row[0] for row in rows]


def old_files(connection: sqlite3.Connection, before: int) -> list[str]:
    """Return the names on the disk of some files that were sent before this time, as `files_of`
    does."""
    rows = connection.execute(
        "SELECT disk_name FROM files WHERE sent_at < ? LIMIT ?", (before, FILES_AT_ONCE)
    )
    return [row[0] for row in rows]


def take_files_out(connection: sqlite3.Connection, disk_names: list[str], now: int) -> None:
    """Take these files out of their rooms, as `uploads.remove` does. It comes before their bytes
    are removed: whoever downloads one meanwhile is told that it is gone, and not that the disk
    failed. A start that finds it half done removes the bytes."""
    connection.executemany(
        "UPDATE files SET removed_at = ? WHERE disk_name = ? AND removed_at IS NULL",
        [(now, name) for name in disk_names],
    )


def erase_file_rows(connection: sqlite3.Connection, disk_names: list[str]) -> None:
    """Erase the rows of files whose bytes are gone; they count in nobody's share any more."""
    for name in disk_names:
        for (account_id,) in connection.execute(
            "SELECT account_id FROM files WHERE disk_name = ?", (name,)
        ).fetchall():
            shares.add(connection, account_id, -shares.FILE_BYTES)
        connection.execute("DELETE FROM files WHERE disk_name = ?", (name,))
        connection.execute("DELETE FROM open_uploads WHERE disk_name = ?", (name,))


def old_messages(connection: sqlite3.Connection, room_pk: int, before: int) -> list[int]:
    """Return the ids of some messages of the room that were sent before this time."""
    rows = connection.execute(
        """SELECT id FROM messages INDEXED BY messages_by_second
           WHERE room_pk = ? AND sent_at < ? ORDER BY sent_at, id LIMIT ?""",
        (room_pk, before, ROWS_AT_ONCE),
    )
    return [row[0] for row in rows]


def erase_some(connection: sqlite3.Connection, ids: list[int]) -> int:
    """Erase a few messages of the list, and take them from it; return how many. They count in
    nobody's share any more."""
    some, ids[:] = ids[:FEW], ids[FEW:]
    for message_id in some:
        row = connection.execute(
            "SELECT sender_id, LENGTH(CAST(content AS BLOB)) FROM messages WHERE id = ?",
            (message_id,),
        ).fetchone()
        if row is not None:
            shares.add(connection, row[0], -(shares.MESSAGE_BYTES + row[1]))
            connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))
    return len(some)


def old_rows(connection: sqlite3.Connection, before: int) -> list[OldRow]:
    """Return some rows of the audit, errands and times of sessions from before this time: each its
    table and its key."""
    found: list[OldRow] = []
    for table, (keys, column) in _DATED.items():
        rows = connection.execute(
            f"SELECT {', '.join(keys)} FROM {table} WHERE {column} < ? LIMIT ?",
            (before, ROWS_AT_ONCE),
        )
        found += [(table, row) for row in rows]
    return found


def erase_some_rows(connection: sqlite3.Connection, found: list[OldRow]) -> int:
    """Erase a few rows of the list, and take them from it; return how many."""
    some, found[:] = found[:FEW], found[FEW:]
    for table, row in some:
        where = " AND ".join(f"{key} = ?" for key in _DATED[table][0])
        connection.execute(f"DELETE FROM {table} WHERE {where}", row)
    return len(some)


def end_accounts(connection: sqlite3.Connection, token: str, now: int) -> int:
    """Delete every account as `begin` does; return the highest id among them."""
    connection.execute(
        "UPDATE accounts SET deleted_at = COALESCE(deleted_at, ?), "
        "credential_version = credential_version + 1",
        (now,),
    )
    connection.execute("DELETE FROM session_keys")
    leave_token(connection, token)
    return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM accounts").fetchone()[0])


def messages_up_to(connection: sqlite3.Connection, highest: int) -> list[int]:
    """Return the ids of some messages up to this one."""
    rows = connection.execute(
        "SELECT id FROM messages WHERE id <= ? ORDER BY id LIMIT ?", (highest, ROWS_AT_ONCE)
    )
    return [row[0] for row in rows]


def files_up_to(connection: sqlite3.Connection, highest: int) -> list[str]:
    """Return the names on the disk of some files up to this id, as `files_of` does."""
    rows = connection.execute(
        "SELECT disk_name FROM files WHERE id <= ? LIMIT ?", (highest, ROWS_AT_ONCE)
    )
    return [row[0] for row in rows]


def begun_uploads(connection: sqlite3.Connection, highest: int) -> list[str]:
    """Return the names on the disk of some open uploads of the accounts up to this id, as
    `files_of` does."""
    rows = connection.execute(
        "SELECT disk_name FROM open_uploads WHERE account_id <= ? LIMIT ?", (highest, ROWS_AT_ONCE)
    )
    return [row[0] for row in rows]


def empty_tables(connection: sqlite3.Connection) -> None:
    """Erase what was noted about the term: acts, attendance, how far anybody has read."""
    for table in ("audit", "errands", "sessions", "marks"):
        connection.execute(f"DELETE FROM {table}")


def erase_accounts(connection: sqlite3.Connection, highest: int) -> None:
    """Erase the accounts up to this id, with the private rooms, so that their names are free. Who
    has said something since stays, without a name."""
    for table in ("members", "departures", "restrictions", "shares"):
        connection.execute(f"DELETE FROM {table} WHERE account_id <= ?", (highest,))
    connection.execute(
        """DELETE FROM rooms WHERE private = 1
           AND NOT EXISTS (SELECT 1 FROM members m WHERE m.room_pk = rooms.pk)
           AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.room_pk = rooms.pk)
           AND NOT EXISTS (SELECT 1 FROM files f WHERE f.room_pk = rooms.pk)"""
    )
    for column in ("owner", "made_by"):
        connection.execute(f"UPDATE rooms SET {column} = NULL WHERE {column} <= ?", (highest,))
    for (account_id,) in connection.execute(
        "SELECT id FROM accounts WHERE id <= ?", (highest,)
    ).fetchall():
        try:
            connection.execute("DELETE FROM accounts WHERE id = ?", (account_id,))
        except sqlite3.IntegrityError:
            rename(connection, account_id)


def erase_details(connection: sqlite3.Connection, account_id: int, chatid: str) -> None:
    """Erase what else is known of the account: where it was and how far it read, the names of its
    private rooms, the words about it in the audit table."""
    for table in ("marks", "members", "departures", "shares", "restrictions", "sessions"):
        connection.execute(f"DELETE FROM {table} WHERE account_id = ?", (account_id,))
    connection.execute(
        "UPDATE rooms SET name = ? WHERE made_by = ? AND private = 1",
        (f"[{FORGOTTEN}]", account_id),
    )
    connection.execute(
        "UPDATE audit SET reason = '', detail = '', file_path = NULL "
        "WHERE user_id = ? OR by_id = ?",
        (account_id, account_id),
    )
    name = re.compile(rf"\b{re.escape(chatid)}\b", re.IGNORECASE)
    _replace(connection, "audit", "rowid", ("reason", "detail", "file_path"), name)
    _replace(connection, "restrictions", "account_id", ("reason",), name)
    # What was answered has done its work, and may hold texts; the name may stand in JSON's escapes.
    connection.execute("DELETE FROM errands WHERE answer IS NOT NULL")
    _replace(connection, "errands", "id", ("question",), name)


def _replace(
    connection: sqlite3.Connection,
    table: str,
    key: str,
    columns: tuple[str, ...],
    name: re.Pattern[str],
) -> None:
    """Put another word for a name into these columns of a table that is small."""
    for column in columns:
        rows = connection.execute(
            f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL"
        ).fetchall()
        for row_key, text in rows:
            if name.search(text):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {key} = ?",
                    (name.sub(FORGOTTEN, text), row_key),
                )


def rename(connection: sqlite3.Connection, account_id: int) -> str:
    """Give the account a name that tells nothing, and return it. Its row stays, because others'
    rows have its number."""
    name = f"{FORGOTTEN}-{account_id}"
    while connection.execute(
        "SELECT 1 FROM accounts WHERE folded = ? AND id <> ?", (name, account_id)
    ).fetchone():
        name += "x"
    connection.execute(
        "UPDATE accounts SET chatid = ?, folded = ?, password_hash = ?, created_at = 0, "
        "deleted_at = 0, last_seen = NULL, role = 'student' WHERE id = ?",
        (name, name, FORGOTTEN, account_id),
    )
    return name
