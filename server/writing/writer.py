"""The writer: the one thread that changes the database, many changes in one commit.

Owns the database's writing connection, the order of all changes, and with it the order of messages,
acknowledgements and deliveries. Never reads from or waits for a client. Any thread hands changes
in.

What is acknowledged is on disk, because `Change.committed` runs after the commit. Commit order is
delivery order is history order, because one thread decides it.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from protocol import Refusal
from server.base.locks import Rank, RankedLock
from server.writing.delivery import Delivery
from storage.database import Database
from storage.errors import StorageError, StorageFailed, StorageFull

log: Final = logging.getLogger("server.writer")
T = TypeVar("T")

STORAGE_FULL: Final = Refusal(
    "storage_full", "the server's disk is full: nothing was stored; try again when there is room"
)


class Change:
    """Something for the writer to do. The three methods run on the writer's thread, in this
    order."""

    plain = False
    """Checks everything before its first write, so that a refusal leaves nothing to undo and needs
    no savepoint."""

    def apply(self, connection: sqlite3.Connection) -> None:
        """Make the change, inside the transaction; raise `Refusal` to refuse it alone."""

    def committed(self, delivery: Delivery) -> None:
        """It is on disk: tell who is to know."""

    def failed(self, error: Exception, delivery: Delivery) -> None:
        """It is not, because of `error`."""

    def finished(self) -> None:
        """What `committed` or `failed` had to tell is on its way."""


class _Call(Change, Generic[T]):
    """A change whose maker waits for it, where there is a `done` to wait for; that gets None when
    it is."""

    def __init__(
        self,
        change: Callable[[sqlite3.Connection], T],
        after: Callable[[T, Delivery], None] | None,
        done: queue.SimpleQueue[None] | None,
    ) -> None:
        self._change, self._after, self._done = change, after, done
        self.result: T
        self.error: Exception | None = None

    def apply(self, connection: sqlite3.Connection) -> None:
        self.result = self._change(connection)

    def committed(self, delivery: Delivery) -> None:
        if self._after is not None:
            self._after(self.result, delivery)

    def failed(self, error: Exception, delivery: Delivery) -> None:
        self.error = error

    def finished(self) -> None:
        if self._done is not None:
            self._done.put(None)


class Load:
    """How many changes are on their way, judged by the last commits: those come together again, as
    their makers wait for them.

    Waiting for all of them makes one commit and one send to each client out of two or three: with
    16 messages on the way in a room of 200 it took 1.35 µs of CPU a delivery down to 1.0 (measured,
    CPython 3.11). Never more than the last commit took, so that it can't do more than double a
    latency, and not at all where commits are rare. The writer's thread only.
    """

    LONGEST_WAIT_SECONDS: Final = 0.01
    RECENT_SECONDS: Final = 0.02
    FORGETS: Final = 0.9
    """What was expected and did not come counts this much at the next commit."""

    def __init__(self) -> None:
        self.expected = 1
        self._took = self._ended = 0.0

    def patience(self, waiting: int, now: float) -> float:
        """Seconds to wait for the rest, where `waiting` changes are there."""
        if not waiting or now - self._ended > self.RECENT_SECONDS:
            self.expected = 1
        return min(self._took, self.LONGEST_WAIT_SECONDS) if waiting < self.expected else 0.0

    def wrote(self, under_way: int, begun: float, ended: float) -> None:
        """A commit and what it had to tell are done; `under_way` are its changes and those that
        came meanwhile."""
        self.expected = max(under_way, int(self.expected * self.FORGETS))
        self._took, self._ended = ended - begun, ended


class Writer:
    """The writer thread and its bounded queue."""

    BATCH: Final = 512
    """Most changes in one commit."""
    QUEUE: Final = 8_192
    """Most changes that wait; who brings more waits, and with it the client that sent them."""
    TICK_SECONDS: Final = 0.5
    PATIENCE_SECONDS: Final = 60.0

    def __init__(
        self,
        database: Database,
        delivery: Delivery,
        look_around: Callable[[], None],
        tick: Callable[[sqlite3.Connection | None], None],
        transaction_ended: Callable[[bool], None],
        disk_failed: Callable[[StorageError], None],
    ) -> None:
        self._database, self._delivery = database, delivery
        self._look_around, self._tick = look_around, tick
        self._transaction_ended, self._disk_failed = transaction_ended, disk_failed
        self._lock = RankedLock(Rank.QUEUE, "writer queue")
        self._has_work = threading.Condition(self._lock)  # type: ignore[arg-type]  # has a lock's methods
        self._has_room = threading.Condition(self._lock)  # type: ignore[arg-type]
        self._queue: deque[Change] = deque()
        self._wanted = 1
        """How many changes must wait before whoever brings one wakes the writer."""
        self._load = Load()
        self._stopping = False
        self._broken: StorageError | None = None
        """Why nothing is written any more. Set once, read by the writer before and after each
        commit."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what waits, then end; waits at most `seconds` for that."""
        with self._lock:
            self._stopping = True
            self._has_work.notify_all()
            self._has_room.notify_all()
        self._thread.join(seconds)

    def refuse_all(self, error: StorageError) -> None:
        """Acknowledge nothing from here on: the disk has failed somewhere, so no commit can be
        trusted."""
        self._broken = self._broken or error

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, change: Change) -> None:
        """Hand a change in; waits while the queue is full. Raises StorageError where nothing is
        written any more."""
        with self._lock:
            if len(self._queue) >= self.QUEUE and not self._has_room.wait_for(
                lambda: len(self._queue) < self.QUEUE or self._stopping, self.PATIENCE_SECONDS
            ):
                raise StorageError(
                    f"the disk kept the writer busy for {self.PATIENCE_SECONDS:.0f} s"
                )
            if self._broken is not None or (self._stopping and not self._thread.is_alive()):
                raise StorageError("nothing is stored any more: the server is closing")
            self._queue.append(change)
            if len(self._queue) >= self._wanted:
                self._has_work.notify()

    def run(
        self,
        change: Callable[[sqlite3.Connection], T],
        after: Callable[[T, Delivery], None] | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> T:
        """Make a change and wait until it is on disk and what `after` tells (on the writer's
        thread) is on its way; what `change` gave.

        Raises what `change` raised, `Refusal` with `storage_full`, or StorageError.
        """
        done: queue.SimpleQueue[None] = (
            queue.SimpleQueue()
        )  # making an Event would take an idle client's stack 4 KiB deeper (measured)
        call = _Call(change, after, done)
        self.submit(call)
        try:
            done.get(timeout=patience)
        except queue.Empty:
            raise StorageError(f"the disk did not answer within {patience:g} s") from None
        if call.error is not None:
            raise call.error
        return call.result

    def later(
        self,
        change: Callable[[sqlite3.Connection], T],
        after: Callable[[T, Delivery], None] | None = None,
    ) -> None:
        """Make a change in its turn, without waiting; nobody hears of it if it fails, so it must be
        one that may be lost."""
        self.submit(_Call(change, after, None))

    def _run(self) -> None:
        while True:
            batch = self._take()
            try:
                self._look_around()
                if batch:
                    begun = time.monotonic()
                    self._write(batch)
                    self._load.wrote(len(batch) + len(self._queue), begun, time.monotonic())
                elif self._stopping:
                    return
                else:
                    self._tick(None)
            except StorageFailed as error:
                self._disk_failed(error)
            except StorageError as error:
                log.error("the writer could not look after the database: %s", error)
            except Exception:  # the writer's thread begins here: it must outlive a defect
                log.exception("the writer met a defect")

    def _take(self) -> list[Change]:
        with self._lock:
            if not self._queue and not self._stopping:
                self._has_work.wait(self.TICK_SECONDS)
            patience = (
                0.0 if self._stopping else self._load.patience(len(self._queue), time.monotonic())
            )
            if patience:
                self._wanted = self._load.expected
                self._has_work.wait(patience)
                self._wanted = 1
            batch = [self._queue.popleft() for _ in range(min(self.BATCH, len(self._queue)))]
            self._has_room.notify_all()
        return batch

    def _write(self, batch: list[Change]) -> None:
        if self._broken is not None:
            self._fail(batch, StorageError("nothing is stored any more: the disk failed"))
            return
        refused: dict[Change, Exception] = {}
        committed = False
        try:
            try:
                with self._database.transaction() as connection:
                    self._tick(connection)
                    for change in batch:
                        self._apply(change, connection, refused)
                committed = True
            finally:
                self._transaction_ended(committed)
        except StorageFull as error:
            log.error("the disk is full: %s", error)
            self._fail(batch, STORAGE_FULL)
            return
        except StorageFailed as error:
            self._disk_failed(error)
            self._fail(batch, StorageError("nothing was stored: the disk failed"))
            return
        except StorageError as error:
            log.error("nothing of %d changes was stored: %s", len(batch), error)
            self._fail(batch, error)
            return
        except Exception as error:
            self._fail(batch, error)
            raise
        self._tell_all(batch, lambda change: self._broken or refused.get(change))

    def _tell_all(self, batch: list[Change], refusal: Callable[[Change], Exception | None]) -> None:
        try:
            for change in batch:
                self._tell(change, refusal(change))
            self._delivery.flush()
        finally:
            for change in batch:
                change.finished()

    def _tell(self, change: Change, refusal: Exception | None) -> None:
        try:
            if refusal is None:
                change.committed(self._delivery)
            else:
                change.failed(refusal, self._delivery)
        except (
            Exception
        ):  # one change's defect after the commit must not keep the others' answers back
            log.exception("a change was stored, but telling of it met a defect")

    def _apply(
        self, change: Change, connection: sqlite3.Connection, refused: dict[Change, Exception]
    ) -> None:
        try:
            if change.plain:
                change.apply(connection)
            else:
                with self._database.savepoint(connection):
                    change.apply(connection)
        except (StorageFull, StorageFailed, sqlite3.Error):
            raise
        except (Refusal, StorageError) as error:
            refused[change] = error
        except Exception as error:
            if change.plain:
                raise
            log.exception("a change failed by a defect")
            refused[change] = error

    def _fail(self, batch: list[Change], error: Exception) -> None:
        self._tell_all(batch, lambda change: error)
