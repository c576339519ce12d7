"""What the start finds in the data folder: files that no row names, and rows without their file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.files import Upload, download
from support.in_process import Clock, Serve, member, stranger
from support.raw_client import RawClient

import protocol
from server.running.service import Service
from storage import portable, uploads
from storage.journal import Journal
from storage.upload_files import ORPHAN_DAYS

DATA = bytes(range(256)) * 20


def upload(client: RawClient, name: str) -> Upload:
    """An upload into the lobby, not yet begun."""
    return Upload(client, "lobby", name, DATA)


def again(service: Service, name: str) -> RawClient:
    client = stranger(service)
    assert client.login(name)["action"] == "login_success"
    return client


def flat_files(service: Service) -> list[str]:
    return sorted(path.name for path in service.folder.uploads_path.iterdir() if path.is_file())


def orphans(service: Service) -> list[Path]:
    return sorted((service.folder.uploads_path / "orphans").glob("*"))


def test_files_that_an_older_database_does_not_know_are_kept_and_come_back_with_the_newer_one(
    serve: Serve,
) -> None:
    service = serve()
    ada = member(service, "ada")
    upload(ada, "old").run()
    service.stop()
    older, newer = service.folder.path.parent / "older", service.folder.path.parent / "newer"
    shutil.copy(service.folder.database_path, older)

    service = serve()
    ada = again(service, "ada")
    upload(ada, "new").run()
    begun = upload(ada, "begun")
    begun.init()
    begun.send(1)
    service.stop()
    shutil.copy(service.folder.database_path, newer)
    shutil.copy(older, service.folder.database_path)

    service = serve()
    assert [notice for notice in service.notices if "for 30 days: 2." in notice]
    assert "uploads/orphans" in service.notices[0]
    assert len(flat_files(service)) == 1 and len(orphans(service)) == 2
    ada = again(service, "ada")
    assert download(ada, "lobby", "old")[0] == DATA
    service.stop()
    shutil.copy(newer, service.folder.database_path)

    service = serve()
    assert [notice for notice in service.notices if "to their place: 2" in notice]
    assert len(flat_files(service)) == 3 and orphans(service) == []
    ada = again(service, "ada")
    assert download(ada, "lobby", "new")[0] == DATA
    begun.client = ada
    assert begun.init()["data"]["received"] == [[1, 1]]
    service.stop()
    assert serve().notices == [], "nothing more is to be said"


def test_what_was_set_aside_is_removed_after_30_days(serve: Serve) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    service.stop()
    (service.folder.uploads_path / ("0" * 32)).write_bytes(b"left over")
    service = serve(wall=wall)
    assert len(orphans(service)) == 1
    service.stop()
    wall.now += ORPHAN_DAYS * 86_400
    service = serve(wall=wall)
    assert len(orphans(service)) == 1
    service.stop()
    wall.now += 1
    assert orphans(serve(wall=wall)) == []


def test_an_upload_that_was_begun_without_a_byte_is_still_open_after_a_restart(
    serve: Serve,
) -> None:
    service = serve(quota=3 * len(DATA))
    begun = upload(member(service, "ada"), "begun")
    begun.init()
    assert flat_files(service) == [], "its file is made when bytes come"
    service.stop()
    service = serve(quota=3 * len(DATA))
    assert service.notices == []
    begun.client = again(service, "ada")
    begun.send_all()
    assert begun.fin()["action"] == "file_send_fin"


def test_an_upload_whose_saved_bytes_are_gone_is_given_up(serve: Serve) -> None:
    service = serve()
    ada = member(service, "ada")
    begun = upload(ada, "begun")
    begun.init()
    begun.send(1)
    service.stop()
    for path in service.folder.uploads_path.glob("*.part"):
        path.unlink()
    service = serve()
    begun.client = again(service, "ada")
    assert not begun.init()["data"].get("received")


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        *(
            b'{"action":"receive_message","data":{"message_id":%d}}' % number
            for number in (2**53, 2**63 - 1, 2**63, 2**70)
        ),
    ],
)
def test_a_journal_that_nobody_wrote_neither_stops_the_start_nor_uses_up_the_ids(
    serve: Serve, payload: bytes
) -> None:
    service = serve()
    member(service, "ada").say("lobby", "one")
    assert service.stop() == []
    journal = Journal(service.folder.journal_path)
    for room_pk in (1, 10**20):
        journal.append(room_pk, "2026-11-23", protocol.frame(payload))
    journal.close()
    service = serve()
    assert again(service, "ada").say("lobby", "two")["data"]["message_id"] == 2
    assert service.notices == []


def test_a_removed_file_that_a_scanner_of_windows_holds_keeps_no_server_from_starting(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(path: object) -> None:
        raise PermissionError(13, "The process cannot access the file", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "removed_disk_names", lambda _: ["0" * 32])
        patch.setattr(portable, "_platform", "win32")
        patch.setattr(portable, "HELD_SECONDS", -1)
        patch.setattr(os, "unlink", held)
        service = serve()
    assert member(service, "ada").say("lobby", "Hello")["action"] == "ack"
