"""What is measured: one function for each row of docs/PERFORMANCE.md, and the sizes of its short
and its full form.

Each starts the servers that it needs, runs its load, and gives back plain figures for JSON. None
passes or fails.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import history, machine
from benchmarks.load import Plan
from benchmarks.peers import FOR_LOADS, OURS, PEERS, ROOT, Peer, Running, serving
from benchmarks.running import LoadFailed, crowd, run_load
from benchmarks.scripts import client

__all__ = ["FULL", "SHORT", "WORKLOADS", "Sizes", "Workload"]

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    repeat: int = 1
    seconds: float = 1.5
    warm: float = 0.4
    """Seconds of talk before the measured ones."""
    members: int = 200
    rest_seconds: float = 5.0
    idle: int = 1_000
    idle_steps: int = 2
    students: int = 60
    hash_seconds: float = 1.5
    messages: tuple[int, int] = (1_000_000, 10_000)
    pages: int = 100
    file_mib: int = 24
    growth: tuple[int, ...] = (50, 200, 500)
    budget_seconds: float = 90.0
    """No further work is begun after so long: the short form shall end within two minutes on a slow
    machine, too."""
    processes: int = 2
    """Of one load."""
    say: Callable[[str], None] = field(default=lambda line: None)
    """Where a line of progress goes."""


SHORT: Final = Sizes()
FULL: Final = Sizes(
    repeat=5,
    seconds=5.0,
    rest_seconds=10.0,
    idle=10_000,
    idle_steps=4,
    students=300,
    hash_seconds=4.0,
    messages=(1_000_000, 10_000),
    pages=300,
    file_mib=96,
    growth=(50, 100, 200, 500, 1_000, 2_000),
    warm=1.0,
    budget_seconds=7_200.0,
)


@dataclass(frozen=True)
class Workload:
    """A named measurement."""

    name: str
    title: str
    measure: Callable[[Sizes], Figures]


# --- A room that talks ----------------------------------------------------------------------------


def _options(peer: Peer) -> tuple[str, ...]:
    return FOR_LOADS if peer is OURS else ()


def _in_turn(
    sizes: Sizes, plan: Plan, seconds: float, *names: str, peer_answers: str | None = None
) -> Figures:
    """Ours and the peers that are there, one after another, as often as is to be repeated; medians,
    and ratios round by round."""
    peers = [OURS, *(PEERS[name] for name in names)]
    skipped = {one.name: reason for one in peers if (reason := one.missing())}
    for name, reason in skipped.items():
        sizes.say(f"    skipped {PEERS[name].title}: {reason}")
    rounds: dict[str, list[Figures]] = {one.name: [] for one in peers if one.name not in skipped}
    for turn in range(sizes.repeat):
        for name, found in rounds.items():
            one = PEERS[name]
            asked = (
                plan
                if one is OURS or peer_answers is None
                else dataclasses.replace(plan, answers=peer_answers)
            )
            with serving(one, *_options(one)) as server:
                figures = run_load(one, server, asked, seconds, sizes.processes, sizes.warm)
            found.append(figures)
            cpu = (
                "" if figures["cpu_us"] is None else f"{figures['cpu_us']:8.2f} us CPU a delivery,"
            )
            sizes.say(
                f"    {one.title:<22} {figures['per_second']:9,.0f} deliveries/s,{cpu} p99 {figures['p99_ms']:7.2f} ms  ({turn + 1})"
            )
    return {
        "members": plan.members,
        "servers": {name: _median_of(all_figures) for name, all_figures in rounds.items()},
        "ratios": {
            name: _ratios(rounds["ours"], rounds[name]) for name in rounds if name != "ours"
        },
        "skipped": skipped,
    }


def _median_of(rounds: list[Figures]) -> Figures:
    """The median of each figure; of lists and texts those of the last round."""
    last = dict(rounds[-1])
    for key, value in last.items():
        if isinstance(value, (int, float)):
            last[key] = statistics.median(one[key] for one in rounds)
        elif isinstance(value, dict):
            last[key] = _median_of([one[key] for one in rounds])
    last.pop("to_all_ms", None)
    return last


def _ratios(ours: list[Figures], theirs: list[Figures]) -> Figures:
    """Ours by theirs, in each round; the median and all of them."""
    found: Figures = {}
    for key in ("cpu_us", "p99_ms"):
        if all(one[key] is not None for one in (*ours, *theirs)):
            rounds = [mine[key] / other[key] for mine, other in zip(ours, theirs) if other[key]]
            found[key] = {"median": statistics.median(rounds), "rounds": rounds} if rounds else None
    return found


def room(sizes: Sizes) -> Figures:
    """A full room, the sender's handshake only, beside every peer."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4)
    return _in_turn(
        sizes, plan, sizes.seconds, "asyncio", "naive", "websockets", "inspircd", "mosquitto"
    )


