"""Sending a file to a room and fetching one from it, taken up again after a lost connection,
checked by SHA-256.

Owns what is known of a running transfer and, while fetching, the unfinished file. Never prints.
`upload` and `download` wait, each in the thread that calls it; the packets of a transfer come in on
the connection's reading thread.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import protocol
from client import source_files
from client.base import files
from client.base.text import local_file_name, numbered
from client.base.waiting import wait_in_slices
from client.connection import Connection
from client.errors import (
    BadAnswer,
    ChatError,
    ConnectionLost,
    FileTooLarge,
    HashDiffers,
    ServerError,
    TransferFailed,
)
from client.source_files import SourceFile
from client.transfer_state import PATIENCE_SECONDS, Transfer

CHUNK_BYTES: Final = 64 * 1024
WINDOW: Final = 16
"""Chunks that may be on their way without an answer."""
MAX_ROUNDS: Final = 20

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, in the thread that called `upload` or
`download`."""


@dataclass(frozen=True)
class Uploaded:
    """A file that the server has whole. `sha256` is ours; the server's was the same, or it named
    none."""

    stored_as: str
    size: int
    sha256: str


# --- Sending --------------------------------------------------------------------------------------


class _Upload(Transfer):
    def __init__(
        self, room_id: str, name: str, cancel: threading.Event | None, patience: float
    ) -> None:
        super().__init__(room_id, name, cancel, patience)
        self.acknowledged: set[int] = set()

    def wants(self, packet: Mapping[str, Any]) -> bool:
        # answers to chunks carry no request_id; one upload runs at a time
        if packet["action"] == "error":
            return packet.get("original_action") == "file_send_data"
        return packet["action"] == "file_send_data" and self.is_ours(packet)

    def take(self, packet: Mapping[str, Any]) -> None:
        if packet["action"] == "error":
            self.fail(ServerError(str(packet.get("code", "error")), str(packet.get("message", ""))))
            return
        with self.changed:
            self.acknowledged.add(packet["data"]["sequence_number"])
            self.moved_at = time.monotonic()
            self.changed.notify_all()


# held while an upload runs: an error to a chunk names no file
_one_upload: Final = threading.Lock()


