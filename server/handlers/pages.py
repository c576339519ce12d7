"""Lists that are cut to what one reply may hold (R-ROOM-21, R-LIM-13), and the way in which the
entries of one are read.

Owns the measure of a page. A page is read row by row, and no further than it goes; what it takes is
counted before it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import protocol
from server.base import frame_sizes
from server.base.refusals import no_such_room
from server.base.settings import Settings
from server.handlers.context import Context
from server.handlers.sessions import check_current
from server.state.session import Session
from storage import rooms
from storage.rooms import Room


class Page:
    """The entries of one reply, as JSON, and whether more follow.

    A page that is not full takes at least one entry, whatever its size.
    """

    def __init__(self, settings: Settings, limit: int | None) -> None:
        self.entries: list[bytes] = []
        self.has_more = False
        self.most = limit
        """Entries at most; None where only their size and number of elements count."""
        self._bytes = frame_sizes.frame_room(settings) - frame_sizes.HEAD_BYTES
        self._elements = protocol.MAX_ELEMENTS - frame_sizes.HEAD_ELEMENTS

    def add(self, entry: str | Mapping[str, Any], *beside: str) -> bool:
        """Take an entry in; False where the page is full, so that more follow. `beside` are texts
        that the reply says of the entry in other places."""
        encoded = (
            protocol.encode_text(entry) if isinstance(entry, str) else protocol.encode_object(entry)
        )
        size, elements = len(encoded) + 1, 1 + protocol.count_elements(entry)
        for text in beside:
            size, elements = size + len(protocol.encode_text(text)) + 1, elements + 1
        is_full = size > self._bytes or elements > self._elements
        if (self.entries and is_full) or (self.most is not None and len(self.entries) >= self.most):
            self.has_more = True
            return False
        self.entries.append(encoded)
        self._bytes -= size
        self._elements -= elements
        return True

    def cut(self, count: int) -> None:
        """Keep the first `count` entries; the others follow."""
        self.has_more = self.has_more or count < len(self.entries)
        del self.entries[count:]


def answer_page(
    context: Context, session: Session, make: Callable[[sqlite3.Connection], bytes]
) -> bytes:
    """Return the reply that `make` reads and builds in one snapshot of the database. `make` asks
    for the user's rights in that snapshot, too: what was so before a wait need not be so after it
    (R-ROOM-22). Raises `not_logged_in` where the session has ended meanwhile.

    Accounts take turns (`Context.page_line`), so that nobody waits for all the pages of another,
    and short reads always find a connection. The memory is reserved before the first row is read.
    """
    connection = session.connection
    with context.page_line.place(session.account_id, 0):
        # the entries, and the frame that is made of them
        connection.hold_reply(2 * frame_sizes.frame_room(context.settings))
        size = 0
        try:
            with context.database.reading() as reader:
                check_current(reader, session)
                reply = make(reader)
            size = len(reply)
        finally:
            connection.hold_reply(size)  # until it is with the outbox
    return reply


def readable_room(reader: sqlite3.Connection, room_id: str, account_id: int) -> Room:
    """Return the room, where it exists for the account in this snapshot; raises
    `room_not_found`."""
    room = rooms.find_for(reader, room_id, account_id)
    if room is None:
        raise no_such_room(room_id)
    return room
