"""A relay between a client and a server, which notes every frame that passes.

Owns a listening socket, the sockets of each connection, and a thread for each direction. Changes no
byte. What passes goes into a queue, which the thread of the pair reads.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Final

from conformance.client.scripted_server import Unreadable, decode
from conformance.packets import Packet, text_of
from conformance.transcript import Transcript

CONNECT_SECONDS: Final = 10.0
MAX_FRAME: Final = 16 * 1024 * 1024
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Seen:
    """A packet that passed: which client's, whether the client sent it, and itself."""

    who: str
    from_client: bool
    packet: Packet


class Relay:
    """Hands the bytes of one client's connections on to the server and back as they come, and takes
    the frames down."""

    def __init__(
        self, who: str, port: int, transcript: Transcript, seen: queue.Queue[Seen]
    ) -> None:
        self._who, self._target, self._transcript, self._seen = who, port, transcript, seen
        self._lock = threading.Lock()  # guards the list of sockets
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="relay-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._ended.set()
        self._thread.join(2.0)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                _shut(sock)
                sock.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                inner, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # Windows: a client that has reset already (WSAENOTCONN, too)
                self._ended.wait(0.01)
                continue
            try:
                outer = socket.create_connection((HOST, self._target), timeout=CONNECT_SECONDS)
            except OSError:
                inner.close()
                continue
            with self._lock:
                self._sockets += [inner, outer]
            for source, sink, from_client in ((inner, outer, True), (outer, inner, False)):
                source.settimeout(None)
                threading.Thread(
                    target=self._carry, args=(source, sink, from_client), name="relay", daemon=True
                ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        buffer, broken = bytearray(), False
        while True:
            try:
                data = source.recv(65_536)
                sink.sendall(data)
            except OSError:
                data = b""
            if not data:
                _shut(sink)
                return
            buffer += data
            broken = broken or not self._cut(buffer, from_client)

    def _cut(self, buffer: bytearray, from_client: bool) -> bool:
        """Take down the whole frames; False where they can't be read any more."""
        while len(buffer) >= 4:
            (length,) = struct.unpack_from(">I", buffer)
            if not 1 <= length <= MAX_FRAME:
                self._transcript.add(
                    ">" if from_client else "<", text_of(bytes(buffer[:64])), "no frame", self._who
                )
                return False
            if len(buffer) < 4 + length:
                return True
            header, payload = bytes(buffer[:4]), bytes(buffer[4 : 4 + length])
            del buffer[: 4 + length]
            self._transcript.add(
                ">" if from_client else "<", text_of(payload), "", self._who, header.hex(" ")
            )
            with contextlib.suppress(Unreadable):
                self._seen.put(Seen(self._who, from_client, decode(payload)))
        return True


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
