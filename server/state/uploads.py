"""What has arrived of an upload, and the checks that its chunks must pass.

Owns the numbering of chunks and the ranges received. Never touches the database. An `Upload`
belongs to the thread of its session.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Any, Final

import protocol
from protocol import ErrorCode, Refusal
from server.base.limits import MemoryBudget
from storage.received import as_text
from storage.upload_files import UploadFiles
from storage.uploads import OpenUpload, StoredFile

RANGE_BYTES: Final = 80
"""What a range takes in memory: two integers in two lists, roughly."""
MOST_RANGES: Final = 32_768
"""Most gaps that an upload may have; a sender that goes roughly forward never comes near it."""
SAVE_EVERY_BYTES: Final = 8 * 1024 * 1024
"""How much may arrive before an upload's progress is made to survive a crash."""


class Ranges:
    """Which chunk indexes have arrived, as sorted ranges that do not touch."""

    def __init__(self, ranges: tuple[tuple[int, int], ...] = ()) -> None:
        self._firsts = [first for first, _ in ranges]
        self._lasts = [last for _, last in ranges]
        self.count = sum(last - first + 1 for first, last in ranges)

    def __contains__(self, index: int) -> bool:
        place = bisect_right(self._firsts, index) - 1
        return place >= 0 and index <= self._lasts[place]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, index: int) -> None:
        """Count one chunk in."""
        if self._lasts and index == self._lasts[-1] + 1:  # the usual case
            self._lasts[-1] = index
            self.count += 1
            return
        place = bisect_right(self._firsts, index)
        if place and index <= self._lasts[place - 1]:
            return
        self.count += 1
        joins_left = place > 0 and self._lasts[place - 1] == index - 1
        joins_right = place < len(self._firsts) and self._firsts[place] == index + 1
        if joins_left and joins_right:
            self._lasts[place - 1] = self._lasts.pop(place)
            del self._firsts[place]
        elif joins_left:
            self._lasts[place - 1] = index
        elif joins_right:
            self._firsts[place] = index
        else:
            self._firsts.insert(place, index)
            self._lasts.insert(place, index)

    def first_missing(self) -> int:
        """Return the lowest index that has not arrived."""
        return self._lasts[0] + 1 if self._firsts and self._firsts[0] == 0 else 0

    def pairs(self, most: int | None = None) -> tuple[tuple[int, int], ...]:
        """Return the ranges, first and last inclusive, or the first `most` of them."""
        return tuple(zip(self._firsts[:most], self._lasts[:most], strict=True))

    def union(self, other: Ranges) -> Ranges:
        """Return everything that is in either."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted((*self.pairs(), *other.pairs())):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return Ranges(tuple(merged))


class Upload:
    """An upload that the session sends to. Used by the session's thread."""

    def __init__(self, row: OpenUpload, files: UploadFiles, budget: MemoryBudget) -> None:
        self._budget = budget
        self.held = 0
        """Bytes that the ranges of received chunks take, counted for the memory budget."""
        self.row = row
        self.is_closed = False
        """Whether somebody else was found to have finished it or given it up. The writer may set
        it."""
        self._files = files
        self.has_file = bool(row.received)
        """Whether its file was made."""
        self.chunk_size = row.chunk_size
        self.first_number = row.first_number
        self.received = Ranges(row.received)
        self.unsaved_bytes = 0
        self.saved = hash(as_text(row.received))
        """Of what was stored last of `received`, by this session or those before it."""
        self._hash: Any = hashlib.sha256()
        self._hashed = 0  # chunks, while they come in order
        if self.received.count:
            self._hash = None
        self._count()

    def _count(self) -> None:
        size = RANGE_BYTES * len(self.received)
        if size != self.held:
            change, self.held = size - self.held, size
            self._budget.add(change)

    def close(self) -> None:
        """Give back what it holds; the upload is used no more."""
        self._budget.add(-self.held)
        self.held = 0

    def write(self, number: int, chunk: bytes) -> None:
        """Put a chunk into its place; raise Refusal, changing nothing, where number or size
        contradict the rest."""
        first_number = (
            self.first_number if self.first_number is not None else (0 if number == 0 else 1)
        )
        total = self.row.total_packets
        index = number - first_number
        if not 0 <= index < total:
            last = first_number + total - 1
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.sequence_number: expected {first_number} to {last}, got {number}",
            )
        chunk_size = self.chunk_size
        if chunk_size is None:
            chunk_size = self._size_from_first(index, len(chunk))
        is_last = index == total - 1
        expected = self.row.file_size - chunk_size * (total - 1) if is_last else chunk_size
        if len(chunk) != expected:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.file_data: expected {expected} bytes in chunk {number}, got {len(chunk)}",
            )
        if len(self.received) >= MOST_RANGES and index not in self.received:
            raise Refusal(
                ErrorCode.TOO_MANY_PENDING,
                f"data.sequence_number: too many gaps; send {self.first_missing()} first",
            )
        if not self.has_file:
            self._files.create(self.row.disk_name)
            self.has_file = True
        self._files.write_at(self.row.disk_name, index * chunk_size, chunk)
        self.chunk_size, self.first_number = chunk_size, first_number
        if self._hash is not None:
            if index == self._hashed:
                self._hash.update(chunk)
                self._hashed += 1
            elif index > self._hashed:
                self._hash = None  # out of order: hashed from the disk at the end
            elif index in self.received:
                self._hash = None  # sent again, perhaps with other bytes
        self.received.add(index)
        self._count()
        self.unsaved_bytes += len(chunk)

    def _size_from_first(self, index: int, size: int) -> int:
        total = self.row.total_packets
        if size > protocol.MAX_CHUNK_BYTES:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                f"data.file_data: expected at most {protocol.MAX_CHUNK_BYTES} bytes, got {size}",
            )
        if total > 1 and index == total - 1:
            raise Refusal(
                ErrorCode.BAD_PACKET,
                "data.sequence_number: the last chunk can't come first, since the first one "
                "tells the size of "
                "all; or give chunk_size in file_send_init",
            )
        check_chunk_size(size, self.row.file_size, total, "data.file_data")
        return size

    def sync(self) -> None:
        """Make the bytes that have arrived survive a power cut."""
        if self.unsaved_bytes:
            self._files.sync(self.row.disk_name)
            self.unsaved_bytes = 0

    def finish(self) -> str:
        """Give the complete file its final name, with all its bytes on disk; return its SHA-256 in
        hexadecimal. The row is still to be stored."""
        if not self.has_file:  # it is empty
            self._files.create(self.row.disk_name)
            self.has_file = True
        digest = self.digest or self._files.sha256(self.row.disk_name, part=True)
        self._files.finish(self.row.disk_name)
        self.unsaved_bytes = 0
        return digest

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is there; their sizes then add up, since each was checked."""
        return self.received.count == self.row.total_packets

    def first_missing(self) -> int:
        """Return the lowest number, as the sender counts, that has not arrived."""
        return self.received.first_missing() + (
            1 if self.first_number is None else self.first_number
        )

    def received_numbers(self, most: int) -> list[list[int]]:
        """Return the first `most` ranges as the sender counts; what they don't name is sent
        again."""
        offset = 1 if self.first_number is None else self.first_number
        return [[first + offset, last + offset] for first, last in self.received.pairs(most)]

    @property
    def digest(self) -> str | None:
        """The SHA-256 in hex, where the chunks came in order; None where the file must be read for
        it."""
        in_order = self._hash is not None and self._hashed == self.row.total_packets
        return str(self._hash.hexdigest()) if in_order else None


def check_chunk_size(size: int, file_size: int, total: int, path: str) -> None:
    """Raise Refusal where `total` chunks of `size` bytes, the last one shorter, can't make
    `file_size` bytes."""
    if size == 0 or not (total - 1) * size < file_size <= total * size:
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"{path}: {total} chunks of {size} bytes, the last one shorter, can't make the "
            f"{file_size} bytes of "
            "data.file_size: expected all chunks but the last to have the same size",
        )


def file_frame(room_id: str, stored: StoredFile) -> bytes:
    """Build the `receive_file` that tells a room of a file."""
    data = {
        "room_id": room_id,
        "sender_chatid": stored.sender_chatid,
        "file_path": stored.stored_as,
        "file_size": stored.file_size,
        "file_type": stored.file_type,
        "timestamp": protocol.format_time(stored.sent_at),
    }
    return protocol.build("receive_file", data)
