"""A disk that is full, fails, or is kept busy by somebody else: no success without storage, and
what comes after it.

A full disk: writes are answered `storage_full`, reads go on, and it recovers by itself. A failing
one: nothing is acknowledged any more, and the server ends with a clear line and a status that is
not 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import fresh_name
from support.files import Upload, download
from support.patience import patience, until
from support.raw_client import ClosedByServer, NothingCame, Packet, RawClient, error_code
from support.server_process import ServerProcess
from support.trouble import (
    failing_calls,
    fill,
    limit_file_size,
    locked_by_another_process,
    mounted,
    needs_mount,
    needs_prlimit,
    needs_strace,
)

OPTIONS = ("--rate-limit", "0", "--min-free", "0")
TMPFS_BYTES = 8 * 1024 * 1024


class Talk:
    """What one user said in a room: what was acknowledged, what refused, what nothing is known
    of."""

    def __init__(self, client: RawClient, room: str = "lobby") -> None:
        self.client, self.room = client, room
        self.acknowledged: dict[str, int] = {}
        self.refused: list[str] = []
        self.unknown: list[str] = []

    def say(self, size: int = 40) -> Packet:
        """Say something new of about `size` bytes and note what became of it."""
        content = f"{fresh_name('word')} ".ljust(size, "z")
        self.unknown.append(content)
        counted = self.client.propose(self.room, content)
        reply = self.client.confirm(counted["data"]["transaction_id"])
        self.unknown.remove(content)
        if reply["action"] == "ack" and reply["status"] == "success":
            self.acknowledged[content] = reply["data"]["message_id"]
        else:
            self.refused.append(content)
        return reply

    def say_until_refused(self, most: int = 2000, size: int = 8000) -> Packet:
        for _ in range(most):
            reply = self.say(size)
            if reply["action"] == "error":
                return reply
        raise AssertionError(f"{most} messages of {size} bytes were stored on a full disk")

    def check(self, reader: RawClient, *, refused_are_gone: bool = True) -> None:
        """The history holds what was acknowledged, once and under its number, and nothing that was
        refused."""
        found = history(reader, self.room)
        for content, number in self.acknowledged.items():
            assert found.get(content) == [number], (
                f"acknowledged as {number}, found as {found.get(content)}"
            )
        if refused_are_gone:
            assert not [content for content in self.refused if content in found], (
                "refused, and yet stored"
            )


def history(reader: RawClient, room: str) -> dict[str, list[int]]:
    """The ids under which each content is stored."""
    found: dict[str, list[int]] = {}
    after = 0
    while True:
        page = reader.ask("get_messages", room_id=room, after_id=after)
        assert page["action"] == "messages_list", page
        for message in page["data"]["messages"]:
            found.setdefault(message["content"], []).append(message["message_id"])
            after = message["message_id"]
        if not page["data"]["has_more"]:
            return found


def check_files(reader: RawClient, room: str, files: dict[str, bytes]) -> None:
    """Whatever is listed can be fetched and is whole; the acknowledged ones are listed."""
    listed = reader.ask("file_list_req", room_id=room)
    assert listed["action"] == "file_list_req", listed
    names = {entry["file_path"]: entry["sha256"] for entry in listed["data"]["files"]}
    for name, sha256 in names.items():
        data, _ = download(reader, room, name)
        assert hashlib.sha256(data).hexdigest() == sha256, f"{name} is listed and broken"
    for name, data in files.items():
        assert names.get(name) == hashlib.sha256(data).hexdigest(), (
            f"{name} was acknowledged and is not there"
        )


class FileSizeLimit:
    """No file may grow any more."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def fill(self) -> None:
        sizes = [path.stat().st_size for path in self.server.data_dir.glob("chat.db*")]
        limit_file_size(self.server.pid, max(sizes) + 4096)

    def make_room(self) -> None:
        limit_file_size(self.server.pid, None)


