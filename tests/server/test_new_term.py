"""`new-term`: everything is in the copy first, then the rooms are empty, with the accounts or
without."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.data_folder import Folder
from support.files import Upload
from support.gates import Gate
from support.in_process import Serve, member
from support.patience import until
from support.raw_client import ClosedByServer, error_code

from server.archive import new_term, questions, served
from server.running import conversation
from server.running.watch import Watch
from server.state.recent_messages import delivered
from storage import acts, attendance, rooms
from storage.errors import StorageError, StorageFull
from storage.folder import DataFolder
from storage.journal import Journal
from storage.messages import Message

SECRET = "quagga"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "data").make()
    ada, bob = made.account("ada"), made.account("bob")
    made.say("ada", *[f"{SECRET} {number}" for number in range(450)])
    made.say("bob", SECRET, room_id="maths")
    made.send_file("ada", f"{SECRET}.txt", SECRET.encode())
    frame = delivered("lobby", Message(1, 1, 1, "ada", SECRET, 1), {}).frame
    made.write_journal(1, "2023-11-14", frame)
    answer = made.path / "status-0123456789abcdef.json"  # nobody has fetched it
    answer.write_text(SECRET)
    os.utime(answer, (1, 1))
    database = made.database()
    with database.transaction() as connection:
        room = rooms.create_private(connection, "p-1", "ours", ada, [bob], 1)
        rooms.advance_marks(connection, [(bob, 1, 5)])
        acts.note(connection, "x", 1, None, user_id=ada, reason=SECRET)
        attendance.note(connection, ada, 1, 100)
        acts.restrict(connection, acts.Row(acts.MUTE, bob, None, ""))
        assert room.private
    database.close()
    return made


def left(folder: Folder) -> list[str]:
    return sorted({path.name for path, _ in folder.bytes_anywhere(SECRET.encode())})


def counts(folder: Folder) -> dict[str, int]:
    database = folder.database()
    with database.reading() as reader:
        tables = ("accounts", "rooms", "members", "messages", "files", "audit", "sessions", "marks")
        found = {
            name: reader.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables
        }
        assert reader.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    return found


def test_the_rooms_are_empty_and_the_accounts_gone_and_all_of_it_is_in_the_copy(
    folder: Folder, tmp_path: Path
) -> None:
    result = folder.done("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert "2 accounts, 451 messages and 1 file" in result.err
    assert (
        "gone from the rooms: 451 messages and 1 file;" in result.err
        and "names are free" in result.err
    )
    assert left(folder) == []
    assert counts(folder) == dict.fromkeys(counts(folder), 0) | {"rooms": 2}
    assert folder.done("users").out == ""
    assert os.listdir(folder.path / "uploads") == []
    folder.done("adduser", "ada")
    assert folder.say("ada", "hello") == [452], "no id is given twice"
    old = Folder(tmp_path / "old")
    old.done("restore", str(tmp_path / "autumn.zip"))
    assert old.done("users").out == "ada\nbob\n" and counts(old)["messages"] == 451


def test_accounts_and_rooms_may_stay(folder: Folder, tmp_path: Path) -> None:
    result = folder.done("new-term", "--keep-accounts", "-o", str(tmp_path / "autumn.zip"))
    assert "all accounts stay" in result.err and left(folder) == []
    assert folder.done("users").out == "ada\nbob\n"
    assert counts(folder) == {
        **{"accounts": 2, "rooms": 3, "members": 2, "messages": 0, "files": 0},
        **{"audit": 0, "sessions": 0, "marks": 0},
    }


@pytest.mark.parametrize("keep", [False, True])
def test_a_class_goes_on_meanwhile_and_nothing_of_it_is_in_neither(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    folder = Folder(tmp_path / "data")
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)
    service = serve()
    ada = member(service, "ada")
    for number in range(5):
        ada.say("lobby", f"{SECRET} {number}")
    Upload(ada, "lobby", SECRET, SECRET.encode()).run()
    real = new_term.make_backup

    def copy_and_talk(*given: Any) -> Any:
        copy = real(*given)
        ada.say("lobby", "just after the copy")
        return copy

    monkeypatch.setattr(new_term, "make_backup", copy_and_talk)
    options = ["--keep-accounts"] if keep else []
    folder.done("new-term", *options, "-o", str(tmp_path / "autumn.zip"))
    assert left(folder) == []
    if keep:
        reader = ada
    else:
        with pytest.raises(ClosedByServer):
            ada.expect_closed()
            ada.receive()
        reader = member(service, "Ada")
    said = reader.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [message["content"] for message in said] == ["just after the copy"]
    assert said[0]["sender_chatid"] == ("ada" if keep else "forgotten-1")
    assert reader.say("lobby", "on it goes")["data"]["message_id"] == 7
    assert b"just after the copy" in b"".join(
        path.read_bytes() for path in (folder.path / "journal").rglob("*.frames")
    )


def test_without_a_copy_nothing_is_erased(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counts(folder)
    (tmp_path / "mine.zip").write_text("x")
    assert "is there already" in folder.refused("new-term", "-o", str(tmp_path / "mine.zip"))
    assert "in the data folder" in folder.refused("new-term", "-o", str(folder.path / "a.zip"))

    def full(*given: Any) -> None:
        raise StorageFull("the disk is full")

    def taken(*given: Any) -> None:
        raise FileExistsError(17, "it is there")

    for fail, words in ((full, "(no copy)"), (taken, "is there already")):
        monkeypatch.setattr(new_term, "make_backup", fail)
        assert words in folder.refused("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert counts(folder) == before


def test_what_fails_after_the_copy_can_be_done_again(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise StorageError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(new_term.erasing, "empty_tables", fail)
        line = folder.refused("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert "the copy is made, so it can be done again" in line
    folder.done("new-term", "-o", str(tmp_path / "again.zip"))
    assert left(folder) == [] and folder.done("users").out == ""


def test_a_running_server_sends_nothing_again_of_the_term_that_is_over(
    serve: Serve, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "data")
    service = serve()
    ada, bob = member(service, "ada"), member(service, "bob")
    ada.say("lobby", SECRET)
    came = bob.receive_message(SECRET)
    folder.done("new-term", "--keep-accounts", "-o", str(tmp_path / "autumn.zip"))
    transaction = came["data"]["transaction_id"]
    until(lambda: service.context.recent.get(transaction) is None, "it is held in memory")
    bob.acknowledge(transaction, "error")
    (told,) = bob.nothing_before_pong()
    assert error_code(told) == "transaction_not_found"


def test_the_journal_of_today_loses_the_files_that_are_in_the_copy_and_no_others(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "data")
    ada = member(serve(), "ada")
    ada.say("lobby", "before")
    Upload(ada, "zoo", f"{SECRET}.txt", b"x").run()  # the first of its room
    real = new_term.make_backup

    def copy_and_talk(*given: Any) -> Any:
        copy = real(*given)
        ada.say("lobby", "after")
        Upload(ada, "zoo", "newer.txt", b"y").run()
        return copy

    monkeypatch.setattr(new_term, "make_backup", copy_and_talk)
    folder.done("new-term", "--keep-accounts", "-o", str(tmp_path / "autumn.zip"))
    assert left(folder) == []

    def frames() -> bytes:
        return b"".join(path.read_bytes() for path in (folder.path / "journal").rglob("*.frames"))

    until(lambda: b"newer.txt" in frames(), "it lacks the file that was sent last")
    assert b'"after"' in frames()


def test_a_start_finds_nothing_lost_where_it_was_ended_midway(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, service = Folder(tmp_path / "data"), serve()
    member(service, "ada").say("lobby", SECRET)
    assert service.stop() == []

    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(new_term, "erase_files", stop)  # behind the messages
    assert folder.run("new-term", "-o", str(tmp_path / "autumn.zip")).status == 130
    assert serve().notices == []


def test_uploads_that_were_begun_go_with_their_accounts(serve: Serve, tmp_path: Path) -> None:
    folder, service = Folder(tmp_path / "data"), serve()
    begun = Upload(member(service, "ada"), "lobby", f"{SECRET}.txt", SECRET.encode() * 2, chunk=6)
    begun.init()
    begun.send(1)
    assert service.stop() == []
    assert len(left(folder)) == 2
    folder.done("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert left(folder) == [] and os.listdir(folder.path / "uploads") == []
    assert counts(folder)["accounts"] == 0


def test_nothing_is_erased_before_the_sessions_have_left(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)
    folder, service = Folder(tmp_path / "data"), serve()
    member(service, "ada").say("lobby", SECRET)
    gate = Gate(monkeypatch, conversation, "end_session")
    online: list[list[str]] = []
    real = questions.ask

    def ask(*given: Any) -> dict[str, Any] | None:
        answer = real(*given)
        if answer is not None and answer["noticed"]:
            online.append(answer["online"])
            gate.open()
        return answer

    monkeypatch.setattr(questions, "ask", ask)
    folder.done("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert online[0] == ["ada"] and online[-1] == []


def test_the_journal_is_cut_at_one_day_also_over_midnight(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days: set[str] = set()
    real = Journal.old_files

    def old_files(journal: Journal, before: str) -> list[Path]:
        days.add(before)
        return real(journal, before)

    monkeypatch.setattr(Journal, "old_files", old_files)
    midnights = itertools.count(1_800_000_000, 86_400)
    clock = SimpleNamespace(time=lambda: next(midnights), sleep=lambda seconds: None)
    monkeypatch.setattr(new_term, "time", clock)
    folder.done("new-term", "-o", str(tmp_path / "autumn.zip"))
    assert len(days) == 1


def test_where_the_server_does_not_answer_it_is_said_what_is_deleted_and_which_copy_has_it(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "NOTICE_SECONDS", 0.05)
    running, first = DataFolder(folder.path), tmp_path / "autumn.zip"
    running.lock()
    try:
        told = folder.refused("new-term", "-o", str(first))
    finally:
        running.unlock()
    assert "every account is deleted, nothing else is" in told and f"keep '{first}'" in told
    folder.done("new-term", "-o", str(tmp_path / "second.zip"))
    old = Folder(tmp_path / "old")
    old.done("restore", str(first))
    assert old.done("users").out == "ada\nbob\n"
