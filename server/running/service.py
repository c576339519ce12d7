"""The chat service: its parts, made in order, started in order, and stopped in order.

Owns the parts and what they share (clock, budget, state of closing). A part finds the others here.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import protocol
from protocol import Refusal
from server.base.limits import Clock, HashGate, LoginThrottle, MemoryBudget
from server.base.logs import printable
from server.base.settings import Settings
from server.handlers.pages import HEAD_BYTES
from server.handlers.uploads import save_uploads
from server.net.outbox import Drain
from server.net.tls import server_context
from server.running.conversation import DecodedPackets
from server.running.listener import Listener
from server.running.watch import Watch
from server.state.recent_messages import RecentMessages
from server.state.registry import Registry
from server.state.room_directory import RoomDirectory
from server.state.session import Connection, Session
from server.writing.delivery import Delivery
from server.writing.journaling import JournalKeeper
from server.writing.writer import Writer
from storage import accounts, messages, rooms, uploads
from storage.database import Database
from storage.errors import FileMissing, StorageError, StorageFailed, StorageFull
from storage.folder import DataFolder
from storage.journal import Journal
from storage.passwords import dummy_record
from storage.upload_files import UploadFiles

if TYPE_CHECKING:
    from collections.abc import Iterable

log: Final = logging.getLogger("server.service")

MARKS_EVERY_SECONDS: Final = 1.0
"""How often what was read is stored. A crash loses at most this much of it, never a message."""
KEYS_EVERY_SECONDS: Final = 600.0
"""How often the keys of who is on are kept alive."""
LOOK_EVERY_SECONDS: Final = 0.25
"""How often the writer asks whether another process has written; a session that it ended must go
within 2 s."""
ANNOUNCE_SECONDS: Final = 2.0
PREDECESSOR_SECONDS: Final = 5.0
WAL_BYTES: Final = 16 * 1024 * 1024
"""An idle writer cuts a write-ahead log larger than this back."""
REPLY_FRAME_BYTES: Final = 1024 * 1024
"""What a reply may take where the frame has no limit."""
PAGE_ENTRIES: Final = 10_000
"""Entries of a list in one reply, where the request names no limit and the frame has room."""


class Service:
    """Everything between the listening socket and the data folder.

    `give_up` is called, on the writer's thread, when nothing more can be promised; the caller then
    stops the service.
    """

    def __init__(
        self,
        settings: Settings,
        give_up: Callable[[str], None],
        *,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
        force_fallback: bool = False,
    ) -> None:
        self.settings, self.clock, self._wall, self.force_fallback = (
            settings,
            clock,
            wall,
            force_fallback,
        )
        self._give_up = give_up
        self._closes_at: float | None = None
        self.tls = _tls_context(settings)
        self.listener = Listener(
            self, settings.host, settings.port
        )  # first: a port in use touches nothing
        self.folder = DataFolder(settings.data)
        try:
            self.folder.prepare()
            self.folder.lock()
            self.database = Database(self.folder.database_path)
            self.files = UploadFiles(self.folder.uploads_path)
            self.journal = JournalKeeper(self.database, Journal(self.folder.journal_path))
            self.budget = MemoryBudget(settings.max_memory)
            self.throttle = LoginThrottle(settings.login_failures, clock)
            self.hash_gate = HashGate()
            self.dummy_record = dummy_record(
                settings.password_cost
            )  # now, not at the first login of an unknown name
            self.registry = Registry(settings.max_connections, settings.max_per_address)
            self.rooms = RoomDirectory(self.database)
            self.recent = RecentMessages()
            self.decoded = DecodedPackets()
            self.delivery = Delivery(self.registry, self.journal.append)
            self.drain = Drain(settings.stall_timeout, clock)
            self.writer = Writer(
                self.database,
                self.delivery,
                self._look_around,
                self._tick,
                self._transaction_ended,
                self.disk_failed,
            )
            self.watch = Watch(self)
            self._repair()
        except BaseException:
            self.listener.server_close()
            self.folder.unlock()
            raise
        self._marking: list[Session] = []
        self._marks_saved_at = self._keys_kept_at = self._looked_at = clock()

    def _repair(self) -> None:
        """Put right what a crash left: uploads without their bytes, files without their row, a
        journal that lags."""
        with self.database.transaction() as connection:
            for row in uploads.all_open(connection):
                try:
                    self.files.resume(
                        row.disk_name
                    ).close()  # takes back one that was renamed, but has no row yet
                except FileMissing:
                    uploads.close_upload(connection, row.id)
            for disk_name in self.files.part_names():
                if uploads.is_stored(connection, disk_name):
                    self.files.finish(
                        disk_name
                    )  # its commit was given up as failed, and had happened all the same
            known = uploads.disk_names(connection)
            self._clock_high = messages.clock_high(connection)
        removed = self.files.remove_orphans(known)
        if removed:
            log.info("removed %d files that no upload goes on with", removed)
        self.journal.repair()

    # Starting and stopping

    def start(self) -> None:
        """Serve. The port is open since the service was made; from now on clients are answered."""
        self.drain.start()
        self.writer.start()
        self.watch.start()
        self.listener.start()

    def stop(self) -> list[str]:
        """Stop in order, within `shutdown_timeout`; the names of what still ran then."""
        until = self.clock() + self.settings.shutdown_timeout
        self.listener.stop()
        self._announce_closing()
        # only now: a client's thread that sees it before ends, and its client would not be told
        self._closes_at = until
        for connection in self.registry.connections():
            connection.stream.shut(socket.SHUT_RD)  # its thread answers what it has read, and ends
        self._wait_until_empty(until - 0.5)
        left = self.registry.connections()
        for connection in left:
            connection.close("the server is closing")
        self._wait_until_empty(until)
        self.watch.stop(0.5)
        self.writer.stop(max(0.5, until - self.clock()))
        self.drain.stop(0.5)
        names = [connection.name for connection in self.registry.connections()]
        names += [
            part
            for part, runs in (("writer", self.writer.is_alive), ("drain", self.drain.is_alive))
            if runs
        ]
        self._close_storage(in_time=self.clock() < until)
        return names

    def _announce_closing(self) -> None:
        try:
            self.writer.run(
                lambda connection: None,
                lambda _, delivery: delivery.event("server_closing"),
                patience=ANNOUNCE_SECONDS,
            )
        except StorageError:
            pass  # the disk has failed, which is why we close, or is too slow to wait for

    def _wait_until_empty(self, until: float) -> None:
        while self.registry.connections() and self.clock() < until:
            time.sleep(0.02)

    def _close_storage(self, *, in_time: bool) -> None:
        self.hash_gate.close()
        self.journal.close()
        if not self.writer.is_alive:
            try:
                if in_time:  # else the next start does it: the log holds everything
                    self.database.checkpoint(truncate=True)
            except StorageError as error:
                log.error("the last checkpoint failed, the next start makes up for it: %s", error)
            self.database.close()
        self.folder.unlock()

    @property
    def is_closing(self) -> bool:
        """Whether the service is being stopped: nothing more is read from clients."""
        return self._closes_at is not None

    def is_over(self) -> bool:
        """Whether the time for a clean end has run out."""
        return self._closes_at is not None and self.clock() >= self._closes_at

    def disk_failed(self, error: StorageError) -> None:
        """The disk did not keep what it was given: what the kernel has dropped once it may call
        written the next time, so nothing is acknowledged from here on, and the service ends. Any
        thread."""
        self.writer.refuse_all(error)
        self._give_up(f"the disk failed, so nothing more can be promised: {error}")

    # What the parts share

    def wall_seconds(self) -> int:
        """The server's clock: whole seconds since 1970, UTC. Order is never taken from it."""
        return int(self._wall())

    def clock_high(self, now: int) -> int:
        """The highest time any message was given, with this one. The writer's thread only."""
        self._clock_high = max(self._clock_high, now)
        return self._clock_high

    def login_deadline(self) -> float | None:
        """Monotonic time by which somebody who connects now must be logged in."""
        return self.clock() + self.settings.login_timeout if self.settings.login_timeout else None

    def max_frame(self, *, logged_in: bool) -> int:
        """The largest frame taken, in bytes; 0 = no limit."""
        most = self.settings.max_frame
        if logged_in:
            return most
        return (
            min(most, protocol.MAX_FRAME_BEFORE_LOGIN) if most else protocol.MAX_FRAME_BEFORE_LOGIN
        )

    def frame_room(self) -> int:
        """The largest frame that a list in a reply may fill, in bytes."""
        return self.settings.max_frame or REPLY_FRAME_BYTES

    def max_content(self) -> int:
        """The longest content of a message, in bytes of UTF-8; 0 = no limit. Bounded so that the
        counts of its letters fit into a frame: the worst are letters of 2 bytes that stand once
        each, which take 7 bytes each, as `"é":1,` does."""
        most, fits = self.settings.max_content, (self.settings.max_frame - HEAD_BYTES) * 2 // 7
        return min(most or fits, fits) if self.settings.max_frame else most

    def page_length(self, limit: int | None) -> int:
        """Entries of a list in one reply."""
        return limit or PAGE_ENTRIES

    def max_chunk(self) -> int:
        """The largest chunk of a file, in bytes, whose packet fits into a frame."""
        return max(1, min(protocol.MAX_CHUNK_BYTES, (self.frame_room() - 2_048) * 3 // 4))

    def download_chunk(self) -> int:
        """The chunk size of downloads, in bytes."""
        return min(64 * 1024, self.max_chunk())

    def pause(self, connection: Connection, seconds: float) -> None:
        """Leave the client unread for a while; ends early when it or the service ends."""
        until = self.clock() + seconds
        while not connection.ended and not self.is_closing:
            left = until - self.clock()
            if left <= 0:
                return
            time.sleep(min(left, 0.25))

    def journal_reached(self, kind: str, row_id: int) -> None:
        """The journal is about to hold this message or file. The writer's thread only."""
        self.journal.reached(kind, row_id)

    def save_marks(self, session: Session) -> None:
        """Store what the user has read, and wait for it."""
        if session.marks_changed:
            try:
                self.writer.run(lambda connection: self._write_marks(connection, [session]))
            except (
                Refusal
            ):  # the disk is full: reading goes on, with what was unread at the last success
                session.marks_changed = True

    def end_session(self, session: Session, *, drop_key: bool = False) -> None:
        """Free the user's place, store what is to be stored, and tell who asked for events. Waits
        for the writer, so that everything the session confirmed is on disk and acknowledged when
        this returns."""

        def change(connection: sqlite3.Connection) -> None:
            self._write_marks(connection, [session])
            if held_place and drop_key:
                accounts.drop_key(connection, session.account_id)
            elif held_place:
                accounts.touch_key(connection, session.account_id, self.wall_seconds())

        def tell(_: None, delivery: Delivery) -> None:
            if held_place:
                delivery.event("user_offline", chatid=session.chatid)

        try:
            save_uploads(
                self, session
            )  # before the place is free: the next session finds all of it
        except StorageError as error:
            log.error(
                "what %s has sent of uploads was not saved: %s", printable(session.chatid), error
            )
            if isinstance(error, StorageFailed):
                self.disk_failed(error)
        held_place = self.registry.release(session)
        session.transactions.drop_all()
        try:
            self.writer.run(change, tell)
        except StorageError as error:
            log.error(
                "the end of %s's session was not stored: %s", printable(session.chatid), error
            )
        finally:
            session.has_ended = True

    def wait_for_predecessor(self, session: Session) -> None:
        """Let the session whose place this one took save what it has of uploads."""
        if session.predecessor is not None:
            until = self.clock() + PREDECESSOR_SECONDS
            while not session.predecessor.has_ended and self.clock() < until:
                time.sleep(0.005)
            session.predecessor = None

    # What the writer does besides

    def _look_around(self) -> None:
        """Runs on the writer's thread between two transactions: has another process written, as
        `chat_server.py passwd` does?"""
        now = self.clock()
        if now >= self._looked_at + LOOK_EVERY_SECONDS:
            self._looked_at = now
            if self.database.changed_elsewhere():
                self._look_at_accounts()

    def _tick(self, connection: sqlite3.Connection | None) -> None:
        """Runs on the writer's thread: inside every transaction, or without one when there was
        nothing to write."""
        now = self.clock()
        marked: list[Session] = []
        if now >= self._marks_saved_at + MARKS_EVERY_SECONDS:
            self._marks_saved_at = now
            self._marking = marked = [
                session for session in self.registry.sessions() if session.marks_changed
            ]
        keeps_keys = now >= self._keys_kept_at + KEYS_EVERY_SECONDS
        if keeps_keys:
            self._keys_kept_at = now
        if connection is not None:
            self._keep(connection, marked, keeps_keys, is_idle=False)
            return
        if marked or keeps_keys or self.journal.is_behind or self.journal.is_due:
            try:
                with self.database.transaction() as own:
                    self._keep(own, marked, keeps_keys, is_idle=True)
            except StorageFull:
                self._transaction_ended(False)
        elif self.database.wal_bytes() > WAL_BYTES:
            self.database.checkpoint(truncate=True)

    def _keep(
        self,
        connection: sqlite3.Connection,
        marked: list[Session],
        keeps_keys: bool,
        *,
        is_idle: bool,
    ) -> None:
        self.journal.save_position(connection, is_idle=is_idle or bool(marked))
        self.journal.catch_up(connection)
        self._write_marks(connection, marked)
        if keeps_keys:
            for account_id in self.registry.online_ids():
                accounts.touch_key(connection, account_id, self.wall_seconds())

    def _transaction_ended(self, committed: bool) -> None:
        """Runs on the writer's thread after every transaction, whichever way it ended."""
        self.rooms.end_changes()
        if not committed:
            for session in self._marking:
                session.marks_changed = True
        self._marking = []

    @staticmethod
    def _write_marks(connection: sqlite3.Connection, sessions: Iterable[Session]) -> None:
        for session in sessions:
            if session.marks_changed:
                session.marks_changed = False  # first: what changes from here on is found next time
                rooms.advance_marks(
                    connection,
                    [(session.account_id, pk, mark) for pk, mark in list(session.marks.items())],
                )

    def _look_at_accounts(self) -> None:
        """Who was deleted or has a new password goes."""
        self.rooms.forget_all()
        with self.database.reading() as reader:
            versions = accounts.credential_versions(reader)
        for session in self.registry.sessions():
            if versions.get(session.account_id) != session.credential_version:
                log.info(
                    "closing the session of %s: its account was deleted or its password changed",
                    printable(session.chatid),
                )
                session.connection.close("its account was deleted or its password changed")


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if not settings.certfile:
        if settings.keyfile:
            raise BadCertificate("--keyfile needs the --certfile that it belongs to")
        return None
    try:
        return server_context(settings.certfile, settings.keyfile or None)
    except OSError as error:
        files = " and ".join(
            printable(name, 200) for name in (settings.certfile, settings.keyfile) if name
        )
        reason = (
            error.reason
            if isinstance(error, ssl.SSLError) and error.reason
            else error.strerror or error
        )
        raise BadCertificate(
            f"can't use {files} for TLS: {reason}; expected a certificate and its private key in PEM"
        ) from error


class BadCertificate(Exception):
    """The files for TLS can't be used; the message is one line that says why."""


def threads_still_running() -> list[str]:
    """The names of our threads that run besides the caller's: for the log, when stopping took too
    long."""
    return [
        thread.name for thread in threading.enumerate() if thread is not threading.current_thread()
    ]
