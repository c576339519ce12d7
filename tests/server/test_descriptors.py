"""Numbers of a packet, and descriptors: neither ends the server, nor keeps others out."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from support.files import Upload, encoded
from support.in_process import Serve, member, stranger
from support.patience import until
from support.raw_client import error_code

from server.net import sockets
from server.net.lingering_close import LingeringCloser
from server.running import service as running
from storage import upload_files

CHUNK = 262_144


@pytest.mark.parametrize("size", [1 << 45, (1 << 53) - 1])
def test_a_file_longer_than_the_disk_is_refused_though_limits_are_off(
    serve: Serve, size: int
) -> None:
    service = serve(max_file=0, quota=0, min_free=0)
    ada = member(service, "ada")
    total = -(-size // CHUNK)
    numbers = {"file_size": size, "file_type": "x", "total_packets": total, "chunk_size": CHUNK}
    reply = ada.ask("file_send_init", room_id="lobby", file_path="big", **numbers)
    assert error_code(reply) == "storage_full"
    ada.say("lobby", "goes on")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOVERFLOW, errno.EFBIG])
def test_an_offset_that_the_file_system_does_not_take_is_a_full_disk(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failed: list[str] = []
    service = serve(max_file=0)
    monkeypatch.setattr(service.writer, "_give_up", failed.append)
    ada = member(service, "ada")
    upload = Upload(ada, "lobby", "big", bytes(3000))
    upload.init()
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> int:
            raise OSError(number, "made up")

        patched.setattr(upload_files.os, "lseek", refuse)
        packet = {"room_id": "lobby", "file_path": "big", "sequence_number": 1}
        reply = ada.ask("file_send_data", **packet, file_data=encoded(bytes(1000)))
    assert error_code(reply) == "storage_full"
    assert failed == []
    upload.send_all()
    assert upload.fin()["action"] == "file_send_fin", "and it goes on from there"


@pytest.mark.parametrize(
    ("number", "ends"), [(errno.EINVAL, False), (errno.EMFILE, False), (errno.EIO, True)]
)
def test_only_a_broken_disk_ends_the_server(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, number: int, ends: bool
) -> None:
    failed: list[str] = []
    service = serve()
    monkeypatch.setattr(service.writer, "_give_up", failed.append)
    ada = member(service, "ada")
    upload = Upload(ada, "lobby", "file", bytes(1000))
    upload.init()
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> int:
            raise OSError(number, "made up")

        patched.setattr(upload_files.os, "write", refuse)
        assert error_code(upload.send(1)) == "internal_error"
    assert bool(failed) is ends


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors")
@pytest.mark.parametrize(
    ("granted", "asked", "most"),
    [(1024, 10_000, 1024 - 192), (1024, 0, 1024 - 192), (1024, 100, 100), (100, 0, 1), (-1, 7, 7)],
)
def test_no_more_connections_are_taken_than_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, granted: int, asked: int, most: int
) -> None:
    import resource

    limit = resource.RLIM_INFINITY if granted < 0 else granted
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert sockets.most_connections(asked) == most


def test_the_reserve_is_enough_for_what_it_is_kept_for() -> None:
    # 32 files of the journal (storage.journal), 18 of the database, 20 of the server's own
    needed = LingeringCloser.MOST + upload_files.MOST_OPEN + 32 + 18 + 20
    assert needed <= sockets.RESERVED_DESCRIPTORS


def test_who_finds_no_descriptor_left_hears_why(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "most_connections", lambda asked: 2)
    service = serve(max_connections=0)
    members = [member(service, name) for name in ("ada", "bob")]
    late = stranger(service)
    late.send({"action": "ping"})
    [said] = late.expect_closed()
    assert error_code(said) == "server_full"
    members.pop().close()


def test_uploads_and_downloads_at_rest_hold_no_descriptor(serve: Serve) -> None:
    if not os.path.isdir("/proc/self/fd") or os.name == "nt":  # Wine shows it, too, with its own
        pytest.skip("needs /proc, to count descriptors")
    service = serve()
    ada = member(service, "ada")
    large = Upload(ada, "lobby", "large", bytes(8 * 1024 * 1024), chunk=CHUNK)
    large.run()
    slow = stranger(service, receive_buffer=4096)
    slow.register("slow")
    slow.login("slow")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(64):
        upload = Upload(ada, "lobby", f"work {number}", bytes(2000))
        assert upload.init()["status"] == "success"
        assert upload.send(1)["status"] == "success"
    slow.send(
        {
            "action": "file_down_req",
            "data": {"chat_id": "slow", "room_id": "lobby", "file_path": "large"},
        }
    )
    slow.receive_action("file_down_meta")
    slow.request({"action": "ping"})
    # A chunk that is read for the socket's buffers has the file open for a moment.
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "no descriptor for what rests")
