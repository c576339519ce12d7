"""A relay in the test's own process, before a server that the test is, and what it tells."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, final

from conformance.packets import encode
from conformance.relay.connection import Target
from conformance.relay.station import Station
from support.patience import patience

Event = dict[str, Any]


@final
class Events:
    """What a relay has told, in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Event] = []

    def __call__(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def all(self, kind: str = "") -> list[Event]:
        """All so far, of one kind where one is named."""
        with self._changed:
            return [each for each in self._events if not kind or each["kind"] == kind]

    def wait(self, fits: Callable[[Event], bool]) -> Event:
        """Wait for the first event, from the beginning on, that fits."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: next((each for each in self._events if fits(each)), None), patience(10)
            )
            assert found is not None, self._events[-20:]
            return found

    def wait_kind(self, kind: str, **values: object) -> Event:
        """Wait for the first event of a kind with these values."""
        return self.wait(
            lambda each: (
                each["kind"] == kind
                and all(each.get(key) == wanted for key, wanted in values.items())
            )
        )


@final
class RelayUnderTest:
    """A relay in front of `port`, and what it tells."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self.events = Events()
        target = Target("127.0.0.1", port, tls)
        self.station = Station(("127.0.0.1", 0), target, listeners=[self.events], **options)
        self.relay, self.story = self.station.relay, self.station.story
        self.steering = self.station.steering
        self.port = self.relay.port
        self.station.start()

    def close(self) -> None:
        """End it."""
        self.station.close()


@contextlib.contextmanager
def relay_before(port: int, **options: Any) -> Iterator[RelayUnderTest]:
    """Run a relay before what listens on `port` of this machine."""
    under_test = RelayUnderTest(port, **options)
    try:
        yield under_test
    finally:
        under_test.close()


@final
class Listener:
    """The server that the test is: `accept` gives the relay's connections one by one."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._socket.settimeout(patience(10))
        self.port: int = self._socket.getsockname()[1]

    def accept(self) -> socket.socket:
        """Wait for the next connection."""
        sock, _ = self._socket.accept()
        sock.settimeout(patience(10))
        return self._tls.wrap_socket(sock, server_side=True) if self._tls else sock

    def close(self) -> None:
        self._socket.close()


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the peer ends its direction."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes."""
    data = bytearray()
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, f"the stream ended after {len(data)} of {count} bytes"
        data += part
    return bytes(data)


class Line:
    """A relay with faults, and both ends of one connection through it."""

    def __init__(self, listener: Listener, relay: RelayUnderTest) -> None:
        self.relay, self.events = relay, relay.events
        self.client = socket.create_connection(("127.0.0.1", relay.port), patience(10))
        self.server = listener.accept()

    def to_server(self, *packets: dict[str, Any]) -> None:
        for packet in packets:
            self.client.sendall(encode(packet))

    def to_client(self, *packets: dict[str, Any]) -> None:
        for packet in packets:
            self.server.sendall(encode(packet))

    def at_server(self) -> dict[str, Any]:
        return _receive(self.server)

    def at_client(self) -> dict[str, Any]:
        return _receive(self.client)

    def came_of(self, row: int) -> list[str]:
        return [each["text"] for each in self.events.all("came_of") if each["row"] == row]


def _receive(sock: socket.socket) -> dict[str, Any]:
    length = int.from_bytes(read_exactly(sock, 4), "big")
    packet: dict[str, Any] = json.loads(read_exactly(sock, length))
    return packet
