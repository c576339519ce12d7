"""Runs of the conformance kit: deadlines, and what becomes of a server that is hung, crashing or
absent."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kit_parts import (
    HOST,
    LONG_ENOUGH,
    SHORT,
    Converse,
    a_case,
    answers,
    closes,
    options,
    passes,
    peer,
    resets,
    says_nothing,
    verdicts_of,
)
from support.patience import patience
from support.reference_server import ReferenceServer
from support.seed import SEED
from support.server_process import ServerProcess

from conformance import own_name
from conformance.endings import NotReached
from conformance.packets import encode
from conformance.registry import chosen
from conformance.server import cases, runner
from conformance.server.context import ServerContext
from conformance.server.people import People
from conformance.server.process import NotStarted, ServerCommand, free_port
from conformance.server.target import Account, Target
from conformance.transcript import Transcript
from conformance.verdicts import Outcome, Report, Verdict
from conformance.wire import Refused, Silence, Wire

# --- Runs against broken servers ------------------------------------------------------------------


def run_all(port: int, level: str = "robust", **values: Any) -> tuple[Report, float]:
    """A run of every case, what it reports and the seconds that it took."""
    began = time.monotonic()
    done = runner.run(options(port, level=level, **values), cases.load())
    return done, time.monotonic() - began


def assert_complete_and_worthless(done: Report, seconds: float) -> None:
    assert {each.case_id for each in done.outcomes} == {each.id for each in cases.load()}
    assert done.points_got == 0
    assert done.points_possible > 100
    assert done.count(Verdict.KIT_ERROR) == 0
    assert seconds < LONG_ENOUGH


def test_an_absent_server_gives_a_complete_report_and_status_3() -> None:
    done, seconds = run_all(free_port(HOST))
    assert_complete_and_worthless(done, seconds)
    assert {each.verdict for each in done.outcomes} == {Verdict.NOT_REACHED}
    assert done.exit_status == 3
    assert "no server is there: nobody listens on 127.0.0.1:" in done.notes[0]
    assert "Start your server first" in done.notes[0]


def test_a_host_that_has_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = runner.run(dataclasses.replace(options(9), host="no.such.host.invalid"), [])
    assert "no.such.host.invalid:9 can't be reached: " in done.notes[0]


def test_who_gave_accounts_is_not_told_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger:
        is_on = False

        def login(self) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(People, "_registered", lambda context: None)
    monkeypatch.setattr(People, "guest", lambda context, account=None: Stranger())
    for given, told in (([], 1), ([Account("anna", "pw", is_given=True)], 0)):
        target = Target(HOST, 1, SHORT, list(given))
        target.accounts.clear()  # they are in use
        context = ServerContext(target, "a.b", "R-MSG-1", seed=7, until=time.monotonic() + 60)
        with pytest.raises(NotReached):
            context.people._new_user(True)
        assert (target.account_source, len(target.notes)) == ("none", told)


@pytest.mark.parametrize(
    "converse",
    [
        says_nothing,
        closes,
        resets,
        answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        answers(b"\x00\x00\x00\x02[]"),
    ],
)
def test_a_server_without_frames_scores_nothing_and_is_left_soon(converse: Converse) -> None:
    with peer(converse) as port:
        done, seconds = run_all(port)
    assert_complete_and_worthless(done, seconds)
    assert verdicts_of(done)["R-FRAME-1"] is Verdict.FAIL
    assert [rule for rule, verdict in verdicts_of(done).items() if verdict is Verdict.FAIL] == [
        "R-FRAME-1"
    ]
    assert any("stopped early" in note for note in done.notes)
    assert done.exit_status == 1


@pytest.mark.parametrize(
    "packet",
    [
        {"action": "error"},
        {"action": "login_fail"},
        {},
        {"action": 17},
        {"action": "login_success", "data": None},
        {"action": "login_success", "data": [1]},
    ],
)
def test_one_answer_to_everything_ends_in_time_without_a_defect_of_the_kit(
    packet: dict[str, Any],
) -> None:
    with peer(answers(encode(packet))) as port:
        done, _ = run_all(port, level="full", run_seconds=2.0, timeout=0.05)
    assert len(done.outcomes) == len(chosen(cases.load(), "full"))
    assert [each.actual for each in done.outcomes if each.verdict is Verdict.KIT_ERROR] == []
    assert done.percent < 20


DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]
STRANGE: list[Any] = [
    *(None, True, 17, -1, 1.5, "", "text", [], [1], [None], [[None]], {}, {"data": 1}, DEEP),
    *(10**15, 10**400, float("inf"), [None, "text", 1], [[1, 10**15]], [[10**15, 1]], "!!!!"),
    *("9999-12-31T23:59:59Z", "\ud800", "\0", ["lobby", None], {"max_frame": 10**15}),
]
"""Values of which each is wrong somewhere: types, sizes, base64, times, lone surrogates."""


class Mangled(ReferenceServer):
    """The reference, but now and then a packet of it lacks a key or has one of another type."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__(0)
        self.random = random.Random(seed)
        self.share = share

    def encode(self, packet: dict[str, Any]) -> bytes:
        if self.random.random() < self.share:
            packet = json.loads(json.dumps(packet))
            self.mangle(packet)
            payload = json.dumps(packet).encode()
            return self.header(len(payload)) + payload
        return super().encode(packet)

    def mangle(self, holder: Any) -> None:
        key = self.random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if isinstance(holder[key], (dict, list)) and holder[key] and self.random.random() < 0.8:
            self.mangle(holder[key])
        elif self.random.random() < 0.3:
            del holder[key]
        else:
            holder[key] = self.random.choice(STRANGE)


