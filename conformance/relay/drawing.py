"""A recording as a picture: a sequence diagram in SVG, for a slide or a page.

Pure: from events to text. Needs no font, script or network; follows the reader's light or dark
mode. What came over the wire is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

Event = dict[str, Any]

GUTTER: Final = 96
"""Pixels at the left, for numbers and times."""
LANE: Final = 320
TOP: Final = 92
ROW: Final = 54
NOTE: Final = 19
GAP_SECONDS: Final = 1.0
"""A longer pause is drawn as one."""
CHARACTER: Final = 6.7
LOST_AT: Final = 0.76
"""So far comes a message that is lost."""
SERVER: Final = "server"

KINDS: Final = (
    ("message", re.compile(r"(send|receive)_message")),
    ("counts", re.compile(r"(character|confirm)_count")),
    ("ack", re.compile(r"ack")),
    ("error", re.compile(r"error|\w+_fail")),
    ("file", re.compile(r"file_.*|receive_file")),
)
STYLE: Final = """
  svg{--ink:#1f2933;--soft:#5b6875;--line:#c3ccd5;--paper:#ffffff;--message:#1f5fbf;--counts:#7a3fb0;
  --ack:#1d7a3e;--error:#c0262d;--file:#0b7285;--other:#52606d;--fault:#b45309;--tint:#fdf3e3;
  font-family:system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
  @media (prefers-color-scheme:dark){svg{--ink:#e6ebf0;--soft:#9fb0c0;--line:#3d4a57;
  --paper:#151b21;--message:#7db3ff;--counts:#c79bf2;--ack:#6fd08c;--error:#ff8a8f;--file:#62c9d6;--other:#aab7c4;
  --fault:#f5b453;--tint:#3a2c14}}
  .paper{fill:var(--paper)}.title{font-size:19px;font-weight:650;fill:var(--ink)}
  .lane{stroke:var(--line);stroke-width:1.5}.head{fill:var(--paper);stroke:var(--ink);stroke-width:1.4}
  .name{font-size:15px;font-weight:600;fill:var(--ink);text-anchor:middle}
  .time,.number{font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
  .what{font-size:14px;font-weight:600;text-anchor:middle}.says{font-size:12.5px;fill:var(--ink);
  text-anchor:middle}.what,.says,.came,.pause{paint-order:stroke;stroke:var(--paper);stroke-width:5px;
  stroke-linejoin:round}.came{font-size:12.5px;font-style:italic;fill:var(--fault);text-anchor:middle}
  .pause{font-size:12px;fill:var(--soft);text-anchor:middle}.note{font-size:12px;fill:var(--soft);
  text-anchor:middle;paint-order:stroke;stroke:var(--paper);stroke-width:5px}
  .badge{fill:var(--tint);stroke:var(--fault);stroke-width:1.2}.mark{font-size:12px;font-weight:600;
  fill:var(--fault);text-anchor:middle}.arrow{stroke-width:2;fill:none}.cross{stroke:var(--fault);
  stroke-width:3.2;fill:none;stroke-linecap:round}
"""


@dataclass
class _Picture:
    lanes: dict[str, float]
    y: float = float(TOP)
    parts: list[str] = field(default_factory=list)

    def text(self, kind: str, x: float, y: float, text: str, style: str = "") -> None:
        more = f' style="{style}"' if style else ""
        self.parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{_safe(text)}</text>'
        )


def to_svg(events: Sequence[Event], title: str) -> str:
    """Return the picture of what passed: one arrow for each packet, from the top."""
    names = lane_names(events)
    clients = list(dict.fromkeys(names.values()))
    half = (len(clients) + 1) // 2
    order = [*clients[:half], SERVER, *clients[half:]]
    picture = _Picture({name: GUTTER + LANE * (0.4 + at) for at, name in enumerate(order)})
    came_of = came_of_rows(events)
    before = None
    for event in events:
        if event["kind"] not in ("frame", "raw", "open", "close"):
            continue
        if before is not None and event["time"] - before > GAP_SECONDS:
            _pause(picture, event["time"] - before)
        before = event["time"]
        lane = names.get(event["connection"], "")
        if event["kind"] in ("open", "close"):
            if lane:
                _note(picture, event, lane)
        else:
            _arrow(picture, event, lane, came_of.get(event["row"], []))
    width, height = GUTTER + LANE * (len(order) - 0.2), picture.y + 26
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{_safe(title)}">',
            f"<title>{_safe(title)}</title><style>{STYLE}</style>",
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            *_heads(picture, title, height),
            *picture.parts,
            "</svg>\n",
        ]
    )


def lane_names(events: Sequence[Event]) -> dict[int, str]:
    """Return whose lane each connection has: its user's, who may come back; those over which
    nothing passed have none."""
    names = {
        each["connection"]: each["from"]
        for each in events
        if each["kind"] == "open" and ":" not in each["from"]  # a journal's reader
    }
    names.update({each["connection"]: each["user"] for each in events if each["kind"] == "name"})
    found: dict[int, str] = {}
    for event in events:
        if event["kind"] in ("frame", "raw"):
            number = event["connection"]
            found[number] = names.get(number, f"connection {number}")
    return found


def came_of_rows(events: Sequence[Event]) -> dict[int, list[str]]:
    """Return by row what came of it."""
    found: dict[int, list[str]] = {}
    for event in events:
        if event["kind"] == "came_of":
            found.setdefault(event["row"], []).append(event["text"])
    return found


def color_of(action: str) -> str:
    """Return the name of the colour of an action."""
    return next((name for name, fits in KINDS if fits.fullmatch(action)), "other")


def _heads(picture: _Picture, title: str, height: float) -> list[str]:
    parts = [f'<text class="title" x="20" y="32">{_safe(title)}</text>']
    for name, x in picture.lanes.items():
        shown = name if len(name) <= 22 else name[:21] + "…"
        parts += [
            f'<line class="lane" x1="{x:.1f}" x2="{x:.1f}" y1="76" y2="{height - 12:.0f}"/>',
            f'<rect class="head" x="{x - 92:.1f}" y="48" width="184" height="30" rx="7"/>',
            f'<text class="name" x="{x:.1f}" y="68">{_safe(shown)}</text>',
        ]
    return parts


def _pause(picture: _Picture, seconds: float) -> None:
    xs = list(picture.lanes.values())
    y = picture.y + 8
    picture.parts.append(
        f'<line class="lane" x1="{xs[0]:.1f}" x2="{xs[-1]:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        'stroke-dasharray="2 7"/>'
    )
    picture.text("pause", (xs[0] + xs[-1]) / 2 + LANE / 4, y + 4, f"{seconds:.1f} s later")
    picture.y += 26


def _note(picture: _Picture, event: Event, lane: str) -> None:
    text = "connects" if event["kind"] == "open" else event["how"]
    picture.text("note", picture.lanes[lane], picture.y + 14, text)
    picture.y += 26


def _arrow(picture: _Picture, event: Event, lane: str, came_of: Sequence[str]) -> None:
    here, there = picture.lanes[lane], picture.lanes[SERVER]
    if event["to"] == "client":
        here, there = there, here
    action = event.get("action") or "bytes"
    color = f"var(--{color_of(action)})"
    y = picture.y + 24
    middle, sign = (here + there) / 2, 1 if there > here else -1
    is_lost = (event["fault"] or "").split()[:1] in (["drop"], ["cut"], ["reset"])
    end = here + (there - here) * LOST_AT if is_lost else there - sign * 2
    picture.text("number", 20, y + 4, f"{event['row']}")
    picture.text("time", 48, y + 4, f"{event['time']:.3f}")
    picture.parts.append(
        f'<path class="arrow" stroke="{color}" d="M{here:.1f} {y:.1f}H{end:.1f}"/>'
    )
    if is_lost:
        picture.parts.append(
            f'<path class="cross" d="M{end - 7:.1f} {y - 7:.1f}l14 14m0 -14l-14 14"/>'
        )
    else:
        picture.parts.append(f'<path fill="{color}" d="M{end:.1f} {y:.1f}l{-sign * 11} -5.5v11z"/>')
    verdict = {"agree": "  ✓ counts agree", "differ": "  ✗ counts differ"}.get(
        event.get("counts", ""), ""
    )
    picture.text("what", middle, y - 8, action + verdict, f"fill:{color}")
    room = int(abs(there - here) / CHARACTER) - 4
    says = event["summary"]
    picture.text("says", middle, y + 18, says if len(says) <= room else says[: room - 1] + "…")
    if event["fault"]:
        _badge(picture, here + sign * 52, y, event["fault"])
    picture.y += ROW
    for text in came_of:
        picture.text("came", middle, picture.y + 8, f"→ {text}")
        picture.y += NOTE


def _badge(picture: _Picture, x: float, y: float, text: str) -> None:
    width = 22 + 6.8 * len(text)
    picture.parts.append(
        f'<rect class="badge" x="{x - width / 2:.1f}" y="{y - 11:.1f}" width="{width:.1f}" '
        'height="22" rx="11"/>'
    )
    picture.text("mark", x, y + 4, text)


def _safe(text: str) -> str:
    """Escape for XML; control characters, which XML has no way to hold, are dropped."""
    plain = "".join(each for each in text if each.isprintable())
    return escape(plain, {'"': "&quot;"})
