"""The chat service: its parts, made in order, started in order, and stopped in order.

Owns the parts. No part is given the service itself: each gets the few others that it needs. The
main thread makes, starts and stops it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from protocol import Refusal
from server.archive import rewriting, upgrade
from server.base.deadline import Deadline
from server.base.fair_line import FairLine
from server.base.limits import (
    Clock,
    HashGate,
    LoginThrottle,
    MemoryBudget,
    RateLimits,
    said_limits,
)
from server.base.settings import Settings
from server.base.shutdown import Shutdown
from server.base.wall_clock import WallClock
from server.handlers.context import Context
from server.handlers.sessions import tell_due
from server.net import tls
from server.net.outbox import Drain
from server.net.sockets import most_connections
from server.running.clients import Clients
from server.running.from_outside import FromOutside
from server.running.housekeeping import Housekeeping
from server.running.listener import Listener
from server.running.recovery import recover
from server.running.retention import Retention
from server.running.status import Status
from server.running.watch import Watch
from server.state.disk_space import DiskSpace
from server.state.hands import Hands
from server.state.presence import Presence
from server.state.recent_messages import RecentMessages, Resends
from server.state.registry import Registry
from server.state.restrictions import Restrictions
from server.state.room_directory import RoomDirectory
from server.writing.delivery import Delivery
from server.writing.journaling import JournalKeeper
from server.writing.writer import Writer
from storage import acts, messages
from storage.database import Database
from storage.errors import StorageError
from storage.folder import DataFolder
from storage.journal import Journal
from storage.passwords import dummy_record
from storage.upload_files import UploadFiles

log: Final = logging.getLogger("server.service")

ANNOUNCE_SECONDS: Final = 2.0
"""How long stopping waits at most for the announcement that the server closes."""
PAGES_AT_ONCE: Final = 2
"""Pages that are read at a time: half of the connections that read, so that the short reads of
everybody's messages never wait for a page."""
LAST_SECONDS: Final = 0.5
"""Kept back of the time for stopping: for closing clients that have not left by themselves."""


