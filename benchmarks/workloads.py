"""What is measured: a workload for each row of docs/PERFORMANCE.md.

Each starts the servers that it needs, runs its load, and returns plain figures for JSON. None
passes or fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.crowds import attack, idle, mass_login
from benchmarks.relayed import relay
from benchmarks.rooms import (
    both,
    growth,
    kept_both,
    kept_one,
    kept_room,
    one,
    rest,
    room,
    silent,
    varied,
    writer,
)
from benchmarks.sizes import Figures, Sizes
from benchmarks.stored import files, past, retain

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True)
class Workload:
    """A named measurement."""

    name: str
    title: str
    measure: Callable[[Sizes], Figures]


WORKLOADS: Final = tuple(
    Workload(measure.__name__, title, measure)
    for title, measure in (
        ("room of 200, 4 senders x 4 messages on the way", room),
        ("the same, every receiver answers (both handshakes)", both),
        ("the same, no two receivers' packets alike", varied),
        ("room of 200, one message on the way", one),
        ("room of 200, 5 messages a second", rest),
        ("room of 200, beside peers with the same promises", kept_room),
        ("both handshakes, beside the same", kept_both),
        ("one message on the way, beside the same", kept_one),
        ("room of 50, one member never reads", silent),
        ("the writer's longest turn in a full room", writer),
        ("clients that are only there", idle),
        ("students log in at once", mass_login),
        ("memory beside the budget, under attack", attack),
        ("history of a huge room, and a start on it", past),
        ("the writer's turns while --retain erases a term", retain),
        ("a file up and down while others chat", files),
        ("what the kit's relay adds to one connection", relay),
        ("cost as the room grows", growth),
    )
)
