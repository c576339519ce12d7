"""Sockets as the relay uses them: one thread reads, another writes, and either may end it.

Owns one socket each. `PlainStream` is TCP; `TlsStream` is TLS over it, with an `SSLObject` over
memory, since Python's own TLS sockets may not be used by two threads at once. Knows no frames.

A wait ends when something comes or `WAKE_SECONDS` have passed and the stream was ended meanwhile;
an idle connection may wait for as long as it lives.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
from typing import Final, final

READ_BYTES: Final = 256 * 1024
WAKE_SECONDS: Final = 0.1 if sys.platform == "win32" else 20.0
"""So often a waiting thread looks whether its connection was ended: on Windows `shutdown` of a
socket does not wake who waits at it."""
HANDSHAKE_SECONDS: Final = 15.0
_LINGER_ZERO: Final = struct.pack("hh" if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else "ii", 1, 0)
"""close() then sends a reset (Windows: two shorts)."""


class PlainStream:
    """A TCP connection. `recv`, `sendall` and `end_sending` raise OSError where it is broken."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._is_ended = False
        sock.settimeout(WAKE_SECONDS)
        with contextlib.suppress(OSError):  # a client that has reset already (macOS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, seconds: float | None = None) -> bytes:
        """Wait for the next bytes; b"" where the peer has ended its direction.

        With `seconds` no longer than so: then TimeoutError.
        """
        if seconds is not None:
            self._socket.settimeout(seconds)
        try:
            while True:
                try:
                    data = self._socket.recv(READ_BYTES)
                    if data or not self._is_ended:
                        return data
                except TimeoutError:
                    if seconds is not None:
                        raise
                if self._is_ended:
                    raise ConnectionAbortedError("the connection was ended")
        finally:
            if seconds is not None:
                self._socket.settimeout(WAKE_SECONDS)

    def sendall(self, data: bytes) -> None:
        """Send everything, however long the peer takes: that is the back pressure."""
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except TimeoutError:
                if self._is_ended:
                    raise ConnectionAbortedError("the connection was ended") from None

    def end_sending(self) -> None:
        """Close this side's direction: a half-close."""
        self._socket.shutdown(socket.SHUT_WR)

    def end(self, *, reset: bool = False) -> None:
        """Wake who waits on it. With `reset` the peer is to see a reset, once it is closed."""
        self._is_ended = True
        with contextlib.suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                self._socket.shutdown(socket.SHUT_RD)  # wakes a reader, and sends nothing
            else:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back; nobody may use it any more."""
        self._socket.close()


@final
class TlsStream(PlainStream):
    """A TLS connection; made by `accepted` or `connected`, which do the handshake."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str | None) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._lock = threading.Lock()  # guards the SSL object and both memories
        self._sending = threading.Lock()  # held while what was encrypted goes out, in its order
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        sock.settimeout(HANDSHAKE_SECONDS)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._take_in():
                    raise ConnectionResetError("closed during the TLS handshake") from None
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert that says why
                    self._flush()
                raise
        self._flush()
        sock.settimeout(WAKE_SECONDS)

    def recv(self, seconds: float | None = None) -> bytes:
        """Wait for the next bytes, deciphered."""
        while True:
            with self._lock:
                try:
                    return self._tls.read(READ_BYTES)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
                has_answer = self._outgoing.pending > 0
            if has_answer:
                self._flush()
            if not self._take_in(seconds):
                with self._lock:
                    self._incoming.write_eof()

    def sendall(self, data: bytes) -> None:
        """Encrypt and send everything."""
        with self._sending:
            with self._lock:
                left = memoryview(data)
                while left:
                    left = left[self._tls.write(left) :]
                ready = self._outgoing.read()
            super().sendall(ready)

    def end_sending(self) -> None:
        """Say that nothing more comes (`close_notify`), then close this direction."""
        with self._lock, contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # wants the other side's word, too; ours is written
        self._flush()
        super().end_sending()

    def _flush(self) -> None:
        with self._sending:
            with self._lock:
                ready = self._outgoing.read()
            super().sendall(ready)

    def _take_in(self, seconds: float | None = None) -> bool:
        data = super().recv(seconds)
        if data:
            with self._lock:
                self._incoming.write(data)
        return bool(data)