def run_mangled(seed: int, share: float, seconds: float) -> Report:
    server = Mangled(seed, share).start()
    try:
        return run_all(server.port, run_seconds=seconds, timeout=0.05, seed=seed)[0]
    finally:
        server.stop()


def assert_only_the_server_is_blamed(done: Report) -> None:
    assert {each.case_id for each in done.outcomes} == {each.id for each in cases.load()}
    assert [each.actual for each in done.outcomes if each.verdict is Verdict.KIT_ERROR] == []


def test_packets_of_any_shape_are_no_defect_of_the_kit() -> None:
    assert_only_the_server_is_blamed(run_mangled(SEED, 0.05, 3.0))


@pytest.mark.long
@pytest.mark.parametrize("number", range(8))
def test_packets_of_any_shape_are_no_defect_of_the_kit_at_length(number: int) -> None:
    assert_only_the_server_is_blamed(
        run_mangled(SEED + number, (0.01, 0.05, 0.2)[number % 3], 20.0)
    )


def test_a_server_that_dies_in_the_middle_is_noticed_and_the_rest_is_not_reached() -> None:
    lives = 3

    def converse(sock: socket.socket) -> None:
        nonlocal lives
        while sock.recv(65536):
            lives -= 1
            if lives >= 0:
                sock.sendall(encode({"action": "login_fail", "status": "error", "message": "no"}))

    def silent(context: ServerContext) -> None:
        wire = context.connect()
        wire.send({"action": "login"})
        wire.receive()

    with peer(converse) as port:
        done = runner.run(
            options(port, timeout=patience(0.5)),
            [a_case(silent, id=f"test.case{number:02}") for number in range(12)],
        )
    verdicts = [each.verdict for each in done.outcomes]
    assert verdicts == [Verdict.PASS] * 3 + [Verdict.FAIL] * runner.DEAD_CASES + [
        Verdict.NOT_REACHED
    ] * (9 - runner.DEAD_CASES)
    assert "stopped answering" in done.notes[-1]


# --- The runner -----------------------------------------------------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    with peer(says_nothing) as port:
        yield port


def run_one(
    port: int, body: Callable[[ServerContext], None], *rules: str, **values: Any
) -> Outcome:
    (one,) = runner.run(options(port, **values), [a_case(body, *rules)]).outcomes
    return one


def test_the_kits_own_mistake_is_a_kit_error(silent_port: int) -> None:
    def mistaken(context: ServerContext) -> None:
        raise KeyError("nothing")

    one = run_one(silent_port, mistaken)
    assert one.verdict is Verdict.KIT_ERROR
    assert "KeyError" in one.actual


