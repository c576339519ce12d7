"""One client's connection: a thread that reads and handles, and one that writes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from support.reference_server.records import Account, Transaction
from support.reference_server.words import (
    Gone,
    Packet,
)


class Connection:
    """One client: a thread that reads and handles, and a thread that writes what waits.

    `server` is the `ReferenceServer`, which is made of modules above this one.
    """

    def __init__(self, server: Any, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.account: Account | None = None
        self.features: list[str] = []
        self.transactions: dict[str, Transaction] = {}
        self.downloads: deque[tuple[tuple[str, str], Iterator[Packet]]] = deque()
        self.request_id: str | None = None
        self.bad_json = 0
        self.login_deadline = time.monotonic() + server.LOGIN_SECONDS
        self.waiting: deque[tuple[bytes, bool]] = deque()
        self.waiting_bytes = {True: 0, False: 0}
        self.wake = threading.Condition()
        self.last_word = False
        self.over = False
        self.writer = threading.Thread(target=self.write_all, name="reference-writes", daemon=True)
        sock.settimeout(0.25)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        self.writer.start()
        threading.Thread(target=self.read_all, name="reference-reads", daemon=True).start()

    # ---- reading

    def read_all(self) -> None:
        try:
            while True:
                payload = self.server.read_frame(self)
                self.server.take(self, payload)
                self.wait_until_written()
        except (Gone, OSError):
            pass
        finally:
            self.server.drop(self)

    def receive(self, most: int, deadline: float) -> bytes:
        """Some bytes, at least one; raises Gone at the end of the stream and at the deadline."""
        while True:
            try:
                some = self.sock.recv(most)
            except TimeoutError:
                if self.over or time.monotonic() > deadline:
                    raise Gone from None
                continue
            if not some:
                self.server.let_go(self)
                self.write_the_rest()
                raise Gone
            if time.monotonic() > deadline:
                raise Gone  # bytes that come now and then give no more time
            return some

    def wait_until_written(self) -> None:
        """Nothing more is read while direct replies wait (R-LIM-12)."""
        with self.wake:
            while self.waiting_bytes[False] > 262_144 and not self.over:
                self.wake.wait(1)

    def write_the_rest(self) -> None:
        """The client sends no more, and still gets what waits (R-FRAME-9)."""
        with self.wake:
            self.last_word = True
            self.wake.notify_all()
        self.writer.join(self.server.STALL_SECONDS)

    def say_last(self) -> None:
        """What waits is still written, then nothing: reads on for a moment, so that it arrives
        (R-FRAME-5)."""
        self.finish()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            self.receive(65_536, deadline)
        raise Gone

    def finish(self) -> None:
        """What waits is still written, then nothing."""
        with self.wake:
            self.last_word = True
            self.wake.notify_all()

    # ---- writing

    def put(self, packet: Packet, forwarded: bool) -> None:
        frame = self.server.encode(packet)
        with self.wake:
            self.waiting.append((frame, forwarded))
            self.waiting_bytes[forwarded] += len(frame)
            if self.waiting_bytes[True] > self.server.MAX_WAITING:
                self.close()
            self.wake.notify_all()

    def write_all(self) -> None:
        try:
            while (frame := self.next_frame()) is not None:
                self.write(frame)
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def next_frame(self) -> bytes | None:
        """Blocks for what waits; a chunk of a download only where nothing else does. None: write no
        more."""
        while True:
            with self.wake:
                if self.over or (self.last_word and not self.waiting and not self.downloads):
                    return None
                if self.waiting:
                    frame, forwarded = self.waiting.popleft()
                    self.waiting_bytes[forwarded] -= len(frame)
                    self.wake.notify_all()
                    return frame
                if not self.downloads:
                    self.wake.wait(1)
                    continue
            packet = self.server.next_of_download(self)
            if packet is not None:
                return self.server.encode(packet)

    def write(self, frame: bytes) -> None:
        deadline = time.monotonic() + self.server.STALL_SECONDS
        view = memoryview(frame)
        while view:
            try:
                view = view[self.sock.send(view) :]
                deadline = time.monotonic() + self.server.STALL_SECONDS
            except TimeoutError:
                if self.over or time.monotonic() > deadline:
                    raise OSError("the client takes nothing") from None

    def close(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with self.wake:
            self.wake.notify_all()
