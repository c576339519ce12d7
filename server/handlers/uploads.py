"""Uploads: begun, sent chunk by chunk, finished, given up."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, replace
from typing import Any, Final

import protocol
from protocol import ErrorCode, FileCancel, FileSendData, FileSendFin, FileSendInit, Refusal
from server.base.frame_sizes import ranges_named
from server.base.logs import printable, room_words
from server.handlers.context import Context
from server.handlers.room_access import (
    check_may_speak,
    check_may_write,
    room_to_write,
)
from server.handlers.sessions import (
    check_current,
    reading_for,
    save_progress,
    wait_for_predecessors,
)
from server.handlers.table import handles_for_session
from server.handlers.upload_checks import (
    check_numbers,
    check_size,
    check_upload,
    is_same_file,
    is_same_open,
    is_same_stored,
    measure,
    other_file,
)
from server.state.room_directory import RoomDirectory, RoomState
from server.state.session import Session
from server.state.uploads import SAVE_EVERY_BYTES, Upload, file_frame
from server.writing.delivery import Delivery
from storage import shares, uploads
from storage.database import Database
from storage.errors import FileMissing, StorageError
from storage.uploads import OpenUpload, StoredFile

log: Final = logging.getLogger("server.files")

FINISHED_REMEMBERED: Final = 64
"""Names of finished uploads that a session remembers; of others the database is asked."""
TRIES: Final = 3
"""How often a `file_send_init` is tried, where another session of the user changes the upload
meanwhile."""


@handles_for_session(FileSendInit)
def file_send_init(context: Context, session: Session, request: FileSendInit) -> bytes:
    """Open an upload, or take one up again."""
    room = check_may_write(context, session.account_id, request.room_id)
    check_numbers(request)
    wait_for_predecessors(session, context.clock)
    for _ in range(TRIES):
        reply = _begin(context, session, request, room)
        if reply is not None:
            return reply
    raise StorageError(f"an upload changed {TRIES} times while it was being begun")


@dataclass(frozen=True, slots=True)
class _Known:
    """What storage knows of a `file_send_init`, by its key and by its name."""

    stored: StoredFile | None
    of_key: OpenUpload | None
    of_name: OpenUpload | None


def _look_up(connection: sqlite3.Connection, session: Session, request: FileSendInit) -> _Known:
    key, account_id = request.transaction_id, session.account_id
    of_name = uploads.find_open(connection, account_id, request.room_id, request.file_path)
    if key is None:
        return _Known(None, None, of_name)
    return _Known(
        uploads.by_transaction(connection, account_id, key),
        uploads.find_open_by_transaction(connection, account_id, key),
        of_name,
    )


def _begin(
    context: Context, session: Session, request: FileSendInit, room: RoomState | None
) -> bytes | None:
    """Open an upload, or take one up again; None where storage knows something else of it in the
    end than it did at first, so that it is to be tried again."""
    key = request.transaction_id
    with reading_for(context.database, session) as reader:
        known = _look_up(reader, session, request)
    if known.stored is not None:
        if room is None or not is_same_stored(known.stored, room, request):
            raise other_file()
        _remember(session, request, known.stored)
        ranges = [[1, request.total_packets]] if request.total_packets else []
        return _init_reply(session, request, {"received": ranges, "done": True})
    check_may_speak(context.restrictions, session, room, writing=False, is_file=True)
    if known.of_key is not None and not is_same_file(known.of_key, request):
        raise other_file()
    of_name = _as_it_is(session, known.of_name)
    if (
        of_name is not None
        and is_same_open(of_name, request)
        and (key is None or of_name.transaction_id in (None, key))
    ):
        return _take_up(context, session, of_name, request)
    return _open(context, session, request, known)


def _as_it_is(session: Session, row: OpenUpload | None) -> OpenUpload | None:
    """Return the row with the chunk size that the first chunk has told, also where that is not
    stored yet."""
    upload = None if row is None else session.uploads.get((row.room_id, row.file_name))
    if row is None or upload is None or upload.row.id != row.id:
        return row
    return replace(row, chunk_size=upload.chunk_size)


def _remember(
    session: Session, request: FileSendInit | FileSendFin | FileCancel, stored: StoredFile | None
) -> None:
    if len(session.finished) >= FINISHED_REMEMBERED:
        session.finished.pop(next(iter(session.finished)))
    session.finished[request.room_id, request.file_path] = stored


def _open(context: Context, session: Session, request: FileSendInit, known: _Known) -> bytes | None:
    """Begin an upload, in the place of one of the same name. Its file is made when its first bytes
    come."""
    disk, replaced = context.files.free(), known.of_name
    check_size(context.settings, request.file_size, disk[1])
    with context.database.reading() as reader:
        measured = measure(reader, session.account_id, disk)
    if replaced is not None:
        measured = replace(measured, begun=measured.begun - replaced.file_size)

    def change(connection: sqlite3.Connection) -> OpenUpload | None:
        check_current(connection, session)
        state = check_may_write(context, session.account_id, request.room_id, connection)
        check_may_speak(context.restrictions, session, state, writing=True, is_file=True)
        if _look_up(connection, session, request) != known:
            return None
        if replaced is not None:
            uploads.close_upload(connection, replaced.id)
        check_upload(connection, context.settings, session.account_id, request.file_size, measured)
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
            disk_name=context.files.new_name(),
            touched_at=context.wall_clock.seconds(),
        )

    row = context.writer.run(change)
    if row is None:
        return None
    if replaced is not None:
        context.files.remove(replaced.disk_name)  # its row was ours to delete
    _drop_state(session, row)
    session.uploads[row.room_id, row.file_name] = Upload(row, context.files, context.budget)
    return _init_reply(session, request, {})


def _take_up(
    context: Context, session: Session, row: OpenUpload, request: FileSendInit
) -> bytes | None:
    """Go on with an upload; what the answer lists as received survives a crash from here on."""
    upload = _state(context, session, row)
    if upload is None:
        return None
    if upload.chunk_size is None:
        upload.chunk_size = request.chunk_size
    if row.transaction_id is None:  # from here on it has the key, also behind its end (R-FILE-16)
        upload.row = replace(upload.row, transaction_id=request.transaction_id)
    save_progress(context.writer, context.wall_clock, upload, wait=True)
    if upload.is_closed:
        _drop_state(session, row)
        return None
    received = upload.received_numbers(ranges_named(context.settings))
    return _init_reply(session, request, {"received": received})


def _init_reply(session: Session, request: FileSendInit, more: dict[str, Any]) -> bytes:
    return protocol.build(
        "file_send_init", {**_head(session, request), **more}, request_id=request.request_id
    )


def _head(session: Session, request: Any) -> dict[str, Any]:
    return {"chat_id": session.chatid, "room_id": request.room_id, "file_path": request.file_path}


def _state(context: Context, session: Session, row: OpenUpload) -> Upload | None:
    """Return what the session knows of the upload; None where it is open no more, so that its
    bytes are gone."""
    upload = session.uploads.get((row.room_id, row.file_name))
    if upload is None or upload.row.id != row.id:
        try:
            if row.received:
                context.files.take_back(row.disk_name)
        except FileMissing:
            if _is_open(context.database, row):
                raise
            return None
        _drop_state(session, row)
        upload = Upload(row, context.files, context.budget)
        session.uploads[row.room_id, row.file_name] = upload
    return upload


def _drop_state(session: Session, row: OpenUpload) -> None:
    upload = session.uploads.pop((row.room_id, row.file_name), None)
    if upload is not None:
        upload.close()


def _is_open(database: Database, row: OpenUpload) -> bool:
    with database.reading() as reader:
        return uploads.is_open(reader, row.id)


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


def _check_room(directory: RoomDirectory, session: Session, room_id: str) -> None:
    """Check the room, as the order of checks wants it; an upload may be open in a room that its end
    will make."""
    room = directory.find(room_id)
    if room is not None or room_id.startswith(protocol.PRIVATE_ROOM_PREFIX):
        directory.visible(room_id, session.account_id)


@handles_for_session(FileSendData)
def file_send_data(context: Context, session: Session, request: FileSendData) -> bytes:
    """Take a chunk. The answer promises receipt, no more."""
    _check_room(context.rooms, session, request.room_id)
    upload = _open_upload(context, session, request.room_id, request.file_path)
    if upload is None:
        raise _no_upload(request.file_path)
    if not _write(context, upload, request):
        _drop_state(session, upload.row)
        raise _no_upload(request.file_path)
    if upload.unsaved_bytes >= SAVE_EVERY_BYTES:
        save_progress(context.writer, context.wall_clock, upload, wait=False)
    data = {**_head(session, request), "sequence_number": request.sequence_number}
    message = f"Chunk {request.sequence_number} received."
    return protocol.build("file_send_data", data, message=message, request_id=request.request_id)


def _write(context: Context, upload: Upload, request: FileSendData) -> bool:
    """Take the chunk; False where the upload is open no more: then nothing of it is left behind,
    for its bytes belong to whoever closed it."""
    is_first = not upload.has_file
    try:
        upload.write(request.sequence_number, request.file_data)
    except FileMissing:
        if _is_open(context.database, upload.row):
            raise
        return False
    if is_first and not _is_open(context.database, upload.row):
        context.files.remove(upload.row.disk_name)  # made after its owner had looked for it
        return False
    return not upload.is_closed


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
    _check_room(context.rooms, session, request.room_id)
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
    stored = _finish(context, session, upload)
    _drop_state(session, upload.row)
    if stored is None:
        return _fin_again(context, session, request)
    _remember(session, request, stored)
    state = context.rooms.find(request.room_id)
    log.info(
        "file stored: %s in %s by %s, %d bytes",
        printable(stored.stored_as),
        room_words(request.room_id, request.room_id if state is None else state.room.name),
        printable(session.chatid),
        stored.file_size,
    )
    return _fin_reply(session, request, stored)


def _fin_again(context: Context, session: Session, request: FileSendFin) -> bytes:
    """Answer once more where the first answer was lost: with the same words, and nobody hears of
    the file twice."""
    room = context.rooms.find(request.room_id)
    place = (request.room_id, request.file_path)
    stored = session.finished.get(place)
    with context.database.reading() as reader:
        if place not in session.finished and room is not None:
            stored = uploads.last_of(reader, room.room.pk, session.account_id, request.file_path)
        if stored is not None and uploads.is_removed(reader, stored.id):
            stored = None  # since the session remembered it (R-TEACH-16)
    if stored is None or stored.total_packets != request.total_packets:
        raise _no_upload(request.file_path)
    return _fin_reply(session, request, stored)


def _fin_reply(session: Session, request: FileSendFin, stored: StoredFile) -> bytes:
    data = {**_head(session, request), "sha256": stored.sha256, "stored_as": stored.stored_as}
    return protocol.build("file_send_fin", data, request_id=request.request_id)


def _finish(context: Context, session: Session, upload: Upload) -> StoredFile | None:
    """Put the bytes on disk, then store the file; None where the upload is open no more, so that
    its bytes are somebody else's."""
    row = upload.row
    try:
        digest = upload.finish()
        return _store(context, session, row, digest)
    except FileMissing:
        if _is_open(context.database, row):
            raise
        return None
    except Refusal as refusal:
        # Not stored, so the upload stays open for the next try; that of an ended session is left to
        # the user's next one.
        if refusal.code is not ErrorCode.NOT_LOGGED_IN:
            context.files.take_back(row.disk_name)
        raise
    except StorageError:
        # The commit may have happened all the same: the next try asks storage.
        _drop_state(session, row)
        raise


