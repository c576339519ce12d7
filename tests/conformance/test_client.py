"""Grading clients: ours and a small one pass, and each planted fault breaks exactly its rules."""

from __future__ import annotations

import argparse
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience

from conformance import command_words, grade, reports
from conformance.client import runner as client_runner
from conformance.client.cases import load
from conformance.client.cases.sending import wrong_counts
from conformance.client.process import BadDriver, Driver, fill, read_driver, split_command
from conformance.client.scripted_server import ScriptedServer
from conformance.matrix import runner as matrix_runner
from conformance.matrix.relay import Relay
from conformance.packets import letters
from conformance.registry import chosen
from conformance.reports import pairs
from conformance.transcript import Transcript
from conformance.verdicts import Outcome, Report, Verdict

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = [
    sys.executable,
    str(ROOT / "tests" / "support" / "client_with_faults.py"),
    "{host}",
    "{port}",
    "{folder}",
]
OURS = [
    sys.executable,
    str(ROOT / "chat_client.py"),
    "{host}:{port}",
    "-u",
    "{user}",
    "--download-folder",
    "{folder}",
]
OUR_SERVER = [
    sys.executable,
    str(ROOT / "chat_server.py"),
    "--host",
    "{host}",
    "--port",
    "{port}",
    "--data",
    "{folder}/data",
    "--password-cost",
    "4",
]
FAULTS: dict[str, set[str]] = {
    "little-endian": {"R-FRAME-1"},
    "no length": {"R-FRAME-1"},
    "length counts itself": {"R-SESS-1"},
    "length in characters": {"R-FRAME-1"},
    "writes Latin-1": {"R-FRAME-1", "R-JSON-8"},
    "one frame per recv": {"R-FRAME-2"},
    "reads once": {"R-FRAME-2", "R-FRAME-3"},
    "takes small frames only": {"R-FRAME-3"},
    "no data object": {"R-SESS-1"},
    "cuts the password": {"R-SESS-1"},
    "says it is somebody else": {"R-SESS-7"},
    "shouts": {"R-MSG-3"},
    "always confirms": {"R-MSG-3"},
    "never answers what differs": {"R-MSG-3"},
    "compares the keys only": {"R-MSG-3"},
    "compares the sums only": {"R-MSG-3"},
    "counts lower case": {"R-MSG-1", "R-MSG-3", "R-MSG-16"},
    "counts letters only": {"R-MSG-1", "R-MSG-3", "R-MSG-16"},
    "counts ASCII only": {"R-MSG-1"},
    "counts as text": {"R-MSG-1", "R-MSG-3", "R-MSG-16"},
    "dies of an error": {"R-ERR-7"},
    "dies of unknown keys": {"R-JSON-13"},
    "ignores messages": {"R-MSG-16"},
    "ignores copies": {"R-MSG-18"},
    "answers two of three only": {"R-MSG-16"},
    "deaf while it sends": {"R-ORDER-8"},
    "deaf while it fetches": {"R-FILE-20"},
    "forgets the ack": {"R-MSG-17", "R-MSG-18"},
    "acknowledges everything": {"R-MSG-18"},
    "ack without status": {"R-MSG-17", "R-MSG-18", "R-MSG-19"},
    "chatid in file packets": {"R-JSON-12"},
    "size as text": {"R-JSON-10", "R-FILE-4", "R-FILE-7"},
    "chunks too large": {"R-FILE-3"},
    "chunks of many sizes": {"R-FILE-3"},
    "wrong total": {"R-FILE-4", "R-FILE-7"},
    "numbers from 7": {"R-FILE-2"},
    "loses the last chunk": {"R-FILE-1", "R-FILE-4"},
    "base64 with line breaks": {"R-FILE-5"},
    "a chunk for an empty file": {"R-FILE-7"},
    "fetches without the last chunk": {"R-FILE-19"},
    "writes once": {"R-FRAME-1"},
    "knows no pairs": {"R-FRAME-1"},
    "knows few escapes": {"R-FRAME-1"},
    "dies of null": {"R-JSON-13"},
    "no file type": {"R-JSON-11"},
    "forgets nothing": {"R-ERR-7"},
    "stuck after an error": {"R-ERR-7"},
    "compares as text": {"R-MSG-3"},
    "remembers the last line only": {"R-MSG-3"},
    "normalises what is typed": {"R-MSG-1"},
    "counts UTF-16": {"R-MSG-1"},
    "takes commands of others": {"R-MSG-1"},
    "no answer to blanks": {"R-MSG-1"},
    "counts 256 letters at most": {"R-MSG-13"},
    "acknowledges acks": {"R-MSG-12"},
    "hears its own room only": {"R-MSG-16"},
    "transactions of 32 characters": {"R-MSG-16"},
    "acknowledges once": {"R-MSG-18"},
    "numbers of 32 bits": {"R-ORDER-3"},
    "dies of a file of others": {"R-ORDER-8"},
    "deaf while it uploads": {"R-ORDER-8"},
    "history without a zone": {"R-HIST-3"},
    "history of everything": {"R-HIST-2"},
    "pads the last chunk": {"R-FILE-1"},
    "appends what it fetches": {"R-FILE-19"},
    "mixes two fetches": {"R-FILE-20"},
    "always comes back": {"R-EVT-7", "R-TEACH-8"},
}
"""By fault: the rules that must fail, and no others may."""
SPREADING = {"one frame per recv", "answers two of three only"}
"""What else fails of these depends on which packets the network happens to join, or on which
message is the third."""


