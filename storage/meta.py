"""The table `meta`: a few named values about the database itself, such as how far the journal has
come.

Owns its SQL. Never begins or commits. Any thread that has a connection may call it; `put` takes
that of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3

__all__ = ["get", "put", "replace_all", "with_prefix"]


def get(connection: sqlite3.Connection, key: str) -> str | None:
    """Return the value under `key`; None where there is none."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def put(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Store `value` under `key`, in the place of an older one."""
    connection.execute(
        "INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = "
        "excluded.value",
        (key, value),
    )


def with_prefix(connection: sqlite3.Connection, prefix: str) -> dict[str, str]:
    """Return the values of all keys that begin with `prefix`, by what follows it."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)  # the first key behind them
    rows = connection.execute(
        "SELECT key, value FROM meta WHERE key >= ? AND key < ?", (prefix, end)
    )
    return {str(key)[len(prefix) :]: str(value) for key, value in rows}


def replace_all(connection: sqlite3.Connection, prefix: str, values: dict[str, str]) -> None:
    """Make `values` all that there is under `prefix`."""
    for key in with_prefix(connection, prefix).keys() - values.keys():
        connection.execute("DELETE FROM meta WHERE key = ?", (prefix + key,))
    for key, value in values.items():
        put(connection, prefix + key, value)
