"""The conformance kit itself: frames, verdicts, points, deadlines, and what becomes of a server
that is hung, crashing or absent."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import conformance_reference
from support.server_process import ServerProcess

from conformance import __main__ as command_line
from conformance import points
from conformance.endings import Failed, NotReached
from conformance.packets import encode
from conformance.registry import chosen
from conformance.rules import RULES
from conformance.server import cases, runner
from conformance.server.checks import GIVE_UP_AFTER
from conformance.server.context import ServerContext
from conformance.server.people import People
from conformance.server.process import NotStarted, ServerCommand, free_port
from conformance.server.registry import Case, case
from conformance.server.target import Account, Target
from conformance.transcript import Line, Transcript
from conformance.verdicts import Outcome, Report, Verdict, outcome_from_json, outcome_to_line
from conformance.wire import BrokenFrame, Closed, Refused, Silence, Unexpected, Wire

HOST = "127.0.0.1"
REFERENCE = Path(__file__).parents[1] / "support" / "conformance_reference.py"
SHORT = 0.3
"""A `timeout` for peers that never answer."""
LONG_ENOUGH = 30.0
"""No run against a broken server may take longer, on however busy a machine."""

Converse = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(converse: Converse) -> Iterator[int]:
    """A server on a free port that treats each connection by `converse`, in a thread; its port."""
    listener = socket.create_server((HOST, 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                accepted.append(sock)
                threading.Thread(target=talk, args=(sock,), daemon=True, name="peer").start()

    def talk(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            converse(sock)

    threading.Thread(target=serve, daemon=True, name="peers").start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in accepted:
            sock.close()


def says_nothing(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def closes(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.close()


def resets(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answers(data: bytes) -> Converse:
    def converse(sock: socket.socket) -> None:
        while sock.recv(65536):
            sock.sendall(data)

    return converse


def options(port: int, **values: Any) -> runner.Options:
    return runner.Options(HOST, port, **{"timeout": SHORT, "seed": 7, **values})


def a_case(body: Callable[[ServerContext], None], *rules: str, **values: Any) -> Case:
    title, level = values.pop("title", body.__name__), values.pop("level", "seed")
    return Case(
        values.pop("id", f"test.{body.__name__}"),
        rules or ("R-MSG-1",),
        level,
        title,
        body,
        **values,
    )


def outcome(verdict: Verdict, *rules: str, failed: str = "", **values: Any) -> Outcome:
    return Outcome(
        values.pop("case_id", "a.b"), rules, "seed", verdict, "a title", failed, **values
    )


def report(*outcomes: Outcome, **values: Any) -> Report:
    return Report(
        "localhost:1", "server", "full", 1, "2024-01-01T12:00:00Z", 1.5, tuple(outcomes), **values
    )


def verdicts_of(done: Report) -> dict[str, Verdict]:
    return {result.rule.id: result.verdict for result in done.rule_results()}


# --- Verdicts and points --------------------------------------------------------------------------


def test_a_rule_fails_where_one_of_its_cases_does_and_gives_a_share_of_its_points() -> None:
    done = report(
        outcome(Verdict.PASS, "R-MSG-7"),
        outcome(Verdict.FAIL, "R-MSG-7", failed="R-MSG-7"),
        points={"R-MSG-7": 4},
    )
    (result,) = done.rule_results()
    assert (result.verdict, result.got, result.points) == (Verdict.FAIL, 2.0, 4.0)
    assert done.exit_status == 1


def test_a_case_that_fails_over_one_rule_says_nothing_of_its_others() -> None:
    done = report(outcome(Verdict.FAIL, "R-MSG-8", "R-MSG-9", failed="R-MSG-9"))
    assert verdicts_of(done) == {"R-MSG-8": Verdict.NOT_REACHED, "R-MSG-9": Verdict.FAIL}


def test_a_failure_counts_for_its_rule_even_where_the_case_is_about_others() -> None:
    done = report(outcome(Verdict.FAIL, "R-MSG-8", failed="R-FRAME-1"))
    assert verdicts_of(done)["R-FRAME-1"] is Verdict.FAIL


def test_what_is_not_offered_costs_nothing() -> None:
    done = report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.NOT_OFFERED, "R-ROOM-8"))
    assert (done.points_got, done.points_possible, done.percent, done.exit_status) == (1, 1, 100, 0)


def test_what_was_not_reached_gives_no_points() -> None:
    done = report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.NOT_REACHED, "R-ROOM-8"))
    assert (done.points_got, done.points_possible, done.exit_status) == (1, 2, 1)


def test_a_defect_of_the_kit_never_looks_like_success() -> None:
    assert (
        report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.KIT_ERROR, "R-MSG-7")).exit_status
        == 1
    )


def test_nothing_looked_at_is_no_success_and_no_division_by_zero() -> None:
    assert (report().percent, report().exit_status) == (0, 1)


def test_no_server_is_a_status_of_its_own() -> None:
    assert report(outcome(Verdict.NOT_REACHED, "R-MSG-7"), no_server=True).exit_status == 3


def test_a_report_survives_json() -> None:
    line = Line(">", 0.1, "00 00 00 02", "{}", "", "anna")
    done = report(
        outcome(Verdict.FAIL, "R-MSG-7", failed="R-MSG-7", transcript=(line,)),
        notes=("a note",),
        points={"R-MSG-7": 2.0},
    )
    assert Report.from_json(json.loads(json.dumps(done.to_json()))) == done


def test_an_outcome_survives_its_line() -> None:
    one = outcome(Verdict.PASS, "R-MSG-7", transcript=(Line("*", 0.0, "", "", "connected"),))
    assert outcome_from_json(json.loads(outcome_to_line(one))) == one


@pytest.mark.parametrize(
    "text",
    [
        "[points]\n* = 0\nR-MSG-* = 2.5\nR-MSG-1 = 7\n",
        "* = 0\nR-MSG-* = 2.5\nR-MSG-1=7",
        '{"*": 0, "R-MSG-*": 2.5, "R-MSG-1": 7}',
        '{"points": {"*": 0, "R-MSG-*": 2.5, "R-MSG-1": 7}}',
    ],
)
def test_points_are_read_from_ini_and_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "points").write_text(text, "utf-8")
    read = points.read(str(tmp_path / "points"))
    assert set(read) == set(RULES)
    assert (read["R-MSG-1"], read["R-MSG-2"], read["R-ACC-1"]) == (7, 2.5, 0)


@pytest.mark.parametrize(
    "text",
    [
        "X-NONE = 1",
        "R-MSG-1 = many",
        "R-MSG-1 = -1",
        "R-MSG-1 = nan",
        '{"R-MSG-1": true}',
        '{"points": 3}',
        "{",
        "[other]\na = 1",
        "what",
    ],
)
def test_points_that_can_not_be_meant_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "points").write_text(text, "utf-8")
    with pytest.raises(points.BadPoints):
        points.read(str(tmp_path / "points"))


# --- The wire -------------------------------------------------------------------------------------


@contextlib.contextmanager
def pair(timeout: float = 5.0) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire and the socket at its other end."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours, Transcript(), "anna", timeout)
    try:
        yield wire, theirs
    finally:
        wire.close()
        theirs.close()


def test_frames_are_read_however_they_are_cut() -> None:
    packets = [{"action": "one"}, {"action": "two", "data": {"x": "é👍"}}]
    with pair() as (wire, other):
        for byte in b"".join(map(encode, packets)):
            other.sendall(bytes([byte]))
        assert [wire.receive(), wire.receive()] == packets


def test_other_packets_are_kept_aside_in_order() -> None:
    with pair() as (wire, other):
        other.sendall(b"".join(encode({"action": name}) for name in "abcb"))
        assert wire.expect("c")["action"] == "c"
        assert [packet["action"] for packet in wire.aside()] == ["a", "b"]
        assert [
            wire.expect("b")["action"],
            wire.expect("b")["action"],
            wire.receive()["action"],
        ] == ["b", "b", "a"]


def test_an_error_ends_the_waiting_for_something_else() -> None:
    with pair() as (wire, other):
        other.sendall(encode({"action": "error", "code": "bad_packet"}))
        with pytest.raises(Unexpected) as caught:
            wire.expect("ack")
        assert caught.value.packet["code"] == "bad_packet"


def test_silence_ends_after_the_timeout_and_says_what_was_waited_for() -> None:
    with pair(timeout=0.05) as (wire, _), pytest.raises(Silence, match="`ack`"):
        wire.expect("ack")


def test_half_a_frame_is_silence_and_is_shown() -> None:
    with pair(timeout=0.05) as (wire, other):
        other.sendall(b"\x00\x00\x00\x09{}")
        with pytest.raises(Silence, match="00 00 00 09 7b 7d"):
            wire.receive()


def test_the_end_of_the_case_ends_every_wait() -> None:
    with pair(timeout=60) as (wire, _):
        wire.until = time.monotonic() + 0.05
        with pytest.raises(Silence):
            wire.receive()


@pytest.mark.parametrize(
    "end", [lambda sock: sock.close(), lambda sock: sock.shutdown(socket.SHUT_WR)]
)
def test_the_peers_end_is_closed(end: Callable[[socket.socket], None]) -> None:
    with pair() as (wire, other):
        other.sendall(encode({"action": "bye"}))
        end(other)
        assert wire.wait_closed() == [{"action": "bye"}]
        with pytest.raises(Closed):
            wire.receive()


def test_what_was_taken_in_is_still_to_be_received_and_so_is_the_end() -> None:
    with pair() as (wire, other):
        other.sendall(encode({"action": "one"}))
        wire.take_in()
        other.close()
        wire.take_in()
        assert wire.wait_closed() == [{"action": "one"}]


def test_a_reset_is_closed() -> None:
    with peer(resets) as port:
        wire = Wire.connect(HOST, port, Transcript())
        wire.send({"action": "ping"})
        assert wire.wait_closed() == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (struct.pack("<I", 2) + b"{}", "wrong byte order it would be 2"),
        (b'{"action": "pong"}', "JSON without a length"),
        (b"\x00\x00\x00\x00", "length of 0"),
        (b"\x00\x00\x00\x02[]", "one JSON object"),
        (b"\x00\x00\x00\x02\xff\xfe", "UTF-8"),
        (b"\x00\x00\x00\x02{,", "JSON"),
    ],
)
def test_what_is_no_frame_is_told_so(data: bytes, told: str) -> None:
    with pair() as (wire, other):
        other.sendall(data)
        with pytest.raises(BrokenFrame, match=told):
            wire.receive()


def test_a_transcript_shows_direction_length_and_payload() -> None:
    with pair() as (wire, other):
        wire.send({"action": "ping"})
        other.sendall(encode({"action": "pong"}))
        wire.receive()
        sent, actual = wire.transcript.lines()
    assert (sent.direction, sent.length_hex, sent.payload, sent.who) == (
        ">",
        "00 00 00 11",
        '{"action":"ping"}',
        "anna",
    )
    assert (actual.direction, actual.payload) == ("<", '{"action":"pong"}')


def test_a_long_transcript_keeps_its_beginning_and_its_end() -> None:
    transcript = Transcript()
    for number in range(1000):
        transcript.note(str(number))
    lines = transcript.lines()
    assert (lines[0].note, lines[-1].note, len(lines)) == ("0", "999", 401)
    assert any("600 lines left out" in line.note for line in lines)


# --- The context ------------------------------------------------------------------------------------


def a_context(seed: int = 1, this: Case | None = None, **target: Any) -> ServerContext:
    this = this or a_case(lambda context: None)
    return ServerContext(
        Target(HOST, 1, **target),
        this.id,
        this.rules[0],
        seed=seed,
        until=time.monotonic() + 60,
    )


def test_all_that_is_random_comes_from_the_seed_and_the_case() -> None:
    def drawn(seed: int, case_id: str) -> list[str]:
        context = a_context(seed, a_case(lambda context: None, id=case_id))
        return [
            context.name(),
            context.room_id(),
            context.text(),
            context.password(),
            context.key(),
        ]

    assert drawn(1, "a.b") == drawn(1, "a.b")
    assert not set(drawn(1, "a.b")) & set(drawn(2, "a.b"))
    assert not set(drawn(1, "a.b")) & set(drawn(1, "a.c"))


def test_names_of_two_runs_differ() -> None:
    assert a_context(tag="x1").name() != a_context(tag="x2").name()


@pytest.mark.parametrize(
    ("packet", "holds"),
    [
        ({"a": {"b": 1}}, True),
        ({"a": {"b": True}}, False),
        ({"a": {"b": "1"}}, False),
        ({"a": 1}, False),
        ({}, False),
    ],
)
def test_a_missing_or_wrong_key_is_a_failure_and_no_key_error(
    packet: dict[str, Any], holds: bool
) -> None:
    if holds:
        assert a_context().get(packet, "a.b", int) == 1
    else:
        with pytest.raises(Failed):
            a_context().get(packet, "a.b", int)


def test_an_error_without_code_is_an_error_and_one_with_another_code_is_not_the_one() -> None:
    context = a_context()
    context.refused({"action": "error"}, "bad_packet")
    context.refused({"action": "error", "code": "bad_packet"}, ["bad_json", "bad_packet"])
    for reply in ({"action": "error", "code": "bad_json"}, {"action": "ack"}):
        with pytest.raises(Failed):
            context.refused(reply, "bad_packet")


def test_failures_in_what_is_given_are_not_reached_and_soon_given_up() -> None:
    context = a_context()
    for _ in range(GIVE_UP_AFTER):
        with pytest.raises(NotReached), context.given("something", remember="it"):
            context.fail("this", "that")
    with (
        pytest.raises(NotReached, match="not tried again"),
        context.given("something", remember="it"),
    ):
        pytest.fail("it was tried again")


def test_the_rule_around_a_failure_is_the_one_that_fails() -> None:
    context = a_context(this=a_case(lambda context: None, "R-MSG-1", "R-MSG-2"))
    with pytest.raises(Failed) as caught, context.rule("R-MSG-2"):
        context.fail("this", "that")
    assert caught.value.rule == "R-MSG-2"
    assert context.checks.current_rule == "R-MSG-1"


@pytest.mark.parametrize(
    "values", [{"rules": ["X-NONE-1"]}, {"rules": []}, {"rules": ["R-MSG-1"], "level": "all"}]
)
def test_a_case_about_nothing_known_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a case needs rules"):
        case(title="x", **values)


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
    assert "no server is there" in done.notes[0]


def test_who_gave_accounts_is_not_told_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger:
        is_on = False

        def login(self) -> None:
            pass

    monkeypatch.setattr(People, "_registered", lambda context: None)
    monkeypatch.setattr(People, "guest", lambda context: Stranger())
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


class Mangled(conformance_reference.ReferenceServer):
    """The reference, but now and then a packet of it lacks a key or has one of another type."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__(0)
        self.random = random.Random(seed)
        self.share = share

    def encode(self, packet: dict[str, Any]) -> bytes:
        if self.random.random() < self.share:
            packet = json.loads(json.dumps(packet))
            self.mangle(packet)
        return super().encode(packet)

    def mangle(self, holder: dict[str, Any]) -> None:
        key = self.random.choice(list(holder))
        if isinstance(holder[key], dict) and holder[key] and self.random.random() < 0.8:
            self.mangle(holder[key])
        elif self.random.random() < 0.4:
            del holder[key]
        else:
            holder[key] = self.random.choice(
                [None, True, 17, -1, 1.5, "", "text", [], [1], [None], {}, {"data": 1}]
            )


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
    assert_only_the_server_is_blamed(run_mangled(random.randrange(10**6), 0.05, 3.0))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_packets_of_any_shape_are_no_defect_of_the_kit_at_length(seed: int) -> None:
    assert_only_the_server_is_blamed(run_mangled(seed, (0.01, 0.05, 0.2)[seed % 3], 20.0))


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
            options(port, timeout=0.05),
            [a_case(silent, id=f"test.case{number:02}") for number in range(12)],
        )
    verdicts = [each.verdict for each in done.outcomes]
    assert verdicts == [Verdict.PASS] * 3 + [Verdict.FAIL] * runner.DEAD_CASES + [
        Verdict.NOT_REACHED
    ] * (9 - runner.DEAD_CASES)
    assert "stopped answering" in done.notes[-1]


