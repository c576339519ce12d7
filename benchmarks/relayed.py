"""The workload of the relay: one client straight to the server, and through the relay, in turn."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.peers import FOR_LOADS, OURS, Peer, Running, serving
from benchmarks.running import run_script
from benchmarks.scripts import client
from benchmarks.sizes import Figures, Sizes
from benchmarks.stored import CHUNK, WINDOW

__all__ = ["relay"]

AT_ONCE: Final = 16
WAYS: Final = ("straight", "relayed")


def relay(sizes: Sizes) -> Figures:
    """Measure what the relay adds to a ping, and which share of a file's speed it leaves.

    Both ways are measured in turn, round by round, and compared within each round.
    """
    pings: dict[str, list[float]] = {name: [] for name in WAYS}
    talks: dict[str, list[float]] = {name: [] for name in WAYS}
    speeds = {way: {name: list[float]() for name in WAYS} for way in ("up", "down")}
    size, rounds = max(1, sizes.file_mib // 2) << 20, max(3, sizes.repeat)
    with serving(OURS, *FOR_LOADS) as server, serving(_before(server), "--quiet") as between:
        for number in range(rounds):
            for name, port in zip(WAYS, (server.port, between.port), strict=True):
                pings[name] += _pings(port, f"{name}-{number}", sizes.pages)
                talks[name].append(_messages(port, f"{name}-{number}-talk", sizes.seconds))
                for way, found in speeds.items():
                    script = ("transfer", port, f"{name}-{number}-file", size, CHUNK, WINDOW, way)
                    found[name].append(run_script(*script)["mb_per_second"])
    medians = {name: statistics.median(found) for name, found in pings.items()}
    shares = {
        what: statistics.median(
            through / straight
            for straight, through in zip(found["straight"], found["relayed"], strict=True)
        )
        for what, found in (("messages", talks), *speeds.items())
    }
    added = medians["relayed"] - medians["straight"]
    sizes.say(
        f"    ping {medians['straight']:.2f} ms straight, {added:+.2f} ms through the relay; it "
        f"leaves {shares['messages']:.0%} of one sender's messages a second, of a file's speed "
        f"{shares['up']:.0%} up, {shares['down']:.0%} down"
    )
    return {
        "bytes": size,
        "rounds": rounds,
        "ping_ms": medians,
        "added_ms": added,
        "share_messages": shares["messages"],
        "share_up": shares["up"],
        "share_down": shares["down"],
        "mb_per_second": speeds,
        "messages_per_second": talks,
    }


def _before(server: Running) -> Peer:
    """Return the relay as something to start."""

    def command(folder: Path, port: int) -> list[str]:
        target = f"127.0.0.1:{server.port}"
        return [sys.executable, "-m", "conformance", "relay", str(port), target]

    return Peer("relay", "the relay", "json", command)


def _messages(port: int, name: str, seconds: float) -> float:
    """Return how many messages a second one client gets acknowledged, some at a time."""
    data = {"chatid": name, "room_id": name, "content": "How much does the relay take?"}
    acknowledged = 0
    with client(port, name) as one:
        for _ in range(AT_ONCE):
            one.send("send_message", data)
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            said = json.loads(one.next_payload())
            if said["action"] == "character_count":
                key = said["data"]["transaction_id"]
                one.send("confirm_count", {"transaction_id": key, "confirm": True})
            elif said["action"] == "ack":
                acknowledged += 1
                one.send("send_message", data)
    return acknowledged / passed


def _pings(port: int, name: str, count: int) -> list[float]:
    """Return how long each ping of one client takes, in ms."""
    found = []
    with client(port, name) as one:
        for _ in range(count):
            begun = time.perf_counter()
            one.ask("ping", {}, "pong")
            found.append(1000 * (time.perf_counter() - begun))
    return found