def test_silence_is_a_failure_with_a_transcript_and_the_command_to_see_it_again(
    silent_port: int,
) -> None:
    def waits(context: ServerContext) -> None:
        wire = context.connect()
        wire.send({"action": "login"})
        wire.expect("login_success")

    one = run_one(silent_port, waits, "R-SESS-1")
    assert (one.verdict, one.rule_id, one.expected) == (Verdict.FAIL, "R-SESS-1", "`login_success`")
    assert [line.direction for line in one.transcript][:3] == ["*", ">", "*"]
    assert one.again.startswith(f"{own_name.NAME} server {HOST}:{silent_port}")
    assert "--seed 7" in one.again
    assert one.again.endswith("--case test.waits")


def test_passed_cases_keep_no_transcript_unless_asked(silent_port: int) -> None:
    assert run_one(silent_port, passes).transcript == ()
    assert len(run_one(silent_port, passes, keep_transcripts=True).transcript) > 0


def test_a_case_ends_at_its_deadline(silent_port: int) -> None:
    def waits_for_ever(context: ServerContext) -> None:
        wire = context.connect()
        while True:
            with contextlib.suppress(Silence):
                wire.receive(timeout=0.05)
            if time.monotonic() > context.until:
                wire.receive()

    one = run_one(silent_port, waits_for_ever, timeout=60.0, case_seconds=0.3)
    assert one.verdict is Verdict.FAIL
    assert one.seconds < LONG_ENOUGH


def test_the_run_ends_at_its_limit_and_the_rest_is_not_reached(silent_port: int) -> None:
    def slow(context: ServerContext) -> None:
        context.connect().receive(timeout=60.0)

    done = runner.run(
        options(silent_port, run_seconds=2.0, timeout=60.0),
        [a_case(passes), a_case(slow), a_case(passes, id="test.last")],
    )
    assert [each.verdict for each in done.outcomes] == [
        Verdict.PASS,
        Verdict.NOT_REACHED,
        Verdict.NOT_REACHED,
    ]
    assert "limit of 2 s" in done.outcomes[1].actual


def test_outcomes_are_told_as_they_come(silent_port: int) -> None:
    told: list[str] = []
    runner.run(
        options(silent_port),
        [a_case(passes), a_case(passes, id="test.second")],
        lambda one: told.append(one.case_id),
    )
    assert told == ["test.passes", "test.second"]


def test_what_begins_early_ends_last(silent_port: int) -> None:
    order: list[str] = []

    def early(context: ServerContext) -> str:
        order.append("begun")
        return "kept"

    def body(context: ServerContext) -> None:
        order.append(f"ended with {context.early}")

    def between(context: ServerContext) -> None:
        order.append("between")

    done = runner.run(options(silent_port), [a_case(body, early=early), a_case(between)])
    assert order == ["begun", "between", "ended with kept"]
    assert [each.case_id for each in done.outcomes] == ["test.body", "test.between"]


def test_what_ends_the_server_runs_last(silent_port: int) -> None:
    order: list[str] = []

    def ends(context: ServerContext) -> None:
        order.append("ends")

    def waited(context: ServerContext) -> None:
        order.append("waited")

    runner.run(
        options(silent_port), [a_case(ends, last=True), a_case(waited, early=lambda context: None)]
    )
    assert order == ["waited", "ends"]


def test_an_early_part_that_fails_is_the_cases_failure(silent_port: int) -> None:
    def early(context: ServerContext) -> None:
        context.fail("this", "that")

    def body(context: ServerContext) -> None:
        pytest.fail("the body ran")

    (one,) = runner.run(options(silent_port), [a_case(body, early=early)]).outcomes
    assert (one.verdict, one.actual) == (Verdict.FAIL, "that")


def test_nothing_runs_behind_a_gate_that_stays_shut(silent_port: int) -> None:
    def shut(context: ServerContext) -> None:
        context.fail("open", "shut")

    done = runner.run(options(silent_port), [a_case(shut, gate=True), a_case(passes)])
    assert [each.verdict for each in done.outcomes] == [Verdict.FAIL, Verdict.NOT_REACHED]


