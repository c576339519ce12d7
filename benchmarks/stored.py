"""The workloads of what is stored: pages of a huge history, and files."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import history
from benchmarks.load import Plan
from benchmarks.peers import FOR_LOADS, OURS, Running, serving
from benchmarks.running import beside, chat_figures, crowd, run_load, run_script
from benchmarks.scripts import client
from benchmarks.sizes import Figures, Sizes

__all__ = ["files", "past", "retain"]


def past(sizes: Sizes) -> Figures:
    """Measure pages of a huge room beside a small one, and how long a start on that database
    takes."""
    rooms = {"huge": sizes.messages[0], "small": sizes.messages[1]}
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
        folder = Path(name)
        with serving(OURS, *FOR_LOADS, folder=folder) as server:
            empty = server.start_seconds
            with client(server.port, "reader"):
                pass
        begun = time.perf_counter()
        history.fill(folder / "data" / "chat.db", "reader", rooms)
        filled = time.perf_counter() - begun
        starts, pages = [], []
        for _ in range(sizes.repeat):
            with serving(OURS, *FOR_LOADS, folder=folder) as server:
                starts.append(server.start_seconds)
                pages.append(history.page_times(server.port, "reader", rooms, sizes.pages))
        size = (folder / "data" / "chat.db").stat().st_size
    kinds = {
        kind: {
            **{
                room_id: statistics.median(one[kind][room_id] for one in pages) for room_id in rooms
            },
            "ratio": statistics.median(one[kind]["huge"] / one[kind]["small"] for one in pages),
        }
        for kind in history.PAGES
    }
    start = statistics.median(starts)
    for kind, figures in kinds.items():
        sizes.say(
            f"    page {kind:<10} {figures['huge']:6.2f} ms of {rooms['huge']:,}, "
            f"{figures['small']:6.2f} ms of {rooms['small']:,}"
        )
    sizes.say(f"    listens after {start:.2f} s ({empty:.2f} s with an empty database)")
    return {
        "rooms": rooms,
        "pages": kinds,
        "start_seconds": start,
        "empty_start_seconds": empty,
        "fill_seconds": filled,
        "database_mb": size / 1e6,
    }


OLD_FOR_EACH: Final = 5
"""Old messages for each one of the small room of `past`: enough to last for the whole load."""


def retain(sizes: Sizes) -> Figures:
    """Measure the writer's longest turn in a room that talks: while nothing else is done, and while
    `--retain` erases a term's messages."""
    rooms = {"old": OLD_FOR_EACH * sizes.messages[1]}
    found: Figures = {"rooms": rooms}
    for label, days in (("kept", "0"), ("erased", "30")):
        with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
            folder = Path(name)
            with serving(OURS, *FOR_LOADS, folder=folder) as server, client(server.port, "ada"):
                pass
            history.fill(folder / "data" / "chat.db", "ada", rooms)
            found[label] = _turns(sizes, folder, ("--retain", days))
        sizes.say(
            f"    {label}: longest turn of the writer {found[label]['longest_turn_ms']} ms, most "
            f"CPU in one {found[label]['cpu_ms']} ms"
        )
    return found


def _turns(sizes: Sizes, folder: Path, options: Sequence[str]) -> Figures:
    """Let a room talk on this folder; return what the server's log says of the writer's turns."""
    log = folder / "log"
    with serving(OURS, *FOR_LOADS, "--log-level", "debug", *options, folder=folder, log=log) as one:
        plan = Plan(0, "m", min(sizes.members, 30), senders=4, window=4, answers="same")
        run_load(OURS, one, plan, sizes.seconds, 1, sizes.warm)
    said = re.search(
        r"longest turn took ([0-9.]+) ms, and at most ([0-9.]+) ms", log.read_text("utf-8")
    )
    turn, cpu = said.groups() if said else (None, None)
    return {"longest_turn_ms": turn and float(turn), "cpu_ms": cpu and float(cpu)}


CHUNK: Final = 64 * 1024
WINDOW: Final = 16


def files(sizes: Sizes) -> Figures:
    """Send a file and fetch it with one client, again and again, while others chat."""
    size = sizes.file_mib << 20
    speeds: dict[str, list[float]] = {"up": [], "down": []}
    alone: dict[str, float] = {}
    with serving(OURS, *FOR_LOADS) as server:
        for way in speeds:
            alone[way] = _transfer(server, "alone", size, way)
        with (
            crowd(OURS, server, Plan(0, "m", 20, senders=4, rate=20.0), 1) as people,
            beside() as pool,
        ):
            chat = pool.submit(people.go, max(2.0 * sizes.seconds, 4.0), 0.0)
            while not chat.done():
                name = f"sender{len(speeds['up'])}"
                for way, found in speeds.items():
                    found.append(_transfer(server, name, size, way))
            talk = chat.result()
    figures = {
        "bytes": size,
        "chunk": CHUNK,
        "window": WINDOW,
        "up_mb_per_second": statistics.median(speeds["up"]),
        "down_mb_per_second": statistics.median(speeds["down"]),
        "up_rounds": speeds["up"],
        "down_rounds": speeds["down"],
        "up_alone": alone["up"],
        "down_alone": alone["down"],
        **chat_figures(talk),
    }
    sizes.say(
        f"    {sizes.file_mib} MiB: up {figures['up_mb_per_second']:.0f} MB/s, down "
        f"{figures['down_mb_per_second']:.0f} MB/s "
        f"(alone {alone['up']:.0f} and {alone['down']:.0f}); chat p99 {talk['p99_ms']:.1f} ms"
    )
    return figures


def _transfer(server: Running, name: str, size: int, way: str) -> float:
    speed: float = run_script("transfer", server.port, name, size, CHUNK, WINDOW, way)[
        "mb_per_second"
    ]
    return speed
