"""`status`: what a running server says of itself, to the folder's owner alone."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.data_folder import Folder
from support.files import Upload
from support.in_process import Serve, member

import protocol
from server.archive import questions
from server.command_line import status as status_command
from server.running import status
from server.running.watch import Watch
from storage import portable
from storage.errors import StorageError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def test_status_says_how_the_running_server_is(
    serve: Serve, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "LONGEST_TICK_SECONDS", 0.05)  # it answers
    service = serve()
    ada = member(service, "ada")
    member(service, "Bob")
    ada.say("lobby", "one")
    Upload(ada, "lobby", "file", b"data").run()
    found = json.loads(folder.done("status", "--json").out)
    assert found["version"] == protocol.VERSION and found["process"] == os.getpid()
    assert found["online"] == ["ada", "Bob"] and found["connections"] == 2
    assert found["messages_per_minute"] == 1 and found["files_per_minute"] == 1
    assert found["waiting_changes"] == 0 and found["last_commit_ms"] > 0
    assert 0 < found["disk_free_bytes"] < found["disk_total_bytes"]
    assert found["memory_bytes"] > 1_000_000 and found["held_for_clients_bytes"] >= 0
    assert found["slowest_client"] is None and found["port"] == service.listener.port
    assert protocol.parse_time(found["since"]) <= time.time()
    words = folder.done("status").out
    assert "2: ada, Bob" in words and "1 message, 1 file" in words
    assert sorted(os.listdir(folder.path)) == [
        *("chat.db", "chat.db-shm", "chat.db-wal", "journal", "lock", "uploads")
    ]


def test_messages_and_files_are_counted_for_a_minute(serve: Serve) -> None:
    service = serve()
    now = [1000.0]
    context = SimpleNamespace(
        clock=lambda: now[0], wall_clock=service.context.wall_clock, files=service.files
    )
    stored = {"message": 0, "file": 0}
    looked: Any = status.Status(
        context,  # type: ignore[arg-type]
        SimpleNamespace(stored=stored),  # type: ignore[arg-type]
        service._housekeeping,
        service.folder.path,
        1,
    )
    for second in range(120):
        now[0] = 1000.0 + second
        stored["message"] += 2
        looked.look()
        looked.look()  # a second look within a second takes no sample
    assert looked._per_minute() == (120, 0)
    assert len(looked._samples) <= 62


def test_a_status_that_cannot_be_written_is_logged_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = serve()
    looked = status.Status(
        service.context, service._delivery, service._housekeeping, service.folder.path, 1
    )

    def fail(*given: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(status.questions, "answer_all", fail)
        looked.look()
        looked.look()
    assert caplog.text.count("could not be answered") == 1


def test_what_cannot_be_measured_is_unknown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve()
    looked = status.Status(
        service.context, service._delivery, service._housekeeping, service.folder.path, 1
    )

    def fail() -> tuple[int, int]:
        raise StorageError("no disk")

    monkeypatch.setattr(service.files, "free", fail)
    monkeypatch.setattr(status, "memory_bytes", lambda: None)
    words = status_command.in_words(looked.document())
    assert "disk left:      unknown\n" in words and "memory:         unknown" in words


def test_the_slowest_client_is_the_one_for_whom_most_waits(serve: Serve) -> None:
    service = serve()
    looked = status.Status(
        service.context, service._delivery, service._housekeeping, service.folder.path, 1
    )
    connections: list[Any] = [
        SimpleNamespace(outbox=SimpleNamespace(waiting=size), address="10.0.0.1", session=session)
        for size, session in ((5, SimpleNamespace(chatid="ada")), (0, None), (3 * 2**20, None))
    ]
    service.context.registry.connections = lambda: connections  # type: ignore[method-assign]
    document = looked.document()
    assert document["slowest_client"] == {
        "chatid": None,
        "address": "10.0.0.1",
        "waiting_bytes": 3 * 2**20,
    }
    assert "somebody who is not logged in at 10.0.0.1: 3.0 MiB wait" in status_command.in_words(
        document
    )
    connections.pop()
    words = status_command.in_words(looked.document())
    assert "ada at 10.0.0.1: 5 bytes wait" in words
    connections.clear()


def test_a_long_list_of_names_is_cut_and_every_name_is_harmless() -> None:
    found: Mapping[str, Any] = {
        "version": "1",
        "since": "now",
        "process": 1,
        "port": 2,
        "online": ["a\x1b[31m", *[f"n{number}" for number in range(300)]],
        "connections": 300,
        "messages_per_minute": 1000,
        "files_per_minute": 0,
        "waiting_changes": 1,
        "last_commit_ms": 0.5,
        "disk_free_bytes": 2**41,
        "disk_total_bytes": 2**42,
        "memory_bytes": 2**20,
        "held_for_clients_bytes": 0,
        "slowest_client": None,
    }
    words = status_command.in_words(found)
    assert "a\\x1b[31m, n0" in words and "and 101 more" in words and "\x1b" not in words
    assert "2.0 TiB, 50 %" in words and "1,000 messages, 0 files" in words


def test_without_a_server_status_says_so_and_leaves_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_command, "PATIENCE_SECONDS", 0.01)
    assert "no chat data" in folder.refused("status")
    folder.make()
    before = sorted(os.listdir(folder.path))
    assert "no server answers" in folder.refused("status")
    assert sorted(os.listdir(folder.path)) == before

    def fail(*given: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(questions.portable, "open_own", fail)
    monkeypatch.setattr(status_command, "existing_folder", lambda settings: folder)
    assert "can't be asked: Permission denied" in folder.refused("status")


def test_an_answer_that_windows_is_putting_in_its_place_is_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = [PermissionError(13, "Permission denied"), FileNotFoundError(2, "not there")]

    def read(path: Path) -> bytes:
        if tries:
            raise tries.pop()
        return b'{"process": 7}'

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(portable, "_platform", "win32")
    assert questions.ask(tmp_path, 10.0) == {"process": 7} and not tries
    tries.append(PermissionError(13, "Permission denied"))
    monkeypatch.setattr(portable, "_platform", "linux")
    with pytest.raises(PermissionError):
        questions.ask(tmp_path, 10.0)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_nobody_fetched_is_removed_with_the_next(tmp_path: Path) -> None:
    forgotten, fresh = tmp_path / f"status-{'a' * 16}.json", tmp_path / f"status-{'b' * 16}.json"
    for path in (forgotten, fresh):
        path.write_text("{}")
    os.utime(forgotten, (1, 1))
    (tmp_path / "status-x.ask").write_text("")  # none of ours
    assert questions.answer_all(tmp_path, dict) == 0 and forgotten.exists()
    (tmp_path / f"status-{'c' * 16}.ask").write_text("")
    assert questions.answer_all(tmp_path, lambda: {"a": 1}) == 1
    assert not forgotten.exists() and fresh.exists()
    assert json.loads((tmp_path / f"status-{'c' * 16}.json").read_text()) == {"a": 1}


def test_memory_is_measured_on_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    here = status.memory_bytes()
    assert here is None or here > 1_000_000
    monkeypatch.setattr(sys, "platform", "darwin")
    if os.name != "nt":
        assert status.memory_bytes() is not None
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", None, raising=False)
    assert status.memory_bytes() is None

    class Process:
        def __call__(self) -> int:
            return 1

    def measure(process: Any, counters: Any, size: int) -> int:
        counters._obj[2] = 5_000_000
        return 1

    kernel = SimpleNamespace(GetCurrentProcess=Process(), K32GetProcessMemoryInfo=measure)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert status.memory_bytes() == 5_000_000
    monkeypatch.setattr(status, "_memory_on_windows", lambda: int("x"))
    assert status.memory_bytes() is None
