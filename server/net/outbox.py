"""What waits to be sent to one client, and the one thread that sends it on.

An `Outbox` owns the bytes of one connection that its socket would not take at once; the `Drain`
owns the selector over all such sockets. Neither ever blocks on a client: a sender tries once, and
leaves the rest here. A client that stops reading is disconnected; nobody else waits for it. Any
thread may call an outbox; only the drain thread touches the selector.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Final

from server.base.limits import Clock, MemoryBudget
from server.base.locks import Rank, RankedLock
from server.base.threads import repeat
from server.net.selecting import make_selector
from server.net.sockets import Stream

log: Final = logging.getLogger("server.outbox")


class Outbox:
    """The bytes that wait for one client, in order, and how many of them others caused.

    Forwarded bytes count against `max_waiting` (0 = no limit), so that a client that never reads is
    closed; replies to its own requests never do: for those its own thread waits (`wait_below`).
    """

    __slots__ = (
        "_budget",
        "_changed",
        "_clock",
        "_drain",
        "_lock",
        "_max_waiting",
        "_pending",
        "_stream",
        "broken",
        "forwarded",
        "stalled_since",
        "waiting",
        "watched",
    )

    def __init__(
        self, stream: Stream, drain: Drain, budget: MemoryBudget, max_waiting: int, clock: Clock
    ) -> None:
        self._stream, self._drain, self._budget = stream, drain, budget
        self._max_waiting, self._clock = max_waiting, clock
        self._lock = RankedLock(Rank.OUTBOX, "outbox")
        # Both are made when they are first needed: 10,000 idle clients need neither.
        self._changed: threading.Condition | None = None
        self._pending: deque[tuple[memoryview, int]] | None = None
        """Bytes, and how many of them are forwarded."""
        self.waiting = 0
        """Bytes that wait, of both kinds."""
        self.forwarded = 0
        """Those of them that others caused."""
        self.stalled_since = 0.0
        """Since when the client has taken nothing of what waits; meaningful while something
        waits."""
        self.broken: str | None = None
        """Why nothing is sent any more, once that is so."""
        self.watched = False
        """Whether the drain watches the socket. Belongs to the drain's lock."""

    def put(self, data: bytes, forwarded: int = 0) -> None:
        """Send `data`, of which `forwarded` bytes were caused by others; keep what does not go at
        once. Never blocks."""
        with self._lock:
            if self.broken is not None:
                return
            taken = 0
            if not self._pending:
                taken = self._send(data)
                if taken == len(data) or self.broken is not None:
                    return
                self.stalled_since = self._clock()
            rest = len(data) - taken
            if self._pending is None:
                self._pending = deque()
            self._pending.append((_rest(memoryview(data), taken, forwarded), min(forwarded, rest)))
            self.waiting += rest
            self.forwarded += min(forwarded, rest)
            too_much = self._max_waiting and self.forwarded > self._max_waiting
        self._budget.add(rest)
        if too_much:
            self.close(f"{self.forwarded} forwarded bytes wait for it")
        else:
            self._drain.watch(self)

    def send_waiting(self) -> bool:
        """Send what the socket takes now; return whether more waits. The drain thread calls
        this."""
        with self._lock:
            sent = 0
            while self._pending and self.broken is None:
                data, forwarded = self._pending[0]
                taken = self._send(data)
                if not taken:
                    break
                sent += taken
                self.waiting -= taken
                if taken == len(data):
                    self._pending.popleft()
                    self.forwarded -= forwarded
                else:
                    left = min(forwarded, len(data) - taken)
                    self.forwarded -= forwarded - left
                    self._pending[0] = (_rest(data, taken, left), left)
            if sent:
                self.stalled_since = self._clock()
                self._notify()
            more = bool(self._pending) and self.broken is None
        if sent:
            self._budget.add(-sent)
        return more

    def wait_below(self, size: int, seconds: float) -> bool:
        """Wait until at most `size` bytes wait or nothing will be sent any more; return False when
        `seconds` pass first."""
        if self.waiting <= size or self.broken is not None:
            return True
        with self._lock:
            if self._changed is None:
                self._changed = threading.Condition(self._lock)  # type: ignore[arg-type]  # has a lock's methods
            return self._changed.wait_for(
                lambda: self.waiting <= size or self.broken is not None, seconds
            )

    def nudge(self) -> None:
        """Wake every thread that waits in `wait_below`, to look again."""
        with self._lock:
            self._notify()

    def close(self, why: str) -> None:
        """Send nothing more and shut the connection down, which wakes its thread; that thread
        closes the socket."""
        with self._lock:
            if self.broken is None:
                self._break(why)
            held = self._drop()
        if held:
            self._budget.add(-held)
        self._stream.shut()

    def discard(self) -> None:
        """Give up what waits and take the socket out of the drain's hands: before the socket is
        closed."""
        with self._lock:
            self._break("closed")
            held = self._drop()
        if held:
            self._budget.add(-held)
        self._drain.forget(self)

    def fileno(self) -> int:
        """Return the socket's descriptor, for the selector."""
        return self._stream.socket.fileno()

    def _send(self, data: bytes | memoryview) -> int:
        assert self._lock.held_here()
        try:
            return self._stream.send_now(data)
        except OSError as error:
            self._break(f"connection lost ({error.__class__.__name__})")
            self._stream.shut()  # its thread may wait in receive
            return 0

    def _drop(self) -> int:
        """Give up what waits; return how many bytes that were."""
        assert self._lock.held_here()
        held, self.waiting, self.forwarded = self.waiting, 0, 0
        self._pending = None
        return held

    def _break(self, why: str) -> None:
        assert self._lock.held_here()
        self.broken = self.broken or why
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.notify_all()