def options(commands: list[list[str]], **changes: Any) -> argparse.Namespace:
    given: dict[str, Any] = {
        "commands": commands,
        "driver": None,
        "faults": None,
        "level": "robust",
        "seed": 7,
        "timeout": None,
        "limit": None,
        "rules": [],
        "case": [],
        "points": {},
        "transcripts": False,
        "our_server": None,
        "our_client": None,
        "account": [],
        "run_as": "",
    }
    return argparse.Namespace(**{**given, **changes})


def failed(report: Report) -> set[str]:
    return {outcome.rule_id for outcome in report.outcomes if outcome.verdict is Verdict.FAIL}


def found(fault: str, timeout: float, case: list[str]) -> tuple[set[str], Report]:
    """The rules that cases failed over, before what stands on a broken rule is taken out; and the
    report."""
    outcomes: list[Outcome] = []
    report = client_runner.run(
        options([[*REFERENCE, fault]], timeout=timeout, case=case), outcomes.append
    )
    return {outcome.rule_id for outcome in outcomes if outcome.verdict is Verdict.FAIL}, report


def explained(report: Report) -> str:
    return "\n".join(
        f"{each.case_id}: {each.verdict.value} {each.rule_id}: {each.expected}; {each.actual}"
        for each in report.outcomes
        if each.verdict in (Verdict.FAIL, Verdict.NOT_REACHED, Verdict.KIT_ERROR)
    )


# --- Clients that obey ----------------------------------------------------------------------------


QUICK = (
    "logs_in",
    "refuses_counts_that_differ",
    "acknowledges_a_failure",
    "takes_messages_between_replies",
    "sends_a_file",
    "fetches_a_file",
    "takes_events",
    "understands_joined_frames",
)


@pytest.mark.parametrize("command", [OURS, REFERENCE], ids=["ours", "small"])
def test_a_client_that_obeys_passes(command: list[str]) -> None:
    report = client_runner.run(options([command], case=[f"client.{name}" for name in QUICK]))
    assert report.exit_status == 0, explained(report)


@pytest.mark.long
def test_our_own_client_passes_every_case() -> None:
    report = client_runner.run(options([OURS]))
    assert report.exit_status == 0, explained(report)
    assert report.points_got == report.points_possible
    assert not report.count(Verdict.NOT_OFFERED)


@pytest.mark.long
def test_a_small_client_of_the_24_packets_passes_and_offers_no_extensions() -> None:
    report = client_runner.run(options([REFERENCE]))
    assert report.exit_status == 0, explained(report)
    absent = {
        outcome.case_id for outcome in report.outcomes if outcome.verdict is Verdict.NOT_OFFERED
    }
    assert absent == {
        f"client.{name}"
        for name in (
            "takes_events",
            "comes_back",
            "repeats_with_the_same_key",
            "continues_an_upload",
            "asks_for_history",
            "leaves_its_place",
            "stays_out",
        )
    }
    assert report.points_got == report.points_possible


def test_other_seeds_ask_for_other_names_and_texts_and_the_same_seed_for_the_same() -> None:
    def typed(seed: int) -> list[str]:
        report = client_runner.run(
            options(
                [REFERENCE], seed=seed, case=["client.confirms_counts_that_agree"], transcripts=True
            )
        )
        return [
            line.note for line in report.outcomes[0].transcript if line.note.startswith("typed")
        ]

    assert typed(1) == typed(1)
    assert typed(1) != typed(2)


# --- Clients that don't ---------------------------------------------------------------------------