# --- The runner -----------------------------------------------------------------------------------


def passes(context: ServerContext) -> None:
    context.connect()


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
    assert one.again.startswith(f"python -m conformance server {HOST}:{silent_port}")
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
        options(silent_port, run_seconds=0.3, timeout=60.0),
        [a_case(passes), a_case(slow), a_case(passes, id="test.last")],
    )
    assert [each.verdict for each in done.outcomes] == [
        Verdict.PASS,
        Verdict.NOT_REACHED,
        Verdict.NOT_REACHED,
    ]
    assert "limit of 0.3 s" in done.outcomes[1].actual


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
    return " ".join(f'"{word}"' for word in (sys.executable, str(REFERENCE), "server", "{port}"))


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
        options(0, start_command=reference_command(), timeout=5.0), [a_case(crash), a_case(passes)]
    )
    assert [each.verdict for each in done.outcomes] == [Verdict.PASS, Verdict.PASS]
    assert any("started again" in note for note in done.notes)


# --- The command line -----------------------------------------------------------------------------


def main(*words: str) -> int:
    return command_line.main(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["server"],
        ["server", "nowhere"],
        ["server", "localhost:99999"],
        ["server", "localhost:0"],
        ["server", "localhost:1", "--level", "easy"],
        ["server", "localhost:1", "--rules", "X-NONE-*"],
        ["server", "localhost:1", "--case", "none.such"],
        ["server", "localhost:1", "--account", "anna"],
        ["server", "localhost:1", "--timeout", "0"],
        ["server", "localhost:1", "--points", "/no/such/file"],
        ["server", "localhost:1", "-o", "report.unknown"],
        ["server", "localhost:1", "--report", "song"],
        ["server", "localhost:1", "--", "python"],
        ["client"],
        ["client", "--", "no-such-command"],
        ["matrix", "--", "one"],
        ["matrix", "--rules", "R-MSG-*", "--", "one", "--", "two"],
        ["matrix", "--case", "messages.counts", "--", "one", "--", "two"],
        ["matrix", "--level", "seed", "--", "one", "--", "two"],
        ["sing"],
    ],
)
def test_misuse_is_status_2_and_one_clear_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*words) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.strip()


