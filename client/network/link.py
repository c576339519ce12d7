"""One TCP connection to a server, from connecting to its end: frames in, frames out, and plain
words where it fails.

Owns the socket, its sending thread and the frames that wait to be sent. Knows no packets. `receive`
is for one thread; `send` and `close` are for any.

Sending has a thread of its own because the thread that reads must never wait for the network to
take something: where both sides waited like that, neither would read, and the connection would hang
for ever.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from client.base.deadline import Deadline
from client.base.waiting import wait_for
from client.errors import CannotConnect, ConnectionLost, ProtocolBroken
from client.network.dialing import LookUpTimedOut, dial
from client.network.tls import TlsSocket, Trust, secure
from protocol import BadFrame, FrameReader

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""What a server may send us in one frame; its own limit is 1 MiB unless configured."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
SEND_SECONDS: Final = 30.0
RECEIVE_BYTES: Final = 256 * 1024

# how `FrameReader` names it, speaking as a server
_LOOKS_LIKE: Final = re.compile("look like (.+), but this is")

Trace = Callable[[str, bytes], None]
"""Called with "sent" or "received" and the payload of each frame; for showing packets."""


def open_link(
    host: str,
    port: int,
    deadline: Deadline,
    trace: Trace | None = None,
    trust: Trust | None = None,
) -> Link:
    """Connect by the deadline, with `trust` by TLS; raise `CannotConnect` with plain words."""
    try:
        sock = dial(host, port, deadline)
    except (OSError, UnicodeError) as error:
        raise in_plain_words(error, host, port, deadline.seconds) from error
    try:
        # A small packet must not wait for the answer to the one before (Nagle's algorithm, RFC
        # 896).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream, early = (sock, b"") if trust is None else secure(sock, trust, host, port, deadline)
        sock.settimeout(SEND_SECONDS)
    except OSError as error:  # the other side has already hung up
        sock.close()
        raise in_plain_words(error, host, port, deadline.seconds) from error
    except CannotConnect:
        sock.close()
        raise
    return Link(stream, trace, early)


_NO_ROUTE: Final = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    10065,
    10051,
}
_THIS_MACHINE: Final = {"127.0.0.1", "::1", "localhost"}
# the Windows numbers, which `errno` names otherwise there
_REFUSED: Final = {
    errno.ECONNREFUSED,
    10061,
}
_TIMED_OUT: Final = {errno.ETIMEDOUT, 10060}
_RESET: Final = {errno.ECONNRESET, errno.EPIPE, 10054}


def in_plain_words(error: Exception, host: str, port: int, timeout: float) -> CannotConnect:
    """Return what a failure to connect means, and the next thing to try."""
    number = error.errno if isinstance(error, OSError) else None
    if _is_link_local(host) and "%" not in host:
        return CannotConnect(
            f"{host} is an address of one cable or Wi-Fi, and this machine may have several.",
            f"Add the one that leads to the server: {_with_interfaces(host)}.",
        )
    if isinstance(error, LookUpTimedOut):
        return CannotConnect(
            f"The name {host!r} could not be looked up within {timeout:g} seconds.",
            "Use the number that the server's first screen shows, such as 192.168.1.20, or check "
            "the network: no name server answers.",
        )
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return CannotConnect(
            f"No machine called {host!r} was found.",
            "Check the spelling, or use the number that the server's first screen shows, such as "
            "192.168.1.20.",
        )
    if isinstance(error, TimeoutError) or number in _TIMED_OUT:
        return CannotConnect(
            f"{host} did not answer on port {port} within {timeout:g} seconds.",
            "Check the address, that both machines are in the same network, and that the firewall "
            "of the server's machine lets "
            f"port {port} in.",
        )
    if number in _REFUSED:
        return CannotConnect(
            f"{host} was reached, but nothing listens on its port {port}.",
            "Check that the server runs, and that the port is the one its first screen shows."
            + " If it runs on another machine, add that one's address."
            * (host.lower() in _THIS_MACHINE),
        )
    if number in _NO_ROUTE:
        return CannotConnect(
            f"There is no way from here to {host}.",
            "Check that this machine is in the same network (Wi-Fi on, no guest network). On macOS "
            "allow the terminal under "
            "System Settings, Privacy & Security, Local Network.",
        )
    if number in _RESET:
        return CannotConnect(
            f"{host} took the connection on port {port} and hung up at once.",
            "Check that the port is the chat server's; another program may listen there.",
        )
    return CannotConnect(
        f"Connecting to {host} port {port} failed: {error}.", "Check the address and the network."
    )


def _is_link_local(host: str) -> bool:
    """Return whether this is an address of IPv6 that counts on one link only (RFC 4291, section
    2.5.6)."""
    try:
        return ipaddress.IPv6Address(host.partition("%")[0]).is_link_local
    except ValueError:
        return False


def _with_interfaces(host: str) -> str:
    """Return the address with each interface of this machine, by number on Windows."""
    try:
        interfaces = socket.if_nameindex()
    except (OSError, AttributeError):  # a system that tells nobody
        interfaces = []
    names = [
        str(index) if sys.platform == "win32" else name
        for index, name in interfaces
        if name not in ("lo", "lo0")
    ]
    return " or ".join(f"{host}%{name}" for name in names or ["eth0"])


class Link:
    """An open connection that carries frames until it is closed or lost; a lost one never comes
    back."""

    def __init__(
        self, sock: socket.socket | TlsSocket, trace: Trace | None = None, early: bytes = b""
    ) -> None:
        self._sock = sock
        self.trace = trace
        """Called with each frame; may be set at any time."""
        self._frames = FrameReader(MAX_FRAME_BYTES)
        self._frames.feed(early)  # what came along with the handshake of TLS
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self.heard_at = time.monotonic()
        """When the last byte came, by the monotonic clock."""
        self.heard_a_frame = False
        self.heard_a_byte = bool(early)
        self.server_closed = False
        """Whether the server ended the connection, in order: neither we nor the network did."""
        # guards what is below; notified when there is something to send, or an end
        self._changed = threading.Condition()
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sending = False
        self._end: str | None = None
        self._sender = threading.Thread(target=self._send_all, name="chat-sender", daemon=True)
        self._sender.start()

    def send(self, frame: bytes, *, bulk: bool = False) -> None:
        """Queue a frame, without waiting; `bulk` frames let all others pass. Raise `ConnectionLost`
        on a link that ended."""
        with self._changed:
            if self._end is None and self._waiting_bytes > MAX_WAITING_BYTES:
                self._finish("the server takes nothing any more")
            if self._end is not None:
                raise ConnectionLost(self._end)
            (self._bulk if bulk else self._urgent).append(frame)
            self._waiting_bytes += len(frame)
            self._changed.notify_all()

    def drop_bulk(self) -> None:
        """Forget the bulk frames that are still waiting."""
        with self._changed:
            self._waiting_bytes -= sum(map(len, self._bulk))
            self._bulk.clear()

    def receive(self, timeout: float) -> bytes | None:
        """Return the payload of the next frame, or None after `timeout` seconds. Raise
        `ConnectionLost` at the end of the stream, `ProtocolBroken` where what comes is no frame."""
        deadline = Deadline(timeout)
        while True:
            try:
                payload = self._frames.next_frame()
                if payload is not None:
                    self.heard_a_frame = True
                    trace = self.trace
                    if trace is not None:
                        trace("received", payload)
                    return payload
                if not self._selector.select(deadline.left()):
                    return None
                data = self._sock.recv(RECEIVE_BYTES)
            except BadFrame as error:
                other = _LOOKS_LIKE.search(error.message)
                self.close(
                    f"it speaks another protocol: {other.group(1)}"
                    if other
                    else f"it sent no frame: {error.message}"
                )
                raise ProtocolBroken(self._end or "") from None
            except ssl.SSLWantReadError:  # no whole record yet
                self.heard_at = time.monotonic()
                continue
            except (OSError, ValueError) as error:
                # ValueError: the socket was closed under the selector.
                data = b""
                self.close(f"the connection broke: {error}")
            if not data:
                self.server_closed = not self.ended
                self.close("the server closed the connection")
                raise ConnectionLost(self._end or "")
            self.heard_at = time.monotonic()
            self.heard_a_byte = True
            self._frames.feed(data)

    def silent_for(self, seconds: float) -> bool:
        """Wait some seconds for the end of the link; False where it came."""
        with self._changed:
            return not wait_for(self._changed, lambda: self._end is not None, seconds)

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._end is not None

    def flush(self, timeout: float) -> None:
        """Wait until everything queued has been handed to the network, at most `timeout`
        seconds."""
        with self._changed:
            wait_for(self._changed, self._is_sent, timeout)

    def _is_sent(self) -> bool:
        return self._end is not None or not (self._urgent or self._bulk or self._sending)

    def close(self, reason: str = "closed") -> None:
        """End the connection; a thread that waits in `receive` gets `ConnectionLost`."""
        with self._changed:
            self._finish(reason)

    def dispose(self) -> None:
        """Give the socket back to the system; only for the thread that receives, when it is
        done."""
        self.close()
        self._sender.join(SEND_SECONDS)
        self._selector.close()
        self._sock.close()

    def _finish(self, reason: str) -> None:
        # The socket is shut down here and closed later, by its reader: a closed number could be in
        # another's hands by then.
        if self._end is None:
            self._end = reason
            with contextlib.suppress(OSError):  # not connected any more
                self._sock.shutdown(socket.SHUT_RDWR)
        self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                while self._end is None and not (self._urgent or self._bulk):
                    self._changed.wait(60.0)
                if self._end is not None:
                    return
                frame = (self._urgent or self._bulk).popleft()
                self._waiting_bytes -= len(frame)
                self._sending = True
            try:
                trace = self.trace
                if trace is not None:
                    trace("sent", frame[4:])
                self._sock.sendall(frame)
            except OSError as error:
                self.close(f"the connection broke while sending: {error}")
                return
            except Exception as error:  # a thread begins here: who waits must hear that it ends
                self.close(f"the client failed: {error!r}")
                return
