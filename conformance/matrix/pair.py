"""One server and two clients of one kind, and the steps that they take together.

Owns the server's process, both clients, their relays and a folder, and ends them all. Used by one
thread.
"""

from __future__ import annotations

import math
import queue
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from conformance import command_words
from conformance.client.context import said
from conformance.client.process import (
    ClientProgram,
    Driver,
    end,
    fill,
    start,
)
from conformance.endings import Failed, NotReached
from conformance.foreground import SLICE_SECONDS
from conformance.matrix.relay import HOST, Relay, Seen
from conformance.packets import Packet, key_of, letters, shown, value
from conformance.random_words import WORDS
from conformance.transcript import Transcript
from conformance.verdicts import Outcome, Verdict
from conformance.wire import Wire, WireProblem

START_SECONDS: Final = 20.0
FILE_BYTES: Final = 100_000
_WRONG_CLIENT: Final = "the server counts rightly, the client does not"
_WRONG_SERVER: Final = "the client counts rightly, the server does not"


@dataclass(frozen=True)
class Program:
    """One side of a pair: whose it is, and how it is started."""

    whose: str
    command: tuple[str, ...]
    driver: Driver = field(default_factory=Driver)


class Pair:
    """One server and two clients of one kind."""

    def __init__(
        self,
        server: Program,
        client: Program,
        seed: int,
        accounts: Sequence[str],
        timeout: float,
        *,
        keep: bool,
        again: str = "",
        until: float = math.inf,
    ) -> None:
        self._keep, self._again, self._until = keep, again, until
        self._server, self._client, self._timeout, self._seed = server, client, timeout, seed
        self._name = f"{server.whose}-server+{client.whose}-client"
        self._random = random.Random(f"{seed}/{self._name}")
        self._folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        self._given = (
            [tuple(account.partition(":")[::2]) for account in accounts]
            if server.whose == "their"
            else []
        )
        self._people: list[tuple[str, str]] = []
        self._transcript = Transcript()
        self._seen: queue.Queue[Seen] = queue.Queue()
        self._passed: list[Seen] = []
        self._taken: set[int] = set()
        self._relays: list[Relay] = []
        self._programs: list[ClientProgram] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def run(self) -> Iterator[Outcome]:
        """Take all steps of this pair, each of which needs the one before."""
        why_not = ""
        try:
            for step, rules, title in self._STEPS:
                if time.monotonic() > self._until:
                    why_not = "the time for the whole run is over"
                outcome = self._step(step, rules, title, why_not)
                if (
                    outcome.verdict is not Verdict.PASS
                    and step in ("start", "login")
                    and not why_not
                ):
                    why_not = outcome.actual
                yield outcome
        finally:
            self._close()

    _STEPS: Final = (
        ("start", ("R-CLI-1",), "the server starts and has accounts for two"),
        ("login", ("R-SESS-1",), "both clients log in"),
        ("message", ("R-MSG-4",), "a message is counted, confirmed, stored and delivered"),
        ("receipt", ("R-MSG-17",), "its receiver's counts agree, and it is acknowledged"),
        ("answer", ("R-MSG-3",), "the other one answers, and the whole goes the other way"),
        ("upload", ("R-FILE-12",), "a file is sent, and the room is told"),
        ("download", ("R-FILE-19",), "the other one fetches the file, byte for byte"),
    )

    def _step(self, step: str, rules: tuple[str, ...], title: str, why_not: str) -> Outcome:
        began = time.monotonic()
        verdict, rule, expected, actual = Verdict.PASS, "", "", ""
        try:
            if why_not:
                raise NotReached("a server and two clients that talk", why_not)
            getattr(self, f"_do_{step}")()
        except Failed as problem:
            verdict, rule, expected, actual = (
                Verdict.FAIL,
                rules[0],
                problem.expected,
                problem.actual,
            )
        except NotReached as problem:
            verdict, expected, actual = Verdict.NOT_REACHED, problem.expected, problem.actual
        except Exception as problem:
            verdict, expected, actual = (
                Verdict.KIT_ERROR,
                "the kit to work",
                f"{type(problem).__name__}: {problem}",
            )
        lines = (
            self._transcript.lines()
            if self._keep or verdict in (Verdict.FAIL, Verdict.KIT_ERROR)
            else ()
        )
        return Outcome(
            f"{self._name}/{step}",
            rules,
            "full",
            verdict,
            title,
            rule,
            expected,
            actual,
            lines,
            again=self._again,
            seconds=round(time.monotonic() - began, 3),
        )

    # --- The steps ---

    def _do_start(self) -> None:
        self._port = _free_port()
        values = {
            "host": HOST,
            "port": str(self._port),
            "folder": str(self._folder),
            "data": str(self._folder / "data"),
        }
        command = command_words.join([fill(word, values) for word in self._server.command])
        try:
            self._process = start(self._server.command, values, has_input=False)
        except OSError as error:
            raise Failed("a server that can be started", f"{command}: {error}") from error
        for stream in (self._process.stdout, self._process.stderr):
            threading.Thread(
                target=_swallow, args=(stream,), name="server-output", daemon=True
            ).start()
        deadline = time.monotonic() + START_SECONDS
        pause = threading.Event()
        while True:
            try:
                socket.create_connection((HOST, self._port), timeout=1.0).close()
                break
            except OSError:
                if self._process.poll() is not None:
                    raise Failed(
                        "a server that listens",
                        f"{command} ended with exit status {self._process.poll()}",
                    ) from None
                if time.monotonic() > deadline:
                    raise Failed(
                        "a server that listens", f"{command}: nobody listens on port {self._port}"
                    ) from None
            pause.wait(0.05)
        self._people = [self._account(number) for number in range(2)]

    def _account(self, number: int) -> tuple[str, str]:
        if number < len(self._given):
            return self._given[number]  # type: ignore[return-value]
        name, password = (
            f"{self._random.choice(WORDS)}-{self._random.randrange(10_000)}",
            f"pw-{self._random.getrandbits(48):012x}",
        )
        wire = Wire.connect(HOST, self._port, self._transcript, "kit", self._timeout)
        try:
            wire.send({"action": "register", "data": {"chatid": name, "password": password}})
            reply = wire.receive_where(
                lambda each: each.get("action") in ("register_success", "register_fail", "error"),
                "a reply to register",
            )
        except WireProblem as problem:
            raise Failed(
                "an account",
                f"{problem.actual}; where a server knows no register, give --account "
                "NAME:PASSWORD twice",
            ) from problem
        finally:
            wire.close()
        if reply.get("action") != "register_success":
            raise Failed(
                "`register_success`",
                f"{shown(reply)}; where a server knows no register, give --account "
                "NAME:PASSWORD twice",
            )
        return name, password

    def _do_login(self) -> None:
        for number, (name, password) in enumerate(self._people):
            relay = Relay(name, self._port, self._transcript, self._seen)
            self._relays.append(relay)
            folder = self._folder / f"fetched-{number}"
            folder.mkdir()
            values = {
                "host": HOST,
                "port": str(relay.port),
                "user": name,
                "password": password,
                "room": self._client.driver.room,
                "folder": str(folder),
            }
            try:
                program = ClientProgram(self._client.command, values, self._client.driver)
            except OSError as error:
                raise Failed(
                    "a client that can be started",
                    f"{command_words.join(self._client.command)}: {error}",
                ) from error
            self._programs.append(program)
            for line in self._client.driver.login_lines(self._client.command):
                program.type(line)
        for name, _ in self._people:
            self._await(name, False, "login_success")

    def _do_message(self) -> None:
        self._talk(0, 1)

    def _do_receipt(self) -> None:
        self._acknowledged(1)

    def _do_answer(self) -> None:
        self._talk(1, 0)
        self._acknowledged(0)

    def _talk(self, speaker: int, hearer: int) -> None:
        text = f"{self._random.choice(WORDS)}{self._random.randrange(1000)} Zoë 👍🏽, Aa a!"
        name = self._people[speaker][0]
        self._programs[speaker].type(self._client.driver.say, text=text)
        message = self._await(name, True, "send_message", lambda each: said(each, text))
        counts = self._await(
            name,
            False,
            "character_count",
            lambda each: value(each, "original_action") == "send_message",
        )
        key = key_of(counts)
        answer = self._await(name, True, "confirm_count", lambda each: key_of(each) == key)
        if value(answer, "confirm") is not True:
            is_right = value(counts, "letter_frequencies") == letters(text_of(message))
            who = _WRONG_CLIENT if is_right else _WRONG_SERVER
            raise Failed(
                "`confirm` true: both count the same letters",
                f"{shown(counts)}, then {shown(answer)}; {who}",
            )
        ack = self._await(name, False, "ack", lambda each: key_of(each) == key)
        if ack.get("status") != "success":
            raise Failed("`ack` with success", shown(ack))
        content = value(message, "content")
        self._await(
            self._people[hearer][0],
            False,
            "receive_message",
            lambda each: value(each, "content") == content,
        )

    def _acknowledged(self, hearer: int) -> None:
        name = self._people[hearer][0]
        message = next(
            (
                seen.packet
                for seen in reversed(self._passed)
                if seen.who == name and seen.packet.get("action") == "receive_message"
            ),
            None,
        )
        if message is None:
            raise NotReached("a message that was delivered", "none was")
        key = key_of(message)
        answer = self._await(name, False, "confirm_count", lambda each: key_of(each) == key)
        if value(answer, "confirm") is not True:
            counted = next(
                value(seen.packet, "letter_frequencies")
                for seen in reversed(self._passed)
                if seen.who == name and seen.from_client and key_of(seen.packet) == key
            )
            is_right = counted == letters(text_of(message))
            who = _WRONG_SERVER if is_right else _WRONG_CLIENT
            raise Failed(
                "`confirm` true: both count the same letters",
                f"{shown(counted)}, then {shown(answer)}; {who}",
            )
        ack = self._await(name, True, "ack", lambda each: key_of(each) == key)
        if ack.get("status") != "success":
            raise Failed("`ack` with success", shown(ack))

    def _do_upload(self) -> None:
        path = self._file()
        path.write_bytes(self._random.randbytes(FILE_BYTES))
        self._programs[0].type(self._client.driver.send, file=str(path), name=path.name)
        done = self._await(
            self._people[0][0],
            False,
            "file_send_fin",
            errors_of=("file_send_init", "file_send_data", "file_send_fin"),
        )
        if done.get("status") != "success":
            raise Failed("`file_send_fin` with success", shown(done))
        self._await(
            self._people[1][0],
            False,
            "receive_file",
            lambda each: value(each, "file_path") == path.name,
        )

    def _file(self) -> Path:
        return self._folder / f"file-{self._seed}-{self._port}.bin"

    def _do_download(self) -> None:
        path = self._file()
        if not any(seen.packet.get("action") == "receive_file" for seen in self._passed):
            raise NotReached("a file in the room", "none was sent")
        program = self._programs[1]
        program.type(self._client.driver.get, name=path.name)
        problem = program.find_file(path.name, path.read_bytes(), self._timeout, lambda: None)
        program.remove_files(path.name)
        if problem:
            raise Failed(f"a file with the {FILE_BYTES} bytes that were sent", problem)

    # --- What passes ---

    def _await(
        self,
        who: str,
        from_client: bool,
        action: str,
        where: Callable[[Packet], bool] = lambda packet: True,
        *,
        errors_of: Sequence[str] = (),
    ) -> Packet:
        """Wait for the next packet of this kind that passes, or that passed since the pair began
        and was not waited for yet; or for an error of one of these requests (other errors answer
        something else)."""
        deadline = time.monotonic() + self._timeout

        def fits(seen: Seen) -> bool:
            if seen.who != who or seen.from_client != from_client:
                return False
            if seen.packet.get("action") == action:
                return where(seen.packet)
            return (
                seen.packet.get("action") == "error"
                and seen.packet.get("original_action") in errors_of
            )

        done = 0
        while True:
            for place in range(done, len(self._passed)):
                if place not in self._taken and fits(self._passed[place]):
                    self._taken.add(place)
                    return self._passed[place].packet
            done = len(self._passed)
            left = max(0.0, deadline - time.monotonic())
            try:
                self._passed.append(self._seen.get(timeout=min(left, SLICE_SECONDS)))
            except queue.Empty:
                if left:
                    continue
                side = "from" if from_client else "to"
                raise Failed(
                    f"`{action}` {side} the client of {who}",
                    f"nothing came in time from the {'client' if from_client else 'server'}"
                    f"{self._last_words()}",
                ) from None

    def _last_words(self) -> str:
        said_last = []
        for program in self._programs:
            lines = [line for line in program.output.splitlines() if line.strip()]
            said_last += lines[-1:]
        return (
            "; the clients printed last: " + " / ".join(line[:150] for line in said_last)
            if said_last
            else ""
        )

    def _close(self) -> None:
        for program in self._programs:
            program.close()
        for relay in self._relays:
            relay.close()
        if self._process is not None:
            end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)


def text_of(message: Packet) -> str:
    """Return the content of a message, "" where it has none."""
    content = value(message, "content")
    return content if isinstance(content, str) else ""


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        return int(sock.getsockname()[1])


def _swallow(stream: Any) -> None:
    while stream.read(65_536):
        pass
    stream.close()
