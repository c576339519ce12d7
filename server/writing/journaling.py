"""Keeping the journal level with the database: what members received, as the very frames, after
each commit.

Owns the position up to which the journal is known to be complete, and for each room whose file
can't be written the row from which it lacks something. The database stays the truth: whatever a
crash or a full disk kept from the journal is added later. The writer's thread only, but for the
first `repair`, before that starts.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import protocol
from server.state.recent_messages import delivered
from server.state.uploads import file_frame
from storage import messages, meta, rooms, uploads
from storage.database import Database
from storage.errors import StorageError, StorageFull
from storage.journal import Journal

log: Final = logging.getLogger("server.journal")

TAIL_BYTES: Final = 4 * 1024 * 1024
"""How much of a journal file's end is looked through for what it has already: far more than
`UNSAVED_BYTES` and a commit."""
UNSAVED_BYTES: Final = 256 * 1024
"""Bytes appended after which the position is stored, also under load."""
LOOKED_AT_BYTES: Final = 16 * 1024
"""How much of the end of each room's journal is asked for messages that the database lacks."""
MOST_TAILS: Final = 16
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""A room that can't be written is tried again after a pause that doubles up to this."""
ROWS_AT_ONCE: Final = 200
"""What the writer adds for one room before it looks after the chat again."""

Tails = dict[tuple[int, str], set[bytes]]
"""By room and day, what a journal file's end holds."""
Position = dict[str, int]
"""The last row of each kind, "message" and "file"."""
KINDS: Final = ("message", "file")
LAG_PREFIX: Final = "journal_lag_"


@dataclass(slots=True)
class Lag:
    """A room whose journal lacks what was stored after `position`."""

    position: Position
    written_days: set[str] | None
    """Days that may hold some of it already; None = any may, and end in half a frame, as after a
    crash."""
    tails: Tails = field(default_factory=dict)
    pause: float = FIRST_PAUSE_SECONDS
    retry_at: float = 0.0


