"""The table of what is to be reached, and what a run measured of it. Pure: from figures to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "rows", "shown"]


@dataclass(frozen=True)
class Row:
    """One target. `reached` is None where it was not measured; `measured` is in the target's own
    unit."""

    workload: str
    what: str
    limit: float
    unit: str
    at_least: bool
    measured: float | None

    @property
    def reached(self) -> bool | None:
        """Return whether the measured figure is on the right side; None where it was not
        measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def share(self) -> float | None:
        """Return the measured figure as a share of the limit, for a bar: 1 is the limit."""
        return None if self.measured is None else self.measured / self.limit

    def as_json(self) -> dict[str, Any]:
        """Return the row for the file of figures."""
        return {**vars(self), "reached": self.reached}


def shown(value: float | None, unit: str) -> str:
    """Write a figure for people."""
    if value is None:
        return "not measured"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}" + (
        f" {unit}" if unit and unit != "x" else " ×" if unit == "x" else ""
    )


def _find(results: dict[str, Any], path: str) -> float | None:
    found: Any = results
    for key in path.split("/"):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


_AT_MOST, _AT_LEAST = False, True
_TABLE = (
    (
        "room",
        "CPU a delivery, by asyncio streams'",
        0.15,
        "x",
        _AT_MOST,
        "room/ratios/asyncio/cpu_us/median",
    ),
    (
        "room",
        "CPU a delivery, by websockets broadcast's",
        0.12,
        "x",
        _AT_MOST,
        "room/ratios/websockets/cpu_us/median",
    ),
    (
        "room",
        "CPU a delivery, by InspIRCd's",
        1.5,
        "x",
        _AT_MOST,
        "room/ratios/inspircd/cpu_us/median",
    ),
    ("room", "p99 of the latency", 15.0, "ms", _AT_MOST, "room/servers/ours/p99_ms"),
    (
        "both",
        "deliveries a second, both handshakes",
        100_000.0,
        "/s",
        _AT_LEAST,
        "both/servers/ours/per_second",
    ),
    (
        "both",
        "CPU a delivery, by naive threads' without a handshake",
        1.2,
        "x",
        _AT_MOST,
        "both/ratios/naive/cpu_us/median",
    ),
    (
        "varied",
        "deliveries a second, no two packets alike",
        14_000.0,
        "/s",
        _AT_LEAST,
        "varied/servers/ours/per_second",
    ),
    (
        "one",
        "CPU a delivery, by asyncio streams'",
        1.0,
        "x",
        _AT_MOST,
        "one/ratios/asyncio/cpu_us/median",
    ),
    (
        "kept_room",
        "CPU a delivery, by asyncio's with the same promises",
        0.3,
        "x",
        _AT_MOST,
        "kept_room/ratios/asyncio_kept/cpu_us/median",
    ),
    (
        "kept_room",
        "CPU a delivery, by a selector's with the same promises",
        0.3,
        "x",
        _AT_MOST,
        "kept_room/ratios/selectors_kept/cpu_us/median",
    ),
    (
        "kept_one",
        "CPU a delivery, by asyncio's with the same promises",
        1.0,
        "x",
        _AT_MOST,
        "kept_one/ratios/asyncio_kept/cpu_us/median",
    ),
    (
        "kept_one",
        "CPU a delivery, by a selector's with the same promises",
        1.0,
        "x",
        _AT_MOST,
        "kept_one/ratios/selectors_kept/cpu_us/median",
    ),
    (
        "rest",
        "p99 of the latency, by asyncio streams'",
        1.2,
        "x",
        _AT_MOST,
        "rest/ratios/asyncio/p99_ms/median",
    ),
    ("writer", "longest turn of the writer", 50.0, "ms", _AT_MOST, "writer/longest_turn_ms"),
    ("idle", "memory of one idle client", 25.0, "KiB", _AT_MOST, "idle/kib_each"),
    ("idle", "a message to all of them", 300.0, "ms", _AT_MOST, "idle/to_all_ms"),
    ("idle", "threads a client", 1.0, "", _AT_MOST, "idle/threads_each"),
    (
        "mass_login",
        "logins, by what the cores can hash",
        0.9,
        "x",
        _AT_LEAST,
        "mass_login/of_ceiling",
    ),
    (
        "mass_login",
        "p99 of the chat of those inside",
        250.0,
        "ms",
        _AT_MOST,
        "mass_login/chat_p99_ms",
    ),
    ("mass_login", "all are back by session key", 1.0, "s", _AT_MOST, "mass_login/back_seconds"),
    (
        "attack",
        "memory beside the budget of 64 MiB, under attack",
        64.0,
        "MiB",
        _AT_MOST,
        "attack/beside_mib",
    ),
    ("past", "newest page, by a small room's", 1.5, "x", _AT_MOST, "past/pages/newest/ratio"),
    ("past", "page at a time, by a small room's", 1.5, "x", _AT_MOST, "past/pages/from_time/ratio"),
    (
        "past",
        "page after an id, by a small room's",
        1.5,
        "x",
        _AT_MOST,
        "past/pages/after_id/ratio",
    ),
    ("past", "start until it listens", 1.0, "s", _AT_MOST, "past/start_seconds"),
    (
        "retain",
        "CPU of the writer's longest turn, --retain at work",
        50.0,
        "ms",
        _AT_MOST,
        "retain/erased/cpu_ms",
    ),
    ("files", "upload of one client", 60.0, "MB/s", _AT_LEAST, "files/up_mb_per_second"),
    ("files", "download of one client", 150.0, "MB/s", _AT_LEAST, "files/down_mb_per_second"),
    ("files", "p99 of the chat meanwhile", 50.0, "ms", _AT_MOST, "files/chat_p99_ms"),
    ("relay", "what the relay adds to a ping, median", 1.0, "ms", _AT_MOST, "relay/added_ms"),
    (
        "relay",
        "messages of one sender through it, by straight",
        0.8,
        "x",
        _AT_LEAST,
        "relay/share_messages",
    ),
    ("relay", "upload through the relay, by straight", 0.8, "x", _AT_LEAST, "relay/share_up"),
    ("relay", "download through the relay, by straight", 0.8, "x", _AT_LEAST, "relay/share_down"),
    (
        "growth",
        "CPU a delivery in the costliest room, by the cheapest",
        1.5,
        "x",
        _AT_MOST,
        "growth/flat_within",
    ),
)


def rows(results: dict[str, Any]) -> list[Row]:
    """Return every target with what `results` has of it: figures by the names of the workloads."""
    return [
        Row(workload, what, limit, unit, at_least, _find(results, path))
        for workload, what, limit, unit, at_least, path in _TABLE
    ]
