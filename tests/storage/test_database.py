"""`storage.database` and `storage.schema`: one place begins and commits, and a file that isn't ours
is left alone."""

from __future__ import annotations

import errno
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import patience

import storage.database as database_module
from storage import accounts, messages, meta, rooms, schema
from storage.database import Database
from storage.errors import FolderUnusable, StorageError, StorageFailed, StorageFull, from_os_error


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=2)
    yield opened
    opened.close()


def put(database: Database, key: str, value: str = "x") -> None:
    with database.transaction() as connection:
        meta.put(connection, key, value)


def read(database: Database, key: str) -> str | None:
    with database.reading() as connection:
        return meta.get(connection, key)


def failure(code: int, text: str = "made up") -> sqlite3.OperationalError:
    error: Any = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error  # type: ignore[no-any-return]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- opening ---------------------------------------------------------------------------------------


def test_a_new_file_is_marked_as_ours_and_has_the_lobby(database: Database) -> None:
    header = schema.read_header(database.path)
    assert header is not None and header.application_id == schema.APPLICATION_ID
    with database.reading() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        lobby = rooms.find(connection, "lobby")
    assert lobby is not None and not lobby.private and lobby.name == "lobby" and lobby.owner is None


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        ("busy_timeout", 1000),
        ("temp_store", 2),
        ("journal_size_limit", 16 * 1024 * 1024),
    ],
)
def test_the_writing_connection_is_set_for_durability(
    database: Database, pragma: str, value: object
) -> None:
    with database.transaction() as connection:
        assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


def test_opening_again_finds_everything(tmp_path: Path) -> None:
    first = Database(tmp_path / "chat.db")
    put(first, "key")
    first.close()
    second = Database(tmp_path / "chat.db")
    assert read(second, "key") == "x"
    second.close()


def test_a_missing_step_is_run_once_and_a_failing_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chat.db"
    Database(path).close()
    monkeypatch.setattr(
        schema,
        "MIGRATIONS",
        (*schema.MIGRATIONS, ("CREATE TABLE extra(x)", "CREATE TABLE broken(")),
    )
    with pytest.raises(FolderUnusable):
        Database(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], ("CREATE TABLE extra(x)",)))
    for _ in range(2):
        opened = Database(path)
        with opened.reading() as connection:
            assert connection.execute("SELECT COUNT(*) FROM extra").fetchone() == (0,)
        opened.close()


def test_two_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    code = "import sys; from storage.database import Database; Database(sys.argv[1]).close()"
    root = Path(database_module.__file__).parents[1]
    command = [sys.executable, "-c", code, str(tmp_path / "chat.db")]
    started = [
        subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        assert [
            (process.communicate(timeout=patience(30))[1], process.returncode)
            for process in started
        ] == [("", 0)] * 3
    finally:
        for process in started:
            process.kill()


def make(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_newer_file_is_refused_and_untouched(tmp_path: Path) -> None:
    Database(tmp_path / "chat.db").close()
    make(tmp_path / "chat.db", "PRAGMA user_version = 99")
    before = tree(tmp_path)
    with pytest.raises(FolderUnusable, match=r"version 99.*newer"):
        Database(tmp_path / "chat.db")
    assert tree(tmp_path) == before


def test_a_newer_version_that_only_the_log_has_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "chat.db").close()
    newer = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
    newer.execute("PRAGMA user_version = 98")
    header = schema.read_header(tmp_path / "chat.db")
    assert header is not None and header.user_version < 98
    before = (tmp_path / "chat.db").read_bytes()
    with pytest.raises(FolderUnusable, match="version 98"):
        Database(tmp_path / "chat.db")
    assert (tmp_path / "chat.db").read_bytes() == before
    newer.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text " * 50, "nor any SQLite"),
        ("SQLite format 3\0", "nor any SQLite"),
        ("other", "another program"),
        ("unmarked", "another program"),
    ],
)
def test_a_foreign_file_is_refused_and_untouched(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "chat.db"
    if content in ("other", "unmarked"):
        make(path, *["PRAGMA application_id = 7"] * (content == "other"), "CREATE TABLE t(x)")
    else:
        path.write_text(content)
    before = tree(tmp_path)
    with pytest.raises(FolderUnusable, match=reason):
        Database(path)
    assert tree(tmp_path) == before


def test_zeros_that_a_power_cut_left_count_as_new(tmp_path: Path) -> None:
    (tmp_path / "chat.db").write_bytes(bytes(50))
    assert schema.read_header(tmp_path / "chat.db") is None
    assert schema.read_header(tmp_path / "none.db") is None


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FolderUnusable, match="can't be"):
        Database(tmp_path / "folder")
    with pytest.raises(FolderUnusable, match="can't be opened"):
        Database(tmp_path / "missing" / "chat.db")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    Database(path).close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    with pytest.raises(FolderUnusable):
        Database(path)
    (tmp_path / "chat.db-wal").write_bytes(b"\0" * 10)
    with pytest.raises(FolderUnusable, match="can't be read"):
        Database(path)


