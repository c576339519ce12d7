"""Transfers: what has arrived of an upload, and the thread that sends a session's downloads one
after another.

Owns the numbering of chunks and the ranges received. Chat never waits for a transfer: chunks of a
download go into the outbox only while little waits there, so that messages pass between them.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import protocol
from protocol import Refusal
from server.base.locks import Rank, RankedLock
from server.base.logs import printable
from server.state.session import Connection
from storage.errors import StorageError
from storage.upload_files import PartFile
from storage.uploads import OpenUpload, StoredFile

if TYPE_CHECKING:
    from server.running.service import Service

log: Final = logging.getLogger("server.transfers")

MOST_RANGES: Final = 32_768
"""Most gaps that an upload may have; a sender that goes roughly forward never comes near it."""
SAVE_EVERY_BYTES: Final = 8 * 1024 * 1024
"""How much may arrive before an upload's progress is made to survive a crash."""
DOWNLOAD_CHUNK_BYTES: Final = 64 * 1024
DOWNLOAD_AHEAD_BYTES: Final = 256 * 1024
"""A download adds its next chunk when no more than this waits in the outbox."""


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
        """The lowest index that has not arrived."""
        return self._lasts[0] + 1 if self._firsts and self._firsts[0] == 0 else 0

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The ranges, first and last inclusive."""
        return tuple(zip(self._firsts, self._lasts))

    def union(self, other: Ranges) -> Ranges:
        """Everything that is in either."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted((*self.pairs(), *other.pairs())):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return Ranges(tuple(merged))


