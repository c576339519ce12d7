"""A connection cut at every byte: the client goes on by itself, and exactly one row and one file
version result.

A proxy of our own stands between our client and a real server. Whether something was stored once is
read from the database, by plain SQL, and heard by a witness who is connected without the proxy.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.files import download
from support.patience import patience
from support.proxy import DIRECTIONS, TO_CLIENT, TO_SERVER, Proxy, Treatment, frame_ends
from support.raw_client import RawClient
from support.server_process import ServerProcess

import client.transfers
from client.connection import Connection
from client.errors import ConnectionLost

SERVER_OPTIONS = ("--rate-limit", "0", "--quota", "0")
PAUSES = (0.002, 0.01, 0.05)
CHUNK_BYTES = 48
SPREAD = 24
"""Offsets of the short form in each direction, besides those at the ends of frames."""

_numbers = itertools.count(1)


class Crossing:
    """A user behind a proxy of their own, and what that user did so far."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.proxy = Proxy(server.port)
        # with events, so that a place that was taken over would be told: a session that is told
        # nothing does not come back from every cut
        self.chat = Connection(
            "127.0.0.1", self.proxy.port, pauses=PAUSES, timeout=patience(5.0), features=("events",)
        )
        self.chat.register(name, "password")
        self.chat.login(name, "password")

    def close(self) -> None:
        self.chat.close()
        self.proxy.close()

    def settle(self) -> None:
        """Wait until the client is back and nothing is under way; it may be about to notice only
        now that it was cut."""
        deadline = time.monotonic() + patience(20)
        while True:
            assert time.monotonic() < deadline, "the client did not come back"
            try:
                self.chat.ping()
                return
            except ConnectionLost:
                self.chat.wait_until_online(10)

    def run(
        self, act: Callable[[], None], direction: str, offset: int, *, reset: bool = False
    ) -> bool:
        """Do it on a connection that is cut at this offset, counted from its beginning; whether
        there was a cut."""
        self.settle()
        before = self.proxy.cuts
        self.proxy.cut_after(direction, offset, reset=reset)
        act()
        self.proxy.pass_all()
        return self.proxy.cuts > before

    def length(self, act: Callable[[], None], direction: str) -> tuple[int, list[int]]:
        """How many bytes it takes without a cut, and where frames end in them."""
        self.settle()
        self.proxy.record()
        act()
        stream = self.proxy.recorded(direction)
        ends = frame_ends(stream)
        assert ends and ends[-1] == len(stream), "not whole frames"
        return len(stream), ends