class Stubborn:
    """Stands for the writing connection while the file is switched to WAL: answers or raises what
    it was given, in order."""

    def __init__(self, *answers: str | sqlite3.Error) -> None:
        self.answers = list(answers)

    def execute(self, _: str) -> Stubborn:
        self.answer = self.answers.pop(0)
        if isinstance(self.answer, sqlite3.Error):
            raise self.answer
        return self

    def fetchone(self) -> tuple[object]:
        return (self.answer,)


def test_the_switch_to_wal_is_tried_again_while_another_process_switches() -> None:
    database: Any = object.__new__(Database)
    database._writer = Stubborn(failure(5), failure(5), "wal")
    database._switch_to_wal()
    assert not database._writer.answers


@pytest.mark.parametrize(
    ("answer", "expected"), [("delete", FolderUnusable), (failure(10), sqlite3.OperationalError)]
)
def test_a_file_system_without_wal_is_refused(
    tmp_path: Path, answer: Any, expected: type[Exception]
) -> None:
    database: Any = object.__new__(Database)
    database.path, database._writer = tmp_path, Stubborn(answer)
    with pytest.raises(expected):
        database._switch_to_wal()


# -- transactions ----------------------------------------------------------------------------------


def test_a_change_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(KeyError), database.transaction() as connection:
        meta.put(connection, "half", "x")
        raise KeyError
    assert read(database, "half") is None
    put(database, "whole")
    assert read(database, "whole") == "x"


def test_a_failed_part_leaves_the_rest_of_the_transaction(database: Database) -> None:
    with database.transaction() as connection:
        for key in ("first", "bad", "last"):
            try:
                with database.savepoint(connection):
                    meta.put(connection, key, "x")
                    with database.savepoint(connection):
                        meta.put(connection, f"{key} within", "x")
                    if key == "bad":
                        connection.execute("INSERT INTO meta(key, value) VALUES ('again', NULL)")
            except StorageError as error:
                assert key == "bad" and "NOT NULL" in str(error)
    with database.reading() as connection:
        found = [row[0] for row in connection.execute("SELECT key FROM meta ORDER BY key")]
    assert found == ["first", "first within", "last", "last within"]


def test_a_transaction_within_a_transaction_is_a_defect_not_a_hang(database: Database) -> None:
    with (
        database.transaction(),
        pytest.raises(RuntimeError, match="wait for itself"),
        database.transaction(),
    ):
        pass


def test_transactions_of_many_threads_are_serialised(database: Database) -> None:
    def add() -> None:
        for _ in range(20):
            with database.transaction() as connection:
                meta.put(connection, "sum", str(int(meta.get(connection, "sum") or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(20))
    assert read(database, "sum") == "80"


def test_the_wait_for_another_transaction_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WRITER_WAIT_SECONDS", 0.01)
    heard: list[str] = []

    def other() -> None:
        try:
            put(database, "key")
        except StorageError as error:
            heard.append(str(error))

    with database.transaction():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(patience(10))
    assert "has lasted over 0.01 s" in heard[0]


def test_a_database_kept_busy_by_another_process_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.01)
    database = Database(tmp_path / "chat.db")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="busy by another process") as caught:
        put(database, "key")
    assert type(caught.value) is StorageError
    other.execute("ROLLBACK")
    other.close()
    put(database, "key")
    database.close()


def test_a_full_disk_fails_the_whole_transaction_although_parts_go_on(database: Database) -> None:
    """SQLite rolls all of it back by itself; a part tried after that must not be stored alone."""
    with pytest.raises(StorageFull), database.transaction() as connection:
        meta.put(connection, "before", "x")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageFull), database.savepoint(connection):
            meta.put(connection, "big", "x" * 100_000)
        assert not connection.in_transaction
        with pytest.raises(StorageFull), database.savepoint(connection):
            meta.put(connection, "after", "x")
    with database.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
        meta.put(connection, "room again", "x")
    assert [read(database, key) for key in ("before", "after", "room again")] == [None, None, "x"]


