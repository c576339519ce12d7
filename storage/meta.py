"""The table `meta`: a few named values about the database itself, such as how far the journal has
come.

Owns its SQL. Never begins or commits. Any thread that has a connection may call it; `put` takes
that of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3

__all__ = ["get", "put"]


def get(connection: sqlite3.Connection, key: str) -> str | None:
    """The value under `key`; None where there is none."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def put(connection: sqlite3.Connection, key: str, value: str) -> None:
    """From now on `key` has this value."""
    connection.execute(
        "INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
