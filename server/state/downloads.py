"""A session's downloads, sent one after another by a thread of their own.

Owns the queue of one session's downloads. Chat never waits for a download: its chunks go into the
outbox only while little waits there, so that messages pass between them. Any thread may ask.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import protocol
from protocol import ErrorCode, Refusal
from server.base import frame_sizes
from server.base.locks import Rank, RankedLock
from server.base.logs import printable
from server.base.settings import Settings
from server.net.outbox import Outbox
from storage.errors import FileMissing, StorageError
from storage.upload_files import UploadFiles
from storage.uploads import StoredFile

log: Final = logging.getLogger("server.downloads")

DOWNLOAD_AHEAD_BYTES: Final = 256 * 1024
"""A download adds its next chunk when no more than this waits in the outbox."""
CANCEL_SECONDS: Final = 30.0
"""How long a cancel waits for the running download to stop, where --stall-timeout sets no bound."""
UNREADABLE: Final = Refusal(
    ErrorCode.INTERNAL_ERROR, "the server can't read this file; its log says why"
)


@dataclass(eq=False)
class Download:
    """A file on its way to one client."""

    file: StoredFile
    room_id: str
    file_path: str
    """As the client asked for it."""
    from_sequence: int
    request_id: str | None
    check: Callable[[], None]
    """Raises Refusal where its user may read the file no more: asked again when its turn comes,
    which may be long after the request (R-ROOM-22)."""
    is_cancelled: bool = False
    """Set under the lock of the downloads, under which each chunk is handed on, too."""
    refusal: Refusal | None = None
    """Why it was broken off, where its user is to be told."""


class Downloads:
    """A session's downloads: one runs, up to `--max-downloads` wait their turn. A thread of its own
    lives while there are any.

    `name` is the connection's, and names the thread; `close` ends the connection and says why.
    """

    SLICE_SECONDS: Final = 1.0
    __slots__ = (
        "_changed",
        "_close",
        "_files",
        "_has_thread",
        "_lock",
        "_name",
        "_outbox",
        "_queue",
        "_running",
        "_settings",
    )

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        close: Callable[[str], None],
        files: UploadFiles,
        settings: Settings,
    ) -> None:
        self._name, self._outbox, self._close = name, outbox, close
        self._files, self._settings = files, settings
        self._lock = RankedLock(Rank.TRANSFERS, "downloads")
        self._changed: threading.Condition | None = None
        # Short, and an empty deque takes 624 bytes of each idle client.
        self._queue: list[Download] = []
        self._running: Download | None = None
        self._has_thread = False

    def add(self, download: Download) -> None:
        """Send the file when its turn comes; raises `too_many_pending`."""
        with self._lock:
            most = self._settings.max_downloads
            if most and len(self._queue) + (self._running is not None) > most:
                raise Refusal(
                    ErrorCode.TOO_MANY_PENDING,
                    f"{most} downloads wait already: wait for one, or file_cancel it",
                )
            self._queue.append(download)
            if self._has_thread:
                return
            self._has_thread = True
            self._changed = self._changed or threading.Condition(self._lock)  # type: ignore[arg-type]
        try:
            threading.Thread(target=self._run, name=f"download-{self._name}", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._has_thread = False
                self._queue.remove(download)
            raise Refusal(
                ErrorCode.TOO_MANY_PENDING,
                "the server can't run one more download now: try again later",
            ) from None

    def cancel(self, room_id: str, file_path: str) -> bool:
        """Stop the download of this file, running or waiting; once this has returned True, nothing
        more of it is sent."""
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
        self._outbox.nudge()
        with self._lock:
            assert self._changed is not None
            self._changed.wait_for(
                lambda: self._running is not running, self._settings.stall_timeout or CANCEL_SECONDS
            )
        return True

    def break_off(
        self, room_id: str | None, refusal: Refusal, stored_as: str | None = None
    ) -> None:
        """Break off what is sent of this room's files (None: of any room's), or of the one called
        `stored_as`, and say why; once this has returned, no more of them is handed on. What waits
        its turn is checked when that comes. Never waits."""
        with self._lock:
            running = self._running
            if running is None or running.is_cancelled:
                return
            if room_id not in (None, running.room_id):
                return
            if stored_as not in (None, running.file.stored_as):
                return
            running.is_cancelled, running.refusal = True, refusal
        self._outbox.nudge()

    def cancel_all(self) -> None:
        """Send no more: the session ends."""
        with self._lock:
            self._queue.clear()
            if self._running is not None:
                self._running.is_cancelled = True
        self._outbox.nudge()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is left to send; return False when `seconds` pass first."""
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
                self._close("its download failed")

    def _send(self, download: Download) -> None:
        file = download.file
        try:
            self._send_packets(download)
        except Refusal as refusal:
            self._refuse(download, refusal)
        except StorageError as error:
            name = printable(file.stored_as)
            log.error("the file %s (%s) can't be read: %s", name, file.disk_name, error)
            self._refuse(download, UNREADABLE)

    def _read(self, download: Download, offset: int, size: int) -> bytes:
        """Return a chunk. Raises Refusal where the file was taken away meanwhile, else
        StorageError."""
        try:
            return self._files.read(download.file.disk_name, offset, size)
        except FileMissing:
            download.check()
            raise

    def _send_packets(self, download: Download) -> None:
        file = download.file
        chunk_size = frame_sizes.download_chunk(self._settings)
        total = -(-file.file_size // chunk_size)
        head = {"room_id": download.room_id, "file_path": download.file_path}
        extra = {} if download.request_id is None else {"request_id": download.request_id}
        download.check()
        offset = (download.from_sequence - 1) * chunk_size
        chunk = self._read(download, offset, chunk_size)
        meta = {
            **head,
            "file_size": file.file_size,
            "total_packets": total,
            "sha256": file.sha256,
            "chunk_size": chunk_size,
        }
        begin = protocol.build("file_down_meta", meta, request_id=download.request_id)
        if not self._put(download, begin):
            return
        for number in range(download.from_sequence, total + 1):
            self._wait_for_room(download)
            data = {**head, "sequence_number": number}
            if not self._put(download, protocol.chunk_frame("file_down_data", data, chunk, extra)):
                return
            offset += chunk_size
            if number < total:
                chunk = self._read(download, offset, chunk_size)
        self._put(download, protocol.build("file_down_fin", head, request_id=download.request_id))

    def _put(self, download: Download, frame: bytes) -> bool:
        """Hand a frame of the download on; return whether it goes on."""
        with self._lock:
            is_over = download.is_cancelled or self._outbox.broken is not None
            refusal = download.refusal if is_over else None
            if not is_over:
                self._outbox.put(frame)
        if refusal is not None:
            self._refuse(download, refusal)
        return not is_over

    def _refuse(self, download: Download, refusal: Refusal) -> None:
        self._outbox.put(
            protocol.build_error(
                "file_down_req", refusal.code, refusal.message, download.request_id
            )
        )

    def _wait_for_room(self, download: Download) -> None:
        outbox = self._outbox
        while not download.is_cancelled and outbox.broken is None:
            if outbox.wait_below(DOWNLOAD_AHEAD_BYTES, self.SLICE_SECONDS):
                return