def _store(context: Context, session: Session, row: OpenUpload, digest: str) -> StoredFile | None:
    def change(connection: sqlite3.Connection) -> tuple[StoredFile, RoomState, bool] | None:
        check_current(connection, session)
        if not uploads.close_upload(connection, row.id):
            return None
        now = context.wall_clock.seconds()
        room, is_new = room_to_write(
            context, connection, session, row.room_id, now, shares.FILE_BYTES, is_file=True
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
        return stored, room, is_new

    def tell(result: tuple[StoredFile, RoomState, bool] | None, delivery: Delivery) -> None:
        if result is None:
            return
        stored, room, is_new = result
        if is_new:
            delivery.event("room_created", None, room_id=room.room.room_id, name=room.room.name)
        frame = file_frame(room.room.room_id, stored)
        delivery.to_room(room, session.account_id, frame, stored.sent_at, ("file", stored.id))

    result = context.writer.run(change, tell)
    return None if result is None else result[0]


@handles_for_session(FileCancel)
def file_cancel(context: Context, session: Session, request: FileCancel) -> bytes:
    """Give an unfinished upload up, or stop a download."""
    _check_room(context.rooms, session, request.room_id)
    # Without its bytes: they need not be there.
    row = _open_row(context, session, request.room_id, request.file_path)
    if row is not None and _give_up(context, session, row):
        _remember(session, request, None)
    elif not session.downloads.cancel(request.room_id, request.file_path):
        path = protocol.describe(request.file_path)
        raise Refusal(
            ErrorCode.FILE_NOT_FOUND,
            f"data.file_path: no upload or download of {path} is under way",
        )
    return protocol.build("file_cancelled", _head(session, request), request_id=request.request_id)


def _give_up(context: Context, session: Session, row: OpenUpload) -> bool:
    """Close the upload and remove its bytes; False where somebody else closed it before."""

    def change(connection: sqlite3.Connection) -> bool:
        check_current(connection, session)
        return uploads.close_upload(connection, row.id)

    _drop_state(session, row)
    is_ours = context.writer.run(change)
    if is_ours:
        context.files.remove(row.disk_name)
    return is_ours
