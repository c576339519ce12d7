"""The workloads of a room that talks: our server beside its peers, in turn."""

from __future__ import annotations

import dataclasses
import re
import statistics
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.load import Plan
from benchmarks.peers import FOR_LOADS, OURS, PEERS, Peer, serving
from benchmarks.running import crowd, run_load
from benchmarks.sizes import Figures, Sizes

__all__ = [
    "both",
    "growth",
    "kept_both",
    "kept_one",
    "kept_room",
    "one",
    "rest",
    "room",
    "silent",
    "varied",
    "writer",
]


def _options(peer: Peer) -> tuple[str, ...]:
    return FOR_LOADS if peer is OURS else ()


def _in_turn(
    sizes: Sizes, plan: Plan, seconds: float, *names: str, peer_answers: str | None = None
) -> Figures:
    """Measure ours and the peers that are installed, one after another, `sizes.repeat` times.
    Return medians, and the ratios round by round."""
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
                f"    {one.title:<22} {figures['per_second']:9,.0f} deliveries/s,{cpu} p99 "
                f"{figures['p99_ms']:7.2f} ms  ({turn + 1})"
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
    """Return the median of each figure; lists and texts are those of the last round."""
    last = dict(rounds[-1])
    for key, value in last.items():
        if isinstance(value, (int, float)):
            last[key] = statistics.median(one[key] for one in rounds)
        elif isinstance(value, dict):
            last[key] = _median_of([one[key] for one in rounds])
    last.pop("to_all_ms", None)
    return last


def _ratios(ours: list[Figures], theirs: list[Figures]) -> Figures:
    """Divide our figures by theirs, round by round; return the median and all of them."""
    found: Figures = {}
    for key in ("cpu_us", "p99_ms"):
        if all(one[key] is not None for one in (*ours, *theirs)):
            rounds = [
                mine[key] / other[key]
                for mine, other in zip(ours, theirs, strict=True)
                if other[key]
            ]
            found[key] = {"median": statistics.median(rounds), "rounds": rounds} if rounds else None
    return found


def room(sizes: Sizes) -> Figures:
    """Measure a full room with the sender's handshake only, beside every peer."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4)
    return _in_turn(
        sizes, plan, sizes.seconds, "asyncio", "naive", "websockets", "inspircd", "mosquitto"
    )


def both(sizes: Sizes) -> Figures:
    """Measure a room in which every receiver answers with its letter counts. The naive peer does no
    handshake at all."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="same")
    return _in_turn(sizes, plan, sizes.seconds, "naive", peer_answers="none")


def varied(sizes: Sizes) -> Figures:
    """Measure the same where no two receivers' packets have the same bytes."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="varied")
    return _in_turn(sizes, plan, sizes.seconds)


def one(sizes: Sizes) -> Figures:
    """Measure one message at a time: nothing to join, nothing to commit together."""
    return _in_turn(
        sizes, Plan(0, "m", sizes.members, senders=1, window=1), sizes.seconds, "asyncio"
    )


KEPT = ("asyncio_kept", "selectors_kept")
"""The peers that keep our promises: an ack after the commit, and both handshakes."""


def kept_room(sizes: Sizes) -> Figures:
    """Measure the full room beside peers that keep the same promises."""
    return _in_turn(sizes, Plan(0, "m", sizes.members, senders=4, window=4), sizes.seconds, *KEPT)


def kept_both(sizes: Sizes) -> Figures:
    """Measure both handshakes beside peers that do them, too."""
    plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="same")
    return _in_turn(sizes, plan, sizes.seconds, *KEPT)


def kept_one(sizes: Sizes) -> Figures:
    """Measure one message at a time beside peers that store each before they acknowledge it."""
    return _in_turn(sizes, Plan(0, "m", sizes.members, senders=1, window=1), sizes.seconds, *KEPT)


def rest(sizes: Sizes) -> Figures:
    """Measure the latency at rest, with five messages a second."""
    return _in_turn(
        sizes, Plan(0, "m", sizes.members, senders=4, rate=5.0), sizes.rest_seconds, "asyncio"
    )


def silent(sizes: Sizes) -> Figures:
    """Measure whether the others notice a member that never reads again."""
    found: Figures = {}
    for label, count in (("all read", 0), ("one never reads", 1)):
        with serving(OURS, *FOR_LOADS) as server:
            plan = Plan(0, "m", 50, senders=2, window=2, answers="same", silent=count)
            # The silent one's part of the room is in no process: a message counts as arrived when
            # all the others have it.
            found[label] = run_load(OURS, server, plan, sizes.seconds, sizes.processes, sizes.warm)
        sizes.say(
            f"    {label:<16} p99 {found[label]['p99_ms']:.1f} ms, worst "
            f"{found[label]['max_ms']:.1f} ms"
        )
    return {
        "members": 50,
        "servers": {label: _median_of([figures]) for label, figures in found.items()},
        "ratios": {},
        "skipped": {},
    }


def writer(sizes: Sizes) -> Figures:
    """Measure the writer's longest turn while a full room talks and reads: nobody's message waits
    longer for those in front of it."""
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
        log = Path(name) / "log"
        with serving(OURS, *FOR_LOADS, "--log-level", "debug", log=log) as server:
            plan = Plan(0, "m", sizes.members, senders=4, window=4, answers="same")
            run_load(OURS, server, plan, sizes.seconds, sizes.processes, sizes.warm)
        said = re.search(r"longest turn took ([0-9.]+) ms", log.read_text("utf-8"))
    longest = float(said[1]) if said else None
    sizes.say(f"    longest turn of the writer: {longest} ms")
    return {"members": sizes.members, "longest_turn_ms": longest}


def growth(sizes: Sizes) -> Figures:
    """Measure the CPU time of a delivery, and the memory, in rooms of several sizes, beside
    asyncio."""
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
                f"    {members:>5} members, {title:<16} {row['per_second']:9,.0f} deliveries/s, "
                f"{cpu}, p99 {row['p99_ms']:7.2f} ms"
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