def _rest(data: memoryview, taken: int, forwarded: int) -> memoryview:
    """Return `data` without the bytes that were sent. Of a reply the rest is copied when it is less
    than half of what its buffer holds, so that no more is held than counted for; what is forwarded
    lies in one buffer for all."""
    rest = data[taken:]
    if not forwarded and 2 * len(rest) < len(data.obj):  # type: ignore[arg-type]  # bytes
        return memoryview(bytes(rest))
    return rest


class Drain:
    """The thread that sends on what sockets would not take at once, and closes who takes nothing
    for `stall_seconds`."""

    TICK_SECONDS: Final = 0.5

    def __init__(self, stall_seconds: float, clock: Clock) -> None:
        self._stall_seconds, self._clock = stall_seconds, clock
        self._selector = make_selector()
        self._lock = RankedLock(Rank.DRAIN, "drain")
        self._asked: deque[tuple[Outbox, threading.Event | None]] = deque()
        """What to watch; with an event, what to forget: the event is set when that is done."""
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread; bytes that wait then stay unsent."""
        self._stopping = True
        self._wake()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def watch(self, outbox: Outbox) -> None:
        """Send `outbox` on as soon as its socket takes bytes."""
        with self._lock:
            if outbox.watched:
                return
            outbox.watched = True
            self._asked.append((outbox, None))
        self._wake()

    def forget(self, outbox: Outbox) -> None:
        """Return when the selector no longer holds the outbox's socket, whose number may then be
        used for another."""
        with self._lock:
            if not outbox.watched:
                return
            done = threading.Event()
            self._asked.append((outbox, done))
        self._wake()
        while not done.wait(1.0) and self._thread.is_alive():
            pass

    def _wake(self) -> None:
        with suppress(OSError):  # its buffer is full, so it will wake; or it has stopped
            self._wake_in.send(b"w")

    def _run(self) -> None:
        repeat(self._turn, lambda: self._stopping)
        self._take_asked()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self.TICK_SECONDS):
            if key.fileobj is self._wake_out:
                self._take_asked()
            elif not key.data.send_waiting():
                self._unwatch(key.data)
        self._close_stalled()

    def _take_asked(self) -> None:
        with suppress(OSError):
            self._wake_out.recv(4096)
        while True:
            with self._lock:
                if not self._asked:
                    return
                outbox, done = self._asked.popleft()
            if done is not None:
                self._unwatch(outbox)
                done.set()
                continue
            # Watched already, or its socket was closed meanwhile.
            with suppress(KeyError, ValueError, OSError):
                self._selector.register(outbox, selectors.EVENT_WRITE, outbox)

    def _unwatch(self, outbox: Outbox) -> None:
        with self._lock:
            outbox.watched = False
        try:
            self._selector.unregister(outbox)
        except (KeyError, ValueError, OSError):
            return
        # Something may have come between the last byte sent and this.
        if outbox.waiting and outbox.broken is None:
            self.watch(outbox)

    def _close_stalled(self) -> None:
        if not self._stall_seconds:
            return
        earliest = self._clock() - self._stall_seconds
        for key in list(self._selector.get_map().values()):
            outbox = key.data
            if (
                outbox is not None
                and outbox.waiting
                and outbox.stalled_since < earliest
                and outbox.broken is None
            ):
                log.info("closing a client that has taken nothing for %.0f s", self._stall_seconds)
                outbox.close(f"took nothing for {self._stall_seconds:.0f} s")
