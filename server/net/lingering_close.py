"""Closing refused sockets only once the client has had time to read why.

Owns the sockets of refused clients and one thread. A socket that is closed with unread bytes sends
RST, and the client would lose the reply (RFC 9112, section 9.6, calls the remedy a lingering
close). Never blocks who hands a socket in; any thread may.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from typing import Any, Final

from server.base.deadline import Deadline
from server.base.locks import Rank, RankedLock
from server.base.threads import repeat
from server.net.selecting import make_selector


class LingeringCloser:
    """The thread that reads on refused sockets until their clients close, or `LINGER_SECONDS` have
    passed."""

    MOST: Final = 64
    """Sockets at once; one more is closed immediately."""
    LINGER_SECONDS: Final = 2.0

    def __init__(self) -> None:
        self._lock = RankedLock(Rank.DRAIN, "lingering close")
        self._new: deque[socket.socket] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lingering-close", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the sockets that are left are closed."""
        self._stopping = True
        self._wake.set()
        self._thread.join(1.0)

    def refuse(self, request: socket.socket, reply: bytes) -> None:
        """Send `reply`, and close the socket soon after. Never waits."""
        try:
            request.setblocking(False)
            request.send(reply)
            request.shutdown(socket.SHUT_WR)
        except OSError:
            request.close()
            return
        with self._lock:
            if len(self._new) < self.MOST and not self._stopping:
                self._new.append(request)
                self._wake.set()
                return
        request.close()

    def _run(self) -> None:
        leaving: dict[socket.socket, Deadline] = {}
        with make_selector() as selector:
            repeat(lambda: self._turn(leaving, selector), lambda: self._stopping)
            for request in list(leaving):
                self._close(request, leaving, selector)

    def _turn(
        self, leaving: dict[socket.socket, Deadline], selector: selectors.BaseSelector
    ) -> None:
        if not leaving:
            self._wake.wait(5.0)
        self._take_new(leaving, selector)
        for key, _ in selector.select(0.1) if leaving else ():
            self._read(key.fileobj, leaving, selector)
        for request, deadline in list(leaving.items()):
            if deadline.has_passed:
                self._close(request, leaving, selector)

    def _take_new(
        self, leaving: dict[socket.socket, Deadline], selector: selectors.BaseSelector
    ) -> None:
        with self._lock:
            count = min(len(self._new), max(0, self.MOST - len(leaving)))
            new = [self._new.popleft() for _ in range(count)]
            if not self._new:
                self._wake.clear()
        for request in new:
            leaving[request] = Deadline(self.LINGER_SECONDS)
            selector.register(request, selectors.EVENT_READ)

    def _read(
        self, request: Any, leaving: dict[socket.socket, Deadline], selector: selectors.BaseSelector
    ) -> None:
        try:
            if request.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(request, leaving, selector)

    @staticmethod
    def _close(
        request: socket.socket,
        leaving: dict[socket.socket, Deadline],
        selector: selectors.BaseSelector,
    ) -> None:
        selector.unregister(request)
        del leaving[request]
        request.close()