def test_reports_go_where_they_should_and_partial_results_are_cleared_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"{HOST}:{free_port(HOST)}"
    first, second = tmp_path / "out" / "report.json", tmp_path / "report.xml"
    assert (
        main(
            "server",
            target,
            "--level",
            "seed",
            "-o",
            str(first),
            "--report",
            "junit",
            "-o",
            str(second),
            "--report",
            "text",
        )
        == 3
    )
    written = Report.from_json(json.loads(first.read_text("utf-8")))
    assert written.no_server
    assert second.read_text("utf-8").startswith("<?xml")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "report.json",
        "report.xml",
    ]
    assert "no server" in capsys.readouterr().out


def test_partial_results_are_there_while_a_run_goes_on(tmp_path: Path) -> None:
    progress = command_line._Progress(str(tmp_path / "report.json"))
    progress(outcome(Verdict.PASS, "R-MSG-1"))
    (partial,) = tmp_path.iterdir()
    assert outcome_from_json(json.loads(partial.read_text("utf-8"))) == outcome(
        Verdict.PASS, "R-MSG-1"
    )
    progress.done(keep=False)
    assert not list(tmp_path.iterdir())


def test_the_list_names_every_rule_its_points_and_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("server", "--list", "--level", "robust") == 0
    text = capsys.readouterr().out
    for rule_id in RULES:
        assert f"\n{rule_id} " in text
    for each in cases.load():
        assert f"  {each.id} ({each.level})" in text


