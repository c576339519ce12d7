"""One blocking client, for the parts that follow a script: histories, files, coming back. Never to
another machine."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.wire_formats import PASSWORD, frame, packet

__all__ = ["Client", "client"]

PATIENCE_SECONDS: Final = 120.0


class Client:
    """A connection that asks and waits for its answer; what comes besides is passed over."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = bytearray()

    def send(self, action: str, data: dict[str, Any]) -> None:
        """Send a request."""
        self.socket.sendall(frame(packet(action, data)))

    def next_payload(self) -> bytes:
        """Return the next packet's bytes."""
        held = self.held
        while len(held) < 4 or len(held) < 4 + int.from_bytes(held[:4], "big"):
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the server closed the connection")
            held += data
        end = 4 + int.from_bytes(held[:4], "big")
        payload = bytes(held[4:end])
        del held[:end]
        return payload

    def ask(self, action: str, data: dict[str, Any], answer: str) -> dict[str, Any]:
        """Send a request; return the next packet whose action is `answer`, and skip all others."""
        self.send(action, data)
        return self.expect(answer)

    def expect(self, answer: str) -> dict[str, Any]:
        """Return the next packet of this action, and skip all others."""
        while True:
            said: dict[str, Any] = json.loads(self.next_payload())
            if said["action"] == answer:
                return said
            if said["action"] in ("error", "login_fail", "register_fail"):
                raise ConnectionError(f"expected {answer}, got {said}")

    def enter(self, name: str, *, register: bool = True) -> None:
        """Make the account and log in."""
        secret = {"chatid": name, "password": PASSWORD}
        if register:
            self.ask("register", secret, "register_success")
        self.ask("login", secret, "login_success")


@contextlib.contextmanager
def client(port: int, name: str, *, register: bool = True) -> Iterator[Client]:
    """Make a client that is logged in, and close it at the end."""
    one = Client(port)
    try:
        one.enter(name, register=register)
        yield one
    finally:
        one.socket.close()