@pytest.fixture
def crossing(server: ServerProcess) -> Iterator[Callable[[str], Crossing]]:
    made: list[Crossing] = []

    def make(name: str) -> Crossing:
        made.append(Crossing(server, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 130 bytes then have three chunks."""
    monkeypatch.setattr(client.transfers, "CHUNK_BYTES", CHUNK_BYTES)


def spread(length: int, ends: list[int]) -> list[int]:
    """Some offsets: at each end of a frame, at the end of its length, a byte before and behind; the
    rest evenly."""
    at_frames = {end + step for end in [0, *ends] for step in (-1, 0, 1, 3, 4, 5)}
    evenly = {length * number // SPREAD for number in range(SPREAD)}
    return sorted(offset for offset in at_frames | evenly if 0 <= offset <= length)


def every(length: int, ends: list[int]) -> list[int]:
    return list(range(length + 1))


def rows(server: ServerProcess, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database holds, without asking the server."""
    connection = sqlite3.connect(
        f"{(server.data_dir / 'chat.db').resolve().as_uri()}?mode=ro",
        uri=True,
        timeout=patience(10),
    )
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


class Witness:
    """A member without the proxy, who counts what comes, by content or name. Must be read now and
    then, as any client."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._heard: Counter[tuple[str, str]] = Counter()

    def read(self) -> None:
        for packet in self._client.nothing_before_pong():
            data = packet["data"]
            self._heard[
                packet["action"],
                data["content"] if packet["action"] == "receive_message" else data["file_path"],
            ] += 1

    def heard(self, action: str) -> Counter[str]:
        self.read()
        return Counter(
            {what: count for (kind, what), count in self._heard.items() if kind == action}
        )


def cut_messages(
    server: ServerProcess,
    crossing: Callable[[str], Crossing],
    witness: Witness,
    offsets_of: Callable[[int, list[int]], list[int]],
) -> tuple[int, int]:
    """(exchanges, cuts) after a message exchange was cut at each of the offsets, in both
    directions, by end and by reset."""
    user = crossing(f"cutter{next(_numbers)}")
    room = f"room of {user.chat.session.chatid if user.chat.session else ''}"
    user.chat.send(room, "before the first")
    stored: dict[str, int | None] = {}

    def say(content: str) -> None:
        stored[content] = user.chat.send(room, content, timeout=patience(20)).message_id

    cuts = 0
    for direction in DIRECTIONS:
        length, ends = user.length(lambda: say(f"whole way {direction}"), direction)  # noqa: B023 (called at once)
        assert len(ends) == 2, (
            "send_message and confirm_count one way, character_count and ack the other"
        )
        for reset in (False, True):
            for offset in offsets_of(length, ends):
                content = f"{direction} {offset}{' reset' if reset else ''}".ljust(24, ".")
                cuts += user.run(lambda: say(content), direction, offset, reset=reset)  # noqa: B023
                witness.read()
    found = rows(
        server,
        "SELECT content, id FROM messages JOIN rooms ON pk = room_pk WHERE room_id = ?",
        room,
    )
    assert Counter(content for content, _ in found) == Counter(["before the first", *stored]), (
        "not each message exactly once"
    )
    assert {content: number for content, number in found if content in stored} == stored, (
        "another id than was acknowledged"
    )
    assert witness.heard("receive_message") == Counter(["before the first", *stored]), (
        "the witness heard otherwise"
    )
    return len(stored), cuts


def cut_uploads(
    server: ServerProcess,
    crossing: Callable[[str], Crossing],
    witness: Witness,
    offsets_of: Callable[[int, list[int]], list[int]],
    folder: Path,
    resets: tuple[bool, ...],
) -> tuple[int, int]:
    """The same for an upload of three chunks: every file has one version, with the right bytes."""
    user = crossing(f"cutter{next(_numbers)}")
    room = f"room of {user.chat.session.chatid if user.chat.session else ''}"
    sent: dict[str, str] = {}

    def give(name: str) -> None:
        data = (name * 200).encode()[: CHUNK_BYTES * 2 + 34]
        (folder / name).write_bytes(data)
        result = client.transfers.upload(user.chat, room, folder / name, patience=20)
        assert (result.stored_as, result.sha256) == (name, hashlib.sha256(data).hexdigest())
        sent[name] = result.sha256

    cuts = 0
    give("whole.first.txt")
    for number, direction in enumerate(DIRECTIONS):
        length, ends = user.length(lambda: give(f"whole.{number}.txt"), direction)  # noqa: B023
        assert len(ends) == 5, "init, three chunks and fin, each answered"
        for reset in resets:
            for offset in offsets_of(length, ends):
                name = f"{number}{'r' if reset else 'e'}{offset:05d}.txt"
                cuts += user.run(lambda: give(name), direction, offset, reset=reset)  # noqa: B023
                witness.read()
    found = rows(
        server,
        "SELECT stored_as, sha256, disk_name FROM files JOIN rooms ON pk = room_pk"
        " WHERE room_id = ?",
        room,
    )
    assert Counter(name for name, _, _ in found) == Counter(list(sent)), (
        "not each file in exactly one version"
    )
    for name, sha256, disk_name in found:
        on_disk = hashlib.sha256((server.data_dir / "uploads" / disk_name).read_bytes()).hexdigest()
        assert on_disk == sha256 == sent[name], name
    assert rows(server, "SELECT file_name FROM open_uploads") == [], "an upload was left open"
    assert not list((server.data_dir / "uploads").glob("*.part")), "half a file was left"
    assert witness.heard("receive_file") == Counter(list(sent)), "the witness heard otherwise"
    return len(sent), cuts


def test_a_message_cut_anywhere_is_stored_once_and_its_sender_goes_on(
    server: ServerProcess, crossing: Callable[[str], Crossing], user: Callable[..., RawClient]
) -> None:
    exchanges, cuts = cut_messages(server, crossing, Witness(user()), spread)
    assert cuts >= exchanges - 10, "the proxy was meant to cut"


def test_an_upload_cut_anywhere_makes_one_version_and_its_sender_goes_on(
    server: ServerProcess,
    crossing: Callable[[str], Crossing],
    user: Callable[..., RawClient],
    tmp_path: Path,
    small_chunks: None,
) -> None:
    exchanges, cuts = cut_uploads(server, crossing, Witness(user()), spread, tmp_path, (False,))
    assert cuts >= exchanges - 10, "the proxy was meant to cut"


@pytest.mark.long
def test_a_message_cut_at_every_byte(
    server: ServerProcess, crossing: Callable[[str], Crossing], user: Callable[..., RawClient]
) -> None:
    exchanges, cuts = cut_messages(server, crossing, Witness(user()), every)
    print(f"messages: {exchanges} exchanges, {cuts} cuts, each stored once")
    assert cuts >= exchanges - 10


@pytest.mark.long
def test_an_upload_cut_at_every_byte(
    server: ServerProcess,
    crossing: Callable[[str], Crossing],
    user: Callable[..., RawClient],
    tmp_path: Path,
    small_chunks: None,
) -> None:
    exchanges, cuts = cut_uploads(server, crossing, Witness(user()), every, tmp_path, (False, True))
    print(f"uploads: {exchanges} uploads, {cuts} cuts, each stored once")
    assert cuts >= exchanges - 10


def test_bytes_that_come_one_by_one_and_late_change_nothing(
    server: ServerProcess,
    crossing: Callable[[str], Crossing],
    user: Callable[..., RawClient],
    tmp_path: Path,
    small_chunks: None,
) -> None:
    witness = user()
    slow = crossing(f"slow{next(_numbers)}")
    for direction in DIRECTIONS:
        slow.proxy.treat(direction, Treatment(piece_bytes=1))
    first = slow.chat.send("slow room", "a byte at a time ✓")
    for direction in DIRECTIONS:
        slow.proxy.treat(direction, Treatment(piece_bytes=97, delay_seconds=0.01))
    second = slow.chat.send("slow room", "in pieces, and each of them late")
    (tmp_path / "slow.txt").write_bytes(b"x" * 130)
    client.transfers.upload(slow.chat, "slow room", tmp_path / "slow.txt", patience=20)
    found = rows(
        server,
        "SELECT id FROM messages JOIN rooms ON pk = room_pk WHERE room_id = 'slow room'"
        " ORDER BY id",
    )
    assert [number for (number,) in found] == [first.message_id, second.message_id]
    assert Witness(witness).heard("receive_message").total() == 2
    assert download(witness, "slow room", "slow.txt")[0] == b"x" * 130
    assert slow.proxy.cuts == 0


# -- the proxy itself: what it is ordered, it does exactly -----------------------------------------


class Parrot:
    """A server that notes what it gets and answers each byte by two."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except ConnectionError:  # Windows: it was reset before it was taken
                continue
            except OSError:
                return
            with sock:
                got = b""
                try:
                    while data := sock.recv(1000):
                        got += data
                        sock.sendall(data * 2)
                except OSError:
                    got += b"!"
                self.got.append(got)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(patience(5))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 7, 10])
