"""What differs between systems about sockets, each difference in one place.

Owns sending without blocking, the options of a client's socket, and binding a port. Waits only in
`receive` and `discard_rest`. Any thread.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from server.base.deadline import Deadline

SEND_BUFFER_BYTES: Final = 256 * 1024
"""Left alone the kernel takes 3.9 MB for a client that never reads, before the first byte waits
with us (measured on Linux)."""
KEEPALIVE_IDLE_SECONDS: Final = 10
KEEPALIVE_INTERVAL_SECONDS: Final = 5
KEEPALIVE_PROBES: Final = 3
USER_TIMEOUT_MS: Final = 30_000
"""A dead peer's place comes free within 30 s: 10 + 3 x 5 s without data, 30 s with unacknowledged
data (RFC 5482). Linux counts a peer that takes nothing alike, which therefore must not be given up
earlier."""

RESERVED_DESCRIPTORS: Final = 192
"""Kept for what is not a client: refused sockets (64), files of uploads and of the journal (32
each), the database (18), and the server's own. So there is one left to tell a newcomer why."""

BIND_SECONDS: Final = 5.0
BIND_PAUSE_SECONDS: Final = 0.25

_EXCLUSIVE = sys.platform == "win32"  # the tests replace it
# Python gives WSAEACCES its number of C, EACCES; and errno.EADDRINUSE is that of Winsock there.
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_DONTWAIT: Final[int | None] = getattr(socket, "MSG_DONTWAIT", None)


class Stream:
    """A client's connection as the server uses it: one thread receives, any thread sends what can
    go at once.

    Where there is `MSG_DONTWAIT` the socket stays blocking for `receive` and only sends don't wait.
    Elsewhere (Windows) the socket does not block at all, and `receive` asks `select` first.
    `force_fallback` does the latter on every system.
    """

    __slots__ = ("_is_stopped", "_waits", "socket")

    def __init__(self, sock: socket.socket, *, force_fallback: bool = False) -> None:
        self.socket = sock
        self._waits = force_fallback or _DONTWAIT is None
        self._is_stopped = False
        sock.setblocking(not self._waits)

    def receive(self, size: int) -> bytes:
        """Wait for bytes; return b"" at the end of the stream. Ends early when another thread shuts
        the socket down, or calls `stop_reading`."""
        while True:
            if self._waits:
                is_last = self._is_stopped
                if not _readable(self.socket, 0 if is_last else 1.0) and is_last:
                    return b""
            try:
                return self.socket.recv(size)
            except (BlockingIOError, InterruptedError):
                continue

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the system takes without waiting; return how many of `data`'s bytes that are.
        Raises OSError where the connection is gone."""
        try:
            if self._waits or _DONTWAIT is None:
                return self.socket.send(data)
            return self.socket.send(data, _DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return 0

    def has_ended(self) -> bool:
        """Return whether the peer has closed and nothing it sent is left unread."""
        try:
            if self._waits and not _readable(self.socket, 0):
                return False
            return not self.socket.recv(1, socket.MSG_PEEK | (_DONTWAIT or 0))
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, ValueError):
            return True

    def shut(self, how: int = socket.SHUT_RDWR) -> None:
        """Shut one or both directions down; this wakes the thread that receives. Harmless on a
        socket that is gone."""
        with suppress(OSError):
            self.socket.shutdown(how)

    def stop_reading(self) -> None:
        """Have `receive` return b"" after what has come already. Any thread.

        Windows resets the connection where SHUT_RD finds unread bytes, and the last replies would
        be lost; there a mark is enough, which `receive` sees within a second.
        """
        self._is_stopped = True
        if not self._waits:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)

    def discard_rest(self, seconds: float) -> None:
        """Close our direction and read on for at most `seconds`: closing with unread bytes would
        send RST and lose our last reply."""
        self.shut(socket.SHUT_WR)
        try:
            self.socket.settimeout(seconds)
            for _ in range(64):  # 4 MiB at most
                if not self.socket.recv(65536):
                    return
        except OSError:
            pass


def _readable(sock: socket.socket, seconds: float) -> bool:
    # On Unix select() can't take descriptors over 1,023.
    if sys.platform != "win32" and hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    return bool(select.select([sock], [], [], seconds)[0])


def tune(sock: socket.socket) -> None:
    """Set a client's socket up: no Nagle, a bounded send buffer, and keepalive that finds a dead
    peer within 30 s."""
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_SNDBUF", SEND_BUFFER_BYTES),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE", KEEPALIVE_IDLE_SECONDS),  # macOS for TCP_KEEPIDLE
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", KEEPALIVE_PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is None:
            continue
        # An option may be known but not granted; the limits of time still hold then.
        with suppress(OSError):
            sock.setsockopt(level, option, value)


def prepare_listener(sock: socket.socket) -> None:
    """Take the port for us alone: a restart is not kept waiting by old connections, and no second
    server shares the port.

    On Windows SO_REUSEADDR would let another program take the port over; SO_EXCLUSIVEADDRUSE
    forbids it. Elsewhere SO_REUSEADDR only skips the wait for connections in TIME_WAIT.
    """
    if sys.platform == "win32":  # as _EXCLUSIVE says; mypy knows this form
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def bind_patiently(bind: Callable[[], None], say: Callable[[str], None]) -> None:
    """Take a port. On Windows exclusive use is refused while connections of a server that has just
    ended still close (WSAEADDRINUSE, WSAEACCES): it is tried for `BIND_SECONDS`, after saying
    so."""
    deadline, has_said = Deadline(BIND_SECONDS), False
    while True:
        try:
            return bind()
        except OSError as error:
            if not _EXCLUSIVE or error.errno not in _TAKEN or deadline.has_passed:
                raise
        if not has_said:
            say(f"the port is not free: trying for {BIND_SECONDS:g} s, as after a restart")
            has_said = True
        time.sleep(BIND_PAUSE_SECONDS)


def raise_open_files_limit() -> None:
    """Allow as many open files as the system grants without rights: macOS begins with 256."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65536
    # macOS refuses more than OPEN_MAX, 10240, whatever the hard limit says.
    for limit in (wanted, 10240):
        if soft >= limit and soft != resource.RLIM_INFINITY:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return
        except (ValueError, OSError):
            continue


def most_connections(asked: int) -> int:
    """Return how many connections may be taken, where `asked` are wanted (0 = no limit): fewer
    where the system grants no more descriptors than that and `RESERVED_DESCRIPTORS`."""
    if sys.platform == "win32":
        return asked
    import resource

    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted == resource.RLIM_INFINITY:
        return asked
    room = max(1, granted - RESERVED_DESCRIPTORS)
    return min(asked or room, room)