def test_a_savepoint_outside_of_a_transaction_is_refused(database: Database) -> None:
    with database.transaction() as connection:
        pass
    with pytest.raises(StorageError, match="no transaction"), database.savepoint(connection):
        pass


def test_a_file_size_limit_counts_as_full_and_recovers(database: Database) -> None:
    """SQLite calls EFBIG and EDQUOT plain I/O errors: a probe beside the file tells them from a
    failing disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    put(database, "before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (database.wal_bytes() + 8192, hard))
    try:
        with pytest.raises(StorageFull):
            put(database, "big", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    put(database, "after")
    assert [read(database, key) for key in ("before", "big", "after")] == ["x", None, "x"]
    assert not list(database.path.parent.glob("*-probe"))


IOERR_WRITE, IOERR_FSYNC = 10 | 3 << 8, 10 | 4 << 8


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failure(13), StorageFull),
        (failure(IOERR_WRITE), StorageFailed),
        (failure(IOERR_FSYNC), StorageFailed),
        (failure(11), StorageFailed),
        (failure(8), StorageFailed),
        (failure(5), StorageError),
        (failure(1), StorageError),
        (failure(14), StorageError),  # cantopen: no descriptor is left
        (failure(15), StorageError),  # protocol: a lost race
        (failure(10 | 12 << 8), StorageError),  # ioerr, no memory
        (sqlite3.OperationalError("database or disk is full"), StorageFull),
        (sqlite3.OperationalError("disk I/O error"), StorageFailed),
        (sqlite3.OperationalError("database is locked"), StorageError),
        (sqlite3.OperationalError("no such table: x"), StorageError),
        (sqlite3.DatabaseError("database disk image is malformed"), StorageFailed),
    ],
)
def test_each_error_of_sqlite_says_whether_the_disk_can_be_trusted(
    database: Database, error: sqlite3.Error, expected: type[StorageError]
) -> None:
    """Errors without a code are those of Python 3.10."""
    with pytest.raises(StorageError) as caught, database.transaction():
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EFBIG, StorageFull), (errno.EIO, StorageFailed)],
)
def test_a_failed_write_is_probed_for_room(
    database: Database, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StorageError]
) -> None:
    def no_sync(_: int) -> None:
        raise OSError(number, "made up")

    monkeypatch.setattr(os, "fsync", no_sync)
    with pytest.raises(StorageError) as caught, database.transaction():
        raise failure(IOERR_WRITE)
    assert type(caught.value) is expected


def test_an_error_at_commit_is_no_success(database: Database) -> None:
    with pytest.raises(StorageError, match="FOREIGN KEY"), database.transaction() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("INSERT INTO members(room_pk, account_id) VALUES (1, 99)")
    with database.reading() as connection:
        assert rooms.member_ids(connection, 1) == frozenset()
        assert connection.execute("SELECT COUNT(*) FROM members").fetchone() == (0,)


# -- reading, the log, closing ---------------------------------------------------------------------


def test_one_reading_sees_one_state_and_the_next_the_newer(database: Database) -> None:
    with database.reading() as connection:
        assert meta.get(connection, "key") is None
        put(database, "key")
        assert meta.get(connection, "key") is None
    assert read(database, "key") == "x"


def test_a_reader_cannot_write_and_goes_back_whole(database: Database) -> None:
    for _ in range(5):
        with pytest.raises(StorageError), database.reading() as connection:
            meta.put(connection, "key", "x")
    assert read(database, "key") is None


def test_the_wait_for_a_reader_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "READER_WAIT_SECONDS", 0.01)
    with (
        database.reading(),
        database.reading(),
        pytest.raises(StorageError, match=r"free for 0\.01 s"),
        database.reading(),
    ):
        pass


def test_only_a_change_of_another_process_is_noticed(database: Database) -> None:
    assert not database.changed_elsewhere()
    put(database, "own")
    assert not database.changed_elsewhere()
    make(database.path, "INSERT INTO meta VALUES ('foreign', 'x')")
    assert database.changed_elsewhere()
    assert not database.changed_elsewhere()


def test_a_checkpoint_empties_the_log_unless_a_reader_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.01)
    database = Database(tmp_path / "chat.db")
    put(database, "key")
    assert database.wal_bytes() > 0
    with database.reading() as connection:
        meta.get(connection, "key")
        put(database, "key", "y")
        assert not database.checkpoint(truncate=False)
        assert not database.checkpoint(truncate=True)
    assert database.checkpoint(truncate=False)
    assert database.checkpoint(truncate=True)
    assert database.wal_bytes() == 0
    database.close()
    assert database.wal_bytes() == 0


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, sqlite3.Connection]]:
    """Yield a database whose writer would wait ten minutes for others, and another program's
    connection to it, which reads."""
    for name in ("BUSY_SECONDS", "BUSY_NOTICE_SECONDS"):
        monkeypatch.setattr(database_module, name, 600.0)
    database = Database(tmp_path / "chat.db")
    put(database, "key")
    foreign = sqlite3.connect(database.path, isolation_level=None)
    foreign.execute("BEGIN")
    foreign.execute("SELECT * FROM meta").fetchall()
    yield database, foreign
    foreign.close()
    database.close()


def test_a_checkpoint_never_waits_for_another_programs_reader(
    reader: tuple[Database, sqlite3.Connection],
) -> None:
    database, foreign = reader
    put(database, "key", "y")
    assert not database.checkpoint(truncate=True)  # it would wait for ten minutes
    foreign.close()
    assert database.checkpoint(truncate=True)


def test_a_rewriting_waits_for_another_programs_reader_and_keeps_no_writer_out(
    reader: tuple[Database, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, foreign = reader
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.0)
    assert not database.compact()  # as a writer it would wait for ten minutes
    foreign.close()
    assert database.compact()


def test_who_waits_for_another_process_is_told_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_NOTICE_SECONDS", 0.01)
    told: list[str] = []

    def on_busy() -> None:
        told.append("busy")
        if len(told) == 3:
            foreign.execute("ROLLBACK")

    database = Database(tmp_path / "chat.db", on_busy=on_busy)
    foreign = sqlite3.connect(database.path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    put(database, "key")
    assert (told, read(database, "key")) == (["busy"] * 3, "x")
    foreign.close()
    database.close()


def test_a_closed_database_says_so(database: Database) -> None:
    database.close()
    database.close()
    with pytest.raises(StorageError, match="closed"):
        put(database, "key")
    for _ in range(2):
        with pytest.raises(StorageError, match="closed"):
            read(database, "key")


def test_closing_does_not_wait_for_ever_for_who_still_reads_or_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.01)
    database = Database(tmp_path / "chat.db")
    with database.transaction() as writer, database.reading():
        database.close()
        assert writer.in_transaction
    while True:  # what close() had to leave is closed here, so that no connection outlives its test
        try:
            reader = database._readers.get_nowait()
        except queue.Empty:
            break
        if reader is not None:
            reader.close()
    database._writer.close()


# -- rules of the layout ---------------------------------------------------------------------------


def test_a_database_from_a_killed_process_is_read_whole(tmp_path: Path) -> None:
    """The log outlives the process: what was committed is there, what was not is gone."""
    code = """if True:
        import os, sys
        from storage import meta
        from storage.database import Database
        database = Database(sys.argv[1])
        with database.transaction() as connection: meta.put(connection, "committed", "x")
        with database.transaction() as connection:
            meta.put(connection, "open", "x")
            os._exit(9)
    """
    root = Path(database_module.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "chat.db")],
        cwd=root,
        check=False,
        timeout=patience(30),
    )
    database = Database(tmp_path / "chat.db")
    assert database.wal_bytes() > 0
    assert (read(database, "committed"), read(database, "open")) == ("x", None)
    database.close()


def test_a_message_id_is_never_used_twice(database: Database) -> None:
    with database.transaction() as connection:
        sender = accounts.create(connection, "a", "a", "h", 1)
        messages.insert(connection, 1, sender.id, "one", 5, 5, None)
        last = messages.insert(connection, 1, sender.id, "two", 5, 5, None)
        connection.execute("DELETE FROM messages")
        assert messages.insert(connection, 1, sender.id, "three", 5, 5, None) == last + 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), "StorageFull"),
        (OSError(errno.EMFILE, "many"), "StorageError"),
        (OSError(errno.EIO, "bad"), "StorageFailed"),
        (FileNotFoundError(errno.ENOENT, "gone"), "FileMissing"),
        (OSError(errno.ENXIO, "no device"), "StorageFailed"),
        (OSError(errno.EROFS, "read-only"), "StorageFailed"),
        (OSError(errno.EINVAL, "a packet's doing"), "StorageError"),
        (OSError(errno.EEXIST, "there"), "StorageError"),
        (OSError("odd"), "StorageError"),
    ],
)
def test_each_error_of_the_system_says_whether_the_disk_can_be_trusted(
    error: OSError, expected: str
) -> None:
    translated = from_os_error(error, "writing")
    assert type(translated).__name__ == expected
    assert str(translated).startswith("writing: ")
