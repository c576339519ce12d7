"""One database file: the only writing connection, a small pool of readers, and the one place that
begins and commits.

Owns the connections and the lock of the writing one. Never holds SQL of a table, never retries for
a caller, never logs. Any thread may call any method; a transaction belongs to the thread that began
it and is short.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from storage import portable, schema
from storage.errors import (
    FolderUnusable,
    StorageError,
    StorageFailed,
    StorageFull,
    means_no_room,
)

__all__ = ["Database", "stored_version"]

BUSY_SECONDS = 5.0
"""How long a transaction waits for another process (`adduser` beside a running server) before it
gives up."""
BUSY_NOTICE_SECONDS = 1.0
"""After waiting this long, `on_busy` is called."""
READER_WAIT_SECONDS = 10.0
WRITER_WAIT_SECONDS = 30.0
"""How long a transaction waits for the one before it in this process."""
WAL_KEPT_BYTES = 16 * 1024 * 1024
CACHED_STATEMENTS = 256

# Result codes of https://www.sqlite.org/rescode.html; sqlite3 names them only from Python 3.11 on.
_FULL = 13
_BUSY = frozenset({5, 6})
_IOERR = 10
# Those that mean a broken disk or database: readonly, ioerr, corrupt, notadb. Not cantopen and
# "ioerr, no memory", which come of lacking descriptors and memory, nor protocol, a lost race for
# the log's lock: those pass.
_FAILED = frozenset({8, _IOERR, 11, 26})
_IOERR_NOMEM = _IOERR | 12 << 8
# SQLite knows only ENOSPC as "full". A quota or a file-size limit comes as one of these, or on
# Python 3.10 as a bare "ioerr". These are: any, write, truncate, shmsize.
_PERHAPS_NO_ROOM = frozenset({_IOERR, _IOERR | 3 << 8, _IOERR | 6 << 8, _IOERR | 19 << 8})

# Python 3.10 has no sqlite_errorcode: the text of sqlite3_errstr() stands for the code.
_CODE_OF_TEXT = (
    ("full", _FULL),
    ("is locked", 5),
    ("disk i/o error", _IOERR),
    ("malformed", 11),
    ("unable to open", 14),
    ("not a database", 26),
    ("readonly", 8),
    ("read-only", 8),
    ("locking protocol", 15),
)


def _code(error: sqlite3.Error) -> int:
    """Return the extended SQLite result code of `error`; 0 where Python kept none and the text
    tells none."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code)
    text = str(error).lower()
    return next((known for part, known in _CODE_OF_TEXT if part in text), 0)


def stored_version(path: Path) -> int:
    """Return which of the schema's steps the database at `path` has, as its write-ahead log has it;
    0 where there is no database, or one that is not ours. Changes nothing: a last close would move
    the log into the file, so it is opened read-only. Raises FolderUnusable where it can't be
    read."""
    header = schema.read_header(path)
    if header is None or header.application_id != schema.APPLICATION_ID:
        return 0
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        return header.user_version
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS
        )
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise FolderUnusable(f"the database {path} can't be read: {error}") from error