def test_commands_stand_between_double_dashes() -> None:
    assert command_line.split_commands(["matrix", "--", "a", "-b", "--", "c"]) == [
        ["matrix"],
        ["a", "-b"],
        ["c"],
    ]


def test_a_password_may_hold_colons_and_a_host_may_be_ipv6() -> None:
    assert command_line.account("anna:a:b") == ("anna", "a:b")
    assert command_line.address("[::1]:80") == ("::1", 80)


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
            options(server.port, level="seed", timeout=20.0, seed=random.randrange(10**6)),
            cases.load(),
        )
    assert_all_holds(done)


def test_given_accounts_are_enough_where_registration_is_closed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        accounts = [(f"pupil{number}", "pass word") for number in range(4)]
        for name, password in accounts:
            wire = Wire.connect(HOST, server.port, Transcript(), timeout=20.0)
            wire.send({"action": "register", "data": {"chatid": name, "password": password}})
            wire.expect("register_success")
            wire.close()
        server.options = ("--registration", "closed")
        server.restart()
        done = runner.run(
            options(server.port, level="seed", timeout=20.0, accounts=accounts), cases.load()
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
        options(
            0, level="robust", timeout=20.0, start_command=command, seed=random.randrange(10**6)
        ),
        cases.load(),
    )
    assert_all_holds(done)