class FullFileSystem:
    """A small file system of its own that holds no byte more."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.ballast = Path()

    def fill(self) -> None:
        self.ballast = fill(self.server.data_dir.parent)

    def make_room(self) -> None:
        self.ballast.unlink()


Full = FileSizeLimit | FullFileSystem


@pytest.fixture(
    params=[
        pytest.param("file size limit", marks=needs_prlimit),
        pytest.param("tmpfs", marks=needs_mount),
    ]
)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Full]:
    """A server on a disk that can be filled."""
    if request.param == "file size limit":
        with ServerProcess(tmp_path / "data", *OPTIONS) as server:
            yield FileSizeLimit(server)
        return
    with (
        mounted(
            tmp_path / "small", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=700", "none"
        ) as small,
        ServerProcess(small / "data", *OPTIONS) as server,
    ):
        yield FullFileSystem(server)


def members(
    server: ServerProcess, client_factory: Callable[..., RawClient], *names: str
) -> list[RawClient]:
    clients = []
    for name in names:
        client = client_factory(server)
        client.register(name)
        assert client.login(name)["action"] == "login_success"
        clients.append(client)
    return clients


def test_a_full_disk_acknowledges_nothing_goes_on_reading_and_recovers(
    full: Full, client_factory: Callable[..., RawClient]
) -> None:
    server = full.server
    ada, eve = members(server, client_factory, "ada", "eve")
    talk = Talk(ada)
    for _ in range(20):
        talk.say()
    kept = {"kept.txt": b"kept" * 2000}
    Upload(ada, "lobby", "kept.txt", kept["kept.txt"]).run()
    begun = Upload(ada, "lobby", "begun.txt", b"begun" * 2000)
    begun.init()
    for number in range(1, 6):
        begun.send(number)
    full.fill()

    refused = talk.say_until_refused()
    assert (error_code(refused), refused["original_action"]) == ("storage_full", "confirm_count"), (
        refused
    )
    # A later, smaller change may still fit into what is left; so each is tried until it does not.
    talk.say_until_refused(size=3000)
    made = [ada.ask("create_room", participants=[], room_name="r" * 60) for _ in range(40)]
    assert {error_code(reply) for reply in made if reply["action"] == "error"} <= {"storage_full"}
    replies = [begun.send(number) for number in range(6, begun.total + 1)] + [begun.fin()]
    codes = {error_code(reply) for reply in replies if reply["action"] == "error"}
    assert codes <= {"storage_full", "incomplete_file"}, replies
    big = Upload(ada, "lobby", "big.txt", b"b" * 4_000_000, chunk=200_000)
    opened = big.init()
    if opened["action"] == "error":
        assert error_code(opened) == "storage_full"
    elif isinstance(full, FullFileSystem):
        assert error_code(big.send(1)) == "storage_full"
    # Reads go on, for whoever is on.
    for reader in (ada, eve):
        talk.check(reader)
        check_files(reader, "lobby", kept)
        assert reader.ask("get_users")["action"] == "users_list"
    heard = {
        packet["data"]["content"]
        for packet in eve.nothing_before_pong()
        if packet["action"] == "receive_message"
    }
    assert heard == set(talk.acknowledged), "delivered is what was stored, no more and no less"

    full.make_room()
    reply = talk.say()
    assert reply["action"] == "ack", f"it was to recover by itself: {reply}"
    finished = begun.init(transaction_id="again")
    if finished["action"] == "file_send_init":
        begun.send_all()
        finished = begun.fin()
    assert finished["action"] == "file_send_fin", finished
    kept["begun.txt"] = b"begun" * 2000
    talk.check(eve)
    check_files(eve, "lobby", kept)

    assert server.is_running()
    assert "Traceback" not in server.log(), server.log()
    server.kill()
    server.start()
    (again,) = members(server, client_factory, "eve")
    talk.check(again)
    check_files(again, "lobby", kept)
    assert server.stop() == 0


@needs_prlimit
def test_a_full_disk_refuses_what_must_be_stored_and_lets_users_come_back(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    ada, eve = members(server, client_factory, "ada", "eve")
    eve.ask("logout")
    stranger, returning = client_factory(server), client_factory(server)
    limit_file_size(server.pid, 1)
    try:
        for reply in (stranger.register("bob"), stranger.login("eve")):
            assert error_code(reply) == "storage_full", reply
        assert ada.ask("get_users")["action"] == "users_list", "who was on is on"
        back = returning.login("ada", None, session_key=ada.session_key)
        assert back["action"] == "login_success", (
            "who lost the connection comes back by the key, which stores nothing"
        )
        assert returning.ask("get_users")["action"] == "users_list"
        # Between a write that fails and the look whether there is room none must come.
        until(lambda: "end of ada's session was not stored" in server.log(), "it was not tried")
    finally:
        limit_file_size(server.pid, None)
    assert stranger.register("bob")["action"] == "register_success"
    assert stranger.login("bob")["action"] == "login_success"


def test_the_list_of_rooms_with_what_is_unread_is_read_on_a_full_disk_too(
    full: Full, client_factory: Callable[..., RawClient]
) -> None:
    ada, eve = members(full.server, client_factory, "ada", "eve")
    Talk(ada).say()
    full.fill()
    Talk(ada).say_until_refused()
    for reader in (ada, eve):
        reply = reader.ask("get_rooms")
        assert reply["action"] == "rooms_list", reply
    full.make_room()


# -- a journal that can't be written ---------------------------------------------------------------


def journal_contents(server: ServerProcess) -> list[str]:
    """The contents of all messages in the journal, read by the framing alone."""
    contents = []
    for path in sorted((server.data_dir / "journal").glob("room-*/*.frames")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:4], "big")
            assert len(data) >= 4 + length, f"half a frame in {path}"
            contents.append(json.loads(data[4 : 4 + length])["data"]["content"])
            data = data[4 + length :]
    return contents


def test_a_journal_that_could_not_be_written_gets_what_it_lacks(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    (ada,) = members(server, client_factory, "ada")
    talk = Talk(ada)
    for _ in range(3):
        talk.say()
    in_the_way = server.data_dir / "journal" / "room-000002"
    in_the_way.write_text("a file where the journal of the second room wants its folder")
    other = Talk(ada, "second room")
    for _ in range(3):
        assert other.say()["action"] == "ack", (
            "the journal is a copy: its trouble is not the chat's"
        )
    talk.say()
    in_the_way.unlink()
    deadline = time.monotonic() + patience(10)
    expected = sorted([*talk.acknowledged, *other.acknowledged])
    while sorted(journal_contents(server)) != expected:
        assert time.monotonic() < deadline, (
            f"{len(journal_contents(server))} of {len(expected)} frames\n{server.log()}"
        )
        time.sleep(0.05)
    assert [
        content for content in journal_contents(server) if content in talk.acknowledged
    ] == list(talk.acknowledged)
    talk.say()
    server.kill()
    server.start()
    assert sorted(journal_contents(server)) == sorted([*talk.acknowledged, *other.acknowledged]), (
        "nothing twice after a restart"
    )


# -- a database that another process keeps ---------------------------------------------------------


def test_a_database_locked_for_a_while_delays_and_loses_nothing(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    ada, eve = members(server, client_factory, "ada", "eve")
    talk = Talk(ada)
    talk.say()
    with locked_by_another_process(server.data_dir / "chat.db"):
        speaker = threading.Thread(target=talk.say)
        speaker.start()
        speaker.join(0.7)
        assert speaker.is_alive(), "acknowledged while nothing could be stored"
        begin = time.monotonic()
        assert len(history(eve, "lobby")) == 1, "reads go on"
        assert time.monotonic() - begin < patience(3)
    speaker.join(patience(10))
    assert len(talk.acknowledged) == 2
    talk.check(eve)


@pytest.mark.long
def test_a_database_locked_for_longer_refuses_and_goes_on(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    ada, eve = members(server, client_factory, "ada", "eve")
    talk = Talk(ada)
    talk.say()
    with locked_by_another_process(server.data_dir / "chat.db"):
        reply = talk.say()
        assert error_code(reply) == "internal_error", reply
    assert talk.say()["action"] == "ack"
    talk.check(eve)
    until(lambda: "kept busy by another process" in server.log(), "nothing is logged")


# -- a disk that fails -----------------------------------------------------------------------------


def end_of(server: ServerProcess) -> int:
    """Its exit status, when it ends by itself."""
    deadline = time.monotonic() + patience(15)
    while server.is_running():
        assert time.monotonic() < deadline, f"it was to end\n{server.log()}"
        time.sleep(0.05)
    return server.stop()


def reply_or_silence(ask: Callable[[], Packet]) -> Packet | None:
    try:
        return ask()
    except (ClosedByServer, NothingCame, OSError):
        return None


def fail_and_look(
    server: ServerProcess,
    client_factory: Callable[..., RawClient],
    calls: str,
    fault: str,
    act: Callable[[RawClient, Talk], None],
) -> None:
    """While `calls` fail, `act`; then the server must have ended clearly, and what was acknowledged
    must be there."""
    (ada,) = members(server, client_factory, "ada")
    talk = Talk(ada)
    for _ in range(10):
        talk.say()
    kept = {"kept.txt": b"kept" * 500}
    Upload(ada, "lobby", "kept.txt", kept["kept.txt"]).run()
    before = dict(talk.acknowledged)
    with failing_calls(server.pid, calls, fault):
        act(ada, talk)
        status = end_of(server)
    assert talk.acknowledged == before, "acknowledged although the disk had failed"
    assert status > 0, f"exit status {status}"
    said = [line for line in server.log().splitlines() if line.startswith("chat_server.py: ")]
    assert len(said) == 1 and "the disk failed" in said[0], f"no clear last line\n{server.log()}"
    server.start()
    (again,) = members(server, client_factory, "ada")
    talk.check(
        again, refused_are_gone=False
    )  # what was refused may be there: nobody knows what a failed sync has left
    check_files(again, "lobby", kept)
    talk.client = again
    assert talk.say()["action"] == "ack"
    talk.check(again, refused_are_gone=False)


def say_in_vain(client: RawClient, talk: Talk) -> None:
    reply_or_silence(talk.say)


def upload_in_vain(client: RawClient, talk: Talk) -> None:
    upload = Upload(client, "lobby", "new.txt", b"new" * 500)

    def fin() -> Packet:
        opened = upload.init()
        if opened["action"] == "error":
            return opened
        for number in range(1, upload.total + 1):
            taken = upload.send(number)
            if taken["action"] == "error":
                return taken
        return upload.fin()

    reply = reply_or_silence(fin)
    assert reply is None or reply["action"] == "error", (
        f"a success although the disk had failed: {reply}"
    )


@needs_strace
@pytest.mark.parametrize("calls", ["fsync,fdatasync", "pwrite64"], ids=["sync", "write"])
def test_a_message_whose_sync_or_write_fails_is_not_acknowledged_and_the_server_ends(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient], calls: str
) -> None:
    fail_and_look(start_server(*OPTIONS), client_factory, calls, "error=EIO", say_in_vain)


@needs_strace
@pytest.mark.parametrize(
    ("calls", "number"),
    [
        pytest.param("fsync", 1, marks=pytest.mark.long),
        ("fsync", 2),
        ("fsync", 3),
        pytest.param("fdatasync", 1, marks=pytest.mark.long),
        ("fdatasync", 2),
    ],
    ids=[
        "folder of the new file",
        "its bytes",
        "its final name",
        "commit of its beginning",
        "commit of its end",
    ],
)
def test_an_upload_of_which_any_sync_fails_is_not_acknowledged_and_never_half_listed(
    start_server: Callable[..., ServerProcess],
    client_factory: Callable[..., RawClient],
    calls: str,
    number: int,
) -> None:
    """strace counts the calls of each thread: fsync is that of the uploader's thread, fdatasync
    that of SQLite in the writer."""
    fail_and_look(
        start_server(*OPTIONS), client_factory, calls, f"error=EIO:when={number}+", upload_in_vain
    )


@needs_strace
def test_after_a_failed_sync_of_an_upload_nothing_is_acknowledged_to_anybody(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    ada, eve = members(server, client_factory, "ada", "eve")
    talk = Talk(eve)
    counted = [
        eve.propose("lobby", f"after the failure {number}")["data"]["transaction_id"]
        for number in range(5)
    ]
    with failing_calls(server.pid, "fsync", "error=EIO"):
        upload_in_vain(ada, talk)
        replies = [reply_or_silence(lambda: eve.confirm(transaction)) for transaction in counted]  # noqa: B023 (called at once)
        assert end_of(server) > 0
    assert not [reply for reply in replies if reply is not None and reply["action"] == "ack"], (
        replies
    )


@needs_strace
def test_a_sync_that_fails_while_the_writer_is_idle_ends_the_server_too(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    (ada,) = members(server, client_factory, "ada")
    talk = Talk(ada)
    with failing_calls(server.pid, "fsync,fdatasync", "error=EIO:when=2"):
        # the first sync is its commit; the second puts down how far the journal goes, and what ada
        # has read
        talk.say()
        assert end_of(server) > 0
    assert "the disk failed" in server.log().splitlines()[-1], server.log()


@pytest.mark.long
@needs_strace
def test_a_disk_that_is_too_slow_keeps_nobody_from_stopping_the_server(
    start_server: Callable[..., ServerProcess], client_factory: Callable[..., RawClient]
) -> None:
    server = start_server(*OPTIONS)
    (ada,) = members(server, client_factory, "ada")
    Talk(ada).say()
    transaction = ada.propose("lobby", "on its way")["data"]["transaction_id"]
    time.sleep(
        1.5
    )  # by then the writer has put down how far the journal goes, and syncs only for us
    with failing_calls(server.pid, "fsync,fdatasync", "delay_enter=12000000:when=1"):
        ada.send(
            {"action": "confirm_count", "data": {"transaction_id": transaction, "confirm": True}}
        )
        time.sleep(0.3)
        os.kill(server.pid, signal.SIGTERM)
        begin = time.monotonic()
        # The log, and not the end of the process, which strace holds back until its delay is over.
        while not server.log().endswith("closed") and time.monotonic() < begin + patience(10):
            time.sleep(0.05)
        seconds = time.monotonic() - begin
    assert seconds < 6.5, f"stopping took {seconds:.1f} s"
    assert "writer" in server.log().splitlines()[-2], (
        f"what still ran is to be named\n{server.log()}"
    )