def test_the_proxy_cuts_behind_exactly_the_byte_it_was_told(offset: int, reset: bool) -> None:
    parrot = Parrot()
    try:
        with Proxy(parrot.port) as proxy:
            proxy.cut_after(TO_SERVER, offset)
            one = RawClient(proxy.port)
            one.send_bytes(b"0123456789")
            answered = read_all(one)
            one.close()
            assert b"0123456789"[:offset] * 2 == answered or answered == b"", (
                "the answer may be lost with the connection"
            )
            proxy.cut_after(TO_CLIENT, offset, reset=reset)
            two = RawClient(proxy.port)
            two.send_bytes(b"0123456789")
            answered = read_all(two)
            two.close()
            if reset:
                assert b"01234567890123456789"[:offset].startswith(answered), (
                    "a reset takes away what was not read"
                )
            else:
                assert answered == b"01234567890123456789"[:offset]
            three = RawClient(proxy.port)
            three.send_bytes(b"all")
            three.end_sending()
            assert read_all(three) == b"allall"
            three.close()
            assert proxy.cuts == 2
    finally:
        parrot.close()
    assert parrot.got[0].rstrip(b"!") == b"0123456789"[:offset]
    assert parrot.got[2] == b"all"


def read_all(one: RawClient) -> bytes:
    got = b""
    try:
        while data := one.socket.recv(1000):
            got += data
    except OSError:
        pass
    return got
