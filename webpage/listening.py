"""The web server of a page: one thread for each connection of a browser, in bounded number.

Owns the listening socket, the connections, and their threads. A connection too many is closed at
once. The thread "page-accept" accepts; `place_for_a_viewer` is for the threads "page-N".
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, final

from webpage.refusals import Refused

MAX_CONNECTIONS: Final = 128
MAX_OF_ADDRESS: Final = 32
MAX_VIEWERS: Final = 96
"""Fewer than connections, so that acts are always heard."""
JOIN_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.2


@final
class Listener(http.server.HTTPServer):
    """Accepts browsers at an address. OSError where it can't be had."""

    request_queue_size = 64
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._address = address
        self._lock = threading.Lock()  # guards what follows
        self._open: dict[socket.socket, tuple[str, threading.Thread]] = {}
        self._viewers = 0
        self._count = 0
        super().__init__((address, port), http.server.BaseHTTPRequestHandler)
        self.port = int(self.server_address[1])
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(POLL_SECONDS,), name="page-accept", daemon=True
        )

    def server_bind(self) -> None:
        """Take the address; the name of the machine is asked of nobody."""
        socketserver.TCPServer.server_bind(self)

    def start(self, converse: Callable[..., socketserver.BaseRequestHandler]) -> None:
        """Begin to accept; `converse(socket, address, listener)` answers a connection."""
        self._answer = converse
        self._accepting.start()

    def hosts(self, local: str) -> set[str]:
        """Return the values of `Host` that lead here, for a connection to our address `local`."""
        names = {local.partition("%")[0], self._address.lower()}
        if ipaddress.ip_address(local.partition("%")[0]).is_loopback:
            names |= {"localhost", "127.0.0.1", "::1"}
        else:
            names.add(socket.gethostname().lower())
        ends = [f":{self.port}", *([""] if self.port == 80 else [])]
        return {(f"[{name}]" if ":" in name else name) + end for name in names for end in ends}

    @contextlib.contextmanager
    def place_for_a_viewer(self) -> Iterator[None]:
        """Hold one of the places for streams of events; Refused where all are taken."""
        with self._lock:
            if self._viewers >= MAX_VIEWERS:
                raise Refused(503, "Too many browsers look on already.")
            self._viewers += 1
        try:
            yield
        finally:
            with self._lock:
                self._viewers -= 1

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, or close it where there are too many."""
        address = str(client_address[0])
        with self._lock:
            of_address = sum(each == address for each, _ in self._open.values())
            is_full = len(self._open) >= MAX_CONNECTIONS or of_address >= MAX_OF_ADDRESS
            if not is_full:
                self._count += 1
                thread = threading.Thread(
                    target=self._converse,
                    args=(request, client_address),
                    name=f"page-{self._count}",
                    daemon=True,
                )
                self._open[request] = (address, thread)
        if not is_full:
            with contextlib.suppress(RuntimeError):  # no thread is left
                thread.start()
                return
            with self._lock:
                self._open.pop(request, None)
        self.shutdown_request(request)

    def _converse(self, request: socket.socket, client_address: Any) -> None:
        try:
            with contextlib.suppress(OSError):  # gone before its first request
                self._answer(request, client_address, self)
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def close(self) -> None:
        """Stop accepting, end all connections, and wait for their threads."""
        if self._accepting.is_alive():
            self.shutdown()
            self._accepting.join(JOIN_SECONDS)
        self.server_close()
        for thread in self.drop_all():
            thread.join(JOIN_SECONDS)

    def drop_all(self) -> list[threading.Thread]:
        """End all connections; return their threads."""
        with self._lock:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
            threads = [thread for _, thread in self._open.values()]
            self._open.clear()
        return threads

    def is_open(self, request: socket.socket) -> bool:
        """Return whether a connection was not dropped; any thread."""
        with self._lock:
            return request in self._open
