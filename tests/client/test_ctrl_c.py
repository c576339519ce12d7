"""Ctrl-C ends every wait of the client soon, on Windows too: there no signal interrupts a wait for
a lock, so that it is heard when the wait is over."""

from __future__ import annotations

import selectors
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client_fakes import FakeServer, Hangup, Packet, Peer, good

from client import transfers
from client.base.deadline import Deadline
from client.base.waiting import SLICE_SECONDS
from client.connection import Connection
from client.errors import ConnectionLost
from client.network.first_contact import identify_service


class CtrlC:
    """Ctrl-C as Windows hears it: after the wait of the main thread during which it was pressed."""

    def __init__(self) -> None:
        self.is_pressed = False
        self.seconds: list[float] = []
        """For how long that wait would have gone on at most."""

    def press(self, *_: object) -> None:
        """Press it; as a handler of the server's, give no answer either."""
        self.is_pressed = True

    def after(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        """Return `wait`, whose timeout is the last argument, with Ctrl-C heard behind it."""

        def waited(*arguments: Any, **named: Any) -> Any:
            result = wait(*arguments, **named)
            seconds = named.get("timeout", arguments[-1] if arguments else None)
            is_main = threading.current_thread() is threading.main_thread()
            # `Thread.start` waits for the thread's first step, with None.
            if self.is_pressed and is_main and isinstance(seconds, float):
                self.is_pressed = False
                self.seconds.append(seconds)
                raise KeyboardInterrupt
            return result

        return waited


class BusyLock:
    """A lock that another thread holds for good."""

    def acquire(self, timeout: float) -> bool:
        """Get nothing."""
        return False


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> CtrlC:
    """Every way of waiting hears it."""
    key = CtrlC()
    for owner, name in (
        (threading.Condition, "wait"),
        (threading.Thread, "join"),
        (selectors.DefaultSelector, "select"),
        (BusyLock, "acquire"),
    ):
        monkeypatch.setattr(owner, name, key.after(getattr(owner, name)))
    return key


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(good) as fake:
        yield fake


@pytest.fixture
def chat(server: FakeServer) -> Iterator[Connection]:
    connection = Connection("127.0.0.1", server.port, pauses=(60.0,))
    connection.login("ada", "secret")
    yield connection
    connection.close()


def no_answer(_: Peer, packet: Packet) -> None:
    """The handler of a server that says nothing."""


def hang_up(_: Peer, packet: Packet) -> None:
    raise Hangup


def wait_to_connect(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["ping"] = key.press
    with Connection("127.0.0.1", server.port):
        pass


def wait_for_who_answers(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.scripts = (lambda peer: (key.press(), peer.sock.recv(1)),)
    identify_service("127.0.0.1", server.port, Deadline(60.0))


def wait_for_an_answer(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["get_rooms"] = key.press
    chat.request("get_rooms")


def wait_for_an_event(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    key.press()
    chat.next_event()


def wait_until_a_message_is_stored(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["send_message"] = key.press
    chat.send("lobby", "Hello")


def wait_for_own_messages_at_the_end(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["send_message"] = no_answer
    chat.post("lobby", "Hello")
    key.press()
    chat.close(grace_seconds=60.0)


def wait_for_the_connection(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["typing"] = hang_up
    with pytest.raises(ConnectionLost):
        chat.request("typing", {"room_id": "lobby"})
    key.press()
    chat.request("get_rooms")


def wait_for_the_thread_before(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    stays, reader = threading.Event(), chat._reader
    before, reader._thread = reader._thread, threading.Thread(target=stays.wait, args=(60.0,))
    reader._thread.start()
    key.press()
    try:
        reader.begin(Deadline(60.0))
    finally:
        stays.set()
        reader._thread = before


def wait_for_another_upload(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    key.press()
    transfers.upload(chat, "lobby", __file__)


def wait_for_a_file(server: FakeServer, chat: Connection, key: CtrlC) -> None:
    server.handlers["file_down_req"] = key.press
    transfers.download(chat, "lobby", "notes.txt", ".")


@pytest.mark.parametrize(
    "wait",
    [
        wait_to_connect,
        wait_for_who_answers,
        wait_for_an_answer,
        wait_for_an_event,
        wait_until_a_message_is_stored,
        wait_for_own_messages_at_the_end,
        wait_for_the_connection,
        wait_for_the_thread_before,
        wait_for_another_upload,
        wait_for_a_file,
    ],
)
def test_ctrl_c_is_heard_within_a_slice_of_a_second(
    wait: Callable[[FakeServer, Connection, CtrlC], None],
    server: FakeServer,
    chat: Connection,
    ctrl_c: CtrlC,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    if wait is wait_for_another_upload:
        monkeypatch.setattr(transfers, "_one_upload", BusyLock())
    with pytest.raises(KeyboardInterrupt):
        wait(server, chat, ctrl_c)
    assert len(ctrl_c.seconds) == 1 and 0 < ctrl_c.seconds[0] <= SLICE_SECONDS
