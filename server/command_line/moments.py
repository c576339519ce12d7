"""Times as people type them on the command line: `--since` and `--until`.

Owns their forms, which are those of the client's `history --since`. Any thread.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from server.command_line.console import AdminError

FIRST, LAST = 0, 2**62
"""Before and after every message."""


def period(arguments: Any) -> tuple[int, int]:
    """Return what `--since` and `--until` say, in seconds since 1970: the first second that counts,
    and the first after it that does not. Raises AdminError."""
    since = FIRST if arguments.since is None else moment("--since", arguments.since)
    until = LAST if arguments.until is None else moment("--until", arguments.until)
    if until <= since:
        raise AdminError("--until is not after --since: nothing lies between them")
    return since, until


def moment(option: str, text: str, now: datetime | None = None) -> int:
    """Return the seconds since 1970 of a time: `2026-11-23`, `2026-11-23 10:15`,
    `2026-11-23T10:15:00Z`, `10:15` (today), `90m`, `2h`, `3d` (ago). Without a zone it is this
    machine's. Raises AdminError."""
    present = now or datetime.now().astimezone()
    units = {"m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            found = present - timedelta(**{units[text[-1]]: int(text[:-1])})
        elif len(text) <= 8 and ":" in text:
            clock = datetime.strptime(text, "%H:%M" if text.count(":") == 1 else "%H:%M:%S")
            found = present.replace(
                hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0
            )
        else:
            found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)
        return int(_with_zone(found, present).timestamp())
    except (ValueError, OverflowError):
        raise AdminError(
            f"{option}: '{text}' is no time; expected one like 2026-11-23, '2026-11-23 10:15', "
            "10:15, 90m, 2h or 3d"
        ) from None


def _with_zone(found: datetime, present: datetime) -> datetime:
    """Return a time with a zone: its own, else this machine's at that time; where the system knows
    none for it (Windows: before 1970-01-02, after 3000), that of today."""
    if found.tzinfo is not None:
        return found
    try:
        return found.astimezone()
    except OSError:
        return found.replace(tzinfo=present.tzinfo)
