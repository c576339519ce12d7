"""What the server takes of its machine (`--start-cmd` on Linux): memory for what is announced,
threads and open files that stay behind.

The numbers are those of all processes of the command, from /proc (proc(5)).
"""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

from conformance.endings import NotOffered, NotReached
from conformance.packets import PAST
from conformance.server.cases.files.steps import BIG_BYTES, big_file, narrow_reader
from conformance.server.cases.framing import FRAME_BEFORE_LOGIN
from conformance.server.cases.peers import talk
from conformance.server.cases.sessions import log_in
from conformance.server.cases.steps import (
    Upload,
    another_session,
    download,
    own_process,
    uploaded,
)
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User

ANNOUNCED = (0x7FFFFFFF, 0x7FFFFFFF, 0x40000000, 0xFFFFFFFF, 0x20000000)
"""Lengths of 0.5 to 4 GiB, which no frame may have."""
SMALLER = 200
"""Connections that announce the 65,536 bytes that they may send."""
MOST_BYTES = 256 * 1024 * 1024
COMING = 60
"""Connections that come and go in a round."""
MOST_MORE = 20
"""Threads or open files that two more rounds may add: fewer than came in them of anything."""
OF_EACH = 11
"""Logins, failed logins, messages, pages and files of a round."""
TRIES = 3
"""A pool of threads, or of files, that is filled little by little, is full after a few rounds."""
SETTLE_SECONDS = 10.0
"""Longer than news of who is on may wait (R-EVT-9), which a timer may be for."""
REST_SECONDS = 30.0
"""So long a server may keep files open for which no bytes move: R-LIM-16 names no time."""
LOOKS, LOOK_SECONDS = 5, 0.1
GROWTH_SECONDS = 5.0
GROWTH_BYTES = 4 * 1024 * 1024
"""What is less is no growth: a connection more, a garbage collector."""
TRANSFERS = 12
"""Uploads and downloads of each of two users, of each kind."""
DOWNLOADS = 16
MOST_OF_DOWNLOADS = 8 * BIG_BYTES
"""Half of what all of them are, before they are made base64."""
STACK_BYTES = 80 * 1024 * 1024
"""What one more thread may map without using it: its stack, and a heap of its own (glibc)."""
PAGE_FIELDS = ("VmSize", "VmRSS")


def of_processes(context: ServerContext) -> list[Path]:
    """Return the folders in /proc of the server's process and all below it; NOT OFFERED elsewhere
    than on Linux."""
    process = own_process(context)
    root = process.pid
    if root is None or not Path(f"/proc/{root}/status").exists():
        raise NotOffered("a system that tells of its processes (/proc)", "this one does not")
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (folder / "stat").read_text("utf-8", "replace")
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while below := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= below
    return [Path(f"/proc/{pid}") for pid in found]


def memory(context: ServerContext) -> dict[str, int]:
    """Return bytes of memory by kind: what is mapped, and what is really taken."""
    sums = dict.fromkeys(PAGE_FIELDS, 0)
    for folder in of_processes(context):
        with contextlib.suppress(OSError):
            for line in (folder / "status").read_text("utf-8", "replace").splitlines():
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] += int(rest.split()[0]) * 1024
    return sums


def most_memory(context: ServerContext) -> dict[str, int]:
    """Return the most that is taken within a moment: a server may read what was sent a little
    later. While it takes more and more the moment goes on, for `GROWTH_SECONDS` at most."""
    most = memory(context)
    looks, deadline = 0, time.monotonic() + GROWTH_SECONDS
    while looks < LOOKS:
        time.sleep(LOOK_SECONDS)
        now = memory(context)
        is_growing = now["VmRSS"] > most["VmRSS"] + GROWTH_BYTES and time.monotonic() < deadline
        looks = 0 if is_growing else looks + 1
        most = {what: max(taken, most[what]) for what, taken in now.items()}
    return most


def held(context: ServerContext) -> dict[str, int]:
    """Return how many threads and open files there are."""
    counts = {"threads": 0, "open files": 0}
    for folder in of_processes(context):
        with contextlib.suppress(OSError):
            counts["threads"] += len(list((folder / "task").iterdir()))
            counts["open files"] += len(list((folder / "fd").iterdir()))
    return counts


@case(
    rules=["R-FRAME-4"],
    level="robust",
    title="a length that is announced takes no memory",
)
def announced_bytes(context: ServerContext) -> None:
    user, other = context.users(2)
    before = memory(context)
    for length in ANNOUNCED:
        context.connect().send_raw(struct.pack(">I", length) + b"{", "a header and one byte")
    talk(context, user, other, context.room_id(), 3)
    after = most_memory(context)
    for what, usual in (("VmSize", len(ANNOUNCED) * STACK_BYTES), ("VmRSS", 0)):
        more = after[what] - before[what] - usual
        context.check(
            more < MOST_BYTES,
            "no memory set aside for lengths of 0.5 to 4 GiB",
            f"the server set {more >> 20} MiB aside",
        )
    for _ in range(SMALLER):
        wire = context.connect()
        wire.send_raw(struct.pack(">I", FRAME_BEFORE_LOGIN) + b"{", "a header and one byte")
    talk(context, user, other, context.room_id(), 3)
    more = most_memory(context)["VmRSS"] - after["VmRSS"]
    context.check(
        more < MOST_BYTES,
        "next to no memory for frames of which one byte came",
        f"the server took {more >> 20} MiB more",
    )


