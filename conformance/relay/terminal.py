"""What the relay prints: a line for each packet, and at the end what it saw.

Owns the standard output of the relay. Escapes whatever came over the wire. Used by the thread
"relay-traffic", and by the main thread once that has ended.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final, TextIO, final

NAME_CHARACTERS: Final = 16
ACTION_CHARACTERS: Final = 17


def plain(text: object) -> str:
    """Return a text whose characters a terminal shows and does not obey."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in line
    )


@final
class Terminal:
    """Prints events as lines; with `is_quiet` only what goes wrong."""

    def __init__(self, out: TextIO | None = None, *, is_quiet: bool = False) -> None:
        self._out = out or sys.stdout
        self._is_quiet = is_quiet
        self._names: dict[int, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._faults: Counter[str] = Counter()
        self._came_of: Counter[str] = Counter()
        self._is_broken = False

    def __call__(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        kind = event["kind"]
        self._counts[kind, event.get("to", "")] += 1
        if self._is_quiet and kind == "frame" and not event["fault"]:
            return
        if kind == "name":
            self._names[event["connection"]] = plain(event["user"])
        elif kind == "came_of":
            self._came_of[event["text"].partition(":")[0]] += 1
        if event.get("fault"):
            self._faults[event["fault"].split()[0]] += 1
        is_wanted = not self._is_quiet or event.get("how", "").startswith("no ")
        line = self._line(event) if is_wanted else ""
        if line:
            self.say(f"{event['time']:9.3f} s  {line}")
        if kind == "close":
            self._names.pop(event["connection"], None)

    def say(self, line: str) -> None:
        """Print a line; where nobody reads any more (`| head`), nothing."""
        if self._is_broken:
            return
        try:
            print(line, file=self._out, flush=True)
        except (OSError, ValueError):
            self._is_broken = True

    def end(self) -> None:
        """Print what was seen."""
        counts = self._counts
        self.say(
            f"{counts['open', '']} connections; {counts['frame', 'server']} packets to the server, "
            f"{counts['frame', 'client']} to clients"
            + (f"; {_raw(counts)} pieces that are no frame" if _raw(counts) else "")
        )
        if self._faults:
            self.say("faults: " + _list(self._faults))
        if self._came_of:
            self.say("what came of them: " + _list(self._came_of))

    def _line(self, event: dict[str, Any]) -> str:
        kind = event["kind"]
        if kind == "open":
            return f"connection {event['connection']} from {event['from']}"
        if kind == "name":
            return f"connection {event['connection']} is {plain(event['user'])}"
        if kind == "close":
            return f"{self._who(event)} has left: {plain(event['how'])}"
        if kind == "came_of":
            return f"     row {event['row']}: {plain(event['text'])}"
        if kind == "step":
            return f"     held: {', '.join(map(str, event['held'])) or 'nothing'}"
        if kind not in ("frame", "raw"):
            return ""
        arrow = "->" if event["to"] == "server" else "<-"
        what = event.get("action") or ("no frame" if kind == "raw" else "no action")
        marks = "".join(
            f"  [{mark}]"
            for mark in (
                "counts differ" if event.get("counts") == "differ" else "",
                f"fault: {event['fault']}" if event["fault"] else "",
                "held" if event["held"] else "",
            )
            if mark
        )
        return (
            f"{event['row']:6} {self._who(event):>{NAME_CHARACTERS}} {arrow}"
            f" {plain(what):<{ACTION_CHARACTERS}} {plain(event['summary'])}{marks}"
        )

    def _who(self, event: dict[str, Any]) -> str:
        number = event["connection"]
        return self._names.get(number, f"connection {number}")[:NAME_CHARACTERS]


def _raw(counts: Counter[tuple[str, str]]) -> int:
    return counts["raw", "server"] + counts["raw", "client"]


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {plain(name)}" for name, count in counts.most_common())
