"""One client's connection: its two directions, each in a thread of its own, and how it ends.

Owns both streams and closes them when both threads have left. A direction that ends is ended on
the other side, too, while the opposite one goes on; a reset is passed on as a reset.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from conformance.relay.steering import Steering
from conformance.relay.streams import PlainStream, TlsStream
from conformance.relay.traffic import Closed, Opened, Traffic
from conformance.relay.way import Party, Way

CONNECT_SECONDS: Final = 10.0
LEAVE_SECONDS: Final = 0.3
"""So long after a reset both threads may take to leave by themselves."""


@dataclass(frozen=True)
class Target:
    """Where the relay connects to, and with which TLS (None: plain TCP)."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def connect(self) -> PlainStream:
        """Make a connection. Raises OSError."""
        sock = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        return open_stream(sock, self.tls, self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def open_stream(sock: socket.socket, tls: ssl.SSLContext | None, host: str | None) -> PlainStream:
    """Put a stream over a connected socket, and close it where that fails. Raises OSError."""
    try:
        return PlainStream(sock) if tls is None else TlsStream(sock, tls, host)
    except (OSError, ValueError):
        sock.close()
        raise


@final
class Connection:
    """One client, from its socket on. `left` is called once, when all is over."""

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        address: str,
        front_tls: ssl.SSLContext | None,
        target: Target,
        traffic: Traffic,
        steering: Steering,
        left: Callable[[Connection], None],
    ) -> None:
        self.number = number
        self.user = ""
        """Who logged in last, so far as it was looked at."""
        self._ways: dict[bool, Way] = {}  # by to_server, once it is connected
        self._socket, self._address, self._front_tls = sock, address, front_tls
        self._target, self._traffic, self._steering, self._left = target, traffic, steering, left
        self._lock = threading.Condition()  # guards all below; notified when a thread leaves
        self._streams: list[PlainStream] = []
        self._running = 1
        self._how = ""
        self._is_over = threading.Event()  # set when it is ended by this side, or broken
        self._gone = threading.Event()  # set when both threads have left
        self._thread = threading.Thread(
            target=self._begin, name=f"relay-{number}-to-server", daemon=True
        )

    def start(self) -> None:
        """Begin to carry."""
        self._traffic.note(Opened(self._traffic.now(), self.number, self._address))
        self._run(self._thread)

    def end(self, how: str, *, reset: bool = False) -> None:
        """End both sides; what ended it first is what is told."""
        with self._lock:
            self._how = self._how or how
            self._is_over.set()
            streams = list(self._streams)
        for stream in streams:
            stream.end(reset=reset)
        if not streams:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def way(self, to_server: bool) -> Way | None:
        """Return one of its directions, None before it is connected."""
        return self._ways.get(to_server)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until both threads have left; whether they have."""
        return self._gone.wait(seconds)

    # --- Its threads

    def _begin(self) -> None:
        """Connect to the target, start the other direction, and carry this one."""
        try:
            client = open_stream(self._socket, self._front_tls, None)
        except (OSError, ValueError) as error:
            self._how = f"no TLS with the client: {reason(error)}"
            self._leave()
            return
        self._keep(client)
        try:
            server = self._target.connect()
        except (OSError, ValueError) as error:
            self.end(f"no connection to {self._target}: {reason(error)}", reset=True)
            self._leave()
            return
        self._keep(server)
        party = Party(self.number, self._is_over, lambda: self.user, self._name, self._end_by_fault)
        there = Way(party, True, client, server, self._traffic, self._steering)
        back = Way(party, False, server, client, self._traffic, self._steering)
        self._ways = {True: there, False: back}
        with self._lock:
            self._running += 1
        name = f"relay-{self.number}-to-client"
        self._run(threading.Thread(target=self._carry, args=(back,), name=name, daemon=True))
        self._carry(there)

    def _run(self, thread: threading.Thread) -> None:
        """Start one of both threads; where the system has none left, end the connection."""
        try:
            thread.start()
        except RuntimeError:
            self.end("ended: no thread is left for it", reset=True)
            self._leave()

    def _name(self, user: str) -> None:
        self.user = user

    def _end_by_fault(self, how: str, is_reset: bool) -> None:
        self.end(how, reset=is_reset)
        self._free_the_other()

    def _keep(self, stream: PlainStream) -> None:
        with self._lock:
            self._streams.append(stream)
            is_over = self._is_over.is_set()
        if is_over:
            stream.end()

    def _carry(self, way: Way) -> None:
        here, there = ("client", "server") if way.to_server else ("server", "client")
        try:
            way.run()
            with self._lock:  # said before the peer can answer it by closing, too
                self._how = self._how or f"closed by the {here}"
            way.end()
        except (OSError, ValueError) as error:
            who = there if isinstance(error, BrokenPipeError) else here
            with self._lock:
                is_first = not self._is_over.is_set()
            if is_first:
                self.end(f"broken by the {who}: {reason(error)}", reset=True)
                self._free_the_other()
        self._leave()

    def _free_the_other(self) -> None:
        """End the wait of a thread that waits to send: a reset does not wake it."""
        with self._lock:
            self._lock.wait_for(lambda: self._running == 1, LEAVE_SECONDS)
            streams = list(self._streams) if self._running > 1 else []
        for stream in streams:
            stream.end()

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            self._lock.notify_all()
            if self._running:
                return
            streams, how = self._streams, self._how
        for stream in streams:
            stream.close()
        self._socket.close()
        self._traffic.note(Closed(self._traffic.now(), self.number, how))
        self._gone.set()
        self._left(self)


def reason(error: Exception) -> str:
    """Return why something failed, in a few words."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; is the server running?"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionResetError):
        return "reset"
    if isinstance(error, BrokenPipeError) or getattr(error, "errno", 0) == errno.ENOTCONN:
        return "it takes nothing any more"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return str(getattr(error, "strerror", None) or error)
