"""A database that lost its newest rows: the start says so, and `recover-messages` puts them back
out of the journal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.in_process import Serve, member
from support.patience import patience, until
from support.raw_client import RawClient
from support.server_process import REPOSITORY, ServerProcess, server_environment

import protocol
from server.command_line.recover import recover_messages
from storage import messages
from storage.database import Database
from storage.journal import Journal


def recover(data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "chat_server.py", "recover-messages", "--data", str(data)],
        cwd=REPOSITORY,
        env=server_environment(),
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


def history(client: RawClient, room_id: str) -> list[tuple[int, str, str]]:
    page = client.ask("get_messages", room_id=room_id, after_id=0)
    return [
        (said["message_id"], said["sender_chatid"], said["content"])
        for said in page["data"]["messages"]
    ]


def test_messages_that_the_database_lost_come_back_out_of_the_journal(
    start_server: Callable[..., ServerProcess],
    client_factory: Callable[..., RawClient],
    tmp_path: Path,
) -> None:
    server = start_server()
    ada = client_factory(server)
    ada.register("ada")
    ada.login("ada")
    ada.say("lobby", "before")
    server.stop()
    older = tmp_path / "older"
    shutil.copytree(server.data_dir, older)
    server.start()
    for name in ("ada", "bob"):  # bob's account will be lost as well
        client = client_factory(server)
        client.register(name)
        client.login(name)
        for room_id in ("lobby", "made later"):
            client.say(room_id, f"{name} in {room_id}")
    whole = {room_id: history(client, room_id) for room_id in ("lobby", "made later")}
    server.stop()
    for name in ("chat.db", "chat.db-wal"):  # an older database put back
        (server.data_dir / name).unlink(missing_ok=True)
    shutil.copy(older / "chat.db", server.data_dir / "chat.db")

    server.start()
    until(lambda: "recover-messages" in server.log(), "the way back is not told")
    ada = client_factory(server)
    ada.login("ada")
    newest = ada.say("lobby", "after the loss")["data"]["message_id"]
    assert newest > max(number for room in whole.values() for number, _, _ in room)
    refused = recover(server.data_dir)
    assert refused.returncode == 1 and "in use by another server" in refused.stderr
    server.stop()

    done = recover(server.data_dir)
    assert done.returncode == 0, done.stderr
    assert "put back 4 messages" in done.stderr and "bob" in done.stderr
    assert "nothing to do" in recover(server.data_dir).stderr
    server.start()
    assert server.log().count("recover-messages") == 1, "said at the first start alone"
    ada = client_factory(server)
    ada.login("ada")
    assert history(ada, "lobby") == [*whole["lobby"], (newest, "ada", "after the loss")]
    assert history(ada, "made later") == whole["made later"]
    rooms = ada.ask("get_rooms")["data"]["rooms"]
    unread = {room["id"]: room["unread"] for room in rooms}
    assert unread["lobby"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": "50"},
        {"message_id": [50]},
        {"message_id": -50},
        {"message_id": 1.5},
        {"message_id": 2**63},
        {"sender_chatid": None},
        {"sender_chatid": "\ud800"},
        {"room_id": []},
        {"room_id": ""},
        {"timestamp": "yesterday"},
        {"timestamp": None},
        {"content": 5},
        {"content": "\ud800"},
    ],
)
def test_one_bad_frame_keeps_no_message_back(serve: Serve, wrong: dict[str, object]) -> None:
    service = serve()
    member(service, "ada").say("lobby", "kept")
    assert service.stop() == []
    lost = {
        "room_id": "lobby",
        "sender_chatid": "ada",
        "content": "lost",
        "timestamp": "2026-11-23T12:00:00Z",
        "message_id": 50,
        "announce": True,
    }
    journal = Journal(service.folder.journal_path)
    for data in (lost | wrong, lost):
        packet = {"action": "receive_message", "data": data}
        journal.append(1, "2026-11-23", protocol.frame(json.dumps(packet).encode()))
    journal.append(1, "2026-11-23", protocol.frame(b"[" * 100_000))
    journal.close()
    database = Database(service.folder.database_path)
    try:
        with database.transaction() as connection:
            assert recover_messages(connection, journal).ids == [50]
            found = messages.get(connection, 50)
            assert found is not None and found.content == "lost" and found.announce
    finally:
        database.close()
