"""Runs a load: starts its processes, lets them begin together, reads the server's CPU meanwhile,
puts their figures together.

Knows nothing of what a load says (`wire_formats`) or is for (`workloads`). Bounded in time: a load
that hangs is ended, and the error says so.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.load import BUCKET_NS, Plan
from benchmarks.peers import ROOT, Peer, Running
from benchmarks.sizes import Figures

__all__ = [
    "PERCENTS",
    "Crowd",
    "LoadFailed",
    "beside",
    "chat_figures",
    "crowd",
    "percentile",
    "run_load",
    "run_script",
]

WARM_SECONDS: Final = 0.5
START_SECONDS: Final = 240.0
PERCENTS: Final = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)


class LoadFailed(Exception):
    """A load could not be run, or a server failed: why."""


@dataclass
class Crowd:
    """Members who are in, and wait for `go`."""

    processes: list[subprocess.Popen[str]]
    server: Running
    members: int
    login_seconds: float

    def go(self, seconds: float, warm: float = WARM_SECONDS) -> dict[str, Any]:
        """Let them chat, and measure for so many seconds. Return what all saw together, and what
        the server used meanwhile."""
        begin = time.perf_counter() + 0.1 + warm
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"go {begin} {begin + seconds}\n")
            process.stdin.flush()
        time.sleep(max(0.0, begin - time.perf_counter()))
        cpu_before, began = self.server.cpu(), time.perf_counter()
        time.sleep(max(0.0, begin + seconds - time.perf_counter()))
        cpu_after, ended = self.server.cpu(), time.perf_counter()
        parts = [_line(process, "figures") for process in self.processes]
        cpu = (
            None
            if cpu_before is None or cpu_after is None
            else (cpu_after - cpu_before) / (ended - began)
        )
        return _together(parts, seconds, cpu)


@contextlib.contextmanager
def crowd(peer: Peer, server: Running, plan: Plan, processes: int = 2) -> Iterator[Crowd]:
    """Log the plan's members in, in so many processes, and end them. The first process has all that
    speak."""
    started: list[subprocess.Popen[str]] = []

    def end_all() -> None:
        for process in started:
            process.kill()

    timer = threading.Timer(START_SECONDS, end_all)
    timer.daemon = True
    timer.start()
    try:
        whole = dataclasses.replace(
            plan, port=server.port, wire_format=peer.wire_format, register=peer.register
        )
        first_port = None
        begun = time.perf_counter()
        for part in _parts(whole, processes):
            started.append(_start(dataclasses.replace(part, first_port=first_port)))
            if first_port is None:
                first_port = int(_line(started[0], "first_port"))
        for process in started:
            _line(process, "ready")
        yield Crowd(started, server, whole.members, time.perf_counter() - begun)
    finally:
        timer.cancel()
        end_all()
        for process in started:
            process.communicate()


def _parts(plan: Plan, processes: int) -> list[Plan]:
    """Cut the plan into parts of nearly the same size."""
    processes = max(1, min(processes, plan.members // max(2, plan.senders + plan.silent + 1)))
    share = plan.members // processes
    parts = [
        dataclasses.replace(plan, members=share, first=at * share, senders=0, silent=0)
        for at in range(processes)
    ]
    first = dataclasses.replace(
        parts[0],
        members=share + plan.members % processes,
        senders=plan.senders,
        silent=plan.silent,
        others=processes - 1,
    )
    return [first] + [
        dataclasses.replace(part, first=part.first + plan.members % processes) for part in parts[1:]
    ]


def _start(plan: Plan) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(dataclasses.asdict(plan))]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _line(process: subprocess.Popen[str], word: str) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        process.kill()
        raise LoadFailed(
            f"a process of the load ended before it said {word!r}: "
            f"{process.stderr.read()[-600:].strip() or 'no reason given'}"
        )
    said = json.loads(line)
    if word not in said:
        raise LoadFailed(f"a process of the load said {line!r} where {word!r} was expected")
    return said[word]


def _together(parts: list[dict[str, Any]], seconds: float, cpu: float | None) -> dict[str, Any]:
    """Add the figures of all processes up."""
    latencies: Counter[int] = Counter()
    for part in parts:
        latencies.update({int(bucket): count for bucket, count in part["histogram"].items()})
    sums = {
        key: sum(part[key] for part in parts)
        for key in ("deliveries", "confirms", "refused", "errors", "lost", "sent", "unfinished")
    }
    if sums["errors"] or sums["refused"] or sums["lost"]:
        reason = next((part["first_error"] for part in parts if part["first_error"]), "no word")
        raise LoadFailed(
            f"{sums['errors']} errors, {sums['refused']} refused, {sums['lost']} connections "
            f"lost: {reason}"
        )
    per_second = sums["deliveries"] / seconds
    return {
        **sums,
        "per_second": per_second,
        "cpu": cpu,
        "cpu_us": 1e6 * cpu / per_second if cpu is not None and per_second else None,
        "confirmed": sums["confirms"] / sums["deliveries"] if sums["deliveries"] else None,
        "percentiles_ms": {f"{percent:g}": percentile(latencies, percent) for percent in PERCENTS},
        "p50_ms": percentile(latencies, 50.0),
        "p99_ms": percentile(latencies, 99.0),
        "max_ms": percentile(latencies, 100.0),
        "to_all_ms": sorted(time for part in parts for time in part["to_all_ms"]),
    }


def percentile(latencies: Counter[int], percent: float) -> float:
    """Return the latency in ms that so many percent of the deliveries do not exceed."""
    rank, seen = percent / 100 * sum(latencies.values()), 0
    for bucket in sorted(latencies):
        seen += latencies[bucket]
        if seen >= rank:
            return (bucket + 1) * BUCKET_NS / 1e6
    return 0.0


def run_load(
    peer: Peer,
    server: Running,
    plan: Plan,
    seconds: float,
    processes: int = 2,
    warm: float = WARM_SECONDS,
) -> dict[str, Any]:
    """Log in, chat for so many measured seconds, leave; return the figures."""
    with crowd(peer, server, plan, processes) as members:
        return {
            "members": plan.members,
            "login_seconds": members.login_seconds,
            **members.go(seconds, warm),
        }


def beside() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1, "beside")


def chat_figures(talk: Figures) -> Figures:
    return {
        f"chat_{key}": talk[key]
        for key in ("p50_ms", "p99_ms", "max_ms", "deliveries", "percentiles_ms")
    }


def run_script(module: str, *arguments: object, given: str = "") -> Figures:
    """Run one of our scripts in a process of its own; return the figures that it prints."""
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
