"""What a `file_send_init` must pass: numbers that fit together, a share that is left, room on the
disk, and a key that was not used for another file.

Owns these rules (R-FILE-4, R-FILE-16, R-FILE-22, R-FILE-28). Reads by the connection that it is
given, and changes nothing.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import protocol
from protocol import ErrorCode, FileSendInit, Refusal
from server.base.settings import Settings
from server.handlers.room_access import check_share
from server.state.room_directory import RoomState
from server.state.uploads import check_chunk_size
from storage import shares, uploads
from storage.uploads import OpenUpload, StoredFile


def check_numbers(request: FileSendInit) -> None:
    size, total = request.file_size, request.total_packets
    if (size == 0) != (total == 0) or total > size:
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"data.total_packets: {total} packets can't make {size} bytes of data.file_size",
        )
    if request.chunk_size is not None and total:
        check_chunk_size(request.chunk_size, size, total, "data.chunk_size")
    elif total and -(-size // total) > protocol.MAX_CHUNK_BYTES:
        least = -(-size // protocol.MAX_CHUNK_BYTES)
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"data.total_packets: expected at least {least} packets for {size} bytes, "
            f"since a chunk has at most {protocol.MAX_CHUNK_BYTES}; got {total}",
        )
    elif total and -(-size // -(-size // total)) != total:
        # The smallest chunk that does not make more packets makes fewer.
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"data.total_packets: no size of chunks makes {total} packets of {size} bytes",
        )


def other_file() -> Refusal:
    return Refusal(
        ErrorCode.TRANSACTION_MISMATCH,
        "data.transaction_id: this key was used for another file; expected a new key",
    )


def is_same_stored(stored: StoredFile, room: RoomState, request: FileSendInit) -> bool:
    return (stored.room_pk, stored.base_name, stored.file_size, stored.total_packets) == (
        room.room.pk,
        request.file_path,
        request.file_size,
        request.total_packets,
    )


def is_same_file(row: OpenUpload, request: FileSendInit) -> bool:
    return (row.room_id, row.file_name, row.file_size, row.total_packets) == (
        request.room_id,
        request.file_path,
        request.file_size,
        request.total_packets,
    )


def is_same_open(row: OpenUpload, request: FileSendInit) -> bool:
    """Return whether the request takes the upload up again (R-FILE-9), as far as its key allows."""
    is_same_size = request.chunk_size is None or row.chunk_size in (None, request.chunk_size)
    return is_same_size and is_same_file(row, request)


@dataclass(frozen=True, slots=True)
class Measured:
    """What an account and all together have of files, in bytes, as of the newest upload and file
    then; and the disk."""

    used: int
    begun: int
    upload_id: int
    file_id: int
    disk_free: int
    disk_total: int


def measure(reader: sqlite3.Connection, account_id: int, disk: tuple[int, int]) -> Measured:
    """Add up, outside of the writer's transaction, what takes long to add up; `disk` has the bytes
    that are free, and all of them."""
    upload_id, file_id = uploads.newest_ids(reader)
    used = uploads.used_bytes(reader, account_id)
    return Measured(used, uploads.declared_bytes_total(reader), upload_id, file_id, *disk)


def check_upload(
    connection: sqlite3.Connection,
    settings: Settings,
    account_id: int,
    size: int,
    measured: Measured,
) -> None:
    """Raise Refusal where one more upload passes a limit. Inside the writer's transaction, so that
    no two uploads take the same share: what has come since it was `measured` is added."""
    check_share(connection, settings, account_id, shares.FILE_BYTES)
    used = measured.used + uploads.used_bytes_since(connection, account_id, measured.file_id)
    used += uploads.declared_bytes(connection, account_id)
    if settings.quota and used + uploads.counted_bytes(size) > settings.quota:
        left = max(0, settings.quota - used)
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"data.file_size: your share has {left} bytes left, got {size}",
        )
    most = settings.max_pending
    if most and uploads.count_open(connection, account_id) >= most:
        raise Refusal(
            ErrorCode.TOO_MANY_PENDING,
            f"{most} of your uploads are open: finish or cancel some first",
        )
    begun = measured.begun + uploads.declared_bytes_total(connection, measured.upload_id)
    left = measured.disk_free - begun - size
    if settings.min_free and left < measured.disk_total * settings.min_free / 100:
        raise Refusal(
            ErrorCode.STORAGE_FULL,
            f"the server's disk must keep {settings.min_free} % free: there is no room for "
            f"{size} bytes",
        )


def check_size(settings: Settings, size: int, disk_bytes: int) -> None:
    """Raise Refusal where no upload may, or can, have this size, whatever else there is. A size
    that no disk of ours holds must not become the offset of a chunk."""
    most = settings.max_file
    if most and size > most:
        raise Refusal(
            ErrorCode.TOO_LARGE, f"data.file_size: expected at most {most} bytes, got {size}"
        )
    if size > disk_bytes:
        raise Refusal(
            ErrorCode.STORAGE_FULL,
            f"data.file_size: the server's disk has {disk_bytes} bytes in all, got {size}",
        )