class Service:
    """Everything between the listening socket and the data folder.

    `give_up` is called, on the writer's thread, when nothing more can be promised; the caller then
    stops the service. `clock` is monotonic, `wall` counts from 1970. Raises StorageError,
    BadCertificate or OSError where the service can't be made; it leaves nothing open then.
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
        self.settings, self._clock = settings, clock
        self.shutdown = Shutdown(clock)
        certificate = tls.context_for(settings.certfile, settings.keyfile)
        self.listener = Listener(settings.host, settings.port)  # first: a used port touches nothing
        self.folder = DataFolder(settings.data)
        try:
            self.folder.prepare()
            self.folder.lock()
            self._make_storage(clock, wall)
            self._make_writer(give_up)
            self.context = self._make_context()
            from_outside = FromOutside(
                self.context, self._delivery, self._housekeeping.transaction_ended
            )
            self._housekeeping.on_change_elsewhere = from_outside.look
            self._housekeeping.on_change_within = from_outside.heed
            self._housekeeping.tell_due = partial(tell_due, self.context, self._delivery)
            self._drain = Drain(settings.stall_timeout, clock)
            self._clients = Clients(
                self.context, self._drain, certificate, force_fallback=force_fallback
            )
            status = Status(
                self.context,
                self._delivery,
                self._housekeeping,
                self.folder.path,
                self.listener.port,
            )
            self.watch = Watch(self.context, status.look)
            self._retention = Retention(self.context, self._housekeeping, self._journal)
        except BaseException:
            self.listener.server_close()
            self.folder.unlock()
            raise

    def _make_storage(self, clock: Clock, wall: Clock) -> None:
        copied = upgrade.copy_first(self.folder)
        self.database = Database(self.folder.database_path)
        self.files = UploadFiles(self.folder.uploads_path)
        self._journal = JournalKeeper(self.database, Journal(self.folder.journal_path), clock)
        self.notices = recover(self.database, self.files, self._journal, wall())
        """What the teacher is to know of the state in which the data was found."""
        if undone := rewriting.rewrite_if_due(self.database):
            self.notices.insert(0, undone)
        if copied:
            self.notices.insert(0, copied)
        with self.database.reading() as reader:
            self._wall_clock = WallClock(wall, messages.clock_high(reader))

    def _make_writer(self, give_up: Callable[[str], None]) -> None:
        settings, clock = self.settings, self._clock
        self.budget = MemoryBudget(settings.max_memory)
        self.registry = Registry(
            most_connections(settings.max_connections), settings.max_per_address
        )
        self._rooms = RoomDirectory(self.database)
        self._restrictions = Restrictions(clock, self._wall_clock)
        with self.database.reading() as reader:
            self._restrictions.load(acts.restrictions(reader))
        delivery = self._delivery = Delivery(self.registry, self._journal)
        self._recent = RecentMessages(self.budget)
        housekeeping = self._housekeeping = Housekeeping(
            self.database,
            self.registry,
            delivery,
            self._rooms,
            self._restrictions,
            self._journal,
            self._recent,
            clock,
            self._wall_clock,
        )
        self.database.on_busy = housekeeping.database_is_busy
        self.writer = Writer(
            self.database,
            delivery,
            check_external_changes=housekeeping.check_external_changes,
            periodic_work=housekeeping.periodic_work,
            transaction_ended=housekeeping.transaction_ended,
            give_up=give_up,
        )

    def _make_context(self) -> Context:
        settings, clock = self.settings, self._clock
        return Context(
            settings=settings,
            clock=clock,
            wall_clock=self._wall_clock,
            shutdown=self.shutdown,
            budget=self.budget,
            rates=RateLimits(settings.rate_limit, settings.rate_burst, clock),
            said=said_limits(settings.rate_limit, settings.max_waiting, clock),
            throttle=LoginThrottle(settings.login_failures, clock),
            hash_gate=HashGate(),
            page_line=FairLine(PAGES_AT_ONCE, "pages"),
            registry=self.registry,
            rooms=self._rooms,
            recent=self._recent,
            resends=Resends(),
            restrictions=self._restrictions,
            hands=Hands(),
            presence=Presence(clock),
            disk_space=DiskSpace(lambda: self.files.free(), settings.min_free, clock),
            database=self.database,
            files=self.files,
            writer=self.writer,
            # now, not at the first login with an unknown name
            dummy_record=dummy_record(settings.password_cost),
        )

    def start(self) -> None:
        """Serve. The port is taken since the service was made; from now on clients are answered."""
        self._drain.start()
        self.writer.start()
        self.watch.start()
        self._retention.start()
        self.listener.start(self._clients.take)

    def stop(self) -> list[str]:
        """Stop in order, within `shutdown_timeout`; return the names of the threads that still run
        then."""
        deadline = Deadline(self.settings.shutdown_timeout, self._clock)
        self.listener.stop()
        self._announce_closing()
        # Only now: a client's thread ends when it sees this, and its client would not be told.
        self.shutdown.begin(deadline)
        self.context.hash_gate.close()  # who waits there is sent away at once
        for connection in self.registry.connections():
            connection.stream.stop_reading()  # its thread answers what it has read, and ends
        self._wait_until_empty(lambda: deadline.left() <= LAST_SECONDS)
        self.context.page_line.close()
        for connection in self.registry.connections():
            connection.close("the server is closing")
        self._wait_until_empty(lambda: deadline.has_passed)
        self.watch.stop(0.5)
        self._retention.stop(max(0.5, deadline.left()))
        self.writer.stop(max(0.5, deadline.left()))
        self._drain.stop(0.5)
        names = [connection.name for connection in self.registry.connections()]
        threads = (
            ("writer", self.writer.is_alive),
            ("drain", self._drain.is_alive),
            ("retention", self._retention.is_alive),
        )
        names += [name for name, is_alive in threads if is_alive]
        self._close_storage(in_time=not deadline.has_passed)
        return names

    def _announce_closing(self) -> None:
        # StorageError: the disk has failed, which is why we close, or is too slow to wait for.
        # Refusal: it is full.
        with suppress(StorageError, Refusal):
            self.writer.run(
                lambda connection: None,
                lambda _, delivery: delivery.event("server_closing"),
                patience=ANNOUNCE_SECONDS,
            )

    def _wait_until_empty(self, is_late: Callable[[], bool]) -> None:
        while self.registry.connections() and not is_late():
            time.sleep(0.02)

    def _close_storage(self, *, in_time: bool) -> None:
        self._journal.close()
        if not self.writer.is_alive:
            try:
                if in_time:  # else the next start does it: the log holds everything
                    self.database.checkpoint(truncate=True)
            except StorageError as error:
                log.error("the last checkpoint failed, the next start makes up for it: %s", error)
            self.database.close()
        self.folder.unlock()
