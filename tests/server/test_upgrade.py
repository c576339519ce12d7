"""A data folder of version 0.1.0, made by the code of that version: it is copied, then opened with
everything in it; what is not copied is not changed."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.data_folder import Folder
from support.files import download
from support.in_process import Serve, member, stranger

import protocol
from server.archive import upgrade
from storage import schema
from storage.database import Database, stored_version
from storage.errors import FolderUnusable, StorageFull

FIXTURE = Path(__file__).resolve().parents[1] / "data" / "folder-0.1.0.zip"
"""Two users, three rooms (one of them private), four messages and a file, written by the server of
commit a195103 and stopped in order."""


def unpack(path: Path) -> Path:
    path.mkdir(mode=0o700)
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(path)
    return path


def digests(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(unpack(tmp_path / "data"))


def test_a_folder_of_0_1_0_opens_with_everything_in_it(serve: Serve, folder: Folder) -> None:
    assert stored_version(folder.path / "chat.db") == 1
    service = serve()
    ada = stranger(service)
    assert ada.login("ada")["data"]["role"] == "student"
    said = ada.ask("get_messages", room_id="lobby", after_id=0)["data"]["messages"]
    assert [(message["message_id"], message["content"]) for message in said] == [
        (1, "Hello from 0.1.0"),
        (2, "höhö \U0001f389"),
    ]
    assert download(ada, "lobby", "tides.txt")[0] == b"high and low\n" * 20
    listed = ada.ask("get_rooms")["data"]["rooms"]
    assert sorted(room["id"][:2] for room in listed) == ["lo", "ma", "p-"]
    assert ada.say("maths", "of 0.2.0")["data"]["message_id"] == 5
    assert stored_version(folder.path / "chat.db") == len(schema.MIGRATIONS)


def test_the_copy_is_made_first_and_said_on_the_first_screen(
    serve: Serve, folder: Folder, tmp_path: Path
) -> None:
    before = digests(folder.path)
    copy = tmp_path / f"data-before-{protocol.VERSION}.zip"
    service = serve()
    assert service.notices == [
        f"the data was brought up to version {protocol.VERSION}, which older ones refuse. As it "
        f"was, it is kept in {copy}"
    ]
    service.stop()
    folder.done("restore", str(copy), "--data", str(tmp_path / "old"))
    after = digests(tmp_path / "old")
    assert stored_version(tmp_path / "old" / "chat.db") == 1
    del before["chat.db"], after["chat.db"]  # the same rows, but a copy of SQLite's own
    assert after == before
    assert serve().notices == []
    assert sorted(os.listdir(tmp_path)) == ["data", copy.name, "old"]


def test_an_older_version_refuses_the_folder(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve().stop()
    before = digests(folder.path)
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    with pytest.raises(FolderUnusable, match="made by a newer server; this one knows up to 1"):
        Database(folder.path / "chat.db")
    assert digests(folder.path) == before


def test_what_cannot_be_copied_is_not_changed(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(upgrade, "make_backup", fail)
    with pytest.raises(FolderUnusable, match="nothing was changed: make room for"):
        serve()
    assert stored_version(folder.path / "chat.db") == 1


def test_copies_of_earlier_attempts_stay_and_a_folder_without_rights_beside_it_takes_its_own(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upgrade._new_place(folder.path)
    first.write_text("mine")
    assert upgrade._new_place(folder.path).name == f"data-before-{protocol.VERSION}-2.zip"
    monkeypatch.setattr(os, "access", lambda *given: False)
    assert upgrade._new_place(folder.path).parent == folder.path


def test_commands_leave_the_folder_to_the_server_until_it_is_up_to_date(
    serve: Serve, folder: Folder, tmp_path: Path
) -> None:
    for command in (("users",), ("forget", "ada"), ("export", "-o", str(tmp_path / "out"))):
        assert "start the server once" in folder.refused(*command)
    folder.done("backup", str(tmp_path / "copy.zip"))  # it changes nothing
    assert stored_version(folder.path / "chat.db") == 1
    service = serve()
    member(service, "new")
    assert folder.done("users").out == "Grace\nada\nnew\n"