@case(
    rules=["R-SESS-9"],
    level="robust",
    title="of connections, sessions, failed logins and messages no threads and no open files stay "
    "behind",
)
def nothing_stays(context: ServerContext) -> None:
    of_processes(context)
    user, other = context.users(2, own=True)
    room, more = context.room_id(), {"": 0}
    for _ in range(TRIES):
        names = [context.name() for _ in range(OF_EACH)]
        user = _round(context, user, other, names, room)
        before = _least_held(context)
        for _ in range(2):
            user = _round(context, user, other, names, room)
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            now = held(context)
            more = {what: now[what] - before[what] for what in now}
            if max(more.values()) < MOST_MORE:
                return
            time.sleep(0.1)
    what = max(more, key=lambda each: more[each])
    context.fail(
        f"as many {what} after {2 * COMING} connections came and went, {2 * OF_EACH} logins failed,"
        f" and {2 * OF_EACH} sessions, messages and pages of the history had their end, as before",
        f"there are {more[what]} more, {TRIES} times",
    )


def _least_held(context: ServerContext) -> dict[str, int]:
    """Return what `held` does once no less is held: what has just ended may go a little later."""
    least = held(context)
    while True:
        time.sleep(LOOK_SECONDS)
        now = held(context)
        if all(now[what] >= least[what] for what in now):
            return least
        least = {what: min(now[what], least[what]) for what in now}


def _round(context: ServerContext, user: User, other: User, names: list[str], room: str) -> User:
    """Let something of each kind begin and end; return the last session of the user.

    Where the first login of a name makes an account, it does, and the next ones fail.
    """
    _come_and_go(context)
    for _ in names:
        if context.offers("session_key"):
            user.close()
            user = log_in(context, user.account, session_key=user.session_key)
        else:
            user = another_session(context, user)
        other.request("get_messages", {"room_id": room, "from_time": PAST})
    talk(context, user, other, room, len(names))
    with context.given("an answer to a login"):
        for name in names:
            guest = context.guest(Account(name, context.password()))
            guest.login()
            guest.close()
    if not context.offers("limits"):  # else it is R-LIM-16 that speaks of transfers
        with contextlib.suppress(NotReached), context.given("a file"):
            for name in names:
                download(context, user, room, uploaded(context, user, room, name, b"a file"))
    return user


def _come_and_go(context: ServerContext) -> None:
    wires = [context.connect() for _ in range(COMING)]
    for number, wire in enumerate(wires):
        wire.send({"action": "get_messages", "data": {"chatid": "anna", "room_id": "lobby"}})
        if number % 3:
            wire.receive_where(lambda packet: True, "an answer")
    for number, wire in enumerate(wires):
        wire.close() if number % 2 else wire.reset()


@case(
    rules=["R-LIM-16"],
    level="robust",
    offers="limits",
    title="uploads and downloads for which no bytes move, or that have ended, hold no open file",
)
def transfers_that_rest(context: ServerContext) -> None:
    before = held(context)["open files"]
    users, room = context.users(2, own=True), context.room_id()
    for number in range(TRANSFERS):
        for user in users:
            content = user.chatid.encode()
            name = uploaded(context, user, room, f"{user.chatid} {number}", content)
            download(context, user, room, name)
            for stays in (False, True):
                upload = Upload(context, user, room, f"{number} {stays}", content, chunk=1)
                upload.begin()
                upload.send(0)
                if not stays and context.offers("file_cancel"):
                    user.ask("file_cancel", {"room_id": room, "file_path": upload.file_path})
    _as_before(context, before, "while unfinished uploads wait")
    for user in users:
        user.close()
    _as_before(context, before, "once their users have left")


def _as_before(context: ServerContext, before: int, when: str) -> None:
    deadline = time.monotonic() + REST_SECONDS
    while (more := held(context)["open files"] - before) >= MOST_MORE:
        context.check(
            time.monotonic() < deadline, f"as many open files as before, {when}", f"{more} more"
        )
        time.sleep(0.1)


@case(
    rules=["R-LIM-12"],
    level="robust",
    title="downloads that a slow reader does not take are not made beforehand",
)
def downloads_wait(context: ServerContext) -> None:
    of_processes(context)
    sender, reader, room = context.user(), narrow_reader(context), context.room_id()
    big_file(context, sender, room)
    before = memory(context)["VmRSS"]
    asked = {"room_id": room, "file_path": "big.bin"}
    reader.wire.send_together([reader.packet("file_down_req", asked)] * DOWNLOADS)
    talk(context, sender, context.user(own=True), room, 5)
    more = most_memory(context)["VmRSS"] - before
    context.check(
        more < MOST_OF_DOWNLOADS,
        f"next to no memory for {DOWNLOADS} downloads that wait",
        f"the server took {more >> 20} MiB more",
    )
