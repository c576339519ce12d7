"""`--timeout` is the time for the whole: a name server that is silent, several dead addresses, the
looks at who answers, and lists without end are all within it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.client_fakes import FakeServer, Packet, Peer
from support.patience import patience
from support.scripts_in_process import alone, call

from client.base import waiting
from client.base.deadline import Deadline
from client.connection import Connection
from client.errors import CannotConnect, NoAnswer
from client.network import dialing
from client.network.dialing import Address, LookUpTimedOut, connect_to, dial, look_up, share
from client.scripts.script_connection import DeadlineConnection

__all__ = ["alone"]
NAME = "teachers-laptop"
LOGIN = ("-u", "ada", "--password-file", "secret")
REAL_LOOK_UP = socket.getaddrinfo


@pytest.fixture
def silent_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody tells where NAME is, until the test ends."""
    over = threading.Event()

    def wait(host: str, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if host == NAME and not flags & socket.AI_NUMERICHOST:
            over.wait(patience(60))
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return REAL_LOOK_UP(host, *arguments, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield
    over.set()
    for thread in threading.enumerate():
        if thread.name == "chat-lookup":
            thread.join(patience(10))


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME has two addresses."""

    def both(host: str, port: int, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if host == NAME and flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if host == NAME:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
            return [(*kind, (address, port)) for address in ("127.0.0.9", "127.0.0.1")]
        return REAL_LOOK_UP(host, port, *arguments, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", both)


# --- Reaching a server ----------------------------------------------------------------------------


@pytest.mark.usefixtures("silent_name_server")
def test_a_silent_name_server_is_named_when_the_time_is_over() -> None:
    with pytest.raises(LookUpTimedOut):
        look_up(NAME, 9876, Deadline(0.05))
    words = f"The name '{NAME}' could not be looked up within 0.2 seconds."
    result = call(NAME, *LOGIN, "who", "--timeout", "0.2")
    assert (result.status, result.err.splitlines()[0]) == (3, words)
    assert "no name server answers" in result.err
    doctor = call("doctor", NAME, "--timeout", "0.2")
    assert doctor.status == 3 and doctor.out.startswith("FAILED  name")
    assert " ".join(doctor.out.split()).startswith(f"FAILED name {words}")


@pytest.mark.usefixtures("silent_name_server")
def test_an_address_is_not_looked_up() -> None:
    found = look_up("127.0.0.1", 9876, Deadline(0.0))
    assert found == [(socket.AF_INET, ("127.0.0.1", 9876))]


@pytest.mark.usefixtures("two_addresses")
def test_dead_addresses_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def nobody(address: Address, deadline: Deadline) -> socket.socket:
        waited.append(deadline.left())
        raise TimeoutError

    monkeypatch.setattr(dialing, "connect_to", nobody)
    with pytest.raises(TimeoutError):
        dial(NAME, 9876, Deadline(60))
    assert 29 < waited[0] <= 30 and waited[0] < waited[1] <= 60
    with pytest.raises(CannotConnect, match=r"did not answer on port 9 within 7 seconds"):
        Connection(NAME, 9, timeout=7).connect()


@pytest.mark.usefixtures("two_addresses")
def test_a_dead_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_is_dead(address: Address, deadline: Deadline) -> socket.socket:
        if address[1][0] == "127.0.0.9":
            raise TimeoutError
        return connect_to(address, deadline)

    monkeypatch.setattr(dialing, "connect_to", first_is_dead)
    with FakeServer() as fake:
        chat = Connection(NAME, fake.port, timeout=patience(5))
        chat.connect()
        chat.close()


def test_an_address_that_says_nothing_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: errno.EINPROGRESS)
    monkeypatch.setattr(waiting.selectors.DefaultSelector, "select", lambda *_: [])
    with pytest.raises(TimeoutError):
        connect_to((socket.AF_INET, ("127.0.0.1", 9)), Deadline(0.01))


def test_ctrl_c_is_heard_in_the_midst_of_every_wait() -> None:
    """No signal interrupts a wait for a lock on Windows: it is heard between two slices."""
    parts: list[float] = []

    def wait(seconds: float) -> bool:
        parts.append(seconds)
        if len(parts) == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        waiting.wait_in_slices(wait, 60.0)
    assert parts == [waiting.SLICE_SECONDS] * 3 and waiting.SLICE_SECONDS <= 0.5
    assert waiting.wait_in_slices(lambda part: part == 0.0, 0.0), "it is asked once at least"
    assert not waiting.wait_in_slices(lambda part: False, 0.0)


def test_no_time_is_no_attempt() -> None:
    with pytest.raises(TimeoutError):
        connect_to((socket.AF_INET, ("127.0.0.1", 9)), Deadline(0))
    assert share(Deadline(10), 4).left() <= 2.5 and share(Deadline(0), 4).is_over()


def test_a_name_without_any_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "look_up", lambda *arguments: [])
    with pytest.raises(OSError, match="has no address"):
        dial(NAME, 9, Deadline(1))


def test_the_looks_at_a_silent_server_are_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look(host: str, port: int, deadline: Deadline) -> None:
        looks.append(deadline.left())

    monkeypatch.setattr("client.connection.identify_service", look)
    monkeypatch.setattr("client.connection.speaks_tls", look)
    with FakeServer(lambda peer: peer.get("ping") and peer.get("login") and peer.get()) as fake:
        named = f"{patience(1.0):g}"
        result = call(f"127.0.0.1:{fake.port}", *LOGIN, "rooms", "--timeout", named)
    assert result.status == 3 and looks and all(left <= patience(1.0) / 2 for left in looks)


# --- The whole of a command -----------------------------------------------------------------------


def test_a_history_without_end_ends_with_the_time() -> None:
    with FakeServer() as fake:

        def more_and_more(peer: Peer, packet: Packet) -> None:
            number = packet["data"].get("after_id", 0) + 1
            message = {"message_id": number, "sender_chatid": "bob", "content": "x"}
            data = {"messages": [{**message, "timestamp": "t"}], "has_more": True}
            peer.reply(packet, "messages_list", {"room_id": "lobby", **data})

        fake.handlers["get_messages"] = more_and_more
        words = ("history", "lobby", "--since", "2024-01-01", "--json", "--timeout")
        result = call(f"127.0.0.1:{fake.port}", *LOGIN, *words, f"{patience(0.5):g}")
    said = f"before the {patience(0.5):g} s of --timeout were over"
    assert result.status == 3 and said in result.err
    assert result.items()


@pytest.mark.parametrize(("options", "times"), [((), 3), (("--timeout", "20"), 0)])
def test_each_line_has_its_time_only_where_none_is_named(
    options: tuple[str, ...], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[object] = []
    monkeypatch.setattr(DeadlineConnection, "renew_deadline", lambda self: renewed.append(self))
    with FakeServer() as fake:
        words = ("send", "lobby", "-", "--lines", "--json", *options)
        result = call(f"127.0.0.1:{fake.port}", *LOGIN, *words, typed=b"one\ntwo\nthree\n")
    assert (result.status, len(result.items()), len(renewed)) == (0, 3, times)


def test_after_its_time_a_command_asks_nothing_more() -> None:
    with FakeServer() as fake:
        chat = DeadlineConnection("127.0.0.1", fake.port, Deadline(60))
        chat.login("ada", "secret")
        chat._deadline = Deadline(0)
        asked = len(fake.heard)
        with pytest.raises(NoAnswer, match="did not answer get_rooms before the 60 s"):
            chat.rooms()
        with pytest.raises(NoAnswer, match="the 60 s of --timeout were over"):
            chat.left()
        assert chat.is_over() and len(fake.heard) == asked
        chat.lift_deadline()
        assert not chat.is_over() and chat.rooms()
        chat.close()
