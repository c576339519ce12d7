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
from server.base.refusals import STORAGE_FULL
from server.base.threads import repeat
from server.writing.delivery import Delivery
from server.writing.group_commit import GroupCommit
from storage.database import Database
from storage.errors import StorageError, StorageFailed, StorageFull

log: Final = logging.getLogger("server.writer")
T = TypeVar("T")


class Change:
    """Something for the writer to do. Its methods run on the writer's thread: `apply`, then one of
    `committed` and `failed`, then `finished`."""

    needs_savepoint = True
    """False for a change that checks everything before its first write: a refusal then leaves
    nothing to undo."""

    size = 0
    """Bytes of memory that it takes to make and tell, roughly, where that is much."""

    def apply(self, connection: sqlite3.Connection) -> None:
        """Make the change, inside the transaction; raise `Refusal` to refuse this change alone."""

    def committed(self, delivery: Delivery) -> None:
        """Queue the notifications of a change that is on disk."""

    def failed(self, error: Exception, delivery: Delivery) -> None:
        """Queue the answer of a change that was not stored, because of `error`."""

    def finished(self) -> None:
        """Hear that what `committed` or `failed` queued has been sent."""


class _Call(Change, Generic[T]):
    """A change made of two functions. Its maker may wait at `done`, which gets None at the end."""

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