class Database:
    """The database file at `path`, made if it is missing and brought up to date, ready to read and
    write.

    `readers` connections serve `reading()`. `on_busy` is called, on the waiting thread, when a
    transaction has waited a second for another process, and again each second. Raises
    FolderUnusable, with the file untouched, where it is somebody else's, damaged beyond opening, or
    made by a newer version.
    """

    def __init__(
        self, path: str | Path, *, readers: int = 4, on_busy: Callable[[], None] | None = None
    ) -> None:
        self.path = Path(path)
        self.on_busy = on_busy
        self._refuse_if_not_ours()
        self._lock = threading.Lock()  # guards the five below; held for the whole of a transaction
        self._owner: int | None = None  # ident of the thread that has the writing connection
        self._lost: StorageError | None = None
        """Why SQLite gave the running transaction up by itself."""
        self._closed = False
        # None: the database is closed.
        self._readers: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        self._reader_count = 0
        try:
            self._writer = self._connect(min(BUSY_NOTICE_SECONDS, BUSY_SECONDS))
            try:
                self._bring_up_to_date()
                self._data_version = self._read_data_version()
                for _ in range(readers):  # opened now: later there may be no file descriptor left
                    self._readers.put(self._connect_reader())
                    self._reader_count += 1
            except BaseException:
                self._close_all(deadline=time.monotonic())
                raise
        except sqlite3.Error as error:
            raise FolderUnusable(f"the database {self.path} can't be opened: {error}") from error

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make one change, all or nothing: leaving the block normally means that it survives a
        power cut.

        Blocks until other transactions are through (30 s in this process, 5 s for other processes,
        then StorageError). Any exception out of the block rolls back; those of sqlite3 come out as
        StorageFull, StorageFailed or StorageError.
        """
        with self._holding_writer() as connection, self._translated():
            self._begin(connection)
            self._lost = None
            try:
                yield connection
                self._refuse_if_lost(connection)
                connection.execute("COMMIT")
            except BaseException:
                # A failed COMMIT, a full disk and an I/O error may or may not have rolled back
                # already.
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def savepoint(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Make a part of a transaction that can fail alone: an exception undoes only what the block
        did, and goes on up.

        Some failures (a full disk, say) make SQLite roll the whole transaction back. Then every
        further savepoint and the commit raise that same error, so that nothing of the batch is
        taken for stored.
        """
        self._refuse_if_lost(connection)
        with self._translated():
            connection.execute("SAVEPOINT part")
            try:
                yield
                self._refuse_if_lost(connection)
                connection.execute("RELEASE part")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO part")
                    connection.execute("RELEASE part")
                elif self._lost is None and isinstance(error, sqlite3.Error):
                    self._lost = self._as_storage_error(error)
                raise

    def changed_elsewhere(self) -> bool:
        """Return whether another process has committed a change since the last call, or since
        opening. Within a transaction too, by its thread."""
        is_within = self._owner == threading.get_ident()
        with nullcontext() if is_within else self._holding_writer(), self._translated():
            before, self._data_version = self._data_version, self._read_data_version()
            return before != self._data_version

    def checkpoint(self, truncate: bool) -> bool:
        """Move the write-ahead log into the database file; True where all of it was moved.

        Never waits for a reader or another process: what those hold back is left in the log. With
        `truncate` the log is emptied, where nobody holds anything back.
        """
        mode = "TRUNCATE" if truncate else "PASSIVE"
        with self._holding_writer() as connection, self._translated():
            # TRUNCATE would wait for every reader, also another program's (sqlite.org, PRAGMA
            # wal_checkpoint), with all messages behind it.
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                row = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {BUSY_NOTICE_SECONDS * 1000:.0f}")
            was_busy, in_log, moved = row
            return not was_busy and in_log == moved

    def compact(self) -> bool:
        """Write the whole database anew, so that no byte of what was deleted is left in it, and
        empty its log; False where a reader of another process held the log back.

        Writers wait while it is written, and readers don't; for the log nobody waits. It takes as
        much room again on the disk.
        """
        with self._holding_writer() as connection, self._translated():
            # Not in memory: the copy may be as large as the disk allows. SQLite removes it itself.
            before = os.environ.get("SQLITE_TMPDIR")
            os.environ["SQLITE_TMPDIR"] = str(self.path.parent)
            try:
                connection.execute("PRAGMA temp_store = FILE")
                connection.execute("VACUUM")
            finally:
                connection.execute("PRAGMA temp_store = MEMORY")
                if before is None:
                    del os.environ["SQLITE_TMPDIR"]
                else:
                    os.environ["SQLITE_TMPDIR"] = before
        deadline = time.monotonic() + BUSY_SECONDS
        while not self.checkpoint(truncate=True):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def live_bytes(self) -> int:
        """Return how many bytes `compact` would write: those of the pages that are in use."""
        with self.reading() as reader:
            pages, free, size = (
                int(reader.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log in bytes; 0 where there is none."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    # -- reading -----------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that can't write, on which all selects see one and the same state of
        the database.

        Waits at most 10 s for one to be free, then raises StorageError. Keep the block short: the
        log can't shrink meanwhile.
        """
        try:
            connection = self._readers.get(timeout=READER_WAIT_SECONDS)
        except queue.Empty:
            raise StorageError(
                f"no reader connection was free for {READER_WAIT_SECONDS:g} s"
            ) from None
        try:
            if connection is None:
                raise StorageError("the database is closed")
            with self._translated():
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        finally:
            self._readers.put(connection)

    def close(self) -> None:
        """Close all connections, waiting at most 5 s for who still uses one; a second call does
        nothing."""
        deadline = time.monotonic() + BUSY_SECONDS
        held = self._lock.acquire(timeout=BUSY_SECONDS)
        try:
            if not self._closed:
                self._closed = True
                self._close_all(deadline)
        finally:
            if held:
                self._lock.release()

    # -- within ------------------------------------------------------------------------------------

    @contextmanager
    def _holding_writer(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection, to one thread at a time."""
        me = threading.get_ident()
        if self._owner == me:
            raise RuntimeError(
                "this thread is inside a transaction already: it would wait for itself"
            )
        if not self._lock.acquire(timeout=WRITER_WAIT_SECONDS):
            raise StorageError(
                f"another transaction of this process has lasted over {WRITER_WAIT_SECONDS:g} s"
            )
        try:
            if self._closed:
                raise StorageError("the database is closed")
            self._owner = me
            yield self._writer
        finally:
            self._owner = None
            self._lock.release()

    def _refuse_if_lost(self, connection: sqlite3.Connection) -> None:
        """Raise where SQLite has rolled the transaction back by itself: a further statement would
        run, and commit, outside of any transaction."""
        if not connection.in_transaction:
            raise self._lost or StorageError(
                "there is no transaction: SQLite rolled it back, or none was begun"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._as_storage_error(error) from error

    def _as_storage_error(self, error: sqlite3.Error) -> StorageError:
        code = _code(error)
        primary = code & 0xFF
        if primary == _FULL or (code in _PERHAPS_NO_ROOM and self._is_short_of_room()):
            return StorageFull(f"no room left for the database {self.path}: {error}")
        if primary in _BUSY:
            return StorageError(
                f"the database {self.path} was kept busy by another process for over "
                f"{BUSY_SECONDS:g} s: {error}"
            )
        if primary in _FAILED and code != _IOERR_NOMEM:
            return StorageFailed(f"the database {self.path} failed: {error}")
        return StorageError(f"the database {self.path} refused: {error}")

    def _is_short_of_room(self) -> bool:
        """Return whether a write as far out as the log's next one meets a full disk, a quota or a
        file-size limit: tried on a file of its own."""
        probe = self.path.with_name(f"{self.path.name}-probe")
        try:
            end = max(self.wal_bytes(), os.stat(self.path).st_size)
            try:
                with open(
                    portable.open_own(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                    "wb",
                    buffering=0,
                ) as file:
                    file.seek(end)
                    left = memoryview(bytes(64 * 1024))
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            return means_no_room(error)
        return False

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, waiting at most 5 s for another process that writes."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if _code(error) & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                if self.on_busy is not None:
                    self.on_busy()

    def _connect(self, busy_seconds: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            # Sorting and savepoints must not need a temporary file: a folder outside of ours, and a
            # descriptor that may be lacking.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA foreign_keys = ON")
            # What is deleted is overwritten: it is not to be read from the file any more.
            connection.execute("PRAGMA secure_delete = ON")
            # NORMAL lost acknowledged rows in each power cut that was tried, FULL none.
            connection.execute("PRAGMA synchronous = FULL")
            # macOS: fsync() leaves data in the drive's cache. Elsewhere these two do nothing.
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect(BUSY_SECONDS)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _read_data_version(self) -> int:
        return int(self._writer.execute("PRAGMA data_version").fetchone()[0])

    def _refuse_if_not_ours(self) -> None:
        try:
            header = schema.read_header(self.path)
        except OSError as error:
            raise FolderUnusable(
                f"the database {self.path} can't be read: {error.strerror}"
            ) from error
        if header is None:
            return
        if header.application_id is None:
            raise FolderUnusable(
                f"{self.path} is not a chat database, nor any SQLite database; use --data "
                "with another folder"
            )
        if header.application_id != schema.APPLICATION_ID:
            raise FolderUnusable(
                f"{self.path} is the database of another program; use --data with another folder"
            )
        version = stored_version(self.path)
        if version > len(schema.MIGRATIONS):
            raise FolderUnusable(
                f"the database {self.path} has version {version}, made by a newer server; "
                f"this one knows up to {len(schema.MIGRATIONS)}"
            )

    def _bring_up_to_date(self) -> None:
        """Mark the file as ours, switch to WAL, run the steps that are missing. Two processes may
        do this at once."""
        connection = self._writer
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            # Before WAL, so that this mark is in the file itself from the first moment on and
            # `read_header` finds it.
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        self._switch_to_wal()
        for number, statements in enumerate(schema.MIGRATIONS, start=1):
            self._begin(connection)
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] < number:
                    for statement in statements:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {number}")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _switch_to_wal(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                mode = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                # The busy timeout does not cover this switch: another process that is switching too
                # makes it fail at once.
                if _code(error) & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if mode != "wal":
            raise FolderUnusable(
                f"the file system of {self.path} can't do SQLite's write-ahead log; use "
                "--data with a local folder"
            )

    def _close_all(self, deadline: float) -> None:
        """Close what can be had before `deadline`. A connection still in use then is left to the
        end of the process."""
        for _ in range(self._reader_count):
            try:
                reader = self._readers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if reader is not None:
                reader.close()
        self._readers.put(None)
        if self._owner is None:
            self._writer.close()
