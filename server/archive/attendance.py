"""`attendance`: for each account when it was on, and how much it said; as a table.

Owns the sums. Never changes anything. Called by the thread of a command.
"""

from __future__ import annotations

import csv
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TextIO

from server.archive.export.writers import harmless_cell
from storage import archives, attendance
from storage.archives import Account

COLUMNS: Final = (
    "chatid",
    "role",
    "first_seen",
    "last_seen",
    "sessions",
    "minutes",
    "messages",
    "files",
)


@dataclass(slots=True)
class Presence:
    """What an account did in a period; times are seconds since 1970."""

    account: Account
    times: list[int] = field(default_factory=list)
    """Every moment at which it was seen."""
    sessions: int = 0
    seconds: int = 0
    messages: int = 0
    files: int = 0


def collect(
    connection: sqlite3.Connection,
    since: int,
    until: int,
    running: Iterable[tuple[str, int, int]] = (),
) -> list[Presence]:
    """Return the presence of each account from `since` on and before `until`, by name; of deleted
    ones only where they did something. `running`: name, begin and end so far of sessions that are
    on now."""
    found = {
        account.id: Presence(account)
        for account in archives.accounts(connection)
        if not account.forgotten
    }
    by_name = {presence.account.chatid: presence.account.id for presence in found.values()}
    spans = {(account, begin): end for account, begin, end in attendance.sessions(connection)}
    for name, begin, end in running:
        if name in by_name:
            begin = _first_begin(spans, by_name[name], begin)
            spans[by_name[name], begin] = end
    for (account_id, begin), end in spans.items():
        if account_id in found and begin < until and end >= since:
            presence = found[account_id]
            first, last = max(begin, since), min(end, until)
            presence.sessions += 1
            presence.seconds += last - first
            presence.times += [first, last]
    for table in ("messages", "files"):
        for done in attendance.activities(connection, table, since, until):
            if done.account_id in found:
                presence = found[done.account_id]
                setattr(presence, table, done.count)
                presence.times += [done.first, done.last]
    kept = (each for each in found.values() if each.times or not each.account.deleted)
    return sorted(kept, key=lambda presence: presence.account.chatid.casefold())


def _first_begin(spans: dict[tuple[int, int], int], account_id: int, begin: int) -> int:
    """Return when the stored session began with which one that runs goes on, as
    `storage.attendance.note` decides it; its own begin where there is none."""
    earlier = [
        since
        for (account, since), until in spans.items()
        if account == account_id and since <= begin <= until + attendance.AWAY_SECONDS
    ]
    return max(earlier, default=begin)


def write_table(file: TextIO, presences: Iterable[Presence]) -> int:
    """Write the table, as `export --format csv` does; return how many accounts. Times are those of
    this machine."""
    table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writerow(COLUMNS)
    count = 0
    for presence in presences:
        count += 1
        seen = (min(presence.times), max(presence.times)) if presence.times else (None, None)
        table.writerow(
            (
                harmless_cell(presence.account.chatid),
                presence.account.role,
                *map(_moment, seen),
                presence.sessions,
                round(presence.seconds / 60),
                presence.messages,
                presence.files,
            )
        )
    return count


def _moment(at: int | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