def both(sizes: Sizes) -> Figures:
    """Every receiver answers with its letter counts; the naive peer does no handshake at all."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="same")
    return _in_turn(sizes, plan, sizes.seconds, "naive", peer_answers="none")


def varied(sizes: Sizes) -> Figures:
    """The same, and no two receivers' packets have the same bytes."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="varied")
    return _in_turn(sizes, plan, sizes.seconds)


def one(sizes: Sizes) -> Figures:
    """One message on the way at a time: nothing to join, nothing to commit together."""
    return _in_turn(
        sizes, Plan(0, "m", sizes.members, senders=1, window=1), sizes.seconds, "asyncio"
    )


def rest(sizes: Sizes) -> Figures:
    """Five messages a second: latency at rest."""
    return _in_turn(
        sizes, Plan(0, "m", sizes.members, senders=4, rate=5.0), sizes.rest_seconds, "asyncio"
    )


def silent(sizes: Sizes) -> Figures:
    """Whether the others feel a member that never reads again."""
    found: Figures = {}
    for label, count in (("all read", 0), ("one never reads", 1)):
        with serving(OURS, *FOR_LOADS) as server:
            plan = Plan(0, "m", 50, senders=2, window=2, answers="same", silent=count)
            # The silent one's part of the room is in no process: a message counts as arrived when
            # all the others have it.
            found[label] = run_load(OURS, server, plan, sizes.seconds, sizes.processes, sizes.warm)
        sizes.say(
            f"    {label:<16} p99 {found[label]['p99_ms']:.1f} ms, worst {found[label]['max_ms']:.1f} ms"
        )
    return {
        "members": 50,
        "servers": {label: _median_of([figures]) for label, figures in found.items()},
        "ratios": {},
        "skipped": {},
    }


def writer(sizes: Sizes) -> Figures:
    """How long the writer's longest turn takes while a full room talks and reads: nobody's message
    waits longer for those in front of it."""
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
        log = Path(name) / "log"
        with serving(OURS, *FOR_LOADS, "--log-level", "info", log=log) as server:
            plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="same")
            run_load(OURS, server, plan, sizes.seconds, sizes.processes, sizes.warm)
        said = re.search(r"longest turn took ([0-9.]+) ms", log.read_text("utf-8"))
    longest = float(said[1]) if said else None
    sizes.say(f"    longest turn of the writer: {longest} ms")
    return {"members": sizes.members, "longest_turn_ms": longest}


def growth(sizes: Sizes) -> Figures:
    """The same talk in rooms of several sizes: CPU for each delivery, and memory; and what asyncio
    makes of it."""
    found: dict[str, list[Figures]] = {"ours": [], "asyncio": []}
    for members in sizes.growth:
        for name, rows in found.items():
            rounds = [
                _growth_round(sizes, PEERS[name], members) for _ in range(min(sizes.repeat, 3))
            ]
            rows.append({**_median_of(rounds), "members": members})
            row, cpu = rows[-1], "CPU not measured"
            if row["cpu_us"] is not None:
                cpu = f"{row['cpu_us']:6.2f} us CPU a delivery"
            title = PEERS[name].title
            sizes.say(
                f"    {members:>5} members, {title:<16} {row['per_second']:9,.0f} deliveries/s, {cpu}, p99 {row['p99_ms']:7.2f} ms"
            )
    costs = [row["cpu_us"] for row in found["ours"] if row["cpu_us"]]
    return {
        "rows": found["ours"],
        "asyncio": found["asyncio"],
        "flat_within": max(costs) / min(costs) if costs else None,
    }


