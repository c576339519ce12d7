"""Whether a user may write in a room, and what writing there changes about the room.

Owns the rules by which an open room comes into being (R-ROOM-3, R-ROOM-4), by which writing
brings back a user who had left (R-ROOM-5), and by which a mute, a pause or a read-only room keeps a
student from writing (R-TEACH-7, R-TEACH-10, R-TEACH-11). Checks made before the writer's
transaction are made again inside it, because the room may change meanwhile.
"""

from __future__ import annotations

import sqlite3

import protocol
from protocol import ErrorCode, Refusal
from server.base.refusals import no_such_room
from server.base.settings import Settings
from server.handlers.context import Context
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory, RoomState
from server.state.session import Session
from storage import rooms, shares
from storage.acts import CLASS, MUTE, PAUSE


def check_may_write(
    context: Context, account_id: int, room_id: str, connection: sqlite3.Connection | None = None
) -> RoomState | None:
    """Return the room in which the user may write; None for an id that no room has, but that the
    user may make a room of. Raises Refusal where neither is so. Reads by `connection` where
    given."""
    room = context.rooms.find(room_id, connection)
    if room is not None:
        return context.rooms.visible(room_id, account_id, connection)
    if connection is not None:
        check_new_room(connection, context.settings, account_id, room_id)
    else:
        with context.database.reading() as reader:
            check_new_room(reader, context.settings, account_id, room_id)
    return None


def check_may_speak(
    restrictions: Restrictions,
    session: Session,
    state: RoomState | None,
    *,
    writing: bool,
    is_file: bool = False,
) -> None:
    """Raise `muted` or `read_only` where a user is to say nothing now, in this room or
    anywhere. `state` is None for a room that is to be made. `writing` is for the writer's
    transaction, in which it is decided; before it only the answer is quicker."""
    mute = restrictions.find(MUTE, session.account_id, writing=writing)
    if mute is not None:  # a teacher's account only by the command line
        raise Refusal(ErrorCode.MUTED, mute.sentence("a teacher has muted you"))
    if session.is_teacher:
        return
    pause = restrictions.find(PAUSE, CLASS, writing=writing)
    if pause is not None:
        raise Refusal(ErrorCode.READ_ONLY, pause.sentence("a teacher has paused the chat"))
    if state is not None and state.room.read_only:
        raise Refusal(
            ErrorCode.READ_ONLY, "data.room_id: only teachers may write in this room at present"
        )
    if is_file and state is not None and not state.room.uploads:
        raise Refusal(
            ErrorCode.READ_ONLY,
            "data.room_id: only teachers may send files to this room at present",
        )


def room_to_write(
    context: Context,
    connection: sqlite3.Connection,
    session: Session,
    room_id: str,
    now: int,
    size: int,
    *,
    is_file: bool = False,
) -> tuple[RoomState, bool]:
    """Return the room for what the user stores there, and whether it was made just now. `size` is
    what that counts as in the user's share of the database, in bytes; a new room counts, too.

    To be called inside the writer's transaction. Makes an open room of an id that no room has, and
    brings the user back who had left. Raises Refusal before it writes.
    """
    directory, settings, account_id = context.rooms, context.settings, session.account_id
    state = directory.find(room_id, connection)
    if state is not None and not state.admits(account_id):
        raise no_such_room(room_id)
    check_may_speak(context.restrictions, session, state, writing=True, is_file=is_file)
    if state is None:
        check_new_room(connection, settings, account_id, room_id)
        check_share(connection, settings, account_id, size + shares.ROOM_BYTES)
        directory.begin_change(room_id)
        rooms.create_open(connection, room_id, account_id, now)
        return _found(connection, directory, room_id), True
    check_share(connection, settings, account_id, size)
    if account_id in state.departed:
        directory.begin_change(room_id)
        rooms.rejoin(connection, state.room.pk, account_id)
        return _found(connection, directory, room_id), False
    return state, False


def _found(connection: sqlite3.Connection, directory: RoomDirectory, room_id: str) -> RoomState:
    state = directory.find(room_id, connection)
    assert state is not None, "it was just written in this transaction"
    return state


def check_new_room(
    connection: sqlite3.Connection, settings: Settings, account_id: int, room_id: str
) -> None:
    """Raise Refusal where this id can't become a new open room made by this account."""
    if room_id.startswith(protocol.PRIVATE_ROOM_PREFIX) or not settings.new_rooms:
        raise no_such_room(room_id)
    check_room_share(connection, settings.max_rooms, account_id)


def check_share(
    connection: sqlite3.Connection, settings: Settings, account_id: int, size: int
) -> None:
    """Raise `quota_exceeded` where `size` more bytes are over the account's share of the
    database."""
    most = settings.message_quota
    if most and shares.used(connection, account_id) + size > most:
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"you have filled your share of the server's database, {most} bytes: "
            "nothing was stored",
        )


def check_room_share(connection: sqlite3.Connection, most: int, account_id: int) -> None:
    """Raise `quota_exceeded` where the account has made all the `most` rooms it may (0 = no
    limit)."""
    if most and rooms.count_made_by(connection, account_id) >= most:
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"data.room_id: you have made {most} rooms, which is the most a user may make",
        )
