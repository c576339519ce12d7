"""Plots of a report as SVG, made here from text. Pure: figures in, well-formed XML out.

Colours come by classes, with a style that follows the reader's light or dark setting, so that the
same plot stands in the page, and alone as a file in docs/plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from benchmarks.targets import rows, shown

__all__ = ["STYLE", "Series", "all_plots", "bars", "lines"]

WIDTH: Final = 720
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 64, 52

STYLE: Final = """
.plot{--paper:#fff;--ink:#1b2430;--soft:#667085;--grid:#e4e8ee;--c0:#2563eb;--c1:#d97706;--c2:#059669;--c3:#c026d3;--c4:#64748b;--c5:#dc2626;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
@media(prefers-color-scheme:dark){.plot{--paper:#141a22;--ink:#e8edf4;--soft:#98a4b5;--grid:#2a3441;--c0:#6ea8ff;--c1:#f5a94b;--c2:#3ecf9a;
--c3:#e28bf3;--c4:#93a1b5;--c5:#ff7b7b}}
.plot .paper{fill:var(--paper)}.plot text{fill:var(--ink);font-size:13px}.plot .title{font-size:17px;font-weight:650}
.plot .soft{fill:var(--soft);font-size:12px}.plot .grid{stroke:var(--grid);stroke-width:1}.plot .axis{stroke:var(--soft);stroke-width:1}
.plot .limit{stroke:var(--ink);opacity:.75;stroke-width:1.5;stroke-dasharray:5 4}.plot .line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}
""" + "".join(f".plot .f{n}{{fill:var(--c{n})}}.plot .s{n}{{stroke:var(--c{n})}}" for n in range(6))


@dataclass(frozen=True)
class Series:
    """One line of a plot."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0


def number(value: float) -> str:
    """A figure on an axis."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _svg(height: int, title: str, subtitle: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<style>{escape(STYLE, quote=False)}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="10"/>'
        f'<text class="title" x="20" y="28">{escape(title)}</text><text class="soft" x="20" y="47">{escape(subtitle)}</text>'
    )
    return head + "".join(parts) + "</svg>"


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    raw = (high - low) / wanted or 1.0
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.floor(low / step)
    return [step * at for at in range(first, math.ceil(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    return [
        10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ]


def lines(
    title: str,
    subtitle: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    y_log: bool = False,
    x_log: bool = False,
    limit: tuple[float, str] | None = None,
) -> str:
    """A plot of lines with their names at the foot. `x_ticks`: where the axis is marked, and by
    what. `limit`: a target."""
    legend = _legend([(one.label, one.colour) for one in series], 386)
    height = 400 + 20 * (len(legend) and legend[-1][1])
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + ([limit[0]] if limit else [])
    marks = _log_ticks(max(min(ys), 1e-3), max(ys)) if y_log else _ticks(0.0, max(ys))
    ticks = x_ticks or [(tick, number(tick)) for tick in _ticks(0.0, max(xs))]
    across = _scale([tick for tick, _ in ticks] + xs, LEFT, WIDTH - RIGHT, x_log)
    up = _scale(marks, 400 - BOTTOM - 26, TOP + 10, y_log)
    parts = []
    for mark in marks:
        y = up(mark)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(mark)}</text>'
        )
    floor = 400 - BOTTOM - 26
    for tick, text in ticks:
        parts.append(
            f'<line class="axis" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{floor}" y2="{floor + 5}"/>'
        )
        parts.append(
            f'<text class="soft" x="{across(tick):.1f}" y="{floor + 19}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(
        f'<text class="soft" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{floor + 38}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (floor + TOP) / 2
    parts.append(
        f'<text class="soft" x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(y_label)}</text>'
    )
    if limit:
        y = up(limit[0])
        parts.append(
            f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="soft" x="{WIDTH - RIGHT}" y="{y - 6:.1f}" text-anchor="end">{escape(limit[1])}</text>'
        )
    for one in series:
        path = " ".join(f"{across(x):.1f},{up(max(y, marks[0])):.1f}" for x, y in one.points)
        parts.append(f'<polyline class="line s{one.colour}" points="{path}"/>')
        if len(one.points) <= 24:
            for x, y in one.points:
                note = f"{one.label}: {number(x)} {x_label}, {number(y)} {y_label}"
                parts.append(
                    f'<circle class="f{one.colour}" cx="{across(x):.1f}" cy="{up(max(y, marks[0])):.1f}" r="4">'
                    f"<title>{escape(note)}</title></circle>"
                )
    parts += [part for part, _ in legend]
    return _svg(height, title, subtitle, parts)


def _scale(
    values: Sequence[float], start: float, end: float, log: bool
) -> Callable[[float], float]:
    low, high = min(values), max(values)
    if log:
        low, high = math.log10(max(low, 1e-9)), math.log10(max(high, 1e-9))
    span = (high - low) or 1.0
    return lambda value: (
        start + (end - start) * (((math.log10(max(value, 1e-9)) if log else value) - low) / span)
    )


def _legend(names: Sequence[tuple[str, int]], y: float) -> list[tuple[str, int]]:
    """The names with their colours, and the row that each stands in."""
    parts, x, row = [], float(LEFT), 0
    for label, colour in names:
        width = 34 + 7.2 * len(label)
        if x + width > WIDTH - RIGHT:
            x, row = float(LEFT), row + 1
        at = y + 20 * row
        box = f'<rect class="f{colour}" x="{x:.0f}" y="{at - 10}" width="12" height="12" rx="3"/>'
        parts.append((f'{box}<text x="{x + 18:.0f}" y="{at}">{escape(label)}</text>', row))
        x += width
    return parts


def bars(
    title: str,
    subtitle: str,
    named: Sequence[tuple[str, float, str, int]],
    *,
    limit: tuple[float, str] | None = None,
) -> str:
    """Level bars: name, value, what is written beside it, colour. `limit`: a mark across all of
    them."""
    row_height, left, right = 38, 190, 150
    height = TOP + row_height * len(named) + (34 if limit else 14)
    most = max([value for _, value, _, _ in named] + ([limit[0]] if limit else [])) or 1.0
    length = WIDTH - left - right
    parts = []
    for at, (label, value, text, colour) in enumerate(named):
        y = TOP + at * row_height
        size = max(2.0, length * value / most)
        parts.append(f'<text x="{left - 12}" y="{y + 20}" text-anchor="end">{escape(label)}</text>')
        parts.append(
            f'<rect class="f{colour}" x="{left}" y="{y + 5}" width="{size:.1f}" height="22" rx="4"/>'
        )
        parts.append(f'<text x="{left + size + 10:.1f}" y="{y + 20}">{escape(text)}</text>')
    if limit:
        x, end = left + length * limit[0] / most, TOP + row_height * len(named)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{end}"/>')
        parts.append(
            f'<text class="soft" x="{x:.1f}" y="{end + 18}" text-anchor="middle">{escape(limit[1])}</text>'
        )
    return _svg(height, title, subtitle, parts)


MIDDLE: Final = 480
DECADE: Final = 95


def against_limits(title: str, subtitle: str, named: Sequence[tuple[str, float, str, bool]]) -> str:
    """Where each figure stands beside its limit, on a scale of tens: left of the middle is better
    than was asked for.

    A row is its name, how many times the limit it is (under 1 is better), what is written beside
    it, and whether it is reached.
    """
    row_height = 27
    height = TOP + row_height * len(named) + 46
    end = TOP + row_height * len(named)
    parts = []
    for power, text in ((-1.0, "10 × better"), (0.0, "the target"), (1.0, "10 × worse")):
        x = MIDDLE + DECADE * power
        parts.append(
            f'<line class="{"limit" if power == 0 else "grid"}" x1="{x}" x2="{x}" y1="{TOP}" y2="{end}"/>'
        )
        parts.append(
            f'<text class="soft" x="{x}" y="{end + 18}" text-anchor="middle">{text}</text>'
        )
    for at, (label, times, text, reached) in enumerate(named):
        y = TOP + at * row_height + row_height / 2
        x = MIDDLE + DECADE * max(-1.3, min(1.3, math.log10(max(times, 1e-6))))
        colour = 2 if reached else 5
        parts.append(f'<text class="soft" x="20" y="{y + 4:.1f}">{escape(label)}</text>')
        parts.append(
            f'<line class="s{colour}" x1="{MIDDLE}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke-width="3"/>'
        )
        parts.append(f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(
            f'<text x="{WIDTH - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    return _svg(height, title, subtitle, parts)


# --- The plots of a report ------------------------------------------------------------------------

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
    """Every plot that the report has figures for, by name."""
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
    """Percent as "nines": 50 is 0.3, 90 is 1, 99 is 2, 99.9 is 3, so that the slow end has room;
    100 stands a little further."""
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
    subtitle = f"the whole process, one thread for each client; {each:.1f} KiB each at {rows[-1]['clients']:,}"
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
