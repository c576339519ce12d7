"""One direction of a connection: reads, notes what passes, and passes it on.

Owns the cutter of its direction and the order of what it sends. While nothing is asked of it
(`Steering.is_careful` is false), bytes go on as they come, also half a frame; where messages may be
changed or held, each goes on when it is whole. One thread runs it; `insert` may be called by
another.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from conformance.packets import Packet, value
from conformance.relay import changes, reading
from conformance.relay.faults import Fault
from conformance.relay.frames import Cutter, Piece
from conformance.relay.steering import Steering
from conformance.relay.streams import PlainStream
from conformance.relay.traffic import Instead, Remark, Traffic

WAIT_SECONDS: Final = 1.0
"""So long a message that is to be swapped or joined waits for the next one: that may never come."""
PIECE_SECONDS: Final = 0.001
"""Between the pieces of a split message, so that they arrive as pieces."""
MAX_PIECES: Final = 1_000
INSERT_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Party:
    """What a direction knows of its connection: number, end, user, and how to end it."""

    number: int
    is_over: threading.Event
    user: Callable[[], str]
    log_in: Callable[[str], None]
    end: Callable[[str, bool], None]


@dataclass(frozen=True)
class _Kept:
    """A message that waits for the next one."""

    row: int
    fault: Fault
    frame: bytes
    until: float


@final
class Way:
    """Carries bytes from `source` to `sink` until the source has no more."""

    def __init__(
        self,
        party: Party,
        to_server: bool,
        source: PlainStream,
        sink: PlainStream,
        traffic: Traffic,
        steering: Steering,
    ) -> None:
        self.to_server = to_server
        self._party = party
        self._source, self._sink = source, sink
        self._traffic, self._steering = traffic, steering
        self._cutter = Cutter()
        self._kept: _Kept | None = None
        self._lock = threading.Lock()  # held while something is sent; guards the next
        self._sent_ahead = 0
        """So many bytes of the frame that is not whole yet were passed on already."""

    def run(self) -> None:
        """Carry everything; returns when the source has ended. OSError where a side is broken."""
        while True:
            try:
                data = self._source.recv(self._patience())
            except TimeoutError:
                self._give_up_waiting()
                continue
            if not data:
                break
            if self._steering.is_careful(self.to_server) or self._kept is not None:
                self._take_each(data)
            else:
                self._take(data)
        self._give_up_waiting()
        for piece in self._cutter.end():
            self._note(piece)
            self._send(piece.data[self._sent_ahead :])

    def end(self) -> None:
        """Tell the sink that nothing more comes, after `run`: a half-close."""
        self._sink.end_sending()

    def insert(self, frame: bytes, note: str) -> bool:
        """Send a frame between two others; whether there was a place for it in time."""
        if not self._lock.acquire(timeout=INSERT_SECONDS):
            return False
        try:
            if self._sent_ahead or self._party.is_over.is_set():
                return False
            self._note(Piece(frame, True), note)
            self._sink.sendall(frame)
        finally:
            self._lock.release()
        return True

    # --- As it came

    def _take(self, data: bytes) -> None:
        with self._lock:
            is_behind = self._cutter.begun_bytes > self._sent_ahead
            unsent = self._cutter.begun[self._sent_ahead :] if is_behind else b""
            pieces = self._cutter.feed(data)
            if pieces:  # noted before they are sent: no answer stands above its question
                self._traffic.all_passed(self._party.number, self.to_server, pieces)
            self._sink.sendall(unsent + data if unsent else data)
            self._sent_ahead = self._cutter.begun_bytes

    # --- Message by message

    def _take_each(self, data: bytes) -> None:
        for piece in self._cutter.feed(data):
            if self._sent_ahead or not piece.is_frame:
                self._give_up_waiting()
                self._note(piece)
                self._send(piece.data[self._sent_ahead :], 0)
            else:
                self._treat(piece)
        if self._sent_ahead:
            self._send(self._cutter.begun[self._sent_ahead :], self._cutter.begun_bytes)

    def _treat(self, piece: Piece) -> None:
        """Hold a message where that is asked for, and let a fault strike it."""
        packet = reading.read(piece.payload) or {}
        if self.to_server and packet.get("action") == "login":
            name = value(packet, "chatid")
            self._party.log_in(name[:64] if isinstance(name, str) else "")
        action = reading.action_of(packet)
        is_held = self._steering.step.wants(action)
        fault, lot = self._fault(packet)
        sent = _sent(fault, lot, piece)
        row = self._note(piece, fault.mark if fault else "", sent, is_held=is_held)
        if is_held:
            frame = self._steering.step.hold(row, action, piece.data, self._party.is_over)
            if frame is None:
                raise ConnectionAbortedError("the connection was ended")
            if frame != piece.data:
                self._traffic.note(Instead(self._traffic.now(), row, (frame,)))
                self._emit([frame])
                return
        self._strike(row, fault, piece, sent)

    def _fault(self, packet: Packet) -> tuple[Fault | None, random.Random]:
        found = self._steering.faults.pick(self._party.user(), self.to_server, packet)
        return found or (None, random.Random(0))

    def _strike(
        self, row: int, fault: Fault | None, piece: Piece, sent: tuple[bytes, ...] | None
    ) -> None:
        kind = "" if fault is None else fault.kind
        if fault is None:
            self._emit([piece.data])
        elif kind in ("cut", "reset"):
            self._give_up_waiting()
            self._send(piece.data[: fault.value if kind == "cut" else 0])
            self._party.end(f"fault: {fault.mark} of row {row}", kind == "reset")
            raise ConnectionAbortedError("a fault ended the connection")
        elif kind == "delay":
            self._party.is_over.wait(fault.value / 1000)
            self._emit([piece.data])
        elif kind in ("swap", "join"):
            self._give_up_waiting()
            self._kept = _Kept(row, fault, piece.data, time.monotonic() + WAIT_SECONDS)
        elif kind == "split":
            self._give_up_waiting()
            self._send_split(piece.data, fault.value)
        else:
            self._emit(sent or ())

    def _send_split(self, data: bytes, size: int) -> None:
        size = max(size, len(data) // MAX_PIECES)
        for start in range(0, len(data), size):
            self._send(data[start : start + size], start + size if start + size < len(data) else 0)
            self._party.is_over.wait(PIECE_SECONDS)

    def _emit(self, frames: Sequence[bytes]) -> None:
        """Send whole frames, and with them the one that waited for them."""
        kept = self._kept
        if kept is not None and not frames:
            return
        self._kept = None
        if kept is None:
            out = list(frames)
        elif kept.fault.kind == "swap":
            out = [*frames, kept.frame]
        else:
            out = [kept.frame + b"".join(frames)]
        for each in out:
            self._send(each)

    def _patience(self) -> float | None:
        """Return how long to wait for bytes, None for as long as it takes."""
        return None if self._kept is None else max(0.001, self._kept.until - time.monotonic())

    def _give_up_waiting(self) -> None:
        """Send the message that waits for the next one: none came."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        self._traffic.note(
            Remark(
                self._traffic.now(),
                kept.row,
                f"no {kept.fault.kind}: nothing followed within {WAIT_SECONDS:g} s, so it went on"
                " alone",
            )
        )
        self._send(kept.frame)

    # --- Out

    def _note(
        self,
        piece: Piece,
        fault: str = "",
        sent: tuple[bytes, ...] | None = None,
        *,
        is_held: bool = False,
    ) -> int:
        return self._traffic.passed(
            self._party.number, self.to_server, piece, fault, sent, is_held=is_held
        )

    def _send(self, data: bytes, ahead: int = 0) -> None:
        """Send; then so many bytes of a frame are sent that is not whole yet."""
        with self._lock:
            self._sink.sendall(data)
            self._sent_ahead = ahead


def _sent(fault: Fault | None, lot: random.Random, piece: Piece) -> tuple[bytes, ...] | None:
    """Return the frames that go on in place of one that a fault strikes; None: as it came."""
    if fault is None:
        return None
    if fault.kind in ("drop", "cut", "reset"):
        return ()
    if fault.kind == "duplicate":
        return (piece.data, piece.data)
    if fault.kind in changes.CHANGING:
        return (changes.change(fault.kind, piece.payload, lot),)
    return None
