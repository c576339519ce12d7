"""The board's rows, file and command line, and who tells it: nothing that goes wrong there is felt
by the grading."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience, until

from conformance.__main__ import main
from conformance.board import command, rows, telling, told
from conformance.board.keeping import FILE, Keeping
from conformance.board.rows import MAX_ROWS, BadTelling, Rows
from conformance.board.telling import Board, Teller, board_address
from conformance.rules import RULES
from conformance.stages.plan import STAGES, by_stage
from conformance.verdicts import Outcome, Report, Verdict
from webpage import listening, requests


def key(number: int) -> str:
    return f"{number:064x}"


def result(stage: int | None, failing: str = "", **more: Any) -> dict[str, Any]:
    """The result of a whole run."""
    points = {"got": 41.0, "possible": 82.0, "level": "seed"}
    return {"whole": True, "stage": stage, "failing": failing, "fails": 1, **points, **more}


def part(failing: str = "", **more: Any) -> dict[str, Any]:
    """The result of a run of some cases."""
    return {"failing": failing, "fails": int(bool(failing)), **more}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_rows(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Rows]]:
    """Makes the rows of one folder; the ones before are closed, as by a restart."""
    made: list[Rows] = []

    def make() -> Rows:
        for each in made:
            each.close()
        made.append(Rows(Keeping(tmp_path / "board"), clock=clock))
        return made[-1]

    yield make
    made[-1].close()


@pytest.fixture
def board(make_rows: Callable[[], Rows]) -> Rows:
    return make_rows()


def tell(board: Rows, number: int = 1, name: str = "ada", **more: Any) -> dict[str, Any]:
    return board.tell({"key": key(number), "name": name, "kind": "server", **more})


def only_row(board: Rows) -> dict[str, Any]:
    (row,) = board.snapshot()["rows"]
    assert isinstance(row, dict)
    return row


# --- Rows -----------------------------------------------------------------------------------------


def test_a_row_says_stage_points_and_since_when_the_same_fails(board: Rows, clock: Clock) -> None:
    assert tell(board, result=result(3, "R-MSG-1")) == {"number": 1, "shown": "ada"}
    clock.now += 700
    tell(board, running=True, cases=5)
    row = only_row(board)
    assert (row["stage"], row["percent"], row["level"]) == (3, 50.0, "seed")
    assert (row["failing"], row["since"], row["told"]) == ("R-MSG-1", 700, 0)
    assert (row["running"], row["cases"]) == (True, 5)
    tell(board, result=result(2, "R-MSG-1"))
    assert (only_row(board)["since"], only_row(board)["running"]) == (700, False)
    tell(board, result=result(2, "R-MSG-2"))
    assert only_row(board)["since"] == 0
    assert board.snapshot()["rules"] == {"R-MSG-2": RULES["R-MSG-2"].sentence}


def test_a_run_of_some_cases_changes_only_what_it_looked_at(board: Rows) -> None:
    tell(board, result=result(5, "R-MSG-1"))
    tell(board, result=part(stage=2, holds=["R-FRAME-1"]))
    assert (only_row(board)["stage"], only_row(board)["failing"]) == (5, "R-MSG-1")
    tell(board, result=part(holds=["R-MSG-1"]))
    assert (only_row(board)["stage"], only_row(board)["failing"]) == (5, "")
    tell(board, result=part("R-FILE-1"))
    assert (only_row(board)["stage"], only_row(board)["failing"]) == (5, "R-FILE-1")
    tell(board, result=part("R-FRAME-2", stage=1))
    assert (only_row(board)["stage"], only_row(board)["percent"]) == (1, 50.0)
    tell(board, result=part(stage=12, holds=["R-FRAME-2"]))
    assert (only_row(board)["stage"], only_row(board)["failing"]) == (12, "")


def test_nobody_changes_a_row_without_its_key(board: Rows) -> None:
    tell(board, 1, "ada", result=result(12))
    assert tell(board, 2, "Ada", result=result(0))["shown"] == "Ada (2)"
    assert [row["stage"] for row in board.snapshot()["rows"]] == [12, 0]
    for bad in (None, "", 7, "x" * 64, key(1) + "0", key(1).upper().replace("0", "A")):
        with pytest.raises(BadTelling):
            board.tell({"key": bad, "name": "ada", "kind": "server"})
    assert not any(key(1)[-9:] in json.dumps(each) for each in (board.snapshot(), tell(board)))


def test_who_gives_a_name_later_keeps_the_row(board: Rows) -> None:
    assert tell(board, 1, "")["shown"] == "student 1"
    assert tell(board, 2, "ada", was=key(1)) == {"number": 1, "shown": "ada"}
    assert tell(board, 2, "ada", was=key(1))["number"] == 1
    assert tell(board, 1, "", was=key(1))["number"] == 2


def test_names_are_hidden_on_the_page_and_stand_in_the_table(
    board: Rows, make_rows: Callable[[], Rows]
) -> None:
    tell(board, 1, "=ada", result=result(3, "R-MSG-1"))
    tell(board, 2, "", kind="client", running=True)
    board.show_names({"show": False})
    board = make_rows()
    assert [row["name"] for row in board.snapshot()["rows"]] == ["student 1", "student 2"]
    assert board.table({})["csv"].splitlines() == [
        "number,name,kind,stage,percent,level,fails now,since,told",
        "1,'=ada,server,3,50.0,seed,R-MSG-1,1970-01-01T00:16:40Z,1970-01-01T00:16:40Z",
        "2,,client,,,,,1970-01-01T00:16:40Z,1970-01-01T00:16:40Z",
    ]
    board.show_names({"show": True})
    assert board.snapshot()["rows"][0]["name"] == "=ada"
    with pytest.raises(BadTelling, match="true or false"):
        board.show_names({"show": 1})


def test_a_restart_loses_nothing(board: Rows, make_rows: Callable[[], Rows], clock: Clock) -> None:
    tell(board, 1, "ada", result=result(3, "R-MSG-1"))
    tell(board, 2, "bob", result=result(4))
    board.remove({"number": 2})
    before = board.snapshot()
    board = make_rows()
    assert board.snapshot() == before
    clock.now += 60
    tell(board, 1, "ada", result=result(3, "R-MSG-1"))
    assert only_row(board)["since"] == 60
    with pytest.raises(BadTelling, match="gone"):
        board.remove({"number": 2})


def test_hostile_names_stay_one_bounded_line(board: Rows) -> None:
    for number, name in enumerate(
        ("<img src=x>", "\u202egnp.exe\n\x1b[2J", "\ud800", "x" * 10_000, "__proto__"), 1
    ):
        shown = tell(board, number, name)["shown"]
        assert shown.isprintable() and len(shown) <= rows.MAX_NAME
    assert board.snapshot()["rows"][0]["name"] == "<img src=x>"


@pytest.mark.parametrize(
    "more",
    [
        {"name": 7},
        {"kind": "teacher"},
        {"cases": -1},
        {"cases": True},
        {"cases": 10**9},
        {"result": []},
        {"result": result(13)},
        {"result": result(3, "<b>")},
        {"result": result(3, ["R-MSG-1"])},  # type: ignore[arg-type]
        {"result": result(3, level="easy")},
        {"result": result(3, got=float("nan"))},
        {"result": result(3, possible=None)},
        {"result": result(3, got=True)},
        {"result": part(holds="R-MSG-1")},
        {"result": part(holds=["x"] * 1001)},
        {"was": 7},
    ],
)
def test_what_has_another_form_is_refused_and_changes_nothing(
    board: Rows, more: dict[str, Any]
) -> None:
    with pytest.raises(BadTelling):
        tell(board, **{"name": "ada", **more})
    assert board.snapshot()["rows"] == []


def test_a_board_has_a_bounded_number_of_rows(board: Rows) -> None:
    for number in range(MAX_ROWS):
        tell(board, number)
    with pytest.raises(BadTelling, match="full"):
        tell(board, MAX_ROWS)
    tell(board, 0, result=result(1))
    board.remove({"number": 1})
    assert tell(board, MAX_ROWS)["number"] == MAX_ROWS + 1


def test_a_file_that_can_not_be_written_is_said_and_nothing_stops(board: Rows) -> None:
    board.close()
    tell(board, result=result(3))
    assert "can't be written" in board.snapshot()["trouble"]
    assert only_row(board)["stage"] == 3


def test_a_run_that_says_nothing_more_is_not_shown_as_running(
    board: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(board, running=True, cases=3)
    monkeypatch.setattr(rows, "RUNNING_SECONDS", 0.0)
    assert (only_row(board)["running"], only_row(board)["cases"]) == (False, 0)


# --- What is told ---------------------------------------------------------------------------------


def outcome(case: str, verdict: Verdict, rule: str = "R-MSG-1") -> Outcome:
    failed = rule if verdict is Verdict.FAIL else ""
    return Outcome(
        case, (rule,), "seed", verdict, "a title", failed, actual="SECRET of the program"
    )


def report(*outcomes: Outcome, mode: str = "server") -> Report:
    return Report("localhost:1", mode, "seed", 1, "2024-01-01T12:00:00Z", 1.0, outcomes)


def test_what_is_told_is_stage_points_and_the_rule_to_mend_first() -> None:
    first = outcome("contact.answers_with_a_frame", Verdict.PASS, "R-FRAME-1")
    late = outcome("files.there_and_back", Verdict.FAIL, "R-FILE-1")
    early = outcome("sessions.login", Verdict.FAIL, "R-SESS-1")
    whole = told.of_report(report(first, late, early), is_whole=True)
    assert (whole["stage"], whole["failing"], whole["fails"]) == (1, "R-SESS-1", 2)
    assert whole["holds"] == ["R-FRAME-1"] and whole["possible"] > whole["got"] > 0
    assert "SECRET" not in json.dumps(whole)
    some = told.of_report(report(late), is_whole=False)
    assert (some["failing"], "stage" in some) == ("R-FILE-1", False)
    client = told.of_report(report(late, mode="client"), is_whole=True)
    assert (client["stage"], client["failing"]) == (None, "R-FILE-1")
    assert told.of_report(report(first), is_whole=False)["failing"] == ""


def test_all_stages_hold_where_a_case_of_each_passed() -> None:
    ids = [stage.cases[0].rstrip("*") for stage in STAGES]
    assert [len(own) for own in by_stage(ids)] == [1] * len(STAGES)
    passed = [outcome(each, Verdict.PASS) for each in ids]
    assert told.stages_held(passed) == (len(STAGES), [])
    assert told.stages_held(passed[:-1]) == (len(STAGES) - 1, [])
    not_looked_at = outcome(ids[-1], Verdict.NOT_OFFERED)
    assert told.stages_held([*passed[:-1], not_looked_at]) == (len(STAGES) - 1, ids[-1:])


# --- Who tells ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key of this account is kept; and quick waits."""
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    monkeypatch.setattr(telling, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(requests, "WRONG_CODE_SECONDS", 0.0)
    return tmp_path / "config"


def start(folder: Path, port: int = 0, **more: Any) -> command.Board:
    keeping = Keeping(folder)
    options = {"listen": ("127.0.0.1", port), "title": "Board", "new_code": False, **more}
    try:
        return command.Board(argparse.Namespace(data=folder, **options), keeping)
    except BaseException:
        keeping.close()
        raise


def stop(board: command.Board) -> None:
    board.page.close()
    board.rows.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[command.Board]:
    board = start(tmp_path / "running")
    yield board
    stop(board)


def address_of(board: command.Board) -> Board:
    return Board("127.0.0.1", board.page.port, board.page.code)


PASSED = outcome("contact.answers_with_a_frame", Verdict.PASS)


def test_a_run_is_told_while_it_goes_on_and_at_its_end(running: command.Board) -> None:
    said = io.StringIO()
    with Teller(address_of(running), "server", "ada", said) as teller:
        counted = teller.counting(lambda outcome: None)
        counted(PASSED)
        until(lambda: running.rows.snapshot()["rows"], "the run was never told")
        assert only_row(running.rows)["running"]
        counted(PASSED)
        teller.result(part("R-MSG-1", stage=2))
    row = only_row(running.rows)
    assert (row["name"], row["stage"], row["running"]) == ("ada", 2, False)
    address = f"127.0.0.1:{running.page.port}"
    assert said.getvalue() == f"conformance: the board at {address} shows this as 'ada'\n"


def test_a_run_goes_on_to_be_told_and_one_that_breaks_off_ends(
    running: command.Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "STILL_SECONDS", 0.02)
    with Teller(address_of(running), "server", "ada", io.StringIO()) as teller:
        for _ in range(4):
            teller.case(PASSED)
        told_rows = lambda: running.rows.snapshot()["rows"]  # noqa: E731
        until(lambda: told_rows() and told_rows()[0]["cases"] == 4, "it is told once only")
    assert not only_row(running.rows)["running"]


def test_several_results_have_rows_of_their_own(running: command.Board) -> None:
    said = io.StringIO()
    with Teller(address_of(running), "server", stream=said) as teller:
        for name in ("ada", "bob", "ada"):
            teller.result(part(stage=len(name)), name)
    assert [row["name"] for row in running.rows.snapshot()["rows"]] == ["ada", "bob"]
    assert said.getvalue().endswith("shows 2 rows of this\n")


def test_the_same_account_has_the_same_row_and_another_one_another(
    running: command.Board, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, stage in (("", 1), ("ada", 2)):
        with Teller(address_of(running), "server", name, io.StringIO()) as teller:
            teller.result(part(stage=stage))
    kept = home / "classroom-chat" / "board-key"
    assert (only_row(running.rows)["name"], only_row(running.rows)["stage"]) == ("ada", 2)
    assert os.name != "posix" or kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("short")
    with Teller(address_of(running), "server", "ada", io.StringIO()) as teller:
        teller.result(part(stage=9))
    assert [row["stage"] for row in running.rows.snapshot()["rows"]] == [2, 9]


def test_a_key_that_can_not_be_kept_is_said(running: command.Board, home: Path) -> None:
    home.write_text("a file in the place of the folder")
    said = io.StringIO()
    with Teller(address_of(running), "server", "ada", said) as teller:
        teller.result(part(stage=1))
    assert "each run gets a row of its own" in said.getvalue()
    assert only_row(running.rows)["stage"] == 1


def test_a_board_that_comes_back_is_told(tmp_path: Path) -> None:
    board = start(tmp_path / "data")
    address = address_of(board)
    stop(board)
    said = io.StringIO()
    with Teller(address, "server", "ada", said) as teller:
        teller.case(PASSED)
        until(lambda: "answer" in teller._problem, "that the board is away is not noticed")
        board = start(tmp_path / "data", address.port)
        assert board.page.code == address.code, "the code stays"
        teller.result(part(stage=4))
        stages = lambda: [row["stage"] for row in board.rows.snapshot()["rows"]]  # noqa: E731
        until(lambda: stages() == [4], "it is not told again")
    stop(board)
    assert "shows this as 'ada'" in said.getvalue()


def told_to(address: Board) -> tuple[str, float]:
    """Tell a result to an address; what was said at the end, and how many seconds that took."""
    said = io.StringIO()
    began = time.monotonic()
    with Teller(address, "server", "ada", said) as teller:
        teller.result(part(stage=1))
    return said.getvalue(), time.monotonic() - began


def test_a_board_that_is_away_delays_nothing_and_is_said_in_a_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        said, seconds = told_to(Board("127.0.0.1", nobody.getsockname()[1], "code"))
    assert said.count("\n") == 1 and "was not told how this ended: it does not answer" in said
    assert seconds < patience(telling.END_SECONDS)


def test_a_board_that_hangs_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "END_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said, seconds = told_to(Board("127.0.0.1", silent.getsockname()[1], "code"))
        assert "it does not answer" in said and seconds < patience(2.0)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html",
    ],
)
def test_another_program_there_is_said(answer: bytes) -> None:
    with answering(answer) as port:
        said, _ = told_to(Board("127.0.0.1", port, "code"))
    assert "another program listens there" in said


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """Answer connections in turn, each with these bytes, and close them; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_all() -> None:
            for answer in answers:
                with server.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=answer_all, name="another program")
        thread.start()
        yield server.getsockname()[1]
        thread.join(patience(10))


def test_a_board_with_too_much_to_do_is_tried_again_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "BUSY_SECONDS", 0.01)
    shown = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"shown":"ada"}'
    with answering(b"", b"", shown) as port:
        said, _ = told_to(Board("127.0.0.1", port, "code"))
    assert said.endswith("shows this as 'ada'\n")


def test_a_word_that_it_goes_on_never_takes_the_place_of_a_result() -> None:
    teller = Teller(Board("127.0.0.1", 9, "code"), "server", "ada", io.StringIO())
    teller._secret = "secret"
    teller.case(PASSED)
    teller.result(part(stage=3))
    key, body = teller._next() or ("", {})
    assert (body["result"]["stage"], body["running"], body["cases"]) == (3, False, 1)
    assert list(teller._pending) == [key]


def test_a_wrong_code_and_a_full_board_are_said(
    running: command.Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, _ = told_to(Board("127.0.0.1", running.page.port, "wrong-code"))
    assert "the code is another one: see what the wall shows" in said
    monkeypatch.setattr(rows, "MAX_ROWS", 0)
    said, _ = told_to(address_of(running))
    assert "The board is full" in said
    assert running.rows.snapshot()["rows"] == []


def test_an_address_is_read_as_the_wall_shows_it() -> None:
    assert board_address("10.0.0.5:8080/AbcDef") == Board("10.0.0.5", 8080, "abcdef")
    assert str(board_address("[::1]:8080/abc")) == "[::1]:8080"
    for text in ("", "10.0.0.5", "10.0.0.5:8080", "10.0.0.5/abc", "a:0/abc", "a:99999/abc", "a:1/"):
        with pytest.raises(argparse.ArgumentTypeError, match="as the board shows it"):
            board_address(text)


def test_the_environment_names_the_board_and_programs_under_test_do_not_get_it(
    running: command.Board, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(mode="client", tell=None, tell_as="")
    monkeypatch.setenv(telling.ADDRESS_VARIABLE, f"127.0.0.1:{running.page.port}/code")
    monkeypatch.setenv(telling.NAME_VARIABLE, "ada")
    teller = telling.of_arguments(args)
    assert teller._board == Board("127.0.0.1", running.page.port, "code")
    assert (teller._kind, teller._name) == ("client", "ada")
    assert not {telling.ADDRESS_VARIABLE, telling.NAME_VARIABLE} & os.environ.keys()
    monkeypatch.setenv(telling.ADDRESS_VARIABLE, "nonsense")
    assert telling.of_arguments(args)._board is None
    assert "no board is told: CHAT_BOARD='nonsense'" in capsys.readouterr().err
    assert telling.of_arguments(argparse.Namespace(mode="matrix")) is telling.NOBODY


def test_where_no_server_is_there_is_no_result(
    running: command.Board, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{running.page.port}/{running.page.code}"
    nobody = "127.0.0.1:9"
    assert main(["server", nobody, "--tell", address, "--tell-as", "ada"]) == 3
    row = only_row(running.rows)
    assert (row["name"], row["stage"], row["running"]) == ("ada", None, False)
    assert "shows this as 'ada'" in capsys.readouterr().err


# --- The command line -----------------------------------------------------------------------------


def test_a_board_runs_until_ctrl_c_and_says_how_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(done: threading.Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "wait", interrupted)
    assert main(["board", "0", "--data", str(tmp_path / "data")]) == 0
    first = capsys.readouterr().out
    assert "Students add to their command:  --tell 127.0.0.1:" in first
    assert "for a class: board 0.0.0.0:" in first
    assert main(["board", "0", "--data", str(tmp_path / "data"), "--new-code"]) == 0
    assert capsys.readouterr().out.split("--tell")[1] != first.split("--tell")[1]


def test_why_a_board_can_not_start_is_said(
    running: command.Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, why in (
        ([str(running.page.port), "--data", str(tmp_path / "b")], "the port is in use; take"),
        (["0", "--data", str(tmp_path / "running")], "another board runs with the folder"),
        (["0", "--data", str(Path(__file__))], "can't be used"),
    ):
        assert main(["board", *words]) == 2
        assert why in capsys.readouterr().err


def test_a_file_that_is_no_board_s_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_bytes(b"no database, but something else" * 40)
    assert main(["board", "0", "--data", str(tmp_path)]) == 2
    assert "is no board's" in capsys.readouterr().err
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert main(["board", "0", "--data", str(tmp_path)]) == 2
    (tmp_path / FILE).rmdir()
    keeping = Keeping(tmp_path)
    keeping.set_row(1, "key", {"of": "a newer board"})
    keeping.close()
    assert main(["board", "0", "--data", str(tmp_path)]) == 2
    assert "of another version" in capsys.readouterr().err
    monkeypatch.setattr(command, "webpage", None)
    assert main(["board", "0", "--data", str(tmp_path)]) == 2
    assert "copy it, too" in capsys.readouterr().err


def test_the_file_holds_no_key_as_it_is(tmp_path: Path) -> None:
    board = Rows(Keeping(tmp_path))
    tell(board, 1)
    board.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        (kept,) = database.execute("SELECT key FROM row").fetchone()
    database.close()
    assert len(kept) == 64 and kept != key(1)
