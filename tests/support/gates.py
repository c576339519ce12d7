"""Points at which a thread of the server is stopped until the test lets it go on, and clients that
ask without waiting.

Owns the order of two things that the server does on different threads: a test stops one behind its
check, has the other done, and lets the first go on. Every wait has a deadline.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.running.service import Service
from storage import accounts, rooms
from support.patience import patience
from support.raw_client import Packet, RawClient

WAIT_SECONDS = patience(10.0)


class Gate:
    """A function of the server that waits, before it does anything, until `open` is called.

    Only threads whose name begins with `threads` are stopped.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, threads: str = "client-"
    ) -> None:
        self._arrived, self._is_open = threading.Event(), threading.Event()
        real: Callable[..., Any] = getattr(owner, name)

        def stopped(*args: Any, **options: Any) -> Any:
            if threading.current_thread().name.startswith(threads):
                self._arrived.set()
                assert self._is_open.wait(WAIT_SECONDS), f"the gate of {name} stays shut"
            return real(*args, **options)

        patch.setattr(owner, name, stopped)

    def wait_for_arrival(self) -> None:
        """Return when a thread of the server stands at the gate."""
        assert self._arrived.wait(WAIT_SECONDS), "nobody came to the gate"

    def open(self) -> None:
        """Let who waits, and whoever comes later, go on."""
        self._is_open.set()


class HeldWriter:
    """The writer's thread in the midst of a transaction, until the block ends; what is handed in
    meanwhile is done in that order, in the next transactions."""

    def __init__(self, service: Service, patch: pytest.MonkeyPatch) -> None:
        self._service = service
        self._is_held, self._let_go = threading.Event(), threading.Event()
        self._submitted = threading.Semaphore(0)
        real = service.writer.submit

        def submit(change: Any) -> None:
            real(change)
            if threading.current_thread().name != "watch":  # it removes old uploads now and then
                self._submitted.release()

        patch.setattr(service.writer, "submit", submit)

    def __enter__(self) -> HeldWriter:
        def hold(_: sqlite3.Connection) -> None:
            self._is_held.set()
            assert self._let_go.wait(WAIT_SECONDS), "the writer is not let go"

        self._service.writer.later(hold)
        assert self._is_held.wait(WAIT_SECONDS), "the writer does not come"
        self.wait_for_change()  # its own
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()

    def wait_for_change(self) -> None:
        """Return when one more change has been handed in."""
        assert self._submitted.acquire(timeout=WAIT_SECONDS), "no change was handed in"


@contextmanager
def another_process(service: Service) -> Iterator[sqlite3.Connection]:
    """A transaction as `chat_server.py passwd` makes it, beside the server; it is committed at the
    end of the block."""
    connection = sqlite3.connect(service.database.path, isolation_level=None, timeout=WAIT_SECONDS)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def account_id(service: Service, chatid: str) -> int:
    """The number of an account."""
    with service.database.reading() as reader:
        account = accounts.find(reader, chatid.casefold())
    assert account is not None
    return account.id


def take_out(
    service: Service,
    room_id: str,
    chatid: str,
    then: Callable[[sqlite3.Connection, int], object] = lambda connection, pk: None,
) -> None:
    """Take somebody out of a private room, as its owner does it, and do `then` in the room, all in
    one transaction of the writer."""
    gone = account_id(service, chatid)

    def change(connection: sqlite3.Connection) -> None:
        room = rooms.find(connection, room_id)
        assert room is not None
        service.context.rooms.begin_change(room_id)
        rooms.remove_member(connection, room.pk, gone)
        then(connection, room.pk)

    service.writer.run(change)


# --- Clients that do not wait for their answers ---------------------------------------------------

_numbers = itertools.count(1)


def ask_later(client: RawClient, action: str, /, **data: Any) -> str:
    """Send a request without waiting for its reply; its request_id."""
    request_id = f"later-{next(_numbers)}"
    packet = {"action": action, "data": {**client.identity(action), **data}}
    client.send({**packet, "request_id": request_id})
    return request_id


def login_later(client: RawClient, chatid: str, **data: Any) -> None:
    client.send({"action": "login", "data": {"chatid": chatid, **data}})


def answer(client: RawClient, request_id: str) -> Packet:
    return client.receive_where(lambda packet: packet.get("request_id") == request_id)
