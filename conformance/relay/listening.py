"""The relay itself: accepts clients, and ends all that it began.

Owns the listening socket, the thread that accepts, and the connections. Prints nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import Final, final

from conformance.relay.connection import Connection, Target
from conformance.relay.steering import Steering
from conformance.relay.traffic import Traffic

BACKLOG: Final = 512
ACCEPT_SECONDS: Final = 1.0
END_SECONDS: Final = 5.0


@final
class Relay:
    """Listens at `address` and carries each connection to the target. OSError where it can't."""

    def __init__(
        self,
        address: tuple[str, int],
        target: Target,
        traffic: Traffic,
        steering: Steering,
        front_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._target, self._front_tls = target, front_tls
        self._traffic, self._steering = traffic, steering
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=BACKLOG)
        self._listener.settimeout(ACCEPT_SECONDS)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()  # guards the connections
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="relay-accept", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """End all connections, and wait for their threads."""
        self._is_ended.set()
        with contextlib.suppress(OSError):  # wakes accept() on Linux
            self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():  # it never began where something else kept the relay from it
            self._thread.join(ACCEPT_SECONDS + 1)
        self._listener.close()
        with self._lock:
            connections = list(self._connections.values())
        for connection in connections:
            connection.end("the relay was stopped")
        deadline = time.monotonic() + END_SECONDS
        for connection in connections:
            connection.wait_gone(max(0.0, deadline - time.monotonic()))

    def connection(self, number: int) -> Connection | None:
        """Return an open connection."""
        with self._lock:
            return self._connections.get(number)

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._connections)

    def _accept(self) -> None:
        while not self._is_ended.is_set():
            try:
                sock, address = self._listener.accept()
            except (TimeoutError, ConnectionError):  # nobody, or one that has reset already
                continue
            except OSError:  # no descriptor is free: wait for one
                if self._is_ended.wait(0.1):
                    return
                continue
            self._count += 1
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            connection = Connection(
                self._count,
                sock,
                f"{host}:{address[1]}",
                self._front_tls,
                self._target,
                self._traffic,
                self._steering,
                self._forget,
            )
            with self._lock:
                self._connections[connection.number] = connection
            connection.start()

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.pop(connection.number, None)
