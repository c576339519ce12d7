"""One process of a load: members of a room that listen and answer, and in the first process also
those who speak.

One thread, `selectors`; only to 127.0.0.1. Started by `benchmarks.running` with a `Plan` as JSON,
several at once, because one Python process can't load the server. They meet by lines on stdin and
stdout, and by one socket each to the first process, which hears there that a message has reached
all members of the other processes.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.machine import raise_open_files
from benchmarks.wire_formats import WIRE_FORMATS, Heard, content_of

HOST: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 60.0
WAVE: Final = 128
"""So many members come in at once."""
QUIET_SECONDS: Final = 0.2
NUMBER: Final = struct.Struct("!I")
READ_BYTES: Final = 262_144
CHUNK_BYTES: Final = 65_536
MOST_CHUNKS: Final = 512
MOST_PAYLOADS: Final = 4_096
BUCKET_NS: Final = 10_000
"""Latencies are given in steps of 10 microseconds."""


@dataclass(frozen=True)
class Plan:
    """What one process of a load does."""

    port: int
    prefix: str
    members: int
    first: int = 0
    senders: int = 0
    """Of the first process only."""
    window: int = 0
    """Messages of each sender that are on the way at once; the next follows when every member has
    the one."""
    rate: float = 0.0
    """Messages a second of all senders together, instead of the window."""
    most: int = 0
    """With a rate: so many messages and no more, that all can arrive before the end; 0: no such
    bound."""
    answers: str = "none"
    """none; same: all receivers answer with the same bytes; varied: no two do."""
    silent: int = 0
    """Members that come in and never read again."""
    wire_format: str = "json"
    register: bool = True
    length: int = 100
    others: int = 0
    """The first process: how many others will call."""
    first_port: int | None = None
    """The others: where the first listens."""


class Member:
    """One client."""

    __slots__ = ("held", "index", "name", "outstanding", "socket", "unsent")

    def __init__(self, plan: Plan, index: int) -> None:
        self.index, self.name = index, f"{plan.prefix}{index}"
        self.held = self.unsent = b""
        self.outstanding = 0
        self.socket = socket.create_connection((HOST, plan.port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def await_answer(self, token: bytes) -> None:
        """Read until the answer holds `token`."""
        data = b""
        while token not in data:
            piece = self.socket.recv(READ_BYTES)
            data += piece
            if not piece or b"login_fail" in data or b'"error"' in data:
                raise SystemExit(
                    f"{self.name} could not come in: expected {token!r}, got {data[-300:]!r}"
                )
            if b"PING " in piece:  # IRC asks whether somebody is there
                self.socket.sendall(
                    b"PONG " + piece.partition(b"PING ")[2].split(b"\r\n")[0] + b"\r\n"
                )


class Load:
    """The members of this process, and what they have seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.wire_format = plan, WIRE_FORMATS[plan.wire_format]
        self.members: list[Member] = []
        self.speakers: list[Member] = []
        self.links: list[socket.socket] = []
        self.selector = selectors.DefaultSelector()
        self.measuring = False
        self.number = 0
        self.speaker_of: dict[int, Member] = {}
        self.begun: dict[int, int] = {}
        """First process: when a message was sent, until everybody has it."""
        self.reached: dict[int, int] = {}
        """By message: how many members of this process have it."""
        self.arrived: dict[int, int] = {}
        """First process: how many processes have it."""
        self.chunks: dict[bytes, Sequence[Heard]] = {}
        self.payloads: dict[bytes, Heard] = {}
        self.latencies = array("q")
        self.to_all_ms: list[float] = []
        self.confirms = self.refused = self.errors = self.sent = self.lost = 0
        self.first_error = ""

    # --- Coming in

    def come_in(self) -> float:
        """Log all members in; return the seconds it took."""
        begun = time.perf_counter()
        for start in range(0, self.plan.members, WAVE):
            wave = [
                Member(self.plan, self.plan.first + start + at)
                for at in range(min(WAVE, self.plan.members - start))
            ]
            scripts = [self.wire_format.steps(member.name, self.plan.register) for member in wave]
            for step in range(len(scripts[0])):
                for member, script in zip(wave, scripts, strict=True):
                    member.socket.sendall(script[step][0])
                for member, script in zip(wave, scripts, strict=True):
                    member.await_answer(script[step][1])
            self.members += wave
        seconds = time.perf_counter() - begun
        for member in self.members:
            member.socket.setblocking(False)
        self.speakers = self.members[: self.plan.senders]
        self.members = self.members[: len(self.members) - self.plan.silent]
        for member in self.members:
            self.selector.register(member.socket, selectors.EVENT_READ, member)
        self._let_rest_arrive()
        return seconds

    def _let_rest_arrive(self) -> None:
        """Drop the packets that the logins caused, such as who else joined."""
        while ready := self.selector.select(QUIET_SECONDS):
            for key, _ in ready:
                if not key.data.socket.recv(READ_BYTES):
                    raise SystemExit(f"the server closed the connection of {key.data.name}")

    # --- Reading

    def read(self, member: Member, now: int) -> None:
        """Take in what a member's socket has, and answer it."""
        try:
            data = member.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lost += 1
            self.selector.unregister(member.socket)
            return
        if member.held:
            data = member.held + data
        heard = self.chunks.get(data)
        if heard is None:
            heard, used = self._parse(data)
            member.held = data[used:]
        else:
            member.held = b""
        out = [answer for one in heard if (answer := self._hear(member, one, now))]
        if out:
            self.send(member, b"".join(out))

    def _parse(self, data: bytes) -> tuple[list[Heard], int]:
        # A server that joins frames gives most members the very same chunk: it is read once, so
        # that the load keeps up.
        payloads, used = self.wire_format.cut(data)
        heard = []
        for payload in payloads:
            one = self.payloads.get(payload)
            if one is None:
                if len(self.payloads) >= MOST_PAYLOADS:
                    self.payloads.clear()
                one = self.payloads[payload] = self.wire_format.read(payload)
            heard.append(one)
        if used == len(data) <= CHUNK_BYTES:
            if len(self.chunks) >= MOST_CHUNKS:
                self.chunks.clear()
            self.chunks[data] = heard
        return heard, used

    def _hear(self, member: Member, heard: Heard, now: int) -> bytes:
        kind = heard.kind
        if kind == "message":
            number = heard.number
            if self.speaker_of.get(number) is member:
                return b""  # MQTT sends a speaker its own words
            if self.measuring:
                self.latencies.append(now - heard.sent_ns)
            count = self.reached.get(number, 0) + 1
            self.reached[number] = count
            if count == len(self.members) - (number in self.speaker_of):
                del self.reached[number]
                self._all_here_have(number)
            if self.plan.answers == "none":
                return b""
            return (
                heard.answer
                if self.plan.answers == "same"
                else self.wire_format.answer_of(member.index, member.name, heard)
            )
        if kind == "verdict":
            self.confirms += self.measuring and heard.agrees
            self.refused += not heard.agrees
            return (
                heard.answer
                if self.plan.answers == "same"
                else self.wire_format.answer_of(member.index, member.name, heard)
            )
        if kind == "error":
            self.errors += 1
            self.first_error = self.first_error or heard.text
        return heard.answer

    def _all_here_have(self, number: int) -> None:
        if self.plan.first_port is not None:
            with contextlib.suppress(
                OSError
            ):  # the first process may have come to its end a moment earlier
                self.links[0].sendall(NUMBER.pack(number))
            return
        self.arrived[number] = self.arrived.get(number, 0) + 1
        if self.arrived[number] <= self.plan.others:
            return
        del self.arrived[number]
        self.to_all_ms.append((time.perf_counter_ns() - self.begun.pop(number)) / 1e6)
        speaker = self.speaker_of.pop(number)
        speaker.outstanding -= 1
        if self.plan.rate == 0:
            self.speak(speaker)

    # --- Sending

    def send(self, member: Member, data: bytes) -> None:
        """Send, and keep the bytes that the socket does not take."""
        member.unsent += data
        had = len(member.unsent) > len(data)
        try:
            member.unsent = member.unsent[member.socket.send(member.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            member.unsent = b""  # its reading side will notice
        if bool(member.unsent) != had:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.unsent else 0)
            self.selector.modify(member.socket, events, member)

    def speak(self, member: Member) -> None:
        """Send one more message."""
        self.number += 1
        self.sent += self.measuring
        member.outstanding += 1
        now = time.perf_counter_ns()
        self.speaker_of[self.number], self.begun[self.number] = member, now
        self.send(
            member,
            self.wire_format.say(member.name, content_of(self.number, now, self.plan.length)),
        )

    # --- The run

    def listen_for_others(self, listener: socket.socket) -> None:
        """Accept a connection from each other process."""
        for _ in range(self.plan.others):
            link, _ = listener.accept()
            self.links.append(link)
            self.selector.register(link, selectors.EVENT_READ, None)

    def call_first(self) -> None:
        """Connect to the first process."""
        assert self.plan.first_port is not None
        link = socket.create_connection((HOST, self.plan.first_port), timeout=PATIENCE_SECONDS)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.links.append(link)

    def run(self, begin: float, end: float) -> None:
        """Load the server until `end`, measuring from `begin`; both by `time.perf_counter`."""
        held: dict[socket.socket, bytes] = {}
        started, spoken = time.perf_counter(), 0
        for member in self.speakers if self.plan.rate == 0 else ():
            for _ in range(self.plan.window):
                self.speak(member)
        while (now := time.perf_counter()) < end:
            self.measuring = now >= begin
            pause = 0.05
            if self.plan.rate and self.speakers:
                due = int((now - started) * self.plan.rate)
                due = min(due, self.plan.most or due)
                for number in range(spoken, due):
                    self.speak(self.speakers[number % len(self.speakers)])
                spoken = max(due, spoken)
                pause = min(pause, max(0.0, started + (spoken + 1) / self.plan.rate - now))
            for key, events in self.selector.select(pause):
                if key.data is None:
                    self._hear_link(key.fileobj, held)
                    continue
                if events & selectors.EVENT_WRITE:
                    self.send(key.data, b"")
                if events & selectors.EVENT_READ:
                    self.read(key.data, time.perf_counter_ns())

    def _hear_link(self, link: Any, held: dict[socket.socket, bytes]) -> None:
        data = held.get(link, b"") + link.recv(READ_BYTES)
        whole = len(data) - len(data) % NUMBER.size
        held[link] = data[whole:]
        for (number,) in NUMBER.iter_unpack(data[:whole]):
            self._all_here_have(number)

    def figures(self) -> dict[str, Any]:
        """Return what this process has seen, ready for JSON."""
        return {
            "deliveries": len(self.latencies),
            "histogram": dict(Counter(value // BUCKET_NS for value in self.latencies)),
            "to_all_ms": self.to_all_ms,
            "confirms": self.confirms,
            "refused": self.refused,
            "errors": self.errors,
            "first_error": self.first_error,
            "lost": self.lost,
            "sent": self.sent,
            "unfinished": len(self.begun),
        }


def say(word: str, value: Any) -> None:
    """Write one line of JSON to the process that started this one."""
    print(json.dumps({word: value}), flush=True)


def main() -> int:
    """Run the plan in the first argument (JSON), once `go BEGIN END` comes on stdin."""
    plan = Plan(**json.loads(sys.argv[1]))
    raise_open_files()
    load = Load(plan)
    if plan.first_port is None:
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(PATIENCE_SECONDS)
            say("first_port", listener.getsockname()[1])
            load.listen_for_others(listener)
    else:
        load.call_first()
    for link in load.links:  # nothing goes over them before `go`
        link.settimeout(PATIENCE_SECONDS)
    unregistered = [link for link in load.links if plan.first_port is None]
    for link in unregistered:
        load.selector.unregister(link)
    seconds = load.come_in()
    for link in unregistered:
        load.selector.register(link, selectors.EVENT_READ, None)
    say("ready", seconds)
    words = sys.stdin.readline().split()
    if words:
        load.run(float(words[1]), float(words[2]))
        say("figures", load.figures())
    return 0


if __name__ == "__main__":
    sys.exit(main())