class Writer:
    """The writer thread and its bounded queue.

    The four functions run on its thread. `check_external_changes` runs between two transactions;
    `periodic_work` inside each one, and with None when there was nothing to write (it returns
    whether it has more to do at once);
    `transaction_ended` after each one, with whether it was committed; `give_up` when nothing can be
    promised any more (it may run on another thread too, see `disk_failed`).
    """

    BATCH: Final = 512
    """Most changes in one commit."""
    BATCH_BYTES: Final = 16 * 1024 * 1024
    """No change is added to a commit that holds so much already: what a commit has to tell is
    joined for each client before it is sent."""
    QUEUE: Final = 8_192
    """Capacity of the queue. When it is full, `submit` blocks: backpressure, down to the client
    that sent the change."""
    TICK_SECONDS: Final = 0.5
    """How long an idle writer sleeps at most, before it does its periodic work."""
    DEFECT_SECONDS: Final = 60.0
    """How often a defect that stays is logged: what it is in is tried up to four times a second."""
    PATIENCE_SECONDS: Final = 60.0
    """How long a caller waits for the writer at most."""

    def __init__(
        self,
        database: Database,
        delivery: Delivery,
        *,
        check_external_changes: Callable[[], None],
        periodic_work: Callable[[sqlite3.Connection | None], bool],
        transaction_ended: Callable[[bool], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._database, self._delivery = database, delivery
        self._check_external_changes, self._periodic_work = check_external_changes, periodic_work
        self._transaction_ended, self._give_up = transaction_ended, give_up
        self._lock = RankedLock(Rank.QUEUE, "writer queue")
        self._has_work = threading.Condition(self._lock)  # type: ignore[arg-type]  # has a lock's methods
        self._has_room = threading.Condition(self._lock)  # type: ignore[arg-type]
        self._queue: deque[Change] = deque()
        self._wanted = 1
        """How many changes must wait before whoever brings one wakes the writer."""
        self._group_commit = GroupCommit()
        self._has_ended = False
        """Whether everything that waited when the writer was stopped is written."""
        self._is_behind = False
        """Whether the periodic work has more to do at once."""
        self._last_said = ""
        self._next_told_at: dict[str, float] = {}
        """Until when the next defect in what the writer looks after is not logged."""
        self.longest_turn_seconds = 0.0
        """The longest time from taking changes to having told of them: no message waits longer for
        the writer, but for those in front of it."""
        self.longest_turn_cpu_seconds = 0.0
        """The most CPU time that a turn took. Unlike the time on the clock it tells what the writer
        itself did, however busy the machine is."""
        self.last_commit_seconds = 0.0
        """How long the last commit took, from its first change on. Any thread may read it."""
        self._stopping = False
        self._broken: StorageError | None = None
        """Why nothing is written any more. Set once, read by the writer before and after each
        commit."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what waits, then end; wait at most `seconds` for that."""
        with self._lock:
            self._stopping = True
            self._has_work.notify_all()
            self._has_room.notify_all()
        self._thread.join(seconds)

    def disk_failed(self, error: StorageError) -> None:
        """Acknowledge nothing from here on, and have the service end. Any thread.

        The disk did not keep what it was given. The kernel may have dropped it, and then reports
        the next write as done: no later commit can be trusted.
        """
        self._broken = self._broken or error
        self._give_up(f"the disk failed, so nothing more can be promised: {error}")

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many changes wait for the writer."""
        return len(self._queue)

    def submit(self, change: Change) -> None:
        """Hand a change in; block while the queue is full, at most `PATIENCE_SECONDS`.

        Raises StorageError where that passes, or where nothing is written any more.
        """
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
        """Run `change`; return its result once it is committed and its notifications are sent.

        `after` queues the notifications, on the writer's thread. Waits at most `patience` seconds.
        Raises what `change` raised, `Refusal` with `storage_full`, or StorageError.
        """
        # Making an Event would take an idle client's stack 4 KiB deeper (measured).
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
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
        """Run `change` in its turn, without waiting for it. Nobody hears of a failure, so only a
        change that may be lost is handed in like this."""
        self.submit(_Call(change, after, None))

    def _run(self) -> None:
        repeat(self._turn, lambda: self._has_ended)

    def _turn(self) -> None:
        # First: a batch that is taken is answered.
        self._look_after("what others have written", self._check_external_changes)
        batch = self._take()
        if batch:
            begun, cpu = time.monotonic(), time.thread_time()
            self._write(batch)
            ended, cpu = time.monotonic(), time.thread_time() - cpu
            self._group_commit.committed(len(batch) + len(self._queue), begun, ended)
            self.longest_turn_seconds = max(self.longest_turn_seconds, ended - begun)
            self.longest_turn_cpu_seconds = max(self.longest_turn_cpu_seconds, cpu)
        elif self._stopping:
            self._has_ended = True
        else:
            self._is_behind = (
                self._look_after("the periodic work", lambda: self._periodic_work(None)) or False
            )

    def _look_after(self, what: str, work: Callable[[], T]) -> T | None:
        """Return what `work` gives; None where the disk refuses it, or it meets a defect, which
        keeps no change from being stored, however long it lasts."""
        try:
            return work()
        except StorageFailed as error:
            self.disk_failed(error)
        except StorageError as error:
            self._say(f"the writer could not look after the database: {error}")
        except Exception:
            now = time.monotonic()
            if now >= self._next_told_at.get(what, now):
                self._next_told_at[what] = now + self.DEFECT_SECONDS
                log.exception("a defect in %s; the writer goes on", what)
        return None

    def _take(self) -> list[Change]:
        with self._lock:
            if not self._queue and not self._stopping and not self._is_behind:
                self._has_work.wait(self.TICK_SECONDS)
            seconds = 0.0
            if not self._stopping:
                seconds = self._group_commit.wait_seconds(len(self._queue), time.monotonic())
            if seconds:
                self._wanted = self._group_commit.expected
                self._has_work.wait(seconds)
                self._wanted = 1
            batch: list[Change] = []
            size = 0
            while self._queue and len(batch) < self.BATCH and size < self.BATCH_BYTES:
                change = self._queue.popleft()
                batch.append(change)
                size += change.size
            self._has_room.notify_all()
        return batch

    def _write(self, batch: list[Change]) -> None:
        if self._broken is not None:
            self._fail(batch, StorageError("nothing is stored any more: the disk failed"))
            return
        refused: dict[Change, Exception] = {}
        committed = False
        begun = time.monotonic()
        try:
            try:
                with self._database.transaction() as connection:
                    self._is_behind = self._periodic_work(connection)
                    for change in batch:
                        self._apply(change, connection, refused)
                committed = True
                self.last_commit_seconds = time.monotonic() - begun
            finally:
                self._transaction_ended(committed)
        except StorageFull as error:
            self._say(f"the disk is full: {error}")
            self._fail(batch, STORAGE_FULL)
            return
        except StorageFailed as error:
            self.disk_failed(error)
            self._fail(batch, StorageError("nothing was stored: the disk failed"))
            return
        except StorageError as error:
            self._say(f"nothing of what was sent is stored: {error}")
            self._fail(batch, error)
            return
        except Exception as error:
            self._fail(batch, error)
            raise
        self._last_said = ""
        self._tell_all(batch, lambda change: self._broken or refused.get(change))

    def _say(self, trouble: str) -> None:
        """Log a trouble once, not with each commit that meets it."""
        if trouble != self._last_said:
            self._last_said = trouble
            log.error("%s", trouble)

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
        except Exception:  # a defect in one change must not keep back the answers of the others
            log.exception("a change was stored, but telling of it met a defect")

    def _apply(
        self, change: Change, connection: sqlite3.Connection, refused: dict[Change, Exception]
    ) -> None:
        try:
            if change.needs_savepoint:
                with self._database.savepoint(connection):
                    change.apply(connection)
            else:
                change.apply(connection)
        except (StorageFull, StorageFailed, sqlite3.Error):
            raise
        except (Refusal, StorageError) as error:
            refused[change] = error
        except Exception as error:
            if not change.needs_savepoint:
                raise
            log.exception("a change failed by a defect")
            refused[change] = error

    def _fail(self, batch: list[Change], error: Exception) -> None:
        self._tell_all(batch, lambda change: error)
