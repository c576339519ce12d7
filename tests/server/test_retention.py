"""`--retain DAYS`: what is older goes for good, what is younger stays, and nobody waits for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder
from support.in_process import Clock, Serve, member
from support.patience import patience, until
from support.raw_client import error_code

from server.running import retention
from server.running.retention import DAY_SECONDS
from server.state.recent_messages import delivered
from storage.errors import StorageError
from storage.messages import Message

NOW = 1_700_000_000  # 22:13 UTC
OLD, YOUNG = NOW - 31 * DAY_SECONDS, NOW - 29 * DAY_SECONDS
SECRET = "quagga"
FILE = os.urandom(5000)


def frame(content: str, number: int, at: int) -> bytes:
    return delivered("lobby", Message(number, 1, 1, "ada", content, at), {}).frame


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Old and young of everything."""
    made = Folder(tmp_path / "data").make()
    made.say("ada", *[f"{SECRET} {number} {'x' * number}" for number in range(600)], sent_at=OLD)
    made.say("ada", "young one", "young two", sent_at=YOUNG)
    made.say("bob", SECRET, room_id="maths", sent_at=OLD)
    made.send_file("ada", f"{SECRET}.txt", FILE, sent_at=OLD)
    made.send_file("ada", "young.txt", b"young", sent_at=YOUNG)
    made.write_journal(1, "2023-10-14", frame(SECRET, 1, OLD))
    made.write_journal(1, "2023-10-16", frame("young one", 601, YOUNG))
    broken = made.write_journal(2, "2023-10-14", frame(SECRET, 1, OLD))
    broken.rename(broken.with_suffix(".broken"))
    database = made.database()
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO audit(at, act, reason) VALUES (?, 'x', ?)",
            [(OLD, SECRET)] * 25 + [(YOUNG, "young")],
        )
    database.close()
    return made


def found(folder: Folder) -> list[str]:
    return sorted({path.name for path, _ in folder.bytes_anywhere(SECRET.encode(), FILE[:30])})


def test_what_is_too_old_is_erased_at_the_start_and_the_rest_stays(
    serve: Serve, folder: Folder
) -> None:
    assert found(folder)
    service = serve(retain=30, wall=Clock(NOW))
    until(lambda: not found(folder), "something old is left")
    cara = member(service, "cara")
    listed = {room["id"]: room["unread"] for room in cara.ask("get_rooms")["data"]["rooms"]}
    assert listed == {"lobby": 2, "maths": 0}
    said = cara.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [(message["message_id"], message["content"]) for message in said] == [
        (601, "young one"),
        (602, "young two"),
    ]
    assert sorted(path.name for path in (folder.path / "journal").rglob("2023-*")) == [
        "2023-10-16.frames",
    ]
    assert cara.say("lobby", "new")["data"]["message_id"] == 604
    with service.database.reading() as reader:
        assert reader.execute("SELECT reason FROM audit").fetchall() == [("young",)]
        assert reader.execute("SELECT stored_as FROM files").fetchall() == [("young.txt",)]
        share = reader.execute("SELECT bytes FROM shares WHERE account_id = 1").fetchone()[0]
    assert share == 2 * (256 + 9) + 1024, "what is erased fills nobody's share"
    assert service.stop() == []
    assert serve(retain=30, wall=Clock(NOW)).notices == [], "nothing looks lost"


def test_without_the_option_everything_stays(serve: Serve, folder: Folder) -> None:
    service = serve(wall=Clock(NOW))
    service.stop()
    assert len(found(folder)) > 2


def test_each_night_has_one_round(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Clock(NOW)
    service = serve(wall=wall)
    rounds: list[int] = []
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0.0)
    looked = retention.Retention(service.context, service._housekeeping, service._journal)
    monkeypatch.setattr(looked, "make_round", rounds.append)
    for _ in range(24 * 4):  # two days, in half hours
        looked._turn()
        wall.now += 1800
    assert len(rounds) == 3 and rounds[0] == NOW
    hours = [int((at - rounds[1]) / 3600) for at in rounds[1:]]
    assert hours == [0, 24]


def test_a_step_ends_when_its_time_is_over(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)
    service = serve(wall=Clock(NOW))
    changes: list[int] = []
    real = service.writer.run

    def run(change: Any, *given: Any, **named: Any) -> Any:
        changes.append(1)
        return real(change, *given, **named)

    monkeypatch.setattr(service.writer, "run", run)
    looked = retention.Retention(service.context, service._housekeeping, service._journal)
    object.__setattr__(service.context.settings, "retain", 30)
    looked.make_round(NOW)
    assert len(changes) > 600 / 10


def test_the_next_step_is_shorter_where_the_writer_was_held_for_long(serve: Serve) -> None:
    service = serve(wall=Clock(NOW))
    looked = retention.Retention(service.context, service._housekeeping, service._journal)
    assert service.writer.longest_turn_cpu_seconds < retention.HELD_SECONDS
    rows = []
    service.writer.stop(patience(5))  # from here on nobody but this test says how long it took
    for seconds in (0.01, 0.01, 0.03, 0.03, 0.03, 0.01):
        service.writer.last_commit_seconds = seconds
        looked._adapt()
        rows.append(looked._rows)
    assert rows == [20, 30, 15, 10, 10, 20]


def test_a_round_that_fails_is_logged_and_a_round_while_stopping_is_not(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = serve(wall=Clock(NOW))
    object.__setattr__(service.context.settings, "retain", 30)
    looked = retention.Retention(service.context, service._housekeeping, service._journal)

    def fail(*given: Any, **named: Any) -> None:
        raise StorageError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(service.writer, "run", fail)
        looked.make_round(NOW)
        assert caplog.text.count("could not be removed: the disk is away") == 1
        looked.stop(0)
        looked.make_round(NOW)
    assert caplog.text.count("could not be removed") == 1
    looked.make_round(NOW)  # stopped: it does nothing more
    assert found(folder)


def test_a_download_that_begins_while_a_file_is_erased_is_file_not_found(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(wall=Clock(NOW))
    cara, answers = member(service, "cara"), []
    remove = service.context.files.remove

    def remove_and_ask(disk_name: str) -> None:
        remove(disk_name)  # its row is still there
        answers.append(cara.ask("file_down_req", room_id="lobby", file_path=f"{SECRET}.txt"))

    monkeypatch.setattr(service.context.files, "remove", remove_and_ask)
    looked = retention.Retention(service.context, service._housekeeping, service._journal)
    object.__setattr__(service.context.settings, "retain", 30)
    looked.make_round(NOW)
    assert [error_code(answer) for answer in answers] == ["file_not_found"]


def test_a_round_that_is_ended_midway_makes_nothing_look_lost(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> int:
        raise StorageError("the server stops")

    service = serve(wall=Clock(NOW))
    object.__setattr__(service.context.settings, "retain", 30)
    looked = retention.Retention(service.context, service._housekeeping, service._journal)
    monkeypatch.setattr(looked, "_remove_files", fail)  # behind the messages
    looked.make_round(NOW)
    assert service.stop() == []
    assert serve(wall=Clock(NOW)).notices == []
