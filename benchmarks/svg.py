"""Plots as SVG, made here from text. Pure: figures in, well-formed XML out.

Colours come by classes, with a style that follows the reader's light or dark setting, so that the
same plot stands in the page, and alone as a file in docs/plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

__all__ = ["Series", "against_limits", "bars", "lines", "number"]

WIDTH: Final = 720
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 64, 52

COLOURS: Final = 6
STYLE: Final = Path(__file__).with_name("plot.css").read_text("utf-8") + "".join(
    f".plot .f{n}{{fill:var(--c{n})}}.plot .s{n}{{stroke:var(--c{n})}}" for n in range(COLOURS)
)


@dataclass(frozen=True)
class Series:
    """One line of a plot."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0


def number(value: float) -> str:
    """Write a figure for an axis."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _svg(height: int, title: str, subtitle: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">'
        f"<style>{escape(STYLE, quote=False)}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="10"/>'
        f'<text class="title" x="20" y="28">{escape(title)}</text><text class="soft" x="20" '
        f'y="47">{escape(subtitle)}</text>'
    )
    return head + "".join(parts) + "</svg>"


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from at most `low` to at least `high`."""
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
    """Draw lines, with their names below. `x_ticks`: where the axis is marked, and with what.
    `limit`: a target."""
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
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{number(mark)}</text>'
        )
    floor = 400 - BOTTOM - 26
    for tick, text in ticks:
        parts.append(
            f'<line class="axis" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{floor}" '
            f'y2="{floor + 5}"/>'
        )
        parts.append(
            f'<text class="soft" x="{across(tick):.1f}" y="{floor + 19}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(
        f'<text class="soft" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{floor + 38}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (floor + TOP) / 2
    parts.append(
        f'<text class="soft" x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 '
        f'{middle})">{escape(y_label)}</text>'
    )
    if limit:  # its name stands above the plot, where no line passes
        y, end = up(limit[0]), WIDTH - RIGHT
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        start = end - 12 - 6.5 * len(limit[1])
        parts.append(
            f'<line class="limit" x1="{start - 30:.0f}" x2="{start:.0f}" y1="43" y2="43"/>'
        )
        parts.append(
            f'<text class="soft" x="{end}" y="47" text-anchor="end">{escape(limit[1])}</text>'
        )
    for one in series:
        path = " ".join(f"{across(x):.1f},{up(max(y, marks[0])):.1f}" for x, y in one.points)
        parts.append(f'<polyline class="line s{one.colour}" points="{path}"/>')
        if len(one.points) <= 24:
            for x, y in one.points:
                note = f"{one.label}: {number(x)} {x_label}, {number(y)} {y_label}"
                parts.append(
                    f'<circle class="f{one.colour}" cx="{across(x):.1f}" '
                    f'cy="{up(max(y, marks[0])):.1f}" r="4">'
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
    """Return the names with their colours, and the row that each stands in."""
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
    """Draw horizontal bars: name, value, the text beside it, colour. `limit`: a mark across all of
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
            f'<rect class="f{colour}" x="{left}" y="{y + 5}" width="{size:.1f}" height="22" '
            'rx="4"/>'
        )
        parts.append(f'<text x="{left + size + 10:.1f}" y="{y + 20}">{escape(text)}</text>')
    if limit:
        x, end = left + length * limit[0] / most, TOP + row_height * len(named)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{end}"/>')
        parts.append(
            f'<text class="soft" x="{x:.1f}" y="{end + 18}" '
            f'text-anchor="middle">{escape(limit[1])}</text>'
        )
    return _svg(height, title, subtitle, parts)


MIDDLE: Final = 540
DECADE: Final = 80


def against_limits(title: str, subtitle: str, named: Sequence[tuple[str, float, str, bool]]) -> str:
    """Draw where each figure stands beside its limit, on a logarithmic scale: left of the middle is
    better than the target.

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
            f'<line class="{"limit" if power == 0 else "grid"}" x1="{x}" x2="{x}" y1="{TOP}" '
            f'y2="{end}"/>'
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
            f'<line class="s{colour}" x1="{MIDDLE}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke-width="3"/>'
        )
        parts.append(f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(
            f'<text x="{WIDTH - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    return _svg(height, title, subtitle, parts)
