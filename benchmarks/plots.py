"""The plots of a report. Pure: figures in, SVG out; `svg` draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.svg import Series, against_limits, bars, lines, number
from benchmarks.targets import rows, shown

__all__ = ["NAMES", "all_plots"]

NAMES: Final = {
    "ours": ("this server", 0),
    "asyncio": ("asyncio streams", 1),
    "naive": ("naive threads", 2),
    "websockets": ("websockets", 3),
    "inspircd": ("InspIRCd (C++)", 4),
    "mosquitto": ("Mosquitto (C)", 5),
}
PERCENT_MARKS: Final = ("10", "50", "90", "99", "99.9", "100")


def all_plots(report: dict[str, Any]) -> dict[str, str]:
    """Draw every plot that the report has figures for; return them by name."""
    made = {name: make(report["results"]) for name, make in _PLOTS.items()}
    return {name: svg for name, svg in made.items() if svg}


def _cpu(results: dict[str, Any]) -> str:
    servers = results.get("room", {}).get("servers", {})
    rows = [
        (
            NAMES[name][0],
            found["cpu_us"],
            f"{found['cpu_us']:.2f} µs · {found['per_second'] / 1000:,.0f}k/s",
            NAMES[name][1],
        )
        for name, found in servers.items()
        if found["cpu_us"] is not None
    ]
    if not rows:
        return ""
    members = results["room"]["members"]
    return bars(
        "CPU for one delivery",
        f"a full room of {members}, microseconds of the server's CPU; less is better",
        sorted(rows, key=lambda row: row[1]),
    )


def _tail(percent: str) -> float:
    """Return a percentage as "nines", so that the slow end has room: 50 is 0.3, 90 is 1, 99 is 2,
    99.9 is 3; 100 stands a little further."""
    return 3.5 if percent == "100" else -math.log10(1 - float(percent) / 100)


def _latency_plot(
    title: str,
    subtitle: str,
    found: Sequence[tuple[str, int, dict[str, float]]],
    limit: tuple[float, str] | None = None,
) -> str:
    series = [
        Series(
            label,
            [
                (_tail(percent), value)
                for percent, value in percents.items()
                if float(percent) >= 10
            ],
            colour,
        )
        for label, colour, percents in found
    ]
    ticks = [
        (_tail(percent), "worst" if percent == "100" else f"{percent} %")
        for percent in PERCENT_MARKS
    ]
    return lines(
        title,
        subtitle,
        series,
        "so many of the deliveries took at most…",
        "ms",
        x_ticks=ticks,
        y_log=True,
        limit=limit,
    )


def _latency(results: dict[str, Any]) -> str:
    servers = results.get("room", {}).get("servers", {})
    found = [(*NAMES[name], one["percentiles_ms"]) for name, one in servers.items()]
    subtitle = "from the sender's send to each receiver's read, everybody at full speed"
    return (
        _latency_plot("Latency in a full room", subtitle, found, (15.0, "target: p99 15 ms"))
        if found
        else ""
    )


def _latency_rest(results: dict[str, Any]) -> str:
    servers = results.get("rest", {}).get("servers", {})
    found = [(*NAMES[name], one["percentiles_ms"]) for name, one in servers.items()]
    return (
        _latency_plot(
            "Latency at rest",
            "five messages a second, each stored and synced before it is forwarded",
            found,
        )
        if found
        else ""
    )


def _latency_by_workload(results: dict[str, Any]) -> str:
    labels = {
        "room": "sender's handshake",
        "both": "both handshakes",
        "varied": "no two packets alike",
        "one": "one on the way",
    }
    found = [
        (label, at, results[name]["servers"]["ours"]["percentiles_ms"])
        for at, (name, label) in enumerate(labels.items())
        if name in results
    ]
    return (
        _latency_plot(
            "This server's latency under each load", "a room of 200, as fast as it goes", found
        )
        if found
        else ""
    )


def _growth(results: dict[str, Any], key: str, title: str, subtitle: str, unit: str) -> str:
    series = []
    for name, place in (("ours", "rows"), ("asyncio", "asyncio")):
        rows = [row for row in results.get("growth", {}).get(place, []) if row.get(key) is not None]
        if len(rows) > 1:
            label, colour = NAMES[name]
            series.append(
                Series(label, [(float(row["members"]), float(row[key])) for row in rows], colour)
            )
    if not series:
        return ""
    ticks = [(x, number(x)) for x, _ in series[0].points]
    return lines(title, subtitle, series, "members of the room", unit, x_ticks=ticks, x_log=True)


def _throughput(results: dict[str, Any]) -> str:
    return _growth(
        results,
        "per_second",
        "Deliveries a second by size of the room",
        "4 senders × 4 messages on the way",
        "deliveries a second",
    )


def _cost(results: dict[str, Any]) -> str:
    return _growth(
        results,
        "cpu_us",
        "CPU for one delivery by size of the room",
        "4 senders × 4 messages on the way",
        "µs",
    )


def _memory(results: dict[str, Any]) -> str:
    rows = [row for row in results.get("idle", {}).get("rows", []) if row["kib_all"] is not None]
    if len(rows) < 2:
        return ""
    points = [(float(row["clients"]), row["kib_all"] / 1024) for row in rows]
    each = rows[-1]["kib_each"]
    most = rows[-1]["clients"]
    subtitle = f"the whole process, one thread for each client; {each:.1f} KiB each at {most:,}"
    return lines("Memory by clients", subtitle, [Series("this server", points)], "clients", "MiB")


def _targets(results: dict[str, Any]) -> str:
    found = [
        (
            f"{row.what} ({row.workload})",
            row.limit / row.measured if row.at_least else row.measured / row.limit,
            shown(row.measured, row.unit),
            row.reached is True,
        )
        for row in rows(results)
        if row.measured
    ]
    reached = sum(good for *_, good in found)
    subtitle = f"{reached} of {len(found)} reached; each step to a side is a factor of ten"
    return against_limits("Against the targets", subtitle, found) if found else ""


_PLOTS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "cpu": _cpu,
    "latency": _latency,
    "latency-workloads": _latency_by_workload,
    "latency-rest": _latency_rest,
    "throughput": _throughput,
    "cost": _cost,
    "memory": _memory,
    "targets": _targets,
}
