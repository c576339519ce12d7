"""A room's files: the list of them, and downloads."""

from __future__ import annotations

import sqlite3
from typing import Any

import protocol
from protocol import ErrorCode, FileDownReq, FileListReq, Refusal
from server.base.frame_sizes import download_chunk
from server.base.refusals import no_such_file
from server.handlers.context import Context
from server.handlers.looking_in import readable_for
from server.handlers.pages import Page, answer_page
from server.handlers.sessions import reading_for
from server.handlers.table import handles_for_session
from server.state.downloads import Download
from server.state.session import Session
from storage import uploads
from storage.uploads import StoredFile


@handles_for_session(FileListReq)
def file_list_req(context: Context, session: Session, request: FileListReq) -> bytes:
    """Answer the newest version of every file of the room, oldest first."""

    readable = readable_for(context, session, request.room_id, request.ACTION)

    def make(reader: sqlite3.Connection) -> bytes:
        room, _ = readable(reader)
        names: list[str] = []
        page = Page(context.settings, request.limit)
        for file in uploads.listing(reader, room.pk, request.after, protocol.MAX_ELEMENTS):
            if not page.add(_listed(file), file.stored_as):
                break
            names.append(file.stored_as)
        data = {"file_list": ", ".join(names), "has_more": page.has_more}
        return protocol.build_list(
            "file_list_req",
            data,
            "files",
            page.entries,
            message=f"File list for room {room.room_id}",
            request_id=request.request_id,
        )

    return answer_page(context, session, make)


def _listed(file: StoredFile) -> dict[str, Any]:
    return {
        "file_path": file.stored_as,
        "file_size": file.file_size,
        "file_type": file.file_type,
        "sender_chatid": file.sender_chatid,
        "timestamp": protocol.format_time(file.sent_at),
        "sha256": file.sha256,
    }


@handles_for_session(FileDownReq)
def file_down_req(context: Context, session: Session, request: FileDownReq) -> None:
    """Send a file when its turn comes; its packets come from a thread of their own."""
    readable = readable_for(context, session, request.room_id, request.ACTION)
    with reading_for(context.database, session) as reader:
        room, _ = readable(reader)
        file = uploads.newest(reader, room.pk, request.file_path)
    if file is None:
        raise no_such_file(request.file_path)
    total = -(-file.file_size // download_chunk(context.settings))
    if request.from_sequence > total + 1:
        raise Refusal(
            ErrorCode.BAD_PACKET,
            f"data.from_sequence: expected 1 to {total + 1}, got {request.from_sequence}",
        )

    def may_read() -> None:
        with reading_for(context.database, session) as reader:
            readable(reader)
            if uploads.is_removed(reader, file.id):
                raise no_such_file(request.file_path)

    def check() -> None:
        try:
            may_read()
        except Refusal as refusal:
            if refusal.code is not ErrorCode.NOT_LOGGED_IN:
                raise
            # The user's own new password may be committed, and the session not yet know of it: it
            # does when a change that comes later is done.
            context.writer.run(lambda _: None)
            may_read()

    session.connection.flush()  # what was asked for earlier is answered earlier
    session.downloads.add(
        Download(
            file,
            request.room_id,
            request.file_path,
            request.from_sequence,
            request.request_id,
            check,
        )
    )
