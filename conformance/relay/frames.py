"""Cuts a stream of bytes into frames, and gives out untouched what is none.

Owns the bytes of the frame that has begun. Never changes, loses or reorders a byte: the pieces that
it gives out, put together, are the stream. Pure; one thread uses a `Cutter`.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""A length above this is a mistake (text, or the wrong byte order), as for the kit's `Wire`."""
HEADER_BYTES: Final = 4
MAX_PARTS: Final = 256


class Piece(NamedTuple):
    """One whole frame with its four length bytes, or bytes that can't be read as one."""

    data: bytes
    is_frame: bool

    @property
    def payload(self) -> bytes:
        """The JSON text of a frame."""
        return self.data[HEADER_BYTES:]


@final
class Cutter:
    """The state of one direction of a connection."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # joined once, when the frame is whole
        self._begun_bytes = 0
        self._missing = 0
        """So many bytes of the frame that has begun are still to come; 0 where that is unknown."""
        self.is_lost = False
        """Whether a length was met that can't be: what follows is no frame any more."""

    @property
    def begun(self) -> bytes:
        """The bytes of the frame that has begun and is not whole yet."""
        return b"".join(self._parts)

    @property
    def begun_bytes(self) -> int:
        """How many bytes of a frame have come that is not whole yet."""
        return self._begun_bytes

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes; return what is whole now, in order."""
        if self.is_lost:
            return [Piece(data, False)] if data else []
        if not self._parts and _is_one_frame(data):
            return [Piece(data, True)]
        if len(data) < self._missing:
            self._keep(data)
            self._missing -= len(data)
            return []
        pieces: list[Piece] = []
        start = self._missing
        if start:  # only the rest of the frame that has begun is joined to it
            pieces.append(Piece(b"".join((*self._parts, data[:start])), True))
        elif self._parts:  # not even its length was whole
            data = b"".join((*self._parts, data))
        self._parts, self._begun_bytes, self._missing = [], 0, 0
        return self._cut(data, start, pieces)

    def _cut(self, data: bytes, start: int, pieces: list[Piece]) -> list[Piece]:
        while len(data) - start >= HEADER_BYTES:
            length = int.from_bytes(data[start : start + HEADER_BYTES], "big")
            if not 1 <= length <= MAX_FRAME_BYTES:
                self.is_lost = True
                pieces.append(Piece(data[start:], False))
                return pieces
            end = start + HEADER_BYTES + length
            if end > len(data):
                self._missing = end - len(data)
                break
            pieces.append(Piece(data[start:end], True))
            start = end
        if start < len(data):
            self._keep(data[start:])
        return pieces

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._begun_bytes += len(data)
        if len(self._parts) > MAX_PARTS:  # byte by byte: a part takes more than its byte
            self._parts = [self.begun]

    def end(self) -> list[Piece]:
        """Return what had begun when the stream ended, as bytes that are no frame."""
        rest = self.begun
        self._parts, self._begun_bytes, self._missing = [], 0, 0
        return [Piece(rest, False)] if rest else []


def _is_one_frame(data: bytes) -> bool:
    """Return whether these bytes are exactly one frame: the usual case, and the quickest."""
    length = int.from_bytes(data[:HEADER_BYTES], "big")
    return len(data) == HEADER_BYTES + length and 1 <= length <= MAX_FRAME_BYTES