def cases_about(rules: set[str]) -> list[str]:
    return [
        "client.logs_in",
        *(
            each.id
            for each in load()
            if rules & set(each.rules[:1]) and each.id != "client.logs_in"
        ),
    ]


@pytest.mark.parametrize(
    "fault", ["always confirms", "acknowledges everything", "loses the last chunk", "little-endian"]
)
def test_a_planted_fault_is_found(fault: str) -> None:
    broken, report = found(fault, 5.0, cases_about(FAULTS[fault]))
    assert broken == FAULTS[fault], explained(report)
    assert failed(report)
    assert report.exit_status == 1


@pytest.fixture(scope="module")
def graded() -> Iterator[dict[str, Future[tuple[set[str], Report]]]]:
    """By fault: the report. Several clients at a time, since most of the time goes by with waiting
    for what does not come."""
    with ThreadPoolExecutor(4) as pool:
        yield {fault: pool.submit(found, fault, 4.0, []) for fault in FAULTS}


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_exactly_its_rules(
    fault: str, graded: dict[str, Future[tuple[set[str], Report]]]
) -> None:
    broken, report = graded[fault].result(600)
    if fault in SPREADING:
        assert FAULTS[fault] <= broken, explained(report)
    else:
        assert broken == FAULTS[fault], explained(report)
    assert failed(report) and failed(report) <= broken
    assert not report.count(Verdict.KIT_ERROR)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(600)", "nothing came in time"),
        ("raise SystemExit('I give up')", "nothing came in time"),
        (
            (
                "import os, socket; s = socket.create_connection((os.environ['CHAT_HOST'], "
                "int(os.environ['CHAT_PORT'])))"
            ),
            "closed the connection",
        ),
    ],
)
def test_a_client_that_hangs_or_ends_is_a_complete_report_in_time(program: str, said: str) -> None:
    report = client_runner.run(options([[sys.executable, "-c", program]], timeout=0.7))
    assert len(report.outcomes) == len(load())
    assert [outcome.verdict for outcome in report.outcomes] == [Verdict.FAIL] + [
        Verdict.NOT_REACHED
    ] * (len(load()) - 1)
    assert said in report.outcomes[0].actual
    assert report.exit_status == 1 and report.points_got == 0 and report.notes


def test_a_command_that_can_not_be_started_says_so() -> None:
    with pytest.raises(ValueError, match="no-such-client' can't be found"):
        client_runner.run(options([["./no-such-client", "{host}"]]))


def test_the_end_of_the_run_ends_every_wait() -> None:
    report = client_runner.run(options([[*REFERENCE, "ignores messages"]], limit=0.001))
    assert len(report.outcomes) == len(load()) and report.seconds < 30


# --- The command line and the driver --------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": []},
        {"commands": [[]]},
        {"commands": [["a"], ["b"]]},
        {"case": ["client.nothing"]},
        {"rules": ["X-NOTHING-*"]},
        {"driver": "no-such.ini"},
    ],
)
def test_misuse_of_the_client_mode_is_a_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        client_runner.run(options(**{"commands": [REFERENCE], **changes}))


def test_levels_and_rules_choose_cases() -> None:
    assert {each.level for each in chosen(load(), "seed")} == {"seed"}
    assert len(chosen(load(), "robust")) == len(load())
    assert all(
        any(rule.startswith("R-FILE-") for rule in each.rules)
        for each in chosen(load(), "robust", ["R-FILE-*"])
    )


def test_a_driver_file_says_what_is_typed(tmp_path: Path) -> None:
    path = tmp_path / "driver.ini"
    path.write_text(
        "[driver]\nlogin =\n    connect\n    {user} # the name\n    # a comment\nsay = say {text}\n"
        "quit = bye\ndownloads = here\n",
        "utf-8",
    )
    driver = read_driver(str(path))
    assert driver == Driver(
        ("connect", "{user} # the name"), "say {text}", quit="bye", downloads=("here",)
    )
    assert driver.login_lines(["x", "{password}"]) == ("connect", "{user} # the name")
    path.write_text("[driver]\nlogin =\n", "utf-8")
    assert read_driver(str(path)).login_lines(["x"]) == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_driver_file_may_come_from_any_editor(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "driver.ini").write_bytes("[driver]\r\nsay = /sag #{text} für\r\n".encode(encoding))
    assert read_driver("~/driver.ini").say == "/sag #{text} für"


@pytest.mark.parametrize("data", [b"[driver]\nsay = \x81\n", b"\xff\xfe[", b"\0\xff"])
def test_a_driver_file_that_is_no_text_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "driver.ini").write_bytes(data)
    with pytest.raises(BadDriver, match=r"driver\.ini can't be read: line \d is no text in UTF-8"):
        read_driver(str(tmp_path / "driver.ini"))