class Upload:
    """An upload that the session sends to. Used by the session's thread."""

    def __init__(self, row: OpenUpload, part: PartFile) -> None:
        self.row = row
        self.part = part
        self.chunk_size = row.chunk_size
        self.first_number = row.first_number
        self.received = Ranges(row.received)
        self.unsaved_bytes = 0
        self._hash: Any = hashlib.sha256()
        self._hashed = 0  # chunks, while they come in order
        if self.received.count:
            self._hash = None

    def write(self, number: int, chunk: bytes) -> None:
        """Put a chunk into its place; raises Refusal, changing nothing, where number or size
        contradict the rest."""
        first_number = (
            self.first_number if self.first_number is not None else (0 if number == 0 else 1)
        )
        total = self.row.total_packets
        index = number - first_number
        if not 0 <= index < total:
            last = first_number + total - 1
            raise Refusal(
                "bad_packet",
                f"data.sequence_number: expected {first_number} to {last}, got {number}",
            )
        chunk_size = self.chunk_size
        if chunk_size is None:
            chunk_size = self._size_from_first(index, len(chunk))
        is_last = index == total - 1
        expected = self.row.file_size - chunk_size * (total - 1) if is_last else chunk_size
        if len(chunk) != expected:
            raise Refusal(
                "bad_packet",
                f"data.file_data: expected {expected} bytes in chunk {number}, got {len(chunk)}",
            )
        if len(self.received) >= MOST_RANGES and index not in self.received:
            raise Refusal(
                "too_many_pending",
                f"data.sequence_number: too many gaps; send {self.first_missing()} first",
            )
        self.part.write_at(index * chunk_size, chunk)
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
        self.unsaved_bytes += len(chunk)

    def _size_from_first(self, index: int, size: int) -> int:
        total = self.row.total_packets
        if size > protocol.MAX_CHUNK_BYTES:
            raise Refusal(
                "bad_packet",
                f"data.file_data: expected at most {protocol.MAX_CHUNK_BYTES} bytes, got {size}",
            )
        if total > 1 and index == total - 1:
            raise Refusal(
                "bad_packet",
                "data.sequence_number: the last chunk can't come first, since the first one tells the size of "
                "all; or give chunk_size in file_send_init",
            )
        check_chunk_size(size, self.row.file_size, total, "data.file_data")
        return size

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is there; their sizes then add up, since each was checked."""
        return self.received.count == self.row.total_packets

    def first_missing(self) -> int:
        """The lowest number, as the sender counts, that has not arrived."""
        return self.received.first_missing() + (
            1 if self.first_number is None else self.first_number
        )

    def received_numbers(self) -> list[list[int]]:
        """The ranges as the sender counts."""
        offset = 1 if self.first_number is None else self.first_number
        return [[first + offset, last + offset] for first, last in self.received.pairs()]

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
            "bad_packet",
            f"{path}: {total} chunks of {size} bytes, the last one shorter, can't make the {file_size} bytes of "
            "data.file_size: expected all chunks but the last to have the same size",
        )


def file_frame(room_id: str, stored: StoredFile) -> bytes:
    """The `receive_file` that tells a room of a file."""
    data = {
        "room_id": room_id,
        "sender_chatid": stored.sender_chatid,
        "file_path": stored.stored_as,
        "file_size": stored.file_size,
        "file_type": stored.file_type,
        "timestamp": protocol.format_time(stored.sent_at),
    }
    return protocol.build("receive_file", data)


@dataclass(eq=False)
class Download:
    """A file on its way to one client."""

    file: StoredFile
    room_id: str
    file_path: str
    """As the client asked for it."""
    from_sequence: int
    request_id: str | None
    is_cancelled: bool = False


class Downloads:
    """A session's downloads: one runs, up to `--max-downloads` wait their turn. A thread of its own
    lives while there are any.

    Any thread may ask; the sending thread is named after the connection.
    """

    SLICE_SECONDS: Final = 1.0
    __slots__ = (
        "_changed",
        "_connection",
        "_has_thread",
        "_lock",
        "_queue",
        "_running",
        "_service",
    )

    def __init__(self, service: Service, connection: Connection) -> None:
        self._service, self._connection = service, connection
        self._lock = RankedLock(Rank.TRANSFERS, "downloads")
        self._changed: threading.Condition | None = None
        self._queue: list[
            Download
        ] = []  # short, and an empty deque takes 624 bytes of each idle client
        self._running: Download | None = None
        self._has_thread = False

    def add(self, download: Download) -> None:
        """Send the file when its turn comes; raises `too_many_pending`."""
        with self._lock:
            most = self._service.settings.max_downloads
            if most and len(self._queue) + (self._running is not None) > most:
                raise Refusal(
                    "too_many_pending",
                    f"{most} downloads wait already: wait for one, or file_cancel it",
                )
            self._queue.append(download)
            if self._has_thread:
                return
            self._has_thread = True
            self._changed = self._changed or threading.Condition(self._lock)  # type: ignore[arg-type]
        try:
            threading.Thread(
                target=self._run, name=f"download-{self._connection.name}", daemon=True
            ).start()
        except RuntimeError:
            with self._lock:
                self._has_thread = False
                self._queue.remove(download)
            raise Refusal(
                "too_many_pending", "the server can't run one more download now: try again later"
            ) from None

    def cancel(self, room_id: str, file_path: str) -> bool:
        """Stop the download of this file, running or waiting; when this returns True, nothing more
        of it is sent."""
        with self._lock:
            for waiting in self._queue:
                if (waiting.room_id, waiting.file_path) == (room_id, file_path):
                    self._queue.remove(waiting)
                    return True
            running = self._running
            if (
                running is None
                or running.is_cancelled
                or (running.room_id, running.file_path) != (room_id, file_path)
            ):
                return False
            running.is_cancelled = True
        self._connection.outbox.nudge()
        with self._lock:
            assert self._changed is not None
            self._changed.wait_for(
                lambda: self._running is not running, self._service.settings.stall_timeout or 30.0
            )
        return True

    def cancel_all(self) -> None:
        """The session ends: send no more."""
        with self._lock:
            self._queue.clear()
            if self._running is not None:
                self._running.is_cancelled = True
        self._connection.outbox.nudge()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is left to send; False when `seconds` pass first."""
        with self._lock:
            if self._changed is None:
                return True
            return self._changed.wait_for(lambda: not self._has_thread, seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._running = self._queue.pop(0) if self._queue else None
                assert self._changed is not None
                self._changed.notify_all()
                if self._running is None:
                    self._has_thread = False
                    return
                download = self._running
            try:
                self._send(download)
            except Exception:  # a thread begins here
                log.exception("the download of %s failed", printable(download.file_path))
                self._connection.close("its download failed")

    def _send(self, download: Download) -> None:
        file, outbox = download.file, self._connection.outbox
        chunk_size = self._service.download_chunk()
        total = -(-file.file_size // chunk_size)
        head = {"room_id": download.room_id, "file_path": download.file_path}
        extra = {} if download.request_id is None else {"request_id": download.request_id}
        try:
            source = self._service.files.open_file(file.disk_name)
        except StorageError as error:
            log.error(
                "the file %s (%s) can't be read: %s",
                printable(file.stored_as),
                file.disk_name,
                error,
            )
            message = "the server can't read this file; its log says why"
            outbox.put(
                protocol.build_error(
                    "file_down_req", "internal_error", message, download.request_id
                )
            )
            return
        meta = {**head, "file_size": file.file_size, "total_packets": total, "sha256": file.sha256}
        outbox.put(protocol.build("file_down_meta", meta, request_id=download.request_id))
        with source:
            source.seek((download.from_sequence - 1) * chunk_size)
            for number in range(download.from_sequence, total + 1):
                chunk = source.read(chunk_size)
                if not self._wait_for_room(download):
                    return
                outbox.put(
                    protocol.chunk_frame(
                        "file_down_data", {**head, "sequence_number": number}, chunk, extra
                    )
                )
        if not download.is_cancelled:
            outbox.put(protocol.build("file_down_fin", head, request_id=download.request_id))

    def _wait_for_room(self, download: Download) -> bool:
        outbox = self._connection.outbox
        while not download.is_cancelled and outbox.broken is None:
            if outbox.wait_below(DOWNLOAD_AHEAD_BYTES, self.SLICE_SECONDS):
                return not download.is_cancelled and outbox.broken is None
        return False
