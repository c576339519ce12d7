"""The tables `accounts` and `session_keys`: who may log in, and with what.

Owns their SQL. Never begins or commits, never sees a password or a key in the clear. Any thread
that has a connection may call it; what changes something takes the connection of
`Database.transaction()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.errors import NameTaken

__all__ = [
    "Account",
    "active_ids",
    "by_id",
    "count",
    "create",
    "credentials",
    "drop_key",
    "end_key",
    "find",
    "find_key",
    "has_key",
    "is_current",
    "last_seen",
    "mark_deleted",
    "note_seen",
    "page",
    "set_password",
    "set_role",
    "store_key",
    "teachers",
    "touch_key",
]


NAMES_AT_ONCE = 500
"""Names in one query: SQLite took 999 values at most before 3.32
(https://sqlite.org/limits.html)."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `chatid` is the name as registered, `folded` the form that names are compared
    by.

    `credential_version` grows with every change that must end running sessions. A deleted account
    keeps its name for ever.
    """

    id: int
    chatid: str
    folded: str
    password_hash: str
    credential_version: int
    deleted: bool
    role: str = "student"


_COLUMNS = (
    "a.id, a.chatid, a.folded, a.password_hash, a.credential_version, a.deleted_at IS NOT NULL, "
    "a.role"
)


def _account(row: tuple[int, str, str, str, int, int, str]) -> Account:
    return Account(*row[:5], deleted=bool(row[5]), role=row[6])


def find(connection: sqlite3.Connection, folded: str) -> Account | None:
    """Return the account with this folded name, a deleted one too."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM accounts a WHERE a.folded = ?", (folded,)
    ).fetchone()
    return _account(row) if row else None


def active_ids(connection: sqlite3.Connection, folded: Iterable[str]) -> dict[str, int]:
    """Return the ids of those accounts that are there and not deleted, by their folded names."""
    names = list(folded)
    found: dict[str, int] = {}
    for start in range(0, len(names), NAMES_AT_ONCE):
        part = names[start : start + NAMES_AT_ONCE]
        marks = ",".join("?" * len(part))
        found.update(
            connection.execute(
                f"SELECT folded, id FROM accounts WHERE folded IN ({marks}) AND deleted_at IS NULL",
                part,
            ).fetchall()
        )
    return found


def by_id(connection: sqlite3.Connection, account_id: int) -> Account | None:
    """Return the account with this id, a deleted one too."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM accounts a WHERE a.id = ?", (account_id,)
    ).fetchone()
    return _account(row) if row else None


def create(
    connection: sqlite3.Connection,
    chatid: str,
    folded: str,
    password_hash: str,
    now: int,
    role: str = "student",
) -> Account:
    """Store a new account. Raises NameTaken where the name is in use, or was by an account that is
    deleted."""
    try:
        cursor = connection.execute(
            "INSERT INTO accounts(chatid, folded, password_hash, created_at, role) "
            "VALUES (?, ?, ?, ?, ?)",
            (chatid, folded, password_hash, now, role),
        )
    except sqlite3.IntegrityError:
        raise NameTaken("an account with this name exists, or existed") from None
    assert cursor.lastrowid is not None
    return Account(
        cursor.lastrowid,
        chatid,
        folded,
        password_hash,
        credential_version=1,
        deleted=False,
        role=role,
    )


def set_password(connection: sqlite3.Connection, account_id: int, password_hash: str) -> None:
    """Give the account a new password, and drop its session key: sessions that logged in with the
    old one are to end."""
    connection.execute(
        "UPDATE accounts SET password_hash = ?, credential_version = credential_version + 1 "
        "WHERE id = ?",
        (password_hash, account_id),
    )
    drop_key(connection, account_id)


def set_role(connection: sqlite3.Connection, account_id: int, role: str) -> None:
    """Give the account another role, and drop its session key: sessions that logged in with the old
    role are to end."""
    connection.execute(
        "UPDATE accounts SET role = ?, credential_version = credential_version + 1 WHERE id = ?",
        (role, account_id),
    )
    drop_key(connection, account_id)


def note_seen(connection: sqlite3.Connection, account_id: int, now: int) -> None:
    """Note that the account was on until now."""
    connection.execute("UPDATE accounts SET last_seen = ? WHERE id = ?", (now, account_id))


def last_seen(connection: sqlite3.Connection, account_id: int) -> int | None:
    """Return when the account was last on, as far as it is stored; None = never."""
    row = connection.execute(
        "SELECT last_seen FROM accounts WHERE id = ?", (account_id,)
    ).fetchone()
    return row[0] if row else None


def teachers(connection: sqlite3.Connection) -> dict[int, str]:
    """Return the names of all teachers' accounts that are not deleted, by id."""
    return dict(
        connection.execute(
            "SELECT id, chatid FROM accounts WHERE role = 'teacher' AND deleted_at IS NULL"
        ).fetchall()
    )


