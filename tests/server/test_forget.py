"""`forget`: afterwards no byte of an account's texts, files and names is in the data folder, and
everything of others is as it was."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder
from support.files import Upload
from support.in_process import Serve, member
from support.raw_client import ClosedByServer, error_code

from server.archive import forget as forgetting
from server.archive import questions, rewriting, served
from server.running.watch import Watch
from server.state.recent_messages import delivered
from storage import database as database_module
from storage import erasing, portable, rooms, uploads
from storage.database import Database
from storage.errors import StorageFull
from storage.folder import DataFolder
from storage.messages import Message
from storage.upload_files import UploadFiles, new_name

NAME = "Zebulon"
SECRET = "quagga\u00fc"  # in UTF-8 and in JSON's escapes two other texts
FILE = bytes(random.Random(7).randrange(256) for _ in range(40_000))


def pieces() -> list[bytes]:
    """What must be nowhere: the texts and the name as they may be written, and pieces of files."""
    words = [SECRET, NAME, NAME.lower()]
    forms = {word.encode() for word in words}
    forms |= {json.dumps(word)[1:-1].encode() for word in words}
    forms |= {word.encode("utf-16-le") for word in words}
    return [*forms, *(FILE[at : at + 24] for at in range(0, len(FILE) - 24, 4000))]


def found(folder: Folder) -> list[str]:
    return sorted({path.name for path, _ in folder.bytes_anywhere(*pieces())})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def history(folder: Folder) -> list[tuple[Any, ...]]:
    database = folder.database()
    with database.reading() as reader:
        rows = reader.execute(
            """SELECT m.id, a.chatid, m.content, m.room_number
               FROM messages m JOIN accounts a ON a.id = m.sender_id ORDER BY m.id"""
        ).fetchall()
    database.close()
    return rows


def fill(folder: Folder) -> None:
    """Others' messages and the account's, so many that pages split, and its other traces."""
    for number in range(10):
        sent_at = 1_700_000_000 + 100 * number
        folder.say(NAME, *[f"{SECRET} {number} {n} " + "x" * 100 * n for n in range(15)])
        folder.say(f"u{number:03d}", *[f"hello {number} {n}" for n in range(9)], sent_at=sent_at)
    folder.send_file(NAME, f"{SECRET}.txt", FILE)
    folder.send_file("u001", "other.txt", b"other's")
    account = folder.account(NAME)
    files, part = UploadFiles(folder.path / "uploads"), new_name()
    files.create(part)
    files.write_at(part, 0, FILE[:20_000])
    database = folder.database()
    with database.transaction() as connection:
        uploads.open_upload(
            *(connection, account, "lobby", f"{SECRET}.bin", 40_000, "x", 2, None, None, NAME),
            ((0, 0),),
            part,
            1,
        )
        rooms.create_private(connection, "p-1", f"{SECRET}'s", account, [1, 2], 1)
        rooms.depart(connection, 1, account)
        connection.execute(
            "INSERT INTO restrictions VALUES ('mute', ?, 1, ?), ('mute', 2, 1, ?)",
            (account, SECRET, f"hit {NAME.upper()} again"),
        )
        connection.executemany(
            "INSERT INTO audit(at, by_id, act, user_id, reason, detail) "
            "VALUES (1, ?, 'x', ?, ?, ?)",
            [(account, 2, SECRET, ""), (2, account, "", SECRET), (2, 3, f"for {NAME}", "stays")],
        )
        connection.executemany(
            "INSERT INTO errands(kind, question, answer, asked_at) VALUES ('announce', ?, ?, 1)",
            [(f"{NAME} 5", None), (json.dumps({"text": SECRET}), "{}")],
        )
        connection.execute("UPDATE accounts SET role = 'teacher' WHERE id = ?", (account,))
    database.close()


def frames(folder: Folder) -> None:
    """A journal as the server writes it, with half a frame at its end."""
    texts = [
        delivered("lobby", Message(number, 1, 1, name, text, 1_700_000_000), {}).frame
        for number, name, text in ((1, NAME, SECRET), (2, "u001", f'"sender_chatid":"{NAME[:3]}"'))
    ]
    path = folder.write_journal(1, "2023-11-14", b"".join([*texts, texts[0][:-20]]))
    path.with_name("2023-11-13.broken").write_bytes(texts[0][:-5])


def test_no_byte_of_a_forgotten_account_is_left(folder: Folder) -> None:
    folder.make()
    fill(folder)
    frames(folder)
    assert found(folder)
    others = [row for row in history(folder) if row[1] != NAME]
    result = folder.done("forget", NAME)
    assert "150 messages erased, 2 files gone" in result.err
    assert "backup" in result.err and "export" in result.err and "is free again" in result.err
    assert found(folder) == []
    assert [row[:3] for row in history(folder)] == [row[:3] for row in others]
    assert [row[3] for row in history(folder)] == list(range(1, len(others) + 1))
    assert len(os.listdir(folder.path / "uploads")) == 1


def test_what_others_have_stays(folder: Folder) -> None:
    folder.make()
    fill(folder)
    folder.done("forget", NAME.lower())
    database = folder.database()
    with database.reading() as reader:
        audit = reader.execute("SELECT reason, detail FROM audit ORDER BY id").fetchall()
        reasons = reader.execute("SELECT account_id, reason FROM restrictions").fetchall()
        names = reader.execute("SELECT name FROM rooms WHERE private").fetchall()
        asked = reader.execute("SELECT question FROM errands").fetchall()
        integrity = reader.execute("PRAGMA integrity_check").fetchone()
        broken = reader.execute("PRAGMA foreign_key_check").fetchall()
    database.close()
    assert audit == [("", ""), ("", ""), ("for forgotten", "stays")]
    assert reasons == [(2, "hit forgotten again")]
    assert names == [("[forgotten]",)] and asked == [("forgotten 5",)]
    assert integrity == ("ok",) and broken == []
    assert NAME not in folder.done("users").out


def test_messages_may_stay_without_the_name(folder: Folder) -> None:
    folder.make()
    fill(folder)
    frames(folder)
    before = history(folder)
    account = folder.account(NAME)
    assert "150 messages kept" in folder.done("forget", NAME, "--keep-messages").err
    kept = [*(word.encode() for word in (NAME, NAME.lower())), FILE[:24]]
    assert folder.bytes_anywhere(*kept) == []
    name = f"forgotten-{account}"
    assert history(folder) == [
        (number, name if chatid == NAME else chatid, text, place)
        for number, chatid, text, place in before
    ]
    path = folder.path / "journal" / "room-000001" / "2023-11-14.frames"
    data = path.read_bytes()
    first = json.loads(data[4 : 4 + int.from_bytes(data[:4], "big")])
    assert first["data"]["sender_chatid"] == "?" and first["data"]["content"] == SECRET


def test_the_journal_keeps_its_whole_frames(folder: Folder) -> None:
    folder.make()
    folder.say(NAME, SECRET)
    folder.say("u001", "of another")
    frames(folder)
    folder.write_journal(1, "2023-11-15", b"\0\0\0\x03{x}\0\0\0\x18" + b'{"sender_chatid":"\\x"}  ')
    folder.done("forget", NAME)
    packets = []
    data = (folder.path / "journal" / "room-000001" / "2023-11-14.frames").read_bytes()
    while data:
        size = int.from_bytes(data[:4], "big")
        packets.append(json.loads(data[4 : 4 + size]))
        data = data[4 + size :]
    assert packets[0] == {"action": "forgotten"}
    assert packets[1]["data"]["sender_chatid"] == "u001" and len(packets) == 2
    assert "nothing to do" in folder.done("recover-messages").err


def test_a_name_is_free_again_and_forgotten_only_once(folder: Folder) -> None:
    folder.make()
    folder.say(NAME, SECRET)
    folder.done("deluser", NAME)
    folder.done("forget", NAME)  # also of an account that was deleted
    for name in (NAME, "nobody", "Zebulon2"):
        assert "not even a deleted one" in folder.refused("forget", name)
    assert "expected" in folder.refused("forget", "no name")
    folder.done("adduser", NAME)
    folder.say(NAME, "anew")
    folder.done("forget", NAME)
    assert found(folder) == []


def test_the_name_that_stays_is_no_other_accounts(folder: Folder) -> None:
    folder.make()
    number = folder.account(NAME)
    folder.account(f"forgotten-{number}")
    folder.done("forget", NAME)
    database = folder.database()
    with database.reading() as reader:
        name = reader.execute("SELECT chatid FROM accounts WHERE id = ?", (number,)).fetchone()[0]
    database.close()
    assert name == f"forgotten-{number}x"


def test_what_is_unread_counts_no_message_that_was_erased(folder: Folder) -> None:
    folder.make()
    folder.say(NAME, "a", "b")
    first = folder.say("ada", "one")
    folder.say(NAME, "c", "d")
    folder.say("ada", "two", "three")
    bob = folder.account("bob")
    folder.done("forget", NAME)
    database = folder.database()
    with database.transaction() as connection:
        assert rooms.overview(connection, 1, bob).unread == 3
        rooms.advance_marks(connection, [(bob, 1, first[0])])
        assert rooms.overview(connection, 1, bob).unread == 2
    with database.transaction() as connection:  # as `--retain` removes what is old
        connection.execute("DELETE FROM marks")
        connection.execute("DELETE FROM messages WHERE id = ?", first)
        assert rooms.overview(connection, 1, bob).unread == 2
    database.close()


# --- Beside a running server ----------------------------------------------------------------------


def test_one_who_is_on_is_sent_away_first_and_the_server_goes_on(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)
    service = serve()
    ada, zebulon = member(service, "ada"), member(service, NAME)
    for number in range(20):
        zebulon.say("lobby", f"{SECRET} {number}")
        ada.say("lobby", f"of ada {number}")
    Upload(zebulon, "lobby", "animals", FILE).run()
    begun = Upload(zebulon, "lobby", "half", FILE[::-1])
    begun.init()
    begun.send(1)
    assert "chat.db-wal" in found(folder)
    remove, answers = UploadFiles.remove, set()

    def remove_and_ask(files: UploadFiles, disk_name: str) -> None:
        remove(files, disk_name)
        answers.add(error_code(ada.ask("file_down_req", room_id="lobby", file_path="animals")))

    monkeypatch.setattr(UploadFiles, "remove", remove_and_ask)
    folder.done("forget", NAME)
    assert answers == {"file_not_found"}, "not that the disk failed"
    assert found(folder) == []
    with pytest.raises(ClosedByServer):
        zebulon.expect_closed()
        zebulon.receive()
    assert service.context.recent.get("m1") is None
    reply = ada.say("lobby", "still here")
    assert reply["data"]["message_id"] == 41
    said = ada.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert {message["sender_chatid"] for message in said} == {"ada"} and len(said) == 21
    again = member(service, NAME)
    assert again.say("lobby", "somebody new")["data"]["message_id"] == 42
    assert service.stop() == []


def test_a_large_database_is_rewritten_at_the_next_start(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    ada, zebulon = member(service, "ada"), member(service, NAME)
    for client in (zebulon, ada):
        client.say("lobby", SECRET if client is zebulon else "hi")
    monkeypatch.setattr(rewriting, "MOST_BESIDE", 100)
    assert "when it starts next" in folder.done("forget", NAME).err
    said = ada.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [message["sender_chatid"] for message in said] == ["ada"]
    assert service.stop() == []

    def fail(database: Database) -> None:
        raise StorageFull("no room left")

    for compact, told in (
        (fail, "no room left. It is tried again at the next start"),
        (lambda database: False, "another program reads the database"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Database, "compact", compact)
            service = serve()
            assert told in service.notices[0]
            service.stop()
    rewritten: list[Database] = []
    real = Database.compact
    monkeypatch.setattr(Database, "compact", lambda self: rewritten.append(self) or real(self))
    for _ in range(2):
        service = serve()
        assert service.notices == []
        service.stop()
    assert len(rewritten) == 1 and found(folder) == []


def test_a_server_that_does_not_answer_keeps_the_account_from_being_forgotten(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    folder.say(NAME, SECRET)
    other = DataFolder(folder.path)
    other.lock()
    try:
        monkeypatch.setattr(served, "NOTICE_SECONDS", 0.05)
        assert "has not ended the session" in folder.refused("forget", NAME)

        def fail(*given: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(served.questions, "ask", fail)
        assert "can't be asked" in folder.refused("forget", NAME)
    finally:
        other.unlock()
    folder.done("forget", NAME)
    assert found(folder) == []


def test_a_reader_that_holds_the_log_is_told_and_a_second_try_finishes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    number = folder.account(NAME)
    folder.say(NAME, SECRET)
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    reader = sqlite3.connect(folder.path / "chat.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM messages").fetchall()
    result = folder.run("forget", NAME)
    assert result.status == 1 and f"forget forgotten-{number}" in result.err
    reader.close()
    folder.done("forget", f"forgotten-{number}")
    assert found(folder) == []


def test_what_was_cut_off_is_finished_by_doing_it_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    fill(folder)

    def stop(*given: Any, **named: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    for place in ("erase_file_rows", "erase_messages", "erase_details"):
        with monkeypatch.context() as patch:
            patch.setattr(erasing, place, stop)
            assert folder.run("forget", NAME).status == 130
    folder.done("forget", NAME)
    assert found(folder) == []
    assert [row[3] for row in history(folder)] == list(range(1, 91))


def test_steps_are_short_and_the_temporary_folder_of_sqlite_is_put_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    folder.say(NAME, *[str(number) for number in range(450)])
    monkeypatch.setattr(forgetting, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(forgetting, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("SQLITE_TMPDIR", "/elsewhere")
    assert "450 messages erased" in folder.done("forget", NAME).err
    assert os.environ["SQLITE_TMPDIR"] == "/elsewhere"


def test_a_start_finds_nothing_lost_where_it_was_ended_midway(
    folder: Folder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    member(service, NAME).say("lobby", SECRET)
    assert service.stop() == []

    real = forgetting.in_steps

    def erase_and_end(*given: Any) -> None:
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "in_steps", erase_and_end)  # behind the messages
        assert folder.run("forget", NAME).status == 130
    assert serve().notices == []


def test_an_answer_of_status_that_nobody_has_fetched_goes_too(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.make()
    fill(folder)
    monkeypatch.setattr(questions, "LEFT_SECONDS", 0.1)
    for ending in ("json", "new"):  # the server was killed before it gave it its name
        left = folder.path / f"status-0123456789abcdef.{ending}"
        left.write_text(json.dumps({"online": [NAME]}))

    remove = portable.remove

    def held(path: str | Path) -> None:
        if Path(path).name.startswith("status-"):
            raise PermissionError(13, "Permission denied")
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(portable, "remove", held)
        assert "an answer to 'status' can't be removed" in folder.refused("forget", NAME)
    folder.done("forget", NAME)
    assert found(folder) == []
