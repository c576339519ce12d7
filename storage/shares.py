"""The table `shares`: how much of the database each account has filled.

Owns its SQL and what a row of another table counts as. Never begins or commits, never decides how
much is too much. Any thread that has a connection may call it; `add` takes the connection of
`Database.transaction()`.
"""

from __future__ import annotations

import sqlite3

__all__ = ["FILE_BYTES", "MEMBER_BYTES", "MESSAGE_BYTES", "ROOM_BYTES", "add", "used"]

# What a row takes besides the text that its user chose, with its entries in the indexes (measured
# with SQLite's dbstat, rounded up).
MESSAGE_BYTES = 256
FILE_BYTES = 1024
"""With its names and type, which have 255 bytes or characters each at most."""
ROOM_BYTES = 1024
MEMBER_BYTES = 32


def used(connection: sqlite3.Connection, account_id: int) -> int:
    """Return the bytes that count as filled by the account; what was deleted since counts, too."""
    row = connection.execute(
        "SELECT bytes FROM shares WHERE account_id = ?", (account_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def add(connection: sqlite3.Connection, account_id: int, size: int) -> None:
    """Count `size` more bytes as filled by the account."""
    connection.execute(
        """INSERT INTO shares(account_id, bytes) VALUES (?, ?)
           ON CONFLICT (account_id) DO UPDATE SET bytes = bytes + excluded.bytes""",
        (account_id, size),
    )
