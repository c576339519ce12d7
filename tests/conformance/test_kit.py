"""The conformance kit itself: verdicts, points, connections, the context of a case, the command
line."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shlex
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kit_parts import (
    HOST,
    a_case,
    outcome,
    peer,
    report,
    resets,
    verdicts_of,
)

from conformance import __main__ as command_line
from conformance import foreground, output_files, points, reports
from conformance.endings import Failed, NotOffered, NotReached
from conformance.packets import encode
from conformance.rules import RULES
from conformance.server import cases
from conformance.server.cases.limits import unless_turned_off
from conformance.server.checks import GIVE_UP_AFTER
from conformance.server.context import ServerContext
from conformance.server.process import ServerCommand, free_port
from conformance.server.registry import Case, case
from conformance.server.target import Target, tag_of
from conformance.transcript import Line, Transcript
from conformance.verdicts import Report, Verdict, outcome_from_json, outcome_to_line
from conformance.wire import BrokenFrame, Closed, Silence, Unexpected, Wire

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


def test_what_was_not_reached_counts_as_nothing_in_the_share_of_its_rule() -> None:
    half = report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.NOT_REACHED, "R-MSG-7"))
    over_another = report(
        outcome(Verdict.PASS, "R-MSG-7"),
        outcome(Verdict.FAIL, "R-MSG-7", "R-MSG-8", failed="R-MSG-8"),
    )
    assert (half.points_got, over_another.points_got) == (0.5, 0.5)


def test_a_defect_of_the_kit_costs_nothing() -> None:
    done = report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.KIT_ERROR, "R-MSG-7"))
    assert done.points_got == done.points_possible == 1


RULE_SETS = (("R-MSG-7",), ("R-MSG-7", "R-MSG-8"), ("R-MSG-8", "R-ROOM-8"), ("R-ROOM-8",))


def endings(rules: tuple[str, ...]) -> list[tuple[Verdict, str]]:
    """Every way in which a case about these rules may end, with the rule that failed."""
    failures = [(Verdict.FAIL, rule) for rule in (*rules, "R-FRAME-1")]
    return [(Verdict.PASS, ""), (Verdict.NOT_REACHED, ""), *failures]


def test_one_fault_more_never_raises_the_score() -> None:
    ways = list(itertools.product(*map(endings, RULE_SETS)))

    def scored(way: tuple[tuple[Verdict, str], ...]) -> tuple[float, float]:
        done = report(
            *(
                outcome(verdict, *rules, failed=failed, case_id=f"a.case{place}")
                for place, ((verdict, failed), rules) in enumerate(zip(way, RULE_SETS, strict=True))
            )
        )
        return done.points_got, done.percent

    scores = {way: scored(way) for way in ways}
    for way in ways:
        for place, rules in enumerate(RULE_SETS):
            for worse in endings(rules)[1:]:
                other = (*way[:place], worse, *way[place + 1 :])
                for after, before in zip(scores[other], scores[way], strict=True):
                    assert after <= before, (way, other)


def test_a_defect_of_the_kit_never_looks_like_success() -> None:
    assert (
        report(outcome(Verdict.PASS, "R-MSG-7"), outcome(Verdict.KIT_ERROR, "R-MSG-7")).exit_status
        == 1
    )


def test_nothing_looked_at_is_no_success_and_no_division_by_zero() -> None:
    assert (report().percent, report().exit_status) == (0, 1)
    assert report(outcome(Verdict.NOT_OFFERED, "R-MSG-7")).exit_status == 1


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
        wire.close()


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


# --- The context ----------------------------------------------------------------------------------


def a_context(seed: int = 1, this: Case | None = None, **target: Any) -> ServerContext:
    this = this or a_case(lambda context: None)
    return ServerContext(
        Target(HOST, 1, **target),
        this.id,
        this.rules[0],
        seed=seed,
        until=time.monotonic() + 60,
    )


@pytest.mark.parametrize(
    ("words", "is_off"),
    [("--rate-limit 0", True), ("--rate-limit=0", True), ("--rate-limit 20 0", False)],
)
def test_a_limit_that_its_option_turns_off_is_not_looked_at(words: str, is_off: bool) -> None:
    context = a_context(process=ServerCommand(f"server {words}", HOST, 1))
    unless_turned_off(context, "--login-failures")
    with pytest.raises(NotOffered) if is_off else contextlib.nullcontext():
        unless_turned_off(context, "--rate-limit")


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


def test_the_seed_decides_what_ends_all_names() -> None:
    assert tag_of(1) == tag_of(1) != tag_of(2)
    context = a_context(tag=tag_of(1))
    context.target.own_tag()
    assert context.target.tag != tag_of(1) and context.name().endswith(context.target.tag)


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


def test_what_an_error_said_stands_in_the_complaint() -> None:
    error = {"action": "error", "code": "room_not_found", "message": "no such room"}
    with pair(timeout=0.05) as (wire, other):
        other.sendall(encode(error) + encode({"action": "pong"}))
        with pytest.raises(Silence, match=r"meanwhile.*room_not_found.*no such room"):
            wire.receive_where(lambda packet: packet["action"] == "ack", "`ack`")
        with pytest.raises(Silence) as told:
            wire.receive_where(lambda packet: packet["action"] == "ack", "`ack`")
        assert "room_not_found" not in told.value.actual  # it came before that wait


@pytest.mark.parametrize(
    ("actual", "expected"),
    [("e\u0301", "\u00e9"), ("a\u200bb", "ab"), ("\uff41", "a"), ({"\u00e9": 1}, {"e\u0301": 1})],
)
def test_texts_that_look_alike_are_told_apart_by_code_points(actual: Any, expected: Any) -> None:
    with pytest.raises(Failed) as told:
        a_context().equal(actual, expected, "`content`")
    assert told.value.expected.isascii() and told.value.actual.isascii()
    assert told.value.expected.partition(": ")[2] != told.value.actual.partition(" was ")[2]


def test_other_texts_are_shown_as_they_are() -> None:
    with pytest.raises(Failed) as told:
        a_context().equal("é", "ü", "`content`")
    assert "é" in told.value.actual and "ü" in told.value.expected


def test_what_is_given_waits_for_the_rule_of_the_packet_that_failed() -> None:
    context = a_context()
    context.checks.last_request = "get_messages"
    with pytest.raises(NotReached) as told, context.given("outer"), context.given("a history"):
        context.fail("`messages_list`", "an error")
    assert told.value.waits_for == "R-HIST-1"
    assert told.value.expected == "`messages_list` (this case first needs a history)"


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


# --- The command line -----------------------------------------------------------------------------


def main(*words: str) -> int:
    return command_line.main(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["server"],
        ["server", "nowhere"],
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["server", "localhost:99999"], "'localhost:99999': a port is a number from 0 to 65535"),
        (["server", "localhost:1", "--lvel", "seed"], "conformance server: error: unrecognized"),
        (["server", "localhost:0", "--start-cmd", "server {prt}"], "{port} is missing in --start"),
    ],
)
def test_a_mistyped_word_is_named(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*words) == 2
    assert told in capsys.readouterr().err


def test_ctrl_c_ends_the_kit_without_a_traceback_while_it_loads_and_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(signal, "getsignal", handlers.__getitem__)
    foreground.end_quietly()
    assert handlers[signal.SIGINT] is signal.SIG_DFL

    def interrupted() -> int:
        assert handlers[signal.SIGINT] is signal.default_int_handler
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "main", interrupted)
    monkeypatch.setattr(command_line.left_running, "adopt", lambda: None)
    assert command_line.program() == 130
    assert capsys.readouterr().err == "conformance: stopped\n"


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
    captured = capsys.readouterr()
    assert "no server" in captured.out
    assert captured.err == f"conformance: the folder {first.parent} is new, for the report\n"


def test_a_folder_gets_the_report_under_its_usual_name_and_the_terminal_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"{HOST}:{free_port(HOST)}"
    words = [word for kind in reports.KINDS for word in ("--report", kind, "-o", str(tmp_path))]
    assert main("server", target, "--level", "seed", *words) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("report.html", "report.json", "report.tap", "report.txt", "report.xml", "results.json"),
    ]
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(
        "conformance: no server there: 0 points; no server is there: nobody listens on "
    )
    assert captured.err.endswith(f" and {tmp_path / 'results.json'}.\n")


def test_a_report_that_can_not_be_written_ends_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    place = str(tmp_path / "file" / "report.json")
    started = tmp_path / "started"
    command = shlex.join([sys.executable, "-c", f"open({str(started)!r}, 'x')"])
    assert main("server", f"{HOST}:0", "--start-cmd", command, "-o", place) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("conformance: the report can't be written to ")
    assert not started.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a home for every name")
def test_a_report_may_be_named_by_a_home_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = argparse.Namespace(outputs=[["json", "~no_such_user/report.json"]])
    with contextlib.ExitStack() as stack:
        ((kind, place),) = output_files.places(wanted, stack)
    assert (kind, place) == ("json", os.path.join("~no_such_user", "report.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_pipe_that_was_asked_for_gets_the_report(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as pipe:
        target = f"{HOST}:{free_port(HOST)}"
        words = ["--report", "tap", "-o", str(tmp_path / "pipe")]
        assert main("server", target, "--level", "seed", *words) == 3
        assert pipe.read().startswith("TAP version")
    assert (tmp_path / "pipe").is_fifo()


def test_partial_results_are_there_while_a_run_goes_on(tmp_path: Path) -> None:
    progress = command_line.Progress(str(tmp_path / "report.json"))
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


def test_a_reason_that_many_rules_share_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("client", "--list") == 0
    assert capsys.readouterr().out.count("binds the server") == 1


def test_commands_stand_between_double_dashes() -> None:
    assert command_line.split_commands(["matrix", "--", "a", "-b", "--", "c"]) == [
        ["matrix"],
        ["a", "-b"],
        ["c"],
    ]


def test_a_password_may_hold_colons_and_a_host_may_be_ipv6() -> None:
    assert command_line.account("anna:a:b") == ("anna", "a:b")
    assert command_line.address("[::1]:80") == ("::1", 80)


def test_what_nobody_reads_is_no_complaint_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        stream.write("more than was read")
        monkeypatch.setattr(sys, "stdout", stream)
        command_line._flush()
