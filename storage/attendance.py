"""The table `sessions`: when each account was on; and what it did meanwhile, counted.

Owns its SQL. Never begins or commits. Any thread that has a connection may call it; `note` takes
the connection of `Database.transaction()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["AWAY_SECONDS", "Activity", "activities", "note", "sessions"]

AWAY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Activity:
    """What an account did in a period: how many messages or files, the times of the first and the
    last."""

    account_id: int
    count: int
    first: int
    last: int


def note(connection: sqlite3.Connection, account_id: int, since: int, until: int) -> None:
    """Store that the account was on from `since` to `until`; a longer time of the same session
    takes the place of a shorter one. Who comes back within `AWAY_SECONDS` goes on with the last
    session, so that nobody fills the table by logging in and out."""
    last = connection.execute(
        """SELECT since, until FROM sessions WHERE account_id = ? AND since <= ?
           ORDER BY since DESC LIMIT 1""",
        (account_id, since),
    ).fetchone()
    if last is not None and since <= last[1] + AWAY_SECONDS:
        since = last[0]
    connection.execute(
        """INSERT INTO sessions(account_id, since, until) VALUES (?, ?, ?)
           ON CONFLICT (account_id, since) DO UPDATE SET until = MAX(until, excluded.until)""",
        (account_id, since, max(since, until)),
    )


def sessions(connection: sqlite3.Connection) -> Iterator[tuple[int, int, int]]:
    """Yield account, begin and end of each session."""
    yield from connection.execute("SELECT account_id, since, until FROM sessions")


def activities(
    connection: sqlite3.Connection, table: str, since: int, until: int
) -> Iterator[Activity]:
    """Yield for each account what it has in `table` ("messages" or "files") with a time from
    `since` on and before `until`."""
    column = {"messages": "sender_id", "files": "account_id"}[table]
    rows = connection.execute(
        f"""SELECT {column}, COUNT(*), MIN(sent_at), MAX(sent_at) FROM {table}
            WHERE sent_at >= ? AND sent_at < ? GROUP BY {column}""",
        (since, until),
    )
    for row in rows:
        yield Activity(*row)
