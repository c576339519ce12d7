"""Ids that are never used twice: the counters behind the tables' AUTOINCREMENT
(https://sqlite.org/autoinc.html).

Owns the SQL of `sqlite_sequence`. Never begins or commits. Any thread that has the connection of
`Database.transaction()` may call it.
"""

from __future__ import annotations

import sqlite3

__all__ = ["reserve"]


def reserve(connection: sqlite3.Connection, table: str, highest: int) -> None:
    """Make sure that no new row of `table` gets an id up to `highest`."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    if row is None:
        connection.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", (table, highest))
    elif row[0] < highest:
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (highest, table))