class JournalKeeper:
    """The journal, and how far it goes."""

    def __init__(
        self, database: Database, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._position: Position = dict.fromkeys(KINDS, 0)
        self._before = dict(self._position)
        """The position before the commit that is being appended."""
        self._written: set[tuple[int, str]] = set()
        """What of that commit is appended, by room and day."""
        self._unsaved_bytes = 0
        self._lags: dict[int, Lag] = {}
        """By room: what could not be written and waits to be tried again."""
        self.is_behind = False
        """Whether what is known in memory is newer than what is stored."""

    @property
    def is_due(self) -> bool:
        """Whether a room that lacks something is to be tried again now."""
        now = self._clock()
        return any(lag.retry_at <= now for lag in self._lags.values())

    def reached(self, kind: str, row_id: int) -> None:
        """Note that what was just committed, up to this row, is about to be appended."""
        if self._written:
            self._written.clear()
            self._before = dict(self._position)
        self._position[kind] = row_id
        self.is_behind = True

    def append(self, room_pk: int, day: int, frames: bytes) -> None:
        """Add frames to the file of the room and day (days since 1970). A failure is logged: the
        chat goes on, and so does the journal of every other room."""
        name = protocol.format_time(day * 86_400)[:10]
        earlier = {written for pk, written in self._written if pk == room_pk}
        self._written.add((room_pk, name))
        if room_pk in self._lags:
            return
        self._unsaved_bytes += len(frames)
        try:
            self._journal.append(room_pk, name, frames)
        except StorageError as error:
            self._lags[room_pk] = lag = Lag(dict(self._before), earlier)
            self._postpone(lag, error)

    def _postpone(self, lag: Lag, error: StorageError) -> None:
        self.is_behind = True
        if not any(other is not lag for other in self._lags.values()) and not lag.retry_at:
            log.error("the journal lacks something, which is made up for later: %s", error)
        lag.retry_at = self._clock() + lag.pause
        lag.pause = min(2 * lag.pause, LONGEST_PAUSE_SECONDS)

    def save_position(self, connection: sqlite3.Connection, *, is_idle: bool) -> None:
        """Store how far the journal goes: what was appended before this transaction. Under load not
        with every commit, which would be a page more for each, but before a start would have more
        to look through than it does."""
        if self.is_behind and (is_idle or self._unsaved_bytes >= UNSAVED_BYTES):
            self._unsaved_bytes = 0
            for kind, row_id in self._position.items():
                meta.put(connection, f"journal_{kind}", str(row_id))
            meta.replace_all(
                connection,
                LAG_PREFIX,
                {str(room_pk): json.dumps(lag.position) for room_pk, lag in self._lags.items()},
            )
            self.is_behind = False

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Add what one room lacks, if its time has come: `ROWS_AT_ONCE` rows at most."""
        now = self._clock()
        due = next((pk for pk, lag in self._lags.items() if lag.retry_at <= now), None)
        if due is not None and self._catch_up_room(connection, due):
            del self._lags[due]
            self.is_behind = True
            if not self._lags:
                log.info("the journal has everything again")

    def _catch_up_room(self, connection: sqlite3.Connection, room_pk: int) -> bool:
        """Add what the room's journal lacks; return whether it has everything now."""
        lag, done = self._lags[room_pk], 0
        try:
            if lag.written_days is None and not lag.tails:
                self._journal.repair_room(room_pk)
            for kind, row_id, sent_at, frame in self._lacking(connection, room_pk, lag.position):
                day = protocol.format_time(sent_at)[:10]
                if lag.written_days is not None and day not in lag.written_days:
                    lag.tails.setdefault((room_pk, day), set())
                self._add(lag.tails, room_pk, day, frame)
                lag.position[kind] = row_id
                done += 1
        except StorageError as error:
            self._postpone(lag, error)
            return False
        self.is_behind = self.is_behind or done > 0
        lag.pause = FIRST_PAUSE_SECONDS
        return done < ROWS_AT_ONCE

    @staticmethod
    def _lacking(
        connection: sqlite3.Connection, room_pk: int, position: Position
    ) -> Iterator[tuple[str, int, int, bytes]]:
        """Yield kind, row, time and frame of what the room stored after `position`."""
        room = rooms.by_pk(connection, room_pk)
        if room is None:
            return
        rows = list(
            messages.page(connection, room_pk, after_id=position["message"], limit=ROWS_AT_ONCE)
        )
        for message in rows:
            if message.is_hidden:  # the journal has what members received
                message = messages.original(connection, message.id) or message
            frame = delivered(room.room_id, message, {}).frame
            yield "message", message.id, message.sent_at, frame
        if len(rows) < ROWS_AT_ONCE:
            limit = ROWS_AT_ONCE - len(rows)
            for stored in uploads.since(connection, position["file"], room_pk, limit):
                yield "file", stored.id, stored.sent_at, file_frame(room.room_id, stored)

    def repair(self) -> None:
        """Cut what a crash left half-written, add what the database has more, and store how far the
        journal goes now. For the start."""
        with self._database.reading() as reader:
            self._position = {kind: int(meta.get(reader, f"journal_{kind}") or 0) for kind in KINDS}
            self._before = dict(self._position)
            for key, value in meta.with_prefix(reader, LAG_PREFIX).items():
                self._lags[int(key)] = Lag(json.loads(value), None)
            for room_pk in self._journal.rooms():
                try:
                    self._journal.repair_room(room_pk)
                except StorageError as error:
                    self._fall_behind(room_pk, error)
            added = self._add_messages(reader) + self._add_files(reader)
            self._before = dict(self._position)
            while self.is_due:
                self.catch_up(reader)
        if self.is_behind:
            # Else a row of short lives would have more to look through than the tails hold.
            with suppress(StorageFull), self._database.transaction() as connection:
                self.save_position(connection, is_idle=True)
        if added:
            log.info("added %d frames to the journal", added)

    def newest_lost(self) -> int:
        """Return the highest message id that the journal has and the database lacks, as after its
        write-ahead log was lost or an older `chat.db` was put back; 0 where nothing is lost. For
        the start."""
        latest = {room_pk: day for room_pk, day, _ in self._journal.days()}
        newest = 0
        with self._database.reading() as reader:
            for room_pk, day in latest.items():
                try:
                    payloads = self._journal.tail(room_pk, day, LOOKED_AT_BYTES)
                except StorageError:  # `repair` has said so
                    continue
                for number in map(_message_id, payloads):
                    if number > newest and messages.get(reader, number) is None:
                        newest = number
        return newest

    def newest_room(self) -> int:
        """Return the highest room number that the journal has; 0 where it is empty."""
        return max(self._journal.rooms(), default=0)

    def _fall_behind(self, room_pk: int, error: StorageError) -> None:
        lag = self._lags.setdefault(room_pk, Lag(dict(self._before), None))
        self._postpone(lag, error)

    def _add_messages(self, reader: sqlite3.Connection) -> int:
        added, tails = 0, Tails()
        for message in messages.since(reader, self._before["message"]):
            room = rooms.by_pk(reader, message.room_pk)
            if room is not None:
                frame = delivered(room.room_id, message, {}).frame
                added += self._add_at_start(tails, message.room_pk, message.sent_at, frame)
            self.reached("message", message.id)
        return added

    def _add_files(self, reader: sqlite3.Connection) -> int:
        added, tails = 0, Tails()
        for stored in uploads.since(reader, self._before["file"]):
            room = rooms.by_pk(reader, stored.room_pk)
            if room is not None:
                frame = file_frame(room.room_id, stored)
                added += self._add_at_start(tails, stored.room_pk, stored.sent_at, frame)
            self.reached("file", stored.id)
        return added

    def _add_at_start(self, tails: Tails, room_pk: int, sent_at: int, frame: bytes) -> int:
        if room_pk in self._lags:
            return 0
        try:
            return self._add(tails, room_pk, protocol.format_time(sent_at)[:10], frame)
        except StorageError as error:
            self._fall_behind(room_pk, error)
            return 0

    def _add(self, tails: Tails, room_pk: int, day: str, frame: bytes) -> int:
        """Append the frame unless the file's end holds it; return how many were appended."""
        payload = frame[protocol.HEADER_BYTES :]
        if (room_pk, day) not in tails:
            if len(tails) >= MOST_TAILS:
                tails.clear()
            tails[room_pk, day] = set(self._journal.tail(room_pk, day, TAIL_BYTES))
        if payload in tails[room_pk, day]:
            return 0
        self._journal.append(room_pk, day, frame)
        tails[room_pk, day].add(payload)
        return 1

    def old_files(self, before: str) -> list[Path]:
        """Return the files of days before this one. Any thread."""
        return self._journal.old_files(before)

    def empty(self, path: Path) -> None:
        """Make a file that is to be removed short, so that `remove` is quick. Any thread."""
        self._journal.empty(path)

    def remove(self, path: Path) -> None:
        """Remove a file whose day is over for good."""
        self._journal.remove(path)

    def close(self) -> None:
        """Close the files."""
        self._journal.close()


def _message_id(payload: bytes) -> int:
    """Return the id of a `receive_message`; 0 for a file, or what is none of our frames."""
    try:
        number = json.loads(payload)["data"]["message_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return number if isinstance(number, int) and number <= messages.MOST_ID else 0