@pytest.mark.parametrize(
    "text",
    ["no section", "[driver]\nsing = la\n", "[other]\nsay = x\n", "[driver]\nsay = 1\nsay = 2\n"],
)
def test_a_bad_driver_file_is_named_with_what_is_wrong(text: str, tmp_path: Path) -> None:
    path = tmp_path / "driver.ini"
    path.write_text(text, "utf-8")
    with pytest.raises(BadDriver, match=r"driver\.ini"):
        read_driver(str(path))


def test_what_the_command_says_already_is_not_typed() -> None:
    assert Driver().login_lines(["x"]) == ("{user}", "{password}")
    assert Driver().login_lines(["x", "-u", "{user}"]) == ("{password}",)
    assert Driver().login_lines(["x", "{user}:{password}"]) == ()


def test_a_command_in_one_word_is_taken_apart_and_braces_that_mean_nothing_stay() -> None:
    assert split_command(["python client.py {host}"]) == ["python", "client.py", "{host}"]
    assert split_command(["python", "my client.py"]) == ["python", "my client.py"]
    assert fill("{host}:{port} {other} {}", {"host": "h", "port": "1"}) == "h:1 {other} {}"


def test_wrong_counts_are_wrong_each_in_its_way() -> None:
    kinds = [counts for _, counts in wrong_counts("A b aa")]
    assert all(counts != letters("A b aa") for counts in kinds)
    assert len({tuple(sorted(counts.items())) for counts in kinds}) == len(kinds)


# --- Theirs and ours ------------------------------------------------------------------------------


@pytest.mark.long
def test_the_matrix_lets_each_server_talk_with_each_client() -> None:
    report = matrix_runner.run(options([OUR_SERVER, REFERENCE]))
    assert report.exit_status == 0, explained(report)
    found = {outcome.case_id.partition("/")[0] for outcome in report.outcomes}
    assert found == {
        f"{server}-server+{client}-client"
        for server in ("their", "our")
        for client in ("their", "our")
    }
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.PASS}


@pytest.mark.long
def test_a_client_that_forgets_the_ack_fails_with_both_servers_and_ours_with_none() -> None:
    report = matrix_runner.run(
        options([OUR_SERVER, [*REFERENCE, "forgets the ack"]], timeout=patience(2.0))
    )
    bad = {outcome.case_id for outcome in report.outcomes if outcome.verdict is not Verdict.PASS}
    assert {case for case in bad if case.endswith("/receipt")} == {
        f"{server}-server+their-client/receipt" for server in ("their", "our")
    }
    assert not any("our-client" in case for case in bad), explained(report)
    assert any("Their client misreads" in note for note in report.notes)


def test_a_server_that_does_not_start_leaves_the_other_pairs_alone() -> None:
    ends = [sys.executable, "-c", "raise SystemExit(5)", "{data}"]
    report = matrix_runner.run(options([ends, REFERENCE]))
    by_pair = {outcome.case_id: outcome.verdict for outcome in report.outcomes}
    assert by_pair["their-server+our-client/start"] is Verdict.FAIL
    assert by_pair["their-server+our-client/login"] is Verdict.NOT_REACHED
    assert by_pair["our-server+their-client/download"] is Verdict.PASS
    assert "exit status 5" in explained(report) and "{data}" not in explained(report)
    assert any("Their server misreads" in note for note in report.notes)
    rows = reports.render(report, "text").splitlines()
    assert "their server        fails at start      fails at start" in rows
    assert "our server          all holds           all holds" in rows
    assert {outcome.again for outcome in report.outcomes} == {
        command_words.join(
            [
                "python",
                "-m",
                "conformance",
                "matrix",
                "--seed",
                "7",
                "--",
                sys.executable,
                "-c",
                "raise SystemExit(5)",
                "{data}",
                "--",
                *REFERENCE,
            ]
        )
    }


def test_the_matrix_ends_when_its_time_is_over_and_reports_everything() -> None:
    report = matrix_runner.run(options([OUR_SERVER, REFERENCE], limit=0.001))
    assert len(report.outcomes) == 28
    assert {outcome.verdict for outcome in report.outcomes[7:]} == {Verdict.NOT_REACHED}
    assert "the time for the whole run is over" in explained(report)