def mark_deleted(connection: sqlite3.Connection, account_id: int, now: int) -> None:
    """Delete the account: its name stays reserved, its session key is gone. Deleting it again
    changes nothing."""
    connection.execute(
        "UPDATE accounts SET deleted_at = ?, credential_version = credential_version + 1 "
        "WHERE id = ? AND deleted_at IS NULL",
        (now, account_id),
    )
    drop_key(connection, account_id)


def page(connection: sqlite3.Connection, after: str | None, limit: int) -> Iterator[Account]:
    """Yield up to `limit` accounts that are not deleted, sorted by the code points of `chatid`,
    beginning behind `after` (limit -1 = all); read as they are taken: keep the connection until
    the end."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM accounts a WHERE a.deleted_at IS NULL AND a.chatid > ? ORDER "
        "BY a.chatid LIMIT ?",
        (after or "", limit),
    )
    for row in rows:
        yield _account(row)


def count(connection: sqlite3.Connection) -> int:
    """Return how many accounts are not deleted."""
    return int(
        connection.execute("SELECT COUNT(*) FROM accounts WHERE deleted_at IS NULL").fetchone()[0]
    )


def oldest(connection: sqlite3.Connection) -> int | None:
    """Return when the first account was made, in seconds since 1970; None where there is none."""
    found = connection.execute("SELECT MIN(created_at) FROM accounts").fetchone()[0]
    return None if found is None else int(found)


def credentials(connection: sqlite3.Connection) -> dict[int, tuple[int, str]]:
    """Return the credential version and the role of every account that is not deleted, by its id:
    what a session compares its own with, to know that it must end."""
    rows = connection.execute(
        "SELECT id, credential_version, role FROM accounts WHERE deleted_at IS NULL"
    )
    return {account_id: (version, role) for account_id, version, role in rows}


def is_current(connection: sqlite3.Connection, account_id: int, credential_version: int) -> bool:
    """Return whether the account still is what a session logged in to: neither deleted nor given
    another password since (both raise the version)."""
    row = connection.execute(
        "SELECT credential_version FROM accounts WHERE id = ?", (account_id,)
    ).fetchone()
    return row is not None and row[0] == credential_version


def store_key(connection: sqlite3.Connection, account_id: int, key_hash: bytes, now: int) -> None:
    """Store the account's session key, as a hash; the one before is gone."""
    connection.execute(
        """INSERT INTO session_keys(account_id, key_hash, last_used) VALUES (?, ?, ?)
           ON CONFLICT (account_id)
           DO UPDATE SET key_hash = excluded.key_hash, last_used = excluded.last_used""",
        (account_id, key_hash, now),
    )


def find_key(connection: sqlite3.Connection, key_hash: bytes) -> tuple[Account, int] | None:
    """Return the account, if not deleted, whose session key has this hash, and when the key was
    last used. The caller decides what is too old."""
    row = connection.execute(
        f"""SELECT {_COLUMNS}, k.last_used
            FROM session_keys k JOIN accounts a ON a.id = k.account_id
            WHERE k.key_hash = ? AND a.deleted_at IS NULL""",
        (key_hash,),
    ).fetchone()
    return (_account(row[:7]), row[7]) if row else None


def touch_key(connection: sqlite3.Connection, account_id: int, now: int) -> None:
    """Note that the account's session key was used now. Without a key nothing happens."""
    connection.execute(
        "UPDATE session_keys SET last_used = ? WHERE account_id = ?", (now, account_id)
    )


def has_key(connection: sqlite3.Connection, account_id: int, key_hash: bytes) -> bool:
    """Return whether this very key is the account's."""
    row = connection.execute(
        "SELECT 1 FROM session_keys WHERE account_id = ? AND key_hash = ?", (account_id, key_hash)
    ).fetchone()
    return row is not None


def end_key(connection: sqlite3.Connection, account_id: int, key_hash: bytes) -> None:
    """End this very key of the account; a newer one stays."""
    connection.execute(
        "DELETE FROM session_keys WHERE account_id = ? AND key_hash = ?", (account_id, key_hash)
    )


def drop_key(connection: sqlite3.Connection, account_id: int) -> None:
    """Delete the account's session key, if it has one."""
    connection.execute("DELETE FROM session_keys WHERE account_id = ?", (account_id,))
