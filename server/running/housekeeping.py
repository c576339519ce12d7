"""What the writer does besides the changes it is given: marks, session keys, the journal's
position, the write-ahead log, and what other processes have written.

Owns the times at which each of these was last done. Every function runs on the writer's thread.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from server.base.limits import Clock
from server.base.wall_clock import WallClock
from server.handlers.sessions import (
    MARKS_AT_ONCE,
    Mark,
    SessionEnd,
    end_for,
    put_marks_back,
    take_marks,
    write_marks,
)
from server.state.recent_messages import RecentMessages
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory
from server.state.session import Session
from server.writing.delivery import Delivery
from server.writing.journaling import JournalKeeper
from storage import accounts, acts, attendance, erasing
from storage.database import Database
from storage.errors import StorageError

log: Final = logging.getLogger("server.housekeeping")

MARKS_EVERY_SECONDS: Final = 1.0
"""How often what was read is stored. A crash loses at most this much of it, never a message."""
KEYS_EVERY_SECONDS: Final = 600.0
"""How often the keys of the users who are online are kept alive."""
LOOK_EVERY_SECONDS: Final = 0.25
"""How often the writer asks whether another process has written; a session that it ended must go
within 2 s."""
WAL_BYTES: Final = 16 * 1024 * 1024
"""An idle writer cuts a write-ahead log larger than this back."""


class Housekeeping:
    """The three functions that the writer calls around its transactions."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        delivery: Delivery,
        rooms: RoomDirectory,
        restrictions: Restrictions,
        journal: JournalKeeper,
        recent: RecentMessages,
        clock: Clock,
        wall_clock: WallClock,
    ) -> None:
        self._database, self._registry, self._rooms = database, registry, rooms
        self._delivery, self._restrictions = delivery, restrictions
        self._recent = recent
        self.on_change_elsewhere: Callable[[], None] = lambda: None
        """Called when another process has written."""
        self.on_change_within: Callable[[sqlite3.Connection], None] = lambda connection: None
        """Called when that is found at the begin of a transaction."""
        self.tell_due: Callable[[], None] = lambda: None
        """Called between two transactions, to tell what was put off."""
        self._journal, self._clock, self._wall_clock = journal, clock, wall_clock
        self._marking: list[Mark] = []
        """The marks that the open transaction stores."""
        self.noticed = ""
        """Which `forget` was noticed last. Any thread may read it."""
        self.wants_empty_log = False
        """Whether the log is to be emptied as soon as the writer is idle: what was erased stands in
        it. Any thread may set it."""
        self._is_busy_told = False
        self._owes_a_look = False
        """Whether another process has written what was not looked at, or could not be read."""
        self._marks_saved_at = self._keys_kept_at = self._looked_at = clock()

    def check_external_changes(self) -> None:
        """Look, between two transactions, whether another process has written, as
        `chat_server.py passwd` does; tell what was put off until now."""
        now = self._clock()
        if now >= self._looked_at + LOOK_EVERY_SECONDS:
            self._looked_at = now
            try:
                self._owes_a_look = self._database.changed_elsewhere() or self._owes_a_look
                if self._owes_a_look:
                    self._look_elsewhere()
            finally:
                self.tell_due()

    def _look_elsewhere(self) -> None:
        """Put in force what another process has done; where that fails, as where the database can't
        be read now, at the next look."""
        try:
            self._end_sessions()
        except BaseException:
            self._delivery.flush()  # what was told so far is told once
            raise
        self._owes_a_look = False

    def database_is_busy(self) -> None:
        """Say once that another process keeps the database locked. Called each second of it."""
        if not self._is_busy_told:
            self._is_busy_told = True
            log.warning(
                "another process keeps the database locked, as a backup or a database browser may: "
                "what is sent waits for it"
            )

    def periodic_work(self, connection: sqlite3.Connection | None) -> bool:
        """Inside the open transaction, heed what another process has written. Store there, or in a
        transaction of its own where there was nothing to write (None), what is due: marks, the
        journal's position and what it lacks, the end of restrictions, the use of keys, the times of
        sessions. An idle writer with nothing to store cuts a large write-ahead log back.

        Return whether more is to be done at once."""
        if connection is not None and (self._database.changed_elsewhere() or self._owes_a_look):
            # What is stored from here on heeds it, until a look has told it.
            self._owes_a_look = True
            self._rooms.forget_all()
            self.on_change_within(connection)
        now = self._clock()
        is_more = False
        if now >= self._marks_saved_at + MARKS_EVERY_SECONDS:
            self._marking = take_marks(self._going_on())
            is_more = len(self._marking) == MARKS_AT_ONCE
            if not is_more:
                self._marks_saved_at = now
        keeps_keys = now >= self._keys_kept_at + KEYS_EVERY_SECONDS
        if keeps_keys:
            self._keys_kept_at = now
        if connection is not None:
            self._store_progress(connection, keeps_keys, is_idle=False)
            return is_more
        if self._marking or keeps_keys or self._journal.is_behind or self._journal.is_due:
            try:
                with self._database.transaction() as own:
                    self._store_progress(own, keeps_keys, is_idle=True)
            except StorageError:
                self.transaction_ended(False)
                raise
            self.transaction_ended(True)
        elif self.wants_empty_log or self._database.wal_bytes() > WAL_BYTES:
            is_empty = self._database.checkpoint(truncate=True)
            self.wants_empty_log = self.wants_empty_log and not is_empty
        return is_more

    def transaction_ended(self, committed: bool) -> None:
        """Let everybody read rooms from storage again, and forget who was promised a place; after
        a rollback, keep the marks for the next transaction."""
        self._rooms.end_changes()
        self._restrictions.end_changes(committed)
        self._registry.forget_promises()
        if not committed:
            put_marks_back(self._marking)
            self._journal.is_behind = True
        self._marking = []
        if committed and self._is_busy_told:
            self._is_busy_told = False
            log.info("the database is free again: what waited for it is stored")

    def _store_progress(
        self,
        connection: sqlite3.Connection,
        keeps_keys: bool,
        *,
        is_idle: bool,
    ) -> None:
        self._journal.save_position(connection, is_idle=is_idle or bool(self._marking))
        self._journal.catch_up(connection)
        write_marks(connection, self._marking)
        for row in self._restrictions.over():
            acts.remove_over(connection, row)
            self._restrictions.lift(row.kind, row.account_id)
        if keeps_keys:
            now = self._wall_clock.seconds()
            for session in self._going_on():
                accounts.touch_key(connection, session.account_id, now)
                attendance.note(connection, session.account_id, session.since, now)

    def _going_on(self) -> list[Session]:
        """Return the sessions that were not ended. Of the others each thread stores what it has
        itself, in a part of a transaction that may fail alone: the account may be erased."""
        return [session for session in self._registry.sessions() if not session.was_ended]

    def _end_sessions(self) -> None:
        """End the sessions of accounts that were deleted, or have a new password or role."""
        self._rooms.forget_all()
        with self._database.reading() as reader:
            token = erasing.noticed(reader)
            credentials = accounts.credentials(reader)
        for session in self._registry.served():
            version, role = credentials.get(session.account_id, (0, ""))
            if session.was_ended:
                continue  # by an earlier look, or an act
            if not version:
                end_for(self._registry, self._delivery, session, SessionEnd.ACCOUNT_DELETED)
            elif role != session.role:
                end_for(self._registry, self._delivery, session, SessionEnd.ROLE_CHANGED)
            elif version != session.credential_version:
                end_for(self._registry, self._delivery, session, SessionEnd.PASSWORD_CHANGED)
        self.on_change_elsewhere()
        self._delivery.flush()
        if token != self.noticed:
            self._recent.clear()
            self.noticed = token