def test_an_error_that_answers_something_else_is_no_answer_to_an_upload() -> None:
    starter = [
        sys.executable,
        str(ROOT / "examples" / "starter" / "python" / "server.py"),
        "{port}",
    ]
    accounts = ["anna:pw-anna", "ben:pw-ben"]
    for seconds in (2.0, 15.0):  # the second where a busy machine took longer than the first
        report = matrix_runner.run(
            options([starter, REFERENCE], account=accounts, timeout=patience(seconds))
        )
        actual = next(
            outcome.actual
            for outcome in report.outcomes
            if outcome.case_id == "their-server+our-client/upload"
        )
        if "nothing came in time" not in actual:
            break
    assert '"original_action": "file_send_init"' in actual


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("their-their", "read differently what ours forgive"),
        ("their-their their-our", "Their server misreads"),
        ("their-their our-their", "Their client misreads"),
        ("their-their their-our our-their", "Both misread"),
        ("our-our", "what surrounds"),
        ("", ""),
    ],
)
def test_it_is_said_which_side_misreads(bad: str, said: str) -> None:
    outcomes = [
        Outcome(
            f"{server}-server+{client}-client/{step}",
            ("R-MSG-4",),
            "full",
            Verdict.FAIL
            if step == "login" and f"{server}-{client}" in bad.split()
            else Verdict.PASS,
            "a step",
        )
        for server in pairs.WHOSE
        for client in pairs.WHOSE
        for step in ("start", "login")
    ]
    told = pairs.which_side(outcomes)
    assert said in told and bool(told) == bool(said)
    assert sum("fails at login" in row for row in pairs.table(outcomes)) == len(
        {each.split("-")[0] for each in bad.split()}
    )
    assert not pairs.which_side(outcomes[:2]) and not pairs.first_failures([])


@pytest.mark.parametrize("commands", [[], [["a"]], [["a"], []], [["a"], ["b"], ["c"]]])
def test_the_matrix_needs_two_commands(commands: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        matrix_runner.run(options(commands))


# --- make grade -----------------------------------------------------------------------------------


def test_grading_somebody_s_server_hands_everything_to_the_kit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(grade.kit, "main", lambda words: calls.append(words) or 1)
    assert grade.main(["127.0.0.1:9876", "--level", "seed"]) == 1
    assert calls == [["server", "127.0.0.1:9876", "--level", "seed"]]


def test_grading_ours_asks_for_everything_of_both_and_ends_with_the_worse_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(grade.kit, "main", lambda words: calls.append(words) or len(calls) - 1)
    monkeypatch.setenv("XDG_CONFIG_HOME", "elsewhere")
    assert grade.main(["--seed", "3", "--report", "html", "-o", "out/report.html"]) == 1
    server, client = calls
    assert (
        server[:4] == ["server", "127.0.0.1:0", "--level", "robust"]
        and "--start-cmd" in server
        and "out/report.html" in server
    )
    assert client[:3] == ["client", "--level", "robust"] and client[client.index("-o") + 1] == str(
        Path("out/client-report.html")
    )
    assert client[client.index("--") + 2].endswith("chat_client.py")


def test_grading_a_word_that_is_no_address_is_misuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grade.kit, "main", lambda words: pytest.fail("nothing is graded"))
    assert grade.main(["foo"]) == 2
    assert "'foo' is no address; expected HOST:PORT" in capsys.readouterr().err


class ResetFirst:
    """A listener as on Windows: `accept` fails where the first in line has reset its connection."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.failed = threading.Event()

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.failed.is_set():
            self.failed.set()
            raise ConnectionResetError(10054, "the peer has reset the connection")
        return self._listener.accept()

    def close(self) -> None:
        self._listener.close()


def test_the_scripted_server_goes_on_after_a_client_that_was_reset() -> None:
    with ScriptedServer(Transcript()) as server:
        listener = ResetFirst(server._sock)
        server._sock = listener  # type: ignore[assignment]
        assert listener.failed.wait(patience(10.0))
        with socket.create_connection((server.host, server.port), timeout=patience(10.0)):
            arrival = server.next(10.0)
    assert arrival is not None and arrival.kind == "connected"


def test_the_relay_of_the_matrix_goes_on_after_a_client_that_was_reset() -> None:
    with ScriptedServer(Transcript()) as server:
        relay = Relay("ada", server.port, Transcript(), queue.Queue())
        try:
            listener = ResetFirst(relay._listener)
            relay._listener = listener  # type: ignore[assignment]
            assert listener.failed.wait(patience(10.0))
            with socket.create_connection(("127.0.0.1", relay.port), timeout=patience(10.0)):
                arrival = server.next(10.0)
        finally:
            relay.close()
    assert arrival is not None and arrival.kind == "connected"
