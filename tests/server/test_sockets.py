"""What differs between systems about sockets; Windows' way is forced on every machine."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

import pytest
from support.patience import patience

from server import program
from server.base.settings import Settings
from server.net import sockets
from server.net.sockets import Stream, bind_patiently

Pair = tuple[Stream, socket.socket]


@pytest.fixture(params=[False, True], ids=["own way", "as on Windows"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The server's end and the client's, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=patience(10.0))
        stream = Stream(listener.accept()[0], force_fallback=request.param)
        with client, stream.socket:
            yield stream, client


def test_what_has_come_is_read_before_reading_stops(pair: Pair) -> None:
    stream, client = pair
    client.sendall(b"asked")
    assert stream.receive(3) == b"ask"
    stream.stop_reading()
    assert [stream.receive(100), stream.receive(100)] == [b"ed", b""]


def test_who_waits_for_bytes_sees_that_reading_stops(pair: Pair) -> None:
    stream, _ = pair
    seen: list[bytes] = []
    waiting = threading.Thread(target=lambda: seen.append(stream.receive(100)))
    waiting.start()
    stream.stop_reading()
    waiting.join(patience(10.0))
    assert seen == [b""]


def test_the_last_replies_are_not_lost_where_bytes_are_left_unread(pair: Pair) -> None:
    stream, client = pair
    client.sendall(b"x" * 100_000)
    stream.stop_reading()
    assert stream.send_now(b"goodbye") == 7
    stream.discard_rest(5.0)
    client.shutdown(socket.SHUT_WR)
    stream.socket.close()
    assert client.recv(100) == b"goodbye" and client.recv(100) == b""


def test_windows_stops_reading_without_a_shutdown_that_would_reset(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, client = pair
    if not stream._waits:
        pytest.skip("this system's own way is shutdown")
    client.sendall(b"unread")
    stream.stop_reading()
    client.sendall(b", and more")
    assert stream.receive(100).startswith(b"unread"), "the socket itself was not shut"


# --- the port ---


class Port:
    """Binding a port that is free after `refused` attempts."""

    def __init__(self, refused: int, number: int) -> None:
        self.refused, self.number, self.calls = refused, number, 0
        self.said: list[str] = []

    def bind(self) -> None:
        self.calls += 1
        if self.calls <= self.refused:
            raise OSError(self.number, "taken")


@pytest.fixture
def exclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports are taken as on Windows."""
    monkeypatch.setattr(sockets, "_EXCLUSIVE", True)
    monkeypatch.setattr(sockets, "BIND_PAUSE_SECONDS", 0)


@pytest.mark.usefixtures("exclusive")
@pytest.mark.parametrize("number", [errno.EADDRINUSE, errno.EACCES])
def test_a_port_that_closes_still_is_tried_again_and_this_is_said_once(number: int) -> None:
    port = Port(3, number)
    bind_patiently(port.bind, port.said.append)
    assert port.calls == 4 and port.said == [
        "the port is not free: trying for 5 s, as after a restart"
    ]


@pytest.mark.usefixtures("exclusive")
def test_a_port_that_stays_taken_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "BIND_SECONDS", -1)
    port = Port(1_000_000, errno.EADDRINUSE)
    with pytest.raises(OSError, match="taken"):
        bind_patiently(port.bind, port.said.append)


@pytest.mark.usefixtures("exclusive")
def test_another_error_of_binding_is_final() -> None:
    port = Port(1, errno.EADDRNOTAVAIL)
    with pytest.raises(OSError, match="taken"):
        bind_patiently(port.bind, port.said.append)
    assert (port.calls, port.said) == (1, [])


def test_elsewhere_a_port_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_EXCLUSIVE", False)
    port = Port(1, errno.EADDRINUSE)
    with pytest.raises(OSError, match="taken"):
        bind_patiently(port.bind, port.said.append)
    assert (port.calls, port.said) == (1, [])


class ReservedPort(OSError):
    """WSAEACCES as Python for Windows shows it: its errno is EACCES."""

    winerror = 10013  # type: ignore[assignment]  # a number on Windows alone


def test_a_port_that_windows_reserves_has_a_sentence_of_its_own() -> None:
    text = program._cannot_listen(Settings(), ReservedPort(errno.EACCES, "forbidden"))
    assert "Windows keeps the port" in text and "excludedportrange" in text and "--port" in text
    text = program._cannot_listen(Settings(), OSError(errno.EACCES, "Permission denied"))
    assert "Permission denied; see --host and --port" in text
