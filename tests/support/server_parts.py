"""Fakes of what lies below a part of the server, so that it is tested alone: no socket, no network.

A `FakeOutbox` remembers each send; a `FakeStream` gives what the test has put in.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

from server.base.limits import MemoryBudget
from server.base.settings import Settings
from server.net.outbox import Outbox
from server.net.sockets import Stream
from server.state.downloads import Downloads
from server.state.open_transactions import Transactions
from server.state.room_directory import RoomState
from server.state.session import Connection, Session
from storage.rooms import Room
from storage.upload_files import UploadFiles


class FakeOutbox:
    """An outbox whose client takes everything at once, unless `waiting` is set."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        """What was sent, one entry a send."""
        self.forwarded: list[int] = []
        """How many bytes of each send others had caused."""
        self.waiting = 0
        self.broken: str | None = None

    def put(self, data: bytes, forwarded: int = 0) -> None:
        if self.broken is None:
            self.sent.append(data)
            self.forwarded.append(forwarded)

    def wait_below(self, size: int, seconds: float) -> bool:
        self.waiting = 0
        return True

    def close(self, why: str) -> None:
        self.broken = self.broken or why

    def nudge(self) -> None:
        pass

    def discard(self) -> None:
        self.broken = self.broken or "closed"


class FakeStream:
    """A stream that gives what the test has put in, then the end of the stream."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.calls: list[str] = []
        self.socket = self

    def receive(self, size: int) -> bytes:
        self.calls.append("receive")
        return self.chunks.pop(0) if self.chunks else b""

    def shut(self, how: int = 2) -> None:
        self.calls.append("shut")

    def stop_reading(self) -> None:
        self.calls.append("stop_reading")

    def discard_rest(self, seconds: float) -> None:
        self.calls.append("discard_rest")

    def close(self) -> None:
        self.calls.append("close")


_numbers = itertools.count(1)


def connection(stream: FakeStream | None = None, address: str = "192.0.2.1") -> Connection:
    """A connection with a fake stream and a fake outbox."""
    return Connection(
        f"client-{next(_numbers)}",
        address,
        cast(Stream, stream or FakeStream()),
        cast(Outbox, FakeOutbox()),
        MemoryBudget(0),
        None,
    )


def sent(peer: Connection | Session) -> list[bytes]:
    """What was sent to the client, one entry a send."""
    return outbox_of(peer).sent


def outbox_of(peer: Connection | Session) -> FakeOutbox:
    """The fake outbox of the client."""
    where = peer.connection if isinstance(peer, Session) else peer
    return cast(Any, where.outbox)


def session(account_id: int, *features: str, on: Connection | None = None) -> Session:
    """A session of the account `user<account_id>`; the registry does not know it yet."""
    name, peer = f"user{account_id}", on or connection()
    downloads = Downloads(peer.name, peer.outbox, peer.close, cast(UploadFiles, None), Settings())
    made = Session(
        account_id,
        name,
        name,
        1,
        b"key",
        frozenset(features),
        peer,
        Transactions(64, MemoryBudget(0)),
        downloads,
    )
    peer.session = made
    return made


def open_room(pk: int, *departed: int) -> RoomState:
    """An open room that the accounts `departed` have left."""
    return RoomState(
        Room(pk, f"room{pk}", f"room{pk}", None, False, False), frozenset(), frozenset(departed)
    )


def private_room(pk: int, *members: int) -> RoomState:
    """A private room of these accounts; the first one owns it."""
    return RoomState(
        Room(pk, f"p-{pk}", f"room{pk}", members[0], True, False), frozenset(members), frozenset()
    )
