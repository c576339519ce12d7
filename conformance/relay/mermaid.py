"""A recording as the text of a Mermaid sequence diagram, which many wikis and editors draw.

Pure: from events to text. Every character that Mermaid would read as its own is written as a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance.relay.drawing import SERVER, came_of_rows, lane_names

Event = dict[str, Any]


def to_mermaid(events: Sequence[Event], title: str) -> str:
    """Return the diagram: a participant for each user and the server, an arrow for each packet."""
    names = lane_names(events)
    clients = list(dict.fromkeys(names.values()))
    half = (len(clients) + 1) // 2
    order = [*clients[:half], SERVER, *clients[half:]]
    ids = {name: f"P{at}" for at, name in enumerate(order)}
    ids[SERVER] = "S"
    lines = [f"%% {_plain(title)}", "sequenceDiagram"]
    lines += [f"    participant {ids[name]} as {_plain(name)}" for name in order]
    came_of = came_of_rows(events)
    for event in events:
        if event["kind"] not in ("frame", "raw"):
            continue
        client = ids[names[event["connection"]]]
        here, there = (client, "S") if event["to"] == "server" else ("S", client)
        is_lost = (event["fault"] or "").split()[:1] in (["drop"], ["cut"], ["reset"])
        words = [event.get("action") or "bytes", event["summary"]]
        if event.get("counts", "none") != "none":
            words.append(f"(counts {event['counts']})")
        if event["fault"]:
            words.append(f"[fault {event['fault']}]")
        text = " ".join(word for word in words if word)
        lines.append(f"    {here}{'-x' if is_lost else '->>'}{there}: {_plain(text)}")
        for each in came_of.get(event["row"], []):
            lines.append(f"    Note over {client}: {_plain(each)}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Write everything but plain letters, digits and harmless marks as Mermaid's codes."""
    return "".join(
        each
        if each.isalnum() or each in " _.,()[]-+=?!'/*"
        else f"#{ord(each)};"
        if each.isprintable()
        else " "
        for each in text
    )
