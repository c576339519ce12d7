"""A TCP proxy that treats a connection badly: cuts it at an exact byte, delays, splits.

Owns its listening socket, the pairs of sockets that it passes bytes between, and two threads for
each pair. Never looks into the bytes. Any thread may give it orders; `close` ends all of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Final, final

from support.patience import patience

TO_SERVER: Final = "to server"
TO_CLIENT: Final = "to client"
DIRECTIONS: Final = (TO_SERVER, TO_CLIENT)
_RESET: Final = struct.pack(
    "ii", 1, 0
)  # linger on, for 0 seconds: close() sends RST and forgets what was not yet taken


@dataclass(frozen=True)
class Treatment:
    """What becomes of the bytes of one direction."""

    piece_bytes: int = 65536
    """Passed on in pieces of at most this size."""
    delay_seconds: float = 0.0
    """Waited before each piece."""


@dataclass
class _Cut:
    direction: str
    left: int
    """Bytes that still pass in this direction, counted from the order on."""
    reset: bool


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    is_cut: bool = False
    threads: list[threading.Thread] = field(default_factory=list)


@final
class Proxy:
    """Listens on a free port of this machine and passes each connection on to `server_port`."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.cuts = 0
        """Connections cut so far by `cut_after`."""
        self._lock = threading.Lock()  # guards everything below
        self._cut: _Cut | None = None
        self._treatments = dict.fromkeys(DIRECTIONS, Treatment())
        self._passed = {direction: bytearray() for direction in DIRECTIONS}
        self._records = False
        self._pairs: list[_Pair] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def cut_after(self, direction: str, count: int, *, reset: bool = False) -> None:
        """Cut the connection as soon as exactly `count` bytes more have passed in `direction`; with
        0, when the next one comes.

        Both sides then see the end of the stream behind what has passed or, with `reset`, a
        connection reset, which may also take away bytes that they had not read yet. Holds for one
        connection: the next one passes whole.
        """
        with self._lock:
            self._cut = _Cut(direction, count, reset)

    def pass_all(self) -> None:
        """Take the order to cut back, if it was not carried out yet."""
        with self._lock:
            self._cut = None

    def treat(self, direction: str, treatment: Treatment) -> None:
        """From the next bytes on, pass this direction's bytes on so."""
        with self._lock:
            self._treatments[direction] = treatment

    def record(self) -> None:
        """From now on keep what passes, for `recorded`; what was kept before is dropped."""
        with self._lock:
            self._records = True
            for passed in self._passed.values():
                passed.clear()

    def recorded(self, direction: str) -> bytes:
        """What has passed since `record`."""
        with self._lock:
            return bytes(self._passed[direction])

    def close(self) -> None:
        """End everything, without waiting for anybody."""
        with self._lock:
            self._closed = True
            pairs = list(self._pairs)
        with contextlib.suppress(OSError):
            # On Linux close() alone leaves accept() waiting.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in pairs:
            self._end(pair, reset=False)
        self._acceptor.join(patience(5))
        for pair in pairs:
            for thread in pair.threads:
                thread.join(patience(5))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except ConnectionError:  # Windows: it was reset before it was taken
                continue
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port), patience(5))
            except OSError:
                client.close()
                continue
            pair = _Pair(client, server)
            for direction, source, target in (
                (TO_SERVER, client, server),
                (TO_CLIENT, server, client),
            ):
                source.settimeout(None)
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(
                    target=self._pump,
                    args=(pair, direction, source, target),
                    name=f"proxy {direction}",
                    daemon=True,
                )
                pair.threads.append(thread)
            with self._lock:
                self._pairs = [
                    other
                    for other in self._pairs
                    if any(thread.is_alive() for thread in other.threads)
                ]
                self._pairs.append(pair)
                closed = self._closed
                for thread in pair.threads:
                    thread.start()
            if closed:
                self._end(pair, reset=False)

    def _pump(
        self, pair: _Pair, direction: str, source: socket.socket, target: socket.socket
    ) -> None:
        try:
            while data := source.recv(65536):
                if not self._pass_on(pair, direction, target, data):
                    return
            if not pair.is_cut:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(pair, reset=False)
        finally:
            self._leave(pair)

    def _pass_on(self, pair: _Pair, direction: str, target: socket.socket, data: bytes) -> bool:
        """Whether the connection lives on."""
        while data:
            with self._lock:
                treatment = self._treatments[direction]
            piece, data = data[: treatment.piece_bytes], data[treatment.piece_bytes :]
            if treatment.delay_seconds:
                time.sleep(treatment.delay_seconds)
            with self._lock:
                if pair.is_cut:
                    return False
                cut = (
                    self._cut
                    if self._cut is not None and self._cut.direction == direction
                    else None
                )
                if cut is not None:
                    piece = piece[: cut.left]
                    cut.left -= len(piece)
                    if cut.left == 0:
                        self._cut = None
                        self.cuts += 1
                if self._records:
                    self._passed[direction] += piece
            if piece:
                target.sendall(piece)
            if cut is not None and cut.left == 0:
                self._end(pair, reset=cut.reset)
                return False
        return True

    def _end(self, pair: _Pair, *, reset: bool) -> None:
        pair.is_cut = True
        for sock in (pair.client, pair.server):
            try:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    if os.name == "nt":  # there only this wakes the other thread
                        sock.close()
                        continue
                    # It wakes the other thread; the RST goes out when both have left.
                    sock.shutdown(socket.SHUT_RD)
                else:
                    sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def _leave(self, pair: _Pair) -> None:
        """The last of the two threads gives the sockets back."""
        me = threading.current_thread()
        with self._lock:
            pair.threads = [thread for thread in pair.threads if thread is not me]
            last = not pair.threads
        if last:
            pair.client.close()
            pair.server.close()


def frame_ends(stream: bytes) -> list[int]:
    """Where each whole frame of a stream ends, by the 4-byte lengths."""
    ends, start = [], 0
    while start + 4 <= len(stream):
        start += 4 + int.from_bytes(stream[start : start + 4], "big")
        if start > len(stream):
            break
        ends.append(start)
    return ends
