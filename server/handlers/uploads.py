"""Uploads: begun, sent chunk by chunk, finished, given up."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any, Final

import protocol
from protocol import ErrorCode, FileCancel, FileSendData, FileSendFin, FileSendInit, Refusal
from server.base.frame_sizes import ranges_named
from server.base.logs import printable
from server.handlers.context import Context
from server.handlers.room_access import check_may_write, check_share, room_to_write
from server.handlers.sessions import check_current, save_progress, wait_for_predecessors
from server.handlers.table import handles_for_session
from server.state.room_directory import RoomState
from server.state.session import Session
from server.state.uploads import SAVE_EVERY_BYTES, Upload, check_chunk_size, file_frame
from server.writing.delivery import Delivery
from storage import shares, uploads
from storage.uploads import OpenUpload, StoredFile

log: Final = logging.getLogger("server.files")

FINISHED_REMEMBERED: Final = 64
"""Names of finished uploads that a session remembers; of others the database is asked."""


@handles_for_session(FileSendInit)
def file_send_init(context: Context, session: Session, request: FileSendInit) -> bytes:
    """Open an upload, or take one up again."""
    room = check_may_write(context, session.account_id, request.room_id)
    _check_numbers(request)
    wait_for_predecessors(session, context.clock)
    key = request.transaction_id
    with context.database.reading() as reader:
        stored = None if key is None else uploads.by_transaction(reader, session.account_id, key)
        of_key = (
            None
            if key is None
            else uploads.find_open_by_transaction(reader, session.account_id, key)
        )
        of_name = uploads.find_open(reader, session.account_id, request.room_id, request.file_path)
    if stored is not None:
        if room is None or not _is_same_stored(stored, room, request):
            raise _other_file()
        _remember(session, request, stored)
        ranges = [[1, request.total_packets]] if request.total_packets else []
        return _init_reply(request, {"received": ranges, "done": True})
    if of_key is not None and not _is_same_open(of_key, request):
        raise _other_file()
    if (
        of_name is not None
        and _is_same_open(of_name, request)
        and (key is None or of_name.transaction_id in (None, key))
    ):
        return _take_up(context, session, of_name, request)
    _check_share(context, session, request, of_name)
    upload = _open(context, session, request, of_name)
    session.uploads[request.room_id, request.file_path] = upload
    return _init_reply(request, {})


def _remember(
    session: Session, request: FileSendInit | FileSendFin | FileCancel, stored: StoredFile | None
) -> None:
    if len(session.finished) >= FINISHED_REMEMBERED:
        session.finished.pop(next(iter(session.finished)))
    session.finished[request.room_id, request.file_path] = stored


def _check_numbers(request: FileSendInit) -> None:
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


def _other_file() -> Refusal:
    return Refusal(
        ErrorCode.TRANSACTION_MISMATCH,
        "data.transaction_id: this key was used for another file; expected a new key",
    )


def _is_same_stored(stored: StoredFile, room: RoomState, request: FileSendInit) -> bool:
    return (stored.room_pk, stored.base_name, stored.file_size, stored.total_packets) == (
        room.room.pk,
        request.file_path,
        request.file_size,
        request.total_packets,
    )


def _is_same_open(row: OpenUpload, request: FileSendInit) -> bool:
    is_same_size = request.chunk_size is None or row.chunk_size in (None, request.chunk_size)
    return is_same_size and (row.room_id, row.file_name, row.file_size, row.total_packets) == (
        request.room_id,
        request.file_path,
        request.file_size,
        request.total_packets,
    )


def _check_share(
    context: Context, session: Session, request: FileSendInit, replaced: OpenUpload | None
) -> None:
    settings, size = context.settings, request.file_size
    if settings.max_file and size > settings.max_file:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"data.file_size: expected at most {settings.max_file} bytes, got {size}",
        )
    freed = 0 if replaced is None else replaced.file_size
    counted = uploads.counted_bytes(size)
    with context.database.reading() as reader:
        used = (
            uploads.used_bytes(reader, session.account_id)
            + uploads.declared_bytes(reader, session.account_id)
            - (0 if replaced is None else uploads.counted_bytes(replaced.file_size))
        )
        begun = uploads.declared_bytes_total(reader) - freed
        check_share(reader, settings, session.account_id, shares.FILE_BYTES)
        is_one_more = uploads.count_open(reader, session.account_id) - (replaced is not None)
    if settings.quota and used + counted > settings.quota:
        left = max(0, settings.quota - used)
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"data.file_size: your share has {left} bytes left, got {size}",
        )
    if settings.max_pending and is_one_more >= settings.max_pending:
        raise Refusal(
            ErrorCode.TOO_MANY_PENDING,
            f"{settings.max_pending} of your uploads are open: finish or cancel some first",
        )
    free, total = context.files.free()
    if settings.min_free and free - begun - size < total * settings.min_free / 100:
        raise Refusal(
            ErrorCode.STORAGE_FULL,
            f"the server's disk must keep {settings.min_free} % free: there is no room for "
            f"{size} bytes",
        )


def _open(
    context: Context, session: Session, request: FileSendInit, replaced: OpenUpload | None
) -> Upload:
    if replaced is not None:
        _drop_state(session, replaced)
    disk_name = context.files.new_name()
    part = context.files.create(disk_name)

    def change(connection: sqlite3.Connection) -> OpenUpload:
        check_current(connection, session)
        if replaced is not None:
            uploads.close_upload(connection, replaced.id)
        return uploads.open_upload(
            connection,
            account_id=session.account_id,
            room_id=request.room_id,
            file_name=request.file_path,
            file_size=request.file_size,
            file_type=request.file_type,
            total_packets=request.total_packets,
            chunk_size=request.chunk_size,
            first_number=None,
            transaction_id=request.transaction_id,
            received=(),
            disk_name=disk_name,
            touched_at=context.wall_clock.seconds(),
        )

    try:
        row = context.writer.run(change)
    except BaseException:
        part.close()
        context.files.remove(disk_name)
        raise
    if replaced is not None:
        context.files.remove(replaced.disk_name)
    return Upload(row, part, context.budget)


def _take_up(context: Context, session: Session, row: OpenUpload, request: FileSendInit) -> bytes:
    """Go on with an upload; what the answer lists as received survives a crash from here on."""
    upload = _state(context, session, row)
    if upload.chunk_size is None:
        upload.chunk_size = request.chunk_size
    save_progress(context.writer, context.wall_clock, upload, wait=True)
    received = upload.received_numbers(ranges_named(context.settings))
    return _init_reply(request, {"received": received})


def _init_reply(request: FileSendInit, more: dict[str, Any]) -> bytes:
    return protocol.build(
        "file_send_init", {**_head(request), **more}, request_id=request.request_id
    )


def _head(request: Any) -> dict[str, Any]:
    return {"chat_id": request.chat_id, "room_id": request.room_id, "file_path": request.file_path}


def _state(context: Context, session: Session, row: OpenUpload) -> Upload:
    upload = session.uploads.get((row.room_id, row.file_name))
    if upload is None or upload.row.id != row.id:
        upload = Upload(row, context.files.resume(row.disk_name), context.budget)
        session.uploads[row.room_id, row.file_name] = upload
    return upload


def _drop_state(session: Session, row: OpenUpload) -> None:
    upload = session.uploads.pop((row.room_id, row.file_name), None)
    if upload is not None:
        upload.close()


def _open_upload(context: Context, session: Session, room_id: str, file_path: str) -> Upload | None:
    """Return the session's open upload of this name, also one that an earlier session of the user
    began."""
    upload = session.uploads.get((room_id, file_path))
    if upload is not None:
        return upload
    row = _open_row(context, session, room_id, file_path)
    return None if row is None else _state(context, session, row)


def _open_row(
    context: Context, session: Session, room_id: str, file_path: str
) -> OpenUpload | None:
    wait_for_predecessors(session, context.clock)
    with context.database.reading() as reader:
        return uploads.find_open(reader, session.account_id, room_id, file_path)


def _check_room(context: Context, session: Session, room_id: str) -> None:
    """Check the room, as the order of checks wants it; an upload may be open in a room that its end
    will make."""
    room = context.rooms.find(room_id)
    if room is not None or room_id.startswith(protocol.PRIVATE_ROOM_PREFIX):
        context.rooms.visible(room_id, session.account_id)


@handles_for_session(FileSendData)
def file_send_data(context: Context, session: Session, request: FileSendData) -> bytes:
    """Take a chunk. The answer promises receipt, no more."""
    _check_room(context, session, request.room_id)
    upload = _open_upload(context, session, request.room_id, request.file_path)
    if upload is None:
        raise _no_upload(request.file_path)
    upload.write(request.sequence_number, request.file_data)
    if upload.unsaved_bytes >= SAVE_EVERY_BYTES:
        save_progress(context.writer, context.wall_clock, upload, wait=False)
    data = {**_head(request), "sequence_number": request.sequence_number}
    message = f"Chunk {request.sequence_number} received."
    return protocol.build("file_send_data", data, message=message, request_id=request.request_id)


def _no_upload(file_path: str) -> Refusal:
    return Refusal(
        ErrorCode.FILE_NOT_FOUND,
        f"data.file_path: no upload of {protocol.describe(file_path)} is open: begin with "
        "file_send_init",
    )


@handles_for_session(FileSendFin)
def file_send_fin(context: Context, session: Session, request: FileSendFin) -> bytes:
    """Finish an upload: first the bytes are on disk, then the file is the room's, then everybody
    hears of it."""
    _check_room(context, session, request.room_id)
    upload = _open_upload(context, session, request.room_id, request.file_path)
    if upload is None:
        return _fin_again(context, session, request)
    if request.total_packets != upload.row.total_packets:
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"data.total_packets: expected {upload.row.total_packets} as in file_send_init, "
            f"got {request.total_packets}",
        )
    if not upload.is_complete:
        missing = upload.row.total_packets - upload.received.count
        raise Refusal(
            ErrorCode.INCOMPLETE_FILE,
            f"{missing} chunks are missing, first number {upload.first_missing()}: send them, "
            "then fin again",
        )
    upload.close()
    del session.uploads[request.room_id, request.file_path]
    digest = upload.digest or context.files.sha256(upload.row.disk_name, part=True)
    context.files.finish(upload.row.disk_name)
    stored = _store(context, session, upload.row, digest)
    _remember(session, request, stored)
    log.info(
        "file stored: %s by %s, %d bytes",
        printable(stored.stored_as),
        printable(session.chatid),
        stored.file_size,
    )
    return _fin_reply(request, stored)


def _fin_again(context: Context, session: Session, request: FileSendFin) -> bytes:
    """Answer once more where the first answer was lost: with the same words, and nobody hears of
    the file twice."""
    room = context.rooms.find(request.room_id)
    place = (request.room_id, request.file_path)
    stored = session.finished.get(place)
    if place not in session.finished and room is not None:
        with context.database.reading() as reader:
            stored = uploads.last_of(reader, room.room.pk, session.account_id, request.file_path)
    if stored is None or stored.total_packets != request.total_packets:
        raise _no_upload(request.file_path)
    return _fin_reply(request, stored)


def _fin_reply(request: FileSendFin, stored: StoredFile) -> bytes:
    data = {**_head(request), "sha256": stored.sha256, "stored_as": stored.stored_as}
    return protocol.build("file_send_fin", data, request_id=request.request_id)


def _store(context: Context, session: Session, row: OpenUpload, digest: str) -> StoredFile:
    def change(connection: sqlite3.Connection) -> tuple[StoredFile, RoomState, bool]:
        check_current(connection, session)
        check_share(connection, context.settings, session.account_id, shares.FILE_BYTES)
        now = context.wall_clock.seconds()
        room, is_new = room_to_write(
            connection, context.rooms, context.settings, session.account_id, row.room_id, now
        )
        name = uploads.free_name(connection, room.room.pk, session.account_id, row.file_name)
        stored = uploads.store(
            connection,
            room.room.pk,
            session.account_id,
            row.file_name,
            name,
            row.file_size,
            row.file_type,
            digest,
            now,
            row.disk_name,
            row.total_packets,
            row.transaction_id,
        )
        uploads.close_upload(connection, row.id)
        return stored, room, is_new

    def tell(result: tuple[StoredFile, RoomState, bool], delivery: Delivery) -> None:
        stored, room, is_new = result
        if is_new:
            delivery.event("room_created", None, room_id=room.room.room_id, name=room.room.name)
        frame = file_frame(room.room.room_id, stored)
        delivery.to_room(room, session.account_id, frame, stored.sent_at, ("file", stored.id))

    try:
        return context.writer.run(change, tell)[0]
    except Refusal:
        # Not stored, so the upload stays open for the next try. (After any other error the commit
        # may have happened all the same; then the start finds out.)
        context.files.resume(row.disk_name).close()
        raise


@handles_for_session(FileCancel)
def file_cancel(context: Context, session: Session, request: FileCancel) -> bytes:
    """Give an unfinished upload up, or stop a download."""
    _check_room(context, session, request.room_id)
    # Without its bytes: they need not be there.
    row = _open_row(context, session, request.room_id, request.file_path)
    if row is not None:
        _drop_state(session, row)
        _remember(session, request, None)
        context.writer.run(lambda connection: uploads.close_upload(connection, row.id))
        context.files.remove(row.disk_name)
    elif not session.downloads.cancel(request.room_id, request.file_path):
        path = protocol.describe(request.file_path)
        raise Refusal(
            ErrorCode.FILE_NOT_FOUND,
            f"data.file_path: no upload or download of {path} is under way",
        )
    return protocol.build("file_cancelled", _head(request), request_id=request.request_id)