def upload(
    chat: Connection,
    room_id: str,
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Uploaded:
    """Send the file at `path` to a room; return when the server has it whole on disk with the right
    SHA-256.

    Goes on where it was after a lost connection, and gives up after `patience` seconds without
    progress. Setting `cancel` stops it. Raise `TransferFailed`; the cause is a `ServerError` where
    the server refused.
    """
    source = Path(path)
    transfer = _Upload(room_id, local_file_name(source.name), cancel, patience)
    if not wait_in_slices(lambda part: _one_upload.acquire(timeout=part), patience):
        raise TransferFailed("another file is being sent")
    try:
        session = chat.session
        most = session.limits.max_file if session is not None else 0
        with source_files.opened(source, most, transfer) as (file, size):
            chunk_bytes = session.limits.max_chunk if session is not None else 0
            chunk_bytes = min(CHUNK_BYTES, chunk_bytes or CHUNK_BYTES)
            whole = SourceFile(file, size, chunk_bytes, transfer)
            chat.add_consumer(transfer)
            try:
                return _Sending(chat, transfer, whole, progress).run()
            finally:
                chat.remove_consumer(transfer)
    except OSError as error:
        raise TransferFailed(f"{source.name} can't be read: {error.strerror or error}") from error
    finally:
        _one_upload.release()


class _Sending:
    """One upload on its way, in the thread that wants it."""

    def __init__(
        self,
        chat: Connection,
        transfer: _Upload,
        source: SourceFile,
        progress: Progress | None,
    ) -> None:
        self.chat, self.transfer, self.source = chat, transfer, source
        self.size, self.total = source.size, source.total
        self.progress = progress or (lambda done, total: None)
        session = chat.session
        self.chatid = session.chatid if session is not None else ""
        self.key = secrets.token_hex(16)

    def run(self) -> Uploaded:
        for _ in range(MAX_ROUNDS):
            try:
                return self._round()
            except ConnectionLost as error:
                self.transfer.wait_for_connection(self.chat, error)
            except ServerError as error:
                # Begun anew, the server says what it is missing; where it forgot all of it,
                # everything is sent again.
                if error.code not in (
                    protocol.ErrorCode.INCOMPLETE_FILE,
                    protocol.ErrorCode.FILE_NOT_FOUND,
                ):
                    raise self._refused(error) from error
                self.transfer.check()
            except BadAnswer as error:
                raise TransferFailed(str(error)) from error
            except (TransferFailed, KeyboardInterrupt):
                self.transfer.give_up(self.chat)
                raise
        raise TransferFailed("the file could not be sent whole in many attempts")

    def _refused(self, error: ServerError) -> TransferFailed:
        if error.code != protocol.ErrorCode.TOO_LARGE:
            return TransferFailed(str(error))
        session = self.chat.session
        most = session.limits.max_file if session is not None else 0
        return FileTooLarge(self.transfer.name, self.size, most)

    def _round(self) -> Uploaded:
        where = {"room_id": self.transfer.room_id, "file_path": self.transfer.name}
        reply = self.chat.request(
            "file_send_init",
            {
                **where,
                "file_size": self.size,
                "file_type": mimetypes.guess_type(self.transfer.name)[0]
                or "application/octet-stream",
                "total_packets": self.total,
                "chunk_size": self.source.chunk_bytes,
                "transaction_id": self.key,
            },
        )
        with self.transfer.changed:
            self.transfer.failure = (
                None  # what the chunks of a round before were answered came before this reply
            )
        missing = sorted(
            set(range(1, self.total + 1)) - _numbers(reply.get("received"), self.total)
        )
        if not reply.get("done"):
            self._send_chunks(missing, where)
        self.transfer.check()
        reply = self.chat.request(
            "file_send_fin", {**where, "total_packets": self.total}, timeout=self.transfer.patience
        )
        theirs = reply.get("sha256")
        if isinstance(theirs, str) and theirs.lower() != self.source.sha256:
            raise HashDiffers(
                "the file was changed while it was sent: the server's SHA-256 is another"
            )
        self.progress(self.size, self.size)
        stored_as = reply.get("stored_as")
        return Uploaded(
            stored_as if isinstance(stored_as, str) else self.transfer.name,
            self.size,
            self.source.sha256,
        )

    def _send_chunks(self, missing: list[int], where: Mapping[str, Any]) -> None:
        """Send these chunks, `WINDOW` of them at a time unanswered, and wait for all answers."""
        transfer = self.transfer
        with transfer.changed:
            transfer.acknowledged = set()
        before = self.total - len(missing)
        for sent, number in enumerate(missing):
            transfer.wait(lambda sent=sent: sent - len(transfer.acknowledged) < WINDOW)  # type: ignore[misc]
            self._show(before + len(transfer.acknowledged))
            chunk = self.source.chunk(number)
            data = {"chat_id": self.chatid, **where, "sequence_number": number}
            self.chat.push_frame(protocol.chunk_frame("file_send_data", data, chunk))
        transfer.wait(lambda: len(transfer.acknowledged) >= len(missing))

    def _show(self, chunks: int) -> None:
        self.progress(min(chunks * self.source.chunk_bytes, self.size), self.size)


def _numbers(ranges: Any, most: int) -> set[int]:
    """Return the chunk numbers of a `received` list; what is no range of numbers is passed over."""
    numbers: set[int] = set()
    for item in ranges if isinstance(ranges, list) else []:
        if (
            isinstance(item, list)
            and len(item) == 2
            and all(type(number) is int for number in item)
        ):
            numbers.update(range(max(1, item[0]), min(most, item[1]) + 1))
    return numbers


# --- Fetching -------------------------------------------------------------------------------------


class _Download(Transfer):
    """Chunks go to the file in the reading thread: waiting in memory for another thread, they would
    need a bound."""

    def __init__(
        self,
        room_id: str,
        name: str,
        cancel: threading.Event | None,
        patience: float,
        file: BinaryIO,
    ) -> None:
        super().__init__(room_id, name, cancel, patience)
        self.file = file
        self.digest = hashlib.sha256()
        self.request_id = ""
        self.meta: tuple[int, int, str] | None = None  # size, packets, SHA-256 in lower case or ""
        self.chunks = 0
        self.bytes = 0
        self.finished = False

    def wants(self, packet: Mapping[str, Any]) -> bool:
        action = packet["action"]
        if action == "error":
            answer = packet.get("request_id")
            return (
                answer == self.request_id
                if answer is not None
                else packet.get("original_action") == "file_down_req"
            )
        return action in ("file_down_meta", "file_down_data", "file_down_fin") and self.is_ours(
            packet
        )

    def take(self, packet: Mapping[str, Any]) -> None:
        with self.changed:
            if self.failure is not None or self.finished:
                return
            self.moved_at = time.monotonic()
            try:
                self._take(packet)
            except ChatError as error:
                self.failure = error
            except OSError as error:
                self.failure = TransferFailed(
                    f"the file can't be written: {error.strerror or error}"
                )
            self.changed.notify_all()

    def _take(self, packet: Mapping[str, Any]) -> None:
        action, data = packet["action"], packet.get("data", {})
        if action == "error":
            raise ServerError(str(packet.get("code", "error")), str(packet.get("message", "")))
        if action == "file_down_meta":
            meta = (data["file_size"], data["total_packets"], str(data.get("sha256") or "").lower())
            if self.meta is not None and meta != self.meta:
                raise TransferFailed(
                    "the file was replaced by another of that name meanwhile; fetch it again"
                )
            self.meta = meta
        elif self.meta is None:
            raise TransferFailed("the server sent chunks before saying what they are")
        elif action == "file_down_data":
            self._chunk(data["sequence_number"], data["file_data"], self.meta[0])
        else:
            self.finished = True

    def _chunk(self, number: int, chunk: bytes | str, size: int) -> None:
        if isinstance(chunk, str):
            decoded = protocol.decode_base64(chunk.encode())
            if decoded is None:
                raise TransferFailed(f"chunk {number} is no base64")
            chunk = decoded
        if number != self.chunks + 1:
            raise TransferFailed(f"chunk {number} came where {self.chunks + 1} was due")
        if self.bytes + len(chunk) > size:
            raise TransferFailed(f"more came than the {size} bytes that the server promised")
        self.file.write(chunk)
        self.digest.update(chunk)
        self.chunks = number
        self.bytes += len(chunk)

    def begin(self, chat: Connection) -> None:
        """Ask for the file, or for what is missing of it."""
        with self.changed:
            self.finished = self.meta is not None and self.chunks >= self.meta[1]
            if self.finished:
                return
            self.request_id = secrets.token_hex(8)
        data: dict[str, Any] = {"room_id": self.room_id, "file_path": self.name}
        if self.chunks:
            data["from_sequence"] = self.chunks + 1
        chat.push("file_down_req", data, request_id=self.request_id)

    def verify(self) -> None:
        """Raise where what came is not what was promised."""
        assert self.meta is not None
        size, _, sha256 = self.meta
        if self.bytes != size:
            raise TransferFailed(f"{self.bytes} bytes came instead of {size}")
        if sha256 and sha256 != self.digest.hexdigest():
            raise HashDiffers("the SHA-256 of what came is not the server's; it was thrown away")


def download(
    chat: Connection,
    room_id: str,
    file_path: str,
    folder: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Path:
    """Fetch a file of a room into `folder`, which is made where it is missing; return where it
    lies.

    It gets its name only when it is whole and its SHA-256 right, and never replaces another file:
    then it is `name (2).ext`. Goes on where it was after a lost connection; `patience`, `cancel`
    and errors are as in `upload`.
    """
    sent_as = local_file_name(file_path)  # how `upload` calls a file of that name
    try:
        return _download(chat, room_id, file_path, Path(folder), progress, cancel, patience)
    except TransferFailed as error:
        if sent_as == file_path or not isinstance(error.__cause__, ServerError):
            raise
    return _download(chat, room_id, sent_as, Path(folder), progress, cancel, patience)


def _download(
    chat: Connection,
    room_id: str,
    file_path: str,
    into: Path,
    progress: Progress | None,
    cancel: threading.Event | None,
    patience: float,
) -> Path:
    temporary = into / f".chat-{secrets.token_hex(8)}.part"
    try:
        into.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                transfer = _Download(room_id, file_path, cancel, patience, file)
                _fetch(chat, transfer, progress or (lambda done, total: None))
                file.flush()
                os.fsync(file.fileno())
            return _give_name(temporary, into, local_file_name(file_path))
        finally:
            files.remove(temporary)
    except OSError as error:
        raise TransferFailed(f"{into} can't take the file: {error.strerror or error}") from error


def _fetch(chat: Connection, transfer: _Download, progress: Progress) -> None:
    chat.add_consumer(transfer)
    try:
        for _ in range(MAX_ROUNDS):
            try:
                transfer.begin(chat)
                _wait_for_all(transfer, progress)
                return transfer.verify()
            except ConnectionLost as error:
                transfer.wait_for_connection(chat, error)
            except ServerError as error:
                raise TransferFailed(str(error)) from error
            except (TransferFailed, KeyboardInterrupt):
                transfer.give_up(chat)
                raise
        raise TransferFailed("the file could not be fetched whole in many attempts")
    finally:
        chat.remove_consumer(transfer)


def _wait_for_all(transfer: _Download, progress: Progress) -> None:
    seen = -1
    while not transfer.finished:
        transfer.wait(lambda: transfer.finished or transfer.bytes > seen)  # noqa: B023 (asked at once, not later)
        seen = transfer.bytes
        if transfer.meta is not None:
            progress(seen, transfer.meta[0])


def _give_name(temporary: Path, folder: Path, name: str) -> Path:
    """Move the finished file to `name`, or the next free `name (2)`; made exclusively, so that
    nothing is ever replaced."""
    number = 1
    while True:
        target = folder / numbered(name, number)
        try:
            files.name_new(temporary, target)
            return target
        except FileExistsError:
            number += 1
