"""What passes the relay, numbered and timed, on its way to whoever looks at it.

Owns the numbers of the rows, the clock, and one bounded queue. A thread of a connection puts in
what it is about to pass on; one thread, "relay-traffic", gives it to the observers in turn. Where
they can't keep up, whoever puts in waits: nothing is lost, and memory stays bounded.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from conformance.relay.frames import Piece

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
ITEM_BYTES: Final = 200
"""What one item takes besides its bytes, roughly."""
JOIN_SECONDS: Final = 10.0
TICK_SECONDS: Final = 5.0
GATHER_SECONDS: Final = 0.01
"""What passes within so long is told together: who looks on wakes up a hundred times a second, and
not between each two packets, where it would take the time of who carries them."""


@dataclass(frozen=True)
class Opened:
    """A client has connected; `address` is its HOST:PORT."""

    at: float
    connection: int
    address: str


class Passed(NamedTuple):
    """A piece came and goes on: as it came, or where `sent` is not None, as these frames."""

    at: float
    connection: int
    row: int
    to_server: bool
    piece: Piece
    fault: str = ""
    """Its kind and value, as "delay 300"; "" for none."""
    sent: tuple[bytes, ...] | None = None
    is_held: bool = False


@dataclass(frozen=True)
class Closed:
    """A connection is over; `how` says who ended it."""

    at: float
    connection: int
    how: str


@dataclass(frozen=True)
class Remark:
    """Something that became known about an earlier row."""

    at: float
    row: int
    text: str


@dataclass(frozen=True)
class Stepped:
    """The state of stepping changed: what is held now, oldest first, and what is waited for."""

    at: float
    is_on: bool
    held: tuple[int, ...]
    until: str


@dataclass(frozen=True)
class Instead:
    """These frames went on in the place of an earlier row that was held."""

    at: float
    row: int
    sent: tuple[bytes, ...]


@dataclass(frozen=True)
class Played:
    """How far a replay is: position, length, speed, paused."""

    at: float
    state: dict[str, object]


@dataclass(frozen=True)
class Listed:
    """The faults in force, or how often they have struck, have changed."""

    at: float
    faults: list[dict[str, object]]


@dataclass(frozen=True)
class Tick:
    """Nothing passed for a while; so late is it."""

    at: float


Item = Opened | Passed | Instead | Closed | Remark | Stepped | Listed | Played | Tick
Observer = Callable[[Item], None]


@final
class Traffic:
    """The queue between the connections and the observers."""

    def __init__(self, observers: Sequence[Observer], *, has_ticks: bool = True) -> None:
        self._tick_seconds = TICK_SECONDS if has_ticks else 3600.0
        self._zero = time.monotonic()
        self._observers = list(observers)
        self._changed = threading.Condition()  # guards all below; notified when any of it changes
        self._items: list[Item] = []
        self._bytes = 0
        self._rows = 0
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay-traffic", daemon=True)

    def start(self) -> None:
        """Begin to tell the observers."""
        self._thread.start()

    def now(self) -> float:
        """Return the seconds since the relay began."""
        return time.monotonic() - self._zero

    def passed(
        self,
        connection: int,
        to_server: bool,
        piece: Piece,
        fault: str = "",
        sent: tuple[bytes, ...] | None = None,
        *,
        is_held: bool = False,
    ) -> int:
        """Note a piece that goes on next; returns its row. Blocks while the queue is full."""
        with self._changed:
            self._wait_for_room()
            self._rows += 1
            row = self._rows
            item = Passed(self.now(), connection, row, to_server, piece, fault, sent, is_held)
            self._add(item, len(piece.data))
        return row

    def all_passed(self, connection: int, to_server: bool, pieces: Sequence[Piece]) -> None:
        """Note pieces that go on next, as they came. Blocks while the queue is full."""
        with self._changed:
            self._wait_for_room()
            now = self.now()
            for piece in pieces:
                self._rows += 1
                self._add(Passed(now, connection, self._rows, to_server, piece), len(piece.data))

    def note(self, item: Item) -> None:
        """Note anything else. Never blocks: there are few of these."""
        with self._changed:
            self._add(item, 0)

    def end(self) -> None:
        """Tell the observers what is left, and stop."""
        with self._changed:
            self._is_ended.set()
            self._changed.notify_all()
        if self._thread.is_alive():  # it never began where the relay did not
            self._thread.join(JOIN_SECONDS)

    def _wait_for_room(self) -> None:
        if self._bytes >= MAX_WAITING_BYTES:
            self._changed.wait_for(self._has_room, 60.0)

    def _has_room(self) -> bool:
        return self._bytes < MAX_WAITING_BYTES or self._is_ended.is_set()

    def _add(self, item: Item, size: int) -> None:
        self._items.append(item)
        self._bytes += size + ITEM_BYTES
        if len(self._items) == 1:
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._items or self._is_ended.is_set(), self._tick_seconds
                )
            self._is_ended.wait(GATHER_SECONDS)
            with self._changed:
                items, self._items = self._items, []
                size, is_ended = self._bytes, self._is_ended.is_set()
            if is_ended and not items:
                return
            for item in items or [Tick(self.now())]:
                self._tell(item)
            with self._changed:
                self._bytes -= size
                self._changed.notify_all()

    def _tell(self, item: Item) -> None:
        for observer in list(self._observers):
            try:
                observer(item)
            except Exception:  # its defect must not stop what passes
                traceback.print_exc()
                self._observers.remove(observer)