def test_levels_hold_those_before_and_rules_choose() -> None:
    every = cases.load()
    seed, full, robust = (chosen(every, level) for level in ("seed", "full", "robust"))
    assert 0 < len(seed) < len(full) < len(robust) == len(every)
    assert all("R-MSG-5" in each.rules for each in chosen(every, "robust", ["R-MSG-5"]))
    assert [each.id for each in chosen(every, "seed", (), [every[-1].id])] == [every[-1].id]
    with pytest.raises(ValueError, match="no case is called"):
        chosen(every, "seed", (), ["none.such"])


# --- The server's process -------------------------------------------------------------------------


def reference_command() -> str:
    return " ".join(
        f'"{word}"' for word in (sys.executable, "-m", "support.reference_server", "{port}")
    )


def test_the_kit_starts_kills_and_restarts_a_server() -> None:
    with ServerCommand(reference_command(), HOST, 0) as process:
        assert process.is_running()
        assert process.wait_for_line(re.compile("listening on"), 10.0)
        process.kill()
        assert not process.is_running()
        with pytest.raises(Refused):
            Wire.connect(HOST, process.port, Transcript())
        process.start()
        Wire.connect(HOST, process.port, Transcript()).close()
    assert not process.is_running()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-program-here {port}", "can't be started"),
        (f'"{sys.executable}" -c "print(7777); raise SystemExit(3)"', "7777"),
    ],
)
def test_a_command_that_gives_no_server_is_told_and_is_status_3(command: str, told: str) -> None:
    with pytest.raises(NotStarted, match=told), ServerCommand(command, HOST, 0):
        pytest.fail("it started")
    done = runner.run(options(0, start_command=command), [a_case(passes)])
    assert done.exit_status == 3
    assert told in done.notes[0]


def test_a_server_that_crashes_is_started_again_and_the_run_goes_on() -> None:
    def crash(context: ServerContext) -> None:
        assert context.target.process is not None
        context.target.process.kill()

    done = runner.run(
        options(0, start_command=reference_command(), timeout=patience(5.0)),
        [a_case(crash), a_case(passes)],
    )
    assert [each.verdict for each in done.outcomes] == [Verdict.PASS, Verdict.PASS]
    assert any("started again" in note for note in done.notes)


# --- Our own server -------------------------------------------------------------------------------


def assert_all_holds(done: Report) -> None:
    bad = [
        (one.case_id, one.expected, one.actual)
        for one in done.outcomes
        if one.verdict not in (Verdict.PASS, Verdict.NOT_OFFERED)
    ]
    assert not bad
    assert (done.percent, done.exit_status) == (100.0, 0)


def test_our_server_holds_the_seed_level(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        done = runner.run(
            options(server.port, level="seed", timeout=patience(20.0), seed=SEED),
            cases.load(),
        )
    assert_all_holds(done)


def test_given_accounts_are_enough_where_registration_is_closed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        accounts = [(f"pupil{number}", "pass word") for number in range(4)]
        for name, password in accounts:
            wire = Wire.connect(HOST, server.port, Transcript(), timeout=patience(20.0))
            wire.send({"action": "register", "data": {"chatid": name, "password": password}})
            wire.expect("register_success")
            wire.close()
        server.options = ("--registration", "closed")
        server.restart()
        done = runner.run(
            options(server.port, level="seed", timeout=patience(20.0), accounts=accounts),
            cases.load(),
        )
    assert_all_holds(done)


@pytest.mark.long
@pytest.mark.parametrize("registration", ["open", "first-login"])
def test_our_server_holds_every_level(registration: str) -> None:
    words = [
        sys.executable,
        "chat_server.py",
        "--host",
        HOST,
        "--port",
        "{port}",
        "--data",
        "{data}",
        "--registration",
        registration,
    ]
    command = " ".join(f'"{word}"' for word in words)
    done = runner.run(
        options(0, level="robust", timeout=patience(20.0), start_command=command, seed=SEED),
        cases.load(),
    )
    assert_all_holds(done)
