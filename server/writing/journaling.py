"""Keeping the journal level with the database: what members received, as the very frames, after
each commit.

Owns the position up to which the journal is known to be complete. The database stays the truth:
whatever a crash or a full disk kept from the journal is added later. The writer's thread only, but
for the first `repair`, before that starts.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

import protocol
from server.state.recent_messages import delivered
from server.state.uploads import file_frame
from storage import messages, meta, rooms, uploads
from storage.database import Database
from storage.errors import StorageError
from storage.journal import Journal

log: Final = logging.getLogger("server.journal")

TAIL_BYTES: Final = 4 * 1024 * 1024
"""How much of a journal file's end is looked through for what it has already: far more than
`UNSAVED_BYTES` and a commit."""
UNSAVED_BYTES: Final = 256 * 1024
"""Bytes appended after which the position is stored, also under load."""

MOST_TAILS: Final = 16

Tails = dict[tuple[int, str], set[bytes]]
"""By room and day, what a journal file's end holds."""


class JournalKeeper:
    """The journal, and how far it goes."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database, self._journal = database, journal
        self._position = {"message": 0, "file": 0}
        self._saved = dict(self._position)
        self._unsaved_bytes = 0
        self.is_behind = False
        """Whether the position in memory is newer than the stored one."""
        self.lags = False
        """Whether an append has failed: nothing is appended then until `repair` has made up for it,
        so that the order holds."""

    def reached(self, kind: str, row_id: int) -> None:
        """What was just committed, up to this row, is about to be appended."""
        if not self.lags:
            self._position[kind] = row_id
            self.is_behind = True

    def append(self, room_pk: int, day: int, frames: bytes) -> None:
        """Add frames to the file of the room and day (days since 1970). A failure is logged: the
        chat goes on."""
        if self.lags:
            return
        self._unsaved_bytes += len(frames)
        try:
            self._journal.append(room_pk, protocol.format_time(day * 86_400)[:10], frames)
        except StorageError as error:
            log.error("the journal was not written, which is made up for later: %s", error)
            self.lags = True
            self._position = dict(self._saved)

    def save_position(self, connection: sqlite3.Connection, *, is_idle: bool) -> None:
        """Store how far the journal goes: what was appended before this transaction. Under load not
        with every commit, which would be a page more for each, but before a start would have more
        to look through than it does."""
        if self.is_behind and (is_idle or self._unsaved_bytes >= UNSAVED_BYTES):
            self._unsaved_bytes = 0
            for kind, row_id in self._position.items():
                meta.put(connection, f"journal_{kind}", str(row_id))
            self.is_behind = False
            self._saved = dict(
                self._position
            )  # if this transaction fails, more is looked at again than needed

    def repair(self) -> None:
        """Cut what a crash left half-written, and add what the database has more."""
        try:
            self._journal.repair()
            tails: Tails = {}
            with self._database.reading() as reader:
                self._position = {
                    kind: int(meta.get(reader, f"journal_{kind}") or 0)
                    for kind in ("message", "file")
                }
                self._saved, self.lags = dict(self._position), False
                added = self._add_messages(reader, tails) + self._add_files(reader, tails)
        except StorageError as error:
            self.lags = True
            log.error("the journal could not be completed: %s", error)
            return
        if added:
            log.info("added %d frames to the journal", added)

    def _add_messages(self, reader: sqlite3.Connection, tails: Tails) -> int:
        added = 0
        for message in messages.since(reader, self._position["message"]):
            room = rooms.by_pk(reader, message.room_pk)
            if room is None:
                continue
            frame = delivered(room.room_id, message, {}).frame
            added += self._add(tails, message.room_pk, message.sent_at, frame)
            self.reached("message", message.id)
        return added

    def _add_files(self, reader: sqlite3.Connection, tails: Tails) -> int:
        added = 0
        for stored in uploads.since(reader, self._position["file"]):
            room = rooms.by_pk(reader, stored.room_pk)
            if room is None:
                continue
            added += self._add(
                tails, stored.room_pk, stored.sent_at, file_frame(room.room_id, stored)
            )
            self.reached("file", stored.id)
        return added

    def _add(self, tails: Tails, room_pk: int, sent_at: int, frame: bytes) -> int:
        day, payload = protocol.format_time(sent_at)[:10], frame[protocol.HEADER_BYTES :]
        if (room_pk, day) not in tails:
            if len(tails) >= MOST_TAILS:
                tails.clear()
            tails[room_pk, day] = set(self._journal.tail(room_pk, day, TAIL_BYTES))
        if payload in tails[room_pk, day]:
            return 0
        self._journal.append(room_pk, day, frame)
        tails[room_pk, day].add(payload)
        return 1

    def close(self) -> None:
        """Close the files."""
        self._journal.close()
