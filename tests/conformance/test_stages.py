"""The stages and hints of the kit: each seed case has its stage, no stage needs what comes later,
and each planted fault has a hint."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience
from support.planted_faults import FAULTS
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account
from support.reference_server.requests import Refusal, Request
from support.seed import SEED

from conformance import command_words, own_name
from conformance.__main__ import main
from conformance.registry import chosen
from conformance.rules import RULES
from conformance.server import cases, runner
from conformance.stages import walk
from conformance.stages.hints import CASE_HINTS, HINTS, hint, is_served_alone
from conformance.stages.packets import EXAMPLES, examples_of
from conformance.stages.plan import STAGES, cases_of
from conformance.transcript import (
    CLOSED_BY_KIT,
    CONNECTED,
    FROM_BEFORE,
    IN,
    IN_VAIN,
    NOTE,
    OUT,
    Line,
)

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "examples" / "starter" / "python" / "server.py"
WITH_STARTER = [
    "server",
    "localhost:0",
    "--start-cmd",
    f'"{sys.executable}" "{STARTER}" {{port}}',
    *(f"--account={name}:pw-{name}" for name in ("anna", "ben", "carla", "dora", "emil", "fay")),
]
IDS = [case.id for case in chosen(cases.load(), "robust", (), ())]
SEED_IDS = [case.id for case in chosen(cases.load(), "seed", (), ())]
TO_KEEP = len(STAGES)


def options(server: ReferenceServer) -> runner.Options:
    return runner.Options("127.0.0.1", server.port, "robust", SEED, timeout=patience(5.0))


def test_each_case_of_the_seed_stands_in_one_stage() -> None:
    staged = [case for number in range(1, len(STAGES) + 1) for case in cases_of(number, IDS)]
    assert len(staged) == len(set(staged))
    assert set(SEED_IDS) <= set(staged)
    assert all(cases_of(number, IDS) for number in range(1, len(STAGES) + 1))


@pytest.mark.parametrize("number", range(1, TO_KEEP))
def test_no_stage_needs_a_packet_of_a_later_one(number: int) -> None:
    known = {packet for stage in STAGES[:number] for packet in stage.packets} | {"register"}

    class Partial(ReferenceServer):
        def request_of(self, connection: Connection, packet: dict[str, object]) -> Request:
            if packet.get("action") not in known:
                raise Refusal("unknown_action", "not yet")
            return super().request_of(connection, packet)

        def forward(self, account: Account, packet: dict[str, object]) -> None:
            if packet["action"] in known:
                super().forward(account, packet)

    server = Partial().start()
    try:
        ids = cases_of(number, IDS)
        report = runner.run(
            runner.Options(
                "127.0.0.1", server.port, "robust", SEED, cases=ids, timeout=patience(5.0)
            ),
            cases.load(),
        )
    finally:
        server.stop()
    bad = [
        (outcome.case_id, outcome.actual)
        for outcome in report.outcomes
        if outcome.verdict in walk.BAD
    ]
    assert bad == []


def test_a_walk_stops_at_the_first_stage_that_fails_and_shows_the_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board: list[Mapping[str, Any]] = []
    monkeypatch.setattr(walk.Teller, "result", lambda self, what: board.append(what))
    server = FAULTS["utf16_units"].kind().start()
    told = io.StringIO()
    try:
        assert walk.walk(options(server), cases.load(), len(STAGES), 2, told) == 1
    finally:
        server.stop()
    text = told.getvalue()
    assert "stage  2 login     holds" in text and "stage  3 count     does not hold yet" in text
    assert "expected:" in text and "came:" in text and "00 00" in text
    assert "hint 1 of 3" in text and "hint 2 of 3" in text and "--hint 3" in text
    assert "stage  4" not in text
    assert [(each["stage"], each["failing"], each["fails"]) for each in board] == [
        (2, "R-MSG-1", 1)
    ], "a board is told how far it came"
    assert {"R-FRAME-1", "R-SESS-1"} <= set(board[0]["holds"])


def test_an_earlier_stage_that_broke_is_mended_first() -> None:
    server = FAULTS["utf16_units"].kind().start()
    told = io.StringIO()
    try:
        assert walk.walk(options(server), cases.load(), 5, 0, told) == 1
    finally:
        server.stop()
    assert "before stage 5" in told.getvalue() and "stuck? --hint\n" in told.getvalue()


def test_a_stage_that_holds_names_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WITH_STARTER, "--stage", "3"]) == 0
    assert "next: --stage 4 (store" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--stage", "keep"], ["--stages"]])
def test_a_stage_that_was_not_looked_at_does_not_hold(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(walk, "cases_of", lambda number, ids: ["restart.three_kills"])
    board: list[Mapping[str, Any]] = []
    monkeypatch.setattr(walk.Teller, "result", lambda self, what: board.append(what))
    server = ReferenceServer().start()
    try:
        assert main(["server", f"localhost:{server.port}", *words]) == 1
    finally:
        server.stop()
    shown = capsys.readouterr().out
    assert "stage  1 frame     not looked at: this needs a server that the kit may kill" in shown
    assert '--start-cmd "' in shown and "hold" not in shown.replace("not looked", "")
    assert [each["stage"] for each in board] == [0]


def test_the_row_of_stages_shows_where_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WITH_STARTER, "--stages", "--timeout", "5"]) == 1
    shown = capsys.readouterr().out
    assert "frame ok   login ok   count ok   store <- here" in shown
    assert "next: --stage 4" in shown


def test_without_a_server_the_stages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--stages"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{stage.word} " in shown for stage in STAGES)
    assert max(map(len, shown.splitlines())) <= walk.WIDTH


@pytest.mark.parametrize("word", ["0", "13", "nowhere", "-1"])
def test_no_such_stage_is_misuse(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "localhost:1", f"--stage={word}"]) == 2
    assert "expected 1 to 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hint"], "--hint needs --stage"),
        (["--stages", "--hint", "2"], "--hint needs --stage"),
        (["--stage", "3", "--stages"], "--stages does not go with --stage,"),
        (["--stage", "3", "--list"], "--list does not go with --stage,"),
        (["--stages", "--case=sessions.login"], "--case does not go with --stages,"),
        (["--stage", "next", "--level", "full"], "--level does not go with --stage,"),
        (["--stages", "-oreport.html"], "-o does not go with --stages,"),
    ],
)
def test_what_does_not_go_with_stages_is_misuse(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["server", "localhost:1", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("hint", [["--hint", "1"], ["--hint=1"], ["--hint"]])
def test_who_is_stuck_gets_the_whole_command(hint: list[str]) -> None:
    words = ["server", "localhost:1", *hint, "--start-cmd", "python a.py {port}", "--stage", "1"]
    whole = [*own_name.WORDS, *words[:2], *words[2 + len(hint) :], "--hint", "2"]
    assert command_words.split(walk._with_hint(words, 2)) == whole
    assert walk._with_hint([], 1) == "--hint"


def test_after_the_last_stage_it_is_said_what_to_try() -> None:
    after = " ".join(walk._after(len(STAGES)))
    assert "you have level seed" in after and "--level full" in after


def test_nobody_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "localhost:1", "--stage", "next"]) == 3
    assert "no server is there" in capsys.readouterr().out


def test_what_the_server_prints_stands_between_the_packets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "server.py"
    # What is printed is read beside the packets: it has a moment to come before the reply does.
    pause = '__import__("time").sleep(0.1)'
    talking = f'print("a key", flush=True); {pause}; key = "always the same key, 0123456789" #'
    program.write_text(
        STARTER.read_text("utf-8").replace("key = secrets.token_urlsafe(24)", talking), "utf-8"
    )
    words = [*WITH_STARTER, "--stage", "login"]
    words[3] = f'"{sys.executable}" "{program}" {{port}}'
    assert main(words) == 1
    assert "it printed: a key" in capsys.readouterr().out


def test_each_rule_that_a_planted_fault_breaks_has_a_hint_of_its_own() -> None:
    broken = {rule for fault in FAULTS.values() for rule in fault.breaks}
    assert sorted(broken - set(HINTS)) == []
    assert set(HINTS) <= set(RULES)


@pytest.mark.parametrize("rule", HINTS)
def test_a_hint_goes_from_the_eye_to_the_cause_to_the_rule(rule: str) -> None:
    look, usually, paragraph = hint(rule)
    assert look != usually and paragraph.endswith(RULES[rule].sentence)


def test_where_the_case_tells_more_than_the_rule_it_has_a_hint_of_its_own() -> None:
    assert set(CASE_HINTS) <= {each.id for each in cases.load()}
    counts = hint("R-MSG-1", "texts.many_equal_letters")
    assert counts[:2] != hint("R-MSG-1")[:2] and counts[2] == hint("R-MSG-1")[2]
    assert all(len({*one.values()}) == 2 for one in CASE_HINTS.values())


class OneAtATime(ReferenceServer):
    """Answers nobody else while its first connection that got an answer is open."""

    served: Connection | None = None

    def take(self, connection: Connection, payload: bytes) -> None:
        if self.served is None or self.served.over:
            self.served = connection
        if connection is self.served:
            super().take(connection, payload)


def test_a_server_that_serves_one_at_a_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "cases_of", lambda number, ids: ["sessions.keys_differ"])
    server, told = OneAtATime().start(), io.StringIO()
    try:
        given = replace(options(server), timeout=patience(1.0))
        assert walk.walk(given, cases.load(), 1, 1, told) == 1
    finally:
        server.stop()
    assert "hint 1 of 4: A second connection gets no answer while" in told.getvalue()


def test_what_was_closed_or_answered_is_not_taken_for_one_at_a_time() -> None:
    def served_alone(*lines: tuple[str, str, str]) -> bool:
        return is_served_alone(
            [
                Line(way, 0.0, "", text if way == OUT else "", "" if way == OUT else text, who)
                for way, text, who in lines
            ]
        )

    def asks(who: str, action: str = "login") -> tuple[tuple[str, str, str], ...]:
        return (NOTE, CONNECTED, who), (OUT, f'{{"action": "{action}"}}', who)

    answer, in_vain = (IN, "", "anna"), (NOTE, f"{IN_VAIN} a reply", "ben")
    assert served_alone(*asks("anna"), answer, *asks("ben"), in_vain)
    assert served_alone((NOTE, FROM_BEFORE, "anna"), *asks("ben"), in_vain)
    again = (*asks("anna"), answer, *asks("anna"), (NOTE, IN_VAIN, "anna"))
    assert served_alone(*again), "the same name twice"
    assert not served_alone(*asks("anna"), *asks("ben"), in_vain), "nobody gets an answer"
    assert not served_alone(*asks("anna"), answer, *asks("ben"), (IN, "", "ben"), in_vain)
    gone = (NOTE, CLOSED_BY_KIT, "anna")
    assert not served_alone(*asks("anna"), answer, gone, *asks("ben"), in_vain)
    other = asks("ben", "ping")
    assert not served_alone(*asks("anna"), answer, *other, in_vain), "no such request is answered"


def test_a_rule_is_told_with_the_rules_and_words_that_it_uses() -> None:
    told = " ".join(walk._explained(RULES["R-SESS-7"]))
    assert "(R-ACC-6: " in told and "T2" not in told
    assert "(T2 is the" in " ".join(walk._explained(RULES["R-MSG-16"]))


def test_a_stage_shows_its_packets_by_example() -> None:
    data = Path(__file__).parents[1] / "data" / "packets.json"
    assert json.loads(data.read_text("utf-8")) == EXAMPLES
    shown = "\n".join(examples_of(["get_messages"]))
    assert '"messages_list"' in shown and '"from_time"' in shown and "login" not in shown
    assert '"register_success"' in "\n".join(examples_of(["login", "register"]))
    assert '"code": "bad_packet"' in "\n".join(examples_of(STAGES[6].packets))
    assert all(examples_of(stage.packets) for stage in STAGES if stage.packets)


def test_a_rule_without_a_hint_has_its_paragraph_all_the_same() -> None:
    assert len(hint("")) == 1
    without = next(rule for rule in RULES if rule not in HINTS)
    assert hint(without)[-1].endswith(RULES[without].sentence)