def _growth_round(sizes: Sizes, peer: Peer, members: int) -> Figures:
    with serving(peer, *_options(peer)) as server:
        before = machine.memory_kib(server.pid)
        with crowd(
            peer, server, Plan(0, "m", members, senders=4, window=4), sizes.processes
        ) as people:
            idle = machine.memory_kib(server.pid)
            figures = people.go(sizes.seconds, sizes.warm)
            after = machine.memory_kib(server.pid)
    return {**figures, "kib_before": before, "kib_idle": idle, "kib_after": after}


# --- Many who say nothing -------------------------------------------------------------------------


def idle(sizes: Sizes) -> Figures:
    """Clients that are only there: memory and threads of each, and how soon a message reaches
    all."""
    allowed = machine.raise_open_files()
    wanted = sizes.idle if allowed is None else min(sizes.idle, allowed - 500)
    steps = sorted(
        {max(2, wanted * step // sizes.idle_steps) for step in range(1, sizes.idle_steps + 1)}
    )
    rows = [_idle_row(sizes, count) for count in steps]
    last = rows[-1]
    for row in rows:
        memory = (
            "memory not measured" if row["kib_each"] is None else f"{row['kib_each']:.1f} KiB each"
        )
        sizes.say(
            f"    {row['clients']:>6} clients: {memory}, {row['threads']} threads, to all in {row['to_all_ms']:.0f} ms"
        )
    return {"rows": rows, **last, "wanted": sizes.idle}


def _idle_row(sizes: Sizes, count: int) -> Figures:
    with serving(OURS, *FOR_LOADS) as server:
        before, threads_before = machine.memory_kib(server.pid), machine.thread_count(server.pid)
        with crowd(
            OURS, server, Plan(0, "m", count, senders=1, rate=2.0, most=3), sizes.processes
        ) as people:
            after, threads = machine.memory_kib(server.pid), machine.thread_count(server.pid)
            figures = people.go(2.2 + count / 2_000, warm=0.0)
    if figures["unfinished"] or not figures["to_all_ms"]:
        raise LoadFailed(f"{figures['unfinished']} messages did not reach all of {count} clients")
    return {
        "clients": count,
        "login_seconds": people.login_seconds,
        "kib_each": None if before is None or after is None else (after - before) / count,
        "kib_all": after,
        "threads": threads,
        "threads_each": None
        if threads is None or threads_before is None
        else (threads - threads_before) / count,
        "to_all_ms": statistics.median(figures["to_all_ms"]),
        "lost": figures["lost"],
    }


# --- A class logs in ------------------------------------------------------------------------------

LOGINS: Final = ("--rate-limit", "0")


CHAT_PART: Final = 0.85
"""The chat is measured for so much of the time that the logins need at least, so that every sample
is from within it."""


def mass_login(sizes: Sizes) -> Figures:
    """All students of a school log in in the same moment, while others chat; then all come back by
    session key."""
    count = sizes.students
    with serving(OURS, *LOGINS) as server:
        _log_in_all(server, count, "register")
        ceiling = [_hashes_per_second(sizes.hash_seconds)]
        with (
            crowd(OURS, server, Plan(0, "inside", 20, senders=4, rate=10.0), 1) as inside,
            _beside() as pool,
        ):
            chat = pool.submit(inside.go, CHAT_PART * count / ceiling[0], 0.0)
            logged_in = _log_in_all(server, count, "password")
            talk = chat.result()
        ceiling.append(_hashes_per_second(sizes.hash_seconds))
        back = _log_in_all(server, count, "key", logged_in["keys"])
    rate, possible = (
        count / logged_in["seconds"],
        max(ceiling),
    )  # the higher: other work on the machine only lowers it
    figures = {
        "students": count,
        "seconds": logged_in["seconds"],
        "per_second": rate,
        "ceiling_per_second": possible,
        "ceilings": ceiling,
        "of_ceiling": rate / possible,
        "back_seconds": back["seconds"],
        **_chat(talk),
    }
    sizes.say(
        f"    {count} logins: {rate:.1f}/s, {figures['of_ceiling']:.2f} of what the cores hash; chat p99 {talk['p99_ms']:.0f} ms; "
        f"back by key in {back['seconds']:.2f} s"
    )
    return figures


def _beside() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1, "beside")


def _chat(talk: Figures) -> Figures:
    return {
        f"chat_{key}": talk[key]
        for key in ("p50_ms", "p99_ms", "max_ms", "deliveries", "percentiles_ms")
    }


def _hashes_per_second(seconds: float) -> float:
    """What the cores hash when nothing else is asked of them: a process each."""
    cores = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(cores, "ceiling") as pool:
        return sum(
            float(one.result()["per_second"])
            for one in [pool.submit(_script, "hashes", seconds) for _ in range(cores)]
        )


def _log_in_all(
    server: Running, count: int, how: str, keys: dict[str, str] | None = None
) -> Figures:
    return _script("mass_login", server.port, count, how, given=json.dumps(keys or {}))


def _script(module: str, *arguments: object, given: str = "") -> Figures:
    """Run one of our scripts in a process of its own; the figures that it prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise LoadFailed(f"{module} failed: {done.stderr.strip()[-600:]}")
    figures: Figures = json.loads(done.stdout)
    return figures


SCRIPT_SECONDS: Final = 180.0


# --- What was said, and files ---------------------------------------------------------------------


def past(sizes: Sizes) -> Figures:
    """Pages of a huge room beside a small one, and how long a start on that database takes."""
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
            f"    page {kind:<10} {figures['huge']:6.2f} ms of {rooms['huge']:,}, {figures['small']:6.2f} ms of {rooms['small']:,}"
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


CHUNK: Final = 64 * 1024
WINDOW: Final = 16


def files(sizes: Sizes) -> Figures:
    """One client sends a file and fetches it, and again, while others chat."""
    size = sizes.file_mib << 20
    speeds: dict[str, list[float]] = {"up": [], "down": []}
    alone: dict[str, float] = {}
    with serving(OURS, *FOR_LOADS) as server:
        for way in speeds:
            alone[way] = _transfer(server, "alone", size, way)
        with (
            crowd(OURS, server, Plan(0, "m", 20, senders=4, rate=20.0), 1) as people,
            _beside() as pool,
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
        **_chat(talk),
    }
    sizes.say(
        f"    {sizes.file_mib} MiB: up {figures['up_mb_per_second']:.0f} MB/s, down {figures['down_mb_per_second']:.0f} MB/s "
        f"(alone {alone['up']:.0f} and {alone['down']:.0f}); chat p99 {talk['p99_ms']:.1f} ms"
    )
    return figures


def _transfer(server: Running, name: str, size: int, way: str) -> float:
    speed: float = _script("transfer", server.port, name, size, CHUNK, WINDOW, way)["mb_per_second"]
    return speed


WORKLOADS: Final = tuple(
    Workload(measure.__name__, title, measure)
    for title, measure in (
        ("room of 200, 4 senders x 4 messages on the way", room),
        ("the same, every receiver answers (both handshakes)", both),
        ("the same, no two receivers' packets alike", varied),
        ("room of 200, one message on the way", one),
        ("room of 200, 5 messages a second", rest),
        ("room of 50, one member never reads", silent),
        ("the writer's longest turn in a full room", writer),
        ("clients that are only there", idle),
        ("students log in at once", mass_login),
        ("history of a huge room, and a start on it", past),
        ("a file up and down while others chat", files),
        ("cost as the room grows", growth),
    )
)
