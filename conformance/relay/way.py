"""One direction of a connection: reads, notes what passes, and passes it on.

Owns the cutter of its direction and the order of what it sends. While nothing is asked of it
(`Desk.is_careful` is false), bytes go on as they come, also half a frame; a frame is only looked at
one by one where it may be changed or held. One thread runs it; `insert` may be called by another.
"""

from __future__ import annotations

from typing import final

from conformance.relay.frames import Cutter
from conformance.relay.streams import PlainStream
from conformance.relay.traffic import Traffic


@final
class Way:
    """Carries bytes from `source` to `sink` until the source has no more."""

    def __init__(
        self,
        connection: int,
        to_server: bool,
        source: PlainStream,
        sink: PlainStream,
        traffic: Traffic,
    ) -> None:
        self.to_server = to_server
        self._connection = connection
        self._source, self._sink, self._traffic = source, sink, traffic
        self._cutter = Cutter()
        self._sent_ahead = 0
        """So many bytes of the frame that is not whole yet were passed on already."""

    def run(self) -> None:
        """Carry everything; returns when the source has ended. OSError where a side is broken."""
        while data := self._source.recv():
            self._take(data)
        for piece in self._cutter.end():
            self._traffic.passed(self._connection, self.to_server, piece)
            self._sink.sendall(piece.data[self._sent_ahead :])
        self._sink.end_sending()

    def _take(self, data: bytes) -> None:
        for piece in self._cutter.feed(data):
            # noted before it is sent, so that an answer never stands above its question
            self._traffic.passed(self._connection, self.to_server, piece)
        self._sink.sendall(data)
        self._sent_ahead = self._cutter.begun_bytes
