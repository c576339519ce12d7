"""Reading in a room: a member, or a teacher who looks into a private room of others (R-TEACH-19).

Owns when that is written into the audit and told to the members: before anything is read, and once
a minute while the teacher reads on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from server.base.refusals import no_such_room
from server.handlers.acts import Done, do
from server.handlers.context import Context
from server.handlers.pages import readable_room
from server.state.session import Session
from storage import acts, rooms
from storage.rooms import Room

LOOK_SECONDS: Final = 60.0
"""So long a teacher reads on in a private room of others without being told of again."""


def readable_for(
    context: Context, session: Session, room_id: str, action: str
) -> Callable[[sqlite3.Connection], tuple[Room, bool]]:
    """Return a function that gives the room as a snapshot has it, and whether the user is no member
    but a teacher who looks in; it raises `room_not_found`. `action` is what the audit says of it.

    Where a teacher looks in, this waits until that is stored and told.
    """
    may_look_in = session.is_teacher and _look_in(context, session, room_id, action)

    def find(reader: sqlite3.Connection) -> tuple[Room, bool]:
        if not may_look_in or rooms.find_for(reader, room_id, session.account_id) is not None:
            return readable_room(reader, room_id, session.account_id), False
        room = rooms.find(reader, room_id)
        if room is None or room.deleted:
            raise no_such_room(room_id)
        return room, True

    return find


def _look_in(context: Context, session: Session, room_id: str, action: str) -> bool:
    """Write into the audit, and tell the members, that a teacher is about to read a private room
    without being a member; before anything is read. Return whether they were told: nothing is read
    as a stranger otherwise, also where the teacher is taken out of the room meanwhile."""
    now, noted = context.clock(), False

    def change(connection: sqlite3.Connection, wall: int) -> Done | None:
        nonlocal noted
        state = context.rooms.find(room_id, connection)
        if state is None or state.room.deleted or state.admits(session.account_id):
            return None
        pk, noted = state.room.pk, True
        return acts.note(connection, action, wall, session.account_id, room_pk=pk), state

    state = context.rooms.find(room_id)
    if state is None or state.admits(session.account_id):
        return False
    told_at = session.looked_into.get(room_id)
    if told_at is not None and now < told_at + LOOK_SECONDS:
        return True
    do(context, session, change)
    if noted:
        session.looked_into[room_id] = now
    return noted
