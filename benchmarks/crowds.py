"""The workloads of many clients: idle ones, a school that logs in at once, and attackers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.load import Plan
from benchmarks.peers import FOR_LOADS, OURS, Running, serving
from benchmarks.running import LoadFailed, beside, chat_figures, crowd, run_script
from benchmarks.scripts import Client, client
from benchmarks.sizes import Figures, Sizes

__all__ = ["attack", "idle", "mass_login"]


def idle(sizes: Sizes) -> Figures:
    """Measure idle clients: memory and threads of each, and how soon a message reaches all."""
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
            f"    {row['clients']:>6} clients: {memory}, {row['threads']} threads, to all in "
            f"{row['to_all_ms']:.0f} ms"
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


LOGINS: Final = ("--rate-limit", "0")


CHAT_PART: Final = 0.85
"""The chat is measured for so much of the time that the logins need at least, so that every sample
is from within it."""


def mass_login(sizes: Sizes) -> Figures:
    """Log in all students of a school at once, while others chat; then bring all back by session
    key."""
    count = sizes.students
    with serving(OURS, *LOGINS) as server:
        _log_in_all(server, count, "register")
        ceiling = [_hashes_per_second(sizes.hash_seconds)]
        with (
            crowd(OURS, server, Plan(0, "inside", 20, senders=4, rate=10.0), 1) as inside,
            beside() as pool,
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
        **chat_figures(talk),
    }
    sizes.say(
        f"    {count} logins: {rate:.1f}/s, {figures['of_ceiling']:.2f} of what the cores hash; "
        f"chat p99 {talk['p99_ms']:.0f} ms; "
        f"back by key in {back['seconds']:.2f} s"
    )
    return figures


def _hashes_per_second(seconds: float) -> float:
    """Return how many passwords the cores hash in a second when they do nothing else: a process for
    each core."""
    cores = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(cores, "ceiling") as pool:
        return sum(
            float(one.result()["per_second"])
            for one in [pool.submit(run_script, "hashes", seconds) for _ in range(cores)]
        )


def _log_in_all(
    server: Running, count: int, how: str, keys: dict[str, str] | None = None
) -> Figures:
    return run_script("mass_login", server.port, count, how, given=json.dumps(keys or {}))


BUDGET_MIB: Final = 64
ATTACKERS: Final = 60
SAID: Final = 64
"""Messages of each attacker."""
SAID_TEXT: Final = "\U0001f642" + "".join(map(chr, range(0x4E00, 0x4E00 + 5_450)))
"""16 KiB, and 5,451 letters to count."""
BUSY_SECONDS: Final = 4.0
AFTER_SECONDS: Final = 4.0


def attack(sizes: Sizes) -> Figures:
    """Measure the memory that the server takes beside its budget (`--max-memory`), at its highest:
    each attacker says much in a room of its own, while another program keeps the database busy,
    so that nothing can be stored, and afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="chat-bench-") as name,
        serving(OURS, *FOR_LOADS, "--max-memory", f"{BUDGET_MIB}M", folder=Path(name)) as server,
        contextlib.ExitStack() as stack,
    ):
        names = [f"attacker{number}" for number in range(ATTACKERS)]
        clients = {one: stack.enter_context(client(server.port, one)) for one in names}
        own = {"room_name": "own", "participants": []}
        rooms = {
            one: found.ask("create_room", {"chatid": one, **own}, "room_created")
            for one, found in clients.items()
        }
        before = machine.memory_kib(server.pid)
        database = sqlite3.connect(Path(name) / "data" / "chat.db", isolation_level=None)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE")
            for one, found in clients.items():
                _start(_take_all, found)
                _start(_say_much, found, one, rooms[one]["data"]["room_id"])
            seen = _memory(server, BUSY_SECONDS)
            database.execute("ROLLBACK")
        seen += _memory(server, AFTER_SECONDS)
    beside = None if before is None or not seen else (max(seen) - before) / 1024 - BUDGET_MIB
    shown = "memory not measured" if beside is None else f"{beside:.0f} MiB beside the budget"
    sizes.say(f"    {ATTACKERS} attackers: {shown} of {BUDGET_MIB}")
    return {"clients": ATTACKERS, "budget_mib": BUDGET_MIB, "beside_mib": beside}


def _start(act: Callable[..., None], *given: object) -> None:
    threading.Thread(target=act, args=given, name="attacker", daemon=True).start()


def _say_much(attacker: Client, name: str, room: str) -> None:
    with contextlib.suppress(OSError):  # it was closed for what it holds
        for number in range(SAID):
            key = f"k{number}"
            said = {"chatid": name, "room_id": room, "content": SAID_TEXT, "transaction_id": key}
            attacker.send("send_message", said)
            attacker.send("confirm_count", {"transaction_id": key, "confirm": True})


def _take_all(attacker: Client) -> None:
    with contextlib.suppress(OSError):
        while attacker.socket.recv(1 << 18):
            pass


def _memory(server: Running, seconds: float) -> list[float]:
    """Return the memory of the server in KiB, look by look; empty where the system doesn't tell."""
    found: list[float | None] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(machine.memory_kib(server.pid))
        time.sleep(0.05)
    return [each for each in found if each is not None]
