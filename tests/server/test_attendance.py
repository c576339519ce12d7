"""`attendance`: who was on, how long, with how many messages and files."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder
from support.files import Upload
from support.in_process import Clock, Serve, member
from support.patience import until

from server.archive.attendance import collect
from server.command_line import keeping
from server.running.housekeeping import KEYS_EVERY_SECONDS
from server.running.watch import Watch
from storage import attendance

BEGIN = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def table(folder: Folder, *options: str) -> dict[str, dict[str, str]]:
    target = folder.path.parent / f"a{time.monotonic_ns()}.csv"
    folder.done("attendance", *options, "-o", str(target))
    text = target.read_bytes().decode()
    assert text.startswith("\ufeff")
    rows = csv.DictReader(io.StringIO(text[1:], newline=""))
    return {row["chatid"]: row for row in rows}


def note(folder: Folder, *spans: tuple[int, int, int]) -> None:
    database = folder.database()
    with database.transaction() as connection:
        for span in spans:
            attendance.note(connection, *span)
    database.close()


def seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def test_a_table_has_a_row_for_each_account(folder: Folder) -> None:
    folder.make()
    ada, bob = folder.account("ada"), folder.account("Bob")
    folder.account("never")
    note(folder, (ada, BEGIN, BEGIN + 600), (ada, BEGIN + 5000, BEGIN + 5090), (bob, BEGIN, BEGIN))
    note(folder, (ada, BEGIN, BEGIN + 60))  # shorter than what is known of that session
    folder.say("ada", "one", "two", sent_at=BEGIN + 10)
    folder.send_file("Bob", "x.txt", b"x", sent_at=BEGIN - 100)
    found = table(folder)
    assert list(found) == ["ada", "Bob", "never"]
    row = found["ada"]
    assert seconds(row.pop("first_seen")) == BEGIN
    assert seconds(row.pop("last_seen")) == BEGIN + 5090
    assert row == {
        **{"chatid": "ada", "role": "student", "sessions": "2", "minutes": "12"},
        **{"messages": "2", "files": "0"},
    }
    assert seconds(found["Bob"]["first_seen"]) == BEGIN - 100
    assert found["Bob"]["files"] == "1" and found["Bob"]["minutes"] == "0"
    assert found["never"]["first_seen"] == "" and found["never"]["sessions"] == "0"


def test_a_period_cuts_sessions_at_its_ends(folder: Folder) -> None:
    folder.make()
    ada = folder.account("ada")
    note(folder, (ada, BEGIN, BEGIN + 3600), (ada, BEGIN + 90_000, BEGIN + 90_600))
    folder.say("ada", "early", "late", sent_at=BEGIN + 59)
    period = ("--since", "2023-11-14T22:14:20Z", "--until", "2023-11-14T22:23:20Z")
    row = table(folder, *period)["ada"]
    assert (row["sessions"], row["minutes"], row["messages"]) == ("1", "9", "1")


def test_who_comes_back_within_a_minute_goes_on_with_the_session(folder: Folder) -> None:
    folder.make()
    ada = folder.account("ada")
    note(folder, *[(ada, BEGIN + 2 * step, BEGIN + 2 * step + 1) for step in range(300)])
    note(folder, (ada, BEGIN + 599 + 61, BEGIN + 700))
    database = folder.database()
    with database.reading() as reader:
        assert list(attendance.sessions(reader)) == [
            (ada, BEGIN, BEGIN + 599),
            (ada, BEGIN + 660, BEGIN + 700),
        ]
        # one that runs goes on with the last one, and is not counted beside it
        [found] = collect(reader, BEGIN, BEGIN + 1000, [("ada", BEGIN + 750, BEGIN + 800)])
    database.close()
    assert (found.sessions, found.seconds) == (2, 599 + 140)


def test_deleted_accounts_stand_there_if_they_did_something_and_forgotten_ones_never(
    folder: Folder,
) -> None:
    folder.make()
    for name in ("silent", "spoke", "gone"):
        folder.account(name)
    folder.say("spoke", "one")
    folder.say("gone", "one")
    note(folder, (folder.account("gone"), BEGIN, BEGIN + 60))
    folder.done("deluser", "silent")
    folder.done("deluser", "spoke")
    folder.done("forget", "gone", "--keep-messages")
    assert list(table(folder)) == ["spoke"]


def test_sessions_are_stored_when_they_end_and_known_while_they_last(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Clock(BEGIN)
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)
    service = serve(wall=wall)
    ada, bob = member(service, "ada"), member(service, "bob")
    ada.say("lobby", "one")
    Upload(ada, "lobby", "file", b"data").run()
    wall.now += 600
    assert ada.ask("logout")["action"] == "logout_ack"
    bob.close()
    until(lambda: not service.registry.sessions(), "bob stays")
    cara = member(service, "cara")
    assert cara is not None
    with service.database.reading() as reader:
        assert sorted(attendance.sessions(reader)) == [
            (1, BEGIN, BEGIN + 600),
            (2, BEGIN, BEGIN + 600),
        ]
    found = table(folder)
    assert found["ada"]["minutes"] == "10" and found["ada"]["files"] == "1"
    assert found["cara"]["sessions"] == "1"


def test_a_long_session_is_stored_now_and_then(serve: Serve) -> None:
    clock, wall = Clock(1000.0), Clock(BEGIN)
    service = serve(clock=clock, wall=wall)
    ada = member(service, "ada")
    clock.now += KEYS_EVERY_SECONDS
    wall.now += 600
    ada.say("lobby", "one")  # the writer's next transaction
    with service.database.reading() as reader:
        assert list(attendance.sessions(reader)) == [(1, BEGIN, BEGIN + 600)]


def test_a_server_that_does_not_answer_leaves_out_who_is_on(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    member(service, "ada")
    monkeypatch.setattr(keeping.questions, "ask", lambda *given: None)
    assert table(folder)["ada"]["sessions"] == "0"


def test_a_table_that_another_command_has_written_meanwhile_stays(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder.make().path.parent / "a.csv"
    monkeypatch.setattr(keeping, "_running_sessions", lambda _: target.write_text("x") and [])
    assert "File exists" in folder.refused("attendance", "-o", str(target))
    assert target.read_text() == "x"


def test_a_table_is_written_over_nothing_and_into_no_data(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    (folder.path.parent / "mine.csv").write_text("x")
    assert "is there already" in folder.refused(
        "attendance", "-o", str(folder.path.parent / "mine.csv")
    )
    assert "in the data folder" in folder.refused("attendance", "-o", str(folder.path / "a.csv"))

    def fail(*given: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.attendance, "write_table", fail)
    line = folder.refused("attendance", "-o", str(folder.path.parent / "a.csv"))
    assert "cannot write" in line and not (folder.path.parent / "a.csv").exists()
