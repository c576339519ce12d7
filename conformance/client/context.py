"""What a case about a client may use: the client's program on one side, the scripted server on the
other, and the deadline between.

Owns one run of the client: its folder, its server, its users and texts. Never decides a verdict by
itself: it raises `Failed`, `NotReached` or `NotOffered`, as the cases about servers do. One thread
uses it.

Each packet of the client is looked at as it comes, whatever the case is about; what is wrong with
its form goes into `remarks`, which one case for each rule asks for. So a client that spells a key
wrongly breaks the rule about keys, and can still pass all others.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from conformance.client import form
from conformance.client.default_server import DefaultServer
from conformance.client.delivering import deliver_whole
from conformance.client.faulty_network import FaultyNetwork
from conformance.client.process import ClientProgram, Driver, fill
from conformance.client.scripted_server import MAX_FRAME, Arrival, Peer, ScriptedServer
from conformance.endings import Failed, Flood, NotOffered, NotReached, needed_first
from conformance.packets import Packet, key_of, letters, shown, value
from conformance.random_words import WORDS
from conformance.relay.faults import Fault
from conformance.transcript import Transcript

GIVE_UP_AFTER: Final = 2
MOST_AT_ONCE: Final = 1_000
"""So many packets are answered at once beside the wait for a file."""
START_FACTOR: Final = 3
"""So many times longer than any other wait may be the first: a program has to start, perhaps on a
busy machine."""
GONE_SECONDS: Final = 1.0
"""So long a client whose program has ended may still have something on its way (a launcher that has
left, for instance)."""


@dataclass(frozen=True)
class Setting:
    """What all cases of a run share."""

    command: Sequence[str]
    driver: Driver
    seed: int
    timeout: float
    """Seconds that one wait takes at most."""
    run_as: str = ""
    """The user whom the client runs as."""
    faults: Sequence[Fault] = ()
    """What a relay between client and server does to messages."""
    troubles: dict[str, int] = field(default_factory=dict)
    """How often what cases need was not to be had, by its words, since it was the last time."""


class ClientContext:
    """One run of the client against one scripted server."""

    def __init__(self, setting: Setting, case_id: str, extended: bool, until: float) -> None:
        self.setting = setting
        self.until = until
        self.random = random.Random(f"{setting.seed}/{case_id}")
        self.transcript = Transcript()
        self.remarks: list[form.Remark] = []
        self.actions: set[str] = set()
        """Those of the packets that came."""
        self.server = ScriptedServer(self.transcript)
        self.network = (
            FaultyNetwork(self.server.port, setting.faults, setting.seed, self.transcript)
            if setting.faults
            else None
        )
        self.folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        self.user, self.other, self.password = (
            self.name(),
            self.name(),
            f"pw-{self.random.getrandbits(48):012x}",
        )
        self.default_server = DefaultServer(
            self.user, self.password, self.other, setting.driver.room, extended, self.random
        )
        self.peer: Peer | None = None
        self.program: ClientProgram | None = None
        self.deliver: Callable[[Peer, list[Packet]], None] = deliver_whole

    # --- Names and texts ---

    def name(self) -> str:
        """Return a fresh name of a user."""
        return f"{self.random.choice(WORDS)}-{self.random.randrange(10_000)}"

    def text(self, words: int = 3) -> str:
        """Return a fresh text of plain words."""
        return " ".join(
            f"{self.random.choice(WORDS)}{self.random.randrange(1_000)}" for _ in range(words)
        )

    def content(self, size: int) -> bytes:
        """Return the content of a file, with bytes at both ends that a text would lose."""
        inner = self.random.randbytes(max(0, size - 4))
        return b" \r\n" + inner + b"\0" if size >= 4 else b"\0" * size

    def make_file(self, size: int) -> Path:
        """Make a fresh file on disk."""
        path = self.folder / f"{self.random.choice(WORDS)}{self.random.randrange(100_000)}.bin"
        path.write_bytes(self.content(size))
        return path

    # --- The program ---

    def start(self) -> None:
        """Start the client and type what logs it in."""
        values = {
            "host": self.server.host,
            "port": str((self.network or self.server).port),
            "user": self.user,
            "password": self.password,
            "room": self.setting.driver.room,
            "folder": str(self.folder / "fetched"),
        }
        (self.folder / "fetched").mkdir()
        command = [fill(word, values) for word in self.setting.command]
        try:
            self.program = ClientProgram(
                self.setting.command, values, self.setting.driver, self.setting.run_as
            )
        except OSError as error:
            raise NotReached(
                "a client that can be started", f"{' '.join(command)}: {error}"
            ) from error
        self.transcript.note(f"started: {' '.join(command)}")
        for line in self.setting.driver.login_lines(self.setting.command):
            self.type_line(line)

    def type_line(self, line: str, **values: str) -> None:
        """Type a line into the client."""
        assert self.program is not None, "start it first"
        self.transcript.note(f"typed: {self.program.type(line, **values)}")

    def say(self, text: str) -> None:
        """Type something to say."""
        self.type_line(self.setting.driver.say, text=text)

    def log_in(self) -> Peer:
        """Start the client and log it in; what goes wrong is NOT REACHED."""
        with self.given("a client that logs in"):
            self.start()
            packet = self.expect("login")
            replies = self.default_server.answer(packet)
            self.send(*replies)
            self.check(
                replies[0]["action"] == "login_success",
                "the name and password that were typed or given",
                shown(packet),
            )
        assert self.peer is not None
        self.peer.max_frame = MAX_FRAME
        return self.peer

    # --- Out ---

    def send(self, *packets: Packet) -> None:
        """Send packets to the client as this context delivers."""
        if self.peer is not None and packets:
            self.deliver(self.peer, list(packets))

    # --- In ---

    def expect(
        self, *actions: str, what: str = "", where: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for the next packet of one of these actions (for which `where` holds).

        Everything else meanwhile gets its default answer.

        Fails where the client closes, sends what is no frame, or lets the deadline pass.
        """
        wanted = what or " or ".join(f"`{action}`" for action in actions)
        patience = self.setting.timeout * (START_FACTOR if self.peer is None else 1)
        deadline = min(self.until, time.monotonic() + patience)
        others: deque[str] = deque(maxlen=5)
        while True:
            arrival = self._next(deadline)
            if arrival is None:
                self.transcript.note(f"waited in vain for {wanted}")
                self.fail(wanted, f"nothing came in time{_only(others)}{self._last_words()}")
            if arrival.kind == "connected":
                self.peer = arrival.peer
            elif arrival.kind in ("broken", "flood"):
                _complain(arrival)
            elif self._has_left(arrival):
                self.fail(
                    wanted, f"the client closed the connection{_only(others)}{self._last_words()}"
                )
            elif arrival.kind == "packet" and arrival.peer is self.peer:
                packet = arrival.packet
                self._look_at(packet)
                if packet.get("action") in actions and (where is None or where(packet)):
                    return packet
                others.append(str(packet.get("action"))[:40])
                self.send(*self.default_server.answer(packet))

    def expect_connection(self, seconds: float) -> Peer | None:
        """Wait so many seconds for the client's next connection; None where it makes none or has
        ended."""
        deadline = min(self.until, time.monotonic() + seconds)
        while True:
            arrival = self._next(min(deadline, time.monotonic() + 0.2))
            if arrival is not None and arrival.kind == "connected":
                self.peer = arrival.peer
                return arrival.peer
            assert self.program is not None
            if arrival is None and (
                time.monotonic() >= deadline or self.program.status is not None
            ):
                return None

    def fence(self) -> None:
        """Wait until the client has dealt with all that was sent before: it says something, and the
        server hears of it.

        What it says is not compared: that is for the cases about talking.
        """
        before = {shown(sent) for sent in self.default_server.sent.values()}
        text = self.text(1)
        self.say(text)
        packet = self.expect(
            "send_message",
            where=lambda each: shown(each) not in before,
            what=f"`send_message` with what was typed: {text}",
        )
        self.send(*self.default_server.answer(packet))
        self.expect_confirmed(packet)

    def expect_confirmed(self, message: Packet) -> Packet:
        """Wait for the `confirm_count` of a message whose counts went out, and answer it."""
        keys = [key for key, sent in self.default_server.sent.items() if sent is message]
        packet = self.expect(
            "confirm_count",
            where=lambda each: key_of(each) in keys,
            what="`confirm_count` for that message",
        )
        self.send(*self.default_server.answer(packet))
        return packet

    def settle(
        self,
        done: Callable[[], bool],
        what: str,
        missing: Callable[[], str] = lambda: "it did not come to that",
    ) -> None:
        """Give standard answers until something holds; `missing` says what does not yet."""
        deadline = min(self.until, time.monotonic() + self.setting.timeout)
        while not done():
            arrival = self._next(deadline)
            if arrival is None:
                self.transcript.note(f"waited in vain for {what}")
                self.fail(what, f"{missing()} in time{self._last_words()}")
            if arrival.kind in ("broken", "flood"):
                _complain(arrival)
            if self._has_left(arrival):
                self.fail(what, f"the client closed the connection{self._last_words()}")
            if arrival.kind == "packet" and arrival.peer is self.peer:
                self._look_at(arrival.packet)
                self.send(*self.default_server.answer(arrival.packet))

    def answer_all(self) -> None:
        """Give standard answers to what has come so far."""
        for _ in range(MOST_AT_ONCE):
            arrival = self.server.next(0.0)
            if arrival is None:
                return
            if arrival.kind in ("broken", "flood"):
                _complain(arrival)
            if arrival.kind == "packet" and arrival.peer is self.peer:
                self._look_at(arrival.packet)
                self.send(*self.default_server.answer(arrival.packet))

    def _next(self, deadline: float) -> Arrival | None:
        """Wait for the next thing that comes; None at the deadline, or where the client has ended
        and has no connection."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None  # however much more waits: a flood must not outlast the deadline
            arrival = self.server.next(min(left, GONE_SECONDS))
            if arrival is not None or left <= GONE_SECONDS:
                return arrival
            if (
                self.program is not None
                and self.program.status is not None
                and (self.peer is None or self.peer.closed)
            ):
                return None

    def _has_left(self, arrival: Arrival) -> bool:
        """Return whether the client has closed for good: where faults cut, it may come back."""
        return arrival.kind == "closed" and arrival.peer is self.peer and self.network is None

    def _last_words(self) -> str:
        """Return what a running client printed last; of one that ended `how_it_ended` tells all."""
        if self.program is None or self.program.status is not None:
            return ""
        lines = [line for line in self.program.output.splitlines() if line.strip()]
        return f"; the last that it printed: {lines[-1][:300]}" if lines else ""

    def how_it_ended(self) -> str:
        """Return how the client ended by itself and what it printed last, "" while it runs."""
        return "" if self.program is None else self.program.how_it_ended()

    def _look_at(self, packet: Packet) -> None:
        self.actions.add(str(packet.get("action")))
        self.remarks += form.remarks(packet, self.user, self.default_server)

    # --- Verdicts ---

    @contextlib.contextmanager
    def given(self, what: str) -> Iterator[None]:
        """Make the case NOT REACHED where something goes wrong inside, but for bytes that are no
        frames.

        What failed so in several cases is not waited for again.
        """
        troubles = self.setting.troubles
        if troubles.get(what, 0) >= GIVE_UP_AFTER:
            raise NotReached(what, "this failed in several cases before, so it was not tried again")
        try:
            yield
        except (Failed, NotReached) as problem:
            if isinstance(problem, Flood) or (isinstance(problem, Failed) and problem.rule):
                raise
            troubles[what] = troubles.get(what, 0) + 1
            if isinstance(problem, NotReached):
                raise
            raise NotReached(needed_first(what, problem.expected), problem.actual) from problem
        troubles[what] = 0

    @contextlib.contextmanager
    def rule(self, rule_id: str) -> Iterator[None]:
        """Count what goes wrong inside as a failure of this rule."""
        try:
            yield
        except Failed as problem:
            raise Failed(problem.expected, problem.actual, problem.rule or rule_id) from problem

    def fail(self, expected: str, actual: str, rule: str = "") -> NoReturn:
        """Say that the rule, by default the first of the case, does not hold."""
        raise Failed(expected, actual, rule)

    def check(self, holds: bool, expected: str, actual: str, rule: str = "") -> None:
        """Fail unless it holds."""
        if not holds:
            self.fail(expected, actual, rule)

    def not_offered(self, expected: str, actual: str) -> NoReturn:
        """Say that the client does not do what the case is about, and need not."""
        raise NotOffered(expected, actual)

    def no_remarks(self, *rules: str) -> None:
        """Fail where a packet of this run broke one of these rules."""
        for remark in self.remarks:
            if remark.rule in rules:
                self.fail(remark.expected, remark.actual, remark.rule)

    def close(self) -> None:
        """End the client and the server, and remove the folder."""
        if self.program is not None:
            if self.setting.driver.quit:
                self.program.type(self.setting.driver.quit)
            self.program.close()
        if self.network is not None:
            self.network.close()
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _only(others: Iterable[str]) -> str:
    names = ", ".join(f"`{name}`" for name in others)
    return f", only {names}" if names else ""


def _complain(arrival: Arrival) -> NoReturn:
    kind = Flood if arrival.kind == "flood" else Failed
    raise kind(arrival.expected, arrival.actual, arrival.rule)


def said(packet: Packet, text: str) -> bool:
    """Return whether `send_message` says a text; the line end that was typed may be there."""
    content = value(packet, "content")
    return isinstance(content, str) and content.rstrip("\r\n") == text


def agrees(packet: Packet, content: str) -> bool:
    """Return whether `character_count` has the counts of a text, as integers."""
    counts = value(packet, "letter_frequencies")
    return counts == letters(content) and all(type(count) is int for count in counts.values())
