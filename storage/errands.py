"""The table `errands`: what the command line asks a running server to do, and its answer.

Owns its SQL. Never begins or commits, never knows what an errand is about. Any thread that has a
connection may call it; what changes something takes the connection of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3

__all__ = ["answer", "answer_of", "ask", "erase_forgotten", "forgotten", "take_back", "waiting"]


def ask(connection: sqlite3.Connection, kind: str, question: str, now: int) -> int:
    """Leave an errand for the server; return its number."""
    cursor = connection.execute(
        "INSERT INTO errands(kind, question, asked_at) VALUES (?, ?, ?)", (kind, question, now)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def waiting(connection: sqlite3.Connection, since: int) -> list[tuple[int, str, str]]:
    """Return number, kind and question of what was asked from this time on and has no answer yet,
    in order."""
    return connection.execute(
        "SELECT id, kind, question FROM errands WHERE answer IS NULL AND asked_at >= ? ORDER BY id",
        (since,),
    ).fetchall()


def forgotten(connection: sqlite3.Connection, before: int) -> bool:
    """Return whether there is an errand that was asked for before this time."""
    row = connection.execute("SELECT 1 FROM errands WHERE asked_at < ? LIMIT 1", (before,))
    return row.fetchone() is not None


def erase_forgotten(connection: sqlite3.Connection, before: int) -> None:
    """Erase the errands that were asked for before this time, answered or not."""
    connection.execute("DELETE FROM errands WHERE asked_at < ?", (before,))


def answer(connection: sqlite3.Connection, number: int, text: str) -> None:
    """Answer an errand."""
    connection.execute("UPDATE errands SET answer = ? WHERE id = ?", (text, number))


def answer_of(connection: sqlite3.Connection, number: int) -> str | None:
    """Return the answer to an errand; None where there is none yet."""
    row = connection.execute("SELECT answer FROM errands WHERE id = ?", (number,)).fetchone()
    return row[0] if row else None


def take_back(connection: sqlite3.Connection, number: int) -> str | None:
    """Remove an errand; return its answer, None where it was not done, and now never is."""
    found = answer_of(connection, number)
    connection.execute("DELETE FROM errands WHERE id = ?", (number,))
    return found
